---@meta skynet.queue

---Makes a lock: a function that runs what it is given when no other coroutine is inside.
---@return skynet.queue.lock lock
local function queue() end

---Runs a function inside the lock. The coroutine that is inside may enter again.
---@class skynet.queue.lock
---@overload fun(f: function, ...: any): ...any
local lock = {}

return queue
