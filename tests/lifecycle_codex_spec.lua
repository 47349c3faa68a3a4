--- `codex-lua hook` installed in real Codex, two versions: hooks in Lua allow, deny and change what
--- Codex does, and refuse when they do not work. Where the versions differ, that is asserted.

local async = require "codex.async"
local files = require "codex.files"
local json = require "codex.json"
local peers = require "tests.support.peers"
local program = require "tests.support.program"
local testing = require "codex.testing"
local uv = require "luv"

--- Asks for the command until it was answered, then says "done".
local function wants(command)
  return function(request)
    if #request.outputs == 0 and request.prompt == "go" then return { exec = command } end
    return "done"
  end
end

--- A command outside of the sandbox, for which an approval is needed.
local function escalated(command)
  return wants { cmd = command, sandbox_permissions = "require_escalated", justification = "Why?" }
end

---@class tests.Lifecycle one Codex with a folder for its user
local Place = {}
Place.__index = Place

--- Runs `codex-lua hook` as the user would.
function Place:run(...)
  local env = self.cx.environment()
  env.CODEX_BINARY = self.binary
  return program.run({ "hook", ... }, { env = env, cwd = self.work, stdin = "null" })
end

function Place:must(...)
  local result = self:run(...)
  assert.equal(0, result.code, result.stdout .. result.stderr)
  return result.stdout
end

--- Installs a hook of this Lua for an event.
function Place:install(event, text, ...)
  self.count = (self.count or 0) + 1
  local path = ("%s/hook%d.lua"):format(self.folder, self.count)
  program.write(path, text)
  return path, self:must("install", event, path, "--yes", ...)
end

--- What a turn comes to; the client's policy notes what it is asked, and accepts.
function Place:turn(prompt)
  self.asked = {}
  local policy = { name = "spec", decide = function(request)
    table.insert(self.asked, request.command)
    return "accept"
  end }
  local client <close> = assert(self.cx.connect {
    cwd = self.work, policies = { policy }, audit = false,
  })
  self.runs = {}
  client:on("hook/completed", function(params) table.insert(self.runs, params.run) end)
  local thread = assert(client:thread { approval_policy = "on-request",
    sandbox = "workspace-write" })
  return thread:ask(prompt or "go")
end

