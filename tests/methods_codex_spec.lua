--- The functions of codex.methods, called on the app-server of three real versions of Codex. What
--- one of them cannot do is asserted too.

local E = require "codex.error"
local async = require "codex.async"
local base64 = require "codex.base64"
local json = require "codex.json"
local peers = require "tests.support.peers"
local program = require "tests.support.program"
local testing = require "codex.testing"

--- The first notification of this method that fits, which may be yet to come (10 s).
local function notified(client, method, fits)
  local heard = client.heard
  return assert(async.timeout(10, function()
    while true do
      for _, one in ipairs(heard) do
        if one.method == method and (not fits or fits(one.params)) then return one.params end
      end
      heard.changed:wait()
    end
  end))
end

--- What the model says: asked to "run" it starts a command that goes on.
local function reply(request)
  local asked = request.prompt == "run" and not request.outputs[1]
  return asked and { exec = { cmd = "sleep 60", yield_time_ms = 250 } } or "Hello"
end

--- Calls `body` with a client of a real app-server, which has a new home and a model of its own.
local function with_client(name, config, body)
  local model <close> = assert(testing.model { reply = reply })
  local cx <close> = assert(testing.codex { model = model, binary = peers[name], config = config })
  local client <close> = assert(cx.connect { cwd = cx.home, policies = {}, audit = false })
  local heard = { changed = async.signal() }
  client:on("*", function(params, method)
    heard[#heard + 1] = { method = method, params = params }
    heard.changed:notify()
  end)
  client.heard, client.home, client.model = heard, cx.home, model
  body(client)
end

local function new_thread(client, sandbox)
  return assert(client:thread { sandbox = sandbox, approval_policy = "never" })
end

--- A whole turn; returns its id.
local function run(thread, prompt)
  local answer = assert(thread.client:request("turn/start", {
    threadId = thread.id, input = { { type = "text", text = prompt } },
  }))
  notified(thread.client, "turn/completed", function(params)
    return params.turn.id == answer.turn.id
  end)
  return answer.turn.id
end

--- Runs a command in the user's shell; returns the id of the turn that it is.
local function run_shell(thread, text)
  assert.is_true(thread:shell_command(text))
  local item = notified(thread.client, "item/started", function(params)
    return params.item.type == "commandExecution"
  end)
  return item.turnId
end

--- Ends it, so that it does not outlive the test.
local function interrupt(thread, turn)
  assert(thread.client:request("turn/interrupt", { threadId = thread.id, turnId = turn }))
  notified(thread.client, "turn/completed", function(params) return params.turn.id == turn end)
end

local function names_of(list, field)
  local names = {}
  for i, one in ipairs(list) do names[i] = one[field] end
  table.sort(names)
  return table.concat(names, " ")
end

local function find_in(list, field, value)
  for _, one in ipairs(list) do
    if one[field] == value then return one end
  end
end

local function assert_unsupported(...)
  local value, err = ...
  assert.is_nil(value)
  assert.is_true(E.is(err, "unsupported"), tostring(err))
end

local danger = { type = "dangerFullAccess" }

for _, name in ipairs { "latest", "middle", "old" } do
  local is_old = name == "old"

  describe("the app-server of Codex " .. peers.version[name], function()
    local function test(what, body, config)
      it(what, function() with_client(name, config, body) end)
    end

    test("says what it can do", function(client)
      assert.equal(peers.version[name], client.version)
      local models = assert(client:models())
      assert.is_truthy(find_in(models, "isDefault", true))
      assert.is_true(#assert(client:features()) > 10)
      assert.is_truthy(find_in(assert(client:collaboration_modes()), "mode", "plan"))
      local home = assert(client:skills { cwds = { client.home } })
      assert.equal(client.home, home[1].cwd)
      assert.equal(0, #assert(client:mcp_servers()))
      if is_old then
        assert_unsupported(client:permission_profiles())
        return assert_unsupported(client:hooks())
      end
      assert.is_truthy(find_in(assert(client:permission_profiles()), "id", ":read-only"))
      assert.equal(0, #assert(client:hooks())[1].hooks)
    end)

    test("gives its lists in pages, which come as one", function(client)
      local ids, one_by_one = {}, {}
      for i, model in ipairs(assert(client:models())) do ids[i] = model.id end
      for model in client:each("models", { page_size = 1 }) do
        one_by_one[#one_by_one + 1] = model.id
      end
      assert.is_true(#ids > 2)
      assert.same(ids, one_by_one)
      assert.same(ids[2], assert(client:models { limit = 2, page_size = 1 })[2].id)
      assert.equal(2, #client:models { limit = 2 })
    end)

    test("says who is logged in, and logs out", function(client)
      assert.is_false(assert(client:account()).requiresOpenaiAuth)
      local limits, err = client:rate_limits()
      assert.is_nil(limits)
      assert.equal("rpc", err.kind)
      assert.matches("authentication required", err.message)
      if is_old then
        assert_unsupported(client:usage())
      else
        assert.matches("authentication required", select(2, client:usage()).message)
      end
      assert.is_true(client:logout())
      notified(client, "account/updated")
    end)

    test("reads and writes its settings", function(client)
      local written = assert(client:set_config("model_reasoning_effort", "low"))
      assert.equal("ok", written.status)
      assert.equal("low", assert(client:config()).config.model_reasoning_effort)
      assert(client:set_configs { model_reasoning_effort = json.null, model_verbosity = "high" })
      local config = assert(client:config { include_layers = true })
      assert.equal(json.null, config.config.model_reasoning_effort or json.null)
      assert.equal("high", config.config.model_verbosity)
      assert.is_table(config.layers[1])
      local result, err = client:set_config("model", "x", { expected_version = written.version })
      assert.is_nil(result)
      assert.equal("configVersionConflict", err.data.config_write_error_code)
      assert.same({ n = 1 }, table.pack(client:config_requirements()))
    end)

    test("runs commands", function(client)
      local result = assert(client:command({ "sh", "-c", "pwd; echo oops >&2; exit 3" },
        { cwd = client.home, sandbox_policy = danger }))
      assert.same({ exitCode = 3, stdout = client.home .. "\n", stderr = "oops\n" }, result)
      local late, err = client:command({ "sleep", "20" },
        { timeout_ms = 100, sandbox_policy = danger })
      if is_old then
        assert.matches("command timed out", err.message)
        assert_unsupported(client:command({ "env" }, { env = { A = "b" } }))
        return assert_unsupported(client:command_write("p", "x"))
      end
      assert.equal(124, late.exitCode)
      result = assert(client:command({ "sh", "-c", "echo $A; : > x" }, { env = { A = "b" },
        cwd = client.home, sandbox_policy = { type = "readOnly" } }))
      assert.equal("b\n", result.stdout)
      assert.is_true(result.exitCode ~= 0)
    end)

    test("finds files", function(client)
      local files = assert(client:search_files("config", { client.home }))
      assert.is_truthy(find_in(files, "path", "config.toml"))
      assert.equal(0, #assert(client:search_files("config", {})))
    end)

    test("speaks to MCP servers", function(client)
      local server = assert(client:mcp_servers())[1]
      assert.equal("loud", server.name)
      assert.equal("Says it louder.", server.tools.shout.description)
      assert.is_true(client:mcp_reload())
      assert.matches("OAuth login is only supported", select(2, client:mcp_login "loud").message)
      local thread = new_thread(client)
      if is_old then return assert_unsupported(thread:mcp_call("loud", "shout", {})) end
      local result = assert(thread:mcp_call("loud", "shout", { text = "hi" }))
      assert.equal("HI", result.content[1].text)
      assert.same(result, (client:mcp_call(thread.id, "loud", "shout", { text = "hi" })))
      assert.equal("rpc", select(2, client:mcp_resource("nobody", "x://y")).kind)
    end, { ["mcp_servers.loud"] = {
      command = program.path, args = { program.root .. "/tests/support/mcp_server.lua" },
    } })

    test("names, lists, archives and compacts threads", function(client)
      local thread = new_thread(client)
      run(thread, "first prompt")
      assert.is_true(thread:set_name "A name")
      assert.equal("first prompt", assert(thread:read()).preview)
      assert.same({ thread.id }, assert(client:loaded_threads()))
      assert.equal(thread.id, names_of(assert(client:threads()), "id"))
      assert.is_true(thread:compact())
      assert.is_true(thread:archive())
      assert.equal(0, #client:threads())
      assert.equal(thread.id, names_of(assert(client:threads { archived = true }), "id"))
      assert.equal(thread.id, assert(thread:unarchive()).id)
      assert.equal(1, #client:threads())
      if is_old then
        assert_unsupported(client:threads { cwd = "/" })
        assert_unsupported(thread:delete())
        return assert_unsupported(thread:unsubscribe())
      end
      assert.equal(0, #assert(client:threads { cwd = "/" }))
      assert.is_true(thread:delete())
      assert.equal(0, #client:threads())
    end)

    test("takes turns back", function(client)
      local thread = new_thread(client)
      run(thread, "one")
      local second = run(thread, "two")
      if is_old then
        assert_unsupported(thread:revert(second))
        local left = assert(thread:rollback(1))
        assert.equal(1, #left.turns)
        return
      end
      assert.equal(thread.id, assert(thread:revert(second)).id)
      assert.equal(1, #assert(thread:turns()))
      local value, err = thread:rollback(1)
      assert.is_nil(value)
      assert.equal(name == "latest" and "unsupported" or "rpc", err.kind)
    end)

    if is_old then
      test("has no files, goals, items and queues", function(client)
        local thread = new_thread(client)
        assert_unsupported(client.fs:read "/etc/hostname")
        assert_unsupported(thread:goal())
        assert_unsupported(thread:items())
        assert_unsupported(thread.queue:list())
        assert.is_true(thread:clean_terminals())
      end)
      return
    end

    test("reads and writes files", function(client)
      local fs, dir = client.fs, client.home .. "/a folder"
      local bytes = ("\0\1\254\255\n"):rep(50000)
      assert.is_true(fs:create_directory(dir .. "/in/side", { recursive = true }))
      assert.is_true(fs:write(dir .. "/a", bytes))
      assert.equal(bytes, fs:read(dir .. "/a"))
      assert.is_true(fs:write(dir .. "/empty", ""))
      assert.equal("", fs:read(dir .. "/empty"))
      assert.is_true(fs:copy(dir .. "/a", dir .. "/b"))
      assert.is_true(fs:copy(dir .. "/in", dir .. "/out", { recursive = true }))
      assert.equal("a b empty in out", names_of(assert(fs:read_directory(dir)), "fileName"))
      assert.is_true(assert(fs:metadata(dir .. "/in")).isDirectory)
      assert.is_true(fs:remove(dir .. "/b"))
      assert.equal("a empty in out", names_of(assert(fs:read_directory(dir)), "fileName"))
      local gone, err = fs:read(dir .. "/b")
      assert.is_nil(gone)
      assert.matches("No such file", err.message)
      assert.is_nil((fs:remove(dir .. "/b", { force = false })))
    end)

    test("watches files", function(client)
      local dir = client.home .. "/watched"
      assert(client.fs:create_directory(dir))
      assert.equal(dir, client.fs:watch(dir, "mine"))
      assert(client.fs:write(dir .. "/new", "x"))
      local changed = notified(client, "fs/changed")
      assert.equal("mine", changed.watchId)
      assert.same({ dir .. "/new" }, changed.changedPaths)
      assert.is_true(client.fs:unwatch "mine")
    end)

    test("runs commands that one writes to, and ends them", function(client)
      local cat = async.spawn(function()
        return client:command({ "cat" }, { process_id = "p1", stream_stdin = true,
          stream_stdout_stderr = true, sandbox_policy = danger })
      end)
      assert(program.eventually(function() return client:command_write("p1", "a\0b") end))
      assert.is_true(client:command_write("p1", nil, { close_stdin = true }))
      assert.equal(0, cat:join().exitCode)
      local delta = notified(client, "command/exec/outputDelta")
      assert.equal("a\0b", base64.decode(delta.deltaBase64))

      local size = { cols = 80, rows = 24 }
      local shell = async.spawn(function()
        return client:command({ "sh", "-c", "read x; stty size" },
          { process_id = "p2", tty = true, size = size, sandbox_policy = danger })
      end)
      size = { cols = 90, rows = 30 }
      assert(program.eventually(function() return client:command_resize("p2", size) end))
      assert.is_true(client:command_write("p2", "\n"))
      assert.equal(0, shell:join().exitCode)
      notified(client, "command/exec/outputDelta", function(params)
        return params.processId == "p2" and base64.decode(params.deltaBase64):find "30 90"
      end)

      local sleep = async.spawn(function()
        return client:command({ "sleep", "30" }, { process_id = "p3", sandbox_policy = danger })
      end)
      assert(program.eventually(function() return client:command_terminate "p3" end))
      assert.equal(137, sleep:join().exitCode)
      assert.matches("command/exec", select(2, client:command_terminate "p3").message)
    end)

    test("gives the turns and items of a thread, and searches them", function(client)
      local thread = new_thread(client)
      assert.is_true(thread:inject_items { { type = "message", role = "user",
        content = { { type = "input_text", text = "between the lines" } } } })
      local first, second = run(thread, "a needle"), run(thread, "straw")
      local turns = assert(thread:turns { sort_direction = "asc" })
      assert.same({ first, second }, { turns[1].id, turns[2].id })
      local kinds = {}
      for entry in thread:each("items", { page_size = 1 }) do
        kinds[#kinds + 1] = entry.item.type
      end
      assert.equal("userMessage agentMessage userMessage agentMessage", table.concat(kinds, " "))
      assert.equal(2, #assert(thread:items { turn_id = second }))
      assert.equal(first, assert(thread:search "needle")[1].turnId)
      assert.equal(thread.id, assert(client:search_threads "needle")[1].thread.id)
      local sent = json.encode(client.model.requests[1].body or {})
      assert.matches("between the lines", sent)
      local item = assert(thread:items { turn_id = first, limit = 1 })[1].item
      if name == "middle" then return assert_unsupported(thread:read_items(first, { item.id })) end
      assert.equal("a needle",
        assert(thread:read_items(first, { item.id }))[1].item.content[1].text)
    end)

    test("keeps a goal, metadata and settings", function(client)
      local thread = new_thread(client)
      run(thread, "hello")
      assert.same({ n = 1 }, table.pack(thread:goal()))
      assert.equal("paused",
        assert(thread:set_goal { objective = "Win", status = "paused" }).status)
      assert.equal("Win", assert(thread:goal()).objective)
      assert.is_true(thread:clear_goal())
      assert.is_false(thread:clear_goal())
      local git_info = { branch = "main", sha = json.null }
      assert.equal("main", assert(thread:set_metadata { git_info = git_info }).gitInfo.branch)
      assert.is_true(thread:set_settings { effort = "low" })
      notified(client, "thread/settings/updated", function(params)
        return params.threadSettings.effort == "low"
      end)
    end)

    test("turns features and skills on and off", function(client)
      local answer = assert(client:set_features { memories = true, no_such_feature = true })
      assert.same({ memories = true }, answer) -- the others are passed over in silence
      assert.is_true(find_in(assert(client:features()), "name", "memories").enabled)
      local skills = assert(client:skills())[1].skills
      assert.is_true(find_in(skills, "name", "skill-creator").enabled)
      assert.is_false(client:set_skill(false, { name = "skill-creator" }))
      skills = assert(client:skills { force_reload = true })[1].skills
      assert.is_false(find_in(skills, "name", "skill-creator").enabled)
    end)

    test("ends commands that the model left running", function(client)
      local thread = new_thread(client, "danger-full-access")
      run(thread, "run")
      local terminal = assert(thread:terminals())[1]
      assert.equal("sleep 60", terminal.command)
      assert.is_true(thread:terminal_terminate(terminal.processId))
      assert.is_false(thread:terminal_terminate(terminal.processId))
      assert.same({}, assert(thread:terminals()))
      run(thread, "run")
      assert.equal(1, #thread:terminals())
      assert.is_true(thread:clean_terminals())
      assert.is_true(program.eventually(function() return #thread:terminals() == 0 end))
    end)

    test("keeps what waits when a turn is interrupted, until it is started", function(client)
      local thread = new_thread(client)
      run(thread, "hello")
      local turn = run_shell(thread, "sleep 20")
      local queued = assert(thread.queue:add "later")
      local started, err = thread.queue:start()
      assert.is_nil(started)
      assert.matches("active", err.message)
      interrupt(thread, turn)
      assert.equal(queued.id, names_of(assert(thread.queue:list()), "id"))
      turn = assert(thread.queue:start { queued_submission_id = queued.id }).id
      notified(client, "turn/completed", function(params) return params.turn.id == turn end)
      assert.equal("later", client.model.requests[#client.model.requests].prompt)
    end)

    test("runs the user's own commands, and keeps what was said meanwhile", function(client)
      local thread = new_thread(client)
      run(thread, "hello")
      local turn = run_shell(thread, "echo $((40 + 2)); sleep 20")
      notified(client, "item/commandExecution/outputDelta", function(params)
        return params.delta == "42\n"
      end)
      local queued = assert(thread.queue:add "later")
      assert.equal("later", queued.input[1].text)
      assert.equal(queued.id, names_of(assert(thread.queue:list()), "id"))
      local other = assert(thread.queue:add { { type = "text", text = "much later" } })
      assert.is_true(thread.queue:reorder { other.id, queued.id })
      local list = assert(thread.queue:list())
      assert.same({ other.id, queued.id }, { list[1].id, list[2].id })
      assert.equal("never", assert(thread.queue:update(other.id, "never")).input[1].text)
      assert.is_true(thread.queue:delete(other.id))
      assert.is_true(thread.queue:delete(queued.id))
      assert.is_false(thread.queue:delete(queued.id))
      assert.same({}, assert(thread:terminals()))
      assert.is_true(thread:clean_terminals())
      interrupt(thread, turn)
      assert.equal("unsubscribed", thread:unsubscribe())
    end)
  end)
end
