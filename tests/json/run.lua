--- make json-differential: documents read by codex.json, Python's json and cJSON.
---
--- DOCUMENTS and SEED say how many and which, FIRST where to go on. Exits with 1 when a value
--- differs, or one takes what another refuses and no rule says why.

package.path = "./?.lua;" .. package.path -- luacheck: ignore 112
local campaign = require "tests.json.campaign"

local BATCH = 20000

local function setting(name, default)
  return math.tointeger(tonumber(os.getenv(name) or "")) or default
end

local seed, first = setting("SEED", 1), setting("FIRST", 1)
local last = first + setting("DOCUMENTS", 100000) - 1
local peer, report = campaign.compile(), nil

while first <= last do
  local count = math.min(BATCH, last - first + 1)
  report = campaign.run(peer, seed, first, count, report)
  first = first + count
  io.stderr:write(("%d documents, %d failures\n"):format(report.taken + report.refused,
    #report.failures))
end

print(("taken %d, refused %d; with \\u0000, where cJSON cuts: %d"):format(report.taken,
  report.refused, report.nul))
for _, kind in ipairs { "python_only", "ours_only", "cjson_only" } do
  for _, rule in ipairs(campaign.rules[kind]) do
    print(("%8d  %-12s %s"):format(report.rules[rule[1]] or 0, kind, rule[1]))
  end
end
for i = 1, math.min(#report.failures, 20) do
  local case = report.failures[i].case
  print(("%s: %q\n  ours %s\n  Python %q\n  cJSON %q"):format(report.failures[i].problem,
    case.document, case.message or "takes it", case.python, case.cjson))
end
os.exit(#report.failures == 0 and 0 or 1)
