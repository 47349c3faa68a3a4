--- 200 turns of 500 events at the same time, in one program: against the official TypeScript SDK.
--- The same with one turn, and the children without anybody who reads them, show what goes where.

local kit = require "tests.bench.lib.kit"

local CHILDREN, EVENTS = 200, 500
local codex = kit.folder(("events-%d"):format(EVENTS)) .. "/codex"
local ours, theirs, one, alone = "codex-lua", "TypeScript SDK", ", one child", "children alone"

local function side(name, program, script, children)
  return {
    name = name, argv = { program, kit.source(script), codex, tostring(children) },
    expect = ("%d\n"):format(children * EVENTS),
  }
end

return {
  name = "fanout",
  about = "200 children at the same time, 500 events from each; and one child alone.",
  prepare = function()
    kit.codex_with_events(EVENTS)
    kit.compile "spawn_loop"
  end,
  sides = {
    side(ours, kit.host, "fanout.lua", CHILDREN),
    side(theirs, "node", "fanout.mjs", CHILDREN),
    side(ours .. one, kit.host, "fanout.lua", 1),
    side(theirs .. one, "node", "fanout.mjs", 1),
    {
      name = alone,
      argv = { kit.spawn_loop, tostring(CHILDREN), tostring(CHILDREN), codex, "exec" },
    },
  },
  runs = 10,
  limits = {
    { metric = "wall", of = ours, against = theirs, at_most = 2 / 3 },
    { metric = "cpu", of = ours, against = theirs, at_most = 2 / 3 },
    { metric = "memory", of = ours, against = theirs, at_most = 1 / 10 },
  },
  notes = function(medians)
    local notes = {}
    for _, name in ipairs { ours, theirs } do
      local more = medians[name].memory - medians[name .. one].memory
      local cpu = medians[name].cpu - medians[alone].cpu
      local text = "%s: %.0f KiB for each further child, and %.2f ms of CPU time beside its own"
      notes[#notes + 1] = text:format(name, more / (CHILDREN - 1), cpu * 1e3 / CHILDREN)
    end
    return notes
  end,
}
