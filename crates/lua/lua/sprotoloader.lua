-- Schemas that the services of a process share, by number.

local core = require "sproto.core"
local parser = require "sprotoparser"
local sproto = require "sproto"

local loader = {}

-- Reads a schema's text.
function loader.register(filename, index)
	local file = assert(io.open(filename), "Can't open sproto file")
	local text = file:read "a"
	file:close()
	core.saveproto(core.newproto(parser.parse(text)), index)
end

-- Keeps a schema's bundle.
function loader.save(bundle, index)
	core.saveproto(assert(core.newproto(bundle), "Invalid sproto bundle"), index)
end

function loader.load(index)
	return sproto.sharenew(core.loadproto(index))
end

return loader
