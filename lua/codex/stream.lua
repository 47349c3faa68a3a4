--- A run of `codex exec` as a stream of events: prepared, read, ended.
---
--- The prompt goes through standard input, which is always closed after it: never argv, where `ps`
--- shows it and the kernel limits it. What Codex does unexpectedly is handled here once: usage that
--- counts the whole thread, a resumed name that silently becomes a new thread, a network that is
--- waited for for ever, an answer file that is emptied at the start.

local E = require "codex.error"
local command = require "codex.command"
local events = require "codex.events"
local files = require "codex.files"
local instances = require "codex.instance"
local json = require "codex.json"
local log = require "codex.log"
local proc = require "codex.proc"
local sessions = require "codex.sessions"

local M = {}

local NETWORK_WAIT = 60 -- seconds

---@class codex.Turn
---@field thread_id string
---@field final_message? string the final answer where Codex marks it, else the last agent message
---@field output? any the final message decoded, when a schema was given
---@field items? codex.Item[] completed ones in order; a stream keeps none
---@field unfinished codex.Item[] started and not completed, as a command that still ran at the end
---@field usage? codex.Usage of this turn; nil where the thread's earlier use is not known
---@field thread_usage? codex.Usage of the whole thread so far, as Codex reports it
---@field events? codex.Event[] all of them (codex.exec and its like; a stream keeps none)
---@field exit_code integer
---@field stderr string
---@field duration number seconds

---@class codex.Stream
---@field thread_id? string once known
local Stream = {}
Stream.__index = require("codex.base.class").methods(Stream)
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
    local file, err = files.temporary(json.encode(given.output_schema, { unicode = true }))
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

--- Opens the file that mirrors the raw lines, for the user alone: it holds what was said.
local function open_tee(path)
  local uv = require "luv"
  local fd, message, name = uv.fs_open(path, "a", tonumber("600", 8))
  if not fd then
    return nil, E.new("io", ("cannot write '%s': %s"):format(path, message), { code = name })
  end
  return {
    write = function(line) return uv.fs_write(fd, line .. "\n") end,
    close = function() uv.fs_close(fd) end,
  }
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
  argv, err, stream._version = command.argv(instance, stream._command, flags)
  if not argv then return nil, err end
  if target then
    stream._expected = stream._command == "exec resume" and target or nil
    stream._before = usage_before(instance, target)
    table.insert(argv, target)
  end
  if stream._prompt then table.insert(argv, "-") end
  return start(stream, argv)
end

---@class codex.StreamSpec
---@field command "exec"|"exec resume"|"exec fork"|"exec review"
---@field prompt? string
---@field target? string the thread's id or name
---@field given table checked options

--- Starts a run. A failure to start is the stream's first and last event.
---@async
---@param instance table
---@param name string for messages
---@param spec codex.StreamSpec
---@return codex.Stream|table stream or, with `dry_run`, what would be run
function M.open(instance, name, spec)
  local stream = setmetatable({
    _instance = instance, _command = spec.command, _target = spec.target, _prompt = spec.prompt,
    _given = spec.given, _name = name, _started = require("luv").hrtime(), _open = {},
    _open_order = {},
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

--- A mirror that cannot be written is no reason to end the run; it is said once.
function Stream:_mirror(line)
  local ok, message = self._tee.write(line)
  if ok then return end
  local text = "%s: cannot write the mirror file: %s"
  instances.say(self._instance, "error", text, self._name, message)
  self._tee.close()
  self._tee = nil
end

local absorb = {}

absorb["thread.started"] = function(stream, event)
  if type(event.thread_id) ~= "string" then return end
  stream.thread_id = event.thread_id
  local expected = stream._expected
  if expected and event.thread_id ~= expected then
    return E.new("exit", ("thread %s does not exist; Codex began a new one"):format(expected),
      { code = "unknown_session", data = { thread_id = event.thread_id } })
  end
end

--- Also what was changed since: an item is seen as it was told last.
absorb["item.started"] = function(stream, event)
  local item = event.item
  if type(item) ~= "table" or type(item.id) ~= "string" then return end
  if not stream._open[item.id] then table.insert(stream._open_order, item.id) end
  stream._open[item.id] = item
end

absorb["item.updated"] = absorb["item.started"]

--- 0.101 and 0.107 say at the end of a turn that a command is completed, without an exit code, when
--- it runs on.
local function still_runs(item)
  return item.type == "command_execution" and item.status == "completed"
    and item.exit_code == json.null
end

local function forget(stream, id)
  if not stream._open[id] then return end
  stream._open[id] = nil
  for i, open in ipairs(stream._open_order) do
    if open == id then return table.remove(stream._open_order, i) end
  end
end

absorb["item.completed"] = function(stream, event)
  local item = event.item
  if type(item) ~= "table" then return end
  if type(item.id) == "string" and not still_runs(item) then forget(stream, item.id) end
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

--- The next event, or nil at the end. When the run fails, the last event is
--- `{ type = "failure", error = err }`.
---@async
---@return codex.Event?
function Stream:next()
  if self._over then return nil end
  if self._error then return self:_end_with_failure() end
  local line, err = self._proc:line()
  if line then
    if self._tee then self:_mirror(line) end
    local event = events.decode(line)
    if event.type == "error" or self._network_timer then self:_watch_network(event) end
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

--- Items that were started and not completed, in the order in which they were started.
function Stream:_unfinished()
  local list = {}
  for _, id in ipairs(self._open_order) do list[#list + 1] = self._open[id] end
  return list
end

--- Ends the child for a reason of ours.
function Stream:_abort(err)
  self._proc:stop()
  self:_fail(err)
end

function Stream:_fail(err)
  err.data = err.data or {}
  err.data.items, err.data.thread_id = self._items, self.thread_id or err.data.thread_id
  err.data.unfinished = self:_unfinished()
  self._error = err
  instances.say(self._instance, "debug", "%s: %s", self._name, tostring(err))
end

-- ---- Ending ------------------------------------------------------------------------------------

--- nil when a count went down: what was used before it is not known then.
local function difference(now, before)
  local own = {}
  for name, value in pairs(now) do
    local counted = math.type(value) == "integer"
    own[name] = counted and value - (math.tointeger(before[name]) or 0) or value
    if counted and own[name] < 0 then return nil end
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
    local class = events.classify(message, self._version)
      or { kind = "exit", code = "turn_failed" }
    local data = { retry_after = class.retry_after }
    return E.new(class.kind, message, { code = class.code, data = data })
  end
  if self._completed and (status.code == 0 or status.unknown) then return nil end
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
  if self._command == "exec review" or not self.thread_id then return end -- it counts nothing
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
  if self._tee then self._tee.close() end
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
    items = self._items, unfinished = self:_unfinished(), usage = self._usage,
    thread_usage = self._thread_usage, exit_code = self._exit_code, stderr = self._stderr,
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

---@param value any
---@return boolean
function M.is(value) return getmetatable(value) == Stream end

--- Keeps the completed items for the result, which a stream that is only read does without.
function Stream:keep_items() self._items = {} end

return M
