---@meta skynet.db.redis

---A client of Redis.
---@class skynet.db.redis
local redis = {}

---Connects by `host`, `port`, `auth`, `username`, `db`.
---@param conf table
---@return skynet.db.redis.db db
function redis.connect(conf) end

---Connects for messages of channels.
---@param conf table
---@return skynet.db.redis.watcher watcher
function redis.watch(conf) end

---@class skynet.db.redis.db
---@field [string] fun(self: skynet.db.redis.db, ...: any): any Any command of Redis by its name.
local db = {}

---Closes the connection.
function db:disconnect() end

---The command EXISTS, for one key.
---@param key string
---@return boolean is_there
function db:exists(key) end

---The command SISMEMBER.
---@param key string
---@param value string
---@return boolean is_member
function db:sismember(key, value) end

---Sends several commands together: lists of a name and arguments.
---@param ops table[]
---@param resp? table
---@return any answer
function db:pipeline(ops, resp) end

---@class skynet.db.redis.watcher
local watcher = {}

---Closes the connection.
function watcher:disconnect() end

---Waits for a message.
---@return string data
---@return string channel
---@return string|nil pattern
function watcher:message() end

---Subscribes to channels.
---@param ... string
function watcher:subscribe(...) end

---Subscribes to patterns.
---@param ... string
function watcher:psubscribe(...) end

---Gets these channels no longer.
---@param ... string
function watcher:unsubscribe(...) end

---Gets these patterns no longer.
---@param ... string
function watcher:punsubscribe(...) end

return redis
