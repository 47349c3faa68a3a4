--- Between clients and one app-server: what is understood passes as it is, but for what Lua
--- decides otherwise.
---
--- What a client sends is read strictly, once (codex.launcher.intake); what cannot be understood
--- in one way only is refused. Approvals go to the policies first. Where they have no opinion the
--- client is asked, as if we were not there; where one fails the answer is no. An answer counts
--- only from a client that was asked, while the question is open. Under `strict` no client is
--- asked, and what a client does that would take decisions away from the policies is a question to
--- them (codex.launcher.gate). Middleware sees all messages. Several clients may share the server:
--- each has its ids and its threads, the first one introduces us all.

local E = require "codex.error"
local approval = require "codex.approval"
local async = require "codex.async"
local fronts = require "codex.launcher.front"
local intake = require "codex.launcher.intake"
local introduction = require "codex.launcher.introduction"
local items = require "codex.items"
local json = require "codex.json"
local lane = require "codex.launcher.lane"
local link = require "codex.link"
local log = require "codex.log"
local middleware = require "codex.middleware"
local standing = require "codex.launcher.standing"
local threads = require "codex.launcher.threads"
local uv = require "luv"

local M = {}

local HIGH_WATER = 8 << 20 -- bytes that the server may lag behind its clients
local UNREAD_SECONDS = 10 -- how long a client of several may lag behind by more than HIGH_WATER
local SETTLED_KEPT = 1000 -- questions that are answered
local STALL_SECONDS = 10 -- that a middleware may go on without waiting
local LINE_LIMIT = 1 << 30 -- of the server's messages
local CLIENT_LINE_LIMIT = 256 << 20

local INTERNAL_ERROR, REFUSED = link.codes.internal_error, -32000

---@class codex.Session
---@field server codex.Link
local Session = {}
Session.__index = require("codex.base.class").methods(Session)
Session.__name = "codex.session"

