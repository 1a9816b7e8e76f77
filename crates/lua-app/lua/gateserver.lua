-- The module `snax.gateserver` in a worker: the clients of a gate are sessions of the gateway, so they stay over reloads. A script that was
-- written for skynet runs as it is: after a reload its clients connect to the new code without a new connection.

local core = ...
local skynet, moorline, driver, run = require "skynet", require "moorline", require "skynet.socketdriver", require "moorline.gate"

local gateserver = {}

local clients, count = {}, 0
local is_closed

function gateserver.openclient(fd)
	local client = clients[fd]
	if client and not client.is_open then
		assert(client.session:resume())
		client.is_open = true
		skynet.wakeup(client)
	end
end

function gateserver.closeclient(fd)
	local client = clients[fd]
	if client then
		clients[fd] = nil
		client.session:close()
		skynet.wakeup(client)
	end
end

-- A packet that was on its way before the client was paused waits until the script opens the client. It is in progress meanwhile, so that
-- it is not lost. In hundredths of a second: how often it is looked whether the client is still there.
local LOOK <const> = 50

local function is_opened(client)
	while not client.is_open and clients[client.fd] == client and not client.session:is_closed() do
		skynet.sleep(LOOK, client)
	end
	return client.is_open and clients[client.fd] == client
end

local function serve(handler, conf)
	local listener = conf.listener or core.listener_at(assert(conf.port, "the configuration of a gate has a port"))
	if not listener then
		error(string.format('no listener has the port %s: write [[listen]] with address = "tcp://0.0.0.0:%s" and ' ..
			'framing = { kind = "length", width = 2 } in the configuration', conf.port, conf.port), 0)
	end
	local limit = conf.maxclient or 1024
	local function gone(session)
		local fd = session.fd
		if fd then
			count = count - 1
			clients[fd] = nil
			core.remove_socket(fd)
			if handler.disconnect then
				handler.disconnect(fd)
			end
		end
	end
	moorline.serve {
		listener = listener,
		open = function(session, is_adopted)
			if not is_adopted and (is_closed or count >= limit) then
				return session:close_now()
			end
			count = count + 1
			local fd = core.add_socket(session.number)
			session.fd = fd
			-- Nothing is read until the script wants it.
			session:pause()
			clients[fd] = { fd = fd, session = session, is_open = false }
			handler.connect(fd, session.peer)
		end,
		message = function(session, data)
			local client = clients[session.fd]
			if client and (client.is_open or is_opened(client)) then
				handler.message(session.fd, driver.str2p(data))
			end
		end,
		close = gone,
		moved = gone,
	}
	conf.address = conf.address or "0.0.0.0"
end

function gateserver.start(handler)
	assert(handler.message, "a gate has a function message")
	assert(handler.connect, "a gate has a function connect")
	local CMD = {}

	function CMD.open(source, conf)
		is_closed = false
		serve(handler, conf)
		if handler.open then
			return handler.open(source, conf)
		end
	end

	-- Clients that are there stay.
	function CMD.close()
		is_closed = true
	end

	run(handler, CMD)
end

return gateserver
