--- The methods of `codex app-server` as functions of a client and of a thread.
---
--- The table says all there is to say. A row is
---
---     name = { METHOD, ARGUMENTS, options = OPTIONS, returns = WHAT, ... }
---
--- ARGUMENTS come in order, OPTIONS in one table after them; both are words `name:type`, where the
--- type is a string unless it is written, and anything for an option. `?` may be nil. A name is
--- Codex's own in snake_case. `0.153.4:` stands before the options that came with that version, as
--- `since` does: an older Codex would not heed them and not say so. Every function also takes the
--- option `timeout` (seconds).
---
---     list      a table that is an array, also when it is empty
---     bytes     a Lua string; base64 on the wire
---     input     what a user says: a text, or a list of Codex's input items
---     edits     settings: a map of key to value, or a list of Codex's edits
---
---     returns   the field of the result; true: nothing but that it worked; absent: the result
---     pages     the result is a list in pages: all of them are fetched. `limit` is the most
---               entries wanted, `page_size` how many come at once, `cursor` where to begin; `each`
---               goes through them one by one
---     defaults  values of options that Codex demands
---     empty     the method takes no params at all where there is nothing to say
---     waits     the option that says how long Codex works on it, in milliseconds
---     since     the first of the versions looked at that has it, where 0.101.0 does not
---     last      the last of them that has it, where 0.169.0 does not
---     experimental  Codex answers it only to a client that asked for experimental methods
---
--- Values go through as they are: what is in a table is written as Codex writes it.

local helper = require "codex.helper"

local M = {}

--- The versions that were looked at, for `since` and `last`.
M.versions = { "0.101.0", "0.153.4", "0.169.0" }

local sent = 0

--- A name for what a client must name: unlike those of other clients of the same server.
local function unique()
  sent = sent + 1
  return ("lua-%x-%x-%x"):format(require("luv").os_getpid(), require("luv").hrtime(), sent)
end

-- ---- The table ----------------------------------------------------------------------------------

--- client:name(...)
M.client = {
  threads = { "thread/list", pages = true,
    options = [[archived model_providers:list sort_key source_kinds:list
      0.153.4: ancestor_thread_id cwd parent_thread_id project_id search_term section_id
        sort_direction use_state_db_only
      0.169.0: attached_to_thread_id current_account_only excluded_thread_ids:list
        include_attached_threads originators:list]] },
  loaded_threads = { "thread/loaded/list", pages = true },
  search_threads = { "thread/search", "search_term", pages = true, since = "0.153.4",
    options = [[archived sort_direction sort_key source_kinds:list
      0.169.0: current_account_only include_attached_threads]],
    experimental = true },

  models = { "model/list", options = "0.153.4: include_hidden 0.169.0: model_provider",
    pages = true },
  features = { "experimentalFeature/list", options = "0.153.4: thread_id", pages = true },
  set_features = { "experimentalFeature/enablement/set", "enablement:table", since = "0.153.4",
    returns = "enablement" },
  collaboration_modes = { "collaborationMode/list", returns = "data", experimental = true },
  permission_profiles = { "permissionProfile/list", options = "cwd", pages = true,
    since = "0.153.4" },
  skills = { "skills/list", options = "cwds:list force_reload", returns = "data" },
  set_skill = { "skills/config/write", "enabled:boolean", options = "path 0.153.4: name",
    returns = "effectiveEnabled" },
  hooks = { "hooks/list", options = "cwds:list 0.169.0: thread_id", returns = "data",
    since = "0.153.4" },

  config = { "config/read", options = "cwd include_layers" },
  set_config = { "config/value/write", "key_path value:any",
    options = "expected_version file_path merge_strategy",
    defaults = { merge_strategy = "replace" } },
  set_configs = { "config/batchWrite", "edits:edits",
    options = "expected_version file_path 0.153.4: reload_user_config" },
  config_requirements = { "configRequirements/read", returns = "requirements", empty = true },

  account = { "account/read", options = "refresh_token" },
  rate_limits = { "account/rateLimits/read", empty = true,
    options = "0.169.0: exclude_reset_credit_details supports_luna_reserve" },
  usage = { "account/usage/read", options = "thread_id", empty = true, since = "0.153.4" },
  logout = { "account/logout", returns = true, empty = true },

  mcp_servers = { "mcpServerStatus/list", pages = true,
    options = "0.153.4: detail thread_id 0.169.0: server_name" },
  mcp_reload = { "config/mcpServer/reload", returns = true, empty = true },
  mcp_login = { "mcpServer/oauth/login", "name",
    options = "scopes:list timeout_secs 0.153.4: client_registration thread_id" },
  mcp_resource = { "mcpServer/resource/read", "server uri", returns = "contents",
    options = "connector_id origin_call_id thread_id 0.169.0: _meta target",
    since = "0.153.4" },
  mcp_call = { "mcpServer/tool/call", "thread_id server tool arguments:table?", options = "_meta",
    since = "0.153.4" },

  -- A command in Codex's sandbox, without a thread. With a `process_id` (of your choice) it can be
  -- written to and ended; its output comes in notifications where `stream_stdout_stderr` is set.
  command = { "command/exec", "command:list", waits = "timeout_ms",
    options = [[cwd sandbox_policy timeout_ms
      0.153.4: disable_output_cap disable_timeout env output_bytes_cap permission_profile
        process_id size stream_stdin stream_stdout_stderr tty]] },
  command_write = { "command/exec/write", "process_id delta:bytes?", options = "close_stdin",
    returns = true, since = "0.153.4" },
  command_resize = { "command/exec/resize", "process_id size:table", returns = true,
    since = "0.153.4" },
  command_terminate = { "command/exec/terminate", "process_id", returns = true,
    since = "0.153.4" },

  search_files = { "fuzzyFileSearch", "query roots:list", options = "cancellation_token",
    returns = "files" },
}

