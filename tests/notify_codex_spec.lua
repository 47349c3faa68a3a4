--- `codex-lua notify` installed in real Codex, two versions: hooks in Lua at the end of turns, by
--- both routes, and config.toml put back as it was.

local async = require "codex.async"
local files = require "codex.files"
local json = require "codex.json"
local peers = require "tests.support.peers"
local proc = require "codex.proc"
local program = require "tests.support.program"
local testing = require "codex.testing"
local tmux = require "tests.support.tmux"
local uv = require "luv"

local big = ("x"):rep(300 * 1024)

--- What is in config.toml beside what the scripted model needs.
local odd = [==[

# my own   comment
[ history ]
persistence   =  'save-all'   # oddly
[[hooks.SessionStart]] # not to be lost
[[hooks.SessionStart.hooks]]
type = "command"
command = "true"
]==]

local words = {} -- for some ten seconds
for _ = 1, 200 do words[#words + 1] = "word " end

local function reply(request)
  local prompt = request.prompt or ""
  if prompt == "fail" then return { status = 400, body = "on purpose" } end
  if prompt == "interrupt me" then return { text = words, delta_delay = 0.05 } end
  if prompt:find("one more thing", 1, true) then return "That, too." end
  return prompt:find "title" and "A title" or "It is done."
end

--- A hook that writes down all that an event has, a line of JSON each.
local recorder = [[
local json = require "codex.json"
return { name = "recorder", run = function(event)
  local seen = { payload = event.payload }
  for _, name in ipairs { "type", "route", "thread_id", "turn_id", "cwd", "client",
    "input_messages", "last_assistant_message", "git_branch", "rollout" } do
    seen[name] = event[name]
  end
  local file <close> = assert(io.open(os.getenv "XDG_STATE_HOME" .. "/seen", "a"))
  file:write(json.encode(seen) .. "\n")
end }]]

---@class tests.Notify one Codex with a folder for its user
local Place = {}
Place.__index = Place

--- Runs `codex-lua notify` as the user would.
function Place:notify(...)
  local env = self.cx.environment()
  env.CODEX_BINARY = self.binary
  return program.run({ "notify", ... }, { env = env, cwd = self.work, stdin = "null" })
end

--- Runs it, and it must go well.
function Place:must(...)
  local result = self:notify(...)
  assert.equal(0, result.code, result.stdout .. result.stderr)
  return result.stdout
end

function Place:hook(name, text)
  local dir = self.folder .. "/config/codex-lua/notify.d"
  assert(files.make_dir(dir))
  program.write(dir .. "/" .. name, text)
  return dir .. "/" .. name
end

function Place:lines(name)
  local list = {}
  for line in (files.read(self.folder .. "/" .. name) or ""):gmatch "[^\n]+" do
    list[#list + 1] = assert(json.decode(line))
  end
  return list
end

--- Waits for so many events that hooks have seen, and a moment for more.
function Place:events(count)
  program.eventually(function() return #self:lines "state/seen" >= count end, 10)
  async.sleep(0.3)
  local list = self:lines "state/seen"
  assert.equal(count, #list)
  return list
end

function Place:exec(prompt, opts)
  opts = opts or {}
  opts.cwd, opts.timeout = self.work, 30
  return self.cx.exec(prompt, opts)
end

function Place:config() return files.read(self.cx.home .. "/config.toml") end

local function with_codex(version, body)
  local folder, remove = program.folder()
  local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
  local model <close> = assert(testing.model { reply = reply })
  local work = folder .. "/work"
  local cx <close> = assert(testing.codex {
    model = model, binary = peers[version],
    env = { XDG_STATE_HOME = folder .. "/state", XDG_CONFIG_HOME = folder .. "/config",
      XDG_RUNTIME_DIR = folder .. "/run" },
    config = {
      projects = { [work] = { trust_level = "trusted" } },
      notice = { model_migrations = { ["gpt-5.5"] = "gpt-6-sol" } },
    },
  })
  assert(files.make_dir(folder .. "/state"))
  assert(proc.run { "git", "init", "-q", "-b", "trunk", work })
  local place = setmetatable({ cx = cx, folder = folder, work = work, model = model,
    binary = peers[version] }, Place)
  program.write(cx.home .. "/config.toml", place:config() .. odd)
  place:hook("recorder.lua", recorder)
  body(place)
end

--- The turns of one thread in app-server.
local function in_app_server(place, prompts, client_info)
  local client <close> = assert(place.cx.connect { cwd = place.work, policies = {}, audit = false,
    client_info = client_info })
  local thread = assert(client:thread())
  local turns = {}
  for i, prompt in ipairs(prompts) do turns[i] = { thread:ask(prompt, { timeout = 30 }) } end
  return thread.id, turns
end

--- What every event has, by either route.
local function assert_event(place, event, route, expected)
  assert.equal("turn_complete", event.type)
  assert.equal(route, event.route)
  assert.equal(place.work, event.cwd)
  assert.equal("trunk", event.git_branch)
  assert.equal("It is done.", event.last_assistant_message)
  assert.same(expected.said, event.input_messages)
  assert.equal(expected.client, event.client)
  assert.equal(expected.thread, event.thread_id)
  assert.truthy(event.turn_id:find "^%x+%-%x+%-7")
  assert.truthy(event.rollout:find(event.thread_id .. ".jsonl", 1, true))
  assert.truthy(uv.fs_stat(event.rollout))
  local name = route == "hook" and "turn_id" or "turn-id"
  assert.equal(event.turn_id, event.payload[name])
end

for _, version in ipairs { "latest", "middle" } do
  describe("hooks in Lua after turns of Codex " .. peers.version[version], function()
    for _, case in ipairs {
      { name = "by its notify program", routes = { "notify" }, event = "notify" },
      { name = "by a Stop hook", routes = { "hook" }, event = "hook" },
      { name = "by both routes, once", routes = { "notify", "hook" } },
    } do
      it("run " .. case.name .. ", in exec and app-server, until that is taken back", function()
        with_codex(version, function(place)
          local before = place:config()
          for _, route in ipairs(case.routes) do place:must("install", "--yes", "--via", route) end
          assert.truthy(place:config():find("# my own   comment", 1, true))
          local turn = assert(place:exec "in exec")
          local first = place:events(1)
          local thread = in_app_server(place, { "one", "two" }, { name = "my-ide", version = "1" })
          local events = place:events(3)
          assert_event(place, first[1], case.event or first[1].route,
            { said = { "in exec" }, client = "codex_exec", thread = turn.thread_id })
          assert_event(place, events[2], case.event or events[2].route,
            { said = { "one" }, client = "my-ide", thread = thread })
          assert_event(place, events[3], case.event or events[3].route,
            { said = { "one", "two" }, client = "my-ide", thread = thread })
          place:must("uninstall", "--yes")
          assert.equal(before, place:config())
          assert(place:exec "nobody hears this")
          place:events(3)
        end)
      end)
    end

    it("are lost by the notify program when a thread is large, and not by the hook", function()
      with_codex(version, function(place)
        place:must("install", "--yes")
        -- So it is with Codex: beyond 128 KiB of input it tells nothing, and goes on with that.
        in_app_server(place, { big, "a little more" })
        in_app_server(place, { "small" })
        assert.same({ "small" }, place:events(1)[1].input_messages)
        place:must("uninstall", "--yes")
        place:must("install", "--yes", "--via", "hook")
        in_app_server(place, { big, "a little more" })
        local events = place:events(3)
        assert.same({ big }, events[2].input_messages)
        assert.same({ big, "a little more" }, events[3].input_messages)
      end)
    end)

    --- A turn that fails, one that is interrupted, and one that is completed.
    local function three_turns(place)
      assert.is_nil((place:exec "fail"))
      local id
      do
        local client <close> = assert(place.cx.connect { cwd = place.work, policies = {},
          audit = false })
        local thread = assert(client:thread())
        id = thread.id
        local stream <close> = thread:run "interrupt me"
        local is_interrupted = false
        for event in function() return stream:next() end do
          if event.delta and not is_interrupted then
            is_interrupted = true
            assert(thread:interrupt())
          end
        end
        local _, err = stream:result()
        assert.equal("interrupted", err.code)
      end
      assert(place:exec "good")
      return id
    end

    it("do not run by the notify program when a turn fails or is interrupted", function()
      with_codex(version, function(place)
        place:must("install", "--yes")
        three_turns(place)
        assert.same({ "good" }, place:events(1)[1].input_messages)
      end)
    end)

    it("run by hooks when a turn is interrupted, and do not when it fails", function()
      with_codex(version, function(place)
        local before = place:config()
        place:must("install", "--yes", "--via", "hook")
        local id = three_turns(place)
        local events = place:events(2)
        if events[1].type == "turn_complete" then events[1], events[2] = events[2], events[1] end
        assert.same({ "turn_interrupted", "hook", id, place.work, "codex-lua" }, { events[1].type,
          events[1].route, events[1].thread_id, events[1].cwd, events[1].client })
        assert.same({ "interrupt me" }, events[1].input_messages)
        assert.same({ "good" }, events[2].input_messages)
        assert.equal("turn_complete", events[2].type)
        place:must("uninstall", "--yes")
        assert.equal(before, place:config())
      end)
    end)

    it("run again when another Stop hook has made a turn go on", function()
      with_codex(version, function(place)
        local blocks = place.folder .. "/blocks.sh"
        program.write(blocks, [[
#!/bin/sh
grep -q '"stop_hook_active":true' || echo '{"decision":"block","reason":"one more thing"}'
]], tonumber("755", 8))
        place:must("install", "--yes")
        place:must("install", "--yes", "--via", "hook")
        do
          local setup <close> = assert(require("codex.setup").open(place.cx))
          assert(setup:trust(assert(setup:add_hook { event = "stop", command = blocks })))
        end
        assert.equal("That, too.", assert(place:exec "hello").final_message)
        local events = place:events(2)
        assert.equal(events[1].turn_id, events[2].turn_id)
        assert.same({ "It is done.", "That, too." },
          { events[1].last_assistant_message, events[2].last_assistant_message })
        assert.is_true(events[2].payload.stop_hook_active)
        local setup <close> = assert(require("codex.setup").open(place.cx))
        assert(setup:restore())
      end)
    end)

    it("call the notify program that was there, after them", function()
      with_codex(version, function(place)
        local mine = place.folder .. "/mine.sh"
        program.write(mine, ('#!/bin/sh\nfor last; do :; done\nprintf "%%s\\n" "$1" "$last" >>%s\n')
          :format(peers.quote(place.folder .. "/mine")), tonumber("755", 8))
        local config = place.cx.home .. "/config.toml"
        program.write(config, ("notify = [ '%s',\n 'first'  ] # mine\n"):format(mine)
          .. place:config())
        local before = place:config()
        local result = place:notify("install", "--yes")
        assert.equal(1, result.code)
        assert.truthy(result.stderr:find("--chain", 1, true))
        assert.truthy(result.stderr:find(mine, 1, true))
        assert.equal(before, place:config())
        place:must("install", "--yes", "--chain")
        assert(place:exec "hello")
        local event = place:events(1)[1]
        assert.is_true(program.eventually(function()
          return (files.read(place.folder .. "/mine") or ""):find "}\n$"
        end))
        local first, payload = files.read(place.folder .. "/mine"):match "^([^\n]*)\n([^\n]*)\n$"
        assert.equal("first", first)
        assert.same(event.payload, json.decode(payload))
        place:must("uninstall", "--yes")
        assert.equal(before, place:config())
      end)
    end)

    it("outlive Codex, which does not wait for them", function()
      with_codex(version, function(place)
        place:hook("recorder.lua", [[return { name = "slow", run = function(event)
          require("codex").sleep(2)
          io.open(os.getenv "XDG_STATE_HOME" .. "/slow", "a"):write(event.route):close()
        end }]])
        for _, route in ipairs { "notify", "hook" } do
          place:must("install", "--yes", "--via", route)
          local path = place.folder .. "/state/slow"
          assert(place:exec "go")
          assert.is_nil(files.read(path))
          assert.is_true(program.eventually(function() return files.read(path) == route end, 10))
          assert(uv.fs_unlink(path))
          place:must("uninstall", "--yes")
        end
      end)
    end)
  end)
end

describe("codex-lua notify", function()
  it("says what it will do, and does it once", function()
    with_codex("latest", function(place)
      local before = place:config()
      local result = place:notify("install", "--via", "hook")
      assert.equal(2, result.code) -- there is no terminal to ask
      assert.truthy(result.stderr:find("--yes", 1, true))
      assert.equal(before, place:config())
      local command = program.path .. " notify --hook"
      for _, expected in ipairs { place.cx.home .. "/config.toml", command, "trusted" } do
        assert.truthy(result.stdout:find(expected, 1, true), expected)
      end
      local out = place:must("install", "--via", "hook", "--yes")
      assert.truthy(out:find("sha256:%x+"))
      local installed = place:config()
      assert.truthy(installed:find(command, 1, true))
      assert.truthy(place:must("install", "--via", "hook"):find("already", 1, true))
      assert.truthy(place:must("install", "--yes"):find("--via hook", 1, true))
      assert.truthy(place:must("install"):find("already", 1, true))
      place:must("uninstall", "--yes")
      assert.equal(before, place:config())
      assert.truthy(place:must("uninstall"):find("not installed", 1, true))
    end)
  end)

  it("runs only the files that it was installed with, and checks them first", function()
    with_codex("latest", function(place)
      local before = place:config()
      local bad = place.folder .. "/bad.lua"
      program.write(bad, "return {")
      local result = place:notify("install", "--yes", "--hook", bad)
      assert.equal(1, result.code)
      assert.truthy(result.stderr:find("bad.lua:1", 1, true))
      assert.equal(before, place:config())
      local odd_name = place.folder .. "/it's \"one\" $of mine.lua"
      program.write(odd_name, recorder)
      place:hook("recorder.lua", "error 'not this one'")
      place:must("install", "--yes", "--via", "hook", "--hook", odd_name)
      assert(place:exec "hello")
      assert.equal("hook", place:events(1)[1].route)
      local status = json.decode(place:must("status", "--json"))
      assert.same({ { file = odd_name, name = "recorder", on = "*", timeout = 10 } }, status.hooks)
      place:must("install", "--yes", "--via", "hook") -- replaces the one before
      assert.is_nil(place:config():find("of mine", 1, true))
      place:must("uninstall", "--yes")
      assert.equal(before, place:config())
    end)
  end)

  it("leaves what was edited since, and refuses a file that is read-only", function()
    with_codex("latest", function(place)
      local config = place.cx.home .. "/config.toml"
      place:must("install", "--yes")
      program.write(config, (place:config():gsub("# my own   comment", "# edited")))
      place:must("uninstall", "--yes")
      assert.truthy(place:config():find("# edited", 1, true))
      assert.is_nil(place:config():find("notify", 1, true))
      assert(uv.fs_chmod(config, tonumber("400", 8)))
      local before = place:config()
      for _, route in ipairs { "notify", "hook" } do
        local result = place:notify("install", "--yes", "--via", route)
        assert.equal(1, result.code)
        assert.truthy(result.stderr:find("read-only", 1, true))
        assert.equal(before, place:config())
      end
    end)
  end)

  it("does not wait for a record of its changes that is a FIFO, and names it", function()
    with_codex("latest", function(place)
      local dir = place.folder .. "/state/codex-lua/setup"
      local name = (place.cx.home .. "/config.toml.json"):gsub("/", "%%2f")
      assert(files.make_dir(dir))
      assert.equal(0, assert(proc.run { "mkfifo", ("%s/%s"):format(dir, name:sub(-200)) }).code)
      local result = place:notify("install", "--yes")
      assert.equal(1, result.code)
      assert.matches("cannot read '.*config%.toml%.json': it is no regular file", result.stderr)
    end)
  end)

  it("is installed where there is no config.toml, which is gone again afterwards", function()
    with_codex("latest", function(place)
      local config = place.cx.home .. "/config.toml"
      for _, route in ipairs { "notify", "hook" } do
        assert(uv.fs_unlink(config))
        place:must("install", "--yes", "--via", route)
        assert.truthy(place:config():find(program.path, 1, true))
        place:must("uninstall", "--yes")
        assert.is_nil(uv.fs_stat(config))
        program.write(config, "")
      end
    end)
  end)

  it("tells the state of its hook, and how hooks went", function()
    with_codex("latest", function(place)
      local config = place.cx.home .. "/config.toml"
      place:must("install", "--yes", "--via", "hook")
      place:hook("throws.lua", [[return { name = "throws", run = function()
        error "on purpose" end }]])
      assert(place:exec "hello")
      place:events(1)
      local status = json.decode(place:must("status", "--json"))
      assert.equal("trusted", status.installed.hooks[1].trust)
      assert.equal(2, #status.runs)
      assert.equal("throws", status.failures[1].hook)
      assert.truthy(status.failures[1].why:find("on purpose", 1, true))
      assert.truthy(place:must("status"):find("FAILED: .*on purpose"))
      place:hook("broken.lua", "return {")
      local result = place:notify "status"
      assert.equal(1, result.code)
      assert.truthy(result.stdout:find("CANNOT BE USED: .*broken.lua:1"))
      assert(uv.fs_unlink(place.folder .. "/config/codex-lua/notify.d/broken.lua"))
      program.write(config, (place:config():gsub("notify %-%-hook", "notify --hook /a.lua")))
      result = place:notify("status", "--json")
      assert.equal(1, result.code)
      assert.equal("modified", json.decode(result.stdout).installed.hooks[1].trust)
      assert(place:exec "not told: the hook is not the one that was trusted")
      place:events(1)
      place:notify '{"type":"turn-is-over"}'
      assert.matches("notify  turn_is_over  the payload's type 'turn%-is%-over' is not known",
        place:notify("status").stdout)
    end)
  end)

  it("tests hooks with a sample", function()
    with_codex("latest", function(place)
      local out = place:must "test"
      assert.truthy(out:find "recorder: ok")
      local event = place:events(1)[1]
      assert.equal("turn_complete", event.type)
      assert.equal(place.work, event.cwd)
      local path = place:hook("throws.lua", "return function() error 'on purpose' end")
      local result = place:notify("test", path)
      assert.equal(1, result.code)
      assert.truthy(result.stdout:find "throws: FAILED: .*on purpose")
      place:events(1)
      assert.equal(1, place:notify("test").code)
      place:events(2)
      assert.equal(2, place:notify("test", place.folder .. "/nothing.lua").code)
    end)
  end)

  it("is told what is asked with /side, and not of the threads in which titles are made", function()
    for _, route in ipairs { "notify", "hook" } do
      with_codex("latest", function(place)
        place:must("install", "--yes", "--via", route)
        -- (The daemon that it starts otherwise outlives it, and tells the same.)
        local terminal <close> = tmux.open({ peers.latest, "--no-daemon" },
          { socket = place.folder .. "/tmux", cwd = place.work, env = place.cx.environment() })
        -- There is one, and it is not ours, which is trusted.
        local screen = terminal:wait_for "3. Continue without trusting"
        assert.truthy(screen:find("1 hook is new or changed", 1, true))
        async.sleep(0.5) -- what comes too early is lost
        terminal:press "3"
        terminal:wait_for "for agents"
        terminal:enter "hello there"
        terminal:wait_for "It is done."
        local function titles()
          local count = 0
          for _, request in ipairs(place.model.requests) do
            if (request.prompt or ""):find "title" then count = count + 1 end
          end
          return count
        end
        assert.is_true(program.eventually(function() return titles() == 1 end, 20))
        local event = place:events(1)[1]
        assert.same({ "hello there" }, event.input_messages)
        assert.equal("codex-tui", event.client)
        terminal:enter "/side what is two?"
        terminal:wait_for "Side from main thread"
        assert.is_true(program.eventually(function() return titles() == 2 end, 20))
        local aside = place:events(2)[2]
        assert.equal("what is two?", aside.input_messages[#aside.input_messages])
        assert.same({ "codex-tui", route }, { aside.client, aside.route })
        assert.is_true(aside.thread_id ~= event.thread_id)
        async.sleep(1)
        place:events(2)
      end)
    end
  end)
end)
