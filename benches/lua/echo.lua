-- Answers a command with its argument.

local skynet = require "skynet"

skynet.start(function()
	skynet.dispatch("lua", function(_, _, _, ...)
		skynet.retpack(...)
	end)
end)
