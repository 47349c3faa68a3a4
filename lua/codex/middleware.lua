--- Lua between a client and the app-server: it sees messages pass, and may answer, change, refuse
--- or drop them.
---
---     return codex.middleware {
---       name = "keep-threads", from = "client", on = "thread/delete",
---       handle = function(message) message:refuse(-32000, "threads are not deleted here") end,
---     }
---
--- A message that nobody touches goes on byte for byte. When a handler raises an error, its message
--- does not go on: a request is refused, anything else dropped, and the log says so.

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
Middleware.__index = Middleware
Middleware.__name = "codex.middleware"

--- Checks a middleware and gives it its type.
---@param given codex.MiddlewareOptions
---@return codex.Middleware
function M.new(given)
  local where = "codex.middleware"
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
  return setmetatable(given, Middleware)
end

---@param value any
---@return boolean
function M.is(value) return getmetatable(value) == Middleware end

-- ---- Messages ----------------------------------------------------------------------------------

---@class codex.Message
---@field from "client"|"server"
---@field kind codex.MessageKind
---@field method string of a result: that of its request
---@field params any of a request or a notification
---@field result any
---@field error any
---@field line string as it came
local Message = {}

--- What is inside is read when it is asked for.
function Message.__index(message, name)
  if Message[name] then return Message[name] end
  if name ~= "params" and name ~= "result" and name ~= "error" then return nil end
  local decoded = json.decode(message.line)
  if type(decoded) ~= "table" then return nil end
  for _, field in ipairs { "params", "result", "error" } do
    rawset(message, field, decoded[field])
  end
  rawset(message, "_decoded", decoded)
  return rawget(message, name)
end

--- Answers a request in place of the other side, which does not see it.
---@param result any
function Message:reply(result)
  if self.kind ~= "request" then error("only a request can be answered", 2) end
  self.outcome = { result = result == nil and json.object {} or result }
end

--- Answers a request with an error.
---@param code integer
---@param text string
---@param data? any
function Message:refuse(code, text, data)
  if self.kind ~= "request" then error("only a request can be refused", 2) end
  self.outcome = { error = { code = code, message = text, data = data } }
end

--- Lets the message go no further. A request that is dropped is refused.
function Message:drop()
  if self.kind == "request" then return self:refuse(-32603, "dropped by a middleware") end
  self.outcome = { drop = true }
end

--- Sends this on in place of what came: new params, or a new result.
---@param value any
function Message:replace(value)
  local field = self.kind == "result" and "result" or self.kind == "error" and "error" or "params"
  local decoded = self._decoded or json.decode(self.line)
  decoded[field] = value
  rawset(self, "_decoded", decoded)
  rawset(self, field, value)
  rawset(self, "line", json.encode(decoded))
end

-- ---- Chains ------------------------------------------------------------------------------------

--- The middlewares that one side's messages pass, by method.
local Chain = {}
Chain.__index = Chain

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

--- Shows a message to its middlewares, until one has decided on it. What an error means is the same
--- everywhere: no.
---@param list codex.Middleware[]
---@param message table { from, kind, method, id, line }
---@param session codex.Session
---@return codex.Message
function M.pass(list, message, session)
  setmetatable(message, Message)
  for _, middleware in ipairs(list) do
    local ok, err = xpcall(middleware.handle, debug.traceback, message, session)
    if not ok then
      require("codex.log").error("middleware %s failed on %s: %s", middleware.name,
        message.method or message.kind, tostring(err))
      message.outcome = { drop = true }
      if message.kind == "request" then message:refuse(-32603, "a middleware failed") end
    end
    if message.outcome then
      message.concluded_by = middleware.name
      break
    end
  end
  return message
end

return setmetatable(M, { __call = function(_, given) return M.new(given) end })
