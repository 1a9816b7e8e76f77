-- Takes requests of other nodes of the engine's own cluster, over NATS.

local skynet = require "skynet"
local core, nats = require "moorline.core", require "moorline".cluster
local receiver = require "skynet.cluster.receiver"

-- The address of a name, and this worker: another one may have given the same number.
local function query(message)
	local name, found = receiver.asked_name(message)
	if name and not found then
		return nil
	elseif not found then
		return false, "name not found"
	end
	return true, core.cluster_encode(skynet.packstring(found | (nats.slot + 1) << 32))
end

local function is_here(to)
	if type(to) ~= "string" then
		return true
	elseif to:byte() == 64 then
		return receiver.named(to) ~= nil
	end
	return skynet.localname(to) ~= nil
end

-- Returns whether it went well, and the answer or the reason; nothing if another worker may have the service.
local function handle(to, what, text)
	if not is_here(to) then
		return nil
	elseif what == "question" then
		return true, ""
	end
	local message, why = core.cluster_decode(text)
	if what == "push" then
		receiver.push(to, message, why)
		return true, ""
	elseif not message then
		return false, why
	elseif to == 0 then
		return query(message)
	end
	return receiver.answer(to, message)
end

skynet.start(function()
	nats.serve(handle)
	skynet.dispatch("lua", function(_, _, command, changes)
		if command == "names" then
			receiver.take_names(changes)
			skynet.retpack()
		else
			error("no command " .. tostring(command), 0)
		end
	end)
end)
