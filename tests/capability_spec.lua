local capability = require "codex.capability"
local codex = require "codex"
local files = require "codex.files"
local flags = require "codex.flags"
local host = require "codex.core.host"
local peers = require "tests.support.peers"
local program = require "tests.support.program"
local uv = require "luv"

local work = peers.root .. "/build/capability-spec"
os.execute("rm -rf " .. peers.quote(work) .. " && mkdir -p " .. peers.quote(work))

--- A program that counts its runs and otherwise is the latest Codex.
local function counted(name)
  local path = work .. "/" .. name
  local file = assert(io.open(path, "w"))
  local text = '#!/bin/sh\necho x >> %s.runs\nexec %s "$@"\n'
  file:write(text:format(peers.quote(path), peers.quote(peers.latest)))
  file:close()
  os.execute("chmod +x " .. peers.quote(path))
  return path, function() return #(files.read(path .. ".runs") or ""):gsub("[^\n]", "") end
end

--- Probes in a program of its own, which remembers nothing.
local function probe_elsewhere(path, cache)
  local code = [[
    local c, err = require("codex.capability").of(arg[1])
    print(c and c.version or err.kind)]]
  return codex.proc.run({ host.program, "-e", code, path }, { env = { XDG_CACHE_HOME = cache } })
end

describe("what a Codex can do", function()
  for _, name in ipairs { "latest", "middle", "old" } do
    it("is asked from real " .. peers.version[name], function()
      local c = assert(capability.of(peers[name]))
      assert.equal(peers.version[name], c.version)
      assert.equal(name ~= "latest", c.subcommands["mcp-server"] == true)
      assert.equal(name ~= "old", c.commands["exec fork"] ~= nil)
      assert.is_true(c.commands.exec["--json"])
      assert.equal("string", type(select(2, next(c.features)).stage))
      for command, set in pairs(c.commands) do
        assert.truthy(flags.commands[command])
        assert.truthy(next(set), command)
      end
    end)
  end

  it("is asked once of each binary, also across programs", function()
    local path, runs = counted "once"
    local cache = work .. "/cache-once"
    assert.equal(peers.version.latest .. "\n", probe_elsewhere(path, cache).stdout)
    local n = runs()
    assert.is_true(n > 5)
    assert.equal(peers.version.latest .. "\n", probe_elsewhere(path, cache).stdout)
    assert.equal(n + 1, runs()) -- a script: its version is asked for each time
  end)

  it("is asked anew when a script starts another Codex than before", function()
    local link, path = work .. "/linked", work .. "/starts-linked"
    assert(uv.fs_symlink(peers.latest, link))
    program.write(path, ("#!/bin/sh\nexec %s \"$@\"\n"):format(peers.quote(link)),
      tonumber("755", 8))
    local cache = work .. "/cache-linked"
    assert.equal(peers.version.latest .. "\n", probe_elsewhere(path, cache).stdout)
    assert(uv.fs_unlink(link))
    assert(uv.fs_symlink(peers.middle, link))
    assert.equal(peers.version.middle .. "\n", probe_elsewhere(path, cache).stdout)
  end)

  it("is asked anew when the file has changed", function()
    local path, runs = counted "changed"
    local cache = work .. "/cache-changed"
    probe_elsewhere(path, cache)
    local n = runs()
    uv.fs_utime(path, 1, 1)
    probe_elsewhere(path, cache)
    assert.equal(2 * n, runs())
  end)

  it("may be written by two programs at once", function()
    local path = counted "twice"
    local cache = work .. "/cache-twice"
    local results = codex.map({ 1, 2, 3 }, function() return probe_elsewhere(path, cache) end)
    for i = 1, 3 do assert.equal(peers.version.latest .. "\n", results[i].stdout) end
    local dir = cache .. "/codex-lua/capabilities"
    local request = assert(uv.fs_scandir(dir))
    local names = {}
    for name in function() return uv.fs_scandir_next(request) end do names[#names + 1] = name end
    assert.equal(1, #names)
    local cached = codex.json.decode(files.read(dir .. "/" .. names[1]))
    assert.equal(peers.version.latest, cached.version)
  end)

  it("is asked again when the cache holds rubbish", function()
    local path, runs = counted "rubbish"
    local cache = work .. "/cache-rubbish"
    probe_elsewhere(path, cache)
    local n = runs()
    local spoil = "for f in %s/codex-lua/capabilities/*; do echo '{\"half\":' > \"$f\"; done"
    os.execute(spoil:format(peers.quote(cache)))
    assert.equal(peers.version.latest .. "\n", probe_elsewhere(path, cache).stdout)
    assert.equal(2 * n, runs())
  end)

  it("is asked each time where nothing can be written", function()
    local path, runs = counted "unwritable"
    assert.equal(peers.version.latest .. "\n", probe_elsewhere(path, "/dev/null/x").stdout)
    local n = runs()
    assert.equal(peers.version.latest .. "\n", probe_elsewhere(path, "/dev/null/x").stdout)
    assert.equal(2 * n, runs())
  end)

  --- A program that prints this, as a shell says it, and otherwise is real Codex.
  local function double(name, text)
    local path = work .. "/" .. name
    program.write(path, ("#!/bin/sh\n" .. text):gsub("CODEX", (peers.quote(peers.latest)
      :gsub("%%", "%%%%"))), tonumber("755", 8))
    return path
  end

  local function memory() return collectgarbage "count" end

  for name, text in pairs {
    warning = 'echo "(node:1) Warning: 20.20.2 is old"; echo; exec CODEX "$@"',
    banner = 'printf "\\033[1mwelcome to tools 1.2.3\\033[0m\\r\\n"; exec CODEX "$@"',
    colour = '[ "$1" = --version ] && printf "\\033[32mcodex-cli 0.169.0\\033[0m\\n" && exit\n'
      .. 'exec CODEX "$@"',
    stderr = 'exec CODEX "$@" 1>&2',
    held = 'sleep 300 & echo $! >>$0.pids; exec CODEX "$@"',
  } do
    it("is known with a program around it: " .. name, function()
      local started = uv.hrtime()
      local c, err = capability.of(double("around-" .. name, text))
      assert(c, tostring(err))
      assert.equal(peers.version.latest, c.version)
      assert.is_true(c.commands.exec["--json"])
      assert.is_true(c.subcommands["app-server"])
      assert.truthy(c.commands["exec fork"])
      assert.is_true((uv.hrtime() - started) / 1e9 < 60)
      for pid in (files.read(work .. "/around-" .. name .. ".pids") or ""):gmatch "%d+" do
        uv.kill(math.tointeger(pid), "sigkill")
      end
    end)
  end

  for name, case in pairs {
    endless = { "yes 0.169.0", "%-%-version' prints without end" },
    ["endless-error"] = { "yes 0.169.0 1>&2", "did not end within" },
    ["endless-help"] = { '[ "$1" = --version ] && exec CODEX "$@"; yes',
      "help' prints without end" },
    hangs = { "exec sleep 300", "did not end within" },
    ["hanging-help"] = { '[ "$1" = --version ] && exec CODEX "$@"; exec sleep 300',
      "help' did not end within" },
    fails = { "echo sk-proj-0123456789abcdef >&2; exit 3",
      "ended with code 3 and said: %[redacted%]" },
    other = { "echo git version 2.39.5", "ended with code 0 and said: git version 2.39.5" },
    silent = { "exit 0", "does not answer as Codex does: it ended with code 0$" },
    killed = { "kill -9 $$", "was ended by signal 9" },
    wrapped = { "exec /usr/bin/env no-such-node", "code 127 and said: .*no%-such%-node" },
  } do
    it("is not known, with a reason, from one that is odd: " .. name, function()
      local path, before = double("odd-" .. name, case[1] .. "\n"), memory()
      local c, err = capability.of(path, { timeout = 1 })
      assert.is_nil(c)
      assert.equal("unsupported", err.kind)
      assert.matches(case[2], err.message)
      assert.truthy(err.message:find(path, 1, true))
      assert.is_true(memory() - before < 32 * 1024)
    end)
  end

  it("is not known from one whose interpreter is not there, which is named", function()
    for line, why in pairs {
      ["#!/opt/no such/node"] = "its interpreter '/opt/no' is not there",
      ["#! /opt/node --flag"] = "its interpreter '/opt/node' is not there",
      ["#!/bin/sh\r"] = "its interpreter would be '/bin/sh\\r'",
    } do
      local path = work .. "/no-interpreter"
      program.write(path, line .. "\nexit 0\n", tonumber("755", 8))
      local c, err = capability.of(path)
      assert.is_nil(c)
      assert.same({ "spawn", "ENOENT" }, { err.kind, err.code })
      assert.truthy(err.message:find(why, 1, true), err.message)
      assert(uv.fs_unlink(path))
    end
  end)

  it("cannot be asked from another program, and that is said", function()
    local c, err = capability.of "/bin/true"
    assert.is_nil(c)
    assert.equal("unsupported", err.kind)
    c, err = capability.of "/nonexistent/codex"
    assert.is_nil(c)
    assert.equal("spawn", err.kind)
  end)
end)

describe("an option that this Codex lacks", function()
  it("is unsupported, with the versions that have it", function()
    local cx = codex.with { binary = peers.middle, home = peers.home "capability" }
    local turn, err = cx.exec("x", { worktree = true })
    assert.is_nil(turn)
    assert.same({ "unsupported", "worktree" }, { err.kind, err.code })
    assert.truthy(err.message:find(peers.version.middle, 1, true))
    assert.truthy(err.message:find("0.169.0", 1, true))
  end)

  it("is said in another way where that is exactly the same, and logged", function()
    local said = {}
    local cx = codex.with {
      binary = peers.latest, home = peers.home "capability",
      log = function(level, message) said[#said + 1] = level .. " " .. message end,
    }
    local plan = cx.exec("x", { full_auto = true, dry_run = true })
    assert.truthy(table.concat(plan.argv, " "):find("--sandbox=workspace-write", 1, true))
    assert.truthy(table.concat(said, "\n"):find "full_auto")
    cx = codex.with { binary = peers.old, home = peers.home "capability" }
    plan = cx.exec("x", { full_auto = true, dry_run = true })
    assert.truthy(table.concat(plan.argv, " "):find("--full-auto", 1, true))
  end)
end)

describe("a subcommand", function()
  it("that is gone is told from one that fails", function()
    local cx = codex.with { binary = peers.latest, home = peers.home "capability" }
    local result, err = cx.run { "mcp-server" }
    assert.is_nil(result)
    assert.same({ "unsupported", "mcp-server" }, { err.kind, err.code })
    assert.truthy(err.message:find("0.154.0", 1, true))
    result, err = cx.run { "login", "status" }
    assert.is_nil(result)
    assert.equal(1, err.data.exit_code)
  end)

  it("that this version still has is run", function()
    local cx = codex.with { binary = peers.middle, home = peers.home "capability" }
    local result = assert(cx.run { "mcp-server" }) -- its input is empty, so it ends
    assert.equal(0, result.code)
  end)
end)

describe("features", function()
  it("are listed, enabled and disabled", function()
    local cx = codex.with { binary = peers.latest, home = peers.home "features" }
    local name
    for feature, what in pairs(assert(cx.features())) do
      if what.stage == "experimental" and not what.enabled then name = name or feature end
    end
    assert.is_true(cx.features("enable", name))
    assert.is_true(cx.features()[name].enabled)
    assert.is_true(cx.features("disable", name))
    assert.is_false(cx.features()[name].enabled)
  end)
end)
