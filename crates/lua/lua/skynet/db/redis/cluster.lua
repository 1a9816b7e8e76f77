-- A cluster of Redis: each command goes to the node that has the slot of its key.
--
-- The map of slots is asked for once, and again after a node has sent a command elsewhere (`MOVED`). A slot that moves at the moment is asked
-- for where it goes (`ASK`), without a change of the map.

local skynet, redis, crc16 = require "skynet", require "skynet.db.redis", require "skynet.db.redis.crc16"
local socket_error = require "skynet.socketchannel".error

local SLOTS <const> = 16384
-- How often a command is sent at most, and the pause in hundredths of a second before each of the later times.
local TRIES <const>, LATER <const>, PAUSE <const> = 16, 8, 10

local cluster = {}
cluster.__index = cluster

-- Several coroutines that want the same thing wait for the first one.
local function once(self, key, func, ...)
	local task = self.__tasks[key]
	if task then
		local token = {}
		table.insert(task, token)
		skynet.wait(token)
	else
		task = {}
		self.__tasks[key] = task
		task.result = table.pack(pcall(func, ...))
		self.__tasks[key] = nil
		for _, token in ipairs(task) do
			skynet.wakeup(token)
		end
	end
	if not task.result then
		error("the wait for " .. key .. " was broken", 0)
	elseif not task.result[1] then
		error(task.result[2], 0)
	end
	return table.unpack(task.result, 2, task.result.n)
end

-- Nodes and slots

function cluster:set_node_name(node)
	if not node.name then
		node.name = string.format("%s:%d", node.host, node.port)
	end
end

local function named(self, host, port)
	local node = { host = host, port = port }
	self:set_node_name(node)
	return node
end

-- A node as a node tells it. One that does not know its own address leaves it out.
local function told(self, entry, asked)
	local host, port = entry[1], entry[2]
	if host == nil or host == "" or host == "?" then
		host = asked.host
	end
	if type(host) ~= "string" or math.type(port) ~= "integer" then
		error("redis: the map of slots has no place of a node", 0)
	end
	return named(self, host, port)
end

-- The map that a node knows: its slots, and the nodes that have them.
local function map_of(self, asked)
	local slots, nodes, count = {}, {}, 0
	for _, range in ipairs(self:get_connection(asked):cluster "slots") do
		local first, last = range[1], range[2]
		if math.type(first) ~= "integer" or math.type(last) ~= "integer" or first < 0 or last >= SLOTS then
			error("redis: the map of slots has a slot that there is not", 0)
		end
		count = count + math.max(0, last - first + 1)
		if count > SLOTS then
			error("redis: the map of slots has more slots than there are", 0)
		end
		local node = told(self, range[3], asked)
		node.slaves = {}
		for i = 4, #range do
			table.insert(node.slaves, told(self, range[i], asked))
		end
		table.insert(nodes, node)
		for slot = first, last do
			slots[slot] = node
		end
	end
	return slots, nodes
end

-- The nodes that may be asked for the map, or for anything: each once.
local function known(self)
	local list, has = {}, {}
	for _, nodes in ipairs { self.nodes, self.startup_nodes } do
		for _, node in ipairs(nodes) do
			self:set_node_name(node)
			if not has[node.name] then
				has[node.name] = true
				table.insert(list, node)
			end
		end
	end
	return list
end

local function initialize(self)
	for _, node in ipairs(known(self)) do
		local ok, slots, nodes = pcall(map_of, self, node)
		if ok then
			self.slots, self.nodes, self.refresh_table_asap = slots, nodes, false
			return
		end
		skynet.error("redis cluster:", node.name, slots)
	end
end

-- Asks for the map of slots. The old one stays if no node answers.
function cluster:initialize_slots_cache()
	once(self, "the map of slots", initialize, self)
end

function cluster:flush_slots_cache()
	self.slots = {}
end

-- Keys with the same text in the first braces have the same slot.
function cluster:keyslot(key)
	key = tostring(key)
	local tag = key:match "^[^{]*{([^}]+)}"
	return crc16(tag or key) % SLOTS
