-- Which flags each `codex` command has, in which versions, and how options become arguments.
--
-- Everything here is a table to be read aloud: first the options with their flags, then one
-- paragraph per command with the version that brought each option and, rarely, the one that took
-- it away. The facts are the `--help` of real programs; tests/flags_spec.lua compares them again
-- with each Codex that is installed under tests/peers.

local toml = require "codex.toml"

local flags = {}

-- The versions whose help was read. Between two of them an option may have come at any time: one
-- that is "since 0.140.0" is not in 0.120.0, and nobody looked at the versions in between. There we
-- allow it, because Codex itself refuses an unknown flag clearly and at once. "Gone" is the first
-- version whose help lacks it; `exec` of 0.140 still accepted --full-auto in secret.
local samples = {
  "0.60.1", "0.80.0", "0.100.0", "0.101.0", "0.120.0", "0.140.0", "0.153.4", "0.169.0",
}

-- Option, flag, kind, aliases, known values. The order is the order of arguments.
--
-- Kinds: boolean, value (a string), path (a string), choice (a string; the values listed are those
-- known today, others pass, because Codex adds some), list (a string or a list of strings, the flag
-- once for each), config (a table for codex.toml, or a list of "key=value" strings).
local vocabulary = {
  { "config",                "--config",                 "config" },
  { "enable",                "--enable",                 "list" },
  { "disable",               "--disable",                "list" },
  { "strict_config",         "--strict-config",          "boolean" },
  { "ignore_user_config",    "--ignore-user-config",     "boolean" },
  { "ignore_rules",          "--ignore-rules",           "boolean" },
  -- Until 0.120 a [profiles.NAME] of config.toml; since 0.140 the file NAME.config.toml, and a
  -- missing one is no error.
  { "profile",               "--profile",                "value" },
  { "model",                 "--model",                  "value" },
  { "oss",                   "--oss",                    "boolean" },
  { "local_provider",        "--local-provider",         "choice",
    values = { "lmstudio", "ollama" } },
  { "cyber_access_program",  "--cyber-access-program",   "choice",
    values = { "standard", "daybreak_blue", "daybreak_red" } },
  { "sandbox",               "--sandbox",                "choice",
    values = { "read-only", "workspace-write", "danger-full-access" } },
  -- on-failure went in 0.147, untrusted in 0.153.
  { "ask_for_approval",      "--ask-for-approval",       "choice",
    values = { "on-request", "never", "untrusted", "on-failure" } },
  { "approve_for_me",        "--approve-for-me",         "boolean" },
  { "full_auto",             "--full-auto",              "boolean" },
  { "dangerously_bypass_approvals_and_sandbox", "--dangerously-bypass-approvals-and-sandbox",
    "boolean", aliases = { "yolo" } },
  { "dangerously_bypass_hook_trust", "--dangerously-bypass-hook-trust", "boolean" },
  { "trust",                 "--trust",                  "boolean" },
  { "skip_git_repo_check",   "--skip-git-repo-check",    "boolean" },
  { "cwd",                   "--cd",                     "path",    aliases = { "cd" } },
  { "add_dir",               "--add-dir",                "list" },
  { "worktree",              "--worktree",               "boolean" },
  { "search",                "--search",                 "boolean" },
  { "images",                "--image",                  "list",    aliases = { "image" } },
  { "thread_source",         "--thread-source",          "value" },
  { "ephemeral",             "--ephemeral",              "boolean" },
  { "output_schema",         "--output-schema",          "path" },
  { "output_last_message",   "--output-last-message",    "path" },
  { "json",                  "--json",                   "boolean" },
  { "color",                 "--color",                  "choice",
    values = { "always", "never", "auto" } },
  { "last",                  "--last",                   "boolean" },
  { "all",                   "--all",                    "boolean" },
  { "include_non_interactive", "--include-non-interactive", "boolean" },
  { "uncommitted",           "--uncommitted",            "boolean" },
  { "base",                  "--base",                   "value" },
  { "commit",                "--commit",                 "value" },
  { "title",                 "--title",                  "value" },
  { "remote",                "--remote",                 "value" },
  { "remote_auth_token_env", "--remote-auth-token-env",  "value" },
  { "no_alt_screen",         "--no-alt-screen",          "boolean" },
  { "no_daemon",             "--no-daemon",              "boolean" },
  { "permission_profile",    "--permission-profile",     "value" },
  { "permissions_profile",   "--permissions-profile",    "value" },
  { "include_managed_config", "--include-managed-config", "boolean" },
  { "sandbox_state_json",    "--sandbox-state-json",     "value" },
  { "sandbox_state_readable_root", "--sandbox-state-readable-root", "list" },
  { "sandbox_state_disable_network", "--sandbox-state-disable-network", "boolean" },
}

