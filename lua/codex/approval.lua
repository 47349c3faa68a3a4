--- Approvals: what Codex's app-server asks its client, in one form, and the answers it understands.
---
--- Codex asks in nine ways (two of them are left from old versions), each with fields and answers
--- of its own. Here each becomes a request with what a person needs to decide, and a decision in
--- one of four words becomes the result that the method wants. Fields and words are those of the
--- schemas that `codex app-server generate-json-schema` writes (0.101.0, 0.153.4, 0.169.0).

local E = require "codex.error"
local json = require "codex.json"

local M = {}

---@alias codex.ApprovalKind
---| "command"|"file_change"|"permissions"|"user_input"|"elicitation"
---| "auth_refresh"|"attestation" only somebody with the account can answer these
---| "client_request" what a client of a strict launcher wants to do without being asked
---| "unknown" a request of a newer Codex

---@class codex.ApprovalRequest
---@field kind codex.ApprovalKind
---@field method string
---@field params table as sent
---@field thread_id? string
---@field turn_id? string
---@field item_id? string
---@field item? table the item of the item/started before it
---@field reason? string why the model wants it, in its own words
---@field cwd? string
---@field command? string command: as the shell would read it
---@field argv? string[] command: old versions send words
---@field actions? table[] command: what Codex takes its parts for; a guess, for people
---@field amendment? string[] command: the argv prefix Codex offers to allow from now on
---@field choices? (string|table)[] command: availableDecisions, as sent
---@field is_unknown? boolean command: neither the request nor its item says which one it is
---@field network? { host: string, protocol: string } command: what it wants to reach
---@field network_amendments? { host: string, action: string }[] command: rules Codex offers to add
---@field command_kind? "command"|"writeStdin"|"humanCommand" command: since 0.153
---@field additional_permissions? table command: on top of the sandbox
---@field changes? codex.ApprovalChange[] file_change
---@field grant_root? string file_change: folder that becomes writable for the session
---@field permissions? table permissions: fileSystem and network, as sent
---@field questions? table[] user_input: id, header, question, options, isOther, isSecret
---@field is_blocking? boolean user_input: the turn waits for the answer
---@field server? string elicitation: the MCP server
---@field message? string elicitation
---@field mode? string elicitation: "form", "url", "openai/form", "openai/userVerification", ...
---@field schema? table elicitation: of the content
---@field url? string elicitation
---@field tool? codex.ApprovalTool elicitation: of an MCP tool call
---@field what? string client_request: what it would do, in words
---@field fields? string[] client_request: all parameters that do, such as `config.features`; none
---  where it is the method itself
---@field client? string client_request: name and version that the client gave itself: any client
---  may take any name, so it is no reason to accept
---@field persist? string[] elicitation: how long an answer may be kept, "session", "always"

---@class codex.ApprovalTool
---@field name? string
---@field is_unnamed? boolean Codex does not say which tool it is (up to 0.164); the message may, in
---  words that nobody has checked
---@field title? string what the server calls it, for people
---@field description? string
---@field params? table what it is called with

---@class codex.ApprovalChange
---@field path string
---@field kind "add"|"delete"|"update"
---@field move_path? string
---@field diff string of a new or deleted file its content

---@alias codex.DecisionWord "accept"|"accept_for_session"|"decline"|"cancel"

---@class codex.Decision
---@field decision codex.DecisionWord
---@field amendment? string[] command, with accept: allow what begins with these words from now on
---@field network? { host: string, action: "allow"|"deny" } command: a rule for a host from now on
---@field answers? table<string, string|string[]> user_input: by question id
---@field content? table elicitation: the filled-in form; auth_refresh, attestation: the result
---@field permissions? table permissions: what is granted, all that was asked by default
---@field scope? "turn"|"session" permissions

-- ---- Requests ----------------------------------------------------------------------------------

local kinds = {
  ["item/commandExecution/requestApproval"] = "command",
  ["item/fileChange/requestApproval"] = "file_change",
  ["item/permissions/requestApproval"] = "permissions",
  ["item/tool/requestUserInput"] = "user_input",
  ["mcpServer/elicitation/request"] = "elicitation",
  ["account/chatgptAuthTokens/refresh"] = "auth_refresh",
  ["attestation/generate"] = "attestation",
  execCommandApproval = "command",
  applyPatchApproval = "file_change",
}

