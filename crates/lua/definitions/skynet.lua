---@meta skynet

---A service: its number, its name as `.name`, or its number in hexadecimal as `:00000004`.
---@alias skynet.address integer|string

---A kind of messages: `"lua"`, or what `register_protocol` has named.
---@alias skynet.protocol string|integer

---The module of every service: messages, coroutines that wait, timers, other services.
---@class skynet
---@field PTYPE_TEXT integer
---@field PTYPE_RESPONSE integer
---@field PTYPE_MULTICAST integer
---@field PTYPE_CLIENT integer
---@field PTYPE_SYSTEM integer
---@field PTYPE_HARBOR integer
---@field PTYPE_SOCKET integer
---@field PTYPE_ERROR integer
---@field PTYPE_QUEUE integer
---@field PTYPE_DEBUG integer
---@field PTYPE_LUA integer
---@field PTYPE_SNAX integer
---@field PTYPE_TRACE integer
---@field cache table As `require "skynet.codecache"`.
local skynet = {}

---Writes an address as `:00000004`.
---@param addr skynet.address
---@return string text
function skynet.address(addr) end

---Sends a request, and waits for its answer. Raises an error if the other service fails or ends.
---@param addr skynet.address
---@param typename skynet.protocol
---@param ... any
---@return any ...
function skynet.call(addr, typename, ...) end

---Tells the session and the sender of the request that this coroutine handles.
---@return integer session
---@return integer source
function skynet.context() end

---Sets the function that handles messages of a kind. Returns the one before.
---@param typename skynet.protocol
---@param func? fun(session: integer, source: integer, ...: any)
---@return function|nil before
function skynet.dispatch(typename, func) end

---Hands a raw message to the dispatcher of this service, as `skynet.filter` does.
---@param ... any
function skynet.dispatch_message(...) end

---Sets what handles requests of kinds that nobody handles. Returns the function before.
---@param unknown fun(session: integer, source: integer, msg: lightuserdata, sz: integer, typename: string)
---@return function before
function skynet.dispatch_unknown_request(unknown) end

---Sets what handles answers that nobody waits for. Returns the function before.
---@param unknown fun(session: integer, source: integer, msg: any, sz: integer)
---@return function before
function skynet.dispatch_unknown_response(unknown) end

---Tells whether this service was named as one that does not return since the last time.
---@return boolean is_endless
function skynet.endless() end

---Writes a line to the log: its values, separated by spaces.
---@param ... any
function skynet.error(...) end

---Ends this service. It does not return.
function skynet.exit() end

---Runs a function in a new coroutine, after this one waits or ends.
---@param func function
---@param ... any
---@return thread co
function skynet.fork(func, ...) end

---A number that no session of this service has yet.
---@return integer session
function skynet.genid() end

---Reads a value of the configuration, or one of `setenv`.
---@param key string
---@return string|nil value
function skynet.getenv(key) end

---The harbor of an address: always 0 and false.
---@param addr skynet.address
---@return integer harbor
---@return boolean is_remote
function skynet.harbor(addr) end

---A clock that never goes back.
---@return integer nanoseconds
function skynet.hpc() end

---The request that this coroutine handles is not answered by it.
function skynet.ignoreret() end

---Sets what the console's `info` shows. Returns the function before.
---@param func fun(...: any): any
---@return function|nil before
function skynet.info_func(func) end

---Runs a function before the start function, or after the module that is being loaded.
---@param func function
function skynet.init(func) end

---Runs a start function, and tells the launcher that the service is ready.
---@param start function
function skynet.init_service(start) end

---Ends a coroutine of this service that waits, or a timer by its number.
---@param thread thread|string|integer
---@return thread|integer|nil killed
function skynet.killthread(thread) end

---Finds a service by its name in this process.
---@param name string
---@return integer|nil addr
function skynet.localname(name) end

---Bounds the memory of this service. May be called once, before `start`.
---@param bytes integer
function skynet.memlimit(bytes) end

---How many messages wait for this service.
---@return integer messages
function skynet.mqlen() end

---Launches a service, and waits until its start function has returned. Raises the reason if it does not start.
---@param name string
---@param ... any
---@return integer addr
function skynet.newservice(name, ...) end

---Hundredths of a second since the process has started.
---@return integer ticks
function skynet.now() end

---Packs values into a message. Send it, or drop it by `trash`.
---@param ... any
---@return lightuserdata msg
---@return integer sz
function skynet.pack(...) end

---Packs values into a string.
---@param ... any
---@return string bytes
function skynet.packstring(...) end

---As `pcall`.
---@param f function
---@param ... any
---@return boolean ok
---@return any ...
function skynet.pcall(f, ...) end

---Waits until a unique service is there, and returns its address.
---@param name string|true
---@param ... any
---@return integer addr
function skynet.queryservice(name, ...) end

---As `call`, with a packed message and a packed answer.
---@param addr skynet.address
---@param typename skynet.protocol
---@param msg lightuserdata|string
---@param sz? integer
---@return lightuserdata msg
---@return integer sz
function skynet.rawcall(addr, typename, msg, sz) end

---As `send`, with a packed message.
---@param addr skynet.address
---@param typename skynet.protocol
---@param msg lightuserdata|string
---@param sz? integer
---@return integer|false session
function skynet.rawsend(addr, typename, msg, sz) end

