--- A conversation over `codex app-server`: text as it is written, a tool in Lua that the model may
--- call, and a second turn that knows the first. What Codex asks is decided by the policy below.
local codex = require "codex"

local only_reading = codex.policy.read_only()

local add = {
  name = "add", description = "Adds two numbers.",
  input = {
    type = "object", required = { "a", "b" },
    properties = { a = { type = "number" }, b = { type = "number" } },
  },
  run = function(args) return tostring(args.a + args.b) end,
}

local client <close> = assert(codex.connect { cwd = ".", policies = { only_reading } })
local thread = assert(client:thread { sandbox = "read-only", tools = { add } })

for event in thread:run(arg[1] or "What is 2 + 2? Use the tool.") do
  if event.delta then io.write(event.delta) end
  if event.type == "failure" then error(event.error) end -- always the last one
end

local result = assert(thread:ask "And twice that?")
print("\n" .. result.final_message)
