--- make differential: sends mutants to Codex directly and through the strict launcher.
---
--- MUTANTS and SEED say how many and which, FIRST where to go on, CODEX_VERSION (latest, middle,
--- old) before which Codex; DIRECT_EVERY=4 sends only each fourth directly, CHUNK is how many share
--- a session. Exits with 1 when one was executed through the launcher, or ended it.

package.path = "./?.lua;" .. package.path -- luacheck: ignore 112
local campaign = require "tests.differential.campaign"
local mutate = require "tests.differential.mutate"
local peers = require "tests.support.peers"
local seeds = require "tests.differential.seeds"
local uv = require "luv"
local versions = require "tests.differential.versions"

local function number(name, default)
  return math.tointeger(tonumber(os.getenv(name) or "")) or default
end

local version = os.getenv "CODEX_VERSION" or "latest"
local started = uv.hrtime()

local function visible(line)
  local text = line:gsub("[%c\127-\255]", function(c) return ("\\x%02x"):format(c:byte()) end)
  return #text > 2000 and text:sub(1, 2000) .. "..." or text
end

local function show_failure(failure)
  print(("\n%s through the launcher, policy %s:"):format(failure.what, failure.policy))
  for i, mutant in ipairs(failure.mutants) do
    print(("  mutant %d: %s"):format(mutant.number, campaign.describe(mutant)))
    print("    " .. visible(failure.lines[i]))
  end
end

local function show_table(title, names, rows)
  print(("\n%-34s %9s %9s"):format(title, "mutants", "executed"))
  for _, name in ipairs(names) do
    local row = rows[name]
    if row then print(("%-34s %9d %9d"):format(name, row.mutants, row.executed)) end
  end
end

local function line_of(counts)
  local names, parts = {}, {}
  for name in pairs(counts) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do parts[i] = ("%s %d"):format(name, counts[name]) end
  return table.concat(parts, ", ")
end

local function progress(report, done)
  io.stderr:write(("%d mutants, %d s; directly: %s; through the launcher: executed %d, ended %d\n")
    :format(done, (uv.hrtime() - started) // 1e9, line_of(report.direct), report.executed,
      report.ended))
end

local seed = number("SEED", 1)
local report = campaign.run {
  binary = peers[version], seed = seed, mutants = number("MUTANTS", 100000),
  first = number("FIRST", 1), lacks = versions.lacks[version], limit = number("FAILURES", 8),
  direct_every = number("DIRECT_EVERY", 1), chunk = number("CHUNK", 500),
  progress = progress,
}
local seed_names = {}
for i, each in ipairs(seeds.list) do seed_names[i] = each.name end
local kinds = { "(none)", table.unpack(mutate.names) }

print(("Codex %s, seed %d: %d mutants, %d s"):format(peers.version[version], seed, report.mutants,
  (uv.hrtime() - started) // 1e9))
print("directly: " .. line_of(report.direct))
print("through the launcher: " .. line_of(report.through))
print(("through the launcher: executed %d, ended %d"):format(report.executed, report.ended))
show_table("executed directly, by mutation", kinds, report.kinds)
show_table("executed directly, by seed", seed_names, report.seeds)
for _, failure in ipairs(report.failures) do show_failure(failure) end
os.exit(report.executed + report.ended == 0 and 0 or 1)
