--- A stand-in for `codex app-server` that plays a recording, and for its client.
---
--- As server, each message of the client is taken for the next recorded one of the same method;
--- what the recorded server sent after that is sent, up to what the recorded client said next. Ids
--- are those of the client that is there. With `loop`, every thread/start begins the part of the
--- recording that follows its first thread/start anew, with UUIDs of its own, and so does a turn
--- when all recorded ones are over: any number of threads, and of turns in them.
---
--- As client, what the recorded client said is said again when the server has come to the point
--- where it was said.

local E = require "codex.error"
local async = require "codex.async"
local json = require "codex.json"
local link = require "codex.link"
local options = require "codex.options"
local recording = require "codex.recording"

local M = {}

local UUID = require("codex.base.uuid").pattern
local HIGH, LOW = 4 << 20, 1 << 20 -- bytes that the client has not taken

-- ---- What is in a recording ---------------------------------------------------------------------

local function kind_of(msg)
  if type(msg) ~= "table" then return "junk" end
  if type(msg.method) == "string" then return msg.id ~= nil and "request" or "notification" end
  return (msg.result ~= nil or msg.error ~= nil) and "answer" or "junk"
end

local function step_of(entry)
  local msg, kind = entry.msg, entry.dir == "exit" and "exit" or kind_of(entry.msg)
  local params = kind ~= "exit" and type(msg) == "table" and type(msg.params) == "table"
    and msg.params or {}
  return {
    from = entry.dir, kind = kind, t = entry.t, text = entry.text, msg = msg, params = params,
    method = kind ~= "junk" and msg and msg.method or nil, exit = entry,
    key = (kind == "request" or kind == "answer") and msg.id ~= nil and json.encode(msg.id) or nil,
  }
end

--- Each message with what it answers (`request`) and what answers it (`answer`).
---@param session codex.RecordedSession
local function steps_of(session)
  local steps, open = {}, { c2s = {}, s2c = {} }
  for i, entry in ipairs(session) do
    local step = step_of(entry)
    steps[i] = step
    if step.kind == "request" then
      open[step.from][step.key] = i
    elseif step.kind == "answer" then
      local asked = open[step.from == "c2s" and "s2c" or "c2s"]
      step.request = asked[step.key or ""]
      asked[step.key or ""] = nil
      if step.request then steps[step.request].answer = i end
    end
  end
  return steps
end

--- The text of a message with another id.
local function with_id(step, id)
  if not step.cut then
    local first, last = recording.id_span(step.text)
    step.cut = { step.text:sub(1, first - 1), step.text:sub(last + 1) }
  end
  return step.cut[1] .. id .. step.cut[2]
end

--- Where the first thread that was started begins, its id, and the ids of the others.
local function first_thread(steps)
  local part, id
  local others = {}
  for i, step in ipairs(steps) do
    local answer = step.from == "c2s" and step.answer and steps[step.answer].msg.result
    local thread = type(answer) == "table" and type(answer.thread) == "table" and answer.thread.id
    if thread and step.method == "thread/start" and not part then
      part, id = i, thread
    elseif thread and thread ~= id then
      others[thread] = true
    end
  end
  return part, id, others
end

-- ---- One way through a recording ----------------------------------------------------------------

local function fresh_uuid()
  local random = math.random
  return ("%08x-%04x-7%03x-%04x-%012x"):format(random(0, 0xffffffff), random(0, 0xffff),
    random(0, 0xfff), random(0x8000, 0xbfff), random(0, 0xffffffffffff))
end

--- Recorded UUIDs and those that stand for them here: the thread's may be known already.
local function new_map(thread, known)
  return setmetatable({ [thread] = known and known[thread] }, {
    __index = function(map, recorded)
      map[recorded] = fresh_uuid()
      return map[recorded]
    end,
  })
end

local Track = {}
Track.__index = require("codex.base.class").methods(Track)

--- `map` is nil where ids stay as they are; `thread` where only one thread's messages count.
local function new_track(player, first, map, thread)
  return setmetatable({
    player = player, steps = player.steps, at = first, map = map, thread = thread,
    ids = {}, -- of the client's requests, by step, as JSON text
    sent = {},
  }, Track)
end

--- Whether a message is part of this way: in one thread's own way, the rest is not, and in the way
--- of all the others what belongs to a thread is not.
function Track:_has(i)
  local step, player = self.steps[i], self.player
  local thread = step.params.threadId
  if not player.loop then return true end
  if not self.thread then return i < player.part or thread == nil end
  if step.from == "s2c" then return not player.others[thread or ""] end
  return thread == self.thread or i == player.part or step.kind == "answer"
end

