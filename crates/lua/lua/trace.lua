-- Traces: a tag for a request, lines that name it, and the same tag for the requests that it makes. Loaded when the first one begins.
--
-- While a service traces, its requests and answers come packed: then they pass the code that looks at tags. Otherwise tags cost nothing.

local inner = ...

local core, skynet, proto, current = inner.core, inner.skynet, inner.proto, inner.current
local TRACE <const> = 12
-- Tags of requests that come next, by their sender. One that sends no request leaves its tag behind.
local MOST <const> = 1024
local next_tags, tags = {}, 0
local jobs, forced, serial = 0, 0, 0
local trace = {}

-- The places of a call from a level on, three at most.
local function places(thread, level)
	local found = {}
	for i = level, level + 2 do
		local info
		if thread then
			info = debug.getinfo(thread, i, "Sl")
		else
			info = debug.getinfo(i + 1, "Sl")
		end
		if not info then
			break
		elseif info.currentline >= 0 then
			found[#found + 1] = string.format("%s:%d", info.source, info.currentline)
		end
	end
	return #found > 0 and " : " .. table.concat(found, " ") or ""
end

function trace.log(tag, text, at, level)
	local where = ""
	if type(at) == "thread" then
		where = places(at, level or 1)
	elseif at then
		where = places(nil, at + 1)
	end
	core.log(string.format("<TRACE %s> %d %s%s", tag, core.hpc(), text, where))
end

local fast_retpack = skynet.retpack
local function retpack(...)
	return skynet.ret(skynet.pack(...))
end

local function set(is_tracing)
	if inner.is_tracing == is_tracing then
		return
	end
	inner.is_tracing = is_tracing
	for key, p in pairs(proto) do
		if type(key) == "string" and p.pack == skynet.pack and p.unpack == skynet.unpack then
			p.fast = not is_tracing
			core.unpacks(p.id, p.fast)
		end
	end
	if is_tracing then
		fast_retpack, skynet.retpack = skynet.retpack, retpack
	elseif skynet.retpack == retpack then
		skynet.retpack = fast_retpack
	end
end

local function update()
	set(jobs > 0 or forced > 0 or tags > 0)
end

local function take(source)
	local tag = next_tags[source]
	if tag then
		next_tags[source], tags = nil, tags - 1
	end
	return tag
end

local function begin(job, tag, text)
	if not job.tag then
		jobs = jobs + 1
	end
	job.tag = tag
	trace.log(tag, text)
	update()
end

local function new_tag()
	serial = serial + 1
	return string.format(":%08x-%d", core.self(), serial)
end

-- A tag for the request that is handled.
function trace.start(info)
	local job = current()
	if job.tag ~= false then
		begin(job, new_tag(), info and "trace " .. info or "trace")
	end
	return job.tag
end

-- The next request of a sender has this tag.
function trace.arrived(source, tag)
	if not next_tags[source] then
		if tags == MOST then
			next_tags, tags = {}, 0
		end
		tags = tags + 1
	end
	next_tags[source] = tag
	update()
end

-- A request comes.
function trace.request(job, p, source)
	local tag = take(source)
	if p.trace == false then
		job.tag = false
	elseif tag then
		begin(job, tag, "request")
	elseif p.trace then
		begin(job, new_tag(), "trace")
	end
	update()
end

-- The next request to a service has this job's tag.
function trace.call(tag, to)
	trace.log(tag, "call", 4)
	core.rawsend(to, TRACE, tag)
end

function trace.stop(job, text)
	if job.tag then
		trace.log(job.tag, text)
		jobs = jobs - 1
	end
	job.tag = nil
	update()
end

function trace.protocol(name, flag)
	local p = assert(proto[name], "no such protocol")
	forced = forced + (flag ~= nil and 1 or 0) - (p.trace ~= nil and 1 or 0)
	p.trace = flag
	update()
end

return trace
