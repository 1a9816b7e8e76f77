---@meta skynet.netpack

---Packets with their length in two bytes before them.
---@class skynet.netpack
local netpack = {}

---Drops what a queue holds.
---@param queue userdata
function netpack.clear(queue) end

---Takes a message of a socket, and tells what it means.
---@param queue userdata|nil
---@param msg lightuserdata
---@param sz integer
---@return userdata queue
---@return string|nil event
---@return any ...
function netpack.filter(queue, msg, sz) end

---Puts the length before a packet. `socket.write` takes both values.
---@param msg string|lightuserdata
---@param sz? integer
---@return lightuserdata msg
---@return integer sz
function netpack.pack(msg, sz) end

---Takes the next packet of a queue.
---@param queue userdata
---@return integer|nil fd
---@return lightuserdata|nil msg
---@return integer|nil sz
function netpack.pop(queue) end

---The bytes of a packet, which is dropped.
---@param msg lightuserdata
---@param sz integer
---@return string packet
function netpack.tostring(msg, sz) end

return netpack
