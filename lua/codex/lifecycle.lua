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

local M = {}

local PAYLOAD_LIMIT = 64 << 20 -- bytes on standard input
local CODEX_TIMEOUT = 600 -- seconds that Codex gives a hook whose configuration does not say

--- Stands in a fallback for the reason that is not known yet.
M.WHY = "@@why@@"

-- ---- Events ------------------------------------------------------------------------------------

---@class codex.LifecycleEvent
---@field type string hook_event_name in snake_case
---@field thread_id? string as session_id
---@field payload table as Codex sent it; its members are fields of the event too

--- What Codex 0.169.0 takes: from the output schemas in its binary (0.153.4 has the same), and from
--- trying what they allow. `refuse`: how a refusal is written, and with what word; `context`: text
--- for the model; `input`: another input for the tool; `stop`: continue = false; `suppress`:
--- suppressOutput; `message`: systemMessage, shown to the user; `limit`: seconds that it has at
--- most, `default` where its configuration says nothing.
local events = {
  pre_tool_use =
    { refuse = "deny", fail = "closed", input = true, context = true, message = true },
  permission_request = { refuse = "deny", fail = "closed", ask = true, message = true },
  post_tool_use = { refuse = "block", context = true, stop = true, message = true },
  user_prompt_submit =
    { refuse = "block", context = true, stop = true, suppress = true, message = true },
  stop = { refuse = "block", stop = true, suppress = true, message = true },
  subagent_stop = { refuse = "block", stop = true, suppress = true, message = true },
  session_start = { context = true, stop = true, suppress = true, message = true },
  subagent_start = { context = true, stop = true, suppress = true, message = true },
  pre_compact = { stop = true, suppress = true, message = true },
  post_compact = { stop = true, suppress = true, message = true },
  interrupt = { message = true, limit = 3, default = 3 },
  session_end = { limit = 3, default = 1 },
  pre_model_request = {},
  post_model_request = {},
}

local unknown = {} -- of events that Codex may add: nothing is known that it would take

