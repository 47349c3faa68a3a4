-- spawn.lua N AT_ONCE: starts /bin/true so often and waits for each, so many at the same time.
local codex = require "codex"

local times = {}
for i = 1, tonumber(arg[1]) do times[i] = i end
codex.map(times, function()
  local child = assert(codex.proc.spawn({ "/bin/true" }, { stdout = "null", stderr = "null" }))
  assert(child:wait().code == 0)
end, { concurrency = tonumber(arg[2]) })
