--- Wake-ups: running scripts hear of every turn that any Codex of this user completes.
---
--- Each script that listens has a Unix socket of its own in a folder that is this user's alone.
--- Whoever has an event writes it to all of them, and takes it for told when the listener says so.
--- A socket that nobody listens on any more is removed by who finds it.

local E = require "codex.error"
local async = require "codex.async"
local files = require "codex.files"
local json = require "codex.json"
local uv = require "luv"

local M = {}

local ACK = "ok\n"
local PATIENCE = 2 -- seconds for a listener to take an event
local CROWDED = 0.01 -- seconds until the next attempt where there was no place in the queue
local QUEUE = 1024 -- who waits there; the system may allow fewer
local MESSAGE_LIMIT = 64 << 20 -- bytes
local OTHERS = tonumber("077", 8)

-- ---- The place ---------------------------------------------------------------------------------

--- Where sockets are.
M.folder = files.runtime_dir

--- In /tmp somebody else may have made it first: then he would hear what is said.
local function is_own(dir)
  local stat = uv.fs_lstat(dir)
  return stat ~= nil and stat.type == "directory" and stat.uid == uv.getuid()
    and stat.mode & OTHERS == 0
end

local function make_folder()
  local dir = M.folder()
  local ok, err = files.make_dir(dir)
  if not ok then return nil, err end
  if is_own(dir) then return dir end
  return nil, E.new("io", ("'%s' is not a folder of this user alone"):format(dir))
end

-- ---- Telling -----------------------------------------------------------------------------------