--- What the model was told last of the command.
function Place:told()
  local outputs = self.model.requests[#self.model.requests].outputs
  return outputs[#outputs].output
end

--- Whether the model was told this in its n-th request, by whatever message.
function Place:heard(n, text)
  local body = self.model.requests[n].body
  return json.encode(body.input, { repair = true }):find(text, 1, true) ~= nil
end

function Place:config() return files.read(self.cx.home .. "/config.toml") end

function Place:exists(name) return uv.fs_stat(self.work .. "/" .. name) ~= nil end

function Place:log()
  local list = {}
  local text = files.read(self.folder .. "/state/codex-lua/notify.jsonl") or ""
  for line in text:gmatch "[^\n]+" do list[#list + 1] = json.decode(line) end
  return list
end

local function with_codex(version, reply, body)
  local folder, remove = program.folder()
  local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
  local model <close> = assert(testing.model { reply = reply })
  local cx <close> = assert(testing.codex { model = model, binary = peers[version], env = {
    XDG_STATE_HOME = folder .. "/state", XDG_CONFIG_HOME = folder .. "/config",
  } })
  local place = setmetatable({ model = model, cx = cx, folder = folder, work = folder .. "/work",
    binary = peers[version] }, Place)
  assert(files.make_dir(place.work))
  body(place)
  assert.same({}, model.errors)
end

for _, version in ipairs { "latest", "middle" } do
  describe("a hook in Lua with Codex " .. peers.version[version], function()
    --- A test with a Codex whose model says this.
    local function test(what, reply, body)
      it(what, function() with_codex(version, reply, body) end)
    end

    test("denies a command, and the model sees why", wants "touch denied", function(place)
      place:install("pre_tool_use", [[return function(event)
        if event.tool_input.command:find "touch" then
          return { decision = "deny", reason = "no touching here" }
        end
      end]])
      assert.equal("done", assert(place:turn()).final_message)
      assert.equal("Command blocked by PreToolUse hook: no touching here. Command: touch denied",
        place:told())
      assert.is_false(place:exists "denied")
      assert.same({ "preToolUse blocked" }, { place.runs[1].eventName .. " "
        .. place.runs[1].status })
      local record = place:log()[1]
      assert.same({ "pre_tool_use", "hook1", true }, { record.type, record.hook, record.ok })
      local turn = assert(place.cx.exec("go", { cwd = place.work, skip_git_repo_check = true,
        yolo = true }))
      assert.equal("done", turn.final_message)
      assert.is_false(place:exists "denied")
      assert.equal(2, #place:log())
    end)

    test("has another command run", wants "touch original", function(place)
      place:install("pre_tool_use", [[return function(event)
        return { input = { command = event.tool_input.command:gsub("original", "changed") } }
      end]])
      assert.equal("done", assert(place:turn()).final_message)
      assert.is_true(place:exists "changed")
      assert.is_false(place:exists "original")
      assert.same({ "completed", 0 }, { place.runs[1].status, #place.runs[1].entries })
    end)

    test("says nothing when it allows, and what it knows is heard", wants "echo as-it-is",
      function(place)
        place:install("pre_tool_use", [[return function()
          return { decision = "allow", context = "MIND-THE-GAP" }
        end]])
        assert(place:turn())
        assert.truthy(place:told():find("as-it-is", 1, true))
        assert.is_true(place:heard(2, "MIND-THE-GAP"))
        assert.equal("completed", place.runs[1].status)
      end)

    for decision, is_run in pairs { allow = true, deny = false } do
      test("answers an approval with " .. decision .. ", and nobody else is asked",
        escalated "touch escalated", function(place)
          place:install("permission_request", ([[return function(event)
            assert(event.tool_input.description == "Why?")
            return { decision = %q, reason = "BECAUSE" }
          end]]):format(decision))
          assert.equal("done", assert(place:turn()).final_message)
          assert.equal(is_run, place:exists "escalated")
          assert.same({}, place.asked)
          if not is_run then assert.truthy(place:told():find("BECAUSE", 1, true)) end
        end)
    end

    test("leaves an approval to the client", escalated "touch escalated", function(place)
      place:install("permission_request", 'return function() return "ask" end')
      assert(place:turn())
      assert.equal(1, #place.asked)
      assert.is_true(place:exists "escalated")
    end)

    test("keeps a turn from ending, once", wants "true", function(place)
      place:install("stop", [[return function(event)
        if not event.stop_hook_active then
          assert(event.last_assistant_message == "done")
          return { decision = "block", reason = "RUN-THE-TESTS" }
        end
      end]])
      assert.equal("done", assert(place:turn()).final_message)
      assert.equal(3, #place.model.requests)
      assert.is_false(place:heard(2, "RUN-THE-TESTS"))
      assert.is_true(place:heard(3, "RUN-THE-TESTS"))
      assert.same({ "blocked", "completed" }, { place.runs[1].status, place.runs[2].status })
    end)

    test("tells the model more, at the start and with a prompt", wants "true", function(place)
      place:install("session_start", [[return function(event)
        return { context = "STARTED-BY-" .. event.source }
      end]])
      place:install("user_prompt_submit", [[return function(event)
        return { context = "PROMPT-" .. event.prompt }
      end]])
      assert(place:turn())
      assert.is_true(place:heard(1, "STARTED-BY-startup"))
      assert.is_true(place:heard(1, "PROMPT-go"))
    end)

    test("keeps a prompt from the model", wants "true", function(place)
      place:install("user_prompt_submit", [[return { fail = "closed", run = function()
        error("cannot look for secrets", 0)
      end }]])
      place:turn()
      assert.equal(0, #place.model.requests)
      assert.equal("blocked", place.runs[1].status)
      assert.truthy(place.runs[1].entries[1].text:find("cannot look for secrets", 1, true))
    end)

    test("has the model see something else than the output", wants "echo secret", function(place)
      place:install("post_tool_use", [[return function(event)
        assert(event.tool_response:find "secret")
        return { decision = "block", reason = "REMOVED" }
      end]])
      assert(place:turn())
      assert.truthy(place:told():find("REMOVED", 1, true))
      assert.is_nil(place:told():find("secret", 1, true))
    end)

    local broken = {
      throws = { 'return function() error("BROKEN", 0) end', "BROKEN" },
      loops = { "return function() while true do end end", "timed out" },
      ["hangs in a program"] =
        { 'return function() os.execute "sleep 30" end', "its time ran out" },
      ["kills its process"] =
        { 'return function() os.execute "kill -9 $PPID" end', "ended in the middle of it" },
      ["returns nonsense"] = { "return function() return 42 end", "returned a number" },
    }
    for what, case in pairs(broken) do
      test("has the command denied when it " .. what, wants "touch denied", function(place)
        place:install("pre_tool_use", case[1], "--timeout", "3")
        assert.equal("done", assert(place:turn()).final_message)
        assert.is_false(place:exists "denied")
        assert.truthy(place:told():find(case[2], 1, true), place:told())
        assert.equal("blocked", place.runs[1].status)
      end)
    end

    test("has the command denied when it is not there any more", wants "touch denied",
      function(place)
        local path = place:install("pre_tool_use", "return function() end")
        program.write(path, "return {")
        assert(place:turn())
        assert.is_false(place:exists "denied")
        assert.truthy(place:told():find("hook 'hook1' failed", 1, true))
        assert(os.remove(path))
        assert(place:turn())
        assert.is_false(place:exists "denied")
      end)

    test("that fails open lets it run, and the user is told", wants "touch allowed",
      function(place)
        place:install("pre_tool_use", [[return { fail = "open", run = function()
          error("BROKEN", 0)
        end }]])
        assert(place:turn())
        assert.is_true(place:exists "allowed")
        assert.same({ kind = "warning", text = "hook 'hook1' failed: BROKEN" },
          place.runs[1].entries[1])
      end)

    test("is answered for though it leaves something running", wants "touch denied",
      function(place)
        place:install("pre_tool_use", [[return function()
          os.execute "sleep 4 &"
          return "deny"
        end]], "--timeout", "3")
        assert(place:turn())
        assert.is_false(place:exists "denied")
        assert.equal("blocked", place.runs[1].status)
        assert.is_true(place.runs[1].durationMs < 2000)
      end)

    test("is ended with a turn that is interrupted", wants "touch denied", function(place)
      place:install("pre_tool_use", [[return function(event)
        os.execute("echo $$ >" .. event.cwd .. "/pid; exec sleep 30")
      end]])
      local client <close> = assert(place.cx.connect { cwd = place.work, audit = false,
        policies = {} })
      local thread = assert(client:thread { sandbox = "workspace-write" })
      local task = async.spawn(function() return thread:ask "go" end)
      local pid
      assert.is_true(program.eventually(function()
        pid = tonumber((files.read(place.work .. "/pid") or ""):match "^(%d+)\n")
        return pid
      end, 10))
      assert(thread:interrupt())
      task:join()
      assert.is_true(program.eventually(function() return not program.alive(pid) end))
      assert.is_false(place:exists "denied")
    end)

    test("is installed, listed, and taken out without a trace", wants "touch written",
      function(place)
        local before = place:config()
        local path, said = place:install("pre_tool_use", 'return function() return "deny" end',
          "--matcher", "Bash")
        assert.truthy(said:find("--fail closed --shell $$ " .. path .. " || {", 1, true))
        local hash = said:match "%((sha256:%x+)%)"
        assert.truthy(place:config():find(hash, 1, true))
        assert.truthy(place:must("install", "PreToolUse", path, "--yes", "--matcher", "Bash")
          :find("already", 1, true))
        local list = json.decode(place:must("list", "--json"))
        assert.equal(1, #list.hooks)
        local hook = list.hooks[1]
        assert.same({ "pre_tool_use", "Bash", "trusted", hash, true, true, 30 }, { hook.event,
          hook.matcher, hook.trust, hook.hash, hook.enabled, hook.ours, hook.timeout })
        assert.is_nil(hook.command:find("bypass", 1, true))

        -- Somebody changes it: Codex does not run it, and list says so.
        local text = place:config()
        program.write(place.cx.home .. "/config.toml", (text:gsub("timeout = 30", "timeout = 29")))
        assert(place:turn())
        assert.is_true(place:exists "written")
        local changed = place:run "list"
        assert.equal(1, changed.code)
        assert.truthy(changed.stdout:find("(modified)", 1, true))
        program.write(place.cx.home .. "/config.toml", text)

        assert.truthy(place:must("uninstall", "--yes", "stop"):find("none of ours", 1, true))
        place:must("uninstall", "--yes")
        assert.equal(before, place:config())
      end)

    test("is not installed when it cannot work", wants "true", function(place)
      local before = place:config()
      local path = place.folder .. "/bad.lua"
      program.write(path, "return {")
      assert.equal(1, place:run("install", "stop", path, "--yes").code)
      program.write(path, 'return { on = "stop", run = function() end }')
      local other = place:run("install", "pre_tool_use", path, "--yes")
      assert.equal(1, other.code)
      assert.truthy(other.stderr:find("is for pre_tool_use", 1, true))
      assert.equal(1, place:run("install", "interrupt", path, "--yes", "--timeout", "9").code)
      assert.equal(2, place:run("install", "stop", path).code) -- nobody to ask
      assert.equal(before, place:config())
    end)

    test("sees model requests where Codex has hooks for them", wants "true", function(place)
      local path = place.folder .. "/model.lua"
      program.write(path, "return function() end")
      local before = place:config()
      local result = place:run("install", "post_model_request", path, "--yes")
      if version == "latest" then
        assert.equal(0, result.code, result.stderr)
        assert(place:turn())
        assert.equal("post_model_request", place:log()[1].type)
      else
        assert.equal(1, result.code)
        assert.truthy(result.stderr:find("has no hooks for post_model_request", 1, true))
        assert.equal(before, place:config())
      end
    end)
  end)
end

describe("a hook in Lua with Codex " .. peers.version.old, function()
  it("is not installed, for that has no hooks", function()
    with_codex("old", wants "true", function(place)
      local path = place.folder .. "/hook.lua"
      program.write(path, "return function() end")
      local before = place:config()
      local result = place:run("install", "stop", path, "--yes")
      assert.equal(1, result.code)
      assert.equal(before, place:config())
    end)
  end)
end)
