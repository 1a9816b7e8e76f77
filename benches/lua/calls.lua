-- `calls.lua CALLS IN_FLIGHT`: prints the calls a second between two services.

local skynet = require "skynet"
require "skynet.manager"

local calls, in_flight = ...
calls, in_flight = tonumber(calls), tonumber(in_flight)

skynet.start(function()
	local echo = skynet.newservice "echo"
	local left, me = in_flight, coroutine.running()
	local start = skynet.hpc()
	for _ = 1, in_flight do
		skynet.fork(function()
			for i = 1, calls // in_flight do
				skynet.call(echo, "lua", "ping", i)
			end
			left = left - 1
			if left == 0 then
				skynet.wakeup(me)
			end
		end)
	end
	skynet.wait(me)
	print(calls / ((skynet.hpc() - start) / 1e9))
	skynet.abort()
end)
