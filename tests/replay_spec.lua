--- Recordings played: to our client in the place of Codex, and to Codex in the place of a client.

local codex = require "codex"
local files = require "codex.files"
local foreign = require "tests.support.foreign"
local json = require "codex.json"
local link = require "codex.link"
local peers = require "tests.support.peers"
local program = require "tests.support.program"
local proc = require "codex.proc"
local recording = require "codex.recording"
local testing = require "codex.testing"
local uv = require "luv"

local function fixture(name)
  return ("%s/tests/fixtures/appserver-%s.jsonl"):format(peers.root, name)
end

local function replay(path, ...) return { program.path, "replay", path, ... } end

--- A client of the recorded server.
local function connect(path, ...)
  return assert(codex.connect { command = replay(path, ...), policies = {}, audit = false })
end

-- ---- What is in a recording --------------------------------------------------------------------

local function recorded(path)
  local list = { notifications = {}, requests = {}, items = {} }
  for _, entry in ipairs(assert(recording.read(path))) do
    local msg = entry.msg
    if entry.dir == "s2c" and msg.method then
      local kind = msg.id ~= nil and "requests" or "notifications"
      table.insert(list[kind], msg)
      if msg.method == "item/completed" then table.insert(list.items, msg.params.item) end
      if msg.method == "turn/completed" then list.turn = msg.params.turn end
    end
  end
  for _, item in ipairs(list.items) do
    if item.type == "agentMessage" then list.final_message = item.text end
  end
  return list
end

