---@meta skynet.socketchannel

---Requests and answers over one connection, which is opened again when it is lost.
---@class skynet.socketchannel
---@field error any What is raised when the connection fails.
local socketchannel = {}

---Makes a channel to `desc.host` and `desc.port`. With `desc.response` answers have sessions, otherwise they come in order.
---@param desc table
---@return skynet.socketchannel.channel channel
function socketchannel.channel(desc) end

---@class skynet.socketchannel.channel
local channel = {}

---Connects, and waits for it. With `once` it tries once.
---@param once? boolean
---@return boolean is_connected
function channel:connect(once) end

---Sends a request, and waits for its answer.
---@param request string|string[]
---@param response? any
---@param padding? string[]
---@return any ...
function channel:request(request, response, padding) end

---Waits for an answer that was not asked for.
---@param response any
---@return any ...
function channel:response(response) end

---Closes the connection, for ever.
function channel:close() end

---Connects elsewhere from now on.
---@param host string
---@param port? integer
function channel:changehost(host, port) end

---Sets where to connect if the host does not answer.
---@param backup table[]
function channel:changebackup(backup) end

---@class skynet.socketchannel.socket
local socket = {}

---Waits for bytes. Raises an error at the end.
---@param sz integer
---@return string data
function socket:read(sz) end

---Waits for a line. Raises an error at the end.
---@param sep? string
---@return string line
function socket:readline(sep) end

return socketchannel
