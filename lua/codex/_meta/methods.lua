---@meta codex.methods
--- The functions that codex.methods makes, for the language server. "Since" is the first of the
--- versions looked at (0.101.0, 0.153.4, 0.169.0) that has a method or an option. Every function
--- waits, and returns nil and an error where it fails; kind `unsupported` is that of a Codex that
--- does not have it. What is in tables is written as Codex writes it.

---@class codex.CallOptions
---@field timeout? number seconds; 0: no limit

---@class codex.ListOptions: codex.CallOptions
---@field limit? integer the most entries wanted; all of them otherwise
---@field page_size? integer how many come at once
---@field cursor? string where to begin

---@class codex.ThreadsOptions: codex.ListOptions
---@field archived? boolean
---@field model_providers? string[]
---@field sort_key? "created_at"|"updated_at"|"recency_at"|"section_position"
---@field source_kinds? ("cli"|"vscode"|"exec"|"appServer"|"subAgent"|"subAgentReview"|"subAgentCompact"|"subAgentThreadSpawn"|"subAgentOther"|"unknown")[]
---@field ancestor_thread_id? string since 0.153.4
---@field cwd? string|string[] since 0.153.4
---@field parent_thread_id? string since 0.153.4
---@field project_id? string since 0.153.4
---@field search_term? string since 0.153.4
---@field section_id? string since 0.153.4
---@field sort_direction? "asc"|"desc" since 0.153.4
---@field use_state_db_only? boolean since 0.153.4
---@field attached_to_thread_id? string since 0.169.0
---@field current_account_only? boolean since 0.169.0
---@field excluded_thread_ids? string[] since 0.169.0
---@field include_attached_threads? boolean since 0.169.0
---@field originators? string[] since 0.169.0

---@class codex.SearchThreadsOptions: codex.ListOptions
---@field archived? boolean
---@field sort_direction? "asc"|"desc"
---@field sort_key? "created_at"|"updated_at"|"recency_at"
---@field source_kinds? ("cli"|"vscode"|"exec"|"appServer"|"subAgent"|"subAgentReview"|"subAgentCompact"|"subAgentThreadSpawn"|"subAgentOther"|"unknown")[]
---@field current_account_only? boolean since 0.169.0
---@field include_attached_threads? boolean since 0.169.0

---@class codex.ModelsOptions: codex.ListOptions
---@field include_hidden? boolean since 0.153.4
---@field model_provider? string since 0.169.0

---@class codex.FeaturesOptions: codex.ListOptions
---@field thread_id? string since 0.153.4

---@class codex.PermissionProfilesOptions: codex.ListOptions
---@field cwd? string

---@class codex.SkillsOptions: codex.CallOptions
---@field cwds? string[]
---@field force_reload? boolean

---@class codex.SetSkillOptions: codex.CallOptions
---@field path? string
---@field name? string since 0.153.4

---@class codex.HooksOptions: codex.CallOptions
---@field cwds? string[]
---@field thread_id? string since 0.169.0

---@class codex.ConfigOptions: codex.CallOptions
---@field cwd? string
---@field include_layers? boolean

---@class codex.SetConfigOptions: codex.CallOptions
---@field expected_version? string
---@field file_path? string
---@field merge_strategy? "replace"|"upsert"

---@class codex.SetConfigsOptions: codex.CallOptions
---@field expected_version? string
---@field file_path? string
---@field reload_user_config? boolean since 0.153.4

---@class codex.AccountOptions: codex.CallOptions
---@field refresh_token? boolean

---@class codex.RateLimitsOptions: codex.CallOptions
---@field exclude_reset_credit_details? boolean since 0.169.0
---@field supports_luna_reserve? boolean since 0.169.0

---@class codex.UsageOptions: codex.CallOptions
---@field thread_id? string

---@class codex.McpServersOptions: codex.ListOptions
---@field detail? "full"|"toolsAndAuthOnly" since 0.153.4
---@field thread_id? string since 0.153.4
---@field server_name? string since 0.169.0

---@class codex.McpLoginOptions: codex.CallOptions
---@field scopes? string[]
---@field timeout_secs? integer
---@field client_registration? "auto"|"cimd"|"dcr" since 0.153.4
---@field thread_id? string since 0.153.4

---@class codex.McpResourceOptions: codex.CallOptions
---@field connector_id? string
---@field origin_call_id? string
---@field thread_id? string
---@field _meta? table since 0.169.0
---@field target? table since 0.169.0

---@class codex.McpCallOptions: codex.CallOptions
---@field _meta? any

