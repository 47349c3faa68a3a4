--- Policies: who answers when Codex asks for leave. A policy is a table one can read aloud:
---
---     return codex.policy {
---       name = "approve/tests", on = "command", before = "ask/terminal",
---       decide = function(request)
---         if request.command == "/bin/bash -lc 'make test'" then return "accept" end
---       end,
---     }
---
--- A decider asks its policies in their order. The first that says something decides; returning
--- nothing means no opinion. When nobody decides the answer is the safe one (decline). A policy
--- that raises, takes too long or answers what makes no sense gets the safe answer at once: the
--- next one is not asked, for the broken one might have said no. Both are logged.

local E = require "codex.error"
local approval = require "codex.approval"
local async = require "codex.async"
local files = require "codex.files"
local guard = require "codex.guard"
local json = require "codex.json"
local log = require "codex.log"
local options = require "codex.options"
local pack = require "codex.core.pack"
local plugin = require "codex.plugin"
local uv = require "luv"

local M = {}

---@class codex.PolicyOptions
---@field name string what the log and other policies call it
---@field on? codex.ApprovalKind|codex.ApprovalKind[]|"*" what it wants to be asked about ("*": all
---  but client_request)
---@field before? string|string[] names of policies that are asked after this one
---@field after? string|string[] names of policies that are asked before this one
---@field timeout? number seconds that `when` and `decide` may take
---@field when? fun(request: codex.ApprovalRequest): boolean? asked before `decide`
---@field decide fun(request: codex.ApprovalRequest): any a codex.DecisionWord or codex.Decision;
---  nil: no opinion; nil and an error: failed. It may wait.

---@class codex.Policy
---@field name string
local Policy = {}
Policy.__index = require("codex.base.class").methods(Policy)
Policy.__name = "codex.policy"

function Policy:__tostring() return "policy " .. self.name end

local known = options.set { "name", "on", "before", "after", "timeout", "when", "decide" }
local kinds = options.set {
  "command", "file_change", "permissions", "user_input", "elicitation", "auth_refresh",
  "attestation", "client_request", "unknown",
}

local where = "codex.policy"

local function list_of(given, name) return options.strings(where, given, name) end

