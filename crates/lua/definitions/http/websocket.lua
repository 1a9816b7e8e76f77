---@meta http.websocket

---WebSocket connections, of servers and of clients.
---@class http.websocket
---@field context userdata|nil the TLS context of clients
local websocket = {}

---Serves a connection up to its end, by functions: `connect`, `handshake`, `message`, `ping`, `pong`, `close`, `error`, `warning`.
---@param id integer
---@param handle table
---@param protocol? string
---@param addr? string
---@param options? table
---@return boolean|nil ok
---@return string|nil why
function websocket.accept(id, handle, protocol, addr, options) end

---The address of a client, as it was given to `accept`.
---@param id integer
---@return string|nil address
function websocket.addrinfo(id) end

---Closes a connection.
---@param id integer
---@param code? integer
---@param reason? string
function websocket.close(id, code, reason) end

---Connects to a server.
---@param url string
---@param header? table<string, string>
---@param timeout? integer
---@return integer id
function websocket.connect(url, header, timeout) end

---Whether a connection has ended.
---@param id integer
---@return boolean is_closed
function websocket.is_close(id) end

---Sends a ping.
---@param id integer
function websocket.ping(id) end

---Waits for a message, as a client. False at the end.
---@param id integer
---@return string|false data
---@return string|nil rest
function websocket.read(id) end

---The client's address as a proxy in front names it in `X-Real-IP`.
---@param id integer
---@return string|nil address
function websocket.real_ip(id) end

---Sends a message.
---@param id integer
---@param data string
---@param fmt? "text"|"binary"
---@param masking_key? integer
function websocket.write(id, data, fmt, masking_key) end

return websocket
