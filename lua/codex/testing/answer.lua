--- From an entry of a script to what goes over the wire: the events of the Responses API that Codex
--- reads. Nothing here waits or sends.

local json = require "codex.json"
local options = require "codex.options"

local M = {}

---@class codex.testing.Entry
---@field text? string|string[] the answer; a list is sent as so many deltas
---@field json? any the answer as JSON, for a request with a schema
---@field reasoning? string|string[] a summary of thoughts, before everything else
---@field exec? string|table a command; a table is the arguments of the tool, `cmd` among them
---@field apply_patch? string a patch, from "*** Begin Patch" to "*** End Patch"
---@field mcp? { server: string, tool: string, arguments?: table } a call of an MCP tool
---@field call? { name: string, arguments?: table, namespace?: string } any function tool
---@field item? table an item exactly as given
---@field [integer] codex.testing.Entry|string more of the above, in this order after them
---@field usage? codex.testing.Usage zero by default; false leaves it out
---@field delay? number seconds before the answer begins
---@field delta_delay? number seconds before each delta
---@field events? (table|string)[] in place of all this, exactly as given; a string is sent raw
---@field status? integer an HTTP error in place of an answer, with `body` and `headers`
---@field body? string|table of the HTTP error; a table is sent as JSON
---@field headers? table<string, string> of the HTTP error
---@field hang? boolean stop in the middle and keep the connection open
---@field disconnect? boolean drop the connection in the middle
---@field eof? boolean end the HTTP answer properly in the middle
---@field malformed? boolean|string break one event: cut its JSON, or send this text instead
---@field failed? { code?: string, message?: string } end with response.failed
---@field incomplete? string end with response.incomplete, for this reason

---@class codex.testing.Usage
---@field input_tokens? integer
---@field cached_input_tokens? integer
---@field cache_write_input_tokens? integer
---@field output_tokens? integer
---@field reasoning_output_tokens? integer

local content = { "reasoning", "text", "json", "exec", "apply_patch", "mcp", "call", "item" }
local known = options.set {
  "reasoning", "text", "json", "exec", "apply_patch", "mcp", "call", "item", "usage", "delay",
  "delta_delay", "events", "status", "body", "headers", "hang", "disconnect", "eof", "malformed",
  "failed", "incomplete",
}
local types = {
  exec = { "string", "table" }, text = { "string", "table" }, reasoning = { "string", "table" },
  apply_patch = { "string" }, mcp = { "table" }, call = { "table" }, item = { "table" },
  usage = { "table", "boolean" }, delay = { "number" }, delta_delay = { "number" },
  events = { "table" }, status = { "number" }, body = { "string", "table" },
  headers = { "table" }, failed = { "table" }, incomplete = { "string" },
  malformed = { "boolean", "string" }, hang = { "boolean" }, disconnect = { "boolean" },
  eof = { "boolean" },
}

--- Raises an error that names the place when this cannot be an entry.
---@param where string
---@param entry any
function M.check(where, entry)
  if type(entry) == "string" or type(entry) == "function" then return end
  if type(entry) ~= "table" then
    error(("%s must be a table, a string or a function, got %s"):format(where, type(entry)), 0)
  end
  local named = {}
  for name, value in pairs(entry) do
    if math.type(name) ~= "integer" then named[name] = value end
  end
  options.check(where, named, known)
  for name, allowed in pairs(types) do
    options.typed(where, named, name, table.unpack(allowed))
  end
  for i, part in ipairs(entry) do M.check(("%s[%d]"):format(where, i), part) end
end

-- ---- Items -------------------------------------------------------------------------------------

local function deltas(value) return type(value) == "table" and value or { value } end

local function message(builder, value)
  local pieces, id = deltas(value), builder:id "msg"
  local item = {
    type = "message", role = "assistant", id = id, status = "completed",
    content = {
      { type = "output_text", text = table.concat(pieces), annotations = json.array {} },
    },
  }
  builder:add(item, {
    type = "message", role = "assistant", id = id, status = "in_progress", content = json.array {},
  })
  for _, piece in ipairs(pieces) do
    builder:emit({ type = "response.output_text.delta", item_id = id, content_index = 0,
      delta = piece }, true)
  end
  builder:done(item)
