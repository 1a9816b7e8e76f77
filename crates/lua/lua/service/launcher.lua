-- `.launcher`: lists, measures and ends the services of the process.

local skynet = require "skynet"
require "skynet.manager"
local core = require "moorline.core"

local COMMAND = {}

local function number(handle)
	return type(handle) == "number" and handle or core.find(handle)
end

function COMMAND.LIST()
	local list = {}
	for id, line in pairs(core.services()) do
		list[skynet.address(id)] = "snlua " .. line
	end
	return list
end

-- Asks every service, and shows each answer. One that has not answered after `ti` has a text instead.
local function ask(ti, command, show)
	local me, list, all = skynet.self(), {}, skynet.request()
	for id, line in pairs(core.services()) do
		if id ~= me then
			list[skynet.address(id)] = "TIMEOUT"
			all:add { id, "debug", command, line = line }
		end
	end
	for request, answer in all:select(ti or 300) do
		list[skynet.address(request[1])] = answer and show(answer[1], request.line) or "ERROR"
	end
	return list
end

function COMMAND.STAT(ti)
	return ask(ti, "STAT", function(stat) return stat end)
end

local function kilobytes(count, line)
	return string.format("%.2f Kb (snlua %s)", count, line)
end

function COMMAND.MEM(ti)
	return ask(ti, "MEM", kilobytes)
end

function COMMAND.GC(ti)
	return ask(ti, "GC", kilobytes)
end

function COMMAND.KILL(handle)
	local id = number(handle)
	local line = id and core.services()[id]
	if line then
		skynet.kill(id)
		return { [skynet.address(id)] = "snlua " .. line }
	end
	return {}
end

function COMMAND.LAUNCH(host, ...)
	if host ~= "snlua" then
		error("no service of the kind " .. tostring(host), 0)
	end
	return skynet.newservice(...)
end

-- The same, and writes what the service receives to a file.
function COMMAND.LOGLAUNCH(...)
	local id = COMMAND.LAUNCH(...)
	if id then
		local ok, why = core.logon(id)
		if not ok then
			skynet.error(string.format("the messages of %s are not written: %s", skynet.address(id), why))
		end
	end
	return id
end

skynet.start(function()
	skynet.dispatch("lua", function(session, source, command, ...)
		local f = COMMAND[command] or function() error("no command " .. tostring(command), 0) end
		local result = table.pack(pcall(f, ...))
		if result[1] then
			skynet.retpack(table.unpack(result, 2, result.n))
		elseif session ~= 0 then
			-- The caller is told why.
			skynet.ignoreret()
			core.fail(source, session, result[2])
		end
	end)
	skynet.register ".launcher"
end)
