---@meta skynet.sharetable

---Tables that all services of the process read, one copy for all.
---@class skynet.sharetable
local sharetable = {}

---Shares what a file returns, under the file's name.
---@param filename string
---@param ... any
function sharetable.loadfile(filename, ...) end

---Shares what a text returns.
---@param filename string
---@param source string
---@param ... any
function sharetable.loadstring(filename, source, ...) end

---Shares a table.
---@param filename string
---@param tbl table
function sharetable.loadtable(filename, tbl) end

---The table with a name.
---@param filename string
---@return table|nil value
function sharetable.query(filename) end

---Several tables, or all of them.
---@param filenamelist? string[]
---@return table<string, table> values
function sharetable.queryall(filenamelist) end

---Lets all that this service holds of these tables follow their newest contents.
---@param ... string
function sharetable.update(...) end

return sharetable
