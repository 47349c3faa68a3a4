--- What Codex asks of the model: the request as it came, and what a script wants to know of it.

local json = require "codex.json"

local M = {}

---@class codex.testing.Output
---@field call_id string
---@field name? string the tool that was called, where the request tells
---@field output string its text; several pieces of text are joined
---@field item table the item as it was sent

---@class codex.testing.Request
---@field index integer which request to the model it is, from 1; nil for other paths
---@field method string
---@field path string
---@field headers table<string, string> names in lower case; credentials are "[redacted]"
---@field body any decoded JSON; the text itself where it is none
---@field time number Unix time
---@field thread_id? string the Codex thread that asks
---@field prompt? string what the user said last
---@field outputs codex.testing.Output[] of the tools that were called since then
---@field schema? table the JSON schema that the answer must have
---@field tools table<string, table> on offer, by name; in a namespace "namespace.name"
local Request = {}
Request.__index = require("codex.base.class").methods(Request)

--- Texts that Codex itself puts into messages of the user (0.100.0, 0.153.4, 0.169.0).
local own_words = {
  "^<environment_context>", "^# AGENTS%.md instructions", "^<user_instructions>", "^<turn_aborted>",
  "^<subagent_notification>", "^<skill>", "^<permissions instructions>", "^<hook_context",
  "^Warning: apply_patch was requested via ",
}

--- The text of a content list, or of plain text.
local function text_of(content)
  if type(content) ~= "table" then return type(content) == "string" and content or "" end
  local pieces = {}
  for _, part in ipairs(content) do
    if type(part.text) == "string" then pieces[#pieces + 1] = part.text end
  end
  return table.concat(pieces)
end

local function is_prompt(item)
  if item.role ~= "user" or (item.type ~= nil and item.type ~= "message") then return false end
  local text = text_of(item.content)
  for _, pattern in ipairs(own_words) do
    if text:find(pattern) then return false end
  end
  return true
end

local function last_prompt(input)
  for i = #input, 1, -1 do
    if is_prompt(input[i]) then return i end
  end
end

local function outputs_after(input, first)
  local names, outputs = {}, {}
  for _, item in ipairs(input) do
    if item.call_id and item.name then names[item.call_id] = item.name end
  end
  for i = first + 1, #input do
    local item = input[i]
    if type(item.type) == "string" and item.type:find "_call_output$" then
      outputs[#outputs + 1] = {
        call_id = item.call_id, name = names[item.call_id], output = text_of(item.output),
        item = item,
      }
    end
  end
  return outputs
end

local function tools_of(body)
  local tools = {}
  for _, tool in ipairs(type(body.tools) == "table" and body.tools or {}) do
    if tool.type == "namespace" then
      for _, inner in ipairs(tool.tools or {}) do tools[tool.name .. "." .. inner.name] = inner end
    else
      tools[tool.name or tool.type] = tool
    end
  end
  return tools
end

local secret = { authorization = true, cookie = true, ["x-api-key"] = true, ["api-key"] = true }

local function without_secrets(headers)
  for name in pairs(headers) do
    if secret[name] then headers[name] = "[redacted]" end
  end
  return headers
end

local function now()
  local seconds, micros = require("luv").gettimeofday()
  return seconds + micros / 1e6
end

--- Reads one from the server.
---@param raw codex.core.httpd.Request
---@return codex.testing.Request
function M.read(raw)
  local text = raw:body()
  local request = setmetatable({
    method = raw:method(), path = raw:path(), headers = without_secrets(raw:headers()),
    time = now(),
  }, Request)
  local body = text ~= "" and json.decode(text) or nil
  request.body = body == nil and text or body
  if type(body) ~= "table" then body = {} end
  local headers, input = request.headers, type(body.input) == "table" and body.input or {}
  local last = last_prompt(input)
  request.thread_id = headers["thread-id"] or headers.session_id or headers["session-id"]
  request.prompt = last and text_of(input[last].content)
  request.outputs = outputs_after(input, last or 0)
  request.tools = tools_of(body)
  local format = type(body.text) == "table" and body.text.format
  request.schema = type(format) == "table" and format.schema or nil
  return request
end

return M
