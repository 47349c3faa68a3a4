--- Wake-ups: who listens hears every turn once, whoever else comes, goes, dies or does not answer.

local codex = require "codex"
local files = require "codex.files"
local host = require "codex.core.host"
local json = require "codex.json"
local notify = require "codex.notify"
local peers = require "tests.support.peers"
local proc = require "codex.proc"
local program = require "tests.support.program"
local testing = require "codex.testing"
local uv = require "luv"
local wakeup = require "codex.wakeup"

local thread = "01a1fbb8-39cc-7b93-b5e1-a31616bba829"

local function turn_id(n) return ("01a1fbb8-3af2-7623-84b4-%012d"):format(n) end

local function event(n, more)
  local payload = { type = "agent-turn-complete", ["thread-id"] = thread, ["turn-id"] = turn_id(n) }
  for name, value in pairs(more or {}) do payload[name] = value end
  return notify.event(payload)
end

local function tell(...) return wakeup.tell(event(...), notify.payload) end

local dir, remove, env, runtime

--- A runtime folder of this test's. Where sockets are depends on the environment of the process, so
--- that is changed, and put back.
local function before()
  dir, remove = program.folder()
  runtime = os.getenv "XDG_RUNTIME_DIR"
  assert(uv.os_setenv("XDG_RUNTIME_DIR", dir))
  env = { HOME = dir, XDG_RUNTIME_DIR = dir, XDG_CONFIG_HOME = dir .. "/config",
    XDG_STATE_HOME = dir .. "/state", CODEX_HOME = dir .. "/codex" }
end

local function after()
  if runtime then uv.os_setenv("XDG_RUNTIME_DIR", runtime) else uv.os_unsetenv "XDG_RUNTIME_DIR" end
  remove()
end

