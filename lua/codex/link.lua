--- JSON-RPC peers that one can wait for: over a child, a Unix socket, or our own standard streams.
---
--- One message is one line of JSON. Both sides may ask: what the other side asks goes to
--- `on_request`, as a task, and is always answered, also when nobody handles it (-32601) or the
--- handler raises an error (-32603). At most `window` of our requests are unanswered at a time; the
--- rest wait their turn. When the other side is gone, every request fails with kind `closed`.

local E = require "codex.error"
local async = require "codex.async"
local core = require "codex.core.link"
local host = require "codex.core.host"
local json = require "codex.json"
local log = require "codex.log"
local options = require "codex.options"

local M = {}

local REQUEST_TIMEOUT = 60 -- seconds
local MUTE = 1 -- seconds until a child that closed its output and did not exit is ended
local LAST_WORDS = 0.5 -- seconds for a child's exit and its last error, once its output has ended

--- Error codes of JSON-RPC 2.0, section 5.1.
M.codes = {
  parse_error = -32700, invalid_request = -32600, method_not_found = -32601,
  invalid_params = -32602, internal_error = -32603,
}

---@alias codex.MessageKind "request"|"notification"|"result"|"error"

---@class codex.LinkOptions
---@field name? string for messages ("the app-server")
---@field jsonrpc? boolean send `"jsonrpc": "2.0"`, as MCP and ACP want
---@field window? integer requests that may be unanswered at a time (64)
---@field timeout? number seconds that a request may take, unless it says otherwise (60); 0: any
---@field line_limit? integer longest message in bytes (64 MiB)
---@field on_request? fun(request: codex.Request) runs as a task
---@field on_notification? fun(method: string, params: any) must not wait
---@field on_junk? fun(text: string, why: string) a line that is no message, or answers nothing
---@field on_closed? fun(err: codex.Error) the other side is gone; called once
---@field raw? boolean messages are not decoded: `on_message` gets them as they are
---@field on_message? fun(kind: codex.MessageKind, method?: string, id?: string, line: string)
---@field on_drain? fun() output was taken
---@field explain? fun(err: codex.Error) says more in the error why the other side is gone
---@field prefix? string our ids are strings that begin so

local known_open = options.set {
  "name", "jsonrpc", "window", "timeout", "line_limit", "on_request", "on_notification", "on_junk",
  "on_closed", "explain", "raw", "on_message", "on_drain", "prefix",
}
local known_spawn = options.set { "cwd", "env", "clear_env", "grace", "tail_size", "stderr" }
for name in pairs(known_open) do known_spawn[name] = true end
local known_request = options.set { "timeout" }

---@class codex.Link
---@field pid? integer
local Link = {}
Link.__index = require("codex.base.class").methods(Link)
Link.__name = "codex.link"

-- ---- Requests of the other side ----------------------------------------------------------------

---@class codex.Request
---@field id any as the other side sent it
---@field method string
---@field params any
local Request = {}
Request.__index = require("codex.base.class").methods(Request)

--- Answers. A second answer does nothing.
---@param result any
---@return true?
---@return codex.Error?
function Request:reply(result)
  if self._answered then return true end
  local text = json.encode(result == nil and json.object {} or result, { repair = true })
  self._answered = true
  return self._link:_sent(self._link._raw:reply(self._id, text))
end

--- Answers with an error.
---@param code integer
---@param message string
---@param data? any
---@return true?
---@return codex.Error?
function Request:fail(code, message, data)
  if self._answered then return true end
  local text = data ~= nil and json.encode(data, { repair = true }) or nil
  self._answered = true
  return self._link:_sent(self._link._raw:refuse(self._id, code, log.redact(message), text))
end

--- Takes an answer as given: the other side does not wait for one any more.
function Request:drop() self._answered = true end

---@return boolean
function Request:is_answered() return self._answered or false end

--- Runs the handler; whatever it does, the other side gets an answer.
local function serve(link, request)
  local handler = link._options.on_request
  if not handler then
    return request:fail(M.codes.method_not_found, "unknown method: " .. request.method)
  end
  local ok, err = xpcall(handler, function(err)
    if E.is(err) or rawequal(err, host.exit) then return err end
    return debug.traceback(tostring(err), 2)
  end, request)
  if rawequal(err, host.exit) then error(err, 0) end -- the script ends
  if ok then
    if request._answered then return end
    return request:fail(M.codes.method_not_found, "unknown method: " .. request.method)
  end
  local cancelled = async.is_end(err)
  if not cancelled then log.error("%s: %s: %s", link._name, request.method, tostring(err)) end
  request:fail(M.codes.internal_error, cancelled and "cancelled" or "the handler failed")
  if cancelled then error(err, 0) end
