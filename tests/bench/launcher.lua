--- What `codex-lua app-server` costs between a client and the app-server: against a program that
--- copies the same bytes without looking at them, and against nothing in between.
---
--- All of them run at the same time and take turns message by message; latency is measured on one
--- processor (lib/rpc.lua says why). Nobody set the limits before us: they are a little above what
--- was measured when they were written, on two busy cores: 1.6 to 1.8 times the latency that the
--- copy adds, and two thirds to a half of its throughput.

local kit = require "tests.bench.lib.kit"
local proc = require "codex.proc"

local ours, decides, copy = "codex-lua app-server", "with a policy and a middleware", "copy"
local nothing = "nothing in between"
local added, added_p99 = "µs added, median", "µs added, 99th percentile"
local per_mib = "µs for a MiB, both ways"

local folder = kit.folder "."
local server = folder .. "/rpc_server"

local commands = {
  { name = ours, argv = { kit.host, "app-server", "--no-audit" } },
  {
    name = decides,
    argv = {
      kit.host, "app-server", "--no-audit", "--policy", kit.source "launcher_policy.lua",
      "--middleware", kit.source "launcher_middleware.lua",
    },
  },
  { name = copy, argv = { folder .. "/copy", server } },
  { name = nothing, argv = { server } },
}

--- The driver's figures for each command: median, 99th percentile, sum, bytes.
local function drive(argv, turns, size, at_once)
  argv[#argv + 1] = folder .. "/rpc_drive"
  for _, number in ipairs { turns, size, at_once } do argv[#argv + 1] = tostring(number) end
  for i, command in ipairs(commands) do
    if i > 1 then argv[#argv + 1] = "::" end
    table.move(command.argv, 1, #command.argv, #argv + 1, argv)
  end
  local env = kit.environment()
  env.CODEX_BINARY = server
  local result = assert(proc.run(argv, { env = env, timeout = 120 }))
  if result.code ~= 0 then error(result.stderr, 0) end
  local all, lines = {}, result.stdout:gmatch "(%d+) (%d+) (%d+) (%d+)\n"
  for _, command in ipairs(commands) do
    local median, p99, sum, bytes = lines()
    all[command.name] =
      { median = median / 1e3, p99 = p99 / 1e3, sum = sum / 1e3, bytes = bytes + 0 }
  end
  assert(result.stderr == "", result.stderr)
  return all
end

local function together()
  local latency = drive({ "taskset", "-c", "0" }, 2000, 200, 1)
  local throughput = drive({}, 10, 1 << 20, 4)
  local all = {}
  for name, figures in pairs(latency) do
    -- Who dropped or refused anything would be fast.
    assert(figures.bytes == latency[nothing].bytes, name .. ": other bytes came back")
    assert(throughput[name].bytes == throughput[nothing].bytes, name .. ": other bytes came back")
    all[name] = {
      ["µs, median"] = figures.median, ["µs, 99th percentile"] = figures.p99,
      [added] = figures.median - latency[nothing].median,
      [added_p99] = figures.p99 - latency[nothing].p99,
      [per_mib] = throughput[name].sum / (throughput[name].bytes / (1 << 20)),
    }
  end
  return all
end

return {
  name = "launcher",
  about = "2,000 round trips of 200 bytes, and 40 of 1 MiB, 4 at a time, to a server that echoes.",
  prepare = function()
    for _, name in ipairs { "rpc_server", "rpc_drive", "copy" } do kit.compile(name) end
  end,
  sides = commands,
  together = together,
  runs = 12,
  warmup = 1,
  limits = {
    { metric = added, of = ours, against = copy, at_most = 2.2 },
    { metric = added, of = decides, against = copy, at_most = 2.2 },
    { metric = per_mib, of = ours, against = copy, at_most = 2.4 },
    { metric = per_mib, of = decides, against = copy, at_most = 2.4 },
  },
  notes = function(medians)
    local notes = {}
    for _, command in ipairs(commands) do
      local text = "%s: %.0f MB/s in messages of 1 MiB, both ways together"
      notes[#notes + 1] = text:format(command.name, (1 << 20) / medians[command.name][per_mib])
    end
    return notes
  end,
}
