--- Installing and uninstalling with real Codex when things are not as they were: our program has
--- moved, the user has worked on config.toml, Codex is an older one, somebody stops us at any step
--- or installs at the same time.

local codex = require "codex"
local files = require "codex.files"
local json = require "codex.json"
local peers = require "tests.support.peers"
local program = require "tests.support.program"
local records = require "codex.hooks.record"
local uv = require "luv"

local plain = "# mine\nmodel = 'gpt-5.5' # why\n"

local folder, config, env, remove

before_each(function()
  folder, remove = program.folder()
  config = folder .. "/home/config.toml"
  assert(files.make_dir(folder .. "/home"))
  env = {
    HOME = folder, CODEX_HOME = folder .. "/home", CODEX_BINARY = peers.latest,
    XDG_STATE_HOME = folder .. "/state", XDG_CONFIG_HOME = folder .. "/config", TMPDIR = folder,
  }
  program.write(folder .. "/hook.lua", "return { on = 'pre_tool_use', run = function() end }")
end)

after_each(function() remove() end)

local function write(text) program.write(config, text) end

local function text() return files.read(config) end

local function run(...) return program.run({ ... }, { env = env, stdin = "null" }) end

local function must(...)
  local result = run(...)
  assert.equal(0, result.code, result.stdout .. result.stderr)
  return result.stdout
end

local function edit(from, to)
  local before, count = text(), 0
  local after = before:gsub(from:gsub("%p", "%%%0"), function()
    count = count + 1
    return to
  end)
  assert(count > 0, from .. " is not in\n" .. before)
  write(after)
end

local function notify_program()
  local setup <close> = assert(require("codex.setup").open(codex.with {
    binary = peers.latest, home = folder .. "/home" }))
  return setup:notify()
end

