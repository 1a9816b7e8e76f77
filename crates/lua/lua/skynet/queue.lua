-- A critical section: functions that are given to one lock run one after the other, also when they wait.

local skynet = require "skynet"

return function()
	local owner, depth = nil, 0
	local first, last, waiters = 1, 0, {}

	local function leave(ok, ...)
		depth = depth - 1
		if depth == 0 then
			owner = nil
			local next = waiters[first]
			if next then
				waiters[first] = nil
				first = first + 1
				-- It owns the lock from now on, so that nobody comes in before it runs.
				owner = next
				skynet.wakeup(next)
			end
		end
		if not ok then
			error((...), 0)
		end
		return ...
	end

	return function(func, ...)
		local me = coroutine.running()
		if owner and owner ~= me then
			last = last + 1
			waiters[last] = me
			skynet.wait(me)
		end
		owner = me
		depth = depth + 1
		return leave(xpcall(func, debug.traceback, ...))
	end
end
