--- `codex exec` and its subcommands: one turn, as a result or as a stream.

local async = require "codex.async"
local command = require "codex.command"
local instances = require "codex.instance"
local options = require "codex.options"
local streams = require "codex.stream"

local M = {}

--- Options beside the flags and those of every run.
local own_options = { "network_wait", "retry", "tee" }

--- Whether a failed run may be repeated: no fault of its own, and nothing was done yet.
local function may_retry(err)
  local data = err.data or {}
  if data.unfinished and data.unfinished[1] then return false end
  for _, item in ipairs(data.items or {}) do
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
  stream:keep_items()
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
    local stream = streams.open(instance, name, spec)
    if not streams.is(stream) then return stream end
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

---@class codex.ExecOptions: codex.ExecFlags
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
  local stream = streams.open(instance, "codex exec", spec)
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
