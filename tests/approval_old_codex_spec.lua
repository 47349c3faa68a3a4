--- Approvals of Codex 0.101.0, against what was captured of 0.100.0, and what is different there.

local app = require "tests.support.app_server"
local files = require "codex.files"
local peers = require "tests.support.peers"

local escalated, file, is_written, policy = app.escalated, app.file, app.is_written, app.policy
local patch = "*** Begin Patch\n*** Add File: escaped.txt\n+one\n*** End Patch\n"
local asks_command = "item/commandExecution/requestApproval"
local workspace = { approval_policy = "on-request", sandbox = "workspace-write" }
local read_only = { approval_policy = "on-request", sandbox = "read-only" }

describe("Codex " .. peers.version.old, function()
  local function ask(wants, decision, body)
    local seen = {}
    app.run({
      turns = { wants, "done" }, peer = "old",
      connect = { policies = { policy(decision, seen) } },
    }, function(server)
      local thread = assert(server.client:thread(wants.exec and workspace or read_only))
      body(server, seen, thread:ask "go")
    end)
  end

  local began = { "item/started userMessage", "item/completed userMessage" }
  local answered = {
    "item/started agentMessage", "item/completed agentMessage", "turn/completed completed",
  }
  local interrupted = { "turn/completed interrupted" }

  --- What is told when the turn went like this. Nothing tells that a request is resolved, nor that
  --- a thread waits for an answer.
  local function assert_main(server, ...)
    local main = {}
    for _, part in ipairs { began, ... } do table.move(part, 1, #part, #main + 1, main) end
    local kind = app.kind(server.heard)
    assert.same(main, kind.main)
    assert.is_nil(kind.status)
  end

  it("asks for a command and runs it when that is accepted", function()
    ask(escalated(), "accept", function(server, seen, result, err)
      assert.is_nil(err)
      assert.equal("done", result.final_message)
      server:assert_like "0.100.0-cmd-approval"
      assert.is_true(is_written())
      -- The item is started after the answer, so that the question is about none.
      assert.is_nil(seen[1].item)
      assert.is_nil(seen[1].choices)
      assert.same({ "touch", file }, seen[1].amendment)
    end)
  end)

  it("asks for a command and goes on without it when it is declined", function()
    ask(escalated(), "decline", function(server, _, result, err)
      assert.is_nil(err)
      assert.equal("done", result.final_message)
      assert_main(server,
        { "? " .. asks_command, "item/completed commandExecution declined" }, answered)
      assert.is_false(is_written())
    end)
  end)

  it("asks for a command and ends the turn when it is cancelled", function()
    ask(escalated(), "cancel", function(server, _, result, err)
      assert.is_nil(result)
      assert.same({ "cancelled", "interrupted" }, { err.kind, err.code })
      assert_main(server,
        { "? " .. asks_command, "item/completed commandExecution declined" }, interrupted)
      assert.is_false(is_written())
    end)
  end)

  it("asks for a patch and applies it when that is accepted", function()
    ask({ apply_patch = patch }, "accept", function(server, seen, result, err)
      assert.is_nil(err)
      server:assert_like "0.100.0-patch-approval"
      assert.equal("one\n", files.read(file))
      assert.same({ { path = file, kind = "add", diff = "one\n" } }, seen[1].changes)
      assert.truthy(result.diff:find("\n+one\n", 1, true))
    end)
  end)

  local unpatched = {
    "item/started fileChange inProgress", "? item/fileChange/requestApproval",
    "item/completed fileChange declined",
  }
  --- That the patch has ended is told once more.
  local once_more = { "item/completed fileChange failed" }

  it("asks for a patch and goes on without it when it is declined", function()
    ask({ apply_patch = patch }, "decline", function(server, _, result, err)
      assert.is_nil(err)
      assert.equal("done", result.final_message)
      assert_main(server, unpatched, once_more, answered)
      assert.equal(result.items[2].id, result.items[3].id)
      assert.is_false(is_written())
    end)
  end)

  it("asks for a patch and ends the turn when it is cancelled", function()
    ask({ apply_patch = patch }, "cancel", function(server, _, result, err)
      assert.is_nil(result)
      assert.same({ "cancelled", "interrupted" }, { err.kind, err.code })
      -- The end of the turn may come before that is told.
      local main = table.concat(app.kind(server.heard).main, "\n")
      local told_again = main:find(once_more[1], 1, true)
      assert_main(server, unpatched, told_again and once_more or {}, interrupted)
      assert.is_false(is_written())
      assert.same({}, err.data.unfinished)
    end)
  end)

  it("has no tools of its client, which is said before anything begins", function()
    app.run({ turns = { "done" }, peer = "old" }, function(server)
      local tool = { name = "clock", description = "Tells the time.", run = function() end }
      for _, how in ipairs { "thread", "resume" } do
        local call = { how == "resume" and "01a1fac7-266f-7660-8032-62ba54fb297c" or nil }
        call[#call + 1] = { tools = { tool } }
        local thread, err = server.client[how](server.client, table.unpack(call))
        assert.is_nil(thread)
        assert.same({ "unsupported", "tools" }, { err.kind, err.code })
        assert.truthy(err.message:find(peers.version.old, 1, true))
        assert.truthy(err.message:find("0.106.0", 1, true))
      end
      assert.equal(0, server:count "thread/started")
      assert.equal("done", assert(assert(server.client:thread()):ask "go").final_message)
    end)
  end)

  it("says that a key was refused", function()
    app.run({ reply = function() return { status = 401, body = "bad key" } end, peer = "old" },
      function(server)
        local _, err = assert(server.client:thread()):ask "go"
        assert.same({ "auth", "other" }, { err.kind, err.code })
      end)
  end)
end)
