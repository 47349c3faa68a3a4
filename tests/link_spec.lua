local async = require "codex.async"
local E = require "codex.error"
local json = require "codex.json"
local link = require "codex.link"
local proc = require "codex.proc"
local program = require "tests.support.program"
local uv = require "luv"

local MIB = 1024 * 1024
local alive, eventually = program.alive, program.eventually
local server_path = program.root .. "/tests/support/link_server.lua"

local function spawn(opts) return assert(link.spawn({ program.path, server_path }, opts)) end
local function sh(script, opts) return assert(link.spawn({ "sh", "-c", script }, opts)) end

local function seconds_of(fn)
  local start = uv.hrtime()
  fn()
  return (uv.hrtime() - start) / 1e9
end

-- Collects what a callback is called with.
local function collect()
  local list = {}
  return list, function(...) list[#list + 1] = table.pack(...) end
end

local function firsts(list)
  local out = {}
  for i, args in ipairs(list) do out[i] = args[1] end
  return out
end

local function is_rpc(code, result, err)
  assert.is_nil(result)
  assert.is_true(E.is(err, "rpc"))
  assert.equal(code, err.code)
  return err
end

local function is_closed(pattern, result, err)
  assert.is_nil(result)
  assert.is_true(E.is(err, "closed"))
  assert.matches(pattern, err.message)
  return err
end

describe("asking a child", function()
  it("gives its results, whatever they are", function()
    local l <close> = spawn()
    local values = {
      1, "text", true, false, json.null, json.array {}, json.object {}, { a = { 1, { b = "ä" } } },
      "\0", 9007199254740993, 1.5,
    }
    for _, value in ipairs(values) do
      assert.same(value, assert(l:request("echo", { value }))[1])
    end
    assert.equal(json.null, l:request("echo", json.null))
    assert.same({}, l:request "nothing")
  end)

  it("gives its errors with code and data", function()
    local l <close> = spawn()
    local err = is_rpc(-32000, l:request "fail")
    assert.equal("no", err.message)
    assert.same({ why = "because" }, err.data)
  end)

  it("may be done many times at once, answered in any order", function()
    local l <close> = spawn { window = 10 }
    local items = {}
    for i = 1, 200 do items[i] = i end
    local results, errors = async.map(items, function(i)
      return l:request("late", { n = i, seconds = (i % 7) / 1000 })
    end)
    assert.is_nil(errors)
    for i = 1, 200 do assert.equal(i, results[i].n) end
    assert.same({ 0, 0 }, { l:status().pending, l:status().queued })
  end)

  it("goes on after calls that were given up and are never answered", function()
    local l <close> = sh("read a; read b; read c; echo '{\"id\":2,\"result\":\"late\"}'; cat >&2",
      { window = 2 })
    local lost = { async.spawn(l.request, l, "a", nil, { timeout = 0 }),
      async.spawn(l.request, l, "b", nil, { timeout = 0 }) }
    local third = async.spawn(l.request, l, "c", nil, { timeout = 0 })
    async.sleep(0.05)
    assert.same({ 2, 1 }, { l:status().pending, l:status().queued })
    lost[1]:cancel()
    lost[2]:cancel()
    assert.equal("late", async.timeout(20, third.join, third))
    assert.same({ 0, 0 }, { l:status().pending, l:status().queued })
  end)

  it("keeps no more unanswered than the window", function()
    for window, expected in pairs { [1] = { "slow", "fast" }, [2] = { "fast", "slow" } } do
      local l <close> = spawn { window = window }
      local order = {}
      async.all {
        function()
          l:request("late", { seconds = 0.15 })
          order[#order + 1] = "slow"
        end,
        function()
          l:request "nothing"
          order[#order + 1] = "fast"
        end,
        function()
          local s = l:status()
          assert.same({ window, 2 - window }, { s.pending, s.queued })
        end,
      }
      assert.same(expected, order)
    end
  end)

  it("carries megabytes both ways", function()
    local l <close> = spawn()
    local text = ("x\n\"ä"):rep(MIB)
    assert.equal(text, assert(l:request("echo", { text }))[1])
  end)

  it("says what version it speaks where that is wanted", function()
    for _, versioned in ipairs { true, false } do
      local lines, on_message = collect()
      local l <close> = assert(link.spawn({ "cat" },
        { jsonrpc = versioned, raw = true, on_message = on_message }))
      l:notify("n", { 1 })
      assert.is_true(eventually(function() return #lines == 1 end))
      local head = versioned and '{"jsonrpc":"2.0",' or "{"
      assert.equal(head .. '"method":"n","params":[1]}', lines[1][4])
    end
  end)
end)

describe("a request", function()
  it("that takes too long fails, and its late answer is nobody's", function()
    local junk, on_junk = collect()
    local l <close> = spawn { on_junk = on_junk, timeout = 0.05 }
    l:request("nothing", nil, { timeout = 10 }) -- it has started
    local result, err = l:request("late", { seconds = 0.2 })
    assert.is_nil(result)
    assert.is_true(E.is(err, "timeout"))
    assert.matches("did not answer late within 0.05 seconds", err.message)
    assert.is_true(eventually(function() return #junk == 1 end))
    assert.matches('"seconds":0.2', junk[1][1])
    assert.equal("EPROTOCOL", junk[1][2])
    assert.same({ seconds = 0.1 }, l:request("late", { seconds = 0.1 }, { timeout = 0 }))
  end)

  it("that is cancelled is forgotten, and its late answer dropped quietly", function()
    local junk, on_junk = collect()
    local l <close> = spawn { on_junk = on_junk, window = 1 }
    l:request "nothing"
    local sent = async.spawn(function() return l:request("late", { seconds = 0.1 }) end)
    local waiting = async.spawn(function() return l:request("echo", { "never" }) end)
    async.sleep(0)
    assert.same({ 1, 1 }, { l:status().pending, l:status().queued })
    waiting:cancel()
    sent:cancel()
    assert.same({ 0, 0 }, { l:status().pending, l:status().queued })
    assert.is_true(E.is(select(2, sent:join()), "cancelled"))
    assert.same({ seconds = 0.2 }, l:request("late", { seconds = 0.2 })) -- after the other's answer
    assert.same({ 0, 0 }, { l:status().pending, #junk })
  end)

  it("may be cut short by a time limit around it", function()
    local l <close> = spawn()
    local _, err = async.timeout(0.05, l.request, l, "late", { seconds = 9 })
    assert.is_true(E.is(err, "timeout"))
  end)

  it("that is answered with what is not JSON fails with that", function()
    local l <close> = sh [[read line; echo '{"id":0,"result":[1,]}'; read line]]
    local result, err = l:request "m"
    assert.is_nil(result)
    assert.is_true(E.is(err, "protocol"))
  end)
end)

describe("being asked", function()
  local function ask(l, method, params)
    return assert(l:request("ask", { method = method, params = params }))
  end

  it("runs the handler as a task, which may wait and ask in turn", function()
    local l <close> = spawn {
      on_request = function(request)
        async.sleep(0.01)
        local back = assert(request._link:request("echo", { request.method, request.params }))
        request:reply(back)
      end,
    }
    local items = { 1, 2, 3 }
    for i, answer in ipairs(async.map(items, function(i) return ask(l, "q", i) end)) do
      assert.same({ "q", i }, answer.result)
    end
  end)

  it("answers an error where nobody handles it", function()
    local l <close> = spawn()
    assert.same({ kind = "rpc", code = -32601, message = "unknown method: q" }, ask(l, "q").error)
    assert.equal(-32601, is_rpc(-32601, l:request "no such method").code)
    is_rpc(-32601, l:request "silent")
  end)

  it("answers an error where the handler fails, and says no more than that", function()
    local l <close> = spawn()
    local err = is_rpc(-32603, l:request "throw")
    assert.equal("the handler failed", err.message)
    assert.is_true(eventually(function() return l:stderr():find("oh no", 1, true) ~= nil end))
    assert.same({ 1 }, l:request("echo", { 1 }))
  end)

  it("takes the end of a task that the handler cancelled for a failure like any other", function()
    local l <close> = spawn {
      on_request = function()
        local other = async.spawn(async.sleep, 100)
        other:cancel()
        assert(other:join())
      end,
    }
    assert.same({ -32603, "the handler failed" },
      { ask(l, "q").error.code, ask(l, "q").error.message })
  end)

  it("answers once", function()
    local junk, on_junk = collect()
    local l <close> = spawn { on_junk = on_junk }
    assert.equal("first", l:request "twice")
    assert.same({ 1 }, l:request("echo", { 1 }))
    assert.equal(0, #junk)
  end)

  it("gives ids back exactly as they came", function()
    local ids = {
      "0", "-1", "1.50", '"1"', '""', "null", "340282366920938463463374607431768211456",
      [["a\u0062\"\\"]],
    }
    local script = {}
    for i, id in ipairs(ids) do
      script[i] = ([[printf '%%s\n' '{"id":%s,"method":"q"}'; read -r line;]] ..
        [[ printf '%%s\n' "$line" >&2]]):format(id)
    end
    local seen = {}
    local l <close> = sh(table.concat(script, "\n"), {
      on_request = function(request)
        seen[#seen + 1] = request.id
        request:reply(true)
      end,
    })
    assert.is_true(eventually(function() return l:gone() ~= nil end))
    local wanted = {}
    for i, id in ipairs(ids) do wanted[i] = ('{"id":%s,"result":true}\n'):format(id) end
    assert.equal(table.concat(wanted), (l:stderr()))
    assert.same({ 0, -1, 1.5, "1", "", json.null }, table.move(seen, 1, 6, 1, {}))
    assert.equal('ab"\\', seen[8])
  end)

  it("refuses params that are not JSON, and tells of them", function()
    local junk, on_junk = collect()
    local l <close> = sh([[echo '{"id":"z","method":"x","params":{bad}}'; read -r line
      printf '%s\n' "$line" >&2]], { on_junk = on_junk })
    assert.is_true(eventually(function() return l:gone() ~= nil end))
    assert.matches('^{"id":"z","error":{"code":%-32700,', (l:stderr()))
    assert.same({ { '{"id":"z","method":"x","params":{bad}}', "EJSON", n = 2 } }, junk)
  end)

  it("may end the script", function()
    local l <close> = spawn()
    local err = is_closed("exit code 7", l:request("exit", 7))
    assert.same({ 7, "last words\n" }, { err.code, err.stderr })
  end)
end)

describe("notifications", function()
  it("go both ways, in their order", function()
    local heard, on_notification = collect()
    local l <close> = spawn { on_notification = on_notification }
    for i = 1, 50 do assert.is_true(l:notify("n" .. i, { i })) end
    assert.is_true(l:notify "none")
    assert.is_true(eventually(function() return #heard == 51 end))
    for i = 1, 50 do assert.same({ "heard n" .. i, { i }, n = 2 }, heard[i]) end
    assert.same({ "heard none", n = 2 }, heard[51])
  end)
end)

describe("lines that are no messages", function()
  it("are told with their reason, and do no harm", function()
    local junk, on_junk = collect()
    local l <close> = spawn { on_junk = on_junk, line_limit = 1000 }
    local text = 'hello\n[1]\n\n{"id":77,"result":1}\n{"id":"0","result":1}\n{}\n'
    assert.same({}, l:request("print", text .. ("x"):rep(2000) .. "\n"))
    assert.same({ "hello", "[1]", '{"id":77,"result":1}', '{"id":"0","result":1}', "{}", "" },
      firsts(junk))
    assert.same({ "EJSON", "EJSON", "EPROTOCOL", "EPROTOCOL", "EPROTOCOL", "ETOOLONG" },
      { junk[1][2], junk[2][2], junk[3][2], junk[4][2], junk[5][2], junk[6][2] })
  end)
end)

describe("a child that goes", function()
  it("fails all that is pending, with how it went and what it said last", function()
    for _ = 1, 5 do
      local closed, on_closed = collect()
      local l <close> = spawn { window = 3, on_closed = on_closed }
      l:request("print", "") -- it has started
      local pid = l.pid
      local errors = select(2, async.map({ 1, 2, 3, 4, 5, "kill" }, function(i)
        if i == "kill" then return uv.kill(pid, "sigkill") end
        return l:request("late", { seconds = 60 })
      end))
      for i = 1, 5 do
        is_closed("codex%-lua is gone %(signal 9%)$", nil, errors[i])
        assert.equal(-1, errors[i].code)
      end
      assert.equal(1, #closed)
      assert.equal(errors[1], closed[1][1])
      assert.equal(l:gone(), closed[1][1])
    end
  end)

  it("is known when one asks again", function()
    local l <close> = sh "echo tail >&2; exit 3"
    local err = is_closed("sh is gone %(exit code 3%)", l:request "m")
    assert.same({ 3, "tail\n" }, { err.code, err.stderr })
    assert.equal(err, select(2, l:request "m"))
    assert.equal(err, select(2, l:notify "m"))
    assert.equal("tail\n", (l:stderr()))
  end)

  it("while it takes no more input is known as well", function()
    local l <close> = sh "exec <&-; echo '{\"method\":\"shut\"}'; exec sleep 60"
    assert.is_true(eventually(function() return l:status().write_error or l:notify "m" == nil end))
    assert.is_true(E.is(select(2, l:drain()), "closed"))
  end)

  it("in its output only fails what is pending, though it lives", function()
    local l <close> = sh "exec >&-; exec sleep 60"
    local took = seconds_of(function() is_closed("is gone$", l:request "m") end)
    assert.is_true(took < 3)
    assert.is_true(alive(l.pid))
  end)
end)

describe("closing", function()
  it("waits until nothing is left, and may be repeated", function()
    local closed, on_closed = collect()
    local l <close> = sh("exec sleep 60", { on_closed = on_closed })
    local request = async.spawn(function() return l:request "m" end)
    async.sleep(0)
    l:close(0.2)
    assert.is_false(alive(l.pid))
    assert.is_true(l:status().closed)
    is_closed("was closed", request:join())
    assert.same({ 1, "closed" }, { #closed, closed[1][1].kind })
    l:close()
    is_closed("was closed", l:request "m")
    is_closed("was closed", l:notify "m")
    is_closed("was closed", l:send "m")
    is_closed("was closed", l:drain())
    assert.equal(0, l:unwritten())
    l:pause(true)
    assert.equal(1, #closed)
  end)

  it("lets a child that reads to its end finish", function()
    local l <close> = sh "cat >/dev/null; echo finished >&2"
    l:close(10)
    assert.same({ 0, 0 }, { l:status().code, l:status().signal })
    assert.equal("finished\n", (l:stderr()))
  end)

  it("ends one that will not", function()
    local l <close> = sh("trap '' TERM; echo '{\"method\":\"up\"}'; while :; do sleep 0.1; done",
      { grace = 0.2 })
    local took = seconds_of(function() l:close(0.1) end)
    assert.is_true(took < 2)
    assert.equal(9, l:status().signal)
  end)

  it("while paused with output unread works", function()
    local l <close> = sh "yes '{\"method\":\"n\"}' | head -c 4000000; exec sleep 60"
    l:pause(true)
    async.sleep(0.05)
    assert.is_true(seconds_of(function() l:close(0.1) end) < 3)
  end)

  it("happens at the end of a block, also with an error", function()
    local pid
    local ok, err = pcall(function()
      local l <close> = sh "exec cat"
      pid = l.pid
      error("mine", 0)
    end)
    assert.same({ false, "mine" }, { ok, err })
    assert.is_false(alive(pid))
  end)

  it("that is cancelled kills", function()
    local l <close> = sh "trap '' TERM; while :; do sleep 0.1; done"
    local task = async.spawn(function() l:close(60) end)
    async.sleep(0)
    task:cancel()
    task:join()
    assert.is_true(eventually(function() return not alive(l.pid) end))
  end)

  it("is not done by the collector", function()
    local heard, on_notification = collect()
    local pid
    do
      local l = spawn { on_notification = on_notification }
      pid = l.pid
      l:notify "one"
    end
    for _ = 1, 3 do collectgarbage() end
    assert.is_true(eventually(function() return #heard == 1 end))
    assert.is_true(alive(pid))
    uv.kill(pid, "sigterm")
    assert.is_true(eventually(function() return not alive(pid) end))
  end)

  it("is done when the script ends", function()
    local result = program.eval [[
      local l = require("codex.link").spawn { "sleep", "60" }
      print(l.pid)
      os.exit(0)
    ]]
    assert.same({ 0, "" }, { result.code, result.stderr })
    assert.is_false(alive(assert(tonumber(result.stdout))))
  end)
end)

describe("back-pressure", function()
  it("holds what the other side does not take, and can be waited for", function()
    local drained, on_drain = collect()
    local l <close> = sh("sleep 0.2; exec cat >/dev/null", { on_drain = on_drain })
    assert.is_true(l:notify("n", ("x"):rep(4 * MIB)))
    assert.is_true(l:unwritten() > 3 * MIB)
    assert.is_true(l:drain(MIB))
    assert.is_true(l:drain())
    assert.equal(0, l:unwritten())
    assert.is_true(#drained > 0)
  end)

  it("that ends with the other side is told", function()
    local l <close> = sh "exec sleep 60"
    l:notify("n", ("x"):rep(MIB))
    local task = async.spawn(l.drain, l)
    async.sleep(0)
    uv.kill(l.pid, "sigkill")
    is_closed("is gone %(signal 9%)$", task:join())
  end)

  it("reaches a sender whose messages are not taken", function()
    local heard, on_notification = collect()
    local l <close> = sh("yes '{\"method\":\"n\"}' | head -n 200000",
      { on_notification = on_notification })
    assert.is_true(eventually(function() return #heard > 0 end))
    l:pause(true)
    async.sleep(0.05)
    local before = #heard
    async.sleep(0.1)
    assert.equal(before, #heard)
    assert.is_true(alive(l.pid))
    l:pause(false)
    assert.is_true(eventually(function() return #heard == 200000 end, 60))
  end)
end)

describe("a raw link", function()
  it("passes messages on byte for byte", function()
    local lines = {
      '{"method":"n","params":{"b":1,"a":2}}', ' { "method" :"m" ,"id": 1.50 } ',
      '{"method":"item\\/x\\u0041","params":"\\u00e4ä"}\r', '{"id":"x\\"","result":1e400}',
      '{"id":7,"error":{"code":1},"id":8}', '{"params":[1,2,],"method":"bad"}', "", "\r",
      "not JSON", '{"id":null,"method":"","params":12345678901234567890123}',
    }
    local back, kinds = {}, {}
    local l <close> = assert(link.spawn({ "cat" }, {
      raw = true,
      on_message = function(kind, method, id, line)
        back[#back + 1] = line
        kinds[#kinds + 1] = table.concat({ kind, tostring(method), tostring(id) }, " ")
      end,
      on_junk = function(text) back[#back + 1] = text end,
    }))
    for _, line in ipairs(lines) do assert.is_true(l:send(line)) end
    assert.is_true(eventually(function() return #back == #lines end))
    assert.same(lines, back)
    assert.same({
      "notification n nil", "request m 1.50", "notification item/xA nil", 'result nil "x\\""',
      "error nil 7", "notification bad nil", "request nil null",
    }, kinds)
  end)

  it("asks on its own behalf with ids that begin as it likes", function()
    local lines, on_message = collect()
    local l <close> = assert(link.spawn({ "cat" },
      { raw = true, prefix = "cx-", on_message = on_message }))
    local task = async.spawn(function() return l:request("m", { 1 }) end)
    assert.is_true(eventually(function() return #lines == 1 end))
    assert.same({ "request", "m", '"cx-0"', '{"id":"cx-0","method":"m","params":[1]}', n = 4 },
      lines[1])
    l:send '{"id":0,"result":"another"}'
    l:send '{"id":"cx-0","result":"ours"}'
    assert.equal("ours", task:join())
    assert.same({ "request", "result" }, firsts(lines))
  end)
end)

describe("a Unix socket", function()
  local folder, remove
  before_each(function() folder, remove = program.folder() end)
  after_each(function() remove() end)

  -- One accepted connection as a link.
  local function listen(path, opts)
    local accepted, server = {}, uv.new_pipe(false)
    assert(server:bind(path))
    assert(server:listen(8, function(err)
      assert(not err, err)
      local pipe = uv.new_pipe(false)
      server:accept(pipe)
      accepted[1] = assert(link.open(pipe:fileno(), pipe:fileno(), opts))
      pipe:close()
    end))
    return accepted, setmetatable({}, {
      __close = function()
        if accepted[1] then accepted[1]:close() end
        server:close()
      end,
    })
  end

  it("is talked over like anything else", function()
    local path = folder .. "/s"
    local accepted, guard <close> = listen(path, { -- luacheck: ignore 211
      name = "client",
      on_request = function(request) request:reply { request.method, request.params } end,
    })
    local l <close> = assert(link.connect(path, {
      on_request = function(request) request:reply "mine" end,
    }))
    assert.same({ "a", { 1 } }, l:request("a", { 1 }))
    assert.equal("mine", accepted[1]:request "b")
    assert.is_nil(l.pid)
    l:close()
    assert.is_true(eventually(function() return accepted[1]:gone() ~= nil end))
    is_closed("client is gone$", accepted[1]:request "c")
  end)

  it("that nobody listens on is told", function()
    local function refusal(path)
      local l, err = link.connect(path)
      assert.is_nil(l)
      assert.is_true(E.is(err, "io"))
      return err.message
    end
    assert.matches("ENOENT", refusal(folder .. "/none"))
    program.write(folder .. "/file", "")
    assert.matches("ECONNREFUSED", refusal(folder .. "/file"))
    assert.matches("too long", refusal(folder .. "/" .. ("x"):rep(108)))
  end)
end)

describe("our own streams", function()
  it("may be files, and what was asked before their end is answered", function()
    local folder, remove = program.folder()
    local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
    program.write(folder .. "/in", '{"id":1,"method":"late","params":{"seconds":0.05}}\n'
      .. 'junk\n{"method":"n"}\n{"id":"b","method":"echo","params":[2]}')
    local argv = { "sh", "-c", '"$0" "$1" < in > out', program.path, server_path }
    local result = assert(proc.run(argv, { cwd = folder, timeout = 20 }))
    assert.same({ 0, "" }, { result.code, result.stderr })
    local file <close> = assert(io.open(folder .. "/out"))
    assert.equal('{"method":"heard n"}\n{"id":"b","result":[2]}\n'
      .. '{"id":1,"result":{"seconds":0.05}}\n', file:read "a")
  end)

  it("may be pipes of which the first ends early", function()
    local result = assert(proc.run({ program.path, server_path }, {
      input = '{"id":1,"method":"late","params":{"seconds":0.05}}\n', timeout = 20,
    }))
    assert.equal('{"id":1,"result":{"seconds":0.05}}\n', result.stdout)
  end)

  it("may be nothing at all", function()
    local argv = { program.path, server_path }
    local result = assert(proc.run(argv, { stdout = "null", timeout = 20 }))
    assert.same({ 0, "" }, { result.code, result.stderr })
  end)
end)

describe("mistakes of the caller", function()
  it("are raised and named", function()
    local cases = {
      { "did you mean 'window'", { windw = 1 } },
      { "'timeout' must be a number", { timeout = "1" } },
      { "'timeout' must be a number of seconds", { timeout = -1 } },
      { "'window' must be positive", { window = 0 } },
      { "'line_limit' must be positive", { line_limit = 0 } },
      { "'prefix' is too long", { prefix = ("x"):rep(32) } },
      { "'prefix' must be plain", { prefix = 'a"b' } },
      { "'prefix' must be plain", { prefix = "ä" } },
      { "'raw' needs 'on_message'", { raw = true } },
      { "options must be a table", 5 },
    }
    for _, case in ipairs(cases) do
      for _, open in ipairs { function(o) return link.spawn({ "true" }, o) end, link.stdio } do
        local ok, message = pcall(open, case[2])
        assert.is_false(ok)
        assert.matches(case[1], message)
      end
    end
    local l <close> = sh "exec cat"
    assert.has_error(function() l:request("m", nil, { timout = 1 }) end)
    assert.has_error(function() l:request("m", { function() end }) end)
    assert.has_error(function() l:request() end)
    assert.equal(0, l:status().pending)
  end)

  it("in programs that cannot be started are failures", function()
    local l, err = link.spawn { "no-such-program" }
    assert.is_nil(l)
    assert.is_true(E.is(err, "spawn"))
    assert.equal("ENOENT", err.code)
  end)
end)

describe("what is said while messages are taken in", function()
  -- A link over a socket whose other end is ours: `other` writes and reads raw bytes.
  local function over_socket(opts)
    local fds = uv.socketpair("stream", nil, { nonblock = true }, { nonblock = true })
    local other, got = uv.new_pipe(false), {}
    other:open(fds[1])
    other:read_start(function(_, data) got[#got + 1] = data end)
    local l = assert(link.open(fds[2], fds[2], opts))
    uv.fs_close(fds[2])
    return l, other, got
  end

  local function notes(n) return ('{"method":"n"}\n'):rep(n) end
  local function spin(seconds)
    local start = uv.hrtime()
    while uv.hrtime() - start < seconds * 1e9 do end -- luacheck: ignore 542
  end

  it("leaves together, once all of them were taken", function()
    local l, unwritten = nil, {}
    local other, got
    l, other, got = over_socket { on_notification = function()
      assert(l:notify "answer")
      unwritten[#unwritten + 1] = l:unwritten()
    end }
    other:write(notes(3))
    eventually(function() return table.concat(got) == ('{"method":"answer"}\n'):rep(3) end)
    assert.same({ 20, 40, 60 }, unwritten)
    assert.equal(0, l:unwritten())
    assert(l:notify "now")
    assert.equal(0, l:unwritten())
    l:close()
    other:close()
  end)

  it("is not kept for longer than a millisecond, nor when it is large", function()
    local l, unwritten, method = nil, {}, "slow"
    local other, got
    l, other, got = over_socket { on_notification = function()
      unwritten[#unwritten + 1] = l:unwritten()
      assert(l:notify(method))
      if method == "slow" then spin(0.002) end
    end }
    other:write(notes(2))
    eventually(function() return #unwritten == 2 end)
    method = ("x"):rep(40 * 1024)
    other:write(notes(3))
    eventually(function() return #table.concat(got) > 3 * 40 * 1024 end)
    assert.same({ 0, 0 }, { unwritten[1], unwritten[2] })
    assert.is_true(unwritten[4] > 40 * 1024)
    assert.equal(0, unwritten[5])
    l:close()
    other:close()
  end)

  it("is sent before what follows ends the link, and is waited for", function()
    for _, finish in ipairs { "close", "drain" } do
      local l, done
      local other, got
      l, other, got = over_socket { on_request = function(request)
        request:reply(1)
        assert.equal(20, l:unwritten())
        if finish == "drain" then assert(l:drain()) else l._raw:close() end
        done = true
      end }
      other:write '{"method":"m","id":1}\n'
      eventually(function() return done and #got > 0 end)
      assert.equal('{"id":1,"result":1}\n', table.concat(got))
      l:close()
      other:close()
    end
  end)
end)