---@class codex.flags.row
---@field option string name in Lua, e.g. "output_last_message"
---@field flag string e.g. "--output-last-message"
---@field kind "boolean"|"value"|"path"|"list"|"choice"|"config"
---@field values? string[] the known values of a choice, for documentation
---@field aliases? string[] other option names for the same flag
---@field since string the first version looked at that has it
---@field gone? string the first version looked at that no longer has it

--- The rows of every command, in the order of arguments. "" is the terminal program itself.
---@type table<string, codex.flags.row[]>
flags.commands = {}

--- Commands by the first version known to have them. Codex takes a word it does not know for a
--- prompt, so here an unknown version in between counts as one without.
---@type table<string, string>
flags.since = {}

-- All of `codex exec`'s own flags may stand before its subcommands, and some may stand only there.
local parents = { ["exec resume"] = "exec", ["exec fork"] = "exec", ["exec review"] = "exec" }

-- A flag that parses in front of a subcommand and then does nothing is not offered for it.
local not_inherited = { ["exec review"] = { images = true } }

-- `paragraphs` are { version, "option option ..." }; `gone` maps an option to a version.
local function define(command, since, paragraphs, gone)
  local sinces, rows = {}, {}
  for _, paragraph in ipairs(paragraphs) do
    for option in paragraph[2]:gmatch "%S+" do sinces[option] = paragraph[1] end
  end
  for _, word in ipairs(vocabulary) do
    local option = word[1]
    if sinces[option] then
      rows[#rows + 1] = {
        option = option, flag = word[2], kind = word[3], values = word.values,
        aliases = word.aliases, since = sinces[option], gone = gone and gone[option],
      }
    end
  end
  flags.commands[command], flags.since[command] = rows, since
end

define("", "0.60.1", {
  { "0.60.1", [[config enable disable profile model oss local_provider sandbox ask_for_approval
                full_auto dangerously_bypass_approvals_and_sandbox cwd add_dir search images]] },
  { "0.100.0", "no_alt_screen" },
  { "0.120.0", "remote remote_auth_token_env" },
  { "0.140.0", "strict_config dangerously_bypass_hook_trust" },
  { "0.153.4", "approve_for_me" },
  { "0.169.0", "no_daemon worktree" },
}, { full_auto = "0.140.0" })

define("resume", "0.60.1", {
  { "0.60.1", [[config enable disable profile model oss local_provider sandbox ask_for_approval
                full_auto dangerously_bypass_approvals_and_sandbox cwd add_dir search images
                last all]] },
  { "0.100.0", "no_alt_screen" },
  { "0.120.0", "remote remote_auth_token_env include_non_interactive" },
  { "0.140.0", "strict_config dangerously_bypass_hook_trust" },
  { "0.153.4", "approve_for_me" },
  { "0.169.0", "no_daemon worktree" },
}, { full_auto = "0.140.0" })

define("fork", "0.100.0", {
  { "0.100.0", [[config enable disable profile model oss local_provider sandbox ask_for_approval
                 full_auto dangerously_bypass_approvals_and_sandbox cwd add_dir search images
                 last all no_alt_screen]] },
  { "0.120.0", "remote remote_auth_token_env" },
  { "0.140.0", "strict_config dangerously_bypass_hook_trust" },
  { "0.153.4", "approve_for_me" },
  { "0.169.0", "no_daemon worktree" },
}, { full_auto = "0.140.0" })

