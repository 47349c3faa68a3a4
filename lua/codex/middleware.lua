--- Lua between a client and the app-server: it sees messages pass, and may answer, change, refuse
--- or drop them.
---
---     return codex.middleware {
---       name = "keep-threads", from = "client", on = "thread/delete",
---       handle = function(message) message:refuse(-32000, "threads are not deleted here") end,
---     }
---
--- A message that nobody touches goes on byte for byte. What a handler is shown is what the other
--- side will read: each gets the message anew, and changing its tables changes nothing until
--- `message:replace`. When a handler raises an error, or returns something, its message does not go
--- on: a request is refused, anything else dropped, and the log says so. So it is when a handler
--- loops without waiting, which keeps everybody else from going on, and when it waits for the
--- server while far too much of what the server says has to wait for it.

local E = require "codex.error"
local async = require "codex.async"
local json = require "codex.json"
local options = require "codex.options"

local M = {}

local known = options.set { "name", "from", "on", "results", "handle" }

---@class codex.MiddlewareOptions
---@field name string for the log
---@field from? "client"|"server" whose messages; of both where it is absent
---@field on? string|string[] their methods; "*", the default, means all
---@field results? boolean also the answers to requests of these methods, seen from the other side
---@field handle fun(message: codex.Message, session: codex.Session) may wait: what comes after it
--- from the same side waits too

---@class codex.Middleware: codex.MiddlewareOptions
local Middleware = {}
Middleware.__index = require("codex.base.class").methods(Middleware)
Middleware.__name = "codex.middleware"

local function check_methods(where, on)
  if type(on) ~= "table" then return end
  local count = 0
  for _, method in pairs(on) do
    count = count + 1
    if type(method) ~= "string" or on[count] == nil then
      options.raise(where .. ": option 'on' must be a method or a list of methods")
    end
  end
  if count == 0 then options.raise(where .. ": option 'on' is an empty list") end
end

--- Checks a middleware and gives it its type.
---@param given codex.MiddlewareOptions
---@return codex.Middleware
function M.new(given)
  local where = "codex.middleware"
  if given == nil then options.raise(where .. ": a table is needed, got nil") end
  options.check(where, given, known)
  options.typed(where, given, "name", "string")
  options.typed(where, given, "on", "string", "table")
  options.typed(where, given, "handle", "function")
  if not given.name or not given.handle then
    options.raise(where .. ": a name and a function `handle` are needed")
  end
  if given.from ~= nil and given.from ~= "client" and given.from ~= "server" then
    options.raise(("%s: option 'from' is client or server, got %s"):format(where, given.from))
  end
  check_methods(where, given.on)
  options.typed(where, given, "results", "boolean")
  return setmetatable(given, Middleware)
end

---@param value any
---@return boolean
function M.is(value) return getmetatable(value) == Middleware end

--- What a file returned, as a list of middlewares.
local function layers_of(value)
  local plugin = require "codex.plugin"
  if type(value) ~= "table" then
    error("it must return a middleware, or a list of them", 0)
  end
  if M.is(value) or value.handle ~= nil then return { M.is(value) and value or M.new(value) } end
  local list = {}
  for i, each in ipairs(plugin.list(value, "a middleware")) do
    list[i] = M.is(each) and each or M.new(each)
  end
  return list
end

--- Reads a file that returns a middleware, or a list of them.
---@async
---@param path string
---@return codex.Middleware[]?
---@return codex.Error? kind `policy`: it cannot be used, with its name; kind `io`: not read
function M.load(path)
  return require("codex.plugin").load(path, "policy", layers_of)
end

-- ---- Messages ----------------------------------------------------------------------------------

---@class codex.Message what a handler is shown; none of its fields can be set
---@field from "client"|"server"
---@field kind codex.MessageKind
---@field method string of a result: that of its request
---@field id string JSON text
---@field params any of a request or a notification
---@field result any
---@field error any
---@field line string as it stands
local Message = {}

--- What a view shows, and what was decided through it. Not in the view, where a handler could set
--- it.
local states = setmetatable({}, { __mode = "k" })

local plain = options.set { "from", "kind", "method", "id", "line" }
local inside = options.set { "params", "result", "error" }

local function inside_of(state)
  state.decoded = state.decoded or json.decode(state.line)
  return type(state.decoded) == "table" and state.decoded or {}
end

local View = {}

--- What is inside is read when it is asked for.
function View.__index(view, name)
  if Message[name] then return Message[name] end
  local state = states[view]
  if name == "line" then return state.line end
  if plain[name] then return state.message[name] end
  if inside[name] then return inside_of(state)[name] end
end

function View.__newindex(view, name, value)
  if plain[name] or inside[name] or Message[name] then
    error(("a message's '%s' cannot be set; message:replace sends another"):format(name), 2)
  end
  rawset(view, name, value)
end

local function state_of(view)
  local state = states[view]
  if state.over then error("the message has gone on already", 3) end
  return state
end

--- The outcome as JSON has it: what was given may be no table that stays as it is.
local function conclude(state, outcome)
  local field = next(outcome)
  local text = json.encode(outcome[field], { unicode = true })
  state.outcome = { [field] = json.decode(text) }
end

local function check_request(state, what)
  if state.message.kind ~= "request" then error("only a request can be " .. what, 3) end
end

--- Answers a request in place of the other side, which does not see it.
---@param result any
function Message:reply(result)
  local state = state_of(self)
  check_request(state, "answered")
  conclude(state, { result = result == nil and json.object {} or result })
end

