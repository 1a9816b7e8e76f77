---@meta client.socket

---Sockets for test clients. They block the whole process.
---@class client.socket
local socket = {}

---Closes a socket.
---@param fd integer
function socket.close(fd) end

---Connects.
---@param address string
---@param port integer
---@return integer fd
function socket.connect(address, port) end

---A line of standard input, if there is one.
---@return string|nil line
function socket.readstdin() end

---What has arrived: nil if nothing, an empty text at the end.
---@param fd integer
---@return string|nil data
function socket.recv(fd) end

---Sends a text.
---@param fd integer
---@param data string
function socket.send(fd, data) end

---Ends one direction or both: `"r"`, `"w"`, `"rw"`.
---@param fd integer
---@param how? string
function socket.shutdown(fd, how) end

---Sleeps.
---@param microseconds integer
function socket.usleep(microseconds) end

return socket
