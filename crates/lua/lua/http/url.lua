-- Parts of a request's target.

local url = {}

local function decode(text)
	text = text:gsub("+", " ")
	return (text:gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end))
end

-- The path, decoded, and the query, as it is.
function url.parse(target)
	local path, query = target:match "([^?]*)%??(.*)"
	return decode(path), query
end

-- The values of a query by name. A name that is there more than once has a list.
function url.parse_query(query)
	local values = {}
	for coded, coded_value in query:gmatch "(.-)=([^&]*)&?" do
		local name, value = decode(coded), decode(coded_value)
		local before = values[name]
		if before == nil then
			values[name] = value
		elseif type(before) == "table" then
			table.insert(before, value)
		else
			values[name] = { before, value }
		end
	end
	return values
end

return url