end

-- ---- Calls -------------------------------------------------------------------------------------

-- What waits for answers, by number, in lists of so many that are never shortened: in a table from
-- which as many keys vanish as come, each new key may move all the others.
local LIST_BITS = 8

local function list_for(link, key)
  local list = link._calls[key]
  if list then return list end
  list = link._newest
  if not list or list.key ~= key then list = { key = key, waiting = 0 } end
  link._newest, link._calls[key] = list, list
  return list
end

local function keep_call(link, number, call)
  local list = list_for(link, number >> LIST_BITS)
  list[(number & (1 << LIST_BITS) - 1) + 1] = call
  list.waiting = list.waiting + 1
end

local function take_call(link, number)
  local key, index = number >> LIST_BITS, (number & (1 << LIST_BITS) - 1) + 1
  local list = link._calls[key]
  local call = list and list[index]
  if not call then return nil end
  list[index] = false
  list.waiting = list.waiting - 1
  if list.waiting == 0 then link._calls[key] = nil end
  return call
end

-- ---- What happens ------------------------------------------------------------------------------

local happens = {}

function happens.request(link, method, params, id)
  local request = setmetatable({
    id = json.decode(id), _id = id, method = method, params = params, _link = link,
  }, Request)
  async.spawn(serve, link, request)
end

function happens.notification(link, method, params)
  local handler = link._options.on_notification
  if handler then handler(method, params) end
end

function happens.answer(link, call, result, failure, why)
  local wait = take_call(link, call)
  if wait then async.unpark(wait, result, failure, why) end
end

function happens.message(link, kind, method, id, line)
  link._options.on_message(kind, method, id, line)
end

function happens.junk(link, text, why, id)
  if id then link._raw:refuse(id, M.codes.parse_error, "the params are not valid JSON") end
  local handler = link._options.on_junk
  if handler then return handler(text, why) end
  log.debug("%s sent what is no message here (%s): %s", link._name, why, text)
end

--- Why the other side is gone, for those who still wanted something of it.
local function closed_error(link, status)
  local how = ""
  if status.exited and not link._closing then
    how = status.signal ~= 0 and (" (signal %d)"):format(status.signal)
      or (" (exit code %d)"):format(status.code)
  end
  local text = link._closing and link._name .. " was closed" or link._name .. " is gone" .. how
  local err = E.new("closed", text, {
    code = status.exited and status.code or nil, stderr = link.pid and link._raw:stderr() or nil,
  })
  if link._options.explain then link._options.explain(err) end
  return err
end

local function wait_for(link, test)
  while true do
    local status = link._raw:status()
    if test(status) then return status end
    link._changed:wait()
  end
end

local function is_closed(status) return status.closed end

--- A child that has closed its output can tell us nothing any more: it gets a moment to exit.
local function end_mute_child(link)
  async.timeout(MUTE, wait_for, link, is_closed)
  link._raw:stop()
end

--- Whoever is woken here finds the state as it is: that it is gone is noted, and told, before.
function happens.change(link)
  local status = link._raw:status()
  local is_over = status.ended
  if link.pid then is_over = status.closed end -- exited, and its standard error was read to its end
  if is_over and not link._gone then
    link._gone = closed_error(link, status)
    if link._options.on_closed then link._options.on_closed(link._gone) end
  end
  if link.pid and status.ended and not status.exited and not link._is_mute then
    link._is_mute = true
    async.spawn(end_mute_child, link)
  end
  link._changed:notify()
  if link._options.on_drain then link._options.on_drain() end
end

function happens.closed(link)
  happens.change(link)
end

local function handler_of(link)
  return function(what, a, b, c, d) return happens[what](link, a, b, c, d) end
end

-- ---- Opening -----------------------------------------------------------------------------------

local function new_link(where, given, name)
  if given.raw and not given.on_message then
    options.raise(where .. ": option 'raw' needs 'on_message'")
  end
  return setmetatable({
    _options = given, _name = given.name or name, _calls = {}, _changed = async.signal(),
    _timeout_ms = given.timeout and options.milliseconds(where, given, "timeout")
      or REQUEST_TIMEOUT * 1000,
  }, Link)
