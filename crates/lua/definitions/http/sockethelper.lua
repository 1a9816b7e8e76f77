---@meta http.sockethelper

---Sockets for `http.httpd` and `http.httpc`.
---@class http.sockethelper
---@field socket_error table What is raised when a connection fails.
local sockethelper = {}

---Closes a socket.
---@param id integer
function sockethelper.close(id) end

---Connects, or raises `socket_error`.
---@param host string
---@param port integer
---@param timeout? integer
---@return integer id
function sockethelper.connect(host, port, timeout) end

---Reads up to the end.
---@param id integer
---@return string data
function sockethelper.readall(id) end

---A function that reads a socket, after bytes that were read before.
---@param id integer
---@param pre? string
---@return fun(sz?: integer): string read
function sockethelper.readfunc(id, pre) end

---Closes a socket at once.
---@param id integer
function sockethelper.shutdown(id) end

---A function that writes to a socket.
---@param id integer
---@return fun(data: string) write
function sockethelper.writefunc(id) end

return sockethelper
