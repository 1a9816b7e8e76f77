-- What the services take. There is one allocator for the process, and no jemalloc to ask.

local memory = {}

-- The bytes of the process that are in memory.
function memory.total()
	local file = assert(io.open "/proc/self/statm")
	local _, pages = file:read("n", "n")
	file:close()
	return pages * 4096
end

-- The bytes of this service's Lua state.
function memory.current()
	return collectgarbage "count" * 1024 // 1 | 0
end

local function missing(name, instead)
	memory[name] = function()
		error(string.format("skynet.memory.%s is not in Moorline: %s", name, instead), 2)
	end
end

for _, name in ipairs { "block", "dump", "dumpinfo", "info" } do
	missing(name, "ask services for what they take, with MEM of .launcher")
end
for _, name in ipairs { "dumpheap", "jestat", "mallctl", "profactive" } do
	missing(name, "there is no jemalloc")
end

return memory
