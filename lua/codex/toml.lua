-- Writes Lua values as TOML, one line each, for Codex's `-c key=value` overrides.
--
-- There is no parser here on purpose: nothing in this project reads TOML. Strings are always
-- quoted, because Codex tries to parse the value as TOML and silently falls back to the literal
-- text, so that an unquoted "true" or "1" would arrive as something other than a string.

local toml = {}

-- What Codex 0.101.0, 0.153.4 and 0.169.0 do with `-c KEY=VALUE` (the spec shows it):
--   * the text is split at the first '=', and KEY is trimmed;
--   * KEY is split at every '.'. Quotes mean nothing there: a."b.c" names the keys `"b` and `c"`;
--   * all overrides make one layer, which is merged into config.toml table by table, so an inline
--     table adds to the table in the file. Within the layer a later override replaces.
-- A key that is not a bare key therefore cannot be quoted in a path; it is written in an inline
-- table, which is ordinary TOML.

local escapes = {
  ["\b"] = "\\b", ["\t"] = "\\t", ["\n"] = "\\n", ["\f"] = "\\f", ["\r"] = "\\r",
  ['"'] = '\\"', ["\\"] = "\\\\",
}

local function escape(char)
  return escapes[char] or string.format("\\u%04X", char:byte())
end

-- The reason goes out without a position: the path in it is what helps, not a line of this file.
local function refuse(path, reason)
  error(path .. ": " .. reason, 0)
end

local function quote(text, path)
  if not utf8.len(text) then
    refuse(path, "a string that is not valid UTF-8 cannot be written as TOML")
  end
  return '"' .. text:gsub('[\0-\31\127"\\]', escape) .. '"'
end

local function is_bare(key)
  return key:find("^[A-Za-z0-9_-]+$") ~= nil
end

local function float(number, path)
  if number ~= number or number == math.huge or number == -math.huge then
    refuse(path, "a number that is not finite cannot be written as TOML")
  end
  local text
  for digits = 15, 17 do
    text = string.format("%." .. digits .. "g", number)
    if tonumber(text) == number then break end
  end
  return text:find("[.e]") and text or text .. ".0"
end

-- codex.json.null is a userdata; its module may not be there, and is not loaded just for a word.
local function is_null(value)
  local json = package.loaded["codex.json"]
  return type(json) == "table" and json.null ~= nil and rawequal(value, json.null)
end

local function is_array(t)
  if next(t) ~= nil then return #t > 0 end
  local mt = getmetatable(t)
  return type(mt) == "table" and mt.__name == "codex.json.array"
end

