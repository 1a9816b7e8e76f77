---@meta http.httpc

---Asks web servers.
---@class http.httpc
---@field context userdata|nil the TLS context
---@field timeout integer|nil Hundredths of a second for a whole request.
local httpc = {}

---Names of hosts are resolved by `skynet.dns` from now on.
---@param server? string
---@param port? integer
function httpc.dns(server, port) end

---Asks by `GET`: host, url, a table that gets the answer's header, a header.
---@param ... any
---@return integer status
---@return string body
function httpc.get(...) end

---Asks by `HEAD`.
---@param host string
---@param url string
---@param recvheader? table
---@param header? table
---@param content? string
---@return integer status
function httpc.head(host, url, recvheader, header, content) end

---Sends a form by `POST`.
---@param host string
---@param url string
---@param form table<string, string>
---@param recvheader? table
---@return integer status
---@return string body
function httpc.post(host, url, form, recvheader) end

---Asks by a method.
---@param method string
---@param host string
---@param url string
---@param recvheader? table
---@param header? table
---@param content? string
---@return integer status
---@return string body
function httpc.request(method, host, url, recvheader, header, content) end

---Asks by a method. `stream` gives the parts of the body, and has `status`, `header` and `close`.
---@param method string
---@param host string
---@param url string
---@param recvheader? table
---@param header? table
---@param content? string
---@return table stream
function httpc.request_stream(method, host, url, recvheader, header, content) end

return httpc
