-- Listens for other nodes: hands their requests to services of this process, and sends the answers back.

local skynet = require "skynet"
local core = require "moorline.core"
local driver, netpack, gateserver = require "skynet.socketdriver", require "skynet.netpack", require "snax.gateserver"
local frames, receiver = require "skynet.cluster.frames", require "skynet.cluster.receiver"

-- The most calls of one connection that wait for answers.
local MOST_CALLS <const> = 65536

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

local function handle(fd, connection, request, text, tag)
	local message, why = core.cluster_decode(text)
	if request.is_push then
		return receiver.push(request.to, message, why)
	end
	if not message then
		return write(fd, connection, request.session, false, why)
	elseif connection.calls >= MOST_CALLS then
		return write(fd, connection, request.session, false, "too many calls wait for answers (>" .. MOST_CALLS .. ")")
	end
	connection.calls = connection.calls + 1
	local ok, answer = receiver.answer(request.to, message, tag)
	if ok and #answer > frames.LONGEST then
		ok, answer = false, "an answer to a cluster node has at most 64 MiB: send it in parts"
	end
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

COMMAND.names = receiver.take_names

function handler.command(command, _, ...)
	local f = COMMAND[command] or error("no command " .. tostring(command), 0)
	return f(...)
end

gateserver.start(handler)
