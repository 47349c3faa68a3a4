--- What a client of a strict launcher may do by itself: what decides nothing.
---
--- Approvals are worth what the rest of the protocol leaves of them: a client may switch asking
--- off, have a model answer in place of a person, choose a sandbox that holds nothing, run commands
--- itself, or write such things into the configuration. All of that is a question to the policies
--- (`on = "client_request"`). What is known to be harmless passes, with parameters known to be
--- harmless; everything else, unknown methods, parameters and values too, is a question.
---
--- The methods are those of the schemas that real Codex writes (0.101.0, 0.153.4, 0.169.0).

local json = require "codex.json"

local M = {}

-- ---- Values ------------------------------------------------------------------------------------

-- A check gets a value that is there and is not null, which everywhere means that nothing was said:
-- Codex's own interface sends all parameters that it knows, nearly all of them null. It also gets
-- the workspaces, and returns what the value does, in words, where that is not harmless.

local function is_table(value) return type(value) == "table" end

local array_mark = getmetatable(json.array {})

--- Any value, for it decides nothing.
local function any() end

local function shown(value)
  local text = is_table(value) and json.encode(value, { repair = true }) or tostring(value)
  return #text > 80 and text:sub(1, (utf8.offset(text, 0, 80) or 80) - 1) .. "..." or text
end

--- One of these texts, exactly so.
local function one_of(what, ...)
  local set = {}
  for _, word in ipairs { ... } do set[word] = true end
  return function(value)
    if not set[value] then return what:format(shown(value)) end
  end
end

local function false_only(what)
  return function(value)
    if value ~= false then return what end
  end
end

--- An empty list or object.
local function empty(what)
  return function(value)
    if not is_table(value) or next(value) ~= nil then return what end
  end
end

local function scalar(what)
  return function(value)
    if is_table(value) then return what end
  end
end

--- An object of these members; `what` says what another one is.
local function object(fields, what)
  return function(value)
    if not is_table(value) or getmetatable(value) == array_mark then return what end
    for name, one in pairs(value) do
      local check = fields[name]
      if one ~= json.null then
        if not check then return ("%s ('%s')"):format(what, shown(name)) end
        local problem = check(one)
        if problem then return problem end
      end
    end
  end
end

local approval_policy = one_of("approvals would be asked for in another way (approvalPolicy %s)",
  "untrusted", "on-request", "on-failure")
local reviewer = one_of("approvals would not be for the policies (approvalsReviewer %s)", "user")
local sandbox = one_of("commands would run without a sandbox, or in another (%s)", "read-only",
  "workspace-write")
local network = false_only "commands would reach the network"
local roots = empty "commands could write in more folders"

-- What may be read is all by default; old versions can be told to allow less.
local sandbox_policies = {
  readOnly = object({ type = any, networkAccess = network, access = any },
    "the sandbox would be another"),
  workspaceWrite = object({
    type = any, networkAccess = network, writableRoots = roots, excludeSlashTmp = any,
    excludeTmpdirEnvVar = any, readOnlyAccess = any,
  }, "the sandbox would be another"),
}

local function sandbox_policy(value)
  local check = is_table(value) and sandbox_policies[value.type]
  if check then return check(value) end
  return "commands would run without a sandbox, or in another: " .. shown(value)
end

