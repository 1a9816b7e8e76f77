-- Listens for other nodes: hands their requests to services of this process, and sends the answers back.

local skynet = require "skynet"
local core = require "moorline.core"
local driver, netpack, gateserver = require "skynet.socketdriver", require "skynet.netpack", require "snax.gateserver"
local frames = require "skynet.cluster.frames"

-- The rest of `skynet` has what coroutines wait with.
local wait_for = skynet.sleep and core.inner.wait_for

-- The most calls of one connection that wait for answers.
local MOST_CALLS <const> = 65536

-- Addresses by names that services have registered.
local names = {}
local connections = {}

local function write(fd, connection, session, ok, message)
	if connections[fd] ~= connection then
		return
	end
	local list = frames.answer(session, ok, message)
	-- Small answers go before the parts of large ones.
	local send = list[2] and driver.lsend or driver.send
	for _, bytes in ipairs(list) do
		send(fd, bytes)
	end
end

-- What a service answers: true and the message, or false and why there is none.
local function ask(to, message, tag)
	local called, ok, answer, size
	if tag then
		called, answer, size = pcall(skynet.tracecall, tag, to, "lua", message)
		ok = called
	else
		local session, why = core.rawcall(to, skynet.PTYPE_LUA, message)
		if not session then
			return false, why
		end
		ok, answer, size = wait_for(session, to)
	end
	if not ok then
		return false, tostring(answer or "call failed")
	end
	local text, why = core.cluster_encode(answer, size)
	skynet.trash(answer, size)
	if not text then
		return false, why
	elseif #text > frames.LONGEST then
		return false, "an answer to a cluster node has at most 64 MiB: send it in parts"
	end
	return true, text
end

-- The address of a name, for `cluster.query`.
local function query(message)
	local ok, name = pcall(skynet.unpack, message)
	local found = ok and type(name) == "string" and names[name]
	if not found then
		return false, "name not found"
	end
	return true, core.cluster_encode(skynet.packstring(found))
end

local function push(to, message)
	local ok, why = core.rawsend(to, skynet.PTYPE_LUA, message)
	if not ok then
		skynet.error(string.format("cluster: a message for %s is lost: %s", skynet.address(to), why or "there is no such service"))
	end
end

local function answer_to(to, message, tag)
	if to == 0 then
		return query(message)
	elseif type(to) == "string" and to:byte() == 64 then
		to = names[to:sub(2)]
		if not to then
			return false, "Invalid name"
		end
	end
	return ask(to, message, tag)
end

local function handle(fd, connection, request, text, tag)
	local message, why = core.cluster_decode(text)
	if request.is_push then
		local to = request.to
		if type(to) == "string" and to:byte() == 64 then
			to = names[to:sub(2)]
		end
		if message and to then
			return push(to, message)
		end
		skynet.error(string.format("cluster: a message for %s is lost: %s", request.to, why or "no service has this name"))
		return
	end
	if not message then
		return write(fd, connection, request.session, false, why)
	elseif connection.calls >= MOST_CALLS then
		return write(fd, connection, request.session, false, "too many calls wait for answers (>" .. MOST_CALLS .. ")")
	end
	connection.calls = connection.calls + 1
	local ok, answer = answer_to(request.to, message, tag)
	connection.calls = connection.calls - 1
	write(fd, connection, request.session, ok, answer)
end

-- Takes a frame: returns a request with its message and its tag once it is whole. Raises an error if the frame is malformed.
local function take(connection, text)
	local frame = frames.parse(text)
	if frame.is_part then
		local request, message = connection.assembly:add(frame.session, frame.text, frame.is_last)
		return request, message, request and request.tag
	elseif not frame.to then
		connection.tag = frame.tag
		return
	end
	local tag = connection.tag
	connection.tag = nil
	if frame.size then
		frame.tag = tag
		connection.assembly:begin(frame.session, frame.size, frame)
		return
	end
	return frame, frame.text, tag
end

local handler = {}

function handler.open(_, conf)
	return conf.address, conf.port
end

function handler.connect(fd, addr)
	skynet.error("socket accept from " .. addr)
	connections[fd] = { addr = addr, assembly = frames.assembly(), calls = 0 }
	gateserver.openclient(fd)
end

function handler.message(fd, msg, size)
	local text, connection = netpack.tostring(msg, size), connections[fd]
	-- The connection may be over for a frame before.
	if not connection then
		return
	end
	local ok, request, message, tag = pcall(take, connection, text)
	if not ok then
		skynet.error(string.format("cluster: the connection of %s ends: it has sent %s", connection.addr, request))
		connections[fd] = nil
		driver.shutdown(fd)
	elseif request then
		handle(fd, connection, request, message, tag)
	end
end

function handler.disconnect(fd)
	connections[fd] = nil
	gateserver.closeclient(fd)
end

local COMMAND = {}

-- Names have other addresses, or none.
function COMMAND.names(changes)
	for name, addr in pairs(changes) do
		names[name] = addr or nil
	end
end

function handler.command(command, _, ...)
	local f = COMMAND[command] or error("no command " .. tostring(command), 0)
	return f(...)
end

gateserver.start(handler)
