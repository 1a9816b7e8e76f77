-- MySQL and MariaDB: queries as text, and prepared statements.
--
-- Answers come in the order of the requests, so any number of coroutines may share a connection. What breaks the protocol ends the
-- connection: the next request makes a new one.

local socketchannel, packets = require "skynet.socketchannel", require "skynet.db.mysql.packets"
local values, login = require "skynet.db.mysql.values", require "skynet.db.mysql.login"

local read, broken = packets.read, packets.broken

local mysql = {}
local meta = { __index = mysql }

-- The server has more results behind this one.
local MORE <const> = 0x8
-- What a server of MySQL takes, and what an answer may have. Rows count with 16 bytes for each value, which it costs in a table.
local MOST_COLUMNS <const>, MOST_RESULTS <const>, VALUE <const> = 4096, 65536, 16
-- Commands, as the first byte of a packet.
local QUIT <const>, QUERY <const>, PING <const>, PREPARE <const> = "\x01", "\x03", "\x0e", "\x16"
local EXECUTE <const>, CLOSE <const>, RESET <const> = "\x17", "\x19", "\x1a"
-- What the server says of a statement that it does not have.
local NO_STATEMENT <const> = 1243

-- Answers

local function is_end(data)
	-- A longer one begins with a value of more than 16 MiB.
	return #data < 9 and data:byte() == 0xfe
end

local function columns_of(answer, count)
	local columns = {}
	for i = 1, count do
		local data = read(answer)
		if data:byte() == 0xff then
			return nil, packets.failure(data)
		end
		columns[i] = values.column(data)
	end
	if not is_end(read(answer)) then
		broken "there are more columns than the server says"
	end
	return columns
end

