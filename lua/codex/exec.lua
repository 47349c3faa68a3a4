--- `codex exec`: one turn, as a stream of events or as a result.
---
--- The prompt goes through standard input, which is always closed after it: never argv, where `ps`
--- shows it and the kernel limits it. What Codex does unexpectedly is handled here once: usage that
--- counts the whole thread, a resumed name that silently becomes a new thread, a network that is
--- waited for for ever, an answer file that is emptied at the start.

local E = require "codex.error"
local async = require "codex.async"
local command = require "codex.command"
local events = require "codex.events"
local files = require "codex.files"
local instances = require "codex.instance"
local json = require "codex.json"
local log = require "codex.log"
local options = require "codex.options"
local proc = require "codex.proc"
local sessions = require "codex.sessions"

local M = {}

local NETWORK_WAIT = 60 -- seconds

--- Options beside the flags and those of every run.
local own_options = { "network_wait", "retry", "tee" }

---@class codex.Turn
---@field thread_id string
---@field final_message? string the final answer where Codex marks it, else the last agent message
---@field output? any the final message decoded, when a schema was given
---@field items? codex.Item[] completed ones in order; a stream keeps none
---@field usage? codex.Usage of this turn; nil where the thread's earlier use is not known
---@field thread_usage? codex.Usage of the whole thread so far, as Codex reports it
---@field events? codex.Event[] all of them (codex.exec and its like; a stream keeps none)
---@field exit_code integer
---@field stderr string
---@field duration number seconds

---@class codex.Stream
---@field thread_id? string once known
local Stream = {}
Stream.__index = Stream
Stream.__name = "codex.stream"

-- ---- Preparing ---------------------------------------------------------------------------------

--- Paths are relative to our folder; Codex may run in another.
local function absolute(path)
  if type(path) == "table" then
    local list = {}
    for i, each in ipairs(path) do list[i] = absolute(each) end
    return list
  end
  if type(path) ~= "string" or path:sub(1, 1) == "/" then return path end
  return require("luv").cwd() .. "/" .. path
end

--- Options as flags want them: a schema table becomes a file, the answer's file a neighbour of it.
local function materialise(stream, given)
  local flags = {}
  for name, value in pairs(given) do flags[name] = value end
  flags.json, flags.color = true, "never"
  flags.images, flags.image = absolute(given.images or given.image), nil
  if type(given.output_schema) == "table" then
    local file, err = files.temporary(json.encode(given.output_schema))
    if not file then return nil, err end
    stream._schema_file = file
    flags.output_schema = file.path
  else
    flags.output_schema = absolute(given.output_schema)
  end
  if given.output_last_message then
    local file, err = files.temporary("", absolute(given.output_last_message))
    if not file then return nil, err end
    stream._answer_file = file
    flags.output_last_message = file.path
  end
  return flags
end

--- Opens the file that mirrors the raw lines.
local function open_tee(path)
  local file, message = io.open(path, "a")
  if not file then return nil, E.new("io", "cannot write " .. message) end
  file:setvbuf "line"
  return file
end

--- The thread that is meant by an id or a name. Codex itself would begin a new thread for a name
--- that it does not know.
local function resolve_thread(instance, target)
  if target == nil or sessions.is_id(target) then return target end
  local id = sessions.id_of(instances.home(instance), target)
  if id then return id end
  local message = ("there is no thread named '%s'"):format(target)
  return nil, E.new("exit", message, { code = "unknown_session" })
end

--- The usage that a thread had before this turn, so that the turn's own is the difference.
local function usage_before(instance, id)
  if not id then return nil end
  local recorded = sessions.usage(instances.home(instance), id) -- others may have gone on with it
  return recorded or (instance._usage and instance._usage[id])
end

