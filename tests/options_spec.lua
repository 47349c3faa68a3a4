local options = require "codex.options"

local known = options.set { "sandbox", "timeout", "cwd" }

local function check(opts) return options.check("codex.exec", opts, known) end

describe("options", function()
  it("may be absent, and are returned as they are", function()
    assert.same({}, check(nil))
    local given = { cwd = "/" }
    assert.equal(given, check(given))
  end)

  it("with a wrong name are refused, with the nearest name if one is near", function()
    local cases = {
      { { sandbx = 1 }, "codex.exec: option 'sandbx' is unknown; did you mean 'sandbox'?" },
      { { time_out = 1 }, "codex.exec: option 'time_out' is unknown; did you mean 'timeout'?" },
      { { wholly_different = 1 }, "codex.exec: option 'wholly_different' is unknown" },
      { { "x" }, "codex.exec: option '1' is unknown" },
      { { [{}] = 1 }, "is unknown" },
    }
    for _, case in ipairs(cases) do
      local _, message = pcall(check, case[1])
      assert.is_truthy(message:find(case[2], 1, true), message)
    end
    local _, message = pcall(check, { wholly_different = 1 })
    assert.is_nil(message:find "did you mean")
  end)

  it("must be a table", function()
    assert.error_matches(function() check "cwd" end, "options must be a table, got string")
  end)

  it("blame the line that called the function", function()
    local function exec(opts)
      options.check("codex.exec", opts, known)
      return true
    end
    local _, message = pcall(function() exec { nope = 1 } end)
    assert.matches("options_spec.lua:%d+:", message)
  end)

  it("have types", function()
    local function typed(value)
      return options.typed("f", { x = value }, "x", "number", "string")
    end
    assert.equal(1, typed(1))
    assert.equal("a", typed "a")
    assert.is_nil(typed(nil))
    assert.error_matches(function() typed(true) end,
      "f: option 'x' must be a number or a string, got boolean")
  end)

  it("give times in seconds, which become whole milliseconds", function()
    local function ms(value) return options.milliseconds("f", { t = value }, "t") end
    assert.equal(0, ms(nil))
    assert.equal(1500, ms(1.5))
    assert.equal(1, ms(0.0001))
    for _, bad in ipairs { -1, 0 / 0, math.huge, 1e10 } do
      assert.error_matches(function() ms(bad) end, "must be a number of seconds")
    end
    assert.error_matches(function() ms "1" end, "must be a number")
  end)
end)