end

local function reasoning(builder, value)
  local pieces, id = deltas(value), builder:id "rs"
  local item = {
    type = "reasoning", id = id,
    summary = { { type = "summary_text", text = table.concat(pieces) } },
  }
  builder:add(item, { type = "reasoning", id = id, summary = json.array {} })
  builder:emit { type = "response.reasoning_summary_part.added", item_id = id, summary_index = 0 }
  for _, piece in ipairs(pieces) do
    builder:emit({ type = "response.reasoning_summary_text.delta", item_id = id, summary_index = 0,
      delta = piece }, true)
  end
  builder:done(item)
end

local function call(builder, value)
  builder:done {
    type = "function_call", id = builder:id "fc", call_id = builder:id "call", name = value.name,
    namespace = value.namespace, arguments = json.encode(value.arguments or json.object {}),
  }
end

--- Codex offers `exec_command`, or `shell_command` or `shell` to other models and in old versions.
local function exec(builder, value, request)
  local given = type(value) == "table" and value or { cmd = value }
  local arguments = {}
  for name, argument in pairs(given) do arguments[name] = argument end
  if request.tools.exec_command then
    return call(builder, { name = "exec_command", arguments = arguments })
  end
  arguments.cmd = nil
  if request.tools.shell_command then
    arguments.command = given.cmd
    return call(builder, { name = "shell_command", arguments = arguments })
  end
  if not request.tools.shell then
    error("exec: the request offers no tool that runs commands", 0)
  end
  arguments.command = { "bash", "-lc", given.cmd }
  call(builder, { name = "shell", arguments = arguments })
end

--- Where the tool is not on offer Codex still takes a patch from a command of this shape.
local function apply_patch(builder, patch, request)
  local tool = request.tools.apply_patch
  if not tool then
    return exec(builder, "apply_patch <<'PATCH'\n" .. patch:gsub("\n*$", "\n") .. "PATCH", request)
  end
  if tool.type == "function" then
    return call(builder, { name = "apply_patch", arguments = { input = patch } })
  end
  builder:done {
    type = "custom_tool_call", id = builder:id "ctc", call_id = builder:id "call",
    name = "apply_patch", input = patch, status = "completed",
  }
end

--- A namespace of its own for each server, or one flat name in old versions.
local function mcp(builder, value, request)
  local namespace = "mcp__" .. value.server
  local flat = namespace .. "__" .. value.tool
  if request.tools[flat] then
    return call(builder, { name = flat, arguments = value.arguments })
  end
  if not request.tools[namespace .. "." .. value.tool] and not request.tools.tool_search then
    local problem = "mcp: the request offers no tool '%s' of a server '%s'"
    error(problem:format(value.tool, value.server), 0)
  end
  call(builder, { name = value.tool, namespace = namespace, arguments = value.arguments })
end

local makers = {
  text = message, reasoning = reasoning, exec = exec, apply_patch = apply_patch, mcp = mcp,
  call = call,
  json = function(builder, value) message(builder, json.encode(value)) end,
  item = function(builder, value) builder:done(value) end,
}

-- ---- Events ------------------------------------------------------------------------------------

---@class codex.testing.Piece
---@field data string
---@field is_delta? boolean
---@field is_done? boolean it completes an item

local Builder = {}
Builder.__index = require("codex.base.class").methods(Builder)

--- The wire form of one event.
---@param event table|string
---@return string
local function sse(event)
  if type(event) == "string" then return event end
  return ("event: %s\ndata: %s\n\n"):format(event.type, json.encode(event))
end

function Builder:id(prefix)
  self.ids = self.ids + 1
  return ("%s_%d_%d"):format(prefix, self.request.index, self.ids)
end

function Builder:emit(event, is_delta)
  if type(event) == "table" and self.numbered then
    event.sequence_number = #self.pieces
    event.output_index = event.item_id and self.items or event.output_index
  end
  table.insert(self.pieces, { data = sse(event), is_delta = is_delta })
end

function Builder:add(_, opened)
  self:emit { type = "response.output_item.added", output_index = self.items, item = opened }