local function agrees(track, params, recorded)
  for _, name in ipairs { "threadId", "turnId", "expectedTurnId" } do
    local here, there = params[name], recorded[name]
    if here ~= nil and there ~= nil then
      local is_id = type(there) == "string" and there:find(UUID)
      if track.map and is_id then there = track.map[there] end
      if here ~= there then return false end
    end
  end
  return true
end

--- The next recorded message of the client with this method, best one that names the same thread
--- and turn; one that was passed over, when there is no next one.
function Track:find(method, params)
  local second
  for offset = 0, #self.steps - 1 do
    local i = (self.at - 1 + offset) % #self.steps + 1
    local step = self.steps[i]
    if step.from == "c2s" and step.method == method and not self.ids[i] and self:_has(i) then
      if agrees(self, params, step.params) then return i end
      second = second or i
    end
  end
  return second
end

function Track:_emit(i)
  local step, player = self.steps[i], self.player
  local text = step.text
  if self.sent[i] or not self:_has(i) then return end
  if step.kind == "answer" then
    local id = self.ids[step.request or 0]
    if not id then return end -- to what this client did not ask
    text = with_id(step, id)
  elseif step.kind == "request" then
    local id = ("%d"):format(player.asked_count)
    player.asked_count = player.asked_count + 1
    player.asked[id] = { track = self, answer = step.answer }
    text = with_id(step, id)
  end
  self.sent[i] = true
  player.send(self.map and text:gsub(UUID, self.map) or text)
end

--- Whether the client has to say this before it goes on.
function Track:_waits_at(i)
  local step = self.steps[i]
  return step.from == "c2s" and step.kind ~= "junk" and self:_has(i)
    and (step.kind ~= "answer" or step.request ~= nil)
end

function Track:_pause(i)
  local now, before = self.steps[i].t, (self.steps[i - 1] or {}).t
  local speed = self.player.speed
  return speed > 0 and now and before and now > before and (now - before) / speed or 0
end

--- Sends what comes next, until it is the client's turn.
function Track:_run()
  while self.at <= #self.steps and not self:_waits_at(self.at) do
    local i = self.at
    local pause = self.steps[i].from == "s2c" and self:_pause(i) or 0
    if pause > 0 then async.sleep(pause) end
    if self.at == i then -- the client may have gone on meanwhile
      self.at = i + 1
      self:_pass(i)
    end
  end
  self.running = false
  self:_answer_early()
end

--- The recorded client said several things at once and got the answers after that. One that waits
--- for each answer gets those to what it has said.
function Track:_answer_early()
  local i = self.at
  if self.steps[i - 1].from ~= "c2s" then return end
  while self.steps[i] and self.steps[i].from == "c2s" do
    if self.steps[i].kind == "answer" then return end
    i = i + 1
  end
  while self.steps[i] and self.steps[i].from == "s2c" do
    if self.steps[i].kind == "answer" then self:_emit(i) end
    i = i + 1
  end
end

function Track:_pass(i)
  local step = self.steps[i]
  if step.from == "s2c" then return self:_emit(i) end
  if step.kind ~= "exit" or self.player.loop then return end
  local died = (step.exit.code or 0) ~= 0 or step.exit.signal
  if died then self.player.on_exit(step.exit.code or 1) end
end

--- The client has said this one. What was still under way is sent at once; what followed something
--- that this client did not say is left out, but for answers that it waits for.
function Track:reach(i)
  if i < self.at then
    local answer = self.steps[i].answer
    if answer and answer < self.at then self:_emit(answer) end
    return
  end
  local left_out = false
  while self.at < i do
    left_out = left_out or self:_waits_at(self.at)
    local step = self.steps[self.at]
    if step.from == "s2c" and (not left_out or step.kind == "answer") then self:_emit(self.at) end
    self.at = self.at + 1
  end
  self.at = i + 1
  if self.running then return end
  self.running = true
  if self.player.speed > 0 then self.task = async.spawn(self._run, self) else self:_run() end
end

--- Another turn, when all that were recorded are over: they begin anew, with ids of their own.
function Track:begin_again(params)
  self.map, self.ids, self.sent, self.at = new_map(self.thread, self.map), {}, {}, 1
  self.at = self:find("turn/start", params)
  return self.at
end

-- ---- As server ----------------------------------------------------------------------------------

---@class codex.testing.ServerOptions
---@field speed? number 0, the default: at once; 1: as recorded; 2: twice as fast
---@field loop? boolean every thread/start begins the recorded thread anew

local Player = {}
Player.__index = require("codex.base.class").methods(Player)

local known = options.set { "speed", "loop", "send", "on_exit" }