local legacy = { execCommandApproval = true, applyPatchApproval = true }

--- The value, or nil for JSON's null.
local function given(value)
  if value ~= json.null then return value end
end

local function table_of(value) return type(value) == "table" and value or nil end

local function quote(word)
  if word:find "^[%w_@%%+=:,./-]+$" then return word end
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

local function quoted(words)
  local list = {}
  for i, word in ipairs(words) do list[i] = quote(tostring(word)) end
  return table.concat(list, " ")
end

--- Parsed commands of old versions in today's words.
local function modern_actions(parsed)
  local actions = {}
  for i, one in ipairs(parsed or {}) do
    actions[i] = {
      type = one.type == "list_files" and "listFiles" or one.type, command = given(one.cmd),
      name = given(one.name), path = given(one.path), query = given(one.query),
    }
  end
  return actions
end

local function text_of(value) return type(value) == "string" and value or nil end

--- The request's item, where it is of this type.
local function item_of(request, type_)
  local item = table_of(request.item)
  return item and item.type == type_ and item or nil
end

local fill = {}

--- Up to 0.87 (0.101.0 is the first that was seen to do better) the command is in its item only.
function fill.command(request, params)
  local command = given(params.command)
  if type(command) == "table" then
    request.argv, request.command = command, quoted(command)
    request.actions = modern_actions(table_of(params.parsedCmd))
    return
  end
  local item = command == nil and item_of(request, "commandExecution") or {}
  request.command = command or text_of(item.command)
  request.cwd = request.cwd or text_of(item.cwd)
  request.actions = table_of(params.commandActions) or table_of(item.commandActions)
  request.amendment = table_of(params.proposedExecpolicyAmendment)
  request.choices = table_of(params.availableDecisions)
  request.network = table_of(params.networkApprovalContext)
  request.network_amendments = table_of(params.proposedNetworkPolicyAmendments)
  request.command_kind = given(params.kind)
  request.additional_permissions = table_of(params.additionalPermissions)
  request.is_unknown = request.command == nil and not request.network or nil
end

--- Changes of a fileChange item, whose kind is a table.
local function item_changes(list)
  local changes = {}
  for i, change in ipairs(list) do
    local kind = table_of(change.kind) or {}
    changes[i] = { path = change.path, kind = kind.type, move_path = given(kind.move_path),
      diff = given(change.diff) or "" }
  end
  return changes
end

--- Changes of applyPatchApproval, which are a map by path.
local function mapped_changes(map)
  local changes = {}
  for path, change in pairs(map) do
    changes[#changes + 1] = { path = path, kind = change.type, move_path = given(change.move_path),
      diff = given(change.unified_diff) or given(change.content) or "" }
  end
  table.sort(changes, function(a, b) return a.path < b.path end)
  return changes
end

function fill.file_change(request, params)
  local item = request.item
  request.grant_root = given(params.grantRoot)
  if table_of(params.fileChanges) then
    request.changes = mapped_changes(params.fileChanges)
  elseif item and table_of(item.changes) then
    request.changes = item_changes(item.changes)
  end
end

function fill.permissions(request, params) request.permissions = table_of(params.permissions) end

function fill.user_input(request, params)
  request.questions = table_of(params.questions) or {}
  request.is_blocking = given(params.isBlocking)
end

local function words_of(value)
  if type(value) == "string" then return { value } end
  return table_of(value)
end

function fill.elicitation(request, params)
  request.server, request.mode = given(params.serverName), given(params.mode)
  request.message = given(params.message) or given(params.description) or given(params.title)
  request.schema, request.url = table_of(params.requestedSchema), given(params.url)
  local meta = table_of(params._meta) or {}
  request.persist = words_of(given(meta.persist))
  if meta.codex_approval_kind == "mcp_tool_call" then
    request.tool = {
      name = text_of(meta.tool_name), title = text_of(meta.tool_title),
      description = text_of(meta.tool_description), params = table_of(meta.tool_params),
    }
    request.tool.is_unnamed = not request.tool.name or nil
  end
end