end

--- Whether the script wants to know what the other side says of its own accord.
local function listens(given)
  return (given.on_request or given.on_notification or given.on_message or given.on_closed) ~= nil
end

local function raw_options(where, given, name)
  return {
    name = given.name or name, heard = listens(given),
    raw = given.raw, prefix = given.prefix, jsonrpc = given.jsonrpc, window = given.window,
    line_limit = given.line_limit, cwd = given.cwd, env = given.env, clear_env = given.clear_env,
    grace_ms = options.milliseconds(where, given, "grace"), tail_size = given.tail_size,
    stderr = given.stderr,
  }
end

--- Starts a program and talks to it over its standard input and output.
---@param argv string[]
---@param opts? codex.LinkOptions and of codex.ProcOptions cwd, env, clear_env, grace, stderr ...
---@return codex.Link?
---@return codex.Error? error of kind `spawn`
function M.spawn(argv, opts)
  local given = options.check("codex.link.spawn", opts, known_spawn)
  local link = new_link("codex.link.spawn", given, argv[1])
  local raw, name, text = core.spawn(argv, raw_options("codex.link.spawn", given, argv[1]),
    handler_of(link))
  if not raw then
    return nil, require("codex.proc").spawn_error(argv, given, name, text)
  end
  link._raw = raw
  link.pid = raw:status().pid
  return link
end

--- Talks over two open descriptors, which stay the caller's (they are duplicated).
---@param input integer
---@param output integer
---@param opts? codex.LinkOptions
---@return codex.Link?
---@return codex.Error?
function M.open(input, output, opts)
  local given = options.check("codex.link.open", opts, known_open)
  local link = new_link("codex.link.open", given, "the other side")
  local raw, name, text =
    core.open(input, output, raw_options("codex.link.open", given), handler_of(link))
  if not raw then return nil, E.new("io", "cannot talk: " .. text, { code = name }) end
  link._raw = raw
  return link
end

--- Talks over our own standard input and output.
---@param opts? codex.LinkOptions
function M.stdio(opts) return M.open(0, 1, opts) end

--- Takes our standard input and output away: from now on what this process reads there is the end,
--- and what it prints goes to standard error. The descriptors are the caller's to close.
---@return integer? input
---@return integer|codex.Error output
function M.take_standard()
  local input, output, text = core.take_standard()
  if input then return input, output end
  return nil, E.new("io", "cannot take standard input and output: " .. text, { code = output })
end

--- Connects to a Unix socket.
---@async
---@param path string
---@param opts? codex.LinkOptions
---@return codex.Link?
---@return codex.Error? error of kind `io`
function M.connect(path, opts)
  local uv = require "luv"
  local pipe = uv.new_pipe(false)
  local guard <close> = -- luacheck: ignore 211
    setmetatable({}, { __close = function() pipe:close() end })
  local failed = #path > 107 and "the path is too long for a socket" or async.await(function(resume)
    pipe:connect(path, resume)
  end)
  if failed then
    return nil, E.new("io", ("cannot connect to '%s': %s"):format(path, failed), { code = failed })
  end
  local fd = pipe:fileno()
  return M.open(fd, fd, opts)
end

-- ---- Talking -----------------------------------------------------------------------------------

-- ECANCELED: a child exited before it took what was written.
local closed_names = options.set { "ECLOSED", "EPIPE", "ECONNRESET", "ECANCELED" }

--- Turns what the core says to a message we send into a result.
function Link:_sent(ok, name, text)
  if ok then return true end
  if closed_names[name] then
    return nil, self._gone or E.new("closed", self._name .. " is closed", { code = name })
  end
  return nil, E.new("io", ("cannot write to %s: %s"):format(self._name, text), { code = name })
end

local function encode(params)
  if params ~= nil then return json.encode(params, { unicode = true }) end
end

--- The error that the other side's error object stands for.
local function rpc_error(failure)
  if type(failure) ~= "table" then failure = { message = tostring(failure) } end
  local message = type(failure.message) == "string" and failure.message or "no message"
  return E.new("rpc", message, { code = failure.code, data = failure.data })
end

--- Why it is gone, once that is known: a child's output may end a moment before one can know how
--- the child did, and requests are answered before the end is told.
function Link:_last_words()
  if not self._gone and not self._closing then
    async.timeout(LAST_WORDS, function()
      while not self._gone do self._changed:wait() end
    end)
  end
  return self._gone or closed_error(self, self._raw:status())