local function rows_of(answer, columns, row_of, is_compact)
	local rows, cost = {}, VALUE * #columns
	while true do
		local data = read(answer)
		local first = data:byte()
		if first == 0xff then
			return nil, packets.failure(data)
		elseif is_end(data) then
			return rows, (packets.field("<I2", data, 4))
		end
		packets.charge(answer, cost)
		rows[#rows + 1] = row_of(data, columns, is_compact)
	end
end

-- One result, and the state of the server; or nil and a failure.
local function result_of(answer, row_of, is_compact)
	local data = read(answer)
	local first = data:byte()
	if first == 0 then
		local result = packets.ok(data)
		return result, result.server_status
	elseif first == 0xff then
		return nil, packets.failure(data)
	elseif first == 0xfb then
		broken "the server wants a file, and this driver never sends one"
	end
	local count = packets.length(data, 1)
	if count < 1 or count > MOST_COLUMNS then
		broken("a row has %d columns, and may have %d", count, MOST_COLUMNS)
	end
	local columns, failure = columns_of(answer, count)
	if not columns then
		return nil, failure
	end
	return rows_of(answer, columns, row_of, is_compact)
end

local function results_of(answer, row_of, is_compact)
	local result, state = result_of(answer, row_of, is_compact)
	if not result then
		return state
	elseif state & MORE == 0 then
		return result
	end
	-- The second name is that of older scripts.
	local all = { result, multiresultset = true, mulitresultset = true }
	repeat
		if #all == MOST_RESULTS then
			broken("an answer has more than %d results", MOST_RESULTS)
		end
		result, state = result_of(answer, row_of, is_compact)
		if not result then
			all.badresult, all.err, all.errno, all.sqlstate = true, state.err, state.errno, state.sqlstate
			return all
		end
		all[#all + 1] = result
	until state & MORE == 0
	return all
end

local function described(answer, count)
	if count == 0 then
		return {}
	end
	return columns_of(answer, count)
end

local function prepared_of(answer)
	local data = read(answer)
	local first = data:byte()
	if first == 0xff then
		return packets.failure(data)
	elseif first ~= 0 then
		broken "a statement begins with another packet"
	end
	local statement, at = {}, nil
	statement.prepare_id, at = packets.field("<I4", data, 2)
	statement.field_count, at = packets.field("<I2", data, at)
	statement.param_count, at = packets.field("<I2", data, at)
	statement.warning_count = packets.field("<I2", data, at + 1)
	local failure
	statement.params, failure = described(answer, statement.param_count)
	if failure then
		return failure
	end
	statement.fields, failure = described(answer, statement.field_count)
	return failure or statement
end

-- Requests

-- Sends a command, and returns what `of` makes of the answer.
local function request(self, data, of, row_of)
	local sent, number = packets.packets(data, 0)
	return self.sockchannel:request(sent, function(sock)
		return true, of(packets.answer(sock, number), row_of, self.compact)
	end)
end

local function made(channel, self, options)
	self._server_ver = login.run(channel, options)
	-- Statements are those of a connection.
	self.connections = self.connections + 1
	if options.on_connect then
		options.on_connect(self)
	end
end

function mysql.connect(conf)
	local options = {
		user = conf.user or "", password = conf.password or "", database = conf.database or "", charset = login.charset(conf.charset),
		max_packet_size = conf.max_packet_size or 1 << 20, on_connect = conf.on_connect,
	}
	local self = setmetatable({ compact = conf.compact_arrays, connections = 0, statements = setmetatable({}, { __mode = "k" }) }, meta)
	self.sockchannel = socketchannel.channel {
		host = conf.host, port = conf.port or 3306, nodelay = true, overload = conf.overload,
		auth = function(channel)
			made(channel, self, options)
		end,
	}
	self.sockchannel:connect(true)
	return self
end

function mysql:disconnect()
	local channel = self.sockchannel
	if channel.link then
		pcall(channel.request, channel, (packets.packets(QUIT, 0)))
	end
	channel:close()
	setmetatable(self, nil)
end

function mysql:query(text)
	return request(self, QUERY .. text, results_of, values.text_row)
end

function mysql:ping()
	return request(self, PING, results_of, values.text_row)
end

function mysql:server_ver()
	return self._server_ver
end

function mysql:set_compact_arrays(is_compact)
	self.compact = is_compact
end

-- Prepared statements

function mysql:prepare(text)
	local statement = request(self, PREPARE .. text, prepared_of)
	if not statement.badresult then
		self.statements[statement] = self.connections
	end
	return statement
end

-- Whether a statement is one of a connection that was lost. Another one may have its number now.
local function is_lost(self, statement)
	self.sockchannel:connect(true)
	local connection = self.statements[statement]
	return connection and connection ~= self.connections
end

local function lost()
	return { badresult = true, errno = NO_STATEMENT, sqlstate = "HY000", err = "the connection of the statement was lost: prepare it again" }
end

function mysql:execute(statement, ...)
	-- No cursor, once.
	local head = string.pack("<I4BI4", statement.prepare_id, 0, 1)
	local data = EXECUTE .. head .. values.parameters(statement.param_count, ...)
	if is_lost(self, statement) then
		return lost()
	end
	return request(self, data, results_of, values.binary_row)
end

function mysql:stmt_reset(statement)
	if is_lost(self, statement) then
		return lost()
	end
	return request(self, RESET .. string.pack("<I4", statement.prepare_id), results_of, values.binary_row)
end

-- The server does not answer.
function mysql:stmt_close(statement)
	if not is_lost(self, statement) then
		self.sockchannel:request((packets.packets(CLOSE .. string.pack("<I4", statement.prepare_id), 0)))
	end
end

local ESCAPES <const> = {
	["\0"] = "\\0", ["\b"] = "\\b", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ["\26"] = "\\Z", ["\\"] = "\\\\", ["'"] = "\\'", ['"'] = '\\"',
}

-- A text as SQL writes it, in quotes.
function mysql.quote_sql_str(text)
	return "'" .. text:gsub("[%z\b\n\r\t\26\\'\"]", ESCAPES) .. "'"
end

return mysql
