--- A WebSocket server on a Unix socket, for clients like `codex --remote unix://PATH`.
---
--- A connection is a task: it receives and sends whole text messages and waits for both. Back-
--- pressure goes both ways: a client that is not listened to is not read from, and sending waits
--- for a client that does not read.

local async = require "codex.async"
local core = require "codex.core.ws"
local E = require "codex.error"
local options = require "codex.options"

local M = {}

local HIGH_WATER = 4 * 1024 * 1024 -- bytes in either direction beyond which somebody waits
local PATH_LIMIT = 107 -- of Linux, for the address of a Unix socket

-- ---- Connections -------------------------------------------------------------------------------

---@class codex.WsConnection
---@field on_event? fun() called when something came, was sent, or the connection ended
local Connection = {}
Connection.__index = Connection
Connection.__name = "codex.ws.connection"

local function note_message(connection, text)
  connection._last = connection._last + 1
  connection._messages[connection._last] = text
  connection._held = connection._held + #text
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
  connection._held = connection._held - #text
  if connection._paused and connection._held <= HIGH_WATER // 2 then
    connection._paused = false
    connection._raw:pause(false)
  end
  return text
end

--- The next message. nil when the connection was closed, by either side; with an error of kind
--- `closed` when it broke off, or `protocol` when the client sent what is not taken (a message over
--- the limit, a binary one). Messages that came before are given first.
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

Connection.__close = function(self) self:close() end

-- ---- The server --------------------------------------------------------------------------------

---@class codex.WsServer
---@field path string where it listens
local Server = {}
Server.__index = Server
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

local function listen_error(path, name, text)
  local why = texts[name] or text
  if name == "ENAMETOOLONG" then
    why = ("the path has %d bytes, the system takes %d"):format(#path, PATH_LIMIT)
  end
  return E.new("io", ("cannot listen at '%s': %s"):format(path, why), { code = name })
end

--- A folder for a socket that nobody has named: only we can reach it.
local function new_folder()
  local uv = require "luv"
  local parent = os.getenv "XDG_RUNTIME_DIR" or uv.os_tmpdir()
  local path, text, name = uv.fs_mkdtemp(parent .. "/codex-lua-XXXXXX")
  if path then return path end
  text = ("cannot make a folder in '%s': %s"):format(parent, text)
  return nil, E.new("io", text, { code = name })
end

---@class codex.WsOptions
---@field message_limit? integer bytes; a longer message ends its connection (256 MiB)

local known = options.set { "message_limit" }

local function check(path, on_connection, opts)
  if path ~= nil and type(path) ~= "string" then
    options.raise("codex.ws.listen: the path must be a string, got " .. type(path))
  end
  if type(on_connection) ~= "function" then
    options.raise("codex.ws.listen: a function is needed, got " .. type(on_connection))
  end
  opts = options.check("codex.ws.listen", opts, known)
  local limit = options.typed("codex.ws.listen", opts, "message_limit", "number")
  if limit and (math.type(limit) ~= "integer" or limit < 1) then
    options.raise "codex.ws.listen: option 'message_limit' must be a positive integer"
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
  opts = check(path, on_connection, opts)
  local folder, err
  if not path then
    folder, err = new_folder()
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
    return nil, listen_error(path, name, text)
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

return M
