-- Packets behind their length in two bytes.

local core = require "moorline.core"

local netpack = {
	filter = core.netpack_filter, pop = core.netpack_pop, clear = core.netpack_clear, tostring = core.netpack_tostring,
}

function netpack.pack(data, size)
	local msg, sz, why = core.netpack_pack(data, size)
	if why then
		error(why, 2)
	end
	return msg, sz
end

return netpack
