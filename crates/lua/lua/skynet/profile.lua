-- How long coroutines run: the time in which they wait is not counted. A coroutine that runs when the module is loaded for the first time
-- is measured from its next wait on: require the module at the top of a script.

local skynet = require "skynet"
local core = require "moorline.core"
local wrap = require "moorline.wrap"

local hpc, co_resume, co_running = core.hpc, coroutine.resume, coroutine.running
local profile = {}
-- Nanoseconds by coroutine, and since when those run that run.
local spent, since = setmetatable({}, { __mode = "k" }), setmetatable({}, { __mode = "k" })

local function paused(co, ...)
	if spent[co] then
		spent[co] = spent[co] + hpc() - since[co]
	end
	return ...
end

-- `coroutine.resume`, with the time.
function profile.resume(co, ...)
	if spent[co] then
		since[co] = hpc()
	end
	return paused(co, co_resume(co, ...))
end

-- `coroutine.wrap`, with the time.
function profile.wrap(f)
	return wrap(profile.resume, f)
end

function profile.start(co)
	co = co or co_running()
	if spent[co] then
		error(string.format("Thread %p start profile more than once", co), 2)
	end
	spent[co], since[co] = 0, hpc()
end

-- The seconds since `start`.
local function measured(co, name)
	local time = spent[co]
	if not time then
		error(string.format("Call profile.start() before profile.%s()", name), 3)
	end
	if co == co_running() then
		time = time + hpc() - since[co]
	end
	return time / 1e9
end

-- Returns seconds, and goes on measuring.
function profile.elapsed(co)
	local seconds = measured(co or co_running(), "elapsed")
	return seconds
end

-- Returns seconds.
function profile.stop(co)
	co = co or co_running()
	local seconds = measured(co, "stop")
	spent[co], since[co] = nil, nil
	return seconds
end

-- The dispatcher's coroutines, too.
local _ = skynet.dispatch_message
core.inner.resume_by(profile.resume)

return profile
