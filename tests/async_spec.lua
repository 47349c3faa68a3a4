local async = require "codex.async"
local E = require "codex.error"
local program = require "tests.support.program"
local uv = require "luv"

local function noop() end

-- A to-be-closed variable that counts, and may wait when it is closed.
local function closing(log, name, seconds)
  return setmetatable({}, {
    __close = function()
      if seconds then async.sleep(seconds) end
      log[#log + 1] = name
    end,
  })
end

local function seconds_of(fn)
  local start = uv.hrtime()
  fn()
  return (uv.hrtime() - start) / 1e9
end

describe("a task", function()
  it("waits for a sleep", function()
    local took = seconds_of(function() async.sleep(0.02) end)
    assert.is_true(took >= 0.02 and took < 1)
  end)

  it("gets the arguments and gives all results to who joins it, nil included", function()
    local task = async.spawn(function(...) return select("#", ...), ... end, nil, 2, nil)
    assert.same({ 3, nil, 2, nil, n = 4 }, table.pack(task:join()))
  end)

  it("runs when the present one waits, not before", function()
    local ran = false
    local task = async.spawn(function() ran = true end)
    assert.is_false(ran)
    assert.is_false(task:is_done())
    async.sleep(0)
    assert.is_true(ran)
    assert.is_true(task:is_done())
    task:join()
  end)

  it("may be joined by several, and again after its end", function()
    local task = async.spawn(function()
      async.sleep(0.01)
      return "x"
    end)
    local a = async.spawn(function() return task:join() end)
    local b = async.spawn(function() return task:join() end)
    assert.equal("x", a:join())
    assert.equal("x", b:join())
    assert.equal("x", task:join())
  end)

  it("raises its error, the same value, in everyone who joins it", function()
    local mistake = { "mine" }
    local task = async.spawn(function() error(mistake) end)
    for _ = 1, 2 do
      local ok, err = pcall(task.join, task)
      assert.is_false(ok)
      assert.equal(mistake, err)
    end
  end)

  it("cannot join itself", function()
    local task
    task = async.spawn(function() task:join() end)
    assert.error_matches(function() task:join() end, "cannot join itself")
  end)

  it("may yield to let others run", function()
    local log = {}
    local function worker(name)
      for i = 1, 2 do
        log[#log + 1] = name .. i
        coroutine.yield()
      end
    end
    local a, b = async.spawn(worker, "a"), async.spawn(worker, "b")
    a:join()
    b:join()
    assert.equal("a1 b1 a2 b2", table.concat(log, " "))
  end)

  it("is named by running(), which is nil in a callback of luv", function()
    local task
    task = async.spawn(function() return async.running() == task end)
    assert.is_true(task:join())
    local inside = async.await(function(resume)
      local timer = uv.new_timer()
      timer:start(0, 0, function()
        timer:close()
        resume(async.running() == nil)
      end)
    end)
    assert.is_true(inside)
  end)

  it("needs a function, or something callable", function()
    assert.error_matches(function() async.spawn(42) end, "codex.spawn: a function is needed")
    local callable = setmetatable({}, { __call = function(_, x) return x + 1 end })
    assert.equal(2, async.spawn(callable, 1):join())
  end)
end)

describe("waiting", function()
  it("is an error outside a task", function()
    local message = async.await(function(resume)
      local timer = uv.new_timer()
      timer:start(0, 0, function()
        timer:close()
        resume(select(2, pcall(async.sleep, 0)))
      end)
    end)
    assert.matches("cannot wait outside a task", message)
  end)

  it("is an error inside a coroutine of one's own", function()
    local ok, message = coroutine.wrap(function() return pcall(async.sleep, 0) end)()
    assert.is_false(ok)
    assert.matches("coroutine of one's own", message)
  end)

  it("returns at once when the news is there already", function()
    assert.same({ 1, nil, 3, n = 3 },
      table.pack(async.await(function(resume) resume(1, nil, 3) end)))
  end)

  it("ignores news that comes twice or too late", function()
    local keep
    assert.equal(1, async.await(function(resume)
      keep = resume
      resume(1)
      resume(2)
    end))
    keep(3)
    local task = async.spawn(function()
      return async.await(function(resume) keep = resume end)
    end)
    async.sleep(0)
    task:cancel()
    keep("late")
    assert.is_nil((task:join()))
  end)

  it("passes on an error of the function that starts it", function()
    assert.error_matches(function() async.await(function() error "no" end) end, "no")
  end)

  it("never resumes inside the caller of resume", function()
    local log = {}
    local keep
    local task = async.spawn(function()
      async.await(function(resume) keep = resume end)
      log[#log + 1] = "task"
    end)
    async.sleep(0)
    keep()
    log[#log + 1] = "caller"
    task:join()
    assert.same({ "caller", "task" }, log)
  end)

  it("refuses times that are none", function()
    for _, bad in ipairs { -1, 0 / 0, math.huge, "1", false } do
      assert.error_matches(function() async.sleep(bad) end, "number of seconds")
      assert.error_matches(function() async.timeout(bad, noop) end, "number of seconds")
    end
  end)
end)

describe("a signal", function()
  it("wakes all that wait, with what notify was given, and no one later", function()
    local signal = async.signal()
    local function waiter() return signal:wait() end
    local a, b = async.spawn(waiter), async.spawn(waiter)
    async.sleep(0)
    signal:notify("news")
    local late = async.spawn(waiter)
    assert.equal("news", a:join())
    assert.equal("news", b:join())
    async.sleep(0)
    assert.is_false(late:is_done())
    late:cancel()
    assert.equal(0, #signal)
  end)

  it("does not lose a waiter that comes while another is woken", function()
    local signal, count = async.signal(), 0
    local task = async.spawn(function()
      for _ = 1, 3 do
        signal:wait()
        count = count + 1
      end
    end)
    for _ = 1, 3 do
      async.sleep(0)
      signal:notify()
    end
    task:join()
    assert.equal(3, count)
  end)
end)

describe("cancelling a task", function()
  it("before its start never runs it", function()
    local ran = false
    local task = async.spawn(function() ran = true end)
    task:cancel("not needed")
    assert.is_true(task:is_done())
    local value, err = task:join()
    assert.is_nil(value)
    assert.equal("cancelled: not needed", tostring(err))
    assert.is_true(E.is(err, "cancelled"))
    assert.is_false(ran)
  end)

  it("at a wait closes what it waits for, then what it holds", function()
    local log = {}
    local task = async.spawn(function()
      local held <close> = closing(log, "held") -- luacheck: ignore 211
      async.await(function()
        return { close = function() log[#log + 1] = "wait" end }
      end)
    end)
    async.sleep(0)
    task:cancel()
    task:join()
    assert.same({ "wait", "held" }, log)
  end)

  it("after its end changes nothing", function()
    local task = async.spawn(function() return "done" end)
    async.sleep(0)
    task:cancel()
    assert.equal("done", task:join())
  end)

  it("from inside takes effect at the next wait", function()
    local after = false
    local task
    task = async.spawn(function()
      task:cancel "myself"
      after = true
      async.sleep(10)
    end)
    local _, err = task:join()
    assert.is_true(after)
    assert.equal("myself", err.message)
  end)

  it("lets cleanup wait, also when it is cancelled again meanwhile", function()
    local log = {}
    local task = async.spawn(function()
      local held <close> = closing(log, "cleaned up", 0.02) -- luacheck: ignore 211
      async.sleep(10)
    end)
    async.sleep(0)
    task:cancel "first"
    async.sleep(0)
    assert.is_false(task:is_done())
    task:cancel "second"
    local _, err = task:join()
    assert.equal("first", err.message)
    assert.same({ "cleaned up" }, log)
  end)

  it("raises once: a task that catches it goes on", function()
    local task = async.spawn(function()
      local ok, err = pcall(async.sleep, 10)
      async.sleep(0)
      return ok, err.kind
    end)
    async.sleep(0)
    task:cancel()
    assert.same({ false, "cancelled" }, { task:join() })
  end)

  it("that raises something else while it cleans up is a failure", function()
    local task = async.spawn(function()
      local broken = { __close = function() error("broken", 0) end }
      local held <close> = setmetatable({}, broken) -- luacheck: ignore 211
      async.sleep(10)
    end)
    async.sleep(0)
    task:cancel()
    local ok, err = pcall(task.join, task)
    assert.same({ false, "broken" }, { ok, err })
  end)

  it("wins over news that came in the same turn", function()
    local keep
    local task = async.spawn(function()
      return async.await(function(resume) keep = resume end)
    end)
    async.sleep(0)
    keep "news"
    task:cancel()
    local value, err = task:join()
    assert.is_nil(value)
    assert.equal("cancelled", err.kind)
  end)

  it("that waits to join another leaves the other alone", function()
    local other = async.spawn(function()
      async.sleep(0.02)
      return "fine"
    end)
    local joiner = async.spawn(function() return other:join() end)
    async.sleep(0)
    joiner:cancel()
    assert.is_nil((joiner:join()))
    assert.equal("fine", other:join())
  end)
end)

describe("all", function()
  it("gives the first value of each, in order, however they end", function()
    local function after(seconds, value)
      return function()
        async.sleep(seconds)
        return value, "more"
      end
    end
    assert.same({ "a", nil, "c", n = 3 },
      table.pack(async.all { after(0.02, "a"), noop, after(0, "c") }))
    assert.equal(0, select("#", async.all {}))
  end)

  it("runs them at the same time", function()
    local nap = function() async.sleep(0.1) end
    assert.is_true(seconds_of(function() async.all { nap, nap, nap, nap } end) < 0.3)
  end)

  it("cancels the others at the first failure, and has waited for them", function()
    local log = {}
    local failure = E.new("io", "gone")
    local value, err = async.all {
      function()
        local held <close> = closing(log, "cleaned up", 0.01) -- luacheck: ignore 211
        async.sleep(10)
      end,
      function()
        async.sleep(0.01)
        return nil, failure
      end,
    }
    assert.is_nil(value)
    assert.equal(failure, err)
    assert.same({ "cleaned up" }, log)
  end)

  it("raises what one of them raises", function()
    assert.error_matches(function()
      async.all { function() async.sleep(10) end, function() error "bad luck" end }
    end, "bad luck")
  end)

  it("cancels all when it is cancelled", function()
    local log = {}
    local task = async.spawn(function()
      local function one()
        local held <close> = closing(log, "x") -- luacheck: ignore 211
        async.sleep(10)
      end
      async.all { one, one }
    end)
    async.sleep(0)
    async.sleep(0)
    task:cancel()
    assert.is_nil((task:join()))
    assert.equal(2, #log)
  end)

  it("does not report a second failure that came with the first", function()
    assert.error_matches(function()
      async.all { function() error "one" end, function() error "two" end }
    end, "one")
  end)
end)

describe("race", function()
  it("gives all that the first one returns and has ended the others", function()
    local log = {}
    local a, b = async.race {
      function()
        local held <close> = closing(log, "loser", 0.01) -- luacheck: ignore 211
        async.sleep(10)
      end,
      function()
        async.sleep(0.01)
        return "winner", 2
      end,
    }
    assert.same({ "winner", 2 }, { a, b })
    assert.same({ "loser" }, log)
  end)

  it("takes a failure for an end too", function()
    assert.error_matches(function()
      async.race { function() async.sleep(10) end, function() error "first" end }
    end, "first")
  end)

  it("needs somebody to run", function()
    assert.error_matches(function() async.race {} end, "nothing to run")
  end)
end)

describe("timeout", function()
  it("gives back what the function returns in time", function()
    assert.same({ 1, nil, 3, n = 3 },
      table.pack(async.timeout(5, function(...) return ... end, 1, nil, 3)))
  end)

  it("cancels it when the time is over, and has waited for its end", function()
    local log = {}
    local value, err = async.timeout(0.02, function()
      local held <close> = closing(log, "cleaned up", 0.02) -- luacheck: ignore 211
      async.sleep(10)
    end)
    assert.is_nil(value)
    assert.is_true(E.is(err, "timeout"))
    assert.same({ "cleaned up" }, log)
  end)

  it("passes on errors and failures of the function", function()
    assert.error_matches(function() async.timeout(5, function() error "mine" end) end, "mine")
    local failure = E.new("io", "no")
    local _, err = async.timeout(5, function() return nil, failure end)
    assert.equal(failure, err)
  end)

  it("gives the result of a function that catches the cancellation", function()
    assert.equal("anyway", async.timeout(0.01, function()
      pcall(async.sleep, 10)
      return "anyway"
    end))
  end)

  it("may be nested: the shorter one counts", function()
    local outer = async.timeout(5, function()
      local value, err = async.timeout(0.01, async.sleep, 10)
      return value == nil and err.kind
    end)
    assert.equal("timeout", outer)
    local inner_err
    local _, err = async.timeout(0.01, function()
      local _, e = async.timeout(5, async.sleep, 10)
      inner_err = e
    end)
    assert.equal("timeout", err.kind)
    assert.is_nil(inner_err)
  end)
end)

describe("limit", function()
  it("lets so many in at once and no more", function()
    local limit, inside, most = async.limit(2), 0, 0
    local function work()
      return limit:run(function()
        inside = inside + 1
        most = math.max(most, inside)
        async.sleep(0.005)
        inside = inside - 1
      end)
    end
    async.all { work, work, work, work, work }
    assert.equal(2, most)
    assert.equal(0, limit.used)
  end)

  it("gets its place back from a function that raises, and once only", function()
    local limit = async.limit(1)
    pcall(limit.run, limit, function() error "no" end)
    local place = limit:acquire()
    place:close()
    place:close()
    assert.equal(0, limit.used)
  end)

  it("forgets who is cancelled while waiting", function()
    local limit = async.limit(1)
    local place <close> = limit:acquire()
    local waiting = async.spawn(function() return limit:acquire() end)
    async.sleep(0)
    waiting:cancel()
    waiting:join()
    place:close()
    assert.equal(0, limit.used)
    limit:acquire():close()
  end)

  it("is a positive integer", function()
    for _, bad in ipairs { 0, -1, 1.5, "2" } do
      assert.error_matches(function() async.limit(bad) end, "positive integer")
    end
  end)
end)

describe("map", function()
  it("keeps the order and passes the index", function()
    local results, errors = async.map({ 3, 1, 2 }, function(x, i)
      async.sleep(x / 1000)
      return x * 10 + i
    end)
    assert.same({ 31, 12, 23 }, results)
    assert.is_nil(errors)
  end)

  it("runs at most so many at once", function()
    local inside, most = 0, 0
    local items = {}
    for i = 1, 10 do items[i] = i end
    async.map(items, function()
      inside = inside + 1
      most = math.max(most, inside)
      async.sleep(0.001)
      inside = inside - 1
      return true
    end, { concurrency = 3 })
    assert.equal(3, most)
  end)

  it("collects failures under their index and finishes the rest", function()
    local results, errors = async.map({ 1, 2, 3 }, function(x)
      if x == 2 then return nil, "odd one out" end
      return x
    end, { concurrency = 1 })
    assert.same({ 1, nil, 3 }, results)
    assert.same({ [2] = "odd one out" }, errors)
  end)

  it("stops everything when one raises", function()
    local ran = 0
    assert.error_matches(function()
      async.map({ 1, 2, 3, 4 }, function(x)
        ran = ran + 1
        if x == 2 then error "stop" end
        async.sleep(0.01)
      end, { concurrency = 2 })
    end, "stop")
    assert.equal(2, ran)
  end)

  it("of nothing is nothing, and mistakes are named", function()
    assert.same({}, (async.map({}, noop)))
    assert.error_matches(function() async.map({}, noop, { concurency = 2 }) end,
      "did you mean 'concurrency'")
    assert.error_matches(function() async.map({ 1 }, noop, { concurrency = 0 }) end,
      "'concurrency' must be a positive integer")
    assert.error_matches(function() async.map("list", noop) end, "must be a table")
    assert.error_matches(function() async.map({}, nil) end, "codex.map: a function is needed")
  end)
end)

describe("a script with tasks", function()
  it("fails, and says so, when a failed task was never joined", function()
    local result = program.eval [[
      local async = require "codex.async"
      async.spawn(function() async.sleep(0.01) error "nobody hears this" end)
      print "main is done"
    ]]
    assert.equal(1, result.code)
    assert.equal("main is done\n", result.stdout)
    assert.matches("nobody joined it: .*nobody hears this", result.stderr)
    assert.matches("stack traceback", result.stderr)
  end)

  it("says it once, also when the task is collected before the end", function()
    local result = program.eval [[
      local async = require "codex.async"
      async.spawn(function() error "lost" end)
      async.sleep(0)
      collectgarbage() collectgarbage()
      async.sleep(0)
    ]]
    assert.equal(1, result.code)
    assert.equal(1, select(2, result.stderr:gsub("nobody joined it", "")))
  end)

  it("does not call it a failure when the task was joined, cancelled or caught", function()
    local result = program.eval [[
      local async = require "codex.async"
      local a = async.spawn(function() error "joined late" end)
      local b = async.spawn(function() async.sleep(10) end)
      async.sleep(0)
      b:cancel()
      pcall(a.join, a)
    ]]
    assert.same({ 0, "" }, { result.code, result.stderr })
  end)

  it("waits for the tasks it leaves behind", function()
    local result = program.eval [[
      local async = require "codex.async"
      async.spawn(function() async.sleep(0.05) print "late" end)
    ]]
    assert.same({ 0, "late\n" }, { result.code, result.stdout })
  end)

  it("ends with os.exit anywhere: in a task, in pcall, in a callback, while cleaning up", function()
    local cases = {
      'async.spawn(function() os.exit(7) end) async.sleep(10)',
      'pcall(function() os.exit(7) end) async.sleep(10)',
      'pcall(function() async.spawn(function() pcall(os.exit, 7) async.sleep(10) end):join() end)',
      'async.all { function() async.sleep(10) end, function() os.exit(7) end }',
      'local t = uv.new_timer() t:start(1, 0, function() os.exit(7) end) async.sleep(10)',
      'local x <close> = setmetatable({}, { __close = function() os.exit(7) end })',
      'coroutine.wrap(function() os.exit(7) end)() async.sleep(10)',
      'async.timeout(5, os.exit, 7)',
      'os.exit(7)',
    }
    local head = 'local async, uv = require "codex.async", require "luv"\n'
    for _, code in ipairs(cases) do
      local result = program.eval(head .. code)
      assert.same({ code, 7, "" }, { code, result.code, result.stderr })
    end
  end)

  it("runs cleanup on os.exit, and takes true and false", function()
    local result = program.eval [[
      local x <close> = setmetatable({}, { __close = function() print "closed" end })
      os.exit(false)
    ]]
    assert.same({ 1, "closed\n", "" }, { result.code, result.stdout, result.stderr })
    assert.equal(0, program.eval("os.exit(true)").code)
    assert.equal(0, program.eval("os.exit()").code)
  end)

  it("is told when it waits for what can never happen", function()
    local result = program.eval [[require("codex.async").signal():wait()]]
    assert.equal(1, result.code)
    assert.matches("waits for something that can never happen", result.stderr)
  end)

  it("fails when a callback of luv raises", function()
    local result = program.eval [[
      local uv = require "luv"
      local t = uv.new_timer()
      t:start(1, 0, function() t:close() error "in a callback" end)
    ]]
    assert.equal(1, result.code)
    assert.matches("in a callback", result.stderr)
  end)

  it("keeps thousands of tasks going", function()
    local result = program.eval [[
      local async = require "codex.async"
      local sum, tasks = 0, {}
      for i = 1, 20000 do
        tasks[i] = async.spawn(function() async.sleep(0) coroutine.yield() sum = sum + 1 end)
      end
      for _, task in ipairs(tasks) do task:join() end
      print(sum, async.count())
    ]]
    assert.same({ 0, "20000\t1\n" }, { result.code, result.stdout })
  end)
end)
