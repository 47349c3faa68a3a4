local program = require "tests.support.program"
local proc = require "codex.proc"

local run, eval = program.run, program.eval

local function outcome(result) return { result.code, result.stdout, result.stderr } end

-- Runs a test in an empty folder of its own.
local function in_folder(fn)
  return function()
    local folder, remove = program.folder()
    local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
    fn(folder)
  end
end

describe("the command line", function()
  it("runs a file, with arg and ... as lua has them", in_folder(function(folder)
    local path = folder .. "/script.lua"
    program.write(path,
      "print(arg[0] == ..., select('#', ...), select(2, ...)) print(#arg, arg[2])")
    assert.same({ 0, "true\t3\tb\tc\n3\tb\n", "" }, outcome(run { path, path, "b", "c" }))
  end))

  it("finds a file by the name's ending or a slash", in_folder(function(folder)
    program.write(folder .. "/hello.lua", "print 'hello'")
    program.write(folder .. "/plain", "print 'plain'")
    assert.equal("hello\n", run({ "hello.lua" }, { cwd = folder }).stdout)
    assert.equal("plain\n", run({ "./plain" }, { cwd = folder }).stdout)
  end))

  it("runs code after -e", function()
    local code = "print(table.concat({...}, ' '))"
    assert.same({ 0, "a b\n", "" }, outcome(run { "-e", code, "a", "b" }))
    local result = run { "-e" }
    assert.equal(2, result.code)
    assert.matches("code is missing", result.stderr)
  end)

  it("reads a script from standard input", function()
    local result = run({ "-", "x" }, { input = "print('in', ...)" })
    assert.same({ 0, "in\tx\n", "" }, outcome(result))
    assert.same({ 0, "in\n", "" }, outcome(run({}, { input = "print('in', ...)" })))
  end)

  it("skips a first line for the shell", in_folder(function(folder)
    program.write(folder .. "/x.lua", "#!/usr/bin/env codex-lua\nprint 'from the shell'\n", 493)
    local env = { PATH = program.path:match "(.*)/" .. ":" .. os.getenv "PATH" }
    assert.equal("from the shell\n", assert(proc.run({ folder .. "/x.lua" }, { env = env })).stdout)
  end))

  it("helps", function()
    local result = run { "--help" }
    assert.same({ 0, "" }, { result.code, result.stderr })
    assert.matches("^usage: codex%-lua FILE.lua", result.stdout)
    assert.equal(result.stdout, run({ "help" }).stdout)
  end)

  it("helps with a part of a command", function()
    local result = run { "help", "hook", "install" }
    assert.same({ 0, "" }, { result.code, result.stderr })
    assert.matches("^Usage: codex%-lua hook install ", result.stdout)
    assert.equal(run({ "hook", "install", "--help" }).stdout, result.stdout)
  end)

  it("names a part of a command that does not exist", function()
    local result = run { "help", "hook", "nope" }
    assert.same({ 2, "" }, { result.code, result.stdout })
    assert.matches("codex%-lua hook: .*nope", result.stderr)
  end)

  it("says its version", function()
    local result = run { "--version" }
    assert.same({ 0, "" }, { result.code, result.stderr })
    assert.matches("^codex%-lua %d+%.%d+%.%d+\n$", result.stdout)
  end)

  it("refuses options and commands that do not exist", function()
    for _, word in ipairs { "--nope", "-x", "no-such-command" } do
      local result = run { word }
      assert.same({ 2, "" }, { result.code, result.stdout })
      assert.is_truthy(result.stderr:find(("'%s'\nusage: codex-lua"):format(word), 1, true))
    end
  end)

  it("finds commands in the user's folder, not in the working directory", in_folder(function(folder)
    assert(proc.run { "mkdir", "-p", folder .. "/codex-lua/scripts", folder .. "/scripts" })
    program.write(folder .. "/codex-lua/scripts/mine-own.lua", "print('mine', ...)")
    program.write(folder .. "/scripts/stray.lua", "print 'stray'")
    program.write(folder .. "/stray.lua", "print 'stray'")
    local opts = { env = { XDG_CONFIG_HOME = folder }, cwd = folder }
    assert.same({ 0, "mine\tx\n", "" }, outcome(run({ "mine-own", "x" }, opts)))
    assert.equal(2, run({ "stray" }, opts).code)
    opts.env.XDG_CONFIG_HOME = "."
    assert.equal(2, run({ "mine-own" }, opts).code)
  end))
end)

