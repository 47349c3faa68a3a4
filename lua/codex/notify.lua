--- What Codex says when a turn is complete, and who is told of it: hooks in Lua, scripts that
--- listen, and a program that was there before us.
---
--- Codex starts its notify program with the payload as the last argument, without a terminal, and
--- may be gone before it ends. Codex 0.128 and later has Stop hooks as well, which give the payload
--- on standard input, where it may have any size: an argument of more than 128 KiB never arrives.
--- Both routes make the same event, and a turn that comes by both is told once.

local E = require "codex.error"
local async = require "codex.async"
local files = require "codex.files"
local hook = require "codex.hook"
local json = require "codex.json"
local log = require "codex.log"
local plugin = require "codex.plugin"
local stats = require "codex.core.stat"
local uuid = require "codex.base.uuid"
local uv = require "luv"

local M = {}

local LOG_LIMIT = 1 << 20 -- bytes of the log of runs before it begins anew
local LOCK_ATTEMPTS = 100 -- a millisecond apart
local SEEN_FOR = 86400 -- seconds
local ARGUMENT_LIMIT = 128 * 1024 - 1 -- of Linux, for one argument (MAX_ARG_STRLEN)
local PROGRAM_TIMEOUT = 60 -- seconds
local TYPE, FILE = tonumber("170000", 8), tonumber("100000", 8) -- of a file's mode
local WORD_LIMIT, WHY_LIMIT = 300, 2000 -- bytes of a member in the log, and of a reason

-- ---- Events ------------------------------------------------------------------------------------

---@class codex.NotifyEvent
---@field type string "turn_complete", "turn_failed", "turn_interrupted", or what Codex adds one day
---@field route "notify"|"hook"|"workflow"
---@field thread_id? string
---@field turn_id? string
---@field cwd? string
---@field client? string who drives Codex: "codex_exec", "codex-tui", the name of an IDE ...
---@field input_messages? string[] all that the user said in the thread
---@field last_assistant_message? string
---@field payload table as Codex sent it
---@field raw? string the very bytes of its notify program's argument
---@field git_branch? string read when it is asked for
---@field rollout? string the file where Codex keeps the thread, likewise
---@field internal? boolean a thread that Codex keeps for itself
local Event = {}

local lazily = {}

--- From .git/HEAD, in the folder or above; in a worktree .git is a file that says where.
function lazily.git_branch(event)
  local dir = event.cwd
  while type(dir) == "string" and dir ~= "" do
    local head = files.read(dir .. "/.git/HEAD")
    local place = not head and (files.read(dir .. "/.git") or ""):match "^gitdir: ([^\n]+)"
    if place then
      head = files.read((place:sub(1, 1) == "/" and place or dir .. "/" .. place) .. "/HEAD")
    end
    if head then return head:match "^ref: refs/heads/([^\n]+)" end
    dir = dir:match "^(.*)/[^/]*$"
  end
end

--- What Codex keeps of the event's thread, by one of codex.sessions' functions; nil also where
--- nobody knows where it keeps things.
local function kept(event, read)
  local id = event.thread_id
  if type(id) ~= "string" or not uuid.is(id) then return nil end
  local ok, home = pcall(function() return require("codex.instance").default.home end)
  return ok and require("codex.sessions")[read](home, id) or nil
end

function lazily.rollout(event) return kept(event, "rollout") end

--- A Stop hook does not say what the user said; the rollout does, or, where there is none, the
--- history of Codex's own interface.
function lazily.input_messages(event)
  local path = event.rollout
  return path and require("codex.sessions").user_messages(path) or kept(event, "typed")
end

--- Nor who drives Codex: that is whoever began the thread, as far as is known.
function lazily.client(event)
  if event.route ~= "hook" then return nil end
  local path = event.rollout
  if path then return require("codex.sessions").originator(path) end
  return kept(event, "typed") and "codex-tui" or nil
end

--- The interface has titles made in threads that are never written down, each with one message and
--- nothing that the user typed. What is asked with `/side` is not written down either: that he
--- typed, or, where the interface keeps no history, there are messages before it, those of the
--- thread that it is beside and of Codex. A Stop hook comes for the user's turns only.
function lazily.internal(event)
  if event.route ~= "notify" or event.client ~= "codex-tui" or event.thread_id == nil then
    return false
  end
  local said = event.input_messages
  local is_alone = type(said) ~= "table" or #said <= 1
  return is_alone and event.rollout == nil and kept(event, "typed") == nil
end

function Event.__index(event, name)
  local read = lazily[name]
  if not read then return nil end
  local value = read(event)
  rawset(event, name, value)
  return value
end

