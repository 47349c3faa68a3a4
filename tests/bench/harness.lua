--- Runs benchmarks: sides that do the same work, in turns, measured from the outside.
---
--- A benchmark file returns a table:
---   name, about   what is measured, in a word and in a sentence
---   sides         a list; each has a name and either `argv` (a whole process is measured: wall
---                 time, CPU time, peak memory) or `run` (a function of this process: wall and
---                 CPU time; a table it returns adds metrics or replaces them). The first is the
---                 one the benchmark is about. `expect`: what its standard output must be.
---                 `figures`: a function from that output to further metrics. `env`, `timeout`.
---   together      in place of `argv` and `run`: a function that measures all sides at once, and
---                 returns their metrics by name; for what takes turns more often than once a run
---   limits        a list of { metric=, of=, against=, at_most= }: the ratio of the medians of two
---                 sides, or without `against` the median of one
---   prepare       a function called once before (build a program, write a file)
---   notes         a function from medians[side][metric] to a list of sentences for the report
---   runs, warmup  how often (15 and 2)
--- Times are in seconds, memory in KiB.

local kit = require "tests.bench.lib.kit"
local proc = require "codex.proc"
local statistics = require "tests.bench.lib.statistics"
local uv = require "luv"

local M = {}

--- A difference counts when chance would produce it less often than this.
M.significance = 0.01
--- ... and when it is larger than this.
M.tolerance = 0.05

---@alias bench.Figures table<string, number> metric -> value

---@class bench.Limit
---@field metric string
---@field of string
---@field against? string
---@field at_most number
---@field verdict? "met"|"missed"|"unclear" unclear: over the limit, but that may be noise
---@field ratio? bench.Ratio

---@class bench.Result
---@field name string
---@field about string
---@field sides { name: string, samples: table<string, number[]> }[]
---@field limits bench.Limit[]
---@field notes string[]

-- ---- One run ------------------------------------------------------------------------------------

local function check_output(side, result)
  if result.code ~= 0 then
    error(("%s ended with code %d:\n%s"):format(side.name, result.code, result.stderr), 0)
  end
  if side.expect and result.stdout ~= side.expect then
    error(("%s printed %q, not %q"):format(side.name, result.stdout, side.expect), 0)
  end
end

