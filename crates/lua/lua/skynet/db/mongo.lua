-- MongoDB 3.6 and newer: clients, databases, and what they have in `skynet.db.mongo.collection` and `skynet.db.mongo.cursor`.
--
-- Answers name their requests, so any number of coroutines may share a client. A client of a replica set is connected to the primary.

local skynet, bson, driver = require "skynet", require "bson", require "skynet.mongo.driver"
local socketchannel, login = require "skynet.socketchannel", require "skynet.db.mongo.login"
local methods_of_collections = require "skynet.db.mongo.collection"

-- The flag of a message that gets no answer.
local NO_ANSWER <const> = 2
-- Requests have numbers of 31 bits.
local LAST_ID <const> = 0x7fffffff
-- How often the nodes of a set may name one another as the primary, within a second (in hundredths): none of them is.
local MOST_HOPS <const>, SECOND <const> = 16, 100

local client, database = {}, {}

local function shown(what, field)
	return function(self)
		return string.format("[mongo %s : %s]", what, self[field])
	end
end

local client_meta = {
	__index = function(self, name)
		return client[name] or self:getDB(name)
	end,
	__tostring = shown("client", "__place"),
}
local database_meta = {
	__index = function(self, name)
		return database[name] or self:getCollection(name)
	end,
	__tostring = shown("db", "name"),
}
local collection_meta = {
	__index = function(self, name)
		return methods_of_collections[name] or self:getCollection(name)
	end,
	__tostring = shown("collection", "full_name"),
}

-- Connections

-- Reads one answer.
local function reader(waiting)
	return function(sock)
		local size = driver.length(sock:read(4))
		local ok, id, document = driver.reply(sock:read(size))
		if not waiting[id] then
			error(string.format("mongo: the server answers request %d, which does not wait", id), 0)
		end
		waiting[id] = nil
		return id, ok, document
	end
end

local function place(text)
	local host, port = text:match "^%[?([^%]]-)%]?:(%d+)$"
	if not host then
		error("mongo: the server names a node without a port: " .. text:sub(1, 64), 0)
	end
	return host, tonumber(port)
end

local function sign_in(self)
	if not self.username or not self.password then
		return
	end
	local ok, why = login.run(self.authmod or nil, self:getDB(self.authdb or "admin"), self.username, self.password)
	if not ok then
		error("mongo: " .. tostring(why), 0)
	end
end

-- Goes to the node that another one calls the primary.
local function follow(self, named)
	local now = skynet.now()
	if now - self.__hopped > SECOND then
		self.__hops = 0
	end
	self.__hops, self.__hopped = self.__hops + 1, now
	if self.__hops > MOST_HOPS then
		error("mongo: the nodes of the set name no primary that is one", 0)
	end
	self.host, self.port = place(named)
	self.__place = self.host .. ":" .. self.port
	self.__sock:changehost(self.host, self.port)
end

-- What happens on each new connection.
local function begin(self)
	sign_in(self)
	local state = self:runCommand "ismaster"
	if state.ok ~= 1 then
		error("mongo: the node does not say what it is: " .. tostring(state.errmsg), 0)
	end
	if type(state.hosts) == "table" then
		local nodes = {}
		for i, node in ipairs(state.hosts) do
			local host, port = place(node)
			nodes[i] = { host = host, port = port }
		end
		self.__sock:changebackup(nodes)
	end
	if state.ismaster or state.isWritablePrimary then
		self.__hops = 0
	elseif type(state.primary) == "string" then
		follow(self, state.primary)
	else
		-- The next one of the set is tried.
		error("mongo: no primary is known to " .. tostring(state.me), 0)
	end
end

function client:getDB(name)
	local found = { connection = self, name = name, full_name = name }
	found.database = found
	return setmetatable(found, database_meta)
end

function client:disconnect()
	if self.__sock then
		local channel = self.__sock
		self.__sock = false
		channel:close()
	end
end

function client:genId()
	self.__id = self.__id % LAST_ID + 1
	return self.__id
end

-- A command for the database `admin`.
function client:runCommand(...)
	return self:getDB "admin":runCommand(...)
end

-- Writes to several collections, since MongoDB 8.0. An operation names its collection by the place in `namespaces`, from 0. `more` has
-- further fields of the command.
function client:bulkWrite(operations, namespaces, ordered, errors_only, more)
	local command = { "bulkWrite", 1, "ops", operations, "nsInfo", namespaces }
	local fields = { ordered = ordered, errorsOnly = errors_only }
	for name, value in pairs(more or {}) do
		fields[name] = value
	end
	for name, value in pairs(fields) do
		command[#command + 1], command[#command + 2] = name, value
	end
	return methods_of_collections.outcome(self:runCommand(table.unpack(command)))
end

function client:logout()
	return self:runCommand "logout".ok == 1
end

-- Databases

local function channel_of(self)
	return self.connection.__sock or error("the client is disconnected", 3)
end

-- A command's first word is its name; `$db` is where it is for.
local function document(self, name, value, ...)
	if value == nil then
		return bson.encode_order(name, 1, "$db", self.name)
	end
	return bson.encode_order(name, value, "$db", self.name, ...)
end

function database:runCommand(name, value, ...)
	local connection, channel = self.connection, channel_of(self)
	local command = document(self, name, value, ...)
	local id = connection:genId()
	connection.__waiting[id] = true
	local ok, answer = pcall(channel.request, channel, driver.op_msg(id, 0, command), id)
	connection.__waiting[id] = nil
	if not ok then
		error(answer, 0)
	end
	return bson.decode(answer)
end

-- Sends a command and does not wait: nobody hears whether it is done.
function database:send_command(name, value, ...)
	local channel = channel_of(self)
	local command = document(self, name, value or 1, "writeConcern", { w = 0 }, ...)
	channel:request(driver.op_msg(self.connection:genId(), NO_ANSWER, command))
	return { ok = 1 }
end

-- Whether the server lets the user in, and else why not.
function database:auth(user, password)
	return login.run(self.connection.authmod or nil, self, user, password)
end

function database:getCollection(name)
	local found = { connection = self.connection, name = name, full_name = self.full_name .. "." .. name, database = self.database }
	self[name] = setmetatable(found, collection_meta)
	return found
end

methods_of_collections.getCollection = function(self, name)
	local found = { connection = self.connection, name = self.name .. "." .. name, database = self.database }
	found.full_name = self.full_name .. "." .. name
	self[name] = setmetatable(found, collection_meta)
	return found
end

local mongo = { null = bson.null, maxkey = bson.maxkey, minkey = bson.minkey, type = bson.type }

function mongo.client(conf)
	local first = conf.rs and conf.rs[1] or conf
	local function option(name)
		if first[name] ~= nil then
			return first[name]
		end
		return conf[name] or false
	end
	-- What is not there is false: another name is a database.
	local self = {
		host = first.host, port = first.port or 27017, username = option "username", password = option "password",
		authmod = option "authmod", authdb = option "authdb", __id = 0, __waiting = {}, __hops = 0, __hopped = 0,
	}
	self.__place = self.host .. ":" .. self.port
	self.__sock = socketchannel.channel {
		host = self.host, port = self.port, backup = conf.rs, nodelay = true, overload = conf.overload, response = reader(self.__waiting),
		auth = function()
			begin(self)
		end,
	}
	setmetatable(self, client_meta)
	self.__sock:connect(true)
	return self
end

-- `transaction` gives databases `run_transaction`.
function mongo.enable(name)
	require("skynet.db.mongo." .. name).init { mongo_db = database }
end

return mongo