end

function Link:_call_error(method, failure, why, timeout_ms)
  if failure ~= nil then return rpc_error(failure) end
  if why == "ETIMEOUT" then
    local text = "%s did not answer %s within %g seconds"
    return E.new("timeout", text:format(self._name, method, timeout_ms / 1000))
  end
  if closed_names[why] then return self:_last_words() end
  if why ~= "EJSON" and why ~= "EDEPTH" then return select(2, self:_sent(nil, why, why)) end
  return E.new("protocol", ("%s answered %s with what is not JSON"):format(self._name, method))
end

--- What a request waits for.
local Call = {}
Call.__index = require("codex.base.class").methods(Call)

--- Nobody wants the answer any more.
function Call:close()
  take_call(self.link, self.number)
  self.link._raw:forget(self.number)
end

--- Asks the other side and waits for the answer. A cancelled task forgets it.
---@async
---@param method string
---@param params? any
---@param opts? { timeout?: number } seconds; 0: no limit
---@return any? result
---@return codex.Error? error kinds `rpc` (with code and data), `timeout`, `closed`, `protocol`
function Link:request(method, params, opts)
  local timeout_ms = self._timeout_ms
  if opts ~= nil and options.check("request", opts, known_request).timeout then
    timeout_ms = options.milliseconds("request", opts, "timeout")
  end
  async.may_wait()
  local number, name, message = self._raw:call(method, encode(params), timeout_ms)
  if not number and closed_names[name] then return nil, self:_last_words() end
  if not number then return self:_sent(nil, name, message) end
  local call = setmetatable({ link = self, number = number, task = false }, Call)
  keep_call(self, number, call)
  local result, failure, why = async.park(call)
  if failure ~= nil or why then return nil, self:_call_error(method, failure, why, timeout_ms) end
  return result
end

--- Tells the other side something that is not answered. Does not wait.
---@param method string
---@param params? any
---@return true?
---@return codex.Error?
function Link:notify(method, params) return self:_sent(self._raw:notify(method, encode(params))) end

--- Sends a whole message as it is; a newline is added. Does not wait: see unwritten.
---@param line string
---@return true?
---@return codex.Error?
function Link:send(line) return self:_sent(self._raw:send(line)) end

--- Bytes that the other side has not taken.
---@return integer
function Link:unwritten() return self._raw:unwritten() end

--- Waits until the other side has taken all but `left` bytes (0).
---@async
---@param left? integer
---@return true?
---@return codex.Error?
function Link:drain(left)
  self._raw:flush()
  while self._raw:unwritten() > (left or 0) and not self._gone do self._changed:wait() end
  if self._gone then return nil, self._gone end
  local failed = self._raw:status().write_error
  if closed_names[failed] then return nil, self:_last_words() end
  return self:_sent(not failed, failed, failed)
end

--- Says whether anything shall be heard of a child once the script and all its tasks have ended. A
--- child of which nothing is heard is then ended, and that is said in the log. At first it is so
--- where there is a function for what the other side says by itself.
---@param heard boolean
function Link:listen(heard) self._raw:heard(heard) end

--- Takes no more messages in, or takes them again.
---@param paused boolean
function Link:pause(paused) self._raw:pause(paused) end

---@return table
function Link:status() return self._raw:status() end

--- The tail of a child's standard error, and how many bytes before it were dropped.
---@return string
---@return integer
function Link:stderr() return self._raw:stderr() end

--- Why the other side is gone, or nil while it is there.
---@return codex.Error?
function Link:gone() return self._gone end

-- ---- Ending ------------------------------------------------------------------------------------

--- Ends it: the other side reads to its end; a child that does not exit within `grace` seconds (2)
--- is ended by signals. Waits where a task may, and is idempotent.
---@param grace? number
function Link:close(grace)
  self._closing = true
  if not async.running() then return self._raw:close() end
  local at_last <close> = -- luacheck: ignore 211
    setmetatable({}, { __close = function() self._raw:close() end }) -- when we are cancelled
  if not self._raw:status().closed then
    self._raw:finish()
    if self.pid then
      self._raw:pause(false)
      async.timeout(grace or 2, wait_for, self, is_closed)
      self._raw:stop()
    else
      async.timeout(grace or 2, self.drain, self)
      self._raw:close()
    end
  end
  wait_for(self, is_closed)
end

function Link:__close() self:close() end

return M
