--- Programs that run users' Lua are ended from outside of it where nothing inside can.

local files = require "codex.files"
local json = require "codex.json"
local program = require "tests.support.program"
local proc = require "codex.proc"
local uv = require "luv"

-- What no hook of the interpreter can interrupt.
local ways = {
  pipe = [[io.open(PIPE)]],
  pattern = [[(("a"):rep(40)):find((".-"):rep(20) .. "b")]],
}

local TURN = "0199a213-81c0-7800-8aa1-bbab2a035a53"

local dir, remove

local function write(name, text)
  program.write(dir .. "/" .. name, text)
  return dir .. "/" .. name
end

local function seconds_since(started) return (uv.hrtime() - started) / 1e9 end

describe("the watchdog", function()
  before_each(function() dir, remove = program.folder() end)
  after_each(function() remove() end)

  for name, way in pairs(ways) do
    it("ends notify, with a word in its log: " .. name, function()
      assert(proc.run { "mkfifo", dir .. "/pipe" })
      local hook = write("x.lua", ("local PIPE = '%s/pipe' return { timeout = 0.2, "
        .. "run = function() %s end }"):format(dir, way))
      local started = uv.hrtime()
      local result = program.run({ "notify", hook, json.encode { type = "agent-turn-complete",
        ["turn-id"] = TURN } }, { env = { XDG_STATE_HOME = dir } })
      assert.equal(124, result.code)
      assert.is_true(seconds_since(started) < 8)
      assert.matches("a Lua file does not end although its time is over", result.stderr)
      local log
      assert.is_true(program.eventually(function()
        log = files.read(dir .. "/codex-lua/notify.jsonl")
        return log and log:find "\n"
      end))
      local record = assert(json.decode((log:match "[^\n]+")))
      assert.same({ "notify", false, TURN }, { record.hook, record.ok, record.turn_id })
    end)
  end

  it("makes the lifecycle hook refuse, in time", function()
    local hook = write("x.lua", [[return { on = "pre_tool_use", timeout = 0.2, run = function() ]]
      .. ways.pattern .. " return 'allow' end }")
    local started = uv.hrtime()
    local result = program.run({ "hook", "--limit", "20", "--fail", "closed", hook }, {
      env = { XDG_STATE_HOME = dir },
      input = json.encode { hook_event_name = "PreToolUse", session_id = "s", tool_name = "Bash",
        tool_input = { command = "ls" } },
    })
    assert.is_true(seconds_since(started) < 10)
    assert.truthy(result.code == 2 or result.stdout:find('"deny"', 1, true), result.stdout)
  end)

  it("ends the launcher, and Codex with it", function()
    local codex = write("codex", "#!/bin/sh\necho $$ > " .. dir .. [[/pid
      echo '{"method":"item/commandExecution/requestApproval","id":7,"params":{"threadId":"t"}}'
      exec sleep 60
    ]])
    assert(uv.fs_chmod(codex, tonumber("755", 8)))
    local policy = write("x.lua", "return { timeout = 0.2, decide = function() " .. ways.pattern
      .. " return 'accept' end }")
    local p <close> = assert(proc.spawn({ program.path, "app-server", "--policy", policy },
      { stdin = "pipe", env = { CODEX_BINARY = codex, XDG_STATE_HOME = dir } }))
    local started = uv.hrtime()
    local pieces = {}
    for piece in function() return p:read() end do pieces[#pieces + 1] = piece end
    local status = p:wait()
    assert.equal(124, status.code)
    assert.is_true(seconds_since(started) < 10)
    assert.is_nil(table.concat(pieces):find("accept", 1, true))
    local pid = math.tointeger(tonumber(assert(files.read(dir .. "/pid"))))
    assert.is_true(program.eventually(function() return not program.alive(pid) end))
  end)

  it("ends the launcher for a middleware, too", function()
    local codex = write("codex", "#!/bin/sh\nexec cat\n")
    assert(uv.fs_chmod(codex, tonumber("755", 8)))
    local layer = write("m.lua", "return { name = 'm', from = 'client', handle = function() "
      .. ways.pattern .. " end }")
    local result = program.run({ "app-server", "--policy-timeout", "0.2", "--middleware", layer },
      { input = '{"id":1,"method":"x"}\n', env = { CODEX_BINARY = codex, XDG_STATE_HOME = dir } })
    assert.equal(124, result.code)
    assert.equal("", result.stdout)
  end)

  it("kills what even its own word cannot end", function()
    local hook = write("x.lua", [[return { timeout = 0.2, run = function()
      local signal = require("luv").new_signal()
      signal:start("sigalrm", function() end);
      ]] .. ways.pattern .. " end }")
    local started = uv.hrtime()
    local result = program.run({ "notify", hook, json.encode { type = "agent-turn-complete" } },
      { env = { XDG_STATE_HOME = dir } })
    assert.equal(9, result.signal, result.code .. result.stderr)
    assert.is_true(seconds_since(started) < 9)
  end)
end)
