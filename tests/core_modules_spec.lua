-- What the core modules do with arguments that lie, and with objects that are misused: an error, or
-- nothing, but never a read of memory that is not theirs. Under AddressSanitizer (`make asan`) that
-- is seen for certain.

local envelope = require "codex.core.envelope"
local http = require "codex.core.http"
local httpd = require "codex.core.httpd"
local lines = require "codex.core.lines"
local link = require "codex.core.link"
local lock = require "codex.core.lock"
local proc = require "codex.core.proc"
local program = require "tests.support.program"
local stat = require "codex.core.stat"
local ws = require "codex.core.ws"

local CALLS = math.tointeger(tonumber(os.getenv "CORE_CALLS" or "")) or 2000
local SEED = math.tointeger(tonumber(os.getenv "CORE_SEED" or "")) or 1
local RUNS = math.tointeger(tonumber(os.getenv "CORE_RUNS" or "")) or 2

local proc_run = require("codex.proc").run

local function nothing() end

--- Has these members as long as nobody has asked twice, and holds their strings for nobody.
local function liar(members)
  local asked = {}
  return setmetatable({}, { __index = function(_, name)
    local value = not asked[name] and members[name] or nil
    asked[name] = true
    collectgarbage()
    return type(value) == "string" and value .. "" or value
  end })
end

local function closed(object)
  return program.eventually(function() return object:status().closed end)
end

--- Calls `__gc` as only the collector should.
local function finalize(object) debug.getmetatable(object).__gc(object) end

local function close(...)
  for _, object in ipairs { ... } do object:close() end
end

local function wait_for(test) assert.is_true(program.eventually(test)) end

describe("options", function()
  it("are what the table holds, whatever its metatable says", function()
    local child = assert(proc.spawn({ "cat" }, liar { cwd = "/no/such/folder" }, nothing))
    assert.is_true(closed(child))
    assert.equal(0, child:status().code)
  end)

  it("are as they were when the call began, whatever a finalizer does in it", function()
    collectgarbage("incremental", 100, 1000, 6)
    local env, argv, is_called, has_run = {}, { "echo", "argument" .. 1 }, false, false
    for n = 1, 2000 do env["NAME" .. n] = ("value"):rep(80) end
    local opts = { env = env }
    local function spoil()
      if has_run then return end
      setmetatable({}, { __gc = spoil }) -- once more
      if not is_called then return end
      has_run, argv[2] = true, nil
      for n = 1, 2000 do rawset(env, "MORE" .. n, "x") end
    end
    spoil()
    is_called = true
    local child = proc.spawn(argv, opts, nothing) -- nil where the environment became too long
    is_called = false
    assert.is_true(has_run)
    if child then
      assert.is_true(closed(child))
      assert.equal("argument1", (child:line()))
    end
    collectgarbage "generational"
  end)

  it("hold no NUL where a C string is meant", function()
    for _, call in ipairs {
      function() proc.spawn({ "true" }, { cwd = "/\0x" }, nothing) end,
      function() http.origin "http://a\0b" end,
      function() stat.at "/\0x" end,
      function() ws.listen("/tmp/x\0y", {}, nothing) end,
      function() envelope.places { "params\0" } end,
    } do
      assert.error_matches(call, "cannot hold a NUL byte")
    end
  end)

  it("are no numbers that would become others", function()
    for _, call in ipairs {
      function() link.open(0, 1, { window = 1 << 32 }, nothing) end,
      function() proc.spawn({ "true" }, { stop_signal = (1 << 32) + 9 }, nothing) end,
      function() httpd.listen({ port = (1 << 32) + 80 }, nothing) end,
    } do
      assert.error_matches(call, "must be between %d+ and %d+")
    end
    for _, call in ipairs {
      function() lock.take((1 << 32) + 1) end,
      function() stat.of(1 << 32) end,
      function() link.open(1 << 32, 1, {}, nothing) end,
    } do
      assert.error_matches(call, "not a descriptor")
    end
  end)
end)

describe("a list of places", function()
  it("is as long as it is, whatever its metatable says", function()
    local many = setmetatable({ "params" }, {
      __len = function() return 1 << 61 end, __index = function() return "params" end,
    })
    local places = envelope.places(many)
    assert.equal("notification", (envelope.read('{"method":"a","params":{}}', places)))
  end)
end)

