-- Patterns of lpeg as texts.

local lpeg = require "lpeg"

local P, V, C, Cg, Cp = lpeg.P, lpeg.V, lpeg.C, lpeg.Cg, lpeg.Cp
local re = {}

-- The classes that every pattern has, under their letters. A capital letter is the complement.
local classes

-- What was compiled without definitions, as long as it is used.
local compiled, searches, replacements

function re.updatelocale()
	local found = lpeg.locale()
	classes = { nl = P "\n" }
	local letters = { a = "alpha", c = "cntrl", d = "digit", g = "graph", l = "lower", p = "punct", s = "space", u = "upper", w = "alnum", x = "xdigit" }
	for letter, name in pairs(letters) do
		classes[letter] = found[name]
		classes[letter:upper()] = 1 - found[name]
	end
	local weak = { __mode = "v" }
	compiled, searches, replacements = setmetatable({}, weak), setmetatable({}, weak), setmetatable({}, weak)
end

re.updatelocale()

local Parser = {}
Parser.__index = Parser

function Parser:fail(why)
	error({ why = why })
end

-- What begins at a place is no pattern.
function Parser:near(at)
	local rest = self.text:sub(at, at + 20)
	if at + 20 < #self.text then
		rest = rest .. "..."
	end
	self:fail(("pattern error near '%s'"):format(rest))
end

-- Takes what a pattern of Lua matches here. Returns its captures, or the text.
function Parser:take(pattern)
	local first, last, a, b = self.text:find("^" .. pattern, self.at)
	if first then
		self.at = last + 1
		return a or self.text:sub(first, last), b
	end
end

-- Skips spaces and comments.
function Parser:space()
	repeat
		self:take "%s+"
	until not self:take "%-%-[^\n]*"
end

function Parser:name()
	return self:take "[%a_][%w_]*"
end

-- Whether a rule is defined here.
function Parser:is_definition()
	local at = self.at
	local name = self:name()
	self:space()
	local found = name and self:take "<%-"
	self.at = at
	return found
end