--- The recorded notifications of the turn, as events.
local function events_of(list)
  local events = {}
  for _, msg in ipairs(list.notifications) do
    local params = msg.params
    if params.turnId == list.turn.id or params.turn then
      events[#events + 1] = { msg.method, params }
    end
  end
  return events
end

-- ---- As server ---------------------------------------------------------------------------------

describe("our client and a recorded server", function()
  --- Runs one turn with these handlers and asserts that it went as recorded.
  local function assert_as_recorded(name, handlers, thread_options)
    local path = fixture(name)
    local expected, asked = recorded(path), {}
    local client <close> = connect(path)
    for method, answer in pairs(handlers or {}) do
      client:handle(method, function(params)
        asked[#asked + 1] = { method = method, params = params }
        return answer
      end)
    end
    local thread = assert(client:thread(thread_options))
    local events = {}
    local stream <close> = thread:run "hello"
    for event in stream do events[#events + 1] = { event.type, event.params } end
    local result = assert(stream:result())
    assert.same(events_of(expected), events)
    assert.equal(expected.final_message, result.final_message)
    assert.equal(expected.turn.id, result.turn_id)
    assert.same({}, result.unfinished)
    for i, request in ipairs(expected.requests) do
      assert.equal(request.method, asked[i].method)
      assert.same(request.params, asked[i].params)
    end
    assert.equal(#expected.requests, #asked)
    return client, result
  end

  it("have a plain turn", function()
    local client, result = assert_as_recorded("0.169.0-plain")
    assert.equal("0.169.0", client.version)
    assert.equal("Hello from mock", result.final_message)
    assert.equal(100, result.usage.input_tokens)
  end)

  it("have a command approved", function()
    assert_as_recorded("0.169.0-cmd-approval-accept",
      { ["item/commandExecution/requestApproval"] = { decision = "accept" } })
  end)

  it("have a tool called", function()
    assert_as_recorded("0.169.0-dynamic-tool",
      { ["item/tool/call"] = { contentItems = json.array {}, success = true } })
  end)

  it("have an answer of another version", function()
    assert_as_recorded("0.153.4-cmd-approval",
      { ["item/commandExecution/requestApproval"] = { decision = "accept" } })
  end)

  it("wait for the answer to what the server asks", function()
    local client <close> = connect(fixture "0.169.0-cmd-approval-accept")
    local answered = false
    client:handle("item/commandExecution/requestApproval", function()
      codex.sleep(0.2)
      answered = true
      return { decision = "accept" }
    end)
    for event in assert(client:thread()):run "go" do
      if event.type == "item/completed" and event.item.type == "commandExecution" then
        assert.is_true(answered)
      end
    end
    assert.is_true(answered)
  end)

  it("have a turn interrupted", function()
    local path = fixture "0.169.0-interrupt-command"
    local client <close> = connect(path)
    local thread = assert(client:thread())
    local stream <close> = thread:run "go"
    local last
    for event in stream do
      last = event
      if event.type == "item/started" and event.item.type == "commandExecution" then
        -- The recorded client named another turn first and was refused; this one is not.
        assert(thread:interrupt())
      end
    end
    assert.equal("failure", last.type)
    assert.equal("cancelled", last.error.kind)
    assert.equal("interrupted", last.error.code)
    local result, err = stream:result()
    assert.is_nil(result)
    assert.equal(recorded(path).turn.id, err.data.turn_id)
    assert.equal("commandExecution", err.data.unfinished[1].type)
  end)

  it("refuse what is not in the recording as Codex refuses what it does not know", function()
    local client <close> = connect(fixture "0.169.0-plain")
    local result, err = client:request("no/such/method", {})
    assert.is_nil(result)
    assert.equal("rpc", err.kind)
    assert.equal(-32600, err.code)
    assert(client:request("thread/start", {}))
    result, err = client:request("thread/start", {}) -- what follows in the recording
    assert.is_nil(result)
    assert.equal("thread/start.dynamicTools requires experimentalApi capability", err.message)
  end)

  it("have threads of their own in a loop", function()
    local client <close> = connect(fixture "0.169.0-plain", "--loop")
    local a, b = assert(client:thread()), assert(client:thread())
    assert.not_equal(a.id, b.id)
    local results = assert(codex.map({ b, a }, function(thread) return thread:ask "hi" end))
    assert.equal(b.id, results[1].thread_id)
    assert.equal(a.id, results[2].thread_id)
    assert.not_equal(results[1].turn_id, results[2].turn_id)
    assert.equal("Hello from mock", results[1].final_message)
    assert.equal("Hello from mock", results[2].final_message)
    assert(client:request("model/list", {})) -- what has no thread is answered too
    local again = assert(a:ask "again") -- what was recorded is over, and begins anew
    assert.equal("Hello from mock", again.final_message)
    assert.equal(a.id, again.thread_id)
    assert.not_equal(results[2].turn_id, again.turn_id)
    local result, err = client:request("turn/start", { threadId = "of nobody" })
    assert.is_nil(result)
    assert.equal(-32600, err.code)
  end)

  it("need not say at once what the recorded client said at once", function()
    local dir, remove = program.folder()
    local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
    local path, texts = dir .. "/at-once.jsonl", {}
    for _, entry in ipairs(assert(recording.read(fixture "0.169.0-plain"))) do
      local id = entry.msg and entry.msg.id
      if id then texts[entry.dir .. id] = entry.text end
    end
    do
      local session <close> = assert(recording.open(path))
      for _, key in ipairs {
        "c2s1", "s2c1", "c2s9", "c2s10", "c2s12", "s2c10", "s2c12", "s2c9",
      } do session:write(key:sub(1, 3), texts[key]) end
    end
    local function answers(client, ...)
      local list = codex.map({ ... }, function(method) return client:request(method, {}) end)
      return list[1].data and #list[1].data, list[2].data and #list[2].data, list[3].userId
    end
    local client <close> = connect(path)
    local list = assert(client:request("thread/list", {}))
    assert.is_table(list.data[1].environments)
    assert.is_string(assert(client:request("thread/loaded/list", {})).data[1])
    assert.equal(json.null, assert(client:request("account/read", {})).account)
    local other <close> = connect(path)
    local a, b, c = answers(other, "thread/list", "thread/loaded/list", "account/read")
    assert.same({ 1, 1, json.null }, { a, b, c })
  end)

  it("take the time that was recorded, when that is wanted", function()
    local function seconds_at(speed)
      local client <close> = connect(fixture "0.169.0-thread-id", "--speed", speed)
      client:handle("item/tool/call",
        function() return { contentItems = json.array {}, success = true } end)
      local thread = assert(client:thread())
      local before = uv.hrtime()
      assert(thread:ask "which?")
      return (uv.hrtime() - before) / 1e9
    end
    local as_recorded = seconds_at "1" -- 0.147 seconds in the recording
    assert.is_true(as_recorded > 0.1 and as_recorded < 2, tostring(as_recorded))
    assert.is_true(seconds_at "0.4" > 0.25)
  end)

  it("end as the recorded server did when that died", function()
    local dir, remove = program.folder()
    local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
    local path = dir .. "/died.jsonl"
    do
      local session <close> = assert(recording.open(path))
      for _, entry in ipairs(assert(recording.read(fixture "0.169.0-interrupt-hang"))) do
        if entry.msg and entry.msg.method == "turn/steer" then break end
        session:write(entry.dir, entry.text)
      end
      session:exit(101)
    end
    local client <close> = connect(path)
    local result, err = assert(client:thread()):ask "go"
    assert.is_nil(result)
    assert.equal("closed", err.kind)
    assert.equal(101, err.code)
  end)
end)

-- ---- As client ---------------------------------------------------------------------------------

--- Plays the client's side to a command: exit code, and what was said about differences.
local function play(path, command, opts)
  opts = opts or {}
  local argv = table.move(command, 1, #command, 6,
    { program.path, "replay", "--as", "client", path })
  table.insert(argv, 6, "--")
  local result = assert(proc.run(argv, { env = opts.env, timeout = opts.timeout or 60 }))
  local said = {}
  for text in result.stderr:gmatch "codex%-lua replay: ([^\n]*)" do said[#said + 1] = text end
  assert.equal("", result.stdout)
  return result.code, said, result.stderr
end

describe("a recorded client", function()
  local names = {}
  local request = uv.fs_scandir(peers.root .. "/tests/fixtures")
  for name in function() return uv.fs_scandir_next(request) end do
    names[#names + 1] = name:match "^appserver%-(.*)%.jsonl$"
  end

  for _, name in ipairs(names) do
    it("gets from the recorded server what it got: " .. name, function()
      local path = fixture(name)
      local code, said, came = play(path, replay(path))
      assert.same({}, said)
      assert.equal(0, code)
      for _, entry in ipairs(assert(recording.read(path))) do
        local method = entry.dir == "s2c" and entry.msg and entry.msg.method
        if method == "turn/completed" then assert.is_truthy(came:find(entry.text, 1, true)) end
      end
    end)
  end

  it("says which answers are of another kind", function()
    local code, said = play(fixture "0.169.0-plain", replay(fixture "0.169.0-dynamic-tool"))
    assert.equal(1, code)
    assert.equal("thread/start (id 0) was answered with a result, and in the recording with error "
      .. "-32600", said[1])
  end)

  it("answers what was never asked before", function()
    local path = fixture "0.169.0-interrupt-command"
    local code, said = play(path, replay(fixture "0.169.0-cmd-approval-accept"))
    assert.equal(1, code)
    assert.equal("the server asked item/commandExecution/requestApproval, which is not in the "
      .. "recording", said[1])
  end)

  it("does not wait for a server that is gone", function()
    local code, said = play(fixture "0.169.0-plain", { "true" })
    assert.equal(1, code)
    assert.same({ "the answer to thread/start did not come: the server is gone" }, said)
  end)

  it("speaks over standard streams too", function()
    local path, lines = fixture "0.169.0-cmd-approval-accept", {}
    local player
    local peer <close> = assert(link.spawn(replay(path, "--as", "client"), { raw = true,
      on_message = function(_, method, id, line)
        lines[#lines + 1] = line
        if method == "initialize" then player:send(('{"id":%s,"error":{"code":7}}'):format(id)) end
      end,
    }))
    player = peer
    assert.is_true(program.eventually(function() return #lines >= 3 end))
    assert.is_truthy(lines[1]:find('"method":"initialize"', 1, true))
    assert.is_truthy(lines[3]:find('"method":"thread/start"', 1, true))
    peer:close(10)
    assert.is_truthy(peer:stderr():find("initialize (id 0) was answered with error 7, and in the "
      .. "recording with a result", 1, true))
  end)
end)

-- ---- A live session ----------------------------------------------------------------------------

describe("a session of Codex " .. peers.version.latest, function()
  it("is recorded, and played back to both sides", function()
    local dir, remove = program.folder()
    local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
    local path = dir .. "/session.jsonl"

    local function reply(request)
      if request.outputs[1] then return "The tool said: " .. request.outputs[1].output end
      return { call = { name = "weather", arguments = { town = "Ulm" } } }
    end
    local model <close> = assert(testing.model { reply = reply })
    local cx <close> = assert(testing.codex {
      model = model, binary = peers.latest, env = { CODEX_BINARY = peers.latest },
    })
    local tool = { name = "weather", description = "The weather.", run = function(args)
      return args.town .. ": rain"
    end }

    local function session_with(command)
      local client <close> = assert(cx.connect {
        cwd = dir, policies = {}, audit = false, command = command,
      })
      local thread = assert(client:thread { sandbox = "read-only", tools = { tool } })
      return assert(thread:ask "What is the weather in Ulm?"), client.version
    end

    local recorder = { program.path, "app-server", "--no-audit", "--record", path }
    local live, version = session_with(recorder)
    assert.equal("The tool said: Ulm: rain", live.final_message)
    assert.equal(peers.version.latest, version)
    local requests = #model.requests

    local played
    played, version = session_with(replay(path))
    assert.equal(peers.version.latest, version)
    assert.equal(requests, #model.requests)
    assert.equal(live.final_message, played.final_message)
    assert.same(live.items, played.items)
    assert.same(live.usage, played.usage)
    assert.equal(live.turn_id, played.turn_id)

    local env = assert(cx.environment())
    local code, said, came = play(path, { peers.latest, "app-server" }, { env = env })
    assert.same({}, said)
    assert.equal(0, code)
    assert.is_truthy(came:find('"text":"The tool said: Ulm: rain"', 1, true))
    assert.is_nil(came:find(live.thread_id, 1, true)) -- it is another thread
    assert.equal(2 * requests, #model.requests)
  end)
end)

-- ---- Clients of others --------------------------------------------------------------------------

describe("an IDE whose path to Codex is a script", function()
  --- What the client showed of one prompt: the text, and how the turn ended.
  local function prompt_on(binary, cx)
    local events = foreign.acp(binary, cx, "hi")
    local text = {}
    for _, event in ipairs(foreign.select(events, { kind = "agent_message_chunk" })) do
      text[#text + 1] = event.text
    end
    return table.concat(text), foreign.select(events, { event = "stop" })[1].reason
  end

  it("has with codex-acp on a recording the turn that it had on Codex", function()
    local dir, remove = program.folder()
    local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
    local path = dir .. "/session.jsonl"
    local model <close> = assert(testing.model { reply = function(request)
      if request.schema then return { json = { title = "A title" } } end
      return { text = { "Hel", "lo" } }
    end })
    local cx <close> = assert(testing.codex {
      model = model, binary = peers.latest, env = { CODEX_BINARY = peers.latest },
    })
    local recorder = foreign.wrapper(dir .. "/recorder", {
      program.path, "app-server", "--no-audit", "--record", path, "--",
    })
    local text, reason = prompt_on(recorder, cx)
    assert.equal("Hello", text)
    local requests = #model.requests
    for _, more in ipairs { "", " --loop" } do
      local player = ("%s/player%d"):format(dir, #more)
      program.write(player, ("#!/bin/sh\nexec %s replay%s %s\n"):format(
        peers.quote(program.path), more, peers.quote(path)), 493)
      assert.same({ text, reason }, { prompt_on(player, cx) })
    end
    assert.equal(requests, #model.requests)
  end)
end)

-- ---- The command -------------------------------------------------------------------------------

describe("codex-lua replay", function()
  it("says how to call it, and refuses what makes no sense", function()
    local help = program.run { "replay", "--help" }
    assert.equal(0, help.code)
    assert.is_truthy(help.stdout:find("exec codex-lua replay --loop", 1, true))
    for _, argv in ipairs {
      {}, { "x", "--speed", "-1" }, { "x", "--speed", "fast" }, { "x", "--as", "both" },
      { "x", "--as", "client", "--loop" }, { "x", "--", "codex" },
    } do
      local result = program.run({ "replay", table.unpack(argv) })
      assert.equal(2, result.code, table.concat(argv, " "))
      assert.equal("", result.stdout)
    end
  end)

  it("says what is wrong with the file", function()
    local result = program.run { "replay", "/no/such/file" }
    assert.equal(1, result.code)
    assert.is_truthy(result.stderr:find("'/no/such/file'", 1, true))
    result = program.run { "replay", peers.root .. "/Makefile" }
    assert.equal(1, result.code)
    assert.is_truthy(result.stderr:find("line 1 of '", 1, true))
  end)

  it("plays what there is of a recording that was torn, and says so", function()
    local dir, remove = program.folder()
    local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
    local text = assert(files.read(fixture "0.169.0-plain"))
    local at = text:find('{"dir":"c2s","msg":{"id":4', 1, true)
    program.write(dir .. "/torn.jsonl", text:sub(1, at + 30))
    local client <close> = connect(dir .. "/torn.jsonl")
    assert(client:thread())
    assert.is_truthy(client:stderr():find "line %d+ was not written to its end and is left out")
  end)

  it("ends with code 1 where there is no thread to loop", function()
    local dir, remove = program.folder()
    local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
    recording.open(dir .. "/empty.jsonl"):close()
    local result = program.run { "replay", "--loop", dir .. "/empty.jsonl" }
    assert.equal(1, result.code)
    assert.is_truthy(result.stderr:find("no thread/start", 1, true))
  end)
end)