---@class codex.CommandOptions: codex.CallOptions
---@field cwd? string
---@field sandbox_policy? table
---@field timeout_ms? integer
---@field disable_output_cap? boolean since 0.153.4
---@field disable_timeout? boolean since 0.153.4
---@field env? table since 0.153.4
---@field output_bytes_cap? integer since 0.153.4
---@field permission_profile? string since 0.153.4
---@field process_id? string since 0.153.4
---@field size? table since 0.153.4
---@field stream_stdin? boolean since 0.153.4
---@field stream_stdout_stderr? boolean since 0.153.4
---@field tty? boolean since 0.153.4

---@class codex.CommandWriteOptions: codex.CallOptions
---@field close_stdin? boolean

---@class codex.SearchFilesOptions: codex.CallOptions
---@field cancellation_token? string

---@class codex.FsCreateDirectoryOptions: codex.CallOptions
---@field recursive? boolean

---@class codex.FsRemoveOptions: codex.CallOptions
---@field force? boolean
---@field recursive? boolean

---@class codex.FsCopyOptions: codex.CallOptions
---@field recursive? boolean

---@class codex.ThreadReadOptions: codex.CallOptions
---@field include_turns? boolean

---@class codex.ThreadTurnsOptions: codex.ListOptions
---@field items_view? "notLoaded"|"summary"|"full"
---@field sort_direction? "asc"|"desc"

---@class codex.ThreadItemsOptions: codex.ListOptions
---@field sort_direction? "asc"|"desc"
---@field turn_id? string
---@field defer_output? table since 0.169.0

---@class codex.ThreadSetMetadataOptions: codex.CallOptions
---@field git_info? table
---@field project_id? string
---@field daybreak_enabled? boolean since 0.169.0

---@class codex.ThreadSetSettingsOptions: codex.CallOptions
---@field approval_policy? "untrusted"|"on-request"|"never"|table
---@field approvals_reviewer? "user"|"auto_review"|"guardian_subagent"
---@field collaboration_mode? table
---@field cwd? string
---@field effort? string
---@field model? string
---@field multi_agent_mode? "explicitRequestOnly"|"proactive"|table
---@field permissions? string
---@field personality? "none"|"friendly"|"pragmatic"
---@field sandbox_policy? table
---@field service_tier? string
---@field summary? "auto"|"concise"|"detailed"|"none"
---@field disabled_plugin_ids? string[] since 0.169.0
---@field environments? table[] since 0.169.0

---@class codex.ThreadShellCommandOptions: codex.CallOptions
---@field timeout_ms? integer

---@class codex.ThreadMcpCallOptions: codex.CallOptions
---@field _meta? any

---@class codex.ThreadSetGoalOptions: codex.CallOptions
---@field objective? string
---@field status? "active"|"paused"|"blocked"|"usageLimited"|"budgetLimited"|"complete"
---@field token_budget? integer
---@field origin? "user"|"automatic" since 0.169.0

---@class codex.ThreadClearGoalOptions: codex.CallOptions
---@field origin? "user"|"automatic" since 0.169.0

---@class codex.QueueAddOptions: codex.CallOptions
---@field client_user_message_id? string
---@field responsesapi_client_metadata? table since 0.169.0

---@class codex.QueueUpdateOptions: codex.CallOptions
---@field responsesapi_client_metadata? table since 0.169.0

---@class codex.QueueStartOptions: codex.CallOptions
---@field queued_submission_id? string

