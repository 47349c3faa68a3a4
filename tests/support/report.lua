--- What a process that runs a spec file tells the conductor: a line of JSON for each thing that
--- happens, written at once, so that what is known outlives a crash.

local json = require "codex.json"

local M = {}

--- Where to write; nil: nobody wants to know.
---@type string?
M.path = nil

---@class tests.Record one line
---@field start? string a test begins
---@field status? "success"|"failure"|"error"|"pending" it has ended so
---@field problem? string a failure or an error, in words
---@field skipped? string a test that is pending, and why
---@field is_error? boolean an error: it counts by itself, not by its test
---@field over? boolean busted came to its end

--- The file is opened anew each time: a spec that counts descriptors must not see it.
local function write(record)
  local file <close> = assert(io.open(M.path, "a"))
  assert(file:write(json.encode(record, { repair = true }), "\n"))
end

local function full_name(busted, element)
  local names = {}
  while element and element.descriptor ~= "file" and element.descriptor ~= "suite" do
    table.insert(names, 1, element.name or element.descriptor)
    element = busted.parent(element)
  end
  return table.concat(names, " ")
end

local function words(busted, element, message, debug)
  local text = type(message) == "string" and message or require("pl.pretty").write(message)
  local trace = debug or element.trace or {}
  local at = trace.short_src and ("%s @ %s\n"):format(trace.short_src, trace.currentline) or ""
  return at .. full_name(busted, element) .. "\n" .. text
end

--- Writes down what busted publishes. It counts as busted does: a test by how it ended, and every
--- error, and every failure outside of a test, besides.
function M.watch(busted)
  if not M.path then return end
  local function on(event, fn)
    busted.subscribe(event, function(...)
      fn(...)
      return nil, true
    end, { priority = 1 })
  end
  on({ "test", "start" }, function(element) write { start = full_name(busted, element) } end)
  on({ "test", "end" }, function(_, _, status) write { status = status } end)
  on({ "error" }, function(element, _, message, debug)
    write { problem = words(busted, element, message, debug), is_error = true }
  end)
  on({ "failure" }, function(element, _, message, debug)
    local is_error = element.descriptor ~= "it"
    write { problem = words(busted, element, message, debug), is_error = is_error }
  end)
  on({ "pending" }, function(element, _, message)
    write { skipped = full_name(busted, element) .. ": " .. tostring(message or "no reason given") }
  end)
  on({ "exit" }, function() write { over = true } end)
end

--- Reads what was written. A line that was cut off is left out.
---@param path string
---@return tests.Record[]
function M.read(path)
  local list, file = {}, io.open(path)
  if not file then return list end
  for line in file:lines() do
    local record = json.decode(line)
    if type(record) == "table" then list[#list + 1] = record end
  end
  file:close()
  return list
end

return M
