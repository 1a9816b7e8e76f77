---@meta snax.loginserver

---Starts the service with `host`, `port`, `name`, `instance`, `multilogin`, and the functions `auth_handler`, `login_handler`, `command_handler`.
---@param conf table
local function loginserver(conf) end

return loginserver
