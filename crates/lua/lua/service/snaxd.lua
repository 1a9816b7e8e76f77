-- Runs the script of a snax service: its first argument is the service's name.

local skynet = require "skynet"
local read_interface = require "snax.interface"

local name = tostring((...))
-- What the script sees as itself.
SERVICE_NAME = name
local functions, pattern = read_interface(name, _ENV)
local folder = pattern:match "^(.-)[^/]*%?" or "./"
SERVICE_PATH = folder
package.path = folder .. "?.lua;" .. package.path

local counts = {}
local is_ready, is_over = false, false

local function counted(entry, ...)
	local f = entry[4]
	local key = entry[2] .. "." .. entry[3]
	local count = counts[key]
	if not count then
		count = { count = 0, time = 0 }
		counts[key] = count
	end
	local start = skynet.hpc()
	local result = table.pack(pcall(f, ...))
	count.count = count.count + 1
	count.time = count.time + (skynet.hpc() - start) / 1e9
	if not result[1] then
		error(result[2], 0)
	end
	return table.unpack(result, 2, result.n)
end

local SYSTEM = {}

function SYSTEM.init(entry, ...)
	assert(not is_ready, "Already init")
	is_ready = true
	if entry[4] then
		entry[4](...)
	end
	skynet.retpack()
end

function SYSTEM.exit(entry, ...)
	assert(is_ready and not is_over, "Never init")
	is_over = true
	if entry[4] then
		entry[4](...)
	end
	skynet.retpack()
	skynet.exit()
end

function SYSTEM.hotfix(_, ...)
	skynet.retpack(require "snax.hotfix"(functions, ...))
end

function SYSTEM.profile()
	skynet.retpack(counts)
end

skynet.start(function()
	local protocol = {
		name = "snax", id = skynet.PTYPE_SNAX, pack = skynet.pack, unpack = skynet.unpack,
	}
	-- The script may have required `skynet.snax`, which registers it.
	pcall(skynet.register_protocol, protocol)
	skynet.dispatch("snax", function(session, _, number, ...)
		local entry = functions[number] or error("there is no function " .. tostring(number))
		if entry[2] == "system" then
			return SYSTEM[entry[3]](entry, ...)
		end
		assert(is_ready, "Init first")
		if entry[2] == "accept" then
			skynet.ignoreret()
			counted(entry, ...)
		else
			skynet.retpack(counted(entry, ...))
		end
	end)
end)
