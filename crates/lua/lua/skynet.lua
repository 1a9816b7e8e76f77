-- The part of the module that every service uses. The rest is loaded when something else is asked for, so that a service that only
-- dispatches stays small. `core` is written in Rust: see `crates/lua/src/core.rs`.
--
-- A job is a coroutine and what it works for: `co`, and `session` and `source` of the request. Jobs are used again. A job that waits is in
-- `waiting` under the number of its session, and is resumed with `true` and values, or with `false` and a reason.

local core = ...

local co_create, co_resume, co_yield = coroutine.create, coroutine.resume, coroutine.yield
local RESPONSE <const>, ERROR <const>, LUA <const>, RAW <const> = 1, 7, 10, 256

local skynet, proto = {}, {}
local waiting, timers, sleeping, pool = {}, {}, {}, {}
local queues = { forks = {}, woken = {}, busy = false, done = 0 }
local current

-- What `rest.lua` shares with this part.
local inner = {
	core = core, skynet = skynet, proto = proto, waiting = waiting, timers = timers, sleeping = sleeping, pool = pool,
	queues = queues, inits = {},
}
function inner.current() return current end

local function loop(job, f, ...)
	f(...)
	if job.session then
		if job.session ~= 0 then
			inner.forgot(job)
		end
		job.session = nil
	end
	if job.tag ~= nil then
		inner.trace().stop(job, "end")
	end
	if #pool < 16 then
		pool[#pool + 1] = job
		return loop(job, co_yield())
	end
end

local function take_job()
	local n = #pool
	if n > 0 then
		local job = pool[n]
		pool[n] = nil
		return job
	end
	local job = {}
	job.co = co_create(function() return loop(job, co_yield()) end)
	co_resume(job.co)
	return job
end
inner.take_job = take_job

local function run(job, ...)
	local before = current
	current = job
	local ok, err = co_resume(job.co, ...)
	current = before
	if not ok then
		inner.failed(job, err)
	end
end
inner.run = run
function inner.resume_by(f) co_resume = f end

local function dispatch(kind, session, source, ...)
	-- What `run` does stands here twice: passing values on costs as much as the rest of it.
	if kind == RESPONSE or kind == RESPONSE + RAW then
		local job = waiting[session]
		if job then
			waiting[session] = nil
			local before = current
			current = job
			local ok, err = co_resume(job.co, true, ...)
			current = before
			if not ok then
				inner.failed(job, err)
			end
		elseif timers[session] then
			local timer = timers[session]
			timers[session] = nil
			run(take_job(), timer)
		else
			inner.no_job(session, source, ...)
		end
	elseif kind == LUA and proto[LUA].dispatch then
		local job = take_job()
		job.session, job.source = session, source
		local before = current
		current = job
		local ok, err = co_resume(job.co, proto[LUA].dispatch, session, source, ...)
		current = before
		if not ok then
			inner.failed(job, err)
		end
	else
		inner.other(kind, session, source, ...)
	end
	if queues.busy then
		inner.drain()
	end
end

local function answer(ok, ...)
	if ok then
		return ...
	end
	-- Both are tail calls: above this one is the script.
	error(... or "call failed", 2)
end

-- Waits for an answer: from `addr`, if another service gives it.
local function wait_for(session, addr)
	local job = current
	waiting[session] = job
	if job then
		job.to = addr
	end
	return co_yield()
end
inner.wait_for = wait_for

function skynet.pack(...)
	return answer(core.pack(...))
end

function skynet.unpack(msg, sz)
	return answer(core.unpack(msg, sz))
end

local lua = { name = "lua", id = LUA, pack = skynet.pack, unpack = skynet.unpack, fast = true }
proto.lua, proto[LUA] = lua, lua

function skynet.call(addr, typename, ...)
	local p = proto[typename] or inner.protocol(typename)
	if p.fast then
		local session, err = core.call(addr, p.id, ...)
		if session then
			local job = current
			waiting[session], job.to = job, addr
			return answer(co_yield())
		end
		error(err, 2)
	end
	return inner.call(addr, p, ...)
end

function skynet.send(addr, typename, ...)
	local p = proto[typename] or inner.protocol(typename)
	if p.fast then
		local sent, err = core.send(addr, p.id, ...)
		if err then
			error(err, 2)
		end
		return sent
	end
	return (core.rawsend(addr, p.id, p.pack(...)))
end

function skynet.retpack(...)
	local session = current.session
	if not session then
		error("No session", 2)
	end
	current.session = nil
	if session == 0 then
		return false
	end
	local sent, err = core.reply(current.source, session, ...)
	if err then
		current.session = session
		error(err, 2)
	end
	return sent
end

function skynet.dispatch(typename, func)
	local p = proto[typename] or inner.protocol(typename, not func)
	local before = p and p.dispatch
	if func then
		p.dispatch = func
	end
	return before
end

inner.dispatch = dispatch

-- Begins to dispatch, and runs the start function of the service.
function inner.start(how, func)
	core.start(how)
	timers[core.timeout(0)] = function()
		local inits = inner.inits
		inner.inits = nil
		inner.starting = current.co
		local ok, err = xpcall(function()
			for _, init in ipairs(inits) do
				init()
			end
			func()
		end, debug.traceback)
		inner.starting = false
		if ok then
			core.ready()
		else
			core.failed(tostring(err))
		end
	end
end

function skynet.start(func)
	inner.start(dispatch, func)
end

-- A module that is loaded in a coroutine may wait: then a function of Lua loads it.
local plain_require = require
core.plain_require = require
package.loaded["moorline.core"] = core
function require(name)
	local _, is_main = coroutine.running()
	if is_main or package.loaded[name] ~= nil then
		return plain_require(name)
	end
	return plain_require "skynet.require".require(name)
end

local function load_rest()
	setmetatable(skynet, nil)
	setmetatable(inner, nil)
	-- What the script has put there stays.
	local own = {}
	for name, value in pairs(skynet) do
		own[name] = value
	end
	core.rest()(inner)
	for name, value in pairs(own) do
		skynet[name] = value
	end
end

local lazy = {
	__index = function(part, name)
		load_rest()
		return part[name]
	end,
	__pairs = function(part)
		load_rest()
		return pairs(part)
	end,
}
setmetatable(skynet, lazy)
setmetatable(inner, lazy)

return skynet
