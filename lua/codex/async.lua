--- Tasks: the one file that turns callbacks into waiting.
---
--- A task is a coroutine with an owner. It waits by calling `await`, which hands a resume function
--- to somebody and yields; whoever has news calls that function, and the task goes on from a queue,
--- never inside the caller. Cancelling closes what the task waits for and raises an error of kind
--- `cancelled` at that place, once, so that `<close>` variables and their waits run normally.

local core = require "codex.core.task"
local host = require "codex.core.host"
local E = require "codex.error"

local M = {}

---@class codex.Task
---@field package _co thread
---@field package _done boolean
---@field package _wait? table what it waits for now
local Task = {}
Task.__index = require("codex.base.class").methods(Task)
Task.__name = "codex.task"

local current ---@type codex.Task?
local main ---@type codex.Task?
local live = {} ---@type table<codex.Task, true>
local live_count = 0
local failed = setmetatable({}, { __mode = "k" }) -- failed tasks that nobody has joined
local handlers = {} ---@type table<string, function[]>
local posted = {} ---@type { fn: function, payload: string }[] what they have yet to hear
local endings = {} ---@type table<function, true>

-- ---- The queue ---------------------------------------------------------------------------------

local queue, first, last = {}, 1, 0
local draining = false

local function push(task)
  last = last + 1
  queue[last] = task
end

local function report(task)
  failed[task] = nil
  task._unheard = nil
  host.fail("a task failed and nobody joined it: " .. task._traceback)
end

function Task:__gc()
  if self._unheard then report(self) end
end

--- The task has ended: its values go to who joined it.
local function finish(task, ok, ...)
  task._done, task._ok, task._values = true, ok, table.pack(...)
  if not ok and not task._traceback then task._traceback = tostring(...) end -- memory ran out
  live[task] = nil
  live_count = live_count - 1
  task._cancelled = not ok and task._cancel ~= nil and rawequal(..., task._cancel)
  if not ok and not task._cancelled and not task._owned and (...) ~= host.exit then
    failed[task], task._unheard = true, true
    local limit = task._limit
    if limit and limit.failed and #task._joiners == 0 then limit:failed(task) end
  end
  for _, resume in ipairs(task._joiners) do resume() end
  task._joiners = nil
end

local function after_step(task, ok, value, ...)
  core.running(nil)
  current = nil
  if task._limit then task._limit:leave() end
  if value ~= nil and value == task._wait then return end
  if coroutine.status(task._co) == "dead" then
    if ok then return finish(task, value, ...) end
    task._traceback = tostring(value)
    return finish(task, false, value)
  end
  push(task) -- a bare coroutine.yield()
end

local function step(task, ...)
  current = task
  core.running(task._co)
  if task._limit then task._limit:enter() end
  after_step(task, coroutine.resume(task._co, ...))
end

local function run_queue()
  while first <= last do
    local task = queue[first]
    queue[first] = nil
    first = first + 1
    if not task._done then
      local values = task._resumed
      task._resumed = nil
      if values then
        step(task, table.unpack(values, 1, values.n))
      else
        step(task)
      end
    end
  end
  first, last = 1, 0
end

local function run_first(task, ...)
  step(task, ...)
  run_queue()
end

local function guarded(run, ...)
  draining = true
  local ok, err = pcall(run, ...)
  draining, current = false, nil
  if ok then return end
  core.deadline(nil)
  core.running(nil) -- memory ran out; those who wait for other things go on
  error(err, 0)
end

local function drain()
  if not draining then guarded(run_queue) end
end

--- The task goes on with these values: now, or when those before it have.
local function go_on(task, ...)
  if not draining then return guarded(run_first, task, ...) end
  if select("#", ...) > 0 then task._resumed = table.pack(...) end
  push(task)
end

-- ---- Waiting -----------------------------------------------------------------------------------

