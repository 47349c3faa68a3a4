--- Options tables: an unknown name is the caller's mistake; it is named with the nearest known one.

local M = {}

--- Levenshtein distance, for short words.
local function distance(a, b)
  local row = {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local diagonal = row[0]
    row[0] = i
    for j = 1, #b do
      local cost = a:byte(i) == b:byte(j) and 0 or 1
      diagonal, row[j] = row[j], math.min(row[j] + 1, row[j - 1] + 1, diagonal + cost)
    end
  end
  return row[#b]
end

--- The name in a set that is most like this one, where one is.
---@param name string
---@param known table<string, any>
---@return string?
function M.nearest(name, known)
  local best, best_distance
  for candidate in pairs(known) do
    local d = distance(name, candidate)
    if not best or d < best_distance or (d == best_distance and candidate < best) then
      best, best_distance = candidate, d
    end
  end
  if best and best_distance <= math.max(2, #name // 3) then return best end
end

--- Raises an error that points at the caller's own line: the first place on the stack that is not
--- in this library.
---@param message string
function M.raise(message)
  local level = 2
  while true do
    local info = debug.getinfo(level, "Sl")
    if not info then error(message, 0) end
    if info.currentline > 0 and not info.source:find "lua/codex/[%w_/]+%.lua$" then
      error(message, level)
    end
    level = level + 1
  end
end

--- Makes a set of names.
---@param names string[]
---@return table<string, true>
function M.set(names)
  local set = {}
  for _, name in ipairs(names) do set[name] = true end
  return set
end

--- Raises an error when `options` is no table or holds a name that is not in `known`.
---@param where string the function's name, for the message
---@param options? table
---@param known table<string, any>
---@return table options an empty table when it was nil
function M.check(where, options, known)
  if options == nil then return {} end
  if type(options) ~= "table" then
    M.raise(("%s: options must be a table, got %s"):format(where, type(options)))
  end
  for name in pairs(options) do
    if known[name] == nil then
      local near = type(name) == "string" and M.nearest(name, known)
      local hint = near and ("; did you mean '%s'?"):format(near) or ""
      M.raise(("%s: option '%s' is unknown%s"):format(where, tostring(name), hint))
    end
  end
  return options
end

--- Raises an error when an option has another type than these. nil is always allowed.
---@param where string
---@param options table
---@param name string
---@param ... string type names
---@return any value
function M.typed(where, options, name, ...)
  local value = options[name]
  if value == nil then return nil end
  for _, wanted in ipairs { ... } do
    if type(value) == wanted then return value end
  end
  local message = "%s: option '%s' must be a %s, got %s"
  M.raise(message:format(where, name, table.concat({ ... }, " or a "), type(value)))
end

--- Raises an error where an option is a table and not a list of strings: a key of another kind, or
--- something missing in the middle, would silently not count.
---@param where string
---@param options table
---@param name string
---@return string[] list of one, where it is a string; empty where it is nil
function M.strings(where, options, name)
  local value = M.typed(where, options, name, "string", "table")
  if type(value) ~= "table" then return { value } end
  local count = 0
  for _ in next, value do count = count + 1 end
  for i = 1, count do
    if type(rawget(value, i)) ~= "string" then
      M.raise(("%s: option '%s' must be a list of strings"):format(where, name))
    end
  end
  return value
end

--- A time in seconds as whole milliseconds; 0 where it is absent.
---@param where string
---@param options table
---@param name string
---@return integer
function M.milliseconds(where, options, name)
  local seconds = M.typed(where, options, name, "number")
  if seconds == nil then return 0 end
  if seconds ~= seconds or seconds < 0 or seconds > 1e9 then
    M.raise(("%s: option '%s' must be a number of seconds, got %s"):format(where, name, seconds))
  end
  return math.ceil(seconds * 1000)
end

return M