--- A request from the app-server in the form that policies see; nil for a method that is no
--- question to a person (item/tool/call, currentTime/read).
---@param method string
---@param params? table
---@param item? table the item of the item/started with the request's item id
---@return codex.ApprovalRequest?
function M.request(method, params, item)
  local kind = kinds[method] or (method:find "requestApproval$" and "unknown")
  if not kind then return nil end
  params = table_of(params) or {}
  local request = {
    kind = kind, method = method, params = params, item = item,
    thread_id = given(params.threadId) or given(params.conversationId),
    turn_id = given(params.turnId), item_id = given(params.itemId) or given(params.callId),
    reason = given(params.reason), cwd = given(params.cwd),
  }
  if fill[kind] then fill[kind](request, params) end
  return request
end

-- ---- Decisions ---------------------------------------------------------------------------------

local words = {
  accept = "accept", accept_for_session = "acceptForSession", decline = "decline",
  cancel = "cancel",
}

--- The two old methods know these. From about 0.140 on the schema has { denied = { rejection } } in
--- place of "denied", but those versions do not send the old methods any more.
local legacy_words = {
  accept = "approved", accept_for_session = "approved_for_session", decline = "denied",
  cancel = "abort",
}

--- Which fields of a decision belong to which kind.
local fields = {
  amendment = { command = true }, network = { command = true }, answers = { user_input = true },
  content = { elicitation = true, auth_refresh = true, attestation = true },
  permissions = { permissions = true }, scope = { permissions = true }, decision = true,
}

local function refuse(format, ...) return nil, E.new("policy", format:format(...)) end

local function is_word_list(list)
  if type(list) ~= "table" or #list == 0 then return false end
  for key, word in pairs(list) do
    if math.type(key) ~= "integer" or type(word) ~= "string" then return false end
  end
  return true
end

--- A decision as a table, when it is one that can be taken about this kind.
local function normal(request, decision)
  if type(decision) == "string" then decision = { decision = decision } end
  if type(decision) ~= "table" then
    return refuse("a decision is a word or a table, got %s", type(decision))
  end
  if not words[decision.decision] then
    return refuse("'%s' is no decision; those are accept, accept_for_session, decline and cancel",
      tostring(decision.decision))
  end
  for name, value in pairs(decision) do
    local use = fields[name]
    if not use then return refuse("a decision has no field '%s'", tostring(name)) end
    if use ~= true and not use[request.kind] then
      return refuse("'%s' makes no sense for a request of kind %s", name, request.kind)
    end
    if use ~= true and name ~= "scope" and type(value) ~= "table" then
      return refuse("'%s' must be a table, got %s", name, type(value))
    end
  end
  return decision
end

local answer = {}

local function amended(request, decision)
  if decision.decision ~= "accept" then return refuse "an amendment goes with accept only" end
  if not is_word_list(decision.amendment) then
    return refuse "an amendment is a list of words"
  end
  local list = json.array { table.unpack(decision.amendment) }
  if legacy[request.method] then
    return { decision = {
      approved_execpolicy_amendment = { proposed_execpolicy_amendment = list },
    } }
  end
  return { decision = { acceptWithExecpolicyAmendment = { execpolicy_amendment = list } } }
end

--- A rule for a host is taken with the word that says the same.
local function network_rule(request, decision)
  local rule = decision.network
  local word = ({ allow = "accept", deny = "decline" })[rule.action]
  if legacy[request.method] then return refuse "old requests take no network rule" end
  if type(rule.host) ~= "string" or not word then
    return refuse "a network rule has a host and an action, allow or deny"
  end
  if decision.decision ~= word then
    return refuse("to %s a host goes with %s only", rule.action, word)
  end
  return { decision = { applyNetworkPolicyAmendment = {
    network_policy_amendment = { host = rule.host, action = rule.action },
  } } }
end

function answer.command(request, decision)
  if decision.amendment and decision.network then
    return refuse "an amendment and a network rule cannot be given at once"
  end
  if decision.amendment then return amended(request, decision) end
  if decision.network then return network_rule(request, decision) end
  local of = legacy[request.method] and legacy_words or words
  return { decision = of[decision.decision] }
end

answer.file_change = answer.command

function answer.permissions(request, decision)
  local scope = decision.scope
  if scope ~= nil and scope ~= "turn" and scope ~= "session" then
    return refuse "the scope is turn or session"
  end
  if decision.decision == "decline" or decision.decision == "cancel" then
    if decision.permissions then return refuse "declining grants no permissions" end
    return { permissions = json.object {}, scope = "turn" }
  end
  local for_session = decision.decision == "accept_for_session"
  if for_session and scope == "turn" then
    return refuse "accept_for_session is not for a turn only"
  end
  local granted = decision.permissions or request.permissions
  if not granted then return refuse "nothing was asked for that could be granted" end
  return { permissions = next(granted) == nil and json.object {} or granted,
    scope = for_session and "session" or scope or "turn" }
