--- One turn of a thread: its events, and what it came to.
---
--- Which events belong to it is known when Codex has answered turn/start; what comes before is
--- kept and sorted then. Turns of sub-agents have threads of their own and are not seen here. A turn
--- whose end was lost is found again: after some silence the thread is read.

local E = require "codex.error"
local async = require "codex.async"
local instances = require "codex.instance"
local json = require "codex.json"

local M = {}

local WATCH, BUFFER, INTERRUPT_WAIT = 30, 20000, 5

---@class codex.TurnEvent
---@field type string the notification's method, as "item/completed"; "failure" is ours
---@field params table as Codex sent them; their fields can be read from the event itself
---@field delta? string text of the agent's message, and of nothing else
---@field error? codex.Error in a failure
---@field synthetic? boolean made by us
local Event = {}

function Event.__index(event, name)
  if name == "delta" then
    return event.type == "item/agentMessage/delta" and event.params.delta or nil
  end
  return event.params[name]
end

---@class codex.TurnResult
---@field thread_id string
---@field turn_id string
---@field final_message? string the final answer where Codex marks it, else the last agent message
---@field output? any the final message decoded, when a schema was given
---@field review? string what a review came to
---@field items? table[] completed ones in order (thread:ask)
---@field unfinished table[] items that were started and not completed
---@field usage? table tokens of this turn: input_tokens, output_tokens, ...
---@field diff? string all changes of the turn so far, as a unified diff
---@field plan? table[] the last plan: { step, status }
---@field duration number seconds

---@class codex.TurnStream
---@field id? string once Codex has answered
local Turn = {}
Turn.__index = Turn
Turn.__name = "codex.turn"

-- ---- What events say ---------------------------------------------------------------------------

local function snake(name) return (name:gsub("%u", function(c) return "_" .. c:lower() end)) end

local absorb = {}

absorb["item/started"] = function(turn, params)
  local item = params.item
  if type(item) ~= "table" or not item.id then return end
  turn._open[item.id] = item
  table.insert(turn._open_order, item.id)
end

absorb["item/completed"] = function(turn, params)
  local item = params.item
  if type(item) ~= "table" then return end
  turn._open[item.id or ""] = nil
  if turn._items then table.insert(turn._items, item) end
  if item.type == "exitedReviewMode" then turn._review = item.review end
  if item.type ~= "agentMessage" or type(item.text) ~= "string" then return end
  if item.phase == "final_answer" or not turn._final_phase then
    turn._final_message = item.text
    turn._final_phase = item.phase == "final_answer"
  end
end

--- `last` is what one call of the model used; the turn's own use is the sum of these.
absorb["thread/tokenUsage/updated"] = function(turn, params)
  local usage = turn._usage or {}
  local last = type(params.tokenUsage) == "table" and params.tokenUsage.last
  for name, count in pairs(type(last) == "table" and last or {}) do
    if math.type(count) == "integer" then
      usage[snake(name)] = (usage[snake(name)] or 0) + count
    end
  end
  turn._usage = usage
end

absorb["turn/diff/updated"] = function(turn, params) turn._diff = params.diff end
absorb["turn/plan/updated"] = function(turn, params) turn._plan = params.plan end

--- The name of a codexErrorInfo: a word, or an object with one key.
local function error_name(info)
  if type(info) == "string" then return info end
  return type(info) == "table" and (next(info)) or nil
end

local kinds = {
  unauthorized = "auth", usageLimitExceeded = "rate_limit", rateLimitExceeded = "rate_limit",
}

local function turn_error(turn, failure)
  local message = type(failure.message) == "string" and failure.message or "the turn failed"
  local name = error_name(failure.codexErrorInfo)
  return E.new(kinds[name] or "rpc", message, {
    code = name or "turn_failed", data = { turn_error = failure, turn_id = turn.id },
  })
end

absorb["turn/completed"] = function(turn, params)
  local status = params.turn.status
  if status == "failed" then
    turn._error = turn_error(turn, type(params.turn.error) == "table" and params.turn.error or {})
  elseif status == "interrupted" then
    turn._error = turn._error or E.new("cancelled", "the turn was interrupted",
      { code = "interrupted", data = { turn_id = turn.id } })
  end
  turn:_end()
end

-- ---- Receiving ---------------------------------------------------------------------------------

local function turn_id_of(params)
  if params.turnId then return params.turnId end
  return type(params.turn) == "table" and params.turn.id or nil
end

--- A notification of the thread; called by the client.
function Turn:_take(method, params)
  if self._over then return end
  if not self.id then
    if self._orphaned then return self:_stop_orphan(method, params) end
    table.insert(self._early, { method, params })
  elseif turn_id_of(params) == self.id then
    self:_event(method, params)
  end
end

function Turn:_event(method, params, synthetic)
  self._heard = require("luv").now()
  local event = setmetatable({ type = method, params = params, synthetic = synthetic }, Event)
  if self._queue then self:_keep(event) end
  if absorb[method] then absorb[method](self, params) end
  self._changed:notify()
