--- Functions that send a request, made from the rows of codex.methods: arguments and options become
--- params, the result becomes what the row says, pages become a list.

local base64 = require "codex.base64"
local E = require "codex.error"
local json = require "codex.json"
local options = require "codex.options"

local M = {}

-- ---- From Lua to the wire -----------------------------------------------------------------------

--- Codex's spelling of a name: `key_path` is keyPath, `_meta` stays.
---@param name string
---@return string
function M.wire_name(name)
  return name:sub(1, 1) .. name:sub(2):gsub("_(%w)", string.upper)
end

local convert = {}

--- A plain empty table would be an object.
function convert.list(value)
  return type(value) == "table" and next(value) == nil and json.array {} or value
end

function convert.bytes(value) return base64.encode(value) end

function convert.input(value)
  return type(value) == "string" and { { type = "text", text = value } } or value
end

function convert.edits(value)
  local keys, edits = {}, json.array {}
  for key in pairs(value) do
    if type(key) ~= "string" then return value end
    keys[#keys + 1] = key
  end
  table.sort(keys)
  for i, key in ipairs(keys) do
    edits[i] = { keyPath = key, value = value[key], mergeStrategy = "replace" }
  end
  return edits
end

local accepts = {
  string = "string", number = "number", boolean = "boolean", table = "table", list = "table",
  bytes = "string", edits = "table", input = "string or table",
}

--- Words "name:type?" as a list of what they say, and how Codex spells the names. A word like
--- "0.153.4:" says since when there are those after it.
---@param words? string
---@param usual string the type where none is said
---@return { name: string, kind: string, wire: string, optional: boolean, since?: string }[]
function M.fields(words, usual)
  local fields, since = {}, nil
  for word in (words or ""):gmatch "%S+" do
    local name, kind, optional = word:match "^([%a_]+):?(%a*)(%??)$"
    if name then
      kind = kind ~= "" and kind or usual
      local wire = M.wire_name(name) .. (kind == "bytes" and "Base64" or "")
      fields[#fields + 1] = {
        name = name, kind = kind, wire = wire, optional = optional ~= "", since = since,
      }
    else
      since = word:match "^(%d[%d.]+):$" or error("not a word of the table: " .. word)
    end
  end
  return fields
end

local function check_argument(where, field, value)
  if value == nil and field.optional then return end
  local wanted = accepts[field.kind]
  local fits = value ~= nil
  if wanted then fits = fits and wanted:find(type(value), 1, true) ~= nil end
  if fits then return end
  options.raise(("%s: argument '%s' must be a %s, got %s"):format(where, field.name,
    wanted and wanted:gsub(" or ", " or a ") or "value", type(value)))
end

local function put(params, field, value)
  if value == nil then return end
  local change = value ~= json.null and convert[field.kind]
  params[field.wire] = change and change(value) or value
end

--- The params that these arguments and options make.
local function make_params(helper, arguments, given)
  local params = json.object {}
  for i, field in ipairs(helper.arguments) do
    check_argument(helper.where, field, arguments[i])
    put(params, field, arguments[i])
  end
  for _, field in ipairs(helper.options) do
    local value = given[field.name]
    if value == nil then
      local usual = helper.row.defaults and helper.row.defaults[field.name]
      value = type(usual) == "function" and usual() or usual
    elseif field.kind == "list" and value ~= json.null then
      options.typed(helper.where, given, field.name, "table")
    end
    put(params, field, value)
  end
  return params
end

-- ---- Asking -------------------------------------------------------------------------------------

--- How long the answer may take: longer than what Codex was told to work on it.
local function patience(helper, given)
  if given.timeout or not helper.row.waits then return given.timeout end
  if given.disable_timeout then return 0 end -- no limit
  local ms = given[helper.row.waits]
  return math.type(ms) and ms / 1000 + 10 or nil
end

--- Codex's words for a method that it does not know, made into ours; another error as it is.
---@param where string
---@param method string
---@param err codex.Error
---@param row? { since?: string, last?: string } versions that have it
---@return codex.Error
function M.explain(where, method, err, row)
  local words = ("unknown variant `%s`"):format(method)
  if err.kind ~= "rpc" or err.code ~= -32600 or not err.message:find(words, 1, true) then
    return err
  end
  local text = ("%s: this Codex has no method '%s'"):format(where, method)
  local since, last = row and row.since, row and row.last
  if since then text = ("%s; Codex %s has it"):format(text, since) end
  if last then text = ("%s; Codex %s was the last seen to have it"):format(text, last) end
  return E.new("unsupported", text, { code = err.code, data = err.data })
end

local function explain(helper, err)
  return M.explain(helper.where, helper.row[1], err, helper.row)
end

--- "0.153.4" as a number that compares as the version does.
local function number_of(version)
  local major, minor, patch = tostring(version):match "^(%d+)%.(%d+)%.(%d+)"
  return major and major * 1000000 + minor * 1000 + patch
end

--- The error for an option that this Codex is known not to have: it would pass over it in silence.
local function too_new(helper, client, given)
  local version = number_of(client.version)
  for _, field in ipairs(version and helper.options or {}) do
    local lacking = helper.lacking[field.since]
    if lacking and given[field.name] ~= nil and version <= number_of(lacking) then
      return E.new("unsupported", ("%s: Codex %s has no option '%s'; Codex %s has it"):format(
        helper.where, client.version, field.name, field.since))
    end
  end
end

local function client_of(helper, self)
  local owner = self._owner or self
  return helper.group.thread and owner.client or owner, owner
end

--- Sends the request of a helper for the object it was called on.
local function ask(helper, self, params, timeout)
  local client, owner = client_of(helper, self)
  if helper.group.thread then params.threadId = owner.id end
  if helper.row.empty and next(params) == nil then params = nil end
  local result, err = client:request(helper.row[1], params, timeout and { timeout = timeout })
  if err then return nil, explain(helper, err) end
  return result
end

local function broken(helper, what)
  return E.new("protocol", ("the answer to '%s' has no %s"):format(helper.row[1], what))
end

--- What the row says of a result. A field that is null or absent is nil: there is none.
local function pick(helper, result)
  local returns = helper.row.returns
  if returns == nil then return result end
  if returns == true then return true end
  if type(result) ~= "table" then return nil, broken(helper, "fields") end
  local name = returns:match "^(.*):bytes$"
  if name then
    local text = result[M.wire_name(name) .. "Base64"]
    local bytes = type(text) == "string" and base64.decode(text)
    if bytes then return bytes end
    return nil, broken(helper, "base64")
  end
  local value = result[returns]
  if value == json.null then return nil end
  return value
end

-- ---- Pages --------------------------------------------------------------------------------------

--- The params for one page; those of the one before were given away.
local function page_params(params, cursor, size)
  local page = json.object { cursor = cursor, limit = size }
  for name, value in pairs(params) do page[name] = value end
  return page
end

--- A function that fetches one page after the other: its entries, nil at the end, or nil and an
--- error.
local function pages(helper, self, params, given)
  local wanted = given.limit or math.huge
  local cursor, over = given.cursor, wanted <= 0
  local unable = too_new(helper, client_of(helper, self), given)
  return function()
    if unable then return nil, unable end
    if over then return nil end
    local size = math.min(wanted, given.page_size or math.huge)
    local page = page_params(params, cursor, size < math.huge and size or nil)
    local result, err = ask(helper, self, page, given.timeout)
    if err then return nil, err end
    local data = type(result) == "table" and result.data
    if type(data) ~= "table" then return nil, broken(helper, "list") end
    for i = #data, wanted + 1, -1 do data[i] = nil end
    wanted = wanted - #data
    local following = result.nextCursor
    over = following == nil or following == json.null or following == cursor or wanted <= 0
    cursor = following
    return data
  end
end

--- All entries of all pages.
local function gather(next_page)
  local list = json.array {}
  while true do
    local page, err = next_page()
    if err then return nil, err end
    if not page then return list end
    table.move(page, 1, #page, #list + 1, list)
  end
end

--- Iterates over the entries. What goes wrong is raised: there is no place to return it.
local function iterate(next_page)
  local page, at = {}, 0
  return function()
    at = at + 1
    while page and at > #page do
      local err
      page, err = next_page()
      if err then error(err, 0) end
      at = 1
    end
    return page and page[at]
  end
end

-- ---- The functions ------------------------------------------------------------------------------

local paging = options.set { "cursor", "limit", "page_size" }

local function check_paging(where, given)
  for _, name in ipairs { "limit", "page_size" } do
    local value = options.typed(where, given, name, "number")
    if value and (math.type(value) ~= "integer" or value < (name == "limit" and 0 or 1)) then
      options.raise(("%s: option '%s' must be a whole number, got %s"):format(where, name, value))
    end
  end
end

--- What the rows of the table come to.
local function compile(group, name, row, lacking)
  local helper = {
    row = row, group = group, where = group.called .. name, lacking = lacking,
    arguments = M.fields(row[2], "string"), options = M.fields(row.options, "any"),
    known = options.set { "timeout" },
  }
  for _, field in ipairs(helper.options) do helper.known[field.name] = true end
  if row.pages then
    for option in pairs(paging) do helper.known[option] = true end
  end
  return helper
end

--- The checked options and the params of a call.
local function prepare(helper, ...)
  local count = #helper.arguments
  local given = options.check(helper.where, (select(count + 1, ...)), helper.known)
  options.milliseconds(helper.where, given, "timeout")
  if helper.row.pages then check_paging(helper.where, given) end
  return given, make_params(helper, { ... }, given)
end

local function call(helper, self, ...)
  local given, params = prepare(helper, ...)
  if helper.row.pages then return gather(pages(helper, self, params, given)) end
  local err = too_new(helper, client_of(helper, self), given)
  if err then return nil, err end
  local result
  result, err = ask(helper, self, params, patience(helper, given))
  if err then return nil, err end
  return pick(helper, result)
end

--- `each` of a class: iterates over a list that comes in pages, as far as one goes.
local function each_of(group, helpers)
  return function(self, name, ...)
    local helper = helpers[name]
    if not helper then
      options.raise(("%seach: '%s' is no list that comes in pages"):format(group.called,
        tostring(name)))
    end
    local given, params = prepare(helper, ...)
    return iterate(pages(helper, self, params, given))
  end
end

--- Puts the functions of a group of codex.methods on a class, but where it has its own.
---@param class table
---@param group { called: string, rows: table, thread?: boolean }
---@param versions string[] those that were looked at
---@return table class
function M.install(class, group, versions)
  local lists, lacking = {}, {}
  for i = 2, #versions do lacking[versions[i]] = versions[i - 1] end
  for name, row in pairs(group.rows) do
    local helper = compile(group, name, row, lacking)
    if row.pages then lists[name] = helper end
    class[name] = class[name] or function(self, ...) return call(helper, self, ...) end
  end
  if next(lists) then class.each = class.each or each_of(group, lists) end
  return class
end

return M
