-- Packets of MySQL's protocol, and what they are made of.

local unpack, pack, byte = string.unpack, string.pack, string.byte

local packets = {}

-- What an answer may have, in bytes. Each packet counts with 64 more, which a table costs.
local LARGEST <const>, PACKET <const> = 512 << 20, 64
-- A packet of this size goes on in the next one.
local FULL <const> = 0xffffff

function packets.broken(why, ...)
	error("mysql: " .. string.format(why, ...), 0)
end

local broken = packets.broken

-- Reading

-- An answer that begins with the packet of this number.
function packets.answer(sock, number)
	return { sock = sock, number = number, room = LARGEST }
end

-- Counts bytes that an answer takes in memory.
function packets.charge(answer, size)
	local room = answer.room - size
	if room < 0 then
		broken("an answer has more than %d bytes", LARGEST)
	end
	answer.room = room
end

local function part(answer)
	local size, number = unpack("<I3B", answer.sock:read(4))
	if number ~= answer.number then
		broken("packet %d came where %d was due", number, answer.number)
	end
	answer.number = number + 1 & 0xff
	packets.charge(answer, size + PACKET)
	if size == 0 then
		return ""
	end
	return answer.sock:read(size)
end

-- The next packet. It is never empty, but as a value of a length of zero.
function packets.read(answer)
	local data = part(answer)
	if #data < FULL then
		return data
	end
	local parts = { data }
	repeat
		data = part(answer)
		parts[#parts + 1] = data
	until #data < FULL
	return table.concat(parts)
end

local function short()
	broken "a packet ends before what it says"
end

-- A number of a format at a place, and the place behind it.
function packets.field(format, data, at)
	local ok, value, after = pcall(unpack, format, data, at)
	if not ok then
		short()
	end
	return value, after
end

local field = packets.field

-- A number of one to nine bytes, which may be none at all (NULL), and the place behind it.
function packets.length(data, at)
	local first = byte(data, at)
	if not first then
		short()
	elseif first < 0xfb then
		return first, at + 1
	elseif first == 0xfb then
		return nil, at + 1
	elseif first == 0xfc then
		return field("<I2", data, at + 1)
	elseif first == 0xfd then
		return field("<I3", data, at + 1)
	elseif first == 0xfe then
		return field("<i8", data, at + 1)
	end
	broken "a length begins with 255"
end

local length = packets.length

-- A text behind its length, or nil for NULL, and the place behind it.
function packets.text(data, at)
	local size, start = length(data, at)
	if not size then
		return nil, start
	end
	-- The subtraction keeps a huge length from wrapping around.
	if size < 0 or size > #data - start + 1 then
		short()
	end
	return data:sub(start, start + size - 1), start + size
end

function packets.ok(data)
	local result, at = {}, nil
	result.affected_rows, at = length(data, 2)
	result.insert_id, at = length(data, at)
	result.server_status, at = field("<I2", data, at)
	result.warning_count, at = field("<I2", data, at)
	if at <= #data then
		result.message = data:sub(at)
	end
	return result
end

-- What a packet of an error says, as the driver returns it.
function packets.failure(data)
	local number, at = field("<I2", data, 2)
	local state
	if data:sub(at, at) == "#" then
		state, at = data:sub(at + 1, at + 5), at + 6
	end
	return { badresult = true, errno = number, err = data:sub(at), sqlstate = state }
end

-- Writing

-- A number as `length` reads it.
local function prefix(size)
	if size < 0xfb then
		return pack("B", size)
	elseif size <= 0xffff then
		return pack("<BI2", 0xfc, size)
	elseif size <= 0xffffff then
		return pack("<BI3", 0xfd, size)
	end
	return pack("<Bi8", 0xfe, size)
end

function packets.prefixed(text)
	return prefix(#text) .. text
end

-- The packets with these bytes, and the number of the packet behind them.
function packets.packets(data, number)
	if #data < FULL then
		return pack("<I3B", #data, number) .. data, number + 1 & 0xff
	end
	local parts = {}
	for at = 1, #data + 1, FULL do
		local piece = data:sub(at, at + FULL - 1)
		parts[#parts + 1] = pack("<I3B", #piece, number)
		parts[#parts + 1] = piece
		number = number + 1 & 0xff
	end
	return table.concat(parts), number
end

return packets
