-- Sends requests to one node, and takes its answers.

local skynet = require "skynet"
local core = require "moorline.core"
local socket, socketchannel, frames = require "skynet.socket", require "skynet.socketchannel", require "skynet.cluster.frames"

-- The most calls that wait for answers.
local MOST_CALLS <const> = 65536
local LAST_SESSION <const> = 0x7fffffff

local node, channel
-- Where the node is, or was last. The channel may still try the place before.
local target = {}
local session, waiting, count = 0, {}, 0
-- Answers in parts, by connection.
local assemblies = setmetatable({}, { __mode = "k" })

local function where()
	return string.format("cluster node [%s] (%s:%s)", node, target.host, target.port)
end

-- The next whole answer.
local function whole(sock)
	local assembly = assemblies[sock] or frames.assembly()
	assemblies[sock] = assembly
	while true do
		local length = socket.header(sock:read(2))
		assert(length > 0, "an empty answer")
		local number, kind, text = frames.parse_answer(sock:read(length))
		if kind == "error" or kind == "whole" then
			return number, kind == "whole", text
		end
		assert(waiting[number], "parts of an answer to no call")
		if kind == "head" then
			assembly:begin(number, text, true)
		else
			local is_whole, answer = assembly:add(number, text, kind == "last")
			if is_whole then
				return number, true, answer
			end
		end
	end
end

local function response(sock)
	local ok, number, is_good, text = pcall(whole, sock)
	if ok then
		return number, is_good, text
	end
	if number ~= socketchannel.error then
		skynet.error(where() .. " sent a malformed answer: " .. tostring(number))
	end
	error(number, 0)
end

local function next_session()
	repeat
		session = session < LAST_SESSION and session + 1 or 1
	until not waiting[session]
	return session
end

local function encoded(message)
	assert(type(message) == "string", "pack messages to nodes with skynet.packstring")
	local text, why = core.cluster_encode(message)
	if not text then
		error(why, 0)
	elseif #text > frames.LONGEST then
		error("a message to a cluster node has at most 64 MiB: send it in parts", 0)
	end
	return text
end

local function send(bytes, number)
	local tag = skynet.tracetag()
	if tag then
		bytes = frames.trace(tag) .. bytes
	end
	if not channel then
		error("cluster node [" .. tostring(node) .. "] is down.", 0)
	elseif channel.host ~= target.host or channel.port ~= target.port then
		channel:changehost(target.host, target.port)
	end
	local ok, answer = pcall(channel.request, channel, bytes, number)
	if ok then
		return answer
	elseif answer == socketchannel.error then
		error(where() .. ": there is no connection, or it was lost before the answer", 0)
	end
	error(answer, 0)
end

local COMMAND = {}

function COMMAND.req(addr, message)
	local text = encoded(message)
	if count >= MOST_CALLS then
		error(where() .. ": too many calls wait for answers (>" .. MOST_CALLS .. ")", 0)
	end
	local number = next_session()
	local bytes = frames.request(addr, number, text)
	waiting[number], count = true, count + 1
	local ok, answer = pcall(send, bytes, number)
	waiting[number], count = nil, count - 1
	if not ok then
		error(answer, 0)
	end
	local own, why = core.cluster_decode(answer)
	skynet.ret(own or error(why, 0))
end

function COMMAND.push(addr, message)
	send(frames.request(addr, next_session(), encoded(message), true))
end

local function move(host, port)
	if not host then
		if channel then
			channel:close()
			channel = nil
		end
		return
	end
	target = { host = host, port = port }
	if not channel then
		channel = socketchannel.channel { host = host, port = port, response = response, nodelay = true }
	elseif channel.host ~= host or channel.port ~= port then
		channel:changehost(host, port)
	end
end

-- The node is elsewhere now, or nowhere. Requests that come after this go there.
function COMMAND.moved(host, port)
	move(host, port)
	skynet.retpack()
end

function COMMAND.changenode(host, port, name)
	node = name or node
	move(host, port)
	if host then
		local ok, why = pcall(channel.connect, channel, true)
		if not ok then
			error(where() .. (why == socketchannel.error and ": cannot connect" or ": " .. tostring(why)), 0)
		end
	end
	skynet.retpack()
end

skynet.start(function()
	skynet.dispatch("lua", function(number, source, command, ...)
		local f = COMMAND[command] or function() error("no command " .. tostring(command), 0) end
		local ok, why = pcall(f, ...)
		if not ok then
			skynet.error(why)
			if number ~= 0 then
				-- The caller is told why.
				skynet.ignoreret()
				core.fail(source, number, tostring(why))
			end
		end
	end)
end)
