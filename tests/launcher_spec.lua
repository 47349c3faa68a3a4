--- The launcher between a client and a server. Where the server's own behaviour does not matter
--- it is `cat`: what the client sends comes back as if the server had sent it. With real Codex the
--- same is shown in launcher_codex_spec.

local async = require "codex.async"
local json = require "codex.json"
local link = require "codex.link"
local proc = require "codex.proc"
local program = require "tests.support.program"

--- A server of one line of shell, in a folder that goes away with the test.
local function with_server(script, body)
  local folder, remove = program.folder()
  local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
  program.write(folder .. "/codex", "#!/bin/sh\n" .. script .. "\n", 493)
  return body(folder, {
    CODEX_BINARY = folder .. "/codex", CODEX_LUA_LAUNCHER = false,
    XDG_STATE_HOME = folder, XDG_CONFIG_HOME = folder,
  })
end

local function argv_of(args)
  return table.move(args, 1, #args, 3, { program.path, "app-server" })
end

--- The launcher as a raw peer that remembers every line it sent us, and whether it was a message.
local function raw_launcher(args, env)
  local got = { lines = {}, changed = async.signal() }
  local function note(line)
    table.insert(got.lines, line)
    got.changed:notify()
  end
  local peer = assert(link.spawn(argv_of(args), {
    env = env, raw = true, line_limit = 1 << 26,
    on_message = function(_, _, _, line) note(line) end, on_junk = note,
  }))
  function got.wait(count)
    local ok, err = async.timeout(20, function()
      while #got.lines < count do got.changed:wait() end
      return true
    end)
    local text = "%s: %d of %d lines came\n%s"
    assert(ok, err and text:format(err, #got.lines, count, peer:stderr()))
    return got.lines
  end
  return peer, got
end

local function write_lua(folder, name, code)
  program.write(folder .. "/" .. name, code)
  return folder .. "/" .. name
end

describe("what files print that decide", function()
  it("and read is not the client's", function()
    with_server("exec cat", function(folder, env)
      local noise = [[
        print "noise"
        io.stdout:write("noise\n")
        io.stdout:flush()
        os.execute "echo noise; cat"
        assert(io.read "a" == "")
      ]]
      local file = write_lua(folder, "noisy.lua",
        noise .. "return { name = 'n', handle = function() " .. noise .. " end }")
      local peer <close>, got = raw_launcher({ "--no-audit", "--middleware", file }, env)
      for i = 1, 2 do
        local line = ('{"method":"item/started","params":{"n":%d}}'):format(i)
        peer:send(line)
        assert.equal(line, got.wait(i)[i])
      end
      assert.equal(2, #got.lines)
      assert.matches("noise\nnoise\nnoise", peer:stderr())
    end)
  end)
end)

describe("what nobody touches", function()
  -- What comes back first was a request of the client; then it is one of the server's, which the
  -- client answers.
  local lines = {
    '{"id":1,"method":"thread/list","params":{"b":1,"a":2}}',
    '  { "method" : "initialized" , "x":[ 1 , 2 ] }  ',
    '{"id":"caf\\u00e9 \\/","method":"x"}', '{"id":-7,"method":"y"}',
    '{"result":{"x":1.0,"y":1e3,"n":12345678901234567890},"id":1}',
    '{"error":{"code":-1,"message":"\\ud83d\\ude00"},"id":-7}',
    '{"method":"item\\/started","params":{"deep":[[[{"k":"\\"}]"}]]],"k":1}}',
    '{"method":"turn/completed","params":null}', '{"method":"item/started","params":{}}',
    '{"method":"item/completed","params":{"item":7,"threadId":"t"}}',
    '{"method":"serverRequest/resolved","params":{"requestId":99}}',
    '\t{"method":"unknown","params":{"sandboxPolicy":[]}}',
  }
  -- An id that is written oddly is written plainly to the server, and as it was to the client.
  local came = table.move(lines, 1, #lines, 1, {})
  came[3] = '{"id":"caf\u{e9} /","method":"x"}'

  it("passes byte for byte, in both directions and in order", function()
    with_server("exec cat", function(_, env)
      local peer <close>, got = raw_launcher({ "--no-audit" }, env)
      for i, line in ipairs(lines) do
        assert(peer:send(line))
        if i == 4 then got.wait(4) end -- there are questions now
      end
      assert.same(came, got.wait(#lines))
    end)
  end)

  it("passes also when middlewares and policies look at other things", function()
    with_server("exec cat", function(folder, env)
      local policy = write_lua(folder, "p.lua",
        'return { name = "p", decide = function() return "accept" end }')
      local layer = write_lua(folder, "m.lua",
        'return { name = "m", on = { "nothing/such" }, results = true, handle = error }')
      local args = { "--no-audit", "--policy", policy, "--middleware", layer }
      local peer <close>, got = raw_launcher(args, env)
      for i, line in ipairs(lines) do
        assert(peer:send(line))
        if i == 4 then got.wait(4) end
      end
      assert.same(came, got.wait(#lines))
    end)
  end)

  it("may be 16 MiB long", function()
    with_server("exec cat", function(_, env)
      local peer <close>, got = raw_launcher({ "--no-audit" }, env)
      local long = '{"method":"long","params":{"x":"' .. ("0123456789abcdef"):rep(1 << 20) .. '"}}'
      assert(peer:send(long))
      assert.is_true(got.wait(1)[1] == long)
    end)
  end)
end)

describe("the end", function()
  it("of the client is the server's, whose exit code is ours", function()
    with_server("cat >/dev/null; exit 7", function(_, env)
      local result = program.run({ "app-server", "--no-audit" }, { env = env, input = "" })
      assert.equal(7, result.code)
    end)
  end)

  it("of the server is ours", function()
    with_server("exit 3", function(_, env)
      local child <close> = program.spawn({ "app-server", "--no-audit" },
        { env = env, stdin = "pipe" })
      assert.equal(3, child:wait().code)
    end)
  end)

  it("gives what the server still says to the client", function()
    with_server("cat >/dev/null; echo '{\"method\":\"last\"}'; echo half", function(_, env)
      local result = program.run({ "app-server", "--no-audit" }, { env = env, input = "" })
      assert.equal('{"method":"last"}\nhalf\n', result.stdout)
    end)
  end)

  it("leaves no server behind when the client is gone in the middle", function()
    with_server("echo $$ >&2; exec cat", function(_, env)
      local child <close> = program.spawn({ "app-server", "--no-audit" },
        { env = env, stdin = "pipe" })
      assert.is_true(program.eventually(function() return child:stderr():find "%d+" ~= nil end))
      local server = tonumber(child:stderr():match "%d+")
      assert.is_true(program.alive(server))
      child:kill "kill"
      child:wait()
      assert.is_true(program.eventually(function() return not program.alive(server) end))
    end)
  end)

  it("comes with a signal, and lets the server end by itself", function()
    for signal, code in pairs { int = 130, term = 143, hup = 129 } do
      with_server("cat >/dev/null; echo ended >>\"$XDG_STATE_HOME/log\"", function(folder, env)
        local child <close> = program.spawn({ "app-server", "--no-audit", "--listen", "stdio://" },
          { env = env, stdin = "pipe" })
        assert.is_true(program.eventually(function()
          return (proc.run { "pgrep", "-P", tostring(child.pid) }).stdout ~= ""
        end))
        async.sleep(0.1)
        child:kill(signal)
        assert.equal(code, child:wait().code, signal)
        assert.equal("ended\n", require("codex.files").read(folder .. "/log"), signal)
      end)
    end
  end)

  it("comes when the client does not read any more", function()
    -- The reader closes its end; the server goes on writing until it is told to end.
    with_server("while echo '{\"method\":\"tick\"}'; do sleep 0.01; done", function(folder, env)
      local pipeline = "{ sleep 5; echo slept >>'%s'; } | "
        .. "{ '%s' app-server --no-audit; echo ended >>'%s'; } | head -n 1"
      local log = folder .. "/log"
      local result = assert(proc.run({ "sh", "-c", pipeline:format(log, program.path, log) },
        { env = env, timeout = 15 }))
      assert.equal('{"method":"tick"}\n', result.stdout)
      assert.equal("ended\nslept\n", require("codex.files").read(log))
    end)
  end)
end)

describe("a client that stops reading", function()
  it("stops the server; memory stays bounded", function()
    local flood = "i=0; while [ $i -lt 3000 ]; do echo \"$line\"; i=$((i+1)); done; exec cat"
    with_server("line=$(head -c 65536 /dev/zero | tr '\\0' x); " .. flood, function(_, env)
      local child <close> = program.spawn({ "app-server", "--no-audit" },
        { env = env, stdin = "pipe", line_limit = 1 << 20 })
      -- Nothing is read here beyond what our own buffer takes; 190 MiB are offered.
      async.sleep(1)
      local held = program.resident(child.pid)
      assert.is_true(held < 64 << 20, ("%d bytes are held"):format(held))
      local count = 0
      for line in child:lines() do
        assert.equal(65536, #line)
        count = count + 1
        if count == 3000 then break end
      end
      assert.equal(3000, count)
    end)
  end)
end)

describe("a question", function()
  it("of the server's that is too large to be looked into is declined", function()
    local script = [[read -r line
      printf '{"id":5,"method":"item/commandExecution/requestApproval",'
      printf '"params":{"command":"rm","x":['
      yes 0, | head -n 1100000 | tr -d '\n'
      echo '0]}}'
      exec cat ]]
    with_server(script, function(folder, env)
      local policy = write_lua(folder, "yes.lua",
        'return { name = "yes", on = "command", decide = function() return "accept" end }')
      local peer <close>, got = raw_launcher({ "--no-audit", "--policy", policy }, env)
      peer:send '{"method":"begin"}'
      local answer = json.decode(got.wait(1)[1])
      assert.is_nil(answer.result)
      assert.matches("more values than the limit", answer.error.message)
    end)
  end)

  it("to policies is made once for a message", function()
    local gate, launcher = require "codex.launcher.gate", require "codex.launcher"
    local made, answered, question = 0, async.signal(), gate.question
    local restore <close> = -- luacheck: ignore 211
      setmetatable({}, { __close = function() gate.question = question end })
    gate.question = function(...)
      made = made + 1
      return question(...)
    end
    local level = require("codex.log").level "off"
    local session <close> = assert(launcher.open { argv = { "cat" }, strict = true })
    local front = session:add { unwritten = function() return 0 end, close = function() end,
      send = function(_, line)
        answered.line = line
        answered:notify()
        return true
      end }
    front:take '{"id":1,"method":"thread/unheardOf","params":{}}'
    while not answered.line do answered:wait() end
    require("codex.log").level(level)
    assert.matches("no policy allows it", answered.line)
    assert.equal(1, made)
  end)
end)

describe("middleware", function()
  --- Sends lines through these middlewares and a server that echoes; gives what came back.
  local function through(code, lines, count, script)
    return with_server(script or "exec cat", function(folder, env)
      local path = write_lua(folder, "m.lua", code)
      local peer <close>, got = raw_launcher({ "--no-audit", "--middleware", path }, env)
      for _, line in ipairs(lines) do assert(peer:send(line)) end
      local answers = got.wait(count or #lines)
      return answers, (peer:stderr())
    end)
  end

  it("refuses a request, which the server never sees", function()
    local got = through([[return { name = "m", from = "client", on = "thread/delete",
      handle = function(message) message:refuse(-32000, "no", { why = message.params.why }) end }]],
      { '{"id":"x","method":"thread/delete","params":{"why":"test"}}', '{"method":"after"}' })
    assert.same({ id = "x", error = { code = -32000, message = "no", data = { why = "test" } } },
      json.decode(got[1]))
    assert.equal('{"method":"after"}', got[2])
  end)

  it("answers a request of either side", function()
    local got = through([[return { name = "m", from = "server", on = "ask",
      handle = function(message) message:reply { yes = true } end }]],
      { '{"id":5,"method":"ask"}' })
    -- The echo is the server's request; its answer goes to the server, and comes back as an echo.
    assert.same({ id = 5, result = { yes = true } }, json.decode(got[1]))
  end)

  it("changes what passes, and only that", function()
    local got = through([[return { name = "m", from = "client", on = "turn/start",
      handle = function(message)
        message.params.model = "other"
        message:replace(message.params)
      end }]], { '{"id":1,"method":"turn/start","params":{"threadId":"t"}}', '{ "method":"x" }' })
    assert.same({ id = 1, method = "turn/start", params = { threadId = "t", model = "other" } },
      json.decode(got[1]))
    assert.equal('{ "method":"x" }', got[2])
  end)

  it("drops a notification and adds one of its own", function()
    local got = through([[return { name = "m", from = "server", on = "noise",
      handle = function(message, session)
        message:drop()
        session:notify("codex-lua/quiet", { dropped = 1 })
      end }]], { '{"method":"noise"}' })
    assert.same({ method = "codex-lua/quiet", params = { dropped = 1 } }, json.decode(got[1]))
  end)

  it("may wait: the order stays", function()
    local got = through([[local codex = require "codex"
      return { name = "m", from = "client", on = "slow",
        handle = function() codex.sleep(0.2) end }]],
      { '{"method":"a"}', '{"method":"slow"}', '{"method":"b"}', '{"method":"slow"}',
        '{"method":"c"}' })
    local order = {}
    for i, line in ipairs(got) do order[i] = json.decode(line).method end
    assert.same({ "a", "slow", "b", "slow", "c" }, order)
  end)

  it("sees the answers to the requests it asks for", function()
    local got = through([[return { name = "m", from = "client", on = "model/list", results = true,
      handle = function(message)
        if message.kind == "result" then
          message:replace { seen = message.method, was = message.result }
        end
      end }]], { '{"id":1,"method":"model/list"}' }, 1,
      "read -r line; echo '{\"id\":1,\"result\":[7]}'; exec cat")
    assert.same({ id = 1, result = { seen = "model/list", was = { 7 } } }, json.decode(got[1]))
  end)

  it("that fails stops its message: a request is refused, anything else dropped", function()
    local got, stderr = through([[return { name = "bad", from = "client", on = "boom",
      handle = function() error "on purpose" end }]],
      { '{"id":1,"method":"boom"}', '{"method":"boom"}', '{"method":"after"}' }, 2)
    assert.same({ code = -32603, message = "a middleware failed" }, json.decode(got[1]).error)
    assert.equal('{"method":"after"}', got[2])
    assert.truthy(stderr:find("bad failed on boom", 1, true))
    assert.truthy(stderr:find("on purpose", 1, true))
  end)

  it("fails as well with the error of a task that it cancelled itself; the next has its turn",
    function()
      local got, stderr = through([[local codex = require "codex"
        return { name = "canceller", from = "client", on = "boom", handle = function()
          local task = codex.spawn(function() codex.sleep(60) end)
          task:cancel "on purpose"
          assert(task:join())
        end }]],
        { '{"id":1,"method":"boom"}', '{"method":"second"}', '{"id":2,"method":"boom"}',
          '{"method":"fourth"}' })
      local order = {}
      for i, line in ipairs(got) do order[i] = json.decode(line).id or json.decode(line).method end
      -- The refusals do not take the way by the server.
      table.sort(order, function(a, b) return tostring(a) < tostring(b) end)
      assert.same({ 1, 2, "fourth", "second" }, order)
      assert.truthy(stderr:find("canceller failed on boom: cancelled: on purpose", 1, true), stderr)
    end)

  it("is told by every name of a method, however it is written", function()
    local got = through([[return { name = "m", from = "client", on = "thread/delete",
      handle = function(message) message:refuse(1, "no") end }]],
      { '{"id":1,"meth\\u006fd":"thread\\/del\\u0065te"}' })
    assert.same({ code = 1, message = "no" }, json.decode(got[1]).error)
  end)

  it("asks the server something of its own, beside the client's ids", function()
    with_server([[
      read line; echo "$line"
      read line; id=$(echo "$line" | sed 's/.*"id":\("[^"]*"\).*/\1/')
      echo "{\"id\":$id,\"result\":{\"mine\":true}}"
      exec cat]], function(folder, env)
      local path = write_lua(folder, "m.lua", [[return { name = "m", from = "client", on = "go",
        handle = function(message, session)
          local answer = assert(session:request("own/question"))
          session:notify("told", { id = message.id, answer = answer })
        end }]])
      local peer <close>, got = raw_launcher({ "--no-audit", "--middleware", path }, env)
      assert(peer:send '{"method":"first"}')
      assert(peer:send '{"id":0,"method":"go"}')
      assert.equal('{"method":"first"}', got.wait(1)[1])
      assert.same({ method = "told", params = { id = "0", answer = { mine = true } } },
        json.decode(got.wait(2)[2]))
      assert.equal('{"id":0,"method":"go"}', got.wait(3)[3])
    end)
  end)
end)

describe("what waits behind a middleware of the server's messages", function()
  --- A server that says `count` MB before it answers a request that is not a client's.
  local server = [[
    local json = require "codex.json"
    local function say(message) io.stdout:write(json.encode(message), "\n") io.stdout:flush() end
    local function flood(count)
      for i = 1, count do
        say { method = "noise", params = { n = i, text = ("x"):rep(1000000) } }
      end
    end
    for line in io.lines() do
      local message = json.decode(line)
      if message.method == "flood" then
        say { method = "begin" }
        flood(message.params.count)
      elseif message.method == "own" then
        flood(message.params.count)
        say { id = message.id, result = { mine = true } }
      elseif message.method == "ask" then
        say { id = 7, method = "slow", params = {} }
      elseif message.method then
        say { id = message.id, result = message.params }
      else
        say { method = "answered", params = { error = message.error } }
      end
    end]]

  --- Runs body(peer, got) with a middleware for these of the server's messages, which does this.
  local function behind(from, on, code, body)
    with_server("exec '" .. program.path .. "' \"${0%/*}/server.lua\"", function(folder, env)
      write_lua(folder, "server.lua", server)
      local path = write_lua(folder, "m.lua", ([[local codex = require "codex"
        return { name = "holder", on = %q, from = %q, results = true,
          handle = function(message, session) %s end }]]):format(on, from, code))
      local peer <close>, got = raw_launcher({ "--no-audit", "--middleware", path }, env)
      body(peer, got)
    end)
  end

  local function methods(got)
    local list = {}
    for i, line in ipairs(got.lines) do list[i] = line:match '"method":"([^"]*)"' or line end
    return list
  end

  local given_up = "middleware holder failed on %s: more than 64 MiB of what the server said had "
    .. "to wait for it"

  it("stops the server", function()
    behind("server", "begin", "codex.sleep(1.5)", function(peer, got)
      peer:send '{"method":"flood","params":{"count":200}}'
      async.sleep(1)
      local held = program.resident(peer.pid)
      assert.is_true(held < 64 << 20, ("%d bytes are held"):format(held))
      assert.same("begin", json.decode(got.wait(201)[1]).method)
      for i = 1, 200 do assert.equal(i, json.decode(got.lines[i + 1]).params.n) end
    end)
  end)

  it("does not stop it where the middleware may wait for its answer", function()
    local code = [[message:replace(assert(session:request("own", { count = 20 })))]]
    behind("server", "begin", code, function(peer, got)
      peer:send '{"method":"flood","params":{"count":1}}'
      local lines = got.wait(22)
      assert.same({ method = "begin", params = { mine = true } }, json.decode(lines[1]))
    end)
  end)

  it("has a limit there, too; then the middleware has failed", function()
    behind("server", "begin", [[pcall(session.request, session, "own", { count = 100 })
      codex.sleep(60)]], function(peer, got)
      peer:send '{"method":"flood","params":{"count":1}}'
      got.wait(101)
      for _, method in ipairs(methods(got)) do assert.equal("noise", method) end
      assert.truthy(peer:stderr():find(given_up:format "begin", 1, true), (peer:stderr()))
      assert.is_true(program.resident(peer.pid) < 200 << 20)
    end)
  end)

  it("gets an answer even then, whoever has asked", function()
    local code = [[if message.from == "client" then return end
      pcall(session.request, session, "own", { count = 100 })
      codex.sleep(60)]]
    behind("server", "slow", code, function(peer, got)
      peer:send '{"method":"ask"}'
      local last = json.decode(got.wait(101)[101])
      assert.same({ code = -32603, message = "a middleware failed" }, last.params.error)
      assert.truthy(peer:stderr():find(given_up:format "slow", 1, true), (peer:stderr()))
    end)
    behind("client", "read", code, function(peer, got)
      peer:send '{"id":"mine","method":"read","params":{}}'
      local first = json.decode(got.wait(101)[1])
      assert.same({ id = "mine", error = { code = -32603, message = "a middleware failed" } },
        first)
      assert.truthy(peer:stderr():find(given_up:format "read", 1, true), (peer:stderr()))
    end)
  end)
end)

describe("a question that only an error can decline", function()
  it("is declined so, and written down once", function()
    with_server("exec cat", function(folder, env)
      local policy = write_lua(folder, "p.lua",
        'return { name = "no", decide = function() return "decline" end }')
      local peer <close>, got = raw_launcher({ "--policy", policy }, env)
      assert(peer:send '{"id":9,"method":"attestation/generate","params":{}}')
      -- The echo of the launcher's answer.
      assert.equal(-32603, json.decode(got.wait(1)[1]).error.code)
      local log = assert(require("codex.files").read(folder .. "/codex-lua/audit.jsonl"))
      assert.equal(1, select(2, log:gsub("\n", "")))
    end)
  end)
end)

describe("questions that the server does not call over", function()
  it("are forgotten when there are many", function()
    local result = program.eval [[
      local async, launcher = require "codex.async", require "codex.launcher"
      local no = { name = "no", decide = function() return "decline" end }
      local session <close> = assert(launcher.open { argv = { "cat" }, policies = { no } })
      local answers, changed = 0, async.signal()
      session:add {
        send = function()
          answers = answers + 1
          changed:notify()
          return true
        end,
        unwritten = function() return 0 end, close = function() end,
      }
      local text = '{"id":%d,"method":"item/fileChange/requestApproval","params":{"itemId":"i"}}'
      for i = 1, 1500 do session.server:send(text:format(i)) end
      while answers < 1500 do changed:wait() end -- they come back as if the server had said them
      local count = 0
      for _, asked in pairs(session._asked) do
        assert(asked.settled)
        count = count + 1
      end
      print(count, session._asked["500"], session._asked["501"].id)]]
    assert.equal("1000\tnil\t501\n", result.stdout, result.stderr)
  end)
end)

describe("a question that a middleware answers", function()
  it("is written down as that middleware's decision", function()
    with_server("exec cat", function(folder, env)
      local layer = write_lua(folder, "m.lua", [[return { name = "yes", from = "server",
        on = "item/commandExecution/requestApproval",
        handle = function(message) message:reply { decision = "acceptForSession" } end }]])
      local peer <close>, got = raw_launcher({ "--middleware", layer }, env)
      assert(peer:send(json.encode { id = 9, method = "item/commandExecution/requestApproval",
        params = { threadId = "t", command = "ls" } }))
      assert.equal("acceptForSession", json.decode(got.wait(1)[1]).result.decision)
      local log = assert(require("codex.files").read(folder .. "/codex-lua/audit.jsonl"))
      assert.same({ "accept_for_session", "middleware yes" },
        { json.decode(log).decision, json.decode(log).policy })
    end)
  end)
end)

describe("the command line", function()
  it("passes other commands to Codex", function()
    with_server('echo "args: $*"; exit 4', function(_, env)
      local result = program.run({ "app-server", "--", "login", "--with-api-key" }, { env = env })
      assert.equal("args: login --with-api-key\n", result.stdout)
      assert.equal(4, result.code)
      assert.equal("args: --version\n",
        program.run({ "app-server", "--", "--version" }, { env = env }).stdout)
    end)
  end)

  it("adds app-server where it is missing, and leaves it where it is", function()
    with_server('echo "args: $*"', function(_, env)
      local function args(...)
        return program.run({ "app-server", "--no-audit", ... }, { env = env, input = "" }).stdout
      end
      assert.equal("args: app-server\n", args())
      assert.equal("args: app-server -c a=1\n", args("--", "-c", "a=1"))
      assert.equal("args: --config a=1 app-server --listen stdio://\n",
        args("--", "--config", "a=1", "app-server", "--listen", "stdio://"))
    end)
  end)

  it("does not start itself for ever", function()
    with_server(("exec '%s' app-server --no-audit -- \"$@\""):format(program.path), function(_, env)
      local result = program.run({ "app-server", "--no-audit" }, { env = env, input = "" })
      assert.equal(1, result.code)
      assert.truthy(result.stderr:find("name the real Codex in CODEX_BINARY", 1, true))
    end)
  end)

  it("names what is wrong with it", function()
    with_server("exec cat", function(folder, env)
      local function wrong(...)
        local result = program.run({ "app-server", ... }, { env = env, input = "" })
        return result.code, result.stderr
      end
      local code, stderr = wrong("--listen", "ws://127.0.0.1:1")
      assert.equal(2, code)
      assert.truthy(stderr:find("ws://127.0.0.1:1", 1, true))
      code, stderr = wrong("--workspace", folder)
      assert.equal(2, code)
      assert.truthy(stderr:find("without --strict", 1, true))
      code, stderr = wrong("--strict", "--workspace", folder .. "/missing")
      assert.equal(1, code)
      assert.truthy(stderr:find(folder .. "/missing", 1, true))
      assert(require("codex.files").make_dir(folder .. "/inner"))
      code, stderr = wrong("--strict", "--workspace", folder, "--workspace", folder .. "/inner")
      assert.equal(1, code)
      assert.truthy(stderr:find("could write settings", 1, true))
      for option, values in pairs {
        ["--policy-timeout"] = { "0", "-1", "nan", "inf", "1e400", "1e10", "" },
        ["--unread"] = { "0", "1e400" }, ["--clients"] = { "0", "-5", "1.5", "x", "1e400" },
      } do
        for _, value in ipairs(values) do
          code, stderr = wrong(("%s=%s"):format(option, value))
          assert.equal(2, code, option .. value .. stderr)
          assert.is_nil(stderr:find("traceback", 1, true), stderr)
        end
      end
      code, stderr = wrong("--policy", folder .. "/missing.lua")
      assert.equal(1, code)
      assert.truthy(stderr:find("missing.lua", 1, true))
      code, stderr = wrong("--middleware", write_lua(folder, "m.lua", "return 1"))
      assert.equal(2, code)
      assert.truthy(stderr:find("m.lua", 1, true))
      code, stderr = wrong("--middleware", write_lua(folder, "n.lua", "return {"))
      assert.equal(2, code)
      assert.truthy(stderr:find("n.lua", 1, true))
    end)
  end)
end)
