-- Keeps the tree of `skynet.datacenter`.

local skynet = require "skynet"
local core = require "moorline.core"

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

function COMMAND.QUERY(...)
	skynet.retpack(find(root, ...))
end

function COMMAND.WAIT(...)
	local value = find(root, ...)
	if value ~= nil then
		return skynet.retpack(value)
	end
	local response = skynet.response()
	local path = path_of(...)
	waiting[path] = waiting[path] or { keys = table.pack(...) }
	table.insert(waiting[path], response)
end

-- Whether a path leads to a value that was set further down: `set` has its keys, and the value behind them.
local function is_branch(keys, set)
	if keys.n >= set.n - 1 then
		return false
	end
	for i = 1, keys.n do
		if keys[i] ~= set[i] then
			return false
		end
	end
	return true
end

-- Answers those that wait for what is there now. A wait for a branch fails: it waits for a value.
local function wake(set)
	for path, all in pairs(waiting) do
		local value = find(root, table.unpack(all.keys, 1, all.keys.n))
		if value ~= nil then
			local ok = not is_branch(all.keys, set)
			waiting[path] = nil
			for _, response in ipairs(all) do
				response(ok, value)
			end
		end
	end
end

function COMMAND.UPDATE(...)
	local args = table.pack(...)
	if args.n < 2 then
		error("set a value under one key at least", 0)
	end
	local node = root
	for i = 1, args.n - 2 do
		local key = args[i]
		if node[key] == nil and args[args.n] ~= nil then
			node[key] = {}
		end
		node = node[key]
		if node == nil then
			return skynet.retpack()
		elseif type(node) ~= "table" then
			error("a value is there already: " .. tostring(key), 0)
		end
	end
	local key = args[args.n - 1]
	local before = node[key]
	node[key] = args[args.n]
	skynet.retpack(before)
	wake(args)
end

skynet.start(function()
	skynet.dispatch("lua", function(session, source, command, ...)
		local f = COMMAND[command] or function() error("no command " .. tostring(command), 0) end
		local ok, why = pcall(f, ...)
		if not ok and session ~= 0 then
			-- The caller is told why.
			skynet.ignoreret()
			core.fail(source, session, why)
		end
	end)
end)
