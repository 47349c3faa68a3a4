--- What bash offers behind `codex-lua`: commands, their parts and options, as help names them.

local files = require "codex.files"
local proc = require "codex.proc"
local program = require "tests.support.program"

local bash = [[
  source host/completion.bash
  COMP_WORDS=(codex-lua "$@") COMP_CWORD=$#
  _codex_lua
  printf '%s\n' "${COMPREPLY[@]}"
]]

--- What may stand for the last word.
local function offered(env, ...)
  local argv = { "bash", "--norc", "-c", bash, "bash", ... }
  env.PATH = program.path:match "(.*)/" .. ":" .. os.getenv "PATH"
  local words = {}
  for word in assert(proc.run(argv, { env = env })).stdout:gmatch "[^\n]+" do
    words[#words + 1] = word
  end
  table.sort(words)
  return words
end

describe("completion", function()
  it("knows commands, also behind help", function()
    assert.same({ "app-server" }, offered({}, "app"))
    assert.same({ "hook" }, offered({}, "help", "hoo"))
  end)

  it("knows the parts of a command and the options of both", function()
    assert.same({ "install" }, offered({}, "hook", "ins"))
    assert.same({ "install" }, offered({}, "help", "hook", "ins"))
    assert.same({ "--help", "--matcher", "--timeout", "--yes" },
      offered({}, "hook", "install", "--"))
    assert.same({ "--audit" }, offered({}, "app-server", "--strict", "--aud"))
    assert.same({ "--workspace" }, offered({}, "app-server", "--strict", "--work"))
  end)

  it("knows the user's own commands, and runs none", function()
    local folder, remove = program.folder()
    local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
    assert(files.make_dir(folder .. "/codex-lua/scripts"))
    local path = folder .. "/codex-lua/scripts/my-own.lua"
    program.write(path, "os.execute('touch ' .. arg[0] .. '.ran')")
    local env = { XDG_CONFIG_HOME = folder }
    assert.same({ "my-own" }, offered(env, "my-"))
    assert.same({}, offered(env, "my-own", "--"))
    assert.is_nil(files.read(path .. ".ran"))
  end)
end)