local function start(stream, argv)
  local instance, given = stream._instance, stream._given
  local proc_options = command.proc_options(instance, given, argv[1])
  proc_options.input = stream._prompt or ""
  if given.dry_run then
    return { plan = command.plan(instance, argv, proc_options.env, stream._prompt) }
  end
  local path = given.tee or instance._settings.tee
  if path then
    local tee, err = open_tee(path)
    if not tee then return nil, err end
    stream._tee = tee
  end
  return proc.spawn(argv, proc_options)
end

--- Everything that may fail before Codex runs.
local function prepare(stream)
  local instance = stream._instance
  local target, err = resolve_thread(instance, stream._target)
  if err then return nil, err end
  local flags
  flags, err = materialise(stream, stream._given)
  if not flags then return nil, err end
  local argv
  argv, err = command.argv(instance, stream._command, flags)
  if not argv then return nil, err end
  if target then
    stream._expected = stream._command == "exec resume" and target or nil
    stream._before = usage_before(instance, target)
    table.insert(argv, target)
  end
  if stream._prompt then table.insert(argv, "-") end
  return start(stream, argv)
end

local function open(instance, name, spec)
  local stream = setmetatable({
    _instance = instance, _command = spec.command, _target = spec.target, _prompt = spec.prompt,
    _given = spec.given, _name = name, _started = require("luv").hrtime(),
  }, Stream)
  local child, err = prepare(stream)
  if child and child.plan then
    stream:_clean()
    return child.plan
  end
  stream._proc = child
  if err then stream:_fail(err) end
  return stream
end

-- ---- Reading -----------------------------------------------------------------------------------

--- Codex waits for ever for a network that is not there: from the first such notice on, something
--- else must happen within `network_wait` seconds.
function Stream:_watch_network(event)
  if not events.is_unbounded_retry(event) then
    if self._network_timer then self._network_timer:close() end
    self._network_timer = nil
    return
  end
  if self._network_timer then return end
  local wait = self._given.network_wait or self._instance._settings.network_wait or NETWORK_WAIT
  local uv = require "luv"
  self._network_timer = uv.new_timer()
  self._network_timer:start(math.ceil(wait * 1000), 0, function()
    local message = ("Codex waited %g seconds for the network: %s"):format(wait, event.message)
    self._network_error = E.new("timeout", message, { code = "network" })
    self._proc:request_stop()
  end)
end

local absorb = {}

absorb["thread.started"] = function(stream, event)
  stream.thread_id = event.thread_id
  local expected = stream._expected
  if expected and event.thread_id ~= expected then
    return E.new("exit", ("thread %s does not exist; Codex began a new one"):format(expected),
      { code = "unknown_session", data = { thread_id = event.thread_id } })
  end
end

absorb["item.completed"] = function(stream, event)
  local item = event.item
  if type(item) ~= "table" then return end
  if stream._items then table.insert(stream._items, item) end
  if item.type ~= "agent_message" or type(item.text) ~= "string" then return end
  if item.phase == "final_answer" or not stream._final_phase then
    stream._final_message = item.text
    stream._final_phase = item.phase == "final_answer"
  end
end

absorb["turn.completed"] = function(stream, event)
  stream._completed = true
  stream._thread_usage = type(event.usage) == "table" and event.usage or nil
end

absorb["turn.failed"] = function(stream, event)
  local err = type(event.error) == "table" and event.error.message
  stream._failed_message = type(err) == "string" and err or "the turn failed"
end

absorb["error"] = function(stream, event)
  if type(event.message) == "string" then stream._last_notice = event.message end
end

--- The next event, or nil at the end. When the run fails, the last event is
--- `{ type = "failure", error = err }`.
---@async
---@return codex.Event?
function Stream:next()
  if self._over then return nil end
  if self._error then return self:_end_with_failure() end
  local line, err = self._proc:line()
  if line then
    if self._tee then self._tee:write(line, "\n") end
    local event = events.decode(line)
    self:_watch_network(event)
    local handler = absorb[event.type]
    err = handler and handler(self, event)
    if err then self:_abort(err) end
    return event
  end
  if err then
    self:_abort(err)
  else
    self:_finish()
  end
  if self._error then return self:_end_with_failure() end
  self._over = true
