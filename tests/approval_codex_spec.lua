--- Approvals of real Codex on two versions, against what was captured of them: commands, changes of
--- files, permissions.

local E = require "codex.error"
local app = require "tests.support.app_server"
local async = require "codex.async"
local files = require "codex.files"
local peers = require "tests.support.peers"

local escalated, file, is_written, policy = app.escalated, app.file, app.is_written, app.policy
local patch = "*** Begin Patch\n*** Add File: escaped.txt\n+one\n*** End Patch\n"
local asks_command = "item/commandExecution/requestApproval"
local workspace = { approval_policy = "on-request", sandbox = "workspace-write" }
local read_only = { approval_policy = "on-request", sandbox = "read-only" }

for _, peer in ipairs { "latest", "middle" } do
  local version = peers.version[peer]
  local is_latest = peer == "latest"

  --- Asks for a turn in which the model wants the command, or what else is given, and says "done".
  local function ask(given, body)
    app.run({
      turns = given.turns or { given.wants or escalated(), "done" }, peer = peer,
      config = given.config, connect = {
        experimental = false, policies = given.policies, policy_timeout = given.policy_timeout,
      },
    }, function(server)
      if given.handle then server.client:handle(asks_command, given.handle) end
      local thread = assert(server.client:thread(given.thread or workspace))
      body(server, thread:ask "go")
    end)
  end

  describe("Codex " .. version .. " asks for a command", function()
    it("and runs it when that is accepted", function()
      local seen = {}
      ask({ policies = { policy("accept", seen) } }, function(server, result, err)
        assert.is_nil(err)
        assert.equal("done", result.final_message)
        server:assert_like(version .. "-cmd-approval" .. (is_latest and "-accept" or ""))
        assert.is_true(is_written())
        assert.same({ "accept by spec" }, server:decisions())
        assert.equal(1, #seen)
        local request = seen[1]
        assert.same({ "command", "Allow creating a file?", server.work },
          { request.kind, request.reason, request.cwd })
        assert.equal("/bin/bash -lc 'touch " .. file .. "'", request.command)
        assert.same({ "touch", file }, request.amendment)
        assert.same({ result.thread_id, result.turn_id }, { request.thread_id, request.turn_id })
        assert.equal("commandExecution", request.item.type)
        assert.truthy(server:told():find "exited with code 0")
        assert.same({ "commandExecution", "completed" },
          { result.items[2].type, result.items[2].status })
      end)
    end)

    it("and for the same one not again when it is accepted for the session", function()
      local seen = {}
      local turns = { escalated(), "done", escalated(), "done again" }
      app.run({ turns = turns, peer = peer, connect = {
        experimental = false, policies = { policy("accept_for_session", seen) },
      } }, function(server)
        local thread = assert(server.client:thread(workspace))
        assert.equal("done", assert(thread:ask "go").final_message)
        server:assert_like "0.169.0-cmd-approval-session"
        assert.is_true(is_written())
        assert(os.remove(file))
        assert.equal("done again", assert(thread:ask "again").final_message)
        assert.same({ "accept_for_session by spec" }, server:decisions())
        assert.equal(1, #seen)
        assert.is_true(is_written())
      end)
    end)

    it("and goes on without it when it is declined", function()
      ask({ policies = { policy "decline" } }, function(server, result, err)
        assert.is_nil(err)
        assert.equal("done", result.final_message)
        server:assert_like "0.169.0-cmd-approval-decline"
        assert.is_false(is_written())
        assert.equal("declined", result.items[2].status)
        assert.truthy(server:told():find("rejected by user", 1, true))
      end)
    end)

    it("and ends the turn when it is cancelled", function()
      ask({ policies = { policy "cancel" } }, function(server, result, err)
        assert.is_nil(result)
        assert.same({ "cancelled", "interrupted" }, { err.kind, err.code })
        server:assert_like "0.169.0-cmd-approval-cancel"
        assert.is_false(is_written())
        assert.same({ 1, "declined" }, { #server.model.requests, err.data.items[2].status })
        assert.same({}, err.data.unfinished)
      end)
    end)

    it("and drops the question when the turn is interrupted", function()
      local late, ended = nil, nil
      local waiting = policy(function()
        local guard <close> = setmetatable({}, { -- luacheck: ignore 211
          __close = function() ended = true end,
        })
        async.sleep(60)
        late = "accept"
        return late
      end)
      app.run({ turns = { escalated() }, peer = peer,
        connect = { experimental = false, policies = { waiting } } }, function(server)
        local thread = assert(server.client:thread(workspace))
        local last
        for event in thread:run "go" do
          last = event
          if event.type == "item/started" and event.item.type == "commandExecution" then
            server:wait(asks_command)
            assert(thread:interrupt())
          end
        end
        assert.equal("failure", last.type)
        assert.same({ "cancelled", "interrupted" }, { last.error.kind, last.error.code })
        server:wait "serverRequest/resolved"
        server:assert_like "0.169.0-cmd-approval-interrupt"
        assert.is_true(ended)
        assert.is_nil(late)
        assert.is_nil(next(server.client._pending))
        assert.same({}, server:decisions())
        assert.is_false(is_written())
      end)
    end)

    it("and nobody is left waiting when the client is closed meanwhile", function()
      app.run({ turns = { escalated() }, peer = peer, connect = {
        experimental = false, policies = { policy(function() async.sleep(60) end) },
      } }, function(server)
        local thread = assert(server.client:thread(workspace))
        local asked = async.spawn(function() return thread:ask "go" end)
        server:wait(asks_command)
        server.client:close()
        local result, err = asked:join()
        assert.is_nil(result)
        assert.equal("closed", err.kind)
        server:assert_like "0.169.0-cmd-approval-eof"
        assert.same({ "commandExecution" }, { err.data.unfinished[1].type })
        assert.is_false(is_written())
      end)
    end)

    local odd = {
      badresult = function() return { decision = "bogus" } end,
      clienterror = function() return nil, E.new("policy", "client refused") end,
    }
    for name, handle in pairs(odd) do
      it("and takes an answer that is none for a failure: " .. name, function()
        ask({ handle = handle }, function(server, result, err)
          assert.is_nil(err)
          assert.equal("done", result.final_message)
          server:assert_like("0.169.0-cmd-approval-" .. name)
          assert.is_false(is_written())
          assert.equal("failed", result.items[2].status)
          assert.truthy(server:told():find("approval request failed", 1, true))
        end)
      end)
    end

    it("and takes an amendment, by which the next one runs without a question", function()
      local seen = {}
      local amend = function(request)
        return { decision = "accept", amendment = request.amendment }
      end
      local turns = { escalated(), "done", escalated(), "done again" }
      app.run({ turns = turns, peer = peer,
        connect = { policies = { policy(amend, seen) } } }, function(server)
        local thread = assert(server.client:thread(workspace))
        assert(thread:ask "go")
        assert.is_true(is_written())
        assert(os.remove(file))
        -- It holds for other threads too, since it is written down.
        local other = assert(server.client:thread(workspace))
        assert.equal("done again", assert(other:ask "again").final_message)
        assert.equal(1, #seen)
        assert.is_true(is_written())
        local rules = assert(files.read(server.cx.home .. "/rules/default.rules"))
        assert.truthy(rules:find('"touch"', 1, true))
      end)
    end)
  end)

  describe("the safe answer to Codex " .. version, function()
    local nobody = "decline by default: no policy decided"
    local cases = {
      ["is given when there is no policy"] = { policies = {}, record = nobody },
      ["is given when no policy has an opinion"] = { policies = { policy(nil) }, record = nobody },
      ["is given when a policy throws"] = {
        policies = { policy(function() error("broken", 0) end) },
        record = "decline by spec: failed: broken",
      },
      ["is given when a policy hangs"] = {
        policies = { policy(function() async.sleep(60) return "accept" end) },
        policy_timeout = 0.2, record = "decline by spec: timed out after 0.2 s",
      },
      ["is given when a policy never stops working"] = {
        policies = { policy(function() while true do is_written() end end) },
        policy_timeout = 0.2, record = "decline by spec: timed out after 0.2 s",
      },
      ["is given when a policy's word makes no sense"] = {
        policies = { policy "perhaps" },
        record = "decline by spec: failed: 'perhaps' is no decision; those are accept, "
          .. "accept_for_session, decline and cancel",
      },
    }
    for what, given in pairs(cases) do
      it(what, function()
        ask(given, function(server, result, err)
          assert.is_nil(err)
          assert.equal("done", result.final_message)
          server:assert_like "0.169.0-cmd-approval-decline"
          assert.is_false(is_written())
          assert.same({ given.record }, server:decisions())
        end)
      end)
    end
  end)

  describe("Codex " .. version .. " asks for a patch", function()
    local function ask_patch(decision, body)
      local seen = {}
      ask({ wants = { apply_patch = patch }, thread = read_only,
        policies = { policy(decision, seen) } }, function(server, result, err)
        body(server, result, err, seen)
      end)
    end

    it("and applies it when that is accepted", function()
      ask_patch("accept", function(server, result, err, seen)
        assert.is_nil(err)
        server:assert_like(is_latest and "0.169.0-patch-approval-accept"
          or "0.153.4-patch-approval")
        assert.equal("one\n", files.read(file))
        local change = { path = file, kind = "add", diff = "one\n" }
        assert.same({ "file_change", { change } }, { seen[1].kind, seen[1].changes })
        assert.truthy(result.diff:find("\n+one\n", 1, true))
        assert.same({ "fileChange", "completed" },
          { result.items[2].type, result.items[2].status })
        assert.truthy(server:told():find "Success")
      end)
    end)

    it("and goes on without it when it is declined", function()
      ask_patch("decline", function(server, result, err)
        assert.is_nil(err)
        assert.equal("done", result.final_message)
        server:assert_like "0.169.0-patch-approval-decline"
        assert.is_false(is_written())
        assert.is_nil(result.diff)
        assert.same({ "decline by spec" }, server:decisions())
        assert.equal("declined", result.items[2].status)
        assert.equal("patch rejected by user", server:told())
      end)
    end)

    it("and ends the turn when it is cancelled, without an end of the item", function()
      ask_patch("cancel", function(server, result, err)
        assert.is_nil(result)
        assert.same({ "cancelled", "interrupted" }, { err.kind, err.code })
        server:assert_like "0.169.0-patch-approval-cancel"
        assert.is_false(is_written())
        assert.equal("fileChange", err.data.unfinished[1].type)
      end)
    end)
  end)

  describe("Codex " .. version .. " asks for permissions", function()
    local folder = app.work .. "-outside"
    local target = folder .. "/written.txt"
    local wanted = { file_system = { write = { folder } } }
    local touch = { exec = "touch " .. target }
    local turns = {
      { call = { name = "request_permissions",
        arguments = { permissions = wanted, reason = "to write" } } },
      touch, "done", touch, "done again",
    }

    --- Runs a turn that asks and then writes, and one that only writes; says which could.
    local function ask_for_permissions(decision)
      local seen, wrote = {}, {}
      app.run({
        turns = turns, peer = peer, config = { ["features.request_permissions_tool"] = true },
        connect = { policies = { policy(decision, seen) } },
      }, function(server)
        assert(files.make_dir(folder))
        local thread = assert(server.client:thread(read_only))
        for i, final in ipairs { "done", "done again" } do
          assert.equal(final, assert(thread:ask "go").final_message)
          wrote[i] = os.remove(target) == true
        end
      end)
      assert(os.remove(folder))
      assert.equal("permissions", seen[1].kind)
      assert.equal("to write", seen[1].reason)
      return wrote, #seen, seen[1].permissions
    end

    it("and has them for the turn when that is accepted", function()
      local wrote, count, permissions = ask_for_permissions "accept"
      assert.same({ true, false }, wrote)
      assert.equal(1, count)
      assert.same({ folder }, permissions.fileSystem.write)
    end)

    it("and has them for the session when that is accepted", function()
      assert.same({ true, true }, (ask_for_permissions "accept_for_session"))
    end)

    it("and has none when that is declined", function()
      assert.same({ false, false }, (ask_for_permissions "decline"))
    end)

    it("and has no more than what is granted", function()
      local wrote = ask_for_permissions { decision = "accept",
        permissions = { network = { enabled = true } } }
      assert.same({ false, false }, wrote)
    end)
  end)
end