describe("an HTTP request", function()
  local seen

  local function serve()
    seen = {}
    return assert(httpd.listen({}, function(request)
      seen[#seen + 1] = { request:method(), request:body(), request:headers() }
      request:respond(200, {})
      request:finish()
    end)), assert(http.open())
  end

  local function url(server) return ("http://127.0.0.1:%d/"):format(server:port()) end

  local function done(transfer)
    wait_for(function() return transfer:outcome() end)
    return transfer:outcome()
  end

  it("sends the body that it was given, whatever becomes of the table", function()
    local server, client = serve()
    local body = ("x"):rep(3 << 20)
    local given = { method = "POST", url = url(server), body = body .. "y" }
    local transfer = assert(client:start(given, nothing))
    given.body = nil
    collectgarbage()
    assert.equal("done", (done(transfer)))
    assert.is_true(seen[1][2] == body .. "y")
    close(client, server)
  end)

  it("has the length of the body that was read", function()
    local server, client = serve()
    local asked = 0
    local given = setmetatable({ method = "POST", url = url(server) }, { __index = function(_, name)
      if name ~= "body" then return nil end
      asked = asked + 1
      return asked == 1 and "short" .. asked or ("x"):rep(8 << 20)
    end })
    assert.equal("done", (done(assert(client:start(given, nothing)))))
    assert.equal("", seen[1][2])
    close(client, server)
  end)

  it("is refused where a method, a header or a user agent would be more than that", function()
    local server, client = serve()
    for _, wrong in ipairs {
      { method = "GET / HTTP/1.1\r\nX: y\r\n\r\nGET" }, { method = "G T" }, { method = "" },
      { user_agent = "a\r\nX: y" }, { headers = { "A:b", "c" } }, { headers = { "A\tb", "c" } },
      { headers = { "a", "b\r\nX: y" } }, { headers = { "a\nb", "c" } }, { headers = { "", "c" } },
    } do
      wrong.url = url(server)
      local transfer, name = client:start(wrong, nothing)
      assert.is_nil(transfer)
      assert.equal("EARGUMENT", name)
    end
    assert.error_matches(function()
      client:start({ url = url(server), headers = { "a", "b\0c" } }, nothing)
    end, "headers cannot hold a NUL byte")
    local transfer = client:start({ url = url(server) .. "a\r\nX: y" }, nothing)
    assert.equal("url", transfer and done(transfer) or "url")
    assert.same({}, seen)
    close(client, server)
  end)

  it("ends when it is finalized by hand, and can be asked on", function()
    local server, client = serve()
    local transfer = assert(client:start({ url = url(server) }, nothing))
    finalize(transfer)
    finalize(transfer)
    assert.equal("cancelled", (done(transfer)))
    finalize(transfer)
    finalize(transfer)
    assert.same({}, { transfer:outcome() })
    assert.same({}, { transfer:head() })
    assert.same({}, { transfer:read() })
    transfer:close()
    close(client, server)
  end)

  it("can be closed, and its client too, from its own function", function()
    local server, client = serve()
    local slow = assert(httpd.listen({}, function(request)
      request:respond(200, {})
      request:write "not all"
    end))
    local transfer
    local calls = 0
    transfer = assert(client:start({ url = url(slow) }, function()
      calls = calls + 1
      finalize(transfer)
      client:close()
      finalize(client)
    end))
    wait_for(function() return calls == 2 end)
    assert.same({}, { transfer:outcome() })
    slow:close()
    assert.same({ nil, "ECLOSED", "the object is closed" }, { client:start({}, nothing) })
    close(client, server)
  end)
end)

describe("an answer of a server", function()
  it("has no header that is more than that", function()
    local refused = {}
    local server = assert(httpd.listen({}, function(request)
      for _, headers in ipairs {
        { ["A"] = "b\r\nX: y" }, { ["A\r\nX"] = "y" }, { ["A:b"] = "y" }, { ["A b"] = "y" },
        { [""] = "y" },
      } do
        refused[#refused + 1] = select(2, request:respond(200, headers)) or "sent"
      end
      refused[#refused + 1] = pcall(request.respond, request, 200, { a = "b\0c" })
      request:finish()
    end))
    local client = assert(http.open())
    local transfer = assert(client:start(
      { url = ("http://127.0.0.1:%d/"):format(server:port()) }, nothing))
    wait_for(function() return transfer:outcome() end)
    client:close()
    server:close()
    assert.same({ "EARGUMENT", "EARGUMENT", "EARGUMENT", "EARGUMENT", "EARGUMENT", false }, refused)
  end)
end)

describe("a WebSocket", function()
  it("needs more descriptors than one, and says so", function()
    local code = [[
      local ws, uv = require "codex.core.ws", require "luv"
      local held = {}
      while true do
        local fd = uv.fs_open("/dev/null", "r", 0)
        if not fd then break end
        held[#held + 1] = fd
      end
      uv.fs_close(table.remove(held))
      print((select(2, ws.connect("/tmp/none", {}, print))))
      for _, fd in ipairs(held) do uv.fs_close(fd) end ]]
    local limited = [[ulimit -n 100; exec "$0" -e "$1"]]
    local ran = assert(proc_run({ "sh", "-c", limited, program.path, code },
      { timeout = 30 }))
    assert.same({ "EMFILE\n", 0 }, { ran.stdout, ran.code }, ran.stderr)
  end)

  it("asks for no path that would be more than that", function()
    for _, path in ipairs { "/ HTTP/1.1\r\nX: y\r\n\r\n", "/a b", "/\n" } do
      local client, name = ws.connect("/tmp/none", { url_path = path }, nothing)
      assert.is_nil(client)
      assert.equal("EARGUMENT", name)
    end
  end)
end)

describe("an object that was finalized by hand", function()
  it("of a child tells what it can", function()
    local child = assert(proc.spawn({ "sh", "-c", "echo a; cat" }, { stdin = "pipe" }, nothing))
    wait_for(function() return child:held() > 0 end)
    finalize(child)
    finalize(child)
    assert.equal(0, child:held())
    child:close_stdin()
    assert.is_true(closed(child))
    finalize(child)
    assert.equal("", (child:stderr()))
  end)

  it("of lines takes more", function()
    local l = lines.new()
    l:feed "abc"
    l:next()
    finalize(l)
    l:feed "d\n"
    assert.equal("d", (l:next()))
  end)
end)

describe("the coroutine that runs", function()
  it("is kept as long as it is said to run", function()
    local ran = program.eval [[
      local task = require "codex.core.task"
      local weak = setmetatable({}, { __mode = "k" })
      local function say() weak[coroutine.create(print)] = true; task.running((next(weak))) end
      local function count() collectgarbage(); return next(weak) and 1 or 0 end
      say()
      local before = count()
      task.running(nil)
      print(before, count()) ]]
    assert.equal("1\t0\n", ran.stdout, ran.stderr)
  end)
end)

describe("objects and functions together", function()
  for run = 1, RUNS do
    it("hold whatever is called with whatever (" .. run .. ")", function()
      local folder, remove = program.folder()
      local ran = program.run({ "tests/fuzz/core.lua", folder, tostring(CALLS),
        tostring(SEED + run - 1) }, {
        cwd = program.root, timeout = 600, tail_size = 1 << 20,
        env = { ASAN_OPTIONS = "allocator_may_return_null=1:detect_leaks=0" },
      })
      remove()
      local report = ran.stderr:match "ERROR: Add.*" or ran.stderr:match "[^\n]*runtime error.*"
      assert.equal("it lives\n", ran.stdout, report or ran.stderr:sub(-2000))
    end)
  end
end)

describe("finalizers", function()
  it("may call whatever they like when the program ends", function()
    local ran = program.eval [[
      local proc, link = require "codex.core.proc", require "codex.core.link"
      local http, httpd = require "codex.core.http", require "codex.core.httpd"
      local ws = require "codex.core.ws"
      local client, lines = http.open(), require("codex.core.lines").new()
      local function late()
        pcall(proc.spawn, { "cat" }, { stdin = "pipe" }, print)
        pcall(link.spawn, { "cat" }, {}, print)
        pcall(link.open, 0, 1, {}, print)
        pcall(http.open)
        pcall(httpd.listen, {}, print)
        pcall(ws.connect, "/tmp/none", {}, print)
        pcall(client.start, client, { url = "http://127.0.0.1:1/" }, print)
        pcall(lines.feed, lines, "a")
        io.write "late\n"
      end
      keep = setmetatable({}, { __gc = late })
      print "over" ]]
    assert.equal("over\nlate\n", ran.stdout, ran.stderr)
    assert.equal(0, ran.code, ran.stderr)
  end)
end)
