--- Requests to an app-server that has its answers ready: against two clients in Node, one on
--- vscode-jsonrpc, as codex-acp is, and one written by hand.

local json = require "codex.json"
local kit = require "tests.bench.lib.kit"
local proc = require "codex.proc"

local M = { ours = "codex-lua", acp = "vscode-jsonrpc", by_hand = "Node by hand", bare = "C" }

local COUNT = 6400

-- Everybody on one processor, server and all. With two, what is measured is mostly how deep the
-- other one slept: the same program takes 7 µs for a request in one run and 70 µs in the next.
local PINNED = { "taskset", "-c", "0" }
local fixture = "appserver-0.169.0-plain.jsonl"
local methods = { "thread/loaded/list", "turn/start" }
local server = kit.folder "." .. "/rpc_server"

local function metric(method) return "µs, " .. method end

--- One line for each method; the pattern finds the time in it.
local function figures(pattern, unit)
  return function(text)
    local all, times = {}, text:gmatch(pattern)
    for _, method in ipairs(methods) do all[metric(method)] = times() / unit end
    return all
  end
end

local function pinned(argv)
  return table.move(argv, 1, #argv, #PINNED + 1, { table.unpack(PINNED) })
end

local function side(name, answers, at_once, ...)
  local argv = pinned { ... }
  table.move({ server, tostring(COUNT), tostring(at_once) }, 1, 3, #argv + 1, argv)
  table.move(answers, 1, #answers, #argv + 1, argv)
  return { name = name, argv = argv, figures = figures("([%d.]+)\n", 1) }
end

--- What there is without a client: no JSON, no names, no promises, only bytes.
local function bare_side(answers, at_once)
  local turns = COUNT // at_once
  local drive = kit.folder "." .. "/rpc_drive"
  local argv = pinned { drive, tostring(turns), "160", tostring(at_once) }
  for i, answer in ipairs(answers) do
    if i > 1 then argv[#argv + 1] = "::" end
    table.move({ "env", "RPC_RESULT=" .. answer, server }, 1, 3, #argv + 1, argv)
  end
  local per_request = 1e3 * turns * at_once
  return { name = M.bare, argv = argv, figures = figures("%d+ %d+ (%d+) %d+\n", per_request) }
end

local function versions()
  local package = kit.read "tests/peers/node_modules/vscode-jsonrpc/package.json"
  local node = assert(proc.run { "node", "--version" }).stdout:match "%S+"
  return ("Node %s, vscode-jsonrpc %s"):format(node, json.decode(package).version)
end

local function notes(medians)
  local list = { versions() }
  for _, method in ipairs(methods) do
    local name = metric(method)
    local floor = medians[M.bare][name]
    local text = "%s, beyond what C takes: %.1f µs; %s: %.1f; %s: %.1f"
    list[#list + 1] = text:format(method, medians[M.ours][name] - floor, M.acp,
      medians[M.acp][name] - floor, M.by_hand, medians[M.by_hand][name] - floor)
  end
  return list
end

--- The benchmark.
---@param name string
---@param at_once integer requests that are not answered
---@param at_most { acp: number, by_hand: number } our time against theirs; a little above what was
--- measured when this was written
---@return table
function M.benchmark(name, at_once, at_most)
  local answers = kit.answers(fixture, methods)
  local sides = {
    side(M.ours, answers, at_once, kit.host, kit.source "rpc.lua"),
    side(M.acp, answers, at_once, "node", kit.source "rpc.mjs", "vscode-jsonrpc"),
    side(M.by_hand, answers, at_once, "node", kit.source "rpc.mjs", "map"),
    bare_side(answers, at_once),
  }
  -- What a script that asks and ends costs, start and all: a third of the time.
  local limits = { { metric = "wall", of = M.ours, against = M.acp, at_most = 1 / 3 } }
  for _, method in ipairs(methods) do
    local one = { metric = metric(method), of = M.ours, against = M.acp, at_most = at_most.acp }
    local other = { metric = metric(method), of = M.ours, against = M.by_hand }
    other.at_most = at_most.by_hand
    table.move({ one, other }, 1, 2, #limits + 1, limits)
  end
  return {
    name = name,
    about = ("%d requests, %d at a time, to a server that answers at once: time for each, once a "
      .. "client is warm."):format(COUNT, at_once),
    prepare = function()
      kit.compile "rpc_server"
      kit.compile "rpc_drive"
    end,
    sides = sides, runs = 12, warmup = 1, limits = limits, notes = notes,
  }
end

return M
