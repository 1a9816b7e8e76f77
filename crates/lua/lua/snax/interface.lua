-- Reads a snax service's script: its functions by group, each with a number.
--
-- A function is `{ number, group, name, function }`. The groups are `system`, `accept` and `response`.

local skynet = require "skynet"

local SYSTEM <const> = { "init", "exit", "hotfix", "profile" }

-- The table of a group: what is defined in it gets the next number.
local function group_of(functions, group)
	local known = {}
	return setmetatable({}, { __newindex = function(_, name, f)
		if type(name) ~= "string" then
			error(group .. " method only support string", 2)
		elseif type(f) ~= "function" then
			error(string.format("%s.%s must be function", group, name), 2)
		elseif known[name] then
			error(string.format("%s.%s duplicate definition", group, name), 2)
		end
		known[name] = true
		table.insert(functions, { #functions + 1, group, name, f })
	end })
end

local function find(name, globals, loader)
	local failures = {}
	local path = skynet.getenv "snax" or package.path
	for pattern in path:gmatch "[^;]+" do
		local filename = pattern:gsub("?", (name:gsub("%%", "%%%%")))
		local main, err = loader(filename, "bt", globals)
		if main then
			return main, pattern
		end
		table.insert(failures, err)
	end
	error(table.concat(failures, "\n"), 0)
end

return function(name, globals, loader)
	for _, word in ipairs { "init", "exit", "accept", "response" } do
		assert(globals[word] == nil, "a global has a name of snax's: " .. word)
	end
	local functions, own = {}, {}
	local places = {}
	for place, word in ipairs(SYSTEM) do
		functions[place] = { place, "system", word }
		places[word] = place
	end
	local groups = { accept = group_of(functions, "accept"), response = group_of(functions, "response") }
	local main, pattern = find(name, globals, loader or loadfile)
	assert(getmetatable(globals) == nil, "the globals have a metatable")
	setmetatable(globals, {
		__index = function(_, key)
			local value = groups[key]
			if value == nil then
				value = own[key]
			end
			return value
		end,
		__newindex = function(_, key, value)
			local place = places[key]
			if not place then
				own[key] = value
			elseif type(value) ~= "function" then
				error(key .. " must be a function", 2)
			else
				functions[place][4] = value
			end
		end,
	})
	local ok, err = xpcall(main, debug.traceback)
	setmetatable(globals, nil)
	if not ok then
		error(err, 0)
	end
	for key, value in pairs(own) do
		globals[key] = value
	end
	return functions, pattern
end
