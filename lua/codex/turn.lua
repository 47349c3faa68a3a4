--- One turn of a thread: its events, and what it came to.
---
--- Which events belong to it is known when Codex has answered turn/start; what comes before is
--- kept and sorted then. Turns of sub-agents have threads of their own and are not seen here. When
--- the end of a turn was lost, it is found again: after some silence the thread is read. What has
--- another shape than known is passed on in its event, and not understood.

local E = require "codex.error"
local async = require "codex.async"
local instances = require "codex.instance"
local json = require "codex.json"
local tokens = require "codex.appserver.tokens"

local M = {}

local WATCH, BUFFER, INTERRUPT_WAIT, NETWORK_WAIT = 30, 20000, 5, 60

---@class codex.TurnEvent
---@field type string the notification's method, as "item/completed"; "failure" is ours
---@field params table as Codex sent them; their fields can be read from the event itself
---@field delta? string text of the agent's message, and of nothing else
---@field error? codex.Error in a failure
---@field synthetic? boolean made by us
local Event = {}

function Event.__index(event, name)
  if name == "delta" then
    local delta = event.type == "item/agentMessage/delta" and event.params.delta
    return type(delta) == "string" and delta or nil
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
---@field usage? codex.Usage tokens of this turn: input_tokens, output_tokens, ...; nil where Codex
--- told none, or where the thread's earlier use is not known
---@field diff? string all changes of the turn so far, as a unified diff
---@field plan? table[] the last plan: { step, status }
---@field duration number seconds

---@class codex.TurnStream
---@field id? string once Codex has answered
local Turn = {}
Turn.__index = require("codex.base.class").methods(Turn)
Turn.__name = "codex.turn"

-- ---- What events say ---------------------------------------------------------------------------

local absorb = {}

absorb["item/started"] = function(turn, params)
  local item = params.item
  if type(item) ~= "table" or item.id == nil then return end
  if not turn._open[item.id] then table.insert(turn._open_order, item.id) end
  turn._open[item.id] = item
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

absorb["thread/tokenUsage/updated"] = function(turn, params)
  if not turn._total and not turn._before then
    turn._before = tokens.before(params, turn.thread.client.version)
  end
  turn._total = tokens.total(params) or turn._total
end

absorb["turn/diff/updated"] = function(turn, params)
  if type(params.diff) == "string" then turn._diff = params.diff end
end

absorb["turn/plan/updated"] = function(turn, params)
  if type(params.plan) == "table" then turn._plan = params.plan end
end

--- The name of a codexErrorInfo: a word, or an object with one key.
local function error_name(info)
  if type(info) == "string" then return info end
  return type(info) == "table" and (next(info)) or nil
end

local kinds = {
  unauthorized = "auth", usageLimitExceeded = "rate_limit", rateLimitExceeded = "rate_limit",
  [401] = "auth", [403] = "auth", [429] = "rate_limit",
}

--- The name says it, or the status of the answer over HTTP, as of a key that was refused. Up to
--- some version before 0.160 there is no status but in the message.
local function error_kind(info, name, message)
  local detail = type(info) == "table" and info[name]
  local status = type(detail) == "table" and detail.httpStatusCode
  local kind = kinds[name] or kinds[status]
  if kind or (name and name ~= "other") then return kind or "rpc" end
  local class = require("codex.events").classify(message)
  return class and class.kind ~= "exit" and class.kind or "rpc"
end

local function turn_error(turn, failure)
  local message = type(failure.message) == "string" and failure.message or "the turn failed"
  local name = error_name(failure.codexErrorInfo)
  local kind = error_kind(failure.codexErrorInfo, name, message)
  local wait = kind == "rate_limit" and require("codex.events").retry_after(message) or nil
  return E.new(kind, message, {
    code = name or "turn_failed",
    data = { turn_error = failure, turn_id = turn.id, retry_after = wait },
  })
end

absorb["turn/completed"] = function(turn, params)
  local over = type(params.turn) == "table" and params.turn or {}
  if over.status == "failed" then
    turn._error = turn_error(turn, type(over.error) == "table" and over.error or {})
  elseif over.status == "interrupted" then
    turn._error = E.new("cancelled", "the turn was interrupted",
      { code = "interrupted", data = { turn_id = turn.id } })
  elseif over.status ~= "completed" then
    turn._error = E.new("protocol", "the turn ended in a way that is unknown here",
      { code = "status", data = { turn_id = turn.id } })
  end
  turn._settled = true
  turn:_end()
end

-- ---- Receiving ---------------------------------------------------------------------------------

local function turn_id_of(params)
  if params.turnId then return params.turnId end
  return type(params.turn) == "table" and params.turn.id or nil
