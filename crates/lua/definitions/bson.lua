---@meta bson

---Documents of BSON.
---@class bson
---@field maxkey any
---@field minkey any
---@field null any
local bson = {}

---A value of bytes.
---@param bytes string
---@return string value
function bson.binary(bytes) end

---A value of a time: seconds since 1970.
---@param seconds number
---@return string value
function bson.date(seconds) end

---The table of a document.
---@param doc any
---@return table value
function bson.decode(doc) end

---A document of a table.
---@param value table
---@return bson.document document
function bson.encode(value) end

---A document of keys and values in order.
---@param ... any
---@return bson.document document
function bson.encode_order(...) end

---A value of an integer of 64 bits.
---@param number integer
---@return string value
function bson.int64(number) end

---A new object id, or that of 24 hexadecimal digits.
---@param id? string
---@return string value
function bson.objectid(id) end

---A value of a pattern.
---@param pattern string
---@param options? string
---@return string value
function bson.regex(pattern, options) end

---A value of a timestamp.
---@param seconds integer
---@param increment? integer
---@return string value
function bson.timestamp(seconds, increment) end

---The document itself: there are no pointers here.
---@param doc bson.document
---@return bson.document document
function bson.to_lightuserdata(doc) end

---The type of a value of BSON.
---@param value any
---@return string type
---@return any value
---@return any more
function bson.type(value) end

---@class bson.document
local document = {}

---The table of the document.
---@return table value
function document:decode() end

---Lets fields of the document be changed in their place.
---@return bson.document document
function document:makeindex() end

return bson
