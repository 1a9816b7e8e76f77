-- Knows the nodes of the cluster, who sends to each, and the names that services of this process have for other nodes.

local skynet = require "skynet"
require "skynet.manager"
local core = require "moorline.core"
-- The engine's own cluster, over NATS, where there is one.
local has_engine, moorline = pcall(require, "moorline")
local nats = has_engine and moorline.cluster

local MOST_NODES <const>, MOST_NAMES <const>, MOST_PROXIES <const>, MOST_AGENTS <const> = 16384, 16384, 1024, 256
-- The most services that wait for one node.
local MOST_WAITING <const> = 65536

local file = skynet.getenv "cluster"
local is_nowaiting = false
-- By name: `address` (a string, false if the node is down, nil if it is unknown), `sender`, `attempt` to connect.
local nodes, node_count = {}, 0
-- Addresses by name and names by address.
local registered, name_of, name_count = {}, {}, 0
local proxies, agents = {}, {}
-- Who takes requests over NATS.
local link

local function node_of(name)
	if type(name) ~= "string" then
		error("the name of a node is a string", 0)
	end
	local node = nodes[name]
	if not node then
		if node_count >= MOST_NODES then
			error("there are too many cluster nodes (>" .. MOST_NODES .. ")", 0)
		end
		node = { name = name }
		nodes[name], node_count = node, node_count + 1
	end
	return node
end

-- The host and the port of an address.
local function split(address)
	local host, port = address:match "^(.+):(%d+)$"
	if not host then
		error("the address of a cluster node is HOST:PORT, not " .. address, 0)
	end
	return host:match "^%[(.*)%]$" or host, math.tointeger(tonumber(port))
end

-- Connecting

local function wait_for_address(node)
	if node.address == nil and not is_nowaiting then
		skynet.error("Waiting for cluster node [" .. node.name .. "]")
		node.waiter = {}
		skynet.wait(node.waiter)
		node.waiter = nil
	end
end

local function connect(node)
	wait_for_address(node)
	local address = node.address
	if not address then
		error(string.format("cluster node [%s] is %s.", node.name, address == false and "down" or "absent"), 0)
	end
	if not node.sender or not core.is_alive(node.sender) then
		node.sender = skynet.newservice "clustersender"
		if node.address ~= address then
			return connect(node)
		end
	end
	local host, port = split(address)
	local ok, why = pcall(skynet.call, node.sender, "lua", "changenode", host, port, node.name)
	if node.address ~= address then
		return connect(node)
	elseif not ok then
		error(why, 0)
	end
	node.is_connected = true
end

-- Those who ask at the same time share one attempt.
local function connected(node)
	local attempt = node.attempt
	if attempt then
		if #attempt >= MOST_WAITING then
			error("too many services wait for cluster node [" .. node.name .. "] (>" .. MOST_WAITING .. ")", 0)
		end
		local waiter = {}
		table.insert(attempt, waiter)
		skynet.wait(waiter)
	else
		attempt = {}
		node.attempt = attempt
		attempt.ok, attempt.why = pcall(connect, node)
		node.attempt = nil
		for _, waiter in ipairs(attempt) do
			skynet.wakeup(waiter)
		end
	end
	if not attempt.ok then
		error(attempt.why, 0)
	end
end

-- Nodes of the engine's own cluster go over NATS, whatever their addresses, and so does a name without an address.
local function is_over_nats(node)
	if nats and not node.is_over_nats then
		node.is_over_nats = nats.has(node.name) or (node.address == nil and not node.is_connected)
	end
	return node.is_over_nats
end

local function sender_over_nats(node)
	if not (node.nats and core.is_alive(node.nats)) then
		local sender = skynet.newservice("clusternode", node.name)
		if node.nats and core.is_alive(node.nats) then
			skynet.kill(sender)
		else
			node.nats = sender
		end
	end
	return node.nats
end

local COMMAND = {}

function COMMAND.sender(_, name)
	local node = node_of(name)
	if is_over_nats(node) then
		return sender_over_nats(node)
	end
	if not (node.is_connected and core.is_alive(node.sender)) then
		connected(node)
	end
	return node.sender
end

function COMMAND.senders()
	local list = {}
	for name, node in pairs(nodes) do
		list[name] = node.nats or node.sender
	end
	return list
end

-- The table of nodes

local function read_file()
	local config = {}
	if file then
		local opened, why = io.open(file)
		if not opened then
			error("cannot read the file of cluster nodes: " .. why, 0)
		end
		local source = opened:read "a"
		opened:close()
		local f, problem = load(source, "@" .. file, "t", config)
		if not f then
			error(problem, 0)
		end
		f()
	end
	return config
end

local function check(config)
	for name, value in pairs(config) do
		if type(name) ~= "string" then
			error("the name of a cluster node is a string, not " .. tostring(name), 0)
		elseif name:sub(1, 2) ~= "__" and value ~= false then
			if type(value) ~= "string" then
				error("the address of cluster node [" .. name .. "] is HOST:PORT, or false", 0)
			end
			split(value)
		end
	end
end

local function move(node, address)
	if node.address ~= address then
		node.address, node.is_connected = address, false
		if node.sender and core.is_alive(node.sender) then
			-- What others send to it after this goes to the other place: it is waited for, as messages of two services have no order.
			if address then
				pcall(skynet.call, node.sender, "lua", "moved", split(address))
			else
				pcall(skynet.call, node.sender, "lua", "moved", false)
			end
		end
	end
end

