-- The frames between nodes of a cluster: each is its length in two bytes, and what `parse` and `parse_answer` read.
--
-- A request begins with its kind: 0 a whole one, 1 and 0x41 the head of one in parts that waits for an answer or does not, 2 and 3 a part
-- and the last one, 4 the tag of a trace for the next request. The service is a number, or, with 0x80 more, a name. An answer begins with
-- its session and its kind: 0 an error, 1 a whole one, 2 the head of one in parts, 3 and 4 a part and the last one.

local frames = {}

local pack, unpack = string.pack, string.unpack

-- A longer message goes in parts of this length.
local PART <const> = 0x8000
local REQUEST <const>, PUSH <const>, NAMED <const> = 1, 0x41, 0x80
local MORE <const>, LAST <const>, TRACE <const> = 2, 3, 4

-- The most bytes of a message, and of all messages of a connection of which parts are missing.
frames.LONGEST = 64 << 20
local MOST_BYTES <const> = 128 << 20
-- Parts are not shorter than this on average, so that many small ones do not take more memory than they say.
local SHORTEST_PART <const> = 1024

-- The parts of a message, each behind a head that `head` makes.
local function cut(message, list, head)
	for from = 1, #message, PART do
		local is_last = from + PART > #message
		list[#list + 1] = pack(">s2", head(is_last) .. message:sub(from, from + PART - 1))
	end
	return list
end

local function receiver(addr)
	local number = math.tointeger(addr)
	if number and type(addr) == "number" then
		assert(number >= 0 and number <= 0xffffffff, "the address of a service is a number of 32 bits")
		return 0, pack("<I4", number)
	end
	assert(type(addr) == "string" and #addr >= 1 and #addr <= 255, "a service of a node is a number, or a name of 1 to 255 bytes")
	return NAMED, pack("s1", addr)
end

-- The bytes of a request. One without an answer uses its session only for its parts.
function frames.request(addr, session, message, is_push)
	local named, to = receiver(addr)
	if #message < PART then
		return pack(">s2", string.char(named) .. to .. pack("<I4", is_push and 0 or session) .. message)
	end
	local kind = named + (is_push and PUSH or REQUEST)
	local list = { pack(">s2", string.char(kind) .. to .. pack("<I4I4", session, #message)) }
	cut(message, list, function(is_last) return pack("<BI4", is_last and LAST or MORE, session) end)
	return table.concat(list)
end

function frames.trace(tag)
	return pack(">s2", string.char(TRACE) .. tag:sub(1, PART))
end

-- The frames of an answer.
function frames.answer(session, ok, message)
	if not ok then
		return { pack(">s2", pack("<I4B", session, 0) .. message:sub(1, PART)) }
	elseif #message <= PART then
		return { pack(">s2", pack("<I4B", session, 1) .. message) }
	end
	local list = { pack(">s2", pack("<I4BI4", session, 2, #message)) }
	return cut(message, list, function(is_last) return pack("<I4B", session, is_last and 4 or 3) end)
end

-- Reads a request. Raises an error if it is malformed.
function frames.parse(text)
	local kind = assert(text:byte(), "an empty frame")
	if kind == MORE or kind == LAST then
		return { is_part = true, session = unpack("<I4", text, 2), text = text:sub(6), is_last = kind == LAST }
	elseif kind == TRACE then
		return { tag = text:sub(2, PART + 1) }
	end
	local form, frame, at = kind & 0x7f, {}, nil
	if form ~= 0 and form ~= REQUEST and form ~= PUSH then
		error("a frame of the kind " .. kind, 0)
	end
	frame.to, at = unpack(kind >= NAMED and "s1" or "<I4", text, 2)
	assert(frame.to ~= "", "an empty name")
	if form == 0 then
		frame.session, at = unpack("<I4", text, at)
		frame.text, frame.is_push = text:sub(at), frame.session == 0
		return frame
	end
	frame.session, frame.size, at = unpack("<I4I4", text, at)
	assert(at == #text + 1, "a head of a message that is too long")
	frame.is_push = form == PUSH
	return frame
end

-- Reads an answer: its session, its kind and what is in it. Raises an error if it is malformed.
function frames.parse_answer(text)
	local session, kind, at = unpack("<I4B", text)
	if kind == 2 then
		local size, after = unpack("<I4", text, at)
		assert(after == #text + 1, "a head of an answer that is too long")
		return session, "head", size
	end
	local name = assert(({ [0] = "error", "whole", nil, "part", "last" })[kind], "an answer of an unknown kind")
	return session, name, text:sub(at)
end

-- Messages that come in parts
local assembly = {}
assembly.__index = assembly

function frames.assembly()
	return setmetatable({ open = {}, bytes = 0 }, assembly)
end

-- A message begins. Raises an error if it or all of them are too much.
function assembly:begin(session, size, what)
	assert(not self.open[session], "two messages with one session")
	assert(size <= frames.LONGEST, "a message of more than 64 MiB")
	local counted = math.max(size, PART)
	assert(self.bytes + counted <= MOST_BYTES, "more than 128 MiB of messages in parts")
	self.bytes = self.bytes + counted
	self.open[session] = { what = what, size = size, counted = counted, received = 0, parts = {} }
end

-- Takes a part. After the last one returns what `begin` was told of the message, and the message.
function assembly:add(session, text, is_last)
	local message = assert(self.open[session], "a part of no message")
	message.received = message.received + #text
	assert(message.received <= message.size, "a message that is longer than it said")
	local count = #message.parts + 1
	assert(count <= message.size // SHORTEST_PART + 1, "a message in too many parts")
	message.parts[count] = text
	if is_last then
		assert(message.received == message.size, "a message that is shorter than it said")
		self.open[session], self.bytes = nil, self.bytes - message.counted
		return message.what, table.concat(message.parts)
	end
end

return frames
