---@meta client.crypt

---As `skynet.crypt`.
return require "skynet.crypt"