local function kinds_of(given)
  local list = list_of(given, "on")
  if given.on == nil or (#list == 1 and list[1] == "*") then return nil end
  if #list == 0 then options.raise(where .. ": option 'on' is an empty list") end
  for _, kind in ipairs(list) do
    if not kinds[kind] then
      options.raise(("%s: there is no kind of request '%s'"):format(where, kind))
    end
  end
  return options.set(list)
end

local function new(given)
  if given == nil then options.raise(where .. ": a table is needed, got nil") end
  options.check(where, given, known)
  for _, name in ipairs { "name", "decide" } do
    if given[name] == nil then options.raise(("%s: option '%s' is missing"):format(where, name)) end
  end
  options.typed(where, given, "name", "string")
  options.typed(where, given, "decide", "function")
  options.typed(where, given, "when", "function")
  options.milliseconds(where, given, "timeout")
  return setmetatable({
    name = given.name, decide = given.decide, when = given.when, timeout = given.timeout,
    _kinds = kinds_of(given), _before = list_of(given, "before"), _after = list_of(given, "after"),
  }, Policy)
end

local function as_policy(value)
  return getmetatable(value) == Policy and value or new(value)
end

-- ---- Files -------------------------------------------------------------------------------------

--- The user's own policies.
function M.folder() return files.config_dir() .. "/policy.d" end

local function named(value, name)
  if type(value) == "function" then return new { name = name, decide = value } end
  if type(value) == "table" and value.name == nil then
    local copy = { name = name }
    for key, one in pairs(value) do copy[key] = one end
    value = copy
  end
  return as_policy(value)
end

--- What a policy file returned, as a list of policies.
local function policies_of(value, name)
  if type(value) == "table" and getmetatable(value) ~= Policy and value.decide == nil then
    local list = {}
    for i, one in ipairs(plugin.list(value, "a policy")) do
      list[i] = named(one, ("%s#%d"):format(name, i))
    end
    return list
  end
  return { named(value, name) }
end

--- Reads a policy file. It returns a policy (a plain table will do), a list of policies, or a
--- function that decides. What has no name is named after the file.
---@async
---@param path string
---@return codex.Policy[]?
---@return codex.Error? kind `policy`: it cannot be used, with file and line; kind `io`: not read
function M.load(path)
  return plugin.load(path, "policy", policies_of)
end

--- Reads every *.lua of a folder, in the order of their names. One that cannot be used is an error:
--- to go on without it would approve what it forbids. A folder that is not there has no policies.
---@async
---@param dir string
---@return codex.Policy[]?
---@return codex.Error?
function M.load_folder(dir)
  local paths, err = plugin.files(dir, "policy")
  if not paths then return nil, err end
  local all = {}
  for _, path in ipairs(paths) do
    local list
    list, err = M.load(path)
    if not list then return nil, err end
    table.move(list, 1, #list, #all + 1, all)
  end
  return all
end

-- ---- Order -------------------------------------------------------------------------------------

--- For each policy the set of those that must come before it. Names that nobody has are ignored.
local function predecessors(list, by_name)
  local before = {}
  for _, policy in ipairs(list) do before[policy] = {} end
  for _, policy in ipairs(list) do
    for _, name in ipairs(policy._before) do
      if by_name[name] then before[by_name[name]][policy] = true end
    end
    for _, name in ipairs(policy._after) do
      if by_name[name] then before[policy][by_name[name]] = true end
    end
  end
  return before
end

--- Puts a policy behind those that must come before it. `path` is how it was come to; when it comes
--- again the names from there on are returned: they are a circle.
local function place(policy, list, before, ordered, path)
  if ordered[policy] then return nil end
  path[#path + 1] = policy.name
  if path[policy] then
    local names = {}
    for i = #path, path[policy], -1 do names[#names + 1] = path[i] end
    return names
  end
  path[policy] = #path
  for _, other in ipairs(list) do
    local circle = before[policy][other] and place(other, list, before, ordered, path)
    if circle then return circle end
  end
  path[#path], path[policy] = nil, nil
  ordered[#ordered + 1], ordered[policy] = policy, true
end

--- Policies in the order in which they are asked: what `before` and `after` say, and otherwise as
--- given.
---@param list codex.Policy[]
---@return codex.Policy[]?
---@return codex.Error? kind `policy`: two of one name, or a circle, with the names on it
function M.order(list)
  local by_name, policies = {}, {}
  for i, one in ipairs(list) do
    local policy = as_policy(one)
    if by_name[policy.name] then
      return nil, E.new("policy", ("there are two policies '%s'"):format(policy.name))
    end
    by_name[policy.name], policies[i] = policy, policy
  end
  local before, ordered, sorted = predecessors(policies, by_name), {}, {}
  for _, policy in ipairs(policies) do
    local circle = place(policy, policies, before, ordered, {})
    if circle then
      local names = table.concat(circle, " before ")
      return nil, E.new("policy", "the order of policies goes round in a circle: " .. names)
    end
  end
  return table.move(ordered, 1, #ordered, 1, sorted)
end

-- ---- Deciding ----------------------------------------------------------------------------------

---@class codex.DecisionRecord
---@field decision string the word that was decided; "error" where Codex gets an error reply
---@field policy string who decided, "default" when nobody did
---@field why? string why the answer is not a policy's own
---@field seconds number
---@field unwritten? boolean it does not count, as it could not be written down
---@field grant? table amendment, network, permissions and scope of the decision

---@class codex.Decider
---@field timeout number
local Decider = {}
Decider.__index = require("codex.base.class").methods(Decider)
Decider.__name = "codex.decider"

local decider_options = options.set { "timeout", "log", "audit" }

---@class codex.DeciderOptions
---@field timeout? number seconds for all policies together (60)
---@field log? fun(level: string, message: string) in place of codex.log
---@field audit? codex.Audit where decisions are written down

--- A decider for these policies.
---@param list codex.Policy[] or plain tables, as codex.policy takes them
---@param given? codex.DeciderOptions
---@return codex.Decider?
---@return codex.Error? kind `policy`: see codex.policy.order
function M.decider(list, given)
  given = options.check("codex.policy.decider", given, decider_options)
  options.milliseconds("codex.policy.decider", given, "timeout")
  options.typed("codex.policy.decider", given, "log", "function")
  options.typed("codex.policy.decider", given, "audit", "table")
  if type(list) ~= "table" then options.raise "codex.policy.decider: a list is needed" end
  local ordered, err = M.order(list)
  if not ordered then return nil, err end
  return setmetatable({ timeout = given.timeout or 60, _policies = ordered, _audit = given.audit,
    _log = given.log or function(level, message) log[level]("%s", message) end }, Decider)
end

--- What it is about, in one line, also where the request is malformed.
local function brief(request)
  local ok, text = pcall(approval.describe, request)
  local line = ok and text:gsub("%s*\n%s*", " ") or "a malformed request"
  return #line > 200 and line:sub(1, (utf8.offset(line, 0, 200) or 200) - 1) .. "..." or line
end

local function ask(policy, request)
  if policy.when and not policy.when(request) then return nil end
  return policy.decide(request)
end

--- Asks a policy, and does all that might run more of its code, as the metamethods of what it
--- returns or raises: what comes out is plain. "decided" and the decision, "failed" and why, or
--- "none".
local function opinion(policy, request)
  local ok, decision, why = guard.safely(ask, policy, request)
  if not ok then return "failed", decision end
  if decision == nil and why ~= nil then return "failed", guard.text(why) end
  if decision == nil then return "none" end
  local is_plain, plain = pcall(pack.copy, decision)
  if not is_plain then return "failed", "its decision: " .. guard.text(plain) end
  return "decided", plain
end

--- The request for one policy: what it does to that nobody else sees, and it grants nothing. A
--- session and a client are no values that could be copied.
local function copy(request)
  local session, client = request.session, request.client
  local plain = {}
  for key, value in pairs(request) do plain[key] = value end
  plain.session, plain.client = nil, nil
  plain = pack.copy(plain)
  plain.client = client
  plain.session = session and require("codex.base.environment").session(session)
  return plain
end

local function is_no(decision)
  local word = type(decision) == "table" and decision.decision or decision
  return word == "decline" or word == "cancel"
end

--- The safe answer and its record; an error reply where the request is malformed.
local function safely(request, name, why)
  local ok, result = pcall(approval.safe, request)
  result = ok and result or nil
  return result, { decision = result and "decline" or "error", policy = name, why = why }
end

--- A policy's answer as result and record; nil, nil, and why it makes no sense.
local function accepted(request, policy, decision)
  local result, err = approval.result(request, decision)
  if not result then
    if is_no(decision) and not approval.safe(request) then return safely(request, policy.name) end
    return nil, nil, err.message
  end
  json.encode(result)
  local word = type(decision) == "table" and decision.decision or decision
  local grant = approval.decision(request, { result = result }).grant
  return result, { decision = word, policy = policy.name, grant = grant }
end

--- What one policy says: result and record; nothing without an opinion; or nil, nil, and why that
--- is the safe answer. An answer that comes when its time is over comes too late, whatever held it
--- up. What it leaves is asked again in the end.
local function hear(policy, request, limit, left)
  local started = uv.hrtime()
  local outcome = guard.run(tostring(policy), limit, opinion, policy, copy(request))
  local seconds = (uv.hrtime() - started) / 1e9
  if outcome.timed_out or seconds > limit then return nil, nil, "timed out" end
  if outcome.err ~= nil then return nil, nil, "failed: " .. guard.text(outcome.err) end
  left[#left + 1] = { policy = policy, late = outcome.late }
  if outcome[1] == "none" then return nil end
  if outcome[1] == "failed" then return nil, nil, "failed: " .. outcome[2] end
  local ok, result, record, problem = pcall(accepted, request, policy, outcome[2])
  if ok and record then return result, record end
  return nil, nil, "failed: " .. guard.text(ok and problem or result)
end

--- A log that cannot be written changes no decision, nor does a policy that has spoiled `string`.
function Decider:_say(level, format, ...)
  pcall(function(...) self._log(level, format:format(...)) end, ...)
end

--- What a policy's failure comes to.
function Decider:_fail(policy, request, why)
  why = approval.visible(log.redact(why))
  self:_say("warn", "%s: %s: not approved: %s", tostring(policy), why, brief(request))
  return safely(request, policy.name, why)
end

--- Asks one policy: result and record when it decided or failed, nothing when it has no opinion.
function Decider:_ask(policy, request, seconds, left)
  local limit = math.min(policy.timeout or seconds, seconds)
  local result, record, why = hear(policy, request, limit, left)
  if record or not why then return result, record end
  if why == "timed out" then
    why = ("timed out after %g s"):format(policy.timeout == limit and limit or self.timeout)
  end
  return self:_fail(policy, request, why)
end

--- The answer, where none of the policies that were asked has failed since with what it had left.
function Decider:_settle(request, left, result, record)
  for _, each in ipairs(left) do
    local why = each.late()
    if why then return self:_fail(each.policy, request, "failed: " .. why) end
  end
  return result, record
end

--- What a client does by itself is shown only to those who want to see it: who accepts commands
--- has not thought of that.
local function wants(policy, kind)
  if policy._kinds then return policy._kinds[kind] end
  return kind ~= "client_request"
end

function Decider:_ask_all(request, started, pass)
  local left = {}
  for _, policy in ipairs(self._policies) do
    if wants(policy, request.kind) then
      local seconds = math.max(self.timeout - (uv.hrtime() - started) / 1e9, 0)
      local result, record = self:_ask(policy, request, seconds, left)
      if record then return self:_settle(request, left, result, record) end
    end
  end
  local result, record = self:_settle(request, left)
  if record or pass then return result, record end
  self:_say("warn", "no policy decided: not approved: %s", brief(request))
  return safely(request, "default", "no policy decided")
end

--- Writes a decision down before it counts. Where that is required and fails, it does not count.
---@param request codex.ApprovalRequest
---@param result table? what Codex would get
---@param record codex.DecisionRecord
---@return table? result what it gets; nil for an error reply
---@return codex.DecisionRecord record another one where the decision does not count
function Decider:write_down(request, result, record)
  local audit = self._audit
  if not audit then return result, record end
  local ok, written, err = pcall(audit.record, audit, request, record)
  if ok and written then return result, record end
  local problem = guard.text(ok and err or written)
  self:_say("error", "the decision was not written down: %s", problem)
  if not audit.required then return result, record end
  local why = "failed: the audit cannot be written: " .. problem
  local answer, instead = safely(request, record.policy, why)
  instead.seconds, instead.unwritten = record.seconds, true
  return answer, instead
end

function Decider:_decide(request, started, given)
  local result, record = self:_ask_all(request, started, given and given.pass)
  if not record then return nil end
  record.seconds = (uv.hrtime() - started) / 1e9
  self:_say("info", "%s: %s: %s", record.policy, record.decision, brief(request))
  return self:write_down(request, result, record)
end

--- Asks the policies and says what to answer. There is an answer whatever the policies and the
--- request are: what is raised here means no.
---@async
---@param request codex.ApprovalRequest
---@param given? { pass?: boolean } pass: where no policy has an opinion somebody else is asked:
---  then there is neither a result nor a record
---@return table? result to send; nil for an error reply
---@return codex.DecisionRecord?
function Decider:decide(request, given)
  local started = uv.hrtime()
  local ok, result, record = pcall(self._decide, self, request, started, given)
  if ok then return result, record end
  if async.is_end(result) then error(result, 0) end -- that deciding was ended is no answer
  local why = "failed: " .. guard.text(result)
  self:_say("error", "not approved: %s", why)
  result, record = safely(request, "default", why)
  record.seconds = (uv.hrtime() - started) / 1e9
  return self:write_down(request, result, record)
end

-- ---- Ready-made --------------------------------------------------------------------------------

for _, name in ipairs { "always", "read_only", "external", "ask_terminal" } do
  --- See codex.policies.
  M[name] = function(...) return require("codex.policies")[name](...) end
end

return setmetatable(M, { __call = function(_, given) return new(given) end })
