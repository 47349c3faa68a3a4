--- Codex behind the shims of package and version managers: found without running it, and not left
--- behind when who started it is killed. The shims are captures, with /home/me for the folder where
--- they were made; behind them is real Codex.

local binary = require "codex.binary"
local files = require "codex.files"
local peers = require "tests.support.peers"
local proc = require "codex.proc"
local program = require "tests.support.program"
local testing = require "codex.testing"
local uv = require "luv"

local fixtures = peers.root .. "/tests/fixtures/"
local package = peers.root .. "/tests/peers/node_modules/codex-latest"
local EXECUTABLE = tonumber("755", 8)

local dir, remove, path_before

before_each(function()
  dir, remove = program.folder()
  path_before = os.getenv "PATH"
end)

after_each(function()
  uv.os_setenv("PATH", path_before)
  remove()
end)

local function link(target, path)
  assert(files.make_dir(path:match "^(.+)/"))
  assert(uv.fs_symlink(target, path))
end

local function script(path, text)
  assert(files.make_dir(path:match "^(.+)/"))
  program.write(path, text, EXECUTABLE)
  return path
end

--- A captured shim, as if it had been made in this folder.
local function shim(name, path)
  local text = assert(files.read(fixtures .. name)):gsub("/home/me", (dir:gsub("%%", "%%%%")))
  return script(path, text)
end

--- The files of Codex's two packages, which managers copy or link to.
local function codex_package(modules)
  assert(files.make_dir(modules .. "/@openai/codex"))
  for _, name in ipairs { "bin", "package.json" } do
    assert(proc.run { "cp", "-r", package .. "/" .. name, modules .. "/@openai/codex/" })
  end
  local platform = binary.platform()
  local native = assert(uv.fs_realpath(peers.latest)):match "^(.+)/vendor/"
  link(native, modules .. "/@openai/codex-" .. platform)
  return modules .. "/@openai/codex/bin/codex.js"
end

local STORE = "/.local/share/pnpm/store/v11/links/@openai/codex/0.169.0/"
  .. "175f6d8615c0a366dacea40a9b2fd217f868e744136933d3f88eedc3adffc1ea/node_modules"
local GLOBAL = "/.local/share/pnpm/global/v11/"
  .. "3eece6ebf8c70db15e9e78d367c2ad9620d958afa84cce6fba9a80c12ebe59b9/node_modules"

--- Each makes a layout and gives the path of what is in PATH.
local layouts = {
  ["pnpm 12 in a project"] = function()
    local modules = dir .. "/project/node_modules"
    codex_package(modules .. "/.pnpm/@openai+codex@0.169.0/node_modules")
    link("../.pnpm/@openai+codex@0.169.0/node_modules/@openai/codex", modules .. "/@openai/codex")
    return shim("shim-pnpm-12.21.0.sh", modules .. "/.bin/codex")
  end,
  ["pnpm 9 in a project"] = function()
    local modules = dir .. "/project/node_modules"
    codex_package(modules .. "/.pnpm/@openai+codex@0.169.0/node_modules")
    link("../.pnpm/@openai+codex@0.169.0/node_modules/@openai/codex", modules .. "/@openai/codex")
    return shim("shim-pnpm-9.15.9.sh", modules .. "/.bin/codex")
  end,
  ["pnpm 12 for the user"] = function()
    codex_package(dir .. STORE)
    link(dir .. STORE .. "/@openai/codex", dir .. GLOBAL .. "/@openai/codex")
    return shim("shim-pnpm-12.21.0-global.sh", dir .. "/.local/share/pnpm/bin/codex")
  end,
  ["npm, yarn and nvm, by a link"] = function()
    codex_package(dir .. "/lib/node_modules")
    link("../lib/node_modules/@openai/codex/bin/codex.js", dir .. "/bin/codex")
    return dir .. "/bin/codex"
  end,
  ["Volta"] = function() -- crates/volta-layout v4: a link for each tool, all to one program
    local image = dir .. "/.volta/tools/image/packages/@openai/codex"
    codex_package(image .. "/lib/node_modules")
    link("../lib/node_modules/@openai/codex/bin/codex.js", image .. "/bin/codex")
    script(dir .. "/opt/volta-shim", ('#!/bin/sh\n%s "$@"\nexit $?\n'):format(
      peers.quote(image .. "/bin/codex"))) -- a child, as Volta has it
    script(dir .. "/opt/volta", ('#!/bin/sh\n[ "$*" = "which codex" ] && echo %s\n'):format(
      peers.quote(image .. "/bin/codex")))
    link(dir .. "/opt/volta-shim", dir .. "/.volta/bin/codex")
    return dir .. "/.volta/bin/codex"
  end,
  ["asdf, and npm behind it"] = function()
    codex_package(dir .. "/lib/node_modules")
    local install = dir .. "/.asdf/installs/nodejs/20.0.0/bin/codex"
    link(dir .. "/lib/node_modules/@openai/codex/bin/codex.js", install)
    script(dir .. "/asdf/bin/asdf", ('#!/bin/sh\n[ "$*" = "which codex" ] && echo %s\n'):format(
      peers.quote(install)))
    return shim("shim-asdf-0.15.0.sh", dir .. "/.asdf/shims/codex")
  end,
  ["mise, and pnpm behind it"] = function()
    local modules = dir .. "/installs/node_modules"
    codex_package(modules .. "/.pnpm/@openai+codex@0.169.0/node_modules")
    local install = shim("shim-pnpm-12.21.0.sh", modules .. "/.bin/codex")
    script(dir .. "/bin/mise", ('#!/bin/sh\n[ "$*" = "which codex" ] && echo %s\n'):format(
      peers.quote(install)))
    link(dir .. "/bin/mise", dir .. "/.local/share/mise/shims/codex")
    return dir .. "/.local/share/mise/shims/codex"
  end,
}