end

--- A notification of the thread; called by the client.
function Turn:_take(method, params)
  if self._over then
    local is_end = method == "turn/completed" and turn_id_of(params) == self.id
    return is_end and self:_settle() or nil
  end
  if self.id then
    if turn_id_of(params) == self.id then return self:_event(method, params) end
    self:_heard_of_another(method, params)
  elseif #self._early < self._buffer then
    table.insert(self._early, { method, params })
  else
    self:_overflow()
  end
end

--- A thread that is resumed or forked is told of with what it used, as of an older turn.
function Turn:_heard_of_another(method, params)
  if method ~= "thread/tokenUsage/updated" or self._total then return end
  self._before = tokens.total(params) or self._before
end

--- Codex waits for ever for a network that is not there. This is since when.
function Turn:_watch_network(method, params)
  local failure = type(params.error) == "table" and params.error or {}
  local notice = { type = method, message = failure.message }
  if not require("codex.events").is_unbounded_retry(notice) then
    self._networkless = nil
  elseif not self._networkless then
    self._networkless, self._network_notice = self._heard, failure.message
    self:_arm()
  end
end

function Turn:_event(method, params, synthetic)
  self._heard = require("luv").now()
  self:_watch_network(method, params)
  local event = setmetatable({ type = method, params = params, synthetic = synthetic }, Event)
  if self._queue and not self:_keep(event) then return end
  if absorb[method] then absorb[method](self, params) end
  self._changed:notify()
end

function Turn:_overflow()
  local text = "more than %d events wait for a loop that is too slow"
  self:_give_up(E.new("protocol", text:format(self._buffer), { code = "overflow" }))
end

--- A loop that is too slow must not eat the memory, nor lose events unnoticed.
function Turn:_keep(event)
  if self._last - self._first + 1 >= self._buffer then return self:_overflow() end
  self._last = self._last + 1
  self._queue[self._last] = event
  return true
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

--- The last turns that the server has on record.
local function recorded_turns(thread)
  local client = thread.client
  local page = client:request("thread/turns/list",
    { threadId = thread.id, limit = 5, sortDirection = "desc", itemsView = "full" })
  if type(page) == "table" and type(page.data) == "table" then return page.data end
  local answer = client:request("thread/read", { threadId = thread.id, includeTurns = true })
  local found = type(answer) == "table" and answer.thread
  return type(found) == "table" and type(found.turns) == "table" and found.turns or nil
end

local function with_id(list, id)
  for _, each in ipairs(list) do
    if type(each) == "table" and each.id == id then return each end
  end
end

local function is_idle(thread)
  local answer = thread.client:request("thread/read", { threadId = thread.id })
  local found = type(answer) == "table" and answer.thread
  local status = type(found) == "table" and found.status
  return type(status) == "table" and status.type ~= "active"
end

--- Tells what was missed, as far as it is on record. Items that never showed are not told, for old
--- versions give them other ids there; but the answer is too good to be lost.
local function catch_up(turn, found)
  local ids = { threadId = turn.thread.id, turnId = turn.id }
  for _, item in ipairs(type(found.items) == "table" and found.items or {}) do
    if type(item) ~= "table" then break end
    local is_answer = item.type == "agentMessage" and not turn._final_message
    if turn._open[item.id or ""] or is_answer then
      turn:_event("item/completed",
        { item = item, threadId = ids.threadId, turnId = ids.turnId }, true)
    end
  end
  turn:_event("turn/completed", { threadId = ids.threadId, turn = found }, true)
end

--- Reads the thread: when the turn is over there, its end was lost, and is made up for. When the
--- server cannot say, the turn goes on.
local function recover(turn)
  if not is_idle(turn.thread) or turn._over then return end
  local list = recorded_turns(turn.thread)
  if not list or turn._over then return end
  local found = with_id(list, turn.id)
  if found and found.status ~= "inProgress" then return catch_up(turn, found) end
  turn:_lose(E.new("protocol", "the thread is idle, and the end of its turn was never told",
    { code = "lost" }))
end

--- Looks after a turn from which nothing was heard for a while.
local function look(turn)
  turn._looking = true
  recover(turn)
  turn._looking = false
  if turn._over or seconds_since(turn._heard) < turn._idle_timeout then return end
  turn:_give_up(E.new("idle",
    ("nothing was heard of the turn for %g seconds"):format(turn._idle_timeout)))
end

function Turn:_is_waiting_for_us()
  for _, pending in pairs(self.thread.client._pending) do
    if pending.thread_id == self.thread.id then return true end
  end
  return false
end

