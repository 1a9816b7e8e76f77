-- Launches what the lines of standard input name.

local skynet = require "skynet"
local socket = require "skynet.socket"

local function launch(line)
	local name, rest = line:match "^%s*(%S+)%s*(.-)%s*$"
	if name == "snax" then
		local snax = require "skynet.snax"
		local words = {}
		for word in rest:gmatch "%S+" do
			words[#words + 1] = word
		end
		return snax.newservice(table.unpack(words))
	elseif name then
		return skynet.newservice(line)
	end
end

skynet.start(function()
	skynet.fork(function()
		local stdin, why = socket.stdin()
		if not stdin then
			skynet.error("console: standard input cannot be read:", why or "it is a file or closed")
			return skynet.exit()
		end
		while true do
			local line = socket.readline(stdin, "\n")
			if not line then
				-- Nobody writes there any more.
				return skynet.exit()
			end
			-- A service that does not start has said why.
			pcall(launch, line)
		end
	end)
end)
