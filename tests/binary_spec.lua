local binary = require "codex.binary"
local host = require "codex.core.host"
local peers = require "tests.support.peers"
local uv = require "luv"

local work = peers.root .. "/build/binary-spec"

local function program(path)
  os.execute(("mkdir -p %s"):format(peers.quote(path:match "^(.+)/")))
  local file = assert(io.open(path, "w"))
  file:write "#!/bin/sh\n"
  file:close()
  os.execute("chmod +x " .. peers.quote(path))
  return path
end

describe("the Codex that is run", function()
  local path_before = os.getenv "PATH"
  before_each(function() os.execute("rm -rf " .. peers.quote(work)) end)
  after_each(function()
    uv.os_setenv("PATH", path_before)
    uv.os_unsetenv "CODEX_BINARY"
  end)

  it("is the option before all else", function()
    uv.os_setenv("CODEX_BINARY", "/elsewhere/codex")
    assert.same({ path = peers.latest, found = peers.latest, source = "option" },
      binary.resolve(peers.latest))
  end)

  it("is CODEX_BINARY before PATH", function()
    uv.os_setenv("PATH", program(work .. "/bin/codex"):match "^(.+)/")
    uv.os_setenv("CODEX_BINARY", peers.middle)
    assert.same({ path = peers.middle, found = peers.middle, source = "CODEX_BINARY" },
      binary.resolve())
  end)

  it("is the one in the PATH that it will have, and a path from its folder", function()
    local codex = require "codex"
    local here, there = program(work .. "/here/codex"), program(work .. "/there/codex")
    uv.os_setenv("PATH", here:match "^(.+)/")
    local function of(settings) return binary.of(codex.with(settings)).path end
    assert.equal(here, of {})
    assert.equal(there, of { env = { PATH = there:match "^(.+)/" } })
    assert.equal(there, of { env = { PATH = there:match "^(.+)/" }, binary = "codex" })
    assert.equal(work .. "/there/./codex", of { cwd = work .. "/there", binary = "./codex" })
    assert.equal(work .. "/there/codex", of { cwd = work, binary = "there/codex" })
  end)

  it("is the newest of the bundled ones before PATH", function()
    local dir = work .. "/codex/bundle/" .. binary.platform()
    program(dir .. "/0.99.0/codex")
    local newest = program(dir .. "/0.153.4/codex")
    uv.os_setenv("PATH", program(work .. "/bin/codex"):match "^(.+)/")
    local before = host.data_dir
    host.data_dir = work
    local found = binary.resolve()
    host.data_dir = before
    assert.same({ path = newest, found = newest, source = "bundle" }, found)
  end)

  it("is the one in PATH, but never one of a relative entry", function()
    local path = program(work .. "/bin/codex")
    uv.os_setenv("PATH", "build/binary-spec/bin:" .. work .. "/bin")
    assert.same({ path = path, found = path, source = "PATH" }, binary.resolve())
    uv.os_setenv("PATH", "build/binary-spec/bin")
    local found, err = binary.resolve()
    assert.is_nil(found)
    assert.same({ "spawn", "ENOENT" }, { err.kind, err.code })
    assert.truthy(err.message:find "CODEX_BINARY")
  end)

  it("gets from us what npm's launcher would have given it", function()
    assert.same({ CODEX_MANAGED_BY_NPM = "1" }, binary.launcher_environment(peers.latest))
    local env = binary.launcher_environment(peers.old)
    assert.truthy(uv.fs_access(env.PATH:match "^[^:]+" .. "/rg", "X"))
    assert.same({}, binary.launcher_environment "/usr/bin/codex")
  end)

  for _, name in ipairs { "latest", "middle", "old" } do
    it("is the native program behind npm's launcher of " .. peers.version[name], function()
      local launcher = peers.root .. "/tests/peers/node_modules/codex-" .. name .. "/bin/codex.js"
      local quoted = peers.quote(work)
      os.execute(("mkdir -p %s && ln -s %s %s/codex"):format(quoted, peers.quote(launcher), quoted))
      uv.os_setenv("PATH", work)
      local found = assert(binary.resolve())
      assert.equal("npm", found.source)
      assert.equal(uv.fs_realpath(peers[name]), uv.fs_realpath(found.path))
    end)
  end
end)