--- The types of all events that are known, in the order of their names.
---@return string[]
function M.types()
  local list = {}
  for name in pairs(events) do list[#list + 1] = name end
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
function M.default_fail(kind) return (events[kind] or unknown).fail or "open" end

--- The seconds that Codex gives a hook of this event.
---@param kind string
---@param configured? number
---@return number
function M.limit(kind, configured)
  local spec = events[kind] or unknown
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

-- ---- Answers -----------------------------------------------------------------------------------

---@class codex.HookAnswer
---@field decision? "allow"|"deny"|"ask"|"block" deny and block are one; ask: permission_request
---@field reason? string of a refusal, for the model; at the end of a turn it is what to do next
---@field input? table of pre_tool_use: the tool's input in place of the one that it has
---@field context? string more for the model to know
---@field continue? boolean false ends what is going on
---@field stop_reason? string
---@field system_message? string for the user
---@field suppress_output? boolean

local types = {
  reason = "string", input = "table", context = "string", continue = "boolean",
  stop_reason = "string", system_message = "string", suppress_output = "boolean",
}

local needs = { -- fields, and what an event must have for them
  input = "input", context = "context", continue = "stop", stop_reason = "stop",
  system_message = "message", suppress_output = "suppress",
}

local words = { allow = "allow", deny = "deny", block = "deny", ask = "ask" }

local function fail(format, ...) error(format:format(...), 0) end

local function check_fields(spec, kind, answer)
  for name, value in pairs(answer) do
    if name ~= "decision" and not types[name] then
      fail("its answer has a field '%s', which means nothing", tostring(name))
    elseif name ~= "decision" and type(value) ~= types[name] then
      fail("its answer's %s must be a %s, got a %s", name, types[name], type(value))
    elseif needs[name] and not spec[needs[name]] then
      fail("it answered %s, which Codex does not take for %s", name, kind)
    end
  end
end

local function check_decision(spec, kind, answer)
  local word = answer.decision
  if word == nil then
    if answer.reason ~= nil then fail("it gave a reason without a decision") end
    return
  end
  if not words[word] then
    fail("its decision must be allow, deny, ask or block, got %s", tostring(word))
  end
  if not spec.refuse or word == "ask" and not spec.ask then
    fail("it answered %s, which Codex does not take for %s", word, kind)
  end
end

local function is_object(value)
  return type(value) == "table" and getmetatable(value) ~= getmetatable(json.array())
    and json.encode(value):sub(1, 1) == "{"
end

--- A copy that is JSON and nothing else. Codex does not run a tool whose `command` is missing.
local function check_input(event, answer)
  local input = answer.input
  if words[answer.decision] == "deny" then fail "it refused, and gave an input" end
  local ok, value = pcall(is_object, input)
  if not ok or not value then fail("its input must be a JSON object: %s", tostring(value)) end
  local now = type(event.tool_input) == "table" and event.tool_input.command
  if type(now) == "string" and type(input.command) ~= "string" then
    fail "its input needs a string `command`, as the tool has one"
  end
  return (json.decode(json.encode(input)))
end

--- Checks what a handler returned against what its event takes. Raises what is wrong.
---@param event codex.LifecycleEvent
---@param answer any
---@return codex.HookAnswer? nil: no opinion
function M.check(event, answer)
  if answer == nil then return nil end
  if type(answer) == "string" then answer = { decision = answer } end
  if type(answer) ~= "table" then
    fail("it returned a %s; nothing, a word or a table is wanted", type(answer))
  end
  local spec = events[event.type] or unknown
  check_fields(spec, event.type, answer)
  check_decision(spec, event.type, answer)
  local checked = {}
  for name, value in pairs(answer) do checked[name] = value end
  checked.decision = words[answer.decision]
  if answer.input ~= nil then checked.input = check_input(event, answer) end
  return checked
end

-- ---- The verdict -------------------------------------------------------------------------------

--- What all handlers together have said so far.
---@class codex.Verdict
---@field input? table the tool's, as it is now
local Verdict = {}
Verdict.__index = Verdict

local function new_verdict(event)
  return setmetatable({
    spec = events[event.type] or unknown, event = event,
    reasons = {}, contexts = {}, messages = {}, stop_reasons = {},
  }, Verdict)
end

function Verdict:copy()
  local copy = {}
  for name, value in pairs(self) do copy[name] = value end
  for _, name in ipairs { "reasons", "contexts", "messages", "stop_reasons" } do
    copy[name] = table.move(self[name], 1, #self[name], 1, {})
  end
  return setmetatable(copy, Verdict)
end

local rank = { allow = 1, ask = 2, deny = 3 }

local function is_said(text) return text ~= nil and text:find "%S" ~= nil end

local function add(list, text)
  if is_said(text) then list[#list + 1] = text end
end

function Verdict:refuse(reason)
  self.decision = "deny"
  add(self.reasons, reason)
end

--- Takes in what a handler said.
function Verdict:add(name, answer)
  local word = answer.decision
  if word == "deny" then
    self:refuse(is_said(answer.reason) and answer.reason or ("hook '%s' says no"):format(name))
  elseif word and rank[word] > (rank[self.decision] or 0) then
    self.decision = word
  end
  self.input = answer.input or self.input
  self.stopped = self.stopped or answer.continue == false
  self.suppress = self.suppress or answer.suppress_output
  add(self.contexts, answer.context)
  add(self.messages, answer.system_message)
  add(self.stop_reasons, answer.stop_reason)
end

--- Takes in that a hook failed. One that keeps a turn from ending does so once: a hook that fails
--- whatever the model does would keep it at work for ever.
function Verdict:fail(name, why, is_closed)
  local text = ("hook '%s' failed: %s"):format(name, why)
  local spec = self.spec
  if is_closed and spec.refuse and not self.event.stop_hook_active then
    self:refuse(text .. " (it fails closed)")
  elseif is_closed and spec.stop then
    self.stopped = true
    add(self.stop_reasons, text .. " (it fails closed)")
  elseif spec.message then
    add(self.messages, text)
  end
end

local function joined(list, separator)
  if #list > 0 then return table.concat(list, separator) end
end

--- What goes into hookSpecificOutput, each event's own.
function Verdict:specific()
  local kind, denied = self.event.type, self.decision == "deny"
  local out = { additionalContext = joined(self.contexts, "\n\n") }
  if kind == "pre_tool_use" and denied then
    out.permissionDecision, out.permissionDecisionReason = "deny", joined(self.reasons, "\n")
  elseif kind == "pre_tool_use" and self.input then
    out.permissionDecision, out.updatedInput = "allow", self.input
  elseif kind == "permission_request" and denied then
    out.decision = { behavior = "deny", message = joined(self.reasons, "\n") }
  elseif kind == "permission_request" and self.decision == "allow" then
    out.decision = { behavior = "allow" }
  end
  if next(out) == nil then return nil end
  out.hookEventName = self.event.payload.hook_event_name
  return out
end

---@class codex.HookReply
---@field code integer the exit code
---@field out string standard output, empty or JSON
---@field refusal? string why Codex shall not go on

--- In Codex's words. An "allow" without another input is nothing for pre_tool_use: Codex takes it
--- for an error.
---@return codex.HookReply
function Verdict:reply()
  local out = {
    hookSpecificOutput = self:specific(), systemMessage = joined(self.messages, "\n"),
    suppressOutput = self.suppress or nil,
  }
  local refusal = self.decision == "deny" and joined(self.reasons, "\n") or nil
  if refusal and self.spec.refuse == "block" then out.decision, out.reason = "block", refusal end
  if self.stopped then
    out.continue, out.stopReason = false, joined(self.stop_reasons, "\n")
    refusal = refusal or out.stopReason or "a hook stopped it"
  end
  local text = next(out) ~= nil and json.encode(out, { repair = true }) or ""
  return { code = 0, out = text, refusal = refusal }
end

-- ---- Running -----------------------------------------------------------------------------------

---@class codex.LifecycleOptions
---@field files? string[] hooks, in place of the user's hook.d
---@field limit? number seconds that Codex gives us
---@field fail? "open"|"closed" for hooks that do not say, and files that cannot be read in
---@field say? fun(line: table) is told what is being done, and what to answer if it never ends

--- The user's own hooks.
function M.folder() return require("codex.files").config_dir() .. "/hook.d" end

local function load_hooks(paths)
  if paths and #paths > 0 then return hooks.load_all(paths) end
  local found, err = plugin.files(M.folder(), "io")
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
Run.__index = Run

function Run:is_closed(hook)
  local said = hook and hook.fail or self.opts.fail
  return (said or M.default_fail(self.event.type)) == "closed"
end

--- Tells the supervisor what it should answer if nothing more comes from us.
function Run:say(name, is_closed)
  if not self.opts.say then return end
  local fallback = self.verdict:copy()
  fallback:fail(name, M.WHY, is_closed)
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
  if ok and not outcome.skipped then ok, answer = pcall(M.check, self:event_for(), answer) end
  if not ok then
    local why = outcome.why or tostring(answer)
    return self:fail(hook.name, why, self:is_closed(hook), outcome.seconds)
  end
  outcome.value = nil
  table.insert(self.outcomes, outcome)
  if answer and not outcome.skipped then self.verdict:add(hook.name, answer) end
end

--- Whether this one or one that is still to come must not be missed.
local function is_any_closed(run, wanted, from)
  for i = from, #wanted do
    if run:is_closed(wanted[i]) then return true end
  end
  return false
end

function Run:run_all(all)
  local wanted = {}
  for _, hook in ipairs(all) do
    if hook:wants(self.event) then wanted[#wanted + 1] = hook end
  end
  for i, hook in ipairs(wanted) do
    self:say(hook.name, is_any_closed(self, wanted, i))
    self:run_one(hook)
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
    opts = opts, text = text, event = event, verdict = new_verdict(event), outcomes = {},
    last = last, deadline = uv.hrtime() / 1e9 + seconds,
  }, Run)
  run:say("hook", run:is_closed())
  local all, problems = load_hooks(opts.files)
  for _, each in ipairs(problems) do run:fail(each.name, tostring(each.err), run:is_closed()) end
  run:run_all(all)
  return run.verdict:reply(), run.outcomes, event
end

return M