local function sockets()
  local dir, paths = M.folder(), {}
  if not is_own(dir) then return paths end
  local request = uv.fs_scandir(dir)
  for name in function() return request and uv.fs_scandir_next(request) end do
    if name:find "^wakeup%-.*%.sock$" then paths[#paths + 1] = dir .. "/" .. name end
  end
  return paths
end

--- One connection: true when the text was taken, false when it was not, "EAGAIN" when so many
--- others are waiting there that there was no place.
local function try_one(path, text)
  local pipe <close> = setmetatable({ uv.new_pipe(false) }, {
    __close = function(own) own[1]:close() end,
  })
  local failed = async.await(function(resume) pipe[1]:connect(path, resume) end)
  if failed == "EAGAIN" then return failed end
  if failed == "ECONNREFUSED" then uv.fs_unlink(path) end -- its script is gone
  if failed then return false end
  return async.await(function(resume)
    local got = ""
    pipe[1]:read_start(function(problem, data)
      if problem or not data then return resume(false) end
      got = got .. data
      if got == ACK then resume(true) end
    end)
    pipe[1]:write(text)
    pipe[1]:shutdown()
  end)
end

--- Writes the text to one listener and waits until it has taken it.
local function tell_one(path, text)
  local taken = try_one(path, text)
  while taken == "EAGAIN" do
    async.sleep(CROWDED)
    taken = try_one(path, text)
  end
  return taken
end

--- Tells everybody who listens. One that is gone or deaf is passed over.
---@async
---@param event codex.NotifyEvent
---@param payload fun(event: codex.NotifyEvent): string
---@return integer how many took it
function M.tell(event, payload)
  local paths = sockets()
  if #paths == 0 then return 0 end
  local text = json.encode({
    route = event.route, payload = event.payload, notify = json.decode(payload(event)),
    rollout = event.rollout, internal = event.internal,
  }, { repair = true })
  local told = async.map(paths, function(path)
    return (async.timeout(PATIENCE, tell_one, path, text))
  end)
  local count = 0
  for i = 1, #paths do
    if told[i] == true then count = count + 1 end
  end
  return count
end

-- ---- Listening ---------------------------------------------------------------------------------

---@class codex.Listener
local Listener = {}
Listener.__index = require("codex.base.class").methods(Listener)
Listener.__name = "codex.wakeup"

--- The event as it was told. Where its thread is kept is known to who told it: we may have another
--- CODEX_HOME.
local function event_of(text)
  local message = json.decode(text)
  local is_whole = type(message) == "table" and type(message.payload) == "table"
    and type(message.notify) == "table"
  if not is_whole then return nil end
  local notify = require "codex.notify"
  local event
  if message.route == "hook" then
    event = notify.stop_event(message.payload)
  else
    event = notify.event(message.notify)
    event.route, event.payload = message.route, message.payload
  end
  event.rollout, event.internal = message.rollout, message.internal or false
  return event
end

--- One who has an event: it is taken when it has come whole, and acknowledged then.
local function receive(listener, peer)
  local pieces, size = {}, 0
  listener.peers[peer] = true
  local function done()
    listener.peers[peer] = nil
    if not peer:is_closing() then peer:close() end
  end
  peer:read_start(function(problem, data)
    if data then
      pieces[#pieces + 1], size = data, size + #data
      if size > MESSAGE_LIMIT then done() end
      return
    end
    local event = not problem and event_of(table.concat(pieces))
    if not event or listener.closed then return done() end
    if listener.wants_internal or not event.internal then
      listener.last = listener.last + 1
      listener.queue[listener.last] = event
      listener.changed:notify()
    end
    peer:write(ACK, done)
  end)
end

local count = 0

local function accept(listener)
  return function(problem)
    local peer = uv.new_pipe(false)
    if not problem and listener.server:accept(peer) then return receive(listener, peer) end
    peer:close()
  end
end

--- The socket gets the name that is looked for when it can be connected to: one that refuses is
--- taken for left behind.
local function bind(listener, dir)
  count = count + 1
  local path = ("%s/wakeup-%d-%d.sock"):format(dir, uv.os_getpid(), count)
  local new = path .. "n"
  if #new > 107 then return nil, E.new("io", ("'%s' is too long for a socket"):format(new)) end
  uv.fs_unlink(new) -- of an earlier process with our number
  local ok, message, code = listener.server:bind(new)
  if ok then ok, message, code = uv.fs_chmod(new, tonumber("600", 8)) end
  if ok then ok, message, code = listener.server:listen(QUEUE, accept(listener)) end
  if ok then ok, message, code = uv.fs_rename(new, path) end
  if ok then
    listener.path = path
    return true
  end
  uv.fs_unlink(new)
  return nil, E.new("io", ("cannot listen on '%s': %s"):format(path, message), { code = code })
end

--- The next event; waits for it. nil when the listener is closed.
---@async
---@return codex.NotifyEvent?
function Listener:next()
  while self.first > self.last do
    if self.closed then return nil end
    self.changed:wait()
  end
  local event = self.queue[self.first]
  self.queue[self.first] = nil
  self.first = self.first + 1
  return event
end

Listener.__call = Listener.next

--- Stops listening. Idempotent.
function Listener:close()
  if self.closed then return end
  self.closed = true
  if self.path then uv.fs_unlink(self.path) end
  self.server:close()
  for peer in pairs(self.peers) do
    if not peer:is_closing() then peer:close() end
  end
  self.changed:notify()
end

Listener.__close = Listener.close

--- Iterates over the turns that are completed from now on; leaving the loop stops listening. The
--- object can be kept as well: `listener:next()`, `listener:close()`. Raises an error where there
--- is no place to listen.
---
---     for event in codex.notify.listen() do print(event.thread_id) end
---@param opts? { internal?: boolean } also turns of threads that Codex keeps for itself
---@return codex.Listener
function M.listen(opts)
  local options = require "codex.options"
  options.check("codex.notify.listen", opts, { internal = true })
  local dir, err = make_folder()
  if not dir then options.raise("codex.notify.listen: " .. tostring(err)) end
  local listener = setmetatable({
    server = uv.new_pipe(false), queue = {}, first = 1, last = 0, peers = {},
    changed = async.signal(), wants_internal = opts and opts.internal,
  }, Listener)
  local ok
  ok, err = bind(listener, dir)
  if not ok then
    listener:close()
    options.raise("codex.notify.listen: " .. tostring(err))
  end
  return listener, nil, nil, listener
end

return M
