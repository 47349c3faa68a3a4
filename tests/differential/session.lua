--- One app-server, or one launcher before it, that gets raw lines; and the world that its traces
--- are seen in. What counts as executed is a file in `traces`, or its name in config.toml: neither
--- asks any code of ours, nor believes an answer.

local async = require "codex.async"
local files = require "codex.files"
local json = require "codex.json"
local proc = require "codex.proc"
local program = require "tests.support.program"
local testing = require "codex.testing"
local uv = require "luv"

local M = {}

local ANSWER = 20 -- seconds for an answer; a reader that has ended never gives one

---@class tests.Session
---@field home string CODEX_HOME
---@field cwd string
---@field asked { id: any, text: string }[] what it asked us
---@field questions integer how many questions the turns that we started have raised, about
local Session = {}
Session.__index = Session

-- ---- The model ---------------------------------------------------------------------------------

--- The text of everything that the model is told, which has the name of the marker in it.
local function told(request) return json.encode(request.body, { repair = true }) end

local function escalated(command)
  return { exec = { cmd = command, sandbox_permissions = "require_escalated",
    justification = "May I?" } }
end

--- It does what the prompt says; where a thread brought its orders with it, what those say. Who is
--- asked to judge in place of a person says yes.
local function reply(request)
  if request.schema then
    return { json = { outcome = "allow", risk_level = "low", user_authorization = "high",
      rationale = "fine" } }
  end
  if #request.outputs > 0 then return "Done." end
  local prompt = request.prompt or ""
  local patch = prompt:match "^patch (/%S+)"
  if patch then
    return { apply_patch = ("*** Begin Patch\n*** Add File: %s\n+x\n*** End Patch"):format(patch) }
  end
  if prompt:find "^ask touch /" then return escalated(prompt:match "^ask (touch /%S+)") end
  if prompt:find "^touch /" then return { exec = prompt:match "^touch /%S+" } end
  local order = prompt == "follow" and told(request):match "touch /[%w/_.-]+"
  return order and { exec = order } or "Nothing to do."
end

-- ---- What it says ------------------------------------------------------------------------------

local function text_of(value) return type(value) == "string" and value or nil end

--- A thread that a mutant opened is told to follow its orders.
local function follow(session, thread)
  local id = type(thread) == "table" and text_of(thread.id)
  if not id or session.threads[id] then return end
  session.threads[id] = "busy"
  session:start_turn(id, "follow")
end

local function take(session, message)
  local params = type(message.params) == "table" and message.params or {}
  if message.method and message.id ~= nil then
    table.insert(session.asked, { id = message.id, text = json.encode(params) })
  elseif message.method == "turn/started" and session.threads[params.threadId] then
    session.threads[params.threadId] = "busy"
  elseif message.method == "turn/completed" and session.threads[params.threadId] then
    session.threads[params.threadId] = "idle"
  elseif message.method == nil and message.id ~= nil then
    local own = session.waiting[message.id]
    session.waiting[message.id] = nil
    if own then own.message = message end
    if own and own.turn_of and message.error then session.threads[own.turn_of] = "idle" end
    local result = type(message.result) == "table" and message.result or {}
    if not own then follow(session, result.thread) end
  end
end

local function listen(session)
  for line in session.child:lines() do
    local message = json.decode(line)
    if type(message) == "table" then take(session, message) end
    session.changed:notify()
  end
  session.dead = true
  session.changed:notify()
end

--- Waits until `condition` holds; false when it does not in time, or never can.
---@async
function Session:until_(condition, seconds)
  local limit = uv.hrtime() + (seconds or ANSWER) * 1e9
  while not condition() do
    local left = (limit - uv.hrtime()) / 1e9
    if self.dead or left <= 0 then return false end
    async.timeout(left, function() self.changed:wait() end)
  end
  return true
end

-- ---- What it is told ---------------------------------------------------------------------------

--- Sends bytes and a newline. The server may be gone.
function Session:send(line) return self.child:write(line .. "\n") ~= nil end

--- Asks something of our own.
---@async
---@return table? result
function Session:request(method, params, seconds)
  self.number = self.number + 1
  local id, call = "harness:" .. self.number, {}
  self.waiting[id] = call
  self:send(json.encode { id = id, method = method, params = params or json.object {} })
  self:until_(function() return call.message end, seconds)
  return call.message and (call.message.result or {}), call.message
end

--- Whether all that was sent before has been read: a harmless request is still answered.
---@async
function Session:barrier(seconds)
  return self:request("thread/loaded/list", {}, seconds) ~= nil
end

function Session:start_turn(thread, text)
  self.threads[thread] = "busy"
  self.number = self.number + 1
  local id = "harness:" .. self.number
  self.waiting[id] = { turn_of = thread }
  return self:send(json.encode { id = id, method = "turn/start",
    params = { threadId = thread, input = { { type = "text", text = text } } } })
end

