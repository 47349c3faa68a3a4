--- An app-server on a scripted model, and what it says reduced to its kind, so that a live stream
--- can be compared with a captured one (tests/fixtures/appserver-VERSION-NAME.jsonl).
---
--- The kind of a stream is what the server sends on its own, one line each: the method, and the
--- type and status of what it is about. Threads, times, texts and ids are left out. The lines are
--- in lanes: within a lane the order counts; between lanes it varies from run to run.

local async = require "codex.async"
local audit = require "codex.audit"
local files = require "codex.files"
local inquiry = require "codex.inquiry"
local json = require "codex.json"
local peers = require "tests.support.peers"
local testing = require "codex.testing"
local uv = require "luv"

local M = {}

-- ---- Kinds -------------------------------------------------------------------------------------

--- What may be there or not, and why that says nothing about the stream.
local ignored = {
  -- About this machine (no bubblewrap on PATH), at any time after `initialize`.
  "configWarning", "remoteControl/status/changed",
  -- After each answer of the model, but not of one that was given up or failed early.
  "account/rateLimits/updated",
  -- 0.153.4 was captured with a model that it does not know, and says so.
  "warning",
  -- How a text or an output is cut into pieces is up to the network and the speed of a command.
  -- That there are deltas of a message is asserted where the text is.
  "item/agentMessage/delta", "item/commandExecution/outputDelta", "item/fileChange/outputDelta",
  -- Comes or not by whether a line is found in a history of its own.
  "deprecationNotice",
}

--- What has a lane of its own: it is told by another part of Codex than the items are.
local lanes = {
  ["thread/status/changed"] = "status",
  ["thread/tokenUsage/updated"] = "usage",
  ["turn/diff/updated"] = "diff",
  ["mcpServer/startupStatus/updated"] = "mcp",
  ["thread/readState/changed"] = "read",
  ["thread/started"] = "thread",
  ["turn/started"] = "turn", -- in 0.101.0 before or after the user's message
}

local is_ignored = {}
for _, method in ipairs(ignored) do is_ignored[method] = true end
M.is_ignored = is_ignored

local function given(value) return value ~= json.null and value or nil end

local function status_text(status)
  if type(status) == "string" then return status end
  return table.concat({ status.type, table.unpack(status.activeFlags or {}) }, " ")
end

--- One message in words: "item/completed commandExecution declined".
local function line(message)
  local params = message.params
  local item, turn = params.item, params.turn
  local words = { message.method }
  if type(item) == "table" then words[2], words[3] = item.type, given(item.status) end
  if type(turn) == "table" then words[2] = turn.status end
  if given(params.status) then words[2] = status_text(params.status) end
  if message.method == "error" then words[2] = params.willRetry and "retry" or "final" end
  if type(params.run) == "table" then words[2] = params.run.status end
  if message.is_request then table.insert(words, 1, "?") end
  return table.concat(words, " ")
end

