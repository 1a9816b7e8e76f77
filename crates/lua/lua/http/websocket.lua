-- WebSocket (RFC 6455), for servers and clients. Frames are read and written in Rust.

local skynet, core = require "skynet", require "moorline.core"
local socket, crypt = require "skynet.socket", require "skynet.crypt"
local internal, httpd, sockethelper = require "http.internal", require "http.httpd", require "http.sockethelper"
local new_reader, next_frame, frame = core.websocket_reader, core.websocket_next, core.websocket_frame

local websocket = {}

-- The most bytes in a message of several frames, to a server and to a client. A single frame has at most 256 KiB.
local LONGEST_MESSAGE <const>, LONGEST_ANSWER <const> = 256 << 10, 16 << 20
-- How long a handshake takes at most, in hundredths of a second.
local HANDSHAKE_TIME <const> = 3000
local GUID <const> = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

-- The open ones, by their sockets.
local open = {}
local server_context

local function call(self, name, ...)
	local handler = self.handle and self.handle[name]
	if handler then
		handler(self.id, ...)
	end
end

local function plain(id)
	return { read = sockethelper.readfunc(id), write = sockethelper.writefunc(id) }
end

local function encrypted(id, tls, init)
	local tlshelper = require "http.tlshelper"
	tlshelper[init](id, tls)()
	return {
		read = tlshelper.readfunc(id, tls), write = tlshelper.writefunc(id, tls),
		close = function()
			local last = tls:close()
			if last then
				socket.write(id, last)
			end
		end,
	}
end

local function new(id, interface, most)
	local self = {
		id = id, read = interface.read, write = interface.write, end_stream = interface.close, reader = new_reader(most), websocket = true,
	}
	open[id] = self
	return self
end

local function end_connection(self)
	if open[self.id] == self then
		open[self.id] = nil
		if self.end_stream then
			pcall(self.end_stream)
		end
		socket.close(self.id)
	end
end

-- A client masks its frames, by a key of chance if the script gives none.
local function send(self, kind, payload, key)
	self.write(frame(kind, payload, key or self.is_client) or error("a masking key is a number of 32 bits", 3))
end

-- The payload of a close frame. What does not fit is cut, at a character if it is text.
local function close_payload(code, reason)
	if not code then
		return nil
	end
	reason = (reason or ""):sub(1, 123)
	local _, cut = utf8.len(reason)
	if cut and cut > 120 then
		reason = reason:sub(1, cut - 1)
	end
	return string.pack(">I2", code) .. reason
end

-- The next message or control frame. A peer that breaks the protocol is told so.
local function receive(self)
	local text
	text, self.rest = self.rest, nil
	while true do
		local kind, payload, code, reason = next_frame(self.reader, text)
		if kind then
			return kind, payload, code, reason
		elseif kind == false then
			pcall(send, self, "close", close_payload(code, ""))
			error(payload, 0)
		end
		text = self.read()
	end
end

