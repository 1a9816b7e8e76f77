-- The module `moorline`: sessions that live in the gateway. `core` is written in Rust: see `crates/lua-app/src/functions.rs`.

local core = ...
local skynet = require "skynet"
local inner, internal = skynet.sleep and require "moorline.core".inner, require "http.internal"

local moorline = { slot = core.slot, generation = core.generation, workers = core.workers, leader = core.leader }

-- The first byte of what `keep` packs. The next build reads what this one has kept.
local PACKED <const> = "\1"

local Session = {}
Session.__index = Session

local sessions = {}

local function new(number)
	return setmetatable({ number = number, id = string.format("%016x", number) }, Session)
end

local function handle(number)
	return sessions[number] or new(number)
end

local function send(self, data, is_text)
	local sent, why = core.try_send(self.number, data, is_text)
	if sent or why then
		return sent, why
	end
	return skynet.call(core.engine, "moorline", "send", self.number, data, is_text)
end

function Session:send(data) return send(self, data, false) end
function Session:send_text(text) return send(self, text, true) end
function Session:push(data) return core.push(self.number, data, false) end
function Session:push_text(text) return core.push(self.number, text, true) end
function Session:close(code, text) return core.close(self.number, code, text) end
function Session:is_closed() return core.is_closed(self.number) end
function Session:close_now() return core.close_now(self.number) end
function Session:join(group) return core.join(self.number, group) end
function Session:leave(group) return core.leave(self.number, group) end
function Session:set_label(label) return core.label(self.number, label) end
function Session:pause() return core.pause(self.number, true) end
function Session:resume() return core.pause(self.number, false) end

function Session:keep(...)
	if select("#", ...) == 0 then
		return core.keep(self.number)
	end
	return core.keep(self.number, PACKED .. skynet.packstring(...))
end

function Session:load()
	local kept = core.kept(self.number)
	if kept and kept:sub(1, 1) == PACKED then
		return skynet.unpack(kept:sub(2))
	end
	return nil
end

function Session:__tostring() return "session " .. self.id end