--- The kind of a list of messages.
---@param messages { method: string, params: table, is_request: boolean }[]
---@return table<string, string[]>
function M.kind(messages)
  local kind = { main = {} }
  for _, message in ipairs(messages) do
    -- codex/event/*: until about 0.101 everything is told a second time in an older form.
    if not is_ignored[message.method] and not message.method:find "^codex/event/" then
      local lane = lanes[message.method] or "main"
      kind[lane] = kind[lane] or {}
      table.insert(kind[lane], line(message))
    end
  end
  return kind
end

--- The lines of a captured stream.
---@param name string for example "0.169.0-plain"
---@return { dir: "c2s"|"s2c"|"exit", msg: table }[]
function M.records(name)
  local text = assert(files.read(("%s/tests/fixtures/appserver-%s.jsonl"):format(peers.root, name)))
  local records = {}
  for each in text:gmatch "[^\n]+" do records[#records + 1] = assert(json.decode(each)) end
  return records
end

--- The messages of a captured stream that the server sent on its own.
---@param name string
---@return table[]
function M.capture(name)
  local messages = {}
  for _, record in ipairs(M.records(name)) do
    local msg = record.msg
    if record.dir == "s2c" and msg.method then
      messages[#messages + 1] =
        { method = msg.method, params = msg.params or {}, is_request = msg.id ~= nil }
    end
  end
  return messages
end

--- How many of these messages come before the first one whose params fit.
function M.count_before(messages, method, fits)
  local count = 0
  for _, message in ipairs(messages) do
    if fits(message.params) then return count end
    if message.method == method then count = count + 1 end
  end
end

-- ---- What specs have in common ------------------------------------------------------------------

--- The folder that each server starts with, empty; and a file in it that does not exist at first.
M.work = ("%s/build/app-server-spec/%d"):format(peers.root, uv.os_getpid())
M.file = M.work .. "/escaped.txt"

--- The model wants to run a command outside of the sandbox, as in the captures.
function M.escalated(command)
  return { exec = { cmd = command or "touch " .. M.file, sandbox_permissions = "require_escalated",
    justification = "Allow creating a file?" } }
end

--- A policy that takes down what it is asked, and always says the same, or what a function says.
function M.policy(decision, seen)
  return { name = "spec", decide = function(request)
    if seen then seen[#seen + 1] = request end
    if type(decision) == "function" then return decision(request) end
    return decision
  end }
end

--- Whether the file exists.
function M.is_written() return files.read(M.file) ~= nil end

-- ---- A live one --------------------------------------------------------------------------------

---@class tests.Server
---@field client codex.Client
---@field model codex.testing.Model
---@field cx table the instance
---@field work string an empty folder
---@field log string[] what the client said of itself, "level: message"
---@field heard table[] what the server sent on its own, in order
local Server = {}
Server.__index = Server

local function hear(server, method, params, is_request)
  server.heard[#server.heard + 1] = { method = method, params = params, is_request = is_request }
  server._changed:notify()
end

--- Waits until the server has sent this, and returns its params. It may have done so already.
---@param method string
---@param matches? fun(params: table): any
function Server:wait(method, matches)
  local at = 1
  local found = async.timeout(20, function()
    while true do
      for i = at, #self.heard do
        local message = self.heard[i]
        if message.method == method and (not matches or matches(message.params)) then
          return message
        end
      end
      at = #self.heard + 1
      self._changed:wait()
    end
  end)
  return assert(found, method .. " did not come").params
end

--- Waits until the server has sent this so often.
function Server:wait_count(method, count)
  local done = async.timeout(20, function()
    while self:count(method) < count do self._changed:wait() end
    return true
  end)
  assert(done, ("%s did not come %d times"):format(method, count))
end

--- Waits until the model was asked so often.
function Server:wait_model(count)
  local done = async.timeout(20, function()
    while #self.model.requests < count do self._changed:wait() end
    return true
  end)
  assert(done, "the model was not asked")
end

--- Whether the client said something of itself that has this in it.
function Server:said(text)
  return table.concat(self.log, "\n"):find(text, 1, true) ~= nil
end

--- What the model was told of its last call.
function Server:told()
  local outputs = self.model.requests[#self.model.requests].outputs
  return outputs[#outputs].output
end

--- How often the server has sent this.
function Server:count(method)
  local count = 0
  for _, message in ipairs(self.heard) do
    if message.method == method then count = count + 1 end
  end
  return count
end

--- Asserts that what was heard is of the kind of this capture. Lanes that are named are in the
--- capture and must be missing here.
---@param name string
---@param ... string
function Server:assert_like(name, ...)
  local assert = require "luassert"
  local kind = M.kind(M.capture(name))
  for _, lane in ipairs { ... } do
    assert.is_table(kind[lane])
    kind[lane] = nil
  end
  assert.same(kind, M.kind(self.heard))
end

--- What was written down: "WORD by POLICY", with the reason behind it where there is one.
function Server:decisions()
  local list = {}
  for record in assert(audit.read(self.cx.home .. "/audit.jsonl")) do
    local why = record.why and ": " .. record.why or ""
    list[#list + 1] = ("%s by %s%s"):format(record.decision, record.policy, why)
  end
  return list
end

--- A client of it that is listened to.
function Server:connect(options)
  local opts = { cwd = self.work, audit = self.cx.home .. "/audit.jsonl", policies = {} }
  for name, value in pairs(options or {}) do opts[name] = value end
  local client = assert(self.cx.connect(opts))
  client:on("*", function(params, method) hear(self, method, params, false) end)
  self._listened[client] = true
  return client
end

--- Requests of the server in the order in which they come among its notifications.
local function overhear(server)
  local serve = inquiry.serve
  inquiry.serve = function(client, request)
    if server._listened[client] then hear(server, request.method, request.params, true) end
    return serve(client, request)
  end
  return setmetatable({}, { __close = function() inquiry.serve = serve end })
end

---@class tests.ServerOptions
---@field turns? table[] what the model says
---@field reply? fun(request: table): any in place of turns
---@field peer? "latest"|"middle"|"old"
---@field config? table more for config.toml
---@field connect? codex.ConnectOptions

--- Runs the body with a connected client; all is closed when it returns.
---@param options tests.ServerOptions
---@param body fun(server: tests.Server)
function M.run(options, body)
  local changed = async.signal()
  local model <close> = assert(testing.model {
    turns = options.turns, reply = options.reply, on_request = function() changed:notify() end,
  })
  local log = {}
  local cx <close> = assert(testing.codex {
    model = model, binary = peers[options.peer or "latest"], config = options.config,
    log = function(level, message) log[#log + 1] = level .. ": " .. message end,
  })
  local function clear() assert(os.execute("rm -rf " .. peers.quote(M.work))) end
  clear()
  assert(files.make_dir(M.work))
  local cleared <close> = setmetatable({}, { __close = clear }) -- luacheck: ignore 211
  local server = setmetatable({
    model = model, cx = cx, work = M.work, heard = {}, log = log, _changed = changed,
    _listened = {},
  }, Server)
  local overheard <close> = overhear(server) -- luacheck: ignore 211
  local client <close> = server:connect(options.connect)
  server.client = client
  body(server)
  require("luassert").same({}, model.errors)
end

return M
