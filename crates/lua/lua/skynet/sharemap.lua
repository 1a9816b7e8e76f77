-- A structure of a sproto schema that one service writes and others read. The schema is in slot 0 of `sprotoloader`.

local stm = require "skynet.stm"
local loader = require "sprotoloader"

local sharemap = {}
local schema
local function load_schema()
	schema = schema or loader.load(0)
	return schema
end

function sharemap.register(filename)
	loader.register(filename, 0)
end

function sharemap:commit()
	self.__obj(load_schema():encode(self.__typename, self.__data))
end

-- What a reader is made of. It is good for one.
function sharemap:copy()
	return stm.copy(self.__obj)
end

function sharemap.writer(typename, data)
	data = data or {}
	local writer = {
		__typename = typename, __data = data, commit = sharemap.commit, copy = sharemap.copy,
		__obj = stm.new(load_schema():encode(typename, data)),
	}
	return setmetatable(writer, { __index = data, __newindex = data })
end

local function decode(message, size, self)
	local data = self.__data
	for key in pairs(data) do
		data[key] = nil
	end
	return load_schema():decode(self.__typename, message, size, data)
end

function sharemap:update()
	return self.__obj(decode, self)
end

function sharemap.reader(typename, copy)
	local reader = { __typename = typename, __data = {}, __obj = stm.newcopy(copy), update = sharemap.update }
	reader:update()
	return setmetatable(reader, { __index = reader.__data, __newindex = error })
end

return sharemap
