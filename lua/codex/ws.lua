--- WebSockets on a Unix socket: a server, for clients like `codex --remote unix://PATH`, and a
--- client, for servers like `codex app-server --listen unix://PATH`.
---
--- A connection receives and sends whole text messages and waits for both; the server runs a task
--- for each of its own. Back-pressure goes both ways: a peer that is not listened to is not read
--- from, and sending waits for a peer that does not read.

local async = require "codex.async"
local core = require "codex.core.ws"
local E = require "codex.error"
local options = require "codex.options"

local M = {}

local HIGH_WATER = 4 * 1024 * 1024 -- bytes in either direction beyond which somebody waits
local WEIGHT = 64 -- bytes that a message counts for beside its own
local PATH_LIMIT = 107 -- of Linux, for the address of a Unix socket
local HANDSHAKE = 10 -- seconds
local GOODBYE = 2 -- seconds until a server that does not answer our goodbye is left

-- ---- Connections -------------------------------------------------------------------------------

---@class codex.WsConnection
---@field on_event? fun() called when something came, was sent, or the connection ended
local Connection = {}
Connection.__index = require("codex.base.class").methods(Connection)
Connection.__name = "codex.ws.connection"

local function note_message(connection, text)
  connection._last = connection._last + 1
  connection._messages[connection._last] = text
  connection._held = connection._held + #text + WEIGHT
  if connection._held > HIGH_WATER and not connection._paused then
    connection._paused = true
    connection._raw:pause(true)
  end
end

local codes = { [1002] = "protocol", [1003] = "protocol", [1007] = "protocol", [1009] = "protocol" }
local normal = { [1000] = true, [1001] = true, [1005] = true }

local function closing_error(code, reason)
  if normal[code] then return nil end
  local text = code == 1006 and "the connection broke off"
    or reason ~= "" and ("the connection was closed: %s"):format(reason)
    or "the connection was closed"
  return E.new(codes[code] or "closed", text, { code = code })
end

local function new_connection(raw)
  local connection = setmetatable({
    _raw = raw, _changed = async.signal(), _messages = {}, _first = 1, _last = 0, _held = 0,
  }, Connection)
  raw:start(function(kind, text, code)
    if kind == "message" then note_message(connection, text) end
    if kind == "closed" then
      connection._closed, connection._error = true, closing_error(code, text)
    end
    connection._changed:notify()
    if connection.on_event then connection.on_event() end
  end)
  return connection
end

local function take(connection)
  local text = connection._messages[connection._first]
  connection._messages[connection._first] = nil
  connection._first = connection._first + 1
  connection._held = connection._held - #text - WEIGHT
  if connection._paused and connection._held <= HIGH_WATER // 2 then
    connection._paused = false
    connection._raw:pause(false)
  end
  return text
end

--- The next message. nil when the connection was closed, by either side; with an error of kind
--- `closed` when it broke off, or `protocol` when the other side sent what is not taken (a message
--- over the limit, a binary one). Messages that came before are given first.
---@async
---@return string? text
---@return codex.Error?
function Connection:receive()
  while self._first > self._last do
    if self._closed then return nil, self._error end
    self._changed:wait()
  end
  return take(self)
end

--- Iterates over messages until the connection ends.
---@async
---@return fun(): string?
function Connection:messages()
  return function() return (self:receive()) end
end

--- Sends a text message. Waits only while more than 4 MiB are unsent.
---@async
---@param text string UTF-8
---@return true?
---@return codex.Error? error of kind `closed`; `protocol` when the text is not UTF-8
function Connection:send(text)
  local ok, err = self:post(text)
  if not ok then return nil, err end
  while self._raw:unsent() > HIGH_WATER do
    self._changed:wait()
    if self._closed then return nil, E.new("closed", "the connection ended before it was sent") end
  end
  return true
end

--- Sends a text message without ever waiting: who posts looks at `unsent`.
---@param text string UTF-8
---@return true?
---@return codex.Error? as send
function Connection:post(text)
  if type(text) ~= "string" then
    options.raise("send: the message must be a string, got " .. type(text))
  end
  local ok, name, why = self._raw:send(text)
  if ok then return true end
  if name == "EILSEQ" then
    return nil, E.new("protocol", "the message is not UTF-8", { code = name })
  end
  return nil, E.new(name == "ECLOSED" and "closed" or "io", why, { code = name })
