--- Several clients on one app-server: each has its ids, its threads and its questions.

local peers = require "tests.support.peers"
local program = require "tests.support.program"
local testing = require "codex.testing"
local socket_client = require "tests.support.socket_client"

local function reply(request)
  if request.prompt ~= "run it" then return "said to " .. (request.prompt or "nobody") end
  local output = request.outputs[1]
  if output then return output.output:find "from%-the%-command" and "It ran." or "It did not." end
  return { exec = { cmd = "echo from-the-command", sandbox_permissions = "require_escalated" } }
end

local function start_thread(client, id)
  local answer = client:request(id, "thread/start",
    { approvalPolicy = "on-request", sandbox = "read-only" })
  return answer.result.thread.id
end

local function start_turn(client, id, thread, text)
  return client:request(id, "turn/start",
    { threadId = thread, input = { { type = "text", text = text } } }).result.turn.id
end

local function turn_end(client) return client:notification("turn/completed").params.turn end

local function is_question(message) return message.id ~= nil and message.method ~= nil end

-- ---- The launcher ------------------------------------------------------------------------------

local function with_launcher(body, ...)
  local folder, remove = program.folder()
  local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
  local model <close> = assert(testing.model { reply = reply })
  local cx <close> = assert(testing.codex { model = model, binary = peers.latest })
  local socket = folder .. "/socket"
  local launcher <close> = program.spawn(
    { "app-server", "--no-audit", "--listen", "unix://" .. socket, ... },
    { cwd = folder, env = cx.environment() })
  assert.is_true(socket_client.is_there(socket), (launcher:stderr()))
  body(socket, folder)
end

describe("two clients of one server", function()
  it("have their own ids and hear of their own threads", function()
    with_launcher(function(socket)
      local a <close> = socket_client.open(socket, "a")
      local b <close> = socket_client.open(socket, "b")
      assert.same(a.hello.result, b.hello.result)
      local of_a, of_b = start_thread(a, 1), start_thread(b, 1)
      assert.are_not.equal(of_a, of_b)
      -- Both are asked under the same id before either is answered.
      local said_a, said_b = { { type = "text", text = "A" } }, { { type = "text", text = "B" } }
      a:send { id = 2, method = "turn/start", params = { threadId = of_a, input = said_a } }
      b:send { id = 2, method = "turn/start", params = { threadId = of_b, input = said_b } }
      local function is_two(m) return m.method == nil and m.id == 2 end
      local turn_a, turn_b = a:wait(is_two).result.turn.id, b:wait(is_two).result.turn.id
      assert.equal(turn_a, turn_end(a).id)
      assert.equal(turn_b, turn_end(b).id)
      for _, client in ipairs { a, b } do
        assert.is_false(client:has "turn/completed")
        for _, message in ipairs(client.unseen) do
          local thread = message.params and message.params.threadId
          if thread then assert.equal(client == a and of_a or of_b, thread) end
        end
      end
    end)
  end)

  it("have their own wishes which notifications they want", function()
    with_launcher(function(socket)
      local a <close> = socket_client.open(socket, "a",
        { optOutNotificationMethods = { "item/agentMessage/delta" } })
      local b <close> = socket_client.open(socket, "b")
      for _, client in ipairs { a, b } do
        start_turn(client, 2, start_thread(client, 1), "hello")
        turn_end(client)
      end
      assert.is_false(a:has "item/agentMessage/delta")
      assert.is_true(b:has "item/agentMessage/delta")
    end)
  end)

  it("are asked about their own threads; of two on one thread the first answer counts", function()
    with_launcher(function(socket)
      local a <close> = socket_client.open(socket, "a")
      local b <close> = socket_client.open(socket, "b")
      local other <close> = socket_client.open(socket, "other")
      local thread = start_thread(a, 1)
      start_turn(a, 2, thread, "hello")
      turn_end(a)
      assert.equal(thread, b:request(1, "thread/resume", { threadId = thread }).result.thread.id)
      start_turn(a, 3, thread, "run it")
      local asked_a, asked_b = a:wait(is_question), b:wait(is_question)
      assert.same(asked_a, asked_b)
      b:send { id = asked_b.id, result = { decision = "decline" } }
      a:notification "serverRequest/resolved"
      a:send { id = asked_a.id, result = { decision = "accept" } }
      assert.equal("completed", turn_end(a).status)
      local declined = a:wait(function(m)
        return m.method == "item/completed" and m.params.item.type == "commandExecution"
      end)
      assert.equal("declined", declined.params.item.status)
      for _, message in ipairs(other.unseen) do assert.is_false(is_question(message)) end
    end)
  end)

  it("keep a thread that another one leaves, or never had", function()
    with_launcher(function(socket)
      local a <close> = socket_client.open(socket, "a")
      local b <close> = socket_client.open(socket, "b")
      local thread = start_thread(a, 1)
      local function leave(client, id)
        return client:request(id, "thread/unsubscribe", { threadId = thread }).result.status
      end
      assert.equal("notSubscribed", leave(b, 1))
      start_turn(a, 2, thread, "run it")
      a:send { id = a:wait(is_question).id, result = { decision = "accept" } }
      assert.equal("completed", turn_end(a).status)
      assert.equal(thread, b:request(2, "thread/resume", { threadId = thread }).result.thread.id)
      assert.equal("unsubscribed", leave(a, 3))
      assert.equal("notSubscribed", leave(a, 4))
      a.unseen = {}
      local turn = start_turn(b, 3, thread, "hello")
      assert.equal(turn, turn_end(b).id)
      -- The last one's goes to Codex, which has nobody then and says so.
      assert.equal("unsubscribed", leave(b, 4))
      assert.equal("notSubscribed", leave(b, 5))
      assert.equal(thread, a:request(5, "thread/resume", { threadId = thread }).result.thread.id)
      for _, message in ipairs(a.unseen) do
        assert.is_not.equal(turn, message.params and message.params.turnId)
      end
      turn = start_turn(a, 6, thread, "hello")
      assert.equal(turn, turn_end(a).id)
    end)
  end)

  it("live on when one goes, whose question is answered with no", function()
    with_launcher(function(socket)
      local b <close> = socket_client.open(socket, "b")
      local a = socket_client.open(socket, "a")
      local thread = start_thread(a, 1)
      start_turn(a, 2, thread, "run it")
      a:wait(is_question)
      a:close()
      -- What became of the turn can be read: the command was not run, and the turn has ended.
      local ended = program.eventually(function()
        local answer = b:request(7, "thread/read", { threadId = thread, includeTurns = true })
        local turns = answer.result and answer.result.thread.turns or {}
        return turns[1] and turns[1].status == "completed"
      end)
      assert.is_true(ended)
      assert.is_table(b:request(8, "model/list", {}).result)
    end)
  end)

  it("share the policies", function()
    local folder, remove = program.folder()
    local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
    program.write(folder .. "/p.lua",
      'return { name = "no", decide = function() return "decline" end }', 384)
    with_launcher(function(socket)
      local a <close> = socket_client.open(socket, "a")
      local b <close> = socket_client.open(socket, "b")
      for _, client in ipairs { a, b } do
        start_turn(client, 2, start_thread(client, 1), "run it")
        assert.equal("completed", turn_end(client).status)
        for _, message in ipairs(client.unseen) do assert.is_false(is_question(message)) end
        assert.is_false(client:has "serverRequest/resolved")
      end
    end, "--policy", folder .. "/p.lua")
  end)
end)