end

Stream.__call = Stream.next

function Stream:_end_with_failure()
  self._over = true
  self:_clean()
  return { type = "failure", error = self._error, synthetic = true }
end

--- Ends the child for a reason of ours.
function Stream:_abort(err)
  self._proc:stop()
  self:_fail(err)
end

function Stream:_fail(err)
  err.data = err.data or {}
  err.data.items, err.data.thread_id = self._items, self.thread_id or err.data.thread_id
  self._error = err
  instances.say(self._instance, "debug", "%s: %s", self._name, tostring(err))
end

-- ---- Ending ------------------------------------------------------------------------------------

local function difference(now, before)
  local own = {}
  for name, value in pairs(now) do
    own[name] = math.type(value) == "integer" and value - (before[name] or 0) or value
  end
  return own
end

--- Why the run failed, from its events first and its standard error second; nil when it did not.
function Stream:_failure(status, stderr)
  if self._network_error then return self._network_error end
  local err = proc.ended(status, self._name)
  if err then return err end
  local message = self._failed_message
  if message then
    local class = events.classify(message) or { kind = "exit", code = "turn_failed" }
    local data = { retry_after = class.retry_after }
    return E.new(class.kind, message, { code = class.code, data = data })
  end
  if self._completed and status.code == 0 then return nil end
  if status.code ~= 0 then
    return command.exit_error(self._name, status.code, status.signal, stderr)
  end
  if self._command == "exec fork" and not self._prompt and self.thread_id then return nil end
  local text = self._name .. " ended without saying how the turn ended"
  return E.new("protocol", text, { code = "no_final_event" })
end

local warned_of_tmpdir = false

function Stream:_warn_about(stderr)
  local _, under_tmpdir = events.clean_stderr(stderr)
  if under_tmpdir and not warned_of_tmpdir then
    warned_of_tmpdir = true
    instances.say(self._instance, "info",
      "CODEX_HOME is under the temporary folder; Codex then offers no apply_patch to commands")
  end
end

function Stream:_finish()
  local status, stderr = self._proc:wait(), self._proc:stderr()
  self:_warn_about(stderr)
  local err = self:_failure(status, stderr)
  self._exit_code = status.code
  self._stderr = stderr
  if err then
    err.stderr = err.stderr or log.redact((events.clean_stderr(stderr)))
    self:_fail(err)
    return
  end
  self:_settle_usage()
  if self._answer_file then
    local path = self._given.output_last_message
    local ok, message = require("luv").fs_rename(self._answer_file.path, path)
    if ok then
      self._answer_file.path = nil
    else
      self:_fail(E.new("io", ("cannot write '%s': %s"):format(path, message)))
    end
  end
  if self._given.output_schema and not self._error then self:_decode_output() end
  self:_clean()
end

function Stream:_settle_usage()
  local total = self._thread_usage
  if not total then return end
  local instance = self._instance
  if not self._target and not self._given.last then
    self._usage = total
  elseif self._before then
    self._usage = difference(total, self._before)
  end
  if self._command == "exec review" then return end -- it counts nothing
  instance._usage = instance._usage or {}
  instance._usage[self.thread_id] = total
end

function Stream:_decode_output()
  local value, message = json.decode(self._final_message or "")
  if value == nil then
    local data = { final_message = self._final_message }
    local text = "the answer is not JSON, though a schema was given: " .. message
    self:_fail(E.new("protocol", text, { code = "output", data = data }))
  end
  self._output = value
end

--- Frees what the run used beside the child.
function Stream:_clean()
  if self._network_timer then self._network_timer:close() end
  if self._schema_file then self._schema_file:close() end
  if self._answer_file then self._answer_file:close() end
  if self._tee then self._tee:close() end
  self._network_timer, self._schema_file, self._answer_file, self._tee = nil, nil, nil, nil
end