end

--- Bytes that were sent and that the system has not taken yet.
---@return integer
function Connection:unsent() return self._raw:unsent() end

---@return boolean
function Connection:is_closed() return self._closed == true end

--- Sends what is unsent and closes. Does not wait; messages that come meanwhile are dropped.
--- Idempotent.
---@param code? integer of RFC 6455 (1000, a normal end)
---@param reason? string 123 bytes at most
function Connection:close(code, reason) self._raw:close(code, reason) end

--- Ends the connection of one who does not read: what is unsent is lost. Does not wait; idempotent.
function Connection:drop() self._raw:drop() end

--- Closes, and waits until the other side has answered; where it does not within `grace` seconds
--- (2), it is left. Outside of a task, and of a server's connection, this is `close`.
---@param grace? number
function Connection:finish(grace)
  self:close()
  if not self._client or not async.running() then return end
  local at_last <close> = self._client -- luacheck: ignore 211
  async.timeout(grace or GOODBYE, function()
    while not self._closed do self._changed:wait() end
  end)
  self._client:close()
  while not self._client_closed do self._changed:wait() end
end

Connection.__close = function(self) self:finish() end

-- ---- The server --------------------------------------------------------------------------------

---@class codex.WsServer
---@field path string where it listens
local Server = {}
Server.__index = require("codex.base.class").methods(Server)
Server.__name = "codex.ws"

local function run(server, raw, on_connection)
  local connection = new_connection(raw)
  async.spawn(function()
    local ok <close> = setmetatable({}, { -- luacheck: ignore 211
      __close = function(_, err) connection:close(err and 1011 or 1000) end,
    })
    on_connection(connection, server)
  end)
end

local texts = {
  EADDRINUSE = "another program listens there, or it is no socket",
  ENOENT = "there is no such folder",
  ELIBACC = "libwebsockets cannot use libuv; is libwebsockets-evlib-uv installed?",
}