describe("the exit code", function()
  it("is 0 for success and what os.exit was given", function()
    assert.equal(0, eval("return 5").code)
    assert.equal(42, eval("os.exit(42)").code)
  end)

  it("is 1 for a script that fails, with message and traceback on standard error", function()
    local result = eval "local function f() error 'oh no' end f()"
    assert.same({ 1, "" }, { result.code, result.stdout })
    assert.matches("oh no", result.stderr)
    assert.matches("stack traceback", result.stderr)
    local deep = program.eval 'require("codex.async").all(1)'
    assert.matches("\n\tlua/codex/async%.lua:%d+: in function 'codex%.async%.all'\n", deep.stderr)
  end)

  it("is 1 for a script that cannot be read or compiled", function()
    local result = run { "/nonexistent/x.lua" }
    assert.equal(1, result.code)
    assert.matches("cannot open /nonexistent/x.lua", result.stderr)
    result = eval "this is no Lua"
    assert.equal(1, result.code)
    assert.matches("syntax error", result.stderr)
  end)

  it("is 1 for an error that is no string, and the log says what it is", function()
    assert.matches("table: 0x", eval("error {}").stderr)
    assert.matches("nil", eval("error()").stderr)
    local result = eval [[error(require("codex.error").new("io", "the disk is full"))]]
    assert.equal(1, result.code)
    assert.matches("io: the disk is full", result.stderr)
  end)

  it("is 1 when standard output is full or closed", function()
    local full = run({ "-e", "print(('x'):rep(100))" }, { timeout = 5, stdout = "pipe" })
    assert.equal(0, full.code)
    local print_much = [[exec 3>&1
      { "$0" -e 'print(("x"):rep(300000))' 2>&3; echo "code $?" >&3; } ]]
    for _, target in ipairs { ">/dev/full", "| true" } do
      local script = print_much .. target
      local result = assert(proc.run { "sh", "-c", script, program.path })
      assert.matches("code 1\n$", result.stdout)
    end
  end)
end)

