--- A client of `codex app-server`: one process, many threads. It is a child of ours, or one that
--- runs already (`socket`, `proxy`; codex.bridge).
---
--- The app-server speaks JSON-RPC in lines, without the `jsonrpc` member. It asks back: approvals,
--- questions, calls of our tools (codex.inquiry answers them all). At most 64 of our requests are
--- unanswered at a time, since beyond some 128 it answers "overloaded" or never, and each has a
--- time limit. When the process dies, everything that waits fails with kind `closed`; with
--- `restart`, the next request starts a new one, and a thread that is used again is resumed there.

local E = require "codex.error"
local async = require "codex.async"
local command = require "codex.command"
local instances = require "codex.instance"
local items = require "codex.items"
local json = require "codex.json"
local link = require "codex.link"
local options = require "codex.options"

local M = {}

local STARTUP_TIMEOUT, RETRIES, HANDLER_QUEUE = 30, 5, 10000

--- "Server overloaded; retry later."
local OVERLOADED = -32001

---@class codex.ConnectOptions
---@field cwd? string the server's folder, and the threads' where they name none
---@field command? string[] any program that carries the bytes, in place of `codex app-server`
---@field socket? string of an app-server that runs already (`--listen unix://PATH`); it runs on
---@field proxy? boolean|string|string[] to one that runs already, with `codex app-server proxy`: to
---the daemon (true), to this socket, or with this command ({ "ssh", "host", "codex", "app-server",
---"proxy" }); it runs on
---@field config? table<string, any> settings for all threads, keys may be dotted paths
---@field args? string[] more arguments for `codex app-server`
---@field env? table<string, string|false>
---@field client_info? { name: string, version: string, title?: string } how we introduce ourselves
---@field experimental? boolean ask for the experimental methods, which tools in Lua need (true)
---@field opt_out? string[] methods of notifications that are not wanted
---@field capabilities? table more for the `capabilities` of `initialize`, as Codex spells them
---@field policies? table[] who decides approvals; the user's policy.d where nothing is given
---@field policy_timeout? number seconds until the safe answer is given (60)
---@field audit? boolean|string|{ path?: string, required?: boolean } false: decisions are not
---written down; or the file (XDG_STATE_HOME); required: what cannot be written down does not count
---@field auth_refresh? fun(params: table): table? gives ChatGPT tokens when Codex asks for them
---@field timeout? number seconds for each request (60)
---@field startup_timeout? number seconds until it has introduced itself (30)
---@field restart? integer how often a server that died is started anew (0)

local known = options.set {
  "cwd", "command", "socket", "proxy", "config", "args", "env", "client_info", "experimental",
  "opt_out", "capabilities", "policies", "policy_timeout", "audit", "auth_refresh", "timeout",
  "startup_timeout", "restart",
}

local known_audit = options.set { "path", "required" }

---@class codex.Client
---@field server table what `initialize` answered: userAgent, codexHome, platformOs ...
---@field version string of Codex, from there
local Client = {}
Client.__name = "codex.client"
M.Client = Client

-- ---- Notifications -----------------------------------------------------------------------------

--- Calls a subscriber for what waits for it, one after the other, as it may wait itself.
local function serve_subscription(subscription)
  local at_last <close> = setmetatable({}, { -- luacheck: ignore 211
    __close = function() subscription.is_served = false end,
  })
  while #subscription.queue > 0 do
    local event = table.remove(subscription.queue, 1)
    local ok, err = xpcall(subscription.fn, debug.traceback, event.params, event.method)
    if not ok and async.is_end(err) then error(err, 0) end
    if not ok then
      instances.say(subscription.instance, "error", "a handler of %s failed: %s", event.method,
        tostring(err))
    end
  end
end

