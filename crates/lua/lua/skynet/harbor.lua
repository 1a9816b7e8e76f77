-- Names without a dot at their beginning, and the other nodes: this process is all nodes.

local skynet = require "skynet"
local core = require "moorline.core"

local M = {}

local function ask(...)
	return skynet.call(skynet.uniqueservice "cdummy", "lua", ...)
end

-- Gives a service a name, this one if none is said.
function M.globalname(name, handle)
	handle = handle or core.self()
	core.name(name, type(handle) == "number" and handle or core.find(handle))
	-- Its look at the names comes after its own has been given: one of the two sees the other.
	if core.find ".cslave" then
		skynet.send(".cslave", "lua", "REGISTER", name)
	end
end

-- The service with a name, once there is one.
function M.queryname(name)
	return core.find(name) or ask("QUERYNAME", name)
end

-- Returns when the connection to another node ends: there is none.
function M.link(id)
	ask("LINK", id)
end

-- Returns when there is a connection to another node.
function M.connect(id)
	ask("CONNECT", id)
end

-- Returns when the connection to the master ends: there is none.
function M.linkmaster()
	ask "LINKMASTER"
end

return M
