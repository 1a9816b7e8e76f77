---@meta moorline

---Sessions that live in the gateway: in workers that `moorline serve` runs.
---@class moorline
---@field slot integer The number of this worker, from 0.
---@field generation integer The deployment that this worker is of.
---@field workers integer How many workers there are.
local moorline = {}

---A group of sessions of all workers.
---@param name string
---@return moorline.group group
function moorline.group(name) end

---Whether this worker is the leader.
---@return boolean is_leader
function moorline.leader() end

---What the command does.
---@return boolean|nil ok
---@return string|nil why
function moorline.reload() end

---This service handles sessions.
---@param handlers moorline.handlers
function moorline.serve(handlers) end

---Any session of the engine, by its id.
---@param id string|integer
---@return moorline.session session
function moorline.session(id) end

---The session behind a client of a gate or a socket; of a socket also whether another worker has served it before.
---@param fd integer
---@return moorline.session|nil session
---@return boolean|nil adopted
function moorline.session_of(fd) end

---Calls a function. What it reads of a socket counts as read when it returns: a reload or a crash before that gives all of it to the next worker.
---@param fd integer
---@param func fun(...: any): ...
---@param ... any The arguments of the function.
---@return any ... What the function returns.
function moorline.whole(fd, func, ...) end

---@class moorline.handlers
---@field listener? string Only the sessions of this listener.
---@field open? fun(session: moorline.session, adopted: boolean)
---@field message? fun(session: moorline.session, data: string, is_text: boolean)
---@field close? fun(session: moorline.session, reason: string)
---@field moved? fun(session: moorline.session)
---@field accept? fun(request: moorline.request): boolean|integer|table|nil, string|nil
---@field request? fun(request: moorline.request): integer|string|nil, string|nil, table|nil
local handlers = {}

---@class moorline.request
---@field method string
---@field target string
---@field path string
---@field query string|nil
---@field route string
---@field peer string
---@field listener string
---@field body string
---@field headers table<string, string>
local request = {}

---@class moorline.session
---@field id string As logs show it.
---@field peer string The client's address.
---@field listener string The listener's name.
local Session = {}

---Closes it after its output is flushed.
---@param code? integer
---@param text? string
---@return boolean|nil ok
---@return string|nil why
function Session:close(code, text) end

---Closes it at once.
---@return boolean|nil ok
---@return string|nil why
function Session:close_now() end

---Whether it has ended.
---@return boolean is_closed
function Session:is_closed() end

---Adds it to a group.
---@param group string
---@return boolean|nil ok
---@return string|nil why
function Session:join(group) end

---Writes the locker: values of up to 8 KiB, which survive reloads and crashes.
---@param ... any
---@return boolean|nil ok
---@return string|nil why
function Session:keep(...) end

---Takes it out of a group.
---@param group string
---@return boolean|nil ok
---@return string|nil why
function Session:leave(group) end

---Reads the locker.
---@return any ...
function Session:load() end

---Stops reading.
---@return boolean|nil ok
---@return string|nil why
function Session:pause() end

---Sends a message without waiting, up to `hard_limit`.
---@param data string
---@return boolean|nil ok
---@return string|nil why
function Session:push(data) end

---The same, as text of WebSocket.
---@param text string
---@return boolean|nil ok
---@return string|nil why
function Session:push_text(text) end

---Reads again.
---@return boolean|nil ok
---@return string|nil why
function Session:resume() end

---Sends a message, and waits for room if the client is slow.
---@param data string
---@return boolean|nil ok
---@return string|nil why
function Session:send(data) end

---The same, as text of WebSocket.
---@param text string
---@return boolean|nil ok
---@return string|nil why
function Session:send_text(text) end

---Sets up to 64 bytes that lists of sessions show.
---@param label string
---@return boolean|nil ok
---@return string|nil why
function Session:set_label(label) end

---@class moorline.group
---@field name string
local Group = {}

---Adds a session.
---@param session moorline.session
---@return boolean|nil ok
---@return string|nil why
function Group:join(session) end

---Takes a session out.
---@param session moorline.session
---@return boolean|nil ok
---@return string|nil why
function Group:leave(session) end

---The sessions of this group.
---@return moorline.session[]|nil sessions
---@return string|nil why
function Group:members() end

---Sends a message to all.
---@param data string
---@return boolean|nil ok
---@return string|nil why
function Group:send(data) end

---The same, as text of WebSocket.
---@param text string
---@return boolean|nil ok
---@return string|nil why
function Group:send_text(text) end

return moorline
