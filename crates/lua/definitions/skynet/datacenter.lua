---@meta skynet.datacenter

---A tree of values for the whole process.
---@class skynet.datacenter
local datacenter = {}

---The value that keys lead to.
---@param ... string
---@return any value
function datacenter.get(...) end

---Sets a value, the last argument, where keys lead to. Returns the one before.
---@param ... any
---@return any before
function datacenter.set(...) end

---Waits until there is a value.
---@param ... string
---@return any value
function datacenter.wait(...) end

return datacenter
