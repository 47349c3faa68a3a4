--- Lua between an IDE and Codex: every thread of the client gets the house rules, and no thread is
--- deleted. What no middleware touches passes byte for byte.
---
---     codex-lua app-server --middleware examples/middleware.lua
local codex = require "codex"

return {
  codex.middleware {
    name = "house-rules",
    from = "client",
    on = "thread/start",
    handle = function(message)
      message.params.developerInstructions = "Write tests first."
      message:replace(message.params)
    end,
  },
  codex.middleware {
    name = "keep-threads",
    from = "client",
    on = "thread/delete",
    handle = function(message) message:refuse(-32000, "threads are not deleted here") end,
  },
}
