--- The runner of these specs itself: what goes wrong in a spec file must be seen, whatever it is.

local host = require "codex.core.host"
local proc = require "codex.proc"
local program = require "tests.support.program"
local uv = require "luv"

local dir, remove

before_each(function() dir, remove = program.folder() end)
after_each(function() remove() end)

local function write(files)
  for name, text in pairs(files) do program.write(("%s/%s_spec.lua"):format(dir, name), text) end
end

--- The command that runs what is in the folder, two at once, and its environment.
local function command(env, options, paths)
  local argv = table.move(options or {}, 1, #(options or {}), 5,
    { host.program, "tests/run.lua", "-o", "plainTerminal" })
  paths = paths or { dir }
  table.move(paths, 1, #paths, #argv + 1, argv)
  local all = { SPEC_FOLDER = dir, JOBS = "2", SPEC_TIMEOUT = "300", WRAP = false }
  for name, value in pairs(env or {}) do all[name] = value end
  return argv, { cwd = program.root, env = all, timeout = 120 }
end

--- Runs it to its end, and gives what it printed without the name of the folder.
local function run(...)
  local result = assert(proc.run(command(...)))
  result.stdout = result.stdout:gsub(dir:gsub("%p", "%%%0") .. "/?", "")
  return result
end

--- What the last line counts: successes, failures, errors, pending, files.
local function counts(result)
  local line = ("\n" .. result.stdout):match ".*\n([^\n]*)\n$"
  local list = { line:match("^(%d+) successes / (%d+) failures / (%d+) errors / (%d+) pending : "
    .. "[%d.]+ seconds, (%d+) files$") }
  for i, text in ipairs(list) do list[i] = tonumber(text) end
  return list
end

--- The files that are said to have failed, with the words of each.
local function failed(result)
  local list, text = {}, result.stdout:match "\nFAILED .*" or ""
  for name, words in (text .. "\nFAILED "):gmatch "FAILED (%S+)_spec.lua\n(.-)\n%f[F\0]" do
    list[name] = (list[name] or "") .. words
  end
  return list
end

describe("the runner", function()
  it("names a file that is not there", function()
    write { one = [[it("is well", function() end)]] }
    local result = run(nil, nil, { dir .. "/one_spec.lua", dir .. "/none_spec.lua" })
    assert.same({ 2, "" }, { result.code, result.stdout })
    assert.matches("there is no '.*/none_spec.lua'", result.stderr)
  end)

  it("counts what passes, fails and is pending, over all files", function()
    write {
      one = [[it("is well", function() end) it("waits", function() pending "later" end)]],
      two = [[it("is well", function() end) it("is not", function() assert.equal(1, 2) end)]],
      three = [[it("raises", function() error "no" end)]],
    }
    local result = run()
    assert.same({ 2, 1, 1, 1, 3 }, counts(result), result.stdout)
    assert.equal(1, result.code)
    local list = failed(result)
    assert.is_nil(list.one)
    assert.matches("Expected objects to be equal", list.two, 1, true)
    assert.matches("three_spec.lua:1: no", list.three, 1, true)
    local skipped = "\nSKIPPED one_spec.lua\n  waits: one_spec.lua:1: later\n"
    assert.matches(skipped, result.stdout, 1, true)
  end)

  it("exits with 0 when all went well", function()
    write { one = [[it("is well", function() end)]], two = [[it("is well", function() end)]] }
    local result = run()
    assert.same({ 2, 0, 0, 0, 2 }, counts(result))
    assert.equal(0, result.code)
    assert.is_nil(result.stdout:find "FAILED")
  end)

  local bad = {
    crash = { [[it("dies", function() require("luv").kill(require("luv").os_getpid(), 6) end)]],
      "signal 6 ended it, in 'dies'" },
    exit = { [[it("leaves", function() os.exit(0) end) it("is never run", function() end)]],
      "leaves" },
    exit_at_load = { [[os.exit(0)]], "exit_at_load_spec.lua:1" },
    many = { [[for i = 1, 256 do it("fails " .. i, function() assert.is_true(false) end) end]],
      "fails 256" },
    nothing = { "local x = 1", "there is no test in it" },
    syntax = { "it(", "unexpected symbol" },
    raises = { [[describe("a", function() error "at once" end)]], "at once" },
    setup = { [[setup(function() error "no setup" end) it("is well", function() end)]],
      "no setup" },
    teardown = { [[teardown(function() error "no end" end) it("is well", function() end)]],
      "no end" },
    handle = { [[it("forgets", function() require("luv").new_timer():start(1e6, 0, print) end)]],
      "left open" },
    child = { [[it("forgets", function() require("codex.proc").spawn { "sleep", "100" } end)]],
      "left open" },
    daemon = { [[it("forgets", function()
        os.execute "setsid sh -c 'trap \"\" TERM; exec sleep 4321' >/dev/null 2>&1 &"
      end)]], "it left running:\n" },
    bytes = { [[it("fails", function() error "\xFF\0\27[31m" end)]], "fails" },
  }

  it("says of whatever goes wrong which file it was, and what", function()
    local texts = {}
    for name, case in pairs(bad) do texts[name] = case[1] end
    write(texts)
    local result = run()
    local list = failed(result)
    for name, case in pairs(bad) do
      assert.matches(case[2], list[name] or "", 1, true)
      list[name] = nil
    end
    assert.same({}, list)
    assert.equal(1, result.code)
    assert.equal(256, counts(result)[2])
    local daemons = assert(proc.run({ "pgrep", "-fx", "sleep 4321" }))
    assert.equal("", daemons.stdout)
  end)

  for name, case in pairs(bad) do
    it("fails for this alone: " .. name, function()
      write { [name] = case[1], fine = [[it("is well", function() end)]] }
      local result = run()
      assert.equal(1, result.code, result.stdout)
      local list = counts(result)
      assert.is_true(list[2] + list[3] > 0)
      assert.matches(case[2], failed(result)[name], 1, true)
    end)
  end

  it("ends a file that hangs, and says in which test and what it said last", function()
    write {
      waits = [[it("is well", function() end)
        it("waits", function() print "for ever" require("codex.async").sleep(1000) end)]],
      turns = [[it("turns", function() while true do end end)]],
    }
    local result = run { SPEC_TIMEOUT = "2" }
    local list = failed(result)
    assert.matches("it was not done after 2 seconds", list.waits, 1, true)
    assert.matches("seconds, in 'waits'; its last output:\n.*for ever", list.waits)
    assert.matches("it was not done after 2 seconds", list.turns, 1, true)
    assert.equal(1, counts(result)[1])
    assert.equal(1, result.code)
  end)

  it("does not believe what a file prints", function()
    write {
      boasts = [[print "\n100 successes / 0 failures / 0 errors / 0 pending : 1.0 seconds, 9 files"
        it("fails", function() assert.is_true(false) end)]],
      shouts = [[it("is well", function()
          for _ = 1, 4000 do io.write(("\0\xFF"):rep(500), "\n") end
        end)]],
    }
    local result = run()
    assert.same({ 1, 1, 0, 0, 2 }, counts(result))
    assert.matches("\n  100 successes", result.stdout, 1, true)
    assert.matches("bytes are left out", result.stdout, 1, true)
    assert.is_true(#result.stdout < 3e6)
    local script = assert(io.open ".ci/run"):read "a":match "(    { gsub.-)'"
    program.write(dir .. "/log", result.stdout)
    local total = assert(proc.run { "awk", "-v", "status=0", script, dir .. "/log" })
    assert.equal("1 passed, 1 failed, 0 skipped\n", total.stdout)
  end)

  it("fails for an exit code that busted does not explain", function()
    write { one = [[it("is well", function() end)]], two = [[it("is well", function() end)]] }
    program.write(dir .. "/wrap", '#!/bin/sh\n"$@"\nexit 23\n', 493)
    local result = run { WRAP = dir .. "/wrap" }
    assert.same({ 2, 0, 2, 0, 2 }, counts(result))
    assert.matches("it exited with 23", failed(result).one, 1, true)
  end)

  it("runs a file again once where LeakSanitizer itself has crashed, and only there", function()
    write { one = [[it("is well", function() end)]] }
    local crash = '"$@"\necho "Tracer caught signal 11: addr=0x168"; exit 23\n'
    local once = '[ -e $DIR/done ] && exec "$@"\n>$DIR/done\n'
    program.write(dir .. "/wrap", "#!/bin/sh\n" .. once .. crash, 493)
    local result = run { WRAP = dir .. "/wrap", DIR = dir }
    assert.same({ 1, 0, 0, 0, 1 }, counts(result))
    assert.matches("the file is run again", result.stdout, 1, true)
    program.write(dir .. "/wrap", "#!/bin/sh\n" .. crash, 493)
    result = run { WRAP = dir .. "/wrap" }
    assert.same({ 1, 0, 1, 0, 1 }, counts(result))
    write { one = [[it("is not well", function() error "no" end)]] }
    result = run { WRAP = dir .. "/wrap" }
    assert.is_nil(result.stdout:find("the file is run again", 1, true))
  end)

  it("fails for a process that never came to its end, whatever its exit code is", function()
    write { one = [[it("is well", function() end)]] }
    local result = run { WRAP = "true" }
    assert.same({ 0, 0, 1, 0, 1 }, counts(result))
    assert.matches("it exited with 0 before its end", failed(result).one, 1, true)
  end)

  it("runs a single file under WRAP, too", function()
    write { one = [[it("is well", function() end)]] }
    local result = run({ WRAP = "env A=1" }, {}, { dir .. "/one_spec.lua" })
    assert.same({ 1, 0, 0, 0, 1 }, counts(result))
    result = run(nil, {}, { dir .. "/one_spec.lua" })
    assert.matches("\n1 success / 0 failures", result.stdout, 1, true)
  end)

  it("gives each process folders of its own that are empty", function()
    local text = [[it("is alone", function()
      local uv = require "luv"
      for _, name in ipairs { "HOME", "CODEX_HOME", "TMPDIR", "XDG_RUNTIME_DIR" } do
        local path = assert(os.getenv(name))
        assert.matches("^%s", path)
        local file = path .. "/was-here"
        assert.is_nil((uv.fs_stat(file)))
        io.open(file, "w"):close()
      end
      require("codex.async").sleep(0.3)
    end)]]
    local files = {}
    for i = 1, 5 do files["n" .. i] = text:format(dir:gsub("%p", "%%%0")) end
    write(files)
    local result = run()
    assert.same({ 5, 0, 0, 0, 5 }, counts(result), result.stdout)
  end)

  it("shows the output of a file whole, and begins with what took longest the last time", function()
    local text = [[it("prints", function()
      for _ = 1, 3 do print "%s" require("codex.async").sleep(%s) end end)]]
    write { a = text:format("a", 0.01), b = text:format("b", 0.1), c = text:format("c", 0.3) }
    run()
    local result = run { JOBS = "1" }
    assert.matches("^c_spec.lua.*b_spec.lua.*a_spec.lua", result.stdout)
    result = run()
    for _, name in ipairs { "a", "b", "c" } do
      assert.matches(("%s_spec.lua [^\n]*\n  %s\n  %s\n  %s\n"):format(name, name, name, name),
        result.stdout)
    end
  end)

  it("passes options on, with which there may be no test left in a file", function()
    write {
      one = [[it("is chosen", function() end) it("is not", function() error "no" end)]],
      two = [[it("is not", function() error "no" end)]],
    }
    local result = run(nil, { "--filter", "chosen" })
    assert.same({ 1, 0, 0, 0, 2 }, counts(result))
    assert.equal(0, result.code)
  end)

  it("names settings and folders that make no sense", function()
    local result = run { JOBS = "none" }
    assert.equal(1, result.code)
    assert.matches("JOBS must be a number above 0", result.stderr, 1, true)
    result = run()
    assert.equal(1, result.code)
    assert.matches("there is no spec file in", result.stderr, 1, true)
  end)

  it("ends all its processes when it is interrupted", function()
    write {
      one = [[it("waits", function() io.open("%s/one", "w"):close()
        require("codex.async").sleep(1000) end)]],
      two = [[it("turns", function() io.open("%s/two", "w"):close() while true do end end)]],
    }
    for _, name in ipairs { "one", "two" } do
      local path = ("%s/%s_spec.lua"):format(dir, name)
      local file = assert(io.open(path)):read("a"):format(dir)
      program.write(path, file)
    end
    local argv, opts = command()
    opts.timeout = nil
    local child <close> = assert(proc.spawn(argv, opts))
    assert(program.eventually(function()
      return uv.fs_stat(dir .. "/one") and uv.fs_stat(dir .. "/two")
    end, 30))
    assert(proc.run { "kill", "-INT", tostring(child.pid) })
    child:read()
    assert.equal(130, child:wait().code)
    local rest = assert(proc.run { "pgrep", "-f", dir })
    assert.equal("", rest.stdout)
  end)
end)
