-- The scripted model: what it sends, and what three real versions of Codex make of it.

local codex = require "codex"
local peers = require "tests.support.peers"
local program = require "tests.support.program"
local files = require "codex.files"
local home = require "codex.testing.home"
local testing = codex.testing

local folder, remove
setup(function() folder, remove = program.folder() end)
teardown(function() remove() end)

local function run(cx, prompt, options)
  local given = { skip_git_repo_check = true, cd = folder }
  for name, value in pairs(options or {}) do given[name] = value end
  return cx.exec(prompt, given)
end

local function of_type(turn, kind)
  for _, item in ipairs(turn.items) do
    if item.type == kind then return item end
  end
end

local function find(text, part) assert.truthy(text:find(part, 1, true), text) end

for _, which in ipairs { "latest", "middle", "old" } do
  describe("the scripted model with Codex " .. peers.version[which], function()
    --- One run against a script; the third result is the model, closed.
    local function play(script, options, config)
      local model <close> = assert(testing.model(script))
      local cx <close> = assert(testing.codex {
        model = model, binary = peers[which], timeout = 20, config = config,
      })
      local turn, err = run(cx, "What now?", options)
      return turn, err, model
    end

    local retries = {
      ["model_providers.mock"] = { request_max_retries = 1, stream_max_retries = 1 },
    }

    it("says a text in deltas, with usage, and thinks before", function()
      local turn, err, model = play { turns = { {
        text = { "It is ", "fine", "." }, reasoning = { "Let me ", "think" },
        usage = { input_tokens = 11, cached_input_tokens = 5, output_tokens = 3,
          reasoning_output_tokens = 2, cache_write_input_tokens = 4 },
      } } }
      assert(turn, err)
      assert.equal("It is fine.", turn.final_message)
      assert.equal("Let me think", of_type(turn, "reasoning").text)
      assert.equal(11, turn.thread_usage.input_tokens)
      assert.equal(5, turn.thread_usage.cached_input_tokens)
      assert.equal(3, turn.thread_usage.output_tokens)
      if which ~= "old" then
        assert.equal(2, turn.thread_usage.reasoning_output_tokens)
        assert.equal(4, turn.thread_usage.cache_write_input_tokens)
      end
      local request = model.requests[1]
      assert.equal("What now?", request.prompt)
      assert.equal(turn.thread_id, request.thread_id)
      assert.equal("[redacted]", request.headers.authorization)
      assert.same({}, request.outputs)
      assert.same({}, model.errors)
    end)

    it("runs a command and writes a file, and sees what came of both", function()
      local turn, err, model = play({ turns = {
        { exec = "echo 'so far'; exit 3" },
        { apply_patch = "*** Begin Patch\n*** Add File: " .. which ..
          ".txt\n+written\n*** End Patch" },
        function(request) return "The tool said: " .. request.outputs[1].output end,
      } }, { sandbox = "workspace-write" })
      assert(turn, err)
      local command = of_type(turn, "command_execution")
      find(command.command, "echo 'so far'")
      find(command.aggregated_output, "so far\n")
      assert.equal(3, command.exit_code)
      assert.equal("completed", of_type(turn, "file_change").status)
      assert.equal("written\n", (assert(files.read(folder .. "/" .. which .. ".txt"))))
      assert.equal("exec_command", model.requests[2].outputs[1].name)
      assert.equal("What now?", model.requests[3].prompt)
      find(turn.final_message, "so far")
    end)

    it("makes several calls in one answer, in the order given", function()
      local turn, err, model = play { turns = {
        { text = "I look.", { exec = "echo one" }, { exec = { cmd = "echo two" } } }, "Done.",
      } }
      assert(turn, err)
      assert.equal(2, #model.requests[2].outputs)
      find(model.requests[2].outputs[1].output, "one\n")
      find(model.requests[2].outputs[2].output, "two\n")
      assert.equal("I look.", of_type(turn, "agent_message").text)
    end)

    it("calls the tool of an MCP server", function()
      local server = {
        command = program.path, args = { program.root .. "/tests/support/mcp_server.lua" },
      }
      if which ~= "old" then server.required = true end -- otherwise the turn may begin before it
      local turn, err = play({ turns = {
        { mcp = { server = "loud", tool = "shout", arguments = { text = "hi" } } }, "Done.",
      } }, nil, { ["mcp_servers.loud"] = server })
      assert(turn, err)
      local call = of_type(turn, "mcp_tool_call")
      assert.same({ "loud", "shout", "completed", "HI" },
        { call.server, call.tool, call.status, call.result.content[1].text })
    end)

    it("answers in JSON where a schema was sent", function()
      local schema = { type = "object", additionalProperties = false, required = { "n" },
        properties = { n = { type = "integer" } } }
      local turn, err, model = play({ reply = function(request)
        return { json = { n = request.schema.properties.n.type == "integer" and 7 or 0 } }
      end }, { output_schema = schema })
      assert(turn, err)
      assert.same({ n = 7 }, turn.output)
      assert.same(schema.required, table.move(model.requests[1].schema.required, 1, 1, 1, {}))
    end)

    it("fails with an HTTP status, which Codex repeats or not", function()
      local cases = {
        { { status = 500 }, 2 }, { { status = 401 }, 2 }, { { status = 429 }, 1 },
        { { status = 429, headers = { ["Retry-After"] = "0" } }, which == "latest" and 2 or 1 },
        { { status = 429, body = { error = { type = "usage_limit_reached" } } }, 1 },
        { { status = 400, body = "not like this" }, 1 },
      }
      for _, case in ipairs(cases) do
        local turn, err, model = play({ turns = { case[1] }, otherwise = "Back." }, nil, retries)
        local what = codex.json.encode(case[1])
        assert.equal(case[2], #model.requests, what)
        assert.equal(case[2] == 2 and "Back." or nil, turn and turn.final_message, what)
        if case[1].body == "not like this" then find(err.message, "not like this") end
        if case[1].status == 429 and err then assert.equal("rate_limit", err.kind) end
      end
    end)

    it("breaks streams in every way, and Codex begins anew", function()
      for _, fault in ipairs {
        { text = { "Ha", "lf" }, disconnect = true }, { text = "Half", eof = true },
        { text = "Half", hang = true }, { disconnect = true },
      } do
        local turn, err, model = play({ turns = { fault }, otherwise = "Whole." }, nil, {
          ["model_providers.mock"] = { stream_max_retries = 1, stream_idle_timeout_ms = 300 },
        })
        assert(turn, err)
        assert.equal("Whole.", turn.final_message)
        assert.equal(2, #model.requests)
        assert.equal(1, #turn.items)
      end
    end)

    it("breaks one event, which Codex passes over in silence where it is text", function()
      for _, how in ipairs { true, "data: junk\n\n" } do
        local turn, err = play { turns = { { text = "Lost.", malformed = how } } }
        assert(turn, err)
        assert.is_nil(turn.final_message)
        assert.equal(0, #turn.items)
      end
      local turn, err = play { turns = { { text = "Lost.", malformed = "data: \255\n\n" } } }
      assert.is_nil(turn)
      find(err.message:lower(), "utf-8") -- this one is not passed over
    end)

    it("ends with failed and incomplete responses", function()
      local turn, err = play { turns = { { failed = { code = "context_length_exceeded" } } } }
      assert.is_nil(turn)
      assert.equal("exit", err.kind)
      find(err.message, "context window")
      turn, err = play { turns = { { text = "Cut", incomplete = "max_output_tokens" } } }
      assert.is_nil(turn)
      find(err.message, "max_output_tokens")
      turn, err = play { turns = { { failed = { code = "insufficient_quota", message = "no" } } } }
      assert.is_nil(turn)
      find(err.message, "Quota")
    end)

    it("waits before it answers, and between deltas", function()
      local turn, err = play { turns = {
        { text = { "a", "b", "c" }, delay = 0.3, delta_delay = 0.2 },
      } }
      assert(turn, err)
      assert.equal("abc", turn.final_message)
      assert.is_true(turn.duration > 0.9)
    end)

    it("says when the script has no more turns, or makes no sense", function()
      local turn, err, model = play { turns = { { exec = "true" } } }
      assert.is_nil(turn)
      find(err.message, "request 2: the script has no turn 2")
      assert.same({ "request 2: the script has no turn 2" }, model.errors)
      turn, err, model = play { turns = { function() error("oh no", 0) end } }
      assert.is_nil(turn)
      find(err.message, "oh no")
      assert.same({ "request 1: oh no" }, model.errors)
      model = select(3, play { turns = { function() return { tex = "" } end } })
      find(model.errors[1], "did you mean 'text'?")
    end)

    it("serves two runs at once by what they ask", function()
      local model <close> = assert(testing.model { reply = function(request)
        if request.outputs[1] then return request.prompt .. ": " .. request.outputs[1].output end
        return { exec = "echo " .. request.prompt, delay = 0.2 }
      end })
      local cx <close> = assert(testing.codex {
        model = model, binary = peers[which], timeout = 20,
      })
      local first, second = codex.all {
        function() return run(cx, "alpha") end, function() return run(cx, "beta") end,
      }
      find(first.final_message, "alpha: ")
      find(first.final_message, "alpha\n")
      find(second.final_message, "beta\n")
      assert.equal(4, #model.requests)
      local threads = {}
      for _, request in ipairs(model.requests) do threads[request.thread_id] = true end
      assert.same({ [first.thread_id] = true, [second.thread_id] = true }, threads)
    end)

    it("may be closed while a request hangs", function()
      local model = assert(testing.model { turns = { { text = "Ha", hang = true } } })
      local cx <close> = assert(testing.codex {
        model = model, binary = peers[which], timeout = 20,
      })
      local task = codex.spawn(run, cx, "Wait")
      assert.is_true(program.eventually(function() return #model.requests == 1 end, 10))
      codex.sleep(0.1)
      model:close()
      model:close()
      local turn, err = task:join()
      assert.is_nil(turn)
      find(err.message, "disconnected")
    end)
  end)
end

describe("codex.testing.model", function()
  it("names what is wrong with a script at once", function()
    local function refused(script)
      local ok, message = pcall(testing.model, script)
      assert.is_false(ok)
      return message
    end
    find(refused { turn = {} }, "option 'turn' is unknown; did you mean 'turns'?")
    find(refused { turns = { "fine", { tekst = "" } } }, "turns[2]: option 'tekst' is unknown")
    find(refused { turns = { { { exec = 1 } } } }, "turns[1][1]: option 'exec' must be a string")
    find(refused { turns = { 5 } }, "turns[1] must be a table, a string or a function, got number")
    find(refused { turns = {}, reply = print }, "give one of")
  end)

  it("says that a port is taken", function()
    local model <close> = assert(testing.model { turns = {} })
    local other, err = testing.model { turns = {}, port = model.port }
    assert.is_nil(other)
    assert.equal("io", err.kind)
    assert.equal("EADDRINUSE", err.code)
  end)

  it("plays a cassette", function()
    local path = folder .. "/tape.jsonl"
    program.write(path, codex.json.encode {
      response = {
        { type = "response.output_item.done", item = { type = "message", role = "assistant",
          content = { { type = "output_text", text = "From the tape." } } } },
        'event: response.completed\ndata: {"type":"response.completed",' ..
          '"response":{"id":"r","usage":null}}\n\n',
      },
    } .. "\n" .. codex.json.encode { status = 400, body = "The tape is over." } .. "\n")
    local model <close> = assert(testing.model { cassette = path })
    local cx <close> = assert(testing.codex { model = model, binary = peers.latest, timeout = 20 })
    assert.equal("From the tape.", assert(run(cx, "play")).final_message)
    find(select(2, run(cx, "play")).message, "The tape is over.")
  end)

  it("says what is wrong with a cassette", function()
    local path = folder .. "/bad.jsonl"
    program.write(path, '{"response":[]}\n{"request":{}}\n')
    local model, err = testing.model { cassette = path }
    assert.is_nil(model)
    assert.equal("protocol", err.kind)
    find(err.message, "line 2: there is no 'response'")
    model, err = testing.model { cassette = folder .. "/none" }
    assert.is_nil(model)
    assert.equal("io", err.kind)
  end)
end)

describe("codex.testing.codex", function()
  local model

  before_each(function() model = assert(testing.model { otherwise = "Hm." }) end)
  after_each(function() model:close() end)

  local function exists(path) return require("luv").fs_stat(path) ~= nil end

  it("makes a home that is gone when it is closed, or when the script ends", function()
    local cx = assert(testing.codex { model = model, binary = peers.latest })
    assert(run(cx, "anything"))
    assert.is_true(exists(cx.home .. "/config.toml"))
    cx.close()
    codex.sleep(0)
    assert.is_false(exists(cx.home:match "(.*)/home$"))
    local result = program.eval [[
      local testing = require "codex.testing"
      local model = assert(testing.model { turns = {} })
      print(assert(testing.codex { model = model }).home)
      model:close()]]
    assert.equal(0, result.code, result.stderr)
    assert.is_false(exists(result.stdout:match "(.*)/home\n$"))
  end)

  it("keeps a home that it was given, and overwrites no configuration of others", function()
    local given = folder .. "/given"
    local cx = assert(testing.codex { model = model, home = given })
    cx.close()
    codex.sleep(0)
    assert.is_true(exists(given .. "/config.toml"))
    assert(testing.codex { model = model, home = given }).close()
    program.write(given .. "/config.toml", "model = 'mine'\n")
    local refused, err = testing.codex { model = model, home = given }
    assert.is_nil(refused)
    assert.equal("io", err.kind)
    assert.equal("model = 'mine'\n", (files.read(given .. "/config.toml")))
    codex.sleep(0)
  end)

  it("puts settings into the right tables", function()
    local text = home.config("http://x/v1", {
      ["model_providers.mock.request_max_retries"] = 4, model = "other",
      projects = { ["/a b"] = { trust_level = "trusted" } }, notify = { "a", "b" },
    })
    find(text, 'model = "other"\n')
    find(text, 'notify = ["a", "b"]\n')
    find(text, "\n[projects.\"/a b\"]\ntrust_level = \"trusted\"\n")
    find(text, "request_max_retries = 4\n")
    find(text, 'base_url = "http://x/v1"\n')
    assert.is_true(text:find("notify", 1, true) < text:find("\n[", 1, true))
  end)
end)

describe("codex-lua model", function()
  it("prints a configuration with which Codex works, and ends with 130", function()
    program.write(folder .. "/script.lua", 'return { "First.", "Second." }')
    local server <close> = program.spawn({ "model", folder .. "/script.lua" })
    local url = assert(server:line())
    local config = {}
    repeat
      local line = assert(server:line())
      config[#config + 1] = line
    until line:find "^wire_api"
    find(table.concat(config, "\n"), 'base_url = "' .. url .. '"')
    local own = folder .. "/own"
    assert(files.make_dir(own))
    program.write(own .. "/config.toml", table.concat(config, "\n") .. "\n")
    local cx = codex.with { home = own, binary = peers.latest, env = { MOCK_KEY = "x" } }
    assert.equal("First.", assert(run(cx, "hello")).final_message)
    server:kill "int"
    local status = server:wait()
    assert.equal(130, status.code)
    find(server:stderr(), "POST /v1/responses #1")
  end)

  it("says what is wrong with how it was called", function()
    local result = program.run { "model" }
    assert.equal(2, result.code)
    find(result.stderr, "missing argument 'script'")
    assert.equal(2, program.run({ "model", "--port", "x", "y" }).code)
    result = program.run { "model", "--print-config", "--port", "8080" }
    assert.equal(0, result.code)
    find(result.stdout, 'base_url = "http://127.0.0.1:8080/v1"')
  end)
end)
