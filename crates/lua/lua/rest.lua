-- What few services use, and what services use seldom. See `skynet.lua`.

local inner = ...

local core, skynet, proto = inner.core, inner.skynet, inner.proto
local waiting, timers, sleeping, pool, queues = inner.waiting, inner.timers, inner.sleeping, inner.pool, inner.queues
local take_job, run, wait_for, current = inner.take_job, inner.run, inner.wait_for, inner.current
local co_yield, co_running, traceback = coroutine.yield, coroutine.running, debug.traceback
local RAW <const> = 256

-- Kinds of messages.
skynet.PTYPE_TEXT, skynet.PTYPE_RESPONSE, skynet.PTYPE_MULTICAST, skynet.PTYPE_CLIENT, skynet.PTYPE_SYSTEM = 0, 1, 2, 3, 4
skynet.PTYPE_HARBOR, skynet.PTYPE_SOCKET, skynet.PTYPE_ERROR, skynet.PTYPE_QUEUE, skynet.PTYPE_DEBUG = 5, 6, 7, 8, 9
skynet.PTYPE_LUA, skynet.PTYPE_SNAX, skynet.PTYPE_TRACE = 10, 11, 12

-- For modules that have coroutines wait.
core.inner = inner

-- What happens to messages and jobs

local function answer(ok, ...)
	if ok then
		return ...
	end
	-- All callers of this are tail calls: above it is the script.
	error(... or "call failed", 2)
end

local function unpack_answer(p, ok, ...)
	if ok then
		return p.unpack(...)
	end
	error(... or "call failed", 2)
end

local function resumed(tag, ...)
	if tag then
		inner.trace().log(tag, "resume")
	end
	return ...
end

-- Waits for the answer of a call.
local function wait_answer(session, addr)
	return resumed(current().tag, wait_for(session, addr))
end

-- Before a call: the other service is told the tag, if this job has one.
local function tell_tag(addr)
	local job = current()
	if job and job.tag then
		inner.trace().call(job.tag, addr)
	end
end

function inner.call(addr, p, ...)
	tell_tag(addr)
	local session, err = core.rawcall(addr, p.id, p.pack(...))
	if not session then
		error(err, 2)
	end
	return unpack_answer(p, wait_answer(session, addr))
end

function inner.trace()
	local trace = core.trace()(inner)
	inner.trace = function() return trace end
	return trace
end

function inner.forgot(job)
	core.log(string.format("Maybe forgot response session %s from %s", job.session, skynet.address(job.source)))
end

-- An error may be a value that cannot be shown.
local function text_of(err)
	local ok, text = pcall(tostring, err)
	return ok and text or "an error that has no text"
end

function inner.failed(job, err)
	local text, session, source = text_of(err), job.session, job.source
	job.session = nil
	if job.tag ~= nil then
		inner.trace().stop(job, "error")
	end
	-- Before what the coroutine closes: that may fail, too, or never end.
	if session and session ~= 0 then
		core.fail(source, session)
	end
	-- Without memory there is no traceback. What the coroutine held is free when it is closed.
	local ok, trace = pcall(traceback, job.co, text)
	coroutine.close(job.co)
	core.log_failure(source or 0, session or 0, ok and trace or text)
	if inner.starting == job.co then
		core.failed(text)
	end
end

-- What takes the answers of `skynet.request`, by session. Their sessions are `false` in `waiting`.
local collecting, targets = {}, {}

local function collected(session, ...)
	local collect = collecting[session]
	collecting[session], targets[session] = nil, nil
	if waiting[session] == false then
		waiting[session] = nil
	end
	if collect then
		collect(session, ...)
	end
end

function inner.no_job(session, source, ...)
	if waiting[session] == false then
		collected(session, true, ...)
	else
		inner.unknown_response(session, source, ...)
	end
end

function inner.unknown_response(session, source, msg)
	core.log(string.format("Response message : %s", msg and type(msg) == "userdata" and skynet.tostring(msg) or msg))
	core.log(string.format("Unknown session : %d from %x", session, source))
end

function inner.unknown_request(session, source, msg, size, name)
	core.log(string.format("Unknown request (%s): %s", name, msg and skynet.tostring(msg, size) or ""))
	error(string.format("Unknown session : %d from %x", session, source))
end

local function error_message(session, reason)
	local job = waiting[session]
	if job then
		waiting[session] = nil
		run(job, false, reason)
	elseif job == false then
		collected(session, false)
	end
end