end

local function is_question(request, id)
  for _, question in ipairs(request.questions) do
    if question.id == id then return true end
  end
  return false
end

function answer.user_input(request, decision)
  local answers = json.object {}
  if decision.decision == "decline" or decision.decision == "cancel" then
    if decision.answers then return refuse "declining has no answers" end
    return { answers = answers }
  end
  if decision.decision ~= "accept" then return refuse "answers are not for a session" end
  if not decision.answers or next(decision.answers) == nil then
    return refuse "accepting questions needs answers"
  end
  for id, text in pairs(decision.answers) do
    local list = type(text) == "string" and { text } or text
    if not is_question(request, id) then
      return refuse("there is no question '%s'", tostring(id))
    end
    if not is_word_list(list) then
      return refuse("the answer to '%s' must be a text or a list of texts", id)
    end
    answers[id] = { answers = json.array { table.unpack(list) } }
  end
  return { answers = answers }
end

local checks = {
  string = function(value) return type(value) == "string" end,
  boolean = function(value) return type(value) == "boolean" end,
  number = function(value) return type(value) == "number" end,
  integer = function(value) return math.type(value) == "integer" end,
  array = function(value) return type(value) == "table" end,
}

--- What is wrong with a filled-in form: what is required must be there and of its type. The server
--- that asked checks the rest.
local function content_problem(schema, content)
  for _, name in ipairs(table_of(schema.required) or {}) do
    if given(content[name]) == nil then return ("the form needs '%s'"):format(name) end
  end
  for name, property in pairs(table_of(schema.properties) or {}) do
    local check = type(property) == "table" and checks[property.type]
    if content[name] ~= nil and check and not check(content[name]) then
      return ("'%s' of the form must be of type %s"):format(name, property.type)
    end
  end
end

local function offers(list, word)
  for _, one in ipairs(list or {}) do
    if one == word then return true end
  end
  return false
end

function answer.elicitation(request, decision)
  local word = decision.decision
  if word == "decline" or word == "cancel" then
    if decision.content then return refuse "declining has no content" end
    return { action = word }
  end
  local schema = request.schema
  if not schema and request.mode ~= "url" and not decision.content then
    return refuse("accepting an elicitation of mode '%s' needs content", tostring(request.mode))
  end
  local problem = schema and content_problem(schema, decision.content or {})
  if problem then return refuse("%s", problem) end
  -- Codex reads "session" and "always" from the answer's _meta where its request offered them.
  local keep = word == "accept_for_session" and offers(request.persist, "session")
  local content = decision.content or (schema and json.object {}) or nil
  if content and next(content) == nil then content = json.object {} end
  return { action = "accept", content = content, _meta = keep and { persist = "session" } or nil }
end

--- What only somebody with the account's tokens can answer.
local function handed(needed)
  return function(_, decision)
    if decision.decision ~= "accept" then
      return refuse "this can only be refused with an error reply"
    end
    for _, name in ipairs(needed) do
      if type((decision.content or {})[name]) ~= "string" then
        return refuse("accepting this needs content with '%s'", name)
      end
    end
    return decision.content
  end
end

answer.auth_refresh = handed { "accessToken", "chatgptAccountId" }
answer.attestation = handed { "token" }

--- This goes to the launcher, not to Codex.
function answer.client_request(_, decision)
  if decision.decision == "accept_for_session" then
    return refuse "what a client does is accepted once, or not at all"
  end
  return { allowed = decision.decision == "accept" }
end

function answer.unknown(request)
  return refuse("'%s' is unknown; it can only be refused with an error reply", request.method)
end

--- The result for a decision, to be sent to Codex.
---@param request codex.ApprovalRequest
---@param decision codex.DecisionWord|codex.Decision
---@return table?
---@return codex.Error? error of kind `policy`: the decision makes no sense for this request
function M.result(request, decision)
  local normalized, err = normal(request, decision)
  if not normalized then return nil, err end
  return answer[request.kind](request, normalized)
end

--- The answer that lets nothing happen: decline, no permissions, no answers.
---@param request codex.ApprovalRequest
---@return table? nil where only an error reply is safe (auth_refresh, attestation, unknown)
function M.safe(request) return (M.result(request, "decline")) end