---@class codex.Client
---@field fs codex.ClientFs files where the server runs
---@field each fun(self, list: string, ...: any): fun(): any iterates over a list, page by page
---@field threads fun(self, opts?: codex.ThreadsOptions): table[]?, codex.Error? all threads, the newest first
---@field loaded_threads fun(self, opts?: codex.ListOptions): string[]?, codex.Error? the ids of those that the server has in memory
---@field search_threads fun(self, search_term: string, opts?: codex.SearchThreadsOptions): table[]?, codex.Error? threads in which somebody said this, since 0.153.4
---@field models fun(self, opts?: codex.ModelsOptions): table[]?, codex.Error? the models one may choose
---@field features fun(self, opts?: codex.FeaturesOptions): table[]?, codex.Error? features, whether they are on, and how far they are
---@field set_features fun(self, enablement: table, opts?: codex.CallOptions): table<string, boolean>?, codex.Error? turns features on and off until the server ends; returns those that it changed, since 0.153.4
---@field collaboration_modes fun(self, opts?: codex.CallOptions): table[]?, codex.Error? plan mode and the like
---@field permission_profiles fun(self, opts?: codex.PermissionProfilesOptions): table[]?, codex.Error? named sets of permissions, since 0.153.4
---@field skills fun(self, opts?: codex.SkillsOptions): table[]?, codex.Error? skills, for each folder
---@field set_skill fun(self, enabled: boolean, opts?: codex.SetSkillOptions): boolean?, codex.Error? turns a skill on or off, by its name or path
---@field hooks fun(self, opts?: codex.HooksOptions): table[]?, codex.Error? hooks, for each folder, since 0.153.4
---@field config fun(self, opts?: codex.ConfigOptions): table?, codex.Error? the settings in force, as { config =, origins =, layers = }
---@field set_config fun(self, key_path: string, value: any, opts?: codex.SetConfigOptions): table?, codex.Error? writes one setting to config.toml; json.null takes it away
---@field set_configs fun(self, edits: table, opts?: codex.SetConfigsOptions): table?, codex.Error? writes several settings at once
---@field config_requirements fun(self, opts?: codex.CallOptions): table?, codex.Error? what an administrator demands; nil when nothing
---@field account fun(self, opts?: codex.AccountOptions): table?, codex.Error? who is logged in, as { account =, requiresOpenaiAuth = }
---@field rate_limits fun(self, opts?: codex.RateLimitsOptions): table?, codex.Error? what is left of the quota
---@field usage fun(self, opts?: codex.UsageOptions): table?, codex.Error? tokens used, day by day, since 0.153.4
---@field logout fun(self, opts?: codex.CallOptions): true?, codex.Error? logs out
---@field mcp_servers fun(self, opts?: codex.McpServersOptions): table[]?, codex.Error? MCP servers and their tools
---@field mcp_reload fun(self, opts?: codex.CallOptions): true?, codex.Error? reads the configuration of the MCP servers again
---@field mcp_login fun(self, name: string, opts?: codex.McpLoginOptions): table?, codex.Error? begins a login; returns where the user must go, as { authorizationUrl = }
---@field mcp_resource fun(self, server: string, uri: string, opts?: codex.McpResourceOptions): table[]?, codex.Error? the contents of a resource, since 0.153.4
---@field mcp_call fun(self, thread_id: string, server: string, tool: string, arguments?: table, opts?: codex.McpCallOptions): table?, codex.Error? calls a tool, as the thread would, since 0.153.4
---@field command fun(self, command: string[], opts?: codex.CommandOptions): table?, codex.Error? runs a command in Codex's sandbox, as { exitCode =, stdout =, stderr = }
---@field command_write fun(self, process_id: string, delta?: string, opts?: codex.CommandWriteOptions): true?, codex.Error? writes to a command that has a process_id and stream_stdin, since 0.153.4
---@field command_resize fun(self, process_id: string, size: table, opts?: codex.CallOptions): true?, codex.Error? tells a command with a terminal of its new size, since 0.153.4
---@field command_terminate fun(self, process_id: string, opts?: codex.CallOptions): true?, codex.Error? ends a command, since 0.153.4
---@field search_files fun(self, query: string, roots: string[], opts?: codex.SearchFilesOptions): table[]?, codex.Error? files whose names are like this, the best first

---@class codex.ClientFs
---@field read fun(self, path: string, opts?: codex.CallOptions): string?, codex.Error? the bytes of a file, since 0.153.4
---@field write fun(self, path: string, data: string, opts?: codex.CallOptions): true?, codex.Error? writes a whole file, since 0.153.4
---@field create_directory fun(self, path: string, opts?: codex.FsCreateDirectoryOptions): true?, codex.Error? makes a folder, since 0.153.4
---@field metadata fun(self, path: string, opts?: codex.CallOptions): table?, codex.Error? what kind of file it is, and its times, since 0.153.4
---@field read_directory fun(self, path: string, opts?: codex.CallOptions): table[]?, codex.Error? the names in a folder, in no order, since 0.153.4
---@field remove fun(self, path: string, opts?: codex.FsRemoveOptions): true?, codex.Error? removes a file or a whole folder, also one that is not there, since 0.153.4
---@field copy fun(self, source_path: string, destination_path: string, opts?: codex.FsCopyOptions): true?, codex.Error? copies a file or a folder, since 0.153.4
---@field watch fun(self, path: string, watch_id: string, opts?: codex.CallOptions): string?, codex.Error? sends fs/changed for what changes there; returns the real path, since 0.153.4
---@field unwatch fun(self, watch_id: string, opts?: codex.CallOptions): true?, codex.Error? ends that, since 0.153.4

