-- fanout.lua CODEX N: runs so many turns at the same time and prints how many events they had.
local codex = require("codex").with { binary = arg[1] }
local all = require("codex").map

local turns = {}
for i = 1, tonumber(arg[2]) do turns[i] = i end
local counts = all(turns, function()
  local events = 0
  for event in codex.stream("go") do
    if event.type ~= "failure" then events = events + 1 end
  end
  return events
end)
local sum = 0
for _, events in ipairs(counts) do sum = sum + events end
print(sum)
