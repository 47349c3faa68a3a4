--- Several clients of one server that says as much as is asked for: what one of them does or leaves
--- undone is not felt by the others. With real Codex they are in launcher_shared_spec.

local async = require "codex.async"
local program = require "tests.support.program"
local socket_client = require "tests.support.socket_client"

--- A server in Lua: threads have the names that are asked for, and `flood` has it say so many
--- megabytes about one of them.
local SERVER = [[
local json = require "codex.json"
local function say(message) io.stdout:write(json.encode(message), "\n") end
local text, answers = ("x"):rep(1000000), {}
function answers.initialize() return { userAgent = "fake" } end
answers["thread/start"] = function(params)
  if params.later then io.read "l" end
  return { thread = { id = params.name } }
end
function answers.newConversation(params) return { conversationId = params.name } end
answers["thread/unsubscribe"] = function(params)
  say { method = "unsubscribed", params = { id = params.threadId } }
  return { status = "unsubscribed" }
end
function answers.ask(params)
  say { id = params.id or 0, method = params.method, params = params.params }
  return {}
end
function answers.flood(params)
  for i = 1, params.count do
    say { method = "noise", params = { threadId = params.thread, n = i, text = text } }
  end
  return {}
end
function answers.junk()
  io.stdout:write("junk \255\254\n", '{"method":"odd","params":{"x":"\255"}}\n')
  return {}
end
for line in io.lines() do
  local message = json.decode(line)
  local answer = answers[message.method]
  if answer then say { id = message.id, result = answer(message.params or {}) } end
  if message.result then
    say { method = "answered", params = { id = message.id, result = message.result } }
  end
  if message.error then say { method = "answered", params = { id = message.id } } end
  io.stdout:flush()
end
]]

--- Runs body(connect, launcher) with a launcher that has these arguments, and this middleware.
local function with_launcher(args, body, middleware)
  local folder, remove = program.folder()
  local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
  program.write(folder .. "/server.lua", SERVER)
  program.write(folder .. "/codex",
    ("#!/bin/sh\nexec '%s' '%s/server.lua'\n"):format(program.path, folder), 493)
  if middleware then
    program.write(folder .. "/m.lua", middleware, 384)
    args = { "--middleware", folder .. "/m.lua", table.unpack(args) }
  end
  local path = folder .. "/socket"
  local launcher <close> = program.spawn(
    { "app-server", "--no-audit", "--listen", "unix://" .. path, table.unpack(args) },
    { cwd = folder, env = { CODEX_BINARY = folder .. "/codex", CODEX_LUA_LAUNCHER = false,
      XDG_STATE_HOME = folder, XDG_CONFIG_HOME = folder }, stdin = "null" })
  assert.is_true(socket_client.is_there(path), (launcher:stderr()))
  body(function(name) return socket_client.open(path, name) end, launcher)
end

local function flood(client, id, thread, count)
  client:send { id = id, method = "flood", params = { thread = thread, count = count } }
end

--- Reads so many megabytes that were said about its thread.
local function read_noise(client, count)
  for i = 1, count do assert.equal(i, client:notification("noise").params.n) end
end

local function is_anybody_cut_off(launcher)
  return launcher:stderr():find("does not read what it is sent; it is cut off", 1, true) ~= nil
end

describe("a client that stopped reading and goes on", function()
  it("lets the server go on, whatever another one has not read", function()
    with_launcher({ "--unread", "3" }, function(connect, launcher)
      local slow <close> = connect "slow"
      local idle <close> = connect "idle"
      local good <close> = connect "good"
      slow:request(1, "thread/start", { name = "of slow" })
      idle:request(1, "thread/start", { name = "of idle" })
      -- Less than what a client's time is counted for, but more than has to be left of it.
      idle.socket:pause(true)
      flood(good, 1, "of idle", 6)
      good:answer(1)
      slow.socket:pause(true)
      flood(good, 2, "of slow", 80)
      async.sleep(1)
      slow.socket:pause(false)
      read_noise(slow, 80)
      assert.is_table(good:answer(2, 8))
      idle.socket:pause(false)
      read_noise(idle, 6)
      assert.equal("", (launcher:stderr()))
    end)
  end)

  it("has its place taken when its time is over, and what it has not read is forgotten", function()
    with_launcher({ "--unread", "0.5", "--clients", "2" }, function(connect, launcher)
      local slow <close> = connect "slow"
      local good <close> = connect "good"
      slow:request(1, "thread/start", { name = "of slow" })
      slow.socket:pause(true)
      flood(good, 1, "of slow", 80)
      assert.is_table(good:answer(1, 8))
      assert.is_true(is_anybody_cut_off(launcher))
      local third <close> = connect "third" -- there is room for two
      local held = program.resident(launcher.pid)
      assert.is_true(held < 48 << 20, ("%d bytes are held"):format(held))
      assert.is_table(third:request(1, "flood", { count = 0 }).result)
    end)
  end)

  it("has its seconds once: they come back slowly", function()
    with_launcher({ "--unread", "5" }, function(connect, launcher)
      local slow <close> = connect "slow"
      local good <close> = connect "good"
      slow:request(1, "thread/start", { name = "of slow" })
      for round = 1, 2 do
        assert.is_false(is_anybody_cut_off(launcher))
        slow.socket:pause(true)
        flood(good, round, "of slow", 80)
        async.sleep(3)
        slow.socket:pause(false)
        if round == 1 then read_noise(slow, 80) end
        assert.is_table(good:answer(round, 8))
      end
      assert.is_true(is_anybody_cut_off(launcher), (launcher:stderr()))
    end)
  end)
end)

