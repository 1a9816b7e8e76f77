---@meta skynet.datasheet.builder

---Makes tables for `skynet.datasheet`.
---@class skynet.datasheet.builder
local builder = {}

---A table as the text that `new` and `update` take.
---@param v table
---@return string text
function builder.compile(v) end

---Adds a table.
---@param name string
---@param v table|string
function builder.new(name, v) end

---Changes a table.
---@param name string
---@param v table|string
function builder.update(name, v) end

return builder