--- A player of the server's side: `take` gets what the client sends, and `send` is called with the
--- lines of the answer.
---@param session codex.RecordedSession
---@param given codex.testing.ServerOptions and send, on_exit(code) for a server that died
function M.player(session, given)
  given = options.check("codex.testing.server", given, known)
  local player = setmetatable({
    steps = steps_of(session), speed = given.speed or 0, send = given.send,
    on_exit = given.on_exit or function() end, asked = {}, asked_count = 0, tracks = {},
    group = given.group,
  }, Player)
  if given.loop then
    player.part, player.thread, player.others = first_thread(player.steps)
    if not player.part then return nil, E.new("protocol", "the recording has no thread/start") end
    player.loop = true
  end
  player.main = new_track(player, 1)
  return player
end

function Player:_track_of(method, params)
  if not self.loop then return self.main end
  if method == "thread/start" then
    local map = new_map(self.thread)
    local track = new_track(self, self.part, map, self.thread)
    self.tracks[map[self.thread]] = track
    return track
  end
  if params.threadId == nil then return self.main end
  return self.tracks[params.threadId]
end

--- A message of the client; the arguments are those of `on_message` of a raw link.
---@param kind codex.MessageKind
---@param method? string
---@param id? string JSON text
---@param line string
function Player:take(kind, method, id, line)
  if kind == "result" or kind == "error" then
    local asked = self.asked[id]
    self.asked[id] = nil
    if asked and asked.answer then asked.track:reach(asked.answer) end
    return
  end
  local message = json.decode(line)
  local params = message and type(message.params) == "table" and message.params or {}
  local track = self:_track_of(method, params)
  local i = track and track:find(method, params)
  if track and track.thread and not i and method == "turn/start" then
    i = track:begin_again(params)
  end
  if i then
    track.ids[i] = id or true
    return track:reach(i)
  end
  if kind ~= "request" then return end
  local text = ("Invalid request: the recording has no `%s` here"):format(method)
  self.send(('{"error":{"code":%d,"message":%s},"id":%s}'):format(link.codes.invalid_request,
    json.encode(text), id))
end

--- Sends no more.
function Player:close()
  if self.main.task then self.main.task:cancel() end
  for _, track in pairs(self.tracks) do
    if track.task then track.task:cancel() end
  end
end

Player.__close = Player.close

