-- How a user of MongoDB proves a password: SCRAM (RFC 5802 and 7677), in which neither side tells it.

local bson, crypt, md5, secrets = require "bson", require "skynet.crypt", require "md5", require "moorline.secrets"

-- Fewer rounds would make a guess of the password cheap for a server that is none; the most are those of `stretch`.
local FEWEST_ROUNDS <const> = 4096
-- The exchanges of a login at most: one more than the mechanism has.
local MOST_EXCHANGES <const> = 3

local METHODS <const> = {
	scram_sha1 = {
		mechanism = "SCRAM-SHA-1", hash = "sha1", digest = crypt.sha1,
		-- The server keeps what came of this.
		password = function(user, password)
			return md5.sumhexa(user .. ":mongo:" .. password)
		end,
	},
	scram_sha256 = {
		mechanism = "SCRAM-SHA-256", hash = "sha256", digest = secrets.sha256,
		password = function(_, password)
			return password
		end,
	},
}

local login = {}

-- What an answer carries: bytes, or a text of base64 from servers that mirror older clients.
local function payload(answer)
	local kind, text = bson.type(answer.payload)
	if kind == "binary" then
		return text
	elseif kind == "string" then
		return crypt.base64decode(text)
	end
	error("mongo: the server's answer to a login has no payload", 0)
end

local function words(text)
	local found = {}
	for key, value in text:gmatch "(%a)=([^,]*)" do
		found[key] = value
	end
	return found
end

-- What is sent for the server's challenge, and what the server has to say to it.
local function proof(method, user, password, first, challenge, nonce)
	local said = words(challenge)
	local rounds = math.tointeger(tonumber(said.i))
	if not said.r or not said.s or not rounds then
		error("mongo: the server's challenge of a login is none", 0)
	elseif #said.r <= #nonce or said.r:sub(1, #nonce) ~= nonce then
		error("mongo: the server's challenge is not for this login", 0)
	elseif rounds < FEWEST_ROUNDS then
		error(string.format("mongo: the server hashes passwords %d times, which is less than %d", rounds, FEWEST_ROUNDS), 0)
	end
	local function hmac(key, text)
		return secrets.hmac(method.hash, key, text)
	end
	local key = secrets.stretch(method.hash, method.password(user, password), crypt.base64decode(said.s), rounds)
	local own = hmac(key, "Client Key")
	local bare = "c=biws,r=" .. said.r
	local all = first .. "," .. challenge .. "," .. bare
	local shown = crypt.xor_str(own, hmac(method.digest(own), all))
	return bare .. ",p=" .. crypt.base64encode(shown), crypt.base64encode(hmac(hmac(key, "Server Key"), all))
end

local function exchange(method, database, user, password)
	local nonce = crypt.base64encode(crypt.randomkey() .. crypt.randomkey() .. crypt.randomkey())
	local first = "n=" .. user:gsub("=", "=3D"):gsub(",", "=2C") .. ",r=" .. nonce
	local answer = database:runCommand("saslStart", 1, "mechanism", method.mechanism, "payload", bson.binary("n,," .. first), "autoAuthorize", 1)
	if answer.ok ~= 1 then
		return false, answer.errmsg
	end
	local text, expected = proof(method, user, password, first, payload(answer), nonce)
	local id, is_proven = answer.conversationId, false
	for _ = 1, MOST_EXCHANGES do
		answer = database:runCommand("saslContinue", 1, "conversationId", id, "payload", bson.binary(text))
		if answer.ok ~= 1 then
			return false, answer.errmsg
		elseif not is_proven and words(payload(answer)).v ~= expected then
			error("mongo: the server does not know the password", 0)
		elseif answer.done then
			return true
		end
		is_proven, text = true, ""
	end
	error(string.format("mongo: a login has more than %d exchanges", MOST_EXCHANGES), 0)
end

-- Whether the server lets a user in, and else why not. A server that is none is an error.
function login.run(name, database, user, password)
	local method = METHODS[name or "scram_sha1"]
	if not method then
		error(string.format("there is no authmod %q: scram_sha1 and scram_sha256 are there", tostring(name)), 0)
	end
	return exchange(method, database, user, password)
end

return login
