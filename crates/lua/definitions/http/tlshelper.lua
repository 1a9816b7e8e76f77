---@meta http.tlshelper

---TLS for `http.httpd` and `http.httpc`.
---@class http.tlshelper
local tlshelper = {}

---A function that ends TLS.
---@param tls_ctx userdata
---@return fun() close
function tlshelper.closefunc(tls_ctx) end

---A function that shakes hands as a client.
---@param fd integer
---@param tls_ctx userdata
---@return fun() init
function tlshelper.init_requestfunc(fd, tls_ctx) end

---A function that shakes hands as a server.
---@param fd integer
---@param tls_ctx userdata
---@return fun() init
function tlshelper.init_responsefunc(fd, tls_ctx) end

---Makes what has certificates. With `verify` peers are verified, by the system's roots or by those in a PEM file.
---@overload fun(options: { verify?: boolean|string }): userdata
---@return userdata ctx
function tlshelper.newctx() end

---Makes one end of a connection.
---@param method "client"|"server"
---@param ssl_ctx userdata
---@param hostname? string
---@return userdata tls
function tlshelper.newtls(method, ssl_ctx, hostname) end

---A function that reads up to the end.
---@param fd integer
---@param tls_ctx userdata
---@return fun(): string read
function tlshelper.readallfunc(fd, tls_ctx) end

---A function that reads.
---@param fd integer
---@param tls_ctx userdata
---@return fun(sz?: integer): string read
function tlshelper.readfunc(fd, tls_ctx) end

---A function that writes.
---@param fd integer
---@param tls_ctx userdata
---@return fun(data: string) write
function tlshelper.writefunc(fd, tls_ctx) end

return tlshelper
