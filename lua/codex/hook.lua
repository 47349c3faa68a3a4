--- Hooks in Lua: files of the user's that run when something happens in Codex.
---
---     return {
---       name = "desktop", on = "turn_complete",
---       run = function(event) os.execute "notify-send 'Codex is done'" end,
---     }
---
--- They run side by side, each with its time limit. One that fails, hangs, loops or calls os.exit
--- stops neither the others nor us.

local async = require "codex.async"
local guard = require "codex.guard"
local options = require "codex.options"
local pack = require "codex.core.pack"
local plugin = require "codex.plugin"

local M = {}

M.TIMEOUT = 10 -- seconds, where a hook names none

---@class codex.Hook
---@field name? string the file's, where it is absent
---@field on? string|string[] types of events; "*", the default, means all
---@field when? fun(event: table): any whether it wants this one
---@field run fun(event: table): any
---@field timeout? number seconds (10)
---@field internal? boolean also for threads that Codex keeps for itself, as for titles
---@field fail? "open"|"closed" of a lifecycle hook: what its failure means for what Codex does

local known = options.set { "name", "on", "when", "run", "timeout", "internal", "fail" }

local Hook = {}
Hook.__index = require("codex.base.class").methods(Hook)
Hook.__name = "codex.hook"

--- What a file's hooks may be for: what Codex has lifecycle hooks for, what notify tells, and how a
--- look for updates went.
local events = options.set { "*",
  "interrupt", "permission_request", "post_compact", "post_model_request", "post_tool_use",
  "pre_compact", "pre_model_request", "pre_tool_use", "session_end", "session_start", "stop",
  "subagent_start", "subagent_stop", "user_prompt_submit",
  "turn_complete", "turn_failed", "turn_interrupted",
  "up_to_date", "update", "newer_than_known", "unknown",
}

local function check_event(name)
  if type(name) ~= "string" then
    error(("`on` names events, got a %s"):format(type(name)), 0)
  end
  if events[name] then return end
  local word = name:gsub("(%l)(%u)", "%1_%2"):lower():gsub("-", "_")
  local near = options.nearest(word, events)
  error(("`on`: there is no event '%s'%s"):format(name,
    near and ("; did you mean '%s'?"):format(near) or ""), 0)
end

--- A hook for nothing would never run, and one that fails closed would never refuse.
local function check_events(on)
  if type(on) ~= "table" then return check_event(on == nil and "*" or on) end
  local count = 0
  for key in pairs(on) do
    count = count + 1
    if math.type(key) ~= "integer" then
      error(("`on` is a list, { \"pre_tool_use\" }; it has a key '%s'"):format(tostring(key)), 0)
    end
  end
  if count == 0 then error("`on` is an empty list: the hook would never run", 0) end
  for i = 1, count do
    if on[i] == nil then error("`on` is a list with a hole", 0) end
    check_event(on[i])
  end
end

local function types_of(on)
  local set = {}
  for _, name in ipairs(type(on) == "table" and on or { on or "*" }) do set[name] = true end
  return set
end

--- Checks a hook and gives it its type.
---@param given codex.Hook|fun(event: table): any
---@param name string used where it has none
---@return codex.Hook
function M.new(given, name)
  if type(given) == "function" then given = { run = given } end
  local where = "hook " .. (type(given) == "table" and given.name or name)
  options.check(where, given, known)
  options.typed(where, given, "name", "string")
  options.typed(where, given, "on", "string", "table")
  options.typed(where, given, "when", "function")
  options.typed(where, given, "internal", "boolean")
  options.milliseconds(where, given, "timeout")
  if type(given.run) ~= "function" then options.raise(where .. ": a function `run` is needed") end
  if given.fail ~= nil and given.fail ~= "open" and given.fail ~= "closed" then
    options.raise(("%s: `fail` is open or closed, got %s"):format(where, tostring(given.fail)))
  end
  local hook = setmetatable({ name = name, timeout = M.TIMEOUT }, Hook)
  for key, value in pairs(given) do hook[key] = value end
  hook._types = types_of(given.on)
  return hook
end

---@param event table
---@return boolean
function Hook:wants(event)
  if event.internal and not self.internal then return false end
  return self._types["*"] or self._types[event.type] or false
end

-- ---- Files -------------------------------------------------------------------------------------

local function hook_of(value, name)
  local hook = M.new(value, name)
  check_events(hook.on)
  return hook
end

local function list_of(value, name)
  local list, count = {}, 0
  for key in pairs(value) do
    count = count + 1
    if math.type(key) ~= "integer" then
      error(("it returns a list of hooks that has a key '%s', too"):format(tostring(key)), 0)
    end
  end
  for i = 1, count do
    if value[i] == nil then error(("it returns a list with a hole at %d"):format(i), 0) end
    list[i] = hook_of(value[i], ("%s#%d"):format(name, i))
  end
  return list
