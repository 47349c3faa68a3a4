local async = require "codex.async"

describe("a task", function()
  it("waits for a sleep", function()
    async.sleep(0.01)
    assert.is_true(true)
  end)
end)
