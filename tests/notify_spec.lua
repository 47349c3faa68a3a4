--- `codex-lua notify` and codex.notify without Codex: payloads good and bad, hooks of all kinds,
--- the log, turns that come twice, programs that were there before. Payloads and rollouts are
--- captures.

local async = require "codex.async"
local files = require "codex.files"
local host = require "codex.core.host"
local json = require "codex.json"
local notify = require "codex.notify"
local peers = require "tests.support.peers"
local proc = require "codex.proc"
local program = require "tests.support.program"
local uv = require "luv"

local fixtures = peers.root .. "/tests/fixtures/"
local captured = assert(files.read(fixtures .. "notify-0.169.0-second-turn.json")):gsub("\n$", "")
local thread = "01a1fbb8-39cc-7b93-b5e1-a31616bba829"
local said = { "What is here?", 'And "there"?\nTwo lines, é.' }

local dir, remove, env -- of one test

local function environment()
  return {
    HOME = dir, CODEX_HOME = dir .. "/codex", XDG_RUNTIME_DIR = dir .. "/run",
    XDG_CONFIG_HOME = dir .. "/config", XDG_STATE_HOME = dir .. "/state",
  }
end

local function hook_file(name, text)
  assert(files.make_dir(dir .. "/config/codex-lua/notify.d"))
  program.write(dir .. "/config/codex-lua/notify.d/" .. name, text)
end

--- A hook that writes a line for each event.
local function recorder(expression)
  return ([[return function(event)
    local file <close> = assert(io.open(os.getenv "HOME" .. "/seen", "a"))
    file:write(tostring(%s), "\n")
  end]]):format(expression or "event.turn_id")
end

local function seen() return files.read(dir .. "/seen") or "" end

