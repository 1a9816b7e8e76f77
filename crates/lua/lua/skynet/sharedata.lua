-- Data that all services of the process read without copies. Readers see an update when they next use what they have.

local core = require "skynet.sharedata.core"
local corelib = require "skynet.sharedata.corelib"

local KIND <const> = "sharedata"
local sharedata = {}
local cache = setmetatable({}, { __mode = "v" })

-- A table; or the globals or the result of a text, or of a file whose name is behind an at sign.
local function table_of(name, value, ...)
	if type(value) == "table" then
		return value
	elseif value == nil then
		return {}
	elseif type(value) ~= "string" then
		error("Unknown data type " .. type(value), 3)
	end
	local globals = setmetatable({}, { __index = _ENV })
	local f
	if value:sub(1, 1) == "@" then
		f = assert(loadfile(value:sub(2), "bt", globals))
	else
		f = assert(load(value, "=" .. name, "bt", globals))
	end
	local result = f(...)
	setmetatable(globals, nil)
	return type(result) == "table" and result or globals
end

local function get(name)
	local object = core.get(KIND, name)
	return object or error("there is no shared data " .. tostring(name), 3)
end

function sharedata.query(name)
	local object = get(name)
	local cached = cache[name]
	-- It may have been deleted and made again.
	if cached and core.issame(cached.__obj, object) then
		return cached
	end
	cached = corelib.box(object)
	cache[name] = cached
	return cached
end

function sharedata.new(name, value, ...)
	core.put(KIND, name, table_of(name, value, ...), true)
end

function sharedata.update(name, value, ...)
	core.put(KIND, name, table_of(name, value, ...))
end

-- Who has it keeps it.
function sharedata.delete(name)
	if not core.remove(KIND, name) then
		error("there is no shared data " .. tostring(name), 2)
	end
end

function sharedata.flush()
	for _, root in pairs(cache) do
		corelib.flush(root)
	end
	collectgarbage()
end

function sharedata.deepcopy(name, ...)
	return corelib.copy(get(name), ...)
end

return sharedata
