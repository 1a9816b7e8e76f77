-- A service that accepts connections of clients and hands their packets to functions of its script.

local skynet, netpack, driver, run = require "skynet", require "skynet.netpack", require "skynet.socketdriver", require "moorline.gate"

local gateserver = {}

-- The state of a client: it can be read; the peer has closed; none if this side has closed.
local OPEN <const>, HALF <const> = "open", "half"

local clients = {}
-- The connections that count, and how many they are.
local counted, count = {}, 0
local listener, queue
local limit, is_undelayed

function gateserver.openclient(fd)
	if clients[fd] == OPEN then
		driver.start(fd)
	end
end

function gateserver.closeclient(fd)
	if clients[fd] then
		clients[fd] = nil
		driver.close(fd)
	end
end

local function commands(handler)
	local CMD = {}

	function CMD.open(source, conf)
		assert(not listener, "the gate is open already")
		local address, port = conf.address or "0.0.0.0", assert(conf.port, "the configuration of a gate has a port")
		limit, is_undelayed = conf.maxclient or 1024, conf.nodelay
		skynet.error(string.format("Listen on %s:%d", address, port))
		local waiter = {}
		listener = { waiter = waiter, fd = driver.listen(address, port, conf.backlog) }
		if not listener.port then
			driver.start(listener.fd)
			skynet.wait(waiter)
		end
		conf.address, conf.port = listener.addr, listener.port
		if handler.open then
			return handler.open(source, conf)
		end
	end

	function CMD.close()
		assert(listener, "the gate is closed already")
		driver.close(listener.fd)
	end

	return CMD
end

local function events(handler)
	local MSG = {}

	function MSG.data(fd, msg, size)
		if clients[fd] then
			handler.message(fd, msg, size)
		else
			skynet.error(string.format("Drop message from fd (%d) : %s", fd, netpack.tostring(msg, size)))
		end
	end

	-- Other packets go on if a handler waits.
	function MSG.more()
		local fd, msg, size = netpack.pop(queue)
		if fd then
			skynet.fork(MSG.more)
			MSG.data(fd, msg, size)
		end
	end

	function MSG.init(fd, addr, port)
		if listener and listener.fd == fd and not listener.port then
			listener.addr, listener.port = addr, port
			skynet.wakeup(listener.waiter)
		end
	end

	function MSG.open(fd, addr)
		if count >= limit then
			driver.shutdown(fd)
			return
		end
		counted[fd], count = true, count + 1
		if is_undelayed then
			driver.nodelay(fd)
		end
		clients[fd] = OPEN
		handler.connect(fd, addr)
	end

	local function is_listener(fd)
		return listener and listener.fd == fd
	end

	-- Whether the connection was one that counts: it ends once.
	local function lost(fd)
		if not counted[fd] then
			return false
		end
		counted[fd], count = nil, count - 1
		if clients[fd] then
			clients[fd] = HALF
		end
		return true
	end

	function MSG.close(fd)
		if is_listener(fd) then
			listener = nil
			return
		end
		if lost(fd) and handler.disconnect then
			handler.disconnect(fd)
		end
	end

	function MSG.error(fd, why)
		if is_listener(fd) then
			skynet.error("gateserver accept error:", why)
			return
		end
		local was_connected = lost(fd)
		driver.shutdown(fd)
		if handler.error then
			handler.error(fd, why)
		end
		if was_connected and handler.disconnect then
			handler.disconnect(fd)
		end
	end

	function MSG.warning(fd, size)
		if handler.warning then
			handler.warning(fd, size)
		end
	end

	return MSG
end

function gateserver.start(handler)
	assert(handler.message, "a gate has a function message")
	assert(handler.connect, "a gate has a function connect")
	local CMD, MSG = commands(handler), events(handler)

	skynet.register_protocol {
		name = "socket",
		id = skynet.PTYPE_SOCKET,
		unpack = function(msg, size)
			return netpack.filter(queue, msg, size)
		end,
		dispatch = function(_, _, new_queue, event, ...)
			queue = new_queue
			if event then
				MSG[event](...)
			end
		end,
	}

	run(handler, CMD)
end

return gateserver
