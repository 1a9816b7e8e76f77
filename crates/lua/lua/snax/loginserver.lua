-- A server where users log in: services with the same script check who they are, and one hands them to a game server.
--
-- The lines of a login: the server's challenge, the client's key, the server's key, the challenge signed with the secret of both keys,
-- the token encrypted with the secret, and the outcome.

local skynet, socket, crypt = require "skynet", require "skynet.socket", require "skynet.crypt"
require "skynet.manager"

-- A client sends short lines.
local LONGEST_INPUT <const> = 8192

local lost = {}

local function alive(value, what, fd)
	if value then
		return value
	end
	skynet.error(string.format("%s failed: socket (fd = %d) closed", what, fd))
	error(lost)
end

local function say(what, fd, line)
	alive(socket.write(fd, line .. "\n"), what, fd)
end

-- Checking

local function line_of(fd)
	return crypt.base64decode((alive(socket.readline(fd), "auth", fd)))
end

local function check(auth_handler, fd)
	socket.limit(fd, LONGEST_INPUT)
	local challenge = crypt.randomkey()
	say("auth", fd, crypt.base64encode(challenge))
	local client_key = line_of(fd)
	assert(#client_key == 8, "Invalid client key")
	local own_key = crypt.randomkey()
	say("auth", fd, crypt.base64encode(crypt.dhexchange(own_key)))
	local secret = crypt.dhsecret(client_key, own_key)
	if line_of(fd) ~= crypt.hmac64(challenge, secret) then
		say("auth", fd, "400 Bad Request")
		error("challenge failed", 0)
	end
	local token = crypt.desdecode(secret, line_of(fd))
	local ok, server, uid = pcall(auth_handler, token)
	return ok, server, uid, secret
end

-- What the master gets: true and the user; false and why not; nothing if the client is gone.
local function outcome(ok, first, ...)
	if ok then
		return first, ...
	elseif first == lost then
		return nil, "socket error"
	end
	return false, first
end

local function run_checker(auth_handler)
	skynet.dispatch("lua", function(_, _, fd, addr)
		skynet.error(string.format("connect from %s (fd = %d)", addr, fd))
		if not socket.start(fd) then
			return skynet.retpack(nil, "socket error")
		end
		local result = table.pack(outcome(pcall(check, auth_handler, fd)))
		socket.abandon(fd)
		skynet.retpack(table.unpack(result, 1, result.n))
	end)
end

-- Logging in

local being_logged_in = {}

local function log_in(conf, checker, fd, addr)
	local ok, server, uid, secret = skynet.call(checker, "lua", fd, addr)
	if not ok then
		if ok ~= nil then
			say("response 401", fd, "401 Unauthorized")
		end
		error(server, 0)
	end
	if not conf.multilogin then
		if being_logged_in[uid] then
			say("response 406", fd, "406 Not Acceptable")
			error(string.format("User %s is already login", uid), 0)
		end
		being_logged_in[uid] = true
	end
	local done, answer = pcall(conf.login_handler, server, uid, secret)
	being_logged_in[uid] = nil
	if not done then
		say("response 403", fd, "403 Forbidden")
		error(answer, 0)
	end
	say("response 200", fd, "200 " .. crypt.base64encode(answer or ""))
end

local function run_master(conf)
	local host, port = conf.host or "0.0.0.0", assert(tonumber(conf.port), "a login server has a port")
	skynet.dispatch("lua", function(_, _, command, ...)
		skynet.retpack(conf.command_handler(command, ...))
	end)
	local checkers, last = {}, 0
	for i = 1, conf.instance or 8 do
		checkers[i] = skynet.newservice(SERVICE_NAME)
	end
	assert(#checkers > 0, "a login server has instances")
	skynet.error(string.format("login server listen at : %s %d", host, port))
	socket.start(socket.listen(host, port), function(fd, addr)
		last = last % #checkers + 1
		local ok, why = pcall(log_in, conf, checkers[last], fd, addr)
		if not ok and why ~= lost then
			skynet.error(string.format("invalid client (fd = %d) error = %s", fd, why))
		end
		socket.close_fd(fd)
	end)
end

return function(conf)
	local name = "." .. (conf.name or "login")
	skynet.start(function()
		if skynet.localname(name) then
			return run_checker(assert(conf.auth_handler, "a login server has an auth_handler"))
		end
		assert(conf.login_handler, "a login server has a login_handler")
		assert(conf.command_handler, "a login server has a command_handler")
		skynet.register(name)
		run_master(conf)
	end)
end
