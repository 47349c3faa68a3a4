--- What the app-server asks its client, answered: approvals and questions by policies, calls of our
--- tools by their functions. Every request gets an answer, and the answer of doubt is no.

local E = require "codex.error"
local approval = require "codex.approval"
local async = require "codex.async"
local host = require "codex.core.host"
local instances = require "codex.instance"
local json = require "codex.json"
local link = require "codex.link"
local options = require "codex.options"
local uv = require "luv"

local M = {}

-- ---- Who decides -------------------------------------------------------------------------------

local function audit_of(given)
  local audit = given.audit
  if audit == false then return nil end
  if type(audit) ~= "table" then audit = { path = type(audit) == "string" and audit or nil } end
  return require("codex.audit").open(audit.path, { required = audit.required })
end

--- Makes the decider of a client: its policies, or the user's own.
---@param instance table
---@param given { policies?: table[], policy_timeout?: number, audit?: boolean|string|table }
---@return table?
---@return codex.Error?
function M.decider(instance, given)
  local policy = require "codex.policy"
  local list = given.policies
  if not list then
    local failure
    list, failure = policy.load_folder(policy.folder())
    if not list then return nil, failure end
  end
  local audit, err = audit_of(given)
  if err then return nil, err end
  return policy.decider(list, {
    timeout = given.policy_timeout, audit = audit,
    log = function(level, message) instances.say(instance, level, "%s", message) end,
  })
end

-- ---- Tools -------------------------------------------------------------------------------------

---@class codex.Tool
---@field name string
---@field description string
---@field input? table JSON Schema of the arguments
---@field run fun(args: table, call: table): any text, a table (sent as JSON), { image = URL }, or
--- nil and an error; it may wait, and is cancelled when the turn is interrupted

local known_tool = options.set { "name", "description", "input", "run", "defer_loading" }

--- Checks tools; `wire` is the list for dynamicTools.
---@param where string
---@param tools codex.Tool[]
---@return { wire: table[], by_name: table<string, codex.Tool> }
function M.tools(where, tools)
  local wire, by_name = json.array {}, {}
  for i, tool in ipairs(tools) do
    local place = ("%s: tool %d"):format(where, i)
    options.check(place, tool, known_tool)
    if type(tool.name) ~= "string" then options.raise(place .. " has no name") end
    if type(tool.run) ~= "function" then options.raise(place .. " has no function `run`") end
    if by_name[tool.name] then options.raise(("%s: two tools '%s'"):format(where, tool.name)) end
    by_name[tool.name] = tool
    wire[i] = {
      type = "function", name = tool.name, description = tool.description or tool.name,
      inputSchema = tool.input or { type = "object", properties = json.object {} },
      deferLoading = tool.defer_loading,
    }
  end
  return { wire = wire, by_name = by_name }
end

local function content_item(value)
  if type(value) == "string" then return { type = "inputText", text = value } end
  if type(value) ~= "table" then return { type = "inputText", text = tostring(value) } end
  if value.type == "inputText" or value.type == "inputImage" or value.type == "inputAudio" then
    return value
  end
  if type(value.image) == "string" then return { type = "inputImage", imageUrl = value.image } end
  return { type = "inputText", text = json.encode(value, { repair = true }) }
end

local function tool_result(value, success)
  local items = json.array {}
  local first = type(value) == "table" and value[1]
  local is_content = type(first) == "table" and (first.type or first.image)
  for i, each in ipairs(is_content and value or { value }) do items[i] = content_item(each) end
  return { contentItems = items, success = success }
end

--- What a tool returned, as Codex wants it.
local function outcome_of(value, err)
  if value == nil and err ~= nil then return tool_result(tostring(err), false) end
  return tool_result(value == nil and "done" or value, true)
end

--- Calls what the user wrote: true and its values, or false and the error. The end of the task or
--- of the script is no failure and goes through.
local function protected(fn, ...)
  local values = table.pack(xpcall(fn, function(err)
    if E.is(err) or rawequal(err, host.exit) then return err end
    return debug.traceback(tostring(err), 2)
  end, ...))
  local err = values[2]
  if not values[1] and async.is_end(err) then error(err, 0) end
  return table.unpack(values, 1, values.n)
end

local function call_tool(client, params)
  local tool = (client._tools[params.threadId] or {})[params.tool]
  if not tool then return tool_result("there is no tool " .. tostring(params.tool), false) end
  local ok, result = protected(function()
    return outcome_of(tool.run(params.arguments, params))
  end)
  if ok then return result end
  instances.say(client._instance, "error", "tool %s failed: %s", tool.name, tostring(result))
  return tool_result(("the tool failed: %s"):format(tostring(result):match "^[^\n]*"), false)
