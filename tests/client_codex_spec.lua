--- The client on real Codex, two versions: several turns at once, sub-agents, steering, leaving a
--- loop, what goes with a prompt, servers that are killed.

local app = require "tests.support.app_server"
local async = require "codex.async"
local files = require "codex.files"
local json = require "codex.json"
local peers = require "tests.support.peers"
local uv = require "luv"

local free = { approval_policy = "never", sandbox = "danger-full-access" }

local function kill(client)
  assert(uv.kill(client.pid, "sigkill"))
end

--- Whether the model was told this anywhere in its n-th request.
local function heard(server, n, text)
  return json.encode(server.model.requests[n].body):find(text, 1, true) ~= nil
end

for _, peer in ipairs { "latest", "middle" } do
  local version = peers.version[peer]

  describe("turns of Codex " .. version, function()
    it("in two threads at once each have their own events", function()
      app.run({ peer = peer, reply = function(request)
        local word = request.prompt
        return { text = { word .. "1", word .. "2", word .. "3" }, delta_delay = 0.02,
          usage = { output_tokens = #word } }
      end }, function(server)
        local function run(word)
          local thread = assert(server.client:thread(free))
          local deltas = {}
          local stream = thread:run(word)
          for event in stream do
            assert.equal(thread.id, event.threadId)
            assert.equal(stream.id, event.turnId or event.turn and event.turn.id or stream.id)
            deltas[#deltas + 1] = event.delta
          end
          return { deltas, assert(stream:result()).usage.output_tokens }
        end
        local a, b = async.all { function() return run "a" end, function() return run "bb" end }
        assert.same({ { "a1", "a2", "a3" }, 1 }, a)
        assert.same({ { "bb1", "bb2", "bb3" }, 2 }, b)
        -- They did run at once.
        local first_end = server:wait("turn/completed")
        local began = app.count_before(server.heard, "turn/started",
          function(params) return params == first_end end)
        assert.equal(2, began)
      end)
    end)

    it("come to the last message, all items, and the sum of what the model used", function()
      local first = { "Let me see.", { exec = "true" },
        usage = { input_tokens = 10, output_tokens = 3 } }
      local last = { text = "All is well.", usage = { input_tokens = 20, output_tokens = 4 } }
      app.run({ peer = peer, turns = { first, last } }, function(server)
        local thread = assert(server.client:thread(free))
        local result = assert(thread:ask "go")
        assert.equal("All is well.", result.final_message)
        local types = {}
        for i, item in ipairs(result.items) do types[i] = item.type end
        assert.same({ "userMessage", "agentMessage", "commandExecution", "agentMessage" }, types)
        assert.same({ 30, 7 }, { result.usage.input_tokens, result.usage.output_tokens })
        assert.equal(30, thread.usage.total.inputTokens)
        assert.same({}, result.unfinished)
      end)
    end)

    it("do not end with those of their sub-agents", function()
      local server
      app.run({ peer = peer, reply = function(request)
        if request.prompt:find "child" then return "child's word" end
        if not request.outputs[1] then
          return { call = { name = "spawn_agent", namespace = "multi_agent_v1",
            arguments = { message = "child do plain" } } }
        end
        server:wait("turn/completed", function(params)
          return params.threadId ~= server.parent
        end)
        return "parent's word"
      end }, function(running)
        server = running
        local thread = assert(server.client:thread(free))
        server.parent = thread.id
        local result = assert(thread:ask "go")
        assert.equal("parent's word", result.final_message)
        local spawned = result.items[2]
        assert.same({ "collabAgentToolCall", "spawnAgent", "completed" },
          { spawned.type, spawned.tool, spawned.status })
        for _, item in ipairs(result.items) do assert.not_equal("child's word", item.text) end
        assert.equal(2, server:count "turn/completed")
      end)
    end)

    it("take what is said to them while they run", function()
      local gate = async.signal()
      local is_open = false
      local function wait()
        while not is_open do gate:wait() end
        return { exec = "true" }
      end
      app.run({ peer = peer, turns = { wait, "done" } }, function(server)
        local thread = assert(server.client:thread(free))
        local asked = async.spawn(function() return thread:ask "go" end)
        server:wait_model(1)
        assert(thread:steer "also this")
        local stream = thread:run("and that", { steer = true })
        assert.equal(thread:running().id, stream.id)
        is_open = true
        gate:notify()
        assert.equal("done", assert(stream:result()).final_message)
        assert.equal("done", assert(asked:join()).final_message)
        assert.is_true(heard(server, 2, "also this"))
        assert.is_true(heard(server, 2, "and that"))
        assert.equal(2, #server.model.requests)
        assert.equal(1, server:count "turn/completed")
        local _, idle = thread:steer "too late"
        assert.same({ "rpc", "idle" }, { idle.kind, idle.code })
      end)
    end)

    it("are not begun while another one runs, which goes on", function()
      local gate = async.signal()
      local is_open = false
      app.run({ peer = peer, turns = { function()
        while not is_open do gate:wait() end
        return "done"
      end } }, function(server)
        local thread = assert(server.client:thread(free))
        local asked = async.spawn(function() return thread:ask "go" end)
        server:wait_model(1)
        assert.error_matches(function() thread:ask "another" end, "is busy with a turn")
        is_open = true
        gate:notify()
        assert.equal("done", assert(asked:join()).final_message)
        assert.equal(1, #server.model.requests)
      end)
    end)

    it("end when their loop is left, and the thread can be used at once", function()
      app.run({ peer = peer, turns = { { text = { "Hel", "lo" }, hang = true }, "next" } },
        function(server)
          local thread = assert(server.client:thread(free))
          for event in thread:run "go" do
            if event.delta then break end
          end
          assert.is_nil(thread:running())
          assert.equal("interrupted", server:wait("turn/completed").turn.status)
          assert.equal("next", assert(thread:ask "next").final_message)
        end)
    end)

    it("end when nothing is heard of them for too long", function()
      app.run({ peer = peer, turns = { { hang = true }, "next" } }, function(server)
        local thread = assert(server.client:thread(free))
        local result, err = thread:ask("go", { idle_timeout = 0.5 })
        assert.is_nil(result)
        assert.equal("idle", err.kind)
        assert.equal("interrupted", server:wait("turn/completed").turn.status)
        assert.equal("next", assert(thread:ask "next").final_message)
      end)
    end)

    it("answer in the shape of a schema", function()
      app.run({ peer = peer, turns = { { json = { answer = 42 } }, "not at all" } },
        function(server)
          local thread = assert(server.client:thread(free))
          local schema = { type = "object", additionalProperties = false,
            properties = { answer = { type = "integer" } }, required = { "answer" } }
          assert.equal(42, assert(thread:ask("?", { output_schema = schema })).output.answer)
          assert.same({ "answer" }, server.model.requests[1].schema.required)
          local result, err = thread:ask("?", { output_schema = schema })
          assert.is_nil(result)
          assert.same({ "protocol", "output" }, { err.kind, err.code })
          assert.equal("not at all", err.data.final_message)
        end)
    end)

    it("are shown images", function()
      local dot = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAA"
        .. "AABJRU5ErkJggg=="
      app.run({ peer = peer, turns = { "a dot", "two dots" } }, function(server)
        local path = app.work .. "/dot.png"
        assert(files.write(path, require("codex.base64").decode(dot)))
        local thread = assert(server.client:thread(free))
        assert(thread:ask { "what is this?", { image = path } })
        assert.is_true(heard(server, 1, "data:image/png;base64,"))
        assert.is_true(heard(server, 1, "what is this?"))
        local url = "data:image/png;base64," .. dot
        assert(thread:ask { { image = url }, "and this?" })
        assert.is_true(heard(server, 2, url))
      end)
    end)
  end)

  describe("a server of Codex " .. version .. " that is killed", function()
    it("fails the turn, and another one takes the thread up", function()
      app.run({ peer = peer, turns = { "first", { hang = true }, "third" } }, function(server)
        local thread = assert(server.client:thread(free))
        assert(thread:ask "one")
        local last
        for event in thread:run "two" do
          last = event
          if event.type == "item/completed" then
            server:wait_model(2)
            kill(server.client)
          end
        end
        assert.same({ "failure", "closed" }, { last.type, last.error.kind })
        local _, gone = server.client:thread(free)
        assert.equal("closed", gone.kind)
        local client <close> = server:connect()
        local again = assert(client:resume(thread.id, free))
        assert.equal(thread.id, again.id)
        assert.equal("third", assert(again:ask "three").final_message)
        for _, word in ipairs { "one", "first", "two", "three" } do
          assert.is_true(heard(server, 3, '"' .. word .. '"'))
        end
      end)
    end)

    it("is started again where that is wanted, as often as that is wanted", function()
      app.run({ peer = peer, turns = { { hang = true }, "second" }, connect = { restart = 1 } },
        function(server)
          local client = server.client
          local thread = assert(client:thread(free))
          local asked = async.spawn(function() return thread:ask "one" end)
          server:wait_model(1)
          local pid = client.pid
          kill(client)
          local result, err = asked:join()
          assert.is_nil(result)
          assert.equal("closed", err.kind)
          assert.equal("second", assert(thread:ask "two").final_message)
          assert.not_equal(pid, client.pid)
          assert.is_true(heard(server, 2, '"one"'))
          assert.same({ "never", "dangerFullAccess" },
            { thread.settings.approvalPolicy, thread.settings.sandbox.type })
          local closed = async.signal()
          client:on("closed", function() closed:notify() end)
          kill(client)
          while not client:gone() do closed:wait() end
          result, err = thread:ask "three"
          assert.is_nil(result)
          assert.equal("closed", err.kind)
        end)
    end)
  end)

  describe("a server of Codex " .. version .. " that is started again", function()
    it("still knows our tools", function()
      local call = { call = { name = "add", arguments = { a = 1, b = 2 } } }
      app.run({ peer = peer, turns = { { hang = true }, call, "done" },
        connect = { restart = 1 } }, function(server)
        local thread = assert(server.client:thread { tools = { {
          name = "add", description = "adds", run = function(args) return args.a + args.b end,
        } } })
        local asked = async.spawn(function() return thread:ask "one" end)
        server:wait_model(1)
        kill(server.client)
        assert.is_nil((asked:join()))
        assert.equal("done", assert(thread:ask "two").final_message)
        assert.equal("3", server:told())
      end)
    end)
  end)

  describe("an answer to Codex " .. version, function()
    it("that comes too late is dropped", function()
      local gate = async.signal()
      app.run({ peer = peer, turns = { app.escalated(), "next" } }, function(server)
        local ended
        server.client:handle("item/commandExecution/requestApproval", function()
          pcall(async.sleep, 60) -- does not want to be cancelled
          ended = true
          gate:notify()
          return { decision = "accept" }
        end)
        local thread = assert(server.client:thread {
          approval_policy = "on-request", sandbox = "workspace-write" })
        local asked = async.spawn(function() return thread:ask "go" end)
        server:wait "item/commandExecution/requestApproval"
        assert(thread:interrupt())
        assert.equal("interrupted", select(2, asked:join()).code)
        while not ended do gate:wait() end
        assert.equal("next", assert(thread:ask "next").final_message)
        assert.is_true(server:said "requestApproval: the answer came too late and is dropped")
        assert.is_false(app.is_written())
      end)
    end)
  end)
end
