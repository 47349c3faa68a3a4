local codex = require "codex"
local events = require "codex.events"
local files = require "codex.files"
local peers = require "tests.support.peers"
local replay = require "tests.support.replay"

local home = peers.home "exec-replay"

local function with(program, settings)
  settings = settings or {}
  settings.binary, settings.home = program.path, home
  return codex.with(settings)
end

describe("codex.exec with a recorded stream", function()
  it("gives the turn", function()
    local cx = with(replay.fixture "0.169.0-command")
    local turn = assert(cx.exec "do it")
    assert.equal(36, #turn.thread_id)
    assert.equal("agent_message", turn.items[#turn.items].type)
    assert.equal(turn.items[#turn.items].text, turn.final_message)
    assert.equal(0, turn.exit_code)
    assert.equal("thread.started", turn.events[1].type)
    assert.equal("turn.completed", turn.events[#turn.events].type)
    assert.same(turn.events[#turn.events].usage, turn.thread_usage)
    assert.same(turn.thread_usage, turn.usage)
    assert.is_true(turn.duration > 0)
  end)

  it("does not say what a turn used when the thread's count went down", function()
    local id = "01a1ff31-4446-73a3-ad19-561f8dcb3c99"
    local program = replay.program(([[
      echo '{"type":"thread.started","thread_id":"%s"}'
      echo '{"type":"turn.completed","usage":{"input_tokens":'"$(cat $dir/input)"'}}']]):format(id))
    local cx = with(program)
    assert.same({ input_tokens = 90 }, assert(cx.exec "90").usage)
    local again = assert(cx.resume(id, "50"))
    assert.same({ nil, { input_tokens = 50 } }, { again.usage, again.thread_usage })
    assert.same({ input_tokens = 20 }, assert(cx.resume(id, "70")).usage)
  end)

  it("names what is not completed once, however often it was started", function()
    local lines = { '{"type":"thread.started","thread_id":"01a1ff31-4446-73a3-ad19-561f8dcb3c99"}' }
    for _, step in ipairs { "started a", "started b", "completed a", "started a", "updated a" } do
      local event, id = step:match "(%a+) (%a)"
      lines[#lines + 1] =
        ('{"type":"item.%s","item":{"id":"%s","type":"command_execution"}}'):format(event, id)
    end
    lines[#lines + 1] = '{"type":"turn.completed","usage":{"input_tokens":1}}'
    local turn = assert(with(replay.program("cat <<'END'\n" .. table.concat(lines, "\n")
      .. "\nEND")).exec "x")
    local ids = {}
    for i, item in ipairs(turn.unfinished) do ids[i] = item.id end
    assert.same({ "b", "a" }, ids)
  end)

  it("sends the prompt through standard input, byte for byte, and not in the arguments", function()
    local program = replay.fixture "0.169.0-plain"
    local prompt = "--secret\n" .. ("päx\r\n\t"):rep(100000) .. "end"
    assert(with(program).exec(prompt))
    assert.equal(prompt, program.read "input")
    assert.is_nil(program.read("argv"):find "secret")
    assert.truthy(program.read("argv"):find "\n%-\n$")
  end)

  it("takes relative paths from our folder, wherever Codex runs", function()
    local program = replay.program 'pwd > $dir/cwd; exit 9'
    with(program, { cwd = "/" }).exec("x", { images = "a.png", output_schema = "s.json" })
    assert.equal("/\n", program.read "cwd")
    assert.truthy(program.read("argv"):find("--image=" .. peers.root .. "/a.png", 1, true))
    assert.truthy(program.read("argv"):find("--output-schema=" .. peers.root .. "/s.json", 1, true))
  end)

  it("asks for JSON without colour, with options under Codex's names", function()
    local program = replay.fixture "0.169.0-plain"
    assert(with(program).exec("x", {
      sandbox = "read-only", model = "m", ephemeral = true, images = { "a.png", "/b.png" },
      add_dir = { "/a" }, config = { tools = { web = { on = true } } }, enable = { "goals" },
      args = { "--oss" },
    }))
    local argv = program.read "argv"
    for _, word in ipairs { "--json", "--color=never", "--sandbox=read-only", "--model=m",
      "--ephemeral", "--image=" .. peers.root .. "/a.png", "--image=/b.png",
      "--add-dir=/a", "--config=tools.web.on=true",
      "--enable=goals", "--oss" } do
      assert.truthy(("\n" .. argv):find("\n" .. word .. "\n", 1, true), word)
    end
  end)

  it("is not upset by events of another shape", function()
    local program = replay.program [[cat <<'END'
{"type":"thread.started","thread_id":null}
{"type":"thread.started"}
{"type":"item.completed","item":null}
{"type":"item.completed","item":{"type":7,"text":{}}}
{"type":"item.completed","item":{"id":"item_0","type":"agent_message","text":null}}
{"type":"error","message":null}
{"type":"turn.failed","error":null}
{"type":"turn.completed","usage":{"input_tokens":"many","output_tokens":null}}
END
]]
    local turn, err = with(program).exec "x"
    assert.is_nil(turn)
    assert.same({ "exit", "turn_failed" }, { err.kind, err.code })
    program = replay.program [[echo '{"type":"turn.completed","usage":{"input_tokens":null}}']]
    turn = assert(with(program).exec "x")
    assert.is_nil(turn.thread_id)
  end)

  it("takes lines that are no events for junk and goes on", function()
    local path = peers.quote(peers.root .. "/tests/fixtures/exec-0.169.0-plain.jsonl")
    local program = replay.program("echo 'some warning'; echo '[1,2'; cat " .. path)
    local turn = assert(with(program).exec "x")
    assert.same({ type = "junk", line = "some warning", synthetic = true }, turn.events[1])
    assert.same({ type = "junk", line = "[1,2", synthetic = true }, turn.events[2])
  end)

  it("tells the classes of failure apart, events before standard error", function()
    local expected = {
      ["0.169.0-h401"] = { "auth", "auth" },
      ["0.169.0-h429ul"] = { "rate_limit", "usage_limit" },
      ["0.169.0-ctx"] = { "exit", "context_window" },
      ["0.169.0-disconnect"] = { "exit", "network" },
    }
    for name, class in pairs(expected) do
      local path = peers.root .. "/tests/fixtures/exec-" .. name .. ".jsonl"
      local program = replay.program(
        ("echo 'Not inside a trusted directory' >&2; cat %s; exit 1"):format(peers.quote(path)))
      local turn, err = with(program).exec "x"
      assert.is_nil(turn)
      assert.same(class, { err.kind, err.code })
      assert.equal("Not inside a trusted directory", err.stderr)
    end
  end)

  it("says when a run ends without saying how the turn ended", function()
    local program = replay.program [[echo '{"type":"thread.started","thread_id":"t"}']]
    local turn, err = with(program).exec "x"
    assert.is_nil(turn)
    assert.same({ "protocol", "no_final_event" }, { err.kind, err.code })
    assert.equal("t", err.data.thread_id)
  end)

  it("survives a Codex that is killed in the middle of an event, with the items so far", function()
    local program = replay.program [[
      echo '{"type":"thread.started","thread_id":"t"}'
      echo '{"type":"item.completed","item":{"id":"item_0","type":"agent_message","text":"half"}}'
      printf '{"type":"item.comp'
      kill -9 $$]]
    local turn, err = with(program).exec "x"
    assert.is_nil(turn)
    assert.same({ "exit", "signal" }, { err.kind, err.code })
    assert.equal("half", err.data.items[1].text)
    assert.equal("junk", err.data.events[#err.data.events - 1].type)
  end)

  it("has no credential in an error", function()
    local path = peers.root .. "/tests/fixtures/exec-0.169.0-h401.jsonl"
    local program = replay.program(([[
      echo "Bearer sk-proj-0123456789abcdefghij was refused" >&2
      sed 's/bad key/key sk-proj-0123456789abcdefghij/g' %s; exit 1]]):format(peers.quote(path)))
    local _, err = with(program).exec "x"
    assert.equal("auth", err.kind)
    assert.truthy(tostring(err):find "redacted")
    assert.is_nil(tostring(err):find "sk%-proj")
  end)

  it("kills at the time limit and at silence", function()
    local program = replay.program [[echo '{"type":"thread.started","thread_id":"t"}'; sleep 60]]
    local _, err = with(program, { timeout = 0.3 }).exec "x"
    assert.equal("timeout", err.kind)
    _, err = with(program).exec("x", { idle_timeout = 0.3 })
    assert.equal("idle", err.kind)
  end)

  it("bounds the wait for a network that is not there", function()
    local path = peers.root .. "/tests/fixtures/exec-0.169.0-connrefused.jsonl"
    local program = replay.program(("cat %s; sleep 60"):format(peers.quote(path)))
    local _, err = with(program).exec("x", { network_wait = 0.3 })
    assert.same({ "timeout", "network" }, { err.kind, err.code })
  end)

  it("does not count a wait for the network that ended", function()
    local path = peers.quote(peers.root .. "/tests/fixtures/exec-0.169.0-")
    local body = "head -n 3 %sconnrefused.jsonl; sed 1,2d %splain.jsonl; sleep 0.5"
    local program = replay.program(body:format(path, path))
    assert(with(program).exec("x", { network_wait = 0.2 }))
  end)

  it("repeats a run only when it may, and nothing was done yet", function()
    local path = peers.quote(peers.root .. "/tests/fixtures/exec-0.169.0-")
    local program = replay.program(([[
      echo x >> $dir/runs
      [ $(wc -l < $dir/runs) -ge 3 ] && { cat %splain.jsonl; exit 0; }
      cat %sh500.jsonl; exit 1]]):format(path, path))
    assert(with(program, { log = function() end }).exec("x", { retry = { delay = 0.01 } }))
    assert.equal(3, #program.read("runs"):gsub("[^\n]", ""))
    program = replay.program(("echo x >> $dir/runs; cat %sh401.jsonl; exit 1"):format(path))
    local _, err = with(program).exec("x", { retry = 3 })
    assert.equal("auth", err.kind)
    assert.equal(1, #program.read("runs"):gsub("[^\n]", ""))
    local body = "echo x >> $dir/runs; sed '$d' %scommand.jsonl; sed 1,2d %sh500.jsonl; exit 1"
    program = replay.program(body:format(path, path))
    _, err = with(program).exec("x", { retry = 3 })
    assert.equal("server", err.code)
    assert.equal(1, #program.read("runs"):gsub("[^\n]", ""))
  end)

  it("mirrors the raw lines into a file as they arrive", function()
    local program = replay.fixture "0.169.0-websearch"
    local path = program.dir .. "/tee.jsonl"
    assert(with(program, { tee = path }).exec "x")
    assert.equal(files.read "tests/fixtures/exec-0.169.0-websearch.jsonl", files.read(path))
    assert.equal(tonumber("600", 8), require("luv").fs_stat(path).mode & tonumber("777", 8))
    local said
    local cx = with(program, { tee = "/dev/full", log = function(_, message) said = message end })
    assert(cx.exec "x")
    assert.truthy(said:find "cannot write the mirror file")
    local _, err = with(program, { tee = program.dir .. "/none/x" }).exec "x"
    assert.same({ "io", "ENOENT" }, { err.kind, err.code })
  end)

  it("removes the private file of a schema, whatever happens", function()
    local program = replay.program [[
      for word in "$@"; do case $word in --output-schema=*) f=${word#*=};; esac; done
      echo "$f" > $dir/path; stat -c %a "$f" > $dir/mode; cp "$f" "$dir/schema"; exit 3]]
    local _, err = with(program).exec("x", { output_schema = { type = "object" } })
    assert.equal(3, err.data.exit_code)
    assert.equal('{"type":"object"}', program.read "schema")
    assert.equal("600\n", program.read "mode")
    assert.is_nil(files.read((program.read("path"):gsub("\n", ""))))
  end)

  it("leaves the answer file as it was when the run fails, replaces it else", function()
    local write = [[
      for word in "$@"; do case $word in --output-last-message=*) f=${word#*=};; esac; done
      : > "$f"; cat %s; printf new > "$f"; exit %d]]
    local fixture = peers.quote(peers.root .. "/tests/fixtures/exec-0.169.0-plain.jsonl")
    local program = replay.program(write:format(fixture, 1))
    local path = program.dir .. "/answer"
    assert(files.write(path, "old"))
    assert.is_nil((with(program).exec("x", { output_last_message = path })))
    assert.equal("old", files.read(path))
    program = replay.program(write:format(fixture, 0))
    assert(with(program).exec("x", { output_last_message = path }))
    assert.equal("new", files.read(path))
  end)

  it("refuses a thread that is not the one that was asked for", function()
    local program = replay.fixture "0.169.0-plain"
    local id = "01a1fa91-065b-7c30-b4c2-d89260d0507b"
    local turn, err = with(program).resume(id, "x")
    assert.is_nil(turn)
    assert.equal("unknown_session", err.code)
    turn, err = with(program).resume("no such name", "x")
    assert.is_nil(turn)
    assert.equal("unknown_session", err.code)
  end)

  it("gives arguments and names of variables on a dry run, and starts nothing", function()
    local program = replay.fixture "0.169.0-plain"
    local plan = with(program, { env = { SECRET = "s3cret" } }).exec("hi", { dry_run = true })
    assert.equal(program.path, plan.argv[1])
    assert.equal("-", plan.argv[#plan.argv])
    assert.truthy(table.concat(plan.env, " "):find "SECRET")
    assert.is_nil(codex.json.encode(plan):find "s3cret")
    assert.is_nil(program.read "argv")
  end)

  it("takes a wrong call for the caller's mistake", function()
    local cx = with(replay.fixture "0.169.0-plain")
    for message, call in pairs {
      ["option 'sandbx' is unknown; did you mean 'sandbox'"] = function()
        cx.exec("x", { sandbx = 1 })
      end,
      ["option 'ephemeral' must be a boolean"] = function() cx.exec("x", { ephemeral = "yes" }) end,
      ["the prompt is missing"] = function() cx.exec "" end,
      ["the prompt must be a string"] = function() cx.exec {} end,
      ["option 'tmeout' is unknown"] = function() codex.with { tmeout = 3 } end,
      ["a function cannot be written as TOML"] = function()
        cx.exec("x", { config = { a = print } })
      end,
    } do
      local ok, problem = pcall(call)
      assert.is_false(ok)
      assert.truthy(problem:find(message, 1, true), problem)
    end
  end)
end)

describe("codex.stream with a recorded stream", function()
  it("ends Codex when the loop is left", function()
    local program = replay.program [[
      echo $$ > $dir/pid; echo '{"type":"thread.started","thread_id":"t"}'; sleep 60]]
    for event in with(program).stream "x" do
      if event.type == "thread.started" then break end
    end
    assert.is_nil(files.read("/proc/" .. program.read("pid"):gsub("\n", "") .. "/stat"))
  end)

  it("ends Codex when the body raises an error, and when the task is cancelled", function()
    local program = replay.program [[
      echo $$ > $dir/pid; echo '{"type":"thread.started","thread_id":"t"}'; sleep 60]]
    local cx = with(program)
    local ok = pcall(function()
      for _ in cx.stream "x" do error "in the body" end
    end)
    assert.is_false(ok)
    assert.is_nil(files.read("/proc/" .. program.read("pid"):gsub("\n", "") .. "/stat"))
    local task = codex.spawn(function()
      for _ in cx.stream "x" do codex.sleep(60) end
    end)
    codex.sleep(0.2)
    task:cancel()
    assert.equal("cancelled", select(2, task:join()).kind)
    assert.is_nil(files.read("/proc/" .. program.read("pid"):gsub("\n", "") .. "/stat"))
  end)

  it("ends with a failure event when the run fails, also before it starts", function()
    local last
    for event in with(replay.fixture("0.169.0-h401", 1)).stream "x" do last = event end
    assert.equal("failure", last.type)
    assert.equal("auth", last.error.kind)
    local list = {}
    for event in codex.with({ binary = "/nonexistent/codex", home = home }).stream "x" do
      list[#list + 1] = event
    end
    assert.equal(1, #list)
    assert.equal("spawn", list[1].error.kind)
  end)

  it("gives the turn afterwards", function()
    local stream = with(replay.fixture "0.169.0-plain").stream "x"
    local n = 0
    for _ in stream do n = n + 1 end
    assert.equal(#files.read("tests/fixtures/exec-0.169.0-plain.jsonl"):gsub("[^\n]", ""), n)
    assert.equal("string", type(assert(stream:result()).final_message))
  end)

  it("passes what it does not know, with the raw line", function()
    local line = '{"type":"turn.dreamt","depth":3}'
    local path = peers.quote(peers.root .. "/tests/fixtures/exec-0.169.0-plain.jsonl")
    local program = replay.program(("echo '%s'; cat %s"):format(line, path))
    local first
    for event in with(program).stream "x" do first = first or event end
    assert.same(events.decode(line), first)
    assert.equal(line, first.raw_line)
  end)
end)