local function take_over(config)
	check(config)
	for name, value in pairs(config) do
		if name:sub(1, 2) ~= "__" then
			move(node_of(name), value)
		else
			if name == "__nowaiting" then
				is_nowaiting = value and true or false
			end
			skynet.error(string.format("Config %s = %s", name:sub(3), tostring(value)))
		end
	end
	for _, node in pairs(nodes) do
		if node.waiter and (node.address ~= nil or is_nowaiting) then
			skynet.wakeup(node.waiter)
		end
	end
end

function COMMAND.reload(_, config)
	take_over(config or read_file())
end

-- Listening

local function count_agents()
	local count = 0
	for agent in pairs(agents) do
		if core.is_alive(agent) then
			count = count + 1
		else
			agents[agent] = nil
		end
	end
	return count
end

-- Takes requests over NATS.
local function listen_over_nats()
	if link and core.is_alive(link) then
		return
	end
	local launched = skynet.newservice "clusterlink"
	if link and core.is_alive(link) then
		skynet.kill(launched)
		return
	end
	link = launched
	agents[link] = true
	skynet.call(link, "lua", "names", registered)
end

function COMMAND.listen(_, host, port, maxclient)
	if port == nil and nats and host == nats.node then
		listen_over_nats()
		return host
	elseif port == nil then
		local node = nodes[host]
		local address = node and node.address or error("cluster node [" .. tostring(host) .. "] is down.", 0)
		host, port = split(address)
	end
	if count_agents() >= MOST_AGENTS then
		error("the process listens for cluster nodes at too many ports (>" .. MOST_AGENTS .. ")", 0)
	end
	local agent = skynet.newservice "clusteragent"
	agents[agent] = true
	skynet.send(agent, "lua", "names", registered)
	local ok, address, bound = pcall(skynet.call, agent, "lua", "open", { address = host, port = port, maxclient = maxclient, nodelay = true })
	if not ok then
		agents[agent] = nil
		skynet.kill(agent)
		error(string.format("cannot listen for cluster nodes at %s:%s: %s", host, port, address), 0)
	end
	return address, bound
end

-- Names

-- Tells those who listen which names have other addresses, or none (false), and waits until they know.
local function tell_agents(changes)
	local told = {}
	for agent in pairs(agents) do
		if core.is_alive(agent) then
			skynet.send(agent, "lua", "names", changes)
			table.insert(told, agent)
		end
	end
	for _, agent in ipairs(told) do
		pcall(skynet.call, agent, "lua", "names", {})
	end
end

local function remove(name, changes)
	name_of[registered[name]] = nil
	registered[name], name_count = nil, name_count - 1
	changes[name] = false
end

local function make_room(changes)
	if name_count >= MOST_NAMES then
		for name, addr in pairs(registered) do
			if not core.is_alive(addr) then
				remove(name, changes)
			end
		end
	end
	return name_count < MOST_NAMES
end

function COMMAND.register(source, name, addr)
	addr = addr or source
	local before, changes = registered[name], {}
	if before == addr then
		return
	elseif before and core.is_alive(before) then
		error("another service has the name " .. name, 0)
	elseif before then
		remove(name, changes)
	end
	-- A service has one name.
	if name_of[addr] then
		remove(name_of[addr], changes)
	end
	local has_room = make_room(changes)
	if has_room then
		registered[name], name_of[addr], name_count = addr, name, name_count + 1
		changes[name] = addr
		skynet.error(string.format("Register [%s] :%08x", name, addr))
	end
	tell_agents(changes)
	if not has_room then
		error("there are too many names for other cluster nodes (>" .. MOST_NAMES .. ")", 0)
	end
end

function COMMAND.unregister(_, name)
	local addr = registered[name]
	if addr then
		local changes = {}
		remove(name, changes)
		tell_agents(changes)
		skynet.error(string.format("Unregister [%s] :%08x", name, addr))
	end
end

function COMMAND.queryname(_, name)
	return registered[name]
end

-- Proxies

local function make_room_for_proxy()
	local count = 0
	for key, proxy in pairs(proxies) do
		if core.is_alive(proxy) then
			count = count + 1
		else
			proxies[key] = nil
		end
	end
	if count >= MOST_PROXIES then
		error("there are too many proxies of services of cluster nodes (>" .. MOST_PROXIES .. ")", 0)
	end
end

function COMMAND.proxy(_, node, name)
	if name == nil then
		local whole = tostring(node)
		node, name = whole:match "^([^@.]+)([@.].+)$"
		if not name then
			error("Invalid name " .. whole, 0)
		end
	end
	name = tostring(name)
	if node_of(node).name:find "%s" or name:find "%s" then
		error("a proxy is of a node and a service without spaces in their names", 0)
	end
	local key = node .. "." .. name
	local proxy = proxies[key]
	if proxy and core.is_alive(proxy) then
		return proxy
	end
	make_room_for_proxy()
	-- The proxy would fail at its start without saying why.
	COMMAND.sender(nil, node)
	proxy = skynet.newservice("clusterproxy", node, name)
	local other = proxies[key]
	if other and core.is_alive(other) then
		skynet.kill(proxy)
		return other
	end
	proxies[key] = proxy
	return proxy
end

skynet.start(function()
	take_over(read_file())
	skynet.dispatch("lua", function(session, source, command, ...)
		local f = COMMAND[command] or function() error("no command " .. tostring(command), 0) end
		local result = table.pack(pcall(f, source, ...))
		if session == 0 then
			return result[1] or skynet.error(result[2])
		elseif result[1] then
			return skynet.retpack(table.unpack(result, 2, result.n))
		end
		-- The caller is told why.
		skynet.ignoreret()
		core.fail(source, session, tostring(result[2]))
	end)
end)
