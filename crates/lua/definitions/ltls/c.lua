---@meta ltls.c

---TLS, below `http.tlshelper`.
---@class ltls.c
local c = {}

---Makes what has certificates. With `verify` peers are verified, by the system's roots or by those in a PEM file.
---@overload fun(options: { verify?: boolean|string }): ltls.c.context
---@return ltls.c.context context
function c.newctx() end

---Makes one end of a connection.
---@param method "client"|"server"
---@param ctx ltls.c.context
---@param hostname? string
---@return ltls.c.tls tls
function c.newtls(method, ctx, hostname) end

---@class ltls.c.context
local context = {}

---Reads a certificate and its key.
---@param certfile string
---@param key string
function context:set_cert(certfile, key) end

---Names the ciphers.
---@param ciphers? string
function context:set_ciphers(ciphers) end

---@class ltls.c.tls
local tls = {}

---Takes what the other side has sent, and returns what to send to it.
---@param data? string
---@return string|nil data
function tls:handshake(data) end

---Whether the handshake is over.
---@return boolean is_finished
function tls:finished() end

---Decrypts. Tells, too, whether the peer has ended its stream.
---@param data? string
---@return string text
---@return boolean is_over
function tls:read(data) end

---Encrypts.
---@param text? string
---@return string data
function tls:write(text) end

---Ends it. Returns what tells the peer so.
---@return string|nil data
function tls:close() end

---Names the host to the server.
---@param hostname string
function tls:set_ext_host_name(hostname) end

return c
