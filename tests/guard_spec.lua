--- Somebody else's Lua is ended when its time is over, also where it is nearly always in our code.

local guard = require "codex.guard"
local options = require "codex.options"
local uv = require "luv"

describe("codex.guard", function()
  it("ends a loop that does next to nothing but call us", function()
    local long = ("a"):rep(300)
    -- A million instructions of ours to look for the nearest name, and a handful of the loop's.
    local function loop()
      while true do pcall(options.check, "f", { [long] = 1 }, { [long .. "bcd"] = true }) end
    end
    local started = uv.hrtime()
    local outcome = guard.run("a loop", 0.05, loop)
    assert.is_true(outcome.timed_out)
    assert.is_true(uv.hrtime() - started < 5e9)
  end)
end)