-- ---- Answers of others, in our words -----------------------------------------------------------

---@class codex.DecisionRead
---@field decision codex.DecisionWord|"error"
---@field grant? { amendment?: string[], network?: table, permissions?: table, scope?: string }
---@field why? string what the answer says of itself, or why Codex will not take it

--- Every spelling of a decision that Codex, MCP or older logs of ours have.
local spellings = {
  accept = "accept", approved = "accept", approved_mcp_policy_amendment = "accept",
  acceptWithExecpolicyAmendment = "accept", approved_execpolicy_amendment = "accept",
  applyNetworkPolicyAmendment = "accept", network_policy_amendment = "accept",
  answered = "accept", -- our logs had this where an answer is no word: permissions, questions
  accept_for_session = "accept_for_session", acceptForSession = "accept_for_session",
  approved_for_session = "accept_for_session",
  decline = "decline", denied = "decline", timed_out = "decline",
  cancel = "cancel", abort = "cancel",
}

--- The decision that a word means, whoever's word it is; nil for a word that is not known.
---@param spelling any
---@return codex.DecisionWord?
function M.word(spelling) return spellings[spelling] end

--- Codex takes what it does not understand for a failed approval.
local function not_understood(what)
  return { decision = "error", why = ("an answer that Codex does not know: %s"):format(what) }
end

local function inverse(map)
  local result = {}
  for key, value in pairs(map) do result[value] = key end
  return result
end

local function with_amendment(list)
  return table_of(list) and { decision = "accept", grant = { amendment = list } }
end

local function with_rule(body)
  local rule = table_of(body.network_policy_amendment) or {}
  local word = ({ allow = "accept", deny = "decline" })[rule.action]
  return word and { decision = word, grant = { network = rule } }
end

--- The words that come alone.
local wire_words, legacy_wire_words = inverse(words), inverse(legacy_words)
legacy_wire_words.approved_mcp_policy_amendment = "accept"
legacy_wire_words.timed_out = "decline"

--- The words that carry something with them: what they say, or nil where Codex would not take it.
local carried = { applyNetworkPolicyAmendment = with_rule }
local legacy_carried = { network_policy_amendment = with_rule }

function carried.acceptWithExecpolicyAmendment(body)
  return with_amendment(body.execpolicy_amendment)
end

function legacy_carried.approved_execpolicy_amendment(body)
  return with_amendment(body.proposed_execpolicy_amendment)
end

function legacy_carried.denied(body)
  return { decision = "decline", why = given(body.rejection) }
end

--- Codex reads `{ "accept": null }` as the word alone.
local function word_of(value)
  if type(value) ~= "table" then return value end
  local name, body = next(value)
  return body == json.null and next(value, name) == nil and name or value
end

--- A word, or one that carries something: a table of one member.
local function read_command(request, result)
  local is_legacy, word = legacy[request.method], word_of(result.decision)
  if type(word) ~= "table" then
    word = (is_legacy and legacy_wire_words or wire_words)[word]
    return word and { decision = word } or not_understood(tostring(result.decision))
  end
  local name, body = next(word)
  local is_one = name ~= nil and next(word, name) == nil
  local read = is_one and table_of(body) and (is_legacy and legacy_carried or carried)[name]
  return read and read(body) or not_understood(tostring(name))
end

--- Whether a value lets anything happen: true, or a word or number somewhere inside.
local function has_substance(value)
  if type(value) ~= "table" then return value and value ~= json.null end
  for _, one in pairs(value) do
    if has_substance(one) then return true end
  end
  return false
end

local read_answer = { command = read_command, file_change = read_command }

--- In doubt it was allowed: who looks for what was must find it.
function read_answer.unknown(_, result)
  local word = spellings[result.decision] or spellings[result.action]
  return { decision = word or "accept", why = not word and "what this means is not known" or nil }
end

function read_answer.permissions(_, result)
  local permissions = table_of(result.permissions)
  if not permissions then return not_understood "no permissions" end
  if not has_substance(permissions) then return { decision = "decline" } end
  local scope = given(result.scope) or "turn"
  return { decision = scope == "session" and "accept_for_session" or "accept",
    grant = { permissions = permissions, scope = scope } }
end

