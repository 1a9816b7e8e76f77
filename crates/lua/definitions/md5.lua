---@meta md5

---MD5.
---@class md5
local md5 = {}

---Encrypts by MD5, with a seed of up to 127 bytes.
---@param text string
---@param key string
---@param seed? string
---@return string bytes
function md5.crypt(text, key, seed) end

---Decrypts it.
---@param bytes string
---@param key string
---@return string text
function md5.decrypt(bytes, key) end

---Each byte of one text with that of another of the same length.
---@param a string
---@param b string
---@return string bytes
function md5.exor(a, b) end

---HMAC with MD5, in hexadecimal digits.
---@param value string
---@param key string
---@return string code
function md5.hmacmd5(value, key) end

---The hash: 16 bytes.
---@param text string
---@return string hash
function md5.sum(text) end

---The hash in hexadecimal digits.
---@param text string
---@return string hash
function md5.sumhexa(text) end

return md5
