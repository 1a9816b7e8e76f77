---@meta skynet.db.mongo.transaction

---Transactions of MongoDB: `mongo.enable "transaction"` adds them to databases.
---@class skynet.db.mongo.transaction
local transaction = {}

---@class skynet.db.mongo.database
local database = {}

---Begins a session.
---@return table session
function database:startSession_() end

---Ends a session.
---@param session table
function database:endSessions_(session) end

---Runs a function in a transaction.
---@param f function
---@return boolean ok
---@return any result
function database:run_transaction(f) end

---Commits.
---@return table result
function database:commit_transaction_() end

---Gives up.
---@return table result
function database:abort_transaction_() end

---Runs a command in the transaction.
---@param cmd string
---@param cmd_v any
---@param ... any
---@return table result
function database:runCommand(cmd, cmd_v, ...) end

---Runs a command in the transaction, without an answer.
---@param cmd string
---@param cmd_v any
---@param ... any
function database:send_command(cmd, cmd_v, ...) end

---For tests.
function database:test_transaction_() end

return transaction
