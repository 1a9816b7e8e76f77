---@meta skynet.db.redis.cluster

---A client of a cluster of Redis.
---@class skynet.db.redis.cluster
local module = {}

---Connects to the nodes.
---@param startup_nodes table[]
---@param opt? table
---@param watch_conf? table
---@return skynet.db.redis.cluster.cluster cluster
function module.new(startup_nodes, opt, watch_conf) end

---@class skynet.db.redis.cluster.cluster
---@field [string] fun(self: skynet.db.redis.cluster.cluster, ...: any): any Any command of Redis by its name.
local cluster = {}

---A connection to a node.
---@param node table
---@return skynet.db.redis.db db
function cluster:get_redis_link(node) end

---Names a node by its address.
---@param node table
function cluster:set_node_name(node) end

---Asks which node has which keys.
function cluster:initialize_slots_cache() end

---Asks again later.
function cluster:flush_slots_cache() end

---The slot of a key.
---@param key string
---@return integer slot
function cluster:keyslot(key) end

---The key of a command.
---@param argv any[]
---@param conf? table
---@return string|nil key
function cluster:get_key_from_command(argv, conf) end

---Closes a connection, if there are too many.
function cluster:close_existing_connection() end

---Closes all connections.
function cluster:close_all_connection() end

---The connection to a node.
---@param node table
---@return skynet.db.redis.db db
function cluster:get_connection(node) end

---The connection to any node.
---@return skynet.db.redis.db db
function cluster:get_random_connection() end

---The connection to the node of a slot.
---@param slot integer
---@return skynet.db.redis.db db
function cluster:get_connection_by_slot(slot) end

---Sends a command to the node of its key.
---@param ... any
---@return any answer
function cluster:call(...) end

---The watcher at the node of a slot.
---@param slot integer
---@return skynet.db.redis.watcher watcher
function cluster:get_watch_connection_by_slot(slot) end

---The watcher at the node of a key.
---@param key string
---@return skynet.db.redis.watcher watcher
function cluster:get_watch_connection(key) end

return module
