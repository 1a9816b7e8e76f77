---@meta skynet.db.mysql

---A client of MySQL and MariaDB.
---@class skynet.db.mysql
local mysql = {}

---Connects by `host`, `port`, `user`, `password`, `database`, `charset`, `max_packet_size`, `compact_arrays`, `on_connect`.
---@param opts table
---@return skynet.db.mysql.db db
function mysql.connect(opts) end

---A text with quotes, as it stands in a query.
---@param str string
---@return string quoted
function mysql.quote_sql_str(str) end

---@class skynet.db.mysql.db
local db = {}

---Closes the connection.
function db:disconnect() end

---Runs a prepared statement with values.
---@param stmt table
---@param ... any
---@return table result
function db:execute(stmt, ...) end

---Asks whether the server is there.
---@return table result
function db:ping() end

---Prepares a statement.
---@param sql string
---@return table stmt
function db:prepare(sql) end

---Runs a query: a list of rows, or a table with `badresult`, `errno` and `err`.
---@param sql string
---@return table result
function db:query(sql) end

---The version of the server.
---@return string version
function db:server_ver() end

---Rows are lists of values without names.
---@param value boolean
function db:set_compact_arrays(value) end

---Gives a statement up.
---@param stmt table
---@return any result
function db:stmt_close(stmt) end

---Resets a statement.
---@param stmt table
---@return any result
function db:stmt_reset(stmt) end

return mysql
