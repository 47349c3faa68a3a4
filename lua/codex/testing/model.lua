--- The scripted model: a Responses API on the loopback interface that answers as a Lua table says.
---
---     local model <close> = assert(testing.model { turns = {
---       { reasoning = "I must look first.", exec = "cat VERSION" },      -- the first request
---       { text = { "It is ", "1.2." }, usage = { output_tokens = 7 } },  -- the second
---       { status = 429, headers = { ["retry-after"] = "1" } },           -- and so on
---       function(request) return { text = "You said " .. request.prompt } end,
---     } })
---
--- `turns` are played in the order in which requests come, whoever sends them. Where several runs
--- share one model, `reply` decides by what is asked:
---
---     testing.model { reply = function(request)
---       if request.outputs[1] then return "The command said: " .. request.outputs[1].output end
---       if request.prompt:find "list" then return { exec = "ls" } end
---       if request.schema then return { json = { findings = codex.json.array {} } } end
---     end, otherwise = "I do not know." }
---
--- One more request than there are turns is answered with status 400, which Codex does not repeat
--- and whose text it shows, and is written down in `model.errors`; so is an entry that fails.

local E = require "codex.error"
local answers = require "codex.testing.answer"
local async = require "codex.async"
local httpd = require "codex.core.httpd"
local json = require "codex.json"
local options = require "codex.options"
local requests = require "codex.testing.request"

local M = {}

---@alias codex.testing.Reply
---| string what the model says
---| codex.testing.Entry
---| fun(request: codex.testing.Request): codex.testing.Reply? may wait; nil: no opinion

---@class codex.testing.Script
---@field turns? codex.testing.Reply[] played in order
---@field reply? fun(request: codex.testing.Request): codex.testing.Reply? in place of turns: what
---  it returns for a request is the answer; nil leaves that to `otherwise`. It may wait.
---@field cassette? string in place of turns, a JSONL file whose lines are played in order: objects
---  with `response`, the list of events (objects, or raw text), or with `status`, `headers`, `body`
---@field otherwise? codex.testing.Reply where turns are used up or `reply` returns nil
---@field host? string the address to listen on (127.0.0.1)
---@field port? integer any free one by default
---@field on_request? fun(request: codex.testing.Request) called for each request as it comes
---@field on_error? fun(message: string) called for each of `errors`

---@class codex.testing.Model
---@field url string what Codex knows as base_url, "http://127.0.0.1:PORT/v1"
---@field port integer
---@field requests codex.testing.Request[] all that came, in order, also to other paths
---@field errors string[] what went wrong in the script
local Model = {}
Model.__index = require("codex.base.class").methods(Model)
Model.__name = "codex.testing.model"

local known = options.set {
  "turns", "reply", "cassette", "otherwise", "host", "port", "on_request", "on_error",
}

-- ---- The script --------------------------------------------------------------------------------

local function check(script)
  local where = "codex.testing.model"
  options.check(where, script, known)
  options.typed(where, script, "turns", "table")
  options.typed(where, script, "reply", "function")
  options.typed(where, script, "cassette", "string")
  options.typed(where, script, "on_request", "function")
  options.typed(where, script, "on_error", "function")
  local ways = 0
  for _, way in ipairs { "turns", "reply", "cassette" } do
    if script[way] then ways = ways + 1 end
  end
  if ways > 1 then error(where .. ": give one of 'turns', 'reply' and 'cassette'", 3) end
  for i, entry in ipairs(script.turns or {}) do
    answers.check(("%s: turns[%d]"):format(where, i), entry)
  end
  if script.otherwise ~= nil then answers.check(where .. ": otherwise", script.otherwise) end
end

local function cassette_entry(line)
  local record, message = json.decode(line)
  if type(record) ~= "table" then return nil, message or "not an object" end
  if record.status and record.status ~= 200 then
    return { status = record.status, headers = record.headers, body = record.body }
  end
  if type(record.response) ~= "table" then return nil, "there is no 'response'" end
  return { events = record.response }
end

local function load_cassette(path)
  local text, err = require("codex.files").read(path)
  if not text then return nil, err end
  local turns, number = {}, 0
  for line in text:gmatch "[^\n]+" do
    number = number + 1
    local entry, problem = cassette_entry(line)
    if not entry then
      return nil, E.new("protocol", ("cassette '%s', line %d: %s"):format(path, number, problem))
    end
    turns[number] = entry
  end
  return turns
