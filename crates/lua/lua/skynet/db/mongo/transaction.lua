-- Transactions of a database: what a function writes is done as a whole or not at all. `mongo.enable "transaction"` brings it.
--
-- Commands of the coroutine belong to its transaction, on all clients of the service.

local bson, outcome = require "bson", require "skynet.db.mongo.collection".outcome

-- A session has few transactions here, but its numbers only rise.
local LAST_NUMBER <const> = 0x7fffffff

local running = setmetatable({}, { __mode = "k" })
local number = 0

local transaction = {}

-- What each command of a transaction has behind its own fields.
local function fields(current, ...)
	local list = table.pack(...)
	for _, value in ipairs { "lsid", current.session, "txnNumber", bson.int64(current.number), "autocommit", false } do
		list.n = list.n + 1
		list[list.n] = value
	end
	if not current.is_started then
		current.is_started = true
		list.n = list.n + 2
		list[list.n - 1], list[list.n] = "startTransaction", true
	end
	return table.unpack(list, 1, list.n)
end

local function ended(self, command)
	local current = running[coroutine.running()]
	-- The server knows nothing of one that has sent nothing.
	if current and not current.is_started then
		return { ok = 1 }
	end
	local ok, answer = pcall(self.connection.runCommand, self.connection, command)
	return ok and answer or { ok = 0, errmsg = tostring(answer) }
end

local methods = {}

-- The server gives it a name.
function methods:startSession_()
	return self:runCommand "startSession"
end

function methods:endSessions_(id)
	return self:runCommand("endSessions", { bson.encode(id) })
end

function methods:commit_transaction_()
	return ended(self, "commitTransaction")
end

function methods:abort_transaction_()
	return ended(self, "abortTransaction")
end

-- Runs a function whose commands are a transaction. Returns nil if all is done, else what went wrong: then nothing is.
function methods:run_transaction(func)
	local me = coroutine.running()
	if running[me] then
		error("a transaction of this coroutine has not ended", 2)
	end
	local session = self:startSession_()
	if session.ok ~= 1 or type(session.id) ~= "table" then
		return session.errmsg or "mongo: the server has given no session"
	end
	number = number % LAST_NUMBER + 1
	running[me] = { session = bson.encode(session.id), number = number, is_started = false }
	local ok, why = xpcall(func, debug.traceback)
	local answer = ok and self:commit_transaction_() or self:abort_transaction_()
	running[me] = nil
	pcall(self.endSessions_, self, session.id)
	if not ok then
		return why
	end
	local is_done, problem = outcome(answer)
	if not is_done then
		return problem or "mongo: the server has not committed"
	end
end

-- An example: three documents or none.
function methods:test_transaction_()
	local collection = self:getCollection "tb_test"
	collection:drop()
	print(self:run_transaction(function()
		for i = 1, 3 do
			assert(collection:safe_insert { _id = bson.objectid(), key = i })
		end
	end))
end

-- Adds them to those of databases.
function transaction.init(depend)
	local database = depend.mongo_db
	if database.run_transaction then
		return
	end
	local run, send = database.runCommand, database.send_command
	for name, method in pairs(methods) do
		database[name] = method
	end

	function database:runCommand(name, value, ...)
		local this = coroutine.running()
		local current = running[this]
		-- A new connection signs in outside of any transaction.
		if not current or self.connection.__sock.authenticating == this then
			return run(self, name, value, ...)
		end
		return run(self, name, value or 1, fields(current, ...))
	end

	-- A server takes no command without an answer in a transaction.
	function database:send_command(name, value, ...)
		local this = coroutine.running()
		if not running[this] or self.connection.__sock.authenticating == this then
			return send(self, name, value, ...)
		end
		local is_done, why, answer = outcome(self:runCommand(name, value, ...))
		if not is_done then
			error(why or "mongo: a command of a transaction failed", 2)
		end
		return answer
	end
end

return transaction
