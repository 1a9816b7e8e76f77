---@meta skynet.socket

---Sockets of this service. Functions that wait hold up their coroutine only.
---@class skynet.socket
local socket = {}

---Forgets a socket, without closing it: another service has taken it over.
---@param id integer
function socket.abandon(id) end

---Makes a socket of a descriptor of the process: 0 is standard input.
---@param os_fd integer
---@return integer id
function socket.bind(os_fd) end

---Waits until there is something to read. False if the connection has ended.
---@param id integer
---@return boolean is_readable
function socket.block(id) end

---Sends what was written, then closes the socket.
---@param id integer
function socket.close(id) end

---Closes a socket that need not be one of this service.
---@param id integer
function socket.close_fd(id) end

---Whether the other end has closed or failed.
---@param id integer
---@return boolean|nil has_ended
function socket.disconnected(id) end

---The number that up to four bytes are, the highest first.
---@param s string
---@return integer number
function socket.header(s) end

---Whether there is no such socket in this service.
---@param id integer
---@return boolean is_invalid
function socket.invalid(id) end

---Ends the connection when so much waits to be read: bytes.
---@param id integer
---@param limit integer
function socket.limit(id, limit) end

---Listens. `start` takes what accepts.
---@param host string
---@param port? integer
---@param backlog? integer
---@return integer id
---@return string address
---@return integer port
function socket.listen(host, port, backlog) end

---Writes when nothing else waits to be sent.
---@param id integer
---@param data string|string[]|lightuserdata
---@param sz? integer
---@return boolean is_sent
function socket.lwrite(id, data, sz) end

---All sockets of the process with their figures.
---@return table[] sockets
function socket.netstat() end

---Sets a function that is called when the connection ends.
---@param id integer
---@param callback fun(id: integer)
function socket.onclose(id, callback) end

---Connects, and waits for it. The port may be in the address.
---@param addr string
---@param port? integer
---@return integer|nil id
---@return string|nil why
function socket.open(addr, port) end

---Stops reading, until the next call that reads.
---@param id integer
function socket.pause(id) end

---Waits for `sz` bytes, or for any. False at the end, and what was left.
---@param id integer
---@param sz? integer
---@return string|false data
---@return string|nil rest
function socket.read(id, sz) end

---Reads up to the end of the connection.
---@param id integer
---@return string data
function socket.readall(id) end

---Waits for a line, which it returns without its end.
---@param id integer
---@param sep? string
---@return string|false line
---@return string|nil rest
function socket.readline(id, sep) end

---Resolves a name by the system.
---@param host string
---@return string[] addresses
function socket.resolve(host) end

---Sends a datagram to the address that a callback got.
---@param id integer
---@param from string
---@param data string|lightuserdata
---@param sz? integer
---@return boolean is_sent
function socket.sendto(id, from, data, sz) end

---Closes a socket at once. What waits to be sent is lost.
---@param id integer
function socket.shutdown(id) end

---Takes a socket over and reads it; with a function accepts at a listening one.
---@param id integer
---@param func? fun(id: integer, address: string)
---@return integer|nil id
function socket.start(id, func) end

---Standard input as a socket.
---@return integer id
function socket.stdin() end

---Opens a datagram socket.
---@param callback fun(data: string, from: string)
---@param host? string
---@param port? integer
---@return integer id
function socket.udp(callback, host, port) end

---The address of the sender of a datagram.
---@param from string
---@return string address
---@return integer port
function socket.udp_address(from) end

---Sets where `write` sends datagrams.
---@param id integer
---@param addr string
---@param port? integer
---@param callback? fun(data: string, from: string)
function socket.udp_connect(id, addr, port, callback) end

---Opens a datagram socket for one peer.
---@param addr string
---@param port? integer
---@param callback fun(data: string, from: string)
---@return integer id
function socket.udp_dial(addr, port, callback) end

---Opens a datagram socket at an address.
---@param addr string
---@param port? integer
---@param callback fun(data: string, from: string)
---@return integer id
function socket.udp_listen(addr, port, callback) end

---Sets a function that is told how much waits to be sent, at 1 MiB and each time that doubles.
---@param id integer
---@param callback fun(id: integer, kilobytes: integer)
function socket.warning(id, callback) end

---Writes. Never waits. False if the socket is closed.
---@param id integer
---@param data string|string[]|lightuserdata
---@param sz? integer
---@return boolean is_sent
function socket.write(id, data, sz) end

return socket
