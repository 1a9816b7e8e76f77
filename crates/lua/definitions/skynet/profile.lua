---@meta skynet.profile

---How long coroutines run, without the time in which they wait.
---@class skynet.profile
local profile = {}

---As `coroutine.resume`.
---@param co thread
---@param ... any
---@return boolean ok
---@return any ...
function profile.resume(co, ...) end

---The time of a coroutine that is measured so far, without the time in which it has waited.
---@param co? thread
---@return number seconds
function profile.elapsed(co) end

---Begins to measure a coroutine: this one without an argument.
---@param co? thread
function profile.start(co) end

---Ends it, and returns the time.
---@param co? thread
---@return number seconds
function profile.stop(co) end

---As `coroutine.wrap`.
---@param f function
---@return function resume
function profile.wrap(f) end

return profile
