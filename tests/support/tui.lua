--- Run on a terminal by tests/command_spec.lua: Codex's own interface with a scripted model.

local codex = require "codex"
local testing = require "codex.testing"

local binary, cwd = arg[1], arg[2]
local model <close> = assert(testing.model { otherwise = "hello from the model" })
local cx <close> = assert(testing.codex {
  model = model, binary = binary, cwd = cwd,
  config = { projects = { [cwd] = { trust_level = "trusted" } } },
})
local result = assert(cx.interactive("--say hello", { no_alt_screen = true, no_daemon = true }))
print("RESULT " .. codex.json.encode(result))
print("PROMPT " .. model.requests[1].prompt)
