--- The table of faults and policies, each fault with one of the policies; `make matrix` plays all.

local matrix = require "tests.differential.matrix"
local peers = require "tests.support.peers"

describe("whatever goes wrong", function()
  it("the command does not run, and does where a policy accepts in time", function()
    local place = { absent = 0, declining = 1, late = 2 }
    local list = matrix.run(peers.latest, function(_, column, i) return i % 3 == place[column] end)
    assert.equal(#matrix.faults, #list)
    local problems = {}
    for _, each in ipairs(list) do problems[#problems + 1] = matrix.problem(each) end
    assert.equal("", table.concat(problems, "\n"))
  end)

  it("is told in a table", function()
    local fault = matrix.faults[1]
    local function cell(column, accepted, outcome)
      return { fault = fault, column = column,
        cell = { accepted = accepted, asked = true, outcome = outcome } }
    end
    local list = { cell("absent", 0, "ended"), cell("late", 1, "accepted") }
    local text = matrix.text(list)
    assert.is_truthy(text:find("| client | " .. fault.name .. " | 0 (ended) |  | 1 (accepted) |", 1,
      true))
    assert.is_nil(matrix.problem(list[1]))
    assert.is_truthy(matrix.problem(list[2]):find "accepted$")
    list[1].cell.asked = false
    assert.is_truthy(matrix.problem(list[1]):find "did not ask$")
  end)
end)