local is_question = function(message) return message.id ~= nil and message.method ~= nil end

local asks_command = "item/commandExecution/requestApproval"

local function ask(client, method, params)
  client:request("ask", "ask", { method = method, params = params })
end

describe("a client that is gone", function()
  it("leaves its threads to nobody: what is asked about them is declined", function()
    with_launcher({}, function(connect)
      local gone, stays <close> = connect "gone", connect "stays"
      gone:request(1, "thread/start", { name = "t" })
      gone:close()
      stays:notification "unsubscribed"
      ask(stays, asks_command, { threadId = "t", itemId = "i", turnId = "u", command = "ls" })
      assert.equal("decline", stays:notification("answered").params.result.decision)
      ask(stays, "item/tool/call", { threadId = "t" })
      assert.is_nil(stays:notification("answered").params.result)
      for _, message in ipairs(stays.unseen) do assert.is_false(is_question(message)) end
      -- What is about a thread that nobody here has opened is asked of all.
      ask(stays, asks_command, { threadId = "other", itemId = "i", turnId = "u", command = "ls" })
      assert.equal("other", stays:wait(is_question).params.threadId)
    end)
  end)

  it("leaves what is said of its threads to nobody, until one asks for them", function()
    with_launcher({}, function(connect)
      local gone, stays <close> = connect "gone", connect "stays"
      local other <close> = connect "other"
      gone:request(1, "thread/start", { name = "t" })
      gone:close()
      stays:notification "unsubscribed"
      flood(stays, 1, "t", 2)
      stays:answer(1)
      assert.is_false(stays:has "noise")
      stays:request(2, "thread/start", { name = "t" })
      flood(stays, 3, "t", 2)
      stays:answer(3)
      read_noise(stays, 2)
      other:request(1, "flood", { count = 0 })
      assert.is_false(other:has "noise")
    end)
  end)

  it("does not keep a thread that was opened for it meanwhile", function()
    with_launcher({}, function(connect)
      local gone, stays <close> = connect "gone", connect "stays"
      gone:send { id = 1, method = "thread/start", params = { name = "late", later = true } }
      gone:close()
      async.sleep(0.3)
      stays:send { method = "go" }
      assert.equal("late", stays:notification("unsubscribed").params.id)
    end)
  end)
end)

describe("a question about a conversation, as old versions call a thread", function()
  it("is asked of the client that opened it", function()
    with_launcher({}, function(connect)
      local a <close> = connect "a"
      local b <close> = connect "b"
      a:request(1, "newConversation", { name = "c" })
      ask(b, "execCommandApproval", { conversationId = "c", callId = "1", command = { "ls" } })
      assert.equal("c", a:wait(is_question).params.conversationId)
      a:send { id = 0, result = { decision = "denied" } }
      assert.equal("denied", b:notification("answered").params.result.decision)
      for _, message in ipairs(b.unseen) do assert.is_false(is_question(message)) end
    end)
  end)
end)

describe("what the server says that is not UTF-8", function()
  it("is repaired for sockets, and everybody goes on", function()
    with_launcher({}, function(connect, launcher)
      local a <close> = connect "a"
      local b <close> = connect "b"
      a:send { id = 1, method = "junk" }
      for _, client in ipairs { a, b } do
        assert.equal("junk \u{FFFD}\u{FFFD}", client.socket:receive())
        assert.equal("\u{FFFD}", client:notification("odd").params.x)
      end
      assert.is_table(a:answer(1))
      assert.is_table(b:request(2, "flood", { count = 0 }).result)
      assert.equal("", (launcher:stderr()))
    end)
  end)
end)

describe("a client that cannot be sent a message", function()
  it("is cut off, and the log says why", function()
    local result = program.eval [[
      local E, launcher = require "codex.error", require "codex.launcher"
      local session <close> = assert(launcher.open { argv = { "cat" }, shared = true })
      session:add {
        send = function() return nil, E.new("io", "no room") end,
        unwritten = function() return 0 end, close = function() print "closed" end,
      }
      session:notify "hello"
      session:notify "hello"]]
    assert.equal("closed\n", result.stdout)
    assert.matches("client 1 cannot be sent a message: no room; it is cut off", result.stderr)
  end)
end)

describe("a client that goes while it is held", function()
  it("is noticed at once: what it was asked is declined", function()
    local middleware = [[local codex = require "codex"
      return { name = "slow", from = "client", on = "slow",
        handle = function() codex.sleep(6) end }]]
    with_launcher({}, function(connect)
      local held, other <close> = connect "held", connect "other"
      held:request(1, "thread/start", { name = "t" })
      ask(other, asks_command, { threadId = "t", itemId = "i", turnId = "u", command = "ls" })
      held:wait(is_question)
      held:send { method = "slow" }
      for _ = 1, 24 do held:send { method = "more", params = { x = ("x"):rep(500000) } } end
      async.sleep(0.5)
      held:close()
      local answered = function(message) return message.method == "answered" end
      assert.equal("decline", other:wait(answered, 3).params.result.decision)
    end, middleware)
  end)
end)
