---@meta skynet.harbor

---Names for other processes. One process is all harbors here.
---@class skynet.harbor
local harbor = {}

---Waits until a harbor is connected: returns at once.
---@param id integer
function harbor.connect(id) end

---Gives a service a name without a dot: this one without an address.
---@param name string
---@param handle? integer
function harbor.globalname(name, handle) end

---Waits until a harbor is lost: returns at once.
---@param id integer
function harbor.link(id) end

---Waits until the master is lost: returns at once.
function harbor.linkmaster() end

---Waits until a service has a name.
---@param name string
---@return integer addr
function harbor.queryname(name) end

return harbor
