-- `.service`: one service for each name, however many ask for it.

local skynet = require "skynet"
require "skynet.manager"
local core = require "moorline.core"

local found = {} -- by name: an address, or a list of those who wait for it
local COMMAND = {}

local function done(name, ok, address)
	local waiters = found[name]
	found[name] = ok and address or nil
	for _, waiter in ipairs(waiters) do
		skynet.wakeup(waiter)
	end
	if not ok then
		waiters.failure = address
	end
end

local function wait(name, waiters)
	local waiter = {}
	table.insert(waiters, waiter)
	skynet.wait(waiter)
	if waiters.failure then
		error(waiters.failure, 0)
	end
	return found[name]
end

-- A snax service is known by its own name.
local function key_of(name, kind)
	return name == "snaxd" and "snaxd/" .. tostring(kind) or name
end

local function launch(name, ...)
	if name == "snaxd" then
		return require "skynet.snax".rawnewservice(...)
	end
	return skynet.newservice(name, ...)
end

function COMMAND.LAUNCH(service, ...)
	local name = key_of(service, (...))
	local state = found[name]
	if type(state) == "number" then
		return state
	elseif state and state.is_launching then
		return wait(name, state)
	end
	local waiters = state or {}
	waiters.is_launching = true
	found[name] = waiters
	local ok, address = pcall(launch, service, ...)
	done(name, ok, address)
	if not ok then
		error(address, 0)
	end
	return address
end

function COMMAND.QUERY(service, kind)
	local name = key_of(service, kind)
	local state = found[name]
	if type(state) == "number" then
		return state
	end
	found[name] = state or {}
	return wait(name, found[name])
end

function COMMAND.LIST()
	local list = {}
	for name, state in pairs(found) do
		list[name] = type(state) == "number" and skynet.address(state) or "waiting"
	end
	return list
end

skynet.start(function()
	skynet.dispatch("lua", function(session, source, command, ...)
		local f = COMMAND[command] or function() error("no command " .. tostring(command), 0) end
		local result = table.pack(pcall(f, ...))
		if result[1] then
			return skynet.retpack(table.unpack(result, 2, result.n))
		end
		skynet.error(result[2])
		if session ~= 0 then
			-- The caller is told why.
			skynet.ignoreret()
			core.fail(source, session, result[2])
		end
	end)
	skynet.register ".service"
end)
