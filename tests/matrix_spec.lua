--- The table of faults and policies, each fault with one of the policies; `make matrix` plays all.

local matrix = require "tests.differential.matrix"
local peers = require "tests.support.peers"
local sessions = require "tests.differential.session"
local uv = require "luv"

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

--- A thread in this folder, and a turn that writes there: what the client was told, and the traces.
local function write_in(session, cwd)
  assert(require("codex.files").make_dir(cwd))
  local result, message = session:request("thread/start", { cwd = cwd, sandbox = "workspace-write",
    approvalPolicy = "on-request" })
  if result and result.thread then
    session:start_turn(result.thread.id, "touch " .. cwd .. "/written.lua")
    session:quiet(10)
  end
  return message.error and message.error.message, uv.fs_stat(cwd .. "/written.lua") ~= nil
end

describe("a working folder in which commands would decide the next session", function()
  it("is a question, and one that was named is not", function()
    local session <close> = sessions.open { binary = peers.latest,
      launcher = { "--strict", "--workspace", "FOLDER/project" },
      prepare = function(session)
        assert(require("codex.files").make_dir(session.folder .. "/project"))
      end }
    local home = session.cx.environment().HOME
    for _, folder in ipairs {
      session.folder .. "/codex-lua/policy.d", session.home, session.home .. "/rules",
      home .. "/.ssh", home,
    } do
      local problem, written = write_in(session, folder)
      assert.is_truthy(problem and problem:find "a folder that nobody named", folder)
      assert.is_false(written, folder)
    end
    local problem, written = write_in(session, session.folder .. "/project")
    assert.is_nil(problem)
    assert.is_true(written)
  end)
end)