-- Takes the end of what began at a place.
function Parser:close(text, start)
	if self.text:sub(self.at, self.at + #text - 1) ~= text then
		self:near(start)
	end
	self.at = self.at + #text
end

function Parser:definition(name)
	local found = self.definitions and self.definitions[name]
	return found or self:fail("undefined name: " .. name)
end

-- `%name`
function Parser:class(name)
	local found = self.definitions and self.definitions[name] or classes[name]
	return P(found or self:fail(("name '%s' undefined"):format(name)))
end

function Parser:expression()
	self:space()
	if self:is_definition() then
		return self:grammar()
	end
	local choice = self:sequence()
	while self:take "/" do
		self:space()
		choice = choice + self:sequence()
	end
	return choice
end

function Parser:grammar()
	local outer, rules = self.is_grammar, {}
	self.is_grammar = true
	while self:is_definition() do
		local name = self:name()
		self:space()
		self:take "<%-"
		if rules[name] then
			self:fail(("'%s' already defined as a rule"):format(name))
		end
		rules[1] = rules[1] or name
		rules[name] = self:expression()
	end
	self.is_grammar = outer
	return P(rules)
end

local function is_end(parser)
	local text, at = parser.text, parser.at
	return at > #text or text:find("^[/)}]", at) or text:find("^[:~|]}", at) or parser:is_definition()
end

function Parser:sequence()
	local all = P(true)
	while not is_end(self) do
		all = all * self:prefix()
	end
	return all
end

function Parser:prefix()
	local sign = self:take "[&!]"
	if not sign then
		return self:suffix()
	end
	self:space()
	if sign == "&" then
		return #self:prefix()
	end
	return -self:prefix()
end

-- What follows `->`: a text, a number, `{}` or a name.
local function captured(parser, pattern, start)
	local _, text = parser:take "([\"'])(.-)%1"
	if text then
		return pattern / text
	elseif parser:take "{}" then
		return lpeg.Ct(pattern)
	end
	local number = parser:take "%d+"
	if number then
		return pattern / tonumber(number)
	end
	return pattern / parser:definition(parser:name() or parser:near(start))
end

local function exactly(pattern, times)
	if times == 0 then
		return P(true)
	end
	local half = exactly(pattern, times // 2)
	local even = half * half
	return times % 2 == 1 and even * pattern or even
end

local arrows = {
	["->"] = captured,
	["=>"] = function(parser, pattern, start)
		return lpeg.Cmt(pattern, parser:definition(parser:name() or parser:near(start)))
	end,
	["~>"] = function(parser, pattern, start)
		return lpeg.Cf(pattern, parser:definition(parser:name() or parser:near(start)))
	end,
	[">>"] = function(parser, pattern, start)
		return pattern % parser:definition(parser:name() or parser:near(start))
	end,
}

function Parser:suffix()
	local pattern = self:primary()
	while true do
		self:space()
		local start = self.at
		local sign = self:take "[+*?]"
		local arrow = not sign and self:take "[-=~>]>"
		if sign == "?" then
			pattern = pattern ^ -1
		elseif sign then
			pattern = pattern ^ (sign == "+" and 1 or 0)
		elseif arrow then
			self:space()
			pattern = arrows[arrow](self, pattern, start)
		elseif self:take "%^" then
			local way = self:take "[+-]" or ""
			local times = tonumber(self:take "%d+" or self:near(start))
			if way == "" then
				pattern = exactly(pattern, times)
			else
				pattern = pattern ^ (way == "-" and -times or times)
			end
		else
			return pattern
		end
	end
end

-- Matches what a group has captured.
local function same(subject, position, text)
	if type(text) == "string" and subject:sub(position, position + #text - 1) == text then
		return position + #text
	end
end

-- By the sign that it begins with.
local primaries = {
	["("] = function(parser, start)
		local pattern = parser:expression()
		parser:close(")", start)
		return pattern
	end,
	["."] = function()
		return P(1)
	end,
	["="] = function(parser, start)
		return lpeg.Cmt(lpeg.Cb(parser:name() or parser:near(start)), same)
	end,
	["%"] = function(parser, start)
		return parser:class(parser:name() or parser:near(start))
	end,
	["["] = function(parser, start)
		return parser:set(start)
	end,
	["<"] = function(parser, start)
		local name = parser:name() or parser:near(start)
		parser:close(">", start)
		return parser:rule(name)
	end,
	["{"] = function(parser, start)
		if parser:take "}" then
			return Cp()
		end
		local kind = parser:take "[~|:]" or ""
		local name = kind == ":" and parser:take "([%a_][%w_]*):"
		local pattern = parser:expression()
		parser:close(kind .. "}", start)
		if kind == ":" then
			return Cg(pattern, name or nil)
		end
		return (kind == "~" and lpeg.Cs or kind == "|" and lpeg.Ct or C)(pattern)
	end,
}

function Parser:rule(name)
	if not self.is_grammar then
		self:fail(("rule '%s' used outside a grammar"):format(name))
	end
	return V(name)
end

function Parser:primary()
	local at = self.at
	local _, text = self:take "([\"'])(.-)%1"
	if text then
		return P(text)
	end
	local name = self:name()
	if name then
		return self:rule(name)
	end
	local primary = primaries[self:take "[(.=%%%[<{]"]
	if not primary then
		self:near(at)
	end
	return primary(self, at)
end

-- `[...]`. A bracket may be its first item.
function Parser:set(start)
	local is_complement = self:take "%^"
	local set
	repeat
		local class = self:take "%%([%a_][%w_]*)"
		local first, last = self:take "(.)%-([^%]])"
		local item
		if class then
			item = self:class(class)
		elseif last then
			item = lpeg.R(first .. last)
		else
			item = P(self:take "." or self:near(start))
		end
		set = set and set + item or item
	until self:take "%]"
	return is_complement and 1 - set or set
end

local function parse(text, definitions)
	local parser = setmetatable({ text = text, at = 1, definitions = definitions }, Parser)
	local pattern = parser:expression()
	if parser.at <= #text then
		parser:near(parser.at)
	end
	return pattern
end

-- The pattern of a text. An error has the place of the caller of a function of the module.
local function compile(text, definitions)
	if lpeg.type(text) == "pattern" then
		return text
	end
	if type(text) ~= "string" then
		error(("bad argument #1 to 're' (string expected, got %s)"):format(type(text)), 3)
	end
	local ok, pattern = pcall(parse, text, definitions)
	if ok then
		return pattern
	end
	local why = type(pattern) == "table" and pattern.why or pattern
	error(type(why) == "string" and why:gsub("^lpeg%.re:[%d?]+: ", "") or why, 3)
end

function re.compile(text, definitions)
	local pattern = compile(text, definitions)
	return pattern
end

function re.match(subject, text, ...)
	local pattern = compiled[text]
	if not pattern then
		pattern = compile(text)
		compiled[text] = pattern
	end
	return pattern:match(subject, ...)
end

function re.find(subject, text, init)
	local search = searches[text]
	if not search then
		local pattern = compile(text) / 0
		search = P { Cp() * pattern * Cp() + 1 * V(1) }
		searches[text] = search
	end
	local first, after = search:match(subject, init or 1)
	if first then
		return first, after - 1
	end
end

function re.gsub(subject, text, replacement)
	local by = replacements[text]
	if not by then
		by = setmetatable({}, { __mode = "v" })
		replacements[text] = by
	end
	local all = by[replacement]
	if not all then
		all = lpeg.Cs((compile(text) / replacement + 1) ^ 0)
		by[replacement] = all
	end
	return all:match(subject)
end

return re