---@class codex.Thread
---@field queue codex.ThreadQueue what is said when the turn is over
---@field each fun(self, list: string, ...: any): fun(): any iterates over a list, page by page
---@field read fun(self, opts?: codex.ThreadReadOptions): table?, codex.Error? what is known of the thread
---@field turns fun(self, opts?: codex.ThreadTurnsOptions): table[]?, codex.Error? its turns, the newest first, since 0.153.4
---@field items fun(self, opts?: codex.ThreadItemsOptions): table[]?, codex.Error? its items, the oldest first, since 0.153.4
---@field read_items fun(self, turn_id: string, item_ids: string[], opts?: codex.CallOptions): table[]?, codex.Error? some items of a turn in full, since 0.169.0
---@field search fun(self, search_term: string, opts?: codex.ListOptions): table[]?, codex.Error? where in the thread something was said, since 0.153.4
---@field archive fun(self, opts?: codex.CallOptions): true?, codex.Error? puts it away
---@field unarchive fun(self, opts?: codex.CallOptions): table?, codex.Error? brings it back
---@field delete fun(self, opts?: codex.CallOptions): true?, codex.Error? deletes it for good, since 0.153.4
---@field unsubscribe fun(self, opts?: codex.CallOptions): string?, codex.Error? hear no more of it, since 0.153.4
---@field set_name fun(self, name: string, opts?: codex.CallOptions): true?, codex.Error? names it
---@field set_metadata fun(self, opts?: codex.ThreadSetMetadataOptions): table?, codex.Error? changes what is noted of it, since 0.153.4
---@field set_settings fun(self, opts?: codex.ThreadSetSettingsOptions): true?, codex.Error? settings for the turns to come, since 0.153.4
---@field compact fun(self, opts?: codex.CallOptions): true?, codex.Error? makes a summary of what was said; done when its turn is completed
---@field revert fun(self, before_turn_id: string, opts?: codex.CallOptions): table?, codex.Error? takes back a turn and those after it; files stay as they are, since 0.153.4
---@field rollback fun(self, num_turns: integer, opts?: codex.CallOptions): table?, codex.Error? takes back the last turns; files stay as they are, until 0.153.4
---@field inject_items fun(self, items: any[], opts?: codex.CallOptions): true?, codex.Error? adds items of the Responses API to what the model sees, since 0.153.4
---@field shell_command fun(self, command: string, opts?: codex.ThreadShellCommandOptions): true?, codex.Error? runs a command in the user's shell, without a sandbox, since 0.153.4
---@field mcp_call fun(self, server: string, tool: string, arguments?: table, opts?: codex.ThreadMcpCallOptions): table?, codex.Error? calls a tool of an MCP server, as the thread would, since 0.153.4
---@field goal fun(self, opts?: codex.CallOptions): table?, codex.Error? what it works towards; nil when nothing, since 0.153.4
---@field set_goal fun(self, opts?: codex.ThreadSetGoalOptions): table?, codex.Error? sets that, since 0.153.4
---@field clear_goal fun(self, opts?: codex.ThreadClearGoalOptions): boolean?, codex.Error? forgets that; false when there was none, since 0.153.4
---@field terminals fun(self, opts?: codex.ListOptions): table[]?, codex.Error? commands that still run, since 0.153.4
---@field terminal_terminate fun(self, process_id: string, opts?: codex.CallOptions): boolean?, codex.Error? ends one of them, since 0.153.4
---@field clean_terminals fun(self, opts?: codex.CallOptions): true?, codex.Error? ends all of them

---@class codex.ThreadQueue
---@field each fun(self, list: string, ...: any): fun(): any iterates over a list, page by page
---@field list fun(self, opts?: codex.ListOptions): table[]?, codex.Error? what waits, since 0.153.4
---@field add fun(self, input: string|table[], opts?: codex.QueueAddOptions): table?, codex.Error? adds something; it begins at once when no turn runs, since 0.153.4
---@field update fun(self, queued_submission_id: string, input: string|table[], opts?: codex.QueueUpdateOptions): table?, codex.Error? says something else instead, since 0.153.4
---@field delete fun(self, queued_submission_id: string, opts?: codex.CallOptions): boolean?, codex.Error? takes something out; false when it was not there, since 0.153.4
---@field reorder fun(self, queued_submission_ids: string[], opts?: codex.CallOptions): true?, codex.Error? puts all of them in another order, since 0.153.4
---@field start fun(self, opts?: codex.QueueStartOptions): table?, codex.Error? begins with one now, since 0.153.4