local function run(args, opts)
  opts = opts or {}
  opts.env = env
  return program.run(table.move(args, 1, #args, 2, { "notify" }), opts)
end

local function log() return program.json_lines(dir .. "/state/codex-lua/notify.jsonl") end

local last_turn = 0

--- The captured payload with other members, and a turn of its own.
local function payload(members)
  local copy = json.decode(captured)
  last_turn = last_turn + 1
  copy["turn-id"] = ("01a1fbb8-3af2-7623-84b4-%012d"):format(last_turn)
  for name, value in pairs(members or {}) do copy[name] = value end
  return json.encode(copy), copy["turn-id"]
end

--- What a Stop hook of Codex 0.169.0 is given for this turn.
local function stop_input(turn, more)
  local input = {
    session_id = thread, transcript_path = json.null, cwd = "/", hook_event_name = "Stop",
    model = "gpt-5.5", turn_id = turn, permission_mode = "default", stop_hook_active = false,
    last_assistant_message = "two",
  }
  for name, value in pairs(more or {}) do input[name] = value end
  return json.encode(input)
end

local function before()
  dir, remove = program.folder()
  assert(files.make_dir(dir .. "/run"))
  assert(files.make_dir(dir .. "/codex"))
  env = environment()
end

local function executable(name, text)
  program.write(dir .. "/" .. name, "#!/bin/sh\n" .. text, tonumber("755", 8))
  return dir .. "/" .. name
end

describe("a payload", function()
  it("of Codex 0.169.0 makes an event in snake_case, beside the payload as it came", function()
    local event = notify.event(assert(notify.decode(captured)))
    assert.same({ "turn_complete", "notify", thread, "/usr/share/doc", "codex_exec", "two" },
      { event.type, event.route, event.thread_id, event.cwd, event.client,
        event.last_assistant_message })
    assert.equal("01a1fbb8-3af2-7623-84b4-bec5e4e72c0b", event.turn_id)
    assert.same(said, event.input_messages)
    assert.equal(thread, event.payload["thread-id"])
    assert.same(json.decode(captured), json.decode(notify.payload(event)))
  end)

  it("of an unknown type passes, with unknown members", function()
    local event = notify.event { type = "approval-wanted-now", ["tool-call-id"] = "x", n = 3,
      ["last-assistant-message"] = json.null }
    assert.same({ "approval_wanted_now", "x", 3 }, { event.type, event.tool_call_id, event.n })
    assert.is_nil(event.last_assistant_message)
  end)

  it("that has members by the names of ours does not replace them", function()
    local given = { type = "agent-turn-complete", route = "x", payload = "y" }
    local event = notify.event(given)
    assert.same({ "notify", given }, { event.route, event.payload })
  end)

  it("without members, or with members of wrong types, breaks nothing", function()
    local nothing = notify.event {}
    assert.same({ "unknown", nil, nil }, { nothing.type, nothing.thread_id, nothing.cwd })
    local odd = notify.event { type = 7, ["thread-id"] = "xyz", cwd = 12, client = "codex-tui",
      ["turn-id"] = json.array {} }
    for _, event in ipairs { nothing, odd, notify.event { ["thread-id"] = 5, cwd = {} } } do
      for _, name in ipairs { "git_branch", "rollout", "input_messages" } do
        assert.is_nil(event[name])
      end
      assert.truthy(notify.payload(event))
    end
    assert.is_true(odd.internal)
  end)

  it("that is none says so", function()
    for text, why in pairs {
      [""] = "there is no payload", ["{"] = "not a JSON object", ["[]"] = "not a JSON object: %[%]",
      ["7"] = "not a JSON object: 7", ['"x"'] = "not a JSON object", ["null"] = "not a JSON object",
      ["{} {}"] = "not a JSON object", ["hello"] = "not a JSON object",
      [('{"a":'):rep(100000)] = "not a JSON object", ["[{}]"] = "not a JSON object",
    } do
      local value, err = notify.decode(text)
      assert.is_nil(value)
      assert.equal("protocol", err.kind)
      assert.matches(why, err.message)
    end
  end)
end)

describe("codex-lua notify", function()
  before_each(before)
  after_each(function() remove() end)

  it("runs the hooks of notify.d in their order, and says nothing when all went well", function()
    hook_file("20-b.lua", recorder "'b ' .. event.last_assistant_message")
    hook_file("10-a.lua", recorder "'a ' .. event.input_messages[2]")
    hook_file("not-lua.txt", "garbage")
    local result = run { (payload()) }
    assert.same({ 0, "", "" }, { result.code, result.stdout, result.stderr })
    assert.equal("a " .. said[2] .. "\nb two\n", seen())
    local first, second = table.unpack(log())
    assert.same({ "10-a", "20-b", true }, { first.hook, second.hook, first.ok })
    assert.same({ "turn_complete", "notify", thread },
      { first.type, first.route, first.thread_id })
    assert.matches("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%dZ$", first.time)
  end)

  it("runs the files on its command line in place of those", function()
    hook_file("a.lua", recorder "'notify.d'")
    program.write(dir .. "/x.lua", recorder "'x'")
    program.write(dir .. "/y.lua", recorder "'y'")
    assert.equal(0, run({ dir .. "/x.lua", dir .. "/y.lua", (payload()) }).code)
    assert.equal("x\ny\n", seen())
  end)

  it("is content without hooks", function()
    assert.equal(0, run({ (payload()) }).code)
    assert.same({}, log())
  end)

  it("writes down what is no payload, and ends with 1", function()
    hook_file("a.lua", recorder())
    for _, text in ipairs { "", "not json", "[1]", "{" } do
      local result = run { text }
      assert.equal(1, result.code)
      assert.matches("codex%-lua notify: protocol: ", result.stderr)
    end
    assert.equal(1, run({ dir .. "/x.lua" }).code)
    assert.equal(5, #log())
    for _, entry in ipairs(log()) do
      assert.same({ "notify", false }, { entry.hook, entry.ok })
    end
    assert.equal("", seen())
  end)

  it("writes down that it does not know a payload's type, so that it does not go unseen", function()
    hook_file("a.lua", "return { on = 'turn_complete', run = function() error 'x' end }")
    for _, text in ipairs { "{}", '{"type":5}', '{"type":"unknown"}', '{"type":"turn-is-over"}' } do
      assert.equal(0, run({ text }).code)
    end
    assert.equal(0, run({ (payload { type = "turn-failed" }) }).code)
    local notes = {}
    for i, entry in ipairs(log()) do
      assert.same({ "notify", true }, { entry.hook, entry.ok })
      notes[i] = entry.note
    end
    local see = ": hooks for turns do not see it"
    assert.same({ "the payload has no type" .. see, "the payload has no type" .. see,
      "the payload's type 'unknown' is not known" .. see,
      "the payload's type 'turn-is-over' is not known" .. see }, notes)
  end)

  it("takes 10 MB from standard input, by - and from a Stop hook", function()
    hook_file("a.lua", recorder "#(event.last_assistant_message or '')")
    local big = ("x"):rep(10 << 20)
    assert.equal(0, run({ "-" }, { input = payload { ["last-assistant-message"] = big } }).code)
    local stop = stop_input("01a1fbb8-3af2-7623-84b4-000000009999",
      { last_assistant_message = big })
    assert.equal(0, run({ "--stop" }, { input = stop }).code)
    assert.equal(("%d\n%d\n"):format(#big, #big), seen())
  end)

  it("shows what failed, runs the rest, and ends with 1", function()
    hook_file("1-syntax.lua", "return {{{")
    hook_file("2-throws.lua", "return function() error 'it broke' end")
    hook_file("3-exits.lua", "return function() os.exit(0) end")
    hook_file("4-loops.lua", "return { timeout = 0.5, run = function() while true do end end }")
    hook_file("5-nonsense.lua", "return 42")
    hook_file("6-waits.lua",
      "return { timeout = 0.3, run = function() require('codex').sleep(99) end }")
    hook_file("7-good.lua", recorder "'good'")
    local result = run { (payload()) }
    assert.equal(1, result.code)
    assert.equal("good\n", seen())
    local by_name = {}
    for _, entry in ipairs(log()) do by_name[entry.hook] = entry end
    for name, why in pairs {
      ["1-syntax"] = "1%-syntax%.lua:1: ", ["2-throws"] = "it broke",
      ["3-exits"] = "cannot end the program", ["4-loops"] = "timed out after 0.5 seconds",
      ["5-nonsense"] = "must return", ["6-waits"] = "timed out after 0.3 seconds",
    } do
      assert.is_false(by_name[name].ok)
      assert.matches(why, by_name[name].why)
      assert.matches(name:gsub("%-", "%%-") .. ": .*" .. why, result.stderr)
    end
    assert.is_true(by_name["7-good"].ok)
  end)

  it("fails with what hooks have left: tasks that nobody joins, and callbacks", function()
    hook_file("1-task.lua", [[return function()
      require("codex").spawn(function() error "one is lost" end)
    end]])
    hook_file("2-later.lua", [[return function()
      require("codex").spawn(function()
        require("codex").sleep(0.01)
        error "two is lost"
      end)
    end]])
    hook_file("3-waits.lua", "return function() require('codex').sleep(0.3) end")
    local result = run { (payload()) }
    assert.equal(1, result.code)
    local entries = log()
    assert.same({ false, false, true }, { entries[1].ok, entries[2].ok, entries[3].ok })
    for i, what in ipairs { "1%-task: [^\n]*one", "2%-later: [^\n]*two" } do
      assert.matches("codex%-lua notify: " .. what .. " is lost", result.stderr)
      assert.matches("a task that it started failed: .* is lost$", entries[i].why)
    end
  end)

  it("fails with a hook whose callback does", function()
    hook_file("a.lua", [[return function()
      local timer = require("luv").new_timer()
      timer:start(1, 0, function()
        timer:close()
        error "it is lost"
      end)
      require("codex").sleep(0.2)
    end]])
    local result = run { (payload()) }
    assert.equal(1, result.code)
    assert.matches("codex%-lua notify: a: a callback failed while it ran: .* is lost",
      result.stderr)
    assert.is_false(log()[1].ok)
  end)

  it("refuses a notify.d that others may write, and a hook, and says so", function()
    hook_file("a.lua", recorder())
    local folder = dir .. "/config/codex-lua/notify.d"
    assert(uv.fs_chmod(folder .. "/a.lua", tonumber("666", 8)))
    assert.matches("a%.lua' can be written by others", run({ (payload()) }).stderr)
    assert(uv.fs_chmod(folder .. "/a.lua", tonumber("644", 8)))
    assert(uv.fs_chmod(folder, tonumber("777", 8)))
    assert.matches("notify%.d' can be written by others", run({ (payload()) }).stderr)
    assert.equal("", seen())
    assert.equal(2, #log())
  end)

  it("does its work with standard input, output and error closed", function()
    hook_file("a.lua", recorder())
    hook_file("b.lua", "return function() print 'output' error 'broken' end")
    hook_file("c.lua", [[return function()
      assert(require("codex").proc.run({ "sh", "-c", "echo from-child >> $HOME/seen" }).code == 0)
    end]])
    local text, turn = payload()
    local result = assert(proc.run({ "sh", "-c", 'exec "$0" notify "$1" <&- >&- 2>&-',
      host.program, text }, { env = env, timeout = 20 }))
    assert.equal(1, result.code)
    assert.equal(turn .. "\nfrom-child\n", seen())
    local names = {}
    for i, entry in ipairs(log()) do names[i] = entry.hook .. " " .. tostring(entry.ok) end
    assert.same({ "a true", "b false", "c true" }, names)
  end)

  it("goes on when Codex ends first, and takes its whole group along", function()
    hook_file("a.lua",
      "return function() require('codex').sleep(0.3) end")
    hook_file("b.lua", [[return function()
      require("codex").sleep(0.3)
      local file <close> = io.open(os.getenv "HOME" .. "/seen", "w")
      file:write "done"
    end]])
    assert(proc.run({ "sh", "-c", '"$0" notify "$1" </dev/null >/dev/null 2>&1 & exit 0',
      host.program, (payload()) }, { env = env, timeout = 20 }))
    assert.is_true(program.eventually(function() return seen() == "done" end))
  end)

  it("ends the children that a hook left, but not what a hook wanted to stay", function()
    hook_file("a.lua", [[
      local codex, uv = require "codex", require "luv"
      return function()
        local file <close> = assert(io.open(os.getenv "HOME" .. "/seen", "w"))
        file:write(codex.proc.spawn({ "sleep", "100" }).pid, "\n")
        local _, pid = assert(uv.spawn("sleep", { args = { "101" }, detached = true }))
        file:write(pid, "\n")
        local shell <close> = assert(io.popen "sleep 102 >/dev/null 2>&1 & echo $!")
        file:write(shell:read "l", "\n")
      end]])
    local started = uv.hrtime()
    assert.equal(0, run({ (payload()) }).code)
    assert.is_true((uv.hrtime() - started) / 1e9 < 5)
    local ours, detached, background = seen():match "(%d+)\n(%d+)\n(%d+)"
    assert.is_false(program.alive(math.tointeger(ours)))
    for _, pid in ipairs { math.tointeger(detached), math.tointeger(background) } do
      assert.is_true(program.alive(pid))
      uv.kill(pid, "sigkill")
    end
  end)

  it("skips threads that the interface keeps for titles, unless a hook asks for them", function()
    hook_file("a.lua", recorder "'plain'")
    hook_file("b.lua", ("return { internal = true, run = (function() %s end)() }")
      :format(recorder "'internal'"))
    local title = assert(files.read(fixtures .. "notify-0.169.0-title.json"))
    local id = json.decode(title)["thread-id"]
    assert.equal(0, run({ title }).code)
    assert.equal("internal\n", seen())
    local place = dir .. "/codex/sessions/2026/11/21"
    assert(files.make_dir(place))
    program.write(place .. "/rollout-2026-11-21T17-01-40-" .. id .. ".jsonl", "")
    assert.equal(0, run({ (payload { client = "codex-tui", ["thread-id"] = id }) }).code)
    assert.equal("internal\nplain\ninternal\n", seen())
  end)

  it("tells what was asked with /side, which has no rollout either, with and without history",
    function()
      hook_file("a.lua", recorder "event.input_messages[#event.input_messages]")
      local side = assert(files.read(fixtures .. "notify-0.169.0-side.json"))
      assert.equal(0, run({ side }).code)
      assert.equal("what is two?\n", seen())
      local history = assert(files.read(fixtures .. "history-0.169.0-side.jsonl"))
      program.write(dir .. "/codex/history.jsonl", ("x"):rep(3 << 20) .. "\n" .. history)
      local first = json.decode(side)
      first["input-messages"], first["turn-id"] = json.array { "what is two?" }, nil
      assert.equal(0, run({ json.encode(first) }).code)
      local title = json.decode(assert(files.read(fixtures .. "notify-0.169.0-title.json")))
      assert.equal(0, run({ json.encode(title) }).code)
      assert.equal("what is two?\nwhat is two?\n", seen())
    end)

  it("knows from the history what was asked with /side where a Stop hook tells of it", function()
    hook_file("a.lua", recorder
      "table.concat(event.input_messages or {}, '|') .. ' ' .. tostring(event.client)")
    program.write(dir .. "/codex/history.jsonl",
      (assert(files.read(fixtures .. "history-0.169.0-side.jsonl"))))
    local input = stop_input("01a1ff0e-89a4-7f92-8424-14cbd042350f",
      { session_id = "01a1ff0e-7842-77a3-81c8-2149f358f35c" })
    assert.equal(0, run({ "--stop" }, { input = input }).code)
    assert.equal("what is two?|and three? codex-tui\n", seen())
  end)

  it("gives the program before it the bytes that Codex gave, whatever they are", function()
    local mine = executable("mine", 'for last; do :; done\nprintf %s "$last" >"$HOME/got"\n')
    local spaced = '{ "type" : "agent-turn-complete",\t"n": 1.50, "turn-id": "x", "n": 2 , '
      .. '"last-assistant-message":"\\u00e9\\ud800 \xc3\xa9 \\/" }'
    local invalid = '{"type":"agent-turn-complete","last-assistant-message":"\xff\xfe"}'
    local long = '{"type":"agent-turn-complete","last-assistant-message":"'
    long = long .. ("x"):rep(128 * 1024 - 1 - #long - 2) .. '"}' -- the longest argument of Linux
    for _, text in ipairs { spaced, invalid, "not JSON \x80", "[1]", long } do
      run { "--chain", json.encode { mine }, text }
      assert.is_true(text == files.read(dir .. "/got"), text:sub(1, 80))
      assert(uv.fs_unlink(dir .. "/got"))
    end
  end)

  it("hands over text that is no UTF-8 with U+FFFD in its place, and writes it down so", function()
    hook_file("a.lua", recorder "event.last_assistant_message")
    hook_file("b.lua", "return function(event) error(event.last_assistant_message, 0) end")
    run { '{"type":"agent-turn-complete","last-assistant-message":"\xff\xfe"}' }
    assert.equal("\u{fffd}\u{fffd}\n", seen())
    assert.same({ true, "\u{fffd}\u{fffd}" }, { log()[1].ok, log()[2].why })
  end)

  --- Without a home in the environment, and as a user of whom nobody knows.
  local function homeless(words, home)
    local argv = { "setpriv", "--reuid", "54321", "--clear-groups", "env", "-i" }
    if home then argv[#argv + 1] = "HOME=" .. home end
    table.move({ host.program, "notify" }, 1, 2, #argv + 1, argv)
    return assert(proc.run(table.move(words, 1, #words, #argv + 1, argv), { cwd = "/" }))
  end

  for how, home in pairs {
    ["HOME is empty"] = "", ["HOME is relative"] = "x", ["no HOME"] = false,
  } do
    it("runs what it can where there is no home, and says so: " .. how, function()
      if uv.getuid() ~= 0 then return pending "only root can be somebody else" end
      program.write(dir .. "/named.lua", "return function() print 'ran' end")
      assert(uv.fs_chmod(dir, tonumber("755", 8)))
      local mine = executable("mine", "echo chained >&2\n")
      local result = homeless({ "--chain", json.encode { mine }, dir .. "/named.lua", (payload()) },
        home)
      assert.equal(0, result.code, result.stderr)
      assert.equal("ran\n", result.stdout)
      local expected = "runs are not written down: there is no home folder"
      assert.truthy(result.stderr:find(expected, 1, true), result.stderr)
      result = homeless({ (payload()) }, home)
      assert.equal(1, result.code)
      assert.truthy(result.stderr:find("notify.d: there is no home folder", 1, true), result.stderr)
      assert.is_nil(uv.fs_stat "/.local/state/codex-lua")
    end)
  end

  it("finds the home in the passwd file where HOME is empty", function()
    local result = assert(proc.run({ host.program, "-e", [[
      local files = require "codex.files"
      print(files.home() == require("luv").os_get_passwd().homedir, files.config_dir())]] },
      { env = { HOME = "" , XDG_CONFIG_HOME = false } }))
    assert.matches("^true\t/.+/%.config/codex%-lua\n$", result.stdout)
  end)
end)

describe("the log of runs", function()
  before_each(before)
  after_each(function() remove() end)

  it("is the user's alone and holds no secrets", function()
    hook_file("a.lua", "return function() error 'refused: sk-proj-0123456789abcdef' end")
    run { (payload()) }
    local path = dir .. "/state/codex-lua/notify.jsonl"
    assert.equal(tonumber("600", 8), uv.fs_stat(path).mode & tonumber("777", 8))
    local text = files.read(path)
    assert.matches("refused: %[redacted%]", text)
    assert.is_nil(text:find("0123456789abcdef", 1, true))
  end)

  it("has bounded reasons and names, cut between characters", function()
    hook_file("a.lua", "return function() error(('\u{e9}'):rep(1 << 20)) end")
    run { (payload { ["thread-id"] = ("t"):rep(60000) }) }
    local path = dir .. "/state/codex-lua/notify.jsonl"
    assert.is_true(uv.fs_stat(path).size < 6000)
    local entry = log()[1]
    assert.matches("^[^\0]*\u{e9}%.%.%. %(%d+ bytes%)$", entry.why)
    assert.truthy(utf8.len(entry.why))
    assert.matches("^t+%.%.%. %(60000 bytes%)$", entry.thread_id)
  end)

  it("holds up nobody when it is a FIFO, and that is said", function()
    hook_file("a.lua", recorder())
    local path = dir .. "/state/codex-lua/notify.jsonl"
    assert(files.make_dir(dir .. "/state/codex-lua"))
    assert.equal(0, assert(proc.run { "mkfifo", path }).code)
    local text, turn = payload()
    local result = run({ text }, { timeout = 10 })
    assert.equal(0, result.code)
    assert.equal(turn .. "\n", seen())
    assert.truthy(result.stderr:find("cannot write '" .. path, 1, true), result.stderr)
  end)

  it("goes on on a line of its own after what a full disk has left", function()
    hook_file("a.lua", recorder())
    local path = dir .. "/state/codex-lua/notify.jsonl"
    assert(files.make_dir(dir .. "/state/codex-lua"))
    program.write(path, '{"half":"a li')
    run { (payload()) }
    run { (payload()) }
    local lines = {}
    for line in files.read(path):gmatch "[^\n]+" do lines[#lines + 1] = line end
    assert.equal(3, #lines)
    assert.equal('{"half":"a li', lines[1])
    for i = 2, 3 do assert.is_true(json.decode(lines[i]).ok) end
  end)

  it("shows no secret of what a hook failed with, neither in the log nor on standard error",
    function()
      local secret = "Zq99Xw9Lm2Tb4Vn8Kc3Rd"
      local why = ('{"env":[{"name":"GITHUB_TOKEN","value":"%s"}],"argv":["--token","%s"]}'):format(
        secret, secret)
      hook_file("a.lua", ("return function() error(%q, 0) end"):format(why))
      local result = run { (payload()) }
      assert.matches("a: .*%[redacted%].*%[redacted%]", result.stderr)
      assert.is_nil(result.stderr:find(secret, 1, true))
      assert.is_nil(log()[1].why:find(secret, 1, true))
    end)

  it("has whole lines when many write at once", function()
    hook_file("a.lua", "return function() error(('x'):rep(1900)) end")
    local codex = require "codex"
    codex.map({ 1, 2, 3, 4, 5, 6, 7, 8 }, function() run { (payload()) } end)
    assert.equal(8, #log())
  end)

  --- Writes a note down while somebody else holds the log's lock; what `meanwhile` does with that
  --- other descriptor is done whenever we sleep.
  local function write_beside(meanwhile)
    local path, flag = dir .. "/state/codex-lua/notify.jsonl", uv.constants
    assert(files.make_dir(dir .. "/state/codex-lua"))
    local fd = assert(uv.fs_open(path, flag.O_RDWR | flag.O_CREAT, tonumber("600", 8)))
    assert.is_true(require("codex.core.lock").take(fd))
    assert(uv.fs_write(fd, '{"first'))
    local sleep, state = uv.sleep, os.getenv "XDG_STATE_HOME"
    function uv.sleep() meanwhile(fd) end -- luacheck: ignore 122
    uv.os_setenv("XDG_STATE_HOME", dir .. "/state")
    notify.write_down(nil, { { hook = "h", ok = true } })
    uv.os_setenv("XDG_STATE_HOME", state)
    uv.sleep = sleep -- luacheck: ignore 122
    return files.read(path), fd
  end

  it("is looked at when no other program is writing", function()
    local text = write_beside(function(fd)
      assert(uv.fs_write(fd, '":1}\n'))
      assert(uv.fs_close(fd))
    end)
    assert.matches('^{"first":1}\n{"hook":"h","ok":true,[^\n]*}\n$', text)
  end)

  it("is written also while another program holds it and does not let go", function()
    local text, fd = write_beside(function() end)
    assert(uv.fs_close(fd))
    assert.matches('^{"first\n{"hook":"h","ok":true,[^\n]*}\n$', text)
  end)

  it("begins anew after 1 MiB and keeps the one before", function()
    hook_file("a.lua", recorder())
    assert(files.make_dir(dir .. "/state/codex-lua"))
    local path = dir .. "/state/codex-lua/notify.jsonl"
    program.write(path, ("x"):rep(1 << 20) .. "\n")
    run { (payload()) }
    run { (payload()) }
    assert.equal(2, #log())
    assert.equal((1 << 20) + 1, uv.fs_stat(path .. ".1").size)
  end)

  it("whose folder cannot be made is said with that folder, by the state, too", function()
    if not uv.fs_stat "/sys/kernel" then return pending "nothing is mounted at /sys" end
    env.XDG_STATE_HOME = "/sys" -- where nobody makes a folder
    local what = "cannot write '/sys/codex%-lua/notify%.jsonl': cannot make '/sys/codex%-lua': E"
    local result = run { "{}" }
    assert.equal(0, result.code)
    assert.matches(what, result.stderr)
    env.CODEX_BINARY = "/bin/false"
    result = run { "status" }
    assert.equal(1, result.code)
    assert.matches(what, result.stdout)
  end)

  it("that cannot be written is said, and hooks run all the same", function()
    hook_file("a.lua", recorder())
    program.write(dir .. "/state", "a file in the way")
    local text, turn = payload()
    local result = run { text }
    assert.equal(0, result.code)
    assert.matches("cannot write '.*notify%.jsonl': ENOTDIR", result.stderr)
    assert.equal(turn .. "\n", seen())
  end)
end)

describe("a turn", function()
  before_each(before)
  after_each(function() remove() end)

  local function start(args, input)
    return assert(proc.spawn(table.move(args, 1, #args, 3, { host.program, "notify" }),
      { env = env, input = input }))
  end

  local function all_end(list)
    for _, child in ipairs(list) do assert.equal(0, child:wait().code) end
  end

  it("and another that ends at the same time are both told, and written down whole", function()
    hook_file("a.lua", recorder())
    local turns, list = {}, {}
    for i = 1, 20 do
      local text, turn = payload()
      turns[turn], list[i] = true, start { text }
    end
    all_end(list)
    for turn in seen():gmatch "[^\n]+" do
      assert.is_true(turns[turn])
      turns[turn] = nil
    end
    assert.same({}, turns)
    assert.equal(20, #log())
  end)

  it("that comes by both routes is told once, in either order, and at the same time", function()
    hook_file("a.lua", recorder())
    local turns = {}
    for i = 1, 10 do
      local text, turn = payload()
      local stop = stop_input(turn)
      turns[i] = turn .. "\n"
      if i == 1 then
        run { text }
        run({ "--stop" }, { input = stop })
      elseif i == 2 then
        run({ "--stop" }, { input = stop })
        run { text }
      else
        all_end { start { text }, start({ "--stop" }, stop) }
      end
      assert.equal(table.concat(turns), seen())
    end
  end)

  it("that comes by both routes is told to the program before us, which has no hook", function()
    local chained = executable("old", 'printf "%s" "$1" > "$HOME/chained"')
    local text, turn = payload()
    run({ "--stop" }, { input = stop_input(turn) })
    run { "--chain", json.encode(json.array { chained }), text }
    assert.same(json.decode(text), json.decode(files.read(dir .. "/chained") or ""))
  end)

  it("is told although the terminal is closed in the middle", function()
    hook_file("a.lua", [[return function(event)
      local file <close> = assert(io.open(os.getenv "HOME" .. "/seen", "a"))
      file:write "begun "
      file:flush()
      require("codex").sleep(0.3)
      file:write "done"
    end]])
    local p <close> = program.spawn({ "notify", (payload()) }, { env = env })
    assert.is_true(program.eventually(function() return seen() == "begun " end))
    assert(p:kill "hup")
    assert.equal(0, p:wait().code)
    assert.equal("begun done", seen())
  end)

  it("is forgotten after a day", function()
    local folder = dir .. "/state/codex-lua/seen"
    assert(files.make_dir(folder))
    local before_yesterday = os.time() - 2 * 86400
    program.write(folder .. "/old", "")
    assert(uv.fs_utime(folder .. "/old", before_yesterday, before_yesterday))
    program.write(folder .. "/new", "")
    for _ = 1, 500 do -- once in fifty times, by chance
      run { (payload()) }
      if not uv.fs_stat(folder .. "/old") then break end
    end
    assert.is_nil(uv.fs_stat(folder .. "/old"))
    assert.truthy(uv.fs_stat(folder .. "/new"))
  end)

  it("with a number, as until Codex 0.80, is told whatever other threads had", function()
    hook_file("a.lua", recorder())
    run { (payload { ["turn-id"] = "0" }) }
    run { (payload { ["turn-id"] = "0" }) }
    assert.equal("0\n0\n", seen())
  end)

  it("is the same event by a Stop hook, which reads the thread's rollout", function()
    hook_file("a.lua", recorder [[require("codex").json.encode {
      type = event.type, route = event.route, thread = event.thread_id, turn = event.turn_id,
      cwd = event.cwd, said = event.input_messages, last = event.last_assistant_message }]])
    local turn = "01a1fbb8-3af2-7623-84b4-bec5e4e72c0b"
    for _, path in ipairs { "0.169.0", "0.101.0" } do
      local rollout = fixtures .. "rollout-" .. path .. "-two-turns.jsonl"
      run({ "--stop" }, { input = stop_input(turn, { transcript_path = rollout }) })
      assert.same({ type = "turn_complete", route = "hook", thread = thread, turn = turn, cwd = "/",
        said = said, last = "two" }, json.decode(seen()))
      os.remove(dir .. "/seen")
      assert(proc.run { "rm", "-rf", dir .. "/state" })
    end
  end)

  it("from --hook is left to a process that Codex does not wait for", function()
    hook_file("a.lua", [[return function(event)
      require("codex").sleep(0.5)
      local file <close> = io.open(os.getenv "HOME" .. "/seen", "w")
      file:write(event.turn_id)
    end]])
    local before_it = executable("before", 'printf "%s" "$1" > "$HOME/chained"')
    local _, turn = payload()
    local result = run({ "--hook", "--chain", json.encode(json.array { before_it }) },
      { input = stop_input(turn) })
    assert.same({ 0, "", "" }, { result.code, result.stdout, result.stderr })
    assert.equal("", seen())
    assert.is_true(program.eventually(function() return #log() == 2 end))
    assert.equal(turn, seen())
    local told = assert(json.decode(files.read(dir .. "/chained")))
    assert.same({ "agent-turn-complete", turn, "two" },
      { told.type, told["turn-id"], told["last-assistant-message"] })
  end)

  it("from --hook that is no JSON is written down, and does not block Codex", function()
    local result = run({ "--hook" }, { input = "garbage" })
    assert.equal(1, result.code) -- 2 would make Codex go on with the turn
    assert.equal("", result.stdout)
    assert.equal(1, #log())
  end)
end)

describe("an event", function()
  before_each(before)
  after_each(function() remove() end)

  local function git(...)
    local result = assert(proc.run({ "git", "-c", "user.name=t", "-c", "user.email=t@example.org",
      ... }, { cwd = dir .. "/repo" }))
    assert.equal(0, result.code, result.stderr)
  end

  local function branch(cwd) return notify.event({ cwd = cwd }).git_branch end

  it("knows the branch: in the repository and below, in a worktree, not when detached", function()
    assert(files.make_dir(dir .. "/repo/a/b"))
    git("init", "-q", "-b", "feature/one")
    git("commit", "-q", "--allow-empty", "-m", "x")
    git("worktree", "add", "-q", "-b", "other", dir .. "/tree")
    assert.equal("feature/one", branch(dir .. "/repo"))
    assert.equal("feature/one", branch(dir .. "/repo/a/b"))
    assert.equal("other", branch(dir .. "/tree"))
    git("checkout", "-q", "--detach")
    assert.is_nil(branch(dir .. "/repo"))
    assert.equal("other", branch(dir .. "/tree"))
  end)

  it("has no branch where there is no repository, or no such folder", function()
    assert.is_nil(branch "/")
    assert.is_nil(branch "/no/such/folder")
    assert.is_nil(branch "")
    assert.is_nil(notify.event({}).git_branch)
  end)

  it("knows where Codex keeps the thread", function()
    hook_file("a.lua", recorder "event.rollout")
    run { (payload()) }
    local place = dir .. "/codex/sessions/2026/11/21"
    assert(files.make_dir(place))
    local path = place .. "/rollout-2026-11-21T01-28-37-" .. thread .. ".jsonl"
    program.write(path, "")
    run { (payload()) }
    assert.equal("nil\n" .. path .. "\n", seen())
  end)

  it("stands for a turn that a script of ours completed", function()
    local event = notify.turn_event({ thread_id = thread, final_message = "done" },
      { input_messages = { "do it" }, type = "turn_failed" })
    assert.same({
      type = "turn-failed", ["thread-id"] = thread, cwd = uv.cwd(), client = "codex-lua",
      ["input-messages"] = { "do it" }, ["last-assistant-message"] = "done",
    }, json.decode(notify.payload(event)))
  end)
end)

describe("codex.notify.run", function()
  before_each(before)
  after_each(function() remove() end)

  local function event(members) return notify.event(assert(notify.decode((payload(members))))) end

  local function recording()
    return executable("program", ([[printf '%%s\n' "$#" "$1" > %s/words
      eval "last=\${$#}"
      printf '%%s' "$last" > %s/last
      cat > %s/input]]):format(dir, dir, dir))
  end

  local function got(name) return files.read(dir .. "/" .. name) end

  it("gives a program the payload as its last argument, as Codex does", function()
    local given = event()
    local result = assert(notify.run({ recording(), "first word" }, given))
    assert.equal(0, result.code)
    assert.equal("2\nfirst word\n", got "words")
    assert.same(given.payload, json.decode(got "last"))
    assert.equal("", got "input")
    assert(notify.run(recording(), given))
    assert.matches("^1\n", got "words")
  end)

  it("gives up to 128 KiB as an argument, and more on standard input", function()
    local spare = 128 * 1024 - 1 - #notify.payload(event { ["last-assistant-message"] = "" })
    local fits = event { ["last-assistant-message"] = ("x"):rep(spare) }
    assert.equal(0, assert(notify.run(recording(), fits)).code)
    assert.same({ fits.payload, "" }, { json.decode(got "last"), got "input" })
    for _, size in ipairs { spare + 1, 300 * 1024 } do
      local large = event { ["last-assistant-message"] = ("x"):rep(size) }
      assert.equal(0, assert(notify.run(recording(), large)).code)
      assert.equal("-", got "last")
      assert.same(large.payload, json.decode(got "input"))
    end
  end)

  it("runs codex-lua notify, too, at any size", function()
    hook_file("a.lua", recorder "#event.last_assistant_message")
    local run_it = ([[
      local notify, json = require "codex.notify", require "codex.json"
      local event = notify.event(json.decode(io.read "a"))
      local result = assert(notify.run({ %q, "notify" }, event))
      os.exit(result.code)
    ]]):format(host.program)
    local text = payload { ["last-assistant-message"] = ("x"):rep(300000) }
    assert.equal(0, program.eval(run_it, { env = env, input = text }).code)
    assert.equal("300000\n", seen())
  end)

  it("says how a program failed, that there is none, and that it takes too long", function()
    local result = assert(notify.run(executable("fails", "echo why >&2; exit 7"), event()))
    assert.same({ 7, "why\n" }, { result.code, result.stderr })
    local none, err = notify.run("/no/such/program", event())
    assert.is_nil(none)
    assert.equal("spawn", err.kind)
    local slow = executable("slow", "exec sleep 100")
    none, err = notify.run(slow, event(), { timeout = 0.2 })
    assert.is_nil(none)
    assert.equal("timeout", err.kind)
  end)
end)

describe("--chain", function()
  before_each(before)
  after_each(function() remove() end)

  it("calls the program before us with the payload, after the hooks", function()
    hook_file("a.lua", recorder "'hook'")
    local chained = executable("old", 'printf "%s %s\\n" "$1" "$2" >> "$HOME/seen"')
    local text = payload()
    local result = run { "--chain", json.encode(json.array { chained, "word" }), text }
    assert.equal(0, result.code, result.stderr)
    local word, told = seen():match "^hook\n(%S+) ([^\n]+)\n$"
    assert.equal("word", word)
    assert.same(json.decode(text), json.decode(told))
    assert.equal("chain: " .. chained, log()[2].hook)
  end)

  it("calls it also when a hook fails; that it fails is written down", function()
    hook_file("a.lua", "return function() error 'x' end")
    local chained = executable("old", "touch $HOME/called; exit 3")
    local result = run { "--chain", json.encode(json.array { chained }), (payload()) }
    assert.equal(1, result.code)
    assert.truthy(uv.fs_stat(dir .. "/called"))
    assert.matches("ended with code 3", log()[2].why)
  end)

  --- Each ends the program in the middle of a hook; with the signal or exit code.
  local ends = {
    ["is killed"] = { "os.execute 'kill -9 $PPID'" },
    ["crashes"] = { "os.execute 'kill -SEGV $PPID'" },
    ["is killed with its group"] = { "os.execute 'kill -9 0'" },
    ["is told to end"] = { "os.execute 'kill $PPID; sleep 0.1'" },
    ["waits where it cannot be interrupted"] = { "os.execute 'sleep 3'", 124 },
    ["computes where it cannot be interrupted"] =
      { "string.find(('a'):rep(3e5), ('.-'):rep(30) .. 'b')", 124 },
  }
  for what, case in pairs(ends) do
    it("calls it also when a hook " .. what .. ", once, and that is written down", function()
      hook_file("a.lua", ("return { timeout = 0.2, run = function() %s end }"):format(case[1]))
      local chained = executable("old", 'printf "%s\\n" "$1" >> "$HOME/told"')
      local text, turn = payload { ["input-messages"] = { "\u{E9} \\ \n" } }
      local result = run { "--chain", json.encode(json.array { chained }), text }
      if case[2] then assert.equal(case[2], result.code) end
      assert.is_true(program.eventually(function()
        return #log() > 1 and log()[#log()].hook == "chain: " .. chained
      end))
      async.sleep(0.2)
      assert.equal(text .. "\n", files.read(dir .. "/told"))
      local failed, called = table.unpack(log(), #log() - 1)
      assert.same({ false, "notify", turn }, { failed.ok, failed.hook, failed.turn_id })
      assert.matches("ended before all hooks", failed.why)
      assert.is_true(called.ok)
    end)
  end

  it("does not call it again when we are told to end while it runs, and writes it down", function()
    hook_file("a.lua", "return function() end")
    local chained = executable("old", 'echo called >> "$HOME/told"; kill $PPID; exec sleep 100')
    local result = run { "--chain", json.encode(json.array { chained }), (payload()) }
    assert.equal(143, result.code)
    async.sleep(0.5)
    assert.equal("called\n", files.read(dir .. "/told"))
    local last = log()[#log()]
    assert.same({ false, "chain: " .. chained }, { last.ok, last.hook })
    assert.matches("interrupted", last.why)
  end)

  it("writes down what a hook has left that fails meanwhile", function()
    hook_file("a.lua", [[return function()
      require("codex").spawn(function()
        require("codex").sleep(0.01)
        error "it is lost"
      end)
    end]])
    local program_before = executable("before", "sleep 0.3\n")
    local result = run { "--chain", json.encode { program_before }, (payload()) }
    assert.equal(1, result.code)
    assert.matches("it is lost", result.stderr)
    local entries = log()
    assert.same({ true, false, true }, { entries[1].ok, entries[2].ok, entries[3].ok })
    assert.matches("it is lost", entries[2].why)
  end)

  it("calls it where nothing can be written", function()
    hook_file("a.lua", "return function() end")
    local chained = executable("old", "touch $HOME/called")
    local command = 'ulimit -f 0; exec "$0" notify --chain "$1" "$2"'
    local result = assert(proc.run({ "sh", "-c", command, program.path,
      json.encode(json.array { chained }), (payload()) }, { env = env, timeout = 20 }))
    assert.equal(0, result.code, result.stderr)
    assert.truthy(uv.fs_stat(dir .. "/called"))
    assert.matches("cannot write '.*notify.jsonl'", result.stderr)
  end)

  it("says that it is not there, or that it is no list", function()
    for _, word in ipairs { '["/no/such/program"]', "/no/such/program", "[]", "{", "" } do
      local result = run { "--chain", word, (payload()) }
      assert.equal(1, result.code)
      assert.matches("codex%-lua notify: chain: .*cannot start", result.stderr)
    end
    assert.equal(5, #log())
  end)

  it("leaves what the program put into the background", function()
    local chained = executable("old", "(sleep 0.5; touch $HOME/later) & exit 0")
    assert.equal(0, run({ "--chain", json.encode(json.array { chained }), (payload()) }).code)
    assert.is_true(program.eventually(function() return uv.fs_stat(dir .. "/later") end))
  end)
end)