define("exec", "0.60.1", {
  { "0.60.1", [[config enable disable profile model oss local_provider sandbox full_auto
                dangerously_bypass_approvals_and_sandbox cwd add_dir images skip_git_repo_check
                output_schema output_last_message json color]] },
  { "0.100.0", "ephemeral" },
  { "0.140.0", "strict_config ignore_user_config ignore_rules dangerously_bypass_hook_trust" },
  { "0.153.4", "approve_for_me thread_source" },
  { "0.169.0", "cyber_access_program trust worktree" },
}, { full_auto = "0.140.0" })

define("exec resume", "0.60.1", {
  { "0.60.1", "config enable disable last" },
  { "0.80.0", [[model full_auto dangerously_bypass_approvals_and_sandbox images json
                skip_git_repo_check]] },
  { "0.100.0", "all ephemeral" },
  { "0.120.0", "output_last_message" },
  { "0.140.0", [[strict_config ignore_user_config ignore_rules dangerously_bypass_hook_trust
                 output_schema]] },
  { "0.153.4", "thread_source" },
  { "0.169.0", "cyber_access_program trust worktree" },
}, { full_auto = "0.140.0" })

define("exec fork", "0.153.0", {
  { "0.153.4", [[config enable disable model strict_config ignore_user_config ignore_rules
                 dangerously_bypass_approvals_and_sandbox dangerously_bypass_hook_trust
                 skip_git_repo_check images ephemeral output_schema output_last_message json
                 thread_source]] },
  { "0.169.0", "cyber_access_program trust worktree" },
})

define("exec review", "0.80.0", {
  { "0.80.0", [[config enable disable model full_auto dangerously_bypass_approvals_and_sandbox
                skip_git_repo_check json uncommitted base commit title]] },
  { "0.100.0", "ephemeral" },
  { "0.120.0", "output_last_message" },
  { "0.140.0", [[strict_config ignore_user_config ignore_rules dangerously_bypass_hook_trust
                 output_schema]] },
  { "0.153.4", "thread_source" },
  { "0.169.0", "cyber_access_program trust worktree" },
}, { full_auto = "0.140.0" })

-- No model, directory or sandbox: what stands before `review` is ignored by 0.100. Use `config`,
-- or `exec review`.
define("review", "0.80.0", {
  { "0.80.0", "config enable disable uncommitted base commit title" },
  { "0.140.0", "strict_config" },
  { "0.169.0", "trust" },
})

-- Until 0.120 the command was `sandbox linux` and --full-auto belonged to that.
define("sandbox", "0.60.1", {
  { "0.60.1", "config enable disable full_auto" },
  { "0.140.0", "profile cwd include_managed_config permissions_profile" },
  { "0.153.4", [[permission_profile sandbox_state_json sandbox_state_readable_root
                 sandbox_state_disable_network]] },
}, { full_auto = "0.140.0", permissions_profile = "0.153.4" })

define("apply", "0.60.1", { { "0.60.1", "config enable disable" } })
define("features list", "0.60.1", { { "0.60.1", "config enable disable" } })
define("features enable", "0.100.0", { { "0.100.0", "config enable disable" } })
define("features disable", "0.100.0", { { "0.100.0", "config enable disable" } })

--- Flags that real Codex accepts, that are in no help, and that no row needs: each does what
--- another does. They are here so that nobody adds them; the spec checks that they still parse.
flags.hidden = {
  { flag = "--yolo", instead = "--dangerously-bypass-approvals-and-sandbox",
    commands = { "", "resume", "fork", "exec", "exec resume", "exec fork", "exec review" } },
  { flag = "--experimental-json", instead = "--json",
    commands = { "exec", "exec resume", "exec fork", "exec review" } },
}

-- Versions --------------------------------------------------------------------------------------

