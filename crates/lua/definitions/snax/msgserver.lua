---@meta snax.msgserver

---A gate whose clients have logged in elsewhere, and may connect again for an answer.
---@class snax.msgserver
local msgserver = {}

---The address of a user's connection.
---@param username string
---@return string|nil address
function msgserver.ip(username) end

---A user may connect from now on.
---@param username string
---@param secret string
function msgserver.login(username, secret) end

---A user may not connect any more, and is disconnected.
---@param username string
function msgserver.logout(username) end

---Starts the service with functions: `login_handler`, `logout_handler`, `kick_handler`, `request_handler`, `register_handler`; `disconnect_handler`.
---@param conf table
function msgserver.start(conf) end

---The parts of a user's name.
---@param username string
---@return string uid
---@return string subid
---@return string servername
function msgserver.userid(username) end

---A user's name of its parts.
---@param uid string
---@param subid string|integer
---@param servername string
---@return string username
function msgserver.username(uid, subid, servername) end

return msgserver
