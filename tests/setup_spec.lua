--- Codex's config.toml changed through real Codex, and put back.

local codex = require "codex"
local codex_setup = require "codex.setup"
local files = require "codex.files"
local json = require "codex.json"
local peers = require "tests.support.peers"
local program = require "tests.support.program"
local uv = require "luv"

local ours = { "/opt/codex-lua", "notify" }
local command = "/opt/codex-lua notify --hook"
local permissions = tonumber("777", 8)

local odd = [==[
# my config
model   =   "gpt-5.5"   # why

notify = [
  "/usr/bin/mine", # first
  'two'
]
[ tools ]
web_search=false

[[hooks.Stop]]
# mine
[[hooks.Stop.hooks]]
type = "command"
command = "true"

[projects."/tmp/\"x\""]
trust_level = "trusted"   ]==] -- and no newline at the end

local home, config

local function write(text, mode)
  program.write(config, text, mode)
  if mode then assert(uv.fs_chmod(config, mode)) end
end

local function text() return files.read(config) end

local function open(version)
  return assert(codex_setup.open(codex.with { binary = peers[version or "latest"], home = home }))
end

--- The hook with this command, among all that Codex knows.
local function hook(setup, what)
  for _, each in ipairs(assert(setup:hooks())) do
    if each.command == what then return each end
  end
end

