---@meta skynet.multicast

---Channels: what one service publishes all that subscribe get.
---@class skynet.multicast
local multicast = {}

---A channel: a new one, or that of `conf.channel`. `conf.dispatch` gets what is published.
---@param conf? table
---@return skynet.multicast.channel channel
function multicast.new(conf) end

---@class skynet.multicast.channel
local channel = {}

---Removes the channel.
function channel:delete() end

---Sends values to all subscribers.
---@param ... any
function channel:publish(...) end

---Gets what is published from now on.
function channel:subscribe() end

---Gets it no longer.
function channel:unsubscribe() end

return multicast
