--- One side's messages, in their order: while one of them waits, what comes later queues up.
---
--- A message that cannot be dealt with is told to `failed`, and the next one has its turn: no error
--- stops a lane. What waits is bounded: who sends the messages is told to stop, and where more
--- comes all the same the message in front is given up.

local E = require "codex.error"
local async = require "codex.async"
local log = require "codex.log"

local M = {}

local FULL, ROOM = 8 << 20, 1 << 20 -- bytes that wait
M.MOST = 64 << 20 -- bytes behind a message that can be given up, when still more comes
local WEIGHT = 200 -- bytes that a message counts for beside its own

---@class codex.Lane
local Lane = {}
Lane.__index = require("codex.base.class").methods(Lane)

---@param deliver fun(message: table, in_task: boolean): boolean? true, outside of a task: it has to
--- be done in one, as it may wait
---@param failed fun(message: table, why: string) what becomes of a message that raised an error
---@param on_full fun(full: boolean) too much waits, or there is room again
---@param on_given_up? fun(message: table) still more came where far too much waited behind this
--- message: it is cancelled, has `given_up`, and what is still done with it is not to count
---@return codex.Lane
function M.new(deliver, failed, on_full, on_given_up)
  return setmetatable({
    deliver = deliver, failed = failed, on_full = on_full, on_given_up = on_given_up,
    first = 1, last = 0, held = 0, is_full = false,
  }, Lane)
end

local function told(err)
  if async.is_end(err) then return err end
  return debug.traceback(E.text(err), 2)
end

--- Delivers it; true where that has to be done in a task. What it raises but for the end of the
--- script and of the task goes to `failed`.
local function attempt(lane, message, in_task)
  local ok, result = xpcall(lane.deliver, told, message, in_task)
  if ok then return result end
  if type(result) ~= "string" then error(result, 0) end
  if message.given_up then return false end
  local answered, why = xpcall(lane.failed, told, message, result)
  if answered then return false end
  if type(why) ~= "string" then error(why, 0) end
  log.error("a message is lost: %s", why)
  return false
end

local function hold(lane, bytes)
  lane.held = lane.held + bytes
  local full = lane.held > (lane.is_full and ROOM or FULL)
  if full == lane.is_full then return end
  lane.is_full = full
  lane.on_full(full)
end

local function weight(message) return #message.line + WEIGHT end

--- Deals with what waits. A worker that was given up is not the lane's any more.
local function work(lane, worker)
  local at_last <close> = -- luacheck: ignore 211
    setmetatable({}, { __close = function()
      if lane.worker == worker then lane.worker = nil end
    end })
  worker.task = async.running()
  while lane.worker == worker and lane.first <= lane.last do
    local message = lane[lane.first]
    lane[lane.first] = nil
    lane.first = lane.first + 1
    worker.message, worker.weight = message, weight(message)
    attempt(lane, message, true)
    if lane.worker == worker then hold(lane, -worker.weight) end
  end
end

local function start(lane)
  lane.worker = { weight = 0 }
  async.spawn(work, lane, lane.worker)
end

--- The next message has its turn at once: whoever has the one in front may not care that he is
--- cancelled.
local function give_up(lane)
  local worker = lane.worker
  worker.message.given_up = true
  lane.worker = nil
  hold(lane, -worker.weight)
  lane.on_given_up(worker.message)
  start(lane)
  worker.task:cancel "too much waits behind its message"
end

---@param message table with `line`
function Lane:take(message)
  -- A task that was cancelled may have left messages, which come first.
  local begun = self.on_given_up and self.worker and self.worker.message
  if begun and self.held - self.worker.weight > M.MOST then give_up(self) end
  local is_free = not self.worker and self.first > self.last
  if is_free and not attempt(self, message, false) then return end
  self.last = self.last + 1
  self[self.last] = message
  hold(self, weight(message))
  if not self.worker then start(self) end
end

return M