--- Raises what is due: the end of the script, or a cancellation that was not delivered yet.
local function check(task)
  if host.exiting then error(host.exit, 0) end -- set by os.exit; again, until all is unwound
  if task._cancel and not task._delivered then
    task._delivered = true
    error(task._cancel, 0)
  end
end

--- The task came back: with values, or to be cancelled.
local function after_wait(task, ...)
  check(task)
  return ...
end

--- The task that runs and may wait; its cancellation is raised here.
---@return codex.Task
local function waiter(level)
  local task = current
  if not task then error("cannot wait outside a task", level) end
  if coroutine.running() ~= task._co then
    error("cannot wait inside a coroutine of one's own; use codex.spawn", level)
  end
  check(task)
  return task
end

--- Whether an error is the end of the script or of the task that runs, which goes on through all
--- that catches errors. That another task was cancelled is an error like any other.
---@param err any
---@return boolean
function M.is_end(err)
  if rawequal(err, host.exit) then return true end
  return current ~= nil and current._cancel ~= nil and rawequal(err, current._cancel)
end

--- Whether the running task may wait: raises an error where it may not or is cancelled. To be
--- called before something is begun whose end `park` waits for.
function M.may_wait() waiter(3) end

--- Waits until `unpark` is called with this very table, and returns what else that was given. The
--- table is used once; its `close` method is called when the task is cancelled. This is `await`
--- for those who keep a table for each wait in any case.
---@async
---@param wait table
---@return any ...
function M.park(wait)
  local task = current
  wait.task = task
  task._wait = wait
  return after_wait(task, coroutine.yield(wait))
end

--- Ends a wait, the first time it is called.
---@param wait table
function M.unpark(wait, ...)
  local task = wait.task
  if not task or task._wait ~= wait then return end
  task._wait = nil
  go_on(task, ...)
end

--- Waits until the function given to `start` is called, and returns what it was called with.
---
--- `start` may return something with a `close` method; it is called when the task is cancelled
--- before that. Calling the function again, or too late, does nothing.
---@async
---@param start fun(resume: fun(...: any)): { close: fun(self: table) }?
---@return any ...
function M.await(start)
  local task = waiter(3)
  local wait, over, values = nil, false, nil
  local function resume(...)
    if over then return end
    over = true
    if wait then return M.unpark(wait, ...) end
    values = table.pack(...)
  end
  local closable = start(resume)
  if over then return table.unpack(values, 1, values.n) end
  wait = {
    task = task,
    close = function()
      over = true
      if closable then closable:close() end
    end,
  }
  task._wait = wait
  return after_wait(task, coroutine.yield(wait))
end

---@class codex.Signal
local Signal = {}
Signal.__index = require("codex.base.class").methods(Signal)

