--- Codex's other subcommands, and what all runs of the binary have in common: finding it, asking
--- what it can do, making the arguments, naming what it lacks.

local E = require "codex.error"
local capability = require "codex.capability"
local events = require "codex.events"
local flags = require "codex.flags"
local instances = require "codex.instance"
local options = require "codex.options"
local proc = require "codex.proc"

local M = {}

--- Options of a run beside Codex's own flags.
local run_options = options.set {
  "timeout", "idle_timeout", "grace", "env", "args", "dry_run", "input",
}

--- The options a command knows: its flags, those of a run, and the caller's own.
---@param command string
---@param more? string[]
---@return table<string, any>
function M.known(command, more)
  local known = flags.options(command)
  for name in pairs(run_options) do known[name] = true end
  for _, name in ipairs(more or {}) do known[name] = true end
  return known
end

local function unsupported(problem)
  local code = problem.option or problem.command
  return E.new("unsupported", problem.message, { code = code, data = problem })
end

--- The binary and the arguments for a command: everything but the positional ones.
---@async
---@param instance table
---@param command string
---@param given table
---@return string[]? argv its first element is the binary
---@return codex.Error?
---@return string? version of the binary
function M.argv(instance, command, given)
  local capabilities, err = capability.capabilities(instance)
  if not capabilities then return nil, err end
  local words, problem, notes =
    flags.argv(command, given, capabilities.version, capabilities.commands)
  if not words then return nil, unsupported(problem) end
  for _, note in ipairs(notes or {}) do instances.say(instance, "info", "%s", note) end
  local argv = { capabilities.path }
  for _, word in ipairs(words) do argv[#argv + 1] = word end
  for _, word in ipairs(given.args or {}) do argv[#argv + 1] = word end
  return argv, nil, capabilities.version
end

--- What a dry run gives: the arguments, and which variables would be set or taken away.
---@param instance table
---@param argv string[]
---@param env table<string, string|false>
---@param input? string
function M.plan(instance, argv, env, input)
  local names = {}
  for name in pairs(env) do names[#names + 1] = name end
  table.sort(names)
  return {
    argv = argv, env = names, clear_env = instance._settings.clear_env or false,
    cwd = instance._settings.cwd, input_bytes = input and #input or 0,
  }
end

--- Options for codex.proc from the instance's settings and those of one call.
---@param instance table
---@param given table
---@param path string the Codex to run
function M.proc_options(instance, given, path)
  local s = instance._settings
  local env = require("codex.binary").launcher_environment(path)
  for name, value in pairs(instances.environment(instance)) do env[name] = value end
  for name, value in pairs(given.env or {}) do env[name] = value end
  return {
    env = env, clear_env = s.clear_env, cwd = s.cwd, input = given.input,
    timeout = given.timeout or s.timeout, idle_timeout = given.idle_timeout or s.idle_timeout,
    grace = given.grace or s.grace or 5, stop_signal = "int",
  }
end

--- The error for a program that exited with a failure, by its standard error.
---@param name string
---@param code integer
---@param signal integer
---@param stderr string
---@return codex.Error
function M.exit_error(name, code, signal, stderr)
  local text = events.clean_stderr(stderr)
  local class = events.classify(text) or { kind = "exit", code = nil }
  local how = signal ~= 0 and ("was ended by signal %d"):format(signal)
    or code < 0 and "ended, and this program has lost its exit code"
    or ("exited with code %d"):format(code)
  if signal ~= 0 then class = { kind = "exit", code = "signal" } end
  if code == 2 and class.code == nil then class.code = "usage" end
  return E.new(class.kind, name .. " " .. how, {
    code = class.code, stderr = text,
    data = { exit_code = code, signal = signal, retry_after = class.retry_after },
  })
end

local function finish_call(instance, name, given, argv)
  local proc_options = M.proc_options(instance, given, argv[1])
  if given.dry_run then return M.plan(instance, argv, proc_options.env, given.input) end
  local result, err = proc.run(argv, proc_options)
  if not result or result.code == 0 then return result, err end
  err = M.exit_error(name, result.code, result.signal, result.stderr)
  err.data.stdout = result.stdout
  return nil, err
end

--- Runs a command with its positional arguments and waits for it.
local function call(instance, command, given, positional)
  local argv, err = M.argv(instance, command, given)
  if not argv then return nil, err end
  for _, word in ipairs(positional) do argv[#argv + 1] = word end
  return finish_call(instance, "codex" .. (command ~= "" and " " .. command or ""), given, argv)
end

-- ---- Subcommands -------------------------------------------------------------------------------

--- Applies the latest diff of a cloud task to the working tree (`codex apply TASK_ID`).
---@async
---@param task_id string
---@param opts? table
---@return codex.ProcResult?
---@return codex.Error?
function M.apply(instance, task_id, opts)
  local given = options.check("codex.apply", opts, M.known "apply")
  if type(task_id) ~= "string" then options.raise("codex.apply: the task id must be a string") end
  return call(instance, "apply", given, { "--", task_id })
end

--- Runs a command in Codex's sandbox (`codex sandbox -- COMMAND...`). A failing exit code of the
--- command is a result; that of the sandbox itself looks the same from outside.
---@async
---@param argv string[]
---@param opts? table
---@return codex.ProcResult?
---@return codex.Error?
function M.sandbox(instance, argv, opts)
  local given = options.check("codex.sandbox", opts, M.known "sandbox")
  if type(argv) ~= "table" or #argv == 0 then
    options.raise("codex.sandbox: the command must be a list of strings")
  end
  local result, err = call(instance, "sandbox", given, { "--", table.unpack(argv) })
  if result or err.kind ~= "exit" or not err.data.exit_code or err.data.exit_code < 0 then
    return result, err
  end
  return { code = err.data.exit_code, signal = 0, stdout = err.data.stdout, stderr = err.stderr }
end

---@class codex.Feature
---@field stage string "stable", "experimental", "under development", ...
---@field enabled boolean

--- The features of this Codex under the instance's configuration; or enables or disables one in
--- config.toml.
---@async
---@param action? "list"|"enable"|"disable"
---@param name? string
---@param opts? table
---@return table<string, codex.Feature>|true|nil
---@return codex.Error?
function M.features(instance, action, name, opts)
  action = action or "list"
  if action ~= "list" and action ~= "enable" and action ~= "disable" then
    options.raise(("codex.features: there is no action '%s'"):format(tostring(action)))
  end
  if action ~= "list" and type(name) ~= "string" then
    options.raise("codex.features: the feature's name must be a string")
  end
  local command = "features " .. action
  local given = options.check("codex.features", opts, M.known(command))
  local result, err = call(instance, command, given, action == "list" and {} or { "--", name })
  if not result or given.dry_run then return result, err end
  if action ~= "list" then return true end
  return capability.parse_features(result.stdout)
end

--- The version of the instance's Codex, as "0.169.0".
---@async
---@return string?
---@return codex.Error?
function M.version(instance)
  local capabilities, err = capability.capabilities(instance)
  if not capabilities then return nil, err end
  return capabilities.version
end

-- Not in the root help, but there (seen by running them).
local hidden = options.set { "responses-api-proxy", "execpolicy", "stdio-to-uds", "help" }

--- Which versions had subcommands that are gone.
local gone = { ["mcp-server"] = "0.154.0" }

--- Codex takes an unknown first word for a prompt of its terminal interface; a subcommand that this
--- version lacks would then fail in a misleading way.
local function check_subcommand(capabilities, word)
  if not word or not word:find "^%l[%l-]*$" or next(capabilities.subcommands) == nil then return end
  if capabilities.subcommands[word] or hidden[word] then return end
  local since = gone[word] and ("; it was removed in %s"):format(gone[word]) or ""
  local message = "'%s' is not a subcommand of Codex %s%s"
  return E.new("unsupported", message:format(word, capabilities.version, since), { code = word })
end

--- Runs any subcommand and waits for it: `codex.run { "login", "status" }`, or one whose flags are
--- known by its options: `codex.run("review", { uncommitted = true })`. A failing exit code is an
--- error with `data.exit_code`.
---@async
---@param argv string[]|string
---@param opts? table
---@return codex.ProcResult?
---@return codex.Error?
function M.run(instance, argv, opts)
  if type(argv) == "string" then
    if not flags.commands[argv] then
      local message = "codex.run: the options of '%s' are not known; give a list of words"
      options.raise(message:format(argv))
    end
    return call(instance, argv, options.check("codex.run", opts, M.known(argv)), {})
  end
  if type(argv) ~= "table" then
    options.raise("codex.run: the arguments must be a list of strings")
  end
  local given = options.check("codex.run", opts, run_options)
  local capabilities, err = capability.capabilities(instance)
  if not capabilities then return nil, err end
  err = check_subcommand(capabilities, argv[1])
  if err then return nil, err end
  local all = { capabilities.path, table.unpack(argv) }
  for _, word in ipairs(given.args or {}) do all[#all + 1] = word end
  return finish_call(instance, "codex " .. (argv[1] or ""), given, all)
end

--- Variables under which another program finds the same Codex: for a script that runs scripts.
---@async
---@return table<string, string|false>?
---@return codex.Error?
function M.environment(instance)
  local binary, err = require("codex.binary").of(instance)
  if not binary then return nil, err end
  local env = instances.environment(instance)
  env.CODEX_BINARY, env.CODEX_HOME = binary.path, instances.home(instance)
  return env
end

--- Where this instance's Codex keeps things.
---@return table<"home"|"config"|"auth"|"sessions"|"logs"|"log_db", string>
function M.paths(instance)
  local home = instances.home(instance)
  return {
    home = home, config = home .. "/config.toml", auth = home .. "/auth.json",
    sessions = home .. "/sessions",
    logs = home .. "/log", -- text logs, up to about 0.100
    log_db = home .. "/logs_2.sqlite", -- since 0.120; the number is a schema generation
  }
end

-- ---- The terminal interface --------------------------------------------------------------------

--- Runs Codex's own terminal interface on this program's terminal, and waits for it to end.
--- 0.169 works through a daemon that stays after it; not with `no_daemon = true`.
--- `resume` and `fork` take a thread id or name, or true for the last one.
---@async
---@param prompt? string
---@param opts? table flags of `codex`, `codex resume` or `codex fork`, and `resume`, `fork`
---@return { exit_code: integer, thread_id: string?, resume: string[]? }? `resume` goes on with it
---@return codex.Error?
function M.interactive(instance, prompt, opts)
  local command = opts and opts.resume and "resume" or opts and opts.fork and "fork" or ""
  local given = options.check("codex.interactive", opts, M.known(command, { "resume", "fork" }))
  local argv, err = M.argv(instance, command, given)
  if not argv then return nil, err end
  local target = given.resume or given.fork
  if target == true then argv[#argv + 1] = "--last" end
  argv[#argv + 1] = "--"
  if type(target) == "string" then argv[#argv + 1] = target end
  if prompt then argv[#argv + 1] = prompt end
  if argv[#argv] == "--" then argv[#argv] = nil end
  local proc_options = M.proc_options(instance, given, argv[1])
  if given.dry_run then return M.plan(instance, argv, proc_options.env) end
  proc_options.stdin, proc_options.stdout, proc_options.stderr = "inherit", "inherit", "inherit"
  proc_options.same_group, proc_options.input = true, nil
  return M._on_terminal(instance, argv, proc_options)
end

function M._on_terminal(instance, argv, proc_options)
  local started = os.time()
  local p, err = proc.spawn(argv, proc_options)
  if not p then return nil, err end
  local guard <close> = p -- luacheck: ignore 211
  local status = p:wait()
  err = proc.ended(status, "codex")
  if err then return nil, err end
  if status.signal ~= 0 then return nil, M.exit_error("codex", status.code, status.signal, "") end
  local id = require("codex.sessions").newest(instances.home(instance), started)
  return {
    exit_code = status.code, thread_id = id,
    resume = id and { argv[1], "resume", id } or nil,
  }
end

return M
