--- What `codex-lua notify install`, `uninstall`, `status` and `test` do; scripts/notify.lua is what
--- Codex runs.
---
--- Exit codes: 0 done; 1 it failed and nothing was changed, or (status, test) a hook does not
--- work; 2 wrong usage.

local cli = require "codex.cli"
local hook = require "codex.hook"
local json = require "codex.json"
local notify = require "codex.notify"
local plugin = require "codex.plugin"
local records = require "codex.hooks.record"
local uv = require "luv"

local M = {}

local PROGRAM = require("codex.core.host").program
--- Seconds; they only leave the work to another process. Codex gives Interrupt 3 at most.
local HOOK_TIMEOUT = { stop = 10, interrupt = 3 }

local function fail(err) cli.fail("notify", err) end

local function check(value, err)
  if value == nil then fail(err) end
  return value
end

-- ---- Arguments ---------------------------------------------------------------------------------

local function parse_arguments()
  local parser = cli.parser("notify", "Runs your hooks, Lua files in " .. notify.folder()
    .. ", when a turn of Codex is complete.")
  parser:command_target "command"
  local install = parser:command("install", "has Codex call us: changes its config.toml")
  install:flag("--chain", "call the notify program that is there now after us")
  install:option("--via", "notify: Codex's notify program; Codex gives it all that was said in the "
    .. "thread in one argument, and when that is beyond 128 KiB, nothing is told any more. hook "
    .. "(where Codex lists that feature; recommended): Stop and Interrupt hooks, without a limit")
    :choices { "notify", "hook" }:default "notify"
  install:option("--hook", "only this hook, in place of those in the folder")
    :convert(cli.hook_file):argname "FILE":count "*":target "hooks"
  install:flag("-y --yes", "do not ask")
  parser:command("uninstall", "puts config.toml back as it was")
    :flag("-y --yes", "do not ask")
  parser:command("status", "how it is installed, your hooks, and how they went last")
    :flag("--json", "one JSON object")
  parser:command("test", "runs the hooks with a sample of a turn, and says how each went")
    :argument("files", "only these hooks"):args "*":convert(cli.hook_file)
  local args = parser:parse()
  if args.command == "install" and args.chain and args.via == "hook" then
    parser:error "--chain is for --via notify: beside a hook Codex calls its notify program itself"
  end
  return args
end

-- ---- Who is ours -------------------------------------------------------------------------------

local is_ours, chain_of = records.is_our_notify, records.chain_of

local function is_our_hook(each)
  return HOOK_TIMEOUT[each.event] ~= nil and each.path:find "/config%.toml$" ~= nil
    and records.is_our_hook(each.command, "notify")
end

