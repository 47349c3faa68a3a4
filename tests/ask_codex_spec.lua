--- What else real Codex asks of its client, on two versions: questions of the model and of MCP
--- servers, calls of our tools.

local E = require "codex.error"
local app = require "tests.support.app_server"
local async = require "codex.async"
local program = require "tests.support.program"
local json = require "codex.json"
local peers = require "tests.support.peers"

local policy = app.policy
local workspace = { approval_policy = "on-request", sandbox = "workspace-write" }

for _, peer in ipairs { "latest", "middle" } do
  local version = peers.version[peer]
  -- Only newer versions tell whether a thread was read.
  local unread = peer == "middle" and "read" or nil

  describe("Codex " .. version .. " asks the user", function()
    local question = {
      id = "q1", header = "Pick", question = "Which?", options = {
        { label = "A", description = "first" }, { label = "B", description = "second" },
      },
    }
    local turns = {
      { call = { name = "request_user_input", arguments = { questions = { question } } } }, "done",
    }
    local plan = { mode = "plan", settings = { model = "gpt-5.5",
      reasoning_effort = json.null, developer_instructions = json.null } }

    local function ask(decision, body)
      local seen = {}
      app.run({ turns = turns, peer = peer, connect = { policies = { policy(decision, seen) } } },
        function(server)
          local thread = assert(server.client:thread(workspace))
          body(server, seen, thread:ask("go", { collaboration_mode = plan }))
        end)
    end

    it("and has the answer", function()
      ask({ decision = "accept", answers = { q1 = "A" } }, function(server, seen, result, err)
        assert.is_nil(err)
        assert.equal("done", result.final_message)
        server:assert_like("0.169.0-request-user-input-plan", unread)
        assert.equal("user_input", seen[1].kind)
        assert.is_true(seen[1].is_blocking)
        assert.same({ "q1", "Which?", "B" }, { seen[1].questions[1].id,
          seen[1].questions[1].question, seen[1].questions[1].options[2].label })
        assert.same({ answers = { q1 = { answers = { "A" } } } }, json.decode(server:told()))
      end)
    end)

    it("and has none when nobody wants to answer", function()
      ask(nil, function(server, _, result, err)
        assert.is_nil(err)
        assert.equal("done", result.final_message)
        server:assert_like("0.169.0-request-user-input-plan", unread)
        assert.same({ answers = {} }, json.decode(server:told()))
      end)
    end)

    it("only in plan mode", function()
      local seen = {}
      app.run({ turns = turns, peer = peer,
        connect = { experimental = false, policies = { policy("accept", seen) } } },
        function(server)
          local thread = assert(server.client:thread(workspace))
          assert.equal("done", assert(thread:ask "go").final_message)
          server:assert_like "0.169.0-request-user-input"
          assert.same({}, seen)
          assert.equal("request_user_input is unavailable in Default mode", server:told())
        end)
    end)
  end)

  describe("Codex " .. version .. " calls a tool of ours", function()
    local calls = { call = { name = "lua_eval", arguments = { code = "return 1+1" } } }

    local function call(run, body, turns)
      app.run({ turns = turns or { calls, "done" }, peer = peer }, function(server)
        local thread = assert(server.client:thread {
          approval_policy = "on-request", sandbox = "workspace-write",
          tools = { { name = "lua_eval", description = "eval lua", run = run,
            input = { type = "object", properties = { code = { type = "string" } },
              required = { "code" } } } },
        })
        body(server, thread)
      end)
    end

    it("and is told what it returns, though it waits", function()
      local context
      call(function(args, given)
        context = given
        async.sleep(0.05)
        return load(args.code)()
      end, function(server, thread)
        local result, err = thread:ask "go"
        assert.is_nil(err)
        assert.equal("done", result.final_message)
        server:assert_like("0.169.0-dynamic-tool", unread)
        assert.equal("2", server:told())
        assert.same({ thread.id, result.turn_id, "lua_eval" },
          { context.threadId, context.turnId, context.tool })
        local item = result.items[2]
        assert.same({ "dynamicToolCall", "completed", true },
          { item.type, item.status, item.success })
        local tool = server.model.requests[1].tools.lua_eval
        assert.same({ "eval lua", { "code" } }, { tool.description, tool.parameters.required })
      end)
    end)

    it("and is told of images and tables", function()
      local dot = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42"
        .. "mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
      call(function() return { { image = dot }, { type = "inputText", text = "a dot" } } end,
        function(server, thread)
          assert(thread:ask "go")
          assert.equal("a dot", server:told())
          local body = json.encode(server.model.requests[2].body)
          assert.truthy(body:find(dot, 1, true))
        end)
    end)

    local failures = {
      ["an error that it raises"] = function() error "no such thing" end,
      ["an error that it returns"] = function() return nil, E.new("io", "no such thing") end,
    }
    for what, run in pairs(failures) do
      it("and is told " .. what, function()
        call(run, function(server, thread)
          local result, err = thread:ask "go"
          assert.is_nil(err)
          assert.same({ "failed", false }, { result.items[2].status, result.items[2].success })
          assert.truthy(server:told():find "no such thing")
          assert.is_nil(server:told():find "stack traceback")
          assert.equal(what:find "raises" ~= nil, server:said "error: tool lua_eval failed")
        end)
      end)
    end

    it("and is told that there is none", function()
      call(function() return "x" end, function(server, thread)
        server.client._tools[thread.id] = nil
        local result = assert(thread:ask "go")
        assert.same({ "failed", false }, { result.items[2].status, result.items[2].success })
        assert.truthy(server:told():find "there is no tool lua_eval")
      end)
    end)

    it("which is cancelled when the turn is interrupted", function()
      local was_closed, went_on
      call(function()
        local guard <close> = setmetatable({}, { -- luacheck: ignore 211
          __close = function() was_closed = true end,
        })
        async.sleep(60)
        went_on = true
        return "late"
      end, function(server, thread)
        local asked = async.spawn(function() return thread:ask "go" end)
        server:wait "item/tool/call"
        assert(thread:interrupt())
        local result, err = asked:join()
        assert.is_nil(result)
        assert.same({ "cancelled", "interrupted" }, { err.kind, err.code })
        assert.is_true(was_closed)
        assert.is_nil(went_on)
        assert.is_nil(next(server.client._pending))
        -- The thread goes on.
        assert.equal("next", assert(thread:ask "next").final_message)
      end, { calls, "next" })
    end)
  end)

  describe("Codex " .. version .. " lets an MCP server ask", function()
    local calls = { mcp = { server = "mock", tool = "ask" } }

    local function ask(decide, body)
      local seen = {}
      app.run({
        turns = { calls, "done", calls, "done again" }, peer = peer,
        config = { ["mcp_servers.mock"] = { command = program.path,
          args = { peers.root .. "/tests/support/asking_server.lua" } } },
        connect = { experimental = false, policies = { policy(decide, seen) } },
      }, function(server)
        local thread = assert(server.client:thread(workspace))
        server:wait("mcpServer/startupStatus/updated",
          function(params) return params.status == "ready" end)
        local result, err = thread:ask "go"
        body(server, seen, result, err, thread)
      end)
    end

    it("and hands it the form", function()
      ask(function(request)
        return { decision = "accept", content = not request.tool and { ok = true } or nil }
      end, function(server, seen, result, err)
        assert.is_nil(err)
        assert.equal("done", result.final_message)
        server:assert_like "0.169.0-mcp-elicitation-accept"
        assert.same({ "elicitation", "mock" }, { seen[1].kind, seen[1].server })
        -- 0.153.4 has the tool's name in the message only.
        assert.equal(peer == "latest" and "ask" or nil, seen[1].tool.name)
        assert.truthy(seen[1].message:find('tool "ask"', 1, true))
        assert.same({ "Proceed?", { "ok" } }, { seen[2].message, seen[2].schema.required })
        assert.truthy(server:told():find('{"action":"accept","content":{"ok":true}}', 1, true))
      end)
    end)

    it("and does not call its tool when that is declined", function()
      ask("decline", function(server, seen, result, err)
        assert.is_nil(err)
        assert.equal("done", result.final_message)
        server:assert_like "0.169.0-mcp-elicitation-decline"
        assert.equal(1, #seen)
        assert.equal("failed", result.items[2].status)
        assert.truthy(server:told():find "user rejected MCP tool call")
      end)
    end)

    it("and asks for its tool no more when that is accepted for the session", function()
      ask(function(request)
        if request.tool then return "accept_for_session" end
        return { decision = "accept", content = { ok = true } }
      end, function(server, seen, result, err, thread)
        assert.is_nil(err)
        assert.equal("done", result.final_message)
        server:assert_like "0.169.0-mcp-elicitation-accept"
        assert.equal("done again", assert(thread:ask "again").final_message)
        assert.equal(3, #seen)
        assert.is_nil(seen[3].tool)
      end)
    end)

    it("and tells it when the form is declined", function()
      ask(function(request) return request.tool and "accept" or "decline" end,
        function(server, seen, result, err)
          assert.is_nil(err)
          assert.equal(2, #seen)
          assert.equal("completed", result.items[2].status)
          assert.truthy(server:told():find('{"action":"decline"}', 1, true))
        end)
    end)
  end)
end
