---@meta skynet.snax

---Services with named functions: `accept` gets messages, `response` answers requests.
---@class skynet.snax
local snax = {}

---The object of a service with an address.
---@param handle integer
---@param type string
---@return skynet.snax.object object
function snax.bind(handle, type) end

---Ends this service.
---@param ... any
function snax.exit(...) end

---As `uniqueservice`: one process is all harbors.
---@param name string
---@param ... any
---@return skynet.snax.object object
function snax.globalservice(name, ...) end

---Replaces functions of a service while it runs.
---@param obj skynet.snax.object
---@param source string
---@param ... any
---@return any ...
function snax.hotfix(obj, source, ...) end

---The functions that a script has.
---@param name string
---@return table functions
function snax.interface(name) end

---Ends a service. Its function `exit` gets the values.
---@param obj skynet.snax.object
---@param ... any
function snax.kill(obj, ...) end

---Launches a service. Its function `init` gets the values.
---@param name string
---@param ... any
---@return skynet.snax.object object
function snax.newservice(name, ...) end

---Writes a line to the log.
---@param fmt string
---@param ... any
function snax.printf(fmt, ...) end

---How often and how long functions of a service have run.
---@param obj skynet.snax.object
---@return table info
function snax.profile_info(obj) end

---As `queryservice`.
---@param name string
---@return skynet.snax.object object
function snax.queryglobal(name) end

---Waits for a unique service.
---@param name string
---@return skynet.snax.object object
function snax.queryservice(name) end

---As `newservice`, without an object.
---@param name string
---@param ... any
---@return integer addr
function snax.rawnewservice(name, ...) end

---The object of this service.
---@return skynet.snax.object object
function snax.self() end

---Launches a service that is there once, or returns the one that is there.
---@param name string
---@param ... any
---@return skynet.snax.object object
function snax.uniqueservice(name, ...) end

---@class skynet.snax.object
---@field req table<string, fun(...: any): ...any> Calls a function of `response`, and waits for what it returns.
---@field post table<string, fun(...: any)> Sends to a function of `accept`.
---@field handle integer The service.
---@field type string The name of its script.
local object = {}

return snax
