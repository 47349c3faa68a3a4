--- A notify hook: Codex runs it after every completed turn; what happened is its last argument.
---
--- In Codex's config.toml, above all tables:
---   notify = ["codex-lua", "/path/to/notify.lua", "/path/to/turns.log"]
local json = require "codex.json"

local path = arg[1]
local turn = assert(json.decode(arg[#arg]))
if turn.type ~= "agent-turn-complete" then return end -- the only type there is so far

local log = assert(io.open(path, "a"))
local message = turn["last-assistant-message"]
log:write(turn["thread-id"], ": ", message ~= json.null and message or "(no answer)", "\n")
log:close()