end

local function hooks_of(value, name)
  if type(value) ~= "table" and type(value) ~= "function" then
    error(("it must return a hook, a list of them, or a function; it returned %s"):format(
      value == nil and "nothing" or "a " .. type(value)), 0)
  end
  if type(value) == "table" and value.run == nil then
    for key in pairs(value) do
      if math.type(key) == "integer" then return list_of(value, name) end
    end
  end
  return { hook_of(value, name) }
end

--- Reads a file that returns a hook (a plain table), a list of them, or a function.
---@async
---@param path string
---@return codex.Hook[]?
---@return codex.Error? error of kind `io`, with file and line where it has them
function M.load(path) return plugin.load(path, "io", hooks_of) end

--- Reads files; those that cannot be used are problems of their own and do not stop the others.
---@async
---@param paths string[]
---@return codex.Hook[]
---@return { name: string, err: codex.Error }[] problems
function M.load_all(paths)
  local all, problems = {}, {}
  local lists, errors = async.map(paths, M.load)
  for i, path in ipairs(paths) do
    if lists[i] then
      table.move(lists[i], 1, #lists[i], #all + 1, all)
    else
      problems[#problems + 1] = { name = plugin.name(path), err = errors[i] }
    end
  end
  return all, problems
end

-- ---- Running -----------------------------------------------------------------------------------

---@class codex.HookOutcome
---@field hook string its name
---@field ok boolean
---@field skipped? boolean its `when` did not want the event
---@field value? any what it returned
---@field why? string what went wrong
---@field seconds number

--- The event for one hook: what another one did to its own does not show.
local function copy(event)
  local plain = {}
  for name, value in next, event do
    local ok, own = pcall(pack.copy, value)
    if ok then plain[name] = own else plain[name] = value end
  end
  return setmetatable(plain, getmetatable(event))
end

local function ask(hook, event)
  if hook.when and not hook.when(event) then return "skipped" end
  return "ran", hook.run(event)
end

--- Calls a hook, and does all that might run more of its code: the tables that come out are plain.
local function call(hook, event)
  local ok, how, value, why = guard.safely(ask, hook, event)
  if not ok then return "failed", how end
  if value == nil and why ~= nil then return "failed", guard.text(why) end
  if type(value) ~= "table" then return how, value end
  local is_plain, plain = pcall(pack.copy, value)
  if is_plain then return how, plain end
  return "failed", "what it returned: " .. guard.text(plain)
end

local left = setmetatable({}, { __mode = "k" }) -- what hears of what a hook has left, by outcome

--- Runs one hook with this event.
---@async
---@param hook codex.Hook
---@param event table
---@param limit? number seconds, where there are fewer left than the hook may take
---@return codex.HookOutcome
function M.run(hook, event, limit)
  local uv = require "luv"
  local started, seconds = uv.hrtime(), math.min(hook.timeout, limit or math.huge)
  local got = guard.run("hook " .. hook.name, seconds, call, hook, copy(event))
  local outcome = { hook = hook.name, ok = false, seconds = (uv.hrtime() - started) / 1e9 }
  if got.timed_out then
    outcome.why = ("timed out after %g seconds"):format(seconds)
  elseif got.err ~= nil then
    outcome.why = guard.text(got.err)
  elseif got[1] == "failed" then
    outcome.why = got[2]
  else
    outcome.ok, outcome.skipped, outcome.value = true, got[1] == "skipped" or nil, got[2]
    left[outcome] = got.late
  end
  return outcome
end

--- Has outcomes say how it went with what hooks have left, too: tasks that have failed since.
---@param outcomes codex.HookOutcome[]
---@return codex.HookOutcome[] those that are failures now, and were none
function M.settle(outcomes)
  local changed = {}
  for _, outcome in ipairs(outcomes) do
    local why = outcome.ok and left[outcome] and left[outcome]()
    if why then
      outcome.ok, outcome.skipped, outcome.value, outcome.why = false, nil, nil, why
      changed[#changed + 1] = outcome
    end
  end
  return changed
end

--- Runs, side by side, the hooks that want this event.
---@async
---@param hooks codex.Hook[]
---@param event table
---@return codex.HookOutcome[] in the order of the hooks
function M.run_all(hooks, event)
  local wanted = {}
  for _, hook in ipairs(hooks) do
    if hook:wants(event) then wanted[#wanted + 1] = hook end
  end
  if #wanted == 1 then return { M.run(wanted[1], event) } end
  local outcomes = async.map(wanted, function(hook) return M.run(hook, event) end)
  M.settle(outcomes)
  return outcomes
end

return M
