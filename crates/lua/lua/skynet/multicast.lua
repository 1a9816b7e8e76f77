-- Messages to all subscribers of a channel.

local skynet = require "skynet"

local multicast = {}
local channel, meta = {}, {}
local subscribed = setmetatable({}, { __mode = "v" })
local address

-- It is launched when it is first needed: a script may require this module where it cannot wait.
local function daemon()
	address = address or skynet.uniqueservice "multicastd"
	return address
end

meta.__index = channel
function meta:__tostring()
	return string.format("[Multicast:%x]", self.channel or 0)
end

-- A channel: the one with `conf.channel`, or a new one. `conf` may have `dispatch`, `pack` and `unpack`.
function multicast.new(conf)
	conf = conf or {}
	return setmetatable({
		channel = conf.channel or skynet.call(daemon(), "lua", "NEW"),
		__pack = conf.pack or skynet.pack,
		__unpack = conf.unpack or skynet.unpack,
		__dispatch = conf.dispatch,
	}, meta)
end

local function id_of(self)
	return self.channel or error("the channel is deleted", 3)
end

function channel:delete()
	skynet.send(daemon(), "lua", "DEL", id_of(self))
	self.channel, self.__subscribed = nil, nil
end

function channel:publish(...)
	local message, size = self.__pack(...)
	local bytes = message
	if type(message) ~= "string" then
		bytes = skynet.tostring(message, size)
		skynet.trash(message, size)
	end
	skynet.call(daemon(), "lua", "PUB", id_of(self), bytes)
end

function channel:subscribe()
	local id = id_of(self)
	if not self.__subscribed then
		skynet.call(daemon(), "lua", "SUB", id)
		self.__subscribed = true
		subscribed[id] = self
	end
end

function channel:unsubscribe()
	if self.__subscribed then
		self.__subscribed = nil
		skynet.send(daemon(), "lua", "USUB", id_of(self))
	end
end

skynet.register_protocol {
	name = "multicast",
	id = skynet.PTYPE_MULTICAST,
	unpack = function(message, size)
		local id, at = string.unpack("<i8", skynet.tostring(message, size))
		return id, skynet.tostring(message, size):sub(at)
	end,
	dispatch = function(_, source, id, bytes)
		local self = subscribed[id]
		if not self then
			-- The script has dropped the channel without a word.
			skynet.send(daemon(), "lua", "USUB", id)
		elseif self.__subscribed and self.__dispatch then
			self.__dispatch(self, source, self.__unpack(bytes, #bytes))
		end
	end,
}

return multicast