end

function Builder:done(item)
  self:emit { type = "response.output_item.done", output_index = self.items, item = item }
  self.pieces[#self.pieces].is_done = true
  self.items = self.items + 1
end

function Builder:entry(entry)
  if type(entry) == "string" then return message(self, entry) end
  for _, name in ipairs(content) do
    if entry[name] ~= nil then makers[name](self, entry[name], self.request) end
  end
  for _, part in ipairs(entry) do self:entry(part) end
end

local function usage_of(given)
  if given == false then return nil end
  if type(given) ~= "table" then given = {} end
  local input, output = given.input_tokens or 0, given.output_tokens or 0
  return {
    input_tokens = input,
    input_tokens_details = {
      cached_tokens = given.cached_input_tokens or 0,
      cache_write_tokens = given.cache_write_input_tokens,
    },
    output_tokens = output,
    output_tokens_details = { reasoning_tokens = given.reasoning_output_tokens or 0 },
    total_tokens = input + output,
  }
end

local function last_event(entry, id)
  if entry.failed then
    local code, text = entry.failed.code or "server_error", entry.failed.message
    local failure = { code = code, message = text or "the script says so" }
    return { type = "response.failed", response = { id = id, status = "failed", error = failure } }
  end
  if entry.incomplete then
    return { type = "response.incomplete", response = {
      id = id, status = "incomplete", incomplete_details = { reason = entry.incomplete },
    } }
  end
  return { type = "response.completed", response = {
    id = id, status = "completed", usage = usage_of(entry.usage),
  } }
end

--- Takes off the end of the last item: that is where a fault strikes.
local function cut(builder)
  local last = builder.pieces[#builder.pieces]
  if last.is_done then table.remove(builder.pieces) end
  return last
end

local function malform(builder, how)
  local last = cut(builder)
  local cut_short = 'event: response.output_item.done\ndata: {"type":"response.outpu\n\n'
  local data = last.is_done and last.data:sub(1, #last.data // 2) .. "\n\n" or cut_short
  builder:emit(type(how) == "string" and how or data)
end

---@class codex.testing.Answer
---@field status integer
---@field headers table<string, string>
---@field pieces codex.testing.Piece[]
---@field ending "finish"|"hang"|"disconnect"
---@field delay number
---@field delta_delay number

local function http_error(entry)
  local body = entry.body or { error = {
    message = ("the script answers with status %d"):format(entry.status), type = "scripted_error",
  } }
  local headers = { ["content-type"] = "application/json" }
  for name, value in pairs(entry.headers or {}) do headers[name:lower()] = value end
  local data = type(body) == "table" and json.encode(body) or body
  return { status = entry.status, headers = headers, pieces = { { data = data } },
    ending = "finish", delay = entry.delay or 0, delta_delay = 0 }
end

local function streamed(builder, entry)
  local id = ("resp_%d"):format(builder.request.index)
  builder:emit { type = "response.created", response = { id = id, status = "in_progress" } }
  builder:entry(entry)
  if entry.hang or entry.disconnect or entry.eof then
    cut(builder)
  else
    if entry.malformed then malform(builder, entry.malformed) end
    builder:emit(last_event(entry, id))
  end
end

--- What to send for an entry. Raises an error when the entry makes no sense for this request.
---@param entry codex.testing.Entry|string
---@param request codex.testing.Request
---@return codex.testing.Answer
function M.build(entry, request)
  M.check("the entry", entry)
  if type(entry) == "string" then entry = { text = entry } end
  if entry.status then return http_error(entry) end
  local builder = setmetatable({ request = request, pieces = {}, ids = 0, items = 0,
    numbered = not entry.events }, Builder)
  if entry.events then
    for _, event in ipairs(entry.events) do builder:emit(event) end
  else
    streamed(builder, entry)
  end
  return {
    status = 200, headers = { ["content-type"] = "text/event-stream" }, pieces = builder.pieces,
    ending = entry.hang and "hang" or entry.disconnect and "disconnect" or "finish",
    delay = entry.delay or 0, delta_delay = entry.delta_delay or 0,
  }
end

return M
