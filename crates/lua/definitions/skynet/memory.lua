---@meta skynet.memory

---What the allocator measures. There is no jemalloc here: most of it is an error.
---@class skynet.memory
local memory = {}

---Is an error here: ask services, with `MEM` of `.launcher`.
function memory.block() end

---The memory of this service.
---@return integer bytes
function memory.current() end

---Is an error here: ask services, with `MEM` of `.launcher`.
function memory.dump() end

---Is an error here.
function memory.dumpheap() end

---Is an error here.
---@param opts? string
function memory.dumpinfo(opts) end

---Is an error here: ask services, with `MEM` of `.launcher`.
function memory.info() end

---Is an error here.
function memory.jestat() end

---Is an error here.
---@param name string
function memory.mallctl(name) end

---Is an error here.
---@param on? boolean
function memory.profactive(on) end

---The memory of the process.
---@return integer bytes
function memory.total() end

return memory
