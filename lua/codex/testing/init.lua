--- Testing workflows offline: a model that plays a script, and a Codex that talks to it alone.
---
---     local testing = require "codex.testing"
---     local model <close> = assert(testing.model { turns = {
---       { exec = "ls" },
---       "There are three files.",
---     } })
---     local cx <close> = assert(testing.codex { model = model })
---     local turn = assert(cx.exec("What is here?", { skip_git_repo_check = true }))
---     assert(turn.final_message == "There are three files.")

local M = {}

--- Starts a scripted model; see codex.testing.model.
---@param script codex.testing.Script
---@return codex.testing.Model?
---@return codex.Error?
function M.model(script) return require("codex.testing.model").new(script) end

--- An instance of Codex with a home of its own that knows no other model; see codex.testing.home.
---@param given codex.testing.Codex
---@return table? instance
---@return codex.Error?
function M.codex(given) return require("codex.testing.home").new(given) end

return M