-- One integer that compares as the version does; what follows the third number ("-alpha.1") is left
-- out. A Codex built from source calls itself 0.0.0 and is taken for the newest, as is nil.
local function number_of(version)
  if version == nil then return math.maxinteger end
  local major, minor, patch = tostring(version):match "^(%d+)%.(%d+)%.(%d+)"
  if not major then
    error(("codex.flags: version must look like '0.169.0', got '%s'"):format(version), 3)
  end
  local number = tonumber(major) << 40 | tonumber(minor) << 20 | tonumber(patch)
  return number == 0 and math.maxinteger or number
end

-- The newest version looked at before the one given: known to lack what is "since" that one.
local last_without = {}
for i = 2, #samples do last_without[samples[i]] = number_of(samples[i - 1]) end

local function came_later(since, number)
  return number <= (last_without[since] or -1)
end

local function is_gone(row, number)
  return row.gone ~= nil and number >= number_of(row.gone)
end

-- Does this version have the flag: "yes", "perhaps" (between two samples) or nil? `help` is the set
-- of flags in the program's own help, when somebody looked; it knows better than our table.
local function has(row, number, help)
  if help then return help[row.flag] and "yes" end
  if came_later(row.since, number) or is_gone(row, number) then return nil end
  return number >= number_of(row.since) and "yes" or "perhaps"
end

-- Looking up ------------------------------------------------------------------------------------

local function row_of(command, option)
  for _, row in ipairs(flags.commands[command]) do
    if row.option == option then return row end
  end
end

local function inherits(command, option)
  return parents[command] and not (not_inherited[command] or {})[option]
end

local function check_command(command)
  if not flags.commands[command] then
    error(("codex.flags: command '%s' is unknown"):format(tostring(command)), 3)
  end
end

-- Every option of a command, also by its aliases: name -> row.
local function names_of(command)
  local names = {}
  local function add(rows, wanted)
    for _, row in ipairs(rows) do
      if wanted(row.option) and not names[row.option] then
        names[row.option] = row
        for _, alias in ipairs(row.aliases or {}) do names[alias] = row end
      end
    end
  end
  add(flags.commands[command], function() return true end)
  add(flags.commands[parents[command]] or {}, function(option) return inherits(command, option) end)
  return names
end

--- The option names a command knows in any version, aliases included, also those whose flag stands
--- before a subcommand (`sandbox` of "exec resume").
---@param command string
---@return table<string, true>
function flags.options(command)
  check_command(command)
  local set = {}
  for name in pairs(names_of(command)) do set[name] = true end
  return set
end

-- Checking values -------------------------------------------------------------------------------

local function is_word(value)
  return type(value) == "string" and not value:find("\0", 1, true)
end

local function is_list(value)
  if type(value) ~= "table" then return false end
  local count = 0
  for _ in pairs(value) do count = count + 1 end
  if count ~= #value then return false end
  for i = 1, count do
    if not is_word(value[i]) then return false end
  end
  return true
end

local wanted = {
  boolean = "a boolean", value = "a string", path = "a string", choice = "a string",
  list = "a string or a list of strings", config = "a table or a list of 'key=value' strings",
}

local function described(kind, value)
  if type(value) == "string" and value:find("\0", 1, true) then return "one with a NUL byte" end
  local may_be_table = kind == "list" or kind == "config"
  return may_be_table and type(value) == "table" and "a table of another shape" or type(value)
end

-- Lua value -> list of texts for the flag (an empty list: leave it out), or nil when it is wrong.
local readers = {}

function readers.boolean(value)
  if type(value) == "boolean" then return value and { true } or {} end
end

function readers.value(value)
  return is_word(value) and { value } or nil
end
readers.path, readers.choice = readers.value, readers.value

function readers.list(value)
  return is_list(value) and value or readers.value(value)
end

function readers.config(value)
  if type(value) ~= "table" then return nil end
  if value[1] == nil then return toml.overrides(value) end
  if not is_list(value) then return nil end
  for _, pair in ipairs(value) do
    if not pair:find("^[^=]+=") then return nil end
  end
  return value
end

-- The message carries no position: the caller's caller is the one who is wrong.
local function wrong(command, text)
  error((command == "" and "codex" or "codex." .. command) .. ": " .. text, 0)
end

