--- Files of the user's that decide: whose they must be, and what they may be.

local hook = require "codex.hook"
local middleware = require "codex.middleware"
local plugin = require "codex.plugin"
local policy = require "codex.policy"
local proc = require "codex.proc"
local program = require "tests.support.program"
local uv = require "luv"

local SOMEBODY = 12345 -- a user that is neither us nor root
local is_root = uv.getuid() == 0

local function octal(text) return tonumber(text, 8) end

local dir, remove

local function write(name, text, mode)
  local path = dir .. "/" .. name
  program.write(path, text or "return function() end")
  assert(uv.fs_chmod(path, mode or octal "644"))
  return path
end

local function make(name, mode)
  assert(uv.fs_mkdir(dir .. "/" .. name, octal "755"))
  assert(uv.fs_chmod(dir .. "/" .. name, mode or octal "755"))
  return dir .. "/" .. name
end

--- Refused by all that load such files, with an error that names the file.
local function refused(path, pattern, name)
  local loaders = { policy = policy.load, hook = hook.load, middleware = middleware.load }
  for what, load in pairs(loaders) do
    local list, err = load(path)
    assert.is_nil(list, what)
    assert.truthy(tostring(err):find(name or path, 1, true), tostring(err))
    assert.matches(pattern, tostring(err))
  end
end

local function accepted(path)
  local list, err = policy.load(path)
  assert(list, tostring(err))
end

describe("a file that decides", function()
  before_each(function() dir, remove = program.folder() end)
  after_each(function() remove() end)

  it("is nobody else's to write, nor any folder on the way to it", function()
    local parent = make "parent"
    make "parent/folder"
    local path = write "parent/folder/x.lua"
    accepted(path)
    for _, place in ipairs { path, parent .. "/folder", parent } do
      local usual = uv.fs_stat(place).mode & octal "777"
      for _, bits in ipairs { "020", "002", "022" } do
        assert(uv.fs_chmod(place, usual | octal(bits)))
        refused(path, "can be written by others", place)
      end
      assert(uv.fs_chmod(place, usual))
    end
    accepted(path)
  end)

  it("is nobody else's, nor any folder on the way to it", function()
    if not is_root then return pending "only root can give a file away" end
    local parent = make "parent"
    local path = write "parent/x.lua"
    for _, place in ipairs { path, parent } do
      assert(uv.fs_chown(place, SOMEBODY, SOMEBODY))
      refused(path, "belongs to somebody else %(user 12345%)", place)
      assert(uv.fs_chown(place, 0, 0))
    end
    accepted(path)
  end)

  it("may be in a sticky folder where it is the user's own", function()
    make("sticky", octal "1777")
    local path = write "sticky/x.lua"
    accepted(path)
    make("sticky/mine")
    accepted(write "sticky/mine/x.lua")
    if is_root then
      assert(uv.fs_chown(dir .. "/sticky/mine", SOMEBODY, SOMEBODY))
      refused(dir .. "/sticky/mine/x.lua", "written by others", dir .. "/sticky'")
      assert.is_nil((plugin.files(dir .. "/sticky/mine", "policy")))
    end
    assert.is_nil((plugin.files(dir .. "/sticky", "policy"))) -- others can add to it
  end)

  it("is looked at through links, with the folders that these are in", function()
    make "safe"
    make "open"
    write "safe/x.lua"
    local function link(target, name) assert(uv.fs_symlink(target, dir .. "/" .. name)) end
    link("../safe/x.lua", "open/relative.lua")
    link(dir .. "/safe", "open/folder")
    link("../safe/./../safe/x.lua", "safe/dots.lua")
    link("loop.lua", "safe/loop.lua")
    link("nothing.lua", "safe/dangling.lua")
    for _, name in ipairs { "open/relative.lua", "open/folder/x.lua", "safe/dots.lua" } do
      accepted(dir .. "/" .. name)
    end
    refused(dir .. "/safe/loop.lua", "too many links")
    refused(dir .. "/safe/dangling.lua", "ENOENT")
    assert(uv.fs_chmod(dir .. "/open", octal "777"))
    for _, name in ipairs { "open/relative.lua", "open/folder/x.lua" } do
      refused(dir .. "/" .. name, "can be written by others", dir .. "/open")
    end
    accepted(dir .. "/safe/x.lua")
    assert(uv.fs_chmod(dir .. "/safe", octal "777"))
    assert(uv.fs_chmod(dir .. "/open", octal "755"))
    for _, name in ipairs { "open/relative.lua", "open/folder/x.lua", "safe/dots.lua" } do
      refused(dir .. "/" .. name, "can be written by others", dir .. "/safe")
    end
  end)

  it("is a regular file: nothing else is waited for", function()
    assert(proc.run { "mkfifo", dir .. "/pipe.lua" })
    refused(dir .. "/pipe.lua", "no regular file")
    refused(make "folder.lua", "no regular file")
    refused("/dev/null", "no regular file")
    refused(write "a\nb.lua", "control character", "a\\x0Ab.lua")
    refused(write("x.lua") .. "/y.lua", "ENOTDIR")
    refused(dir .. "/none.lua", "ENOENT")
  end)

  --- Root reads everything, but may be somebody who does not.
  it("that cannot be read is an error", function()
    local path = write("x.lua", nil, 0)
    if not is_root then return refused(path, "EACCES") end
    assert(uv.fs_chmod(dir, octal "755"))
    assert(uv.fs_chown(path, SOMEBODY, SOMEBODY))
    local code = "print(select(2, require('codex.policy').load(arg[1])))"
    local result = assert(proc.run({ "setpriv", "--reuid", tostring(SOMEBODY), "--clear-groups",
      program.path, "-e", code, path }, { cwd = "/" }))
    assert.equal("", result.stderr)
    assert.matches("EACCES", result.stdout)
    assert.truthy(result.stdout:find(path, 1, true), result.stdout)
  end)

  it("is one whole thing", function()
    refused(write("x.lua", ""), "")
    refused(write("x.lua", "return 7"), "")
    refused(write("x.lua", "return {}"), "")
    refused(write("x.lua", "return { [2] = {} }"), "")
    refused(write("x.lua", "return { print, nil, print }"), "")
    refused(write("x.lua", [[return { { run = print, handle = print, decide = print }, x = 1 }]]),
      "")
  end)
end)

