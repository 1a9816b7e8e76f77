-- The channels of `skynet.multicast`: who subscribes to them.

local skynet = require "skynet"
local core = require "moorline.core"

local MOST_CHANNELS <const> = 65536
-- The most of one service, so that it leaves room for others.
local MOST_OF_ONE <const> = 16384
local channels, count, last = {}, 0, 0
local creators = {} -- by channel
local created = {} -- by service: how many channels it has
local COMMAND = {}

local function remove(channel)
	local creator = creators[channel]
	local left = created[creator] - 1
	created[creator] = left > 0 and left or nil
	channels[channel], creators[channel], count = nil, nil, count - 1
end

local function is_subscribed(subscribers)
	for subscriber in pairs(subscribers) do
		if core.is_alive(subscriber) then
			return true
		end
	end
	return false
end

-- Gives up channels that services left behind when they ended.
local function sweep()
	for channel, subscribers in pairs(channels) do
		if not core.is_alive(creators[channel]) and not is_subscribed(subscribers) then
			remove(channel)
		end
	end
end

function COMMAND.NEW(source)
	if count >= MOST_CHANNELS then
		sweep()
	end
	if count >= MOST_CHANNELS then
		error("there are too many channels (>" .. MOST_CHANNELS .. "): delete those that are not used")
	end
	local own = (created[source] or 0) + 1
	if own > MOST_OF_ONE then
		error("the service has too many channels (>" .. MOST_OF_ONE .. "): delete those that are not used")
	end
	created[source] = own
	last, count = last + 1, count + 1
	channels[last], creators[last] = {}, source
	return last
end

function COMMAND.DEL(_, channel)
	if channels[channel] then
		remove(channel)
	end
end

function COMMAND.SUB(source, channel)
	local subscribers = channels[channel] or error("there is no channel " .. tostring(channel))
	subscribers[source] = true
end

function COMMAND.USUB(source, channel)
	local subscribers = channels[channel]
	if subscribers then
		subscribers[source] = nil
	end
end

-- The channel is in the message: as a session it would look like a call's.
function COMMAND.PUB(source, channel, bytes)
	local message = string.pack("<i8", channel) .. bytes
	for subscriber in pairs(channels[channel] or {}) do
		if core.is_alive(subscriber) then
			skynet.redirect(subscriber, source, skynet.PTYPE_MULTICAST, 0, message)
		else
			channels[channel][subscriber] = nil
		end
	end
end

skynet.start(function()
	skynet.dispatch("lua", function(session, source, command, ...)
		local f = COMMAND[command] or error("no command " .. tostring(command))
		local result = f(source, ...)
		if session ~= 0 then
			skynet.retpack(result)
		end
	end)
end)
