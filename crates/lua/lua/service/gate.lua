-- A gate: packets of clients go to their agents, or to the watchdog, which learns of all connections.

local skynet, netpack, gateserver = require "skynet", require "skynet.netpack", require "snax.gateserver"

local watchdog
local clients = {}

skynet.register_protocol { name = "client", id = skynet.PTYPE_CLIENT }

local function tell(...)
	skynet.send(watchdog, "lua", "socket", ...)
end

local handler, CMD = {}, {}

function handler.open(source, conf)
	watchdog = conf.watchdog or source
	return conf.address, conf.port
end

function handler.connect(fd, addr)
	clients[fd] = { ip = addr }
	tell("open", fd, addr)
end

function handler.message(fd, msg, size)
	local client = clients[fd]
	if client and client.agent then
		-- The session is the connection: an agent answers by writing to it.
		skynet.redirect(client.agent, client.source, "client", fd, msg, size)
	else
		tell("data", fd, netpack.tostring(msg, size))
	end
end

function handler.disconnect(fd)
	clients[fd] = nil
	tell("close", fd)
end

function handler.error(fd, why)
	clients[fd] = nil
	tell("error", fd, why)
end

function handler.warning(fd, size)
	tell("warning", fd, size)
end

function CMD.forward(source, fd, client, agent)
	local known = assert(clients[fd], "no such connection")
	known.source, known.agent = client or 0, agent or source
	gateserver.openclient(fd)
end

function CMD.accept(_, fd)
	local known = assert(clients[fd], "no such connection")
	known.source, known.agent = nil, nil
	gateserver.openclient(fd)
end

function CMD.kick(_, fd)
	gateserver.closeclient(fd)
end

function handler.command(cmd, source, ...)
	local command = assert(CMD[cmd], "a gate knows no such command")
	return command(source, ...)
end

gateserver.start(handler)
