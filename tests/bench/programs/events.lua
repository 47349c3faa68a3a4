-- events.lua CODEX: runs one turn and prints how many events and completed items it had.
local codex = require("codex").with { binary = arg[1] }

local events, items = 0, 0
for event in codex.stream("go") do
  events = events + 1
  if event.type == "item.completed" then items = items + 1 end
end
print(events, items)
