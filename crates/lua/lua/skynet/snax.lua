-- Services whose functions are called by name.

local skynet = require "skynet"
local read_interface = require "snax.interface"

local snax = {}
local kinds = {}
local objects = setmetatable({}, { __mode = "v" })

skynet.register_protocol { name = "snax", id = skynet.PTYPE_SNAX, pack = skynet.pack, unpack = skynet.unpack }

local common = skynet.getenv "snax_interface_g"
local globals = common and require(common) or { require = function() end }

-- The numbers of a kind of service's functions, by group and name.
function snax.interface(name)
	local kind = kinds[name]
	if not kind then
		kind = { name = name, accept = {}, response = {}, system = {} }
		-- A script's own globals stay with this reading of it.
		local own = {}
		for key, value in pairs(globals) do
			own[key] = value
		end
		for _, f in ipairs(read_interface(name, own)) do
			kind[f[2]][f[3]] = f[1]
		end
		kinds[name] = kind
	end
	return kind
end

local function callers(numbers, complaint, make)
	return setmetatable({}, { __index = function(self, name)
		local number = numbers[name] or error(string.format(complaint, name), 2)
		local f = make(number)
		rawset(self, name, f)
		return f
	end })
end

local meta = {}
function meta:__tostring()
	return string.format("[%s:%x]", self.type, self.handle)
end

-- The object of a service that is there.
function snax.bind(handle, name)
	local object = objects[handle]
	if object then
		assert(object.type == name, "the service is of another type")
		return object
	end
	local kind = snax.interface(name)
	object = setmetatable({
		type = name,
		handle = handle,
		post = callers(kind.accept, "post " .. name .. ":%s no exist", function(number)
			return function(...)
				skynet.send(handle, "snax", number, ...)
			end
		end),
		req = callers(kind.response, "request " .. name .. ":%s no exist", function(number)
			return function(...)
				return skynet.call(handle, "snax", number, ...)
			end
		end),
	}, meta)
	objects[handle] = object
	return object
end

-- Launches a service and calls its `init`.
function snax.rawnewservice(name, ...)
	local kind = snax.interface(name)
	local handle = skynet.newservice("snaxd", name)
	skynet.call(handle, "snax", kind.system.init, ...)
	return handle
end

function snax.newservice(name, ...)
	return snax.bind(snax.rawnewservice(name, ...), name)
end

-- All services are in one process, so a global service is a unique one.
function snax.uniqueservice(name, ...)
	return snax.bind(assert(skynet.call(".service", "lua", "LAUNCH", "snaxd", name, ...)), name)
end
snax.globalservice = snax.uniqueservice

function snax.queryservice(name)
	return snax.bind(assert(skynet.call(".service", "lua", "QUERY", "snaxd", name)), name)
end
snax.queryglobal = snax.queryservice

function snax.kill(object, ...)
	skynet.call(object.handle, "snax", snax.interface(object.type).system.exit, ...)
end

function snax.self()
	return snax.bind(skynet.self(), SERVICE_NAME)
end

function snax.exit(...)
	snax.kill(snax.self(), ...)
end

local function answer(ok, ...)
	if ok then
		return ...
	end
	error(..., 0)
end

function snax.hotfix(object, source, ...)
	local number = snax.interface(object.type).system.hotfix
	return answer(skynet.call(object.handle, "snax", number, source, ...))
end

-- How often each function of a service was called, and how long they took.
function snax.profile_info(object)
	return skynet.call(object.handle, "snax", snax.interface(object.type).system.profile)
end

function snax.printf(format, ...)
	skynet.error(string.format(format, ...))
end

return snax
