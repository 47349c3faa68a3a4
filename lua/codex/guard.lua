--- Runs somebody else's Lua with a time limit that holds whatever the code does: waits for ever,
--- loops for ever without waiting, or swallows the errors that should end it.
---
--- Waiting is ended as any wait is, by cancelling the task. Looping is ended by a hook of the
--- interpreter, which raises an error once the time is over, in coroutines and tasks that the code
--- started as well; code that catches it meets it again, in the end at every instruction (see
--- bindings/limit.c). What this cannot end is a C function that does not come back (os.execute,
--- io.read, a pattern match that takes years), and a loop in a finalizer; what such code returns at
--- last comes too late and does not count, and the watchdog ends the program where that was asked
--- for. A loop keeps the whole program from doing anything else until its time is over; that time
--- is not counted against those who could not go on.

local async = require "codex.async"
local core = require "codex.core.task"
local host = require "codex.core.host"
local log = require "codex.log"
local uv = require "luv"

local M = {}

--- The exit code of a program that its watchdog has ended.
M.WATCHDOG = 124

local GRACE = 1 -- seconds that a cancelled task has to end
local TEXT_LIMIT = 4096 -- bytes of what somebody else's code says is wrong

local held = 0 -- nanoseconds that guarded code has kept the loop from turning

--- What runs for at most so long. It is the limit of its task and of those that it starts.
local Job = {}
Job.__index = require("codex.base.class").methods(Job)

--- When its time is over: later by what others held it up.
function Job:deadline() return self.last + held - self.held - self.own end

function Job:is_over() return self.expired or uv.hrtime() >= self:deadline() end

--- What it started, and left behind in time, may go on.
function Job:enter()
  self.entered = uv.hrtime()
  core.deadline((not self.values or self.expired) and self:deadline() or nil)
end

function Job:leave()
  core.deadline(nil)
  local spent = uv.hrtime() - self.entered
  held, self.own = held + spent, self.own + spent
end

local function without_traceback(text)
  return ((text:match "^(.-)\nstack traceback:" or text):sub(1, TEXT_LIMIT))
end

--- A task that it started has failed, and nobody waits for that.
function Job:failed(task) table.insert(self.orphans, task) end

