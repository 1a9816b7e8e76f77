-- Sends requests to one node of the engine's own cluster, over NATS.

local skynet = require "skynet"
local core, nats = require "moorline.core", require "moorline".cluster

-- The most calls and messages that wait for answers, and the most addresses whose workers are known.
local MOST_CALLS <const>, MOST_KNOWN <const> = 4096, 16384
-- How long these take at most, in seconds: skynet knows no limit for calls, but an answer may be lost on its way. A message is answered
-- when it is handed over, and a question at once.
local CALL <const>, PUSH <const>, QUESTION <const> = 600, 5, 2

local node = ...
local count = 0
-- The worker that has a service, by the address of that.
local slots, known = {}, 0
-- Those who wait until somebody has found that worker, by address: so what they send stays in order.
local finding = {}

local function encoded(message)
	assert(type(message) == "string", "pack messages to nodes with skynet.packstring")
	local text, why = core.cluster_encode(message)
	return text or error(why, 0)
end

local function learn(addr, slot)
	if not slots[addr] then
		if known >= MOST_KNOWN then
			slots, known = {}, 0
		end
		known = known + 1
	end
	slots[addr] = slot
end

-- Asks one worker. Returns the answer; or nil and, in a word, whether it or its service is not there.
local function ask(slot, request, seconds)
	local answer, why = nats.call(node, slot, request, seconds)
	if answer then
		return answer
	elseif why == "NoSuchService" or why == "NoSuchWorker" or why == "Timeout" and seconds == QUESTION then
		return nil, why
	end
	error("cluster node [" .. node .. "]: " .. (why == "Timeout" and "the answer did not come in time" or tostring(why)), 0)
end

local function missing(addr)
	if addr == 0 then
		return "name not found"
	end
	return "cluster node [" .. node .. "] has no service " .. tostring(addr) .. ": it has to register it and to call cluster.open"
end

-- Asks one worker after the other. Returns the answer and the worker. One that does not answer in time is passed over.
local function first(addr, request)
	local slot = 0
	while true do
		local answer, why = ask(slot, request, QUESTION)
		if answer then
			return answer, slot
		elseif why == "NoSuchWorker" then
			error(missing(addr), 0)
		end
		slot = slot + 1
	end
end

-- The worker that has a name. Those who look for one at the same time share the search, and go on in their order.
local function slot_of(addr)
	while finding[addr] do
		local waiter = {}
		table.insert(finding[addr], waiter)
		skynet.wait(waiter)
	end
	if slots[addr] then
		return slots[addr]
	end
	local waiters = {}
	finding[addr] = waiters
	local ok, why, slot = pcall(first, addr, nats.question(addr))
	finding[addr] = nil
	if ok then
		learn(addr, slot)
	end
	for _, waiter in ipairs(waiters) do
		skynet.wakeup(waiter)
	end
	return ok and slot or error(why, 0)
end

local function send(addr, is_push, text)
	local seconds = is_push and PUSH or CALL
	if math.type(addr) == "integer" and addr > 0xffffffff then
		-- A number that `cluster.query` has returned names the worker, too.
		local answer, why = ask((addr >> 32) - 1, nats.request(addr & 0xffffffff, is_push, text), seconds)
		return answer or error(why, 0)
	end
	local request = nats.request(addr, is_push, text)
	if node == nats.node then
		-- Other workers of this node are not asked.
		return ask(nats.slot, request, seconds) or error(missing(addr), 0)
	elseif addr == 0 then
		return (first(addr, request))
	elseif type(addr) == "number" then
		return ask(0, request, seconds) or error(missing(addr), 0)
	end
	local answer = ask(slot_of(addr), request, seconds)
	if not answer then
		-- Another worker has it now.
		slots[addr] = nil
		answer = ask(slot_of(addr), request, seconds)
	end
	return answer or error(missing(addr), 0)
end

local function counted(...)
	if count >= MOST_CALLS then
		error("cluster node [" .. node .. "]: too many calls wait for answers (>" .. MOST_CALLS .. ")", 0)
	end
	count = count + 1
	local ok, answer = pcall(send, ...)
	count = count - 1
	return ok and answer or error(answer, 0)
end

local COMMAND = {}

function COMMAND.req(addr, message)
	local own, why = core.cluster_decode(counted(addr, false, encoded(message)))
	skynet.ret(own or error(why, 0))
end

function COMMAND.push(addr, message)
	counted(addr, true, encoded(message))
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
