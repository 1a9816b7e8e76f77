-- `idle.lua SERVICES`: prints the launches a second, and the memory of one service in bytes.

local skynet = require "skynet"
require "skynet.manager"

local services = tonumber((...))

local function memory()
	for line in io.lines "/proc/self/status" do
		local kilobytes = line:match "^RssAnon:%s+(%d+)"
		if kilobytes then
			return kilobytes * 1024
		end
	end
end

skynet.start(function()
	skynet.newservice "echo"
	local before, start = memory(), skynet.hpc()
	local left, me = services, coroutine.running()
	for _ = 1, 16 do
		skynet.fork(function()
			for _ = 1, services // 16 do
				skynet.newservice "echo"
			end
			left = left - services // 16
			if left == 0 then
				skynet.wakeup(me)
			end
		end)
	end
	skynet.wait(me)
	local seconds = (skynet.hpc() - start) / 1e9
	print(services / seconds, (memory() - before) / services)
	skynet.abort()
end)
