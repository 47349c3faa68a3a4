-- An app-server that misbehaves as told, for what the real one cannot be made to do: dying in the
-- middle of a turn, answering twice, never answering, flooding. It runs under the program itself:
--
--     codex-lua tests/support/bad_server.lua [CODE]
--
-- Every message it sends is one that the real app-server sent (tests/fixtures), with other ids and,
-- where a test says so, other values. CODE is Lua that runs first and may change how it behaves;
-- more of it can come later as the request `test/run`. What such code can use is in `stage` below.

local json = require "codex.json"
local uv = require "luv"

local fixtures = { "plain", "interrupt-command", "fail-h400", "cmd-approval-interrupt",
  "dynamic-tool", "misc" }

-- ---- What the real one said --------------------------------------------------------------------

local said, results, refusals = {}, {}, {}

--- What tells apart messages of one method: an item's type, a status.
local function variant(params)
  local status = params.turn and params.turn.status or params.status
  if params.item then return params.item.type end
  return type(status) == "table" and status.type or status
end

local function keep(shapes, key, message)
  shapes[key] = shapes[key] or {}
  table.insert(shapes[key], message)
end

local function remember(message, asked)
  if message.method then
    keep(said, message.method, message)
    local more = variant(message.params)
    if more then keep(said, message.method .. ":" .. tostring(more), message) end
  elseif asked[message.id] then
    keep(message.error and refusals or results, asked[message.id], message)
  end
end

local function read_fixture(name)
  local asked = {}
  for line in io.lines(("tests/fixtures/appserver-0.169.0-%s.jsonl"):format(name)) do
    local entry = json.decode(line)
    local message = entry.msg
    if message and entry.dir == "s2c" then remember(message, asked) end
    if message and entry.dir == "c2s" and message.id then asked[message.id] = message.method end
  end
end

for _, name in ipairs(fixtures) do read_fixture(name) end

-- ---- The same with other ids -------------------------------------------------------------------

local stage = setmetatable({ on = {}, seen = {}, json = json, uv = uv }, { __index = _G })
local made = 0

--- An id in the form of the real ones; no two servers make the same.
local function new_id()
  made = made + 1
  return ("01a1fa92-6fa5-75a1-909a-%08x%04x"):format(uv.os_getpid(), made)
end
stage.new_id = new_id

local function first(list) return type(list) == "table" and list[1] or nil end

--- The thread and the turn that a recorded message is about.
local function ids_of(body)
  local thread, turn = body.thread or {}, body.turn or first(body.data) or {}
  if type(turn) ~= "table" then turn = {} end
  return body.threadId or thread.id, body.turnId or turn.id
    or (first(thread.turns) or {}).id
end

local function plain(text) return (text:gsub("%p", "%%%0")) end

--- A copy of a recorded message about the thread and the turn of now.
local function renewed(message)
  local thread, turn = ids_of(message.params or message.result or {})
  local text = json.encode(message)
  for old, new in pairs { [thread or 1] = stage.thread, [turn or 2] = stage.turn } do
    if type(old) == "string" then text = text:gsub(plain(old), new) end
  end
  return json.decode(text)
end

local function recorded(shapes, key, n)
  return renewed(assert(shapes[key] and shapes[key][n or 1], "never seen: " .. key))
end

local function merge(into, changes)
  for key, value in pairs(changes or {}) do
    if type(value) == "table" and type(into[key]) == "table" and next(value) ~= nil then
      merge(into[key], value)
    else
      into[key] = value
    end
  end
  return into
end

-- ---- What a test's code can use ----------------------------------------------------------------

--- Bytes as they are.
function stage.write(text)
  io.stdout:write(text)
  io.stdout:flush()
end

function stage.send(message) stage.write(json.encode(message) .. "\n") end

--- The line of a notification, as `item/started` or `item/started:agentMessage`.
function stage.line(key, changes)
  local message = recorded(said, key)
  merge(message.params, changes)
  return json.encode(message) .. "\n"
end

function stage.note(key, changes) stage.write(stage.line(key, changes)) end

--- Asks; the id is JSON text.
function stage.ask(method, id, changes)
  local message = recorded(said, method)
  merge(message.params, changes)
  message.id = nil
  stage.write(('{"id":%s,%s\n'):format(id, json.encode(message):sub(2)))
end

--- The recorded answer to a request with its method.
function stage.answer(request, changes)
  local message = recorded(results, request.method)
  message.id = request.id
  merge(message.result, changes)
  stage.send(message)
end

function stage.reply(request, result) stage.send { id = request.id, result = result } end

--- The n-th recorded error answer to this method, or the one given.
function stage.refuse(request, n)
  if type(n) == "table" then return stage.send { id = request.id, error = n } end
  local message = recorded(refusals, request.method, n)
  message.id = request.id
  stage.send(message)
end

--- A turn begins: the answer to turn/start, and what comes before the model's first word.
function stage.begin(request)
  stage.thread, stage.turn, stage.active = request.params.threadId, new_id(), true
  stage.answer(request)
  stage.opening()
end

function stage.opening()
  stage.note "thread/status/changed:active"
  stage.note "turn/started"
  stage.note "item/started:userMessage"
  stage.note "item/completed:userMessage"
end

--- The model says this.
function stage.say(text)
  stage.note "item/started:agentMessage"
  stage.note("item/agentMessage/delta", { delta = text })
  stage.note("item/completed:agentMessage", { item = { text = text } })
end

--- The turn ends: "completed", "interrupted" or "failed".
function stage.finish(status)
  stage.active = false
  stage.note "thread/status/changed:idle"
  stage.note("turn/completed:" .. (status or "completed"))
end

function stage.die(signal) uv.kill(uv.os_getpid(), signal or 9) end

-- ---- What it does when nobody says otherwise ---------------------------------------------------

local on = stage.on

for _, method in ipairs { "initialize", "thread/read", "thread/turns/list", "thread/loaded/list",
  "turn/steer", "model/list" } do
  on[method] = stage.answer
end

on["initialized"] = function() end
on["turn/start"] = stage.begin
on["config/value/write"] = stage.refuse

on["thread/start"] = function(request)
  stage.thread = new_id()
  stage.answer(request)
  stage.note "thread/started"
end

on["thread/resume"] = function(request)
  stage.thread = request.params.threadId
  stage.answer(request)
end

on["turn/interrupt"] = function(request)
  if not stage.active then return stage.refuse(request, 2) end
  stage.answer(request)
  stage.finish "interrupted"
end

local function run(code, request)
  return assert(load(code, "=scenario", "t", stage))(request)
end

on["test/run"] = function(request)
  local result = run(request.params.code, request)
  if not stage.silent then stage.reply(request, result == nil and json.null or result) end
end

local function unknown(request)
  local message = recorded(refusals, "nope/method")
  message.id = request.id
  stage.send(message)
end

if arg[1] then run(arg[1]) end

for line in io.lines() do
  local message = json.decode(line)
  table.insert(stage.seen, line)
  if message.method then
    local act = on[message.method] or (message.id ~= nil and unknown)
    if act then act(message) end
  elseif stage.on_answer then
    stage.on_answer(message, line)
  end
end

if stage.at_end then stage.at_end() end
