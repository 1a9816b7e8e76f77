-- Calls to services of other processes.

local skynet = require "skynet"
local core = require "moorline.core"

local cluster = {}

-- The most calls and messages of this service that wait until it is known who sends to a node.
local MOST_WAITING <const> = 16384

local address
local function clusterd()
	address = address or skynet.uniqueservice "clusterd"
	return address
end

-- By node: the service that sends to it; or those who wait for that, in the order in which they came.
local senders, queues = {}, {}

-- It is the turn of the next one. One whose coroutine was killed is passed over.
local function next_turn(node, queue)
	while queue.first <= queue.last do
		local ticket = queue[queue.first]
		queue[queue.first], queue.first = nil, queue.first + 1
		ticket.is_due = true
		if not ticket.waits or skynet.wakeup(ticket) then
			return
		end
	end
	queues[node], senders[node] = nil, queue.sender
end

local function find(node, queue)
	local ok, found = pcall(function() return skynet.call(clusterd(), "lua", "sender", node) end)
	if ok then
		queue.sender = found
	else
		queue.why = found
	end
	next_turn(node, queue)
end

-- A place in the order of what goes to a node.
local function ticket_of(node)
	local queue = queues[node]
	if not queue then
		queue = { first = 1, last = 0 }
		queues[node] = queue
		skynet.fork(find, node, queue)
	end
	if queue.last - queue.first + 1 >= MOST_WAITING then
		error("too many messages wait for cluster node [" .. tostring(node) .. "] (>" .. MOST_WAITING .. ")", 0)
	end
	local ticket = { queue = queue }
	queue.last = queue.last + 1
	queue[queue.last] = ticket
	return ticket
end

-- Waits for the turn. What the caller sends before it waits again goes before what is behind it.
local function wait_for(node, ticket)
	if not ticket.is_due then
		ticket.waits = true
		skynet.wait(ticket)
	end
	next_turn(node, ticket.queue)
	return ticket.queue.sender or error(ticket.queue.why, 0)
end

local function known(node)
	local sender = senders[node]
	if sender and core.is_alive(sender) then
		return sender
	end
	senders[node] = nil
end

-- The service that sends to a node: it knows the commands `req` and `push`, with an address and a packed string.
function cluster.get_sender(node)
	return known(node) or wait_for(node, ticket_of(node))
end

-- Calls a service of a node: a number, `.name` of the other process, or `@name` that is registered there.
function cluster.call(node, addr, ...)
	local message = skynet.packstring(...)
	return skynet.call(cluster.get_sender(node), "lua", "req", addr, message)
end

-- Sends without waiting. What cannot be sent is in the log.
function cluster.send(node, addr, ...)
	local message = skynet.packstring(...)
	local sender = known(node)
	if sender then
		skynet.send(sender, "lua", "push", addr, message)
		return
	end
	local ticket = ticket_of(node)
	skynet.fork(function()
		local ok, found = pcall(wait_for, node, ticket)
		if ok then
			skynet.send(found, "lua", "push", addr, message)
		else
			skynet.error(found)
		end
	end)
end

-- Listens at a port, or where a node of this name is said to be. Returns the address and the port.
function cluster.open(port, maxclient)
	if type(port) == "string" then
		return skynet.call(clusterd(), "lua", "listen", port, nil, maxclient)
	end
	return skynet.call(clusterd(), "lua", "listen", "0.0.0.0", port, maxclient)
end

-- Takes over addresses of nodes: those of a table, or of the file that the configuration names.
function cluster.reload(config)
	skynet.call(clusterd(), "lua", "reload", config)
end

-- A service of this process that stands for one of a node: `proxy(node, name)`, `proxy "node@name"` or `proxy "node.name"`.
function cluster.proxy(node, name)
	return skynet.call(clusterd(), "lua", "proxy", node, name)
end

-- The object of a snax service of a node that has called `snax.enablecluster`.
function cluster.snax(node, name, addr)
	addr = addr or cluster.call(node, ".service", "QUERY", "snaxd", name)
	return require "skynet.snax".bind(cluster.proxy(node, addr), name)
end

-- Gives a service a name for other nodes: this one, if no other is named.
function cluster.register(name, addr)
	assert(type(name) == "string" and #name >= 1 and #name <= 254, "a name has 1 to 254 bytes")
	assert(addr == nil or type(addr) == "number", "the address of a service is a number")
	skynet.call(clusterd(), "lua", "register", name, addr or skynet.self())
end

function cluster.unregister(name)
	assert(type(name) == "string", "a name is a string")
	skynet.call(clusterd(), "lua", "unregister", name)
end

-- The address of the service of a node that has a name there.
function cluster.query(node, name)
	return cluster.call(node, 0, name)
end

return cluster