describe("a hostile environment", function()
  it("cannot change what require finds", in_folder(function(folder)
    assert(proc.run { "mkdir", folder .. "/codex" })
    local trap = "print 'TRAPPED' os.exit(66)"
    for _, name in ipairs { "codex.lua", "codex/init.lua", "codex/proc.lua", "codex/json.lua",
      "luv.lua" } do
      program.write(folder .. "/" .. name, trap)
    end
    local all = folder .. "/?.lua;" .. folder .. "/?/init.lua;;"
    local result = run(
      { "-e", "local c = require 'codex' local _ = c.json, c.proc, require 'luv' print 'clean'" },
      {
        cwd = folder,
        env = {
          LUA_PATH = all, LUA_PATH_5_4 = all, LUA_CPATH = folder .. "/?.so", LUA_CPATH_5_4 = all,
          LUA_INIT = trap, LUA_INIT_5_4 = trap,
        },
      })
    assert.same({ 0, "clean\n", "" }, outcome(result))
  end))

  it("leaves no relative entry in the search paths", function()
    local result = eval [[
      for entry in (package.path .. ";" .. package.cpath):gmatch "[^;]+" do
        if entry:sub(1, 1) ~= "/" then print(entry) end
      end]]
    assert.equal("", result.stdout)
  end)

  it("with closed standard streams does not hand them to files", function()
    local script = [["$0" -e '
      local f = io.open("/dev/null")
      print(require("luv").fs_readlink("/proc/self/fd/0"))' <&-]]
    local result = assert(proc.run({ "sh", "-c", script, program.path }))
    assert.same({ 0, "/dev/null\n", "" }, outcome(result))
  end)

  it("with SIGCHLD ignored still learns how children end", function()
    local script = [[trap '' CHLD
      exec "$0" -e 'os.exit(require("codex.proc").run({"sh", "-c", "exit 3"}).code)']]
    assert.equal(3, assert(proc.run({ "sh", "-c", script, program.path })).code)
  end)
end)

describe("the loop", function()
  it("is the host's own: a script cannot run, stop or close it", function()
    local uv = require "luv"
    for _, name in ipairs { "run", "stop", "loop_close", "walk" } do
      assert.error_matches(uv[name], "the host runs the loop")
    end
  end)

  it("is left clean, whatever a script leaves open", function()
    local result = eval [[
      local uv = require "luv"
      local t = uv.new_timer() t:start(100000, 0, print)
      uv.new_pipe() uv.new_tcp() uv.new_async(print) uv.new_idle():start(function() end)
      local proc = require "codex.proc"
      leaked = proc.spawn({ "sleep", "1000" })
      print(leaked.pid)
      os.exit(0)
    ]]
    assert.same({ 0, "" }, { result.code, result.stderr })
    assert.is_false(program.alive(math.tointeger(tonumber(result.stdout:match "(%d+)\n$"))))
  end)

  it("ends what is open with os.exit(code, false), too, but runs no finalizer", function()
    local code = [[
      local proc = require "codex.proc"
      kept = setmetatable({}, { __gc = function() print "finalizer" end })
      leaked = proc.spawn({ "sleep", "1000" })
      io.write(leaked.pid, "\n")
      os.exit(7, ...)
    ]]
    for _, close in ipairs { "false", "true" } do
      local result = eval((code:gsub("%.%.%.", close)))
      local pid, rest = result.stdout:match "^(%d+)\n(.*)$"
      assert.is_false(program.alive(math.tointeger(tonumber(pid))))
      assert.same({ 7, "", close == "true" and "finalizer\n" or "" },
        { result.code, result.stderr, rest })
    end
  end)

  it("writes what files still hold when it is left with os.exit(code, false)",
    in_folder(function(folder)
      local result = eval(([[
        file = assert(io.open(%q, "w"))
        file:write "held"
        print "said"
        os.exit(7, false)
      ]]):format(folder .. "/file"))
      assert.same({ 7, "said\n", "" }, outcome(result))
      local file <close> = assert(io.open(folder .. "/file"))
      assert.equal("held", file:read "a")
    end))

  it("can be left from a callback with a wait pending", function()
    local result = eval [[
      local uv, async = require "luv", require "codex.async"
      local t = uv.new_timer()
      t:start(1, 0, function() t:close() os.exit(9) end)
      async.signal():wait()
    ]]
    assert.same({ 9, "", "" }, outcome(result))
  end)
end)

-- Starts a script that prints a line when it is ready, and returns it with that line.
local function started(code)
  local p = program.spawn({ "-e", "io.stdout:setvbuf 'line'\n" .. code }, { timeout = 20 })
  return p, p:line()
end

describe("an interrupt", function()
  it("cancels the script, which cleans up, and its children end", function()
    local p, child = started [[
      local proc, async = require "codex.proc", require "codex.async"
      local guard <close> = setmetatable({}, { __close = function()
        async.sleep(0.05)
        print "cleaned up"
      end })
      local p <close> = proc.spawn({ "sleep", "1000" })
      print(p.pid)
      async.sleep(1000)
    ]]
    assert(p:kill "int")
    assert.equal("cleaned up", p:line())
    local status = p:wait()
    assert.same({ 130, 0, "" }, { status.code, status.signal, (p:stderr()) })
    assert.is_false(program.alive(math.tointeger(tonumber(child))))
  end)

  -- Before the handler is there, SIGINT ends it by itself.
  it("ends it at any moment without a crash", function()
    local uv = require "luv"
    local runs = math.tointeger(tonumber(os.getenv "INTERRUPTS")) or 300
    for i = 1, runs do
      local p <close> = program.spawn({ "-e", "os.exit(0)" }, { timeout = 20 })
      local at = uv.hrtime() + i % 100 * 30000
      while uv.hrtime() < at do end
      p:kill "int"
      local status = p:wait()
      local is_fine = status.signal == 2 or status.signal == 0
        and (status.code == 0 or status.code == 130)
      assert.is_true(is_fine, ("run %d: code %d, signal %d: %s"):format(i, status.code,
        status.signal, (p:stderr())))
    end
  end)

  -- Of those that come while a child is started, all are there when that is over.
  it("leaves nobody behind when it comes three times at once", function()
    local uv = require "luv"
    local seconds = 1e6 + uv.os_getpid()
    local code = ([[
      local codex = require "codex"
      codex.proc.spawn { "sh", "-c", 'trap "" TERM INT; sleep %d' }
      codex.sleep(10)
    ]]):format(seconds)
    for i = 1, 100 do
      local p <close> = program.spawn({ "-e", code }, { timeout = 20 })
      local at = uv.hrtime() + 2000000 + i * 50000
      while uv.hrtime() < at do end
      for _, signal in ipairs { "int", "term", "hup", "term" } do p:kill(signal) end
      p:wait()
    end
    local theirs = ("^sleep %d$"):format(seconds)
    local found = assert(proc.run { "pgrep", "-f", theirs })
    if found.stdout ~= "" then proc.run { "pkill", "-KILL", "-f", theirs } end
    assert.equal("", found.stdout)
  end)

  it("may also come as TERM or HUP", function()
    for signal, code in pairs { int = 130, term = 143, hup = 129 } do
      local p = started [[print "ready" require("codex.async").sleep(1000)]]
      p:kill(signal)
      assert.equal(code, p:wait().code)
    end
  end)

  it("that is ignored from the beginning, as under nohup, is ignored", function()
    local code = [[print "ready" io.read() require("codex.async").sleep(0.05) print "there"]]
    local argv = { "sh", "-c", 'trap "" HUP; exec "$@"', "sh", program.path, "-e", code }
    local p <close> = assert(proc.spawn(argv, { stdin = "pipe" }))
    assert.equal("ready", p:line())
    assert(p:kill "hup")
    p:write "\n"
    assert.equal("there", p:line())
    assert.equal(0, p:wait().code)
  end)

  it("that comes twice kills children that do not want to end", function()
    local p, child = started [[
      local proc = require "codex.proc"
      local stubborn = "trap '' TERM; echo ready; while :; do sleep 1; done"
      local p <close> = proc.spawn({ "sh", "-c", stubborn }, { grace = 1000 })
      p:line()
      print(p.pid)
      p:wait()
    ]]
    child = math.tointeger(tonumber(child))
    p:kill "int"
    require("codex.async").sleep(0.2)
    assert.is_true(program.alive(child))
    p:kill "int"
    assert.equal(130, p:wait().code)
    assert.is_false(program.alive(child))
  end)

  it("that comes a third time ends everything at once", function()
    local p = started [[
      local async = require "codex.async"
      local guard <close> = setmetatable({}, { __close = function() async.sleep(1000) end })
      print "ready"
      async.sleep(1000)
    ]]
    for _ = 1, 3 do
      p:kill "int"
      require("codex.async").sleep(0.1)
    end
    assert.equal(130, p:wait().code)
  end)

  it("reaches a script that never waits", function()
    local p = started [[print "ready" while true do end]]
    p:kill "int"
    assert.equal(130, p:wait().code)
  end)

  it("reaches a task that never waits", function()
    local p = started [[
      require("codex.async").spawn(function() print "ready" while true do end end):join()]]
    p:kill "int"
    assert.equal(130, p:wait().code)
  end)

  it("gives a script that catches it once the chance to go on", function()
    local p = started [[
      print "ready"
      local ok, err = pcall(require("codex.async").sleep, 1000)
      print(ok, err.kind)
    ]]
    p:kill "int"
    assert.equal("false\tcancelled", p:line())
    assert.equal(130, p:wait().code)
  end)
end)

describe("a script that ends", function()
  it("ends a program whose output nobody can read any more, and says so", function()
    local result = eval [[
      local p = require("codex.proc").spawn { "sh", "-c", "echo $$; exec yes" }
      print(p:line())
    ]]
    assert.equal(0, result.code)
    assert.matches("the script has ended and left sh open", result.stderr)
    assert.is_false(program.alive(math.tointeger(tonumber(result.stdout))))
  end)

  it("waits for programs whose output can be read", function()
    local result = eval [[
      local codex, uv = require "codex", require "luv"
      local lines = 2 << 15 -- of 64 bytes: more than is held for a reader
      local write = ("yes %s | head -n %d"):format(("x"):rep(63), lines)
      local early = codex.proc.spawn { "sh", "-c", write }
      codex.proc.spawn { "sh", "-c", "sleep 0.2; echo later >&2" }
      local timer = uv.new_timer()
      timer:start(500, 0, function()
        timer:close()
        codex.spawn(function()
          local count = 0
          for _ in early:lines() do count = count + 1 end
          print(count == lines)
        end)
      end)
    ]]
    assert.same({ 0, "true\n", "" }, outcome(result))
  end)

  it("says which peer it left open, and ends", function()
    local code = [[
      local codex = require "codex"
      local function connect()
        local client = assert(codex.connect { policies = {}, audit = false,
          command = { require("codex.core.host").program, "tests/support/bad_server.lua", "" } })
        print(client.pid)
        return client
      end
      local client = connect()
      %s]]
    local message = "the script has ended and left the app-server open"
    for _, more in ipairs { "", "codex.spawn(function() codex.sleep(0.2) client:request('x') end)",
      "client = nil collectgarbage()" } do
      local result = program.eval(code:format(more), { cwd = program.root })
      assert.equal(0, result.code, result.stderr)
      assert.truthy(result.stderr:find(message, 1, true), result.stderr)
      assert.is_false(program.alive(math.tointeger(tonumber(result.stdout))))
    end
    assert.equal("", program.eval(code:format "client:close()", { cwd = program.root }).stderr)
    -- Who has subscribed to what the server says goes on hearing it.
    local child <close> = program.spawn({ "-e", "io.stdout:setvbuf 'line'\n"
      .. code:format "client:on('*', print)" }, { cwd = program.root })
    assert.truthy(child:line())
    require("codex.async").sleep(0.3)
    assert.is_true(program.alive(child.pid))
    child:kill "term"
    assert.equal(143, child:wait().code)
  end)

  it("waits for what is still going on in the loop", function()
    local result = eval [[
      local t = require("luv").new_timer()
      t:start(30, 0, function() t:close() print "timer" end)
      print "main"
    ]]
    assert.same({ 0, "main\ntimer\n", "" }, outcome(result))
  end)

  it("does not wait for a task that nothing can wake", function()
    local result = eval([[
      local async = require "codex.async"
      async.spawn(function()
        local guard <close> = setmetatable({}, { __close = function() async.signal():wait() end })
        async.sleep(1000)
      end)
      async.sleep(0)
      error "done"
    ]], { timeout = 5 })
    assert.equal(1, result.code)
  end)

  it("takes its children with it", function()
    local result = eval [[
      p = require("codex.proc").spawn({ "sleep", "1000" }, { stdout = "null" })
      print(p.pid)
      error "x"
    ]]
    assert.equal(1, result.code)
    assert.is_false(program.alive(math.tointeger(tonumber(result.stdout))))
  end)

  it("that is killed takes its children with it too", function()
    local p, child = started [[
      local p = require("codex.proc").spawn({ "sleep", "1000" })
      print(p.pid)
      require("codex.async").sleep(1000)
    ]]
    child = math.tointeger(tonumber(child))
    assert.is_true(program.alive(child))
    p:kill "kill"
    assert.equal(9, p:wait().signal)
    assert.is_true(program.eventually(function() return not program.alive(child) end))
  end)
end)
