-- Redis: each command is a method.
--
-- Answers come in the order of the requests, so any number of coroutines may share a connection. What breaks the protocol ends the
-- connection: the next request makes a new one.

local socketchannel = require "skynet.socketchannel"

local redis = {}

-- What an answer may have, in bytes: the longest text that a server keeps. Each value counts with 16 more, which it costs in a table.
local LARGEST <const>, VALUE <const> = 512 << 20, 16
-- Arrays in arrays.
local DEEPEST <const> = 64
-- A line: a number, a status or an error. Above what a socket holds back that nobody reads.
local LONGEST_LINE <const> = 1 << 20

-- Answers. Each reader returns whether it is no error, the value, and the bytes that are left for the rest of the answer.

local readers = {}

local function broken(why, ...)
	error("redis: " .. string.format(why, ...), 0)
end

local function number(text)
	local value = tonumber(text)
	if math.type(value) ~= "integer" then
		broken("the server sent %q as a number", text:sub(1, 32))
	end
	return value
end

local function less(room, size)
	if size > room then
		broken("an answer has more than %d bytes", LARGEST)
	end
	return room - size
end

local function read_value(sock, room, depth)
	local line = sock:readline "\r\n"
	local read = readers[line:sub(1, 1)]
	if not read then
		broken("the server sent %q, which is none of RESP2", line:sub(1, 32))
	end
	return read(sock, line:sub(2), less(room, #line), depth)
end

readers["+"] = function(_, text, room)
	return true, text, room
end

readers["-"] = function(_, text, room)
	return false, text, room
end

readers[":"] = function(_, text, room)
	return true, number(text), room
end

readers["$"] = function(sock, text, room)
	local size = number(text)
	if size < 0 then
		return true, nil, room
	end
	room = less(room, size)
	local data = sock:read(size + 2)
	if data:sub(-2) ~= "\r\n" then
		broken "a text of the server is longer than it says"
	end
	return true, data:sub(1, -3), room
end

readers["*"] = function(sock, text, room, depth)
	local count = number(text)
	if count < 0 then
		return true, nil, room
	elseif depth == DEEPEST then
		broken("an answer has more than %d arrays in arrays", DEEPEST)
	end
	-- The division keeps a huge number from wrapping around.
	less(room // VALUE, count)
	room = room - count * VALUE
	local values, is_good = {}, true
	for i = 1, count do
		local ok
		ok, values[i], room = read_value(sock, room, depth + 1)
		is_good = is_good and ok
	end
	return is_good, values, room
end

local function answer(sock)
	local ok, value = read_value(sock, LARGEST, 0)
	return ok, value
end

local function truth(sock)
	local ok, value = answer(sock)
	if ok then
		value = value ~= 0
	end
	return ok, value
end

-- Requests

-- `values` may have nothing but trailing nils.
local function message(values, count)
	while count > 0 and values[count] == nil do
		count = count - 1
	end
	local parts = { "*" .. count }
	for i = 1, count do
		local value = values[i]
		if value == nil then
			error(string.format("argument %d of %s is nil: send an empty string, or leave it out", i - 1, values[1]), 3)
		end
		value = tostring(value)
		parts[2 * i] = "$" .. #value
		parts[2 * i + 1] = value
	end
	parts[2 * count + 2] = ""
	return table.concat(parts, "\r\n")
end

-- Arguments are values, or a table of them.
local function command(name, first, ...)
	if type(first) == "table" then
		return message({ name, table.unpack(first) }, #first + 1)
	end
	return message({ name, first, ... }, select("#", ...) + 2)
end

local function login(conf, after)
	local auth, db = conf.auth, conf.db
	return function(channel)
		if auth ~= nil then
			local words = type(auth) == "table" and auth or conf.username and { conf.username, auth } or { auth }
			channel:request(command("AUTH", words), answer)
		end
		if db ~= nil then
			channel:request(command("SELECT", db), answer)
		end
		if after then
			after(channel)
		end
	end
end

local function connected(conf, overload, after)
	local channel = socketchannel.channel {
		host = conf.host, port = conf.port or 6379, auth = login(conf, after), nodelay = true, overload = overload, limit = LONGEST_LINE,
	}
	channel:connect(true)
	return channel
end

local client = {}
local client_meta = { __index = client }

function redis.connect(conf)
	return setmetatable({ connected(conf, conf.overload) }, client_meta)
end

function client:disconnect()
	self[1]:close()
	setmetatable(self, nil)
end

function client:exists(key)
	return self[1]:request(command("EXISTS", key), truth)
end

function client:sismember(key, value)
	return self[1]:request(command("SISMEMBER", key, value), truth)
end

-- The answers go into `answers` as `ok` and `out`; without such a table the last one is returned.
function client:pipeline(commands, answers)
	assert(commands and #commands > 0, "a pipeline has at least one command")
	local parts = {}
	for i, words in ipairs(commands) do
		parts[i] = message(words, #words)
	end
	return self[1]:request(table.concat(parts), function(sock)
		local ok, out
		for _ = 1, #parts do
			ok, out = answer(sock)
			if answers then
				table.insert(answers, { ok = ok, out = out })
			end
		end
		if answers then
			return true, answers
		end
		return ok, out
	end)
end

setmetatable(client, { __index = function(_, name)
	local upper = name:upper()
	local function method(self, ...)
		return self[1]:request(command(upper, ...), answer)
	end
	client[name] = method
	return method
end })

-- Watchers subscribe to channels, and get what is published.

local watcher = {}
local watcher_meta = { __index = watcher }

function redis.watch(conf)
	local self = { __subscribe = {}, __psubscribe = {} }
	-- Also on a new connection.
	self.__sock = connected({ host = conf.host, port = conf.port, auth = conf.auth, username = conf.username }, nil, function(channel)
		for pattern in pairs(self.__psubscribe) do
			channel:request(command("PSUBSCRIBE", pattern))
		end
		for name in pairs(self.__subscribe) do
			channel:request(command("SUBSCRIBE", name))
		end
	end)
	return setmetatable(self, watcher_meta)
end

function watcher:disconnect()
	self.__sock:close()
	setmetatable(self, nil)
end

for name, list in pairs { subscribe = "__subscribe", psubscribe = "__psubscribe" } do
	local subscribe, unsubscribe = name, "un" .. name
	if name == "psubscribe" then
		unsubscribe = "punsubscribe"
	end
	watcher[subscribe] = function(self, ...)
		for _, topic in ipairs { ... } do
			self.__sock:request(command(subscribe:upper(), topic))
			self[list][tostring(topic)] = true
		end
	end
	watcher[unsubscribe] = function(self, ...)
		for _, topic in ipairs { ... } do
			self.__sock:request(command(unsubscribe:upper(), topic))
			self[list][tostring(topic)] = nil
		end
	end
end

-- Waits for what is published: the text and its channel; for a pattern the text, the channel and the pattern.
function watcher:message()
	while true do
		local event = self.__sock:response(answer)
		if type(event) == "table" then
			if event[1] == "message" then
				return event[3], event[2]
			elseif event[1] == "pmessage" then
				return event[4], event[3], event[2]
			end
		end
	end
end

return redis
