-- Requests of HTTP clients, and answers to them.

local internal = require "http.internal"

local httpd = {}

local MESSAGES <const> = {
	[100] = "Continue", [101] = "Switching Protocols", [200] = "OK", [201] = "Created", [202] = "Accepted",
	[203] = "Non-Authoritative Information", [204] = "No Content", [205] = "Reset Content", [206] = "Partial Content",
	[300] = "Multiple Choices", [301] = "Moved Permanently", [302] = "Found", [303] = "See Other", [304] = "Not Modified",
	[305] = "Use Proxy", [307] = "Temporary Redirect", [308] = "Permanent Redirect", [400] = "Bad Request",
	[401] = "Unauthorized", [402] = "Payment Required", [403] = "Forbidden", [404] = "Not Found",
	[405] = "Method Not Allowed", [406] = "Not Acceptable", [407] = "Proxy Authentication Required",
	[408] = "Request Time-out", [409] = "Conflict", [410] = "Gone", [411] = "Length Required",
	[412] = "Precondition Failed", [413] = "Request Entity Too Large", [414] = "Request-URI Too Large",
	[415] = "Unsupported Media Type", [416] = "Requested range not satisfiable", [417] = "Expectation Failed",
	[426] = "Upgrade Required", [429] = "Too Many Requests", [500] = "Internal Server Error", [501] = "Not Implemented",
	[502] = "Bad Gateway", [503] = "Service Unavailable", [504] = "Gateway Time-out", [505] = "HTTP Version not supported",
}

-- The size that a header says; false if it says it twice, or something else.
local function size_of(header)
	local length = header["content-length"]
	if length == nil then
		return 0
	end
	return type(length) == "string" and length:find "^%d+$" and math.tointeger(tonumber(length)) or false
end

local function read_body(read, limit, header, text)
	local mode = header["transfer-encoding"]
	if mode == "chunked" then
		-- A proxy may believe either of the two.
		if header["content-length"] then
			return 400
		end
		local body, fields = internal.recvchunkedbody(read, limit, header, text)
		return body and 200 or 413, body, fields
	elseif mode and mode ~= "identity" then
		return 501
	end
	local size = size_of(header)
	if not size then
		return 400
	elseif limit and size > limit then
		return 413
	end
	if #text < size then
		text = text .. read(size - #text)
	end
	return 200, text:sub(1, size), header
end

local function read_all(read, limit)
	local lines = {}
	local text = internal.recvheader(read, lines, "")
	if not text then
		return 413
	end
	local method, url, version = (lines[1] or ""):match "^(%a+)%s+(.-)%s+HTTP/(%d%.%d)$"
	if not method then
		return 400
	elseif version ~= "1.0" and version ~= "1.1" then
		return 505
	end
	local header = internal.parseheader(lines, 2, {})
	if not header then
		return 400
	end
	local code, body, fields = read_body(read, limit, header, text)
	if code ~= 200 then
		return code
	end
	return 200, url, method, fields, body
end

-- A status, the URL, the method, the header and the body. Only the status if it is not 200; nothing and an error if the stream ends.
function httpd.read_request(read, limit)
	local result = table.pack(internal.whole(internal.sockets[read], pcall, read_all, read, limit))
	if result[1] then
		return table.unpack(result, 2, result.n)
	end
	return nil, result[2]
end

local function field(name, value)
	local line = string.format("%s: %s", name, value)
	return line:find "[\r\n]" and error "a field of a header has no line end" or line .. "\r\n"
end

local function write_all(write, status, body, header)
	local head = { string.format("HTTP/1.1 %03d %s\r\n", status, MESSAGES[status] or "") }
	for name, value in pairs(header or {}) do
		for _, each in ipairs(type(value) == "table" and value or { value }) do
			head[#head + 1] = field(name, each)
		end
	end
	local kind = type(body)
	if kind == "string" then
		head[#head + 1] = string.format("content-length: %d\r\n\r\n", #body)
		write(table.concat(head) .. body)
	elseif kind == "function" then
		head[#head + 1] = "transfer-encoding: chunked\r\n\r\n"
		write(table.concat(head))
		for piece in body do
			if piece ~= "" then
				write(string.format("%x\r\n%s\r\n", #piece, piece))
			end
		end
		write "0\r\n\r\n"
	else
		assert(kind == "nil", "a body is a string, a function or nothing")
		head[#head + 1] = "\r\n"
		write(table.concat(head))
	end
end

function httpd.write_response(...)
	return pcall(write_all, ...)
end

return httpd
