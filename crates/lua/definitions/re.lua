---@meta re

---Patterns of `lpeg` as texts.
---@class re
local re = {}

---The pattern of a text. The text finds what it names in the definitions.
---@param string string
---@param defs? table
---@return userdata pattern
function re.compile(string, defs) end

---Finds the first match: where it begins and ends.
---@param subject string
---@param pattern string|userdata
---@param init? integer
---@return integer|nil first, integer|nil last
function re.find(subject, pattern, init) end

---Replaces all matches.
---@param subject string
---@param pattern string|userdata
---@param replacement any
---@return string text
function re.gsub(subject, pattern, replacement) end

---Matches a text: its captures, or the position behind it.
---@param subject string
---@param pattern string|userdata
---@param init? integer
---@param ... any
---@return any ...
function re.match(subject, pattern, init, ...) end

---Takes the classes of characters anew.
function re.updatelocale() end

return re
