-- An MCP server on standard input and output with one tool, `ask`, which asks the user to fill in
-- a form and says what came back. It runs under the program itself.

local json = require "codex.json"

local function send(message)
  message.jsonrpc = "2.0"
  print(json.encode(message))
  io.stdout:flush()
end

local form = {
  message = "Proceed?",
  requestedSchema = { type = "object", properties = { ok = { type = "boolean" } },
    required = { "ok" } },
}
local calling -- the id of the tools/call that waits for the user

for line in io.lines() do
  local message = assert(json.decode(line))
  if message.method == "initialize" then
    send { id = message.id, result = {
      protocolVersion = message.params.protocolVersion,
      capabilities = { tools = json.object {} },
      serverInfo = { name = "mock", version = "1" },
    } }
  elseif message.method == "tools/list" then
    local tool = { name = "ask", description = "asks", inputSchema = { type = "object" } }
    send { id = message.id, result = { tools = { tool } } }
  elseif message.method == "tools/call" then
    calling = message.id
    send { id = "form", method = "elicitation/create", params = form }
  elseif message.id == "form" then
    local text = json.encode(message.result)
    send { id = calling, result = { content = { { type = "text", text = text } } } }
  elseif message.id then
    send { id = message.id, result = json.object {} }
  end
end
