-- Messages and requests by a schema, above `sproto.core`.

local core = require "sproto.core"

local sproto, host = { pack = core.pack, unpack = core.unpack }, {}
local sproto_meta, host_meta = { __index = sproto }, { __index = host }

-- Around a schema that is in memory, perhaps a shared one.
function sproto.sharenew(schema)
	return setmetatable({ __cobj = schema, __types = {}, __protocols = {} }, sproto_meta)
end

function sproto.new(bundle)
	return sproto.sharenew(assert(core.newproto(bundle)))
end

function sproto.parse(text)
	return sproto.new(require "sprotoparser".parse(text))
end

local function find_type(self, name)
	local found = self.__types[name]
	if not found then
		found = assert(core.querytype(self.__cobj, name), "type not found")
		self.__types[name] = found
	end
	return found
end

local function find_protocol(self, key)
	local found = self.__protocols[key]
	if not found then
		local other, request, response = core.protocol(self.__cobj, key)
		assert(other, tostring(key) .. " not found")
		local name, tag = key, other
		if type(key) == "number" then
			name, tag = other, key
		end
		found = { name = name, tag = tag, request = request, response = response }
		self.__protocols[name], self.__protocols[tag] = found, found
	end
	return found
end

function sproto:exist_type(name)
	return self.__types[name] ~= nil or core.querytype(self.__cobj, name) ~= nil
end

function sproto:exist_proto(name)
	return self.__protocols[name] ~= nil or core.protocol(self.__cobj, name) ~= nil
end

sproto.queryproto = find_protocol

function sproto:encode(name, value)
	return core.encode(find_type(self, name), value)
end

function sproto:decode(name, ...)
	return core.decode(find_type(self, name), ...)
end

function sproto:pencode(name, value)
	return core.pack(core.encode(find_type(self, name), value))
end

function sproto:pdecode(name, ...)
	return core.decode(find_type(self, name), core.unpack(...))
end

function sproto:request_encode(name, value)
	local p = find_protocol(self, name)
	return p.request and core.encode(p.request, value) or "", p.tag
end

function sproto:response_encode(name, value)
	local p = find_protocol(self, name)
	return p.response and core.encode(p.response, value) or ""
end

function sproto:request_decode(name, ...)
	local p = find_protocol(self, name)
	local value
	if p.request then
		value = core.decode(p.request, ...)
	end
	return value, p.name
end

function sproto:response_decode(name, ...)
	local p = find_protocol(self, name)
	if p.response then
		return core.decode(p.response, ...)
	end
end

function sproto:default(name, kind)
	if kind == nil then
		return core.default(find_type(self, name))
	end
	local p = find_protocol(self, name)
	local found
	if kind == "REQUEST" then
		found = p.request
	elseif kind == "RESPONSE" then
		found = p.response
	else
		error "Invalid type"
	end
	return found and core.default(found)
end

-- One end of a connection: what it gets follows this schema.
function sproto:host(package)
	local found = assert(core.querytype(self.__cobj, package or "package"), "type package not found")
	return setmetatable({ __proto = self, __package = found, __session = {} }, host_meta)
end

local function packed(self, header, kind, value)
	local content = kind and core.encode(kind, value) or ""
	return core.pack(core.encode(self.__package, header) .. content)
end

-- What came: a request, with what answers it, or the response to one of ours.
function host:dispatch(...)
	local bytes = core.unpack(...)
	local header, size = core.decode(self.__package, bytes)
	local content = bytes:sub(size + 1)
	local session = header.session
	if header.type then
		local p = find_protocol(self.__proto, header.type)
		local value, respond
		if p.request then
			value = core.decode(p.request, content)
		end
		if session then
			function respond(value, ud)
				return packed(self, { session = session, ud = ud }, p.response, value)
			end
		end
		return "REQUEST", p.name, value, respond, header.ud
	end
	assert(session, "session not found")
	local kind = assert(self.__session[session], "Unknown session")
	self.__session[session] = nil
	local value
	if kind ~= true then
		value = core.decode(kind, content)
	end
	return "RESPONSE", session, value, header.ud
end

-- What makes requests to the other end, which follows another schema.
function host:attach(other)
	return function(name, value, session, ud)
		local p = find_protocol(other, name)
		if session then
			self.__session[session] = p.response or true
		end
		return packed(self, { type = p.tag, session = session, ud = ud }, value and p.request, value)
	end
end

return sproto