--- Ends the turn when one of its limits is reached; whether it was.
function Turn:_is_late()
  local message, code
  if seconds_since(self._started) >= self._timeout then
    message = ("the turn was not done within %g seconds"):format(self._timeout)
  elseif self._networkless and seconds_since(self._networkless) >= self._network_wait then
    message = ("Codex waited %g seconds for the network: %s"):format(self._network_wait,
      self._network_notice)
    code = "network"
  end
  if message then self:_give_up(E.new("timeout", message, { code = code })) end
  return message ~= nil
end

function Turn:_tick()
  if self._over or self:_is_late() then return end
  if self:_is_waiting_for_us() then self._heard = require("luv").now() end
  if self.id and not self._looking and self:_silence() >= self._patience then
    self._looked = require("luv").now()
    async.spawn(look, self)
  end
  self:_arm()
end

--- Seconds since we heard of it or looked after it.
function Turn:_silence() return seconds_since(math.max(self._heard, self._looked or 0)) end

--- One timer for the whole turn's limit, for the network, for silence, and for looking after it.
function Turn:_arm()
  local due = math.min(self._patience - self:_silence(),
    self._timeout - seconds_since(self._started))
  if self._networkless then
    due = math.min(due, self._network_wait - seconds_since(self._networkless))
  end
  if self._over or due == math.huge then return end
  self._timer:start(math.max(10, math.ceil(due * 1000)), 0, function() self:_tick() end)
end

-- ---- Ending ------------------------------------------------------------------------------------

function Turn:_end()
  if self._over then return end
  self._over = true
  self._duration = seconds_since(self._started)
  self._timer:close()
  if not self._starting and not self._dismissed then self:_leave() end
  self._changed:notify()
end

--- The thread is free for another turn.
function Turn:_leave()
  local client, id = self.thread.client, self.thread.id
  local turns = client._turns[id] or {}
  for i, each in ipairs(turns) do
    if each == self then table.remove(turns, i) break end
  end
  if #turns == 0 then client._turns[id] = nil end
  self._left = true
  self._changed:notify()
end

--- Codex has done with it, or will never say so.
function Turn:_settle()
  self._settled = true
  self._changed:notify()
end

--- The server is gone; called by the client.
function Turn:_lose(err)
  self:_settle()
  self:_fail(err)
end

--- The end of it without one of Codex's: the server is gone, or we lost patience.
function Turn:_fail(err)
  if self._over then return end
  self._error = err
  self:_end()
end

--- Has Codex end the turn, and waits no longer than it lasts: when it has just ended 0.153.4 never
--- answers.
local function stop(turn, seconds)
  return async.race {
    function()
      return turn.thread.client:request("turn/interrupt",
        { threadId = turn.thread.id, turnId = turn.id }, { timeout = seconds })
    end,
    function()
      while not turn._settled do turn._changed:wait() end
      return true
    end,
  }
end

--- Has Codex end the turn and waits, for some seconds, until it has. A turn that only steers is
--- somebody else's.
local function dismiss(turn)
  if not turn._steering and stop(turn, INTERRUPT_WAIT) then
    async.timeout(INTERRUPT_WAIT, function()
      while not turn._settled do turn._changed:wait() end
    end)
  end
  turn:_leave()
end

--- Ends it for a reason of ours, and has Codex end it too. Without an id yet, `begin` does it.
function Turn:_give_up(err)
  if self._over then return end
  if self.id then
    self._dismissed = true
    async.spawn(dismiss, self)
  end
  self:_fail(err)
end

--- Waits until the thread is free of a turn that was given up: Codex would take what comes before
--- for more of the same turn.
---@async
function Turn:wait_left()
  while not self._left do self._changed:wait() end
end

--- The turn's id, once Codex has answered; nil when it did not begin.
---@async
---@return string?
function Turn:wait_id()
  while self._starting and not self.id do self._changed:wait() end
  return self.id
end

--- Interrupts the turn. Its end comes to whoever iterates over it.
---@async
---@return true?
---@return codex.Error? error of kind `rpc` when it is over
function Turn:interrupt()
  if not self:wait_id() or self._over then
    return nil, E.new("rpc", "the turn is over", { code = "idle" })
  end
  local answer, err = stop(self)
  if not answer and not self._over then return nil, err end
  return true
end

--- Interrupts a turn that still runs and waits, for some seconds, until it has ended. Idempotent.
function Turn:close()
  if self._over then return self:_close_quietly() end
  if not async.running() then
    return self:_give_up(E.new("closed", "the turn was left"))
  end
  local at_last <close> = setmetatable({}, { -- luacheck: ignore 211
    __close = function() self:_close_quietly() end, -- also when we are cancelled meanwhile
  })
  dismiss(self)
end