function inner.other(kind, session, source, ...)
	local is_raw = kind >= RAW
	local id = is_raw and kind - RAW or kind
	if id == skynet.PTYPE_ERROR then
		return error_message(session, ...)
	end
	if id == skynet.PTYPE_DEBUG then
		inner.load_debug()
	end
	local p = proto[id]
	if id == skynet.PTYPE_TRACE and not p then
		return inner.trace().arrived(source, skynet.tostring(...))
	end
	local job = take_job()
	job.session, job.source = session, source
	if inner.is_tracing and p then
		inner.trace().request(job, p, source)
	end
	if not p or not p.dispatch then
		local msg, size = ...
		if not is_raw then
			msg, size = skynet.pack(...)
		end
		local unknown = inner.unknown_request
		run(job, unknown, session, source, msg, size, p and p.name or id)
	elseif is_raw then
		run(job, function(...) return p.dispatch(session, source, p.unpack(...)) end, ...)
	else
		run(job, p.dispatch, session, source, ...)
	end
end

-- Nobody waits for this session any more. The timer of a sleep and the answer to a call come nevertheless.
local function forget(session, job)
	waiting[session] = nil
	if sleeping[job] ~= "wait" then
		waiting[session] = false
	end
end

local function wake(token)
	local session = sleeping[token]
	local job = session and waiting[session]
	if job then
		forget(session, job)
		run(job, false, "BREAK")
	end
end

-- Closes what the job that has called `skynet.exit` is about to close.
local function close_leaving()
	local co = queues.leaving
	queues.leaving = nil
	if co then
		coroutine.close(co)
	end
end

function inner.drain()
	-- A job has dispatched a message itself. What this has added comes after the job.
	if current() then
		return
	end
	if queues.quit then
		return close_leaving()
	end
	local woken, forks = queues.woken, queues.forks
	local w, f = 1, 1
	while woken[w] ~= nil or forks[f] ~= nil do
		if woken[w] ~= nil then
			local token = woken[w]
			woken[w] = false
			w = w + 1
			wake(token)
		else
			local job = forks[f]
			forks[f] = false
			f = f + 1
			-- It is `false` if it has run before an error that ended this loop.
			local func, args = job and job.func, job and job.args
			if func then
				job.func, job.args = nil, nil
				run(job, func, table.unpack(args, 1, args.n))
			end
		end
		if queues.quit then
			return close_leaving()
		end
	end
	queues.woken, queues.forks, queues.busy = {}, {}, false
end

-- Sending

function skynet.rawcall(addr, typename, msg, sz)
	tell_tag(addr)
	local session, err = core.rawcall(addr, proto[typename].id, msg, sz)
	if not session then
		error(err, 2)
	end
	return answer(wait_answer(session, addr))
end

local function traced(trace, tag, ...)
	trace.log(tag, "tracecall end")
	return answer(...)
end

-- `rawcall` with a tag from elsewhere.
function skynet.tracecall(tag, addr, typename, msg, sz)
	local trace, id = inner.trace(), proto[typename].id
	trace.log(tag, "tracecall begin")
	core.rawsend(addr, skynet.PTYPE_TRACE, tag)
	local session, err = core.rawcall(addr, id, msg, sz)
	if not session then
		error(err, 2)
	end
	return traced(trace, tag, wait_for(session, addr))
end

function skynet.rawsend(addr, typename, msg, sz)
	local sent, err = core.rawsend(addr, proto[typename].id, msg, sz)
	if err then
		error(err, 2)
	end
	return sent
end

function skynet.redirect(dest, source, typename, ...)
	local id = type(typename) == "number" and typename or proto[typename].id
	local sent, err = core.redirect(dest, source, id, ...)
	if err then
		error(err, 2)
	end
	return sent
end

function skynet.ret(msg, sz)
	local job = current()
	local session = job.session
	if not session then
		error("No session", 2)
	end
	if session == 0 then
		job.session = nil
		core.trash(msg, sz)
		return false
	end
	if job.tag then
		inner.trace().log(job.tag, "response")
	end
	local sent, err = core.respond(job.source, session, msg or "", sz)
	if err then
		error(err, 2)
	end
	job.session = nil
	return sent
end

function skynet.ignoreret()
	current().session = nil
end

function skynet.context()
	local job = current()
	return job.session, job.source
end

function skynet.response(pack)
	pack = pack or skynet.pack
	local job = current()
	local session, source = job.session, job.source
	if not session then
		error("No session", 2)
	end
	job.session = nil
	if session == 0 then
		return function() end
	end
	return function(ok, ...)
		if ok == "TEST" then
			return pack ~= nil and core.is_alive(source)
		end
		if not pack then
			error("Can't response more than once", 2)
		end
		local sent, err
		if ok then
			sent, err = core.respond(source, session, pack(...))
			if err then
				error(err, 2)
			end
		else
			sent = core.fail(source, session)
		end
		pack = nil
		return sent
	end
