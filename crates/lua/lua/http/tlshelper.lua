-- TLS on sockets: functions for a socket and its TLS, as `http.sockethelper` has them for a socket.

local plain, socket, c = require "skynet.socket", require "http.sockethelper", require "ltls.c"

local tlshelper = { newctx = c.newctx, newtls = c.newtls }

-- Calls a method. If it fails, the peer is told why.
local function call(fd, tls, method, text)
	local ok, result, is_over = pcall(tls[method], tls, text)
	if not ok then
		pcall(function()
			socket.writefunc(fd)(tls:write())
		end)
		error(result, 0)
	end
	return result, is_over
end

local function handshake(fd, tls)
	local read, write = socket.readfunc(fd), socket.writefunc(fd)
	return function()
		local received
		while true do
			local answer = call(fd, tls, "handshake", received)
			if answer then
				write(answer)
			end
			if tls:finished() then
				return
			end
			received = read()
		end
	end
end

-- The side that speaks first, and the other one.
tlshelper.init_requestfunc, tlshelper.init_responsefunc = handshake, handshake

function tlshelper.closefunc(tls)
	return function()
		tls:close()
	end
end

function tlshelper.readfunc(fd, tls)
	local read = socket.readfunc(fd)
	local before, has_begun, is_over = "", false, false
	-- The next plaintext: first what came behind the handshake. The peer may have told the end together with the last of it.
	local function more()
		local received, text = nil, ""
		if has_begun and not is_over then
			received = read()
		end
		if not is_over then
			text, is_over = call(fd, tls, "read", received)
		end
		has_begun = true
		if is_over and text == "" then
			error(socket.socket_error)
		end
		return text
	end
	return function(size)
		local parts, count = { before }, #before
		while count < (size or 1) do
			local text = more()
			parts[#parts + 1], count = text, count + #text
		end
		local text = table.concat(parts)
		before = size and text:sub(size + 1) or ""
		return size and text:sub(1, size) or text
	end
end

function tlshelper.writefunc(fd, tls)
	local write = socket.writefunc(fd)
	return function(text)
		return write(tls:write(text))
	end
end

-- Up to the end that the peer tells, or to that of its stream.
function tlshelper.readallfunc(fd, tls)
	return function()
		local parts, is_over = {}, false
		local received, rest
		repeat
			parts[#parts + 1], is_over = call(fd, tls, "read", received or rest)
			if rest then
				break
			end
			if not is_over then
				received, rest = plain.read(fd)
			end
		until is_over
		return table.concat(parts)
	end
end

return tlshelper
