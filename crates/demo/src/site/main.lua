-- The app of `moorline demo`: what someone says, all who came in by the same listener hear.

local skynet = require "skynet"
local moorline = require "moorline"

local BUILD = BUILD_NUMBER

local visitors = moorline.group "visitors"
local people = moorline.group "people"

local open = {
	visitors = function(session, adopted)
		visitors:join(session)
		if not adopted then
			session:push_text "welcome"
		end
	end,
	people = function(session, adopted)
		people:join(session)
		session:push_text("build " .. BUILD .. (adopted and " serves you from now on" or " serves you"))
	end,
	flood = function() end,
}

local message = {
	visitors = function(line)
		visitors:send_text(line .. " " .. BUILD)
	end,
	people = function(line)
		line = line:match "^%s*(.-)%s*$"
		if line ~= "" and utf8.len(line) then
			people:send_text("someone: " .. line)
		end
	end,
	flood = function() end,
}

skynet.start(function()
	moorline.serve {
		open = function(session, adopted)
			open[session.listener](session, adopted)
		end,
		message = function(session, line)
			message[session.listener](line)
		end,
	}
end)
