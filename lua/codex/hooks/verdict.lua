--- What lifecycle hooks answer: what each event takes of it, what all of them together come to, and
--- how Codex is told.

local json = require "codex.json"

local M = {}

--- Stands in an answer for what is not known yet: why the hooks never ended.
M.WHY = "@@why@@"

-- ---- Events ------------------------------------------------------------------------------------

--- What Codex 0.169.0 takes: from the output schemas in its binary (0.153.4 has the same), and from
--- trying what they allow. `refuse`: how a refusal is written, and with what word; `context`: text
--- for the model; `input`: another input for the tool; `stop`: continue = false; `suppress`:
--- suppressOutput; `message`: systemMessage, shown to the user; `limit`: seconds that it has at
--- most, `default` where its configuration says nothing.
--- `code`: exit code 2 with the reason on standard error refuses as well, which nothing can spoil
--- that others print. (So it does for stop, but for ever.)
local events = {
  pre_tool_use =
    { refuse = "deny", code = true, fail = "closed", input = true, context = true, message = true },
  permission_request =
    { refuse = "deny", code = true, fail = "closed", ask = true, message = true },
  post_tool_use = { refuse = "block", code = true, context = true, stop = true, message = true },
  user_prompt_submit = { refuse = "block", code = true, context = true, stop = true,
    suppress = true, message = true },
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

M.events = events

--- Of events that Codex may add nothing is known but that exit code 2 refuses whatever can be
--- refused. A guard that is asked about one in the place of an event that it knows must not let it
--- pass.
local unknown = { refuse = "deny", code = true }

--- What Codex takes of an event.
---@param kind string
---@return table
function M.spec(kind) return events[kind] or unknown end

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
  local spec = M.spec(event.type)
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
Verdict.__index = require("codex.base.class").methods(Verdict)

--- Begins with no opinion.
---@param event codex.LifecycleEvent
---@return codex.Verdict
function M.new(event)
  return setmetatable({
    spec = M.spec(event.type), event = event,
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

--- White space beyond ASCII, as Unicode has it: Codex takes a reason of nothing else for none.
local blanks = require("codex.options").set {
  "\u{85}", "\u{A0}", "\u{1680}", "\u{2000}", "\u{2001}", "\u{2002}", "\u{2003}", "\u{2004}",
  "\u{2005}", "\u{2006}", "\u{2007}", "\u{2008}", "\u{2009}", "\u{200A}", "\u{2028}", "\u{2029}",
  "\u{202F}", "\u{205F}", "\u{3000}",
}

local function is_said(text)
  local at = 1
  while text do
    at = text:match("^%s+()", at) or at
    local size = blanks[text:sub(at, at + 1)] and 2 or blanks[text:sub(at, at + 2)] and 3
    if not size then return at <= #text end
    at = at + size
  end
  return false
end

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
---@field code integer the exit code: 0, or 2 where the refusal is the answer
---@field out string standard output, empty or JSON
---@field refusal? string why Codex shall not go on

--- A refusal by exit code is all that Codex hears: it has the rest in it.
function Verdict:refusal()
  if self.decision ~= "deny" then return nil end
  local parts = { joined(self.reasons, "\n") }
  if self.spec.code then
    table.move(self.contexts, 1, #self.contexts, #parts + 1, parts)
    table.move(self.messages, 1, #self.messages, #parts + 1, parts)
  end
  return table.concat(parts, "\n\n")
end

--- In Codex's words. An "allow" without another input is nothing for pre_tool_use: Codex takes it
--- for an error.
---@return codex.HookReply
function Verdict:reply()
  local out = {
    hookSpecificOutput = self:specific(), systemMessage = joined(self.messages, "\n"),
    suppressOutput = self.suppress or nil,
  }
  local refusal = self:refusal()
  if refusal and self.spec.refuse == "block" then
    out.decision, out.reason = "block", joined(self.reasons, "\n")
  end
  if self.stopped then
    out.continue, out.stopReason = false, joined(self.stop_reasons, "\n")
    refusal = refusal or out.stopReason or "a hook stopped it"
  end
  local text = next(out) ~= nil and json.encode(out, { repair = true }) or ""
  local is_code = self.decision == "deny" and self.spec.code and not self.stopped
  return { code = is_code and 2 or 0, out = text, refusal = refusal }
end

return M
