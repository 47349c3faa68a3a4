--- Links to an app-server that runs already, which speaks WebSocket on a Unix socket: a message of
--- JSON-RPC in one text message. `codex app-server proxy` carries the bytes of such a socket over
--- its standard streams, from another machine where ssh runs it.
---
---   codex.link = lines = a socket pair = tasks here = codex.ws = the server's socket
---                                         or of our own = copied by tasks = the proxy's streams
---
--- A bridge is used as a codex.link is. Back-pressure goes through: who does not take what is sent
--- makes the other end wait. The server's end is the link's, and the link's that of the connection;
--- the server itself goes on.
---
--- The proxy (0.153.4, 0.169.0) does not notice by itself that the server has closed its end: it
--- ends when its input does, or when it cannot write. So the server is pinged through it, and after
--- our goodbye its input is closed.

local E = require "codex.error"
local async = require "codex.async"
local core = require "codex.core.lines"
local link = require "codex.link"
local proc = require "codex.proc"
local uv = require "luv"
local ws = require "codex.ws"

local M = {}

local URL_PATH = "/rpc" -- what Codex's own clients ask for
local HIGH_WATER = 1024 * 1024 -- bytes that the link may have before it
local NO_LIMIT = 1 << 40 -- of our own lines; what the server says has the limit of the link
local STARTUP = 30 -- seconds until a server or a proxy must have answered
local LAST_WORDS = 0.5 -- seconds for a proxy's exit, once it hung up
local GRACE = 2 -- seconds
local PING = 5 -- seconds of silence
local PAUSE = 0.05 -- seconds without a byte from us, after which our goodbye is through

-- ---- Streams of luv that are read by tasks -----------------------------------------------------

local Stream = {}
Stream.__index = require("codex.base.class").methods(Stream)

local function new_stream(pipe) return setmetatable({ pipe = pipe }, Stream) end

--- Who waits for the next piece is told that there is none.
function Stream:close()
  if self.pipe:is_closing() then return end
  self.pipe:close()
  if self.resume then self.resume(nil) end
end

Stream.__close = Stream.close

--- The next piece; nil at the end. It is read only while somebody waits here.
function Stream:read()
  local pipe = self.pipe
  return async.await(function(resume)
    self.resume = resume
    local started = not pipe:is_closing() and pipe:read_start(function(_, data)
      pipe:read_stop()
      resume(data)
    end)
    if not started then return resume(nil) end
    return { close = function()
      if not pipe:is_closing() then pipe:read_stop() end
    end }
  end)
end

--- Writes, and waits where much is unwritten. False when nobody is there to read it.
function Stream:write(data)
  local pipe = self.pipe
  if pipe:is_closing() or self.failed then return false end
  if pipe:get_write_queue_size() < HIGH_WATER then
    return pipe:write(data, function(err) self.failed = self.failed or err end) ~= nil
  end
  return async.await(function(resume)
    if not pipe:write(data, function(err) resume(not err) end) then resume(false) end
  end)
end

-- ---- Bridges -----------------------------------------------------------------------------------

---@class codex.Bridge: codex.Link
---@field pid? integer of the proxy
local Bridge = {}
Bridge.__index = require("codex.base.class").methods(Bridge)
Bridge.__name = "codex.bridge"

for _, name in ipairs { "request", "notify", "send", "unwritten", "drain", "pause", "gone" } do
  Bridge[name] = function(self, ...) return self._link[name](self._link, ...) end
end

---@return table of the link, and how the proxy is
function Bridge:status()
  local status = self._link:status()
  if not self._proxy then return status end
  local child = self._proxy:status()
  status.pid, status.exited = child.pid, child.exited
  status.code, status.signal = child.code, child.signal
  return status
end

--- The tail of the proxy's standard error, and how many bytes before it were dropped.
---@return string
---@return integer
function Bridge:stderr()
  if not self._proxy then return "", 0 end
  return self._proxy:stderr()
end

local function how_it_ended(status)
  if status.signal ~= 0 then return ("signal %d"):format(status.signal) end
  return ("exit code %d"):format(status.code)
end

--- Says in the link's error why the server is gone.
local function explain(bridge, err)
  if bridge._closing then return end
  local why = bridge._why
  if why then err.message = ("%s: %s"):format(err.message, why.message) end
  err.code = why and why.code or nil
  local status = bridge._proxy and bridge._proxy:status()
  if not status then return end
  err.stderr = bridge._proxy:stderr()
  if not status.exited then return end
  err.code = status.code
  err.message = ("%s (%s of the proxy)"):format(err.message, how_it_ended(status))
