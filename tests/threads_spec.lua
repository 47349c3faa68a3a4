--- A thousand threads of one client in one process, each with a turn, all turns at the same time.
--- The server plays a recording of a real turn over and over, for each thread with its own ids:
--- Codex calls a tool of the client's, and then the agent says the thread's id. So no turn goes on
--- before it was answered, and an answer that came to the wrong thread shows.

local codex = require "codex"
local host = require "codex.core.host"
local peers = require "tests.support.peers"

local THREADS = 1000
local recorded = peers.root .. "/tests/fixtures/appserver-0.169.0-thread-id.jsonl"

-- KB that a thread may take, generously: measured were 14 of Lua's while its turn runs, 5 when that
-- is over, and 33 of the process's memory at most.
local RUNNING, HELD, RESIDENT = 30, 15, 120
-- KB that the second thousand may leave above the first: measured were 0 and less than 1000.
local MORE_LEFT, MORE_RESIDENT = 200, 8000

--- KB of Lua's that are in use.
local function in_use()
  collectgarbage()
  collectgarbage()
  return collectgarbage "count"
end

--- KB of this process in memory.
local function resident()
  local file <close> = assert(io.open "/proc/self/statm")
  return math.tointeger(file:read("a"):match "^%d+ (%d+)") * 4
end

local function connect()
  return assert(codex.connect {
    command = { host.program, "replay", "--loop", recorded }, policies = {}, audit = false,
  })
end

--- A tool that answers no turn before all of them have called it, and then each with its thread.
local function tool()
  local called, all = {}, codex.signal()
  local count, peak = 0, nil
  return {
    name = "where_am_i", description = "Says which thread this is.",
    run = function(args, call)
      assert(args.question == "which thread?")
      called[call.threadId] = (called[call.threadId] or 0) + 1
      count = count + 1
      if count < THREADS then
        all:wait()
      else
        peak = in_use()
        all:notify()
      end
      return call.threadId
    end,
  }, called, function() return peak end
end

--- One turn, read event by event: its result, with the text as it was streamed.
local function turn_of(thread)
  local streamed = {}
  local stream <close> = thread:run("which thread is this?", { timeout = 60 })
  for event in stream do
    assert(event.threadId == nil or event.threadId == thread.id, "an event of another thread")
    streamed[#streamed + 1] = event.delta
  end
  local result = assert(stream:result())
  result.streamed = table.concat(streamed)
  return result
end

--- Starts the threads and then a turn in each. The figures are KB of Lua's for one thread.
local function run()
  local client <close> = connect()
  local where_am_i, called, peak = tool()
  local before, threads, numbers = in_use(), {}, {}
  for i = 1, THREADS do numbers[i] = i end
  assert(codex.map(numbers, function(i)
    threads[i] = assert(client:thread { sandbox = "read-only", tools = { where_am_i } })
    return true
  end, { concurrency = 100 }))
  local results = assert(codex.map(threads, turn_of, { concurrency = THREADS }))
  return {
    threads = threads, results = results, called = called, turns = client._turns,
    pending = client._pending, items = client._items._threads,
    running = (peak() - before) / THREADS, held = (in_use() - before) / THREADS,
  }
end

local function assert_own_results(ran)
  local seen, turns = {}, {}
  assert.equal(THREADS, #ran.results)
  for i, thread in ipairs(ran.threads) do
    local result = ran.results[i]
    local expected = ("This is thread %s."):format(thread.id)
    assert.equal(expected, result.final_message)
    assert.equal(expected, result.streamed)
    assert.equal(thread.id, result.thread_id)
    assert.equal(1, ran.called[thread.id])
    assert.same({}, result.unfinished)
    assert.is_true(result.usage.input_tokens > 0)
    assert.is_nil(seen[thread.id])
    assert.is_nil(turns[result.turn_id])
    seen[thread.id], turns[result.turn_id] = true, true
  end
end

--- Runs them, looks at what they came to, and lets go of them: what is left, and what was resident.
local function round()
  local ran = run()
  assert_own_results(ran)
  assert.same({}, ran.turns)
  assert.same({}, ran.pending)
  assert.same({}, ran.items)
  local figures = { running = ran.running, held = ran.held }
  ran = nil -- luacheck: ignore 311
  figures.left, figures.resident = in_use(), resident()
  return figures
end

describe("a thousand threads in one client", function()
  it("each get their own turn's result, and give the memory back", function()
    connect():close() -- what is read in once is not counted
    local at_first = resident()
    local first = round()
    assert.is_true(first.running < RUNNING, "KB of a running thread: " .. first.running)
    assert.is_true(first.held < HELD, "KB of a thread whose turn is over: " .. first.held)
    if not os.getenv "ASAN_OPTIONS" then
      local each = (first.resident - at_first) / THREADS
      assert.is_true(each < RESIDENT, "resident KB of a thread: " .. each)
    end
    local second = round()
    local more = second.left - first.left
    assert.is_true(more < MORE_LEFT, "KB that the second thousand left: " .. more)
    more = second.resident - first.resident
    assert.is_true(more < MORE_RESIDENT, "resident KB that the second thousand left: " .. more)
  end)
end)