function Turn:_close_quietly()
  self._closed = true
  self:_fail(E.new("closed", "the turn was left before its end"))
  self._queue, self._first, self._last = nil, 1, 0
end

function Turn:__close() self:close() end

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
    review = turn._review, items = turn._items, unfinished = unfinished(turn),
    usage = tokens.difference(turn._total, turn._before),
    diff = turn._diff, plan = turn._plan, duration = turn._duration,
  }
end

--- The error together with what the turn came to until then. A copy: when the server dies, all its
--- turns have the same error.
local function with_parts(err, result)
  local data = type(err.data) == "table" and err.data or { data = err.data }
  for name, value in pairs(data) do result[name] = value end
  return E.new(err.kind, err.message, { code = err.code, data = result, stderr = err.stderr })
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
  self._failure = with_parts(err, result)
  return nil, self._failure
end

-- ---- Opening -----------------------------------------------------------------------------------

local function id_in(answer)
  if type(answer) ~= "table" then return nil end
  return answer.turnId or (type(answer.turn) == "table" and answer.turn.id) or nil
end

--- The id of the new turn, or why there is none.
local function ask_for(turn, spec)
  local ok, err = spec.prepare()
  if not ok then return nil, err end
  if turn._over then return nil, turn._error end
  turn._before = turn.thread._total
  local answer
  answer, err = turn.thread.client:request(spec.method, spec.params)
  if err then return nil, require("codex.helper").explain("the turn", spec.method, err) end
  local id = id_in(answer)
  if type(id) == "string" then return id end
  return nil, E.new("protocol", ("%s was answered without a turn"):format(spec.method))
end

--- Runs as a task of its own: when the one who wanted the turn is cancelled or has lost patience,
--- the answer still says which turn has to be interrupted.
local function begin(turn, spec)
  local at_last <close> = setmetatable({}, { __close = function() -- luacheck: ignore 211
    turn._starting = false
    if not turn.id then turn:_fail(E.new("protocol", "the turn could not be asked for")) end
    if turn._over then turn:_leave() end
    turn._changed:notify()
  end })
  local id, err = ask_for(turn, spec)
  if not id then return turn:_fail(err) end
  turn.id = id
  if turn._over then return dismiss(turn) end
  local early = turn._early
  turn._early = {}
  for _, event in ipairs(early) do turn:_take(event[1], event[2]) end
end

--- Waits until it is known which turn it is, or that there is none.
local function await_start(turn, starter)
  local at_last <close> = setmetatable({}, { __close = function() -- luacheck: ignore 211
    if not turn.id then
      turn:_fail(E.new("cancelled", "the turn was given up before it began"))
    end
  end })
  while not turn.id and not turn._over do turn._changed:wait() end
  if not turn.id and starter:is_done() then starter:join() end -- raises what it raised
end

---@class codex.TurnSpec
---@field method "turn/start"|"turn/steer"|"review/start"
---@field params table
---@field given table checked options
---@field keep boolean keep the items and no events
---@field prepare fun(): true?, codex.Error?

--- A limit in seconds; 0 is none.
local function limit(seconds, default)
  seconds = seconds or default
  return seconds > 0 and seconds or math.huge
end

local function new_turn(thread, spec)
  local uv = require "luv"
  local given = spec.given
  uv.update_time()
  local turn = setmetatable({
    thread = thread, _given = given, _early = {}, _open = {}, _open_order = {}, _first = 1,
    _last = 0, _changed = async.signal(), _started = uv.now(), _heard = uv.now(),
    _steering = spec.method == "turn/steer", _starting = true, _buffer = given.buffer or BUFFER,
    _timeout = limit(given.timeout, 0), _idle_timeout = limit(given.idle_timeout, 0),
    _network_wait = limit(given.network_wait,
      thread.client._instance._settings.network_wait or NETWORK_WAIT),
    _timer = uv.new_timer(),
  }, Turn)
  turn._patience = math.min(turn._idle_timeout, limit(given.watch, WATCH))
  if spec.keep then turn._items = {} else turn._queue = {} end
  return turn
end

--- Starts a turn. That it could not be started is its first and last event.
---@async
---@param thread codex.Thread
---@param spec codex.TurnSpec
---@return codex.TurnStream
function M.open(thread, spec)
  local turn = new_turn(thread, spec)
  local turns = thread.client._turns[thread.id] or {}
  thread.client._turns[thread.id] = turns
  turns[#turns + 1] = turn
  turn:_arm()
  await_start(turn, async.spawn(begin, turn, spec))
  if turn._error then
    instances.say(thread.client._instance, "debug", "%s: %s", spec.method, tostring(turn._error))
  end
  return turn
end

return M
