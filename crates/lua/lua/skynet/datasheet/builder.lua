-- Makes the data that `skynet.datasheet` reads.

local core = require "skynet.sharedata.core"
local dump = require "skynet.datasheet.dump"

local builder = {}

local function table_of(value)
	return type(value) == "string" and dump.undump(value) or value
end

function builder.new(name, value)
	core.put("datasheet", name, table_of(value), true)
end

function builder.update(name, value)
	core.put("datasheet", name, table_of(value), false)
end

-- What `new` and `update` also take: a text that can be kept in a file.
function builder.compile(value)
	return dump.dump(value)
end

return builder
