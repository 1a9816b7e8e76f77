-- What a configuration starts with: the service that it names.

local skynet = require "skynet"

skynet.start(function()
	assert(skynet.newservice(skynet.getenv "start"))
	skynet.exit()
end)