-- Any session of the engine, by the id that logs and commands show.
function moorline.session(id)
	local number = math.type(id) == "integer" and id or (type(id) == "string" and #id == 16 and tonumber(id, 16))
	return handle(number or error("an id has 16 hexadecimal digits: " .. tostring(id), 2))
end

-- The session behind a client of a gate, or behind a socket; of a socket also whether another worker has served it before.
function moorline.session_of(fd)
	local number, is_adopted = core.number_of(fd)
	return number and handle(number), is_adopted
end

-- Reads in `func` are one: a reload or a crash before its end gives all of it to the next worker again.
function moorline.whole(fd, func, ...)
	local result = table.pack(internal.whole(fd, pcall, func, ...))
	if not result[1] then
		error(result[2], 0)
	end
	return table.unpack(result, 2, result.n)
end

local Group = {}
Group.__index = Group

function moorline.group(name)
	return setmetatable({ name = name }, Group)
end

function Group:join(session) return session:join(self.name) end
function Group:leave(session) return session:leave(self.name) end
function Group:send(data) return skynet.call(core.engine, "moorline", "broadcast", self.name, data, false) end
function Group:send_text(text) return skynet.call(core.engine, "moorline", "broadcast", self.name, text, true) end

function Group:members()
	local members = table.pack(skynet.call(core.engine, "moorline", "members", self.name))
	if members[1] == nil and members[2] then
		return nil, members[2]
	end
	for i = 1, members.n do
		members[i] = handle(members[i])
	end
	members.n = nil
	return members
end

function moorline.reload()
	return skynet.call(core.engine, "moorline", "reload")
end

local handlers
local events = {}

-- The cluster of the engine, for `skynet.cluster`.
if core.node then
	local serve

	moorline.cluster = { node = core.node, slot = core.slot, has = core.has_node }

	-- The bytes of a request: whether it is answered, and the service, a number or a name.
	function moorline.cluster.request(addr, is_push, text)
		local number = math.tointeger(addr)
		if number and type(addr) == "number" then
			assert(number >= 0 and number <= 0xffffffff, "the address of a service is a number of 32 bits")
			return string.pack("<BI4", is_push and 1 or 0, number) .. text
		end
		assert(type(addr) == "string" and #addr >= 1 and #addr <= 255, "a service of a node is a number, or a name of 1 to 255 bytes")
		return string.pack("<Bs1", is_push and 3 or 2, addr) .. text
	end

	-- The bytes of a question whether a worker has a service of this name.
	function moorline.cluster.question(addr)
		assert(type(addr) == "string" and #addr >= 1 and #addr <= 255, "a service of a node is a number, or a name of 1 to 255 bytes")
		return string.pack("<Bs1", 4, addr)
	end

	-- Asks the worker of a node. Returns its answer; or nil and why there is none.
	function moorline.cluster.call(node, slot, request, seconds)
		local ok, answer = skynet.call(core.engine, "moorline", "call", node, slot, request, seconds)
		if not ok then
			return nil, answer
		elseif answer:byte() ~= 1 then
			error(answer:sub(2), 0)
		end
		return answer:sub(2)
	end

	-- This service takes requests of other nodes.
	function moorline.cluster.serve(new)
		serve = new
		core.serve_cluster(skynet.self())
	end

	-- The answer begins with a byte: 1 if it went well, 0 before a reason, 2 if another worker may have the service.
	function events.cluster(request)
		local kind, to, at = request:byte(), nil, nil
		if not kind or kind > 4 then
			return "\0the request is malformed"
		end
		local is_read, why = pcall(function() to, at = string.unpack(kind >= 2 and "<s1" or "<I4", request, 2) end)
		if not is_read or to == "" then
			return "\0the request is malformed: " .. tostring(why)
		end
		local ok, answer = serve(to, kind == 4 and "question" or (kind & 1 == 1 and "push" or "call"), request:sub(at))
		if ok == nil then
			return "\2"
		end
		return (ok and "\1" or "\0") .. tostring(answer)
	end
end

-- Another process serves it, or it comes back from there.
function events.moved(number)
	local session = sessions[number]
	sessions[number] = nil
	if session and handlers.moved then
		handlers.moved(session)
	end
end

function events.open(number, is_adopted, listener, peer)
	events.moved(number)
	local session = new(number)
	session.listener, session.peer = listener, peer
	sessions[number] = session
	if handlers.open then
		handlers.open(session, is_adopted)
	end
end

function events.message(number, data, is_text)
	local session = sessions[number]
	if session and handlers.message then
		handlers.message(session, data, is_text)
	end
end

function events.close(number, reason)
	local session = sessions[number]
	sessions[number] = nil
	if session and handlers.close then
		handlers.close(session, reason)
	end
end

-- Fields with one name are one value, separated by commas.
local function request_of(method, target, path, route, peer, listener, body, ...)
	local headers = {}
	for i = 1, select("#", ...), 2 do
		local name, value = select(i, ...)
		name = name:lower()
		headers[name] = headers[name] and headers[name] .. ", " .. value or value
	end
	return {
		method = method, target = target, path = path, query = target:match "%?(.*)$", route = route, peer = peer, listener = listener,
		body = body, headers = headers,
	}
end

local function flat(values, n, headers)
	for name, value in pairs(headers or {}) do
		values[n + 1], values[n + 2] = tostring(name), tostring(value)
		n = n + 2
	end
	return table.unpack(values, 1, n)
end

function events.request(...)
	local status, body, headers = handlers.request(request_of(...))
	if type(status) == "string" then
		status, body, headers = 200, status, body
	end
	return flat({ status or 404, body and tostring(body) or "" }, 2, headers)
end

function events.accept(...)
	local decision, body = handlers.accept(request_of(...))
	if decision == false then
		return "refuse", 403, ""
	elseif math.type(decision) == "integer" then
		return "refuse", decision, body and tostring(body) or ""
	elseif decision == nil or decision == true then
		return "accept"
	elseif type(decision) ~= "table" then
		error("accept returns true, false, a status and a text, or a table; not a " .. type(decision), 0)
	end
	local function text(value) return value ~= nil and tostring(value) or nil end
	local values = {
		"accept", text(decision.label), text(decision.bind), text(decision.protocol), decision.any_origin == true,
	}
	return flat(values, 5, decision.headers)
end

-- The hook ends with its handler, also if that has called `skynet.ignoreret`.
local function finish(session, source, ...)
	local job = inner.current()
	job.session, job.source = session, source
	skynet.retpack(...)
end

skynet.register_protocol {
	name = "moorline", id = core.kind, pack = skynet.pack, unpack = skynet.unpack,
	dispatch = function(session, source, event, ...)
		finish(session, source, events[event](...))
	end,
}

-- This service handles sessions: those of the listener `handlers.listener`, or all that no other service names.
function moorline.serve(new)
	assert(type(new) == "table", "moorline.serve needs a table of handlers")
	assert(not handlers or handlers.listener == new.listener,
		"a service serves one listener: launch a second service for the other one")
	handlers = new
	core.serve(skynet.self(), new.listener, new.accept ~= nil, new.request ~= nil)
end

return moorline
