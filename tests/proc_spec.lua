local async = require "codex.async"
local E = require "codex.error"
local proc = require "codex.proc"
local program = require "tests.support.program"
local uv = require "luv"

-- Under valgrind the same tests run with less data.
local MIB = os.getenv "CX_SLOW" and 32 * 1024 or 1024 * 1024
local alive, eventually = program.alive, program.eventually

local function sh(script, opts) return assert(proc.spawn({ "sh", "-c", script }, opts)) end
local function run(script, opts) return proc.run({ "sh", "-c", script }, opts) end
local function number(text) return assert(math.tointeger(tonumber(text))) end

local function seconds_of(fn)
  local start = uv.hrtime()
  fn()
  return (uv.hrtime() - start) / 1e9
end

-- Field of /proc/PID/status.
local function field(text, name) return text:match(name .. ":%s*(%S+)") end

local function all_lines(p)
  local list = {}
  for line in p:lines() do list[#list + 1] = line end
  p:wait()
  return list
end

describe("running a program", function()
  it("gives its output, the tail of standard error, exit code and duration", function()
    local result = assert(run "echo out; echo err >&2; exit 3")
    assert.same({ "out\n", "err\n", 3, 0 },
      { result.stdout, result.stderr, result.code, result.signal })
    assert.is_true(result.duration > 0 and result.duration < 5)
  end)

  it("takes arguments as they are, without a shell", function()
    local words = { "a b", "", "$HOME", "'\"\\", "ä\nb", "*" }
    local argv = table.move(words, 1, #words, 3, { "printf", "<%s>" })
    assert.equal("<a b><><$HOME><'\"\\><ä\nb><*>", assert(proc.run(argv)).stdout)
  end)

  it("may take input and a working directory", function()
    local result = assert(run("pwd -P; cat", { input = "hello", cwd = "/usr" }))
    assert.equal("/usr\nhello", result.stdout)
  end)

  it("has an empty standard input otherwise", function()
    assert.equal("", assert(proc.run { "cat" }).stdout)
  end)

  it("fifty times at once works", function()
    local items = {}
    for i = 1, 50 do items[i] = i end
    local results = async.map(items, function(i)
      return (assert(run("echo " .. i)).stdout)
    end)
    for i = 1, 50 do assert.equal(i .. "\n", results[i]) end
  end)

  it("leaves the choice of standard output and error", function()
    assert.equal("", assert(run("echo lost; echo lost >&2", { stdout = "null", stderr = "null" }))
      .stderr)
    local result = program.eval [[
      local proc = require "codex.proc"
      proc.run({ "sh", "-c", "echo o; echo e >&2; cat" },
        { stdout = "inherit", stderr = "inherit", stdin = "inherit" })
    ]]
    assert.same({ "o\n", "e\n" }, { result.stdout, result.stderr })
  end)
end)

describe("a program that cannot be started", function()
  local folder, remove
  before_each(function() folder, remove = program.folder() end)
  after_each(function() remove() end)

  local function refusal(argv, opts)
    local p, err = proc.spawn(argv, opts)
    assert.is_nil(p)
    assert.is_true(E.is(err, "spawn"))
    return err.code, err.message
  end

  it("because it is missing is named", function()
    local code, message = refusal { "no-such-program", "x" }
    assert.equal("ENOENT", code)
    assert.equal("cannot start 'no-such-program': there is no such program", message)
    assert.equal("ENOENT", (refusal { folder .. "/missing" }))
    assert.equal("ENOTDIR", (refusal { "/dev/null/x" }))
  end)

  it("because it is not executable is told apart", function()
    program.write(folder .. "/plain", "#!/bin/sh\n")
    local code, message = refusal { folder .. "/plain" }
    assert.equal("EACCES", code)
    assert.matches("not executable", message)
    assert.equal("EACCES", (refusal { folder }))
  end)

  it("because it was made for another machine is told apart", function()
    local s390 = "\x7fELF\2\2\1" .. ("\0"):rep(9) .. "\0\2\0\22\0\0\0\1" .. ("\0"):rep(40)
    program.write(folder .. "/foreign", s390, 493)
    program.write(folder .. "/empty", "", 493)
    program.write(folder .. "/script", "echo no interpreter is named\n", 493)
    for _, name in ipairs { "foreign", "empty", "script" } do
      local code, message = refusal { folder .. "/" .. name }
      assert.equal("ENOEXEC", code)
      assert.matches("not a program for this machine", message)
    end
  end)

  it("because the working directory is missing blames that", function()
    local code, message = refusal({ "true" }, { cwd = folder .. "/nowhere" })
    assert.equal("ENOENT", code)
    assert.matches("there is no folder '.*/nowhere'", message)
  end)

  it("because too many files are open gives them back", function()
    local result = assert(run([[ulimit -n 40; exec "$PROGRAM" -e '
      local proc = require "codex.proc"
      local list, p, err = {}, nil, nil
      repeat
        p, err = proc.spawn({ "cat" }, { stdin = "pipe" })
        list[#list + 1] = p
      until not p
      print(err.code, err.message)
      local once_more = select(2, proc.spawn { "cat" })
      print(once_more.code)
      for _, child in ipairs(list) do child:close() end
      print(proc.run({ "echo", "works again" }).stdout)
    ']], { env = { PROGRAM = program.path } }))
    assert.equal("EMFILE\tcannot start 'cat': too many open files\nEMFILE\nworks again\n\n",
      result.stdout)
    assert.equal(0, result.code)
  end)
end)

describe("mistakes of the caller", function()
  it("are raised and named", function()
    local cases = {
      { "argument #1", "cat" }, { "argument #1", nil }, { "name is missing", {} },
      { "arguments must be strings, got table", { "echo", {} } },
      { "arguments must be strings, got number", { "echo", 5 } },
      { "cannot hold a NUL byte", { "echo", "a\0b" } },
      { "did you mean 'timeout'", { "true" }, { timout = 1 } },
      { "'timeout' must be a number of seconds", { "true" }, { timeout = -1 } },
      { "'timeout' must be a number", { "true" }, { timeout = "1" } },
      { "there is no signal 'nope'", { "true" }, { stop_signal = "nope" } },
      { "option 'cwd' must be a string", { "true" }, { cwd = 5 } },
      { "there is no choice 'pip'", { "true" }, { stdin = "pip" } },
      { "'line_limit' must be positive", { "true" }, { line_limit = 0 } },
      { "'A=B' cannot name an environment variable", { "true" }, { env = { ["A=B"] = "x" } } },
      { "environment variables must be strings", { "true" }, { env = { A = 5 } } },
      { "environment variables must be strings", { "true" }, { env = { "A=5" } } },
      { "'input' must be a string", { "true" }, { input = 5 } },
    }
    for _, case in ipairs(cases) do
      local ok, message = pcall(proc.spawn, case[2], case[3])
      assert.is_false(ok)
      assert.matches(case[1], message)
    end
  end)
end)

describe("the program", function()
  local folder, remove
  before_each(function()
    folder, remove = program.folder()
    for _, dir in ipairs { "here", "there" } do
      assert(uv.fs_mkdir(folder .. "/" .. dir, 448))
      program.write(("%s/%s/cx-say"):format(folder, dir), "#!/bin/sh\necho " .. dir, 448)
    end
  end)
  after_each(function() remove() end)

  it("is looked up in the PATH that it will have", function()
    local path = folder .. "/there:/usr/bin:/bin"
    assert.equal("there\n", assert(proc.run({ "cx-say" }, { env = { PATH = path } })).stdout)
    assert.equal("there\n",
      assert(proc.run({ "cx-say" }, { env = { PATH = path }, clear_env = true })).stdout)
    local without = { { env = { PATH = "/no" } }, { env = { PATH = "" } }, { clear_env = true } }
    for _, opts in ipairs(without) do
      local before = os.getenv "PATH"
      uv.os_setenv("PATH", folder .. "/there:" .. before)
      local p, err = proc.spawn({ "cx-say" }, opts)
      uv.os_setenv("PATH", before)
      assert.is_nil(p)
      assert.equal("cannot start 'cx-say': there is no such program", err.message)
    end
    assert.equal(0, assert(proc.run({ "true" }, { env = { PATH = false } })).code)
  end)

  it("is never one of a relative entry, and that is said", function()
    for _, entry in ipairs { "there", "./there", "../" .. folder:match "[^/]+$" .. "/there" } do
      local p, err = proc.spawn({ "cx-say" }, { env = { PATH = entry }, cwd = folder })
      assert.is_nil(p)
      assert.equal(("cannot start 'cx-say': it is only in '%s', a relative entry of PATH, where it "
        .. "is not looked for"):format(entry), err.message)
      local path = entry .. "::" .. folder .. "/here:/bin"
      assert.equal("here\n",
        assert(proc.run({ "cx-say" }, { env = { PATH = path }, cwd = folder })).stdout)
    end
    local p, err = proc.spawn({ "cx-say" }, { env = { PATH = ":" }, cwd = folder .. "/there" })
    assert.is_nil(p)
    assert.equal("ENOENT", err.code)
  end)

  it("is a path from the folder that it will be in", function()
    assert.equal("there\n", assert(proc.run({ "./cx-say" }, { cwd = folder .. "/there" })).stdout)
    local p, err = proc.spawn({ "./here/cx-say" }, { cwd = folder .. "/there" })
    assert.is_nil(p)
    assert.equal("cannot start './here/cx-say': there is no such program", err.message)
  end)
end)

describe("the child", function()
  it("has the environment that was asked for", function()
    local one = { env = { CX_A = "1", HOME = false, CX_EMPTY = "" } }
    assert.equal("1|unset||/", assert(run(
      [[echo "$CX_A|${HOME-unset}|${CX_EMPTY-unset}|${PATH%"${PATH#/}"}"]], one)).stdout:sub(1, -2))
    local cleared = assert(proc.run({ "env" }, { clear_env = true, env = { ONLY = "this" } }))
    assert.equal("ONLY=this\n", cleared.stdout)
    assert.equal("", assert(proc.run({ "env" }, { clear_env = true })).stdout)
    assert.is_nil(os.getenv "CX_A")
  end)

  it("inherits no open file", function()
    local file <close> = assert(io.open("/dev/zero"))
    local other <close> = sh("cat", { stdin = "pipe" }) -- luacheck: ignore 211
    local result = assert(run "ls /proc/$$/fd")
    assert.equal("0\n1\n2\n", result.stdout)
    assert.equal("file", io.type(file))
  end)

  it("has no blocked or ignored signals", function()
    local text = assert(proc.run { "cat", "/proc/self/status" }).stdout
    assert.equal("0000000000000000", field(text, "SigBlk"))
    local libc = 0x180000000 -- 32 and 33 are the C library's; nobody can reset them
    assert.equal(0, tonumber(field(text, "SigIgn"), 16) & ~libc)
  end)

  it("leads a process group of its own, unless that is not wanted", function()
    local function group(opts)
      local p <close> = sh("cut -d ' ' -f 5 /proc/$$/stat", opts)
      return number(p:line()), p.pid
    end
    local pgid, pid = group()
    assert.equal(pid, pgid)
    pgid, pid = group { same_group = true }
    assert.not_equal(pid, pgid)
  end)

  it("goes on when nobody holds it any more, and leaves no trace", function()
    local folder, remove = program.folder()
    sh("sleep 0.1; echo x >'" .. folder .. "/file'", { stdout = "null" })
    collectgarbage()
    collectgarbage()
    assert.is_true(eventually(function() return uv.fs_stat(folder .. "/file") ~= nil end))
    assert.is_true(eventually(function() return #require("codex.core.task").live() == 0 end))
    remove()
  end)
end)

describe("output", function()
  it("comes in lines, the last one with or without newline", function()
    assert.same({ "a", "", "b" }, all_lines(sh [[printf 'a\n\nb']]))
    assert.same({ "a", "b" }, all_lines(sh [[printf 'a\r\nb\r\n']]))
    assert.same({}, all_lines(sh "true"))
  end)

  it("is the same when it comes byte by byte", function()
    local text = "a€b\r\n\xFF\xFE\0\n\nlast"
    local p = assert(proc.spawn({ "dd", "bs=1", "status=none" }, { input = text }))
    assert.same({ "a€b", "\xFF\xFE\0", "", "last" }, all_lines(p))
  end)

  it("is kept after the end of the program", function()
    local p = sh "echo one; printf two"
    p:wait()
    assert.equal("one", p:line())
    assert.equal("two", p:read())
    assert.is_nil(p:line())
    assert.is_nil(p:read())
  end)

  it("may have a line of the greatest length", function()
    local size = 64 * MIB
    local p = sh(("head -c %d /dev/zero | tr '\\0' x; echo; echo next"):format(size),
      { line_limit = size })
    local line = p:line()
    assert.equal(size, #line)
    assert.equal("next", p:line())
    p:wait()
  end)

  it("with a line over the limit says so and goes on", function()
    local p = sh("head -c 5000 /dev/zero | tr '\\0' x; echo; echo next", { line_limit = 1000 })
    local line, err = p:line()
    assert.is_nil(line)
    assert.is_true(E.is(err, "protocol"))
    assert.equal("ETOOLONG", err.code)
    assert.equal("next", p:line())
    p:wait()
  end)

  it("with a line over the limit ends a loop with that error, and the program", function()
    local p = sh("head -c 5000 /dev/zero; sleep 1000", { line_limit = 1000 })
    local ok, err = pcall(all_lines, p)
    assert.is_false(ok)
    assert.equal("ETOOLONG", err.code)
    assert.is_true(p:status().closed)
  end)

  it("that never has a newline takes no memory", function()
    local p <close> = sh("cat /dev/zero", { line_limit = 100000, timeout = 10 })
    local _, err = p:line()
    assert.equal("ETOOLONG", err.code)
    local before = uv.resident_set_memory()
    local value, late = async.timeout(0.3, p.line, p)
    assert.same({ nil, "timeout" }, { value, late.kind })
    assert.is_true(p._raw:held() < 300000)
    assert.is_true(uv.resident_set_memory() - before < 64 * 1024 * 1024) -- of gigabytes
  end)

  it("cannot be read by two tasks at once, but by one after the other", function()
    local p <close> = sh("cat", { stdin = "pipe" })
    local first = async.spawn(function() return p:line() end)
    async.sleep(0)
    assert.error_matches(function() p:line() end, "another task is already reading")
    assert.error_matches(function() p:read() end, "another task is already reading")
    first:cancel()
    first:join()
    p:write "hello\n"
    assert.equal("hello", p:line())
  end)
end)

describe("a slow reader", function()
  it("stops the program, and holds little", function()
    local before = uv.resident_set_memory()
    local p <close> = sh(("head -c %d /dev/zero | tr '\\0' '\\n'; echo end"):format(500 * MIB))
    for _ = 1, 10 do assert.equal("", p:line()) end
    async.sleep(0.3)
    assert.is_false(p:status().exited)
    assert.is_true(p._raw:held() < 2 * 1024 * 1024)
    assert.is_true(uv.resident_set_memory() - before < 64 * 1024 * 1024)
  end)

  it("gets everything in the end", function()
    local p = sh(("head -c %d /dev/zero | tr '\\0' x | fold -w 99; echo"):format(8 * MIB))
    local bytes, count = 0, 0
    for line in p:lines() do
      bytes, count = bytes + #line, count + 1
      if count % 10000 == 0 then async.sleep(0.001) end
    end
    assert.equal(8 * MIB, bytes)
    assert.equal(0, p:wait().code)
  end)

  it("who gave up waiting lets nothing pile up", function()
    local p <close> = sh("sleep 0.1; cat /dev/zero")
    local reader = async.spawn(function() return p:line() end)
    async.sleep(0)
    reader:cancel()
    async.sleep(0.4)
    assert.is_true(p._raw:held() > 0)
    assert.is_true(p._raw:held() < 2 * 1024 * 1024)
  end)

  it("does not let the idle limit end the program", function()
    local p <close> = sh("yes", { idle_timeout = 0.1 })
    for _ = 1, 3 do
      p:line()
      async.sleep(0.2)
    end
    assert.is_false(p:status().exited)
  end)
end)

describe("standard error", function()
  it("is kept as a bounded tail, however much there is", function()
    local size = 50 * MIB
    local before = uv.resident_set_memory()
    local p = sh(("head -c %d /dev/zero | tr '\\0' x >&2; printf end >&2"):format(size))
    p:wait()
    local tail, lost = p:stderr()
    assert.equal(65536, #tail)
    assert.equal(size + 3 - 65536, lost)
    assert.equal("xend", tail:sub(-4))
    assert.is_true(uv.resident_set_memory() - before < 32 * 1024 * 1024)
  end)

  it("has the length one wants", function()
    local p = sh("printf 0123456789 >&2", { tail_size = 4 })
    p:wait()
    assert.same({ "6789", 6 }, { p:stderr() })
  end)

  it("is read while nobody reads standard output", function()
    local p <close> = sh "yes & head -c 300000 /dev/zero >&2; printf done >&2; sleep 1000"
    assert.is_true(eventually(function() return p:stderr():sub(-4) == "done" end))
  end)
end)

describe("standard input", function()
  it("is fed while output is read, whatever the size", function()
    local size = 64 * MIB
    local input = ("0123456789abcdef"):rep(size // 16)
    local result = assert(proc.run({ "cat" }, { input = input }))
    assert.is_true(input == result.stdout)
  end)

  it("can be written piece by piece, each when the one before is taken", function()
    local p = assert(proc.spawn({ "cat" }, { stdin = "pipe" }))
    local writer = async.spawn(function()
      for i = 1, 100 do assert(p:write(("%07d\n"):format(i):rep(1000))) end
      p:close_stdin()
    end)
    local lines = all_lines(p)
    writer:join()
    assert.same({ 100000, "0000001", "0000100" }, { #lines, lines[1], lines[#lines] })
  end)

  it("that the program closes early is no catastrophe", function()
    local result = assert(proc.run({ "true" }, { input = ("x"):rep(4 * 1024 * 1024) }))
    assert.equal(0, result.code)
    local p <close> = sh("exec <&-; echo closed; sleep 1000", { stdin = "pipe" })
    assert.equal("closed", p:line())
    local ok, err = p:write(("x"):rep(1000000))
    assert.is_nil(ok)
    assert.is_true(E.is(err, "closed"))
    assert.equal("EPIPE", err.code)
  end)

  it("that the program has gone is the same error, whatever of its end is noticed first", function()
    for _ = 1, os.getenv "CX_SLOW" and 30 or 600 do
      local p <close> = sh("echo; exec head -c 9", { stdin = "pipe" })
      p:line()
      local _, err = p:write(("x"):rep(1 << 20))
      assert.equal("EPIPE", err.code)
    end
  end)

  it("reports what was not taken when the program ends", function()
    for _ = 1, 20 do
      local p <close> = sh("echo ready; sleep 1000", { stdin = "pipe" })
      p:line()
      local writer = async.spawn(function() return p:write(("x"):rep(1000000)) end)
      async.sleep(0)
      p:kill "kill"
      local ok, err = writer:join()
      assert.is_nil(ok)
      assert.is_true(E.is(err, "closed"))
    end
  end)

  it("takes nothing after it was closed", function()
    local p <close> = sh("cat", { stdin = "pipe" })
    p:close_stdin()
    p:close_stdin()
    local ok, err = p:write "late"
    assert.same({ nil, "closed" }, { ok, err.kind })
  end)
end)

describe("a program that ends", function()
  it("by a signal in the middle of a line gives what there is", function()
    local p = sh [[printf 'one\npart'; kill -KILL $$]]
    assert.same({ "one", "part" }, all_lines(p))
    local status = p:wait()
    assert.same({ -1, 9 }, { status.code, status.signal })
  end)

  it("while a child of its own keeps the pipe open is not waited for for ever", function()
    local p = sh "sleep 1000 & echo $!; exit 5"
    local grandchild = number(p:line())
    local status
    local took = seconds_of(function() status = p:wait() end)
    assert.equal(5, status.code)
    assert.is_true(took < 3)
    assert.is_true(alive(grandchild)) -- it was left running on purpose, like a notify program
    uv.kill(grandchild, "sigkill")
  end)

  it("while a child of its own floods the pipe is not listened to for ever", function()
    local p = sh "yes & echo $! >&2; exit 5"
    local took = seconds_of(function() for _ in function() return p:read() end do end end)
    assert.equal(5, p:wait().code)
    assert.is_true(took < 3)
    uv.kill(number(p:stderr():match "%d+"), "sigkill")
  end)

  it("is there for all who wait", function()
    local p = sh "sleep 0.05; exit 4"
    local function code() return p:wait().code end
    assert.same({ 4, 4, 4 }, { async.all { code, code, code } })
  end)

  it("can still be asked, stopped and closed", function()
    local p = sh "exit 2"
    p:wait()
    assert.equal(2, p:stop().code)
    p:close()
    p:close()
    local ok, err = p:kill "term"
    assert.same({ nil, "closed" }, { ok, err.kind })
    assert.equal(2, p:status().code)
    assert.is_true(p:status().max_rss_kib > 0)
  end)
end)

describe("ending a program", function()
  it("finds one that has left its group", function()
    local code = "import os, time; os.setpgid(0, os.getpgid(os.getppid()));"
      .. "print('gone', flush=True); time.sleep(99)"
    local p <close> = assert(proc.spawn({ "python3", "-c", code }, { grace = 60 }))
    assert.equal("gone", p:line())
    assert.equal(15, p:stop().signal)
    local q <close> = assert(proc.spawn { "python3", "-c", "import signal;"
      .. "signal.signal(15, signal.SIG_IGN);" .. code })
    assert.equal("gone", q:line())
    assert.equal(true, q:kill "kill")
    assert.equal(9, q:wait().signal)
  end)

  it("is polite first", function()
    local p = sh "trap 'echo bye; exit 6' TERM; echo ready; while :; do sleep 0.01; done"
    p:line()
    assert.equal(6, p:stop().code)
  end)

  it("that ignores the signal uses force after the grace period", function()
    local p = sh("trap '' TERM; echo ready; while :; do sleep 0.05; done", { grace = 0.2 })
    p:line()
    local status
    local took = seconds_of(function() status = p:stop() end)
    assert.equal(9, status.signal)
    assert.is_true(took >= 0.2 and took < 2)
    assert.is_false(alive(p.pid))
  end)

  it("grants the whole grace period, also by a script that was busy before", function()
    local p = sh("trap 'sleep 0.1; exit 6' TERM; echo ready; while :; do sleep 0.01; done",
      { grace = 0.5 })
    p:line()
    local start = uv.hrtime()
    while uv.hrtime() - start < 6e8 do end
    assert.equal(6, p:stop().code)
  end)

  it("that is stopped by a signal works too", function()
    local p = sh("trap 'exit 1' TERM; echo ready; while :; do sleep 1; done", { grace = 0.1 })
    p:line()
    p:kill "stop"
    assert.equal(9, p:stop().signal)
  end)

  it("can begin with another signal", function()
    local p = sh("trap 'exit 7' INT; trap '' TERM; echo ready; while :; do sleep 0.01; done",
      { stop_signal = "int" })
    p:line()
    assert.equal(7, p:stop().code)
  end)

  it("takes its whole group along", function()
    local p = sh "sleep 1000 & echo $!; (trap '' TERM; exec sleep 1000) & echo $!; wait"
    local one, two = number(p:line()), number(p:line())
    p:stop()
    assert.is_true(eventually(function() return not alive(one) and not alive(two) end))
  end)

  it("works while it floods its output", function()
    local p = sh "yes"
    p:line()
    assert.equal(15, p:stop().signal)
  end)

  it("happens when a loop is left by break, return or error", function()
    local p = sh "yes"
    for _ in p:lines() do break end -- luacheck: ignore 512
    assert.is_true(p:status().closed)
    local q = sh "yes"
    local ok, message = pcall(function()
      for _ in q:lines() do error("in the body", 0) end
    end)
    assert.same({ false, "in the body" }, { ok, message })
    assert.is_true(q:status().closed)
  end)

  it("happens at the end of a block that holds it", function()
    local pid
    do
      local p <close> = sh "sleep 1000"
      pid = p.pid
    end
    assert.is_false(alive(pid))
  end)

  it("sends single signals by name or number", function()
    local p = sh "trap 'echo usr1' USR1; echo ready; while :; do sleep 0.01; done"
    p:line()
    p:kill "usr1"
    assert.equal("usr1", p:line())
    p:kill(9)
    assert.equal(9, p:wait().signal)
    assert.error_matches(function() p:kill "sigkill" end, "there is no signal 'sigkill'")
  end)
end)

describe("a time limit", function()
  it("ends the whole group, and says so with what there was", function()
    local result, err
    local took = seconds_of(function()
      result, err = run("echo $$; sleep 1000 & echo $!; echo oops >&2; wait", { timeout = 0.2 })
    end)
    assert.is_nil(result)
    assert.is_true(E.is(err, "timeout"))
    assert.is_true(took >= 0.2 and took < 3)
    assert.equal("oops\n", err.stderr)
    for pid in err.data.stdout:gmatch "%d+" do
      assert.is_true(eventually(function() return not alive(number(pid)) end))
    end
  end)

  it("is not felt by a program that ends in time", function()
    assert.equal(0, assert(run("exit 0", { timeout = 10, idle_timeout = 10 })).code)
  end)

  it("on silence ends a program that says nothing, on either stream", function()
    local _, err = run("echo a; sleep 1000", { idle_timeout = 0.2 })
    assert.is_true(E.is(err, "idle"))
    assert.equal("a\n", err.data.stdout)
    local talk = "for i in 1 2 3 4 5 6; do sleep 0.1; echo $i %s; done"
    assert.equal(0, assert(run(talk:format "", { idle_timeout = 0.4 })).code)
    assert.equal(0, assert(run(talk:format ">&2", { idle_timeout = 0.4 })).code)
  end)

  --- Computes for so many seconds: nothing is read meanwhile.
  local function compute(seconds)
    local last = uv.hrtime() + seconds * 1e9
    while uv.hrtime() < last do end
  end

  it("on silence takes what has arrived for said, however long the script computed", function()
    for _, where in ipairs { "", ">&2" } do
      local script = ("sleep 0.1; echo a %s; sleep 0.6; echo b %s"):format(where, where)
      local p <close> = sh(script, { idle_timeout = 0.3 })
      compute(0.6)
      assert.equal(0, p:wait().code)
    end
  end)

  it("on output after the exit leaves nothing in the pipe unread", function()
    local ticks <close> = sh "while :; do echo; sleep 0.01; done" -- it wakes us while it is read
    for _ = 1, 5 do
      local p <close> = sh(("head -c %d /dev/zero; sleep 1 & exit 0"):format(MIB + 60000))
      while not p:status().exited do ticks:line() end
      compute(0.7)
      local size = 0
      for bytes in function() return p:read() end do size = size + #bytes end
      assert.equal(MIB + 60000, size)
    end
  end)

  it("of a task ends its program", function()
    local pid
    local value, err = async.timeout(0.1, function()
      local p <close> = sh "sleep 1000"
      pid = p.pid
      p:wait()
    end)
    assert.same({ nil, "timeout" }, { value, err.kind })
    assert.is_false(alive(pid))
  end)
end)

describe("cancelling a task that runs a program", function()
  it("before its start starts nothing", function()
    local task = async.spawn(function() return run "echo never" end)
    task:cancel()
    assert.is_nil((task:join()))
    assert.same({}, require("codex.core.task").live())
  end)

  it("in the middle ends the program", function()
    local folder, remove = program.folder()
    local task = async.spawn(run, "echo $$ >'" .. folder .. "/pid'; sleep 1000")
    local text
    assert.is_true(eventually(function()
      local file <close> = io.open(folder .. "/pid")
      text = file and file:read "l"
      return text ~= nil
    end))
    task:cancel()
    local _, err = task:join()
    assert.is_true(E.is(err, "cancelled"))
    assert.is_false(alive(number(text)))
    remove()
  end)

  it("after its end changes nothing", function()
    local task = async.spawn(run, "echo done")
    assert.equal("done\n", task:join().stdout)
    task:cancel()
    assert.equal("done\n", task:join().stdout)
  end)

  it("at any moment leaves nothing behind", function()
    for i = 0, 30 do
      local task = async.spawn(run, "echo a; echo b >&2; cat", { input = "some input" })
      async.sleep(i / 10000)
      task:cancel()
      task:join()
    end
    assert.same({}, require("codex.core.task").live())
  end)
end)
