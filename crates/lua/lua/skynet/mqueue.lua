-- Messages that are handled one after the other. New code has `skynet.queue`.

local skynet = require "skynet"

local mqueue = {}
local waiting, first, last = {}, 1, 0
local sleeper

skynet.register_protocol {
	name = "queue",
	id = skynet.PTYPE_QUEUE,
	pack = skynet.pack,
	unpack = skynet.unpack,
	dispatch = function(session, source, ...)
		last = last + 1
		waiting[last] = { source = source, respond = session ~= 0 and skynet.response(), args = table.pack(...) }
		if session == 0 then
			skynet.ignoreret()
		end
		if sleeper then
			skynet.wakeup(sleeper)
		end
	end,
}

local function handle(f, message)
	local result = table.pack(pcall(f, table.unpack(message.args, 1, message.args.n)))
	if message.respond then
		-- The caller raises what went wrong.
		message.respond(true, table.unpack(result, 1, result.n))
	elseif not result[1] then
		skynet.error(string.format("[:%x] send a message to [:%x] throw an error : %s", message.source, skynet.self(), result[2]))
	elseif result[2] then
		skynet.error(string.format("[:%x] send a message to [:%x] return something", message.source, skynet.self()))
	end
end

-- Gives the function that handles the messages, once.
function mqueue.register(f)
	assert(not mqueue.handler, "mqueue.register is called once")
	mqueue.handler = f
	skynet.fork(function()
		while true do
			while first <= last do
				local message = waiting[first]
				waiting[first] = nil
				first = first + 1
				handle(f, message)
			end
			sleeper = {}
			skynet.wait(sleeper)
			sleeper = nil
		end
	end)
end

local function answer(ok, ...)
	if ok then
		return ...
	end
	error(..., 0)
end

function mqueue.call(address, ...)
	return answer(skynet.call(address, "queue", ...))
end

function mqueue.send(address, ...)
	return skynet.send(address, "queue", ...)
end

-- How many messages wait.
function mqueue.size()
	return last - first + 1
end

return mqueue