function read_answer.user_input(_, result)
  local answers = table_of(result.answers)
  if not answers then return not_understood "no answers" end
  return { decision = has_substance(answers) and "accept" or "decline" }
end

function read_answer.elicitation(_, result)
  local word = word_of(result.action)
  if word ~= "accept" and word ~= "decline" and word ~= "cancel" then
    return not_understood(tostring(word))
  end
  local persist = (table_of(result._meta) or {}).persist
  if word ~= "accept" or persist ~= "session" and persist ~= "always" then
    return { decision = word }
  end
  return { decision = "accept_for_session", grant = { scope = persist } }
end

function read_answer.client_request(_, result)
  return { decision = result.allowed == true and "accept" or "decline" }
end

function read_answer.auth_refresh() return { decision = "accept" } end
read_answer.attestation = read_answer.auth_refresh

--- What an answer to a request decides, in our words, whoever gave it: the way back from `result`.
--- What was filled in or answered is not part of it.
---@param request codex.ApprovalRequest
---@param reply { result?: any, error?: any } as JSON-RPC has it
---@return codex.DecisionRead
function M.decision(request, reply)
  if given(reply.error) ~= nil then
    local message = (table_of(reply.error) or {}).message
    return { decision = "error", why = type(message) == "string" and message or nil }
  end
  local result = table_of(reply.result)
  return result and read_answer[request.kind](request, result) or not_understood "no object"
end

-- ---- Words for people --------------------------------------------------------------------------

--- Characters that change how a line looks without being seen: bidirectional controls, zero-width
--- ones and fillers, line separators, tags.
local invisible = {
  { 0x80, 0x9f }, { 0xad, 0xad }, { 0x34f, 0x34f }, { 0x61c, 0x61c }, { 0x115f, 0x1160 },
  { 0x180b, 0x180f }, { 0x200b, 0x200f }, { 0x2028, 0x202e }, { 0x2060, 0x206f },
  { 0x3164, 0x3164 }, { 0xfeff, 0xfeff }, { 0xffa0, 0xffa0 }, { 0xfff0, 0xfffb },
  { 0x1d173, 0x1d17a }, { 0xe0000, 0xe0fff },
}

local function is_invisible(code)
  for _, range in ipairs(invisible) do
    if code <= range[2] then return code >= range[1] end
  end
  return false
end

local function shown_character(character)
  local code = utf8.codepoint(character)
  if is_invisible(code) then return ("<U+%04X>"):format(code) end
end

local function caret(character) return "^" .. string.char(character:byte() ~ 64) end

local function visible_part(text)
  text = text:gsub("[%z\1-\8\11-\31\127]", caret)
  return (text:gsub("[\xc2-\xf4][\x80-\xbf]+", shown_character))
end

