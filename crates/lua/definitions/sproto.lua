---@meta sproto

---Messages by a schema.
---@class sproto
local module = {}

---A schema of its binary form.
---@param bin string
---@return sproto.sproto schema
function module.new(bin) end

---Shortens encoded bytes.
---@param bytes string|lightuserdata
---@param sz? integer
---@return string packed
function module.pack(bytes, sz) end

---A schema of its text.
---@param ptext string
---@return sproto.sproto schema
function module.parse(ptext) end

---A schema that a loader keeps.
---@param cobj any
---@return sproto.sproto schema
function module.sharenew(cobj) end

---The bytes as they were encoded.
---@param packed string|lightuserdata
---@param sz? integer
---@return string bytes
function module.unpack(packed, sz) end

---@class sproto.host
local host = {}

---Reads a message, and tells what it is.
---@param ... any
---@return "REQUEST"|"RESPONSE" kind
---@return string|integer name_or_session
---@return any ...
function host:dispatch(...) end

---A function that encodes requests to the other side.
---@param sp sproto.sproto
---@return fun(name: string, args?: table, session?: integer, ud?: any): string send
function host:attach(sp) end

---@class sproto.sproto
local sproto = {}

---Decodes a value of a type.
---@param typename string
---@param ... any
---@return table value
---@return integer size
function sproto:decode(typename, ...) end

---A value with all fields as they are by default.
---@param typename string
---@param type? "REQUEST"|"RESPONSE"
---@return table value
function sproto:default(typename, type) end

---Encodes a value of a type.
---@param typename string
---@param tbl table
---@return string bytes
function sproto:encode(typename, tbl) end

---Whether there is a protocol.
---@param pname string
---@return boolean is_there
function sproto:exist_proto(pname) end

---Whether there is a type.
---@param typename string
---@return boolean is_there
function sproto:exist_type(typename) end

---What reads the messages of this side.
---@param packagename? string
---@return sproto.host host
function sproto:host(packagename) end

---As `decode`, of packed bytes.
---@param typename string
---@param ... any
---@return table value
function sproto:pdecode(typename, ...) end

---As `encode`, packed.
---@param typename string
---@param tbl table
---@return string packed
function sproto:pencode(typename, tbl) end

---What a protocol is.
---@param pname string|integer
---@return table protocol
function sproto:queryproto(pname) end

---Decodes a request.
---@param protoname string|integer
---@param ... any
---@return table|nil value
---@return string name
function sproto:request_decode(protoname, ...) end

---Encodes a request.
---@param protoname string|integer
---@param tbl? table
---@return string bytes
---@return integer tag
function sproto:request_encode(protoname, tbl) end

---Decodes an answer.
---@param protoname string|integer
---@param ... any
---@return table|nil value
function sproto:response_decode(protoname, ...) end

---Encodes an answer.
---@param protoname string|integer
---@param tbl? table
---@return string bytes
function sproto:response_encode(protoname, tbl) end

return module