local types = { ["agent-turn-complete"] = "turn_complete" }

--- Those that programs tell each other as Codex would, beside Codex's own.
local known = { turn_complete = true, turn_failed = true, turn_interrupted = true }

local function present(value)
  if value ~= json.null then return value end
end

--- The event that a payload of Codex's notify stands for. Members keep their names, in snake_case.
---@param payload table
---@param raw? string the text that it was read from
---@return codex.NotifyEvent
function M.event(payload, raw)
  local event = {}
  for name, value in pairs(payload) do event[name:gsub("-", "_")] = present(value) end
  event.route, event.payload, event.raw = "notify", payload, raw
  local kind = type(payload.type) == "string" and payload.type or "unknown"
  event.type = types[kind] or kind:gsub("-", "_")
  return setmetatable(event, Event)
end

--- What is odd about an event of Codex's notify: a Codex that calls things by other names would
--- have no hook run, and nobody would notice. Nil where nothing is.
---@param event codex.NotifyEvent
---@return string?
function M.oddity(event)
  if event.route ~= "notify" or known[event.type] then return nil end
  local kind = event.payload.type
  if type(kind) ~= "string" then return "the payload has no type: hooks for turns do not see it" end
  return ("the payload's type '%s' is not known: hooks for turns do not see it"):format(kind)
end

--- The event that the input of a Stop or an Interrupt hook stands for.
---@param payload table
---@return codex.NotifyEvent
function M.stop_event(payload)
  return setmetatable({
    type = payload.hook_event_name == "Interrupt" and "turn_interrupted" or "turn_complete",
    route = "hook", payload = payload, model = present(payload.model),
    thread_id = present(payload.session_id), turn_id = present(payload.turn_id),
    cwd = present(payload.cwd), rollout = present(payload.transcript_path),
    last_assistant_message = present(payload.last_assistant_message),
  }, Event)
end

--- The event of a turn that a script of ours completed: what codex.exec, thread:ask and their like
--- returned.
---@param turn table
---@param more? { type?: string, cwd?: string, input_messages?: string[] }
---@return codex.NotifyEvent
function M.turn_event(turn, more)
  local event = {
    type = "turn_complete", route = "workflow", client = "codex-lua", payload = turn,
    thread_id = turn.thread_id, turn_id = turn.turn_id, cwd = uv.cwd(),
    last_assistant_message = turn.final_message,
  }
  for name, value in pairs(more or {}) do event[name] = value end
  return setmetatable(event, Event)
end

--- The payload as Codex has written it, or would write it.
---@param event codex.NotifyEvent
---@return string
function M.payload(event)
  if event.raw then return event.raw end
  if event.route == "notify" then return json.encode(event.payload, { repair = true }) end
  local kind = event.type == "turn_complete" and "agent-turn-complete" or event.type:gsub("_", "-")
  return json.encode({
    type = kind, ["thread-id"] = event.thread_id, ["turn-id"] = event.turn_id, cwd = event.cwd,
    client = event.client, ["input-messages"] = json.array(event.input_messages or {}),
    ["last-assistant-message"] = event.last_assistant_message or json.null,
  }, { repair = true })
end

-- ---- Programs ----------------------------------------------------------------------------------