--- The hook files that it names.
local function files_of(words)
  local list = json.array {}
  for _, word in ipairs(words or {}) do
    if word:find "%.lua$" then list[#list + 1] = word end
  end
  return list
end

--- The words of a command that `shell` made.
local function words_of(command)
  local words, i = {}, 1
  while i <= #command do
    local word = ""
    while i <= #command and command:sub(i, i) ~= " " do
      local a, b, text = command:find("^'([^']*)'", i)
      if not a then a, b, text = command:find("^\\(.)", i) end
      if not a then a, b, text = command:find("^([^ '\\]+)", i) end
      if not a then return words end
      word, i = word .. text, b + 1
    end
    words[#words + 1] = word
    i = i + 1
  end
  return words
end

--- The hooks that are ours, also those that this Codex does not run; nil where it does not say.
local function our_hooks(setup)
  local list, err = setup:all_hooks()
  if not list then return nil, err end
  local ours = {}
  for _, each in ipairs(list) do
    if is_our_hook(each) then ours[#ours + 1] = each end
  end
  return ours
end

--- The last one first: keys are places.
local function remove_hooks(setup, ours)
  for i = #ours, 1, -1 do check(setup:remove_hook(ours[i].key, true)) end
end

local function open()
  return check(require("codex.setup").open())
end

-- ---- install -----------------------------------------------------------------------------------

--- A hook that cannot be read in is better found now than at the end of a turn.
local function check_hooks(paths)
  for _, path in ipairs(paths) do check(hook.load(path)) end
end

local function notify_argv(args, now)
  local argv = { PROGRAM, "notify", records.MARK }
  local chain = is_ours(now) and chain_of(now) or args.chain and not is_ours(now) and now or nil
  if chain then table.move({ "--chain", json.encode(json.array(chain)) }, 1, 2, 4, argv) end
  return table.move(args.hooks, 1, #args.hooks, #argv + 1, argv)
end

local function install_notify(setup, args)
  local now, err = setup:notify()
  if err then fail(err) end
  if now and not is_ours(now) and not args.chain then
    fail(("Codex has a notify program already: %s\nWith --chain it is called after us; nothing "
      .. "was changed."):format(cli.shell(now)))
  end
  local argv = notify_argv(args, now)
  if now and records.same(now, argv) then
    return print "It is installed as the notify program already."
  end
  cli.confirm("notify", args.yes, {
    ("In '%s' this will be the notify program:"):format(setup.path), "  " .. cli.shell(argv),
    now and ("It is now: %s"):format(cli.shell(now)) or "There is none now.",
    cli.comments(setup:comments { "notify" }),
  })
  local ok, problem = setup:set_notify(argv)
  if not ok then fail(problem) end
  if problem then io.stderr:write("codex-lua notify: it will not be used: ", problem, "\n") end
  print "Installed. `codex-lua notify uninstall` puts the file back as it was."
  if setup:runs_hooks() then
    print("With this Codex `--via hook` is the better way: turns of threads in which much was said "
      .. "(128 KiB) are not told to a notify program.")
  end
end

local function report_hook(each)
  print(("Installed, and %s as %s (%s)."):format(each.trust, each.key, each.hash or "no hash"))
  if not each.enabled then
    io.stderr:write "codex-lua notify: the hook is disabled in config.toml; it does not run\n"
  end
end

--- The events to have a hook for: who asks for that is told of interrupted turns as well, where
--- this Codex knows them. It says so when there are hooks.
local function wanted_events(setup)
  local known = setup:events()
  return known and not known.interrupt and { "stop" } or { "stop", "interrupt" }
end

local function is_done(ours, events, command)
  if #ours ~= #events then return false end
  for _, each in ipairs(ours) do
    if each.command ~= command or each.trust ~= "trusted" then return false end
  end
  return true
end

local function hook_plan(setup, ours, command)
  local lines = { ("In '%s' this will be a hook for turns that end, and for those that are "
    .. "interrupted, where Codex knows them:"):format(setup.path), "  " .. command,
    "and it will be written down that it is trusted as it is." }
  for _, each in ipairs(ours) do
    lines[#lines + 1] = ("It replaces: %s (%s)"):format(each.command, each.event)
  end
  local now = setup:notify()
  if now and not is_ours(now) then
    lines[#lines + 1] = "Your notify program stays, Codex calls it itself: " .. cli.shell(now)
  end
  lines[#lines + 1] = cli.comments(setup:comments { "hooks.Stop", "hooks.Interrupt" })
  return lines
end

local function add_trusted(setup, event, command)
  local key, err = setup:add_hook { event = event, command = command,
    timeout = HOOK_TIMEOUT[event] }
  if not key then return nil, err end
  return setup:trust(key)
end

local function install_hook(setup, args)
  local is_able, why = setup:runs_hooks()
  if not is_able then fail(why .. "; nothing was changed") end
  local ours = check(our_hooks(setup))
  local words = table.move(args.hooks, 1, #args.hooks, 5,
    { PROGRAM, "notify", "--hook", records.MARK })
  local command = cli.shell(words)
  if is_done(ours, wanted_events(setup), command) then
    return print "It is installed as a hook already."
  end
  cli.confirm("notify", args.yes, hook_plan(setup, ours, command))
  local attempt <close> = check(setup:attempt())
  remove_hooks(setup, ours)
  check(add_trusted(setup, "stop", command))
  if wanted_events(setup)[2] then check(add_trusted(setup, "interrupt", command)) end
  attempt:keep()
  for _, each in ipairs(check(our_hooks(setup))) do report_hook(each) end
  local _, problems = setup:hooks()
  for _, text in ipairs(problems or {}) do print("Codex says: " .. text) end
  print "`codex-lua notify uninstall` puts the file back as it was."
end

local function install(args)
  check_hooks(args.hooks)
  local setup <close> = open()
  local way = args.via == "hook" and install_hook or install_notify
  way(setup, args)
end

-- ---- uninstall ---------------------------------------------------------------------------------

--- What will be taken from the file, in words.
local function removal_plan(setup, now, ours)
  local lines = { ("From '%s' will be taken:"):format(setup.path) }
  local keys = {}
  if is_ours(now) then
    lines[#lines + 1] = "  the notify program " .. cli.shell(now)
    local chain = chain_of(now)
    if chain then lines[#lines + 1] = "  (in its place: " .. cli.shell(chain) .. ")" end
    keys[1] = "notify"
  end
  for _, each in ipairs(ours) do
    lines[#lines + 1] = ("  the hook for %s: %s"):format(each.event, each.command)
    keys[#keys + 1] = each.event == "stop" and "hooks.Stop" or "hooks.Interrupt"
  end
  if not setup:is_reversible() then
    keys[#keys + 1] = #ours > 0 and "hooks.state" or nil
    lines[#lines + 1] = cli.comments(setup:comments(keys))
  end
  return lines
end

--- Nothing of ours is there. A program that somebody has put in our place stays, and he is told.
local function say_not_installed(setup, now)
  local entry = setup.record.entries.notify
  if not entry then return print "It is not installed." end
  print(("The notify program was changed since, and stays as it is: %s"):format(
    now and cli.shell(now) or "there is none"))
  setup:set_notify(nil) -- what was there before ours is of no use any more
end

local function uninstall(args)
  local setup <close> = open()
  local now, err = setup:notify()
  if err then fail(err) end
  local ours = check(our_hooks(setup))
  if not is_ours(now) and #ours == 0 then return say_not_installed(setup, now) end
  cli.confirm("notify", args.yes, removal_plan(setup, now, ours))
  local attempt <close> = check(setup:attempt())
  remove_hooks(setup, ours)
  if is_ours(now) then check(setup:set_notify(nil)) end
  attempt:keep()
  print "Uninstalled."
end

-- ---- status ------------------------------------------------------------------------------------

local function add_new(list, more)
  local there = {}
  for _, value in ipairs(list) do there[value] = true end
  for _, value in ipairs(more) do
    if not there[value] then list[#list + 1] = value end
    there[value] = true
  end
end

--- How it is installed, as far as Codex says.
local function installed()
  local setup, err = require("codex.setup").open()
  if not setup then return { error = tostring(err) } end
  local own <close> = setup -- luacheck: ignore 211
  local now, problem = setup:notify()
  local found = { notify = now, ours = is_ours(now) or nil, chain = is_ours(now) and chain_of(now),
    hooks = json.array {}, files = is_ours(now) and files_of(now) or json.array {},
    error = problem and tostring(problem) }
  local hooks, why = our_hooks(setup)
  if not hooks then found.error = found.error or tostring(why) end
  for _, each in ipairs(hooks or {}) do
    table.insert(found.hooks, { key = each.key, event = each.event, command = each.command,
      trust = each.trust, enabled = each.enabled })
    add_new(found.files, files_of(words_of(each.command)))
  end
  return found
end

--- The hooks that would run, by file, and what is wrong with them.
local function hooks_found(named)
  local paths, err = named, nil
  if #named == 0 then
    paths, err = plugin.files(notify.folder(), "io")
  end
  local list = json.array {}
  if err then list[1] = { file = notify.folder(), error = tostring(err) } end
  for _, path in ipairs(paths or {}) do
    local hooks, problem = hook.load(path)
    if problem then list[#list + 1] = { file = path, error = tostring(problem) } end
    for _, each in ipairs(hooks or {}) do
      list[#list + 1] = { file = path, name = each.name, on = each.on or "*",
        timeout = each.timeout }
    end
  end
  return list
end

--- What comes from a log or a file is made visible: it goes to a terminal.
local say = cli.say

local function say_installed(found)
  if found.error then say("Codex does not say how it is installed: %s", found.error) end
  if found.ours then
    say("notify program: ours: %s", cli.shell(found.notify))
  elseif found.notify then
    say("notify program: not ours: %s", cli.shell(found.notify))
  elseif not found.error then
    say "notify program: none"
  end
  for _, each in ipairs(found.hooks or {}) do
    local state = each.enabled == false and each.trust .. ", disabled" or each.trust
    say("hook for %s: %s (%s)", each.event, each.command, state)
  end
end

local function say_hooks(list)
  if #list == 0 then return say("hooks: none in %s", notify.folder()) end
  for _, each in ipairs(list) do
    if each.error then
      say("hook: CANNOT BE USED: %s", each.error)
    else
      local on = type(each.on) == "table" and table.concat(each.on, ", ") or each.on
      say("hook: %s on %s, %g s at most (%s)", each.name, on, each.timeout, each.file)
    end
  end
end

--- Whether what is installed works.
local function is_sound(found, hooks)
  for _, each in ipairs(found.hooks or {}) do
    if each.trust ~= "trusted" or each.enabled == false then return false end
  end
  for _, each in ipairs(hooks) do
    if each.error then return false end
  end
  return found.error == nil
end

local function status(args)
  local found = installed()
  local hooks = hooks_found(found.files or {})
  local unwritten = notify.log_problem()
  local last = cli.last_runs(function() return true end)
  local failures = cli.last_runs(function(record) return record.ok == false end)
  if args.json then
    print(json.encode({ installed = found, hooks = hooks, runs = last, failures = failures,
      folder = notify.folder(), log = notify.log_path(), log_problem = unwritten },
      { repair = true }))
  else
    say_installed(found)
    say_hooks(hooks)
    if unwritten then say("%s", unwritten) end
    cli.say_runs("last runs", last)
    cli.say_runs("last failures", failures)
  end
  os.exit(is_sound(found, hooks) and not unwritten and 0 or 1)
end

-- ---- test --------------------------------------------------------------------------------------

--- A turn that nobody had.
local function sample()
  return notify.event {
    type = "agent-turn-complete", ["thread-id"] = "00000000-0000-7000-8000-000000000000",
    ["turn-id"] = "00000000-0000-7000-8000-000000000001", cwd = uv.cwd(), client = "codex-lua",
    ["input-messages"] = json.array { "Is this thing on?" },
    ["last-assistant-message"] = "This is a test of your notify hooks.",
  }
end

local function test(args)
  local outcomes = notify.deliver(sample(), { files = args.files, again = true })
  local code = 0
  for _, each in ipairs(outcomes) do
    cli.say_outcome(each)
    if not each.ok then code = 1 end
  end
  if #outcomes == 0 then
    say("no hook wants it; hooks are in %s", notify.folder())
    code = 1
  end
  os.exit(code)
end

local commands = { install = install, uninstall = uninstall, status = status, test = test }

--- Does what the arguments of the program say. (A function, since nothing can wait in `require`.)
---@async
function M.main()
  local args = parse_arguments()
  commands[args.command](args)
end

return M
