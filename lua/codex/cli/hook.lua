--- What `codex-lua hook install`, `uninstall`, `list` and `test` do; scripts/hook.lua is what Codex
--- runs.
---
--- Codex runs a hook only when it is trusted, and trusts it as it is: `install` writes that down
--- for the hook that it adds, after saying what that is, and for no other. Trust is in the command;
--- what is in the Lua file may change without Codex noticing.
---
--- Codex goes on when the command cannot be run. The line for a hook that fails closed refuses by
--- itself then: whatever becomes of the program, the shell is still there. That is the user's own,
--- zsh or else bash, with -c.

local cli = require "codex.cli"
local files = require "codex.files"
local hooks = require "codex.hook"
local json = require "codex.json"
local lifecycle = require "codex.lifecycle"
local notify = require "codex.notify"
local plugin = require "codex.plugin"
local records = require "codex.hooks.record"
local uv = require "luv"

local M = {}

local PROGRAM = require("codex.core.host").program
local TIMEOUT = 30 -- seconds that Codex shall give a hook

local function fail(err) cli.fail("hook", err) end

local function check(value, err)
  if value == nil then fail(err) end
  return value
end

-- ---- Arguments ---------------------------------------------------------------------------------

--- "PreToolUse" is as good as "pre_tool_use".
local function event_type(word)
  local types = lifecycle.types()
  for _, kind in ipairs(types) do
    if lifecycle.type_of(word) == kind then return kind end
  end
  return nil, ("'%s' is no event; there are %s"):format(word, table.concat(types, ", "))
end

local function whole_seconds(word)
  local value = math.tointeger(tonumber(word))
  if value and value >= 1 and value <= 3600 then return value end
  return nil, ("'%s' is no whole number of seconds from 1 to 3600"):format(word)
end

--- What a hook looks like, for whoever asks for help.
local EXAMPLE = [[
A hook is a Lua file that returns a table:

  return {
    name = "no force", on = "pre_tool_use", timeout = 5, fail = "closed",
    run = function(event)
      if tostring(event.tool_input.command):find "push.*%-%-force" then
        return { decision = "deny", reason = "nobody pushes with force from here" }
      end
    end,
  }

`event` has what Codex sent. `run` returns nothing (no opinion), "allow", "deny", or a table:
  decision       "allow", "deny" ("block" is the same); "ask" for permission_request
  reason         of a refusal, for the model; at the end of a turn it is what to do next
  input          of pre_tool_use: the tool's input in place of the one that it has
  context        more for the model to know
  continue       false ends what is going on; stop_reason says why
  system_message for the user
An answer that Codex does not take for the event is a failure, as an error is, or too long a wait.
With fail = "closed" (of pre_tool_use and permission_request the default) a failure is a refusal,
with fail = "open" Codex goes on.]]

local function parse_arguments()
  local parser = cli.parser("hook", "Codex's lifecycle hooks, in Lua. Codex runs `codex-lua hook "
    .. "[--limit SECONDS] [--fail open|closed|halt] [--shell PID] [HOOK.lua...]`; without a file "
    .. "that runs those in " .. lifecycle.folder() .. ".")
  parser:command_target "command"
  parser:epilog(EXAMPLE)
  local install = parser:command("install", "has Codex run a hook: changes its config.toml, and "
    .. "writes down there that this hook is trusted")
  install:argument("event", "pre_tool_use, stop ..."):convert(event_type)
  install:argument("file", "the hook"):convert(cli.hook_file)
  install:option("--matcher", "only for tools (or, at the start of a session, sources) that fit: "
    .. "names with | between them, or a regular expression"):argname "PATTERN"
  install:option("--timeout", ("seconds that it may take (%d)"):format(TIMEOUT))
    :convert(whole_seconds):argname "SECONDS"
  install:flag("-y --yes", "do not ask")
  local uninstall = parser:command("uninstall", "takes out the hooks that install put in")
  uninstall:argument("event", "only those of this event"):args "?":convert(event_type)
  uninstall:argument("file", "only those of this file"):args "?"
  uninstall:flag("-y --yes", "do not ask")
  parser:command("list", "the hooks that Codex knows, whether it runs them, and how ours went last")
    :flag("--json", "one JSON object")
  local test = parser:command("test", "runs hooks with a sample of an event, and shows the answer")
  test:argument("event", "pre_tool_use, stop ..."):convert(event_type)
  test:argument("files", "only these hooks"):args "*":convert(cli.hook_file)
  test:option("--payload", "in place of the sample: a file with JSON"):argname "FILE"
  return parser:parse()
end

-- ---- Commands for Codex ------------------------------------------------------------------------

local function is_ours(each)
  return each.path:find "/config%.toml$" ~= nil and records.is_our_hook(each.command, "hook")
end

local function has_file(each, file)
  return (each.command .. " "):find(" " .. cli.shell { file } .. " ", 1, true) ~= nil
end

--- What comes from a log or a file is made visible: it goes to a terminal.
local function visible(text) return require("codex.approval").visible(text) end

local say = cli.say

local function open() return check(require("codex.setup").open()) end