--- Waits for the next notify.
---@async
---@return any ... what notify was given
function Signal:wait()
  return M.await(function(resume)
    self[#self + 1] = resume
    return {
      close = function()
        for i, waiting in ipairs(self) do
          if waiting == resume then return table.remove(self, i) end
        end
      end,
    }
  end)
end

--- Wakes all that wait now.
function Signal:notify(...)
  local waiting = table.move(self, 1, #self, 1, {})
  for i = #self, 1, -1 do self[i] = nil end
  for _, resume in ipairs(waiting) do resume(...) end
end

--- A thing to wait for that happens again and again. Waiters look at the state themselves.
---@return codex.Signal
function M.signal() return setmetatable({}, Signal) end

local function check_seconds(where, seconds)
  if type(seconds) ~= "number" or not (seconds >= 0 and seconds <= 1e9) then
    error(where .. ": the time must be a number of seconds", 3)
  end
end

--- The loop counts whole milliseconds, cut off: what is left of the present one is added, or a wait
--- would end that much too early.
local function milliseconds(uv, seconds)
  if seconds == 0 then return 0 end
  uv.update_time()
  return math.ceil(seconds * 1000 + uv.hrtime() / 1e6 - uv.now())
end

local function start_timer(seconds, fn)
  local uv = require "luv"
  local timer = uv.new_timer()
  timer:start(milliseconds(uv, seconds), 0, function()
    timer:close()
    fn()
  end)
  return {
    close = function()
      if not timer:is_closing() then timer:close() end
    end,
  }
end

---@async
---@param seconds number
function M.sleep(seconds)
  check_seconds("codex.sleep", seconds)
  M.await(function(resume) return start_timer(seconds, resume) end)
end

-- ---- Tasks -------------------------------------------------------------------------------------

--- The values of a task that has ended, as `join` gives them.
local function outcome(task)
  failed[task], task._unheard = nil, nil
  local values = task._values
  if task._ok then return table.unpack(values, 1, values.n) end
  if task._cancelled then return nil, values[1] end
  error(values[1], 0)
end

local function wait_for(task)
  while not task._done do
    M.await(function(resume)
      task._joiners[#task._joiners + 1] = resume
      return {
        close = function()
          for i, joiner in ipairs(task._joiners or {}) do
            if joiner == resume then return table.remove(task._joiners, i) end
          end
        end,
      }
    end)
  end
end

--- Waits until the task has ended and returns what its function returned; nil and an error of kind
--- `cancelled` when it was cancelled. An error raised in it is raised here.
---@async
---@return any ...
function Task:join()
  if self == current then error("a task cannot join itself", 2) end
  wait_for(self)
  return outcome(self)
end

--- Ends the task at its wait, or before its start; a running one at its next wait. No-op when done.
---@param reason? string
function Task:cancel(reason)
  if self._done or self._cancel then return end
  self._cancel = E.new("cancelled", reason or "the task was cancelled")
  local wait = self._wait
  if not wait then
    if not self._started then finish(self, false, self._cancel) end
    return
  end
  self._wait = nil
  if wait.close then wait:close() end
  push(self)
  drain()
end

---@return boolean
function Task:is_done() return self._done end

local function handle(task)
  return function(err)
    if rawequal(err, host.exit) then return err end
    task._traceback = debug.traceback(tostring(err), 2)
    return err
  end
end

local function new_task(fn, ...)
  local task = setmetatable({ _done = false, _joiners = {}, _resumed = table.pack(...),
    _limit = current and current._limit }, Task)
  task._co = coroutine.create(function(...)
    task._started = true
    return xpcall(fn, handle(task), ...)
  end)
  live[task] = true
  live_count = live_count + 1
  push(task)
  return task
end

local function check_function(where, fn)
  local meta = getmetatable(fn)
  if type(fn) ~= "function" and not (meta and meta.__call) then
    error(("%s: a function is needed, got %s"):format(where, type(fn)), 3)
  end
end

--- Starts a task; it runs as soon as the present one waits. One that fails and is never joined
--- reports itself on standard error, and the program's exit code is 1.
---@param fn fun(...: any): ...
---@param ... any
---@return codex.Task
function M.spawn(fn, ...)
  check_function("codex.spawn", fn)
  local task = new_task(fn, ...)
  drain()
  return task
end

--- Puts the running task, and the tasks that it starts from now on, under a limit, which is told
--- when one of them begins and ceases to run, and when one has failed that nobody waits for.
---@param limit { enter: fun(self: table), leave: fun(self: table), failed?: fun(self: table,
---  task: codex.Task) }
function M.limited(limit)
  current._limit = limit
  core.limit(current._co)
  limit:enter()
end

--- Why a task has failed, with the traceback, where nobody has heard of that by now; whoever asks
--- has, and it does not report itself any more.
---@param task codex.Task
---@return string?
function M.unheard(task)
  if not failed[task] then return nil end
  failed[task], task._unheard = nil, nil
  return task._traceback
end

--- The task that runs has no limit any more.
function M.unlimited()
  current._limit:leave()
  current._limit = nil
end

--- The task that runs, or nil inside a foreign callback.
---@return codex.Task?
function M.running() return current end

-- ---- Groups ------------------------------------------------------------------------------------

--- Tasks that do not outlive a block: leaving it in any way cancels and awaits them.
local Group = {}
Group.__index = require("codex.base.class").methods(Group)

function Group:add(fn, ...)
  local task = new_task(fn, ...)
  task._owned = true
  self[#self + 1] = task
  task._joiners[1] = function()
    self.ended[#self.ended + 1] = task
    self.changed:notify()
  end
  return task
end

function Group:__close()
  for _, task in ipairs(self) do task:cancel("the group has ended") end
  for _, task in ipairs(self) do wait_for(task) end
end

--- The n-th task to end; waits for it.
function Group:wait_for(n)
  while not self.ended[n] do self.changed:wait() end
  return self.ended[n]
end

local function new_group() return setmetatable({ changed = M.signal(), ended = {} }, Group) end

--- Whether a task ended badly: raised, or returned nil and an error.
local function is_failure(task)
  return not task._ok or (task._values[1] == nil and task._values[2] ~= nil)
end

--- Runs functions concurrently and returns the first value of each. When one raises or returns
--- nil and an error, the others are cancelled, and its failure is the result.
---@async
---@param fns (fun(): any)[]
---@return any ...
function M.all(fns)
  local group <close> = new_group()
  for _, fn in ipairs(fns) do
    check_function("codex.all", fn)
    group:add(fn)
  end
  for n = 1, #group do
    local task = group:wait_for(n)
    if is_failure(task) then return outcome(task) end
  end
  local values = {}
  for i, task in ipairs(group) do values[i] = (outcome(task)) end
  return table.unpack(values, 1, #group)
end

--- Runs functions concurrently; the first to end wins, the others are cancelled.
---@async
---@param fns (fun(): any)[]
---@return any ... what the winner returned
function M.race(fns)
  if #fns == 0 then error("codex.race: there is nothing to run", 2) end
  local group <close> = new_group()
  for _, fn in ipairs(fns) do
    check_function("codex.race", fn)
    group:add(fn)
  end
  return outcome(group:wait_for(1))
end

--- Runs a function for at most so long. When the time is over it is cancelled, and once it has
--- ended the result is nil and an error of kind `timeout`.
---@async
---@param seconds number
---@param fn fun(...: any): ...
---@param ... any
---@return any ...
function M.timeout(seconds, fn, ...)
  check_seconds("codex.timeout", seconds)
  check_function("codex.timeout", fn)
  local group <close> = new_group()
  local task, expired = group:add(fn, ...), false
  local timer = start_timer(seconds, function()
    expired = true
    task:cancel("the time limit ran out")
  end)
  local guard <close> = setmetatable({}, { __close = timer.close }) -- luacheck: ignore 211
  wait_for(task)
  if expired and task._cancelled then
    return nil, E.new("timeout", ("not done after %g seconds"):format(seconds))
  end
  return outcome(task)
end

---@class codex.Limit
local Limit = {}
Limit.__index = require("codex.base.class").methods(Limit)

--- Waits for a free place. Give it back with `:close()`, or hold it in a `<close>` variable.
---@async
---@return { close: fun(self: table) }
function Limit:acquire()
  while self.used >= self.size do self.freed:wait() end
  self.used = self.used + 1
  local limit = self
  local place = {}
  function place.close()
    if place.closed then return end
    place.closed = true
    limit.used = limit.used - 1
    limit.freed:notify()
  end
  return setmetatable(place, { __close = place.close })
end

--- Runs a function in a place of its own.
---@async
function Limit:run(fn, ...)
  local place <close> = self:acquire() -- luacheck: ignore 211
  return fn(...)
end

--- A semaphore: at most n at once.
---@param n integer
---@return codex.Limit
function M.limit(n)
  if math.type(n) ~= "integer" or n < 1 then
    error("codex.limit: the number must be a positive integer", 2)
  end
  return setmetatable({ size = n, used = 0, freed = M.signal() }, Limit)
end

local function check_map(list, fn, options)
  if type(list) ~= "table" then error("codex.map: the list must be a table", 3) end
  check_function("codex.map", fn)
  require("codex.options").check("codex.map", options, { concurrency = true })
  local n = options and options.concurrency or #list
  if math.type(n) ~= "integer" or (n < 1 and #list > 0) then
    error("codex.map: option 'concurrency' must be a positive integer", 3)
  end
  return n
end

--- Calls fn(item, index) for each item, so many at once (all by default). Where fn returns nil and
--- an error, the error is in the second result under the item's index; when it raises, the others
--- are cancelled and the error is raised here.
---@async
---@param list any[]
---@param fn fun(item: any, index: integer): any, any
---@param options? { concurrency?: integer }
---@return any[] results
---@return table<integer, any>? errors nil when there were none
function M.map(list, fn, options)
  local workers = math.min(check_map(list, fn, options), #list)
  local results, errors, next_index = {}, nil, 1
  local function work()
    while next_index <= #list do
      local i = next_index
      next_index = i + 1
      local value, err = fn(list[i], i)
      results[i] = value
      if value == nil and err ~= nil then
        errors = errors or {}
        errors[i] = err
      end
    end
    return true
  end
  local crew = {}
  for i = 1, workers do crew[i] = work end
  M.all(crew)
  return results, errors
end

-- ---- The host ----------------------------------------------------------------------------------

--- Calls fn(payload), as a task, whenever the embedding program posts this event, until the script
--- has ended: which this does not keep it from.
---@param event string
---@param fn fun(payload: string)
function M.on(event, fn)
  check_function("codex.on", fn)
  handlers[event] = handlers[event] or {}
  table.insert(handlers[event], fn)
end

--- Has a module that keeps something open for scripts to come forget it: at the end of each script
--- everything is closed that is open, and then `fn` is called. It stays until the host is closed.
---@param fn fun()
function M.at_end(fn) endings[fn] = true end

--- Called by the host from here on. ------------------------------------------------------------

--- How many functions will hear it, in a later turn of the loop.
function M.post(event, payload)
  local list = handlers[event] or {}
  for _, fn in ipairs(list) do posted[#posted + 1] = { fn = fn, payload = payload } end
  return #list
end

function M.deliver()
  local news = posted
  posted = {}
  for _, item in ipairs(news) do new_task(item.fn, item.payload) end
  drain()
end

--- Runs a script's chunk as the main task and tells `done(ok, message)`.
function M.main(chunk, done, ...)
  local task = new_task(chunk, ...)
  main = task
  task._owned = true
  task._joiners[1] = function() done(task._ok, task._traceback) end
  drain()
end

--- Says which tasks failed unheard.
function M.report()
  local orphans = {}
  for task in pairs(failed) do orphans[#orphans + 1] = task end
  for _, task in ipairs(orphans) do report(task) end
end

function M.interrupt()
  if main and not main._done then return main:cancel("interrupted") end
  M.shutdown()
end

--- Cancels every task, the main one too, and hears of nothing any more.
function M.shutdown()
  M.report()
  handlers, posted = {}, {}
  local all = {}
  for task in pairs(live) do all[#all + 1] = task end
  for _, task in ipairs(all) do task:cancel("the script has ended") end
end

--- Nothing of the script is known to the next one: a task that has not ended by now never goes on.
function M.forget()
  M.report()
  for task in pairs(live) do task._done, task._wait = true, nil end
  live, live_count, main = {}, 0, nil
  handlers, posted = {}, {}
  queue, first, last = {}, 1, 0
  for fn in pairs(endings) do fn() end
end

function M.count() return live_count end

return M
