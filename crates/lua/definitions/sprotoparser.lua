---@meta sprotoparser

---Reads the text of schemas.
---@class sprotoparser
local sprotoparser = {}

---Prints bytes.
---@param str string
function sprotoparser.dump(str) end

---The binary form of a schema.
---@param text string
---@param name? string
---@return string bin
function sprotoparser.parse(text, name) end

return sprotoparser
