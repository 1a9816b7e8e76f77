-- Values of MySQL: columns, rows as text and as bytes, and the values of a prepared statement.

local packets = require "skynet.db.mysql.packets"

local unpack, pack, byte, format = string.unpack, string.pack, string.byte, string.format
local text, field, broken = packets.text, packets.field, packets.broken

local values = {}

-- Types of columns, by their numbers in the protocol. Those that are not here are texts.
local TINY <const>, SHORT <const>, LONG <const>, FLOAT <const>, DOUBLE <const>, NULL <const> = 1, 2, 3, 4, 5, 6
local TIMESTAMP <const>, LONGLONG <const>, INT24 <const>, DATE <const>, TIME <const>, DATETIME <const> = 7, 8, 9, 10, 11, 12
local YEAR <const>, NEWDECIMAL <const>, VAR_STRING <const> = 13, 246, 253

local IS_UNSIGNED <const> = 0x20
-- Stands for NULL in a row of texts. Smaller bytes are lengths.
local NULL_TEXT <const> = 0xfb

-- A column as the server describes it.
function values.column(data)
	local at, column, skipped = 1, {}, nil
	-- The catalog, the schema, the table, and its own name.
	for _ = 1, 4 do
		skipped, at = text(data, at)
	end
	column.name, at = text(data, at)
	skipped, at = text(data, at)
	-- A length that never changes, the character set, and the width.
	column.type, at = field("B", data, at + 7)
	column.flags, at = field("<I2", data, at)
	column.decimals = field("B", data, at)
	if not column.name then
		broken "a column has no name"
	end
	return column
end

-- Rows of texts, which answer a query

local is_number = {}
for _, kind in ipairs { TINY, SHORT, LONG, FLOAT, DOUBLE, LONGLONG, INT24, YEAR, NEWDECIMAL } do
	is_number[kind] = true
end

function values.text_row(data, columns, is_compact)
	local row, at = {}, 1
	for i = 1, #columns do
		local column, value = columns[i], nil
		local size = byte(data, at)
		if size == NULL_TEXT then
			at = at + 1
		elseif size and size < NULL_TEXT then
			local last = at + size
			if last > #data then
				broken "a row ends before its values"
			end
			value, at = data:sub(at + 1, last), last + 1
		else
			value, at = text(data, at)
		end
		if value and is_number[column.type] then
			value = tonumber(value) or value
		end
		row[is_compact and i or column.name] = value
	end
	return row
end

-- Rows of bytes, which answer a prepared statement

local function integer(small, large)
	return function(data, at, column)
		return field(column.flags & IS_UNSIGNED ~= 0 and large or small, data, at)
	end
end

-- Above what an integer of Lua holds it is a float, as from a text.
local function longlong(data, at, column)
	local value, after = field("<i8", data, at)
	if value < 0 and column.flags & IS_UNSIGNED ~= 0 then
		value = value + 0x1p64
	end
	return value, after
end

local function fixed(of)
	return function(data, at)
		return field(of, data, at)
	end
end

-- Single precision has seven digits: what is behind them comes from the conversion.
local function float(data, at)
	local value, after = field("<f", data, at)
	return tonumber(format("%.7g", value)) or value, after
end

local function fraction(column, micros)
	local digits = column.decimals
	if digits > 6 then
		digits = micros == 0 and 0 or 6
	end
	return digits == 0 and "" or "." .. format("%06d", micros):sub(1, digits)
end

-- A date, a time, or both: the bytes that are left out at the end are zero.
local function parts(data, at, layout, size)
	local bytes, after = text(data, at)
	if not bytes or #bytes > size then
		broken "a time has another length"
	end
	return after, unpack(layout, bytes .. ("\0"):rep(size - #bytes))
end

local function date(data, at)
	local after, year, month, day = parts(data, at, "<I2BB", 4)
	return format("%04d-%02d-%02d", year, month, day), after
end

local function datetime(data, at, column)
	local after, year, month, day, hour, minute, second, micros = parts(data, at, "<I2BBBBBI4", 11)
	local value = format("%04d-%02d-%02d %02d:%02d:%02d", year, month, day, hour, minute, second)
	return value .. fraction(column, micros), after
end

local function time(data, at, column)
	local after, is_negative, days, hour, minute, second, micros = parts(data, at, "<BI4BBBI4", 12)
	local value = format("%s%02d:%02d:%02d", is_negative ~= 0 and "-" or "", days * 24 + hour, minute, second)
	return value .. fraction(column, micros), after
end

local function decimal(data, at)
	local value, after = text(data, at)
	return tonumber(value) or value, after
end

local binary = {
	[TINY] = integer("i1", "B"), [SHORT] = integer("<i2", "<I2"), [YEAR] = integer("<i2", "<I2"), [LONG] = integer("<i4", "<I4"),
	[INT24] = integer("<i4", "<I4"), [LONGLONG] = longlong, [FLOAT] = float, [DOUBLE] = fixed "<d", [DATE] = date, [TIME] = time,
	[DATETIME] = datetime, [TIMESTAMP] = datetime, [NEWDECIMAL] = decimal,
}

function values.binary_row(data, columns, is_compact)
	-- A zero byte, then a bit for each column that is NULL; the first two bits are of no column.
	local row, at = {}, 2 + (#columns + 9) // 8
	if #data < at - 1 then
		broken "a row ends before its values"
	end
	for i = 1, #columns do
		local column, bit = columns[i], i + 1
		if byte(data, 2 + bit // 8) >> bit % 8 & 1 == 0 then
			local value
			value, at = (binary[column.type] or text)(data, at, column)
			row[is_compact and i or column.name] = value
		end
	end
	return row
end

-- Values for a statement

-- The type and the bytes of a value. NULL has no bytes.
local function parameter(value)
	local kind = math.type(value) or type(value)
	if kind == "integer" then
		return LONGLONG, pack("<i8", value)
	elseif kind == "float" then
		return DOUBLE, pack("<d", value)
	elseif kind == "string" then
		return VAR_STRING, packets.prefixed(value)
	elseif kind == "boolean" then
		return TINY, value and "\1" or "\0"
	elseif kind == "nil" then
		return NULL, ""
	end
	error("invalid parameter type " .. kind .. ": give a number, a string, a boolean or nil", 0)
end

-- What follows the head of an execution.
function values.parameters(count, ...)
	local given = select("#", ...)
	if given ~= count then
		error(format("require stmt.param_count %d get arg_num %d", count, given), 0)
	elseif count == 0 then
		return ""
	end
	local nulls, types, bytes = {}, {}, {}
	for i = 1, (count + 7) // 8 do
		nulls[i] = 0
	end
	for i = 1, count do
		local value, kind = (select(i, ...)), nil
		kind, bytes[i] = parameter(value)
		types[i] = pack("BB", kind, 0)
		if value == nil then
			local at = (i + 7) // 8
			nulls[at] = nulls[at] | 1 << (i - 1) % 8
		end
	end
	local map = {}
	for i, bits in ipairs(nulls) do
		map[i] = string.char(bits)
	end
	return table.concat(map) .. "\1" .. table.concat(types) .. table.concat(bytes)
end

return values
