--- What real Codex says of its app-server: the JSON Schema that it writes, read into tables, and a
--- checker for the part of JSON Schema (draft-07) that is used there.

local files = require "codex.files"
local json = require "codex.json"
local peers = require "tests.support.peers"

local M = {}

-- ---- Reading ------------------------------------------------------------------------------------

-- Results are named after the params, but for these. Methods without params are named here too.
local results = {
  ["account/logout"] = "LogoutAccountResponse",
  ["account/rateLimits/read"] = "GetAccountRateLimitsResponse",
  ["account/usage/read"] = "GetAccountTokenUsageResponse",
  ["config/batchWrite"] = "ConfigWriteResponse",
  ["config/mcpServer/reload"] = "McpServerRefreshResponse",
  ["config/value/write"] = "ConfigWriteResponse",
  ["configRequirements/read"] = "ConfigRequirementsReadResponse",
}

--- The schema that a reference names, e.g. "#/definitions/v2/Thread".
local function find(root, reference)
  local at = root
  for name in reference:gmatch "[^#/]+" do at = at and at[name] end
  return at or error("the schema has no " .. reference, 0)
end

local function reference_of(schema)
  if not schema then return nil end
  if schema["$ref"] then return schema["$ref"] end
  for _, one in ipairs(schema.anyOf or {}) do
    if one["$ref"] then return one["$ref"] end
  end
end

local function result_of(root, method, params)
  local definitions = root.definitions
  local name = results[method]
  if not name then
    local reference = reference_of(params)
    name = reference and reference:match "([^/]+)Params$"
    name = name and name .. "Response"
  end
  return name and (definitions.v2[name] or definitions[name])
end

M.find = find

--- The schema of the answer to a method whose params have this schema; nil where none is known.
M.result_of = result_of

--- The messages of one kind: a table of method to { params, required }.
local function messages(root, kind)
  local list = {}
  for _, one in ipairs(root.definitions[kind].oneOf) do
    local method = one.properties.method.enum[1]
    local required = false
    for _, name in ipairs(one.required) do required = required or name == "params" end
    list[method] = { params = one.properties.params, required = required }
  end
  return list
end

---@class codex.test.Schema
---@field root table the whole of it
---@field methods table<string, { params?: table, required: boolean, result?: table }>
---@field notifications table<string, { params?: table }> from the server
---@field requests table<string, { params?: table }> from the server
local Schema = {}
Schema.__index = Schema

