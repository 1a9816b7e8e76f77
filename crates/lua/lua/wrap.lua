-- `coroutine.wrap` for functions that resume in their own way.

local function raise(co, ok, ...)
	if ok then
		return ...
	end
	local why = (...)
	if coroutine.status(co) == "dead" then
		-- What it was about to close is closed now, and may change the error.
		local closed, changed = coroutine.close(co)
		why = closed and why or changed
	end
	error(why, 0)
end

return function(resume, func)
	local co = coroutine.create(func)
	return function(...)
		return raise(co, resume(co, ...))
	end
end
