---@meta skynet.sharedata

---Tables that all services of the process read.
---@class skynet.sharedata
local sharedata = {}

---Copies the table, or a part of it that keys lead to.
---@param name string
---@param ... any
---@return any copy
function sharedata.deepcopy(name, ...) end

---Removes a table. Who has it goes on reading it.
---@param name string
function sharedata.delete(name) end

---Lets go of parts that nothing refers to.
function sharedata.flush() end

---Shares a table, or what a text or a file (`@path`) returns.
---@param name string
---@param value table|string
---@param ... any
function sharedata.new(name, value, ...) end

---The shared table. It follows changes.
---@param name string
---@return table value
function sharedata.query(name) end

---Changes a shared table.
---@param name string
---@param value table|string
---@param ... any
function sharedata.update(name, value, ...) end

return sharedata
