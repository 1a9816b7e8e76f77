-- Sockets for coroutines. The sockets, and what they have received, are in Rust: a coroutine that has to wait is resumed with what it
-- waits for.

local skynet, core, datagrams = require "skynet", require "moorline.core", require "moorline.datagrams"

-- The rest of `skynet` has what coroutines wait with.
local inner = skynet.sleep and core.inner
local wait_for = inner.wait_for
local read, readline, readall, block = core.socket_read, core.socket_readline, core.socket_readall, core.socket_block
local write, lwrite, state = core.socket_write, core.socket_lwrite, core.socket_state

local socket = {}
-- Functions of the script's own, by socket.
local on_accept, on_datagram, on_warning, on_close = {}, {}, {}, {}

local function answered(ok, ...)
	if ok then
		return ...
	end
	-- Nobody resumes it with a failure but one who breaks its wait.
	return false, (...)
end

local function raise(why)
	error(why, 3)
end

-- What happens to sockets apart from reads

local messages = {}

messages[3] = function(id)
	local callback = on_close[id]
	if callback then
		on_close[id] = nil
		callback(id)
	end
end

messages[4] = function(id, accepted, addr)
	local callback = on_accept[id]
	if callback then
		callback(accepted, addr)
	else
		core.socket_close(accepted)
	end
end

messages[5] = function(id, _, why)
	if on_accept[id] then
		skynet.error("socket: accept error:", why)
	else
		-- Who has closed it does not care any more.
		if state(id) then
			skynet.error("socket: error on", id, why)
		end
		messages[3](id)
	end
end

messages[6] = function(id, _, text, from)
	local callback = on_datagram[id]
	if callback then
		callback(text, from)
	else
		skynet.error("socket: drop udp package from " .. id)
	end
end

messages[7] = function(id, size)
	local callback = on_warning[id]
	if callback then
		callback(id, size)
	else
		skynet.error(string.format("WARNING: %d K bytes need to send out (fd = %d)", size, id))
	end
end

skynet.register_protocol {
	name = "socket",
	id = skynet.PTYPE_SOCKET,
	unpack = core.driver_unpack,
	dispatch = function(_, _, number, ...)
		local message = messages[number]
		if message then
			message(...)
		end
	end,
}

-- Opening

-- The addresses of a host. Waits, but not for an address.
local function addresses(host)
	local ok, found = wait_for(core.socket_resolve(host))
	return ok and found, found
end

function socket.resolve(host)
	local found, why = addresses(host)
	return found or error(string.format("Can't resolve %s: %s", host, why), 2)
end

-- An address for a socket: names are looked up. The third value is all addresses of the name.
local function literal(host, port, level)
	local ip, number, is_address, why = core.socket_split(host, port)
	if why then
		error(why, level or 3)
	end
	if not is_address then
		local found, problem = addresses(ip)
		if not found then
			error(string.format("Invalid address %s: %s", host, problem), level or 3)
		end
		return found[1], number, found
	end
	return ip, number, { ip }
end

function socket.open(addr, port)
	local host, number, _, why = core.socket_split(addr, port)
	if why then
		error(why, 2)
	end
	local _, session = core.socket_connect(host, number)
	return answered(wait_for(session))
end

function socket.listen(host, port, backlog)
	if host == "" then
		host = "0.0.0.0"
	end
	local ip, number = literal(host, port)
	local id, addr, bound = core.socket_listen(ip, number, backlog)
	if not id then
		error(addr, 2)
	end
	return id, addr, bound
end

function socket.start(id, func)
	assert(not on_close[id], "socket has onclose callback")
	local before = on_accept[id]
	on_accept[id] = func
	local started, why, session = core.socket_start(id)
	if session then
		started, why = answered(wait_for(session))
	end
	if not started then
		on_accept[id] = before
		if why == "socket is not closed" then
			error(why, 2)
		end
		return nil, why
	end
	return started
end

function socket.bind(fd)
	return core.socket_bind(fd)
end

function socket.stdin()
	return socket.bind(0)
end

-- Reading. A read returns what is there, or has the coroutine wait.

local function got(first, ...)
	if first ~= nil then
		return first, ...
	end
	local session, why = ...
	if session then
		return answered(wait_for(session))
	end
	return raise(why)
end

-- As `got`, written out: it is called for each message of an echo.
function socket.read(id, size)
	local first, second, why = read(id, size)
	if why and first == false then
		return first, second, why
	elseif first ~= nil then
		return first, second
	elseif not second then
		error(why, 2)
	end
	return answered(wait_for(second))
end

function socket.readline(id, separator)
	if separator == "" then
		error("a line ends with at least one byte: give a separator that is not empty", 2)
	end
	return got(readline(id, separator or "\n"))
end

-- What was read, or false and why there is no memory for it.
local function whole(text, _, why)
	if why then
		return text, why
	end
	return text
end

function socket.readall(id)
	return whole(got(readall(id)))
end

function socket.block(id)
	if not state(id) then
		return false
	end
	return (got(block(id)))
end

-- Writing

function socket.write(id, data, size)
	local taken, why = write(id, data, size)
	if why then
		raise(why)
	end
	return taken
end

function socket.lwrite(id, data, size)
	local taken, why = lwrite(id, data, size)
	if why then
		raise(why)
	end
	return taken
end

function socket.header(text)
	local number, why = core.socket_header(text)
	return number or raise(why)
end

-- Closing

local function forget(id)
	on_accept[id], on_datagram[id], on_warning[id] = nil, nil, nil
end

function socket.close(id)
	if state(id) then
		core.socket_close(id)
		forget(id)
	end
end

function socket.close_fd(id)
	assert(not state(id), "Use socket.close instead")
	core.socket_close(id)
end

function socket.shutdown(id)
	if state(id) then
		core.socket_shutdown(id)
	end
end

function socket.abandon(id)
	core.socket_abandon(id)
	forget(id)
	on_close[id] = nil
end

-- The state

function socket.invalid(id)
	return not state(id)
end

function socket.disconnected(id)
	local now = state(id)
	if now then
		return now == "disconnected"
	end
end

function socket.limit(id, limit)
	assert(core.socket_limit(id, limit))
end

function socket.pause(id)
	core.socket_pause(id)
end

function socket.warning(id, callback)
	assert(state(id))
	on_warning[id] = callback
end

function socket.onclose(id, callback)
	on_close[id] = callback
end

function socket.netstat()
	return core.socket_info()
end

-- Datagrams

local function open(level, what, ...)
	local id, why = core.socket_udp(...)
	return id or error(string.format("%s failed: %s", what, why), level)
end

-- One level more: their callbacks are kept here.
local made = datagrams(literal, open, 4)

local function heard(id, callback)
	on_datagram[id] = callback
	return id
end

function socket.udp(callback, host, port)
	return heard(made.udp(host, port), callback)
end

function socket.udp_listen(addr, port, callback)
	return heard(made.udp_listen(addr, port), callback)
end

function socket.udp_dial(addr, port, callback)
	return heard(made.udp_dial(addr, port), callback)
end

function socket.udp_connect(id, addr, port, callback)
	local _, number, ips = literal(addr, port)
	if callback then
		on_datagram[id] = callback
	end
	for _, ip in ipairs(ips) do
		if core.socket_udp_peer(id, ip, number) then
			return
		end
	end
	error("udp connect failed", 2)
end

function socket.sendto(id, to, data, size)
	local taken, why = core.socket_sendto(id, to, data, size)
	if why then
		raise(why)
	end
	return taken
end

socket.udp_address = made.udp_address

return socket
