-- Replaces functions of a running snax service. A patch is a script like the service's: a local that it only declares is the service's.

local read_interface = require "snax.interface"

local function upvalues(f)
	local index = 0
	return function()
		index = index + 1
		local name, value = debug.getupvalue(f, index)
		if name then
			return index, name, value
		end
	end
end

local function environment(f)
	for index, name in upvalues(f) do
		if name == "_ENV" then
			return debug.upvalueid(f, index)
		end
	end
end

-- The locals that a function and those that it calls use, by name.
local function collect(f, known, env)
	for index, name, value in upvalues(f) do
		local id = debug.upvalueid(f, index)
		local before = known[name]
		if not before then
			known[name] = { f = f, index = index, id = id }
			if type(value) == "function" and environment(value) == env then
				collect(value, known, env)
			end
		elseif before.id ~= id then
			error("ambiguity local value " .. name, 0)
		end
	end
end

-- Gives a patch's function the service's locals.
local function join(f, known, globals, done)
	if done[f] then
		return
	end
	done[f] = true
	for index, name, value in upvalues(f) do
		local theirs = known[name]
		if value == nil or value == globals then
			if theirs then
				debug.upvaluejoin(f, index, theirs.f, theirs.index)
			end
		elseif type(value) == "function" then
			join(value, known, globals, done)
		end
	end
end

local function find(functions, group, name)
	for _, it in ipairs(functions) do
		if it[2] == group and it[3] == name then
			return it
		end
	end
end

local function patch(functions, source, ...)
	local globals = {}
	for key, value in pairs(_ENV) do
		globals[key] = value
	end
	for _, word in ipairs { "init", "exit", "hotfix", "accept", "response" } do
		globals[word] = nil
	end
	local changes = read_interface("patch", globals, function()
		return load(source, "=patch", "bt", globals)
	end)
	local known, done = {}, {}
	for _, it in ipairs(functions) do
		if it[4] then
			collect(it[4], known, environment(it[4]))
		end
	end
	-- Functions that use no globals do not tell where those are.
	for index, _, value in upvalues(collect) do
		if value == _ENV and not known._ENV then
			known._ENV = { f = collect, index = index }
		end
	end
	-- All are there, or none is replaced.
	for _, it in ipairs(changes) do
		if it[4] and not find(functions, it[2], it[3]) then
			error(string.format("Patch mismatch %s.%s", it[2], it[3]), 0)
		end
	end
	for _, it in ipairs(changes) do
		if it[4] then
			join(it[4], known, globals, done)
			if it[3] ~= "hotfix" or it[2] ~= "system" then
				find(functions, it[2], it[3])[4] = it[4]
			end
		end
	end
	local first = find(changes, "system", "hotfix")
	if first and first[4] then
		return first[4](...)
	end
end

return function(functions, source, ...)
	return pcall(patch, functions, source, ...)
end
