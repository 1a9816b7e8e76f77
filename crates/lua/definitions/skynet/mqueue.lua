---@meta skynet.mqueue

---Requests that a service handles one after the other.
---@class skynet.mqueue
local mqueue = {}

---Sends a request and waits for its answer.
---@param addr skynet.address
---@param ... any
---@return any ...
function mqueue.call(addr, ...) end

---Sets the function that handles requests.
---@param f function
function mqueue.register(f) end

---Sends a request that is not answered.
---@param addr skynet.address
---@param ... any
---@return integer|false session
function mqueue.send(addr, ...) end

---How many requests wait.
---@return integer waiting
function mqueue.size() end

return mqueue
