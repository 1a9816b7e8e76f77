-- A gate whose clients log in elsewhere, shake hands here, and ask. An answer is kept for a while, so that a client that connects again
-- may ask for it again.

local skynet, gateserver, netpack = require "skynet", require "snax.gateserver", require "skynet.netpack"
local crypt, driver = require "skynet.crypt", require "skynet.socketdriver"

local encode, decode = crypt.base64encode, crypt.base64decode

skynet.register_protocol { name = "client", id = skynet.PTYPE_CLIENT }

local server = {}

-- Users by their names; the users of connections; the addresses of connections that have not shaken hands.
local users, connections, strangers = {}, {}, {}

function server.userid(username)
	local uid, name, subid = username:match "([^@]*)@([^#]*)#(.*)"
	return decode(uid), decode(subid), decode(name)
end

function server.username(uid, subid, name)
	return string.format("%s@%s#%s", encode(uid), encode(name), encode(tostring(subid)))
end

function server.login(username, secret)
	assert(not users[username], "the user is logged in already")
	users[username] = { name = username, secret = secret, version = 0, count = 0, answers = {} }
end

function server.logout(username)
	local user = users[username]
	users[username] = nil
	if user and user.fd and connections[user.fd] then
		connections[user.fd] = nil
		gateserver.closeclient(user.fd)
	end
end

function server.ip(username)
	local user = users[username]
	return user and user.fd and user.ip or nil
end

-- Handshakes: NAME:INDEX:CODE. The index rises, so that nobody uses a handshake again.

local function shake_hands(fd, text, addr)
	local name, index, code = text:match "([^:]*):([^:]*):([^:]*)"
	local user = users[name]
	if not user then
		return "404 User Not Found"
	end
	local version = assert(math.tointeger(tonumber(index)), "the index is a number")
	if version <= user.version then
		return "403 Index Expired"
	end
	if crypt.hmac_hash(user.secret, name .. ":" .. index) ~= decode(code) then
		return "401 Unauthorized"
	end
	user.version, user.fd, user.ip = version, fd, addr
	connections[fd] = user
	return "200 OK"
end

local function greet(fd, text, addr)
	local ok, answer = pcall(shake_hands, fd, text, addr)
	if not ok then
		skynet.error(answer)
		answer = "400 Bad Request"
	end
	driver.send(fd, netpack.pack(answer))
	if not connections[fd] then
		gateserver.closeclient(fd)
	end
end

-- Requests: TEXT and a session in four bytes. Answers: TEXT, 1 or 0 in a byte, the session.

-- Forgets old answers when there are twice as many as are kept.
local function forget_old(user, kept)
	if user.count < kept * 2 then
		return
	end
	local newest = 0
	for session, answer in pairs(user.answers) do
		if answer.text and not answer.fd then
			if answer.count < kept then
				user.answers[session] = nil
			else
				answer.count = answer.count - kept
				newest = math.max(newest, answer.count)
			end
		end
	end
	user.count = newest + 1
end

local function handle(user, handler, message, session)
	local ok, text = pcall(handler, user.name, message)
	if not ok then
		skynet.error(text)
		return string.pack(">s2", string.pack(">BI4", 0, session))
	end
	return string.pack(">s2", (text or "") .. string.pack(">BI4", 1, session))
end

local function request(fd, text, handler, kept)
	local user = assert(connections[fd], "invalid fd")
	local session = string.unpack(">I4", text, -4)
	local answer = user.answers[session]
	if answer and answer.version == user.version then
		-- The client uses the number for another request of the same connection.
		user.answers[session] = nil
		assert(answer.text, "Conflict session " .. session)
		answer = nil
	end
	if answer then
		-- It has connected again and asks for the same.
		answer.fd, answer.version, answer.count = fd, user.version, user.count
		if not answer.text then
			return
		end
	else
		answer = { fd = fd, version = user.version, count = user.count }
		user.answers[session] = answer
		local made = handle(user, handler, text:sub(1, -5), session)
		answer.text, answer.version, answer.count = made, user.version, user.count
	end
	user.count = user.count + 1
	-- The handler may have waited, and the client come back.
	if connections[answer.fd] then
		driver.send(answer.fd, answer.text)
	end
	answer.fd = nil
	forget_old(user, kept)
end

function server.start(conf)
	local kept, on_request = conf.expired_number or 128, assert(conf.request_handler)
	local commands = {
		login = assert(conf.login_handler), logout = assert(conf.logout_handler), kick = assert(conf.kick_handler),
	}
	local handler = {}

	function handler.command(cmd, _, ...)
		return assert(commands[cmd], "a server knows no such command")(...)
	end

	function handler.open(_, gate)
		return conf.register_handler(assert(gate.servername, "a server has a servername"), gate)
	end

	function handler.connect(fd, addr)
		strangers[fd] = addr
		gateserver.openclient(fd)
	end

	function handler.disconnect(fd)
		strangers[fd] = nil
		local user = connections[fd]
		if user and conf.disconnect_handler then
			conf.disconnect_handler(user.name)
		end
		if user and connections[fd] then
			connections[fd] = nil
			if user.fd == fd then
				user.fd = nil
			end
		end
		gateserver.closeclient(fd)
	end

	function handler.message(fd, msg, size)
		local text, addr = netpack.tostring(msg, size), strangers[fd]
		if addr then
			strangers[fd] = nil
			return greet(fd, text, addr)
		end
		local ok, why = pcall(request, fd, text, on_request, kept)
		if not ok then
			skynet.error(string.format("Invalid package %s : %s", why, text))
			connections[fd] = nil
			gateserver.closeclient(fd)
		end
	end

	return gateserver.start(handler)
end

return server
