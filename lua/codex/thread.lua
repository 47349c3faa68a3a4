--- Threads of an app-server: started, resumed or forked, and asked for turns.

local E = require "codex.error"
local json = require "codex.json"
local options = require "codex.options"
local tokens = require "codex.appserver.tokens"

local M = {}

--- Options of thread/start, thread/resume and thread/fork, in snake_case; on the wire they are
--- camelCase. Source: the schema of 0.169.0.
local common = [[approval_policy approvals_reviewer base_instructions config cwd
  developer_instructions model model_provider permissions runtime_workspace_roots sandbox
  service_tier]]
local own = {
  start = common .. [[ allow_provider_model_fallback daybreak_enabled environments ephemeral
    history_mode multi_agent_mode personality project_id selected_capability_roots service_name
    session_start_source thread_source]],
  resume = common .. " exclude_turns history initial_turns_page path personality",
  fork = common .. [[ attach_to_source before_turn_id defer_goal_continuation ephemeral
    exclude_turns last_turn_id path thread_source]],
}
local turn_options = [[additional_context approval_policy approvals_reviewer client_user_message_id
  collaboration_mode cwd cyber_access_program disabled_plugin_ids effort environments model
  multi_agent_mode output_schema permissions personality responsesapi_client_metadata
  runtime_workspace_roots sandbox_policy service_tier service_tier_for_turn summary turn_trigger]]

local function set(words, more)
  local names = {}
  for name in (words .. " " .. more):gmatch "%S+" do names[name] = true end
  return names
end

local known = {
  start = set(own.start, "tools params timeout"), resume = set(own.resume, "tools params timeout"),
  fork = set(own.fork, "tools params timeout"),
  turn = set(turn_options, "sandbox params timeout idle_timeout network_wait watch "
    .. "steer buffer"),
  review = set("", "delivery timeout idle_timeout network_wait watch buffer"),
}
M.wire = { start = own.start, resume = own.resume, fork = own.fork, turn = turn_options }

---@alias codex.SandboxMode "read-only"|"workspace-write"|"danger-full-access"

---@class codex.ThreadOptions
---@field cwd? string
---@field model? string
---@field sandbox? codex.SandboxMode
---@field approval_policy? "on-request"|"never"|table
---@field developer_instructions? string
---@field ephemeral? boolean nothing is kept on disk
---@field config? table settings for this thread
---@field tools? codex.Tool[] functions of ours that the model may call
---@field params? table more, as Codex spells it
---@field timeout? number seconds for the request

---@class codex.Thread
---@field id string
---@field client codex.Client
---@field info table the thread as Codex described it last
---@field settings table what it runs with: model, cwd, approvalPolicy, sandbox ...
---@field usage? table the last thread/tokenUsage/updated: total, last, modelContextWindow
local Thread = {}
Thread.__name = "codex.thread"

--- 0.87 has it not.
local HAS_STEER = { since = "0.101.0" }

local function explain(...) return require("codex.helper").explain(...) end

