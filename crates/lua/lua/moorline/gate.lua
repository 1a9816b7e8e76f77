-- The commands of a gate, whose clients are sockets or sessions of the gateway.

local skynet = require "skynet"

-- Runs a gate: `commands` are its own, all others go to the script's handler.
return function(handler, commands)
	local function init()
		skynet.dispatch("lua", function(_, source, cmd, ...)
			local command = commands[cmd]
			if command then
				skynet.retpack(command(source, ...))
			else
				skynet.retpack(handler.command(cmd, source, ...))
			end
		end)
	end

	if handler.embed then
		init()
	else
		skynet.start(init)
	end
end
