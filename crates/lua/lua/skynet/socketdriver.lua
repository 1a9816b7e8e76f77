-- Sockets for services that handle their messages themselves: what happens is a message of the kind `PTYPE_SOCKET`, which `unpack`
-- takes apart.

local skynet, core, datagrams = require "skynet", require "moorline.core", require "moorline.datagrams"

local driver = {
	buffer = core.driver_buffer, push = core.driver_push, pop = core.driver_pop, readall = core.driver_readall,
	readline = core.driver_readline, clear = core.driver_clear, str2p = core.driver_str2p, unpack = core.driver_unpack,
	drop = core.trash, close = core.socket_close, shutdown = core.socket_shutdown, pause = core.socket_pause,
	nodelay = core.socket_nodelay, info = core.socket_info,
}

local function checked(value, why, ...)
	if value == nil and why then
		error(why, 3)
	end
	return value, why, ...
end

-- Waits if the host is a name.
local function literal(host, port)
	local ip, number, is_address, why = core.socket_split(host, port)
	if why then
		error(why, 3)
	end
	return is_address and ip or driver.resolve(ip)[1], number
end

function driver.resolve(host)
	local wait_for = skynet.sleep and core.inner.wait_for
	local ok, found = wait_for(core.socket_resolve(host))
	return ok and found or error(string.format("Can't resolve %s: %s", host, found), 2)
end

function driver.connect(host, port)
	local ip, number, _, why = core.socket_split(host, port)
	if why then
		error(why, 2)
	end
	return (core.socket_connect(ip, number, true))
end

function driver.listen(host, port, backlog)
	local ip, number = literal(host == "" and "0.0.0.0" or host, port)
	return (checked(core.socket_listen(ip, number, backlog, true)))
end

function driver.bind(fd)
	return (checked(core.socket_bind(fd, true)))
end

function driver.start(id)
	core.socket_start(id, true)
end

function driver.send(id, data, size)
	return (checked(core.socket_write(id, data, size)))
end

function driver.lsend(id, data, size)
	return (checked(core.socket_lwrite(id, data, size)))
end

function driver.header(text)
	return (checked(core.socket_header(text)))
end

local function open(level, _, host, port, peer, peer_port)
	local id, why = core.socket_udp(host, port, peer, peer_port, true)
	return id or error(why, level)
end

for name, func in pairs(datagrams(literal, open, 3)) do
	driver[name] = func
end

function driver.udp_connect(id, host, port)
	local ip, number = literal(host, port)
	if not core.socket_udp_peer(id, ip, number) then
		error("udp connect failed", 2)
	end
end

function driver.udp_send(id, to, data, size)
	return (checked(core.socket_sendto(id, to, data, size)))
end

return driver
