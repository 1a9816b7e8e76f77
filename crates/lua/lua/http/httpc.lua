-- Requests to HTTP servers.

local skynet, socket, internal = require "skynet", require "http.sockethelper", require "http.internal"

local httpc = {}
local uses_dns = false

-- Names are asked of this server from now on, instead of the system.
function httpc.dns(server, port)
	uses_dns = true
	require "skynet.dns".server(server, port)
end

-- The protocol, and the rest of a host.
local function protocol_of(host)
	local protocol, rest = host:match "^(%a+)://(.*)$"
	if not protocol then
		return "http", host
	end
	protocol = protocol:lower()
	if protocol ~= "http" and protocol ~= "https" then
		error(string.format("Invalid protocol: %s", protocol))
	end
	return protocol, rest
end

local function interface_of(protocol, fd, name)
	if protocol == "http" then
		return {
			read = socket.readfunc(fd), write = socket.writefunc(fd), readall = function() return socket.readall(fd) end,
		}
	end
	local tls = require "http.tlshelper"
	httpc.context = httpc.context or tls.newctx()
	local session = tls.newtls("client", httpc.context, name)
	return {
		init = tls.init_requestfunc(fd, session), close = tls.closefunc(session), read = tls.readfunc(fd, session),
		write = tls.writefunc(fd, session), readall = tls.readallfunc(fd, session),
	}
end

local function finish(interface, fd)
	interface.is_finished = true
	socket.close(fd)
	if interface.close then
		interface.close()
		interface.close = nil
	end
end

local function connect(host, timeout)
	local protocol
	protocol, host = protocol_of(host)
	local name, port = host:match "^%[(.-)%]:?(%d*)$"
	if not name then
		name, port = host:match "^([^:/]+):?(%d*)$"
	end
	assert(name, "Invalid host: " .. host)
	port = tonumber(port) or (protocol == "https" and 443 or 80)
	local is_address = name:find ":" or name:find "^[%d.]+$"
	local address = name
	if uses_dns and not is_address then
		address = require "skynet.dns".resolve(name)
	end
	local fd = socket.connect(address, port, timeout)
	local interface = interface_of(protocol, fd, name)
	if timeout then
		-- What still waits then is told that the stream is over.
		skynet.timeout(timeout, function()
			if not interface.is_finished then
				socket.shutdown(fd)
			end
		end)
	end
	if interface.init then
		local ok, why = pcall(interface.init)
		if not ok then
			finish(interface, fd)
			error(why, 0)
		end
	end
	return fd, interface, host
end

-- Connects, does something, closes.
local function with_connection(host, act)
	local fd, interface, name = connect(host, httpc.timeout)
	local result = table.pack(pcall(act, interface, name))
	finish(interface, fd)
	if not result[1] then
		error(result[2], 0)
	end
	return table.unpack(result, 2, result.n)
end

function httpc.request(method, host, url, recvheader, header, content)
	return with_connection(host, function(interface, name)
		local code, text, fields = internal.request(interface, method, name, url, recvheader, header, content)
		return code, internal.response(interface, code, text, fields)
	end)
end

function httpc.head(host, url, recvheader, header, content)
	return with_connection(host, function(interface, name)
		return (internal.request(interface, "HEAD", name, url, recvheader, header, content))
	end)
end

function httpc.request_stream(method, host, url, recvheader, header, content)
	local fd, interface, name = connect(host, httpc.timeout)
	local ok, code, text, fields = pcall(internal.request, interface, method, name, url, recvheader, header, content)
	-- The time is for the answer's head.
	interface.is_finished = true
	local made, stream = ok, nil
	if ok then
		made, stream = pcall(internal.response_stream, interface, code, text, fields)
	end
	if not made then
		finish(interface, fd)
		error(ok and stream or code, 0)
	end
	stream._onclose = function()
		finish(interface, fd)
	end
	return stream
end

function httpc.get(...)
	return httpc.request("GET", ...)
end

local function escape(text)
	return (tostring(text):gsub("[^%w_]", function(char)
		return string.format("%%%02X", char:byte())
	end))
end

function httpc.post(host, url, form, recvheader)
	local parts = {}
	for name, value in pairs(form) do
		parts[#parts + 1] = escape(name) .. "=" .. escape(value)
	end
	local header = { ["content-type"] = "application/x-www-form-urlencoded" }
	return httpc.request("POST", host, url, recvheader, header, table.concat(parts, "&"))
end

return httpc
