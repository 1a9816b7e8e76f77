-- Launching, naming and ending services. Its functions are also in `skynet`.

local skynet, core = require "skynet", require "moorline.core"

-- The number of a service that a script names by number, `.name` or `:address`.
local function number(addr)
	return type(addr) == "number" and addr or core.find(addr)
end

function skynet.launch(...)
	return core.launch_now(...)
end

function skynet.kill(addr)
	if type(addr) == "number" then
		return core.kill(addr)
	end
	local found = number(addr)
	return found and core.kill(found)
end

function skynet.abort()
	core.abort()
end

function skynet.name(name, addr)
	return core.name(name, number(addr))
end

function skynet.register(name)
	return core.name(name, core.self())
end

function skynet.monitor(service, query)
	local monitor
	if query then
		monitor = skynet.queryservice(true, service)
	else
		monitor = skynet.uniqueservice(true, service)
	end
	assert(monitor, "Monitor launch failed")
	core.name(".monitor", monitor)
	return monitor
end

return skynet
