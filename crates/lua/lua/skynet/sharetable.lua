-- Tables that all services of the process read without copies. What a service has follows a new version when the service says so.

local core = require "skynet.sharedata.core"

local KIND <const> = "sharetable"
local sharetable = {}
local known = {} -- by name: the tables that were handed out, weakly
local meta = { __name = "sharedtable" }

local function make(object)
	return setmetatable({ __obj = object, __cache = {} }, meta)
end

function meta:__index(key)
	local object, child = self.__obj, self.__cache[key]
	if child or not object then
		return child
	end
	local value = core.index(object, key)
	if type(value) == "userdata" then
		value = make(value)
		self.__cache[key] = value
	end
	return value
end

function meta:__newindex()
	error("attempt to change a shared table", 2)
end

function meta:__len()
	return self.__obj and core.len(self.__obj) or 0
end

local function following(self, key)
	local found = self.__obj and core.nextkey(self.__obj, key)
	if found ~= nil then
		return found, self[found]
	end
end

function meta:__pairs()
	return following, self, nil
end

-- A part that is not there any more is empty.
local function follow(self, object)
	rawset(self, "__obj", object)
	for key, child in pairs(self.__cache) do
		local value = object and core.index(object, key)
		follow(child, type(value) == "userdata" and value or false)
		if type(value) ~= "userdata" then
			self.__cache[key] = nil
		end
	end
end

local function result_of(name, f, err, ...)
	local result = assert(f, err)(...)
	if type(result) ~= "table" then
		error(name .. " returns no table", 3)
	end
	core.put(KIND, name, result)
end

function sharetable.loadfile(filename, ...)
	local f, err = loadfile(filename)
	result_of(filename, f, err, ...)
end

function sharetable.loadstring(filename, source, ...)
	local f, err = load(source, "=" .. filename)
	result_of(filename, f, err, ...)
end

function sharetable.loadtable(filename, value)
	assert(type(value) == "table", "a shared table is made of a table")
	core.put(KIND, filename, value)
end

function sharetable.query(filename)
	local object = core.get(KIND, filename)
	if not object then
		return nil
	end
	local all = known[filename]
	if not all then
		all = setmetatable({}, { __mode = "k" })
		known[filename] = all
	end
	for root in pairs(all) do
		if core.version(root.__obj) == core.version(object) then
			return root
		end
	end
	local root = make(object)
	all[root] = true
	return root
end

function sharetable.queryall(filenames)
	local found = {}
	for _, filename in ipairs(filenames or core.names(KIND)) do
		found[filename] = sharetable.query(filename)
	end
	return found
end

-- Lets all that was queried under these names follow the newest version.
function sharetable.update(...)
	for _, filename in ipairs { ... } do
		for root in pairs(known[filename] or {}) do
			local newest = core.needupdate(root.__obj)
			if newest then
				follow(root, newest)
			end
		end
	end
end

return sharetable