local function all_hooks(setup)
  local list, problems = setup:all_hooks()
  if list then return list, problems end
  fail(problems)
end

-- ---- install -----------------------------------------------------------------------------------

--- How the file's hooks for this event are to fail, and whether there is one: better found out now
--- than when Codex runs it.
local function look_at(file, event, seconds)
  local is_closed, found = false, false
  for _, hook in ipairs(check(hooks.load(file))) do
    if hook:wants { type = event } then
      found = true
      if (hook.fail or lifecycle.default_fail(event)) == "closed" then is_closed = true end
      if hook.timeout > seconds and hook.timeout ~= hooks.TIMEOUT then
        io.stderr:write(("codex-lua hook: '%s' wants %g s; it gets %g s (--timeout)\n"):format(
          hook.name, hook.timeout, seconds))
      end
    end
  end
  if not found then fail(("no hook in '%s' is for %s"):format(file, event)) end
  return lifecycle.last_resort(event, is_closed)
end

--- What the shell does when our program is not there, was killed, or could not say anything.
--- Signals for the whole group are left to the program, which refuses.
local without_us = {
  open = { "", "" },
  closed = { "trap '' HUP INT QUIT TERM; ",
    ' || { [ $? = 2 ] || echo "codex-lua hook: the program cannot be run" >&2; exit 2; }' },
  halt = { "trap '' HUP INT QUIT TERM; ", " || { [ $? = 2 ] && exit 2; echo '{\"continue\":false,"
    .. "\"stopReason\":\"codex-lua hook: the program cannot be run\"}'; }" },
}

--- The line that Codex has run. `$$` is the shell, or what it becomes.
---@param mode "open"|"closed"|"halt"
---@param limit number seconds
---@param file string
---@param program? string[] in place of ours, for tests
---@return string
function M.command_line(mode, limit, file, program)
  local line = ("%s hook --limit %g --fail %s --shell $$ %s"):format(
    cli.shell(program or { PROGRAM }), limit, mode, cli.shell { file })
  return without_us[mode][1] .. line .. without_us[mode][2]
end

local function wanted_hook(args)
  local limit = lifecycle.limit(args.event, args.timeout or TIMEOUT)
  if args.timeout and args.timeout > limit then
    fail(("Codex gives a hook of %s %g s at most"):format(args.event, limit))
  end
  local mode = look_at(args.file, args.event, (lifecycle.margins(limit)))
  limit = math.tointeger(limit)
  return {
    event = args.event, matcher = args.matcher, timeout = limit,
    command = M.command_line(mode, limit, args.file),
  }
end