-- Answers a close frame with its code. The peer may be gone.
local function answer_close(self, payload)
	pcall(send, self, "close", payload:sub(1, #payload < 2 and 0 or 2))
end

-- Does something with a socket, which is shut down if that takes too long.
local function within(time, id, act, ...)
	local is_over
	skynet.timeout(time, function()
		if not is_over then
			socket.shutdown(id)
		end
	end)
	local result = table.pack(pcall(act, ...))
	is_over = true
	if not result[1] then
		error(result[2], 0)
	end
	return table.unpack(result, 2, result.n)
end

-- Servers

-- The header and the URL; or nothing, a status and a text.
local function read_request(self)
	local lines = {}
	self.rest = internal.recvheader(self.read, lines, "")
	if not self.rest then
		return nil, 413
	end
	local method, url, version = (lines[1] or ""):match "^(%a+)%s+(.-)%s+HTTP/(%d%.%d)$"
	if not method then
		return nil, 400
	elseif method ~= "GET" then
		return nil, 400, "need GET method"
	elseif tonumber(version) < 1.1 then
		return nil, 505
	end
	local header = internal.parseheader(lines, 2, {})
	if not header then
		return nil, 400
	end
	return header, url
end

-- A field that is there more than once is one list.
local function field(header, name)
	local value = header[name]
	return type(value) == "table" and table.concat(value, ",") or value or ""
end

-- A status and a text if a request is refused; nothing, and a line for the answer if it is not.
local function refusal(header)
	if field(header, "upgrade"):lower() ~= "websocket" then
		return 426, "Upgrade Required"
	elseif not header.host then
		return 400, "host Required"
	elseif not field(header, "connection"):lower():find("upgrade", 1, true) then
		return 400, "Connection must Upgrade"
	end
	local key = field(header, "sec-websocket-key")
	if key == "" then
		return 400, "Sec-WebSocket-Key Required"
	elseif #key ~= 24 or not key:find "^[%w+/]+==$" then
		return 400, "Sec-WebSocket-Key invalid"
	elseif field(header, "sec-websocket-version") ~= "13" then
		return 400, "Sec-WebSocket-Version must 13"
	end
	local protocols = field(header, "sec-websocket-protocol")
	if protocols == "" then
		return nil, ""
	end
	for protocol in protocols:gmatch "[^%s,]+" do
		if protocol == "chat" then
			return nil, "Sec-WebSocket-Protocol: chat\r\n"
		end
	end
	return 400, "Sec-WebSocket-Protocol need include chat"
end

local function accept_key(key)
	return crypt.base64encode(crypt.sha1(key .. GUID))
end

local function refuse(self, status, text)
	local ok, why = httpd.write_response(self.write, status, text)
	if not ok then
		error(why, 0)
	end
end

-- The header and the URL of a request that was answered; nothing if it was refused.
local function answer_handshake(self, upgrade)
	local header, url, why
	if upgrade then
		header, url = upgrade.header, upgrade.url
	else
		header, url, why = read_request(self)
	end
	if not header then
		return refuse(self, url or 400, why)
	end
	local status, text = refusal(header)
	if status then
		return refuse(self, status, text)
	end
	self.real_ip = header["x-real-ip"]
	self.write(string.format(
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n%s\r\n",
		accept_key(field(header, "sec-websocket-key")), text
	))
	return header, url
end

-- Frames that have come already are handled in one go up to this number: then others have their turn.
local FRAMES_AT_ONCE <const> = 64

local function serve(self, upgrade)
	call(self, "connect")
	local header, url = within(HANDSHAKE_TIME, self.id, answer_handshake, self, upgrade)
	if not header then
		return call(self, "close")
	end
	call(self, "handshake", header, url)
	local frames = 0
	while open[self.id] == self do
		local kind, payload, code, reason = receive(self)
		if kind == "close" then
			answer_close(self, payload)
			return call(self, "close", code, reason)
		elseif kind == "ping" then
			send(self, "pong", payload)
			call(self, "ping")
		elseif kind == "pong" then
			call(self, "pong")
		else
			call(self, "message", payload, kind)
		end
		frames = frames + 1
		if frames % FRAMES_AT_ONCE == 0 then
			-- The script may close it meanwhile.
			skynet.yield()
		end
	end
	call(self, "close")
end

local function server_interface(id, protocol, upgrade)
	if upgrade and upgrade.interface then
		return upgrade.interface
	elseif protocol == "ws" then
		return plain(id)
	elseif protocol ~= "wss" then
		error(string.format("invalid websocket protocol:%s", tostring(protocol)))
	end
	local tlshelper = require "http.tlshelper"
	if not server_context then
		local context = tlshelper.newctx()
		context:set_cert(skynet.getenv "certfile" or "./server-cert.pem", skynet.getenv "keyfile" or "./server-key.pem")
		server_context = context
	end
	return within(HANDSHAKE_TIME, id, encrypted, id, tlshelper.newtls("server", server_context), "init_responsefunc")
end

-- Serves a client until its connection ends. True, or false and what was wrong.
function websocket.accept(id, handle, protocol, addr, options)
	local upgrade = options and options.upgrade
	if not upgrade then
		local started, why = socket.start(id)
		if not started then
			return false, why
		end
	end
	local made, interface = xpcall(server_interface, debug.traceback, id, protocol or "ws", upgrade)
	if not made then
		socket.close(id)
		return false, interface
	end
	local self = new(id, interface, LONGEST_MESSAGE)
	self.handle, self.addr = handle, addr
	if handle and handle.warning then
		socket.warning(id, function(_, size)
			handle.warning(self, size)
		end)
	end
	local ok, why = xpcall(serve, debug.traceback, self, upgrade)
	local was_open = open[id] == self
	end_connection(self)
	if ok then
		return true
	elseif why == sockethelper.socket_error then
		call(self, was_open and "error" or "close")
		return true
	end
	return false, why
end

-- Clients

local function check_answer(code, text, fields, key)
	if code ~= 101 then
		error(string.format("websocket handshake error: code[%s] info:%s", code, text), 0)
	elseif field(fields, "upgrade"):lower() ~= "websocket" then
		error("websocket handshake upgrade must websocket", 0)
	elseif not field(fields, "connection"):lower():find("upgrade", 1, true) then
		error("websocket handshake connection must upgrade", 0)
	elseif field(fields, "sec-websocket-accept") == "" then
		error("websocket handshake need Sec-WebSocket-Accept", 0)
	elseif field(fields, "sec-websocket-accept") ~= accept_key(key) then
		error("websocket handshake invalid Sec-WebSocket-Accept", 0)
	end
end

local function ask(self, host, target, header)
	local key = crypt.base64encode(crypt.randomkey() .. crypt.randomkey())
	local request = {
		Upgrade = "websocket", Connection = "Upgrade", ["Sec-WebSocket-Version"] = "13", ["Sec-WebSocket-Key"] = key,
	}
	for name, value in pairs(header or {}) do
		assert(request[name] == nil, name)
		request[name] = value
	end
	local fields = {}
	local code, text = internal.request(self, "GET", host, target, fields, request)
	check_answer(code, text, fields, key)
	self.rest = text
end

local function client_interface(id, protocol, name)
	if protocol == "ws" then
		return plain(id)
	end
	local tlshelper = require "http.tlshelper"
	websocket.context = websocket.context or tlshelper.newctx()
	return encrypted(id, tlshelper.newtls("client", websocket.context, name), "init_requestfunc")
end

-- Connects within `timeout` hundredths of a second, if it is given. Returns the number of the socket.
function websocket.connect(url, header, timeout)
	local protocol, host, target = url:match "^(wss?)://([^/?#]+)([^#]*)"
	if not protocol then
		error(string.format("invalid protocol: %s", url:match "^%a+" or url))
	end
	local name, port = host:match "^%[(.-)%]:?(%d*)$"
	if not name then
		name, port = host:match "^([^:]+):?(%d*)$"
	end
	assert(name, "invalid host")
	target = target:find "^/" and target or "/" .. target
	local start = skynet.now()
	local id = sockethelper.connect(name, tonumber(port) or (protocol == "ws" and 80 or 443), timeout)
	local left = timeout and math.max(0, timeout - (skynet.now() - start))
	local ok, why = pcall(within, left or HANDSHAKE_TIME, id, function()
		local self = new(id, client_interface(id, protocol, name), LONGEST_ANSWER)
		self.is_client = true
		ask(self, host, target, header)
	end)
	if not ok then
		open[id] = nil
		socket.close(id)
		error(why, 0)
	end
	return id
end

-- Both

-- The next message; false and the payload of the close frame if the peer closes.
function websocket.read(id)
	local self = assert(open[id])
	while true do
		local kind, payload = receive(self)
		if kind == "close" then
			answer_close(self, payload)
			end_connection(self)
			return false, payload
		elseif kind == "ping" then
			send(self, "pong", payload)
		elseif kind ~= "pong" then
			return payload
		end
	end
end

function websocket.write(id, data, fmt, masking_key)
	local self = assert(open[id])
	fmt = fmt or "text"
	assert(fmt == "text" or fmt == "binary")
	send(self, fmt, data, masking_key)
end

function websocket.ping(id)
	send(assert(open[id]), "ping")
end

function websocket.addrinfo(id)
	return assert(open[id]).addr
end

function websocket.real_ip(id)
	return assert(open[id]).real_ip
end

function websocket.is_close(id)
	return not open[id]
end

function websocket.close(id, code, reason)
	local self = open[id]
	if not self then
		return
	end
	local ok, why = xpcall(send, debug.traceback, self, "close", close_payload(code, reason))
	end_connection(self)
	if not ok and why ~= sockethelper.socket_error then
		skynet.error(why)
	end
end

return websocket