end

-- ---- What goes through -------------------------------------------------------------------------

--- From the link to the server, until the link is closed; what it said last is sent before the end.
local function send_lines(bridge, stream)
  local lines, connection = core.new(NO_LIMIT), bridge._connection
  for data in function() return stream:read() end do
    lines:feed(data)
    for line in function() return lines:next() end do
      local ok, err = connection:send(line)
      if not ok then
        bridge._unsent = err
        return connection:close()
      end
    end
  end
  if bridge._through then bridge._through.leaving = connection end
  connection:finish(bridge._grace)
end

--- From the server to the link, until the connection has ended; and why it has. A newline in a
--- message can only be white space: in a string of JSON it is written as "\n". Where the link is
--- closed nobody wants the messages, but it may have said something that is not sent yet.
local function receive_messages(bridge, stream)
  while true do
    local text, err = bridge._connection:receive()
    if not text then return err end
    if text:find("\n", 1, true) then text = text:gsub("\n", " ") end
    stream:write { text, "\n" }
  end
end

local function cancel(task)
  return setmetatable({}, { __close = function() task:cancel "the connection has ended" end })
end

local function run(bridge, pipe)
  local at_last <close> = setmetatable({}, { -- luacheck: ignore 211
    __close = function()
      bridge._over = true
      bridge._changed:notify()
    end,
  })
  do
    local connection <close> = bridge._connection -- luacheck: ignore 211
    local stream <close> = new_stream(pipe)
    local sender <close> = cancel(async.spawn(send_lines, bridge, stream)) -- luacheck: ignore 211
    bridge._why = receive_messages(bridge, stream) or bridge._unsent
    if bridge._proxy then async.timeout(LAST_WORDS, bridge._proxy.wait, bridge._proxy) end
  end
  while not bridge._link:gone() and not bridge._closing do bridge._changed:wait() end
  bridge._link:close(0)
end

-- ---- Opening -----------------------------------------------------------------------------------

---@class codex.BridgeOptions: codex.LinkOptions
---@field startup_timeout? number seconds until the server has answered (30)

local of_proxies = { "cwd", "env", "clear_env", "grace" }

--- The link's options, with what the bridge has to know of.
local function link_options(bridge, given)
  local opts = {}
  for name, value in pairs(given) do opts[name] = value end
  for _, name in ipairs(of_proxies) do opts[name] = nil end
  opts.startup_timeout = nil
  opts.explain = function(err) explain(bridge, err) end
  opts.on_closed = function(err)
    bridge._changed:notify()
    if given.on_closed then given.on_closed(err) end
  end
  return opts
end

local function io_error(what, name)
  return E.new("io", ("cannot %s: %s"):format(what, name), { code = name })
end

local function new_bridge(connection, given, through)
  local fds, text = uv.socketpair("stream", nil, { nonblock = true }, { nonblock = true })
  if not fds then return nil, io_error("make a pair of sockets", text) end
  local proxy = through and through.proxy
  local bridge = setmetatable({
    pid = proxy and proxy.pid, _proxy = proxy, _through = through, _connection = connection,
    _grace = given.grace or GRACE, _changed = async.signal(),
  }, Bridge)
  local opened, err = link.open(fds[1], fds[1], link_options(bridge, given))
  uv.fs_close(fds[1])
  if not opened then
    uv.fs_close(fds[2])
    return nil, err
  end
  local pipe = uv.new_pipe(false)
  pipe:open(fds[2])
  bridge._link = opened
  bridge._task = async.spawn(run, bridge, pipe)
  return bridge
end

local function connect_options(given, ping)
  return {
    url_path = URL_PATH, message_limit = given.line_limit, ping = ping,
    timeout = given.startup_timeout or STARTUP,
  }
end

--- Connects to the socket of an app-server (`codex app-server --listen unix://PATH`).
---@async
---@param path string
---@param given codex.BridgeOptions
---@return codex.Bridge?
---@return codex.Error? error kinds `io` (with the path), `timeout`
function M.connect(path, given)
  local connection, err = ws.connect(path, connect_options(given))
  if not connection then return nil, err end
  local bridge
  local guard <close> = setmetatable({}, { -- luacheck: ignore 211
    __close = function() if not bridge then connection:finish() end end,
  })
  bridge, err = new_bridge(connection, given)
  return bridge, err
end

-- ---- Through a proxy ---------------------------------------------------------------------------

