-- A small MCP server on standard input and output with one tool, `shout`, for specs that need Codex
-- to call one. It runs under the program itself.

local json = require "codex.json"

local function answer(id, result)
  print(json.encode { jsonrpc = "2.0", id = id, result = result })
  io.stdout:flush()
end

local tool = {
  name = "shout",
  description = "Says it louder.",
  inputSchema = { type = "object", properties = { text = { type = "string" } } },
  annotations = { readOnlyHint = true },
}

for line in io.lines() do
  local message = assert(json.decode(line))
  if message.method == "initialize" then
    answer(message.id, {
      protocolVersion = message.params.protocolVersion,
      capabilities = { tools = json.object {} },
      serverInfo = { name = "shout", version = "1" },
    })
  elseif message.method == "tools/list" then
    answer(message.id, { tools = { tool } })
  elseif message.method == "tools/call" then
    local text = message.params.arguments.text:upper()
    answer(message.id, { content = { { type = "text", text = text } } })
  elseif message.id then
    answer(message.id, json.object {})
  end
end
