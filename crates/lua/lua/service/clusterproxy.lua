-- Stands for a service of a node: what it gets goes there.

local skynet = require "skynet"
require "skynet.manager"
local core = require "moorline.core"

local wait_for = skynet.sleep and core.inner.wait_for
local node, name = ...
local address = tonumber(name) or name

skynet.register_protocol {
	name = "system",
	id = skynet.PTYPE_SYSTEM,
	unpack = function(...) return ... end,
}

local forwarded = {
	[skynet.PTYPE_SNAX] = skynet.PTYPE_SYSTEM,
	[skynet.PTYPE_LUA] = skynet.PTYPE_SYSTEM,
	[skynet.PTYPE_RESPONSE] = skynet.PTYPE_RESPONSE,
}

skynet.forward_type(forwarded, function()
	local sender = skynet.call(skynet.uniqueservice "clusterd", "lua", "sender", node)
	skynet.dispatch("system", function(session, source, msg, size)
		local message = skynet.tostring(msg, size)
		skynet.trash(msg, size)
		if session == 0 then
			skynet.send(sender, "lua", "push", address, message)
			return
		end
		local number, why = core.rawcall(sender, skynet.PTYPE_LUA, skynet.packstring("req", address, message))
		local ok, answer, answer_size
		if number then
			ok, answer, answer_size = wait_for(number, sender)
			why = answer
		end
		if ok then
			return skynet.ret(answer, answer_size)
		end
		skynet.ignoreret()
		core.fail(source, session, tostring(why or "call failed"))
	end)
end)
