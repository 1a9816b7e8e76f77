---@meta skynet.service

---Services whose code is a function.
---@class skynet.service
local service = {}

---Ends a service.
---@param name string
---@return boolean is_closed
function service.close(name) end

---Launches a service that runs a function with values, or returns the one with this name.
---@param name string
---@param mainfunc function
---@param ... any
---@return integer addr
function service.new(name, mainfunc, ...) end

---The address of a service, once it is there.
---@param name string
---@return integer addr
function service.query(name) end

return service