end

--- A loop that is too slow must not eat the memory, nor lose events unnoticed.
function Turn:_keep(event)
  if self._last - self._first + 1 >= (self._given.buffer or BUFFER) then
    local text = "more than %d events wait for a loop that is too slow"
    return self:_give_up(E.new("protocol", text:format(self._given.buffer or BUFFER),
      { code = "overflow" }))
  end
  self._last = self._last + 1
  self._queue[self._last] = event
end

--- The next event; nil at the end. When the turn fails, the last one is
--- `{ type = "failure", error = err }`.
---@async
---@return codex.TurnEvent?
function Turn:next()
  while true do
    if self._first <= self._last then
      local event = self._queue[self._first]
      self._queue[self._first] = nil
      self._first = self._first + 1
      return event
    end
    if self._over then break end
    self._changed:wait()
  end
  if not self._error or self._told or self._closed then return nil end
  self._told = true
  local event = { type = "failure", error = self._error, params = {}, synthetic = true }
  return setmetatable(event, Event)
end

Turn.__call = Turn.next

-- ---- Time --------------------------------------------------------------------------------------

local function seconds_since(time) return (require("luv").now() - time) / 1000 end

--- Reads the thread: when the turn is over there, its end was lost, and is made up for.
local function recover(turn)
  local thread = turn.thread
  local answer, err = thread.client:request("thread/read", { threadId = thread.id })
  if not answer then return nil, err end
  local status = answer.thread.status
  if turn._over or type(status) ~= "table" or status.type == "active" then return false end
  local found = M.find(thread, turn.id)
  if turn._over then return true end
  if not found or found.status == "inProgress" then
    turn:_fail(E.new("protocol", "the thread is idle, and the end of its turn was never told",
      { code = "lost" }))
    return true
  end
  for _, item in ipairs(found.items or {}) do
    if turn._open[item.id] then
      turn:_event("item/completed",
        { item = item, threadId = thread.id, turnId = turn.id }, true)
    end
  end
  turn:_event("turn/completed", { threadId = thread.id, turn = found }, true)
  return true
end

--- The turn as the server has it on record.
---@async
---@param thread codex.Thread
---@param id string
---@return table?
function M.find(thread, id)
  local page = thread.client:request("thread/turns/list",
    { threadId = thread.id, limit = 5, sortDirection = "desc", itemsView = "full" })
  local list = page and page.data
  if not list then
    local answer =
      thread.client:request("thread/read", { threadId = thread.id, includeTurns = true })
    list = answer and answer.thread.turns or {}
  end
  for _, turn in ipairs(list) do
    if turn.id == id then return turn end
  end
end

--- Looks after a turn from which nothing was heard for a while.
local function look(turn)
  turn._looking = true
  recover(turn)
  turn._looking = false
  local limit = turn._given.idle_timeout
  if turn._over or not limit or seconds_since(turn._heard) < limit then return end
  turn:_give_up(E.new("idle", ("nothing was heard of the turn for %g seconds"):format(limit)))
end

function Turn:_is_waiting_for_us()
  for _, pending in pairs(self.thread.client._pending) do
    if pending.thread_id == self.thread.id then return true end
  end
  return false
end

function Turn:_tick()
  local given = self._given
  if self._over then return end
  if given.timeout and seconds_since(self._started) >= given.timeout then
    return self:_give_up(E.new("timeout",
      ("the turn was not done within %g seconds"):format(given.timeout)))
  end
  if self:_is_waiting_for_us() then self._heard = require("luv").now() end
  local patience = math.min(given.idle_timeout or math.huge, given.watch or WATCH)
  if self.id and not self._looking and seconds_since(self._looked or self._heard) >= patience
    and seconds_since(self._heard) >= patience then
    self._looked = require("luv").now()
    async.spawn(look, self)
  end
  self:_arm()
end

--- One timer for the whole turn's limit, for silence, and for looking after it.
function Turn:_arm()
  local given = self._given
  local due = math.min(given.idle_timeout or math.huge, given.watch or WATCH)
    - seconds_since(math.max(self._heard, self._looked or 0))
  if given.timeout then due = math.min(due, given.timeout - seconds_since(self._started)) end
  self._timer:start(math.max(10, math.ceil(due * 1000)), 0, function() self:_tick() end)
end

-- ---- Ending ------------------------------------------------------------------------------------

function Turn:_end()
  if self._over then return end
  self._over = true
  self._duration = seconds_since(self._started)
  if self._timer then self._timer:close() end
  local client, id = self.thread.client, self.thread.id
  local turns = client._turns[id] or {}
  for i, each in ipairs(turns) do
    if each == self then table.remove(turns, i) break end
  end
  if #turns == 0 then client._turns[id] = nil end
  self._changed:notify()
end

