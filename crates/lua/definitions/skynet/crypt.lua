---@meta skynet.crypt

---Hashes, codes and keys.
---@class skynet.crypt
---@field padding table<string, integer>
local crypt = {}

---Decodes Base64.
---@param text string
---@return string bytes
function crypt.base64decode(text) end

---Encodes as Base64.
---@param bytes string
---@return string text
function crypt.base64encode(bytes) end

---Decrypts by DES, with a key of 8 bytes.
---@param key string
---@param bytes string
---@param padding? integer
---@return string text
function crypt.desdecode(key, bytes, padding) end

---Encrypts by DES, with a key of 8 bytes.
---@param key string
---@param text string
---@param padding? integer
---@return string bytes
function crypt.desencode(key, text, padding) end

---The public half of a key of 8 bytes.
---@param key string
---@return string public
function crypt.dhexchange(key) end

---The secret of a public half of the other side and a key of one's own.
---@param public string
---@param key string
---@return string secret
function crypt.dhsecret(public, key) end

---A hash of 8 bytes.
---@param text string
---@return string hash
function crypt.hashkey(text) end

---Decodes hexadecimal digits.
---@param text string
---@return string bytes
function crypt.hexdecode(text) end

---Encodes as hexadecimal digits.
---@param bytes string
---@return string text
function crypt.hexencode(bytes) end

---A code of 8 bytes of two texts of 8 bytes.
---@param a string
---@param b string
---@return string code
function crypt.hmac64(a, b) end

---The same, by MD5.
---@param a string
---@param b string
---@return string code
function crypt.hmac64_md5(a, b) end

---A code of 8 bytes of a text, with a key of 8 bytes.
---@param key string
---@param text string
---@return string code
function crypt.hmac_hash(key, text) end

---HMAC with SHA-1.
---@param key string
---@param text string
---@return string code
function crypt.hmac_sha1(key, text) end

---8 random bytes.
---@return string key
function crypt.randomkey() end

---SHA-1: 20 bytes.
---@param text string
---@return string hash
function crypt.sha1(text) end

---Each byte with one of the key, over and over.
---@param text string
---@param key string
---@return string bytes
function crypt.xor_str(text, key) end

return crypt
