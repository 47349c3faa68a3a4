--- A part of `make torture`: one system call of a hook's supervisor or worker fails, or one signal
--- comes, and what the hook denies is denied all the same. Which part depends on TORTURE_SEED.

local cli = require "codex.cli"
local files = require "codex.files"
local proc = require "codex.proc"
local Random = require "tests.differential.random"
local faults = require "tests.torture.faults"
local peers = require "tests.support.peers"
local program = require "tests.support.program"
local torture = require "tests.torture.torture"
local uv = require "luv"

local SEED = math.tointeger(tonumber(os.getenv "TORTURE_SEED" or "")) or 1
local RUNS, STOPS, CODEX_RUNS = 200, 4, 2

describe("a hook that denies", function()
  local folder, remove, place, why, calls, all
  setup(function()
    folder, remove = program.folder()
    place, why = torture.place(folder)
    if not place then return end
    calls = { [0] = place:calls(0), [1] = place:calls(1) }
    all = Random.new(SEED):shuffle(faults.all(calls, place:first_after_alarm(calls[0])))
  end)
  teardown(function() remove() end)

  --- So many faults of those that a test wants.
  local function some(count, want)
    local list = {}
    for _, fault in ipairs(all) do
      if #list < count and want(fault) then list[#list + 1] = fault end
    end
    return list
  end

  --- A test where processes can be traced.
  local function test(what, body)
    it(what, function()
      if not place then return pending(why) end
      body()
    end)
  end

  local function denies(list)
    local tally = place:campaign(list)
    assert.same({}, tally.wrong)
    assert.equal(#list, tally.runs)
    assert.is_true(tally.done >= #list * 0.9, tally.done .. " faults came about")
  end

  test("makes system calls that can fail", function()
    assert.is_true(calls[0] > 20 and calls[1] > 20)
    assert.is_true(#all > 5000)
  end)

  test("does so whatever fails or comes", function()
    denies(some(RUNS, function(fault) return not faults.is_stop(fault) end))
  end)

  test("does so when a process is stopped", function()
    denies(some(STOPS, faults.is_stop))
  end)

  test("says nothing and does not end as if it had where nobody can hear", function()
    for at = 1, calls[0] do
      local words, report = place:words { role = 0, at = at, errno = 2 }
      local line = ("%s hook --limit 5 '%s' >&- 2>&-"):format(cli.shell(words), place.hook)
      local result = assert(proc.run({ "/bin/bash", "-c", line }, { input = "{}" }))
      os.remove(report)
      assert.is_true(result.code ~= 0 and result.code ~= 2, at .. ": " .. tostring(result.code))
    end
  end)

  --- The process that writes down what went wrong, and the signals that it has blocked or ignores.
  local function recorder()
    for name in uv.fs_scandir_next, assert(uv.fs_scandir "/proc") do
      local status = name:find "^%d+$" and files.read(("/proc/%s/status"):format(name))
      local line = status and files.read(("/proc/%s/cmdline"):format(name))
      if line and line:find("hook\0--record\0a signal came", 1, true) then
        return math.tointeger(tonumber(name)), status:match "SigBlk:%s*(%x+)",
          status:match "SigIgn:%s*(%x+)"
      end
    end
  end

  test("hands down no signals that are blocked or ignored", function()
    local words, report = place:words { role = 2, at = 30, signal = 19, target = 2 }
    local killer = folder .. "/killer.lua"
    program.write(killer, [[return function()
      local uv = require "luv"
      uv.kill(uv.os_getppid(), "sigterm")
      while true do end
    end]])
    table.move({ "hook", "--limit", "5", killer }, 1, 4, #words + 1, words)
    local result = assert(proc.run(words, { input = place.payload,
      env = { XDG_STATE_HOME = folder, XDG_CONFIG_HOME = folder } }))
    assert.equal(2, result.code)
    local pid, blocked, ignored
    assert.is_true(program.eventually(function()
      pid, blocked, ignored = recorder()
      return pid
    end))
    uv.kill(pid, "sigkill")
    os.remove(report)
    local of_ours = 1 << 12 | 1 << 24 -- SIGPIPE, SIGXFSZ
    assert.same({ 0, 0 }, { tonumber(blocked, 16), tonumber(ignored, 16) & of_ours })
  end)

  test("would be caught if it did not", function()
    local answers = {
      { code = 0, stdout = "", stderr = "no" }, { code = 1, stdout = "", stderr = "no" },
      { code = 2, stdout = "", stderr = "" },
      { code = 2, stdout = "", stderr = "\u{3000}\u{A0}\n" },
      { stdout = "", stderr = "killed" },
      { code = 0, stdout = '{"hookSpecificOutput":{"permissionDecision":"deny",'
        .. '"permissionDecisionReason":"\\ud800"}}', stderr = "" },
      { code = 0, stdout = '{"hookSpecificOutput":{"permissionDecision":"deny"}} x', stderr = "" },
    }
    for _, result in ipairs(answers) do assert.is_false(torture.is_denied(result)) end
  end)

  for _, version in ipairs { "latest", "middle" } do
    test("does so for Codex " .. peers.version[version], function()
      local list = some(CODEX_RUNS, function(fault)
        return not faults.is_stop(fault) and (fault.at % 2 == 0) == (version == "latest")
      end)
      assert.equal(CODEX_RUNS, #list)
      for _, fault in ipairs(list) do
        local is_run = torture.codex(peers[version], (place:line(fault)))
        assert.is_false(is_run, torture.describe(fault))
      end
    end)
  end
end)
