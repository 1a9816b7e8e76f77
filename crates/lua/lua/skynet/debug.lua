-- Commands of the script's own for the protocol `debug`.

local core = require "moorline.core"

local M = {}

-- Adds a command. It gets the values that follow its name, and answers with `skynet.ret` or `skynet.retpack`.
function M.reg_debugcmd(name, func)
	core.debug_commands = core.debug_commands or {}
	core.debug_commands[name] = func
end

-- Every service answers the protocol without it.
function M.init() end

return M