--- The files in which we note what we changed, and locks.
local function notes()
  local list = {}
  local request = uv.fs_scandir(folder .. "/state/codex-lua/setup")
  for name in function() return request and uv.fs_scandir_next(request) end do
    list[#list + 1] = name
  end
  return list
end

local function forget()
  for _, name in ipairs(notes()) do uv.fs_unlink(folder .. "/state/codex-lua/setup/" .. name) end
end

describe("a program that has moved and has another name", function()
  for _, is_noted in ipairs { true, false } do
    local how = is_noted and "" or ", also without its notes"
    it("finds its notify program, and what that calls" .. how, function()
      write("notify = ['/usr/bin/mine', 'two']\n" .. plain)
      must("notify", "install", "--yes", "--chain")
      edit(program.path, "/gone/another-name")
      if not is_noted then forget() end
      must("notify", "install", "--yes")
      local argv = notify_program()
      assert.same({ program.path, "notify", records.MARK, "--chain" },
        table.move(argv, 1, 4, 1, {}))
      assert.same({ "/usr/bin/mine", "two" }, json.decode(argv[5]))
      must("notify", "uninstall", "--yes")
      assert.same({ "/usr/bin/mine", "two" }, notify_program())
      assert.same({}, notes())
    end)

    it("finds its hooks, and puts others in their place" .. how, function()
      write(plain)
      must("notify", "install", "--via", "hook", "--yes")
      must("hook", "install", "pre_tool_use", folder .. "/hook.lua", "--yes")
      edit(program.path, "/gone/another-name")
      if not is_noted then forget() end
      must("notify", "install", "--via", "hook", "--yes")
      must("hook", "install", "pre_tool_use", folder .. "/hook.lua", "--yes")
      assert.is_nil(text():find("/gone", 1, true))
      assert.equal(3, select(2, text():gsub(program.path:gsub("%p", "%%%0"), "")))
      must("notify", "uninstall", "--yes")
      must("hook", "uninstall", "--yes")
      assert.equal(plain, text())
    end)
  end
end)

describe("what the user has changed since", function()
  it("is what comes back, not what was there when we were installed first", function()
    write "notify = ['/usr/bin/first']\n"
    must("notify", "install", "--yes", "--chain")
    write "notify = ['/usr/bin/second'] # mine\n"
    must("notify", "install", "--yes", "--chain")
    must("notify", "uninstall", "--yes")
    assert.equal("notify = ['/usr/bin/second'] # mine\n", text())
    write "notify = ['/usr/bin/first']\n"
    must("notify", "install", "--yes", "--chain")
    write "# none any more\n"
    must("notify", "install", "--yes")
    must("notify", "uninstall", "--yes")
    assert.equal("# none any more\n", text())
  end)

  it("stays when we are uninstalled, which is said", function()
    write "notify = ['/usr/bin/first']\n"
    must("notify", "install", "--yes", "--chain")
    write "notify = ['/usr/bin/second'] # mine\n"
    local out = must("notify", "uninstall", "--yes")
    assert.truthy(out:find("was changed since, and stays as it is: /usr/bin/second", 1, true), out)
    assert.equal("notify = ['/usr/bin/second'] # mine\n", text())
    assert.truthy(must("notify", "uninstall", "--yes"):find("It is not installed", 1, true))
  end)

  local commented = plain .. [==[
notify = [ # first
  "/usr/bin/mine", # second
]
[[hooks.PreToolUse]] # third
[[hooks.PreToolUse.hooks]]
type = "command"
command = "true" # fourth
]==]

  it("may be comments that Codex does not keep, which is said before", function()
    write(commented)
    local result = run("notify", "install", "--chain")
    assert.equal(2, result.code) -- there is nobody to ask
    assert.truthy(result.stdout:find("these comments in it are lost:\n    # first\n    # second\n",
      1, true), result.stdout)
    result = run("hook", "install", "pre_tool_use", folder .. "/hook.lua")
    assert.truthy(result.stdout:find("are lost:\n    # third\n    # fourth\n", 1, true),
      result.stdout)
    assert.is_nil(run("notify", "install", "--via", "hook").stdout:find("lost", 1, true))
    assert.equal(commented, text())
    must("notify", "install", "--chain", "--yes")
    must("hook", "install", "pre_tool_use", folder .. "/hook.lua", "--yes")
    for _, kept in ipairs { "# mine", "# why" } do
      assert.truthy(text():find(kept, 1, true), kept)
    end
    for _, lost in ipairs { "# first", "# second", "# third", "# fourth" } do
      assert.is_nil(text():find(lost, 1, true), lost)
    end
    must("hook", "uninstall", "--yes")
    must("notify", "uninstall", "--yes")
    assert.equal(commented, text())
  end)

  it("may be that hooks are disabled: then we are not installed as one", function()
    local without = plain .. "[features]\nhooks = false\n"
    write(without)
    for _, words in ipairs { { "notify", "install", "--via", "hook", "--yes" },
      { "hook", "install", "pre_tool_use", folder .. "/hook.lua", "--yes" } } do
      local result = run(table.unpack(words))
      assert.equal(1, result.code)
      assert.truthy(result.stderr:find("disabled", 1, true), result.stderr)
    end
    assert.equal(without, text())
  end)
end)

describe("an older Codex, which has no hooks,", function()
  it("has them seen in its file all the same, and taken out", function()
    write(plain)
    must("notify", "install", "--via", "hook", "--yes")
    must("hook", "install", "pre_tool_use", folder .. "/hook.lua", "--yes")
    env.CODEX_BINARY = peers.old
    local status = run("notify", "status")
    assert.equal(1, status.code)
    assert.truthy(status.stdout:find("hook for stop: .*%(unseen%)"), status.stdout)
    local list = run("hook", "list")
    assert.equal(1, list.code)
    assert.truthy(list.stdout:find("Codex 0.101.0 has no hooks", 1, true), list.stdout)
    assert.truthy(list.stdout:find("ours: pre_tool_use", 1, true), list.stdout)
    assert.equal(1, run("notify", "install", "--via", "hook", "--yes").code)
    must("notify", "uninstall", "--yes")
    must("hook", "uninstall", "--yes")
    assert.equal(plain, text())
    assert.truthy(must("notify", "uninstall"):find("not installed", 1, true))
    for _, words in ipairs { { "notify", "install", "--via", "hook", "--yes" },
      { "hook", "install", "pre_tool_use", folder .. "/hook.lua", "--yes" } } do
      local result = run(table.unpack(words))
      assert.equal(1, result.code)
      assert.truthy(result.stderr:find("Codex 0.101.0 has no hooks", 1, true), result.stderr)
    end
    assert.equal(plain, text())
  end)
end)

--- Our command with a step at which something happens: files that are written, and what Codex is
--- asked to write. Without a number it prints how many there are.
local stopping = [[
  local files, client, uv = require "codex.files", require "codex.client", require "luv"
  local at, how, steps = tonumber(arg[1]), arg[2], 0
  local function step()
    steps = steps + 1
    if steps ~= at then return end
    if how == "error" then error("stopped", 0) end
    uv.kill(uv.os_getpid(), how)
    require("codex").sleep(5)
  end
  local write, connect = files.write, client.connect
  function files.write(...)
    step()
    return write(...)
  end
  function client.connect(...)
    local one, err = connect(...)
    if not one then return one, err end
    local set_configs = one.set_configs
    function one.set_configs(...)
      step()
      local result, problem = set_configs(...)
      step()
      return result, problem
    end
    return one
  end
  table.move(arg, 3, #arg + 2, 1)
  require("codex.cli.hook").main()
  if not at then io.stderr:write("STEPS ", steps, "\n") end
]]

local function install_with(step, how)
  return run("-e", stopping, step, how, "install", "pre_tool_use", folder .. "/hook.lua", "--yes")
end

describe("an installation that is stopped", function()
  local function steps()
    local result = install_with("count", "-")
    must("hook", "uninstall", "--yes")
    return assert(math.tointeger(tonumber(result.stderr:match "STEPS (%d+)")), result.stderr)
  end

  it("by an error or a signal leaves the file as it was, at every step", function()
    write(plain)
    local count = steps()
    assert.is_true(count >= 8)
    for step = 1, count do
      local how = ({ "error", "sigterm", "sigint" })[step % 3 + 1]
      local result = install_with(tostring(step), how)
      assert.is_true(result.code ~= 0, how .. result.stdout)
      assert.equal(plain, text(), ("step %d, %s"):format(step, how))
      assert.same({}, notes())
    end
  end)

  it("by SIGKILL is finished by the next one, or taken back, at every step", function()
    write(plain)
    for step = 1, steps() do
      write(plain)
      local result = install_with(tostring(step), "sigkill")
      assert.equal(9, result.signal)
      if step % 2 == 0 then
        must("hook", "install", "pre_tool_use", folder .. "/hook.lua", "--yes")
        assert.truthy(must("hook", "list"):find("ours: pre_tool_use: [^\n]* %(trusted%)"))
      end
      must("hook", "uninstall", "--yes")
      assert.equal(plain, text(), "step " .. step)
    end
  end)
end)

describe("several installations at once", function()
  it("are one, and are taken back as one", function()
    write("notify = ['/usr/bin/mine']\n" .. plain)
    local before = text()
    local results = codex.map({ 1, 2, 3, 4 }, function(i)
      if i % 2 == 0 then return run("notify", "install", "--yes", "--chain") end
      return run("hook", "install", "pre_tool_use", folder .. "/hook.lua", "--yes")
    end)
    for _, result in ipairs(results) do
      assert.equal(0, result.code, result.stdout .. result.stderr)
    end
    assert.equal(2, select(2, text():gsub(program.path:gsub("%p", "%%%0"), "")))
    must("hook", "uninstall", "--yes")
    must("notify", "uninstall", "--yes")
    assert.equal(before, text())
    assert.same({}, notes())
  end)
end)

--- Programs that take a lock and give it back, again and again, and look whether they are alone.
local function contend(path, rounds)
  local code = [[
    local locks, uv = require "codex.base.lock", require "luv"
    for _ = 1, tonumber(arg[2]) do
      local lock <close> = assert(locks.take(arg[1], 20))
      local fd = assert(uv.fs_open(arg[1] .. ".inside", "wx", 384))
      uv.fs_close(fd)
      assert(uv.fs_unlink(arg[1] .. ".inside"))
    end]]
  return codex.map({ 1, 2, 3, 4 }, function()
    return program.run({ "-e", code, path, tostring(rounds) }, { env = env, timeout = 60 })
  end)
end

describe("the lock", function()
  local locks = require "codex.base.lock"

  it("is one program's at a time, and nobody's when that is gone", function()
    local path = folder .. "/a/lock"
    local code = [[
      local lock = assert(require("codex.base.lock").take(arg[1], 5))
      print "held"
      io.flush()
      require("codex").sleep(30)]]
    local holder <close> = program.spawn({ "-e", code, path }, { env = env })
    assert.equal("held", holder:line())
    local lock, err = locks.take(path, 0.2)
    assert.is_nil(lock)
    assert.equal("timeout", err.kind)
    assert.truthy(err.message:find(tostring(holder.pid), 1, true))
    holder:kill "kill"
    holder:wait()
    local taken <close> = assert(locks.take(path, 5))
    assert.is_nil((locks.take(path, 0.1)))
    taken:close()
    assert(locks.take(path, 0.1)):close()
    assert.is_nil(uv.fs_stat(path))
  end)

  it("is never two programs'", function()
    for _, result in ipairs(contend(folder .. "/lock", 40)) do
      assert.same({ 0, "" }, { result.code, result.stderr })
    end
    assert.is_nil(uv.fs_stat(folder .. "/lock"))
  end)

  it("is given to one of many who wait, one after the other", function()
    local path, inside, most = folder .. "/lock", 0, 0
    program.write(path, "1") -- left by a process that is gone
    codex.map({ 1, 2, 3, 4, 5, 6 }, function()
      local lock <close> = assert(locks.take(path, 20)) -- luacheck: ignore 211
      inside = inside + 1
      most = math.max(most, inside)
      codex.sleep(0.01)
      inside = inside - 1
    end)
    assert.equal(1, most)
  end)
end)
