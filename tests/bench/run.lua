--- Runs benchmarks, from the project's folder:
--- `build/codex-lua tests/bench/run.lua [OPTIONS] [NAME...]`
---
--- Prints Markdown. Exit code: 0, 1 when a limit was missed beyond doubt, something became worse
--- than the baseline or a benchmark failed, 2 for wrong usage.

package.path = "./?.lua;" .. package.path
local argparse = require "argparse"
local harness = require "tests.bench.harness"
local report = require "tests.bench.lib.report"
local uv = require "luv"

local function parse_arguments()
  local parser = argparse("run.lua", "Runs the benchmarks in tests/bench.")
  parser:argument("name", "Which to run; all by default."):args "*"
  parser:option("--json", "Write the results with every sample to this file."):argname "FILE"
  parser:option("--baseline", "Compare with the results in this file."):argname "FILE"
  parser
    :option("--save-baseline", "Add the results to this file, or replace them there.")
    :argname "FILE"
  parser:option("--runs", "How often each side is measured."):argname("N"):convert(function(text)
    local n = math.tointeger(text)
    if not n or n < 2 then return nil, "--runs must be a whole number above 1" end
    return n
  end)
  local ok, result = parser:pparse(arg)
  if ok then return result end
  io.stderr:write("run.lua: ", result, "\n", parser:get_usage(), "\n")
  os.exit(2)
end

--- Every file in this folder but this one and the harness is a benchmark.
local function available()
  local names = {}
  local listing = assert(uv.fs_scandir "tests/bench")
  for entry, kind in function() return uv.fs_scandir_next(listing) end do
    local name = kind == "file" and entry:match "^([%w_]+)%.lua$"
    if name and name ~= "run" and name ~= "harness" then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

local function chosen(given)
  local names, known = available(), {}
  for _, name in ipairs(names) do known[name] = true end
  for _, name in ipairs(given) do
    if not known[name] then
      io.stderr:write(("run.lua: there is no benchmark '%s'; there are: %s\n"):format(name,
        table.concat(names, ", ")))
      os.exit(2)
    end
  end
  return #given > 0 and given or names
end

local function on_terminal(name)
  if uv.guess_handle(2) ~= "tty" then return nil end
  return function(done, of)
    io.stderr:write(("\r%s %d/%d%s"):format(name, done, of, done == of and "\n" or ""))
  end
end

local args = parse_arguments()
local baseline = args.baseline and assert(report.load(args.baseline)) or {}
local results, bad = {}, false

for _, name in ipairs(chosen(args.name)) do
  local benchmark = require("tests.bench." .. name)
  local opts = { runs = args.runs, progress = on_terminal(name) }
  local ok, result = pcall(harness.run, benchmark, opts)
  if ok then
    results[#results + 1] = result
    print(report.markdown(result))
    for _, limit in ipairs(result.limits) do bad = bad or limit.verdict == "missed" end
    local changes = baseline[name] and harness.compare(result, baseline[name]) or {}
    for _, change in ipairs(changes) do bad = bad or change.verdict == "slower" end
    if #changes > 0 then print(report.changes(changes)) end
  else
    bad = true
    print(("### %s\n\n**FAILED**: %s\n"):format(name, tostring(result)))
  end
  io.stdout:flush()
end

if args.json then report.save(args.json, results) end
if args.save_baseline then
  report.save(args.save_baseline, results, (report.load(args.save_baseline)))
end
os.exit(bad and 1 or 0)
