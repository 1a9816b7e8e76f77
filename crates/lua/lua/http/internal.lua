-- What HTTP servers and clients share (RFC 9112): heads, and bodies in chunks.
--
-- `read` gives bytes: as many as are asked for, or those that come first. It raises an error at the end of the stream.

local core = require "moorline.core"

local internal = {}

-- The sockets of functions that read, for those that read a request as a whole.
internal.sockets = setmetatable({}, { __mode = "k" })

local holding = {}

function holding:__close()
	core.socket_release(self.fd)
end

-- What `func` reads is gone only when it returns, or its coroutine is killed: a socket that goes on in another process, as those behind a
-- gateway do, gives it again there.
function internal.whole(fd, func, ...)
	if fd and core.socket_hold(fd) then
		local _ <close> = setmetatable({ fd = fd }, holding)
		return func(...)
	end
	return func(...)
end

-- A head, or the line before a chunk, is no longer.
local LONGEST_HEAD <const>, LONGEST_SIZE <const> = 8192, 128

-- Reads up to the empty line behind a head. Puts its lines into `lines`, and returns what is behind; nothing if the head is too long.
function internal.recvheader(read, lines, text)
	local from = 1
	while true do
		if text:sub(1, 2) == "\r\n" then
			return text:sub(3)
		end
		local first, last = text:find("\r\n\r\n", from, true)
		if (first or #text) > LONGEST_HEAD then
			return nil
		elseif first then
			for line in text:sub(1, first + 1):gmatch "(.-)\r\n" do
				lines[#lines + 1] = line
			end
			return text:sub(last + 1)
		end
		from = math.max(1, #text - 2)
		text = text .. read()
	end
end

-- Puts the fields of lines into `header`, by their names in small letters; one that comes again is a list. Nothing if a line is no field.
function internal.parseheader(lines, from, header)
	local name
	for i = from, #lines do
		local line = lines[i]
		if line:find "^[ \t]" then
			if not name then
				return nil
			end
			local before = header[name]
			if type(before) == "table" then
				before[#before] = before[#before] .. line:sub(2)
			else
				header[name] = before .. line:sub(2)
			end
		else
			local value
			name, value = line:match "^([^:]+):[ \t]*(.-)[ \t]*$"
			if not name then
				return nil
			end
			name = name:lower()
			local before = header[name]
			if type(before) == "table" then
				table.insert(before, value)
			elseif before then
				header[name] = { before, value }
			else
				header[name] = value
			end
		end
	end
	return header
end

-- The size of the next chunk, and what is behind its line.
local function chunk_size(read, text)
	while true do
		local first, last = text:find("\r\n", 1, true)
		if first then
			local digits = text:sub(1, first - 1):match "^%s*(%x+)%s*$" or text:sub(1, first - 1):match "^%s*(%x+)%s*;"
			if not digits or #digits > 12 then
				return nil
			end
			return tonumber(digits, 16), text:sub(last + 1)
		end
		if #text > LONGEST_SIZE then
			return nil
		end
		text = text .. read()
	end
end

-- A chunk and what is behind the line end that follows it.
local function chunk(read, text, size)
	local missing = size + 2 - #text
	if missing > 0 then
		text = text .. read(missing)
	end
	if text:sub(size + 1, size + 2) ~= "\r\n" then
		return nil
	end
	return text:sub(1, size), text:sub(size + 3)
end

-- The fields behind the last chunk.
local function trailer(read, text, header)
	local lines = {}
	if not internal.recvheader(read, lines, text) then
		return nil
	end
	return internal.parseheader(lines, 1, header)
end

-- A body in chunks, and the header with the fields behind it. Nothing if it is longer than `limit`, or malformed.
function internal.recvchunkedbody(read, limit, header, text)
	local parts, total = {}, 0
	while true do
		local size
		size, text = chunk_size(read, text)
		if not size then
			return nil
		end
		if size == 0 then
			header = trailer(read, text, header)
			return header and table.concat(parts), header
		end
		total = total + size
		if limit and total > limit then
			return nil
		end
		parts[#parts + 1], text = chunk(read, text, size)
		if not text then
			return nil
		end
	end
end

-- Requests of clients

local function one_line(text)
	text = tostring(text)
	return text:find "[\r\n]" and error "a field of a header has no line end" or text
end

function internal.request(interface, method, host, url, recvheader, header, content)
	local head, has_host = { string.format("%s %s HTTP/1.1\r\n", method, one_line(url)) }, false
	for name, value in pairs(header or {}) do
		has_host = has_host or name:lower() == "host"
		for _, each in ipairs(type(value) == "table" and value or { value }) do
			head[#head + 1] = string.format("%s: %s\r\n", one_line(name), one_line(each))
		end
	end
	if not has_host then
		head[#head + 1] = string.format("host: %s\r\n", host)
	end
	local is_chunked = header and header["transfer-encoding"] == "chunked"
	-- A request for WebSocket has no body of any length.
	if not (content and is_chunked or interface.websocket) then
		head[#head + 1] = string.format("content-length: %d\r\n", content and #content or 0)
	end
	head[#head + 1] = "\r\n"
	interface.write(table.concat(head))
	if content then
		interface.write(content)
	end

	local lines, text = {}, ""
	repeat
		lines = {}
		text = internal.recvheader(interface.read, lines, text) or error "Recv header failed"
		-- An answer before the answer, such as "100 Continue".
	until not (lines[1] or ""):find "^HTTP/[%d.]+ 1%d%d" or lines[1]:find " 101"
	local code = tonumber((lines[1] or ""):match "^HTTP/[%d.]+%s+(%d+)") or error "Invalid HTTP response"
	header = internal.parseheader(lines, 2, recvheader or {}) or error "Invalid HTTP response header"
	return code, text, header
end

-- How a body comes: "chunked", a size, "none", or "all" up to the end of the stream.
local function body_kind(code, header)
	local mode, length = header["transfer-encoding"], header["content-length"]
	if mode == "chunked" then
		return "chunked"
	end
	if mode and mode ~= "identity" then
		error "Unsupport transfer-encoding"
	end
	if code == 204 or code == 304 or code < 200 then
		return "none"
	end
	if length then
		local size = type(length) == "string" and length:find "^%d+$" and math.tointeger(tonumber(length))
		return size or error "Invalid HTTP response header"
	end
	return "all"
end

function internal.response(interface, code, text, header)
	local kind = body_kind(code, header)
	if kind == "chunked" then
		return (internal.recvchunkedbody(interface.read, nil, header, text)) or error "Invalid response body"
	elseif kind == "none" then
		return ""
	elseif kind == "all" then
		return text .. (interface.readall() or "")
	end
	if #text < kind then
		text = text .. interface.read(kind - #text)
	end
	return text:sub(1, kind)
end

-- Bodies in pieces

local stream = {}
stream.__index = stream

function stream:close()
	self.next_piece = function() end
	local on_close = self._onclose
	if on_close then
		self._onclose = nil
		on_close(self)
	end
end

function stream:padding()
	return self:next_piece(), self
end

stream.__close = stream.close
stream.__call = stream.padding

-- Ends it: `connected` says how.
local function over(self, connected, ...)
	self.connected = connected
	self:close()
	return ...
end

local function piece_of_size(size)
	return function(self)
		local text = self.text
		self.text = nil
		if not text or text == "" then
			local got, rest = self.interface.read()
			text = got or rest
			if not got then
				return over(self, false, text)
			end
		end
		if #text >= size then
			self.connected = nil
			self.next_piece = stream.close
			return text:sub(1, size)
		end
		size = size - #text
		return text
	end
end

local function piece_of_chunks(self)
	local read = self.interface.read
	local size, text = chunk_size(read, self.text)
	if not size then
		return over(self, false)
	end
	if size == 0 then
		local is_good = trailer(read, text, self.header)
		return over(self, is_good and nil or false)
	end
	local piece
	piece, self.text = chunk(read, text, size)
	if not self.text then
		return over(self, false)
	end
	return piece
end

local function piece_of_rest(self)
	local text = self.text
	self.text = nil
	if text and text ~= "" then
		return text
	end
	local ok, got = pcall(self.interface.read)
	if not ok or not got or got == "" then
		return over(self, nil)
	end
	return got
end

local function no_piece(self)
	return over(self, nil)
end

function internal.response_stream(interface, code, text, header)
	local kind = body_kind(code, header)
	local pieces = { chunked = piece_of_chunks, all = piece_of_rest, none = no_piece, [0] = no_piece }
	return setmetatable({
		status = code, header = header, connected = true, interface = interface, text = text,
		next_piece = pieces[kind] or piece_of_size(kind),
	}, stream)
end

return internal
