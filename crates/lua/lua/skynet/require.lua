-- `require` for modules that wait while they are loaded, and `skynet.init` for such modules: a function of Lua calls their code, so that
-- it can yield. In the main script it is the usual one.

local plain = require "moorline.core".plain_require
local loaded = package.loaded

local M = {}

local loading = {} -- by module: the coroutine that loads it, and those that wait for that
local inits = {} -- by coroutine: what a module that it loads has given to `skynet.init`

local function find(name)
	local tried = {}
	for _, search in ipairs(package.searchers) do
		local loader, extra = search(name)
		if type(loader) == "function" then
			return loader, extra
		elseif loader then
			tried[#tried + 1] = tostring(loader)
		end
	end
	error(string.format("module '%s' not found:\n\t%s", name, table.concat(tried, "\n\t")), 0)
end

local function load(name, co)
	local loader, extra = find(name)
	local before = inits[co]
	local list = {}
	inits[co] = list
	local ok, err = xpcall(function()
		local value = loader(name, extra)
		for _, init in ipairs(list) do
			init()
		end
		if value ~= nil then
			loaded[name] = value
		elseif loaded[name] == nil then
			loaded[name] = true
		end
	end, debug.traceback)
	inits[co] = before
	if not ok then
		error(err, 0)
	end
	return loaded[name], extra
end

function M.require(name)
	local value = loaded[name]
	if value ~= nil then
		return value
	end
	local co, is_main = coroutine.running()
	if is_main then
		return plain(name)
	end
	local skynet = plain "skynet"
	local state = loading[name]
	if state then
		if state.co == co then
			error(string.format("module '%s' requires itself", name), 2)
		end
		table.insert(state, co)
		skynet.wait(co)
		if loaded[name] == nil then
			error(string.format("require %s failed", name), 2)
		end
		return loaded[name]
	end
	state = { co = co }
	loading[name] = state
	local result = table.pack(pcall(load, name, co))
	loading[name] = nil
	for _, waiter in ipairs(state) do
		skynet.wakeup(waiter)
	end
	if not result[1] then
		error(result[2], 0)
	end
	return table.unpack(result, 2, result.n)
end

-- What runs when the module has run that this coroutine loads. Nil if it loads none.
function M.pending()
	return inits[coroutine.running()]
end

function M.init(func)
	plain "skynet".init(func)
end

-- `skynet.start` does it.
function M.init_all() end

return M
