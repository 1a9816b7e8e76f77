-- Sends back what comes over TCP, as it comes.

local skynet, socket = require "skynet", require "skynet.socket"

local function serve(id)
	socket.start(id)
	while true do
		local data = socket.read(id)
		if not data then
			return socket.close(id)
		end
		socket.write(id, data)
	end
end

skynet.start(function()
	local id, _, port = socket.listen("127.0.0.1", 0, 1024)
	socket.start(id, function(new) skynet.fork(serve, new) end)
	print("listening on tcp://127.0.0.1:" .. port)
end)