end

function skynet.register_protocol(class)
	local name, id = class.name, class.id
	assert(not proto[name] and not proto[id])
	assert(type(name) == "string" and type(id) == "number" and id >= 0 and id <= 255)
	assert(id < 253, "the ids from 253 on are taken")
	class.fast = class.pack == skynet.pack and class.unpack == skynet.unpack and not inner.is_tracing
	core.unpacks(id, class.fast)
	proto[name], proto[id] = class, class
end

proto.response = { name = "response", id = 1 }
proto[1] = proto.response
proto.error = { name = "error", id = 7, pack = function(...) return ... end, unpack = function(...) return ... end }
proto[7] = proto.error

-- A protocol that was asked for before this part was loaded, or that nobody has registered.
function inner.protocol(name, may_miss)
	return proto[name] or not may_miss and error("no protocol " .. tostring(name), 3)
end

-- Every service answers it; only those that are asked have the code for it.
function inner.load_debug()
	if not proto.debug.dispatch then
		local loaded = core.debug()(inner)
		proto.debug, proto[skynet.PTYPE_DEBUG] = loaded, loaded
	end
end
proto.debug = { name = "debug", id = skynet.PTYPE_DEBUG, pack = skynet.pack, unpack = skynet.unpack, fast = true }
proto[skynet.PTYPE_DEBUG] = proto.debug
core.unpacks(skynet.PTYPE_DEBUG, true)

-- Waiting

-- The session of a timer. Its callers are functions that the script calls.
local function set_timer(ti)
	local session, err = core.timeout(ti)
	return session or error(err, 3)
end

local function suspend(token, session, kind)
	assert(not sleeping[token], "token duplicative")
	local job = current()
	sleeping[token] = session
	sleeping[job] = kind
	if job.tag then
		inner.trace().log(job.tag, "sleep", 3)
	end
	local ok, reason = resumed(job.tag, wait_for(session))
	sleeping[token], sleeping[job] = nil, nil
	if not ok then
		return reason
	end
end

function skynet.sleep(ti, token)
	return suspend(token or co_running(), set_timer(ti), "timer")
end

function skynet.yield()
	return skynet.sleep(0)
end

function skynet.wait(token)
	suspend(token or co_running(), core.genid(), "wait")
end

function skynet.wakeup(token)
	if sleeping[token] then
		table.insert(queues.woken, token)
		queues.busy = true
		return true
	end
end

-- Where timers were set, by session: see `skynet.trace_timeout`.
local set_at

-- Returns what `skynet.killthread` takes.
function skynet.timeout(ti, func)
	local session = set_timer(ti)
	if set_at then
		set_at[session] = traceback(string.format("TIMER %d+%d : ", core.now(), ti), 2)
		local own = func
		func = function()
			set_at[session] = nil
			own()
		end
	end
	timers[session] = func
	return session
end

function skynet.trace_timeout(on)
	set_at = on and (set_at or {}) or nil
end

-- Ends the calls that wait for a service, as if it had ended.
function skynet.term(service)
	local id = type(service) == "number" and service or core.find(service)
	local function is_it(addr)
		return addr == service or addr and (type(addr) == "number" and addr or core.find(addr)) == id
	end
	for session, job in pairs(waiting) do
		if job and not sleeping[job] and is_it(job.to) or collecting[session] and is_it(targets[session]) then
			core.fail(core.self(), session)
		end
	end
end

function skynet.fork(func, ...)
	local job = take_job()
	job.func, job.args = func, table.pack(...)
	table.insert(queues.forks, job)
	queues.busy = true
	return job.co
end

function skynet.killthread(thread)
	local function matches(job)
		local name = type(thread) == "string" and tostring(job.co):find(thread, 1, true)
		return job.co == thread or name
	end
	for _, job in ipairs(queues.forks) do
		if job and matches(job) then
			job.func = nil
			return job.co
		end
	end
	if timers[thread] then
		timers[thread], waiting[thread] = nil, false
		if set_at then
			set_at[thread] = nil
		end
		return thread
	end
	for session, job in pairs(waiting) do
		if job and matches(job) then
			forget(session, job)
			core.socket_withdraw(session)
			for token, other in pairs(sleeping) do
				if other == session then
					sleeping[token] = nil
				end
			end
			sleeping[job] = nil
			if job.session and job.session ~= 0 then
				core.fail(job.source, job.session)
			end
			coroutine.close(job.co)
			return job.co
		end
	end
