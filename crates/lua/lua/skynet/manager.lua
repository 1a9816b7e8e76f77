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

-- The module's inner part, which is there once its rest is loaded.
local function inner()
	return skynet.dispatch_message and core.inner
end

-- Starts a service whose messages of some kinds are those of others: `map` has the other kind by kind. A message of such a kind stays the
-- script's own: it passes it on or drops it.
function skynet.forward_type(map, start_func)
	local own = inner()
	for kind in pairs(map) do
		core.unpacks(kind, false)
		core.keeps(kind)
	end
	own.start(function(kind, ...)
		local other = kind >= 256 and map[kind - 256]
		return own.dispatch(other and other + 256 or kind, ...)
	end, start_func)
end

-- Starts a service whose messages pass a function first: it gets and returns kind, message, size, session and source.
function skynet.filter(f, start_func)
	local own = inner()
	for kind = 0, 252 do
		core.unpacks(kind, false)
	end
	for _, p in pairs(own.proto) do
		p.fast = false
	end
	own.start(function(kind, session, source, msg, sz, ...)
		if kind < 256 then
			return own.dispatch(kind, session, source, msg, sz, ...)
		end
		return skynet.dispatch_message(f(kind - 256, msg, sz, session, source))
	end, start_func)
end

return skynet
