---@meta snax.gateserver

---A service that accepts connections, and gets the packets of its clients.
---@class snax.gateserver
local gateserver = {}

---Closes a client.
---@param fd integer
function gateserver.closeclient(fd) end

---Begins to read a client.
---@param fd integer
function gateserver.openclient(fd) end

---Starts the service with functions: `message` and `connect`; `open`, `disconnect`, `error`, `warning`, `command`; `embed`.
---@param handler table
function gateserver.start(handler) end

return gateserver