--- A list may change while one goes through it.
local function copy(list) return table.move(list, 1, #list, 1, {}) end

local function index_of(list, value)
  for i, each in ipairs(list or {}) do
    if each == value then return i end
  end
end

local function remove(list, value)
  local i = index_of(list, value)
  return i and table.remove(list, i)
end

--- What is inside a message; an empty table where that is no JSON or no object.
local function decode(line)
  local value = json.decode(line)
  return type(value) == "table" and value or {}
end

local function params_of(line)
  local params = decode(line).params
  return type(params) == "table" and params or {}
end

--- Calls a function that must not stop us: what it raises is returned as a text, after nil. Only
--- the end of the script and of the task go on.
local function attempt(fn, ...)
  local values = table.pack(pcall(fn, ...))
  if values[1] then return table.unpack(values, 2, values.n) end
  local err = values[2]
  if async.is_end(err) then error(err, 0) end
  return nil, E.text(err)
end

--- Nothing is lost without a word.
local function too_long(who, why, limit)
  if why ~= "ETOOLONG" then return false end
  log.error("%s sent a message of more than %d bytes; it is lost", who, limit)
  return true
end

-- ---- To the clients ----------------------------------------------------------------------------

function Session:_record(dir, line)
  if self._recording then self._recording:write(dir, line) end
end

--- Takes nothing more from the server, for as long as one of the reasons is there.
---@param reason any
---@param on boolean
function Session:hold(reason, on)
  if (self._held[reason] or false) == on then return end
  self._held[reason] = on or nil
  self.server:pause(next(self._held) ~= nil)
end

local function to_audience(session, method, line)
  local audience = session._fronts
  if session._shared then
    local params = params_of(line)
    if method == "thread/started" then threads.adopt(session, params.thread) end
    audience = threads.audience(session, threads.of(params))
  end
  for _, front in ipairs(copy(audience)) do
    if not front.opt_out[method] then front:send(line) end
  end
end

-- ---- What the server asks ----------------------------------------------------------------------

--- Writes a decision down; false and why only where it must not count, as that was impossible.
local function audit(session, asked, record)
  if not session._audit or not asked.question then return true end
  record.seconds = record.seconds or (uv.hrtime() - asked.since) / 1e9
  local ok, err = attempt(session._audit.record, session._audit, asked.question, record)
  if ok or not session._audit.required then return true end
  return false, err and E.text(err) or "it was not written down"
end

--- What is answered is known until the server says that it is over. Old versions (0.101.0) never
--- say so, so the oldest is forgotten where there are many.
local function remember_settled(session, id)
  local place = session._settled_count % SETTLED_KEPT + 1
  local oldest = session._settled[place]
  local asked = oldest and session._asked[oldest]
  if asked and asked.settled then session._asked[oldest] = nil end
  session._settled[place], session._settled_count = id, place
end

--- Sends the server the answer to one of its requests. The first answer counts.
local function settle(session, asked, line)
  if asked.settled then
    log.info("a late answer to %s is dropped", asked.method)
    return
  end
  asked.settled, asked.line, asked.question = true, nil, nil
  remember_settled(session, asked.id)
  if asked.own_id ~= asked.id then line = intake.with_id(line, asked.own_id) end
  session:_record("c2s", line)
  session.server:send(line)
end

local function settle_with(session, asked, field, value)
  local text = json.encode(value, { unicode = true })
  settle(session, asked, ('{"id":%s,"%s":%s}'):format(asked.id, field, text))
end

--- The answer of doubt: no, in the words of the request, or an error.
local function decline(session, asked, why)
  log.warn("%s is declined: %s", asked.method, why)
  local result = asked.question and attempt(approval.safe, asked.question)
  if result then return settle_with(session, asked, "result", result) end
  settle_with(session, asked, "error", { code = INTERNAL_ERROR, message = why })
end

--- Nobody can be asked, or something went wrong.
function Session:_refuse(asked, why)
  if asked.settled then return end
  audit(self, asked, { decision = "decline", policy = "default", why = why })
  decline(self, asked, why)
end

local function show(session, asked)
  local line = asked.line
  asked.shown = copy(threads.who_is_asked(session, asked.thread_id))
  for _, front in ipairs(copy(asked.shown)) do front:send(line) end
  if #asked.shown == 0 then session:_refuse(asked, "there is no client to ask") end
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
    settle_with(session, asked, "result", result)
  end
  return true
end

--- Whatever is raised on the way, there is an answer.
local function decide_surely(session, asked)
  local done, why = attempt(decide, session, asked)
  if done or asked.settled then return end
  log.error("%s: the decision failed: %s", asked.method, why)
  session:_refuse(asked, "the decision failed")
end

local function question_of(session, method, params)
  local question = approval.request(method, params, session._items:find(params))
  if question then question.session = session end
  return question
end

--- What a client answers from its own knowledge, and nobody decides about.
local clients_own = { ["item/tool/call"] = true, ["currentTime/read"] = true }

--- The question in a request; nothing where it is none; nil and why where it makes no sense.
local function read_question(session, asked)
  local decoded, problem = json.decode(asked.line)
  if type(decoded) ~= "table" then return nil, problem or "it is no object" end
  local params = decoded.params
  if params == nil then params = {} end
  if type(params) ~= "table" or params[1] ~= nil then return nil, "its params are no object" end
  asked.thread_id = session._shared and threads.of(params)
  local question, why = attempt(question_of, session, asked.method, params)
  if why then return nil, why end
  asked.question = question
  return true
end

--- Nobody waits for an answer any more.
local function over(asked)
  asked.settled = true
  if asked.task and asked.task ~= async.running() then asked.task:cancel "the question is over" end
end

local function server_asks(session, method, id, line)
  local canonical = intake.canonical(id)
  local before = session._asked[canonical]
  if before then over(before) end
  local asked = { id = canonical, own_id = id, method = method, line = line, since = uv.hrtime() }
  session._asked[canonical] = asked
  local ok, why = read_question(session, asked)
  if not ok then
    return session:_refuse(asked, "the request cannot be understood: " .. why)
  end
  if session._decides and asked.question then
    asked.task = async.spawn(decide_surely, session, asked)
  elseif session._strict and not clients_own[method] then
    session:_refuse(asked, "it is not known what this asks")
  else
    show(session, asked)
  end
end

--- A question is over. Whether the clients may hear of it: not where none of them was asked.
local function resolved(session, params)
  local id = params.requestId ~= nil and intake.canonical(json.encode(params.requestId)) or ""
  local asked = session._asked[id]
  if not asked then return true end
  session._asked[id] = nil
  over(asked)
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
    local _, why = attempt(session._items.note, session._items, method, params_of(message.line))
    if why then log.error("%s could not be noted: %s", method, why) end
  end
  if session._standing and standing.concerns(method) then
    session._standing:passed(method, params_of(message.line))
  end
  to_audience(session, message.method, message.line)
end

local route -- sends a client's request, below

local function introduced(session, result)
  local again = session._introduction:answered(result)
  if again then route(session, again.front, "initialize", again.id, again.id, again.line) end
end

local function note_introduction(session, known, result)
  if session._shared then return introduced(session, result) end
  known.front.introduced = result ~= nil and "done" or nil
end

function from_server.result(session, message)
  local id = intake.canonical(message.id)
  local known = session._routes[id]
  if not known then
    if not session._shared then return to_audience(session, nil, message.line) end
    log.warn("an answer to nothing that a client asked is dropped: %s", fronts.shown(message.line))
    return
  end
  session._routes[id] = nil
  local line = message.line
  if known.id ~= message.id then line = intake.with_id(line, known.id) end
  known.front:send(line)
  local note = known.method == "initialize" and note_introduction or threads.learn[known.method]
  if note then note(session, known, decode(message.line).result) end
end

from_server.error = from_server.result

-- ---- From a client -----------------------------------------------------------------------------

local from_client = {}

--- Sends it under its own id, or where another request uses that now, under one of ours. `own_id`
--- is how the client wrote it.
function route(session, front, method, id, own_id, line)
  local wire_id = id
  if session._routes[id] then
    session._numbers = session._numbers + 1
    wire_id = ('"codex-lua-route:%d"'):format(session._numbers)
    line = intake.with_id(line, wire_id)
  end
  local known = { front = front, id = own_id, method = method }
  session._routes[wire_id] = known
  session:_record("c2s", line)
  session.server:send(line)
  return known
end

--- How a client introduces itself, for the audit log.
local function name_of(params)
  local info = type(params.clientInfo) == "table" and params.clientInfo or {}
  return ("%s %s"):format(E.text(info.name or "?"), E.text(info.version or "?"))
end

--- The notifications that a client does not want, and that are kept from it here: we want them, and
--- other clients may. What is no list of texts is left to Codex, which refuses it.
local function unwanted(capabilities)
  local methods, set = capabilities.optOutNotificationMethods, {}
  if type(methods) ~= "table" then return nil end
  for i, method in pairs(methods) do
    if math.type(i) ~= "integer" or type(method) ~= "string" then return nil end
    set[method] = true
  end
  return set
end

--- What is sent in place of a client's introduction. What one of several clients says of itself is
--- said for all: every client may use the experimental methods.
local function own_introduction(session, front, line)
  local decoded = decode(line)
  local params = type(decoded.params) == "table" and decoded.params or {}
  front.name = name_of(params)
  local capabilities = type(params.capabilities) == "table" and params.capabilities or {}
  local set = session._looks and unwanted(capabilities)
  front.opt_out = set or {}
  if not set and not session._shared then return line end
  if set then capabilities.optOutNotificationMethods = nil end
  if session._shared then capabilities.experimentalApi = true end
  params.capabilities, decoded.params = capabilities, params
  return json.encode(decoded, { unicode = true })
end

--- Who a client is, for policies and the audit log, is what it said the first time.
local function initialize(session, message)
  local front, own_id = message.front, message.own_id
  if not introduction.is_first(front, own_id) then return end
  local line = own_introduction(session, front, message.line)
  if session._shared and not session._introduction:take(front, own_id, line) then return end
  front.introduced = "asked"
  route(session, front, "initialize", message.id, own_id, line)
end

--- One of several clients asks something.
local function shared_request(session, message)
  local front, method, thread_id, status = message.front, message.method, nil, nil
  if not introduction.admits(front, message.own_id) then return end
  if threads.concerns(method) then thread_id = threads.of(params_of(message.line)) end
  if thread_id then status = threads.asked(session, front, method, thread_id) end
  if status then return front:answer(message.own_id, { result = { status = status } }) end
  local known = route(session, front, method, message.id, message.own_id, message.line)
  known.thread = thread_id
  return known
end

--- What a request says of threads, and what policies have accepted of it.
local function note_standing(session, message, known)
  if not session._standing or not known or not standing.concerns(message.method) then return end
  known.standing = session._standing:passed(message.method, params_of(message.line))
  known.accepted = message.question and message.question.fields
end

function from_client.request(session, message)
  local front = message.front
  if message.method == "initialize" then return initialize(session, message) end
  local known
  if session._shared then
    known = shared_request(session, message)
  else
    known = route(session, front, message.method, message.id, message.own_id, message.line)
  end
  note_standing(session, message, known)
end

function from_client.notification(session, message)
  if message.method == "initialized" and session._shared then
    if not session._introduction:confirmed(message.front) then return end
  end
  session:_record("c2s", message.line)
  session.server:send(message.line)
end

--- Why a client's answer does not count; nil where it does.
local function objection(session, message)
  local asked = session._asked[message.id]
  if not asked then return "nobody asked" end
  if asked.settled then return "the question is over" end
  if not index_of(asked.shown, message.front) then return "this client was not asked" end
  return intake.problem_in_answer(message.line, asked.method)
end

--- Whether a client's message may go on at all.
local function counts(session, message)
  if message.kind ~= "result" and message.kind ~= "error" then return true end
  local why = objection(session, message)
  if not why then return true end
  session:_record("c2s", message.line)
  message.front:note_refusal("an answer", why, message.line)
  return false
end

--- The decision a client took, for the audit log.
local function client_decision(session, asked, message)
  local record = approval.decision(asked.question, decode(message.line))
  record.policy, record.client = "client", message.front.name
  return audit(session, asked, record)
end

function from_client.result(session, message)
  if not counts(session, message) then return end -- it may have waited for a middleware
  local asked = session._asked[message.id]
  if asked.question then
    local ok, why = client_decision(session, asked, message)
    if not ok then return decline(session, asked, why) end
  end
  settle(session, asked, message.line)
end

from_client.error = from_client.result

-- ---- What a client may not do by itself --------------------------------------------------------

local function ask_gate(session, message)
  if not session._strict or message.kind == "result" or message.kind == "error" then return nil end
  local decoded, params = json.decode(message.line), false -- what cannot be read is not harmless
  if decoded ~= nil then params = decoded.params end
  local function knows(id, opens) return session._standing:of(id, opens) end
  return require("codex.launcher.gate").question(message.kind, message.method, params, knows,
    session._workspaces)
end

--- Asked once for each line: a middleware may have put another one in its place.
local function gate_question(session, message)
  if message.gated ~= message.line then
    message.gated, message.question = message.line, ask_gate(session, message)
  end
  return message.question
end

--- Asks the policies about a client's message. True when it may go on.
local function ask_about(session, message, question)
  question.client = message.front.name
  local result, record = session._decider:decide(question)
  if result and result.allowed == true then return true end
  local why = "no policy allows it"
  if record and record.unwritten then
    why = "the decision cannot be written to the audit log"
  elseif record and record.policy ~= "default" then
    why = ("declined by %s"):format(record.policy)
  end
  return false, ("codex-lua --strict: %s: %s"):format(question.what, why)
end

--- Whether the policies let a client's message through; where they do not, the client is told why.
local function may_pass(session, message)
  local question = gate_question(session, message)
  if not question then return true end
  local front = message.front
  local allowed, why = attempt(ask_about, session, message, question)
  if allowed == true and not front.gone then return true end
  if allowed == nil then
    log.error("%s: the decision failed: %s", message.method, why)
    audit(session, { question = question, since = uv.hrtime() },
      { decision = "decline", policy = "default", why = "the decision failed" })
    why = ("codex-lua --strict: %s: the decision failed"):format(question.what)
  end
  session:_record("c2s", message.line)
  front:note_refusal(message.method, why, message.line)
  if message.kind == "request" then
    front:refuse(message.own_id, REFUSED, why, { method = message.method, reason = question.what })
  end
  return false
end

-- ---- Through the middlewares -------------------------------------------------------------------

local error_body = { code = INTERNAL_ERROR, message = "a middleware failed" }

--- What a middleware answered in place of policies and clients is a decision, too.
local function middleware_decision(session, message)
  local question = attempt(question_of, session, message.method, params_of(message.line))
  if not question then return end
  local record = attempt(approval.decision, question, message.outcome) or { decision = "error" }
  record.policy, record.seconds = "middleware " .. message.concluded_by, 0
  local ok, why = audit(session, { question = question }, record)
  if not ok then message.outcome = { error = { code = INTERNAL_ERROR, message = why } } end
end

local function answer_server(session, id, outcome)
  local field = outcome.error and "error" or "result"
  local text = json.encode(outcome[field], { unicode = true })
  local line = ('{"id":%s,"%s":%s}'):format(id, field, text)
  session:_record("c2s", line)
  session.server:send(line)
end

--- A message goes no further, but nobody is left waiting.
local function conclude(session, message)
  local kind, front = message.kind, message.front
  if kind == "request" and front then return front:answer(message.own_id, message.outcome) end
  if kind == "request" then
    middleware_decision(session, message)
    return answer_server(session, message.id, message.outcome)
  end
  if kind == "notification" then return end
  if not front then
    message.line = ('{"id":%s,"error":%s}'):format(message.id, json.encode(error_body))
    return from_server.error(session, message)
  end
  local asked = session._asked[message.id]
  if asked and not asked.settled then session:_refuse(asked, error_body.message) end
end

local function method_of(session, message)
  if message.method then return message.method end
  local known
  if message.front then
    known = session._asked[message.id]
  else
    known = session._routes[intake.canonical(message.id)]
  end
  return known and known.method
end

--- Shows a message to its middlewares; true when it goes on.
local function through(session, list, message)
  local method = message.method
  message.method = method_of(session, message)
  middleware.pass(list, message, session, session._stall_seconds)
  if message.given_up then return false end
  message.method = method or message.method
  if not message.outcome then return true end
  conclude(session, message)
  return false
end

--- What the server's messages go through; true when it has to be done in a task, as one may wait.
local function server_side(session)
  local chain = session._from_server
  return function(message, in_task)
    local list = chain:of(message.kind, method_of(session, message))
    if list and not in_task then return true end
    if not list or through(session, list, message) then
      from_server[message.kind](session, message)
    end
    return false
  end
end

--- Likewise a client's messages.
local function client_side(session)
  local chain = session._from_client
  return function(message, in_task)
    if message.front.gone or not counts(session, message) then return false end
    local list = chain:of(message.kind, method_of(session, message))
    if not in_task and (list or gate_question(session, message)) then return true end
    if list and not through(session, list, message) then return false end
    if not may_pass(session, message) then return false end
    from_client[message.kind](session, message)
    return false
  end
end

--- What becomes of a message that raised an error on its way.
local function failed(session)
  return function(message, why)
    log.error("%s from the %s: %s", message.method or message.kind, message.from, why)
    if message.front then
      message.outcome = { error = { code = INTERNAL_ERROR, message = "the launcher failed" } }
      return conclude(session, message)
    end
    if message.kind ~= "request" then return end
    local asked = session._asked[intake.canonical(message.id)]
    if asked then return session:_refuse(asked, "the launcher failed") end
    answer_server(session, message.id, { error = error_body })
  end
end

-- ---- What waits behind a middleware ------------------------------------------------------------

--- While too much of the server's messages waits it is held, but not where the answer to a request
--- of ours may be what is waited for.
local function hold_for_lane(session)
  session:hold("lane", session._lane.is_full and session._own_requests == 0)
end

local function count_own(session, step)
  session._own_requests = session._own_requests + step
  hold_for_lane(session)
end

--- So much has come meanwhile that the middleware's time is over.
local function given_up(session)
  return function(message)
    middleware.fail(message,
      ("more than %d MiB of what the server said had to wait for it"):format(lane.MOST >> 20))
    conclude(session, message)
  end
end

local function server_lane(session)
  return lane.new(server_side(session), failed(session),
    function() hold_for_lane(session) end, given_up(session))
end

-- ---- Clients come and go -----------------------------------------------------------------------

--- Adds a client. `peer` takes send(line) -> ok, unwritten() and close(), and perhaps pause(on).
---@param peer table
---@return codex.Front
function Session:add(peer)
  self._numbers = self._numbers + 1
  local front = fronts.new(self, self._numbers, peer)
  front.lane = lane.new(client_side(self), failed(self),
    function(full) front:hold("lane", full) end)
  table.insert(self._fronts, front)
  return front
end

--- A client is gone: its questions are answered with no where nobody else was asked, and of its
--- threads we do not want to hear any more.
function Session:_lost(front)
  remove(self._fronts, front)
  if front.gone then return end
  front.gone = true
  self:hold(front, false)
  for _, asked in pairs(self._asked) do
    local was_asked = asked.shown and remove(asked.shown, front)
    if was_asked and #asked.shown == 0 and not asked.settled then
      self:_refuse(asked, "the client is gone")
    end
  end
  for id in pairs(front.threads) do threads.leave(self, id) end
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
function Session:request(method, params, opts)
  count_own(self, 1)
  local at_last <close> = -- luacheck: ignore 211
    setmetatable({}, { __close = function() count_own(self, -1) end })
  return self.server:request(method, params, opts)
end

-- ---- Opening and ending ------------------------------------------------------------------------

local function server_options(session, given)
  local from = server_lane(session)
  session._lane = from
  return {
    name = "the app-server", raw = true, prefix = "codex-lua:", stderr = "inherit",
    line_limit = LINE_LIMIT, cwd = given.cwd, env = given.env, clear_env = given.clear_env,
    on_message = function(kind, method, id, line)
      session:_record("s2c", line)
      from:take { from = "server", kind = kind, method = method, id = id, line = line }
    end,
    on_junk = function(line, why)
      if too_long("the server", why, LINE_LIMIT) then return end
      session:_record("s2c", line)
      for _, front in ipairs(copy(session._fronts)) do front:send(line) end
    end,
    on_drain = function()
      local behind = session.server:unwritten() > HIGH_WATER
      for _, front in ipairs(session._fronts) do front:hold("server", behind) end
    end,
    on_closed = function(err)
      session._gone = err
      session._over_signal:notify()
    end,
  }
end

---@class codex.LauncherOptions
---@field argv string[] the app-server to run
---@field cwd? string
---@field env? table<string, string|false>
---@field policies? codex.Policy[]
---@field policy_timeout? number seconds (60)
---@field strict? boolean where no policy has an opinion the answer is no; the client is not asked,
---  and what it may do by itself is what decides nothing
---@field workspaces? string[] under `strict`: folders in which threads may work, besides the one in
---  which the server runs; in all others they do when a policy says so
---@field files_apart? string[] under `strict`: files that decide, or tell what happened; it is an
---  error where commands could write one
---@field middleware? codex.Middleware[]
---@field recording? table what takes write(dir, line)
---@field audit? table an audit log
---@field shared? boolean there will be more than one client
---@field unread_seconds? number how long one of several clients may leave 8 MiB unread (10); what
---  it has used comes back in four times as long
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
  local workspaces
  if given.strict then
    workspaces, err =
      require("codex.launcher.workspaces").open(given.workspaces, given.cwd, given.files_apart)
    if not workspaces then return nil, err end
  end
  local decides = #policies > 0 or given.strict or false
  local session = setmetatable({
    _fronts = {}, _routes = {}, _asked = {}, _items = items.new(), _numbers = 0,
    _held = {}, _opened = {}, _left = {}, _own_requests = 0, _settled = {},
    _settled_count = 0,
    _over_signal = async.signal(), _introduction = introduction.new(),
    _recording = given.recording, _audit = given.audit, _strict = given.strict,
    _decides = decides, _workspaces = workspaces, _shared = given.shared or false,
    _standing = workspaces and standing.new(workspaces),
    _looks = decides or given.shared or #list > 0, -- at the server's notifications
    _unread_seconds = given.unread_seconds or UNREAD_SECONDS,
    _stall_seconds = math.min(given.policy_timeout or STALL_SECONDS, STALL_SECONDS),
    _on_lost = given.on_lost, _from_client = middleware.chain(list, "client"),
    _from_server = middleware.chain(list, "server"), _decider = decider,
  }, Session)
  session.server, err = link.spawn(given.argv, server_options(session, given))
  if not session.server then return nil, err end
  return session
end

--- A client over two descriptors. The end of its messages is told by `on_end`; it may still hear
--- what the server says. That it does not hear any more is told by `on_lost`.
---@param input integer
---@param output integer
---@param on_end fun()
---@return codex.Link?
---@return codex.Error?
function Session:add_stdio(input, output, on_end)
  local front, peer, err
  peer, err = link.open(input, output, {
    raw = true, line_limit = CLIENT_LINE_LIMIT, name = "the client", on_closed = on_end,
    on_message = function(_, _, _, line) front:take(line) end,
    on_junk = function(line, why)
      if not too_long("a client", why, CLIENT_LINE_LIMIT) then return front:take(line) end
      front:refuse("null", link.codes.invalid_request, "the message is too long")
    end,
    on_drain = function()
      if peer:status().write_error then self:_lost(front) else front:drained() end
    end,
  })
  if not peer then return nil, err end
  front = self:add(peer)
  return peer
end

--- A server may say what is not UTF-8, which no WebSocket takes.
local function post(connection, line)
  local ok, err = connection:post(line)
  if ok or err.kind ~= "protocol" then return ok, err end
  return connection:post(json.decode(json.encode(line, { repair = true })))
end

--- Serves a client that came over WebSocket, until it goes.
---@async
---@param connection codex.WsConnection
function Session:serve(connection)
  local room = async.signal()
  local held = false
  local front = self:add {
    send = function(_, line) return post(connection, line) end,
    unwritten = function() return connection:unsent() end,
    close = function() connection:close() end,
    drop = function() connection:drop() end,
    pause = function(_, on)
      held = on
      room:notify()
    end,
  }
  connection.on_event = function()
    room:notify() -- it may be gone
    front:drained()
  end
  for text in connection:messages() do
    while held and not connection:is_closed() do room:wait() end
    front:take(text)
  end
  self:_lost(front)
end

--- The longest message of a client, in bytes.
M.client_line_limit = CLIENT_LINE_LIMIT

--- Waits for the end of the server.
---@async
---@return codex.Error
function Session:wait()
  while not self._gone do self._over_signal:wait() end
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
