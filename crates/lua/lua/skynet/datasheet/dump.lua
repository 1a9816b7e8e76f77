-- Tables as texts, for `skynet.datasheet.builder`.

local skynet = require "skynet"

local HEAD <const> = "moorline datasheet 1\n"
local dump = {}

function dump.dump(value)
	assert(type(value) == "table", "a datasheet is made of a table")
	return HEAD .. skynet.packstring(value)
end

function dump.undump(text)
	assert(text:sub(1, #HEAD) == HEAD, "not a datasheet of this program: compile it again")
	return (skynet.unpack(text:sub(#HEAD + 1)))
end

-- The newer one: a version shares nothing with the one before.
function dump.diff(last, newer)
	assert(last:sub(1, #HEAD) == HEAD, "not a datasheet of this program: compile it again")
	return newer
end

return dump
