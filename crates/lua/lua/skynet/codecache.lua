-- What others cache scripts with.

return require("skynet").cache
