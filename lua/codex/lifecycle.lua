--- Codex's lifecycle hooks in Lua: what Codex tells a hook, and what a hook may answer.
---
---     return { name = "no force", on = "pre_tool_use", run = function(event)
---       if event.tool_input.command:find "push %-%-force" then
---         return { decision = "deny", reason = "nobody pushes with force from here" }
---       end
---     end }
---
--- A handler returns nothing (no opinion), "allow", "deny", or a table as in codex.HookAnswer. Each
--- event takes some of that; an answer that Codex would not take is that hook's error, for Codex
--- goes on as if there were none. Handlers run one after the other. A refusal by one of them is the
--- answer, "ask" beats "allow", contexts are joined, and who comes later sees the tool's input as
--- the ones before have changed it.
---
--- When a hook fails, and it says `fail = "closed"`, the answer is a refusal. So it is, where it
--- says nothing, for pre_tool_use and permission_request; with other events, Codex goes on.

local hooks = require "codex.hook"
local json = require "codex.json"
local plugin = require "codex.plugin"
local uv = require "luv"
local verdict = require "codex.hooks.verdict"

local M = {}

local PAYLOAD_LIMIT = 64 << 20 -- bytes on standard input
local CODEX_TIMEOUT = 600 -- seconds that Codex gives a hook whose configuration does not say

-- ---- Events ------------------------------------------------------------------------------------

---@class codex.LifecycleEvent
---@field type string hook_event_name in snake_case
---@field thread_id? string as session_id
---@field payload table as Codex sent it; its members are fields of the event too