--- Those that this one replaces; nil where it is installed already.
local function replaced(setup, args, wanted)
  local list = {}
  for _, each in ipairs(all_hooks(setup)) do
    local is_same = is_ours(each) and each.event == args.event and each.matcher == args.matcher
      and has_file(each, args.file)
    if is_same and each.command == wanted.command and each.timeout == wanted.timeout
      and each.trust == "trusted" then return nil end
    if is_same then list[#list + 1] = each end
  end
  return list
end

local function report(setup, key)
  for _, each in ipairs(all_hooks(setup)) do
    if each.key == key then
      say("Installed, and trusted as %s\n(%s). `codex-lua hook uninstall` takes it out again.",
        key, each.hash or "this Codex runs hooks without being told that they are trusted")
      if not each.enabled then fail "the hook is disabled in config.toml; it does not run" end
      if each.trust ~= "trusted" then fail("Codex takes it for " .. each.trust) end
    end
  end
end

--- The comments among these hooks, which a change takes away, in words.
local function comments(setup, list)
  local keys, there = {}, {}
  for _, each in ipairs(list) do
    local key = "hooks." .. lifecycle.name_of(each.event)
    if not there[key] then keys[#keys + 1] = key end
    there[key] = true
  end
  return cli.comments(setup:comments(keys))
end

local function install(args)
  local wanted = wanted_hook(args)
  local setup <close> = open()
  local is_able, why = setup:runs_hooks()
  if not is_able then fail(why .. "; nothing was changed") end
  local others = replaced(setup, args, wanted)
  if not others then return say "It is installed already." end
  local lines = {
    ("In '%s' this will be a hook for %s:"):format(setup.path, lifecycle.name_of(args.event)),
    "  " .. wanted.command,
    ("with %s and a timeout of %d s, and it will be written down that it is trusted as it is."):
      format(args.matcher and "the matcher " .. args.matcher or "no matcher", wanted.timeout),
    "Codex does not look into the Lua file: whoever can change that changes what is trusted.",
  }
  for _, each in ipairs(others) do lines[#lines + 1] = "It replaces: " .. each.command end
  lines[#lines + 1] = comments(setup, { { event = args.event } })
  cli.confirm("hook", args.yes, lines)
  local attempt <close> = check(setup:attempt())
  for i = #others, 1, -1 do check(setup:remove_hook(others[i].key, true)) end
  local key = check(setup:add_hook(wanted))
  check(setup:trust(key))
  report(setup, key)
  attempt:keep()
end

-- ---- uninstall ---------------------------------------------------------------------------------

local function uninstall(args)
  local file = args.file and (uv.fs_realpath(args.file) or args.file)
  local setup <close> = open()
  local list, lines = {}, { ("From '%s' will be taken:"):format(setup.path) }
  for _, each in ipairs(all_hooks(setup)) do
    local is_meant = is_ours(each) and (not args.event or each.event == args.event)
      and (not file or has_file(each, file))
    if is_meant then
      list[#list + 1] = each
      lines[#lines + 1] = ("  %s: %s"):format(each.event, each.command)
    end
  end
  if #list == 0 then return say "There is none of ours." end
  if not setup:is_reversible() then lines[#lines + 1] = comments(setup, list) end
  cli.confirm("hook", args.yes, lines)
  local attempt <close> = check(setup:attempt())
  -- The last one first: keys are places.
  for i = #list, 1, -1 do check(setup:remove_hook(list[i].key, true)) end
  attempt:keep()
  say "Uninstalled."
end

-- ---- list --------------------------------------------------------------------------------------

--- Whether a record of the log is of a lifecycle hook.
local function is_lifecycle(record) return record.route == "lifecycle" or record.hook == "hook" end

local function state_of(each)
  return each.enabled and each.trust or each.trust .. ", disabled"
end

--- What is wrong with the files of the user's folder, where a hook of ours runs those.
local function folder_problems()
  local paths, err = plugin.files(lifecycle.folder(), "io")
  local list = json.array {}
  if err then list[1] = tostring(err) end
  local _, problems = hooks.load_all(paths or {})
  for _, each in ipairs(problems) do list[#list + 1] = tostring(each.err) end
  return list
end

local function say_hooks(list)
  if #list == 0 then say "Codex knows no hooks." end
  for _, each in ipairs(list) do
    say("%s%s: %s (%s)%s", is_ours(each) and "ours: " or "", each.event,
      each.command or each.raw.handlerType, state_of(each),
      each.matcher and " for " .. each.matcher or "")
  end
end

local function list(args)
  local setup <close> = open()
  local found, problems = all_hooks(setup)
  local is_sound, shown = true, json.array {}
  for _, each in ipairs(found) do
    local runs_it = each.enabled and (each.trust == "trusted" or each.trust == "managed")
    if is_ours(each) and not runs_it then is_sound = false end
    shown[#shown + 1] = { key = each.key, event = each.event, matcher = each.matcher,
      command = each.command, timeout = each.timeout, trust = each.trust, hash = each.hash,
      enabled = each.enabled, ours = is_ours(each), path = each.path }
  end
  local broken = folder_problems()
  local last = cli.last_runs(is_lifecycle)
  local failures = cli.last_runs(function(each) return is_lifecycle(each) and each.ok == false end)
  if args.json then
    print(json.encode({ hooks = shown, problems = json.array(problems), broken = broken,
      runs = last, failures = failures, folder = lifecycle.folder(), log = notify.log_path() },
      { repair = true }))
  else
    say_hooks(found)
    for _, text in ipairs(problems) do say("Codex says: %s", text) end
    for _, text in ipairs(broken) do say("CANNOT BE USED: %s", text) end
    cli.say_runs("last runs", last)
    cli.say_runs("last failures", failures)
  end
  os.exit(is_sound and #broken == 0 and 0 or 1)
end

-- ---- test --------------------------------------------------------------------------------------

local function sample(args)
  local text = args.payload and check(files.read(args.payload))
    or require("codex.cli.hook_samples")[args.event]
  local payload = check(lifecycle.decode(text))
  payload.session_id = ("test-%d-%d"):format(uv.os_getpid(), uv.hrtime())
  if not args.payload then payload.cwd = uv.cwd() end
  return payload
end

local function show_answer(result)
  local answer = json.decode(result.stdout)
  local what = result.code == 2 and "refused" or answer and "and the answer is"
  say("exit code %d, %s", result.code, what or "no answer: Codex goes on")
  if answer then print(visible(json.encode(answer, { pretty = true }))) end
  if result.stderr ~= "" then say("printed: %s", result.stderr) end
end

--- Runs the program as Codex does, and tells its answer and, from the log, how each hook went.
local function test(args)
  local payload = sample(args)
  local limit = math.tointeger(lifecycle.limit(args.event, TIMEOUT))
  local argv = { PROGRAM, "hook", "--show", "--limit", tostring(limit) }
  table.move(args.files, 1, #args.files, #argv + 1, argv)
  local result = check(require("codex.proc").run(argv, { input = json.encode(payload) }))
  local code, ran = 0, cli.runs(function(each)
    return is_lifecycle(each) and each.thread_id == payload.session_id
  end)
  for _, each in ipairs(ran) do
    cli.say_outcome(each)
    if not each.ok then code = 1 end
  end
  if #ran == 0 then say("no hook is for %s", args.event) end
  show_answer(result)
  os.exit(#ran > 0 and code or 1)
end

local commands = { install = install, uninstall = uninstall, list = list, test = test }

--- Does what the arguments of the program say.
---@async
function M.main()
  local args = parse_arguments()
  commands[args.command](args)
end

return M
