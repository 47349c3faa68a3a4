-- rpc.lua SERVER N AT_ONCE ANSWER...: for each answer (a file), N requests, so many at a time;
-- prints microseconds for each request, one line for each answer.
local async = require "codex.async"
local link = require "codex.link"
local uv = require "luv"

local program, count, at_once = arg[1], tonumber(arg[2]), tonumber(arg[3])
local params = {
  threadId = "01a1fa92-6fa5-75a1-909a-bd7b6916c983", input = { { type = "text", text = "hello" } },
}

local function ask(peer, n)
  for _ = 1, n do
    local result = assert(peer:request("turn/start", params))
    assert(result.turn or result.data)
  end
end

local function time(peer, n)
  local start, tasks = uv.hrtime(), {}
  for i = 1, at_once do tasks[i] = async.spawn(ask, peer, n // at_once) end
  for _, task in ipairs(tasks) do task:join() end
  return (uv.hrtime() - start) / 1e3 / n
end

for i = 4, #arg do
  local peer <close> = assert(link.spawn({ program }, { env = { RPC_RESULT = arg[i] } }))
  time(peer, count) -- the first are slower
  print(time(peer, count))
end
