--- A policy for approvals, to be put into ~/.config/codex-lua/policy.d/ or named on a command line:
---
---     codex-lua app-server --policy examples/policy.lua
---
--- Commands that only read are accepted, changes below /etc are declined; about the rest it has no
--- opinion, and the client is asked. If it raised an error, the answer would be no.
local codex = require "codex"

return {
  codex.policy.read_only(),
  codex.policy {
    name = "hands-off-etc",
    on = "file_change",
    decide = function(request)
      for _, change in ipairs(request.changes) do
        if change.path:find "^/etc/" then return "decline" end
      end
    end,
  },
}
