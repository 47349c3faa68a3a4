--- How turns of real Codex end, on two versions, against what was captured: failures of the model,
--- interrupts, reviews, hooks.

local app = require "tests.support.app_server"
local async = require "codex.async"
local files = require "codex.files"
local json = require "codex.json"
local peers = require "tests.support.peers"

local free = { approval_policy = "never", sandbox = "danger-full-access" }

--- As Codex was configured for the captures of failures.
local retries = {
  ["model_providers.mock.request_max_retries"] = 1, ["model_providers.mock.stream_max_retries"] = 1,
}

--- Waits for something that no event tells, for some seconds at most.
local function eventually(what, check)
  for _ = 1, 500 do
    local value = check()
    if value then return value end
    async.sleep(0.01)
  end
  error(what .. " did not happen")
end

for _, peer in ipairs { "latest", "middle" } do
  local version, is_latest = peers.version[peer], peer == "latest"

  describe("a turn of Codex " .. version .. " fails", function()
    local model_error = { failed = { code = "server_error", message = "model exploded" } }
    -- 0.153.4 has no name for a key that is refused, nor the status but in words.
    local refused = { "auth", is_latest and "httpConnectionFailed" or "other" }
    local faults = {
      h400 = { { status = 400, body = '{"error":{"message":"bad request"}}' }, "rpc", "other" },
      h401 = { { status = 401, body = "bad key" }, table.unpack(refused) },
      -- Without the header it is not tried again.
      h429 = { { status = 429, body = "slow down", headers = { ["retry-after"] = "0" } },
        "rate_limit", "responseTooManyFailedAttempts" },
      h429ul = { { status = 429, body = '{"error":{"type":"usage_limit_reached"}}' },
        "rate_limit", "usageLimitExceeded" },
      h500 = { { status = 500, body = "oops" }, "rpc", "internalServerError" },
      ctx = { { failed = { code = "context_length_exceeded", message = "x" } },
        "rpc", "contextWindowExceeded" },
      failed = { model_error, "rpc", "other" },
      disconnect = { { text = { "Hel", "lo" }, disconnect = true }, "rpc", "other" },
    }
    for name, case in pairs(faults) do
      it(("with %s/%s on %s"):format(case[2], case[3], name), function()
        app.run({ reply = function() return case[1] end, peer = peer, config = retries,
          connect = { experimental = false } }, function(server)
          local thread = assert(server.client:thread(free))
          local last
          for event in thread:run "go" do last = event end
          assert.same({ "failure", true }, { last.type, last.synthetic })
          local err = last.error
          assert.same({ case[2], case[3] }, { err.kind, err.code })
          assert.equal(server:wait("error", function(params) return not params.willRetry end)
            .error.message, err.message)
          local expected = app.kind(app.capture("0.169.0-fail-" .. name))
          if name == "h429" and not is_latest then -- which does not try it again
            assert.equal("error retry", table.remove(expected.main, 3))
          end
          assert.same(expected, app.kind(server.heard))
        end)
      end)
    end
  end)

  it("a turn of Codex " .. version .. " says when it may be tried again", function()
    local fault = { failed = { code = "rate_limit_exceeded",
      message = "Rate limit reached. Please try again in 0.4s." } }
    app.run({ reply = function() return fault end, peer = peer }, function(server)
      local thread = assert(server.client:thread(free))
      local _, err = thread:ask "go"
      assert.same({ "rate_limit", 0.4 }, { err.kind, err.data.retry_after })
    end)
  end)

  it("a turn of Codex " .. version .. " does not wait for ever where nobody listens", function()
    app.run({ reply = function() return "next" end, peer = peer }, function(server)
      local thread = assert(server.client:thread(free))
      server.model:close()
      local last
      for event in thread:run("go", { network_wait = 0.5, timeout = 20 }) do last = event end
      assert.same({ "timeout", "network" }, { last.error.kind, last.error.code })
      assert.matches("^Codex waited 0.5 seconds for the network: Reconnecting", last.error.message)
    end)
  end)

  describe("a turn of Codex " .. version .. " is interrupted", function()
    --- Steers and interrupts as in the captures; `ready` waits until the turn is under way.
    local function interrupt(wants, name, ready, after)
      app.run({ turns = { wants, "next" }, peer = peer, connect = { experimental = false } },
        function(server)
          local thread = assert(server.client:thread(free))
          local asked = async.spawn(function() return thread:ask "go" end)
          ready(server)
          local turn_id = thread:running().id
          assert(thread:steer "also this")
          local started = assert(server.client:request("turn/start", {
            threadId = thread.id, input = { { type = "text", text = "second" } },
          }))
          assert.equal(turn_id, started.turn.id)
          local _, wrong = server.client:request("turn/interrupt",
            { threadId = thread.id, turnId = "nope" })
          assert.same({ "rpc", -32600 }, { wrong.kind, wrong.code })
          assert(thread:interrupt())
          local result, err = asked:join()
          assert.is_nil(result)
          assert.same({ "cancelled", "interrupted" }, { err.kind, err.code })
          local _, idle = thread:interrupt()
          assert.same({ "rpc", "idle" }, { idle.kind, idle.code })
          -- 0.153.4 never answers that.
          local _, raw = server.client:request("turn/interrupt",
            { threadId = thread.id, turnId = turn_id }, { timeout = is_latest and 60 or 0.2 })
          assert.same(is_latest and { "rpc", -32600 } or { "timeout" }, { raw.kind, raw.code })
          -- What was steered with is shown or not, by when the model would have been told of it.
          local kind = app.kind(server.heard)
          while kind.main[3]:find "userMessage$" do table.remove(kind.main, 3) end
          assert.same(app.kind(app.capture("0.169.0-interrupt-" .. name)), kind)
          after(server, thread, err)
        end)
    end

    it("while the model is silent", function()
      interrupt({ hang = true }, "hang", function(server)
        server:wait_model(1)
      end, function(server, thread, err)
        assert.same({}, err.data.unfinished)
        assert.equal("next", assert(thread:ask "next").final_message)
        assert.equal("next", server.model.requests[2].prompt)
      end)
    end)

    it("while a command runs, which lives on until the server ends", function()
      local function pid() return tonumber(files.read(app.work .. "/pid") or "") end
      local function is_alive()
        local stat = files.read(("/proc/%d/stat"):format(pid()))
        return stat ~= nil and stat:match "%) (%a)" ~= "Z"
      end
      interrupt({ exec = "echo $$ > pid; exec sleep 60" }, "command", function(server)
        server:wait("item/started", function(p) return p.item.type == "commandExecution" end)
        eventually("the command", pid)
      end, function(server, thread, err)
        assert.same({ "commandExecution" }, { err.data.unfinished[1].type })
        assert.equal("next", assert(thread:ask "next").final_message)
        assert.is_true(is_alive())
        server.client:close()
        eventually("the command's end", function() return not is_alive() end)
      end)
    end)
  end)

  describe("Codex " .. version, function()
    local function repository()
      assert(os.execute("cd " .. peers.quote(app.work) .. [[ && git init -q . && echo a > a.txt &&
        git add . && git -c user.name=t -c user.email=t@example.org commit -q -m one &&
        echo b >> a.txt]]))
    end

    local finding = {
      title = "[P1] Bug", body = "b added", confidence_score = 0.9, priority = 1,
      code_location = { absolute_file_path = app.work .. "/a.txt",
        line_range = { start = 2, ["end"] = 2 } },
    }
    local verdict = { json = { findings = { finding }, overall_correctness = "patch is incorrect",
      overall_explanation = "one bug", overall_confidence_score = 0.9 } }

    it("reviews the changes", function()
      app.run({ turns = { verdict }, peer = peer, connect = { experimental = false } },
        function(server)
          repository()
          local thread = assert(server.client:thread())
          local stream = thread:review("uncommitted", { delivery = "inline" })
          local last
          for event in stream do last = event end
          local result = assert(stream:result())
          server:assert_like "0.169.0-review"
          assert.same({ "turn/completed", stream.id }, { last.type, last.turn.id })
          assert.equal("one bug\n\nReview comment:\n\n- [P1] Bug — " .. app.work
            .. "/a.txt:2-2\n  b added", result.review)
          assert.equal(result.review, result.final_message)
          -- The reviewer's own answer is begun and not shown.
          assert.same({ "agentMessage", "" }, { result.unfinished[1].type,
            result.unfinished[1].text })
          assert.truthy(server.model.requests[1].prompt:find "^Review the current code changes")
        end)
    end)

    it("does no detached review", function()
      app.run({ turns = { verdict }, peer = peer, connect = { experimental = false } },
        function(server)
          repository()
          local thread = assert(server.client:thread())
          local stream = thread:review("uncommitted", { delivery = "detached" })
          local result, err = stream:result()
          assert.is_nil(result)
          assert.same({ "rpc", -32600 }, { err.kind, err.code })
          server:wait "thread/started"
          server:assert_like "0.169.0-review-detached"
        end)
    end)

    it("notifies", function()
      app.run({ turns = { { text = { "one", " and" } }, { text = { "two", " and" } } }, peer = peer,
        connect = { experimental = false, client_info = { name = "spec", version = "1" } } },
        function(server)
          local path = app.work .. "/notified"
          local program = { "/bin/sh", "-c", "printf '%s\n' \"$1\" >> " .. path, "sh" }
          local thread = assert(server.client:thread { config = { notify = program } })
          assert(thread:ask { "first", "first b" })
          local last = assert(thread:ask { "second", "second b" })
          server:assert_like "0.169.0-notify"
          eventually("the second notification", function()
            return select(2, (files.read(path) or ""):gsub("\n", "")) == 2
          end)
          local said = {}
          for line in files.read(path):gmatch "[^\n]+" do
            local payload = json.decode(line)
            said[payload["last-assistant-message"]] = payload
          end
          local second = said["two and"]
          assert.is_table(said["one and"])
          assert.same({ "agent-turn-complete", thread.id, last.turn_id, "spec" }, { second.type,
            second["thread-id"], second["turn-id"], second.client })
          assert.same({ "firstfirst b", "secondsecond b" }, second["input-messages"])
        end)
    end)

    --- A hook that answers approvals; it runs once its hash is in the configuration.
    local function with_hook(behavior, body)
      local seen = {}
      app.run({ turns = { app.escalated(), "done" }, peer = peer,
        connect = { experimental = false, policies = { app.policy("accept", seen) } } },
        function(server)
          local answer = json.encode { hookSpecificOutput = { hookEventName = "PermissionRequest",
            decision = { behavior = behavior, message = "denied by hook" } } }
          local hook = { type = "command", command = "echo '" .. answer .. "'", timeout = 10 }
          assert(files.write(server.cx.home .. "/hooks.json",
            json.encode { hooks = { PermissionRequest = { { hooks = { hook } } } } }))
          local listed = assert(server.client:request("hooks/list", { cwds = { app.work } }))
          local entry = listed.data[1].hooks[1]
          assert.same({ "permissionRequest", "untrusted" }, { entry.eventName, entry.trustStatus })
          server.client:close()
          server.heard = {}
          local client <close> = server:connect { experimental = false,
            policies = { app.policy("accept", seen) },
            config = { hooks = { state = { [entry.key] = { trusted_hash = entry.currentHash } } } },
          }
          local thread = assert(client:thread { approval_policy = "on-request",
            sandbox = "workspace-write" })
          local result = assert(thread:ask "go")
          assert.equal("done", result.final_message)
          assert.same({}, seen) -- nobody else is asked
          body(server, result)
        end)
    end

    it("has a hook accept a command", function()
      with_hook("allow", function(server)
        server:assert_like "0.169.0-hook-PermissionRequest-permallow"
        assert.is_true(app.is_written())
      end)
    end)

    it("has a hook deny a command", function()
      with_hook("deny", function(server)
        server:assert_like "0.169.0-hook-PermissionRequest-permdeny"
        assert.is_false(app.is_written())
        assert.truthy(server:told():find "denied by hook")
      end)
    end)
  end)
end