--- What has gone wrong since it was asked last of what the function has started, and nobody else
--- has heard: why its tasks have failed, and that a callback has. Which function a callback is from
--- is not known: all that run, or have left something, have failed then.
local function failures_of(job)
  local list, orphans = {}, job.orphans
  job.orphans = {}
  for _, task in ipairs(orphans) do
    local text = async.unheard(task)
    if text then list[#list + 1] = "a task that it started failed: " .. without_traceback(text) end
  end
  local count, last = host.failures()
  if count > job.failures then
    list[#list + 1] = "a callback failed while it ran: " .. without_traceback(last)
  end
  job.failures = count
  if #list > 0 then return table.concat(list, "; ") end
end

local function work(job, fn, ...)
  job.co = coroutine.running()
  async.limited(job)
  local values = table.pack(pcall(fn, ...))
  job.expired = job:is_over()
  job.values = values
  if rawequal(values[2], host.exit) then error(host.exit, 0) end
  job.ended:notify()
end

--- Ends the task, waits a moment for that, and leaves it to the hook otherwise.
local function stop(job)
  if job.task:is_done() then return end
  job.expired = true
  job.task:cancel "the time limit ran out"
  async.timeout(GRACE, function() job.task:join() end)
  if job.task:is_done() then return end
  log.warn("%s does not end although its time is over", job.name)
  core.limit(job.co, true)
end

--- From now on this program ends when code that is run here holds it up for two seconds longer than
--- it may: with exit code 124 and a line on standard error; and, when not even that is possible, a
--- second later by SIGKILL.
---@param command string for the message: "notify"
function M.watch(command)
  local text = ("codex-lua %s: a Lua file does not end although its time is over; this program "
    .. "ends instead\n"):format(command)
  local ok, name, problem = core.watchdog(M.WATCHDOG, text)
  if not ok then log.error("there is no watchdog: %s", problem or name) end
end

--- What may wait for as long as it likes, but not keep the program from going on for longer than
--- that. It is the limit of a task and of those that it starts.
local Stretch = {}
Stretch.__index = require("codex.base.class").methods(Stretch)

function Stretch:enter()
  self.entered = uv.hrtime()
  core.deadline(self.entered + self.longest)
end

function Stretch:leave()
  core.deadline(nil)
  local spent = uv.hrtime() - self.entered
  held = held + spent
  self.was_long = self.was_long or spent >= self.longest
end

--- Calls a function in the task that runs: false where it went on for longer than so many seconds
--- without waiting, or true and what pcall would return.
---@async
---@param seconds number
---@param handler fun(err: any): any of an xpcall; it is not called when the time is over
---@param fn fun(...: any): ...
---@return boolean
---@return any ...
function M.without_stalling(seconds, handler, fn, ...)
  local stretch = setmetatable({ longest = math.ceil(seconds * 1e9) }, Stretch)
  async.limited(stretch)
  local values = table.pack(xpcall(fn, handler, ...))
  async.unlimited()
  if stretch.was_long then return false end
  return true, table.unpack(values, 1, values.n)
end

--- A value as a bounded text. Its metamethods may run: it is to be called under a limit.
---@param value any
---@return string
function M.text(value)
  local ok, text = pcall(tostring, value)
  if not ok then return ("a %s that cannot be shown"):format(type(value)) end
  return text:sub(1, TEXT_LIMIT)
end

local function passed(ok, value, ...)
  if ok then return true, value, ... end
  if rawequal(value, host.exit) then error(value, 0) end
  return false, M.text(value)
end

--- Calls a function: true and its values, or false and the text of what it raised, which is made in
--- here, as it may run more of the code that raised it.
---@param fn fun(...: any): ...
---@return boolean
---@return any ...
function M.safely(fn, ...) return passed(pcall(fn, ...)) end

---@class codex.Outcome
---@field timed_out? boolean
---@field err? any what it raised
---@field n? integer of the values that it returned, which are at 1, 2, ...
---@field late? fun(): string? why what it has left has failed since

local function wait_for(job)
  while not job.values do
    local left = (job:deadline() - uv.hrtime()) / 1e9
    if left <= 0 then return end
    async.timeout(left, function()
      while not job.values do job.ended:wait() end
    end)
  end
end

--- Runs a function for at most so long and says how it went. It returns at the latest a second
--- after its time. What the function returns later than that does not count, whatever held it up
--- but for other guarded code.
---
--- The function has failed as well when a task fails that it has started, and that nobody joins, or
--- a callback: until it has returned, and what was ready to run then has run.
---@async
---@param name string what runs, for the log
---@param seconds number
---@param fn fun(...: any): ...
---@param ... any
---@return codex.Outcome
function M.run(name, seconds, fn, ...)
  local job = setmetatable({ name = name, last = uv.hrtime() + math.ceil(seconds * 1e9),
    held = held, own = 0, ended = async.signal(), orphans = {}, failures = host.failures() }, Job)
  job.task = async.spawn(work, job, fn, ...)
  do
    local guard <close> = setmetatable({}, { -- luacheck: ignore 211
      __close = function() stop(job) end,
    })
    wait_for(job)
    if not job.values then job.expired = true end
    if not job.expired then async.sleep(0) end -- tasks and callbacks that are ready go first
  end
  if job.expired then return { timed_out = true } end
  local values = job.values
  if not values[1] then return { err = values[2] == nil and "nil" or values[2] } end
  local problem = failures_of(job)
  if problem then return { err = problem } end
  return { n = values.n - 1, late = function() return failures_of(job) end,
    table.unpack(values, 2, values.n) }
end

return M
