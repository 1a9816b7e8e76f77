---@meta skynet.stm

---A message that one service writes and others read, without asking it.
---@class skynet.stm
local stm = {}

---What a reader in another service takes. Each copy is taken once. One service may have 16,384 that nobody has taken.
---@param writer skynet.stm.writer
---@return lightuserdata copy
function stm.copy(writer) end

---Makes a writer with a packed message.
---@param msg lightuserdata|string
---@param sz? integer
---@return skynet.stm.writer writer
function stm.new(msg, sz) end

---Makes a reader of a copy.
---@param copy lightuserdata
---@return skynet.stm.reader reader
function stm.newcopy(copy) end

---Writes another packed message.
---@class skynet.stm.writer
---@overload fun(msg: lightuserdata|string, sz?: integer)
local writer = {}

---Calls the function with message, size and `more` if the message is new: true and its values, or false.
---@class skynet.stm.reader
---@overload fun(decode: function, more?: any): boolean, ...any
local reader = {}

return stm
