--- Between clients and one app-server: everything passes as it is, but for what Lua decides.
---
--- Approvals go to the policies first. Where they have no opinion the client is asked, as if we
--- were not there; where one fails the answer is no. Middleware sees all messages. Several clients
--- may share the server: each has its ids and its threads, the first one introduces us all.

local approval = require "codex.approval"
local async = require "codex.async"
local core = require "codex.core.link"
local items = require "codex.items"
local json = require "codex.json"
local link = require "codex.link"
local log = require "codex.log"
local middleware = require "codex.middleware"
local uv = require "luv"

local M = {}

local HIGH_WATER, LOW_WATER = 8 << 20, 1 << 20 -- bytes that one side may lag behind the other
local LINE_LIMIT = 1 << 30

---@class codex.Session
---@field server codex.Link
local Session = {}
Session.__index = Session
Session.__name = "codex.session"

---@class codex.Front a client
---@field number integer
---@field peer codex.Link|table what takes `send(line)`, `unwritten()` and `close()`
local Front = {}
Front.__index = Front

--- A list may change while one goes through it.
local function copy(list) return table.move(list, 1, #list, 1, {}) end

--- What is inside a message; an empty table where that is no JSON or no object.
local function decode(line)
  local value = json.decode(line)
  return type(value) == "table" and value or {}
end

local function params_of(line)
  local params = decode(line).params
  return type(params) == "table" and params or {}
end

-- ---- One side's messages, in their order -------------------------------------------------------

--- A lane carries what comes from one side. While a middleware waits, what comes later queues up.
local Lane = {}
Lane.__index = Lane

local function new_lane(deliver)
  return setmetatable({ deliver = deliver, first = 1, last = 0 }, Lane)
end

local function work(lane)
  while lane.first <= lane.last do
    local message = lane[lane.first]
    lane[lane.first] = nil
    lane.first = lane.first + 1
    lane.deliver(message, true)
  end
  lane.busy = false
end

function Lane:take(message)
  if not self.busy and not self.deliver(message, false) then return end
  self.last = self.last + 1
  self[self.last] = message
  if self.busy then return end
  self.busy = true
  async.spawn(work, self)
end

--- Nothing is lost without a word.
local function too_long(who, why)
  if why ~= "ETOOLONG" then return false end
  log.error("%s sent a message of more than %d bytes; it is lost", who, LINE_LIMIT)
  return true
end

-- ---- To the clients ----------------------------------------------------------------------------

function Session:_record(dir, line)
  if self._recording then self._recording:write(dir, line) end
end

--- A client that does not keep up stops the server, until it has caught up.
function Session:_watch(front)
  if self._paused or front.peer:unwritten() < HIGH_WATER then return end
  self._paused = true
  self.server:pause(true)
end

function Session:_drained()
  if not self._paused then return end
  for _, front in ipairs(self._fronts) do
    if front.peer:unwritten() > LOW_WATER then return end
  end
  self._paused = false
  self.server:pause(false)
end

function Front:send(line)
  local ok = self.peer:send(line)
  if ok then self.session:_watch(self) else self.session:_lost(self) end
end

function Front:answer(id, outcome)
  local field = outcome.error and "error" or "result"
  self:send(('{"id":%s,"%s":%s}'):format(id, field, json.encode(outcome[field])))
end

--- Who is told of a thread: those who opened it or its parent, else everybody.
function Session:_audience(thread_id)
  if #self._fronts < 2 or not thread_id then return self._fronts end
  local list = {}
  for _, front in ipairs(self._fronts) do
    if front.threads[thread_id] then list[#list + 1] = front end
  end
  return #list > 0 and list or self._fronts
end

local function adopt(session, thread)
  if type(thread) ~= "table" or type(thread.parentThreadId) ~= "string" then return end
  for _, front in ipairs(session._fronts) do
    if front.threads[thread.parentThreadId] then front.threads[thread.id] = true end
  end
end

local function to_audience(session, method, line)
  local fronts = session._fronts
  if session._shared then
    local params = params_of(line)
    if method == "thread/started" then adopt(session, params.thread) end
    local thread_id = params.threadId or (type(params.thread) == "table" and params.thread.id)
    fronts = session:_audience(thread_id)
  end
  for _, front in ipairs(copy(fronts)) do
    if not front.opt_out[method] then front:send(line) end
  end
end

-- ---- What the server asks ----------------------------------------------------------------------

--- Writes a decision down; false and why only where it must not count, as that was impossible.
local function audit(session, asked, record)
  if not session._audit or not asked.question then return true end
  record.seconds = record.seconds or (uv.hrtime() - asked.since) / 1e9
  local ok, err = session._audit:record(asked.question, record)
  return ok or not session._audit.required, err
end

--- Sends the server the answer to one of its requests; the first answer counts.
function Session:_settle(id, line)
  local asked = self._asked[id]
  if asked then
    if asked.settled then
      log.info("a late answer to %s is dropped", asked.method)
      return
    end
    asked.settled, asked.line, asked.question = true, nil, nil
  end
  self:_record("c2s", line)
  self.server:send(line)
end

local function show(session, asked)
  local line = asked.line
  asked.shown = copy(session:_audience(asked.thread_id))
  for _, front in ipairs(copy(asked.shown)) do front:send(line) end
  if #asked.shown == 0 then session:_refuse(asked, "there is no client to ask") end
end

--- The answer of doubt: no, in the words of the request, or an error.
local function decline(session, asked, why)
  local result = asked.question and approval.safe(asked.question)
  log.warn("%s is declined: %s", asked.method, why)
  local body = result and '"result":' .. json.encode(result)
    or '"error":' .. json.encode { code = link.codes.internal_error, message = why }
  session:_settle(asked.id, ('{"id":%s,%s}'):format(asked.id, body))
end

--- Nobody is there to be asked.
function Session:_refuse(asked, why)
  audit(self, asked, { decision = "decline", policy = "default", why = why })
  decline(self, asked, why)
end

--- Asks the policies; without an opinion of theirs the client is asked.
local function decide(session, asked)
  local result, record = session._decider:decide(asked.question, { pass = not session._strict })
  if asked.settled then
    log.info("%s: the question is over before it was answered", asked.method)
  elseif record == nil then
    show(session, asked)
  elseif result == nil then
    decline(session, asked, record.why or "declined")
  else
    session:_settle(asked.id, ('{"id":%s,"result":%s}'):format(asked.id, json.encode(result)))
  end
end

local function question_of(session, method, params)
  local question = approval.request(method, params, session._items:find(params))
  if question then question.session = session end
  return question
end

local function server_asks(session, method, id, line)
  local params = params_of(line)
  local asked = {
    id = id, method = method, line = line, thread_id = params.threadId, since = uv.hrtime(),
    question = question_of(session, method, params),
  }
  session._asked[id] = asked
  if not asked.question or not session._decides then return show(session, asked) end
  asked.task = async.spawn(decide, session, asked)
end

--- A question is over. Whether the clients may hear of it: not where none of them was asked.
local function resolved(session, params)
  local id = params.requestId ~= nil and json.encode(params.requestId) or ""
  local asked = session._asked[id]
  if not asked then return true end
  session._asked[id] = nil
  asked.settled = true
  if asked.task and asked.task ~= async.running() then asked.task:cancel "the question is over" end
  return asked.shown ~= nil
end

-- ---- From the server ---------------------------------------------------------------------------

local from_server = {}

function from_server.request(session, message)
  server_asks(session, message.method, message.id, message.line)
end

function from_server.notification(session, message)
  local method = message.method
  if method == "serverRequest/resolved" then
    if not resolved(session, params_of(message.line)) then return end
  elseif items.concerns(method) then
    session._items:note(method, params_of(message.line))
  end
  to_audience(session, message.method, message.line)
end

--- After these the client hears of the thread.
local opens = { ["thread/start"] = true, ["thread/resume"] = true, ["thread/fork"] = true }

local function learn(session, route, line)
  if not session._shared and route.method ~= "initialize" then return end
  local decoded = decode(line)
  local result = type(decoded.result) == "table" and decoded.result or {}
  if route.method == "initialize" and decoded.result then session:_introduced(decoded.result) end
  if opens[route.method] and type(result.thread) == "table" then
    route.front.threads[result.thread.id] = true
  end
end

local function with_id(line, id)
  local decoded = decode(line)
  decoded.id = json.decode(id)
  return json.encode(decoded)
end

function from_server.result(session, message)
  local route = session._routes[message.id]
  if not route then return to_audience(session, nil, message.line) end
  session._routes[message.id] = nil
  learn(session, route, message.line)
  local line = message.line
  if route.id ~= message.id then line = with_id(line, route.id) end
  route.front:send(line)
end

from_server.error = from_server.result

-- ---- From a client -----------------------------------------------------------------------------

local from_client = {}

--- Sends it under its own id, or where another client uses that now, under one of ours.
local function route(session, front, method, id, line)
  local wire_id = id
  if session._routes[id] then
    session._numbers = session._numbers + 1
    wire_id = ('"codex-lua-route:%d"'):format(session._numbers)
    line = with_id(line, wire_id)
  end
  session._routes[wire_id] = { front = front, id = id, method = method }
  session:_record("c2s", line)
  session.server:send(line)
end

--- What the first client says of itself is said for all: in a shared session every client may use
--- the experimental methods, and notifications it does not want are kept from it here.
local function first_introduction(session, front, id, line)
  session._initialize = { waiting = {} }
  if session._shared then
    local decoded = decode(line)
    local params = type(decoded.params) == "table" and decoded.params or {}
    params.capabilities = type(params.capabilities) == "table" and params.capabilities or {}
    params.capabilities.experimentalApi = true
    params.capabilities.optOutNotificationMethods = nil
    decoded.params = params
    line = json.encode(decoded)
  end
  route(session, front, "initialize", id, line)
end

--- How a client introduces itself, for the audit log.
local function name_of(params)
  local info = type(params.clientInfo) == "table" and params.clientInfo or {}
  return ("%s %s"):format(info.name or "?", info.version or "?")
end

local function initialize(session, front, id, line)
  local params = params_of(line)
  local capabilities = params.capabilities
  front.name = name_of(params)
  if session._shared and type(capabilities) == "table" then
    local methods = capabilities.optOutNotificationMethods
    for _, method in ipairs(type(methods) == "table" and methods or {}) do
      front.opt_out[method] = true
    end
  end
  local known = session._initialize
  if not known or not session._shared then return first_introduction(session, front, id, line) end
  if known.result then return front:answer(id, known) end
  table.insert(known.waiting, { front = front, id = id })
end

function Session:_introduced(result)
  local known = self._initialize
  if not known then return end
  known.result = result
  for _, each in ipairs(known.waiting) do each.front:answer(each.id, known) end
  known.waiting = {}
end

function from_client.request(session, message)
  local front = message.front
  if message.method == "initialize" then
    return initialize(session, front, message.id, message.line)
  end
  if message.method == "thread/unsubscribe" and session._shared then
    front.threads[params_of(message.line).threadId or ""] = nil
  end
  route(session, front, message.method, message.id, message.line)
end

function from_client.notification(session, message)
  if message.method == "initialized" and session._shared then
    if session._initialized then return end
    session._initialized = true
  end
  session:_record("c2s", message.line)
  session.server:send(message.line)
end

--- The decision a client took, for the audit log.
local function client_decision(session, asked, message)
  local record = approval.decision(asked.question, decode(message.line))
  record.policy, record.client = "client", message.front.name
  return audit(session, asked, record)
end

function from_client.result(session, message)
  local asked = session._asked[message.id]
  if asked and asked.question and not asked.settled then
    local ok, err = client_decision(session, asked, message)
    if not ok then return decline(session, asked, err.message) end
  end
  session:_settle(message.id, message.line)
end

from_client.error = from_client.result

-- ---- Through the middlewares -------------------------------------------------------------------

local error_body = { error = { code = link.codes.internal_error, message = "a middleware failed" } }

--- What a middleware answered in place of policies and clients is a decision, too.
local function middleware_decision(session, message)
  local question = question_of(session, message.method, params_of(message.line))
  if not question then return end
  local record = approval.decision(question, message.outcome)
  record.policy, record.seconds = "middleware " .. message.concluded_by, 0
  local ok, err = audit(session, { question = question }, record)
  local code = link.codes.internal_error
  if not ok then message.outcome = { error = { code = code, message = err.message } } end
end

local function answer_server(session, message)
  local field = message.outcome.error and "error" or "result"
  local line = ('{"id":%s,"%s":%s}'):format(message.id, field, json.encode(message.outcome[field]))
  session:_record("c2s", line)
  session.server:send(line)
end

--- A middleware has decided: the message goes no further, but nobody is left waiting.
local function conclude(session, message)
  local is_answer = message.kind == "result" or message.kind == "error"
  if message.kind == "request" and message.front then
    return message.front:answer(message.id, message.outcome)
  elseif message.kind == "request" then
    middleware_decision(session, message)
    return answer_server(session, message)
  elseif is_answer and message.front then
    message.outcome = error_body
    return answer_server(session, message)
  elseif is_answer then
    message.line = ('{"id":%s,"error":%s}'):format(message.id, json.encode(error_body.error))
    from_server.error(session, message)
  end
end

local function method_of(session, message)
  if message.method then return message.method end
  local known = message.front and session._asked[message.id] or session._routes[message.id]
  return known and known.method
end

--- What a side's messages go through; true when it has to be done in a task, as one may wait.
local function deliverer(session, chain, handlers)
  return function(message, in_task)
    local list = chain:of(message.kind, method_of(session, message))
    if not list then return handlers[message.kind](session, message) and nil end
    if not in_task then return true end
    local method = message.method
    message.method = method_of(session, message)
    middleware.pass(list, message, session)
    message.method = method or message.method
    if message.outcome then return conclude(session, message) end
    handlers[message.kind](session, message)
  end
end

-- ---- Clients come and go -----------------------------------------------------------------------

--- Adds a client. `peer` takes send(line) -> ok, unwritten() and close().
---@param peer table
---@return codex.Front
function Session:add(peer)
  self._numbers = self._numbers + 1
  local front = setmetatable({
    session = self, peer = peer, number = self._numbers, threads = {}, opt_out = {},
  }, Front)
  front.lane = new_lane(deliverer(self, self._from_client, from_client))
  table.insert(self._fronts, front)
  return front
end

--- One message of the client, as it came.
---@param kind codex.MessageKind
---@param method? string
---@param id? string JSON text
---@param line string
function Front:take(kind, method, id, line)
  self.lane:take { from = "client", front = self, kind = kind, method = method, id = id,
    line = line }
end

--- What is no message is none of our business, but for the record.
function Session:take_junk(line, why)
  if too_long("a client", why) then return end
  self:_record("c2s", line)
  self.server:send(line)
end

local function remove(list, value)
  for i, each in ipairs(list) do
    if each == value then return table.remove(list, i) end
  end
end

local function is_alone(session, thread_id)
  for _, front in ipairs(session._fronts) do
    if front.threads[thread_id] then return false end
  end
  return true
end

--- A client is gone: its questions are answered with no where nobody else was asked, and of its
--- threads we do not want to hear any more.
function Session:_lost(front)
  remove(self._fronts, front)
  if front.gone then return end
  front.gone = true
  for id, each in pairs(self._routes) do
    if each.front == front then self._routes[id] = { front = front, id = each.id } end
  end
  self:_drained()
  for _, asked in pairs(self._asked) do
    local was_asked = asked.shown and remove(asked.shown, front)
    if was_asked and #asked.shown == 0 and not asked.settled then
      self:_refuse(asked, "the client is gone")
    end
  end
  if self._shared then
    for id in pairs(front.threads) do
      if is_alone(self, id) then
        async.spawn(self.request, self, "thread/unsubscribe", { threadId = id })
      end
    end
  end
  if self._on_lost then self._on_lost(front) end
end

-- ---- For middlewares and policies --------------------------------------------------------------

--- Tells the clients something of ours, as if the server had.
---@param method string
---@param params? table
function Session:notify(method, params)
  local line = json.encode { method = method, params = params }
  for _, front in ipairs(copy(self._fronts)) do front:send(line) end
end

--- Asks the server something of our own.
---@async
---@param method string
---@param params? table
---@param opts? { timeout?: number }
---@return any?
---@return codex.Error?
function Session:request(method, params, opts) return self.server:request(method, params, opts) end

-- ---- Opening and ending ------------------------------------------------------------------------

local function server_options(session, given)
  local lane = new_lane(deliverer(session, session._from_server, from_server))
  return {
    name = "the app-server", raw = true, prefix = "codex-lua:", stderr = "inherit",
    line_limit = LINE_LIMIT, cwd = given.cwd, env = given.env, clear_env = given.clear_env,
    on_message = function(kind, method, id, line)
      session:_record("s2c", line)
      lane:take { from = "server", kind = kind, method = method, id = id, line = line }
    end,
    on_junk = function(line, why)
      if too_long("the server", why) then return end
      session:_record("s2c", line)
      for _, front in ipairs(session._fronts) do front:send(line) end
    end,
    on_drain = function()
      for _, front in ipairs(session._fronts) do
        if front.peer.pause then front.peer:pause(session.server:unwritten() > HIGH_WATER) end
      end
    end,
    on_closed = function(err)
      session._gone = err
      session._over:notify()
    end,
  }
end

---@class codex.LauncherOptions
---@field argv string[] the app-server to run
---@field cwd? string
---@field env? table<string, string|false>
---@field policies? codex.Policy[]
---@field policy_timeout? number seconds (60)
---@field strict? boolean where no policy has an opinion the answer is no; the client is not asked
---@field middleware? codex.Middleware[]
---@field recording? table what takes write(dir, line)
---@field audit? table an audit log
---@field shared? boolean there will be more than one client
---@field on_lost? fun(front: codex.Front) a client is gone

--- Starts the server behind the clients that will be added.
---@async
---@param given codex.LauncherOptions
---@return codex.Session?
---@return codex.Error?
function M.open(given)
  local policies, list = given.policies or {}, given.middleware or {}
  local decider, err = require("codex.policy").decider(policies, {
    timeout = given.policy_timeout, audit = given.audit,
    log = function(level, message) log[level]("%s", message) end,
  })
  if not decider then return nil, err end
  local session = setmetatable({
    _fronts = {}, _routes = {}, _asked = {}, _items = items.new(), _numbers = 0,
    _over = async.signal(),
    _recording = given.recording, _audit = given.audit, _strict = given.strict,
    _decides = #policies > 0 or given.strict or false, _shared = given.shared or false,
    _on_lost = given.on_lost, _from_client = middleware.chain(list, "client"),
    _from_server = middleware.chain(list, "server"), _decider = decider,
  }, Session)
  session.server, err = link.spawn(given.argv, server_options(session, given))
  if not session.server then return nil, err end
  return session
end

--- A client over our own standard input and output. The end of its messages is told by `on_end`;
--- it may still hear what the server says. That it does not hear any more is told by `on_lost`.
---@param on_end fun()
---@return codex.Link?
---@return codex.Error?
function Session:add_stdio(on_end)
  local front, peer, err
  peer, err = link.stdio {
    raw = true, line_limit = LINE_LIMIT, name = "the client", on_closed = on_end,
    on_message = function(...) front:take(...) end,
    on_junk = function(line, why) self:take_junk(line, why) end,
    on_drain = function()
      if peer:status().write_error then self:_lost(front) else self:_drained() end
    end,
  }
  if not peer then return nil, err end
  front = self:add(peer)
  return peer
end

--- Serves a client that came over WebSocket, until it goes.
---@async
---@param connection codex.WsConnection
function Session:serve(connection)
  local front = self:add {
    send = function(_, line) return connection:post(line) end,
    unwritten = function() return connection:unsent() end,
    close = function() connection:close() end,
  }
  connection.on_event = function() self:_drained() end
  for text in connection:messages() do
    local line = text:find "[\r\n]" and text:gsub("[\r\n]", " ") or text
    local kind, method, id = core.read(line)
    if kind then front:take(kind, method, id, line) else self:take_junk(line, "EJSON") end
  end
  self:_lost(front)
end

--- Waits for the end of the server.
---@async
---@return codex.Error
function Session:wait()
  while not self._gone do self._over:wait() end
  return self._gone
end

--- Lets the server read to its end, and waits for its own. Idempotent.
---@param grace? number seconds until it is ended by signals (5)
function Session:close(grace)
  for _, asked in pairs(self._asked) do
    if asked.task then asked.task:cancel "the session is over" end
  end
  self.server:close(grace or 5)
  for _, front in ipairs(copy(self._fronts)) do front.peer:close() end
end

function Session:__close() self:close() end

--- Exit code for a program that was the server.
---@return integer
function Session:exit_code()
  local status = self.server:status()
  return status.signal ~= 0 and 128 + status.signal or status.code
end

return M
