--- JSON as it is written: keys in their order, equal ones kept, numbers and strings as spelled.
--- What comes from a valid text goes back to the same text, but for white space between tokens.
---
--- A node is `{ type = "object", members }` with members `{ key = TEXT, value = node }`, `{ type =
--- "array", nodes }`, or `{ type = "text", text = TEXT }` for everything else.

local json = require "codex.json"

local M = {}

local function skip(text, at) return text:find("[^ \t\r\n]", at) or #text + 1 end

--- The end of the string that begins at `at`.
local function string_end(text, at)
  local i = at + 1
  while true do
    local mark = text:find('["\\]', i)
    if text:sub(mark, mark) == '"' then return mark end
    i = mark + 2
  end
end

local parse_value

local function parse_object(text, at)
  local node = { type = "object" }
  at = skip(text, at + 1)
  while text:sub(at, at) ~= "}" do
    local stop = string_end(text, at)
    local member = { key = text:sub(at, stop) }
    member.value, at = parse_value(text, skip(text, skip(text, stop + 1) + 1))
    node[#node + 1] = member
    at = skip(text, at)
    if text:sub(at, at) == "," then at = skip(text, at + 1) end
  end
  return node, at + 1
end

local function parse_array(text, at)
  local node = { type = "array" }
  at = skip(text, at + 1)
  while text:sub(at, at) ~= "]" do
    node[#node + 1], at = parse_value(text, at)
    at = skip(text, at)
    if text:sub(at, at) == "," then at = skip(text, at + 1) end
  end
  return node, at + 1
end

function parse_value(text, at)
  local first = text:sub(at, at)
  if first == "{" then return parse_object(text, at) end
  if first == "[" then return parse_array(text, at) end
  local stop = first == '"' and string_end(text, at) or text:find("[%s,%]}]", at)
  stop = first == '"' and stop or stop and stop - 1 or #text
  return { type = "text", text = text:sub(at, stop) }, stop + 1
end

--- Reads a text that is known to be valid JSON.
---@param text string
---@return table node
function M.parse(text) return (parse_value(text, skip(text, 1))) end

---@param text string JSON of a value without parts
function M.text(text) return { type = "text", text = text } end

--- The text of a node.
---@param node table
---@return string
function M.write(node)
  if node.type == "text" then return node.text end
  local parts = {}
  for i, each in ipairs(node) do
    parts[i] = node.type == "object" and each.key .. ":" .. M.write(each.value) or M.write(each)
  end
  local text = table.concat(parts, ",")
  return node.type == "object" and "{" .. text .. "}" or "[" .. text .. "]"
end

---@return table node the same, sharing nothing
function M.copy(node)
  if node.type == "text" then return { type = "text", text = node.text } end
  local own = { type = node.type }
  for i, each in ipairs(node) do
    own[i] = node.type == "object" and { key = each.key, value = M.copy(each.value) }
      or M.copy(each)
  end
  return own
end

--- The first member of this name.
---@return table? member
function M.member(node, name)
  for i, member in ipairs(node.type == "object" and node or {}) do
    if json.decode(member.key) == name then return member, i end
  end
end

--- Sets a value below an object: `set(message, value, "params", "path")`. What is missing is made.
---@param node table
---@param value any what JSON can say
---@param ... string
function M.set(node, value, ...)
  local path = { ... }
  for i, name in ipairs(path) do
    local member = M.member(node, name)
    if not member then
      member = { key = json.encode(name), value = { type = "object" } }
      node[#node + 1] = member
    end
    if i == #path then member.value = M.parse(json.encode(value)) end
    node = member.value
  end
end

--- All nodes of a tree: what `visit` gets is the node, its member where it has one, its parent and
--- its place there.
function M.walk(node, visit, parent, index)
  local member = parent and parent.type == "object" and parent[index] or nil
  visit(node, member, parent, index)
  for i, each in ipairs(node.type == "text" and {} or node) do
    M.walk(node.type == "object" and each.value or each, visit, node, i)
  end
end

return M