--- The same as the server says it. Codex 0.120.0 lets commands write in its own folder of memories,
--- which is no client's doing.
local function sandbox_of_thread(value, workspaces)
  if not is_table(value) or not is_table(value.writableRoots) then return sandbox_policy(value) end
  local without, others = {}, {}
  for name, one in pairs(value) do without[name] = one end
  for _, folder in pairs(value.writableRoots) do
    if not workspaces:is_memory(folder) then others[#others + 1] = folder end
  end
  without.writableRoots = others
  return sandbox_policy(without)
end

--- Profiles that every Codex has; a name without a colon is one of the configuration's.
local permissions = one_of("commands would run with other permissions (%s)", ":read-only",
  ":workspace")

local function cwd(value, workspaces)
  if type(value) == "string" then return workspaces:problem(value) end
  return ("the working folder is no text (%s)"):format(shown(value))
end

local MOST_FOLDERS = 100 -- each of them has to be looked at

local function folders(value, workspaces)
  if not is_table(value) then return "the working folders are no list" end
  local count = 0
  for _, one in pairs(value) do
    count = count + 1
    local problem = count > MOST_FOLDERS and "there are too many working folders"
      or cwd(one, workspaces)
    if problem then return problem end
  end
end

local plain = scalar "a setting would be a table"
local settings_of_config = {
  approval_policy = approval_policy, approvals_reviewer = reviewer, sandbox_mode = sandbox,
  model = plain, model_provider = plain, model_reasoning_effort = plain,
  model_reasoning_summary = plain, model_verbosity = plain, model_context_window = plain,
  model_auto_compact_token_limit = plain, model_supports_reasoning_summaries = plain,
  plan_mode_reasoning_effort = plain, review_model = plain, personality = plain,
  service_tier = plain, hide_agent_reasoning = plain, show_raw_agent_reasoning = plain,
  web_search = plain, developer_instructions = plain, compact_prompt = plain, instructions = plain,
}
local config = object(settings_of_config, "a setting would be changed")

--- What `--config key=value` does that is not harmless; nil where that is nothing.
---@param text string
---@return string? problem
function M.setting(text)
  local key, value = text:match "^%s*([^=]-)%s*=%s*(.-)%s*$"
  local check = key and settings_of_config[key]
  if not check then return "a setting would be changed" end
  if value:find "^[%[{]" then return "a setting would be a table" end
  return check(value:match '^"([^"\\]*)"$' or value:match "^'([^']*)'$" or value)
end

-- ---- What the server says ---------------------------------------------------------------------

local of_sandbox = [[sandbox permissions config.sandbox_mode config.sandbox_workspace_write
  config.permissions config.default_permissions config.profile]]

--- Settings that a thread has, by their names in the server's answer: how each is looked at, and
--- the parameters of the client that change it. Old versions (0.101.0) have no `optional` ones.
local effective = {
  approvalPolicy = { check = approval_policy,
    by = "approvalPolicy config.approval_policy config.profile" },
  approvalsReviewer = { check = reviewer, optional = true,
    by = "approvalsReviewer config.approvals_reviewer config.profile" },
  sandbox = { check = sandbox_of_thread, by = of_sandbox },
  activePermissionProfile = { optional = true, by = of_sandbox,
    check = object({ id = permissions, extends = any }, "the permissions would be others") },
  cwd = { check = cwd, by = "cwd" },
  runtimeWorkspaceRoots = { check = folders, optional = true,
    by = "runtimeWorkspaceRoots cwd " .. of_sandbox },
}

--- Whether a policy has accepted parameters that change a setting. Who accepts a thread of others
--- (`threadId`) accepts what they left it with.
local function is_accepted(setting, accepted)
  for _, field in ipairs(accepted or {}) do
    local name = field:match "^config%.[^.]+" or field
    if name == "threadId" then return true end
    for one in setting.by:gmatch "%S+" do
      if one == name then return true end
    end
  end
  return false
end

--- Why a thread, as the server has opened it, is not harmless; nil where it is. Its settings are
--- those of config.toml, or of others, where the client said none.
---@param result table of thread/start, thread/resume or thread/fork
---@param accepted? string[] the parameters of the request that a policy has accepted
---@param workspaces codex.Workspaces
---@return string? problem
function M.problem_of_thread(result, accepted, workspaces)
  local problems = {}
  for name, setting in pairs(effective) do
    local value, problem = result[name], nil
    if value ~= nil and value ~= json.null then
      problem = setting.check(value, workspaces)
    elseif not setting.optional then
      problem = ("the server does not say its %s"):format(name)
    end
    if problem and not is_accepted(setting, accepted) then problems[problem] = true end
  end
  local list = {}
  for problem in pairs(problems) do list[#list + 1] = problem end -- two may say the same
  table.sort(list)
  return list[1] and table.concat(list, "; ")
end

-- ---- Methods -----------------------------------------------------------------------------------

--- The fields of a method's params that are harmless, by name; `of` checks some of them.
local function fields(names, of)
  local set = {}
  for name in names:gmatch "%S+" do set[name] = any end
  for name, check in pairs(of or {}) do set[name] = check end
  return set
end

local function merge(...)
  local all = {}
  for _, set in ipairs { ... } do
    for name, check in pairs(set) do all[name] = check end
  end
  return all
end

local settings = {
  approvalPolicy = approval_policy, approvalsReviewer = reviewer, permissions = permissions,
  cwd = cwd, model = any, serviceTier = any, personality = any,
  environments = empty "commands would run on another machine",
  runtimeWorkspaceRoots = folders,
}

local of_thread = merge(settings, fields("baseInstructions developerInstructions modelProvider", {
  sandbox = sandbox, config = config,
}), fields "ephemeral threadSource")

local of_turn = merge(settings, fields([[threadId effort summary collaborationMode multiAgentMode
  disabledPluginIds]], { sandboxPolicy = sandbox_policy }))

local pages = "cursor limit "

--- What passes: method to fields.
M.harmless = {
  initialize = fields("clientInfo", {
    capabilities = object(fields [[experimentalApi optOutNotificationMethods requestAttestation
      mcpServerOpenaiFormElicitation requiredHumanApproval explicitGatewayOauth extensions]],
      "a capability that is not known"),
  }),
  ["thread/start"] = merge(of_thread, fields([[allowProviderModelFallback serviceName
    sessionStartSource dynamicTools experimentalRawEvents historyMode multiAgentMode
    persistExtendedHistory]],
    { selectedCapabilityRoots = empty "more skills and plugins would be there" })),
  ["thread/resume"] = merge(of_thread, fields [[threadId excludeTurns initialTurnsPage
    persistExtendedHistory]]),
  ["thread/fork"] = merge(of_thread, fields [[threadId excludeTurns lastTurnId beforeTurnId
    attachToSource deferGoalContinuation persistExtendedHistory]]),
  ["turn/start"] = merge(of_turn, fields [[input outputSchema clientUserMessageId additionalContext
    turnTrigger rootTurnId parentTurnId serviceTierForTurn responsesapiClientMetadata
    responsesapiClientMetadataPatch]]),
  ["thread/settings/update"] = of_turn,
  ["turn/settings/update"] = fields("threadId turnId effort model serviceTier summary", {
    approvalsReviewer = reviewer, environments = settings.environments,
  }),
  ["turn/steer"] = fields [[threadId expectedTurnId input clientUserMessageId additionalContext
    responsesapiClientMetadata responsesapiClientMetadataPatch]],
  ["turn/interrupt"] = fields "threadId turnId",
  ["review/start"] = fields "threadId target delivery",
  ["feedback/upload"] = fields("classification reason tags threadId", {
    includeLogs = false_only "logs would leave this machine",
    extraLogFiles = empty "files would leave this machine",
  }),
  getAuthStatus = fields("refreshToken",
    { includeToken = false_only "the token would be shown to the client" }),
}

local function passes(names, text)
  for name in names:gmatch "%S+" do M.harmless[name] = fields(text) end
end

-- Reading.
passes("model/list", pages .. "includeHidden modelProvider")
passes("experimentalFeature/list", pages .. "threadId")
passes("collaborationMode/list modelProvider/list modelProvider/capabilities/read", "")
passes("account/bedrock/checkGovCloudRequirements", "")
passes("permissionProfile/list", pages .. "cwd")
passes("skills/list", "cwds forceReload")
passes("hooks/list", "cwds threadId")
passes("config/read", "cwd includeLayers")
passes("configRequirements/read", "")
passes("account/read", "refreshToken")
passes("account/rateLimits/read", "excludeResetCreditDetails supportsLunaReserve")
passes("account/usage/read", "threadId")
passes("account/login/cancel", "loginId")
passes("account/workspaceMessages/read account/securitySetup/read account/gatewayOAuth/read", "")
passes("accountSession/list", "refreshWorkspaceMetadata")
passes("mcpServerStatus/list", pages .. "detail threadId serverName")
passes("app/list", pages .. "forceRefetch threadId")
passes("app/installed", "forceRefresh threadId")
passes("app/read", "appIds includeTools threadId")
passes("plugin/list plugin/installed", "cwds forceRefetch marketplaceKinds "
  .. "installSuggestionPluginNames")
passes("plugin/read", "marketplacePath pluginName remoteMarketplaceName")
passes("plugin/search", pages .. "cwds scope searchTerm")
passes("plugin/skill/read", "remoteMarketplaceName remotePluginId skillName")
passes("plugin/share/list", "")
passes("externalAgentConfig/import/readHistories", "")
passes("environment/info environment/status", "environmentId")
passes("remoteControl/status/read remoteControl/disable", "")
passes("memory/status", "minConsolidatedThreads")
passes("project/list", pages .. "sortDirection sortKey")
passes("project/read", "projectId")
passes("userVerification/status", "")
passes("userVerification/cancel", "requestId")
passes("windowsSandbox/readiness server/diagnostics", "")
passes("fuzzyFileSearch", "query roots cancellationToken")
passes("fuzzyFileSearch/sessionStart fuzzyFileSearch/sessionUpdate fuzzyFileSearch/sessionStop",
  "query roots sessionId")
passes("fs/readFile fs/getMetadata fs/readDirectory fs/watch fs/unwatch", "path watchId")
passes("getUserAgent userInfo getUserSavedConfig", "")
passes("getConversationSummary", "conversationId rolloutPath")
passes("listConversations", "cursor pageSize modelProviders")

-- Threads: who they are, what they say and what becomes of them, as long as nothing runs.
passes("thread/list", pages .. [[archived modelProviders sortKey sourceKinds ancestorThreadId cwd
  parentThreadId projectId searchTerm sectionId sortDirection useStateDbOnly attachedToThreadId
  currentAccountOnly excludedThreadIds includeAttachedThreads originators]])
passes("thread/loaded/list threadSection/list", pages)
passes("thread/search", pages .. [[archived searchTerm sortDirection sortKey sourceKinds
  currentAccountOnly includeAttachedThreads]])
passes("thread/searchOccurrences", pages .. "searchTerm threadId")
passes("thread/read", "threadId includeTurns")
passes("thread/turns/list thread/items/list thread/timeline/list", pages
  .. "threadId turnId itemsView sortDirection deferOutput")
passes("thread/items/read", "threadId turnId itemIds")
passes("thread/memory/read thread/goal/get thread/goal/clear", "threadId origin")
passes("thread/goal/set", "threadId objective origin status tokenBudget")
passes("thread/archive thread/unarchive thread/delete thread/unsubscribe thread/compact/start",
  "threadId")
passes("thread/name/set", "threadId name")
passes("thread/metadata/update", "threadId gitInfo")
passes("thread/section/move", "threadId sectionId beforeThreadId")
passes("threadSection/create threadSection/update threadSection/delete",
  "sectionId name appearance")
passes("thread/readState/update", "threadId expectedRevision operation")
passes("thread/revert", "threadId beforeTurnId")
passes("thread/rollback", "threadId numTurns")
passes("thread/attachment/list", pages .. "threadId")
passes("thread/attachmentOwner/list", pages .. "archived attachmentType identityKey")
passes("thread/queue/list", pages .. "threadId")
passes("thread/queue/add thread/queue/update", "threadId input clientUserMessageId "
  .. "queuedSubmissionId responsesapiClientMetadata")
passes("thread/queue/delete thread/queue/start", "threadId queuedSubmissionId")
passes("thread/queue/reorder", "threadId queuedSubmissionIds")

-- What ends something.
passes("thread/backgroundTerminals/list", pages .. "threadId")
passes("thread/backgroundTerminals/terminate thread/backgroundTerminals/clean",
  "threadId processId")
passes("command/exec/terminate", "processId")
passes("process/kill", "processHandle")
passes("thread/realtime/stop", "threadId")
passes("thread/realtime/listVoices", "")
passes("thread/sample/cancel", "requestId")
passes("interruptConversation removeConversationListener", "conversationId subscriptionId")

-- ---- Questions ---------------------------------------------------------------------------------

--- What methods do that are always a question, in words.
M.questions = {}

local function asks(what, names)
  for name in names:gmatch "%S+" do M.questions[name] = what end
end

asks("a command would run without being asked about", [[command/exec command/exec/write
  command/exec/resize thread/shellCommand execOneOffCommand]])
asks("a program would run outside of the sandbox", [[process/spawn process/writeStdin
  process/resizePty]])
asks("git would do what the folder's settings say, outside of the sandbox", "gitDiffToRemote")
asks("files would be written", "fs/writeFile fs/createDirectory fs/remove fs/copy feedback/save "
  .. "thread/prepareApprovedPlan")
asks("the configuration would be written", [[config/value/write config/batchWrite
  modelProvider/config/write skills/config/write skills/extraRoots/set config/mcpServer/reload
  experimentalFeature/enablement/set setDefaultModel windowsSandbox/setupStart
  externalAgentConfig/import externalAgentConfig/import/recordHistory]])
asks("a tool of an MCP server would be called", "mcpServer/tool/call")
asks("an MCP server would be made to do something",
  "mcpServer/resource/read mcpServer/event/stream/start mcpServer/event/stream/stop")
asks("something that was denied would be approved", "thread/approveGuardianDeniedAction")
asks("something would be installed or removed", [[marketplace/add marketplace/remove
  marketplace/upgrade plugin/install plugin/uninstall plugin/reconcile skills/remote/read
  skills/remote/write]])
asks("something would be given to others", [[plugin/share/checkout plugin/share/delete
  plugin/share/save plugin/share/updateTargets account/sendAddCreditsNudgeEmail]])
asks("the account would be another", [[account/login/start account/logout accountSession/switch
  account/bedrock/discover account/bedrock/setup
  account/gatewayOAuth/cancel account/gatewayOAuth/login account/gcp/setup
  account/rateLimitResetCredit/consume mcpServer/oauth/login loginApiKey loginChatGpt
  cancelLoginChatGpt logoutChatGpt]])
asks("another machine would take part", [[environment/add remoteControl/enable
  remoteControl/client/list remoteControl/client/revoke remoteControl/pairing/start
  remoteControl/pairing/status]])
asks("the user's presence would be proved", [[userVerification/delete userVerification/enroll
  userVerification/verify]])
asks("the model would read what nobody said", "thread/inject_items")
asks("the model would be asked beside its turns", [[thread/sample thread/prediction/request
  thread/guardianReview thread/realtime/start thread/realtime/appendAudio
  thread/realtime/appendSpeech thread/realtime/appendText]])
asks("time limits of questions would be changed",
  "thread/increment_elicitation thread/decrement_elicitation")
asks("memories would be changed", "memory/reset thread/memoryMode/set")
asks("projects would be changed",
  "project/create project/delete project/import project/move project/update")
asks("attachments would be changed", "thread/attachment/add thread/attachment/remove")
asks("the first protocol is not watched", [[newConversation resumeConversation forkConversation
  sendUserMessage sendUserTurn addConversationListener archiveConversation]])
asks("files of other programs would be read", "externalAgentConfig/detect")
asks("it is for those who work on Codex", "mock/experimentalMethod rollout/compress")

--- These bring back a thread with the settings that it was left with (0.153.4 and 0.169.0 do).
--- Nobody may have been asked about those: so the thread was begun here, or the client says them
--- anew.
local revives = { ["thread/resume"] = true, ["thread/fork"] = true }

--- These have a thread do something, with the settings that it has: so those were looked at.
local runs = { ["turn/start"] = true, ["turn/steer"] = true, ["review/start"] = true,
  ["thread/settings/update"] = true, ["turn/settings/update"] = true,
  ["thread/compact/start"] = true, ["thread/revert"] = true, ["thread/rollback"] = true }

--- These leave something behind that the thread does by itself when somebody opens it, with the
--- settings that it has then: so no other one left it any, and it was begun here.
local keeps = { ["thread/queue/add"] = true, ["thread/queue/update"] = true,
  ["thread/queue/start"] = true, ["thread/queue/delete"] = true,
  ["thread/queue/reorder"] = true, ["thread/goal/set"] = true }

--- What is gone is gone: nobody else's.
local destroys = { ["thread/delete"] = true }

--- Without a thread Codex (0.101.0, 0.153.4) runs the MCP servers of its own folder's settings.
local looks_around = { ["mcpServerStatus/list"] = true }

local function is_said(value) return value ~= nil and value ~= json.null end

local function says_settings(params)
  return is_said(params.approvalPolicy) and is_said(params.approvalsReviewer)
    and (is_said(params.sandbox) or is_said(params.permissions)) and is_said(params.cwd)
end

local MOST = 20 -- parameters that are told of one by one

local function by_text(a, b) return tostring(a) < tostring(b) end

local function sorted_names(value)
  local names, compare = {}, nil
  for name in pairs(value) do
    names[#names + 1] = name
    if type(name) ~= "string" then compare = by_text end
  end
  table.sort(names, compare)
  return names
end

local function is_object(value) return is_table(value) and getmetatable(value) ~= array_mark end

--- Adds { field, what } for each parameter that is not harmless; of a configuration, for each of
--- its settings.
local function add_effects(list, known, params, prefix, unknown, workspaces)
  for _, name in ipairs(sorted_names(params)) do
    local value, check = params[name], known[name]
    local field = prefix .. tostring(name)
    if #list >= MOST then
      list[MOST] = { field = "...", what = "and more" }
      return
    elseif field == "config" and check and is_object(value) then
      add_effects(list, settings_of_config, value, "config.", "a setting would be changed")
    elseif value ~= json.null then
      local what = check and check(value, workspaces)
      if not check then what = ("%s ('%s')"):format(unknown, shown(name)) end
      if what then list[#list + 1] = { field = field, what = what } end
    end
  end
end

--- What a method does to a thread whose settings nobody has allowed, or nobody here has given it.
local function effect_on_thread(method, params, knows)
  local standing, problem = knows(params.threadId, revives[method])
  if revives[method] and standing ~= "begun" and not says_settings(params) then
    return ("the thread would go on with the settings it was left with (say approvalPolicy, "
      .. "approvalsReviewer, sandbox and cwd)%s"):format(problem and ": " .. problem or "")
  elseif destroys[method] and not standing then
    return "it was not opened here"
  elseif (runs[method] or keeps[method]) and not standing then
    return problem and "the thread has settings that nobody allowed: " .. problem
      or "the thread was not opened here"
  elseif keeps[method] and standing ~= "begun" then
    return "it would be kept in a thread that was not begun here"
  end
end

--- What a method does in the launcher's own folder, where it goes when no other one is said.
local function effect_of_none(method, params, workspaces)
  local goes_there = method == "thread/start" and not is_said(params.cwd) or looks_around[method]
  return goes_there and workspaces:problem_of_none() or nil
end

--- The parameters of a message that are not harmless; nil where they are none of an object.
local function effects_of(method, params, knows, workspaces)
  local list = {}
  if params == nil or params == json.null then params = {} end
  if not is_object(params) then return nil end
  add_effects(list, M.harmless[method], params, "", "a parameter that is not known", workspaces)
  local problem = effect_of_none(method, params, workspaces)
  if problem then list[#list + 1] = { field = "cwd", what = problem } end
  problem = effect_on_thread(method, params, knows)
  if problem then list[#list + 1] = { field = "threadId", what = problem } end
  return list
end

--- What makes a message of a client a question, in words, and the names of the parameters where it
--- is these; nil where it is harmless.
local function effect(kind, method, params, knows, workspaces)
  if kind == "notification" then
    local is_known = method == "initialized" and (params == nil or params == json.null
      or is_table(params) and next(params) == nil)
    return not is_known and "it is not known what this notification does" or nil
  end
  if M.questions[method] then return M.questions[method] end
  if not M.harmless[method] then return "it is not known what this method does" end
  local list = effects_of(method, params, knows, workspaces)
  if not list then return "the parameters are no object" end
  if #list == 0 then return nil end
  local whats, names = {}, {}
  for i, one in ipairs(list) do whats[i], names[i] = one.what, one.field end
  return table.concat(whats, "; "), names
end

local function text(value) return type(value) == "string" and value or nil end

--- The question to the policies about a client's message.
---@param kind "request"|"notification"
---@param method string
---@param params any
---@param knows fun(thread_id: any, opens?: boolean): string?, string? what codex.launcher.standing
--- knows of a thread
---@param workspaces codex.Workspaces
---@return codex.ApprovalRequest? question nil where the message is harmless
function M.question(kind, method, params, knows, workspaces)
  local what, names = effect(kind, method, params, knows, workspaces)
  if not what then return nil end
  local given = is_table(params) and params or {}
  return {
    kind = "client_request", method = method, params = given, what = what,
    fields = names, thread_id = text(given.threadId), turn_id = text(given.turnId),
    cwd = text(given.cwd),
  }
end

return M