--- What the turn came to, after the last event; before that, reads on to it.
---@async
---@return codex.Turn?
---@return codex.Error?
function Stream:result()
  while not self._over do self:next() end
  if self._error then return nil, self._error end
  return {
    thread_id = self.thread_id, final_message = self._final_message, output = self._output,
    items = self._items, usage = self._usage, thread_usage = self._thread_usage,
    exit_code = self._exit_code, stderr = self._stderr,
    duration = (require("luv").hrtime() - self._started) / 1e9,
  }
end

--- Ends Codex, if it still runs, and waits for that. Idempotent.
---@async
function Stream:close()
  if not self._over then
    self._over = true
    self._error = self._error or E.new("closed", "the stream was closed before its end")
  end
  if self._proc then self._proc:close() end
  self:_clean()
end

Stream.__close = Stream.close

-- ---- Functions ---------------------------------------------------------------------------------

--- Whether a failed run may be repeated: no fault of its own, and nothing was done yet.
local function may_retry(err)
  for _, item in ipairs(err.data and err.data.items or {}) do
    if item.type ~= "error" and item.type ~= "reasoning" then return false end
  end
  return err.kind == "rate_limit" and err.code ~= "quota"
    or err.code == "network" or err.code == "server"
end

---@class codex.Retry
---@field attempts? integer how often it is tried in all (3)
---@field delay? number seconds before the second try, doubled for each further one (1)
---@field max_delay? number a longer wait than this, also when Codex names it, is a failure (60)

local function retry_settings(instance, given)
  local retry = given.retry or instance._settings.retry
  if not retry then return { attempts = 1 } end
  if math.type(retry) == "integer" then retry = { attempts = retry } end
  options.check("retry", retry, { attempts = true, delay = true, max_delay = true })
  return {
    attempts = retry.attempts or 3, delay = retry.delay or 1, max_delay = retry.max_delay or 60,
  }
end

