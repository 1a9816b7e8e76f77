---@meta skynet.coroutine

---Coroutines of a script's own, in which functions that wait can be called.
---@class skynet.coroutine
local coroutine = {}

---As `coroutine.close`.
---@param co thread
---@return boolean ok
---@return any err
function coroutine.close(co) end

---As `coroutine.create`.
---@param f function
---@return thread co
function coroutine.create(f) end

---As `coroutine.isyieldable`.
---@return boolean is_yieldable
function coroutine.isyieldable() end

---As `coroutine.resume`. If the coroutine waits for a message, so does this one.
---@param co thread
---@param ... any
---@return boolean ok
---@return any ...
function coroutine.resume(co, ...) end

---As `coroutine.running`.
---@return thread co
---@return boolean is_main
function coroutine.running() end

---As `coroutine.status`, or `"blocked"` if it waits for a message.
---@param co thread
---@return string status
function coroutine.status(co) end

---The coroutine of the service in which this one runs.
---@param co? thread
---@return thread co
---@return boolean is_it
function coroutine.thread(co) end

---As `coroutine.wrap`.
---@param f function
---@return function resume
function coroutine.wrap(f) end

---As `coroutine.yield`.
---@param ... any
---@return any ...
function coroutine.yield(...) end

return coroutine