end

--- Follows functions to what they return.
local function settle(entry, request)
  while type(entry) == "function" do entry = entry(request) end
  return entry
end

local function choose(model, request)
  local script = model._script
  local entry = settle(script.reply or model._turns[request.index], request)
  if entry == nil then entry = settle(script.otherwise, request) end
  if entry == nil then
    local what = script.reply and "`reply`" or ("turn %d"):format(request.index)
    local is_there = script.reply or model._turns[request.index] ~= nil
    error(is_there and what .. " returned nothing" or "the script has no " .. what, 0)
  end
  return answers.build(entry, request)
end

-- ---- Answering ---------------------------------------------------------------------------------

--- As plain text, because Codex shows the body of a 400 as it is.
local function send_error(raw, status, text)
  raw:respond(status, { ["content-type"] = "text/plain; charset=utf-8" })
  raw:write(text)
  raw:finish()
end

local function note(model, request, problem)
  local message = ("request %d: %s"):format(request.index, problem)
  table.insert(model.errors, message)
  if model._script.on_error then model._script.on_error(message) end
  return message
end

--- Sends an answer piece by piece; stops when the client has left.
local function play(raw, answer)
  if answer.delay > 0 then async.sleep(answer.delay) end
  local ok, name, text = raw:respond(answer.status, answer.headers)
  if not ok then
    if name ~= "ECLOSED" then return text end
    return
  end
  for _, piece in ipairs(answer.pieces) do
    if piece.is_delta and answer.delta_delay > 0 then async.sleep(answer.delta_delay) end
    if not raw:write(piece.data) then return end
  end
  if answer.ending == "finish" then raw:finish() end
  if answer.ending == "disconnect" then raw:abort() end
end

--- The end of a task is not a mistake of the script.
local function is_unwinding(err) return type(err) == "userdata" or E.is(err, "cancelled") end

local function answer(model, raw, request)
  local ok, result = pcall(choose, model, request)
  if not ok and is_unwinding(result) then error(result, 0) end
  local problem = not ok and tostring(result) or play(raw, result)
  if problem then send_error(raw, 400, "the scripted model, " .. note(model, request, problem)) end
end

local function serve(model, raw)
  local request = requests.read(raw)
  table.insert(model.requests, request)
  local for_model = request.path == "/v1/responses" and request.method == "POST"
  if for_model then
    model._count = model._count + 1
    request.index = model._count
  end
  if model._script.on_request then model._script.on_request(request) end
  if not for_model then
    -- 426 makes Codex give up WebSocket at once.
    local status = request.path == "/v1/responses" and request.method == "GET" and 426 or 404
    return send_error(raw, status, "the scripted model knows only POST /v1/responses")
  end
  local task
  task = async.spawn(function()
    local done <close> = setmetatable({}, { -- luacheck: ignore 211
      __close = function()
        if task then model._tasks[task] = nil end
      end,
    })
    answer(model, raw, request)
  end)
  if not task:is_done() then model._tasks[task] = true end
end

--- Starts a model.
---@param script codex.testing.Script
---@return codex.testing.Model?
---@return codex.Error? error of kind `io` (the port, the cassette) or `protocol` (the cassette)
function M.new(script)
  check(script)
  local turns, err = script.turns or {}, nil
  if script.cassette then turns, err = load_cassette(script.cassette) end
  if not turns then return nil, err end
  local model = setmetatable({
    requests = {}, errors = {}, _script = script, _turns = turns, _tasks = {}, _count = 0,
  }, Model)
  local host = script.host or "127.0.0.1"
  local server, name, text = httpd.listen({ host = host, port = script.port or 0 },
    function(raw) serve(model, raw) end)
  if not server then
    local message = ("cannot listen on %s port %d: %s"):format(host, script.port or 0, text)
    return nil, E.new("io", message, { code = name })
  end
  model._server, model.port = server, server:port()
  model.url = ("http://%s:%d/v1"):format(host:find ":" and "[" .. host .. "]" or host, model.port)
  return model
end

--- Drops every connection and stops. Idempotent.
function Model:close()
  local tasks = self._tasks
  self._tasks = {}
  for task in pairs(tasks) do task:cancel "the scripted model was closed" end
  self._server:close()
end

Model.__close = Model.close

return setmetatable(M, { __call = function(_, script) return M.new(script) end })