local function read(command, name, row, value)
  local ok, texts = pcall(readers[row.kind], value)
  if not ok then wrong(command, ("option '%s': %s"):format(name, texts)) end
  if not texts then
    wrong(command, ("option '%s' must be %s, got %s"):format(
      name, wanted[row.kind], described(row.kind, value)))
  end
  return texts
end

-- Options as given -> { [option] = texts }. Names that are no flags of this command are left to
-- the caller, who has options of its own.
local function collect(command, options)
  local given, names = {}, {}
  for name, row in pairs(names_of(command)) do
    if options[name] ~= nil then
      local other = names[row.option]
      if other then
        local pair = { name, other }
        table.sort(pair)
        wrong(command, ("options '%s' and '%s' are the same; give one"):format(pair[1], pair[2]))
      end
      names[row.option], given[row.option] = name, read(command, name, row, options[name])
    end
  end
  return given
end

-- Placing ---------------------------------------------------------------------------------------

-- The command that takes the flag in this version: the one asked for, or the one around it when
-- the first does not, or only perhaps. No command: this version lacks the flag.
local function place(command, option, number, helps)
  local row, parent = row_of(command, option), parents[command]
  local own = row and has(row, number, helps[command])
  if own == "yes" then return command, row end
  local outer = inherits(command, option) and row_of(parent, option)
  if outer and has(outer, number, helps[parent]) then return parent, outer end
  return own and command, row or outer
end

local function version_text(version)
  return version and "Codex " .. version or "the newest Codex known"
end

local function missing(what, row, version)
  local text, number = ("%s is not in %s"):format(what, version_text(version)), number_of(version)
  if is_gone(row, number) then return ("%s; it is gone since %s"):format(text, row.gone) end
  if number < number_of(row.since) then
    return ("%s; it exists since %s"):format(text, row.since)
  end
  return text .. "; its help does not list it"
end

local function unsupported(row, version)
  return {
    option = row.option, flag = row.flag, version = version, since = row.since, gone = row.gone,
    message = missing(("option '%s' (%s)"):format(row.option, row.flag), row, version),
  }
end

-- Exact equivalents for a flag that a version lacks: option -> the options that say the same. What
-- the caller gave for those stands.
local equivalents = {
  full_auto = function()
    return { sandbox = { "workspace-write" }, ask_for_approval = { "on-request" } }
  end,
  permission_profile = function(texts) return { permissions_profile = texts } end,
  permissions_profile = function(texts) return { permission_profile = texts } end,
}

