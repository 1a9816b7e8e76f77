---@meta skynet.cluster

---Calls to services of other processes.
---@class skynet.cluster
local cluster = {}

---Calls a service of a node, and waits for its answer.
---@param node string
---@param address skynet.address
---@param ... any
---@return any ...
function cluster.call(node, address, ...) end

---The service that sends to a node.
---@param node string
---@return integer addr
function cluster.get_sender(node) end

---Listens for other nodes.
---@param port string|integer
---@param maxclient? integer
---@return any ...
function cluster.open(port, maxclient) end

---A service of this process that stands for one of a node.
---@param node string
---@param name? string
---@return integer addr
function cluster.proxy(node, name) end

---The address of a service of a node that has registered a name there.
---@param node string
---@param name string
---@return integer addr
function cluster.query(node, name) end

---Gives a service a name for other nodes.
---@param name string
---@param addr? integer
function cluster.register(name, addr) end

---Reads the addresses of the nodes again.
---@param config? table
function cluster.reload(config) end

---Sends a message to a service of a node.
---@param node string
---@param address skynet.address
---@param ... any
function cluster.send(node, address, ...) end

---The object of a snax service of a node.
---@param node string
---@param name string
---@param address? integer
---@return skynet.snax.object object
function cluster.snax(node, name, address) end

---Takes a name away.
---@param name string
function cluster.unregister(name) end

return cluster
