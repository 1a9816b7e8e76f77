-- Keeps the tree of `skynet.datacenter`.

local skynet = require "skynet"

local root = {}
local waiting = {} -- responses by path
local COMMAND = {}

local function find(node, key, ...)
	if key == nil then
		return node
	end
	if type(node) == "table" then
		return find(node[key], ...)
	end
end

-- Paths of different types and lengths are different texts.
local function path_of(...)
	return skynet.packstring(...)
end

function COMMAND.QUERY(response, ...)
	response(true, find(root, ...))
end

function COMMAND.WAIT(response, ...)
	local value = find(root, ...)
	if value ~= nil then
		return response(true, value)
	end
	local path = path_of(...)
	waiting[path] = waiting[path] or { keys = table.pack(...) }
	table.insert(waiting[path], response)
end

-- Answers those that wait for what is there now.
local function wake()
	for path, all in pairs(waiting) do
		local value = find(root, table.unpack(all.keys, 1, all.keys.n))
		if value ~= nil then
			waiting[path] = nil
			for _, response in ipairs(all) do
				response(true, value)
			end
		end
	end
end

function COMMAND.UPDATE(response, ...)
	local args = table.pack(...)
	if args.n < 2 then
		return response(false)
	end
	local node = root
	for i = 1, args.n - 2 do
		local key = args[i]
		if node[key] == nil and args[args.n] ~= nil then
			node[key] = {}
		end
		node = node[key]
		if node == nil then
			return response(true)
		elseif type(node) ~= "table" then
			return response(false, "a value is there already: " .. tostring(key))
		end
	end
	local key = args[args.n - 1]
	local before = node[key]
	node[key] = args[args.n]
	response(true, before)
	wake()
end

skynet.start(function()
	skynet.dispatch("lua", function(session, _, command, ...)
		local f = COMMAND[command]
		local response = session ~= 0 and skynet.response() or function() end
		if f then
			f(response, ...)
		else
			response(false, "no command " .. tostring(command))
		end
	end)
end)
