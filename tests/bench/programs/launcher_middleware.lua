-- A middleware that looks at one method, which does not occur.
local codex = require "codex"

return codex.middleware {
  name = "bench/keep-threads", from = "client", on = "thread/delete",
  handle = function(message) message:refuse(-32000, "threads are not deleted here") end,
}