--- client.fs:name(...): files where the server runs. Paths are absolute. `remove` takes whole
--- folders, and minds no missing ones, unless `recursive` and `force` say false.
M.fs = {
  read = { "fs/readFile", "path", returns = "data:bytes", since = "0.153.4" },
  write = { "fs/writeFile", "path data:bytes", returns = true, since = "0.153.4" },
  create_directory = { "fs/createDirectory", "path", options = "recursive", returns = true,
    since = "0.153.4" },
  metadata = { "fs/getMetadata", "path", since = "0.153.4" },
  read_directory = { "fs/readDirectory", "path", returns = "entries", since = "0.153.4" },
  remove = { "fs/remove", "path", options = "force recursive", returns = true, since = "0.153.4" },
  copy = { "fs/copy", "source_path destination_path", options = "recursive", returns = true,
    since = "0.153.4" },
  -- The watch has a name of your choice, which is in the `fs/changed` notifications.
  watch = { "fs/watch", "path watch_id", returns = "path", since = "0.153.4" },
  unwatch = { "fs/unwatch", "watch_id", returns = true, since = "0.153.4" },
}

--- thread:name(...): what these methods want as threadId is the thread's own.
M.thread = {
  read = { "thread/read", options = "include_turns", returns = "thread" },
  turns = { "thread/turns/list", options = "items_view sort_direction", pages = true,
    since = "0.153.4" },
  items = { "thread/items/list", pages = true, since = "0.153.4",
    options = "sort_direction turn_id 0.169.0: defer_output" },
  read_items = { "thread/items/read", "turn_id item_ids:list", returns = "data",
    since = "0.169.0", experimental = true },
  search = { "thread/searchOccurrences", "search_term", pages = true, since = "0.153.4",
    experimental = true },

  archive = { "thread/archive", returns = true },
  unarchive = { "thread/unarchive", returns = "thread" },
  delete = { "thread/delete", returns = true, since = "0.153.4" },
  unsubscribe = { "thread/unsubscribe", returns = "status", since = "0.153.4" },
  set_name = { "thread/name/set", "name", returns = true },
  set_metadata = { "thread/metadata/update", returns = "thread", since = "0.153.4",
    options = "git_info project_id 0.169.0: daybreak_enabled" },
  set_settings = { "thread/settings/update", returns = true, since = "0.153.4",
    experimental = true,
    options = [[approval_policy approvals_reviewer collaboration_mode cwd effort model
      multi_agent_mode permissions personality sandbox_policy service_tier summary
      0.169.0: disabled_plugin_ids:list environments:list]] },

  compact = { "thread/compact/start", returns = true },
  revert = { "thread/revert", "before_turn_id", returns = "thread", since = "0.153.4" },
  rollback = { "thread/rollback", "num_turns:number", returns = "thread", last = "0.153.4" },
  inject_items = { "thread/inject_items", "items:list", returns = true, since = "0.153.4" },
  -- In the user's shell, without a sandbox.
  shell_command = { "thread/shellCommand", "command", options = "timeout_ms", returns = true,
    since = "0.153.4" },
  mcp_call = { "mcpServer/tool/call", "server tool arguments:table?", options = "_meta",
    since = "0.153.4" },

  goal = { "thread/goal/get", returns = "goal", since = "0.153.4" },
  set_goal = { "thread/goal/set", returns = "goal", since = "0.153.4",
    options = "objective status token_budget 0.169.0: origin" },
  clear_goal = { "thread/goal/clear", options = "0.169.0: origin", returns = "cleared",
    since = "0.153.4" },

  terminals = { "thread/backgroundTerminals/list", pages = true, since = "0.153.4",
    experimental = true },
  terminal_terminate = { "thread/backgroundTerminals/terminate", "process_id",
    returns = "terminated", since = "0.153.4", experimental = true },
  clean_terminals = { "thread/backgroundTerminals/clean", returns = true, experimental = true },
}

