-- The module `snax.gateserver` in a worker: the clients of a gate are sessions of the gateway, so they stay over reloads. A script that was
-- written for skynet runs as it is: after a reload its clients connect to the new code without a new connection.

local core = ...
local skynet, moorline, driver = require "skynet", require "moorline", require "skynet.socketdriver"

local gateserver = {}

local clients, count = {}, 0
local is_closed

local function deliver(handler, fd, data)
	handler.message(fd, driver.str2p(data))
end

function gateserver.openclient(fd)
	local client = clients[fd]
	if client and client.pending then
		local pending = client.pending
		client.pending = nil
		client.session:resume()
		for i = 1, #pending do
			deliver(client.handler, fd, pending[i])
		end
	end
end

function gateserver.closeclient(fd)
	local client = clients[fd]
	if client then
		clients[fd] = nil
		client.session:close()
	end
end

local function serve(handler, conf)
	local listener = conf.listener or core.listener_at(assert(conf.port, "the configuration of a gate has a port"))
	if not listener then
		error(string.format('no listener has the port %s: write [[listen]] with address = "tcp://0.0.0.0:%s" and ' ..
			'framing = { kind = "length", width = 2 } in the configuration', conf.port, conf.port), 0)
	end
	local limit = conf.maxclient or 1024
	moorline.serve {
		listener = listener,
		open = function(session)
			if is_closed or count >= limit then
				return session:close_now()
			end
			count = count + 1
			local fd = core.add_socket(session.number)
			session.fd = fd
			-- Nothing is read until the script wants it.
			session:pause()
			clients[fd] = { session = session, handler = handler, pending = {} }
			handler.connect(fd, session.peer)
		end,
		message = function(session, data)
			local client = clients[session.fd]
			if not client then
				return
			elseif client.pending then
				-- What was on its way before the pause: at most a window of messages.
				client.pending[#client.pending + 1] = data
			else
				deliver(handler, session.fd, data)
			end
		end,
		close = function(session)
			local fd = session.fd
			if fd then
				count = count - 1
				clients[fd] = nil
				core.remove_socket(fd)
				if handler.disconnect then
					handler.disconnect(fd)
				end
			end
		end,
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

	local function init()
		skynet.dispatch("lua", function(_, source, cmd, ...)
			local command = CMD[cmd]
			if command then
				skynet.retpack(command(source, ...))
			else
				skynet.retpack(handler.command(cmd, source, ...))
			end
		end)
	end

	if handler.embed then
		init()
	else
		skynet.start(init)
	end
end

return gateserver
