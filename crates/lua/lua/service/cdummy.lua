-- `.cslave`: what knows the other nodes, in a process without any.

local skynet = require "skynet"
require "skynet.manager"

local waiting = {} -- responses by name
local COMMAND = {}

-- Names are given already when it is told.
function COMMAND.REGISTER(_, name)
	local found = skynet.localname(name)
	for _, response in ipairs(found and waiting[name] or {}) do
		response(true, found)
	end
	waiting[name] = not found and waiting[name] or nil
end

function COMMAND.QUERYNAME(response, name)
	local found = skynet.localname(name)
	if found then
		return response(true, found)
	end
	waiting[name] = waiting[name] or {}
	table.insert(waiting[name], response)
end

function COMMAND.LINK(response)
	response(true)
end

COMMAND.LINKMASTER = COMMAND.LINK

function COMMAND.CONNECT(response)
	skynet.error "Can't connect to other harbor in single node mode"
	response(true)
end

skynet.start(function()
	skynet.register ".cslave"
	skynet.dispatch("lua", function(session, _, command, ...)
		local f = COMMAND[command]
		local response = session ~= 0 and skynet.response() or function() end
		if f then
			f(response, ...)
		else
			response(false)
		end
	end)
end)
