--- Somebody else's Lua is ended when its time is over, also where it is nearly always in our code.

local files = require "codex.files"
local guard = require "codex.guard"
local uv = require "luv"

describe("codex.guard", function()
  it("ends a loop that does nothing but call us, in whatever step with the clock", function()
    for length = 0, 24 do
      local code = "local files = ... while true do files.read '/nonexistent' %s end"
      local loop = assert(load(code:format(("local a = 1 "):rep(length))))
      local started = uv.hrtime()
      local outcome = guard.run("a loop", 0.02, loop, files)
      assert.is_true(outcome.timed_out)
      assert.is_true(uv.hrtime() - started < 2e9)
    end
  end)
end)
