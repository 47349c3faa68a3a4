--- make torture: every system call of a hook's supervisor and worker fails once, in a dozen ways,
--- and every signal comes at every one of them. The hook denies everything; the command must never
--- run.
---
--- SEED says which faults real Codex is tried with, CODEX_RUNS how many of them (20). Exits with 1
--- when a command would have been run, or was.

package.path = "./?.lua;" .. package.path -- luacheck: ignore 112
local Random = require "tests.differential.random"
local faults = require "tests.torture.faults"
local peers = require "tests.support.peers"
local program = require "tests.support.program"
local torture = require "tests.torture.torture"
local uv = require "luv"

local function number(name, default)
  return math.tointeger(tonumber(os.getenv(name) or "")) or default
end

local function try_codex(place, all)
  local random, ran = Random.new(number("SEED", 1)), 0
  for i = 1, number("CODEX_RUNS", 20) do
    local fault = random:pick(all)
    local binary = i % 2 == 0 and "latest" or "middle"
    local is_run, told = torture.codex(peers[binary], (place:line(fault)), fault.limit)
    if is_run then
      ran = ran + 1
      print(("Codex %s ran the command: %s: %s"):format(binary, torture.describe(fault), told))
    end
  end
  print(("%d runs with real Codex, %d commands run"):format(number("CODEX_RUNS", 20), ran))
  return ran
end

local folder, remove = program.folder()
local place, why = torture.place(folder)
if not place then
  remove()
  print("nothing was tried: " .. why)
  os.exit(1)
end
local started = uv.hrtime()
local calls = { [0] = place:calls(0), [1] = place:calls(1) }
local all = faults.all(calls, place:first_after_alarm(calls[0]))
print(("%d system calls of the supervisor, %d of the worker, %d faults"):format(calls[0], calls[1],
  #all))
local tally = place:campaign(all)
for _, text in ipairs(tally.wrong) do print("NOT DENIED: " .. text) end
print(("%d runs in %.0f s, %d faults came about"):format(tally.runs,
  (uv.hrtime() - started) / 1e9, tally.done))
print(("%d refusals by the shell alone, %d not denied"):format(tally.by_shell, #tally.wrong))
local ran = try_codex(place, all)
remove()
os.exit(#tally.wrong + ran == 0 and 0 or 1)