--- Runs a program as Codex runs its notify program: the payload is its last argument. One that is
--- too large for an argument comes on standard input, and the last argument is "-".
---@async
---@param program string|string[] with its first arguments; no shell
---@param event codex.NotifyEvent
---@param opts? { timeout?: number, cwd?: string } seconds (60)
---@return codex.ProcResult?
---@return codex.Error?
function M.run(program, event, opts)
  local argv = type(program) == "table" and table.move(program, 1, #program, 1, {}) or { program }
  local text = M.payload(event)
  local input
  if #text > ARGUMENT_LIMIT then
    input, text = text, "-"
  end
  argv[#argv + 1] = text
  return require("codex.proc").run(argv, {
    input = input, cwd = opts and opts.cwd, timeout = opts and opts.timeout or PROGRAM_TIMEOUT,
  })
end

-- ---- The log of runs ---------------------------------------------------------------------------

--- Where runs are written down.
function M.log_path() return files.state_dir() .. "/notify.jsonl" end

--- Opens a file to append to it. Nobody is waited for, as one who reads from a FIFO would be.
local function open_to_append(path)
  local flag = uv.constants
  return uv.fs_open(path, flag.O_RDWR | flag.O_APPEND | flag.O_CREAT | flag.O_NONBLOCK,
    tonumber("600", 8))
end

--- Has this program be the only one that writes the log, until it closes that. Others write for
--- less than a millisecond: after a tenth of a second nobody is waited for any more.
local function lock_log(fd)
  local lock = require "codex.core.lock"
  for _ = 1, LOCK_ATTEMPTS do
    if lock.take(fd) ~= false then return end
    uv.sleep(1)
  end
end

--- Whether another program has begun anew meanwhile, and this is the log before.
local function is_old(path, stat)
  local there = stats.at(path)
  return there ~= nil and (there.ino ~= stat.ino or there.dev ~= stat.dev)
end

--- A log that is ours alone, and how long it is.
local function open_log()
  local path = M.log_path()
  local fd, message, code = open_to_append(path)
  if code == "ENOENT" then
    local ok, err = files.make_dir(path:match "^(.*)/")
    if not ok then return nil, err.message end
    fd, message = open_to_append(path)
  end
  if not fd then return nil, message end
  lock_log(fd)
  local stat = stats.of(fd)
  if not stat or stat.mode & TYPE ~= FILE then
    uv.fs_close(fd)
    return nil, "it is no regular file"
  end
  if stat.size <= LOG_LIMIT then return fd, stat.size end
  if not is_old(path, stat) then uv.fs_rename(path, path .. ".1") end
  uv.fs_close(fd)
  fd, message = open_to_append(path)
  if not fd then return nil, message end
  lock_log(fd)
  return fd, (stats.of(fd) or {}).size or 0
end

--- Why runs cannot be written down; nil where they can.
---@return string?
function M.log_problem()
  local ok, fd, message = pcall(open_log)
  if not ok then return "runs are not written down: " .. tostring(fd) end
  if not fd then return ("cannot write '%s': %s"):format(M.log_path(), message) end
  uv.fs_close(fd)
end

--- A text of others' that is not longer than that, and shows where it was cut.
local function bounded(text, limit)
  if text == nil then return nil end
  text = tostring(text)
  if #text <= limit then return text end
  local last = limit
  while last > 0 and text:byte(last + 1) & 0xC0 == 0x80 do last = last - 1 end
  return ("%s... (%d bytes)"):format(text:sub(1, last), #text)
end

local function entry_of(event, outcome)
  local entry = {
    time = os.date "!%Y-%m-%dT%H:%M:%SZ", ok = outcome.ok, skipped = outcome.skipped,
    hook = bounded(outcome.hook, WORD_LIMIT),
    note = bounded(outcome.note, WORD_LIMIT),
    why = outcome.why and bounded(log.redact(bounded(outcome.why, 2 * WHY_LIMIT)), WHY_LIMIT),
    seconds = outcome.seconds and math.floor(outcome.seconds * 1e4) / 1e4,
  }
  for _, name in ipairs { "type", "thread_id", "turn_id", "route" } do
    entry[name] = event and bounded(event[name], WORD_LIMIT)
  end
  return json.encode(entry, { repair = true }) .. "\n"
end

--- Appends whole lines: in one write, and after what a full disk has left of another one.
local function append(fd, size, text)
  local last = size > 0 and uv.fs_read(fd, 1, size - 1)
  if last and last ~= "\n" then text = "\n" .. text end
  local written, message = uv.fs_write(fd, text)
  if written and written < #text then return "only a part of it fits" end
  return not written and message or nil
end

--- Writes down how hooks went; that this fails is said, and no reason to stop.
---@param event? codex.NotifyEvent
---@param outcomes table[]
function M.write_down(event, outcomes)
  local lines = {}
  for i, outcome in ipairs(outcomes) do lines[i] = entry_of(event, outcome) end
  if #lines == 0 then return end
  local ok, fd, size = pcall(open_log)
  if not ok then return log.error("runs are not written down: %s", fd) end
  local message = size
  if fd then
    message = append(fd, size, table.concat(lines))
    uv.fs_close(fd)
  end
  if message then log.error("cannot write '%s': %s", M.log_path(), message) end
end

-- ---- Once --------------------------------------------------------------------------------------

local function clear_old(dir)
  local request = uv.fs_scandir(dir)
  local now = os.time()
  for name in function() return request and uv.fs_scandir_next(request) end do
    local stat = uv.fs_stat(dir .. "/" .. name)
    if stat and now - stat.mtime.sec > SEEN_FOR then uv.fs_unlink(dir .. "/" .. name) end
  end
end

--- Whether this turn has not been told before, by the other route. One that another Stop hook has
--- made go on is over once more, with another last message, and is told again. Until Codex 0.80,
--- which has but one route, turns have small numbers for ids, and other threads' turns have the
--- same.
local function is_new(event)
  local id = event.turn_id
  if event.route == "hook" and event.payload.stop_hook_active == true then return true end
  if type(id) ~= "string" or not uuid.is(id) then return true end
  local has_place, state = pcall(files.state_dir)
  if not has_place then return true end
  local dir = state .. "/seen"
  local name = ("%s.%s"):format(id, event.type):gsub("[^%w.-]", "_"):sub(1, 200)
  local fd, _, code = uv.fs_open(dir .. "/" .. name, "wx", tonumber("600", 8))
  if code == "ENOENT" then
    files.make_dir(dir)
    fd, _, code = uv.fs_open(dir .. "/" .. name, "wx", tonumber("600", 8))
  end
  if fd then uv.fs_close(fd) end
  if fd and uv.hrtime() % 50 == 0 then clear_old(dir) end -- now and then
  return code ~= "EEXIST"
end

-- ---- Telling -----------------------------------------------------------------------------------

--- The user's own hooks.
function M.folder() return files.config_dir() .. "/notify.d" end

local function hooks_for(paths)
  if paths and #paths > 0 then return hook.load_all(paths) end
  local has_place, folder = pcall(M.folder)
  if not has_place then return {}, { { name = "notify.d", err = folder } } end
  local found, err = plugin.files(folder, "io")
  if not found then return {}, { { name = "notify.d", err = err } } end
  return hook.load_all(found)
end

--- Calls the program that was there before us, as Codex would have.
---@async
---@param program string[]
---@param event codex.NotifyEvent|{ raw: string }
---@return codex.HookOutcome
function M.chain(program, event)
  local result, err = M.run(program, event)
  if result and result.code ~= 0 then err = ("it ended with code %d"):format(result.code) end
  return { hook = "chain: " .. program[1], ok = err == nil, why = err and tostring(err) or nil,
    seconds = result and result.duration or 0 }
end

---@class codex.DeliverOptions
---@field files? string[] hooks, in place of the user's notify.d
---@field chain? string[] the notify program that was there before
---@field again? boolean also for a turn that was told before
---@field told? fun() called when hooks have run and are written down, before the program; may wait

--- Tells scripts that listen. Where none ever did, there is no folder.
local function tell_listeners(event)
  if stats.at(files.runtime_dir()) then require("codex.wakeup").tell(event, M.payload) end
end

--- Tells hooks and scripts that listen.
local function tell(event, paths)
  local outcomes = {}
  local telling = async.spawn(tell_listeners, event)
  local hooks, problems = hooks_for(paths)
  for i, problem in ipairs(problems) do
    outcomes[i] = { hook = problem.name, ok = false, why = tostring(problem.err) }
  end
  local ran = hook.run_all(hooks, event)
  telling:join()
  return table.move(ran, 1, #ran, #outcomes + 1, outcomes)
end

--- Tells everybody: hooks, scripts that listen, the program before us. How each went is in the log
--- and returned. Of a turn that was told before only the program hears, which has no other way.
---@async
---@param event codex.NotifyEvent
---@param opts? codex.DeliverOptions
---@return codex.HookOutcome[] outcomes
function M.deliver(event, opts)
  opts = opts or {}
  local outcomes = {}
  if opts.again or is_new(event) then outcomes = tell(event, opts.files) end
  local note = M.oddity(event)
  if note then outcomes[#outcomes + 1] = { hook = "notify", ok = true, note = note } end
  M.write_down(event, outcomes)
  if opts.told then opts.told() end
  if opts.chain then
    local chained = M.chain(opts.chain, event)
    local failed = hook.settle(outcomes)
    table.insert(failed, chained)
    M.write_down(event, failed)
    table.insert(outcomes, chained)
  end
  return outcomes
end

--- Iterates over the turns that are completed by any Codex of this user while we listen; see
--- codex.wakeup.
---@async
function M.listen(...) return require("codex.wakeup").listen(...) end

--- The text with U+FFFD in place of what is no UTF-8.
local function with_unicode(text)
  return (json.decode(json.encode(text, { repair = true })))
end

--- The payload that a text holds. Bytes that are no UTF-8, which a program in between may have
--- made of it, become U+FFFD: nobody should miss the end of a turn for them.
---@param text? string
---@return table?
---@return codex.Error? error of kind `protocol`
function M.decode(text)
  if not text or text == "" then return nil, E.new("protocol", "there is no payload") end
  local payload, message = json.decode(text)
  if payload == nil then payload = json.decode(with_unicode(text)) end
  if type(payload) == "table" and getmetatable(payload) ~= getmetatable(json.array()) then
    return payload
  end
  return nil, E.new("protocol",
    "the payload is not a JSON object: " .. (message or text:sub(1, 40)))
end

return M
