---@meta http.url

---Parts of addresses.
---@class http.url
local url = {}

---The path and the query of an address.
---@param url string
---@return string path
---@return string|nil query
function url.parse(url) end

---The keys and values of a query.
---@param q string
---@return table<string, string|string[]> query
function url.parse_query(q) end

return url
