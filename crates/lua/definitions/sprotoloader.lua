---@meta sprotoloader

---Schemas that all services of the process use.
---@class sprotoloader
local sprotoloader = {}

---The schema with a number.
---@param index integer
---@return sproto.sproto schema
function sprotoloader.load(index) end

---Keeps the schema of a file under a number.
---@param filename string
---@param index integer
function sprotoloader.register(filename, index) end

---Keeps a binary form under a number.
---@param bin string
---@param index integer
function sprotoloader.save(bin, index) end

return sprotoloader