--- Answers a request with an error.
---@param code integer
---@param text string
---@param data? any
function Message:refuse(code, text, data)
  local state = state_of(self)
  check_request(state, "refused")
  if math.type(code) ~= "integer" or type(text) ~= "string" then
    error("refuse takes an integer and a text", 2)
  end
  conclude(state, { error = { code = code, message = text, data = data } })
end

--- Lets the message go no further. A request that is dropped is refused.
function Message:drop()
  local state = state_of(self)
  if state.message.kind == "request" then
    return conclude(state, { error = { code = -32603, message = "dropped by a middleware" } })
  end
  state.outcome = { drop = true }
end

--- Sends this on in place of what came: new params, or a new result.
---@param value any
function Message:replace(value)
  local state = state_of(self)
  local message, decoded = state.message, inside_of(state)
  local kind = message.kind
  local field = (kind == "result" or kind == "error") and kind or "params"
  decoded[field] = value
  local line = json.encode(decoded, { unicode = true })
  local problem = message.check and message.check(line)
  if problem then error("what replaces the message cannot be sent: " .. problem, 2) end
  state.line, state.decoded = line, json.decode(line)
end

-- ---- Chains ------------------------------------------------------------------------------------

--- The middlewares that one side's messages pass, by method.
local Chain = {}
Chain.__index = require("codex.base.class").methods(Chain)

local function add(chain, middleware)
  local methods = middleware.on or "*"
  if type(methods) == "string" then methods = { methods } end
  for _, method in ipairs(methods) do
    chain._by_method[method] = chain._by_method[method] or {}
    table.insert(chain._by_method[method], middleware)
  end
end

--- Who sees what comes from one side. `results` tells whether answers have to be matched at all.
---@param list codex.Middleware[]
---@param from "client"|"server"
function M.chain(list, from)
  local chain = setmetatable({ _by_method = {}, results = false }, Chain)
  for _, middleware in ipairs(list) do
    -- The answers that come from one side are to the requests of the other.
    if middleware.from == nil or middleware.from == from then add(chain, middleware) end
    chain.results = chain.results or middleware.results or false
  end
  chain._list = list
  chain._from = from
  return chain
end

local function wants(middleware, method)
  local on = middleware.on or "*"
  if type(on) == "string" then return on == "*" or on == method end
  for _, each in ipairs(on) do
    if each == method then return true end
  end
end

--- The middlewares for a message; nil where there are none.
---@param kind codex.MessageKind
---@param method? string
---@return codex.Middleware[]?
function Chain:of(kind, method)
  if kind == "request" or kind == "notification" then
    local here, all = self._by_method[method], self._by_method["*"]
    if not all or not here then return here or all end
    return table.move(all, 1, #all, #here + 1, table.move(here, 1, #here, 1, {}))
  end
  if not self.results or not method then return nil end
  local list = {}
  for _, middleware in ipairs(self._list) do
    local asks = middleware.from == nil or middleware.from ~= self._from
    if middleware.results and asks and wants(middleware, method) then
      list[#list + 1] = middleware
    end
  end
  return #list > 0 and list or nil
end

-- ---- Passing -----------------------------------------------------------------------------------

--- Keeps what must stay what it is; the rest becomes a text.
local function told(err)
  if async.is_end(err) then return err end
  return debug.traceback(E.text(err), 2)
end

local function check_values(ok, err, ...)
  if not ok and type(err) ~= "string" then error(err, 0) end -- the script or the task ends
  if not ok then return err end
  local _, value = next { err, ... }
  return value ~= nil and ("it returned a %s; a message is answered with message:reply, refuse, "
    .. "drop or replace"):format(type(value))
end

--- Runs one handler: its state when all is well, else why it is not.
local function show(middleware, message, session, seconds)
  local view, state = setmetatable({}, View), { message = message, line = message.line }
  states[view] = state
  local guard = require "codex.guard"
  local values = table.pack(
    guard.without_stalling(seconds, told, middleware.handle, view, session))
  state.over = true
  local why = ("it kept the program from going on for %g seconds"):format(seconds)
  if values[1] then why = check_values(table.unpack(values, 2, values.n)) end
  if why then return nil, why end
  return state
end

--- The middleware that is shown a message has failed on it: nothing else becomes of the message.
---@param message table
---@param why string
function M.fail(message, why)
  local name = message.shown_to.name
  require("codex.log").error("middleware %s failed on %s: %s", name,
    message.method or message.kind, why)
  message.outcome, message.concluded_by = { drop = true }, name
  if message.kind == "request" then
    message.outcome = { error = { code = -32603, message = "a middleware failed" } }
  end
end

--- Shows a message to its middlewares, until one has decided on it. What an error means is the same
--- everywhere: no. Afterwards message.line is what goes on, or message.outcome is why it does not.
---@param list codex.Middleware[]
---@param message table { from, kind, method, id, line, check }; check(line) says what is wrong with
--- what is to be sent instead. With `given_up`, nobody wants to know any more.
---@param session codex.Session
---@param seconds number that a handler may go on without waiting
function M.pass(list, message, session, seconds)
  session = require("codex.base.environment").session(session)
  for _, middleware in ipairs(list) do
    message.shown_to = middleware
    local state, why = show(middleware, message, session, seconds)
    if message.given_up then return end
    if not state then
      M.fail(message, why)
    else
      message.line, message.outcome = state.line, state.outcome
    end
    if message.outcome then
      message.concluded_by = middleware.name
      return
    end
  end
end

return setmetatable(M, { __call = function(_, given) return M.new(given) end })
