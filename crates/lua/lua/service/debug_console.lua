-- A console over TCP: commands that look at services and change them. `debug_console [IP] PORT`.

local skynet = require "skynet"
local core = require "moorline.core"
local socket = require "skynet.socket"

local words = table.pack(...)
assert(words.n == 1 or words.n == 2, "debug_console needs a port, or an address and a port")
local ip, port = words.n == 2 and words[1] or "127.0.0.1", math.tointeger(tonumber(words[words.n]))
assert(port, "debug_console needs a port")

-- A client that sends more without a line's end is disconnected: bytes.
local LONGEST <const> = 64 * 1024
-- How long services have to answer, in hundredths of a second.
local PATIENCE <const> = 300

local COMMAND = {}
local help = {}

local function command(name, text, func)
	COMMAND[name], help[name] = func, text
end

-- The service that a word names: `.name`, `:0000000a`, or the number alone.
local function address(word)
	local first = assert(word, "Need an address"):sub(1, 1)
	if first == "." then
		return assert(skynet.localname(word), "Not a valid name")
	elseif first == ":" then
		return assert(tonumber("0x" .. word:sub(2)), "Need an address")
	end
	return assert(tonumber("0x" .. word), "Need an address")
end

local function patience(word)
	local ticks = word and assert(tonumber(word), "Need a number") or PATIENCE
	return ticks > 0 and ticks or nil
end

local function is_on(word)
	return word == "on" or word == "true"
end

local function later(name, why)
	return function()
		error(name .. " is not in this version of Moorline: " .. why, 0)
	end
end

-- Services

command("help", "what each command does", function() return help end)

command("list", "every service, with its name and arguments", function()
	return skynet.call(".launcher", "lua", "LIST")
end)

command("service", "the services that are there once", function()
	return skynet.call(".service", "lua", "LIST")
end)

command("stat", "stat [ticks]: queues, tasks, messages and time of every service", function(ticks)
	return skynet.call(".launcher", "lua", "STAT", patience(ticks))
end)

command("mem", "mem [ticks]: the memory of every service", function(ticks)
	return skynet.call(".launcher", "lua", "MEM", patience(ticks))
end)

command("gc", "gc [ticks]: collects the garbage of every service", function(ticks)
	return skynet.call(".launcher", "lua", "GC", patience(ticks))
end)

command("start", "start name ...: launches a service", function(name, ...)
	local ok, id = pcall(skynet.newservice, name, ...)
	if not ok then
		return "Failed"
	end
	return id and { [skynet.address(id)] = name } or "Exit"
end)

command("log", "log name ...: the same, with its messages in a file, as by logon", function(name, ...)
	local ok, id = pcall(skynet.call, ".launcher", "lua", "LOGLAUNCH", "snlua", name, ...)
	return ok and id and { [skynet.address(id)] = name } or "Failed"
end)

command("snax", "snax name ...: launches a snax service", function(name, ...)
	local ok, object = pcall(function(...)
		return require "skynet.snax".newservice(...)
	end, name, ...)
	return ok and { [skynet.address(object.handle)] = name } or "Failed"
end)

command("kill", "kill address: ends a service before its next message", function(word)
	return skynet.call(".launcher", "lua", "KILL", address(word))
end)

command("exit", "exit address: has a service call skynet.exit", function(word)
	skynet.send(address(word), "debug", "EXIT")
end)

-- One service

local function ask(word, ...)
	return skynet.call(address(word), "debug", ...)
end

command("task", "task address: what the tasks of a service wait for", function(word) return ask(word, "TASK") end)
command("uniqtask", "uniqtask address: the same, tasks at the same place once", function(word) return ask(word, "UNIQTASK") end)
command("killtask", "killtask address thread: ends a task; the thread is one that task lists", function(word, thread)
	return ask(word, "KILLTASK", thread)
end)
command("info", "info address ...: what the service's info_func says", function(word, ...) return ask(word, "INFO", ...) end)
command("dbgcmd", "dbgcmd address command ...: a debug command, also of the service's own", function(word, ...) return ask(word, ...) end)

command("ping", "ping address: hundredths of a second until it answers", function(word)
	local before = skynet.now()
	ask(word, "PING")
	return tostring(skynet.now() - before)
end)

command("inject", "inject address script.lua ...: runs a file in a service", function(word, filename, ...)
	local id = address(word)
	local file = io.open(assert(filename, "Need a file"), "rb")
	if not file then
		return "Can't open " .. filename
	end
	local source = file:read "a"
	file:close()
	local ok, output = skynet.call(id, "debug", "RUN", source, filename, ...)
	if not ok then
		error(output, 0)
	end
	return output
end)

command("call", "call address values: calls a service; the values are written in Lua", function(word, line)
	local id = address(word)
	local code = assert(load("return " .. assert(line, "need arguments"), "debug console", "t", {}))
	return table.pack(skynet.call(id, "lua", code()))
end)

command("trace", "trace address [protocol] [on|off]: logs the way of calls", function(word, proto, flag)
	if flag then
		ask(word, "TRACELOG", proto, is_on(flag))
	elseif proto == "on" or proto == "off" then
		ask(word, "TRACELOG", is_on(proto))
	else
		ask(word, "TRACELOG", proto)
	end
end)

command("signal", "signal address [0]: ends the message that a service handles with an error; 1 logs its memory", function(word, number)
	local signal = assert(math.tointeger(tonumber(number or 0)), "Need a number")
	core.signal(address(word), signal)
end)

