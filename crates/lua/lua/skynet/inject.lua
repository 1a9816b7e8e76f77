-- Runs a text in a service that lives, with its tables at hand: `inject` of the debug console.

-- The tables that a function and the functions below it can see, by name.
local function collect(tables, func, seen)
	for i = 1, math.huge do
		local name, value = debug.getupvalue(func, i)
		if not name then
			return
		elseif type(value) == "table" then
			tables[name] = value
		elseif type(value) == "function" and not seen[value] then
			seen[value] = true
			collect(tables, value, seen)
		end
	end
end

-- The handlers' tables, by the names of their protocols.
local function handlers(protocols, seen)
	local all = {}
	for _, protocol in pairs(protocols or {}) do
		if protocol.name and protocol.dispatch and not all[protocol.name] then
			local tables = {}
			collect(tables, protocol.dispatch, seen)
			all[protocol.name] = tables
		end
	end
	return all
end

-- Returns whether it ran, and the lines that it printed. In the text `_U` has the tables of the functions that are given, and `_P` those of
-- the service's handlers, by protocol; `...` is what `arguments` has.
return function(skynet, source, filename, arguments, ...)
	local output = {}
	local function print(...)
		local words = table.pack(...)
		for i = 1, words.n do
			words[i] = tostring(words[i])
		end
		table.insert(output, table.concat(words, "\t"))
	end
	local tables, seen = {}, {}
	for i = 1, select("#", ...) do
		local func = select(i, ...)
		if func then
			collect(tables, func, seen)
		end
	end
	tables.proto = tables.proto or require "moorline.core".protocols
	local globals = { print = print, _U = tables, _P = handlers(tables.proto, seen) }
	setmetatable(globals, { __index = _ENV })
	local chunk, why = load(source, filename and "@" .. filename or "=(load)", "bt", globals)
	if not chunk then
		return false, { why }
	end
	arguments = arguments or {}
	local ok, err = skynet.pcall(chunk, table.unpack(arguments, 1, arguments.n))
	if not ok then
		table.insert(output, tostring(err))
	end
	return ok, output
end
