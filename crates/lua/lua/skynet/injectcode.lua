-- Runs a text as if it stood at a level of a coroutine: it reads and changes the local values and the upvalues there.

-- The local values of a level, and the places of those that a name means: the last with it.
local function locals_of(co, level)
	local values, places = {}, {}
	for i = 1, math.huge do
		local name, value = debug.getlocal(co, level, i)
		if not name then
			return values, places
		end
		-- Others have no name that a text could say.
		if name:match "^[%a_][%w_]*$" then
			values[name], places[name] = value, i
		end
	end
end

local function upvalues_of(func)
	local places = {}
	for i = 1, math.huge do
		local name = debug.getupvalue(func, i)
		if not name then
			return places
		end
		places[name] = i
	end
end

local function varargs_of(co, level)
	local values = { n = 0 }
	for i = 1, math.huge do
		local name, value = debug.getlocal(co, level, -i)
		if not name then
			return values
		end
		values[i], values.n = value, i
	end
end

-- A function with this text, whose upvalues are the names, and one that returns the names' values.
local function compile(source, names)
	local list, kept = {}, {}
	for name in pairs(names) do
		if name ~= "_ENV" then
			list[#list + 1] = name
			kept[#kept + 1] = string.format("%s = %s,", name, name)
		end
	end
	local head = #list > 0 and "local " .. table.concat(list, ",") or ""
	local text = string.format("%s return function(...) %s\nend, function() return { %s } end", head, source, table.concat(kept))
	return load(text, "=(debug)")
end

-- Of coroutine `co`, level 0 is the function that waits or calls this.
return function(source, co, level, extra)
	local me = coroutine.running()
	co, level, extra = co or me, level or 0, extra or {}
	if co == me then
		level = level + 2
	end
	-- Below, each function that looks at the levels of this coroutine is one more.
	local depth = co == me and 1 or 0
	local info = debug.getinfo(co, level, "f")
	if not info then
		return false, "Invalid level"
	end
	local values, places = locals_of(co, level + depth)
	local upvalues, varargs = upvalues_of(info.func), varargs_of(co, level + depth)
	local names = {}
	for _, from in ipairs { extra, values, places, upvalues } do
		for name in pairs(from) do
			names[name] = true
		end
	end
	local make, why = compile(source, names)
	if not make then
		return false, why
	end
	local run, changed = make()
	for name, i in pairs(upvalues_of(run)) do
		if places[name] then
			debug.setupvalue(run, i, values[name])
		elseif upvalues[name] then
			debug.upvaluejoin(run, i, info.func, upvalues[name])
		elseif extra[name] ~= nil then
			debug.setupvalue(run, i, extra[name])
		end
	end
	local result = table.pack(pcall(run, table.unpack(varargs, 1, varargs.n)))
	if not result[1] then
		return false, result[2]
	end
	local after = changed()
	for name, place in pairs(places) do
		debug.setlocal(co, level, place, after[name])
	end
	return table.unpack(result, 1, result.n)
end