--- The types of all events that are known, in the order of their names.
---@return string[]
function M.types()
  local list = {}
  for name in pairs(verdict.events) do list[#list + 1] = name end
  table.sort(list)
  return list
end

--- "PreToolUse" as "pre_tool_use", and back.
---@param name string
---@return string
function M.type_of(name)
  return (name:gsub("(%l)(%u)", "%1_%2"):gsub("(%u)(%u%l)", "%1_%2"):lower())
end

---@param kind string
---@return string
function M.name_of(kind)
  return (("_" .. kind):gsub("_(%w)", string.upper))
end

--- What a hook's failure means where neither the hook nor the command line says it.
---@param kind string
---@return "open"|"closed"
function M.default_fail(kind) return verdict.spec(kind).fail or "open" end

--- What is to be answered for hooks that never said anything: `closed` is a refusal with exit code
--- 2, `halt` is continue = false where Codex does not take that.
---@param kind string
---@param is_closed boolean
---@return "open"|"closed"|"halt"
function M.last_resort(kind, is_closed)
  local spec = verdict.spec(kind)
  if not is_closed then return "open" end
  return spec.code and "closed" or spec.stop and "halt" or "open"
end

--- The seconds that Codex gives a hook of this event.
---@param kind string
---@param configured? number
---@return number
function M.limit(kind, configured)
  local spec = verdict.spec(kind)
  return math.min(configured or spec.default or CODEX_TIMEOUT, spec.limit or math.huge)
end

--- The event that a payload stands for.
---@param payload table
---@return codex.LifecycleEvent
function M.event(payload)
  local event = { route = "lifecycle", payload = payload }
  for name, value in pairs(payload) do
    if value ~= json.null then event[name] = value end
  end
  event.type, event.thread_id = M.type_of(payload.hook_event_name), event.session_id
  return event
end

--- Reads what Codex wrote.
---@param text? string
---@return table?
---@return string? problem
function M.decode(text)
  if not text or text == "" then return nil, "Codex sent nothing on standard input" end
  if #text > PAYLOAD_LIMIT then
    return nil, ("Codex sent more than %d MiB"):format(PAYLOAD_LIMIT >> 20)
  end
  local payload, message = json.decode(text)
  if type(payload) ~= "table" or type(payload.hook_event_name) ~= "string" then
    return nil, "what Codex sent is not the JSON of a hook: " .. (message or text:sub(1, 40))
  end
  return payload
end

-- ---- Running -----------------------------------------------------------------------------------

---@class codex.LifecycleOptions
---@field files? string[] hooks, in place of the user's hook.d
---@field limit? number seconds that Codex gives us
---@field fail? "open"|"closed"|"halt" for hooks that do not say, and files that cannot be read in
---@field say? fun(line: table) is told what is being done, and what to answer if it never ends

--- The user's own hooks.
function M.folder() return require("codex.files").config_dir() .. "/hook.d" end

local function load_hooks(paths)
  if paths and #paths > 0 then return hooks.load_all(paths) end
  local has_place, folder = pcall(M.folder)
  if not has_place then return {}, { { name = "hook.d", err = folder } } end
  local found, err = plugin.files(folder, "io")
  if not found then return {}, { { name = "hook.d", err = err } } end
  return hooks.load_all(found)
end

--- When hooks must be done, in seconds from now, and when whoever waits for them answers himself.
---@param limit number seconds until Codex gives up
---@return number hooks
---@return number supervisor
function M.margins(limit)
  local last = math.max(limit - 1, limit * 0.8)
  return math.max(last - 1.5, last * 0.6), last
end

local Run = {}
Run.__index = require("codex.base.class").methods(Run)

function Run:is_closed(hook)
  local said = hook and hook.fail or self.opts.fail
  return (said or M.default_fail(self.event.type)) ~= "open"
end

--- Tells the supervisor what it should answer if nothing more comes from us.
function Run:say(name, is_closed)
  if not self.opts.say then return end
  local fallback = self.verdict:copy()
  fallback:fail(name, verdict.WHY, is_closed)
  local event = self.event
  self.opts.say {
    what = name, reply = fallback:reply(), last = self.last, event = {
      type = event.type, thread_id = event.thread_id, turn_id = event.turn_id, route = event.route,
    },
  }
end

function Run:fail(name, why, is_closed, seconds)
  self.verdict:fail(name, why, is_closed)
  table.insert(self.outcomes, { hook = name, ok = false, why = why, seconds = seconds })
end

--- The event for one handler: what another one did to its own does not show.
function Run:event_for()
  local event = M.event((json.decode(self.text)))
  event.tool_input = self.verdict.input or event.tool_input
  return event
end

function Run:run_one(hook)
  local left = self.deadline - uv.hrtime() / 1e9
  if left <= 0 then return self:fail(hook.name, "no time was left for it", self:is_closed(hook)) end
  local event = self:event_for()
  local outcome = hooks.run(hook, event, left)
  local ok, answer = outcome.ok, outcome.value
  if ok and not outcome.skipped then ok, answer = pcall(verdict.check, self:event_for(), answer) end
  if not ok then
    local why = outcome.why or tostring(answer)
    return self:fail(hook.name, why, self:is_closed(hook), outcome.seconds)
  end
  outcome.value = nil
  table.insert(self.outcomes, outcome)
  self.hooks[outcome] = hook
  if answer and not outcome.skipped then self.verdict:add(hook.name, answer) end
end

--- Whether any hook from this place in the list on fails closed: when the worker ends before they
--- are all done, the supervisor must refuse.
local function is_any_closed(run, wanted, from)
  for i = from, #wanted do
    if run:is_closed(wanted[i]) then return true end
  end
  return false
end

--- Files that are named are there for an event: where none of them has a hook for it, somebody is
--- mistaken. So is who asks to fail closed and has no hooks at all.
function Run:check_wanted(all, wanted)
  if #wanted > 0 or #self.outcomes > 0 or not self:is_closed() then return end
  local named = self.opts.files and self.opts.files[1]
  if named then
    self:fail(plugin.name(named), "it has no hook for " .. self.event.type, true)
  elseif #all == 0 and self.opts.fail then
    self:fail("hook.d", "there is no hook in " .. M.folder(), true)
  end
end

function Run:run_all(all)
  local wanted = {}
  for _, hook in ipairs(all) do
    if hook:wants(self.event) then wanted[#wanted + 1] = hook end
  end
  self:check_wanted(all, wanted)
  for i, hook in ipairs(wanted) do
    self:say(hook.name, is_any_closed(self, wanted, i))
    self:run_one(hook)
  end
  for _, outcome in ipairs(hooks.settle(self.outcomes)) do
    self.verdict:fail(outcome.hook, outcome.why, self:is_closed(self.hooks[outcome]))
  end
end

--- What cannot be read says nothing of what it is: any hook may be meant.
local function without_payload(why, opts)
  local all, problems = load_hooks(opts.files)
  local is_closed = opts.fail == "closed" or (#problems > 0 and opts.fail ~= "open")
  for _, hook in ipairs(all) do
    local default = opts.fail or "open"
    for _, kind in ipairs(M.types()) do
      if not opts.fail and hook:wants { type = kind } and M.default_fail(kind) == "closed" then
        default = "closed"
      end
    end
    is_closed = is_closed or (hook.fail or default) == "closed"
  end
  local outcomes = { { hook = "hook", ok = false, why = why } }
  if not is_closed then return { code = 0, out = "" }, outcomes end
  return { code = 2, out = "", refusal = why }, outcomes
end

--- Runs the hooks for what Codex wrote on standard input, and says what to answer. All that goes
--- wrong is in the answer; nothing is raised.
---@async
---@param text? string
---@param opts? codex.LifecycleOptions
---@return codex.HookReply
---@return codex.HookOutcome[]
---@return codex.LifecycleEvent? event
function M.run(text, opts)
  opts = opts or {}
  local payload, problem = M.decode(text)
  if not payload then return without_payload(problem, opts) end
  local event = M.event(payload)
  local seconds, last = M.margins(M.limit(event.type, opts.limit))
  local run = setmetatable({
    opts = opts, text = text, event = event, verdict = verdict.new(event), outcomes = {},
    hooks = {}, last = last, deadline = uv.hrtime() / 1e9 + seconds,
  }, Run)
  run:say("hook", run:is_closed())
  local all, problems = load_hooks(opts.files)
  for _, each in ipairs(problems) do run:fail(each.name, tostring(each.err), run:is_closed()) end
  run:run_all(all)
  return run.verdict:reply(), run.outcomes, event
end

return M
