---@meta skynet.datasheet

---Tables of configurations that all services read.
---@class skynet.datasheet
local datasheet = {}

---The table with a name. It follows changes.
---@param name string
---@return table value
function datasheet.query(name) end

return datasheet
