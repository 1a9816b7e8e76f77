-- Sockets whose failures are errors.

local skynet, socket, internal = require "skynet", require "skynet.socket", require "http.internal"

local last
local socket_error = setmetatable({}, {
	__tostring = function()
		return "[Socket Error] " .. tostring(last)
	end,
})

local sockethelper = { socket_error = socket_error, close = socket.close, shutdown = socket.shutdown }

local function fail(...)
	last = string.format(...)
	error(socket_error)
end

-- Reads as many bytes as are asked for, or those that come first; those of `before` first of all.
function sockethelper.readfunc(fd, before)
	before = before or ""
	local function read(size)
		local text = before
		if size and size < #text then
			before = text:sub(size + 1)
			return text:sub(1, size)
		end
		before = ""
		if text ~= "" and (not size or size == #text) then
			return text
		end
		local got, _, why = socket.read(fd, size and size - #text)
		if why then
			fail("read failed %s: %s", fd, why)
		end
		return got and text .. got or fail("read failed %s", fd)
	end
	internal.sockets[read] = fd
	return read
end

function sockethelper.readall(fd)
	local text, why = socket.readall(fd)
	if why then
		fail("read failed %s: %s", fd, why)
	end
	return text
end

function sockethelper.writefunc(fd)
	return function(text)
		if not socket.write(fd, text) then
			fail("write failed fd = %s", fd)
		end
	end
end

-- Within `timeout` hundredths of a second, if it is given.
function sockethelper.connect(host, port, timeout)
	local fd, why
	if timeout then
		local token, is_over = {}, false
		skynet.fork(function()
			local ok, id, err = pcall(socket.open, host, port)
			if ok and id and is_over then
				socket.close(id)
			end
			fd, why = ok and id, err or id
			if not is_over then
				skynet.wakeup(token)
			end
		end)
		if skynet.sleep(timeout, token) ~= "BREAK" and fd == nil then
			why = "timeout"
		end
		is_over = true
	else
		fd, why = socket.open(host, port)
	end
	return fd or fail("connect failed host = %s port = %s err = %s", host, port, why)
end

return sockethelper
