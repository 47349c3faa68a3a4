--- One client of the launcher: how it is read, what it is sent, and how far it lags behind.

local approval = require "codex.approval"
local async = require "codex.async"
local intake = require "codex.launcher.intake"
local json = require "codex.json"
local log = require "codex.log"
local uv = require "luv"

local M = {}

local HIGH_WATER, LOW_WATER = 8 << 20, 1 << 20 -- bytes that a client may lag behind the server
local MOST_UNREAD = 64 << 20 -- bytes that one of several clients may lag behind, for a while
local COMING_BACK = 1 / 4 -- seconds that come back to a client in a second
local REFUSALS_LOGGED = 50 -- of one client

---@class codex.Front a client
---@field session codex.Session
---@field number integer
---@field peer codex.Link|table what takes `send(line)`, `unwritten()` and `close()`
---@field lane codex.Lane its messages, in their order
---@field threads table<string, true> those that it hears of
---@field resuming table<string, integer> those that it has asked for
---@field opt_out table<string, true> the notifications that it does not want
---@field name? string name and version that it gave itself
---@field introduced? "asked"|"done" whether it has introduced itself
---@field behind? codex.Task that waits while it lags behind
---@field seconds? number that it may still lag behind, of several clients
---@field gone? boolean
local Front = {}
Front.__index = require("codex.base.class").methods(Front)

---@param session codex.Session
---@param number integer
---@param peer table what takes send(line) -> ok, unwritten() and close(), and perhaps pause(on) and
--- drop(), which closes without anybody who reads
---@return codex.Front
function M.new(session, number, peer)
  return setmetatable({
    session = session, peer = peer, number = number, threads = {}, resuming = {}, opt_out = {},
    held = {}, refusals = 0,
  }, Front)
end

--- The beginning of what somebody else wrote, for the log: in one line, without secrets.
---@param text string
---@return string
function M.shown(text)
  local head = require("codex.recording").redact(text:sub(1, 2000)):gsub("%c", " ")
  return approval.visible(log.redact(#head > 200 and head:sub(1, 200) .. "..." or head))
end

-- ---- What a client is sent, and has not read ---------------------------------------------------

--- Ends one of several clients. Nothing of it stays: its place is free for another one, and what it
--- has not read is forgotten.
local function cut_off(front, why)
  log.warn("client %d %s; it is cut off", front.number, why)
  front.session:_lost(front)
  local peer = front.peer
  if peer.drop then return peer:drop() end
  async.spawn(peer.close, peer) -- it may wait for what is unread, and nobody is to wait for that
end

local function seconds_now() return uv.hrtime() / 1e9 end

--- Waits until a client that lags behind has caught up, or its time is over.
local function wait_for_reader(front)
  async.sleep(math.max(front.seconds, 0))
  if front.behind and not front.gone then cut_off(front, "does not read what it is sent") end
end

--- From now on the time is counted of one of several clients. What it used of it before has come
--- back since, in part.
local function start_time(front)
  local now, limit = seconds_now(), front.session._unread_seconds
  local since = now - (front.since or now)
  front.seconds = math.min((front.seconds or limit) + since * COMING_BACK, limit)
  front.since = now
  front.behind = async.spawn(wait_for_reader, front)
end

local function stop_time(front)
  local task, now = front.behind, seconds_now()
  front.seconds, front.since, front.behind = front.seconds - (now - front.since), now, nil
  if task ~= async.running() then task:cancel "it has caught up" end
end

--- A client that does not keep up holds the server, until it has caught up; of several clients only
--- one that lags behind very far, and not for long.
---
--- No client holds a shared server for more than its seconds, whatever the others have unread: the
--- server is held by those only that were at MOST_UNREAD, and of each of these the time is counted,
--- as MOST_UNREAD is above HIGH_WATER. Either it catches up before, which is told (sockets tell it
--- at LOW_WATER at the latest), or it is cut off; both let go of the server for this client. And as
--- its seconds come back slowly, it cannot hold the server nearly always by turns.
local function watch(front)
  local session, behind = front.session, front.peer:unwritten()
  if behind < HIGH_WATER then return end
  if session._shared and not front.behind then start_time(front) end
  if not session._shared or behind >= MOST_UNREAD then session:hold(front, true) end
end

--- Some of what a client was sent was taken: it is not waited for when it has caught up.
function Front:drained()
  if self.peer:unwritten() > LOW_WATER then return end
  if self.behind then stop_time(self) end
  self.session:hold(self, false)
end

function Front:send(line)
  if self.gone then return end
  local ok, err = self.peer:send(line)
  if ok then return watch(self) end
  if err.kind ~= "closed" then return cut_off(self, "cannot be sent a message: " .. err.message) end
  self.session:_lost(self)
end

function Front:answer(id, outcome)
  local field = outcome.error and "error" or "result"
  local line = ('{"id":%s,"%s":%s}'):format(id, field, json.encode(outcome[field]))
  self:send(line)
  return line
end

--- What the server never hears of is answered in the recording as well: who plays it would wait.
function Front:refuse(id, code, message, data)
  local line = self:answer(id, { error = { code = code, message = message, data = data } })
  self.session:_record("s2c", line)
end

--- Stops reading from a client, for as long as one of the reasons is there.
function Front:hold(reason, on)
  if (self.held[reason] or false) == on then return end
  self.held[reason] = on or nil
  if self.peer.pause then self.peer:pause(next(self.held) ~= nil) end
end

-- ---- What a client sends -----------------------------------------------------------------------

--- Says in the log what was not passed on, but not for ever.
function Front:note_refusal(what, why, line)
  self.refusals = self.refusals + 1
  if self.refusals > REFUSALS_LOGGED then return end
  log.warn("client %d: %s is not passed on: %s: %s", self.number, M.shown(what), M.shown(why),
    M.shown(line))
  if self.refusals == REFUSALS_LOGGED then
    log.warn("client %d: more of this is not logged", self.number)
  end
end

--- What is not understood exactly is not passed on.
local function reject(front, line, fault)
  local session = front.session
  session:_record("c2s", line)
  front:note_refusal("a message", fault.problem, line)
  front:refuse(fault.id, fault.code, fault.problem)
end

--- What is wrong with a message that is to be sent in place of this one.
local function check_replacement(message)
  return function(line)
    local taken, fault = intake.read(line)
    if not taken then return fault.problem end
    local same = taken.kind == message.kind and taken.id == message.id
      and (taken.method == nil or taken.method == message.method)
    if not same then return "it would be another message" end
    local asked = not taken.method and message.front.session._asked[message.id]
    return asked and intake.problem_in_answer(line, asked.method) or nil
  end
end

--- One message of the client, as it came.
---@param line string
function Front:take(line)
  if self.gone then return end
  local message, fault = intake.read(line)
  if not message then return reject(self, line, fault) end
  message.from, message.front, message.check = "client", self, check_replacement(message)
  self.lane:take(message)
end

return M
