--- notify: Codex's notify program, in Lua: runs your hooks after every turn
---
--- Codex runs `codex-lua notify [--chain PROGRAM] [HOOK.lua...] PAYLOAD`, without a terminal, and
--- after every turn: what only the other commands need is not loaded for that. Exit codes: 0 all
--- hooks went well, 1 one failed (Codex does not look; `codex-lua notify status` shows it), 2 wrong
--- usage.

local commands = { install = true, uninstall = true, status = true, test = true }

if arg[1] == nil or commands[arg[1]] or arg[1]:find "^%-%-?h" then
  return require "codex.cli.notify"
end

local notify = require "codex.notify"

--- How Codex calls: options, hook files, and last the payload. With --hook and --stop that comes on
--- standard input: --hook is what a Stop hook runs, --stop does the work for it.
local function parse()
  local given, files = {}, {}
  local i = 1
  while i <= #arg do
    local word = arg[i]
    if word == "--chain" then
      i = i + 1
      given.chain = require("codex.json").decode(arg[i] or "")
    elseif word == "--hook" or word == "--stop" then
      given[word:sub(3)] = true
    elseif word:find "%.lua$" then
      files[#files + 1] = word
    else
      given.text = word
    end
    i = i + 1
  end
  given.files = files
  return given
end

--- Codex waits for a Stop hook: the work is left to a process that Codex does not wait for.
local function hand_over(given, text)
  local uv, async = require "luv", require "codex.async"
  local pipe = uv.new_pipe(false)
  local argv = table.move(given.files, 1, #given.files, 3, { "notify", "--stop" })
  local handle, problem = uv.spawn(require("codex.core.host").program,
    { args = argv, detached = true, stdio = { pipe } })
  if not handle then error(problem, 0) end
  async.await(function(resume) pipe:write(text, resume) end)
  pipe:close()
  handle:close()
end

--- What cannot be read is a failure to be found in the log, like a hook's.
local function fail(err)
  notify.write_down(nil, { { hook = "notify", ok = false, why = tostring(err) } })
  io.stderr:write("codex-lua notify: ", tostring(err), "\n")
  os.exit(1)
end

local given = parse()
local from_stop = given.hook or given.stop
local text = from_stop and io.read "a" or given.text
local payload, err = notify.decode(text)
if not payload then fail(err) end
if given.hook then return hand_over(given, text) end

local event = from_stop and notify.stop_event(payload) or notify.event(payload)
local code = 0
for _, outcome in ipairs(notify.deliver(event, given)) do
  if not outcome.ok then
    io.stderr:write(("codex-lua notify: %s: %s\n"):format(outcome.hook, outcome.why))
    code = 1
  end
end
os.exit(code)
