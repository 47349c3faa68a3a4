--- Runs somebody else's Lua with a time limit that holds whatever the code does: waits for ever,
--- loops for ever without waiting, or swallows the errors that should end it.
---
--- Waiting is ended as any wait is, by cancelling the task. Looping is ended by a hook that the
--- interpreter calls every so many instructions, which raises an error once the time is over; code
--- that catches it meets it again, in the end at every instruction. What this cannot end: a C
--- function that does not come back (os.execute, io.read, a pattern match that takes years), and a
--- loop inside an xpcall message handler, or inside a coroutine or a task that the code started
--- itself, for hooks belong to one coroutine. A loop keeps the whole program from doing anything
--- else until its time is over; that time is not counted against those who could not go on.

local async = require "codex.async"
local host = require "codex.core.host"
local log = require "codex.log"
local uv = require "luv"

local M = {}

local TICK = 100000 -- instructions between two looks at the clock, about a millisecond
local STRIKES = 10 -- errors that code may catch, for its own tidying up, before no mercy is left
local GRACE = 1 -- seconds that a cancelled task has to end

local overdue = setmetatable({}, { __tostring = function() return "the time limit ran out" end })

--- Code of this library is not interrupted: its state must stay whole, and it does not loop.
local function is_ours(source) return source:find "lua/codex/[%w_/]+%.lua$" ~= nil end

local held = 0 -- nanoseconds that guarded code has kept the loop from turning

--- Between two looks at the clock in the same turn of the loop nobody else went on.
local function count_held(job, now)
  local turn = uv.now()
  if turn == job.turn then
    held, job.own = held + now - job.looked, job.own + now - job.looked
  end
  job.turn, job.looked = turn, now
end

--- When its time is over: later by what others held it up.
local function deadline(job) return job.deadline + held - job.held - job.own end

local function new_hook(job)
  local function hook()
    local now = uv.hrtime()
    count_held(job, now)
    if not job.expired and now < deadline(job) then return end
    job.expired = true
    -- A loop that calls us in step with the ticks would be met here every time: from now on each
    -- instruction is looked at, and the first that is not ours raises the error.
    if is_ours(debug.getinfo(2, "S").source) then return debug.sethook(hook, "", 1) end
    job.strikes = job.strikes + 1
    debug.sethook(hook, "", job.strikes >= STRIKES and 1 or TICK)
    error(overdue, 0)
  end
  return hook
end

local function work(job, fn, ...)
  job.co, job.hook = coroutine.running(), new_hook(job)
  debug.sethook(job.hook, "", TICK)
  local values = table.pack(pcall(fn, ...))
  debug.sethook()
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
  debug.sethook(job.co, job.hook, "", 1)
end

---@class codex.Outcome
---@field timed_out? boolean
---@field err? any what it raised
---@field n? integer of the values that it returned, which are at 1, 2, ...

local function wait_for(job)
  while not job.values do
    local left = (deadline(job) - uv.hrtime()) / 1e9
    if left <= 0 then return end
    async.timeout(left, function()
      while not job.values do job.ended:wait() end
    end)
  end
end

--- Runs a function for at most so long and says how it went. It returns at the latest a second
--- after its time.
---@async
---@param name string what runs, for the log
---@param seconds number
---@param fn fun(...: any): ...
---@param ... any
---@return codex.Outcome
function M.run(name, seconds, fn, ...)
  local job = { name = name, deadline = uv.hrtime() + seconds * 1e9, strikes = 0,
    held = held, own = 0, ended = async.signal() }
  job.task = async.spawn(work, job, fn, ...)
  do
    local guard <close> = setmetatable({}, { -- luacheck: ignore 211
      __close = function() stop(job) end,
    })
    wait_for(job)
    if not job.values then job.expired = true end
  end
  if job.expired then return { timed_out = true } end
  local values = job.values
  if not values[1] then return { err = values[2] == nil and "nil" or values[2] } end
  return { n = values.n - 1, table.unpack(values, 2, values.n) }
end

return M
