-- Tables that read a shared tree. A table follows the newest version of its tree when it is next used.

local core = require "skynet.sharedata.core"

local corelib = {
	host = {
		new = core.new, delete = core.delete, getref = core.getref, markdirty = core.markdirty,
		incref = core.incref, decref = core.decref,
	},
}
local meta = {}

local function path_of(self)
	local path = tostring(self.__key)
	local parent = self.__parent
	while parent do
		path = parent.__key .. "." .. path
		parent = parent.__parent
	end
	return path
end

local function follow(self, object)
	self.__obj = object
	for key, child in pairs(self.__cache) do
		local found = core.index(object, key)
		if type(found) == "userdata" then
			follow(child, found)
		else
			self.__cache[key] = nil
		end
	end
end

local function current(self)
	local object = self.__obj
	local is_newest = not core.isdirty(object)
	if is_newest then
		return object
	end
	local root = self
	while root.__parent do
		root = root.__parent
	end
	local newest = core.needupdate(root.__obj)
	if newest then
		follow(root, newest)
	end
	if self.__obj == object then
		error("The key [" .. path_of(self) .. "] doesn't exist after update", 3)
	end
	return self.__obj
end

local function make(object, parent, key)
	return setmetatable({ __obj = object, __parent = parent, __key = key, __cache = {} }, meta)
end

function meta:__index(key)
	-- `current` brings the cache to the newest version, so it is called first.
	local object = current(self)
	local child = self.__cache[key]
	if child then
		return child
	end
	local value = core.index(object, key)
	if type(value) == "userdata" then
		value = make(value, self, key)
		self.__cache[key] = value
	end
	return value
end

function meta:__newindex(key)
	error("Error newindex, the key [" .. path_of(self) .. "]", 2)
end

function meta:__len()
	return core.len(current(self))
end

function meta:__pairs()
	return corelib.next, self, nil
end

function corelib.next(self, key)
	local following = core.nextkey(current(self), key)
	if following ~= nil then
		return following, self[following]
	end
end

function corelib.box(object)
	return make(object, false, "")
end

function corelib.update(self, object)
	core.update(self.__obj, object)
end

function corelib.flush(self)
	current(self)
end

-- Plain tables of the part under a path of keys, or the value there.
function corelib.copy(object, key, ...)
	if key == nil then
		return core.copy(object)
	end
	local value = core.index(object, key)
	if type(value) == "userdata" then
		return corelib.copy(value, ...)
	end
	return value
end

return corelib
