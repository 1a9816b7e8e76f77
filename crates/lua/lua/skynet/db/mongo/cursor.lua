-- What `find` and `aggregate` find: documents that come in batches.

local bson = require "bson"

local NOTHING <const> = bson.encode {}
-- Batches without a document, one behind the other, of a cursor that goes on.
local MOST_EMPTY <const> = 1000

local cursor = {}
cursor.__index = cursor

-- Options, by the name that the server has for them

for _, name in ipairs { "skip", "limit", "hint", "maxTimeMS", "batchSize" } do
	cursor[name] = function(self, value)
		self.options[name] = value
		return self
	end
end

-- `{ key = 1 }`, or a table for each key, in their order.
function cursor:sort(first, ...)
	if ... then
		local keys = {}
		for _, pair in ipairs { first, ... } do
			local key, value = next(pair)
			keys[#keys + 1], keys[#keys + 2] = key, value
		end
		first = bson.encode_order(table.unpack(keys))
	end
	self.order = first
	return self
end

-- Names and values of options that are set, behind those of a command.
local function with(self, command, ...)
	for _, name in ipairs { ... } do
		local value = self.options[name]
		if value ~= nil then
			command[#command + 1], command[#command + 2] = name, value
		end
	end
	return table.unpack(command)
end

local function checked(answer)
	if answer.ok ~= 1 then
		error(answer.errmsg or "mongo: the server's answer says nothing of an error", 0)
	end
	return answer
end

-- Batches

local function take(self, answer)
	local found = checked(answer).cursor
	local batch = type(found) == "table" and (found.firstBatch or found.nextBatch)
	if type(batch) ~= "table" or math.type(found.id) ~= "integer" then
		error("mongo: the server's answer has no cursor", 0)
	end
	self.batch, self.at, self.id = batch, 0, found.id
	local limit = self.options.limit
	self.count_taken = self.count_taken + #batch
	if limit and limit > 0 and self.count_taken >= limit then
		self:close()
	end
end

local function more(self)
	local name = self.collection.name
	return self.collection.database:runCommand(with(self, { "getMore", bson.int64(self.id), "collection", name }, "batchSize"))
end

-- Whether there is a document for `next`.
function cursor:hasNext()
	if not self.batch then
		take(self, self:start())
	end
	local empty = 0
	while self.at >= #self.batch do
		if self.id == 0 then
			return false
		elseif empty == MOST_EMPTY then
			self:close()
			error(string.format("mongo: %d batches in a row have no document", MOST_EMPTY), 0)
		end
		empty = empty + 1
		local ok, answer = pcall(more, self)
		if ok then
			ok, answer = pcall(take, self, answer)
		end
		if not ok then
			-- Nothing comes behind an error.
			self.batch, self.at, self.id = {}, 0, 0
			error(answer, 0)
		end
	end
	return true
end

function cursor:next()
	if not self.batch or self.at >= #self.batch then
		error("Call hasNext first", 2)
	end
	self.at = self.at + 1
	return self.batch[self.at]
end

-- The server forgets it.
function cursor:close()
	if self.id and self.id ~= 0 then
		local id = self.id
		self.id = 0
		self.collection.database:send_command("killCursors", self.collection.name, "cursors", { bson.int64(id) })
	end
end

local function new(methods, collection)
	return setmetatable({ collection = collection, options = {}, count_taken = 0 }, methods)
end

-- What a query finds

local find = setmetatable({}, { __index = cursor })
find.__index = find

function find:start()
	local command = { "find", self.collection.name, "filter", self.query, "sort", self.order or NOTHING, "projection", self.projection }
	return self.collection.database:runCommand(with(self, command, "skip", "limit", "hint", "maxTimeMS", "batchSize"))
end

function find:count(with_limit_and_skip)
	local command = { "count", self.collection.name, "query", self.query }
	local database = self.collection.database
	if with_limit_and_skip then
		return checked(database:runCommand(with(self, command, "skip", "limit", "hint", "maxTimeMS"))).n
	end
	return checked(database:runCommand(with(self, command, "hint", "maxTimeMS"))).n
end

-- What a pipeline makes

local aggregate = setmetatable({}, { __index = cursor })
aggregate.__index = aggregate

local function command_of(self, stages, ...)
	local pipeline = table.move(self.pipeline, 1, #self.pipeline, 1, {})
	for _, stage in ipairs { ... } do
		pipeline[#pipeline + 1] = stage
	end
	local command = { "aggregate", self.collection.name, "pipeline", pipeline }
	local has_cursor = false
	for name, value in pairs(stages) do
		has_cursor = has_cursor or name == "cursor" or name == "explain"
		command[#command + 1], command[#command + 2] = name, value
	end
	if not has_cursor then
		command[#command + 1] = "cursor"
		command[#command + 1] = bson.encode { batchSize = self.options.batchSize }
	end
	return with(self, command, "hint", "maxTimeMS")
end

-- Stages of the options, with what a count has behind them.
local function stages_of(self, has_order, has_bounds, last)
	local stages = {}
	if has_order and self.order then
		stages[#stages + 1] = { ["$sort"] = self.order }
	end
	local skip, limit = self.options.skip, self.options.limit
	if has_bounds and skip and skip > 0 then
		stages[#stages + 1] = { ["$skip"] = skip }
	end
	if has_bounds and limit and limit > 0 then
		stages[#stages + 1] = { ["$limit"] = limit }
	end
	stages[#stages + 1] = last
	return table.unpack(stages)
end

function aggregate:start()
	return self.collection.database:runCommand(command_of(self, self.more, stages_of(self, true, true)))
end

function aggregate:count(with_limit_and_skip)
	local last = { ["$count"] = "__count" }
	local answer = self.collection.database:runCommand(command_of(self, self.more, stages_of(self, false, with_limit_and_skip, last)))
	local found = checked(answer).cursor
	local first = type(found) == "table" and type(found.firstBatch) == "table" and found.firstBatch[1]
	-- Nothing to count is no document at all.
	return first and first.__count or 0
end

local module = { checked = checked }

function module.find(collection, query, projection)
	local self = new(find, collection)
	self.query = query and bson.encode(query) or NOTHING
	self.projection = projection and bson.encode(projection) or NOTHING
	return self
end

-- `options` are further fields of the command.
function module.aggregate(collection, pipeline, options)
	local self = new(aggregate, collection)
	self.pipeline, self.more = pipeline, options or {}
	return self
end

return module