--- thread.queue:name(...): what the user will say when the turn at hand is over.
M.queue = {
  list = { "thread/queue/list", pages = true, since = "0.153.4", experimental = true },
  add = { "thread/queue/add", "input:input", returns = "queuedSubmission",
    options = "client_user_message_id 0.169.0: responsesapi_client_metadata",
    defaults = { client_user_message_id = unique }, since = "0.153.4", experimental = true },
  update = { "thread/queue/update", "queued_submission_id input:input",
    options = "0.169.0: responsesapi_client_metadata", returns = "queuedSubmission",
    since = "0.153.4", experimental = true },
  delete = { "thread/queue/delete", "queued_submission_id", returns = "deleted",
    since = "0.153.4", experimental = true },
  reorder = { "thread/queue/reorder", "queued_submission_ids:list", returns = true,
    since = "0.153.4", experimental = true },
  start = { "thread/queue/start", options = "queued_submission_id", returns = "turn",
    since = "0.153.4", experimental = true },
}

--- How a group is called, and whose methods it has.
M.groups = {
  client = { called = "client:", rows = M.client },
  fs = { called = "client.fs:", rows = M.fs },
  thread = { called = "thread:", rows = M.thread, thread = true },
  queue = { called = "thread.queue:", rows = M.queue, thread = true },
}

--- Methods that have more to do than to ask, and the module that calls them.
M.elsewhere = {
  initialize = "codex.client",
  ["thread/start"] = "codex.thread",
  ["thread/resume"] = "codex.thread",
  ["thread/fork"] = "codex.thread",
  ["turn/start"] = "codex.thread",
  ["turn/steer"] = "codex.thread",
  ["turn/interrupt"] = "codex.turn",
  ["review/start"] = "codex.thread",
  ["account/login/start"] = "codex.login",
  ["account/login/cancel"] = "codex.login",
}

--- Methods without a function, and why: client:request(method, params) calls them.
M.raw = {}

--- Of those, the ones that the newest Codex has no more, with the last version that has them.
M.gone = {}

local function raw(reason, names, last)
  for name in names:gmatch "%S+" do M.raw[name], M.gone[name] = reason, last end
end

raw("realtime audio: no script has a microphone", [[
  thread/realtime/start thread/realtime/stop thread/realtime/appendAudio
  thread/realtime/appendSpeech thread/realtime/appendText thread/realtime/listVoices]])
raw("pages of ChatGPT's account settings", [[
  account/rateLimitResetCredit/consume account/securitySetup/read account/sendAddCreditsNudgeEmail
  account/workspaceMessages/read accountSession/list accountSession/switch]])
raw("set-up of a model provider, which is done once, by a person", [[
  account/bedrock/checkGovCloudRequirements account/bedrock/discover account/bedrock/setup
  account/gatewayOAuth/cancel account/gatewayOAuth/login account/gatewayOAuth/read
  account/gcp/setup modelProvider/capabilities/read modelProvider/config/write
  modelProvider/list]])
