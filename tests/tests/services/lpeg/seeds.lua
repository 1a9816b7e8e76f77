-- Makes a pattern and subjects of a seed, and a line of what they match. The same script runs in other versions of Lua.

local lpeg = require "lpeg"
local P, S, R, V, C, Cc, Cg, Cb, Cs = lpeg.P, lpeg.S, lpeg.R, lpeg.V, lpeg.C, lpeg.Cc, lpeg.Cg, lpeg.Cb, lpeg.Cs
local Ct, Cf, Cp, Cmt, Carg, B = lpeg.Ct, lpeg.Cf, lpeg.Cp, lpeg.Cmt, lpeg.Carg, lpeg.B

local state

local function random(n)
	state = (state * 1103515245 + 12345) % 2147483648
	return (state >> 8) % n
end

local function one_of(list)
	return list[random(#list) + 1]
end

local function shown(value, depth)
	depth = depth or 0
	if type(value) == "table" then
		if depth > 8 then return "..." end
		local keys, parts = {}, {}
		for key in pairs(value) do keys[#keys + 1] = key end
		table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
		for _, key in ipairs(keys) do parts[#parts + 1] = tostring(key) .. "=" .. shown(value[key], depth + 1) end
		return "{" .. table.concat(parts, ",") .. "}"
	elseif type(value) == "string" then
		return string.format("%q", value)
	end
	return tostring(value)
end

local functions = {
	function(...) return select("#", ...), ... end,
	function(a) return a end,
	function() end,
	function(_, b) return (b == nil) and "nil" or tostring(b) end,
	function(...) return { ... } end,
}
local deciders = {
	function() return true end,
	function(_, i, a) return i, a end,
	function(s, i) return i <= #s and i + 1 or i end,
	function(_, i) return i % 2 == 0 end,
	function(_, _, ...) return true, select("#", ...), ... end,
	function() return false end,
	function() return 0 end,
}
local folds = {
	function(a, b) return tostring(a) .. tostring(b) end,
	function(_, ...) return select("#", ...) end,
}
local names = { "n", "m", 1, true }
local templates = { "%0", "<%1>", "%2-%1", "%%x", "k", "%3", "z%", "%a%0" }
local texts = { "a", "b", "c", "ab", "bc", "aa", "" }

local function leaf()
	local k = random(24)
	if k < 9 then return P(one_of(texts))
	elseif k < 11 then return S(one_of { "ab", "bc", "abc", "x", "" })
	elseif k < 12 then return R "ac"
	elseif k < 14 then return P(random(4) - 1)
	elseif k < 15 then return P(random(2) == 0)
	elseif k < 17 then return Cp()
	elseif k < 18 then
		if random(3) == 0 then return Cc(nil, "q") end
		return Cc(random(9))
	elseif k < 19 then return Carg(random(3) + 1)
	elseif k < 20 then return Cb(one_of(names))
	elseif k < 21 then return P(one_of(deciders))
	end
	return V(one_of { "S", "A", "B" })
end

local function pattern(depth)
	if depth <= 0 or random(6) == 0 then return leaf() end
	local k = random(32)
	local a = pattern(depth - 1)
	if k < 7 then return a * pattern(depth - 1)
	elseif k < 12 then return a + pattern(depth - 1)
	elseif k < 13 then return a - pattern(depth - 1)
	elseif k < 16 then return a ^ (random(5) - 2)
	elseif k < 17 then return -a
	elseif k < 18 then return #a
	elseif k < 20 then return C(a)
	elseif k < 21 then return Ct(a)
	elseif k < 22 then return Cs(a)
	elseif k < 24 then return Cg(a, one_of(names))
	elseif k < 25 then return Cg(a)
	elseif k < 26 then return Cmt(a, one_of(deciders))
	elseif k < 27 then return a / one_of(functions)
	elseif k < 28 then return a / one_of(templates)
	elseif k < 29 then return a / random(3)
	elseif k < 30 then return a / { a = 1, b = "two", ab = { 3 }, [1] = false, [2] = "p2" }
	elseif k < 31 then return Cf(a, one_of(folds))
	end
	return B(a)
end

local function line(seed)
	state = seed * 7919 + 13
	for _ = 1, 5 do random(2) end
	local first = pattern(2 + random(5))
	local a, b = pattern(3), pattern(3)
	local grammar = P { "S", S = first, A = a, B = b }
	local rows = {}
	for _ = 1, 4 do
		local letters = {}
		for i = 1, random(9) do letters[i] = one_of { "a", "b", "c", "a" } end
		local subject = table.concat(letters)
		local init = random(4) == 0 and random(7) - 3 or 1
		local found = table.pack(pcall(lpeg.match, grammar, subject, init, "x1", 2))
		local values = {}
		for i = 2, found.n do values[#values + 1] = shown(found[i]) end
		rows[#rows + 1] = found[1] and subject .. " -> " .. table.concat(values, " ")
			or subject .. " !! " .. tostring(found[2]):gsub("^[^:]-:%d+: ", "")
	end
	return seed .. " " .. table.concat(rows, " | ")
end

return line
