---@meta http.httpd

---Reads requests and writes answers.
---@class http.httpd
local httpd = {}

---Reads a request by a function that reads bytes. A code other than 200 is what to answer.
---@param ... any
---@return integer|nil code
---@return string url_or_why
---@return string|nil method
---@return table<string, string|string[]>|nil header
---@return string|nil body
function httpd.read_request(...) end

---Writes an answer by a function that writes: status, body (a text, or a function that returns parts), header.
---@param ... any
---@return boolean ok
---@return any why
function httpd.write_response(...) end

return httpd
