-- The services that are made of functions, by name: `skynet.service`.

local skynet = require "skynet"
require "skynet.manager"
local core = require "moorline.core"

local services = {} -- by name: an address, or a list of responses
local COMMAND = {}

local function wait(name)
	local waiters = services[name] or {}
	services[name] = waiters
	table.insert(waiters, skynet.response())
end

function COMMAND.launch(name, code, ...)
	local service = services[name]
	if type(service) == "number" and core.is_alive(service) then
		return skynet.retpack(service)
	elseif type(service) == "table" and service.is_starting then
		return wait(name)
	end
	local waiters = type(service) == "table" and service or {}
	waiters.is_starting = true
	services[name] = waiters
	local is_launched, address = pcall(skynet.newservice, "service_cell", name)
	local ok, why = false, address
	if is_launched then
		ok, why = pcall(skynet.call, address, "lua", "init", code, ...)
	end
	services[name] = ok and address or nil
	for _, response in ipairs(waiters) do
		response(ok, address)
	end
	if not ok then
		if is_launched then
			skynet.kill(address)
		end
		error(why, 0)
	end
	skynet.retpack(address)
end

function COMMAND.query(name)
	local service = services[name]
	if type(service) == "number" then
		return skynet.retpack(service)
	end
	wait(name)
end

-- Whether there is one, and whether it starts.
function COMMAND.test(name)
	local service = services[name]
	local address = type(service) == "number" and service or nil
	skynet.retpack(address, type(service) == "table" and service.is_starting)
end

function COMMAND.close(name)
	local service = services[name]
	if type(service) == "number" then
		services[name] = nil
		return skynet.retpack(service)
	end
	skynet.retpack()
end

skynet.start(function()
	skynet.dispatch("lua", function(_, _, command, ...)
		local f = assert(COMMAND[command], "no such command")
		f(...)
	end)
	skynet.info_func(function()
		local info = {}
		for name, service in pairs(services) do
			info[name] = type(service) == "number" and skynet.address(service) or "waiting"
		end
		return info
	end)
end)