-- Sorted, so that the same table always gives the same text.
local function sorted_keys(t, path)
  local keys = {}
  for key in next, t do
    if type(key) ~= "string" then
      refuse(path, ("a table with a %s key that is not a plain list cannot be written as TOML")
        :format(type(key)))
    end
    keys[#keys + 1] = key
  end
  table.sort(keys)
  return keys
end

local function check_sequence(t, path)
  local n = #t
  for key in next, t do
    if math.type(key) ~= "integer" or key < 1 or key > n then
      refuse(path, "a table that is both a list and a map, or a list with holes, " ..
        "cannot be written as TOML")
    end
  end
end

local function enter(seen, t, path)
  if seen[t] then refuse(path, "a table that contains itself cannot be written as TOML") end
  seen[t] = true
end

local encode

local function array(t, path, seen)
  check_sequence(t, path)
  local out = {}
  for i = 1, #t do out[i] = encode(t[i], path .. "[" .. i .. "]", seen) end
  return "[" .. table.concat(out, ", ") .. "]"
end

local function inline_table(t, path, seen)
  local out = {}
  for i, key in ipairs(sorted_keys(t, path)) do
    local name = is_bare(key) and key or quote(key, path)
    out[i] = name .. " = " .. encode(t[key], path .. "." .. key, seen)
  end
  return #out == 0 and "{}" or "{ " .. table.concat(out, ", ") .. " }"
end

function encode(value, path, seen)
  local kind = math.type(value) or type(value)
  if kind == "string" then return quote(value, path) end
  if kind == "integer" or kind == "boolean" then return tostring(value) end
  if kind == "float" then return float(value, path) end
  if is_null(value) then refuse(path, "null cannot be written as TOML") end
  if kind == "nil" then refuse(path, "nil cannot be written as TOML") end
  if kind ~= "table" then refuse(path, ("a %s cannot be written as TOML"):format(kind)) end
  enter(seen, value, path)
  local text = (is_array(value) and array or inline_table)(value, path, seen)
  seen[value] = nil
  return text
end

--- Writes one Lua value as TOML on one line. Strings must be UTF-8. A table with elements 1..n is
--- an array, any other table an inline table with sorted keys; an empty table is `{}` unless it was
--- made by codex.json.array. Raises on what TOML cannot hold (functions, null, infinities, cycles,
--- tables that are list and map at once), naming the path.
---@param value any
---@param path? string how errors name the value; "value" when absent
---@return string
function toml.value(value, path)
  return encode(value, path or "value", {})
end

-- A nested table is flattened further only when all its keys may stand in a dotted path. When one
-- may not, the whole table is written inline, because two ways into one table could disagree.
local function can_flatten(t)
  if next(t) == nil or is_array(t) then return false end
  for key in next, t do
    if type(key) ~= "string" or not is_bare(key) then return false end
  end
  return true
end

local function flatten(out, key, value, path, seen)
  if out[key] then refuse(path, "this setting is given twice") end
  if type(value) ~= "table" or not can_flatten(value) then
    out[#out + 1], out[key] = key, encode(value, path, seen)
    return
  end
  enter(seen, value, path)
  for _, name in ipairs(sorted_keys(value, path)) do
    flatten(out, key .. "." .. name, value[name], path .. "." .. name, seen)
  end
  seen[value] = nil
end

local function check_path(key, path)
  if not utf8.len(key) then refuse(path, "a key must be valid UTF-8") end
  if key:find("[=\0-\31\127]") or key:find("^%s") or key:find("%s$") then
    refuse(path, "Codex cannot read a key with '=', control characters or outer spaces; " ..
      "write the table around it")
  end
  for segment in (key .. "."):gmatch("([^.]*)%.") do
    if segment == "" then refuse(path, "a dotted key must not have an empty part") end
  end
end

-- Codex lets a later override replace an earlier one, so `a=1` beside `a.b=2` would drop one of the
-- two in silence. Tables (written inline, sorted before what is inside them) are no conflict.
local function check_prefixes(out)
  for _, key in ipairs(out) do
    for stop in key:gmatch("()%.") do
      local outer = key:sub(1, stop - 1)
      if out[outer] and out[outer]:sub(1, 1) ~= "{" then
        refuse("config." .. key, ("'%s' is set as well, and is not a table"):format(outer))
      end
    end
  end
end

--- Flattens a table of settings into the arguments of `-c`: sorted "key=value" strings. A key of
--- the outermost table is a dotted path and is used as it stands; a key further in is one name, and
--- a table with names that cannot stand in a dotted path is written as an inline table. Raises as
--- `toml.value` does, and on settings that contradict each other.
---@param config table<string, any>
---@return string[]
function toml.overrides(config)
  if type(config) ~= "table" then refuse("config", "must be a table, got " .. type(config)) end
  local out, seen = {}, { [config] = true }
  for _, key in ipairs(sorted_keys(config, "config")) do
    check_path(key, "config." .. key)
    flatten(out, key, config[key], "config." .. key, seen)
  end
  table.sort(out)
  check_prefixes(out)
  local list = {}
  for i, key in ipairs(out) do list[i] = key .. "=" .. out[key] end
  return list
end

return toml
