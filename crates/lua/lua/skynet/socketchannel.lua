-- A connection that is made when it is needed and again when it is lost, with requests and their answers.
--
-- A link is one connection and those who wait for its answers: with a link they all end. Answers come in the order of the requests, or
-- carry a session that `response` of the channel finds.

local skynet, socket, driver = require "skynet", require "skynet.socket", require "skynet.socketdriver"

local socket_error = setmetatable({}, { __tostring = function() return "[Error: socket]" end })

local channel = {}
channel.__index = channel

-- What functions that read answers get.
local reader = {}
reader.__index = reader

local function checked(f)
	return function(self, ...)
		return f(self[1], ...) or error(socket_error)
	end
end

reader.read = checked(socket.read)
reader.readline = checked(socket.readline)

-- Those who wait

local function finish(waiter, ok, data)
	waiter.done, waiter.ok, waiter.data = true, ok, data
	skynet.wakeup(waiter)
end

-- Ends a link and all that waits for its answers.
local function fail(self, link, why)
	if link.lost then
		return
	end
	link.lost = true
	if self.link == link then
		self.link = nil
	end
	pcall(socket.close, link.fd)
	local queue, sessions = link.queue, link.sessions
	link.queue, link.sessions = {}, {}
	for i = link.first, link.last do
		finish(queue[i], socket_error, why)
	end
	for _, waiter in pairs(sessions) do
		finish(waiter, socket_error, why)
	end
	if link.idle then
		skynet.wakeup(link)
	end
end

local function reason(why)
	if why ~= socket_error then
		return why
	end
end

-- Answers