local function path_error(what, path, name, text)
  local why = texts[name] or text
  if name == "ENAMETOOLONG" then
    why = ("the path has %d bytes, the system takes %d"):format(#path, PATH_LIMIT)
  end
  return E.new("io", ("cannot %s '%s': %s"):format(what, path, why), { code = name })
end

--- A folder for a socket that nobody has named: only we can reach it.
---@return string? path
---@return codex.Error?
function M.new_folder()
  local uv = require "luv"
  local parent = os.getenv "XDG_RUNTIME_DIR" or uv.os_tmpdir()
  local path, text, name = uv.fs_mkdtemp(parent .. "/codex-lua-XXXXXX")
  if path then return path end
  text = ("cannot make a folder in '%s': %s"):format(parent, text)
  return nil, E.new("io", text, { code = name })
end

---@class codex.WsOptions
---@field message_limit? integer bytes; a longer message ends its connection (256 MiB)
---@field client_limit? integer clients at once; one more is refused (any number)

local known = options.set { "message_limit", "client_limit" }

local function check(where, path, opts, names)
  if type(path) ~= "string" then
    options.raise(("%s: the path must be a string, got %s"):format(where, type(path)))
  end
  opts = options.check(where, opts, names)
  for _, name in ipairs { "message_limit", "client_limit" } do
    local limit = options.typed(where, opts, name, "number")
    if limit and (math.type(limit) ~= "integer" or limit < 1) then
      options.raise(("%s: option '%s' must be a positive integer"):format(where, name))
    end
  end
  return opts
end

--- Listens on a Unix socket that only this user can connect to (mode 0600). What an ended program
--- left there is taken over. The function is run as a task for each client; when it returns, the
--- connection is closed.
---@param path? string of the socket, 107 bytes at most; nil: in a new folder, see `server.path`
---@param on_connection fun(connection: codex.WsConnection, server: codex.WsServer)
---@param opts? codex.WsOptions
---@return codex.WsServer?
---@return codex.Error? error of kind `io`
function M.listen(path, on_connection, opts)
  opts = check("codex.ws.listen", path or "", opts, known)
  if type(on_connection) ~= "function" then
    options.raise("codex.ws.listen: a function is needed, got " .. type(on_connection))
  end
  local folder, err
  if not path then
    folder, err = M.new_folder()
    if not folder then return nil, err end
    path = folder .. "/socket"
  end
  local server = setmetatable({ path = path, _changed = async.signal() }, Server)
  local function remove_folder() return folder and require("luv").fs_rmdir(folder) end
  local raw, name, text = core.listen(path, opts, function(connection)
    if connection then return run(server, connection, on_connection) end
    server._closed = true
    server._changed:notify()
  end)
  if not raw then
    remove_folder()
    return nil, path_error("listen at", path, name, text)
  end
  server._raw, server._remove_folder = raw, remove_folder
  return server
end

--- Removes the socket and closes every connection; where a task may wait, waits until they are
--- closed, half a second at most. Idempotent.
function Server:close()
  self._raw:close()
  self._remove_folder()
  while async.running() and not self._closed do self._changed:wait() end
end

Server.__close = Server.close

-- ---- The client --------------------------------------------------------------------------------

---@class codex.WsConnectOptions
---@field url_path? string that is asked for ("/")
---@field timeout? number seconds until the server must have answered (10)
---@field ping? number seconds of silence after which the server is pinged (300)
---@field message_limit? integer bytes; a longer message ends the connection (256 MiB)

local known_connect = options.set { "url_path", "timeout", "ping", "message_limit" }

local missing = { ENOENT = "there is no such socket", EACCES = "we may not look there" }

--- Why there was no connection. Where libwebsockets has no words for it the connecting failed.
local function refusal(path, why)
  local stat, text, name = require("luv").fs_stat(path)
  if not stat then
    why = missing[name] or text
  elseif stat.type ~= "socket" then
    name, why = "ENOTSOCK", "it is no socket"
  elseif why == "" then
    name, why = "ECONNREFUSED", "nobody listens there, or who does hung up"
  else
    name, why = "EPROTO", "who listens there does not speak WebSocket: " .. why
  end
  return E.new("io", ("cannot connect to '%s': %s"):format(path, why), { code = name })
end

--- Waits until the handler was called with a connection, or why there is none.
local function await_answer(state, path, seconds)
  async.timeout(seconds, function()
    while not state.connection and not state.why do state.changed:wait() end
  end)
  if state.connection then return state.connection end
  if state.why then return nil, refusal(path, state.why) end
  local text = ("'%s' did not answer within %g seconds"):format(path, seconds)
  return nil, E.new("timeout", text)
end

local function note_client_closed(connection)
  connection._client_closed = true
  connection._changed:notify()
end

--- Connects to a WebSocket server on a Unix socket. The connection is the caller's to close.
---@async
---@param path string of the socket, 107 bytes at most
---@param opts? codex.WsConnectOptions
---@return codex.WsConnection?
---@return codex.Error? error kinds `io` (nobody listens there, or no WebSocket), `timeout`
function M.connect(path, opts)
  local where = "codex.ws.connect"
  opts = check(where, path, opts, known_connect)
  options.typed(where, opts, "url_path", "string")
  local ms = options.milliseconds(where, opts, "timeout")
  local state = { changed = async.signal() }
  local raw_opts = {
    url_path = opts.url_path, message_limit = opts.message_limit,
    ping_s = math.max(1, (options.milliseconds(where, opts, "ping") + 999) // 1000),
  }
  if not opts.ping then raw_opts.ping_s = nil end
  local raw, name, text = core.connect(path, raw_opts, function(connection, why)
    if connection then state.connection = new_connection(connection) end
    if not connection then state.why = state.why or why or "" end
    local is_over = not connection and not why
    if is_over and state.connection then note_client_closed(state.connection) end
    state.changed:notify()
  end)
  if not raw then return nil, path_error("connect to", path, name, text) end
  local connected
  local guard <close> = setmetatable({}, { -- luacheck: ignore 211
    __close = function() if not connected then raw:close() end end,
  })
  local connection, err = await_answer(state, path, ms > 0 and ms / 1000 or HANDSHAKE)
  if not connection then return nil, err end
  connection._client, connected = raw, true
  return connection
end

return M