end

local HAS_NO_KEY <const> = { info = true, multi = true, exec = true, slaveof = true, config = true, shutdown = true }

-- The first key of a command's words, or nil where no node is more right than another.
function cluster:get_key_from_command(words)
	local name = string.lower(words[1])
	if HAS_NO_KEY[name] then
		return nil
	elseif name == "eval" or name == "evalsha" then
		-- The script, the number of keys, and the keys.
		for i = 5, 3 + math.min(tonumber(words[3]) or 0, #words - 3) do
			if self:keyslot(words[i]) ~= self:keyslot(words[4]) then
				error(name .. " - all keys must map to the same key slot", 0)
			end
		end
		return words[4]
	end
	return words[2]
end

-- Connections

local function place_of(self, node)
	return { host = node.host, port = node.port, auth = self.opt.auth, username = self.opt.username, db = self.opt.db or 0 }
end

function cluster:get_redis_link(node)
	return redis.connect(place_of(self, node))
end

-- Makes room for one connection.
function cluster:close_existing_connection()
	local count = 0
	for _ in pairs(self.connections) do
		count = count + 1
	end
	if count >= self.max_connections then
		local name, connection = next(self.connections)
		self.connections[name] = nil
		connection:disconnect()
	end
end

function cluster:close_all_connection()
	local connections = self.connections
	self.connections = {}
	for _, connection in pairs(connections) do
		connection:disconnect()
	end
end

local function open(self, node)
	if not self.connections[node.name] then
		self:close_existing_connection()
		self.connections[node.name] = self:get_redis_link(node)
	end
	return self.connections[node.name]
end

-- Fails where the node cannot be reached, also if it was before.
function cluster:get_connection(node)
	self:set_node_name(node)
	local connection = self.connections[node.name]
	if connection then
		connection[1]:connect(true)
		return connection
	end
	return once(self, "a connection to " .. node.name, open, self, node)
end

-- A connection to any node that answers, for when the right one does not or is not known.
function cluster:get_random_connection()
	local nodes = known(self)
	for i = #nodes, 1, -1 do
		local at = math.random(i)
		local node = nodes[at]
		nodes[at] = nodes[i]
		local ok, connection = pcall(self.get_connection, self, node)
		if ok then
			local answered, answer = pcall(connection.ping, connection)
			if answered and answer == "PONG" then
				return connection
			end
		end
	end
	error("Can't reach a single startup node.", 0)
end

function cluster:get_connection_by_slot(slot)
	local node = self.slots[slot]
	if not node then
		return self:get_random_connection()
	end
	local ok, connection = pcall(self.get_connection, self, node)
	if ok then
		return connection
	end
	local slaves = node.slaves or {}
	if self.opt.read_slave and #slaves > 0 then
		ok, connection = pcall(self.get_connection, self, slaves[math.random(#slaves)])
		if ok then
			connection:readonly()
			return connection
		end
	end
	return self:get_random_connection()
end

-- Commands

local SUBSCRIBES <const> = { subscribe = true, unsubscribe = true, psubscribe = true, punsubscribe = true }

-- What an error says that sends a command elsewhere: the word, the slot, and the node.
local function redirection(self, why, connection)
	if type(why) ~= "string" then
		return why == socket_error and "lost" or nil
	end
	local word, slot, host, port = why:match "^(%u+) (%d+) (%S*):(%d+)"
	if word == "MOVED" or word == "ASK" then
		slot, port = tonumber(slot), tonumber(port)
		if slot < SLOTS and port < 65536 then
			return word, slot, named(self, host ~= "" and host or connection[1].host, port)
		end
	elseif why:find "^TRYAGAIN" then
		return "again"
	end
end

-- A connection that was closed to make room for others meanwhile has no methods.
local function send(connection, name, words)
	local method = connection[name] or error(socket_error)
	return method(connection, words)
end

-- One try. `asking` is the node that a slot goes to at the moment.
local function try(self, words, slot, asking, is_random)
	local connection
	if asking then
		connection = self:get_connection(asking)
		-- At once: the next command of the connection is the one that is meant.
		return connection, pcall(send, connection, "pipeline", { { "ASKING" }, words })
	elseif is_random then
		connection = self:get_random_connection()
	else
		connection = self:get_connection_by_slot(slot)
	end
	return connection, pcall(send, connection, words[1], { table.unpack(words, 2) })
end

local function run(self, words, key)
	local slot = self:keyslot(key)
	local asking, is_random, last
	for i = 1, TRIES do
		if i > LATER then
			skynet.sleep(PAUSE)
		end
		local reached, connection, ok, value = pcall(try, self, words, slot, asking, is_random)
		if not reached and not asking then
			error(connection, 0)
		elseif reached and ok then
			return value
		end
		-- A node that is about to get a slot may be gone.
		local why = reached and value or socket_error
		local word, moved, node = redirection(self, why, connection)
		if not word then
			error(why, 0)
		end
		last, asking, is_random = why, nil, word == "lost"
		if word == "MOVED" then
			local old = self.slots[moved]
			node.slaves = old and old.slaves
			self.slots[moved], self.refresh_table_asap = node, true
		elseif word == "ASK" then
			asking = node
		end
	end
	error(string.format("Too many Cluster redirections?,maybe node is disconnected (last error: %q)", tostring(last)), 0)
end

-- The words of a command may also be a table behind its name.
function cluster:call(name, first, ...)
	local words = type(first) == "table" and { name, table.unpack(first) } or { name, first, ... }
	local key = self:get_key_from_command(words)
	if key == nil or type(key) == "table" then
		error("No way to dispatch this command to Redis Cluster: " .. tostring(name), 0)
	end
	local lower = name:lower()
	if SUBSCRIBES[lower] then
		local watcher = self:get_watch_connection_by_slot(self:keyslot(key))
		return watcher[lower](watcher, table.unpack(words, 2))
	end
	if self.refresh_table_asap then
		self:initialize_slots_cache()
	end
	return run(self, words, key)
end

-- Subscriptions

local function hand_on(self, name, watcher)
	-- One that a script has disconnected has no methods.
	while self.__watching[name] == watcher and getmetatable(watcher) do
		local ok, text, channel, pattern = pcall(watcher.message, watcher)
		if not ok then
			skynet.sleep(PAUSE)
		elseif self.__onmessage then
			local handled, why = pcall(self.__onmessage, text, channel, pattern)
			if not handled then
				skynet.error("redis cluster: onmessage:", why)
			end
		end
	end
	if self.__watching[name] == watcher then
		self.__watching[name] = nil
	end
end

local function watch(self, node)
	if not self.__watching[node.name] then
		local watcher = redis.watch(place_of(self, node))
		self.__watching[node.name] = watcher
		skynet.fork(hand_on, self, node.name, watcher)
	end
	return self.__watching[node.name]
end

function cluster:get_watch_connection(node)
	self:set_node_name(node)
	return self.__watching[node.name] or once(self, "a watcher of " .. node.name, watch, self, node)
end

function cluster:get_watch_connection_by_slot(slot)
	if not self.slots[slot] then
		self:initialize_slots_cache()
	end
	local node = self.slots[slot] or error("no node has the slot " .. slot, 0)
	return self:get_watch_connection(node)
end

-- Any other name is a command.
setmetatable(cluster, { __index = function(_, name)
	local function method(self, ...)
		return self:call(name, ...)
	end
	cluster[name] = method
	return method
end })

local module = {}

function module.new(startup_nodes, opt, onmessage)
	opt = opt or {}
	local self = setmetatable({
		startup_nodes = #startup_nodes == 0 and { startup_nodes } or startup_nodes,
		max_connections = opt.max_connections or 256, opt = opt, connections = {}, slots = {}, nodes = {}, refresh_table_asap = false,
		__onmessage = onmessage or false, __watching = {}, __tasks = {},
	}, cluster)
	self:initialize_slots_cache()
	return self
end

return module