--- A text with all that could move a terminal's cursor, or hide, made visible. Newlines and tabs
--- stay. Escape becomes ^[, bytes that are not UTF-8 become \xNN.
---@param text string
---@return string
function M.visible(text)
  local pieces, at = {}, 1
  while true do
    local _, bad = utf8.len(text, at)
    pieces[#pieces + 1] = visible_part(text:sub(at, (bad or 0) - 1))
    if not bad then return table.concat(pieces) end
    pieces[#pieces + 1] = ("\\x%02X"):format(text:byte(bad))
    at = bad + 1
  end
end

local function escaped(character)
  local code = utf8.codepoint(character)
  if code < 0x10000 then return is_invisible(code) and ("\\u%04x"):format(code) or nil end
  if not is_invisible(code) then return nil end
  code = code - 0x10000
  return ("\\u%04x\\u%04x"):format(0xd800 | code >> 10, 0xdc00 | code & 0x3ff)
end

--- JSON that says the same and has nothing in it that a terminal would obey or that hides.
---@param text string valid JSON
---@return string
function M.visible_json(text)
  return (text:gsub("\127", "\\u007f"):gsub("[\xc2-\xf4][\x80-\xbf]+", escaped))
end

local DIFF_LINES = 200
local SENT_LIMIT = 64 << 10 -- bytes of a message that are shown

--- Adds a text's lines, each behind a mark, so that a text cannot pretend to be something else.
local function add_text(lines, mark, text, limit)
  local count = 0
  for line in (tostring(text):gsub("\n$", "") .. "\n"):gmatch "([^\n]*)\n" do
    count = count + 1
    if not limit or count <= limit then lines[#lines + 1] = mark .. line end
  end
  if limit and count > limit then
    lines[#lines + 1] = ("%s... %d more lines"):format(mark, count - limit)
  end
end

local function as_json(value) return json.encode(value, { repair = true }) end

local titles = {
  command = { command = "Run a command", humanCommand = "Run a command of yours",
    writeStdin = "Send input to a running command" },
}

local tell = {}

function tell.command(request, lines)
  lines[1] = titles.command[request.command_kind or "command"] or "Run a command"
  if request.command then add_text(lines, "  $ ", request.command) end
  if request.is_unknown then lines[2] = "  (Codex did not say which)" end
  local network = request.network
  if network then
    add_text(lines, "  reaches: ", ("%s (%s)"):format(tostring(network.host),
      tostring(network.protocol)))
  end
  if request.additional_permissions then
    add_text(lines, "  wants also: ", as_json(request.additional_permissions))
  end
  if request.amendment then
    add_text(lines, "  could be allowed from now on: ", quoted(request.amendment) .. " ...")
  end
end

function tell.file_change(request, lines)
  lines[1] = "Change files"
  if not request.changes then lines[2] = "  (Codex did not say which)" end
  for _, change in ipairs(request.changes or {}) do
    local to = change.move_path and " -> " .. change.move_path or ""
    add_text(lines, "  ", ("%s %s%s"):format(tostring(change.kind), tostring(change.path), to))
    add_text(lines, "    | ", change.diff, DIFF_LINES)
  end
  if request.grant_root then
    add_text(lines, "  makes writable for the session: ", request.grant_root)
  end
end

function tell.permissions(request, lines)
  lines[1] = "Grant permissions"
  add_text(lines, "  ", as_json(request.permissions or json.object {}))
end

function tell.user_input(request, lines)
  lines[1] = "Answer questions"
  for _, question in ipairs(request.questions) do
    add_text(lines, "  ? ", ("%s: %s"):format(tostring(question.header),
      tostring(question.question)))
    for _, option in ipairs(table_of(question.options) or {}) do
      add_text(lines, "    - ", ("%s: %s"):format(tostring(option.label),
        tostring(option.description)))
    end
  end
end

function tell.elicitation(request, lines)
  local server = tostring(request.server)
  lines[1] = request.tool and "Call a tool of an MCP server" or "Answer an MCP server"
  add_text(lines, "  server: ", server)
  local tool = request.tool
  if tool then
    add_text(lines, "  tool: ", tool.name or "(Codex did not say which)")
    if tool.title then add_text(lines, "    ", tool.title) end
    if tool.description then add_text(lines, "    ", tool.description) end
    if tool.params then add_text(lines, "  arguments: ", as_json(tool.params)) end
  end
  add_text(lines, "  says: ", request.message or "")
  if request.url then add_text(lines, "  url: ", request.url) end
  local properties = request.schema and table_of(request.schema.properties)
  if properties and next(properties) then add_text(lines, "  form: ", as_json(properties)) end
end

function tell.auth_refresh(_, lines) lines[1] = "Give new ChatGPT tokens" end
function tell.attestation(_, lines) lines[1] = "Give an attestation token" end

function tell.client_request(request, lines)
  lines[1] = "Let a client do what nobody would be asked about"
  add_text(lines, "  ", request.what or "?")
  add_text(lines, "  client: ", request.client or "?")
  local sent = as_json { method = request.method, params = request.params }
  -- More is read than shown: what a cut takes from a secret can be what tells that it is one.
  local clean = require("codex.recording").redact(sent:sub(1, 16 * SENT_LIMIT))
  add_text(lines, "  sends: ", clean:sub(1, SENT_LIMIT), DIFF_LINES)
  if #clean > SENT_LIMIT then
    add_text(lines, "  sends: ", ("... of %d bytes in all"):format(#sent))
  end
end

function tell.unknown(request, lines)
  lines[1] = "Something this version does not know"
  add_text(lines, "  ", request.method .. " " .. as_json(request.params))
end

--- What is asked, for a person, in several lines and without anything that a terminal would obey.
---@param request codex.ApprovalRequest
---@return string
function M.describe(request)
  local lines = {}
  tell[request.kind](request, lines)
  if request.cwd then add_text(lines, "  in: ", request.cwd) end
  if request.reason then add_text(lines, "  because: ", request.reason) end
  return M.visible(table.concat(lines, "\n"))
end

return M