local function sockets()
  local list, request = {}, uv.fs_scandir(dir .. "/codex-lua")
  for name in function() return request and uv.fs_scandir_next(request) end do
    list[#list + 1] = name
  end
  return list
end

--- Another process that listens, and prints the turns that it hears of.
local function listening(code)
  local child = assert(proc.spawn({ host.program, "-e", code or [[
    for event in require("codex").notify.listen() do print(event.turn_id) end]] },
    { env = env }))
  local own = "%-" .. child.pid .. "%-"
  assert(program.eventually(function()
    return (table.concat(sockets(), " ") .. " "):find(own .. "%d+%.sock ") ~= nil
  end, 10))
  return child
end

describe("a script that listens", function()
  before_each(before)
  after_each(after)

  it("hears of turns as they end, with what the payload says", function()
    local got = {}
    local telling = codex.spawn(function()
      codex.sleep(0.05)
      tell(1, { ["last-assistant-message"] = "one", cwd = "/" })
      tell(2)
    end)
    for heard in notify.listen() do
      got[#got + 1] = heard
      if #got == 2 then break end
    end
    telling:join()
    assert.same({ "turn_complete", "notify", thread, turn_id(1), "/", "one" }, { got[1].type,
      got[1].route, got[1].thread_id, got[1].turn_id, got[1].cwd, got[1].last_assistant_message })
    assert.equal(turn_id(2), got[2].turn_id)
    assert.same({}, sockets())
  end)

  it("hears of Stop hooks and of workflows with their routes", function()
    local listener <close> = notify.listen()
    wakeup.tell(notify.stop_event { session_id = thread, turn_id = "t", model = "m",
      transcript_path = "/some/rollout", last_assistant_message = "bye" }, notify.payload)
    wakeup.tell(notify.turn_event({ thread_id = thread, final_message = "made" },
      { type = "turn_failed" }), notify.payload)
    local stop, own = listener:next(), listener:next()
    assert.same({ "hook", "m", "/some/rollout", "bye" },
      { stop.route, stop.model, stop.rollout, stop.last_assistant_message })
    assert.same({ "workflow", "turn_failed", "made" },
      { own.route, own.type, own.last_assistant_message })
  end)

  it("hears of internal threads only when it asks; the teller knows which those are", function()
    local plain <close> = notify.listen()
    local all <close> = notify.listen { internal = true }
    assert.equal(2, tell(1, { client = "codex-tui" }))
    assert.equal(2, tell(2))
    assert.same({ turn_id(1), turn_id(2) }, { all:next().turn_id, all:next().turn_id })
    assert.equal(turn_id(2), plain:next().turn_id)
  end)

  it("has a socket and a folder that are this user's alone", function()
    local listener <close> = notify.listen()
    local function mode(path) return uv.fs_stat(path).mode & tonumber("777", 8) end
    assert.equal(tonumber("700", 8), mode(dir .. "/codex-lua"))
    assert.equal(tonumber("600", 8), mode(listener.path))
    assert.equal("socket", uv.fs_stat(listener.path).type)
  end)

  it("is closed once and for all: who waits goes on, and nobody finds it any more", function()
    local listener = notify.listen()
    local waiting = codex.spawn(function() return listener:next() == nil end)
    codex.sleep(0.05)
    listener:close()
    listener:close()
    assert.is_true(waiting:join())
    assert.equal(0, tell(1))
    assert.same({}, sockets())
  end)

  it("is cancelled like any wait, and leaves no socket", function()
    local task = codex.spawn(function()
      for _ in notify.listen() do error "nothing was told" end
    end)
    codex.sleep(0.05)
    assert.equal(1, #sockets())
    task:cancel()
    task:join()
    assert.same({}, sockets())
  end)

  it("takes nothing for an event that is none", function()
    local listener <close> = notify.listen()
    local function send(text)
      local pipe = uv.new_pipe(false)
      codex.await(function(resume) pipe:connect(listener.path, resume) end)
      pipe:write(text)
      codex.await(function(resume) pipe:shutdown(resume) end)
      codex.await(function(resume) pipe:read_start(function() resume() end) end)
      pipe:close()
    end
    for _, text in ipairs { "", "x", "{}", "[]", "7", '{"route":"hook"}', '{"payload":{}}',
      '{"route":"hook","payload":7,"notify":{}}', '{"payload":{},"notify":"x"}' } do
      send(text)
    end
    tell(5)
    assert.equal(turn_id(5), listener:next().turn_id)
  end)

  it("takes 10 MB", function()
    local listener <close> = notify.listen()
    local big = ("x"):rep(10 << 20)
    assert.equal(1, tell(1, { ["last-assistant-message"] = big }))
    assert.equal(big, listener:next().last_assistant_message)
  end)

  it("says that an option is none", function()
    assert.error_matches(function() notify.listen { intern = true } end, "'intern'.*'internal'")
  end)
end)

describe("where sockets are", function()
  before_each(before)
  after_each(after)

  local function refused()
    assert.error_matches(function() notify.listen() end, "is not a folder of this user alone")
    assert.equal(0, tell(1))
  end

  it("is this user's in /tmp where XDG_RUNTIME_DIR is not set, or no path", function()
    local own = "/tmp/codex-lua-" .. uv.getuid()
    uv.os_unsetenv "XDG_RUNTIME_DIR"
    assert.equal(own, wakeup.folder())
    uv.os_setenv("XDG_RUNTIME_DIR", "relative")
    assert.equal(own, wakeup.folder())
    uv.os_setenv("XDG_RUNTIME_DIR", dir)
    assert.equal(dir .. "/codex-lua", wakeup.folder())
  end)

  it("is refused when it is a symlink, a file, or open to others", function()
    local path = dir .. "/codex-lua"
    assert(files.make_dir(dir .. "/elsewhere"))
    assert(uv.fs_symlink(dir .. "/elsewhere", path))
    refused()
    assert(uv.fs_unlink(path))
    program.write(path, "")
    assert.error_matches(function() notify.listen() end, "cannot make")
    assert(uv.fs_unlink(path))
    assert(uv.fs_mkdir(path, tonumber("755", 8)))
    assert(uv.fs_chmod(path, tonumber("755", 8)))
    refused()
  end)

  it("is refused when it belongs to somebody else", function()
    if uv.getuid() ~= 0 then return pending "only root can give a folder away" end
    assert(uv.fs_mkdir(dir .. "/codex-lua", tonumber("700", 8)))
    assert(uv.fs_chown(dir .. "/codex-lua", 65534, 65534))
    refused()
  end)

  it("may not have a longer path than a socket's", function()
    local long = dir .. "/" .. ("x"):rep(100)
    uv.os_setenv("XDG_RUNTIME_DIR", long)
    assert(files.make_dir(long))
    assert.error_matches(function() notify.listen() end, "too long for a socket")
  end)
end)

describe("a listener that", function()
  before_each(before)
  after_each(after)

  it("was killed leaves a socket, which the next who tells takes away", function()
    local child <close> = listening()
    local alive <close> = notify.listen()
    child:kill "kill"
    child:wait()
    assert.equal(2, #sockets())
    assert.equal(1, tell(1))
    assert.same({ alive.path:match "[^/]+$" }, sockets())
    assert.equal(turn_id(1), alive:next().turn_id)
  end)

  it("is stopped costs two seconds, and the others and the hooks nothing", function()
    local child <close> = listening()
    local alive <close> = notify.listen()
    assert(files.make_dir(dir .. "/config/codex-lua/notify.d"))
    program.write(dir .. "/config/codex-lua/notify.d/a.lua", [[return function()
      io.open(os.getenv "HOME" .. "/seen", "w"):close()
    end]])
    uv.kill(child.pid, "sigstop")
    local started = uv.hrtime()
    local running <close> = assert(proc.spawn({ host.program, "notify",
      json.encode(event(1).payload) }, { env = env }))
    assert.equal(turn_id(1), alive:next().turn_id)
    assert.is_true(program.eventually(function() return uv.fs_stat(dir .. "/seen") ~= nil end, 1))
    assert.is_true((uv.hrtime() - started) / 1e9 < 1.5)
    assert.equal(0, running:wait().code)
    assert.is_true((uv.hrtime() - started) / 1e9 < 3)
    uv.kill(child.pid, "sigcont") -- what was written to it is still there
    assert.equal(turn_id(1), child:line())
  end)

  it("comes in the very moment loses nothing: its socket is never taken for left behind", function()
    local child <close> = assert(proc.spawn({ host.program, "-e", [[
      local notify, codex = require "codex.notify", require "codex"
      for _ = 1, 300 do
        local listener <close> = notify.listen()
        assert(require("luv").fs_stat(listener.path), "it was taken away")
        codex.sleep(0)
      end
      print "all there"]] }, { env = env }))
    local ended = false
    local telling = codex.spawn(function()
      for n = 1, 1e6 do
        if ended then return end
        tell(n)
      end
    end)
    assert.equal("all there", child:line())
    ended = true
    telling:join()
    assert.equal(0, child:wait().code)
  end)
end)

describe("a thousand turns", function()
  before_each(before)
  after_each(after)

  local function numbers(from, to)
    local list = {}
    for n = from, to do list[#list + 1] = n end
    return list
  end

  it("are heard once each while listeners come and go and die", function()
    local steady <close> = notify.listen()
    local outside <close> = listening()
    local over = false

    local function coming_and_going(n)
      while not over do
        if n <= 3 then
          local child <close> = listening()
          codex.sleep(0.05)
          child:kill(n == 1 and "kill" or "term")
        else
          local listener <close> = notify.listen()
          codex.timeout(math.random() / 10, function() while listener:next() do end end)
        end
      end
      return true
    end

    local function by_processes()
      codex.map(numbers(1, 200), function(n)
        local result = assert(proc.run({ host.program, "notify",
          json.encode(event(n).payload) }, { env = env, timeout = 60 }))
        assert.same({ 0, "" }, { result.code, result.stderr })
      end, { concurrency = 8 })
    end

    local function in_process()
      codex.map(numbers(201, 1000), function(n) return tell(n) end, { concurrency = 100 })
    end

    local crowd = {}
    for n = 1, 20 do crowd[n] = codex.spawn(coming_and_going, n) end
    local first, second = codex.spawn(by_processes), codex.spawn(in_process)
    first:join()
    second:join()
    over = true
    local count = {}
    for _ = 1, steady.last do
      local id = steady:next().turn_id
      count[id] = (count[id] or 0) + 1
    end
    for _, task in ipairs(crowd) do task:join() end
    outside:request_stop()
    local there = {}
    for id in function() return outside:line() end do there[#there + 1] = id end
    table.sort(there)
    for n = 1, 1000 do assert.equal(1, count[turn_id(n)], n) end
    for n = 1, 1000 do assert.equal(turn_id(n), there[n]) end
    assert.same({ 1000, 1000 }, { steady.last, #there })
  end)
end)

describe("Codex 0.169.0", function()
  before_each(before)
  after_each(after)

  it("wakes a script for every turn of three that run at the same time", function()
    local model <close> = assert(testing.model {
      reply = function(request) return "answer to " .. request.prompt end,
    })
    local cx <close> = assert(testing.codex {
      model = model, binary = peers.latest, timeout = 60,
      env = { XDG_RUNTIME_DIR = dir, XDG_STATE_HOME = dir .. "/state",
        XDG_CONFIG_HOME = dir .. "/config" },
    })
    local listener <close> = notify.listen()
    local options = { skip_git_repo_check = true, cwd = "/",
      config = { notify = { host.program, "notify" } } }
    local turns = codex.map({ "a", "b", "c" }, function(name)
      local one = assert(cx.exec(name .. "1", options))
      assert(cx.resume(one, name .. "2", options))
      return one
    end)
    local heard = {}
    for _ = 1, 6 do
      local got = assert(codex.timeout(10, function() return listener:next() end))
      heard[got.thread_id .. got.last_assistant_message] = got
    end
    for i, name in ipairs { "a", "b", "c" } do
      for n = 1, 2 do
        local prompt = name .. n
        local got = assert(heard[turns[i].thread_id .. "answer to " .. prompt], prompt)
        assert.same({ "turn_complete", "notify", "/", "codex_exec", prompt },
          { got.type, got.route, got.cwd, got.client, got.input_messages[n] })
        assert.truthy(got.rollout:find(turns[i].thread_id .. ".jsonl", 1, true))
      end
    end
  end)
end)
