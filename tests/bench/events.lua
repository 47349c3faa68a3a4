--- One turn of 20,000 events, read to its end: against the official TypeScript SDK, which does the
--- same with the same child.

local kit = require "tests.bench.lib.kit"

local COUNT = 20000
local codex = kit.folder(("events-%d"):format(COUNT)) .. "/codex"
local ours, theirs = "codex-lua", "TypeScript SDK"

local function side(name, ...)
  return { name = name, argv = { ... } }
end

local sides = {
  side(ours, kit.host, kit.source "events.lua", codex),
  side(theirs, "node", kit.source "events.mjs", codex),
}

return {
  name = "events",
  about = "Reading one turn of 20,000 events from a child to its end, the whole program.",
  prepare = function()
    kit.codex_with_events(COUNT)
    local text = kit.read(kit.folder(("events-%d"):format(COUNT)) .. "/events.jsonl")
    local _, items = text:gsub('"type":"item.completed"', "")
    for _, each in ipairs(sides) do each.expect = ("%d\t%d\n"):format(COUNT, items) end
  end,
  sides = sides,
  limits = {
    { metric = "wall", of = ours, against = theirs, at_most = 1 / 3 },
    { metric = "cpu", of = ours, against = theirs, at_most = 1 / 3 },
    { metric = "memory", of = ours, against = theirs, at_most = 1 / 10 },
  },
}
