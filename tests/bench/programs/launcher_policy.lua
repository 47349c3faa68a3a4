-- A policy that is loaded and, as nothing is asked here, never heard.
local codex = require "codex"

return codex.policy {
  name = "bench/tests", on = "command",
  decide = function(request)
    if request.command == "make test" then return "accept" end
  end,
}
