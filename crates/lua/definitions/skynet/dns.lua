---@meta skynet.dns

---Names of hosts, by DNS servers or the file of hosts.
---@class skynet.dns
---@field DEFAULT_HOSTS string
---@field DEFAULT_RESOLV_CONF string
local dns = {}

---Forgets what was resolved.
function dns.flush() end

---Resolves a name. Raises an error if there is no answer.
---@param name string
---@param ipv6? boolean
---@return string address
---@return string[] addresses
function dns.resolve(name, ipv6) end

---Sets the DNS server. Without one it is the system's.
---@param server? string
---@param port? integer
---@return string server
function dns.server(server, port) end

return dns
