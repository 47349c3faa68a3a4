--- exec against three real versions of Codex and a scripted model. Where they differ, the
--- difference is asserted.

local codex = require "codex"
local files = require "codex.files"
local json = require "codex.json"
local peers = require "tests.support.peers"
local sessions = require "codex.sessions"
local testing = require "codex.testing"
local uv = require "luv"

local work = peers.root .. "/build/exec-codex-spec"

local function shell(text) assert(os.execute("cd " .. peers.quote(work) .. " && " .. text)) end

--- A git repository with an uncommitted change.
local function repository()
  os.execute("rm -rf " .. peers.quote(work) .. " && mkdir -p " .. peers.quote(work))
  shell [[git init -q . && echo one > a.txt && git add . &&
    git -c user.name=t -c user.email=t@example.org commit -q -m one && echo two >> a.txt]]
  return work
end

for _, name in ipairs { "latest", "middle", "old" } do
  local is_old = name == "old"

  describe("Codex " .. peers.version[name], function()
    local model, cx

    --- A model that plays these turns, and a Codex on it with a new home.
    local function play(turns, settings)
      model = assert(testing.model(turns.reply and turns or { turns = turns }))
      local given = { model = model, binary = peers[name], timeout = 60 }
      for key, value in pairs(settings or {}) do given[key] = value end
      cx = assert(testing.codex(given))
      return cx
    end

    --- A test that closes what it played before it ends.
    local function test(what, body)
      it(what, function()
        local guard <close> = setmetatable({}, { -- luacheck: ignore 211
          __close = function()
            if cx then cx:close() end
            if model then model:close() end
            cx, model = nil, nil
          end,
        })
        body()
      end)
    end

    local usage = { input_tokens = 10, output_tokens = 5 }
    local options = { skip_git_repo_check = true, cwd = "/" }

    test("answers", function()
      play { { text = { "Hel", "lo" }, usage = usage } }
      local turn, err = cx.exec("hi", options)
      assert.is_nil(err)
      assert.equal("Hello", turn.final_message)
      assert.is_true(sessions.is_id(turn.thread_id))
      assert.equal(10, turn.usage.input_tokens)
      assert.equal(5, turn.thread_usage.output_tokens)
      assert.equal(not is_old, turn.usage.reasoning_output_tokens ~= nil)
      assert.equal(not is_old, turn.usage.cache_write_input_tokens ~= nil)
      assert.equal("hi", model.requests[1].prompt)
    end)

    test("takes a prompt of any size that begins like an option", function()
      play { "ok" }
      local prompt = "--help\n" .. ("0123456789abcde\n"):rep(20000)
      assert(cx.exec(prompt, options))
      assert.equal(prompt:gsub("%s+$", ""), (model.requests[1].prompt:gsub("%s+$", "")))
    end)

    test("runs a command and shows it", function()
      play { { exec = "echo from-the-command" }, "done" }
      local seen = {}
      for event in cx.stream("go", { skip_git_repo_check = true, yolo = true }) do
        local item = event.item
        if item and item.type == "command_execution" then seen[#seen + 1] = { event.type, item } end
      end
      assert.equal("item.started", seen[1][1])
      assert.equal(json.null, seen[1][2].exit_code)
      assert.equal("item.completed", seen[2][1])
      assert.equal(0, seen[2][2].exit_code)
      assert.truthy(seen[2][2].aggregated_output:find "from%-the%-command")
    end)

    test("gives structured output as a table", function()
      play { { json = { answer = 42, list = json.array {} } } }
      local schema = { type = "object", additionalProperties = false,
        properties = { answer = { type = "integer" } }, required = { "answer" } }
      local turn = assert(cx.exec("?", { skip_git_repo_check = true, output_schema = schema }))
      assert.equal(42, turn.output.answer)
      assert.same({ "answer" }, model.requests[1].schema.required)
    end)

    test("says that an answer is not JSON though a schema was given", function()
      play { "not at all" }
      local schema = { type = "object" }
      local turn, err = cx.exec("?", { skip_git_repo_check = true, output_schema = schema })
      assert.is_nil(turn)
      assert.same({ "protocol", "output" }, { err.kind, err.code })
      assert.equal("not at all", err.data.final_message)
    end)

    test("goes on with a thread, and tells the turn's usage from the thread's", function()
      play { { "one", usage = usage }, { "two", usage = usage }, { "three", usage = usage } }
      local first = assert(cx.exec("1", options))
      local second = assert(cx.resume(first, "2", { skip_git_repo_check = true }))
      assert.equal(first.thread_id, second.thread_id)
      assert.equal("two", second.final_message)
      assert.equal(20, second.thread_usage.input_tokens)
      assert.equal(10, second.usage.input_tokens)
      -- An instance that saw nothing of it finds the earlier use in the thread's rollout.
      local stranger = cx.with {}
      local third = assert(stranger.resume(first.thread_id, "3", { skip_git_repo_check = true }))
      assert.equal(30, third.thread_usage.input_tokens)
      assert.equal(10, third.usage.input_tokens)
    end)

    test("goes on with the last thread", function()
      play { "one", "two" }
      local first = assert(cx.exec("1", { skip_git_repo_check = true }))
      local second = assert(cx.resume(nil, "2", { skip_git_repo_check = true, last = true }))
      assert.equal(first.thread_id, second.thread_id)
      assert.equal("2", model.requests[2].prompt)
    end)

    test("has no thread that it never began", function()
      play { "a new one" }
      local turn, err = cx.resume("01a1fa91-065b-7c30-b4c2-d89260d05000", "x",
        { skip_git_repo_check = true })
      assert.is_nil(turn)
      assert.same({ "exit", "unknown_session" }, { err.kind, err.code })
      -- 0.101 silently begins another thread instead; it is known by its id.
      assert.equal(is_old, err.data.thread_id ~= nil)
    end)

    test(is_old and "cannot fork a thread" or "forks a thread", function()
      play { { text = "one", usage = usage }, { text = "two", usage = usage } }
      local first = assert(cx.exec("1", options))
      local copy, err = cx.fork(first, "2", { skip_git_repo_check = true })
      if is_old then
        assert.equal("unsupported", err.kind)
        assert.truthy(err.message:find "0%.153")
        return
      end
      assert.is_nil(err)
      assert.not_equal(first.thread_id, copy.thread_id)
      assert.equal(20, copy.thread_usage.input_tokens)
      assert.equal(10, copy.usage.input_tokens)
      local bare = assert(cx.fork(first, nil, { skip_git_repo_check = true }))
      assert.is_true(sessions.is_id(bare.thread_id))
      assert.is_nil(bare.final_message)
    end)

    test("reviews the uncommitted changes", function()
      local finding = {
        title = "[P1] two is one too many", body = "because", confidence_score = 0.9, priority = 1,
        code_location = { absolute_file_path = repository() .. "/a.txt",
          line_range = { start = 2, ["end"] = 2 } },
      }
      play { { json = { findings = { finding }, overall_correctness = "patch is incorrect",
        overall_explanation = "one bug", overall_confidence_score = 0.9 } } }
      local turn, err = cx.with({ cwd = work }).review { uncommitted = true }
      assert.is_nil(err)
      assert.truthy(turn.final_message:find("two is one too many", 1, true))
    end)

    test("leaves no rollout when it is ephemeral, and one otherwise", function()
      play { "x", "y" }
      local turn = assert(cx.exec("1", { skip_git_repo_check = true, ephemeral = true }))
      assert.is_nil(sessions.rollout(cx.home, turn.thread_id))
      turn = assert(cx.exec("2", { skip_git_repo_check = true }))
      assert.is_string(sessions.rollout(cx.home, turn.thread_id))
    end)

    test("writes the last message where it is wanted", function()
      repository()
      play { "the answer" }
      local path = work .. "/answer.txt"
      assert(cx.exec("1", { skip_git_repo_check = true, output_last_message = path }))
      assert.equal("the answer", files.read(path))
    end)

    test("takes nested settings with their strings as they are", function()
      local text = 'say "hi" \\ to\tall\n\u{e9}\u{1F600} # not = a comment'
      play { "ok" }
      assert(cx.exec("1", { skip_git_repo_check = true, config = {
        developer_instructions = text,
        model_providers = { mock = { http_headers = { ["X-A"] = "b\"c" } } },
      } }))
      assert.equal('b"c', model.requests[1].headers["x-a"])
      assert.truthy(json.encode(model.requests[1].body):find(json.encode(text):sub(2, -2), 1, true))
    end)

    test("takes every option of exec that it has", function()
      repository()
      shell "printf '\\211PNG\\r\\n\\032\\n' > broken.png"
      play { "ok" }
      local given = {
        sandbox = "read-only", model = "gpt-5.5", add_dir = { work }, skip_git_repo_check = true,
        enable = { "shell_tool" }, config = { model_reasoning_effort = "low" }, cwd = work,
        ephemeral = true,
      }
      if not is_old then
        given.strict_config, given.ignore_rules, given.thread_source = true, true, "user"
        given.dangerously_bypass_hook_trust = true
      end
      local turn, err = cx.exec("1", given)
      assert.is_nil(err)
      assert.equal("ok", turn.final_message)
    end)

    test("sends images", function()
      repository()
      local one_pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwAD"
        .. "hgGAWjR9awAAAABJRU5ErkJggg=="
      shell("printf %s " .. one_pixel .. " | base64 -d > dot.png")
      play { "a dot" }
      assert(cx.exec("?", { skip_git_repo_check = true, images = { work .. "/dot.png" } }))
      assert.truthy(model.requests[1].prompt:find "^<image .*</image>%?$")
      assert.truthy(json.encode(model.requests[1].body):find("data:image/png;base64,", 1, true))
    end)

    test("layers a profile over the configuration", function()
      play { "ok" }
      local path, text = cx.home .. "/deep.config.toml", 'developer_instructions = "be deep"\n'
      if is_old then -- a table of config.toml then
        path = cx.home .. "/config.toml"
        text = assert(files.read(path)) .. '\n[profiles.deep]\nmodel_reasoning_effort = "high"\n'
      end
      assert(files.write(path, text))
      assert(cx.exec("1", { skip_git_repo_check = true, profile = "deep" }))
      local body = json.encode(model.requests[1].body)
      assert.truthy(body:find(is_old and '"effort":"high"' or "be deep", 1, true))
    end)

    if name == "latest" then
      test("works in a new worktree", function()
        repository()
        play { { exec = "pwd" }, "done" }
        local turn = assert(cx.exec("1", { cwd = work, worktree = true, yolo = true }))
        local command = turn.items[1]
        assert.equal("command_execution", command.type)
        assert.is_nil(command.aggregated_output:find("^" .. work:gsub("%p", "%%%0") .. "\n"))
        local listed = assert(codex.proc.run { "git", "-C", work, "worktree", "list" }).stdout
        assert.truthy(listed:find(command.aggregated_output:match "%S+", 1, true))
      end)
    end

    -- Failures ---------------------------------------------------------------------------------

    test("refuses a folder that is not trusted", function()
      play { "x" }
      local turn, err = cx.exec("1", { cwd = "/" })
      assert.is_nil(turn)
      assert.same({ "exit", "untrusted" }, { err.kind, err.code })
      assert.equal(0, #model.requests)
    end)

    test("says that the configuration is wrong", function()
      play { "x" }
      assert(files.write(cx.home .. "/config.toml", "model = [\n"))
      local turn, err = cx.exec("1", options)
      assert.is_nil(turn)
      assert.same({ "exit", "config" }, { err.kind, err.code })
    end)

    test("says that its home does not exist", function()
      play { "x" }
      local turn, err = cx.with({ home = work .. "/nowhere" }).exec("1", options)
      assert.is_nil(turn)
      assert.same({ "exit", "config" }, { err.kind, err.code })
    end)

    local faults = {
      ["a key that is refused"] = { { status = 401, body = "bad key" }, "auth", "auth" },
      ["a bad request"] = { { status = 400, body = '{"error":{"message":"no"}}' },
        "exit", "bad_request" },
      ["a limit that is used up"] = { { status = 429,
        body = '{"error":{"type":"usage_limit_reached","resets_in_seconds":3600}}' },
        "rate_limit", "usage_limit" },
      ["too many requests"] = { { status = 429, body = "slow down" }, "rate_limit", "rate_limit" },
      ["a context window that is full"] = {
        { failed = { code = "context_length_exceeded", message = "x" } },
        "exit", "context_window",
      },
      ["a quota that is used up"] = { { failed = { code = "insufficient_quota", message = "x" } },
        "rate_limit", "quota" },
      ["an answer that is cut off"] = { { text = "half", incomplete = "max_output_tokens" },
        "exit", "incomplete" },
      ["a model that failed"] = {
        { failed = { code = "server_error", message = "The server had an error" } },
        "exit", "server",
      },
      ["words of the server that nobody knows"] = {
        { failed = { code = "vector_store_timeout", message = "On holiday." } },
        "exit", "turn_failed",
      },
      ["a model that is overloaded"] = {
        { status = 503, body = '{"error":{"message":"x","code":"server_is_overloaded"}}' },
        "exit", "server",
      },
      ["a gateway that waited in vain"] = { { status = 504, body = "x" }, "exit", "server" },
      ["a line that drops"] = { { text = { "ab", "cd" }, disconnect = true }, "exit", "network" },
    }
    for what, case in pairs(faults) do
      test("fails with " .. case[2] .. "/" .. case[3] .. " on " .. what, function()
        play { reply = function() return case[1] end }
        local turn, err = cx.exec("1", options)
        assert.is_nil(turn)
        assert.same({ case[2], case[3] }, { err.kind, err.code })
        assert.equal(1, err.data.exit_code or 1)
      end)
    end

    test("is not asked again after an answer that was cut off", function()
      play { reply = function() return { text = "half", incomplete = "max_output_tokens" } end }
      local opts = { skip_git_repo_check = true, cwd = "/", retry = { attempts = 3, delay = 0 } }
      local turn, err = cx.exec("1", opts)
      assert.is_nil(turn)
      assert.equal("incomplete", err.code)
      assert.equal(1, #model.requests)
    end)

    test("says which commands still ran at the end of a turn", function()
      repository()
      local slow = { exec = { cmd = "sleep 20; echo late", yield_time_ms = 250 } }
      play { slow, "not waited for", { exec = "true" }, "waited for" }
      local opts = { skip_git_repo_check = true, yolo = true, cwd = work }
      local turn = assert(cx.exec("1", opts))
      assert.equal("not waited for", turn.final_message)
      assert.same({ "command_execution", "in_progress" },
        { turn.unfinished[1].type, turn.unfinished[1].status })
      assert.truthy(turn.unfinished[1].command:find("echo late", 1, true))
      assert.equal(1, #turn.unfinished)
      -- 0.101 says that it is completed, without an exit code.
      for _, item in ipairs(turn.items) do
        assert.is_true(is_old or item.type ~= "command_execution")
        assert.not_equal(0, item.exit_code)
      end
      local stream <close> = cx.stream("2", opts)
      local result = assert(stream:result())
      assert.equal("waited for", result.final_message)
      assert.same({}, result.unfinished)
    end)

    test("is not waited for for ever where nobody listens", function()
      play { "x" }
      model:close()
      local started = uv.hrtime()
      local turn, err = cx.exec("1", { skip_git_repo_check = true, network_wait = 1, timeout = 30 })
      assert.is_nil(turn)
      assert.equal("network", err.code)
      -- 0.101 gives up by itself; the newer ones would wait for ever.
      assert.equal(is_old and "exit" or "timeout", err.kind)
      assert.is_true((uv.hrtime() - started) / 1e9 < 20)
    end)

    test("ends in the middle of a turn when the stream is left, with its commands", function()
      repository()
      play { { exec = "echo $$ > pid; exec sleep 300" }, "x" }
      local opts = { skip_git_repo_check = true, yolo = true, cwd = work }
      for event in cx.stream("1", opts) do
        if event.type == "item.started" then
          for _ = 1, 100 do
            if files.read(work .. "/pid") then break end
            codex.sleep(0.02)
          end
          break
        end
      end
      local pid = assert(tonumber(files.read(work .. "/pid")))
      for _ = 1, 100 do
        if not uv.fs_stat("/proc/" .. pid) then break end
        codex.sleep(0.02)
      end
      local state = (files.read("/proc/" .. pid .. "/stat") or "gone Z"):match "[^)]*$"
      assert.truthy(state:find "Z" or state:find "gone", state) -- at most a zombie of init's
    end)

    test("fails with the time limit when the model hangs", function()
      play { { hang = true }, { hang = true }, { hang = true } }
      local id
      for _, seconds in ipairs { 3, 12, 48 } do -- on a busy machine it may not even have begun
        local turn, err = cx.exec("1", { skip_git_repo_check = true, timeout = seconds })
        assert.is_nil(turn)
        assert.equal("timeout", err.kind)
        id = err.data.thread_id
        if id then break end
      end
      assert.is_true(sessions.is_id(id))
    end)

    test("runs several at once on one model", function()
      play { reply = function(request) return "you said " .. request.prompt end }
      local turns, errors = codex.map({ "a", "b", "c", "d" }, function(prompt)
        return cx.exec(prompt, { skip_git_repo_check = true, ephemeral = true })
      end, { concurrency = 2 })
      assert.is_nil(errors)
      for i, prompt in ipairs { "a", "b", "c", "d" } do
        assert.equal("you said " .. prompt, turns[i].final_message)
      end
    end)

    test("runs a command in its sandbox", function()
      play { "x" }
      local result, err = cx.sandbox({ "sh", "-c", "echo in; exit 3" })
      assert.is_nil(err)
      assert.equal("in\n", result.stdout)
      assert.equal(3, result.code)
    end)

    test("applies nothing without an account, and says so", function()
      play { "x" }
      local result, err = cx.apply("task_x", { timeout = 20 })
      assert.is_nil(result)
      assert.is_string(err.message)
      assert.equal(1, err.data.exit_code)
    end)

    test("warns of a home under the temporary folder once, and nowhere else", function()
      play { reply = function() return { status = 400, body = "no" } end }
      local under = cx.with { env = { TMPDIR = cx.home:match "^(.+)/" } }
      local _, err = under.exec("1", { skip_git_repo_check = true })
      assert.is_nil(tostring(err):find "PATH aliases")
    end)
  end)
end

describe("a thread's name", function()
  it("is resolved before Codex could take it for a new thread", function()
    local model <close> = assert(testing.model { turns = { "one", "two" } })
    local cx <close> = assert(testing.codex { model = model, binary = peers.latest })
    local first = assert(cx.exec("1", { skip_git_repo_check = true }))
    local server = assert(codex.proc.spawn({ peers.latest, "app-server" },
      { stdin = "pipe", env = assert(cx.environment()), timeout = 20 }))
    local guard <close> = server -- luacheck: ignore 211
    local function send(message) assert(server:write(json.encode(message) .. "\n")) end
    local function answer(id)
      for line in function() return server:line() end do
        local message = json.decode(line)
        if message.id == id and not message.method then return message end
      end
    end
    local client = { name = "spec", version = "1" }
    send { id = 1, method = "initialize", params = { clientInfo = client } }
    assert(answer(1).result)
    send { method = "initialized" }
    local params = { threadId = first.thread_id, name = "my work" }
    send { id = 2, method = "thread/name/set", params = params }
    assert.is_nil(answer(2).error)
    server:close_stdin()
    server:wait()
    local second = assert(cx.resume("my work", "2", { skip_git_repo_check = true }))
    assert.equal(first.thread_id, second.thread_id)
    assert.equal("unknown_session", select(2, cx.resume("your work", "3")).code)
  end)
end)
