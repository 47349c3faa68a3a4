--- The order of one side's messages, whatever becomes of one of them.

local async = require "codex.async"
local lane = require "codex.launcher.lane"
local program = require "tests.support.program"

local function message(name) return { name = name, line = name } end

describe("a lane", function()
  it("keeps the order when the task is cancelled in which a message waited", function()
    local order, waiting = {}, nil
    local subject = lane.new(function(one, in_task)
      if one.name == "slow" and not in_task then return true end
      if one.name == "slow" then
        waiting = async.running()
        async.sleep(60)
      end
      table.insert(order, one.name)
      return false
    end, error)
    subject:take(message "slow")
    subject:take(message "second")
    async.sleep(0)
    waiting:cancel()
    async.sleep(0)
    subject:take(message "third")
    subject:take(message "fourth")
    assert.is_true(program.eventually(function() return #order == 3 end))
    assert.same({ "second", "third", "fourth" }, order)
  end)
end)
