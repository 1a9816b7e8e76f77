-- Services whose script is a function, one for each name.

local skynet = require "skynet"
require "skynet.manager"

local service = {}
local found = {}

local function ask(...)
	return skynet.call(skynet.uniqueservice "service_provider", "lua", ...)
end

-- Launches a service that runs a function with these values, unless there is one with this name. The function has no upvalue but `_ENV`.
function service.new(name, mainfunc, ...)
	local upvalue = debug.getupvalue(mainfunc, 1)
	assert(debug.getinfo(mainfunc, "u").nups <= 1 and (upvalue == nil or upvalue == "_ENV"),
		"the function of a service has no upvalues")
	found[name] = ask("launch", name, string.dump(mainfunc), ...)
	service.address = found[name]
	return found[name]
end

-- The service with a name, once there is one.
function service.query(name)
	found[name] = found[name] or ask("query", name)
	return found[name]
end

-- Ends the service with a name. False if there is none.
function service.close(name)
	found[name] = nil
	local address = ask("close", name)
	if address then
		skynet.kill(address)
	end
	return address ~= nil
end

return service
