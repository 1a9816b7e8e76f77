-- A service that is made of a function: `skynet.service`. Its first message brings the function.

local skynet = require "skynet"

local name = ...
local start = skynet.start

start(function()
	skynet.dispatch("lua", function(_, _, command, code, ...)
		assert(command == "init", "the service has no function yet")
		local first
		skynet.start = function(f) first = f end
		-- The function's own dispatcher takes the place of this one.
		skynet.dispatch("lua", function() error("the function has set no dispatcher") end)
		local main = assert(load(code, "=" .. name, "b"))
		main(...)
		if first then
			first()
		end
		skynet.ret()
	end)
end)
