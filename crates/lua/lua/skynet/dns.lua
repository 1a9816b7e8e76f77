-- Addresses of names, asked of a DNS server by datagrams (RFC 1035, RFC 3596).

local skynet, socket = require "skynet", require "skynet.socket"

local dns = { DEFAULT_HOSTS = "/etc/hosts", DEFAULT_RESOLV_CONF = "/etc/resolv.conf" }

local A <const>, AAAA <const>, IN <const> = 1, 28, 1
-- When a question is asked again, in hundredths of a second after the one before; and the end.
local PATIENCE <const> = { 200, 400, 900 }
-- A socket that nobody has used for so long is closed.
local IDLE <const> = 6000
-- Names whose addresses are remembered. A full cache begins anew.
local MOST <const> = 4096
-- Names that may be asked for at once.
local MOST_ASKED <const> = 4096

local cache, cached = {}, 0
local questions, asking = {}, 0
local server = { port = 53 }
local hosts

function dns.flush()
	cache, cached = {}, 0
end

function dns.server(address, port)
	if server.fd then
		socket.close(server.fd)
	end
	server = { address = address, port = port or 53 }
end

-- Files

local function lines(path)
	local file = path and io.open(path)
	return file and file:lines() or function() end
end

local function is_ipv4(text)
	return text:find "^[%d.]+$" ~= nil
end

local function is_ipv6(text)
	return text:find(":", 1, true) ~= nil
end

local function read_hosts()
	local found = {}
	for line in lines(dns.DEFAULT_HOSTS) do
		local ip, names = line:gsub("[#;].*", ""):match "^%s*(%S+)%s+(.*)"
		local kind = ip and (is_ipv6(ip) and AAAA or is_ipv4(ip) and A)
		for name in (kind and names or ""):gmatch "%S+" do
			local key = kind .. name:lower()
			found[key] = found[key] or {}
			table.insert(found[key], ip)
		end
	end
	return found
end

local function first_server()
	for line in lines(dns.DEFAULT_RESOLV_CONF) do
		local address = line:match "^%s*nameserver%s+([^#;%s]+)"
		if address then
			return address
		end
	end
end

-- Messages

local function question(id, name, kind)
	local labels = {}
	for label in name:gmatch "[^.]+" do
		labels[#labels + 1] = string.pack("s1", label)
	end
	-- Recursion is desired.
	return string.pack(">I2I2I2I2I2I2", id, 0x100, 1, 0, 0, 0) .. table.concat(labels) .. string.pack(">BI2I2", 0, kind, IN)
end

-- A name and the place behind it. A name that leads back into itself ends: pointers only lead backwards.
local function read_name(text, at)
	local labels, behind, limit = {}, nil, at
	while true do
		local size = string.unpack("B", text, at)
		if size >= 0xc0 then
			local to = (string.unpack(">I2", text, at) & 0x3fff) + 1
			behind = behind or at + 2
			assert(to < limit, "a pointer leads forwards")
			at, limit = to, to
		elseif size == 0 then
			return table.concat(labels, "."):lower(), behind or at + 1
		else
			assert(size < 64 and #labels < 128, "a name is too long")
			labels[#labels + 1], at = string.unpack("s1", text, at)
		end
	end
end

local function read_address(kind, data)
	if kind == A then
		return string.format("%d.%d.%d.%d", string.unpack("BBBB", data))
	end
	return string.format("%x:%x:%x:%x:%x:%x:%x:%x", string.unpack(">I2I2I2I2I2I2I2I2", data))
end

-- The question's number, its name and kind, the addresses and how long they hold.
local function read_answer(text)
	local id, flags, asked, answers, _, _, at = string.unpack(">I2I2I2I2I2I2", text)
	assert(asked == 1 and flags & 0x8000 ~= 0, "no answer to one question")
	local name, kind
	name, at = read_name(text, at)
	kind, at = string.unpack(">I2xx", text, at)
	local addresses, ttl = {}, math.maxinteger
	for _ = 1, answers do
		local owner, is, class, seconds, data
		owner, at = read_name(text, at)
		is, class, seconds, data, at = string.unpack(">I2I2I4s2", text, at)
		if is == kind and class == IN then
			addresses[#addresses + 1] = read_address(kind, data)
			ttl = math.min(ttl, seconds)
		end
	end
	return id, name, kind, addresses, ttl
end

-- Asking

local function receive(text)
	local ok, id, name, kind, addresses, ttl = pcall(read_answer, text)
	local asked = ok and questions[id]
	if not ok then
		skynet.error("Recv an invalid package when dns query")
	elseif asked and asked.name == name and asked.kind == kind then
		if #addresses > 0 then
			if cached >= MOST then
				dns.flush()
			end
			cached = cached + 1
			cache[kind .. name] = { addresses = addresses, till = skynet.now() + ttl * 100 }
		end
		asked.addresses = addresses
		skynet.wakeup(asked)
	end
end

local function connect()
	local used = server
	used.at = skynet.now()
	if used.fd then
		return used.fd
	end
	used.address = used.address or first_server()
	assert(used.address, "Call dns.server first")
	local fd = socket.udp(receive, is_ipv6(used.address) and "::" or "0.0.0.0", 0)
	socket.udp_connect(fd, used.address, used.port)
	used.fd = fd
	local function look()
		if used.fd ~= fd or used ~= server then
			return
		elseif next(questions) == nil and skynet.now() - used.at >= IDLE then
			used.fd = nil
			socket.close(fd)
		else
			skynet.timeout(IDLE, look)
		end
	end
	skynet.timeout(IDLE, look)
	return fd
end

local function new_number()
	if asking >= MOST_ASKED then
		error "too many DNS queries at once"
	end
	local id
	repeat
		id = math.random(0, 0xffff)
	until not questions[id]
	return id
end

local function ask(name, kind)
	local id = new_number()
	local asked = { name = name, kind = kind }
	questions[id], asking = asked, asking + 1
	-- Also if its coroutine is killed.
	local _ <close> = setmetatable({}, {
		__close = function()
			questions[id], asking = nil, asking - 1
		end,
	})
	for _, patience in ipairs(PATIENCE) do
		socket.write(connect(), question(id, name, kind))
		skynet.sleep(patience, asked)
		if asked.addresses then
			return asked.addresses
		end
	end
	skynet.error(string.format("DNS query %s timeout", name))
end

local function is_name(name)
	if #name > 253 or not name:find "^[_%w%-%.]+$" then
		return false
	end
	for label in name:gmatch "[^.]*" do
		if #label > 63 then
			return false
		end
	end
	return name:find "[^.]" ~= nil
end

function dns.resolve(name, ipv6)
	name = name:lower()
	if is_ipv4(name) or is_ipv6(name) then
		if is_ipv6(name) ~= (ipv6 and true or false) and is_ipv6(name) then
			return nil, "illegal ip address"
		end
		return name
	end
	name = name:gsub("%.$", "")
	if not is_name(name) then
		return nil, "illegal name"
	end
	hosts = hosts or read_hosts()
	local kind = ipv6 and AAAA or A
	local key = kind .. name
	local known = hosts[key]
	if known then
		return known[1], known
	end
	local before = cache[key]
	if before and before.till > skynet.now() then
		return before.addresses[1], before.addresses
	end
	local found = ask(name, kind)
	if not found or #found == 0 then
		-- An old answer is better than none.
		found = before and before.addresses or error "timeout or no answer"
	end
	return found[1], found
end

return dns
