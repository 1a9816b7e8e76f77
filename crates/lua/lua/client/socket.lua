-- Sockets for clients. `recv` takes what has arrived and never waits. Connecting and sleeping wait, and the service goes on meanwhile.
-- In the main chunk of a script nothing goes on: there the script itself waits, as a client does that a plain Lua runs.

local skynet, socket, core = require "skynet", require "skynet.socket", require "moorline.core"
local plain = require "moorline.clients"

local client = {}
local input

function client.connect(addr, port)
	local id, why = socket.open(addr, port)
	if not id then
		error(string.format("Connect %s %s failed: %s", addr, port, why), 2)
	end
	return id
end

function client.send(id, text)
	if not socket.write(id, text) then
		error("socket error: the connection is closed", 2)
	end
end

-- What is there of a stream: nil if nothing is, an empty string at its end.
local function take(id)
	local text, closed = core.socket_take(id)
	if text then
		return text
	end
	return closed and "" or nil
end

function client.recv(id)
	-- What has arrived meanwhile is read first.
	skynet.yield()
	return take(id)
end

function client.close(id)
	socket.close(id)
end

-- Ends what is sent (`w`), or both directions.
function client.shutdown(id, how)
	if how == "w" then
		core.socket_finish(id)
	else
		socket.shutdown(id)
	end
end

function client.usleep(microseconds)
	skynet.sleep(math.max(1, microseconds // 10000))
end

function client.readstdin()
	input = input or { id = assert(socket.stdin()), text = "" }
	skynet.yield()
	local text = take(input.id)
	input.text = input.text .. (text or "")
	local line, rest = input.text:match "^([^\n]*)\n(.*)"
	if line then
		input.text = rest
	elseif text == "" and input.text ~= "" then
		line, input.text = input.text, ""
	end
	return line
end

-- Of sockets that the main chunk has connected. See `crates/lua/src/clients.rs`.
local FIRST_PLAIN <const> = 1 << 40
local _ = skynet.dispatch_message
local current = core.inner.current

local function by_place(name)
	local of_service, of_client = client[name], plain[name]
	return function(id, ...)
		if not current() or math.type(id) == "integer" and id >= FIRST_PLAIN then
			return of_client(id, ...)
		end
		return of_service(id, ...)
	end
end

local all = {}
for name in pairs(client) do
	all[name] = by_place(name)
end
return all