--- Plays a recording to the client on our standard streams, until that goes away.
---@async
---@param session codex.RecordedSession
---@param given? codex.testing.ServerOptions
---@return integer? code for our exit: that of the recorded server
---@return codex.Error?
function M.serve(session, given)
  local changed, code = async.signal(), nil
  local peer, player, err
  player, err = M.player(session, {
    speed = given and given.speed, loop = given and given.loop,
    send = function(line)
      peer:send(line)
      if peer:unwritten() > HIGH then peer:pause(true) end
    end,
    on_exit = function(status)
      code = status
      changed:notify()
    end,
  })
  if not player then return nil, err end
  local guard <close> = player -- luacheck: ignore 211
  peer, err = link.stdio {
    raw = true, on_message = function(...) player:take(...) end, on_junk = function() end,
    on_drain = function()
      if peer:unwritten() < LOW then peer:pause(false) end
    end,
    on_closed = function() changed:notify() end,
  }
  if not peer then return nil, err end
  while not code and not peer:gone() do changed:wait() end
  peer:close()
  local last = session[#session]
  return code or last and last.dir == "exit" and last.code or 0
end

-- ---- As client ----------------------------------------------------------------------------------

--- Notifications after which a client may have said something: it waits for as many of each as were
--- recorded. Of the others there may be more or less each time.
local milestones = options.set {
  "turn/started", "turn/completed", "item/started", "item/completed", "thread/started",
}

local Driver = {}
Driver.__index = require("codex.base.class").methods(Driver)

---@class codex.testing.ClientOptions
---@field speed? number as for the server: how long to think before each message
---@field timeout? number seconds to wait for what was recorded (30)
---@field on_line? fun(line: string) gets what comes, as it is
---@field command? string[] the server to start, in place of our standard streams

local known_client = options.set { "speed", "timeout", "on_line", "command" }

--- Ids in an answer that was recorded, and those of the answer that came in its place.
local function learn(map, recorded, here)
  if type(recorded) == "string" and type(here) == "string" and recorded:find(UUID) then
    if not rawget(map, recorded) then map[recorded] = here end
  elseif type(recorded) == "table" and type(here) == "table" then
    for key, value in pairs(recorded) do learn(map, value, here[key]) end
  end
end

local function kind_text(message)
  if message.error == nil then return "a result" end
  local code = type(message.error) == "table" and message.error.code
  return "error " .. tostring(code)
end

function Driver:_differs(format, ...)
  self.differences[#self.differences + 1] = format:format(...)
end

function Driver:_take(kind, method, id, line)
  if self.on_line then self.on_line(line) end
  if kind == "notification" then
    self.count[method] = (self.count[method] or 0) + 1
  elseif kind == "request" then
    local list = self.asked[method] or {}
    self.asked[method] = list
    list[#list + 1] = { id = id, message = json.decode(line) }
    if not self.expected[method] then self:_refuse(method, id) end
  else
    self.answers[id] = json.decode(line)
  end
  self.changed:notify()
end

--- A request that is not in the recording: a server that gets no answer would wait for ever.
function Driver:_refuse(method, id)
  self:_differs("the server asked %s, which is not in the recording", method)
  self.peer:send(('{"error":{"code":%d,"message":"not in the recording"},"id":%s}'):format(
    link.codes.method_not_found, id))
end

--- Waits until `test` gives something. nil when it does not in time, or the server is gone.
function Driver:_until(test, what)
  local value = async.timeout(self.timeout, function()
    while true do
      local found = test()
      if found ~= nil or self.peer:gone() then return found end
      self.changed:wait()
    end
  end)
  if value == nil then
    self:_differs("%s did not come%s", what, self.peer:gone() and ": the server is gone" or "")
  end
  return value
end

local came = {}

function came.answer(driver, step)
  local asked = step.request and driver.steps[step.request]
  if not asked then return true end -- its request had no id, or was no JSON
  local answer = driver:_until(function() return driver.answers[asked.key] end,
    "the answer to " .. asked.method)
  if not answer then return nil end
  local there, here = kind_text(step.msg), kind_text(answer)
  if there ~= here then
    driver:_differs("%s (id %s) was answered with %s, and in the recording with %s", asked.method,
      asked.key, here, there)
  end
  learn(driver.map, step.msg, answer)
  return true
end

function came.request(driver, step)
  local list = driver.asked[step.method] or {}
  driver.asked[step.method] = list
  local asked = driver:_until(function() return list[1] end, "the server's " .. step.method)
  if not asked then return nil end
  table.remove(list, 1)
  step.here = asked.id
  learn(driver.map, step.msg.params, asked.message.params)
  return true
end

function came.notification(driver, step)
  if not milestones[step.method] then return true end
  local wanted = (driver.wanted[step.method] or 0) + 1
  driver.wanted[step.method] = wanted
  return driver:_until(function()
    if (driver.count[step.method] or 0) >= wanted then return true end
  end, ("%s (the %d. one)"):format(step.method, wanted))
end

--- Says what the recorded client said. False for an answer to what was not asked here.
function Driver:_say(i)
  local step, before = self.steps[i], self.steps[i - 1] or {}
  local pause = self.speed > 0 and step.t and before.t and (step.t - before.t) / self.speed or 0
  if pause > 0 then async.sleep(pause) end
  local text = step.text
  if step.kind == "answer" then
    local asked = self.steps[step.request or 0]
    if not asked then return true end
    text = with_id(step, asked.here)
  end
  return self.peer:send((text:gsub(UUID, self.map)))
end

function Driver:_play()
  for i, step in ipairs(self.steps) do
    local go_on = true
    if step.from == "s2c" and came[step.kind] then go_on = came[step.kind](self, step) end
    if step.from == "c2s" then go_on = self:_say(i) end
    if not go_on then return end
  end
  for method, list in pairs(self.asked) do
    for _, asked in ipairs(self.expected[method] and list or {}) do
      self:_refuse(method, asked.id)
    end
  end
end

local function open_peer(driver, command)
  local opts = {
    raw = true, on_message = function(...) driver:_take(...) end,
    on_junk = function(text)
      if driver.on_line then driver.on_line(text) end
    end,
    on_closed = function() driver.changed:notify() end,
  }
  if command then return link.spawn(command, opts) end
  return link.stdio(opts)
end

--- Plays the recorded client to the server on our standard streams, or to one that it starts.
---@async
---@param session codex.RecordedSession
---@param given? codex.testing.ClientOptions
---@return string[]? differences in kind between what came and what was recorded, in words
---@return codex.Error?
function M.drive(session, given)
  given = options.check("codex.testing.server.drive", given, known_client)
  local driver = setmetatable({
    steps = steps_of(session), speed = given.speed or 0, timeout = given.timeout or 30,
    on_line = given.on_line, changed = async.signal(), map = {}, answers = {}, asked = {},
    count = {}, wanted = {}, expected = {}, differences = {},
  }, Driver)
  for _, step in ipairs(driver.steps) do
    if step.from == "s2c" and step.kind == "request" then driver.expected[step.method] = true end
  end
  local err
  driver.peer, err = open_peer(driver, given.command)
  if not driver.peer then return nil, err end
  driver:_play()
  driver.peer:close()
  return driver.differences
end

return M
