-- A collection of MongoDB.
--
-- Names with `safe_` wait for the server: they return whether it is done, else what is wrong, and the whole answer. The others send and go on.

local bson, cursors = require "bson", require "skynet.db.mongo.cursor"

local collection = {}

-- What an answer to a write says.
local function outcome(answer)
	local wrong = answer.writeErrors and answer.writeErrors[1] or answer.writeConcernError
	if answer.ok == 1 and not wrong and not answer.errmsg then
		return true, nil, answer
	end
	return false, wrong and wrong.errmsg or answer.errmsg, answer
end

collection.outcome = outcome

local function write(self, command, name, list)
	return outcome(self.database:runCommand(command, self.name, name, list))
end

local function send(self, command, name, list)
	self.database:send_command(command, self.name, name, list)
end

-- Inserting. Documents get an `_id`, as the server would give it, where nobody hears of that one.

local function identified(document)
	if document._id == nil then
		document._id = bson.objectid()
	end
	return bson.encode(document)
end

-- The list itself changes, as scripts know it.
local function all_identified(documents)
	for i, document in ipairs(documents) do
		documents[i] = identified(document)
	end
	return documents
end

function collection:insert(document)
	send(self, "insert", "documents", { identified(document) })
end

function collection:safe_insert(document)
	return write(self, "insert", "documents", { bson.encode(document) })
end

function collection:raw_safe_insert(document)
	return write(self, "insert", "documents", { document })
end

function collection:batch_insert(documents)
	send(self, "insert", "documents", all_identified(documents))
end

function collection:safe_batch_insert(documents)
	return write(self, "insert", "documents", all_identified(documents))
end

collection.insert_many, collection.safe_insert_many = collection.batch_insert, collection.safe_batch_insert

-- Updating

local function change(query, update, upsert, multi)
	return bson.encode { q = query, u = update, upsert = upsert, multi = multi }
end

local function changes(updates)
	local list = {}
	for i, update in ipairs(updates) do
		list[i] = change(update.query, update.update, update.upsert, update.multi)
	end
	return list
end

function collection:update(...)
	send(self, "update", "updates", { change(...) })
end

function collection:safe_update(...)
	return write(self, "update", "updates", { change(...) })
end

function collection:batch_update(updates)
	send(self, "update", "updates", changes(updates))
end

function collection:safe_batch_update(updates)
	return write(self, "update", "updates", changes(updates))
end

function collection:raw_safe_update(update)
	return write(self, "update", "updates", { update })
end

-- Deleting: all that a query finds, or one of them.

local function deletion(query, is_single)
	return bson.encode { q = query, limit = is_single and 1 or 0 }
end

function collection:delete(query, is_single)
	send(self, "delete", "deletes", { deletion(query, is_single) })
end

function collection:safe_delete(query, is_single)
	return write(self, "delete", "deletes", { deletion(query, is_single) })
end

function collection:safe_batch_delete(queries, is_single)
	local list = {}
	for i, query in ipairs(queries) do
		list[i] = deletion(query, is_single)
	end
	return write(self, "delete", "deletes", list)
end

function collection:raw_safe_delete(delete)
	return write(self, "delete", "deletes", { delete })
end

-- Finding

function collection:find(query, projection)
	return cursors.find(self, query, projection)
end

function collection:findOne(query, projection)
	local cursor = cursors.find(self, query, projection):limit(1)
	if cursor:hasNext() then
		return cursor:next()
	end
end

function collection:aggregate(pipeline, options)
	assert(pipeline, "aggregate has a pipeline")
	return cursors.aggregate(self, pipeline, options)
end

function collection:findAndModify(fields)
	assert(fields.query, "findAndModify has a query")
	assert(fields.update or fields.remove, "findAndModify has an update, or remove")
	local command = { "findAndModify", self.name }
	for name, value in pairs(fields) do
		command[#command + 1], command[#command + 2] = name, value
	end
	return self.database:runCommand(table.unpack(command))
end

-- Indexes

-- `{ { one = 1 }, { two = -1 }, unique = true }`, or names for keys that ascend.
local function index(options)
	local found, keys, names = {}, {}, {}
	for key, value in pairs(options) do
		if type(key) == "string" then
			found[key] = value
		end
	end
	for _, key in ipairs(options) do
		local order = 1
		if type(key) == "table" then
			key, order = next(key)
		end
		keys[#keys + 1], keys[#keys + 2] = key, order
		names[#names + 1] = key .. "_" .. order
	end
	assert(#keys > 0, "an index has keys")
	found.name = found.name or table.concat(names, "_")
	found.key = bson.encode_order(table.unpack(keys))
	return found
end

-- The older form has a key and its options apart.
function collection:createIndex(options, more)
	if more then
		local joined = { options }
		assert(next(options, (next(options))) == nil, "an index of several keys has a table for each: { { one = 1 }, { two = 1 } }")
		for key, value in pairs(more) do
			joined[key] = value
		end
		options = joined
	end
	return self:createIndexes(options)
end

collection.ensureIndex = collection.createIndex

function collection:createIndexes(...)
	local list = {}
	for i, options in ipairs { ... } do
		list[i] = index(options)
	end
	return self.database:runCommand("createIndexes", self.name, "indexes", list)
end

function collection:dropIndex(name)
	return self.database:runCommand("dropIndexes", self.name, "index", name)
end

function collection:drop()
	return self.database:runCommand("drop", self.name)
end

return collection
