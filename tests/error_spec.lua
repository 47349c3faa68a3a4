local E = require "codex.error"

describe("an error", function()
  it("says its kind, message and code when it is printed", function()
    assert.equal("spawn: no such program", tostring(E.new("spawn", "no such program")))
    assert.equal("spawn: no such program (ENOENT)",
      tostring(E.new("spawn", "no such program", { code = "ENOENT" })))
  end)

  it("ends with what the program wrote to standard error, if it wrote something", function()
    assert.equal("exit: failed (1)\nline 1\nline 2",
      tostring(E.new("exit", "failed", { code = 1, stderr = "line 1\nline 2\n\n" })))
    assert.equal("exit: failed", tostring(E.new("exit", "failed", { stderr = "" })))
  end)

  it("carries data", function()
    local data = {}
    assert.equal(data, E.new("timeout", "late", { data = data }).data)
  end)

  it("is told from other values, by kind too", function()
    local err = E.new("io", "x")
    assert.is_true(E.is(err))
    assert.is_true(E.is(err, "io"))
    assert.is_false(E.is(err, "rpc"))
    for _, other in ipairs { "io", 1, {}, setmetatable({}, {}), true } do
      assert.is_false(E.is(other))
    end
    assert.is_false(E.is(nil))
  end)

  it("survives error and pcall as it is", function()
    local err = E.new("closed", "gone")
    local ok, caught = pcall(function() error(err) end)
    assert.is_false(ok)
    assert.equal(err, caught)
  end)
end)
