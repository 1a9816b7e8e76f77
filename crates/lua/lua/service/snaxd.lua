-- Runs the script of a snax service: its first argument is the service's name.

local skynet = require "skynet"
local snax = require "skynet.snax"
local read_interface = require "snax.interface"

local name = tostring((...))
-- What the script sees as itself.
SERVICE_NAME = name
local loader = skynet.getenv "snax_loader"
local functions, pattern = read_interface(name, _ENV, loader and assert(dofile(loader), "snax_loader returns no function"))
SERVICE_PATH = pattern:match "^[^?]*" .. name .. "/"
package.path = SERVICE_PATH .. "?.lua;" .. package.path

local counts = {}
local is_ready, is_over = false, false

local function counted(entry, ...)
	local f = entry[4]
	local count = counts[entry[3]]
	if not count then
		count = { count = 0, time = 0 }
		counts[entry[3]] = count
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
	skynet.info_func(function() return counts end)
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

local function dispatch(session, _, number, ...)
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
end

-- Lets other processes call the service.
function snax.enablecluster()
	skynet.dispatch("lua", dispatch)
end

skynet.start(function()
	skynet.dispatch("snax", dispatch)
end)
