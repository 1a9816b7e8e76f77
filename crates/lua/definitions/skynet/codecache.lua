---@meta skynet.codecache

---The cache of scripts. Scripts are read at each launch here.
---@class skynet.codecache
local codecache = {}

---Does nothing: there is nothing to clear.
function codecache.clear() end

---As `loadfile`.
---@param filename string
---@param mode? string
---@param env? table
---@return function|nil chunk
---@return string|nil why
function codecache.loadfile(filename, mode, env) end

---Notes a mode, and changes nothing.
---@param mode? "ON"|"OFF"|"EXIST"
---@return string mode
function codecache.mode(mode) end

return codecache