--- Runs a Codex and reads what it says of its app-server.
---@param name "latest"|"middle"|"old"
---@param kind "stable"|"experimental"
---@return codex.test.Schema
function M.load(name, kind)
  local home = peers.home(("schema-%s-%s"):format(name, kind))
  local argv = { "app-server", "generate-json-schema", "--out", home .. "/out" }
  if kind == "experimental" then argv[#argv + 1] = "--experimental" end
  local _, code, stderr = peers.run(name, argv, home)
  assert(code == 0, stderr)
  local text = assert(files.read(home .. "/out/codex_app_server_protocol.schemas.json"))
  local root = assert(json.decode(text))
  local schema = setmetatable({ root = root, methods = messages(root, "ClientRequest"),
    notifications = messages(root, "ServerNotification"),
    requests = messages(root, "ServerRequest") }, Schema)
  for method, one in pairs(schema.methods) do
    one.result = result_of(root, method, one.params)
  end
  return schema
end

--- The schema behind references, and behind "this or null".
function Schema:resolve(schema)
  while type(schema) == "table" do
    local all = schema.allOf and #schema.allOf == 1 and schema.allOf[1]
    local reference = reference_of(schema)
    if not reference and not all then break end
    schema = reference and find(self.root, reference) or all
  end
  return schema
end

--- The properties that the params of a method may have, and which it must have.
---@return table<string, any>, table<string, true>
function Schema:params_of(method)
  local params = self.methods[method].params
  local schema = params and self:resolve(params) or {}
  local required = {}
  for _, name in ipairs(schema.required or {}) do required[name] = true end
  return schema.properties or {}, required
end

-- ---- Checking -----------------------------------------------------------------------------------

local array_mark = getmetatable(json.array {})

local function type_of(value)
  if value == json.null then return "null" end
  if type(value) == "table" then
    return getmetatable(value) == array_mark and "array" or "object"
  end
  return math.type(value) == "integer" and "integer" or type(value)
end

local function has_type(value, wanted)
  local is = type_of(value)
  if type(wanted) == "table" then
    for _, one in ipairs(wanted) do
      if has_type(value, one) then return true end
    end
    return false
  end
  return is == wanted or wanted == "number" and is == "integer"
end

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return a == b end
  return json.encode(a) == json.encode(b)
end

local check -- a value against a schema: nil, or what is wrong with it

local function count_fits(root, schemas, value, at)
  local fits, problem = 0, nil
  for _, one in ipairs(schemas) do
    local wrong = check(root, one, value, at)
    if wrong then
      problem = problem or wrong
    else
      fits = fits + 1
    end
  end
  return fits, problem
end

local rules = {}

rules["$ref"] = function(root, reference, value, at)
  return check(root, find(root, reference), value, at)
end

function rules.type(_, wanted, value, at)
  if has_type(value, wanted) then return nil end
  local names = type(wanted) == "table" and table.concat(wanted, " or ") or wanted
  return ("%s is %s, not %s"):format(at, type_of(value), names)
end

function rules.enum(_, values, value, at)
  for _, one in ipairs(values) do
    if same(one, value) then return nil end
  end
  return ("%s is %s, which is none of %s"):format(at, json.encode(value), json.encode(values))
end

function rules.const(_, wanted, value, at)
  if not same(wanted, value) then
    return ("%s is not %s"):format(at, json.encode(wanted))
  end
end

function rules.minimum(_, least, value, at)
  if type(value) == "number" and value < least then return ("%s is below %g"):format(at, least) end
end

function rules.minLength(_, least, value, at)
  if type(value) == "string" and #value < least then return at .. " is too short" end
end

function rules.required(_, names, value, at)
  if type_of(value) ~= "object" then return nil end
  for _, name in ipairs(names) do
    if value[name] == nil then return ("%s has no '%s'"):format(at, name) end
  end
end

function rules.properties(root, properties, value, at)
  if type_of(value) ~= "object" then return nil end
  for name, one in pairs(properties) do
    local wrong = value[name] ~= nil and check(root, one, value[name], at .. "." .. name)
    if wrong then return wrong end
  end
end

function rules.additionalProperties(root, allowed, value, at, schema)
  if type_of(value) ~= "object" then return nil end
  for name, one in pairs(value) do
    if not (schema.properties and schema.properties[name] ~= nil) then
      local wrong = check(root, allowed, one, at .. "." .. name)
      if wrong then return wrong end
    end
  end
end

function rules.items(root, items, value, at)
  if type_of(value) ~= "array" then return nil end
  for i, one in ipairs(value) do
    local wrong = check(root, items, one, ("%s[%d]"):format(at, i))
    if wrong then return wrong end
  end
end

function rules.anyOf(root, schemas, value, at)
  local fits, problem = count_fits(root, schemas, value, at)
  if fits == 0 then return problem end
end

function rules.oneOf(root, schemas, value, at)
  local fits, problem = count_fits(root, schemas, value, at)
  if fits == 0 then return problem end
  if fits > 1 then return ("%s fits %d of what it may be one of"):format(at, fits) end
end

function rules.allOf(root, schemas, value, at)
  for _, one in ipairs(schemas) do
    local wrong = check(root, one, value, at)
    if wrong then return wrong end
  end
end

-- What says nothing about which values are right.
local silent = {
  ["$schema"] = true, title = true, description = true, default = true, format = true,
  definitions = true, writeOnly = true,
}

function check(root, schema, value, at)
  if schema == true then return nil end
  if schema == false then return at .. " must not be there" end
  for word, given in pairs(schema) do
    local rule = rules[word] or silent[word]
    if not rule then error(("the checker does not know '%s' (%s)"):format(word, at), 0) end
    local wrong = rule ~= true and rule(root, given, value, at, schema)
    if wrong then return wrong end
  end
end

--- What is wrong with a value, as it would be on the wire; nil when nothing is.
---@param schema table|boolean
---@param value any
---@return string?
function Schema:problem(schema, value)
  return check(self.root, schema, json.decode(json.encode(value)), "$")
end

--- A checker for a schema that is not Codex's.
---@param root table
function M.new(root) return setmetatable({ root = root }, Schema) end

-- ---- Examples -----------------------------------------------------------------------------------

local simple = {
  string = "abcd", boolean = true, null = json.null, number = 1.5, integer = 7, -- "abcd" is base64
}

local function merge(into, from)
  for name, value in pairs(from) do into[name] = value end
  return into
end

--- Something that fits a schema, with all that is optional in its first level(s).
---@param schema table|boolean
---@param depth? integer how many levels of optional properties (1)
function Schema:example(schema, depth)
  depth = depth or 1
  if schema == true then return "abcd" end
  if schema["$ref"] then return self:example(find(self.root, schema["$ref"]), depth) end
  if schema.enum then return schema.enum[1] end
  if schema.const ~= nil then return schema.const end
  local choice = schema.anyOf or schema.oneOf
  local kind = type(schema.type) == "table" and schema.type[1] or schema.type
  if kind == "array" then return json.array { self:example(schema.items or true, depth - 1) } end
  if simple[kind] ~= nil then return simple[kind] end
  local object = json.object {}
  if choice then
    local one = self:example(choice[1], depth)
    if not schema.properties then return one end
    merge(object, one)
  end
  for _, one in ipairs(schema.allOf or {}) do
    local part = self:example(one, depth)
    if type(part) ~= "table" then return part end
    merge(object, part)
  end
  return self:_fill(object, schema, depth)
end

function Schema:_fill(object, schema, depth)
  local required = {}
  for _, name in ipairs(schema.required or {}) do required[name] = true end
  for name, one in pairs(schema.properties or {}) do
    if required[name] or depth > 0 then object[name] = self:example(one, depth - 1) end
  end
  return object
end

return M