command("logon", "logon address: writes what a service receives to a file in the folder logpath", function(word)
	local ok, result = core.logon(address(word))
	return ok and result or error(result, 0)
end)

command("logoff", "logoff address: ends that", function(word)
	if not core.logoff(address(word)) then
		return "Nothing was written"
	end
end)

command("debug", "is not there: see inject, task and info", later("debug", "use inject, task and info"))
command("shrtbl", "is not there", later("shrtbl", "each service has a table of short strings of its own"))

-- The process

command("clearcache", "does nothing: files are read for each service", function()
	-- Files are read for each service.
end)

command("getenv", "getenv name", function(name)
	assert(name, "Need a name")
	return { [name] = tostring(skynet.getenv(name)) }
end)

command("setenv", "setenv name value: sets a value that is not there", function(name, value)
	assert(name and value, "Need a name and a value")
	skynet.setenv(name, value)
end)

local function memory(name)
	return function(...)
		return require "skynet.memory"[name](...)
	end
end

command("cmem", "is not there: see mem", memory "info")
command("jmem", "is not there: there is no jemalloc", memory "jestat")
command("dumpheap", "is not there", memory "dumpheap")
command("profactive", "is not there", memory "profactive")

local function size(bytes)
	if bytes == nil or bytes == 0 then
		return nil
	elseif bytes < 1024 then
		return bytes
	elseif bytes < 1024 * 1024 then
		return bytes / 1024 .. "K"
	end
	return bytes / (1024 * 1024) .. "M"
end

local function age(ticks)
	if ticks == nil then
		return nil
	end
	ticks = skynet.now() - ticks
	if ticks < 6000 then
		return ticks / 100 .. "s"
	end
	local hours, minutes = ticks // 360000, ticks // 6000 % 60
	return string.format("%s%d:%.2gs", hours == 0 and "" or hours .. ":", minutes, ticks % 6000 / 100)
end

command("netstat", "every socket, with its service, bytes and times", function()
	local all = socket.netstat()
	for _, info in ipairs(all) do
		info.address = info.address and skynet.address(info.address)
		info.read, info.write, info.wbuffer = size(info.read), size(info.write), size(info.wbuffer)
		info.rtime, info.wtime = age(info.rtime), age(info.wtime)
	end
	return all
end)

-- A client

local function sorted(list)
	local keys = {}
	for key in pairs(list) do
		keys[#keys + 1] = key
	end
	table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
	return keys
end

local function row(value)
	if type(value) ~= "table" then
		return tostring(value)
	end
	local cells = {}
	for _, key in ipairs(sorted(value)) do
		cells[#cells + 1] = string.format("%s:%s", key, tostring(value[key]))
	end
	return table.concat(cells, "\t")
end

local function show(write, result)
	if type(result) == "table" then
		for _, key in ipairs(sorted(result)) do
			write(key .. "\t" .. row(result[key]))
		end
	elseif result then
		write(tostring(result))
	end
end

local function execute(line, write)
	local words = {}
	for word in line:gmatch "%S+" do
		words[#words + 1] = word
	end
	local name = words[1]
	local func = COMMAND[name]
	if not func then
		write "Invalid command, type help for command list"
		return write "<CMD Error>"
	end
	local ok, result
	if name == "call" then
		ok, result = pcall(func, words[2], line:match "%S+%s+%S+%s+(.+)")
	else
		ok, result = pcall(func, table.unpack(words, 2))
	end
	if ok then
		show(write, result)
		write "<CMD OK>"
	else
		write(tostring(result))
		write "<CMD Error>"
	end
end

-- The command of a request by HTTP: the path of a GET, the body of a POST.
local function requested(id, line)
	local length, bytes = 0, #line
	repeat
		local head = socket.readline(id, "\n")
		if not head then
			return nil
		end
		bytes = bytes + #head
		assert(bytes <= LONGEST, "the request is too long")
		length = math.tointeger(tonumber(head:lower():match "^content%-length:%s*(%d+)")) or length
	until head:match "^\r?$"
	if line:sub(1, 4) == "GET " then
		return (line:match "^GET /(%S*)":gsub("/", " "))
	end
	assert(length <= LONGEST, "the request is too long")
	return length > 0 and socket.read(id, length) or nil
end

local function serve(id, write)
	while true do
		local line = socket.readline(id, "\n")
		if not line then
			return
		end
		line = line:gsub("\r$", "")
		if line:match "^GET /" or line:match "^POST /" then
			local asked = requested(id, line)
			if asked then
				execute(asked, write)
			end
			return
		elseif line:match "%S" then
			execute(line, write)
		end
	end
end

local function accept(id, from)
	local function write(line)
		socket.write(id, line .. "\n")
	end
	socket.start(id)
	pcall(socket.limit, id, LONGEST)
	write "Welcome to skynet console"
	skynet.error(from, "connected")
	local ok, why = pcall(serve, id, write)
	if not ok then
		skynet.error(from, why)
	end
	skynet.error(from, "disconnect")
	socket.close(id)
end

skynet.start(function()
	local listener, on, at = socket.listen(ip, port)
	skynet.error(string.format("Start debug console at %s:%s", on or ip, at or port))
	socket.start(listener, function(id, from)
		skynet.fork(accept, id, from)
	end)
end)
