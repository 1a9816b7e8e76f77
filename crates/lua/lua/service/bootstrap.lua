-- What a configuration starts with: the service that it names.

local skynet = require "skynet"

skynet.start(function()
	-- No address comes back of one that has done its work and called `skynet.exit` in its start function.
	skynet.newservice(skynet.getenv "start")
	skynet.exit()
end)