local function collect(stream)
  local guard <close> = stream -- luacheck: ignore 211
  local list = {}
  stream._items = {}
  for event in stream do list[#list + 1] = event end
  local turn, err = stream:result()
  if turn then
    turn.events = list
  else
    err.data.events = list
  end
  return turn, err
end

--- Runs to the end, and again where that may help.
local function complete(instance, name, spec)
  local retry = retry_settings(instance, spec.given)
  local attempt = 1
  while true do
    local stream = open(instance, name, spec)
    if getmetatable(stream) ~= Stream then return stream end
    local turn, err = collect(stream)
    if turn or attempt >= retry.attempts or not may_retry(err) then return turn, err end
    local pause = err.data.retry_after or retry.delay * 2 ^ (attempt - 1)
    if pause > retry.max_delay then return turn, err end
    instances.say(instance, "warn", "%s: %s; trying again in %g s", name, err.message, pause)
    async.sleep(pause)
    attempt = attempt + 1
  end
end

local function check(name, which, prompt, opts, prompt_needed)
  local known = command.known(which, own_options)
  known.input = nil -- that is the prompt
  known.prompt = which == "exec review" or nil
  known.retry = name ~= "codex.stream" or nil
  local given = options.check(name, opts, known)
  if prompt ~= nil and type(prompt) ~= "string" then
    options.raise(("%s: the prompt must be a string, got %s"):format(name, type(prompt)))
  end
  if prompt_needed and (prompt == nil or prompt == "") then
    options.raise(name .. ": the prompt is missing")
  end
  options.typed(name, given, "output_schema", "table", "string")
  options.typed(name, given, "network_wait", "number")
  options.typed(name, given, "retry", "table", "number")
  options.typed(name, given, "args", "table")
  return given
end

--- Every flag of `codex exec` in snake_case (codex.flags has the list), and:
---@class codex.ExecOptions
---@field output_schema? table|string a JSON schema, or the path of one
---@field output_last_message? string a file for the answer; it keeps its content when the run fails
---@field config? table<string, any> nested tables become `-c` overrides
---@field timeout? number seconds for the run
---@field idle_timeout? number seconds without any event
---@field network_wait? number seconds that Codex may wait for a network that is not there (60)
---@field retry? codex.Retry|integer not for streams
---@field env? table<string, string|false>
---@field tee? string a file to which the raw lines are appended
---@field args? string[] more arguments, as they are
---@field dry_run? boolean return the arguments instead of running

--- Runs one turn and waits for its result.
---@async
---@param prompt string
---@param opts? codex.ExecOptions
---@return codex.Turn?
---@return codex.Error? what was done before is in `data.items` and `data.events`
function M.exec(instance, prompt, opts)
  local given = check("codex.exec", "exec", prompt, opts, true)
  return complete(instance, "codex exec", { command = "exec", prompt = prompt, given = given })
end

local function thread_of(name, target, given)
  if type(target) == "table" then target = target.thread_id end
  if target == nil and given.last then return nil end
  if type(target) ~= "string" or target == "" or target:sub(1, 1) == "-" then
    options.raise(name .. ": the thread must be an id, a name, or a turn")
  end
  return target
end

--- Runs one turn as a stream of events, for a generic for. Leaving the loop in any way ends Codex.
--- `stream:result()` gives the turn afterwards.
---@async
---@param prompt string
---@param opts? table as for codex.exec; `resume` or `fork` name a thread to go on with
---@return codex.Stream
function M.stream(instance, prompt, opts)
  local target, which = nil, "exec"
  local rest = {}
  for name, value in pairs(opts or {}) do rest[name] = value end
  if rest.resume or rest.fork then
    which = rest.resume and "exec resume" or "exec fork"
    target, rest.resume, rest.fork = rest.resume or rest.fork, nil, nil
    target = thread_of("codex.stream", target, rest)
  end
  local given = check("codex.stream", which, prompt, opts and rest, which ~= "exec fork")
  local spec = { command = which, target = target, prompt = prompt, given = given }
  local stream = open(instance, "codex exec", spec)
  return stream, nil, nil, stream
end

--- Goes on with a thread.
---@async
---@param thread string|codex.Turn|nil its id or name, or a turn of it; nil with `last = true`
---@param prompt string
---@param opts? codex.ExecOptions with the flags of `codex exec resume`
---@return codex.Turn?
---@return codex.Error? code `unknown_session` when there is no such thread
function M.resume(instance, thread, prompt, opts)
  local given = check("codex.resume", "exec resume", prompt, opts, true)
  local target = thread_of("codex.resume", thread, given)
  return complete(instance, "codex exec resume",
    { command = "exec resume", target = target, prompt = prompt, given = given })
end

--- Copies a thread and goes on with the copy; without a prompt only copies it.
---@async
---@param thread string|codex.Turn
---@param prompt? string
---@param opts? table flags of `codex exec fork`, and what codex.exec takes
---@return codex.Turn?
---@return codex.Error?
function M.fork(instance, thread, prompt, opts)
  local given = check("codex.fork", "exec fork", prompt, opts)
  local target = thread_of("codex.fork", thread, given)
  return complete(instance, "codex exec fork",
    { command = "exec fork", target = target, prompt = prompt, given = given })
end

--- Has Codex review changes: `uncommitted = true`, `base = branch`, `commit = sha`, or what
--- `prompt` asks for. The findings are text, in `final_message`; no tokens are counted for it.
---@async
---@param opts table flags of `codex exec review`, and what codex.exec takes
---@return codex.Turn?
---@return codex.Error?
function M.review(instance, opts)
  local prompt = type(opts) == "table" and opts.prompt or nil
  local given = check("codex.review", "exec review", prompt, opts)
  if not (given.uncommitted or given.base or given.commit or prompt) then
    options.raise("codex.review: one of 'uncommitted', 'base', 'commit' and 'prompt' is needed")
  end
  return complete(instance, "codex exec review",
    { command = "exec review", prompt = prompt, given = given })
end

return M
