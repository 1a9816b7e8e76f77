-- Coroutines of a script's own, in which the functions of `skynet` that wait can be called: the resumer waits, too.

local wrap = require "moorline.wrap"

local co_resume, co_yield, co_status = coroutine.resume, coroutine.yield, coroutine.status

local M = {
	create = coroutine.create,
	running = coroutine.running,
	isyieldable = coroutine.isyieldable,
	close = coroutine.close,
}

-- The first value of a yield to the script. A function that waits yields nothing.
local OWN = {}
local blocked = setmetatable({}, { __mode = "k" })
local threads = setmetatable({}, { __mode = "k" })

local pass

local function go_on(co, ...)
	blocked[co] = nil
	return pass(co, co_resume(co, ...))
end

function pass(co, ok, ...)
	if not ok then
		return false, ...
	elseif rawequal((...), OWN) then
		return true, select(2, ...)
	elseif co_status(co) == "dead" then
		return true, ...
	end
	-- It waits for a message, which comes to the coroutine that the dispatcher knows.
	blocked[co] = true
	return go_on(co, co_yield())
end

function M.resume(co, ...)
	if blocked[co] then
		-- Its message would come to the wrong place.
		return false, "cannot resume a coroutine that waits in a function of skynet"
	end
	local me = coroutine.running()
	threads[co] = threads[me] or me
	return pass(co, co_resume(co, ...))
end

function M.yield(...)
	return co_yield(OWN, ...)
end

function M.status(co)
	return blocked[co] and "blocked" or co_status(co)
end

function M.thread(co)
	co = co or coroutine.running()
	local thread = threads[co]
	return thread or co, not thread
end

function M.wrap(func)
	return wrap(M.resume, func)
end

return M