--- The end of it without one of Codex's: the server is gone, or we lost patience.
function Turn:_fail(err)
  if self._over then return end
  self._error = err
  self:_end()
end

--- Ends it for a reason of ours, and has Codex end it too.
function Turn:_give_up(err)
  if self._over then return end
  self:_fail(err)
  if self.id then async.spawn(self.interrupt, self) end
end

--- Interrupts the turn.
---@async
---@return true?
---@return codex.Error?
function Turn:interrupt()
  local answer, err = self.thread.client:request("turn/interrupt",
    { threadId = self.thread.id, turnId = self.id })
  if not answer then return nil, err end
  return true
end

--- Interrupts a turn that still runs and waits, for some seconds, until it has ended. Idempotent.
function Turn:close()
  if self._over or self._steering then return self:_close_quietly() end
  if not async.running() then
    return self:_give_up(E.new("closed", "the turn was left"))
  end
  local ok = self:interrupt()
  if ok then
    async.timeout(INTERRUPT_WAIT, function()
      while not self._over do self._changed:wait() end
    end)
  end
  self:_close_quietly()
end

function Turn:_close_quietly()
  self._closed = true
  self:_fail(E.new("closed", "the turn was left before its end"))
  self._queue, self._first, self._last = nil, 1, 0
end

Turn.__close = Turn.close

-- ---- The result --------------------------------------------------------------------------------

local function unfinished(turn)
  local list = {}
  for _, id in ipairs(turn._open_order) do
    list[#list + 1] = turn._open[id]
    turn._open[id] = nil
  end
  return list
end

local function result_of(turn)
  return {
    thread_id = turn.thread.id, turn_id = turn.id, final_message = turn._final_message,
    review = turn._review, items = turn._items, unfinished = unfinished(turn), usage = turn._usage,
    diff = turn._diff, plan = turn._plan, duration = turn._duration,
  }
end

--- What the turn came to; before its end, waits for that and drops the events.
---@async
---@return codex.TurnResult?
---@return codex.Error? error with the parts of the result in `data`
function Turn:result()
  self._queue, self._first, self._last = nil, 1, 0
  while not self._over do self._changed:wait() end
  if self._result or self._failure then return self._result, self._failure end
  local result, err = result_of(self), self._error
  if not err and self._given.output_schema then
    local message
    result.output, message = json.decode(result.final_message or "")
    if result.output == nil then
      err = E.new("protocol", "the answer is not JSON, though a schema was given: " .. message,
        { code = "output" })
    end
  end
  if not err then
    self._result = result
    return result
  end
  err.data = err.data or {}
  for name, value in pairs(result) do
    if err.data[name] == nil then err.data[name] = value end
  end
  self._failure = err
  return nil, err
end

-- ---- Opening -----------------------------------------------------------------------------------

--- The task went away before Codex said which turn it began: it is ended when it shows itself.
function Turn:_stop_orphan(method, params)
  if method ~= "turn/started" then return end
  self.id = turn_id_of(params)
  self._orphaned = nil
  self:_give_up(E.new("cancelled", "the turn was given up before it began"))
end

local function ask_for(turn, spec)
  local ok, err = spec.prepare()
  if not ok then return nil, err end
  return turn.thread.client:request(spec.method, spec.params)
end

local function begin(turn, spec)
  local settled = false
  local guard <close> = setmetatable({}, { __close = function() -- luacheck: ignore 211
    turn._orphaned = not settled
  end })
  local answer, err = ask_for(turn, spec)
  settled = true
  if turn._over then return end
  if not answer then return turn:_fail(err) end
  turn.id = answer.turnId or answer.turn.id
  local early = turn._early
  turn._early = nil
  for _, event in ipairs(early) do turn:_take(event[1], event[2]) end
end

---@class codex.TurnSpec
---@field method "turn/start"|"turn/steer"|"review/start"
---@field params table
---@field given table checked options
---@field keep boolean keep the items and no events
---@field prepare fun(): true?, codex.Error?

--- Starts a turn. That it could not be started is its first and last event.
---@async
---@param thread codex.Thread
---@param spec codex.TurnSpec
---@return codex.TurnStream
function M.open(thread, spec)
  local uv = require "luv"
  uv.update_time()
  local turn = setmetatable({
    thread = thread, _given = spec.given, _early = {}, _open = {}, _open_order = {}, _first = 1,
    _last = 0, _changed = async.signal(), _started = uv.now(), _heard = uv.now(),
    _steering = spec.method == "turn/steer",
  }, Turn)
  if spec.keep then turn._items = {} else turn._queue = {} end
  local turns = thread.client._turns[thread.id] or {}
  thread.client._turns[thread.id] = turns
  turns[#turns + 1] = turn
  turn._timer = uv.new_timer()
  turn:_arm()
  begin(turn, spec)
  if turn._error then
    instances.say(thread.client._instance, "debug", "%s: %s", spec.method, tostring(turn._error))
  end
  return turn
end

return M
