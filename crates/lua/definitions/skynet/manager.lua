---@meta skynet.manager

---Adds functions to `skynet` that start, name and end services. `require "skynet.manager"` returns `skynet`.
---@class skynet
local manager = {}

---Ends the process.
function manager.abort() end

---As `skynet.start`. The function gets the kind, message, size, session and sender of each message and returns what is dispatched.
---@param f function
---@param start_func function
function manager.filter(f, start_func) end

---As `skynet.start`. Messages of a kind in the map are of another kind here, and are passed on without a copy.
---@param map table<integer, integer>
---@param start_func function
function manager.forward_type(map, start_func) end

---Ends a service before its next message.
---@param name skynet.address
function manager.kill(name) end

---Launches `snlua` or `logger` with arguments. Does not wait.
---@param ... any
---@return integer|nil addr
function manager.launch(...) end

---Launches a service that gets the address of each service that ends, as a message `client`; with `query` finds the one that is there.
---@param service string
---@param query? boolean
---@return integer|nil addr
function manager.monitor(service, query) end

---Gives a service a name.
---@param name string
---@param handle skynet.address
function manager.name(name, handle) end

---Gives this service a name.
---@param name string
function manager.register(name) end

return manager