---Sends a packed message, its session first, in the name of another service.
---@param dest skynet.address
---@param source skynet.address
---@param typename skynet.protocol
---@param ... any
---@return integer|false session
function skynet.redirect(dest, source, typename, ...) end

---Adds a kind of messages to this service.
---@param class skynet.protocol_class
function skynet.register_protocol(class) end

---Collects requests that are sent together: each is a list of an address, a kind and values.
---@param request? table
---@return skynet.requests requests
function skynet.request(request) end

---Returns a function that answers this request later: with `true` and values, or with `false` for an error.
---@param pack? function
---@return fun(ok: boolean|"TEST", ...: any): boolean respond
function skynet.response(pack) end

---Answers the request with a packed message.
---@param msg? lightuserdata|string
---@param sz? integer
---@return integer|false sent
function skynet.ret(msg, sz) end

---Answers the request with values.
---@param ... any
---@return integer|false sent
function skynet.retpack(...) end

---The address of this service.
---@return integer addr
function skynet.self() end

---Sends a message. Does not wait.
---@param addr skynet.address
---@param typename skynet.protocol
---@param ... any
---@return integer|false session
function skynet.send(addr, typename, ...) end

---Sets a value that all services read by `getenv`. A value is set once.
---@param key string
---@param value string|number|boolean
function skynet.setenv(key, value) end

---Waits for hundredths of a second, or until `wakeup`: then it returns `"BREAK"`.
---@param ti integer
---@param token? any
---@return "BREAK"|nil reason
function skynet.sleep(ti, token) end

---Begins to handle messages, and runs the start function. The service is ready when that returns.
---@param start_func function
function skynet.start(start_func) end

---When the process has started: seconds since 1970.
---@return integer seconds
function skynet.starttime() end

---A figure of this service: `"mqlen"`, `"message"`, `"cpu"`, `"time"`, `"endless"`.
---@param what string
---@return number|nil value
function skynet.stat(what) end

---Tells how many coroutines and timers wait, or fills a table with where they wait.
---@param ret? table|integer|string|thread
---@return any result
function skynet.task(ret) end

---Ends the calls of this service that wait for another one, as if that had ended.
---@param service skynet.address
function skynet.term(service) end

---The time: seconds since 1970, with hundredths.
---@return number seconds
function skynet.time() end

---Runs a function after hundredths of a second. `killthread` takes the number that it returns.
---@param ti integer
---@param func function
---@return integer timer
function skynet.timeout(ti, func) end

---The bytes of a message.
---@param msg lightuserdata|string
---@param sz? integer
---@return string bytes
function skynet.tostring(msg, sz) end

---Begins to log the way of the request that this coroutine handles.
---@param info? string
function skynet.trace(info) end

---Notes where timers are set, for `task`.
---@param on boolean
function skynet.trace_timeout(on) end

---As `rawcall`, with a tag of a trace.
---@param tag string
---@param addr skynet.address
---@param typename skynet.protocol
---@param msg lightuserdata|string
---@param sz? integer
---@return lightuserdata msg
---@return integer sz
function skynet.tracecall(tag, addr, typename, msg, sz) end

---Writes a line of a trace.
---@param tag string
---@param info string
---@param ... any
function skynet.tracelog(tag, info, ...) end

---Traces every request of a kind (`true`), none (`false`), or those that others trace (`nil`).
---@param prototype string
---@param flag? boolean
function skynet.traceproto(prototype, flag) end

---The tag of the trace that this coroutine is in.
---@return string|nil tag
function skynet.tracetag() end

---Drops a message that was packed.
---@param msg lightuserdata|string
---@param sz? integer
function skynet.trash(msg, sz) end

---Where coroutines wait, those at the same place together.
---@return table<string, string> tasks
function skynet.uniqtask() end

---Launches a service that is there once, or returns the one that is there.
---@param name string|true
---@param ... any
---@return integer addr
function skynet.uniqueservice(name, ...) end

---The values of a message.
---@param msg lightuserdata|string
---@param sz? integer
---@return any ...
function skynet.unpack(msg, sz) end

---Waits until `wakeup` is called with the token, which is this coroutine without one.
---@param token? any
function skynet.wait(token) end

---Ends a `wait` or a `sleep`.
---@param token any
---@return boolean|nil is_woken
function skynet.wakeup(token) end

---Lets other messages be handled first.
function skynet.yield() end

---@class skynet.protocol_class
---@field name string
---@field id integer From 0 to 252.
---@field pack? fun(...: any): any, integer|nil
---@field unpack? fun(msg: lightuserdata, sz: integer): ...any
---@field dispatch? fun(session: integer, source: integer, ...: any)
---@field trace? boolean
local protocol_class = {}

---@class skynet.requests
local requests = {}

---Adds a request.
---@param request table
---@return skynet.requests requests
function requests:add(request) end

---Gives up the answers that are not there yet.
function requests:close() end

---Sends all. The iterator gives each request with its answer as a list, or `false` if it failed. It ends after `timeout` hundredths of a second.
---@param timeout? integer
---@return function iterator
function requests:select(timeout) end

return skynet