-- One answer, which may have several parts.
local function whole(func, sock)
	local ok, data, more = func(sock)
	if not (ok and more) then
		return ok, data
	end
	local parts = { data }
	while ok and more do
		ok, data, more = func(sock)
		parts[#parts + 1] = data
	end
	if ok then
		return ok, parts
	end
	return ok, data
end

local function next_waiter(link)
	while not link.lost do
		if link.first <= link.last then
			local waiter = link.queue[link.first]
			link.queue[link.first] = nil
			link.first = link.first + 1
			return waiter
		end
		link.idle = true
		skynet.wait(link)
		link.idle = false
	end
end

local function answer_in_order(self, link)
	while true do
		local waiter = next_waiter(link)
		if not waiter then
			return
		end
		local ok, result, data = pcall(whole, waiter.func, link.sock)
		if ok then
			finish(waiter, result, data)
		else
			finish(waiter, socket_error, reason(result))
			return fail(self, link, reason(result))
		end
	end
end

local function answer_by_session(self, link)
	while not link.lost do
		local ok, session, result, data, more = pcall(self.response_of, link.sock)
		if not ok or not session then
			return fail(self, link, reason(session))
		end
		local waiter = link.sessions[session]
		if not waiter then
			skynet.error("socket: unknown session :", session)
		elseif more and result then
			waiter.parts = waiter.parts or {}
			table.insert(waiter.parts, data)
		else
			link.sessions[session] = nil
			if result and waiter.parts then
				table.insert(waiter.parts, data)
				data = waiter.parts
			end
			finish(waiter, result, data)
		end
	end
end

local function wait_for_answer(link, response, in_order)
	if link.lost then
		error(socket_error)
	end
	local waiter = {}
	if in_order then
		waiter.func = response
		link.last = link.last + 1
		link.queue[link.last] = waiter
		if link.idle then
			skynet.wakeup(link)
		end
	else
		link.sessions[response] = waiter
	end
	while not waiter.done do
		skynet.wait(waiter)
	end
	if waiter.ok == socket_error then
		error(waiter.data or socket_error, 0)
	end
	if not waiter.ok then
		error(waiter.data or "assertion failed!", 0)
	end
	return waiter.data
end

-- Connecting

-- The places to try: the channel's own, then the spare ones, each once.
local function places(self)
	local list, known = {}, {}
	local function add(host, port)
		local key = host .. ":" .. port
		if not known[key] then
			known[key] = true
			list[#list + 1] = { host = host, port = port }
		end
	end
	return list, add
end

local function add_backups(self, add)
	for _, place in ipairs(self.backup or {}) do
		if type(place) == "table" then
			add(place.host, place.port)
		else
			add(place, self.port)
		end
	end
end

local function watch_overload(self, fd)
	local overload = self.overload
	socket.warning(fd, function(_, size)
		local is_over = size > 0
		if is_over ~= self.is_overloaded then
			self.is_overloaded = is_over
			overload(is_over)
		elseif is_over then
			local text = "WARNING: %d K bytes need to send out (fd = %d %s:%s)"
			skynet.error(string.format(text, size, fd, self.host, self.port))
		end
	end)
	if self.is_overloaded then
		self.is_overloaded = false
		skynet.fork(overload, false)
	end
end

local function new_link(self, fd)
	local link = { fd = fd, sock = setmetatable({ fd }, reader), queue = {}, first = 1, last = 0, sessions = {} }
	self.link = link
	if self.nodelay then
		driver.nodelay(fd)
	end
	-- Drivers bound a line that does not end.
	if self.limit then
		socket.limit(fd, self.limit)
	end
	if self.overload then
		watch_overload(self, fd)
	end
	if not self.response_of then
		socket.onclose(fd, function()
			if link.idle and not link.lost then
				skynet.error("socket closed by peer : ", self.host, self.port)
				fail(self, link)
			end
		end)
	end
	skynet.fork(self.response_of and answer_by_session or answer_in_order, self, link)
	return link
end

-- Whether the new link is good.
local function authenticate(self, link)
	if not self.auth then
		return true
	end
	self.authenticating = coroutine.running()
	local ok, why = pcall(self.auth, self)
	self.authenticating = nil
	if not ok then
		if why ~= socket_error then
			skynet.error("socket: auth failed", why)
		end
		fail(self, link)
	end
	return ok
end

local function connect_once(self)
	local list, add = places(self)
	add(self.host, self.port)
	add_backups(self, add)
	local at, why = 1, nil
	while list[at] and not self.closed do
		local place = list[at]
		if at > 1 then
			skynet.error("socket: connect to backup host", place.host, place.port)
		end
		at = at + 1
		local opened, fd, err = pcall(socket.open, place.host, place.port)
		if not opened then
			fd, err = nil, fd
		end
		if not fd then
			why = err
		elseif self.closed then
			socket.close(fd)
		else
			self.host, self.port = place.host, place.port
			local link = new_link(self, fd)
			if authenticate(self, link) then
				if self.link == link or self.closed then
					return self.link ~= nil
				end
				-- It has named another place, or has lost this one.
				return connect_once(self)
			end
			why = "no more backup host"
			add_backups(self, add)
		end
	end
	return false, why
end

-- Hundredths of a second between two tries: longer each time, then from the beginning.
local STEP <const>, LONGEST <const> = 100, 1000

local function keep_connecting(self, once)
	local pause = 0
	while not self.closed do
		local ok, why = connect_once(self)
		if ok then
			if not once then
				skynet.error("socket: connect to", self.host, self.port)
			end
			return
		elseif once then
			return why
		end
		skynet.error("socket: connect", why)
		if pause > LONGEST then
			skynet.error("socket: try to reconnect", self.host, self.port)
		end
		skynet.sleep(pause)
		pause = pause > LONGEST and 0 or pause + STEP
	end
end

-- True if there is a link for this coroutine, false if the channel is closed, else nil.
local function state(self)
	local link = self.link
	if link then
		if socket.disconnected(link.fd) ~= false then
			skynet.error("socket: disconnect detected ", self.host, self.port)
			fail(self, link)
			return nil
		end
		if not self.authenticating or self.authenticating == coroutine.running() then
			return true
		end
	end
	if self.closed then
		return false
	end
end

-- Whatever ends the coroutine that connects, even `killthread`: others can connect.
local leaving = { __close = function(this)
	local self = this.channel
	local waiting = self.connecting
	self.connecting = nil
	if self.authenticating == this.coroutine then
		self.authenticating = nil
		if self.link then
			fail(self, self.link)
		end
	end
	for _, token in ipairs(waiting) do
		skynet.wakeup(token)
	end
end }

local function connected(self, once)
	local now = state(self)
	if now ~= nil then
		return now
	end
	if self.authenticating == coroutine.running() then
		-- The link is lost on which it signs in.
		error(socket_error)
	end
	local why
	if self.connecting then
		local token = {}
		table.insert(self.connecting, token)
		skynet.wait(token)
	else
		self.connecting = {}
		local this <close> = setmetatable({ channel = self, coroutine = coroutine.running() }, leaving)
		why = keep_connecting(self, once)
	end
	now = state(self)
	if now == nil then
		skynet.error(string.format("Connect to %s:%s failed (%s)", self.host, self.port, why))
		error(socket_error)
	end
	return now
end

-- What users call

function channel:connect(once)
	self.closed = false
	return connected(self, once)
end

function channel:request(request, response, padding)
	assert(connected(self, true))
	local link = self.link
	local write = padding and socket.lwrite or socket.write
	local sent = write(link.fd, request)
	for _, part in ipairs(padding or {}) do
		sent = sent and write(link.fd, part)
	end
	if not sent then
		fail(self, link)
		error(socket_error)
	end
	if response ~= nil then
		return wait_for_answer(link, response, not self.response_of)
	end
end

function channel:response(response)
	assert(connected(self))
	return wait_for_answer(self.link, response, not self.response_of)
end

function channel:close()
	if not self.closed then
		self.closed = true
		if self.link then
			fail(self, self.link)
		end
	end
end

function channel:changehost(host, port)
	self.host, self.port = host, port or self.port
	if not self.closed and self.link then
		fail(self, self.link)
	end
end

function channel:changebackup(backup)
	self.backup = backup
end

local socketchannel = { error = socket_error }

function socketchannel.channel(desc)
	return setmetatable({
		host = assert(desc.host, "a channel has a host"), port = assert(desc.port, "a channel has a port"),
		backup = desc.backup, auth = desc.auth, response_of = desc.response, nodelay = desc.nodelay, overload = desc.overload,
		limit = desc.limit, closed = false, is_overloaded = false,
	}, channel)
end

return socketchannel
