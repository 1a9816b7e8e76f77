-- Finds a module in C, or one by the name that it has now. What Lua says of a library that is built for another version of it does not say
-- what to do.

local of_file, of_package, name, current = ...

local function explained(why)
	local text = tostring(why)
	if text:find("version mismatch: app.", 1, true) or text:find("incompatible numeric types", 1, true)
		or text:find "undefined symbol: luaL?_" then
		return string.format(
			"the C module '%s' is built for another version of Lua: build it for %s, with the headers that " ..
			"'moorline run --sdk FOLDER' writes (%s)", name, _VERSION, text)
	end
	return why
end

-- An error is raised by what `require` calls next: it stays a text, which it does not in a function of Rust.
local function raising(why)
	return function() error(explained(why), 0) end
end

local tried = {}
for _, search in ipairs { of_file, of_package } do
	local ok, found, extra = pcall(search, name)
	if not ok then
		return raising(found)
	elseif type(found) == "function" then
		return function(...)
			local opened, module = pcall(found, ...)
			if not opened then
				error(explained(module), 0)
			end
			return module
		end, extra
	elseif found then
		tried[#tried + 1] = found
	end
end
if current then
	return function() return require(current) end
end
return table.concat(tried, "\n\t")
