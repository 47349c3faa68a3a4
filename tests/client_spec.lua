--- The app-server client against a server that misbehaves (tests/support/bad_server.lua): dying,
--- silent, late, flooding, out of order. What real servers do is in client_codex_spec.

local async = require "codex.async"
local codex = require "codex"
local json = require "codex.json"
local program = require "tests.support.program"
local uv = require "luv"

local SERVER = "tests/support/bad_server.lua"

--- Connects to a server that runs this code first. What would go to the log is in `log`.
---@return codex.Client?, codex.Error?
local function try_connect(code, options, log)
  local given = { policies = {}, audit = false }
  given.command = { program.path, SERVER, code }
  for name, value in pairs(options or {}) do given[name] = value end
  local cx = codex.with {
    grace = 1, cwd = program.root,
    log = function(level, message)
      if log then log[#log + 1] = level .. ": " .. message end
    end,
  }
  return cx.connect(given)
end

local function connect(...) return assert(try_connect(...)) end

--- Runs code in the server and gives what it returns: all that it sent before has come by then.
local function at(client, code)
  local result, err = client:request("test/run", { code = code })
  assert(not err, err)
  return result
end

--- What the server got with this method, as the lines that came.
local function got(client, method)
  local lines = at(client, "return json.array(seen)")
  local found = {}
  for _, line in ipairs(lines) do
    local message = json.decode(line)
    if message.method == method then found[#found + 1] = message end
  end
  return found, lines
end

--- All events of a turn; the last one's error.
local function drain(stream)
  local events = {}
  for event in stream do events[#events + 1] = event end
  return events, events[#events] and events[#events].error
end

local function types(events)
  local names = {}
  for i, event in ipairs(events) do names[i] = event.type end
  return names
end

--- Runs a function for at most so long; longer means that it hangs.
local function within(seconds, fn, ...)
  local over
  local function run(...)
    local values = table.pack(fn(...))
    over = true
    return table.unpack(values, 1, values.n)
  end
  local values = table.pack(async.timeout(seconds, run, ...))
  assert(over, "it hangs")
  return table.unpack(values, 1, values.n)
end

local function has_line(log, pattern)
  for _, line in ipairs(log) do
    if line:find(pattern) then return true end
  end
  return false
end

describe("connecting", function()
  it("sends who we are, what we can and what we do not want", function()
    local client <close> = connect("", {
      client_info = { name = "spec", title = "A spec", version = "7" },
      opt_out = { "item/agentMessage/delta" }, capabilities = { requestAttestation = true },
    })
    local hello, lines = got(client, "initialize")
    assert.same({
      clientInfo = { name = "spec", title = "A spec", version = "7" },
      capabilities = {
        experimentalApi = true, requestAttestation = true,
        optOutNotificationMethods = json.array { "item/agentMessage/delta" },
      },
    }, hello[1].params)
    assert.equal("initialized", json.decode(lines[2]).method)
    assert.equal("0.169.0", client.version)
    assert.equal("/home/dev/home", client.server.codexHome)
  end)

  it("can do without the experimental methods", function()
    local client <close> = connect("", { experimental = false })
    assert.same({ experimentalApi = false }, got(client, "initialize")[1].params.capabilities)
  end)

  it("gives up a server that does not introduce itself", function()
    local client, err = within(5, try_connect, 'on["initialize"] = function() end',
      { startup_timeout = 0.3 })
    assert.is_nil(client)
    assert.equal("timeout", err.kind)
    assert.matches("initialize within 0.3 seconds", err.message)
  end)

  it("gives back an error that initialize is answered with", function()
    local client, err = try_connect [[
      io.stderr:write "not today\n"
      on["initialize"] = function(m)
        refuse(m, { code = -32600, message = "Already initialized" })
      end
    ]]
    assert.is_nil(client)
    assert.equal("rpc", err.kind)
    assert.equal(-32600, err.code)
    assert.equal("Already initialized", err.message)
    assert.matches("not today", err.stderr)
  end)

  it("does not take an answer of another shape for an introduction", function()
    for _, text in ipairs { '"hello"', "null", "[]", "7" } do
      local client, err = try_connect(
        ([[on["initialize"] = function(m) reply(m, json.decode '%s') end]]):format(text))
      assert.is_nil(client)
      assert.equal("protocol", err.kind)
    end
  end)

  it("says why a server ended at once", function()
    local client, err = try_connect [[io.stderr:write "no such model\n" os.exit(3)]]
    assert.is_nil(client)
    assert.equal("closed", err.kind)
    assert.matches("exit code 3", err.message)
    assert.matches("no such model", err.stderr)
  end)

  it("leaves no server when its task is cancelled meanwhile", function()
    local file = os.tmpname()
    local task = async.spawn(try_connect, ([[
      local f = io.open(%q, "w") f:write(uv.os_getpid()) f:close()
      on["initialize"] = function() end
    ]]):format(file))
    local pid
    assert(program.eventually(function()
      local f <close> = assert(io.open(file))
      pid = tonumber(f:read "a")
      return pid
    end, 60), "the server had not started")
    task:cancel()
    local answer, err = task:join()
    assert.is_nil(answer)
    assert.equal("cancelled", err.kind)
    os.remove(file)
    assert.is_true(program.eventually(function() return not program.alive(pid) end, 3))
  end)

  it("names unknown options, and the nearest known one", function()
    assert.error_matches(function() try_connect("", { polices = {} }) end,
      "option 'polices' is unknown; did you mean 'policies'%?")
    local client <close> = connect ""
    local thread = assert(client:thread())
    assert.error_matches(function() client:thread { sandbocks = "read-only" } end,
      "client:thread: option 'sandbocks' is unknown; did you mean 'sandbox'%?")
    assert.error_matches(function() thread:run("hi", { idle_time_out = 3 }) end,
      "thread:run: option 'idle_time_out' is unknown; did you mean 'idle_timeout'%?")
    assert.error_matches(function() try_connect("", { timeout = "soon" }) end,
      "option 'timeout' must be a number")
    assert.error_matches(function() try_connect("", { command = {} }) end, "must name a program")
  end)
end)

describe("a turn", function()
  it("comes to what the server says", function()
    local client <close> = connect ""
    local thread = assert(client:thread())
    local stream = thread:run "hello"
    at(client, [[say "Hello from mock" note "thread/tokenUsage/updated" finish()]])
    local events, err = drain(stream)
    assert.is_nil(err)
    assert.equal("turn/started", events[1].type)
    assert.equal("turn/completed", events[#events].type)
    local result = assert(stream:result())
    assert.equal("Hello from mock", result.final_message)
    assert.equal(100, result.usage.input_tokens)
    assert.equal(stream.id, result.turn_id)
    assert.is_nil(thread:running())
  end)

  it("has the events that came before the answer to turn/start, in their order", function()
    local client <close> = connect [[
      on["turn/start"] = function(m)
        thread, turn = m.params.threadId, new_id()
        opening()
        local own = turn
        turn = new_id() -- another turn of the thread
        say "not this"
        finish()
        turn = own
        say "early"
        answer(m)
      end
    ]]
    local thread = assert(client:thread())
    local stream = thread:run "hello"
    at(client, "finish()")
    local events = drain(stream)
    assert.same({ "turn/started", "item/started", "item/completed", "item/started",
      "item/agentMessage/delta", "item/completed", "turn/completed" }, types(events))
    assert.equal("early", stream:result().final_message)
  end)

  it("has nothing of other turns and of other threads", function()
    local client <close> = connect ""
    local thread = assert(client:thread())
    local stream = thread:run "hello"
    at(client, [[
      local mine, own = turn, thread
      turn = new_id() say "another turn's" finish()
      turn = mine thread = new_id() say "a sub-agent's" finish()
      thread = own say "mine" finish()
    ]])
    local deltas = {}
    for event in stream do deltas[#deltas + 1] = event.delta end
    assert.same({ "mine" }, deltas)
    assert.equal("mine", stream:result().final_message)
  end)

  it("fails with the error that the server gives", function()
    local client <close> = connect ""
    local thread = assert(client:thread())
    local stream = thread:run "hello"
    at(client, [[finish "failed"]])
    local events, err = drain(stream)
    assert.equal("failure", events[#events].type)
    assert.equal("rpc", err.kind)
    assert.equal("other", err.code)
    assert.matches("bad request", err.message:lower())
  end)
end)

describe("a server that dies", function()
  it("ends every call and every turn with `closed`, the signal and its last words", function()
    local client <close> = connect 'on["model/list"] = function() end'
    local thread, other = assert(client:thread()), assert(client:thread())
    local first, second = thread:run "one", other:run "two"
    local calls, closed = {}, {}
    for i = 1, 3 do
      calls[i] = async.spawn(function() return client:request("model/list", {}) end)
    end
    local subscription <close> = client:on("closed", function(params) -- luacheck: ignore 211
      closed[#closed + 1] = params.error
    end)
    client:request("test/run", { code = [[io.stderr:write "out of luck\n" die(9)]] })
    for _, call in ipairs(calls) do
      local result, err = within(5, function() return call:join() end)
      assert.is_nil(result)
      assert.equal("closed", err.kind)
      assert.matches("signal 9", err.message)
      assert.matches("out of luck", err.stderr)
    end
    for _, stream in ipairs { first, second } do
      local _, err = within(5, drain, stream)
      assert.equal("closed", err.kind)
      assert.matches("signal 9", err.message)
      assert.matches("out of luck", err.stderr)
    end
    assert.equal(1, #closed)
    assert.equal(client:gone(), closed[1])
    assert.is_nil(thread:running())
  end)

  it("gives each turn its own part of what was done", function()
    local client <close> = connect ""
    local one, two = assert(client:thread()), assert(client:thread())
    local first = one:run "one"
    at(client, [[say "first"]])
    local second = two:run "two"
    at(client, [[say "second"]])
    client:request("test/run", { code = "die(9)" })
    local _, err = within(5, function() return first:result() end)
    local _, other = within(5, function() return second:result() end)
    assert.equal("first", err.data.final_message)
    assert.equal("second", other.data.final_message)
    assert.equal(first.id, err.data.turn_id)
    assert.is_nil(client:gone().data)
  end)

  it("stays dead where no restart is allowed", function()
    local client <close> = connect ""
    local thread = assert(client:thread())
    client:request("test/run", { code = "die(9)" })
    local answer, err = client:request("model/list", {})
    assert.is_nil(answer)
    assert.equal("closed", err.kind)
    local result
    result, err = thread:ask "hello"
    assert.is_nil(result)
    assert.equal("closed", err.kind)
  end)

  it("is started anew by the next request, and the thread is resumed there", function()
    local log = {}
    local client <close> = connect("", { restart = 1 }, log)
    local thread = assert(client:thread { sandbox = "read-only", approval_policy = "never",
      cwd = "/" })
    local old = client.pid
    client:request("test/run", { code = "die(9)" })
    local stream = thread:run "hello"
    assert.is_nil(stream._error)
    assert.not_equal(old, client.pid)
    local resumed = got(client, "thread/resume")
    assert.equal(1, #resumed)
    assert.same({ threadId = thread.id, sandbox = "read-only", approvalPolicy = "never",
      cwd = "/" }, resumed[1].params)
    at(client, [[say "again" finish()]])
    assert.equal("again", stream:result().final_message)
    assert.is_true(has_line(log, "signal 9.*started again"))
    client:request("test/run", { code = "die(9)" })
    local answer, err = client:request("model/list", {})
    assert.is_nil(answer)
    assert.equal("closed", err.kind)
  end)

  it("is started anew once for all who ask at the same time, and introduced first", function()
    local client <close> = connect([[
      on["initialize"] = function(m) uv.sleep(200) answer(m) end
    ]], { restart = 1 })
    client:request("test/run", { code = "die(9)" })
    local asked = {}
    for i = 1, 5 do
      asked[i] = function() return client:request("model/list", {}) end
    end
    local late = async.spawn(function()
      async.sleep(0.1) -- the new server is there and not introduced
      return client:request("model/list", {})
    end)
    within(5, async.all, asked)
    assert(late:join())
    local _, lines = got(client, "initialize")
    assert.equal("initialize", json.decode(lines[1]).method)
    assert.equal("initialized", json.decode(lines[2]).method)
    assert.equal(6, #got(client, "model/list"))
  end)

  it("takes no turn with it that was started on the next one", function()
    local client <close> = connect([[
      on["turn/start"] = function(m) begin(m) say "done" finish() end
    ]], { restart = 1 })
    at(client, [[on["turn/start"] = begin]])
    local busy, idle, asked = {}, {}, {}
    for i = 1, 3 do busy[i] = assert(client:thread()) end
    for i = 1, 10 do idle[i] = assert(client:thread()) end
    for i, thread in ipairs(busy) do
      asked[i] = async.spawn(function()
        local _, err = thread:ask "one"
        assert.equal("closed", err.kind)
        return i == 1 and async.map(idle, function(other) return other:ask "at once" end)
      end)
    end
    at(client, "")
    client:request("test/run", { code = "die(9)" })
    local results, errors = within(5, function() return asked[1]:join() end)
    assert.is_nil(errors)
    assert.equal(#idle, #results)
    for _, task in ipairs(asked) do task:join() end
  end)

  it("is not started for ever when it dies at every start", function()
    local file = os.tmpname()
    local client <close> = connect(([[
      local f = io.open(%q, "a") f:write "x" f:close()
      f = io.open(%q) local starts = #f:read "a" f:close()
      if starts > 1 then io.stderr:write "no more\n" os.exit(4) end
    ]]):format(file, file), { restart = 3 })
    client:request("test/run", { code = "die(9)" })
    for _ = 1, 6 do
      local answer, err = within(5, client.request, client, "model/list", {})
      assert.is_nil(answer)
      assert.equal("closed", err.kind)
      assert.matches("exit code 4", err.message)
    end
    local f = assert(io.open(file))
    assert.equal(4, #f:read "a")
    f:close()
    os.remove(file)
  end)

  it("that cannot even be started anew is an error, and the client still closes", function()
    local dir, remove = program.folder()
    os.execute(("ln -s %s %s/server"):format(program.path, dir))
    local client <close> = connect("", { restart = 1, command = { dir .. "/server", SERVER } })
    remove()
    client:request("test/run", { code = "die(9)" })
    local answer, err = client:request("model/list", {})
    assert.is_nil(answer)
    assert.equal("spawn", err.kind)
    answer, err = client:request("model/list", {})
    assert.is_nil(answer)
    assert.equal("closed", err.kind)
  end)

  it("when it closes its output and lives on, it is dead for us, and ended", function()
    local client <close> = connect ""
    local thread = assert(client:thread())
    local stream = thread:run "hello"
    client:request("test/run", { code = "uv.fs_close(1) uv.sleep(60000)" }, { timeout = 5 })
    local _, err = within(5, drain, stream)
    assert.equal("closed", err.kind)
    assert.is_true(program.eventually(function() return not program.alive(client.pid) end, 3))
  end)
end)

--- A policy for every kind of request.
local function policy(decide, timeout)
  return { { name = "spec", on = "*", decide = decide, timeout = timeout } }
end

--- Has the server ask for leave to run a command, in a turn, and gives its answer as it came.
local function ask_approval(client, id)
  local thread = assert(client:thread())
  local stream <close> = thread:run "go" -- luacheck: ignore 211
  local answer = at(client, ([[
    note "item/started:commandExecution"
    answered = nil
    on_answer = function(message, line) answered = line end
    ask("item/commandExecution/requestApproval", [==[%s]==])
    return turn
  ]]):format(id or "0"))
  assert.equal(stream.id, answer)
  local line
  program.eventually(function()
    line = at(client, "return answered or false")
    return line
  end)
  at(client, "finish()")
  drain(stream)
  return line
end

describe("a request of the server whose answer must be written down", function()
  --- The answer of a policy, or of a handler, that says yes; `spoil` makes writing impossible.
  local function answer(path, handler, spoil)
    local log = {}
    local client <close> = connect("", { policies = policy(function() return "accept" end),
      audit = { path = path, required = true } }, log)
    if handler then client:handle("item/commandExecution/requestApproval", handler) end
    if spoil then
      os.remove(path)
      assert(uv.fs_mkdir(path, 448))
    end
    local message = json.decode(ask_approval(client))
    if spoil then assert(uv.fs_rmdir(path)) end
    return message.result and message.result.decision or message.error.message
  end

  local function handler() return { decision = "acceptForSession" } end

  it("is answered so when it was, a handler's answer as well; else it is declined", function()
    local dir, remove = program.folder()
    local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
    local path = dir .. "/audit.jsonl"
    assert.equal("accept", answer(path))
    assert.equal("acceptForSession", answer(path, handler))
    local records = {}
    for record in assert(require("codex.audit").read(path)) do
      records[#records + 1] = record.policy .. " " .. record.decision
    end
    assert.same({ "spec accept", "handler accept_for_session" }, records)
    local level = codex.log.level "off"
    assert.equal("decline", answer(path, nil, true))
    assert.equal("decline", answer(path, handler, true))
    codex.log.level(level)
  end)

  it("names options that make no sense", function()
    for text, audit in pairs { ["'requird'"] = { requird = true }, ["'path'"] = { path = 1 },
      ["'required'"] = { required = "yes" } } do
      assert.error_matches(function() codex.connect { audit = audit } end, text)
    end
  end)
end)

describe("a request of the server", function()
  it("is decided by a policy, which sees what it is about", function()
    local seen
    local client <close> = connect("", { policies = policy(function(request)
      seen = request
      return "accept"
    end) })
    assert.equal('{"id":0,"result":{"decision":"accept"}}', ask_approval(client))
    assert.equal("command", seen.kind)
    assert.equal("commandExecution", seen.item.type)
  end)

  it("is declined when the policy throws, says what makes no sense, or never answers", function()
    local function forever() async.sleep(1000) end
    for _, decide in ipairs {
      function() error "broken" end, function() return "yes" end, function() return { 1 } end,
      function() return true end, function() return nil, "no idea" end,
      function() return { decision = "accept", answers = {} } end, forever, function() end,
    } do
      local client <close> = connect("",
        { policies = policy(decide), policy_timeout = 0.2, audit = false })
      assert.equal('{"id":0,"result":{"decision":"decline"}}', ask_approval(client))
    end
  end)

  it("is answered by a handler of ours instead, and with an error when that fails", function()
    local log = {}
    local client <close> = connect("", nil, log)
    local method = "item/commandExecution/requestApproval"
    client:handle(method, function(params) return { decision = "cancel", of = params.itemId } end)
    assert.same({ id = 0, result = { decision = "cancel", of = "call_1" } },
      json.decode(ask_approval(client)))
    client:handle(method, function() return nil, "out of order" end)
    assert.same({ id = 0, error = { code = -32603, message = "out of order" } },
      json.decode(ask_approval(client)))
    client:handle(method, function() error "broken handler" end)
    assert.same({ id = 0, error = { code = -32603, message = "the handler failed" } },
      json.decode(ask_approval(client)))
    assert.is_true(has_line(log, "error: item/commandExecution/requestApproval: .*broken handler"))
    client:handle(method, function() error { what = "odd" } end)
    assert.equal(-32603, json.decode(ask_approval(client)).error.code)
    client:handle(method, function() return { print } end) -- what JSON cannot say
    assert.equal(-32603, json.decode(ask_approval(client)).error.code)
    client:handle(method, nil)
    assert.same({ id = 0, result = { decision = "decline" } }, json.decode(ask_approval(client)))
  end)

  it("that is unknown is refused with -32601", function()
    local client <close> = connect ""
    at(client, [[
      on_answer = function(message, line) answered = line end
      write '{"id":"a","method":"some/thing","params":{}}\n'
    ]])
    local answer = json.decode(at(client, "return answered or false"))
    assert.equal("a", answer.id)
    assert.equal(-32601, answer.error.code)
  end)

  it("has its id sent back exactly, whatever it is", function()
    local client <close> = connect("", { policies = policy(function() return "accept" end) })
    for _, id in ipairs {
      "0", "-1", "1", '"0"', '""', "9007199254740993", "123456789012345678901234567890",
      "-9223372036854775809", "1.5", "1e3", '"\\u00e4\\"\\\\"', "null",
    } do
      assert.equal(('{"id":%s,"result":{"decision":"accept"}}'):format(id),
        ask_approval(client, id))
    end
    assert.same({}, client._pending)
  end)

  it("may have the id of a request of ours that is under way", function()
    local client <close> = connect("", { policies = policy(function() return "accept" end) })
    local thread = assert(client:thread())
    local stream <close> = thread:run "go" -- luacheck: ignore 211
    local answer = within(5, client.request, client, "test/run", { code = [[
      local request = ...
      silent = true -- this request of the client is unanswered while the same id comes from here
      on_answer = function(message)
        reply(request, { same = message.id == request.id, result = message.result })
        on_answer, silent = nil, false
      end
      ask("item/commandExecution/requestApproval", json.encode(request.id))
    ]] })
    assert.same({ same = true, result = { decision = "accept" } }, answer)
  end)

  it("may come before the introduction is over, with the same id", function()
    local client <close> = connect([[
      on["initialize"] = function(m)
        on_answer = function(message)
          if message.id == 0 and message.result.decision == "accept" then answer(m) end
        end
        ask("item/commandExecution/requestApproval", "0")
      end
    ]], { policies = policy(function() return "accept" end), startup_timeout = 5 })
    assert.equal("0.169.0", client.version)
  end)

  it("is given up when the server has resolved it; the answer is dropped", function()
    local log, cancelled = {}, false
    local client <close> = connect("", { policies = policy(function()
      local at_last <close> = -- luacheck: ignore 211
        setmetatable({}, { __close = function() cancelled = true end })
      async.sleep(1000)
    end) }, log)
    local thread = assert(client:thread())
    local stream <close> = thread:run "go" -- luacheck: ignore 211
    at(client, [[
      answers = 0
      on_answer = function() answers = answers + 1 end
      ask("item/commandExecution/requestApproval", "0")
    ]])
    assert.is_truthy(next(client._pending))
    at(client, [[note("serverRequest/resolved", { requestId = "0" })]]) -- another id
    assert.is_truthy(next(client._pending))
    at(client, [[note("serverRequest/resolved", { requestId = 0 })]])
    assert.same({}, client._pending)
    assert.is_true(program.eventually(function() return cancelled end))
    assert.is_true(has_line(log, "requestApproval: the question is over"))
    assert.equal(0, at(client, "return answers"))
  end)

  it("that is over is not answered either by a handler that does not let itself be cancelled",
    function()
      local log = {}
      local client <close> = connect("", nil, log)
      client:handle("item/commandExecution/requestApproval", function()
        pcall(async.sleep, 1000)
        return { decision = "accept" }
      end)
      at(client, [[
        answers = 0
        on_answer = function() answers = answers + 1 end
        ask("item/commandExecution/requestApproval", "0")
        note("serverRequest/resolved", { requestId = 0 })
      ]])
      assert.equal(0, at(client, "return answers"))
      assert.is_true(has_line(log, "requestApproval: the answer came too late and is dropped"))
    end)

  it("is given up when the server dies", function()
    local log, cancelled = {}, false
    local client <close> = connect("", { policies = policy(function()
      local at_last <close> = -- luacheck: ignore 211
        setmetatable({}, { __close = function() cancelled = true end })
      async.sleep(1000)
    end) }, log)
    client:request("test/run", { code = [[
      ask("item/commandExecution/requestApproval", "0")
      die(9)
    ]] })
    assert.is_true(program.eventually(function() return cancelled end))
    assert.same({}, client._pending)
    assert.is_true(has_line(log, "the question is over"))
  end)

  it("is given up when its turn is over", function()
    local log = {}
    local client <close> = connect("", { policies = policy(function() async.sleep(1000) end) }, log)
    local thread = assert(client:thread())
    local stream = thread:run "go"
    at(client, [[
      answers = 0
      on_answer = function() answers = answers + 1 end
      ask("item/commandExecution/requestApproval", "0")
      finish "interrupted"
    ]])
    local _, err = drain(stream)
    assert.equal("cancelled", err.kind)
    assert.same({}, client._pending)
    assert.equal(0, at(client, "return answers"))
    assert.is_true(has_line(log, "the question is over"))
  end)

  it("calls a tool of ours; one that fails is told to the model and breaks nothing", function()
    local client <close> = connect ""
    local calls = {
      fine = function(args) return "got " .. json.encode(args) end,
      throws = function() error "broken tool" end,
      refuses = function() return nil, "not now" end,
      odd = function() return { print } end,
    }
    local tools = {}
    for name, run in pairs(calls) do
      tools[#tools + 1] = { name = name, description = name, run = run }
    end
    local thread = assert(client:thread { tools = tools })
    local stream <close> = thread:run "go" -- luacheck: ignore 211
    local function call(name)
      at(client, ([[
        answered = nil
        on_answer = function(message) answered = message end
        ask("item/tool/call", "0", { tool = %q })
      ]]):format(name))
      local answer = at(client, "return answered or false")
      return answer.result or answer.error
    end
    assert.is_true(call "fine".success)
    assert.matches("^got {", call "fine".contentItems[1].text)
    local broken = call "throws"
    assert.is_false(broken.success)
    assert.matches("broken tool", broken.contentItems[1].text)
    assert.same({ success = false, contentItems = { { type = "inputText", text = "not now" } } },
      call "refuses")
    assert.is_false(call "nobody".success)
    assert.is_false(call "odd".success)
  end)
end)

describe("a subscription", function()
  it("gets every notification in order, also when it waits or fails, and until it is closed",
    function()
      local log, heard, starred = {}, {}, 0
      local client <close> = connect("", nil, log)
      local subscription = client:on("item/agentMessage/delta", function(params, method)
        assert.equal("item/agentMessage/delta", method)
        if params.delta == "2" then async.sleep(0.05) end
        heard[#heard + 1] = params.delta
        if params.delta == "1" then error "broken handler" end
      end)
      local star = client:on("*", function() starred = starred + 1 end)
      local send = [[
        thread, turn = new_id(), new_id()
        for _, text in ipairs { "1", "2", "3" } do
          note("item/agentMessage/delta", { delta = text })
        end]]
      at(client, send)
      assert.is_true(program.eventually(function() return #heard == 3 end))
      assert.same({ "1", "2", "3" }, heard)
      assert.is_true(has_line(log, "error: a handler of item/agentMessage/delta failed"))
      assert.equal(3, starred)
      at(client, send)
      subscription:close()
      star:close()
      async.sleep(0.1)
      assert.same({ "1", "2", "3", "1", "2" }, heard) -- what waited is dropped
      assert.same({}, client._subscriptions)
    end)

  it("that is closed twice takes no later one with it", function()
    local client <close> = connect ""
    local first = client:on("error", function() end)
    first:close()
    local heard = 0
    local other <close> = client:on("error", function() heard = heard + 1 end) -- luacheck: ignore
    first:close()
    at(client, [[note "error"]])
    assert.equal(1, heard)
  end)

  it("that ends itself costs no other its event", function()
    local client <close> = connect ""
    local first, second = 0, 0
    local once
    once = client:on("error", function()
      first = first + 1
      once:close()
    end)
    local other <close> = client:on("error", function() second = second + 1 end) -- luacheck: ignore
    at(client, [[note "error" note "error"]])
    assert.same({ 1, 2 }, { first, second })
  end)

  it("that is too slow loses what comes then, and says so once", function()
    local log = {}
    local client <close> = connect("", nil, log)
    local signal = async.signal()
    local subscription <close> = client:on("error", function() signal:wait() end) -- luacheck: ignore
    at(client, [[write(line("error"):rep(10100))]])
    assert.is_true(has_line(log, "a handler of error is too slow"))
    assert.equal(10000, #subscription.queue)
  end)
end)

describe("the line between", function()
  it("carries 16 MiB both ways", function()
    local client <close> = connect 'on["model/list"] = function(m) reply(m, m.params) end'
    local text = ("0123456789abcde\n"):rep(1 << 20)
    local answer = assert(within(20, client.request, client, "model/list", { text = text }))
    assert.equal(#text, #answer.text)
    assert.is_true(text == answer.text)
  end)

  it("drops a message over the limit, and goes on", function()
    local log = {}
    local client <close> = connect("", nil, log)
    at(client, [[
      local mib = ("x"):rep(1 << 20)
      write '{"method":"error","params":{"text":"'
      for _ = 1, 65 do write(mib) end
      write '"}}\n'
    ]])
    assert.is_true(has_line(log, "debug: not a message of the app%-server's %(ETOOLONG%)"))
    assert(client:request("model/list", {}))
  end)

  it("may hold junk, blank lines and answers that nobody waits for", function()
    local log = {}
    local client <close> = connect("", nil, log)
    at(client, [[
      write "\n\n  \nthis is not JSON\n[]\n7\nnull\n{}\n{\"foo\":1}\n\xff\xfe\0\n"
      reply({ id = 999 }, "nobody asked") reply({ id = "0" }, "not ours") reply({ id = 0 }, "again")
      write '{"method":5}\n{"id":1}\n'
    ]])
    assert(client:request("model/list", {}))
    assert.is_true(has_line(log, "not a message.*this is not JSON"))
    assert.is_true(has_line(log, "not a message.*nobody asked"))
  end)

  it("may end in the middle of a message", function()
    local client <close> = connect 'on["model/list"] = function() end'
    local call = async.spawn(function() return client:request("model/list", {}) end)
    local answer, err = within(5, client.request, client, "test/run",
      { code = [[write '{"id":3,"resu' os.exit(0)]] })
    assert.is_nil(answer)
    assert.equal("closed", err.kind)
    assert.matches("exit code 0", err.message)
    answer, err = call:join()
    assert.is_nil(answer)
    assert.equal("closed", err.kind)
  end)

  it("keeps answers apart that come out of order and twice", function()
    local client <close> = connect [[
      local waiting = {}
      on["model/list"] = function(m)
        table.insert(waiting, m)
        if #waiting < 5 then return end
        for i = 5, 1, -1 do
          reply(waiting[i], waiting[i].params.n)
          reply(waiting[i], "twice")
        end
      end
    ]]
    local calls, order = {}, {}
    for i = 1, 5 do
      calls[i] = function()
        local n = assert(client:request("model/list", { n = i }))
        order[#order + 1] = n
        return n
      end
    end
    assert.same({ 1, 2, 3, 4, 5 }, { within(5, async.all, calls) })
    assert.same({ 5, 4, 3, 2, 1 }, order)
    assert(client:request("thread/loaded/list", {}))
  end)

  it("gives the error of a refused setting as it came", function()
    local client <close> = connect ""
    local answer, err = client:request("config/value/write",
      { keyPath = "model", value = 12, mergeStrategy = "replace" })
    assert.is_nil(answer)
    assert.equal("rpc", err.kind)
    assert.equal(-32600, err.code)
    assert.same({ config_write_error_code = "configValidationError" }, err.data)
    assert.matches("expected a string", err.message)
  end)
end)

describe("requests", function()
  it("are repeated while the server is overloaded", function()
    local client <close> = connect [[
      local tries = 0
      on["model/list"] = function(m)
        tries = tries + 1
        if tries > 2 then return reply(m, tries) end
        refuse(m, { code = -32001, message = "Server overloaded; retry later." })
      end
    ]]
    assert.equal(3, within(5, client.request, client, "model/list", {}))
  end)

  it("give up when the server is overloaded for ever", function()
    local client <close> = connect [[
      on["model/list"] = function(m)
        refuse(m, { code = -32001, message = "Server overloaded; retry later." })
      end
    ]]
    local answer, err = within(20, client.request, client, "model/list", {})
    assert.is_nil(answer)
    assert.equal(-32001, err.code)
    assert.equal(6, #got(client, "model/list"))
  end)

  it("are never more than 64 at the server, and all are answered", function()
    -- The server answers when it is told to, all that it has by then.
    local client <close> = connect [[
      local open, most = {}, 0
      on["model/list"] = function(m)
        table.insert(open, m)
        most = math.max(most, #open)
      end
      on["turn/steer"] = function(m)
        for _, each in ipairs(open) do reply(each, most) end
        open = {}
      end
    ]]
    local left, most = 200, 0
    local tasks = {}
    for i = 1, 200 do
      tasks[i] = async.spawn(function()
        local there = assert(client:request("model/list", {}))
        most = math.max(most, there)
        left = left - 1
      end)
    end
    for _, expected in ipairs { 136, 72, 8, 0 } do
      async.sleep(0)
      local status = client._link:status()
      assert.same({ math.min(64, left), math.max(0, left - 64) },
        { status.pending, status.queued })
      client:notify "turn/steer" -- comes after all that were sent
      assert.is_true(program.eventually(function() return left == expected end))
    end
    assert.equal(0, left)
    assert.equal(64, most)
    for _, task in ipairs(tasks) do task:join() end
  end)

  it("have a time limit each", function()
    local client <close> = connect('on["model/list"] = function() end', { timeout = 0.1 })
    local answer, err = within(5, client.request, client, "model/list", {})
    assert.is_nil(answer)
    assert.equal("timeout", err.kind)
    assert.matches("model/list within 0.1 seconds", err.message)
    answer, err = within(5, client.request, client, "model/list", {}, { timeout = 0.2 })
    assert.is_nil(answer)
    assert.matches("within 0.2 seconds", err.message)
  end)

  it("that are cancelled leave nothing, and their late answers do no harm", function()
    local client <close> = connect [[
      on["model/list"] = function(m) held = m end
    ]]
    local task = async.spawn(function() return client:request("model/list", {}) end)
    at(client, "")
    task:cancel "enough"
    local answer, err = task:join()
    assert.is_nil(answer)
    assert.equal("cancelled", err.kind)
    assert.equal(0, client._link:status().pending)
    at(client, "reply(held, 1)")
    assert.equal(0, client._link:status().pending)
  end)

  it("after the end say that the client is closed", function()
    local client = connect("", { restart = 5 })
    local thread = assert(client:thread())
    local pid = client.pid
    client:close()
    client:close()
    local answer, err = client:request("model/list", {})
    assert.is_nil(answer)
    assert.equal("closed", err.kind)
    assert.equal(pid, client.pid)
    answer, err = client:notify "initialized"
    assert.is_nil(answer)
    assert.equal("closed", err.kind)
    answer, err = client:thread()
    assert.is_nil(answer)
    assert.equal("closed", err.kind)
    answer, err = thread:ask "hello"
    assert.is_nil(answer)
    assert.equal("closed", err.kind)
    answer, err = thread:interrupt()
    assert.is_nil(answer)
    assert.equal("idle", err.code)
  end)
end)

describe("a busy thread", function()
  it("takes no second turn, unless that is meant for the first", function()
    local client <close> = connect ""
    local thread = assert(client:thread())
    local stream = thread:run "one"
    assert.error_matches(function() thread:run "two" end, "thread .* is busy with a turn")
    assert.error_matches(function() thread:ask "two" end, "is busy with a turn")
    assert(thread:steer "also this")
    local steering = thread:run("and this", { steer = true })
    assert.equal(stream.id, steering.id)
    local sent = got(client, "turn/steer")
    assert.same({ stream.id, stream.id },
      { sent[1].params.expectedTurnId, sent[2].params.expectedTurnId })
    assert.equal("also this", sent[1].params.input[1].text)
    at(client, [[say "both" finish()]])
    assert.equal("both", stream:result().final_message)
    assert.equal("both", steering:result().final_message)
    assert.is_nil(thread:running())
    local answer, err = thread:steer "too late"
    assert.is_nil(answer)
    assert.equal("idle", err.code)
  end)

  it("is steered and interrupted only once its turn is known", function()
    local client <close> = connect 'on["turn/start"] = function(m) held = m end'
    local thread = assert(client:thread())
    local turn = async.spawn(function() return thread:ask "one" end)
    at(client, "")
    local steered = async.spawn(function() return thread:steer "also this" end)
    local joined = async.spawn(function() return thread:ask("and this", { steer = true }) end)
    local interrupted = async.spawn(function() return thread:interrupt() end)
    at(client, "begin(held)")
    assert(within(5, function() return steered:join() end))
    assert(within(5, function() return interrupted:join() end))
    for _, task in ipairs { turn, joined } do
      local _, err = within(5, function() return task:join() end)
      assert.equal("interrupted", err.code)
    end
    local id = got(client, "turn/interrupt")[1].params.turnId
    for _, sent in ipairs(got(client, "turn/steer")) do
      assert.equal(id, sent.params.expectedTurnId)
    end
  end)

  it("is not interrupted by a turn that only steers when its loop is left", function()
    local client <close> = connect ""
    local thread = assert(client:thread())
    local stream = thread:run "one"
    local steering = thread:run("two", { steer = true })
    at(client, [[say "one thing"]])
    assert.equal("turn/started", steering:next().type)
    steering:close()
    assert.equal(stream, thread:running())
    at(client, [[say "and another" finish()]])
    assert.equal("and another", stream:result().final_message)
    assert.equal(0, #got(client, "turn/interrupt"))
  end)
end)

describe("interrupting", function()
  it("ends the turn for those who wait for it", function()
    local client <close> = connect ""
    local thread = assert(client:thread())
    local stream = thread:run "go"
    at(client, [[note "item/started:commandExecution"]])
    assert(thread:interrupt())
    local events, err = within(5, drain, stream)
    assert.equal("turn/completed", events[#events - 1].type)
    assert.equal("cancelled", err.kind)
    assert.equal("interrupted", err.code)
    local _, why = stream:result()
    assert.equal("call_1", why.data.unfinished[1].id)
    local answer
    answer, err = stream:interrupt()
    assert.is_nil(answer)
    assert.equal("idle", err.code)
    assert.equal(1, #got(client, "turn/interrupt"))
  end)

  it("a turn that completes meanwhile is no failure", function()
    local client <close> = connect [[
      on["turn/interrupt"] = function(m)
        say "done before" finish()
        refuse(m, 2)
      end
    ]]
    local thread = assert(client:thread())
    local stream = thread:run "go"
    assert(thread:interrupt())
    assert.equal("done before", assert(stream:result()).final_message)
  end)

  it("by two tasks at once works", function()
    local client <close> = connect ""
    local thread = assert(client:thread())
    local stream = thread:run "go"
    local function interrupt() return thread:interrupt() end
    local one, two = async.spawn(interrupt), async.spawn(interrupt)
    assert(one:join())
    assert(two:join())
    local _, err = within(5, drain, stream)
    assert.equal("interrupted", err.code)
  end)

  it("happens when the loop is left, and waits for the end", function()
    local client <close> = connect ""
    local thread = assert(client:thread())
    for event in thread:run "go" do
      if event.type == "item/completed" then break end
    end
    assert.is_nil(thread:running())
    assert.equal(1, #got(client, "turn/interrupt"))
    for event in thread:run "again" do
      if event.type == "turn/started" then at(client, "finish()") end
      if event.type == "turn/completed" then break end -- at the very last event
    end
    assert.equal(1, #got(client, "turn/interrupt"))
    pcall(function()
      for _ in thread:run "and again" do error "oh" end
    end)
    assert.equal(2, #got(client, "turn/interrupt"))
  end)

  it("lasts no longer than the turn, though the server answers nothing more", function()
    local client <close> = connect 'on["turn/interrupt"] = function() finish "interrupted" end'
    local thread = assert(client:thread())
    local stream = thread:run "go"
    assert(within(2, thread.interrupt, thread))
    assert.equal("interrupted", select(2, drain(stream)).code)
    within(2, function()
      local left <close> = thread:run "again" -- luacheck: ignore 211
    end)
    assert.is_nil(thread:running())
  end)

  it("does not hang when the server does not answer", function()
    local client <close> = connect 'on["turn/interrupt"] = function() end'
    local thread = assert(client:thread())
    within(8, function()
      local stream <close> = thread:run "go" -- luacheck: ignore 211
    end)
    assert.is_nil(thread:running())
  end)

  it("may itself be cancelled", function()
    local client <close> = connect 'on["turn/interrupt"] = function() end'
    local thread = assert(client:thread())
    local stream = thread:run "go"
    local task = async.spawn(function() stream:close() end)
    at(client, "")
    task:cancel()
    task:join()
    assert.is_nil(thread:running())
    assert.same({}, client._turns)
  end)

  it("reaches a turn whose task was cancelled before its id was known", function()
    local client <close> = connect 'on["turn/start"] = function(m) held = m end'
    local thread = assert(client:thread())
    local task = async.spawn(function() return thread:ask "go" end)
    at(client, "")
    task:cancel "never mind"
    local answer, err = task:join()
    assert.is_nil(answer)
    assert.equal("never mind", err.message)
    local after = async.spawn(function() return thread:ask "next" end)
    local id = at(client, [[on["turn/start"] = begin begin(held) return turn]])
    assert.is_true(program.eventually(function() return #got(client, "turn/start") == 2 end))
    local order = {}
    for _, line in ipairs(select(2, got(client, ""))) do
      local message = json.decode(line)
      if message.method:find "^turn/" then order[#order + 1] = message.method end
    end
    assert.same({ "turn/start", "turn/interrupt", "turn/start" }, order)
    assert.equal(id, got(client, "turn/interrupt")[1].params.turnId)
    at(client, [[say "the next" finish()]])
    assert.equal("the next", assert(after:join()).final_message)
  end)

  it("is not done for a turn that never began", function()
    local client <close> = connect 'on["turn/start"] = function(m) held = m end'
    local thread = assert(client:thread())
    local task = async.spawn(function() return thread:ask "go" end)
    at(client, "")
    task:cancel()
    task:join()
    assert.is_nil(thread:running())
    at(client, [[refuse(held, { code = -32600, message = "thread not found" })]])
    assert.same({}, client._turns)
    assert.equal(0, #got(client, "turn/interrupt"))
  end)
end)

describe("a turn that is not told of its end", function()
  --- The server has the turn on record as it is in the capture of thread/turns/list.
  local record = [[
    on["thread/read"] = function(m)
      answer(m, { thread = { status = { type = active and "active" or "idle" } } })
    end
    on["thread/turns/list"] = function(m)
      thread, turn = m.params.threadId, recorded
      answer(m)
    end
  ]]

  it("finds it on record, and the answer with it", function()
    local client <close> = connect(record)
    local thread = assert(client:thread())
    local stream = thread:run("hello", { watch = 0.1 })
    at(client, [[recorded, active = turn, false]])
    local events, err = within(5, drain, stream)
    assert.is_nil(err)
    local last = events[#events]
    assert.equal("turn/completed", last.type)
    assert.is_true(last.synthetic)
    assert.equal("item/completed", events[#events - 1].type)
    assert.is_true(events[#events - 1].synthetic)
    assert.is_string(events[#events - 1].item.text)
    assert.equal(events[#events - 1].item.text, stream:result().final_message)
    assert.equal(1, #got(client, "thread/turns/list"))
    assert.is_nil(thread:running())
  end)

  it("fails as lost when the server has no such turn", function()
    local client <close> = connect(record)
    local thread = assert(client:thread())
    local stream = thread:run("hello", { watch = 0.1 })
    at(client, [[recorded, active = new_id(), false]])
    local _, err = within(5, drain, stream)
    assert.equal("protocol", err.kind)
    assert.equal("lost", err.code)
  end)

  it("waits on while the server works on it, cannot say, or talks nonsense", function()
    local client <close> = connect(record)
    local thread = assert(client:thread())
    local stream = thread:run("hello", { watch = 0.05 })
    for _, code in ipairs {
      "",
      [[on["thread/read"] = function(m) refuse(m, { code = -32603, message = "no" }) end]],
      [[on["thread/read"] = function(m) reply(m, { thread = { status = "idle" } }) end]],
      [[on["thread/read"] = function(m) reply(m, json.null) end]],
      [[
        on["thread/turns/list"] = function(m) reply(m, { data = 7 }) end
        on["thread/read"] = function(m)
          reply(m, { thread = { status = { type = "idle" }, turns = json.null } })
        end
      ]],
    } do
      at(client, code)
      local before = #got(client, "thread/read")
      assert.is_true(program.eventually(function()
        return #got(client, "thread/read") >= before + 3
      end))
      assert.equal(stream, thread:running())
    end
    at(client, [[say "at last" finish()]])
    assert.equal("at last", stream:result().final_message)
  end)

  it("is given up after so long without a word, but not while we are asked something", function()
    local client <close> = connect("", { policies = policy(function()
      async.sleep(0.5)
      return "accept"
    end) })
    local thread = assert(client:thread())
    local stream = thread:run("hello", { idle_timeout = 0.2 })
    at(client, [[
      on["thread/read"] = function(m) answer(m, { thread = { status = { type = "active" } } }) end
      on_answer = function() answered = true end
      ask("item/commandExecution/requestApproval", "0")
    ]])
    async.sleep(0.4)
    assert.equal(stream, thread:running())
    local _, err = within(5, drain, stream)
    assert.is_true(at(client, "return answered"))
    assert.equal("idle", err.kind)
    assert.matches("0.2 seconds", err.message)
    assert.equal(1, #got(client, "turn/interrupt"))
  end)

  it("is given up when its time is over", function()
    local client <close> = connect ""
    local thread = assert(client:thread())
    local answer, err = within(5, thread.ask, thread, "hello", { timeout = 0.2 })
    assert.is_nil(answer)
    assert.equal("timeout", err.kind)
    assert.matches("0.2 seconds", err.message)
    assert.equal(1, #got(client, "turn/interrupt"))
    assert.is_nil(thread:running())
  end)

  it("is interrupted also when its time was over before it had an id", function()
    local client <close> = connect 'on["turn/start"] = function(m) held = m end'
    local thread = assert(client:thread())
    local answer, err = within(5, thread.ask, thread, "hello", { timeout = 0.1 })
    assert.is_nil(answer)
    assert.equal("timeout", err.kind)
    local id = at(client, "begin(held) return turn")
    assert.equal(id, got(client, "turn/interrupt")[1].params.turnId)
  end)
end)

describe("a loop that does not keep up", function()
  it("loses its turn with a clear error, and nobody else anything", function()
    local client <close> = connect ""
    local slow, quick = assert(client:thread()), assert(client:thread())
    local stream = slow:run("flood", { buffer = 1000 })
    local asked = async.spawn(function() return quick:ask "hello" end)
    at(client, "")
    at(client, ([[
      local quick_thread, quick_turn = thread, turn
      thread, turn = %q, %q
      write(line("item/agentMessage/delta"):rep(50000))
      thread, turn = quick_thread, quick_turn
      say "unharmed"
      finish()
    ]]):format(slow.id, stream.id))
    assert.equal("unharmed", assert(asked:join()).final_message)
    assert.is_true(program.eventually(function()
      return #got(client, "turn/interrupt") == 1
    end))
    assert.equal(stream.id, got(client, "turn/interrupt")[1].params.turnId)
    assert.is_true(stream._last - stream._first < 1000)
    local events, err = drain(stream)
    assert.equal(1001, #events)
    assert.equal("protocol", err.kind)
    assert.equal("overflow", err.code)
    assert.matches("more than 1000 events wait", err.message)
  end)

  it("also has a bound before the turn's id is known", function()
    local client <close> = connect [[
      on["turn/start"] = function(m)
        held, thread, turn = m, m.params.threadId, new_id()
        write(line("item/agentMessage/delta"):rep(5000))
      end
    ]]
    local thread = assert(client:thread())
    local stream = within(5, thread.run, thread, "flood", { buffer = 1000 })
    at(client, "")
    assert.equal(1000, #stream._early)
    local _, err = drain(stream)
    assert.equal("overflow", err.code)
    at(client, "active = true answer(held)")
    assert.is_true(program.eventually(function() return not client._turns[thread.id] end))
    assert.equal(1, #got(client, "turn/interrupt"))
  end)

  it("costs no memory where only the result is wanted", function()
    local client <close> = connect ""
    local thread = assert(client:thread())
    local asked = async.spawn(function() return thread:ask("flood", { buffer = 10 }) end)
    at(client, "")
    at(client, [[write(line("item/agentMessage/delta"):rep(50000)) say "done" finish()]])
    assert.equal("done", assert(asked:join()).final_message)
  end)
end)

--- Every method that the client or a turn reads more of than its ids.
local read_methods = {
  "item/started", "item/completed", "item/fileChange/patchUpdated", "turn/completed",
  "serverRequest/resolved", "thread/tokenUsage/updated", "turn/diff/updated", "turn/plan/updated",
  "item/agentMessage/delta", "turn/started",
}

describe("a notification of odd shape", function()
  --- Sends each method with params in which one field has each odd value, by the server.
  local function send_odd(client, own_turn, methods)
    at(client, ([[
      local methods, own_turn = json.decode [==[%s]==], %s
      local odd = { json.null, json.array {}, json.object {}, "text", 7, 1.5, true,
        { 1, 2 }, { id = json.null }, { id = {} }, { last = { 1, 2 } }, { last = 5 },
        { status = 5 }, { type = {} } }
      local fields = { "item", "itemId", "changes", "turn", "requestId", "tokenUsage", "diff",
        "plan", "delta", "threadId", "turnId" }
      for _, method in ipairs(methods) do
        send { method = method }
        for _, value in ipairs(odd) do
          send { method = method, params = value }
          send { method = method, params = { threadId = thread, turnId = own_turn and turn } }
          for _, field in ipairs(fields) do
            local params = { threadId = thread, turnId = own_turn and turn or nil }
            params[field] = value
            send { method = method, params = params }
          end
        end
      end
    ]]):format(json.encode(json.array(methods)), own_turn))
  end

  --- What is raised while a notification is taken in would only be said on standard error.
  local function catch(client)
    local given, raised = client._link._options, {}
    local take = given.on_notification
    function given.on_notification(...)
      local ok, err = xpcall(take, debug.traceback, ...)
      if not ok then raised[#raised + 1] = err end
    end
    return raised
  end

  it("breaks nothing", function()
    local client <close> = connect ""
    local raised = catch(client)
    local thread = assert(client:thread())
    local heard = 0
    local all <close> = client:on("*", function() heard = heard + 1 end) -- luacheck: ignore 211
    local stream = thread:run "hello"
    at(client, [[note "item/started:commandExecution"]])
    local others = {}
    for _, method in ipairs(read_methods) do
      if method ~= "turn/completed" then others[#others + 1] = method end
    end
    send_odd(client, true, others)
    send_odd(client, false, { "turn/completed" })
    assert.same({}, raised)
    assert.is_true(heard > 1000)
    assert.equal(stream, thread:running())
    at(client, [[say "unharmed" note "thread/tokenUsage/updated" finish()]])
    for event in stream do
      assert.is_true(event.delta == nil or type(event.delta) == "string")
    end
    local result = assert(stream:result())
    assert.equal("unharmed", result.final_message)
    assert.equal(100, result.usage.input_tokens)
  end)

  it("ends the turn with an error where it is the turn's end", function()
    local client <close> = connect ""
    local raised = catch(client)
    local thread = assert(client:thread())
    for _, odd in ipairs {
      "nil", "json.null", "{}", "7", "{ id = turn }", '{ id = turn, status = "strange" }',
    } do
      local stream = thread:run "hello"
      at(client, ([[
        active = false
        send { method = "turn/completed",
          params = { threadId = thread, turnId = turn, turn = %s } }
      ]]):format(odd))
      local _, err = within(5, drain, stream)
      assert.equal("protocol", err.kind)
      assert.equal("status", err.code)
    end
    local stream = thread:run "hello"
    at(client, [[
      note("turn/completed:failed", { turn = { error = json.null } })
    ]])
    local _, err = within(5, drain, stream)
    assert.equal("rpc", err.kind)
    assert.equal("the turn failed", err.message)
    assert.same({}, raised)
  end)
end)

describe("an answer of odd shape", function()
  it("is an error of kind `protocol`", function()
    local client <close> = connect ""
    local thread = assert(client:thread())
    for _, odd in ipairs {
      "json.null", "7", '"text"', "{}", "{ thread = 7, turn = 7 }", "{ thread = {}, turn = {} }",
      "{ thread = { id = 7 }, turn = { id = 7 } }",
    } do
      at(client, ([[
        on["thread/start"] = function(m) reply(m, %s) end
        on["turn/start"] = on["thread/start"]
      ]]):format(odd))
      local answer, err = client:thread()
      assert.is_nil(answer)
      assert.equal("protocol", err.kind)
      answer, err = thread:ask "hello"
      assert.is_nil(answer)
      assert.equal("protocol", err.kind)
      assert.is_nil(thread:running())
    end
  end)

  it("has its error's data in the error, whatever that is", function()
    local client <close> = connect ""
    local thread = assert(client:thread())
    for _, data in ipairs { '"text"', "{ 1, 2 }", "json.null", "{ thread_id = 5 }" } do
      at(client, ([[
        on["turn/start"] = function(m)
          refuse(m, { code = -32603, message = "no", data = %s })
        end
      ]]):format(data))
      local answer, err = thread:ask "hello"
      assert.is_nil(answer)
      assert.equal(-32603, err.code)
      assert.equal("no", err.message)
      assert.is_table(err.data)
    end
  end)
end)

describe("closing", function()
  it("ends all that runs, and leaves no process", function()
    local asked, decided = async.signal(), nil
    local client = connect('on["model/list"] = function() end', {
      restart = 5,
      policies = policy(function()
        asked:notify()
        local at_last <close> = setmetatable({}, { -- luacheck: ignore 211
          __close = function() decided = "cancelled" end,
        })
        async.sleep(1000)
        decided = "accepted"
        return "accept"
      end),
    })
    local thread, other = assert(client:thread()), assert(client:thread())
    local stream = thread:run "one"
    local waiting = async.spawn(function() return other:ask "two" end)
    local call = async.spawn(function() return client:request("model/list", {}) end)
    local queued = {}
    for i = 1, 100 do
      queued[i] = async.spawn(function() return client:request("model/list", {}) end)
    end
    local steered = async.spawn(function() return thread:steer "more" end)
    client:notify("test/run", { code = [[
      ask("item/commandExecution/requestApproval", "0")
    ]] })
    asked:wait()
    local pid = client.pid
    within(5, client.close, client)
    assert.is_false(program.alive(pid))
    assert.equal("cancelled", decided)
    local _, err = within(1, drain, stream)
    assert.equal("closed", err.kind)
    assert.matches("was closed", err.message)
    for _, task in ipairs { waiting, call, queued[1], queued[100], steered } do
      local answer
      answer, err = within(1, function() return task:join() end)
      assert.is_nil(answer)
      assert.equal("closed", err.kind)
    end
    for _, task in ipairs(queued) do task:join() end
    assert.same({}, client._pending)
    assert.same({}, client._turns)
    assert.equal(pid, client.pid)
  end)

  it("ends a server that does not heed the end of its input", function()
    local client = connect "function at_end() uv.sleep(60000) end"
    local pid = client.pid
    within(5, client.close, client)
    assert.is_false(program.alive(pid))
  end)

  it("ends a server that does not heed signals either", function()
    local client = connect("", { command = { "sh", "-c", "trap '' INT TERM; while :; do "
      .. '"$0" "$1" "$2"; done', program.path, SERVER, "function at_end() uv.sleep(60000) end" } })
    local pid = client.pid
    within(8, client.close, client)
    assert.is_false(program.alive(pid))
  end)

  it("works from several tasks, from a handler, and outside of tasks", function()
    local client = connect ""
    local tasks = {}
    for i = 1, 3 do tasks[i] = async.spawn(function() client:close() end) end
    for _, task in ipairs(tasks) do task:join() end
    assert.is_false(program.alive(client.pid))

    client = connect("", { policies = policy(function(request) request.client:close() end) })
    local stream = assert(client:thread()):run "go"
    client:request("test/run", { code = 'ask("item/commandExecution/requestApproval", "0")' })
    local _, err = within(5, drain, stream)
    assert.equal("closed", err.kind)
    assert.is_true(program.eventually(function() return not program.alive(client.pid) end))

    client = connect ""
    local is_over
    client:handle("item/commandExecution/requestApproval", function()
      client:close()
      is_over = true
      return { decision = "accept" }
    end)
    client:notify("test/run", { code = 'ask("item/commandExecution/requestApproval", "0")' })
    assert.is_true(program.eventually(function() return is_over end))
    assert.is_false(program.alive(client.pid))

    client = connect ""
    local timer = require("luv").new_timer()
    timer:start(0, 0, function()
      timer:close()
      client:close()
    end)
    assert.is_true(program.eventually(function() return not program.alive(client.pid) end))
  end)

  it("happens at the end of a block, also of one that fails", function()
    local pid
    assert.error_matches(function()
      local client <close> = connect ""
      pid = client.pid
      error "oh"
    end, "oh")
    assert.is_false(program.alive(pid))
  end)

  it("while it is started anew starts nothing more", function()
    local client = connect('on["initialize"] = function(m) uv.sleep(300) answer(m) end',
      { restart = 5 })
    client:request("test/run", { code = "die(9)" })
    local call = async.spawn(function() return client:request("model/list", {}) end)
    async.sleep(0.1)
    within(5, client.close, client)
    local answer, err = within(5, function() return call:join() end)
    assert.is_nil(answer)
    assert.equal("closed", err.kind)
    assert.is_true(program.eventually(function() return not program.alive(client.pid) end))
  end)
end)