--- What was written down about changes.
local function records()
  local list = {}
  local request = uv.fs_scandir(files.state_dir() .. "/setup")
  for name in function() return request and uv.fs_scandir_next(request) end do
    if name:find(home:gsub("/", "%%2f"), 1, true) then
      list[#list + 1] = files.state_dir() .. "/setup/" .. name
    end
  end
  return list
end

--- As somebody with an editor would.
local function edit(from, to)
  local before = text()
  local at, last = before:find(from, 1, true)
  assert(at, from .. " is not in\n" .. before)
  write(before:sub(1, at - 1) .. to .. before:sub(last + 1))
end

local function each_version(name, body)
  for _, version in ipairs { "latest", "middle" } do
    it(name .. " (" .. peers.version[version] .. ")", function() body(version) end)
  end
end

local remove

before_each(function()
  local folder
  folder, remove = program.folder()
  home = folder .. "/home"
  config = home .. "/config.toml"
  assert(files.make_dir(home))
end)

after_each(function()
  for _, path in ipairs(records()) do uv.fs_unlink(path) end
  remove()
end)

describe("the notify program of config.toml", function()
  each_version("is named with the comments kept, and put back to the byte", function(version)
    write(odd, tonumber("640", 8))
    local setup <close> = open(version)
    assert.same({ "/usr/bin/mine", "two" }, setup:notify())
    assert(setup:set_notify(ours))
    assert.same(ours, setup:notify())
    for _, kept in ipairs { "# my config", "model   =   ", "# why", "# mine", "[ tools ]" } do
      assert.truthy(text():find(kept, 1, true), kept)
    end
    assert.equal(1, #records())
    assert.equal(tonumber("600", 8), uv.fs_stat(records()[1]).mode & permissions)
    assert(setup:set_notify(nil))
    assert.equal(odd, text())
    assert.equal(tonumber("640", 8), uv.fs_stat(config).mode & permissions)
    assert.same({}, records())
  end)

  each_version("can be named where there is no file, which is gone again then", function(version)
    local setup <close> = open(version)
    assert.is_nil((setup:notify()))
    assert(setup:set_notify(ours))
    assert.same(ours, setup:notify())
    assert(setup:set_notify(nil))
    assert.is_nil(text())
    assert.same({}, records())
  end)

  it("can be named for a Codex without hooks", function()
    write(odd)
    local setup <close> = open "old"
    assert(setup:set_notify(ours))
    local list, err = setup:hooks()
    assert.is_nil(list)
    assert.equal("unsupported", err.kind)
    assert(setup:restore())
    assert.equal(odd, text())
  end)

  it("is put back by another process than the one that named it", function()
    write(odd)
    do
      local setup <close> = open()
      assert(setup:set_notify(ours))
    end
    local setup <close> = open()
    assert(setup:set_notify(nil))
    assert.equal(odd, text())
  end)

  it("is not written again when it is named again; another one is", function()
    write(odd)
    local setup <close> = open()
    assert(setup:set_notify(ours))
    local before = uv.fs_stat(config).ino
    assert(setup:set_notify(ours))
    assert.equal(before, uv.fs_stat(config).ino)
    assert(setup:set_notify { "/opt/other" })
    assert.same({ "/opt/other" }, setup:notify())
    assert(setup:set_notify(nil))
    assert.equal(odd, text())
  end)

  each_version("is taken out alone when the file was edited since", function(version)
    write(odd)
    local setup <close> = open(version)
    assert(setup:set_notify(ours))
    edit("web_search=false", "web_search =  true # edited")
    assert(setup:set_notify(nil))
    assert.same({ "/usr/bin/mine", "two" }, setup:notify())
    assert.truthy(text():find("web_search =  true # edited", 1, true))
    assert.truthy(text():find("# mine", 1, true))
    assert.is_nil(text():find("/opt", 1, true))
    assert.same({}, records())
  end)

  it("is left alone when somebody has named another one since", function()
    write(odd)
    local setup <close> = open()
    assert(setup:set_notify(ours))
    edit("/opt/codex-lua", "/opt/of-the-user")
    local edited = text()
    local ok, err = setup:set_notify(nil)
    assert.is_nil(ok)
    assert.equal("policy", err.kind)
    assert.equal(edited, text())
    assert.same({}, records())
  end)

  it("is put back into the file that a link points to", function()
    local real = home .. "/real.toml"
    program.write(real, odd)
    assert(uv.fs_symlink(real, config))
    local setup <close> = open()
    assert(setup:set_notify(ours))
    assert.truthy(files.read(real):find("/opt/codex-lua", 1, true))
    assert(setup:set_notify(nil))
    assert.equal("link", uv.fs_lstat(config).type)
    assert.equal(odd, files.read(real))
  end)
end)

describe("a config.toml that cannot be changed", function()
  local function refused(setup)
    local before = text()
    local ok, err = setup:set_notify(ours)
    assert.is_nil(ok)
    assert.equal(before, text())
    assert.same({}, records())
    return err
  end

  it("is left alone when it is read-only", function()
    write(odd, tonumber("400", 8))
    local setup <close> = open()
    local err = refused(setup)
    assert.equal("io", err.kind)
    assert.equal("EACCES", err.code)
    assert.truthy(err.message:find("read-only", 1, true))
    assert.equal(tonumber("400", 8), uv.fs_stat(config).mode & permissions)
  end)

  it("is not put back when it has become read-only", function()
    write(odd)
    local setup <close> = open()
    assert(setup:set_notify(ours))
    local with_ours = text()
    assert(uv.fs_chmod(config, tonumber("400", 8)))
    local ok, err = setup:set_notify(nil)
    assert.is_nil(ok)
    assert.equal("EACCES", err.code)
    assert.equal(with_ours, text())
    assert(uv.fs_chmod(config, tonumber("600", 8)))
    assert(setup:set_notify(nil))
    assert.equal(odd, text())
  end)

  each_version("is left alone when it is no TOML", function(version)
    write "model = [\n"
    local setup <close> = open(version)
    local err = refused(setup)
    assert.equal("rpc", err.kind)
    assert.truthy(err.message:find("was not changed", 1, true))
  end)

  each_version("is left alone when Codex refuses, whose name for it is the code", function(version)
    write(odd)
    local setup <close> = open(version)
    local ok, err = setup:set_notify { 1 }
    assert.is_nil(ok)
    assert.equal("configValidationError", err.code)
    assert.truthy(err.message:find("configValidationError", 1, true))
    assert.equal(odd, text())
    assert.same({}, records())
  end)
end)

describe("lifecycle hooks in config.toml", function()
  each_version("are added, trusted, seen to be modified, and taken out", function(version)
    write(odd)
    local setup <close> = open(version)
    local key = assert(setup:add_hook { event = "pre_tool_use", matcher = "Bash",
      command = command, timeout = 5 })
    assert.equal(config .. ":pre_tool_use:0:0", key)
    local added = hook(setup, command)
    assert.same({ key, "pre_tool_use", "Bash", 5, false, "untrusted", true, true },
      { added.key, added.event, added.matcher, added.timeout, added.async, added.trust, added.ours,
        added.enabled })
    assert(setup:trust(key))
    assert.equal("trusted", hook(setup, command).trust)
    assert.equal("untrusted", hook(setup, "true").trust)
    edit("timeout = 5", "timeout = 6")
    assert.equal("modified", hook(setup, command).trust)
    edit("timeout = 6", "timeout = 5")
    assert.equal(key, assert(setup:add_hook { event = "PreToolUse", matcher = "Bash",
      command = command, timeout = 5 }))
    assert(setup:remove_hook(key))
    assert.equal(odd, text())
    assert.same({}, records())
  end)

  each_version("are beside those of the user, whose trust follows them", function(version)
    write(odd)
    local setup <close> = open(version)
    local key = assert(setup:add_hook { event = "stop", command = command })
    assert.equal(config .. ":stop:1:0", key)
    assert(setup:trust(key))
    local client = setup.client
    local groups = {}
    for i, each in ipairs { "true", command, "echo last" } do
      groups[i] = { hooks = { { type = "command", command = each } } }
    end
    assert(client:set_config("hooks.Stop", groups))
    local last = hook(setup, "echo last")
    assert.is_false(last.ours)
    local trusted = ('hooks.state."%s".trusted_hash'):format(last.key)
    assert(client:set_config(trusted, last.hash))
    assert(setup:remove_hook(key))
    assert.is_nil(hook(setup, command))
    last = hook(setup, "echo last")
    assert.equal(config .. ":stop:1:0", last.key)
    assert.equal("trusted", last.trust)
    assert.equal("untrusted", hook(setup, "true").trust)
    assert.is_nil(text():find(":stop:2:0", 1, true))
  end)

  it("leave no table behind that was there for them alone", function()
    write "# nothing\nmodel = 'gpt-5.5'\n"
    local setup <close> = open()
    local key = assert(setup:add_hook { event = "stop", command = command })
    assert(setup:trust(key))
    edit("# nothing", "# edited")
    assert(setup:remove_hook(key))
    assert.equal("# edited\nmodel = 'gpt-5.5'\n", text())
  end)

  it("and the notify program go in either order, and the file is what it was", function()
    for _, hook_first in ipairs { true, false } do
      write(odd)
      local setup <close> = open()
      assert(setup:set_notify(ours))
      local with_notify = text()
      local key = assert(setup:add_hook { event = "stop", command = command })
      assert(setup:trust(key))
      if hook_first then
        assert(setup:remove_hook(key))
        assert.equal(with_notify, text())
      end
      assert(setup:set_notify(nil))
      if not hook_first then
        assert.same({ "/usr/bin/mine", "two" }, setup:notify())
        assert.equal("trusted", hook(setup, command).trust)
        assert(setup:remove_hook(key))
      end
      assert.equal(odd, text())
    end
  end)

  it("are all taken out at once", function()
    write(odd)
    local setup <close> = open()
    assert(setup:set_notify(ours))
    for _, event in ipairs { "stop", "pre_tool_use", "session_start" } do
      assert(setup:trust(assert(setup:add_hook { event = event, command = command })))
    end
    edit("# my config", "# edited")
    assert(setup:restore())
    assert.is_nil(text():find("/opt", 1, true))
    assert.is_nil(text():find("sha256", 1, true))
    assert.truthy(text():find("# edited", 1, true))
    assert.same({ "/usr/bin/mine", "two" }, setup:notify())
    assert.equal("untrusted", hook(setup, "true").trust)
    assert.same({}, records())
  end)

  it("of others are neither trusted nor taken out", function()
    write(odd)
    local setup <close> = open()
    local key = hook(setup, "true").key
    for _, name in ipairs { "trust", "remove_hook" } do
      local ok, err = setup[name](setup, key)
      assert.is_nil(ok)
      assert.equal("policy", err.kind)
    end
    assert.equal(odd, text())
  end)

  it("leave nothing behind where Codex does not know the event", function()
    write(odd)
    local setup <close> = open "middle"
    local key, err = setup:add_hook { event = "pre_model_request", command = command }
    assert.is_nil(key)
    assert.equal("policy", err.kind)
    assert.equal(odd, text())
    assert.same({}, records())
  end)

  it("need an event and a command, which is the caller's mistake", function()
    local setup <close> = open()
    assert.has_error(function() setup:add_hook { event = "stop" } end,
      "setup:add_hook: `event` and `command` are needed")
  end)
end)

describe("the record of changes", function()
  it("that cannot be kept keeps the file from being changed", function()
    write(odd)
    local setup <close> = open()
    local dir = files.state_dir() .. "/setup"
    local aside = dir .. ".aside"
    assert(files.make_dir(dir))
    assert(uv.fs_rename(dir, aside))
    program.write(dir, "a file")
    local ok, err = setup:set_notify(ours)
    assert(uv.fs_unlink(dir))
    assert(uv.fs_rename(aside, dir))
    assert.is_nil(ok)
    assert.equal("io", err.kind)
    assert.equal(odd, text())
  end)

  it("is on disk before Codex writes: who is killed then can still put back", function()
    write(odd)
    local setup <close> = open()
    local set_configs = setup.client.set_configs
    function setup.client.set_configs(...)
      local result, err = set_configs(...)
      assert(result, err)
      error "killed"
    end
    assert.is_false((pcall(setup.set_notify, setup, ours)))
    local record = json.decode(assert(files.read(records()[1])))
    assert.same(ours, record.entries.notify.value)
    local again <close> = open()
    assert.same(ours, again:notify())
    assert(again:set_notify(nil))
    assert.same({ "/usr/bin/mine", "two" }, again:notify())
  end)
end)