local function tell(subscription, method, params)
  local queue = subscription.queue
  if #queue >= HANDLER_QUEUE then
    if not subscription.overflowed then
      instances.say(subscription.instance, "error",
        "a handler of %s is too slow: what comes now is dropped", method)
    end
    subscription.overflowed = true
    return
  end
  queue[#queue + 1] = { method = method, params = params }
  if subscription.is_served then return end
  subscription.is_served = true -- before the task is there: it may be over by then
  async.spawn(serve_subscription, subscription)
end

--- A copy of a list: whoever is told may take himself off it.
local function copy(list) return table.move(list, 1, #list, 1, {}) end

local function tell_all(client, key, method, params)
  for _, subscription in ipairs(copy(client._subscriptions[key] or {})) do
    tell(subscription, method, params)
  end
end

--- What we keep count of ourselves.
local track = {}

track["turn/completed"] = function(client, params)
  if type(params.threadId) ~= "string" then return end
  require("codex.inquiry").turn_over(client, params.threadId)
end

track["serverRequest/resolved"] = function(client, params)
  require("codex.inquiry").resolved(client, params.requestId)
end

track["thread/tokenUsage/updated"] = function(client, params)
  local thread = client._threads[params.threadId or ""]
  if not thread or type(params.tokenUsage) ~= "table" then return end
  thread.usage = params.tokenUsage
  thread._total = require("codex.appserver.tokens").total(params) or thread._total
end

local function on_notification(client, method, params)
  if type(params) ~= "table" then params = {} end
  client._items:note(method, params)
  if track[method] then track[method](client, params) end
  if next(client._subscriptions) then
    tell_all(client, method, method, params)
    tell_all(client, "*", method, params)
  end
  local turns = params.threadId and client._turns[params.threadId]
  if not turns then return end
  for _, turn in ipairs(copy(turns)) do turn:_take(method, params) end
end

--- A server that nobody has subscribed to ends with the script.
local function listen(client)
  local peer = client._link
  if peer and peer.listen then peer:listen(next(client._subscriptions) ~= nil) end
end

--- Calls fn(params, method) for each notification of this method; "*" means every one, "closed" the
--- end of the server. It may wait; then what comes meanwhile waits for it, in order.
---@param method string
---@param fn fun(params: table, method: string)
---@return { close: fun(self: table) } subscription
function Client:on(method, fn)
  if type(method) ~= "string" then error("client:on: the method must be a string", 2) end
  if type(fn) ~= "function" then error("client:on: a function is needed", 2) end
  local list = self._subscriptions[method] or {}
  self._subscriptions[method] = list
  local subscription = { fn = fn, queue = {}, instance = self._instance }
  function subscription.close()
    subscription.queue = {}
    for i, each in ipairs(list) do
      if each == subscription then table.remove(list, i) break end
    end
    if #list == 0 and self._subscriptions[method] == list then
      self._subscriptions[method] = nil
      listen(self)
    end
  end
  subscription.__close = subscription.close
  list[#list + 1] = subscription
  listen(self)
  return setmetatable(subscription, subscription)
end

--- Answers requests of the server with this method in place of the policies: what fn(params)
--- returns is the result; nil and an error, or an error raised, is an error.
---@param method string
---@param fn fun(params: table): any, any
function Client:handle(method, fn)
  if type(method) ~= "string" then error("client:handle: the method must be a string", 2) end
  if type(fn) ~= "function" and fn ~= nil then error("client:handle: a function is needed", 2) end
  self._handlers[method] = fn
end

-- ---- Starting ----------------------------------------------------------------------------------

local function argv_of(client)
  local given, instance = client._given, client._instance
  local argv = given.command or type(given.proxy) == "table" and given.proxy
  if argv then return argv, argv[1] end
  local binary, err = require("codex.binary").of(instance)
  if not binary then return nil, err end
  argv = { binary.path, "app-server" }
  if given.proxy then argv[3] = "proxy" end
  if type(given.proxy) == "string" then table.move({ "--sock", given.proxy }, 1, 2, 4, argv) end
  for _, pair in ipairs(require("codex.toml").overrides(given.config or {})) do
    table.move({ "-c", pair }, 1, 2, #argv + 1, argv)
  end
  return table.move(given.args or {}, 1, #(given.args or {}), #argv + 1, argv), binary.path
end

--- The server is gone: everything that waited for it is told. Who is told may start a turn on the
--- next one at once, which is not of these.
local function on_closed(client, err)
  local lost = {}
  for _, turns in pairs(client._turns) do table.move(turns, 1, #turns, #lost + 1, lost) end
  client._items = items.new()
  require("codex.inquiry").closed(client)
  for _, turn in ipairs(lost) do turn:_lose(err) end
  tell_all(client, "closed", "closed", { error = err })
end

--- A link of our own, or one to a server that runs already.
local function open_with(client, opts)
  local given = client._given
  local is_there = given.socket or given.proxy
  if is_there then opts.startup_timeout = given.startup_timeout end
  if given.socket then return require("codex.bridge").connect(given.socket, opts) end
  local argv, path = argv_of(client)
  if not argv then return nil, path end
  local proc_options = command.proc_options(client._instance, given, path)
  opts.env, opts.clear_env = proc_options.env, proc_options.clear_env
  opts.cwd, opts.grace = proc_options.cwd, proc_options.grace
  if is_there then return require("codex.bridge").proxy(argv, opts) end
  opts.cwd = given.cwd or opts.cwd -- that of a server that runs already may be on another machine
  return link.spawn(argv, opts)
end

local function open_link(client)
  local opened, err -- nil while it is being opened, which may take a while
  opened, err = open_with(client, {
    name = "the app-server", timeout = client._given.timeout,
    on_request = function(request) require("codex.inquiry").serve(client, request) end,
    on_notification = function(method, params) on_notification(client, method, params) end,
    on_closed = function(why)
      if opened and client._link == opened then on_closed(client, why) end
    end,
    on_junk = function(text, why)
      instances.say(client._instance, "debug", "not a message of the app-server's (%s): %s", why,
        text)
    end,
  })
  return opened, err
end

local function introduction(given)
  local capabilities = { experimentalApi = given.experimental ~= false }
  if given.opt_out then capabilities.optOutNotificationMethods = json.array(given.opt_out) end
  for name, value in pairs(given.capabilities or {}) do capabilities[name] = value end
  local info = given.client_info
    or { name = "codex-lua", title = "codex-lua", version = require("codex.core.host").version }
  return { clientInfo = info, capabilities = capabilities }
end

local function initialize(client)
  local peer, given = client._link, client._given
  local server, err = peer:request("initialize", introduction(given),
    { timeout = given.startup_timeout or STARTUP_TIMEOUT })
  if err then return nil, err end
  if type(server) ~= "table" or type(server.userAgent) ~= "string" then
    return nil, E.new("protocol", "the app-server introduced itself in words that are unknown here")
  end
  client.server = server
  client.version = server.userAgent:match "/(%d+%.%d+%.%d+%S*)" or "unknown"
  return peer:notify("initialized")
end

local function start(client)
  local peer, err = open_link(client)
  if not peer then return nil, err end
  client._link, client.pid = peer, peer.pid
  listen(client)
  local ok
  do
    local guard <close> = setmetatable({}, { -- luacheck: ignore 211
      __close = function() -- also when our task is cancelled
        if not ok then peer:close(0) end
      end,
    })
    if client._closed then return nil, E.new("closed", "the client is closed") end
    ok, err = initialize(client)
  end
  if ok then return true end
  err.stderr = err.stderr or require("codex.log").redact((peer:stderr()))
  return nil, err
end

--- How the server is reached, and what only one that is started here can be told.
local function check_server(where, given)
  options.typed(where, given, "command", "table")
  options.typed(where, given, "socket", "string")
  options.typed(where, given, "proxy", "boolean", "string", "table")
  local ways = {}
  for _, name in ipairs { "command", "socket", "proxy" } do
    local value = given[name]
    if value then ways[#ways + 1] = name end
    if type(value) == "table" and #value == 0 then
      options.raise(("%s: option '%s' must name a program"):format(where, name))
    end
  end
  if #ways > 1 then
    options.raise(("%s: option '%s' excludes '%s'"):format(where, ways[1], ways[2]))
  end
  for _, name in ipairs(#ways > 0 and { "config", "args" } or {}) do
    if given[name] then
      options.raise(("%s: option '%s' is for a server that starts here, not with '%s'")
        :format(where, name, ways[1]))
    end
  end
end

local function check(given)
  local where = "codex.connect"
  options.check(where, given, known)
  options.typed(where, given, "cwd", "string")
  options.typed(where, given, "experimental", "boolean")
  check_server(where, given)
  for _, name in ipairs { "config", "args", "env", "client_info", "opt_out",
    "capabilities", "policies" } do options.typed(where, given, name, "table") end
  for _, name in ipairs { "timeout", "startup_timeout", "policy_timeout" } do
    options.milliseconds(where, given, name)
  end
  local audit = options.typed(where, given, "audit", "boolean", "string", "table")
  if type(audit) == "table" then
    options.check(where .. ": audit", audit, known_audit)
    options.typed(where .. ": audit", audit, "path", "string")
    options.typed(where .. ": audit", audit, "required", "boolean")
  end
  options.typed(where, given, "auth_refresh", "function")
  options.typed(where, given, "restart", "number")
end

--- Starts `codex app-server`, or connects to one that runs already, and introduces us.
---@async
---@param instance table
---@param opts? codex.ConnectOptions
---@return codex.Client?
---@return codex.Error? error kinds `spawn`, `closed` (it ended at once; `stderr` says why), `io`
---(there is no such socket), `timeout`, `protocol`, `rpc`
function M.connect(instance, opts)
  local given = opts or {}
  check(given)
  local client = setmetatable({
    _instance = instance, _given = given, _subscriptions = {}, _handlers = {}, _turns = {},
    _items = items.new(), _tools = {}, _pending = {}, _threads = setmetatable({}, { __mode = "v" }),
    _restarts = 0, _generation = 0,
  }, Client)
  local decider, err = require("codex.inquiry").decider(instance, given)
  if not decider then return nil, err end
  client._decider = decider
  local ok
  ok, err = start(client)
  if not ok then return nil, err end
  return client
end

local function start_again(client)
  local at_last <close> = setmetatable({}, { -- luacheck: ignore 211
    __close = function() client._reviving = nil end,
  })
  return start(client)
end

--- Starts the server anew where that is allowed; one task does it for all.
local function revive(client)
  if not client._reviving then
    local gone = client._link:gone()
    if client._restarts >= (client._given.restart or 0) then return nil, gone end
    client._restarts = client._restarts + 1
    client._generation = client._generation + 1
    instances.say(client._instance, "info", "%s; it is started again", gone.message)
    client._reviving = async.spawn(start_again, client)
  end
  return client._reviving:join()
end

-- ---- Talking -----------------------------------------------------------------------------------

--- How long to wait before the next try: longer each time, and different for each who tries.
local function backoff(attempt) return math.min(2, 0.1 * 2 ^ attempt) * (0.5 + math.random()) end

--- Sends any method, with its params as Codex spells them, and waits for the result. A server that
--- says it is overloaded is asked again, some times.
---@async
---@param method string
---@param params? table
---@param opts? { timeout?: number } seconds; 0: no limit
---@return any? result
---@return codex.Error? error kinds `rpc` (with code and data), `timeout`, `closed`
function Client:request(method, params, opts)
  local result, err
  for attempt = 0, RETRIES do
    if self._closed then return nil, E.new("closed", "the client is closed") end
    if self._reviving or self._link:gone() then
      local ok, why = revive(self)
      if not ok then return nil, why end
    end
    result, err = self._link:request(method, params, opts)
    if not err or err.code ~= OVERLOADED or err.kind ~= "rpc" or attempt == RETRIES then break end
    async.sleep(backoff(attempt))
  end
  return result, err
end

--- Sends a notification; does not wait.
---@param method string
---@param params? table
---@return true?
---@return codex.Error?
function Client:notify(method, params) return self._link:notify(method, params) end

--- Asks the server for something small.
---@async
---@param timeout? number seconds (10)
---@return number? seconds that the answer took
---@return codex.Error?
function Client:ping(timeout)
  local uv = require "luv"
  local before = uv.hrtime()
  local result, err =
    self:request("thread/loaded/list", json.object {}, { timeout = timeout or 10 })
  if not result then return nil, err end
  return (uv.hrtime() - before) / 1e9
end

--- The tail of the server's standard error.
---@return string
function Client:stderr() return (self._link:stderr()) end

--- Why the server is gone, or nil while it is there.
---@return codex.Error?
function Client:gone() return self._link:gone() end

-- ---- Threads -----------------------------------------------------------------------------------

--- Starts a thread.
---@async
---@param opts? codex.ThreadOptions
---@return codex.Thread?
---@return codex.Error?
function Client:thread(opts) return require("codex.thread").start(self, opts) end

--- Takes up a thread again.
---@async
---@param id string
---@param opts? codex.ThreadOptions
---@return codex.Thread?
---@return codex.Error?
function Client:resume(id, opts) return require("codex.thread").resume(self, id, opts) end

--- Starts a thread with another one's past.
---@async
---@param id string
---@param opts? codex.ThreadOptions
---@return codex.Thread?
---@return codex.Error?
function Client:fork(id, opts) return require("codex.thread").fork(self, id, opts) end

-- ---- Ending ------------------------------------------------------------------------------------

--- Ends the server, and with it turns that run; one that ran already goes on with them. Waits where
--- a task may. Idempotent.
function Client:close()
  if self._closed then return end
  self._closed, self._closer = true, async.running()
  require("codex.inquiry").closed(self)
  self._link:close(self._instance._settings.grace or 5)
end

Client.__close = Client.close

local complete = false

--- The typed helpers are read in when the first one is used.
function Client.__index(client, name)
  local value = rawget(Client, name)
  if value ~= nil or type(name) ~= "string" or name:sub(1, 1) == "_" then return value end
  if not complete then
    complete = true
    require("codex.methods").install(Client, "client")
    require("codex.login").install(Client)
    value = rawget(Client, name)
  end
  if value == nil and name == "fs" then
    value = require("codex.methods").part(client, "fs")
    rawset(client, name, value)
  end
  return value
end

return M