raw("fingerprint readers and passkeys: no script has a finger", [[
  userVerification/cancel userVerification/delete userVerification/enroll userVerification/status
  userVerification/verify]])
raw("apps, plugins and marketplaces: `codex plugin` manages them", [[
  app/installed app/list app/read marketplace/add marketplace/remove marketplace/upgrade
  plugin/install plugin/installed plugin/list plugin/read plugin/reconcile plugin/search
  plugin/share/checkout plugin/share/delete plugin/share/list plugin/share/save
  plugin/share/updateTargets plugin/skill/read plugin/uninstall skills/extraRoots/set]])
raw("the desktop app's ordering of its sidebar", [[
  project/create project/delete project/import project/list project/move project/read
  project/update thread/section/move threadSection/create threadSection/delete threadSection/list
  threadSection/update thread/attachment/add thread/attachment/list thread/attachment/remove
  thread/attachmentOwner/list thread/readState/update thread/timeline/list]])
raw("what the desktop app does around a turn", [[
  thread/approveGuardianDeniedAction thread/decrement_elicitation thread/guardianReview
  thread/increment_elicitation thread/prediction/request thread/prepareApprovedPlan
  thread/sample thread/sample/cancel turn/settings/update]])
raw("memories, which Codex keeps by itself", [[
  memory/reset memory/status thread/memory/read thread/memoryMode/set]])
raw("machines elsewhere that work for this one, or the reverse", [[
  environment/add environment/info environment/status remoteControl/client/list
  remoteControl/client/revoke remoteControl/disable remoteControl/enable
  remoteControl/pairing/start remoteControl/pairing/status remoteControl/status/read]])
raw("programs outside of Codex's sandbox: codex.proc starts them without Codex", [[
  process/kill process/resizePty process/spawn process/writeStdin]])
raw("a search that goes on while somebody types", [[
  fuzzyFileSearch/sessionStart fuzzyFileSearch/sessionStop fuzzyFileSearch/sessionUpdate]])
raw("a stream of one MCP server's events, for its own user interface", [[
  mcpServer/event/stream/start mcpServer/event/stream/stop]])
raw("moving from another agent, which is done once, by a person", [[
  externalAgentConfig/detect externalAgentConfig/import externalAgentConfig/import/readHistories
  externalAgentConfig/import/recordHistory]])
raw("sends a report with logs to OpenAI: a person decides that each time",
  "feedback/save feedback/upload")
raw("for those who work on Codex itself",
  "mock/experimentalMethod rollout/compress server/diagnostics")
raw("Windows only", "windowsSandbox/readiness windowsSandbox/setupStart")
raw("the first protocol", [[
  addConversationListener archiveConversation cancelLoginChatGpt execOneOffCommand
  forkConversation getAuthStatus getConversationSummary getUserAgent getUserSavedConfig
  gitDiffToRemote interruptConversation listConversations loginApiKey loginChatGpt logoutChatGpt
  newConversation removeConversationListener resumeConversation sendUserMessage sendUserTurn
  setDefaultModel userInfo]], "0.101.0")
raw("skills from afar", "skills/remote/read skills/remote/write", "0.101.0")

-- ---- The functions ------------------------------------------------------------------------------

--- Puts the functions of a group on a class, but where it has its own. Its instances have
--- `request(self, method, params, { timeout = seconds })` and, where it is known, the `version` of
--- the Codex; those of threads have `id` and `client`.
---
---     for thread in client:each("threads", { archived = true }) do ... end
---@param class table
---@param group "client"|"fs"|"thread"|"queue"
---@return table class
function M.install(class, group)
  return helper.install(class, M.groups[group], M.versions)
end

local parts = {}

--- The part of a client or a thread that has a name of its own: `client.fs = methods.part(client,
--- "fs")`, `thread.queue = methods.part(thread, "queue")`.
---@param owner table
---@param group "fs"|"queue"
---@return table
function M.part(owner, group)
  if not parts[group] then
    parts[group] = M.install({}, group)
    parts[group].__index = parts[group]
  end
  return setmetatable({ _owner = owner }, parts[group])
end

return M