describe("the native program is found behind", function()
  for name, layout in pairs(layouts) do
    it(name, function()
      local path = layout()
      local found = assert(binary.resolve(path))
      assert.equal(uv.fs_realpath(peers.latest), uv.fs_realpath(found.path))
      assert.truthy(found.path:find("/vendor/", 1, true))
      uv.os_setenv("PATH", path:match "^(.+)/" .. ":" .. path_before)
      assert.same({ path = found.path, found = path, source = "npm" }, binary.resolve())
    end)
  end

  it("Volta where it does not answer, by its folders", function()
    local path = layouts.Volta()
    script(dir .. "/opt/volta", "#!/bin/sh\nexit 1\n")
    uv.os_setenv("VOLTA_HOME", dir .. "/.volta")
    local found = binary.resolve(path)
    uv.os_unsetenv "VOLTA_HOME"
    assert.truthy(found.path:find(dir, 1, true))
    assert.truthy(found.path:find("/vendor/", 1, true))
  end)

  it("a version manager as it decides in the folder where Codex will work", function()
    local shims, work = dir .. "/.asdf/shims/codex", dir .. "/work"
    assert(files.make_dir(work))
    script(dir .. "/asdf/bin/asdf", "#!/bin/sh\necho $PWD/codex\n")
    shim("shim-asdf-0.15.0.sh", shims)
    local own = script(work .. "/codex", "#!/bin/sh\necho codex-cli 0.1.0\n")
    assert.equal(own, binary.resolve(shims, work).path)
    assert.equal(shims, binary.resolve(shims, dir).path)
  end)
end)

describe("a shim is run as it is where its manager", function()
  for name, text in pairs {
    ["names nothing"] = "exit 1", ["names no program"] = "echo /nonexistent/codex; echo error",
    ["names the shim again"] = "echo $HOME/.asdf/shims/codex", ["prints without end"] = "yes /x",
    ["is gone"] = false,
  } do
    it(name, function()
      local path = shim("shim-asdf-0.15.0.sh", dir .. "/.asdf/shims/codex")
      if text then
        text = text:gsub("$HOME", dir)
        script(dir .. "/asdf/bin/asdf", "#!/bin/sh\n" .. text .. "\n")
      end
      assert.same({ path = path, found = path, source = "option" }, binary.resolve(path))
    end)
  end

  it("is asked again and again: shims that lead to each other end", function()
    local a, b = dir .. "/a/codex", dir .. "/b/codex"
    for path, other in pairs { [a] = b, [b] = a } do
      local manager = script(path:match "^(.+)/" .. "/asdf", "#!/bin/sh\necho " .. other .. "\n")
      script(path, ('#!/bin/sh\nexec %s exec "codex" "$@"\n'):format(manager))
    end
    assert.truthy(binary.resolve(a).path:find "/[ab]/codex$")
  end)

  it("is the user's own wrapper, which is none of these", function()
    local own = script(dir .. "/codex", '#!/bin/sh\nexec codex-lua app-server -- "$@"\n')
    assert.equal(own, binary.resolve(own).path)
  end)
end)

describe("Codex behind a shim", function()
  --- What a process has started.
  local function child_of(pid)
    local path = ("/proc/%d/task/%d/children"):format(pid, pid)
    return math.tointeger(tonumber(assert(files.read(path)):match "%d+"))
  end

  --- Begins a turn with a command that takes minutes; the numbers of our program and the command.
  local function begin(model, binary_path)
    local cx <close> = assert(testing.codex { model = model, binary = peers.latest })
    local env = assert(cx.environment())
    env.CODEX_BINARY = binary_path
    local ours = program.spawn({ "-e",
      'print(require("codex").exec("go", { sandbox = "danger-full-access" }))' },
      { env = env, cwd = dir })
    local command
    program.eventually(function()
      command = math.tointeger(tonumber(files.read(dir .. "/pid") or ""))
      return command
    end, 30)
    return ours, command
  end

  for _, name in ipairs { "pnpm 12 in a project", "pnpm 9 in a project", "Volta" } do
    for _, victim in ipairs { "our program", "what it started" } do
      it(("is killed with %s, and its command: %s"):format(victim, name), function()
        local model <close> = assert(testing.model { turns = {
          { exec = ("echo $$ >%s/pid; exec sleep 300"):format(dir) }, { text = "Never." } } })
        local ours, command = begin(model, layouts[name]())
        local guard <close> = ours -- luacheck: ignore 211
        assert.is_true(program.alive(command))
        uv.kill(victim == "our program" and ours.pid or child_of(ours.pid), "sigkill")
        -- A Codex that was left goes on at least until it has to say that the command still runs,
        -- which is after 10 s.
        assert.is_true(program.eventually(function() return not program.alive(command) end, 4))
      end)
    end
  end
end)