local function copy(list) return table.move(list, 1, #list, 1, {}) end

local function camel(name) return (name:gsub("_(%l)", string.upper)) end

--- The params that options stand for: those of ours are left out.
local function params_of(given, words, params)
  for name in words:gmatch "%S+" do
    if given[name] ~= nil then params[camel(name)] = given[name] end
  end
  for name, value in pairs(given.params or {}) do params[name] = value end
  return params
end

-- ---- Opening -----------------------------------------------------------------------------------

--- What a server that was started anew must be told again: it would fall back on its own settings.
local function settings_in(params)
  local kept = {}
  for name in common:gmatch "%S+" do kept[camel(name)] = params[camel(name)] end
  return kept
end

--- Sends the request and makes a thread of the answer.
local function fetch(client, method, params, timeout)
  local answer, err = client:request(method, params, { timeout = timeout })
  if err then return nil, err end
  local info = type(answer) == "table" and answer.thread
  if type(info) ~= "table" or type(info.id) ~= "string" then
    return nil, E.new("protocol", ("%s was answered without a thread"):format(method))
  end
  local thread = client._threads[info.id]
    or setmetatable({ id = info.id, client = client }, Thread)
  thread.info, thread.settings = info, answer
  thread._generation, thread._again = client._generation, settings_in(params)
  thread._total = tokens.at_first(method:match "%a+$", info, client.version) or thread._total
  answer.thread = nil
  client._threads[info.id] = thread
  return thread
end

--- The first version that was seen to call tools; 0.101.0 and 0.104.0 ignore them.
local HAS_TOOLS = "0.106.0"

--- Why this server cannot call our tools; nil where it can, or does not say which it is.
local function without_tools(client)
  local semver = require "codex.semver"
  local version = semver.parse(client.version)
  if not version or semver.compare(version, HAS_TOOLS) >= 0 then return nil end
  return E.new("unsupported", ("Codex %s has no tools of its client; Codex %s has them")
    :format(client.version, HAS_TOOLS), { code = "tools" })
end

local function open(client, how, id, given)
  local where = how == "start" and "client:thread" or "client:" .. how
  given = options.check(where, given, known[how])
  options.typed(where, given, "tools", "table")
  options.typed(where, given, "params", "table")
  options.typed(where, given, "cwd", "string")
  local params = params_of(given, own[how], { threadId = id })
  if how ~= "fork" and params.cwd == nil then params.cwd = client._given.cwd end
  if params.cwd and params.cwd:sub(1, 1) ~= "/" then
    params.cwd = require("luv").fs_realpath(params.cwd) or params.cwd
  end
  local tools = given.tools and require("codex.inquiry").tools(where, given.tools)
  if tools and how == "start" then params.dynamicTools = tools.wire end
  local thread, err = nil, tools and without_tools(client)
  if not err then thread, err = fetch(client, "thread/" .. how, params, given.timeout) end
  if not thread then return nil, err end
  if tools then client._tools[thread.id] = tools.by_name end
  return thread
end

function M.start(client, given) return open(client, "start", nil, given) end

local function check_id(where, id)
  if type(id) ~= "string" then options.raise(where .. ": the thread's id must be a string") end
end

function M.resume(client, id, given)
  check_id("client:resume", id)
  return open(client, "resume", id, given)
end

function M.fork(client, id, given)
  check_id("client:fork", id)
  return open(client, "fork", id, given)
end

--- After the server was started anew, it has to read the thread first.
local function ensure_loaded(thread)
  local client = thread.client
  if client._link:gone() then
    local ok, err = client:ping() -- starts it, where that is allowed
    if not ok then return nil, err end
  end
  if thread._generation == client._generation then return true end
  local params = { threadId = thread.id }
  for name, value in pairs(thread._again) do params[name] = value end
  local again, err = fetch(client, "thread/resume", params)
  if not again then return nil, err end
  return true
end

-- ---- Turns -------------------------------------------------------------------------------------

--- One piece of what the user says, as Codex wants it.
local function input_item(where, piece)
  if type(piece) == "string" then return { type = "text", text = piece } end
  if type(piece) ~= "table" then
    options.raise(("%s: input must be text or a table, got %s"):format(where, type(piece)))
  end
  if piece.type then return piece end
  local image = options.typed(where, piece, "image", "string")
  if image and (image:find "^https?://" or image:find "^data:") then
    return { type = "image", url = image }
  end
  if image then
    return { type = "localImage", path = require("luv").fs_realpath(image) or image }
  end
  if piece.text then return { type = "text", text = piece.text } end
  if piece.skill then return { type = "skill", name = piece.skill, path = piece.path } end
  if piece.mention then return { type = "mention", name = piece.mention, path = piece.path } end
  options.raise(where .. ": input has text, image, skill or mention, or Codex's own `type`")
end

local function input_of(where, prompt)
  local is_list = type(prompt) == "table" and prompt[1] ~= nil
  local list = json.array {}
  for i, piece in ipairs(is_list and prompt or { prompt }) do list[i] = input_item(where, piece) end
  if #list == 0 then options.raise(where .. ": there is nothing to say") end
  return list
end

local sandbox_types = {
  ["read-only"] = "readOnly", ["workspace-write"] = "workspaceWrite",
  ["danger-full-access"] = "dangerFullAccess",
}

local function turn_params(where, thread, prompt, given)
  local params = params_of(given, turn_options, { threadId = thread.id })
  params.input = input_of(where, prompt)
  if given.sandbox then
    local kind = sandbox_types[given.sandbox]
    if not kind then
      options.raise(("%s: there is no sandbox '%s'"):format(where, tostring(given.sandbox)))
    end
    params.sandboxPolicy = { type = kind }
  end
  return params
end

--- The turn that runs now, as far as we know.
---@return codex.TurnStream?
function Thread:running()
  for _, turn in ipairs(self.client._turns[self.id] or {}) do
    if not turn._over then return turn end
  end
end

--- Before a turn can be asked for: turns that were given up have left, and the server knows the
--- thread.
local function prepare(thread)
  for _, turn in ipairs(copy(thread.client._turns[thread.id] or {})) do
    if turn._over then turn:wait_left() end
  end
  return ensure_loaded(thread)
end

--- Checks what every turn has.
local function check_turn(where, given, names)
  given = options.check(where, given, names)
  for _, name in ipairs { "timeout", "idle_timeout", "network_wait", "watch" } do
    options.milliseconds(where, given, name)
  end
  local buffer = options.typed(where, given, "buffer", "number")
  if buffer and buffer < 1 then
    options.raise(("%s: option 'buffer' must be at least 1"):format(where))
  end
  return given
end

--- The turn that runs, once its id is known.
local function running_turn(thread)
  local running = thread:running()
  while running and not running.id do
    running:wait_id()
    running = thread:running()
  end
  return running
end

local function start_turn(thread, where, prompt, given, keep)
  given = check_turn(where, given, known.turn)
  local params = turn_params(where, thread, prompt, given)
  local running = thread:running()
  if running and given.steer then running = running_turn(thread) end
  if running and not given.steer then
    options.raise(("%s: thread %s is busy with a turn; wait for it, or say steer = true")
      :format(where, thread.id))
  end
  local method = "turn/start"
  if running then
    method = "turn/steer"
    params = { threadId = thread.id, expectedTurnId = running.id, input = params.input }
  end
  return require("codex.turn").open(thread, {
    method = method, params = params, given = given, keep = keep,
    prepare = function() return prepare(thread) end,
  })
end

---@class codex.TurnOptions
---@field model? string
---@field effort? string
---@field sandbox? codex.SandboxMode
---@field approval_policy? "on-request"|"never"|table
---@field output_schema? table the answer is JSON of this schema; the result has it as `output`
---@field cwd? string
---@field steer? boolean say it to the turn that runs, if one does
---@field timeout? number seconds for the whole turn; 0 or nil: any
---@field idle_timeout? number seconds without any event, while nobody is asked anything
---@field network_wait? number seconds to wait for a network that is not there (60); 0: any
---@field watch? number seconds of silence after which the thread is looked at (30); 0: never
---@field buffer? integer events that may wait for the loop (20000)
---@field params? table more, as Codex spells it

---@alias codex.Input string|table|(string|table)[] text, { image = path or URL },
--- { skill =, path = }, { mention =, path = }, or Codex's own items

--- Starts a turn and iterates over its events, and no other's; see codex.turn. Leaving the loop
--- before its end interrupts the turn. A thread that is busy is an error unless `steer` is set.
---
---     for event in thread:run "explain this repository" do
---       if event.delta then io.write(event.delta) end
---     end
---@async
---@param prompt codex.Input
---@param opts? codex.TurnOptions
---@return codex.TurnStream
function Thread:run(prompt, opts)
  local stream = start_turn(self, "thread:run", prompt, opts, false)
  return stream, nil, nil, stream
end

--- Runs a turn to its end.
---@async
---@param prompt codex.Input
---@param opts? codex.TurnOptions
---@return codex.TurnResult?
---@return codex.Error?
function Thread:ask(prompt, opts)
  local stream <close> = start_turn(self, "thread:ask", prompt, opts, true)
  return stream:result()
end

--- Says something to the turn that runs.
---@async
---@param prompt codex.Input
---@return true?
---@return codex.Error? error of kind `rpc` when no turn runs, `unsupported` where Codex has no such
--- method
function Thread:steer(prompt)
  local running = running_turn(self)
  if not running then
    return nil, E.new("rpc", ("thread %s has no turn to steer"):format(self.id), { code = "idle" })
  end
  local answer, err = self.client:request("turn/steer", {
    threadId = self.id, expectedTurnId = running.id, input = input_of("thread:steer", prompt),
  })
  if not answer then return nil, explain("thread:steer", "turn/steer", err, HAS_STEER) end
  return true
end

--- Interrupts the turn that runs. Its end comes to whoever iterates over it.
---@async
---@return true?
---@return codex.Error?
function Thread:interrupt()
  local running = running_turn(self)
  if not running then
    local text = ("thread %s has no turn to interrupt"):format(self.id)
    return nil, E.new("rpc", text, { code = "idle" })
  end
  return running:interrupt()
end

local function review_target(target)
  if target == nil or target == "uncommitted" then return { type = "uncommittedChanges" } end
  if type(target) == "table" then
    if target.type then return target end
    if target.base then return { type = "baseBranch", branch = target.base } end
    if target.commit then
      return { type = "commit", sha = target.commit, title = target.title }
    end
    if target.instructions then
      return { type = "custom", instructions = target.instructions }
    end
  end
  options.raise("thread:review: the target is 'uncommitted', or a table with base, commit or "
    .. "instructions")
end

--- Has changes reviewed, as a turn of this thread.
---@async
---@param target? "uncommitted"|table { base = branch }, { commit = sha, title = },
--- { instructions = }
---@param opts? { timeout?: number, idle_timeout?: number, network_wait?: number, delivery?: string,
--- buffer?: integer }
---@return codex.TurnStream
function Thread:review(target, opts)
  local given = check_turn("thread:review", opts, known.review)
  local stream = require("codex.turn").open(self, {
    method = "review/start", given = given,
    params = { threadId = self.id, target = review_target(target), delivery = given.delivery },
    prepare = function() return prepare(self) end,
  })
  return stream, nil, nil, stream
end

local complete = false

--- The typed helpers are read in when the first one is used.
function Thread.__index(thread, name)
  local value = rawget(Thread, name)
  if value ~= nil or type(name) ~= "string" or name:sub(1, 1) == "_" then return value end
  if not complete then
    complete = true
    require("codex.methods").install(Thread, "thread")
    value = rawget(Thread, name)
  end
  if value == nil and name == "queue" then
    value = require("codex.methods").part(thread, "queue")
    rawset(thread, name, value)
  end
  return value
end

return M
