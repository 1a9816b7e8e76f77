-- A tree of values that all services of the process see.

local skynet = require "skynet"

local M = {}

local address
local function call(command, ...)
	address = address or skynet.uniqueservice "datacenterd"
	return skynet.call(address, "lua", command, ...)
end

-- The value under a path of keys, or nil.
function M.get(...)
	return call("QUERY", ...)
end

-- Sets the value under a path of keys, the last argument, and returns the one before.
function M.set(...)
	return call("UPDATE", ...)
end

-- The value under a path of keys, once there is one.
function M.wait(...)
	return call("WAIT", ...)
end

return M