describe("a middleware file", function()
  before_each(function() dir, remove = program.folder() end)
  after_each(function() remove() end)

  it("returns a middleware or a list of them", function()
    for text, count in pairs {
      ["return { name = 'a', handle = print }"] = 1,
      ["return require('codex').middleware { name = 'a', handle = print }"] = 1,
      ["return { { name = 'a', handle = print }, { name = 'b', handle = print } }"] = 2,
    } do
      assert.equal(count, #assert(middleware.load(write("x.lua", text))))
    end
  end)

  it("that is none is an error with its name", function()
    for text, pattern in pairs {
      ["return { name = 'a' }"] = "'name' is no part",
      ["return { { name = 'a' } }"] = "`handle` are needed",
      ["return { name = 'a', handle = print, on = { x = true } }"] = "list of methods",
      ["return { name = 'a', handle = print, results = 1 }"] = "'results'",
      ["return { name = 'a', handle = print, from = 'me' }"] = "client or server",
      ["error 'x'"] = "x",
      ["return { name = 'a', handle = print"] = "expected",
      ["return function() end"] = "a middleware, or a list",
    } do
      local path = write("x.lua", text)
      local list, err = middleware.load(path)
      assert.is_nil(list, text)
      assert.truthy(err.message:find(path, 1, true), err.message)
      assert.matches(pattern, err.message)
    end
  end)
end)

describe("a folder of files", function()
  before_each(function() dir, remove = program.folder() end)
  after_each(function() remove() end)

  local function problem(path)
    local list, err = policy.load_folder(path)
    assert.is_nil(list)
    assert.truthy(err.message:find(path, 1, true), err.message)
    return err.message
  end

  it("that is not there has none", function()
    assert.same({}, policy.load_folder(dir .. "/policy.d"))
    assert.same({}, policy.load_folder(dir .. "/nowhere/policy.d"))
  end)

  it("that leads nowhere, or is a file, is an error", function()
    assert(uv.fs_symlink(dir .. "/gone", dir .. "/policy.d"))
    assert.matches("ENOENT", problem(dir .. "/policy.d"))
    write "file"
    assert.matches("is no folder", problem(dir .. "/file"))
    assert.matches("ENOTDIR", problem(dir .. "/file/policy.d"))
  end)

  it("with anything in it that cannot be used is an error", function()
    local folder = make "policy.d"
    write "policy.d/a.lua"
    assert.equal(1, #policy.load_folder(folder))
    local spoilers = {
      function(path) assert(uv.fs_mkdir(path, octal "755")) end,
      function(path) assert(proc.run { "mkfifo", path }) end,
      function(path) assert(uv.fs_symlink("nothing", path)) end,
      function(path) program.write(path, "return nil") end,
    }
    for _, spoil in ipairs(spoilers) do
      spoil(folder .. "/b.lua")
      assert.truthy(problem(folder):find(folder .. "/b.lua", 1, true))
      assert(proc.run { "rm", "-rf", folder .. "/b.lua" })
    end
    write "policy.d/b\27.lua"
    assert.matches("control character", problem(folder))
  end)

  it("is where the launcher looks before it starts anything", function()
    local config = make "config"
    make "config/codex-lua"
    assert(uv.fs_symlink("nowhere", config .. "/codex-lua/policy.d"))
    local marks = dir .. "/started"
    write("codex", ("#!/bin/sh\ntouch '%s'\n"):format(marks), octal "755")
    local function launch(args)
      local result = program.run({ "app-server", table.unpack(args) },
        { env = { XDG_CONFIG_HOME = config, CODEX_BINARY = dir .. "/codex" }, input = "" })
      assert.equal(args[1] == "--middleware" and 2 or 1, result.code)
      assert.is_nil(uv.fs_stat(marks))
      return result.stderr
    end
    assert.matches("policy%.d'", launch {})
    local open = write("open.lua", "return { name = 'a', handle = print, decide = print }",
      octal "666")
    assert(uv.fs_unlink(config .. "/codex-lua/policy.d"))
    assert.matches("open%.lua' can be written by others", launch { "--policy", open })
    assert.matches("open%.lua' can be written by others", launch { "--middleware", open })
  end)
end)
