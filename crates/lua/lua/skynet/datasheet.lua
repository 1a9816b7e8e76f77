-- Data that one service makes and others read without copies. See `skynet.datasheet.builder`.

local core = require "skynet.sharedata.core"
local corelib = require "skynet.sharedata.corelib"

local datasheet = {}
local sheets = {}

function datasheet.query(name)
	local sheet = sheets[name]
	if not sheet then
		local object = core.get("datasheet", name)
		sheet = corelib.box(object or error("create data first: " .. tostring(name), 2))
		sheets[name] = sheet
	end
	return sheet
end

return datasheet
