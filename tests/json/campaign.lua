--- Has documents read by three: codex.json, Python's json and cJSON, and compares what they say.
---
--- What each makes of a document is written in one notation: n, t, f; 3:abc for a string; i1; for
--- an integer of 64 bits, also one that is written 1.0; L18446744073709551616; for a larger one; d
--- and eight bytes for another number; [ items ]; { names and values }, by name, equal ones as they
--- come.

local codex = require "codex"
local documents = require "tests.json.documents"
local json = require "codex.json"
local proc = require "codex.proc"

local M = {}

-- ---- Our value ----------------------------------------------------------------------------------

local array, number = getmetatable(json.array()), getmetatable(json.decode(("9"):rep(30)))
local dump

local function double(value) return "d" .. (">d"):pack(value + 0.0) end

local function dump_number(value, only_doubles)
  if only_doubles then return double(value == 0 and 0.0 or value) end
  return math.type(value) == "integer" and ("i%d;"):format(value) or double(value)
end

--- The pairs of an object, the later ones of a name behind the first.
local function pairs_of(object)
  local list = {}
  for name, value in pairs(object) do list[#list + 1] = { name, value, 0 } end
  for i, pair in ipairs(json.duplicates(object) or {}) do
    list[#list + 1] = { pair[1], pair[2], i }
  end
  table.sort(list, function(a, b)
    if a[1] ~= b[1] then return a[1] < b[1] end
    return a[3] < b[3]
  end)
  return list
end

local function dump_table(value, out, only_doubles)
  local mark = getmetatable(value)
  if mark == number then
    out[#out + 1] = only_doubles and double(tonumber(tostring(value)) + 0.0)
      or "L" .. tostring(value) .. ";"
  elseif mark == array then
    out[#out + 1] = "["
    for _, item in ipairs(value) do dump(item, out, only_doubles) end
    out[#out + 1] = "]"
  else
    out[#out + 1] = "{"
    for _, pair in ipairs(pairs_of(value)) do
      dump(pair[1], out, only_doubles)
      dump(pair[2], out, only_doubles)
    end
    out[#out + 1] = "}"
  end
end

local words = { [true] = "t", [false] = "f", [json.null] = "n" }

function dump(value, out, only_doubles)
  if words[value] then
    out[#out + 1] = words[value]
  elseif type(value) == "string" then
    out[#out + 1] = #value .. ":" .. value
  elseif type(value) == "number" then
    out[#out + 1] = dump_number(value, only_doubles)
  else
    dump_table(value, out, only_doubles)
  end
end

local function written(value, only_doubles)
  local out = {}
  dump(value, out, only_doubles)
  return table.concat(out)
end

-- ---- The others ---------------------------------------------------------------------------------

--- Compiles the program that asks cJSON.
---@async
---@return string path
function M.compile()
  local path = "build/json-peer"
  local result = assert(proc.run {
    os.getenv "CC" or "gcc", "-O2", "-std=c11", "-D_GNU_SOURCE", "-o", path, "tests/json/peer.c",
    "-lcjson" })
  assert(result.code == 0, result.stderr)
  return path
end

local function ask(argv, list)
  local framed = {}
  for i, document in ipairs(list) do framed[i] = #document .. "\n" .. document end
  local result = assert(proc.run(argv, { input = table.concat(framed), timeout = 600 }))
  assert(result.code == 0, result.stderr)
  local answers, at = {}, 1
  while at <= #result.stdout do
    local n, behind = result.stdout:match("^(%d+)\n()", at)
    answers[#answers + 1] = result.stdout:sub(behind, behind + n - 1)
    at = behind + n
  end
  assert(#answers == #list, "an answer is missing")
  return answers
end

-- ---- Rules --------------------------------------------------------------------------------------

--- Half of a surrogate pair among the escapes, when pairs are taken away.
local function has_half(document)
  local rest = document:gsub("\\\\", ""):gsub("\\u[dD][89abAB]%x%x\\u[dD][c-fC-F]%x%x", "")
  return rest:find "\\u[dD][89a-fA-F]"
end

--- Why one takes what another refuses. `at` is the byte where we see a fault, `what` our word for
--- it. Each is a rule of RFC 8259, and says who goes beyond it or falls short of it.
M.rules = {
  python_only = {
    { "section 6: no NaN and no Infinity; Python takes them",
      function(case) return case.python:sub(1, 1) == "~" end },
    { "section 9: a reader may limit the depth; ours is 1000",
      function(case) return case.name == "EDEPTH" end },
  },
  ours_only = {
    { "section 8.2: half of a surrogate pair is grammar; cJSON refuses it",
      function(case) return has_half(case.document) end },
  },
  cjson_only = {
    { "section 8.1: the text is UTF-8; cJSON does not look",
      function(case) return case.what == "bytes that are no UTF-8" end },
    { "section 8.1: no byte order mark; cJSON skips it",
      function(case) return case.at == 1 and case.document:find "^\xEF\xBB\xBF" end },
    { "section 7: no raw control characters in strings; cJSON takes them",
      function(case)
        return case.what == "a raw control character in a string"
          and case.document:find("^%c", case.at)
      end },
    { "section 7: four digits follow \\u; cJSON reads what is none as \\u0000",
      function(case)
        return case.what == "an escape that JSON does not know"
          and case.document:find("^\\u", case.at)
      end },
    { "section 2: four kinds of white space; cJSON skips all control characters",
      function(case) return case.document:find("^[%z\1-\8\11\12\14-\31]", case.at) end },
    { "section 6: no zeros before a number, a digit on both sides of a point; cJSON asks strtod()",
      function(case) return case.what:find "^a number " end },
  },
}

local function explain(report, kind, case)
  for _, rule in ipairs(M.rules[kind]) do
    if rule[2](case) then
      report.rules[rule[1]] = (report.rules[rule[1]] or 0) + 1
      return
    end
  end
  report.failures[#report.failures + 1] = { case = case, problem = kind }
end

local function fail(report, case, problem)
  report.failures[#report.failures + 1] = { case = case, problem = problem }
end

local function compare_taken(report, case, value)
  local exact = written(value)
  if case.python:sub(1, 1) ~= "=" then return fail(report, case, "python refuses") end
  if case.python:sub(2) ~= exact then return fail(report, case, "python has another value") end
  if case.cjson == "!" then return explain(report, "ours_only", case) end
  if case.document:find("\\u0000", 1, true) then -- cJSON ends a string there
    report.nul = report.nul + 1
  elseif case.cjson:sub(2) ~= written(value, true) then
    fail(report, case, "cJSON has another value")
  end
end

local function compare_refused(report, case)
  local python_takes, cjson_takes = case.python:sub(1, 1) ~= "!", case.cjson ~= "!"
  if python_takes then return explain(report, "python_only", case) end
  if cjson_takes then explain(report, "cjson_only", case) end
end

--- Adds to a report what is to be said of one document, and of what the others said of it.
---@param report table
---@param document string
---@param python string
---@param cjson string
function M.compare(report, document, python, cjson)
  local case = { document = document, python = python, cjson = cjson }
  local value, message, name = json.decode(document)
  if value ~= nil then
    report.taken = report.taken + 1
    return compare_taken(report, case, value)
  end
  report.refused = report.refused + 1
  case.name, case.message = name, message
  case.what, case.at = message:match "^not valid JSON: (.*) %(near byte (%d+)%)$"
  case.what, case.at = case.what or message, math.tointeger(tonumber(case.at)) or 0
  compare_refused(report, case)
end

function M.report() return { taken = 0, refused = 0, nul = 0, rules = {}, failures = {} } end

--- Has `count` documents of a seed read by all, from the `first` on.
---@async
---@param peer string what compile() returned
---@param seed integer
---@param first integer
---@param count integer
---@param report? table that of earlier ones, to go on with
---@return table report taken, refused, nul (documents with \u0000, whose strings cJSON cuts), rules
---  (how often each explained something) and failures
function M.run(peer, seed, first, count, report)
  report = report or M.report()
  local list = {}
  for i = 1, count do list[i] = documents.make(seed, first + i - 1) end
  local python, cjson = codex.all {
    function() return ask({ "python3", "tests/json/peer.py" }, list) end,
    function() return ask({ peer }, list) end,
  }
  for i, document in ipairs(list) do M.compare(report, document, python[i], cjson[i]) end
  return report
end

return M