end

-- ---- Answers -----------------------------------------------------------------------------------

--- A policy's word on what a person would be asked.
local function decide(client, request)
  local params = type(request.params) == "table" and request.params or {}
  local item = client._items:find(params)
  local question = approval.request(request.method, params, item)
  if not question then return false end
  question.client = client
  local result, record = client._decider:decide(question)
  if result ~= nil then return result end
  return nil, E.new("policy", record and record.why or "declined")
end

local handlers = {}

handlers["item/tool/call"] = call_tool

--- currentTimeAt is in seconds, as all times of the protocol that do not end in Ms.
handlers["currentTime/read"] = function() return { currentTimeAt = os.time() } end

handlers["account/chatgptAuthTokens/refresh"] = function(client, params)
  local refresh = client._given.auth_refresh
  if not refresh then return nil, E.new("auth", "nobody here renews ChatGPT tokens") end
  return refresh(params)
end

--- What a handler of the script answers to a question is a decision like a policy's.
local function handle(client, request, handler)
  local started = uv.hrtime()
  local result, err = handler(request.params)
  local params = type(request.params) == "table" and request.params or {}
  local question = approval.request(request.method, params, client._items:find(params))
  if not question then return result, err end
  local record = approval.decision(question,
    result and { result = result } or { error = { message = err and tostring(err) } })
  record.policy, record.seconds = "handler", (uv.hrtime() - started) / 1e9
  local counts, written = client._decider:write_down(question, result, record)
  if written == record then return result, err end
  return counts, E.new("policy", written.why)
end

--- result | false (the method is unknown) | nil, error
local function answer(client, request)
  local own, params = client._handlers[request.method], request.params
  if own then return handle(client, request, own) end
  local handler = handlers[request.method]
  if handler then return handler(client, type(params) == "table" and params or {}) end
  return decide(client, request)
end

local function reply(request, result, err)
  if result == false then
    return request:fail(link.codes.method_not_found, "unknown method: " .. request.method)
  end
  if result == nil then
    return request:fail(link.codes.internal_error, err and tostring(err) or "no answer")
  end
  return request:reply(result)
end

local function answer_and_reply(client, request)
  local result, err = answer(client, request)
  if request:is_answered() then
    return nil, "the answer came too late and is dropped"
  end
  local ok, why = reply(request, result, err)
  return ok, not ok and "the answer was not taken: " .. tostring(why) or nil
end

--- Answers one request; runs as a task.
---@async
---@param client codex.Client
---@param request codex.Request
function M.serve(client, request)
  local key = json.encode(request.id)
  local params = type(request.params) == "table" and request.params or {}
  local pending = { request = request, task = async.running(), thread_id = params.threadId }
  local function forget()
    if client._pending[key] == pending then client._pending[key] = nil end
  end
  local guard <close> = setmetatable({}, { __close = forget }) -- luacheck: ignore 211
  client._pending[key] = pending
  local ok, sent, why = protected(answer_and_reply, client, request)
  if not ok then
    request:fail(link.codes.internal_error, "the handler failed")
    instances.say(client._instance, "error", "%s: %s", request.method, tostring(sent))
  elseif not sent then
    instances.say(client._instance, "info", "%s: %s", request.method, why)
  end
end

-- ---- When nobody waits for the answer any more -------------------------------------------------

--- Whoever closes the client while he answers is not cancelled in the middle of that.
local function drop(client, key)
  local pending = client._pending[key]
  if not pending or pending.task == client._closer then return end
  client._pending[key] = nil
  pending.request:drop()
  instances.say(client._instance, "info", "%s: the question is over before it was answered",
    pending.request.method)
  pending.task:cancel "the question is over"
end

--- serverRequest/resolved: after our own answer it is no news.
---@param client codex.Client
---@param id any
function M.resolved(client, id)
  if id ~= nil then drop(client, json.encode(id)) end
end

--- The thread's turn has ended: what it asked is void.
---@param client codex.Client
---@param thread_id string
function M.turn_over(client, thread_id)
  for key, pending in pairs(client._pending) do
    if pending.thread_id == thread_id then drop(client, key) end
  end
end

--- The server is gone, or the client is closed.
---@param client codex.Client
function M.closed(client)
  for key in pairs(client._pending) do drop(client, key) end
end

return M
