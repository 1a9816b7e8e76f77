-- How a connection to MySQL begins: what the server says of itself, and the proof of a password.

local crypt, secrets, packets = require "skynet.crypt", require "moorline.secrets", require "skynet.db.mysql.packets"

local field, broken = packets.field, packets.broken

-- What this driver can, as bits: long passwords, found instead of changed rows, long flags, a database at the login, ODBC, spaces behind
-- names of functions, protocol 4.1, the time-out of people, no SIGPIPE, transactions, 20 bytes of challenge, several statements, several
-- results also of prepared statements, and the name of the proof. Files of the client are not among them.
local CAPABILITIES <const> = 0x1 | 0x2 | 0x4 | 0x8 | 0x40 | 0x100 | 0x200 | 0x400 | 0x1000 | 0x2000 | 0x8000 | 0x10000 | 0x20000 | 0x40000 | 0x80000
local PROTOCOL_41 <const> = 0x200

-- The numbers of the usual collations of character sets that a client may speak.
local CHARSETS <const> = {
	big5 = 1, dec8 = 3, cp850 = 4, hp8 = 6, koi8r = 7, latin1 = 8, latin2 = 9, swe7 = 10, ascii = 11, ujis = 12, sjis = 13, hebrew = 16,
	tis620 = 18, euckr = 19, koi8u = 22, gb2312 = 24, greek = 25, cp1250 = 26, gbk = 28, latin5 = 30, armscii8 = 32, utf8 = 33, utf8mb3 = 33,
	cp866 = 36, keybcs2 = 37, macce = 38, macroman = 39, cp852 = 40, latin7 = 41, utf8mb4 = 45, cp1251 = 51, cp1256 = 57, cp1257 = 59,
	binary = 63, geostd8 = 92, cp932 = 95, eucjpms = 97, gb18030 = 248,
}

-- What a server asks before a login is short. It is told in one packet, and so are its questions.
local MOST_QUESTIONS <const> = 8

local login = {}

-- The number of a character set by its name. Without a name it is that of the server.
function login.charset(name)
	if name == nil then
		return 0
	end
	return CHARSETS[name] or error(string.format("there is no character set %q for a connection: utf8mb4 is one", tostring(name)), 3)
end

local function raise(failure)
	error(string.format("errno:%d, msg:%s,sqlstate:%s", failure.errno, failure.err, failure.sqlstate), 0)
end

local function greeting(data)
	local first = data:byte()
	if first == 0xff then
		raise(packets.failure(data))
	elseif first ~= 10 then
		broken("the server speaks protocol %s, this driver 10", tostring(first))
	end
	local hello, at, start, rest, high, size = {}, nil, nil, nil, nil, nil
	hello.version, at = field("z", data, 2)
	-- Behind the number of the connection.
	start, at = field("c8", data, at + 4)
	hello.capabilities, at = field("<I2", data, at + 1)
	-- The character set and the state lie before the other bits.
	high, at = field("<I2", data, at + 3)
	hello.capabilities = hello.capabilities | high << 16
	if hello.capabilities & PROTOCOL_41 == 0 then
		broken "the server is older than MySQL 4.1"
	end
	size, at = field("B", data, at)
	rest, at = field("c" .. math.max(13, size - 8), data, at + 10)
	hello.challenge = (start .. rest):sub(1, 20)
	hello.proof = at <= #data and field("z", data, at) or "mysql_native_password"
	return hello
end

-- Proofs of passwords

local proofs = {}

function proofs.mysql_native_password(password, challenge)
	if password == "" then
		return ""
	end
	local once = crypt.sha1(password)
	return crypt.xor_str(crypt.sha1(challenge .. crypt.sha1(once)), once)
end

function proofs.caching_sha2_password(password, challenge)
	if password == "" then
		return ""
	end
	local once = secrets.sha256(password)
	return crypt.xor_str(once, secrets.sha256(secrets.sha256(once) .. challenge))
end

local function proof(state)
	local of = proofs[state.proof]
	if not of then
		local text = "the server wants the proof %q: create the user with mysql_native_password or caching_sha2_password"
		broken(text, state.proof)
	end
	return of(state.password, state.challenge)
end

local function hello_back(state, options)
	local capabilities = CAPABILITIES & state.capabilities
	-- The server asks for another one if the user has it.
	if not proofs[state.proof] then
		state.proof = "mysql_native_password"
	end
	local text = string.pack("<I4I4Bc23z", capabilities, options.max_packet_size, options.charset, "", options.user)
	local database = capabilities & 0x8 ~= 0 and options.database .. "\0" or ""
	return text .. string.pack("s1", proof(state)) .. database .. state.proof .. "\0"
end

-- The server knows the password by its hash only: it wants the password itself, for which it has a key.
local FAST <const>, FULL <const>, KEY <const> = 3, 4, "\2"

-- What to send upon a question, or nil at the end.
local function answer_to(data, state)
	local kind = data:byte()
	if kind == 0 then
		return nil
	elseif kind == 0xff then
		raise(packets.failure(data))
	elseif kind == 0xfe and #data == 1 then
		broken "the server wants a password of MySQL before 4.1: give the user another one"
	elseif kind == 0xfe then
		local at
		state.proof, at = field("z", data, 2)
		state.challenge = data:sub(at, at + 19)
		return proof(state)
	elseif kind == 1 and state.proof == "caching_sha2_password" then
		local more = data:byte(2)
		if state.wants_key then
			state.wants_key = false
			local text = crypt.xor_str(state.password .. "\0", state.challenge)
			return secrets.encrypt(data:sub(2), text)
		elseif more == FAST then
			return false
		elseif more == FULL then
			state.wants_key = true
			return KEY
		end
	end
	broken("the server sent %q during the login", data:sub(1, 16))
end

-- Speaks with the server until it has let the user in. Returns the version of the server.
function login.run(channel, options)
	local answer
	local function read(sock)
		if not answer then
			answer = packets.answer(sock, 0)
		end
		return true, packets.read(answer)
	end
	local state = greeting(channel:response(read))
	state.password = options.password
	local text = hello_back(state, options)
	for _ = 1, MOST_QUESTIONS do
		local data
		if text then
			local sent, number = packets.packets(text, answer.number)
			answer.number = number
			data = channel:request(sent, read)
		else
			data = channel:response(read)
		end
		text = answer_to(data, state)
		if text == nil then
			return state.version
		end
	end
	broken("the server asks more than %d questions before a login", MOST_QUESTIONS)
end

return login
