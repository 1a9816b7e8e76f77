-- The debugger of the console.

local M = {}

function M.start()
	error("skynet.remotedebug is not in Moorline: look at a service with inject, task and info", 2)
end

return M
