-- Hands requests of other nodes to services of this process.

local skynet = require "skynet"
local core = require "moorline.core"

-- The rest of `skynet` has what coroutines wait with.
local wait_for = skynet.sleep and core.inner.wait_for

local receiver = {}

-- Addresses by names that services have registered.
local names = {}

-- Names have other addresses, or none.
function receiver.take_names(changes)
	for name, addr in pairs(changes) do
		names[name] = addr or nil
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
	end
	return true, text
end

-- The service that a registered name means; of other addresses themselves.
function receiver.named(to)
	if type(to) == "string" and to:byte() == 64 then
		return names[to:sub(2)]
	end
	return to
end

-- The name that `cluster.query` asks for, and its address.
function receiver.asked_name(message)
	local ok, name = pcall(skynet.unpack, message)
	if ok and type(name) == "string" then
		return name, names[name]
	end
end

-- The answer to a call: true and its bytes, or false and the reason.
function receiver.answer(to, message, tag)
	if to == 0 then
		local _, found = receiver.asked_name(message)
		if not found then
			return false, "name not found"
		end
		return true, core.cluster_encode(skynet.packstring(found))
	end
	local address = receiver.named(to)
	if not address then
		return false, "Invalid name"
	end
	return ask(address, message, tag)
end

-- Hands over a message that is not answered. What cannot be handed over is in the log.
function receiver.push(to, message, why)
	local address = receiver.named(to)
	if not message or not address then
		skynet.error(string.format("cluster: a message for %s is lost: %s", to, why or "no service has this name"))
		return
	end
	local ok, problem = core.rawsend(address, skynet.PTYPE_LUA, message)
	if not ok then
		skynet.error(string.format("cluster: a message for %s is lost: %s", skynet.address(address), problem or "there is no such service"))
	end
end

return receiver