--- What the proxy gets next; nil at the end, which is also when nothing follows our goodbye.
local function next_piece(stream, through)
  local connection = through.leaving
  if not connection or connection:unsent() > 0 then return stream:read() end
  return (async.timeout(PAUSE, stream.read, stream))
end

--- Copies bytes between a socket and the proxy, until either has ended, which ends the other.
local function copy(socket, through)
  local stream <close> = new_stream(socket)
  local proxy = through.proxy
  local incoming = async.spawn(function()
    local both <close> = stream -- luacheck: ignore 211
    for data in function() return proxy:read() end do
      if not stream:write(data) then return end
    end
  end)
  local guard <close> = cancel(incoming) -- luacheck: ignore 211
  for data in function() return next_piece(stream, through) end do
    if not proxy:write(data) then break end
  end
  proxy:close_stdin()
  incoming:join()
end

--- A socket that nobody else can reach; its first client is given to the function. Closing removes
--- it.
local function private_socket(on_client)
  local folder, err = ws.new_folder()
  if not folder then return nil, err end
  local server, path = uv.new_pipe(false), folder .. "/socket"
  local socket = setmetatable({ path = path }, { __close = function()
    server:close()
    os.remove(path)
    uv.fs_rmdir(folder)
  end })
  local ok, text = server:bind(path)
  if ok then
    ok, text = server:listen(1, function()
      local client = uv.new_pipe(false)
      if server:accept(client) then on_client(client) else client:close() end
    end)
  end
  if ok then return socket end
  local closed <close> = socket -- luacheck: ignore 211
  return nil, io_error(("listen at '%s'"):format(path), text)
end

--- Why there is no connection through the proxy.
local function proxy_error(proxy, argv, err)
  local status
  if err.kind == "io" then status = async.timeout(LAST_WORDS, proxy.wait, proxy) end
  local stderr = require("codex.log").redact((proxy:stderr()))
  if not status then
    local late = err.kind == "timeout"
    local text = ("'%s' did not lead to an app-server%s"):format(argv[1],
      late and " in time" or ": what it says is no WebSocket")
    return E.new(late and "timeout" or "closed", text, { stderr = stderr })
  end
  local text = ("'%s' ended before it led to an app-server (%s)"):format(argv[1],
    how_it_ended(status))
  return E.new("closed", text, { code = status.code, stderr = stderr })
end

local function connect_through(through, argv, given)
  local socket <close>, err = private_socket(function(client)
    async.spawn(copy, client, through)
  end)
  if not socket then return nil, err end
  local connection
  connection, err = ws.connect(socket.path, connect_options(given, PING))
  if not connection then return nil, proxy_error(through.proxy, argv, err) end
  return connection
end

--- Starts a program whose standard streams carry the bytes of an app-server's socket, like `codex
--- app-server proxy`, and connects through it.
---@async
---@param argv string[]
---@param given codex.BridgeOptions and of codex.ProcOptions cwd, env, clear_env, grace
---@return codex.Bridge?
---@return codex.Error? error kinds `spawn`, `closed` (it ended; `stderr` says why), `timeout`, `io`
function M.proxy(argv, given)
  local proc_options = { stdin = "pipe" }
  for _, name in ipairs(of_proxies) do proc_options[name] = given[name] end
  local proxy, err = proc.spawn(argv, proc_options)
  if not proxy then return nil, err end
  local bridge, connection
  local guard <close> = setmetatable({}, { -- luacheck: ignore 211
    __close = function()
      if bridge then return end
      proxy:close()
      if connection then connection:finish() end
    end,
  })
  local through = { proxy = proxy }
  connection, err = connect_through(through, argv, given)
  if connection then bridge, err = new_bridge(connection, given, through) end
  return bridge, err
end

-- ---- Ending ------------------------------------------------------------------------------------

--- Waits until everything was sent and both sides have said goodbye, or for `grace` seconds.
local function part(bridge, grace)
  async.timeout(grace, function()
    while not bridge._over do bridge._changed:wait() end
    if bridge._proxy then bridge._proxy:wait() end
  end)
end

--- Ends the connection, and the proxy; the server goes on. Waits where a task may, `grace` seconds
--- (2) at most, and is idempotent.
---@param grace? number
function Bridge:close(grace)
  self._closing = true
  local at_last <close> = setmetatable({}, { -- luacheck: ignore 211
    __close = function()
      self._task:cancel "the link was closed"
      if self._proxy then self._proxy:close() end
    end,
  })
  self._changed:notify()
  self._link:close(grace)
  if async.running() then part(self, grace or self._grace) end
end

function Bridge:__close() self:close() end

return M