end

-- Calls that are sent together: `skynet.request`
local requests = {}
requests.__index = requests
requests.__name = "requests"

function requests:add(request)
	assert(type(request) == "table", "a request is a table")
	assert(not self.asked, "requests are selected already")
	self[#self + 1] = request
	return self
end
requests.__call = requests.add

-- Gives the sessions back that are not answered. Their answers are dropped.
function requests:close()
	local asked = self.asked
	for session in pairs(asked and asked.sessions or {}) do
		collecting[session], targets[session] = nil, nil
	end
	if asked then
		asked.sessions, asked.left = {}, 0
	end
	if asked and asked.timer and timers[asked.timer] then
		skynet.killthread(asked.timer)
	end
end
requests.__close = requests.close

local function ask(self, request)
	local asked = self.asked
	local p = proto[request[2]] or inner.protocol(request[2])
	tell_tag(request[1])
	local session = core.rawcall(request[1], p.id, p.pack(table.unpack(request, 3, request.n)))
	if not session then
		asked.unsent[#asked.unsent + 1] = request
		return
	end
	asked.sessions[session], asked.left = true, asked.left + 1
	waiting[session], targets[session] = false, request[1]
	collecting[session] = function(_, ok, ...)
		asked.sessions[session], asked.left = nil, asked.left - 1
		local answer = ok and table.pack(pcall(p.unpack, ...))
		if answer and answer[1] then
			answer = table.pack(table.unpack(answer, 2, answer.n))
		else
			answer = false
		end
		asked.answers[#asked.answers + 1] = { request, answer }
		skynet.wakeup(self)
	end
end

-- For each answer the request and its results, `false` if it has failed, `nil` if there is nobody to ask.
local function next_answer(self)
	local asked = self.asked
	while true do
		local unsent = table.remove(asked.unsent)
		if unsent then
			return unsent
		end
		local found = table.remove(asked.answers, 1)
		if found then
			return found[1], found[2]
		end
		if asked.left == 0 or self.timeout then
			return
		end
		skynet.wait(self)
	end
end

function requests:select(timeout)
	assert(not self.asked, "requests are selected already")
	self.asked = { sessions = {}, answers = {}, unsent = {}, left = 0 }
	for _, request in ipairs(self) do
		local ok, err = pcall(ask, self, request)
		if not ok then
			self:close()
			error(err, 0)
		end
	end
	if timeout then
		self.asked.timer = skynet.timeout(timeout, function()
			self.timeout = true
			self:close()
			skynet.wakeup(self)
		end)
	end
	return function() return next_answer(self) end, nil, nil, self
end

function skynet.request(first)
	local all = setmetatable({}, requests)
	return first and all:add(first) or all
end

-- Services

local function launched(session, err)
	if not session then
		error(err, 2)
	end
	return answer(wait_for(session))
end

function skynet.newservice(name, ...)
	return launched(core.launch(name, ...))
end

function skynet.uniqueservice(global, ...)
	if global == true then
		return skynet.call(".service", "lua", "LAUNCH", ...)
	end
	return skynet.call(".service", "lua", "LAUNCH", global, ...)
end

function skynet.queryservice(global, ...)
	if global == true then
		return skynet.call(".service", "lua", "QUERY", ...)
	end
	return skynet.call(".service", "lua", "QUERY", global, ...)
end

-- Closes what the coroutines that wait are about to close. An error there is of no use to anybody any more.
local function close_waiting()
	local me, cos = current(), {}
	for _, job in pairs(waiting) do
		if job and job ~= me then
			cos[#cos + 1] = job.co
		end
	end
	for _, co in ipairs(cos) do
		if coroutine.status(co) == "suspended" then
			coroutine.close(co)
		end
	end
end

function skynet.exit()
	local is_first = not queues.quit
	queues.quit, queues.woken, queues.forks = true, {}, {}
	if is_first then
		close_waiting()
	end
	core.exit()
	local job = current()
	if job then
		queues.leaving, queues.busy = job.co, true
		co_yield()
	end
end

function skynet.init(func)
	local modules = package.loaded["skynet.require"]
	local pending = modules and modules.pending()
	if pending then
		table.insert(pending, func)
	elseif inner.inits then
		table.insert(inner.inits, func)
	else
		func()
	end
end

function skynet.init_service(func)
	local ok, err = xpcall(func, traceback)
	if ok then
		core.ready()
	else
		core.failed(tostring(err))
	end
end

function skynet.address(addr)
	return type(addr) == "number" and string.format(":%08x", addr) or tostring(addr)
end

function skynet.harbor(addr)
	return 0, false
end

function skynet.self()
	return core.self()
end

function skynet.localname(name)
	return core.find(name)
end

-- The process

skynet.now, skynet.hpc, skynet.genid = core.now, core.hpc, core.genid
skynet.trash = core.trash
skynet.getenv, skynet.mqlen = core.getenv, core.mqlen
skynet.pcall = pcall

function skynet.packstring(...)
	return answer(core.packstring(...))
end

function skynet.tostring(msg, sz)
	return answer(core.tostring(msg, sz))
end

function skynet.setenv(key, value)
	local ok, why = core.setenv(key, tostring(value))
	if not ok then
		error(why, 2)
	end
end

function skynet.starttime()
	return core.starttime()
end

function skynet.time()
	return core.now() / 100 + core.starttime()
end

function skynet.error(...)
	local parts = table.pack(...)
	for i = 1, parts.n do
		parts[i] = tostring(parts[i])
	end
	core.log(table.concat(parts, " "))
end

function skynet.memlimit(bytes)
	core.memlimit(bytes)
	skynet.memlimit = nil
end

function skynet.endless()
	return core.stat "endless" == 1
end

function skynet.stat(what)
	return core.stat(what)
end

local function text_of_timer(session)
	local info = debug.getinfo(timers[session], "S")
	return set_at and set_at[session] or string.format("TIMER : %s:%d", info.source, info.linedefined)
end

-- All that waits: calls `f` with the coroutine's name or the timer's, its session, and where it waits.
local function each_task(f)
	for session, job in pairs(waiting) do
		if job then
			f(tostring(job.co), session, traceback(job.co))
		end
	end
	for session in pairs(timers) do
		f("timer", session, text_of_timer(session))
	end
end

function skynet.task(ret)
	if ret == nil then
		local n = 0
		for _, job in pairs(waiting) do
			n = n + (job and 1 or 0)
		end
		for _ in pairs(timers) do
			n = n + 1
		end
		return n
	elseif ret == "init" then
		return inner.starting and traceback(inner.starting)
	elseif type(ret) == "table" then
		each_task(function(name, session, text)
			ret[string.format("%s session: %d", name, session)] = text
		end)
	elseif type(ret) == "number" then
		if timers[ret] then
			return text_of_timer(ret)
		end
		return waiting[ret] and traceback(waiting[ret].co) or "No session"
	elseif type(ret) == "thread" then
		for session, job in pairs(waiting) do
			if job and job.co == ret then
				return session
			end
		end
	end
end

function skynet.uniqtask()
	local sessions = {}
	each_task(function(_, session, text)
		local all = sessions[text] or {}
		sessions[text] = all
		all[#all + 1] = session
	end)
	local tasks = {}
	for text, all in pairs(sessions) do
		local shown = table.concat(all, ",", 1, math.min(#all, 9)) .. (#all > 9 and "..." or "")
		tasks[string.format("%d\tsessions:[%s]\n", #all, shown)] = text
	end
	return tasks
end

-- Hands a message to the service's own dispatcher: what `skynet.filter` and `skynet.forward_type` do.
function skynet.dispatch_message(kind, msg, sz, session, source)
	return inner.dispatch(kind + RAW, session, source, msg, sz)
end

function skynet.info_func(func)
	local before = inner.info
	inner.info = func
	return before
end

function skynet.dispatch_unknown_request(func)
	local before = inner.unknown_request
	inner.unknown_request = func
	return before
end

function skynet.dispatch_unknown_response(func)
	local before = inner.unknown_response
	inner.unknown_response = func
	return before
end

-- Traces

function skynet.trace(info)
	return inner.trace().start(info)
end

function skynet.tracetag()
	local job = current()
	return job and job.tag
end

function skynet.tracelog(tag, text, ...)
	return inner.trace().log(tag, text, ...)
end

-- `true`: traces every request of a protocol; `false`: none; `nil`: those that others trace.
function skynet.traceproto(name, flag)
	return inner.trace().protocol(name, flag)
end

-- Scripts are read at each launch, so that there is no cache to clear.
skynet.cache = { loadfile = loadfile, clear = function() end }
local cache_mode = "ON"
function skynet.cache.mode(mode)
	assert(mode == nil or mode == "ON" or mode == "OFF" or mode == "EXIST", "a mode is ON, OFF or EXIST")
	cache_mode = mode or cache_mode
	return cache_mode
end

core.inner = inner
