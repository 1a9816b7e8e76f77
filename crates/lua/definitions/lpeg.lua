---@meta lpeg

---Patterns of text.
---@class lpeg
---@field version string
local lpeg = {}

---Matches if the pattern matches right before.
---@param patt any
---@return userdata pattern
function lpeg.B(patt) end

---Captures what the pattern matches.
---@param patt any
---@return userdata pattern
function lpeg.C(patt) end

---Captures an extra argument of `match`.
---@param n integer
---@return userdata pattern
function lpeg.Carg(n) end

---Captures what a group with this name has captured.
---@param key any
---@return userdata pattern
function lpeg.Cb(key) end

---Captures these values.
---@param ... any
---@return userdata pattern
function lpeg.Cc(...) end

---Folds captures.
---@param patt any
---@param func function
---@return userdata pattern
function lpeg.Cf(patt, func) end

---Groups captures, under a name.
---@param patt any
---@param key? any
---@return userdata pattern
function lpeg.Cg(patt, key) end

---Asks a function at once whether it matches.
---@param patt any
---@param func function
---@return userdata pattern
function lpeg.Cmt(patt, func) end

---Captures the position.
---@return userdata pattern
function lpeg.Cp() end

---Captures the text with what captures replace.
---@param patt any
---@return userdata pattern
function lpeg.Cs(patt) end

---Captures a table of captures.
---@param patt any
---@return userdata pattern
function lpeg.Ct(patt) end

---A pattern of a text, a number, a table, a function.
---@param value any
---@return userdata pattern
function lpeg.P(value) end

---Matches a character in one of the ranges.
---@param ... string
---@return userdata pattern
function lpeg.R(...) end

---Matches a character of the set.
---@param set string
---@return userdata pattern
function lpeg.S(set) end

---Matches a rule of the grammar.
---@param v any
---@return userdata pattern
function lpeg.V(v) end

---Patterns for the classes of characters.
---@param tab? table
---@return table patterns
function lpeg.locale(tab) end

---Matches a text: its captures, or the position behind it.
---@param pattern any
---@param subject string
---@param init? integer
---@param ... any
---@return any ...
function lpeg.match(pattern, subject, init, ...) end

---Prints the code of a pattern.
---@param patt any
function lpeg.pcode(patt) end

---Prints the tree of a pattern.
---@param patt any
function lpeg.ptree(patt) end

---Sets how many choices and calls of a match may wait, 400 at first.
---@param max integer
function lpeg.setmaxstack(max) end

---Whether a value is a pattern.
---@param value any
---@return "pattern"|nil kind
function lpeg.type(value) end

---Matches a character of UTF-8 in a range.
---@param from integer
---@param to integer
---@return userdata pattern
function lpeg.utfR(from, to) end

return lpeg
