-- What skynet's own modules stand on, for scripts that reach for it. Here `skynet` stands on something else: these functions are made of its own.

local skynet, inner = require "skynet", require "moorline.core"
require "skynet.manager"

local core = {
	error = skynet.error, genid = skynet.genid, harbor = skynet.harbor, hpc = skynet.hpc, now = skynet.now,
	pack = skynet.pack, packstring = skynet.packstring, tostring = skynet.tostring, trash = skynet.trash, unpack = skynet.unpack,
}

-- Sends what is packed. Without a session one is made, and its answer comes to nobody unless the script notes it.
function core.send(addr, kind, session, msg, sz)
	local sent, err
	if session == nil then
		sent, err = inner.rawcall(addr, kind, msg, sz)
	else
		sent, err = inner.redirect(addr, inner.self(), kind, session, msg, sz)
	end
	if err and not err:find "^call to invalid address" then
		error(err, 2)
	end
	return sent
end

function core.redirect(addr, source, kind, session, msg, sz)
	local sent, err = inner.redirect(addr, source, kind, session, msg, sz)
	if err then
		error(err, 2)
	end
	return sent
end

function core.callback()
	error("skynet.core.callback is not in Moorline: give skynet.start a function, or use skynet.filter", 2)
end

function core.trace(tag, text, ...)
	return skynet.tracelog(tag, text, ...)
end

-- The commands of the core: each gets a text, and returns a text, a number or nothing.
local COMMAND = {}

local function words(text)
	local list = {}
	for word in (text or ""):gmatch "%S+" do
		list[#list + 1] = word
	end
	return list
end

function COMMAND.REG(name)
	if name and name ~= "" then
		skynet.register(name)
	end
	return skynet.self()
end

function COMMAND.NAME(text)
	local name, addr = table.unpack(words(text))
	skynet.name(name, addr)
end

function COMMAND.KILL(addr) skynet.kill(addr) end
function COMMAND.LAUNCH(text) return skynet.launch(table.unpack(words(text))) end
function COMMAND.LOGON(addr) assert(inner.logon(inner.find(addr))) end
function COMMAND.LOGOFF(addr) inner.logoff(inner.find(addr)) end
function COMMAND.SETENV(text) skynet.setenv(text:match "^(%S+) (.*)$") end

function COMMAND.SIGNAL(text)
	local addr, number = table.unpack(words(text))
	inner.signal(inner.find(addr), math.tointeger(tonumber(number or 0)))
end

COMMAND.ABORT, COMMAND.EXIT, COMMAND.GETENV = skynet.abort, inner.exit, skynet.getenv
COMMAND.QUERY, COMMAND.STARTTIME, COMMAND.STAT = skynet.localname, skynet.starttime, skynet.stat

function COMMAND.MONITOR(addr)
	return inner.name(".monitor", inner.find(addr))
end

function COMMAND.TIMEOUT(ticks)
	local session, err = inner.timeout(ticks)
	return session or error(err, 0)
end

local function run(command, ...)
	local f = COMMAND[command]
	-- As with the core, what is not known does nothing.
	return f and f(...)
end

function core.command(command, text)
	local result = run(command, text)
	if result == nil or type(result) == "string" then
		return result
	elseif command == "REG" or command == "QUERY" or command == "LAUNCH" then
		return skynet.address(result)
	end
	return tostring(result)
end

function core.intcommand(command, value)
	local result = run(command, value)
	return tonumber(result)
end

function core.addresscommand(command, text)
	return run(command, text)
end

return core
