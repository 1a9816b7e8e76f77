-- What `skynet.launch "logger"` is: texts that it gets become lines, of a file if it has one.

local skynet = require "skynet"

local path = ...
local file = path and assert(io.open(path, "a"))
if file then
	file:setvbuf "line"
end

skynet.register_protocol {
	name = "text", id = skynet.PTYPE_TEXT, pack = function(text) return text end, unpack = skynet.tostring,
	dispatch = function(_, source, text)
		local line = string.format("[%s] %s", skynet.address(source), text)
		if file then
			file:write(line, "\n")
		else
			print(line)
		end
	end,
}

skynet.start(function() end)
