--- Every program in examples/ is run, with real Codex and a scripted model where it drives Codex.

local codex = require "codex"
local files = require "codex.files"
local host = require "codex.core.host"
local peers = require "tests.support.peers"
local program = require "tests.support.program"
local testing = require "codex.testing"

local build = host.module_dir:match "^(.+)/lib$"

--- Runs an example with a model that plays these turns.
local function run(name, script, ...)
  local model <close> = assert(testing.model(script))
  local cx <close> = assert(testing.codex { model = model, binary = peers.latest })
  local env = assert(cx.environment())
  local argv = { host.program, "examples/" .. name .. ".lua", ... }
  return assert(codex.proc.run(argv, { env = env, timeout = 60 })), model.requests
end

describe("the example", function()
  it("hello asks one question", function()
    local script = { turns = { { text = "A demo.", usage = { output_tokens = 4 } } } }
    local result, requests = run("hello", script, "What?")
    assert.equal("A demo.\n", result.stdout)
    assert.truthy(result.stderr:find("4 tokens, thread ", 1, true))
    assert.equal("What?", requests[1].prompt)
    assert.equal(0, result.code)
  end)

  it("hello fails with the error and code 1 when Codex does", function()
    local result = run("hello", { reply = function() return { status = 401, body = "no" } end })
    assert.equal(1, result.code)
    assert.truthy(result.stderr:find("auth: ", 1, true))
    assert.equal("", result.stdout)
  end)

  it("stream shows commands and messages as they come, and fails when Codex does", function()
    local result = run("stream", { turns = { { exec = "echo visible" }, "It works." } })
    assert.truthy(result.stdout:find("^%$ .*echo visible"))
    assert.truthy(result.stdout:find("It works.\n", 1, true))
    assert.equal(0, result.code)
    result = run("stream", { reply = function() return { status = 400, body = "no" } end })
    assert.equal(1, result.code)
  end)

  it("fan_out answers all, and one failure costs one answer", function()
    local script = { reply = function(request)
      return request.prompt == "bad" and { status = 400, body = "no" } or "yes, " .. request.prompt
    end }
    local result = run("fan_out", script, "a", "bad", "b")
    assert.truthy(result.stdout:find("# a\nyes, a\n# bad\nfailed: exit: no", 1, true))
    assert.truthy(result.stdout:find("# b\nyes, b\n", 1, true))
    assert.equal(1, result.code)
  end)

  it("structured prints a table", function()
    local answer = { languages = { { name = "C", percent = 60 }, { name = "Lua", percent = 40 } } }
    local result = run("structured", { turns = { { json = answer } } })
    assert.equal("C             60 %\nLua           40 %\n", result.stdout)
  end)

  it("thread talks over the app-server, with a tool in Lua", function()
    local script = { turns = {
      { call = { name = "add", arguments = { a = 2, b = 2 } } }, { text = { "It ", "is 4." } }, "8",
    } }
    local result, requests = run("thread", script)
    assert.equal("It is 4.\n8\n", result.stdout, result.stderr)
    assert.equal("4", requests[2].outputs[1].output)
  end)

  it("policy accepts what only reads, and keeps Codex out of /etc", function()
    local policy = require "codex.policy"
    local decider = assert(policy.decider(assert(policy.load "examples/policy.lua"),
      { log = function() end }))
    local function decide(kind, fields)
      fields.kind, fields.method, fields.params = kind, "item/" .. kind, {}
      local _, record = decider:decide(fields, { pass = true })
      return record and record.decision
    end
    local read = { { type = "read", command = "cat a", name = "a", path = "a" } }
    assert.equal("accept", decide("command", { command = "cat a", actions = read }))
    assert.is_nil(decide("command", { command = "rm a", actions = { { type = "unknown" } } }))
    assert.equal("decline", decide("file_change", { changes = { { path = "/etc/passwd" } } }))
    assert.is_nil(decide("file_change", { changes = { { path = "/home/x" } } }))
  end)

  it("middleware gives every thread the house rules, and keeps threads", function()
    local model <close> = assert(testing.model { turns = { "hello" } })
    local cx <close> = assert(testing.codex { model = model, binary = peers.latest })
    local client <close> = assert(cx.connect {
      policies = {}, audit = false, env = cx.environment(), command = {
        host.program, "app-server", "--no-audit", "--middleware", "examples/middleware.lua",
      },
    })
    local thread = assert(client:thread())
    assert(thread:ask "hi")
    assert.truthy(codex.json.encode(model.requests[1].body):find("Write tests first.", 1, true))
    local ok, err = thread:delete()
    assert.is_nil(ok)
    assert.equal(-32000, err.code)
  end)

  it("notify writes a line for each turn that Codex tells it of", function()
    local path = peers.home "notify" .. "/turns.log"
    local model <close> = assert(testing.model { turns = { "first", "second" } })
    local hook = { host.program, peers.root .. "/examples/notify.lua", path }
    local cx <close> = assert(testing.codex {
      model = model, binary = peers.latest, config = { notify = hook },
    })
    local turn = assert(cx.exec("1", { skip_git_repo_check = true }))
    assert(cx.resume(turn, "2", { skip_git_repo_check = true }))
    local wanted = ("%s: first\n%s: second\n"):format(turn.thread_id, turn.thread_id)
    for _ = 1, 200 do -- Codex does not wait for it
      if files.read(path) == wanted then break end
      codex.sleep(0.02)
    end
    assert.equal(wanted, files.read(path))
  end)

  --- Installs the library below a folder, and compiles a program as its first comment says: what it
  --- prints.
  local function embedded(name, compiler)
    local folder, remove = program.folder()
    local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
    local source = assert(files.read("examples/" .. name))
    local line = source:match("\n[ */]+(" .. compiler:gsub("%+", "%%+") .. " [^\n]+) && ")
    local script = [[
      make -s -o all install BUILD="$0" DESTDIR="$1/root" >/dev/null && cd "$1/root" &&
      pc=$(find . -name codex-lua.pc) && sed -i "s|-L/|-L$PWD/|; s|-I/|-I$PWD/|" "$pc" &&
      lib=$(dirname "$(dirname "$PWD/$pc")") && export PKG_CONFIG_PATH="$lib/pkgconfig" &&
      cd "$2/examples" &&
      $3 $(grep -o -e "-fsanitize=[^ ]*" "$0/flags" | sort -u) -Wl,-rpath,"$lib" && mv "$4" "$0/"]]
    local binary = line:match "%-o ([%w_]+)"
    local argv = { "env", "-u", "MAKEFLAGS", "-u", "MAKELEVEL", "bash", "-c",
      script:gsub("%$3", function() return line end), build, folder, program.root, "", binary }
    local result = assert(codex.proc.run(argv, { cwd = program.root }))
    assert.equal(0, result.code, result.stderr)
    result = assert(codex.proc.run({ build .. "/" .. binary }, { timeout = 60 }))
    assert.equal(0, result.code, result.stdout .. result.stderr)
    return result.stdout
  end

  it("embed is a C program with a host inside its own loop", function()
    if program.is_portable() then return pending "a library cannot know where its program is" end
    assert.equal("sum\t5\nweather\tsunny\nexit code 7\n", embedded("embed.c", "cc"))
    local line = "cc embed.c $(pkg-config --cflags --libs codex-lua) -o embed"
    assert.truthy(assert(files.read "README.md"):find(line, 1, true))
    assert.truthy(assert(files.read "examples/embed.c"):find(line, 1, true))
  end)

  it("embed_scripts is a C program that runs scripts one after the other", function()
    if program.is_portable() then return pending "a library cannot know where its program is" end
    local text = embedded("embed_scripts.c", "cc")
    assert.equal(table.concat({ "script 1: exit code 0", "hello again", "script 2: exit code 4",
      "error: script:1: attempt to index a nil value (", "script 3: exit code 1",
      "script 4: exit code 130", "the clock went on", "" }, "\n"), text)
  end)

  it("embed_class is a C++ program", function()
    if program.is_portable() then return pending "a library cannot know where its program is" end
    local text = embedded("embed_class.cpp", "c++")
    assert.matches("^HELLO\nexit code 7\nerror: script:1: syntax error", text)
  end)

  it("demo reviews a repository and has its hook run", function()
    local env = { CODEX_BINARY = peers.latest }
    local argv = { host.program, "examples/demo.lua", peers.home "demo" }
    local result = assert(codex.proc.run(argv, { env = env, timeout = 120 }))
    assert.equal(0, result.code, result.stdout .. result.stderr)
    assert.truthy(result.stdout:find("## critical: A master password opens every account", 1, true))
    assert.truthy(result.stdout:find("ran 3 times", 1, true))
    assert.equal(3, select(2, result.stdout:gsub("\n  %x+%-%x+%-%x+%-%x+%-%x+: ", "")))
  end)
end)

describe("the README", function()
  local function blocks()
    local list, text = {}, assert(files.read "README.md")
    for code in text:gmatch "```lua\n(.-)```" do list[#list + 1] = code end
    return list
  end

  it("has code that compiles", function()
    for _, code in ipairs(blocks()) do assert(load(code, "=README")) end
  end)

  it("has a test of a workflow that runs as it stands", function()
    for _, code in ipairs(blocks()) do
      if code:find("codex.testing", 1, true) then
        local dir = peers.home "readme"
        assert(codex.proc.run { "git", "init", "-q", dir })
        local env = { CODEX_BINARY = peers.latest }
        local argv = { host.program, "-e", code }
        local result = assert(codex.proc.run(argv, { cwd = dir, env = env, timeout = 60 }))
        assert.equal("", result.stderr)
        assert.equal(0, result.code)
        return
      end
    end
    error "there is none"
  end)
end)

it("every program in examples/ has a test here", function()
  local text = assert(files.read "tests/examples_spec.lua")
  local request = assert(require("luv").fs_scandir "examples")
  for name in function() return require("luv").fs_scandir_next(request) end do
    local word = name:match "^([%w_]+)%.%w+$"
    assert.truthy(text:find('it%("' .. word), name)
  end
end)