-- `full_auto` of the terminal program asks on request; `exec` never asks and has no such flag.
local function substitute(command, given, row, number, helps)
  local make = equivalents[row.option]
  if not make then return nil end
  local used = {}
  for option, texts in pairs(make(given[row.option])) do
    local level, other = place(command, option, number, helps)
    if level then
      if not given[option] then given[option] = texts end
      used[#used + 1] = other.flag .. "=" .. given[option][1]
    end
  end
  if #used == 0 then return nil end
  table.sort(used)
  given[row.option] = nil
  return ("%s is used instead"):format(table.concat(used, " "))
end

local function is_given(given, option)
  return given[option] ~= nil and #given[option] > 0
end

-- Where Codex has --full-auto, it silently wins over a --sandbox beside it, even a stricter one.
local function objection(given, level, row, version)
  if not level then return unsupported(row, version) end
  if row.option == "full_auto" and is_given(given, "sandbox") then
    return { message = "option 'full_auto' (--full-auto) would override 'sandbox'" }
  end
end

-- Replaces or refuses what this version lacks. Returns notes, or nil and the problem.
local function settle(command, given, version, helps)
  local number, notes = number_of(version), {}
  for _, word in ipairs(vocabulary) do
    if is_given(given, word[1]) then
      local level, row = place(command, word[1], number, helps)
      local problem = objection(given, level, row, version)
      local note = problem and substitute(command, given, row, number, helps)
      if problem and not note then return nil, problem end
      if note then notes[#notes + 1] = problem.message .. "; " .. note end
    end
  end
  return notes
end

local function append(argv, flag, texts)
  for _, text in ipairs(texts) do
    argv[#argv + 1] = text == true and flag or flag .. "=" .. text
  end
end

-- Was `codex sandbox` still a family of commands, one for each system?
local function is_old_sandbox(number, help)
  if help then return not help["--cd"] end
  return came_later("0.140.0", number)
end

local function words_of(command, number, helps)
  local words = {}
  for word in command:gmatch "%S+" do words[#words + 1] = word end
  if command == "sandbox" and is_old_sandbox(number, helps.sandbox) then
    words[2] = flags.platform
  end
  return words
end

local function assemble(command, given, number, helps)
  local before, after = {}, {}
  for _, word in ipairs(vocabulary) do
    if is_given(given, word[1]) then
      local level = place(command, word[1], number, helps)
      append(level == command and after or before, word[2], given[word[1]])
    end
  end
  local words = words_of(command, number, helps)
  local last = parents[command] and table.remove(words)
  table.move(before, 1, #before, #words + 1, words)
  if last then words[#words + 1] = last end
  return table.move(after, 1, #after, #words + 1, words)
end

--- The subcommand of `codex sandbox` until 0.120 ("linux", "macos", "windows").
flags.platform = "linux"

-- One set is about the command asked for; a table of sets is about the commands it names.
local function helps_of(command, probed)
  local _, first = next(probed or {})
  if type(first) == "table" or first == nil then return probed or {} end
  return { [command] = probed }
end

local function check_exclusive(command, given)
  local bypass = "dangerously_bypass_approvals_and_sandbox"
  if is_given(given, "full_auto") and is_given(given, bypass) then
    wrong(command, ("options 'full_auto' and '%s' exclude each other"):format(bypass))
  end
end

--- The arguments after the program's name: subcommand words and flags, in a fixed order, every
--- value as `--flag=value` so that none can be taken for a flag. Prompts and other positional
--- arguments are the caller's to append (after "--"). Names in `options` that are no flags of the
--- command are left alone. Flags that only the command around a subcommand has stand before it.
---
--- Raises, without a position, when a value has the wrong type. When this version lacks an option
--- the result is nil and a problem. When it lacks one that can be said exactly in another way, that
--- is done, and the third result has a sentence about it for the log.
---@param command string a key of flags.commands
---@param options table<string, any>
---@param version? string "0.169.0"; nil or "0.0.0" (a build from source) is taken for the newest
---@param probed? table flags in the help of `argv(command, {}, version)`, as parse_help returns
--- them, or a table of such sets by command; they decide instead of the versions
---@return string[]|nil argv
---@return { option: string?, flag: string?, command: string?, version: string?, since: string,
---  gone: string?, message: string }|nil problem
---@return string[]|nil notes
function flags.argv(command, options, version, probed)
  check_command(command)
  local number, helps = number_of(version), helps_of(command, probed)
  local given = collect(command, options or {})
  check_exclusive(command, given)
  local since = flags.since[command]
  if number < number_of(since) and not helps[command] then
    local message = missing(("command '%s'"):format(command), { since = since }, version)
    return nil, { command = command, version = version, since = since, message = message }
  end
  local notes, problem = settle(command, given, version, helps)
  if not notes then return nil, problem end
  return assemble(command, given, number, helps), nil, notes
end

--- Reads the long flags out of a help text (-h or --help), also clap's own --help and --version.
--- The second result is the command the text is about, from its usage line: an old Codex answers
--- `exec fork --help` with the help of "exec", and that must not be taken for an answer.
---@param text string
---@return table<string, true> set
---@return string|nil command
function flags.parse_help(text)
  local set = {}
  for line in text:gmatch "[^\n]+" do
    -- Flags stand in column 3 or 7; descriptions further right may mention others.
    local flag = line:match "^  %-%a, (%-%-[%w-]+)" or line:match "^      (%-%-[%w-]+)"
    if flag then set[flag] = true end
  end
  local words = text:match "Usage: %S+ ?([%l -]*)"
  return set, words and words:gsub(" +$", "") or nil
end

return flags
