---@meta skynet.sharemap

---Objects of a sproto type that one service writes and others read.
---@class skynet.sharemap
local sharemap = {}

---As `writer:commit`.
---@param writer table
function sharemap.commit(writer) end

---As `writer:copy`.
---@param writer table
---@return lightuserdata copy
function sharemap.copy(writer) end

---Reads an object that another service writes.
---@param typename string
---@param copy lightuserdata
---@return skynet.sharemap.reader reader
function sharemap.reader(typename, copy) end

---Reads the types from a file, for all services.
---@param protofile string
function sharemap.register(protofile) end

---As `reader:update`.
---@param reader table
---@return boolean is_new
function sharemap.update(reader) end

---Makes an object that others read.
---@param typename string
---@param obj? table
---@return skynet.sharemap.writer writer
function sharemap.writer(typename, obj) end

---@class skynet.sharemap.writer
local writer = {}

---What a reader in another service takes. Each copy is taken once.
---@return lightuserdata copy
function writer:copy() end

---Shows readers what has changed.
function writer:commit() end

---@class skynet.sharemap.reader
local reader = {}

---Reads what was committed last. True if that is new.
---@return boolean is_new
function reader:update() end

return sharemap