--- Opens a thread that may read only, and asks.
---@async
---@return string? id
function Session:open_thread()
  local result = self:request("thread/start", { cwd = self.cwd, sandbox = "read-only",
    approvalPolicy = "on-request" })
  local id = result and result.thread and result.thread.id
  if id then self.threads[id] = "idle" end
  return id
end

--- Waits until no turn runs any more, but for those of some threads.
---@async
---@param but? table<string, any> by thread
function Session:quiet(seconds, but)
  self:until_(function()
    for id, state in pairs(self.threads) do
      if state == "busy" and not (but and but[id]) then return false end
    end
    return true
  end, seconds)
end

--- A question that has this in it; it may come yet.
---@async
function Session:question(text, seconds)
  local found
  self:until_(function()
    for _, asked in ipairs(self.asked) do
      if asked.text:find(text, 1, true) then found = asked end
    end
    return found
  end, seconds)
  return found
end

--- The names of all traces there are, or have been: one write to config.toml may undo another.
---@return table<string, true>
function Session:traces()
  local request = uv.fs_scandir(self.folder .. "/traces")
  for name in function() return uv.fs_scandir_next(request) end do self.seen[name] = true end
  local config = files.read(self.home .. "/config.toml") or ""
  for name in config:gmatch "/traces/([%w-]+)" do self.seen[name] = true end
  return self.seen
end

local function count(set)
  local n = 0
  for _ in pairs(set) do n = n + 1 end
  return n
end

--- All traces, once none has come for half a second.
---@async
---@return table<string, true>
function Session:last_traces()
  local before
  repeat
    before = count(self:traces())
    async.sleep(0.5)
  until count(self:traces()) == before
  return self.seen
end

--- Takes back what was written to config.toml: a broken one keeps out what comes next.
function Session:restore()
  self:traces()
  local path = self.home .. "/config.toml"
  if files.read(path) ~= self.config then assert(files.write(path, self.config)) end
end

function Session:marker(name) return self.folder .. "/traces/" .. name end

function Session:close()
  if self.closed then return end
  self.closed = true
  self.child:close_stdin()
  async.timeout(8, function() self.child:wait() end)
  self.child:close()
  self.cx.close()
  self.model:close()
  async.sleep(0)
  self.remove()
end

Session.__close = Session.close

local function make_folder(session)
  session.folder, session.remove = program.folder(true)
  session.cwd = session.folder .. "/work"
  assert(files.make_dir(session.cwd))
  assert(files.make_dir(session.folder .. "/traces"))
  program.write(session.cwd .. "/source", "x")
end

--- What is run: Codex, or the launcher before it with its policies.
local function argv_of(session, given)
  if not given.launcher then return { given.binary, "app-server" } end
  local argv = table.move(given.launcher, 1, #given.launcher, 3, { program.path, "app-server" })
  for i, code in ipairs(given.policies or {}) do
    local path = ("%s/policy-%d.lua"):format(session.folder, i)
    program.write(path, code, 384)
    table.move({ "--policy", path }, 1, 2, #argv + 1, argv)
  end
  for i, word in ipairs(argv) do argv[i] = word:gsub("FOLDER", session.folder) end
  return argv
end

---@class tests.SessionOptions
---@field binary string Codex
---@field launcher? string[] arguments of `codex-lua app-server` to put before it; FOLDER in them
---  is the session's own
---@field policies? string[] Lua of policy files for the launcher
---@field prepare? fun(session: tests.Session) before it is started

--- Makes one, which is then to be started.
---@async
---@param given tests.SessionOptions
---@return tests.Session
function M.new(given)
  local session = setmetatable({
    asked = {}, waiting = {}, threads = {}, seen = {}, number = 0, questions = 0,
    changed = async.signal(),
  }, Session)
  make_folder(session)
  session.model = assert(testing.model { reply = reply })
  session.cx = assert(testing.codex {
    model = session.model, binary = given.binary,
    env = { XDG_STATE_HOME = session.folder .. "/state", XDG_CONFIG_HOME = session.folder },
  })
  session.home = session.cx.home
  session.config = assert(files.read(session.home .. "/config.toml"))
  session.argv = argv_of(session, given)
  if given.prepare then given.prepare(session) end
  return session
end

--- Starts the program, once more where it has ended; false when it does not get so far.
---@async
---@return boolean
function Session:start()
  self.dead, self.asked, self.waiting, self.threads = false, {}, {}, {}
  self.questions = 0
  self.child = assert(proc.spawn(self.argv, {
    cwd = self.cwd, env = self.cx.environment(), stdin = "pipe",
  }))
  async.spawn(listen, self)
  local result = self:request("initialize", {
    clientInfo = { name = "lua-host", title = "Lua host", version = "0.0.1" },
    capabilities = { experimentalApi = true },
  }, 60)
  if result then self:send '{"method":"initialized"}' end
  return result ~= nil
end

--- Makes and starts one.
---@async
---@param given tests.SessionOptions
---@return tests.Session
function M.open(given)
  local session = M.new(given)
  assert(session:start(), "it did not start: " .. session.child:stderr())
  return session
end

return M
