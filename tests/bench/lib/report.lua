--- Results of benchmarks as Markdown for people and as JSON for the next comparison.

local json = require "codex.json"
local statistics = require "tests.bench.lib.statistics"
local uv = require "luv"

local M = {}

local order = { "wall", "cpu", "memory" }
local titles = { wall = "wall", cpu = "CPU", memory = "peak memory" }
local words = { met = "met", missed = "**MISSED**", unclear = "over, but maybe by chance" }

--- A value with its unit.
---@param metric string
---@param value number
---@return string
function M.format(metric, value)
  if metric == "memory" then return ("%.1f MiB"):format(value / 1024) end
  if metric == "wall" or metric == "cpu" then
    return value < 0.1 and ("%.2f ms"):format(value * 1e3) or ("%.0f ms"):format(value * 1e3)
  end
  return ("%.4g"):format(value)
end

local function metrics_of(result)
  local list, known = {}, {}
  for _, metric in ipairs(order) do
    if result.sides[1].samples[metric] then
      list[#list + 1], known[metric] = metric, true
    end
  end
  local others = {}
  for metric in pairs(result.sides[1].samples) do
    if not known[metric] then others[#others + 1] = metric end
  end
  table.sort(others)
  return table.move(others, 1, #others, #list + 1, list)
end

local function add(lines, text, ...)
  lines[#lines + 1] = select("#", ...) > 0 and text:format(...) or text
end

local function against_first(metric, result, side)
  local first = result.sides[1].samples[metric]
  if side == result.sides[1] or #first ~= #side.samples[metric] then return "", "" end
  local ratio = statistics.ratio(side.samples[metric], first)
  local p = statistics.welch(side.samples[metric], first).p
  return ("%.2f (%.2f–%.2f)"):format(ratio.value, ratio.low, ratio.high),
    p < 0.0001 and "< 0.0001" or ("%.4f"):format(p)
end

local function add_table(lines, result)
  add(lines, "| side | metric | median | mean ± sd | min | p95 | × the first (95 %) | p |")
  add(lines, "|---|---|---|---|---|---|---|---|")
  for _, metric in ipairs(metrics_of(result)) do
    for _, side in ipairs(result.sides) do
      local samples = side.samples[metric]
      if samples then
        local s = statistics.summary(samples)
        local function show(value) return M.format(metric, value) end
        local ratio, p = against_first(metric, result, side)
        add(lines, "| %s | %s | %s | %s ± %s | %s | %s | %s | %s |", side.name,
          titles[metric] or metric, show(s.median), show(s.mean), show(s.sd), show(s.min),
          show(s.p95), ratio, p)
      end
    end
  end
end

local function limit_line(limit)
  local ratio = limit.ratio
  local title = titles[limit.metric] or limit.metric
  if not limit.against then
    return ("%s of %s: %s, at most %s: %s"):format(title, limit.of,
      M.format(limit.metric, ratio.value), M.format(limit.metric, limit.at_most),
      words[limit.verdict])
  end
  return ("%s, %s / %s: %.3f (%.3f–%.3f), at most %.3g: %s"):format(title, limit.of,
    limit.against, ratio.value, ratio.low, ratio.high, limit.at_most, words[limit.verdict])
end

---@param result bench.Result
---@return string
function M.markdown(result)
  local lines = { ("### %s"):format(result.name), "", result.about, "" }
  add_table(lines, result)
  add(lines, "")
  for _, limit in ipairs(result.limits) do add(lines, "- %s", limit_line(limit)) end
  for _, note in ipairs(result.notes) do add(lines, "- %s", note) end
  return table.concat(lines, "\n") .. "\n"
end

local effects = { slower = "**WORSE**", faster = "better", same = "no clear change" }

---@param changes bench.Change[]
---@return string
function M.changes(changes)
  local lines = {}
  for _, c in ipairs(changes) do
    add(lines, "- %s: %s of %s%s is %.2f times the baseline's (p = %.4f): %s", c.name,
      titles[c.metric] or c.metric, c.side,
      c.relative_to and " relative to " .. c.relative_to or "", c.factor, c.p, effects[c.verdict])
  end
  return table.concat(lines, "\n") .. "\n"
end

--- What the figures were taken on.
---@return table
function M.environment()
  local cpus = uv.cpu_info()
  return {
    cpu = cpus[1] and cpus[1].model, cpus = #cpus, system = uv.os_uname().release,
    memory_mib = uv.get_total_memory() // (1024 * 1024), load = { uv.loadavg() },
    date = os.date "!%Y-%m-%dT%H:%M:%SZ",
  }
end

--- Reads a file of results; names map to results.
---@param path string
---@return table<string, bench.Result>?
---@return string? message
function M.load(path)
  local file, problem = io.open(path, "rb")
  if not file then return nil, problem end
  local value, message = json.decode(file:read "a")
  file:close()
  if type(value) ~= "table" or type(value.benchmarks) ~= "table" then
    return nil, ("%s: not a file of results%s"):format(path, message and ": " .. message or "")
  end
  return value.benchmarks
end

--- Writes results; those in `kept` that were not measured now stay as they are.
---@param path string
---@param results bench.Result[]
---@param kept? table<string, bench.Result>
function M.save(path, results, kept)
  local benchmarks = {}
  for name, result in pairs(kept or {}) do benchmarks[name] = result end
  for _, result in ipairs(results) do benchmarks[result.name] = result end
  local document = { environment = M.environment(), benchmarks = json.object(benchmarks) }
  local file <close> = assert(io.open(path .. ".new", "wb"))
  assert(file:write(json.encode(document, { pretty = true }), "\n"))
  assert(file:close())
  assert(os.rename(path .. ".new", path))
end

return M