local function measure_process(side)
  local report = kit.folder "." .. "/report"
  local argv = table.move(side.argv, 1, #side.argv, 3, { kit.measure(), report })
  local env = kit.environment()
  for name, value in pairs(side.env or {}) do env[name] = value end
  local result = assert(proc.run(argv, { env = env, timeout = side.timeout or 120 }))
  check_output(side, result)
  local wall, cpu, memory = kit.read(report):match "^(%d+) (%d+) (%d+) %d+\n$"
  local figures = side.figures and side.figures(result.stdout) or {}
  figures.wall, figures.cpu, figures.memory = wall / 1e9, cpu / 1e6, memory + 0
  return figures
end

local function cpu_time()
  local usage = uv.getrusage()
  return usage.utime.sec + usage.stime.sec + (usage.utime.usec + usage.stime.usec) / 1e6
end

local function measure_function(side)
  collectgarbage()
  local cpu, wall = cpu_time(), uv.hrtime()
  local own = side.run()
  local figures = { wall = (uv.hrtime() - wall) / 1e9, cpu = cpu_time() - cpu }
  for metric, value in pairs(type(own) == "table" and own or {}) do figures[metric] = value end
  return figures
end

---@async
---@param side table
---@return bench.Figures
function M.measure(side)
  return side.argv and measure_process(side) or measure_function(side)
end

-- ---- A benchmark --------------------------------------------------------------------------------

--- Measures every side once, beginning with another one in each round, so that neither drift of the
--- machine nor the neighbour's after-effects fall on one side.
local function round(benchmark, number, take)
  local sides = benchmark.sides
  if benchmark.together then
    local all = benchmark.together()
    for _, side in ipairs(sides) do take(side, all[side.name]) end
    return
  end
  for i = 1, #sides do
    local side = sides[(i + number - 2) % #sides + 1]
    take(side, M.measure(side))
  end
end

local function sample(benchmark, runs, warmup, progress)
  local samples = {}
  for i = 1, warmup do round(benchmark, i, function() end) end
  for i = 1, runs do
    round(benchmark, i, function(side, figures)
      samples[side.name] = samples[side.name] or {}
      for metric, value in pairs(figures) do
        local list = samples[side.name][metric] or {}
        samples[side.name][metric] = list
        list[#list + 1] = value
      end
    end)
    progress(i, runs)
  end
  return samples
end

local function find_samples(where, samples, side, metric)
  local list = samples[side] and samples[side][metric]
  if not list then
    local text = "%s: a limit names metric '%s' of side '%s', which there is not"
    error(text:format(where, metric, tostring(side)), 0)
  end
  return list
end

--- Judges one limit. It is missed when the whole interval lies beyond it and Welch's test agrees.
---@param where string the benchmark's name, for messages
---@param limit bench.Limit
---@param samples table<string, table<string, number[]>>
---@return bench.Limit judged a copy with the verdict
function M.judge(where, limit, samples)
  local judged = {}
  for key, value in pairs(limit) do judged[key] = value end
  local of, against, bound = find_samples(where, samples, limit.of, limit.metric), {}, {}
  if limit.against then against = find_samples(where, samples, limit.against, limit.metric) end
  for i = 1, #of do
    against[i] = against[i] or 1
    bound[i] = against[i] * limit.at_most
  end
  local welch = statistics.welch(of, bound)
  judged.ratio = statistics.ratio(of, against)
  judged.p = welch.p
  local beyond = judged.ratio.low > limit.at_most and welch.t > 0 and welch.p < M.significance
  judged.verdict = judged.ratio.value <= limit.at_most and "met" or beyond and "missed" or "unclear"
  return judged
end

local function medians(samples)
  local all = {}
  for side, metrics in pairs(samples) do
    all[side] = {}
    for metric, list in pairs(metrics) do all[side][metric] = statistics.median(list) end
  end
  return all
end

---@async
---@param benchmark table
---@param opts? { runs?: integer, progress?: fun(done: integer, of: integer) }
---@return bench.Result
function M.run(benchmark, opts)
  local given = opts or {}
  if benchmark.prepare then benchmark.prepare() end
  local samples = sample(benchmark, given.runs or benchmark.runs or 15, benchmark.warmup or 2,
    given.progress or function() end)
  local result = { name = benchmark.name, about = benchmark.about, sides = {}, limits = {} }
  for i, side in ipairs(benchmark.sides) do
    result.sides[i] = { name = side.name, samples = samples[side.name] }
  end
  for i, limit in ipairs(benchmark.limits or {}) do
    result.limits[i] = M.judge(benchmark.name, limit, samples)
  end
  result.notes = benchmark.notes and benchmark.notes(medians(samples)) or {}
  return result
end

-- ---- Against a baseline -------------------------------------------------------------------------

---@class bench.Change
---@field name string the benchmark
---@field side string
---@field metric string
---@field factor number now / then, of medians
---@field p number
---@field relative_to? string the side that both were divided by
---@field verdict "slower"|"faster"|"same"

local function logarithms(list, divisors)
  local logs = {}
  for i, value in ipairs(list) do
    local divisor = divisors and divisors[i] or 1
    if value <= 0 or divisor <= 0 then return nil end
    logs[i] = math.log(value / divisor)
  end
  return logs
end

local function change(name, side, metric, now, was, reference)
  local welch = statistics.welch(now, was)
  local factor = math.exp(statistics.median(now) - statistics.median(was))
  local real = welch.p < M.significance and math.abs(math.log(factor)) > math.log(1 + M.tolerance)
  return {
    name = name, side = side, metric = metric, factor = factor, p = welch.p,
    relative_to = reference, verdict = not real and "same" or factor > 1 and "slower" or "faster",
  }
end

local function side_named(result, name)
  for _, side in ipairs(result.sides) do
    if side.name == name then return side end
  end
end

--- Compares the first side with what it was. Times are taken relative to the second side of the
--- same round where there is one that is in the baseline too, so that a slower machine is not our
--- fault; memory is compared as it is.
---@param now bench.Result
---@param was bench.Result
---@return bench.Change[]
function M.compare(now, was)
  local changes = {}
  local subject, reference = now.sides[1], now.sides[2]
  local old = side_named(was, subject.name)
  local old_reference = reference and side_named(was, reference.name)
  for _, metric in ipairs { "wall", "cpu", "memory" } do
    local use = metric ~= "memory" and old_reference
    local new_logs = subject.samples[metric]
      and logarithms(subject.samples[metric], use and reference.samples[metric])
    local old_logs = old and old.samples[metric]
      and logarithms(old.samples[metric], use and old_reference.samples[metric])
    if new_logs and old_logs then
      changes[#changes + 1] = change(now.name, subject.name, metric, new_logs, old_logs,
        use and reference.name or nil)
    end
  end
  return changes
end

return M
