-- What every service answers to the protocol `debug`. Loaded with the first such message.

local inner = ...

local skynet, core, proto = inner.skynet, inner.core, inner.proto
local COMMAND = {}

-- For `skynet.inject`: upvalues of this module's functions have no names.
core.protocols = proto

function COMMAND.MEM()
	skynet.retpack(collectgarbage "count")
end

function COMMAND.GC()
	collectgarbage "collect"
	skynet.retpack(collectgarbage "count")
end

function COMMAND.STAT()
	skynet.retpack {
		task = skynet.task(), mqlen = core.mqlen(), message = core.stat "message", cpu = core.stat "cpu",
	}
end

function COMMAND.TASK(session)
	if session then
		skynet.retpack(skynet.task(session))
	else
		local tasks = {}
		skynet.task(tasks)
		skynet.retpack(tasks)
	end
end

function COMMAND.UNIQTASK()
	skynet.retpack(skynet.uniqtask())
end

function COMMAND.KILLTASK(name)
	local co = skynet.killthread(name)
	skynet.retpack(co and tostring(co))
end

function COMMAND.INFO(...)
	if inner.info then
		skynet.retpack(inner.info(...))
	else
		skynet.retpack(nil)
	end
end

function COMMAND.EXIT()
	skynet.exit()
end

function COMMAND.PING()
	skynet.retpack()
end

function COMMAND.SUPPORT(name)
	local p = proto[name]
	skynet.retpack(p ~= nil and p.dispatch ~= nil)
end

-- Runs a text in the service, and answers what it has printed.
function COMMAND.RUN(source, filename, ...)
	local inject = require "skynet.inject"
	local ok, output = inject(skynet, source, filename, table.pack(...), skynet.dispatch_message, skynet.register_protocol)
	collectgarbage "collect"
	skynet.retpack(ok, table.concat(output, "\n"))
end

function COMMAND.TERM(service)
	skynet.term(service)
	skynet.ret()
end

function COMMAND.TRACELOG(name, flag)
	if type(name) ~= "string" then
		name, flag = "lua", name
	end
	skynet.error(string.format("Turn trace log %s for %s", flag, name))
	skynet.traceproto(name, flag)
	skynet.ret()
end

-- Is answered by the end of the service: as an error, as every call that is not answered.
function COMMAND.LINK()
	skynet.response()
end

local debug_protocol = {
	name = "debug", id = skynet.PTYPE_DEBUG, pack = skynet.pack, unpack = skynet.unpack, fast = true,
	dispatch = function(_, _, command, ...)
		local f = COMMAND[command] or (core.debug_commands or COMMAND)[command]
		if not f then
			error("no debug command " .. tostring(command))
		end
		f(...)
	end,
}

return debug_protocol
