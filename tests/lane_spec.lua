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
    end, error, function() end)
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

  it("gives up a message when more comes than may wait behind it", function()
    local order, given_up, waiting = {}, {}, 0
    local subject = lane.new(function(one, in_task)
      if one.name == "slow" then
        if not in_task then return true end
        waiting = waiting + 1
        pcall(async.sleep, 60) -- who does not care that he is cancelled
        async.sleep(0.01)
        error "this does not count any more"
      end
      table.insert(order, one.name)
      return false
    end, error, function() end, function(one) table.insert(given_up, one) end)
    local slow, long = message "slow", message "long"
    long.line = ("x"):rep(lane.MOST)
    subject:take(slow)
    subject:take(long)
    async.sleep(0)
    assert.same({ 0, 1 }, { #given_up, waiting })
    subject:take(message "third")
    assert.equal(slow, given_up[1])
    assert.is_true(slow.given_up)
    subject:take(message "fourth")
    assert.is_true(program.eventually(function() return #order == 3 end))
    async.sleep(0.05)
    assert.same({ "long", "third", "fourth" }, order)
  end)
end)
