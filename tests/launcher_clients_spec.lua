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
answers["thread/start"] = function(params) return { thread = { id = params.name } } end
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
  io.stdout:flush()
end
]]

--- Runs body(connect, launcher, folder) with a launcher that has these arguments.
local function with_launcher(args, body)
  local folder, remove = program.folder()
  local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
  program.write(folder .. "/server.lua", SERVER)
  program.write(folder .. "/codex",
    ("#!/bin/sh\nexec '%s' '%s/server.lua'\n"):format(program.path, folder), 493)
  local path = folder .. "/socket"
  local launcher <close> = program.spawn(
    { "app-server", "--no-audit", "--listen", "unix://" .. path, table.unpack(args) },
    { cwd = folder, env = { CODEX_BINARY = folder .. "/codex", CODEX_LUA_LAUNCHER = false,
      XDG_STATE_HOME = folder, XDG_CONFIG_HOME = folder }, stdin = "null" })
  assert.is_true(socket_client.is_there(path), (launcher:stderr()))
  body(function(name) return socket_client.open(path, name) end, launcher, folder)
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

  it("has its seconds once: they come back slowly", function()
    with_launcher({ "--unread", "2" }, function(connect, launcher)
      local slow <close> = connect "slow"
      local good <close> = connect "good"
      slow:request(1, "thread/start", { name = "of slow" })
      for round = 1, 2 do
        assert.is_false(is_anybody_cut_off(launcher))
        slow.socket:pause(true)
        flood(good, round, "of slow", 80)
        async.sleep(1.2)
        slow.socket:pause(false)
        if round == 1 then read_noise(slow, 80) end
        assert.is_table(good:answer(round, 8))
      end
      assert.is_true(is_anybody_cut_off(launcher), (launcher:stderr()))
    end)
  end)
end)
