-- A greeting, and a group that everyone is in. Change the greeting and reload: nobody is disconnected.

local skynet = require "skynet"
local moorline = require "moorline"

-- What everyone is told first. `[app] greeting` in the configuration replaces it.
local GREETING = "Welcome aboard!"

-- A longer line is cut.
local MAX_LINE_CHARACTERS = 2000

-- Its members are known to the gateway, so they survive reloads and crashes of workers.
local room = moorline.group "room"

local function cut(line)
	local last = utf8.len(line) and utf8.offset(line, MAX_LINE_CHARACTERS + 1)
	return last and line:sub(1, last - 1) or line:sub(1, 4 * MAX_LINE_CHARACTERS)
end

skynet.start(function()
	local greeting = skynet.getenv "greeting" or GREETING
	moorline.serve {
		-- Runs for a new visitor, and again for everyone after a reload: with the greeting of this build.
		open = function(session)
			-- A session that is in the room already stays in it.
			room:join(session)
			-- Pushed, so that nothing waits for a slow reader: that one is closed at `hard_limit`.
			session:push_text("⚓ " .. greeting)
		end,
		message = function(_, line)
			line = line:match "^%s*(.-)%s*$"
			if line ~= "" then
				room:send_text(cut(line))
			end
		end,
	}
end)
