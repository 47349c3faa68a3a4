--- hook: Codex's lifecycle hooks, in Lua: may allow, deny or change what Codex does
---
--- Codex runs `codex-lua hook [--limit SECONDS] [--fail open|closed] [HOOK.lua...]`, with what
--- happens as JSON on standard input, and takes the answer from standard output. --limit is the
--- hook's `timeout` in Codex's configuration; --fail is for hooks that do not say, and for files
--- that cannot be read in. What only the other commands need is not loaded for that.
---
--- Exit codes: 0 the answer is on standard output (nothing: no opinion); 2 Codex shall not go on,
--- the reason is on standard error; also wrong usage. Of the other commands: 0 done, 1 it failed.
---
--- Codex goes on when a hook crashes, hangs or prints what is no answer; it also waits for whatever
--- holds the hook's standard output or error, and then goes on whatever was answered. So the hooks
--- run in a worker, whose streams are not Codex's, and this process answers: with what the worker
--- said at the end, or, when it died or its time ran out, with what it said to answer then.

local commands = { install = true, uninstall = true, list = true, test = true }

if commands[arg[1]] or (arg[1] or ""):find "^%-%-?h" then
  return require("codex.cli.hook").main()
end

local json = require "codex.json"
local uv = require "luv"

local WORKER = 3 -- the descriptor on which the worker says what it does
local NOISE_LIMIT = 65536 -- bytes that hooks print and we pass on
local LIMIT, SAFE = 600, 0.8 -- seconds, and our part of them, until the worker knows the event

-- ---- Arguments ---------------------------------------------------------------------------------

--- Refuses, in the one way that needs no knowledge of what Codex wants to do.
local function refuse(why)
  io.stderr:write("codex-lua hook: ", why, "\n")
  os.exit(2)
end

local function number_of(word)
  local value = tonumber(word)
  if value and value > 0 and value < 1e6 then return value end
  refuse(("--limit needs a number of seconds, not '%s'"):format(tostring(word)))
end

local function fail_of(word)
  if word == "open" or word == "closed" then return word end
  refuse(("--fail is open or closed, not '%s'"):format(tostring(word)))
end

local function parse()
  local given, i = { files = {} }, 1
  while i <= #arg do
    local word = arg[i]
    if word == "--worker" then
      given.worker = true
    elseif word == "--limit" then
      i = i + 1
      given.limit = number_of(arg[i])
    elseif word == "--fail" then
      i = i + 1
      given.fail = fail_of(arg[i])
    elseif word:sub(1, 1) == "-" then
      refuse(("there is no option '%s'; see codex-lua help hook"):format(word))
    else
      table.insert(given.files, word)
    end
    i = i + 1
  end
  return given
end

-- ---- The worker --------------------------------------------------------------------------------

local function say(line)
  local text = json.encode(line, { repair = true }) .. "\n"
  while text ~= "" do
    local count, problem = uv.fs_write(WORKER, text)
    if not count then error(problem, 0) end
    text = text:sub(count + 1)
  end
end

local function work(given)
  local lifecycle = require "codex.lifecycle"
  given.say = say
  local reply, outcomes, event = lifecycle.run(io.read "a", given)
  require("codex.notify").write_down(event, outcomes)
  io.flush()
  say { reply = reply, done = true }
  os.exit(0)
end

-- ---- The supervisor ----------------------------------------------------------------------------

--- Passes on what hooks print, up to a limit: they may print for ever.
local function pass_on(pipe)
  local left = NOISE_LIMIT
  pipe:read_start(function(_, data)
    if not data or left <= 0 then return end
    uv.fs_write(2, data:sub(1, left))
    left = left - #data
  end)
end

--- Keeps the last whole line that the worker said.
local function listen(pipe, state, changed)
  local pieces = {}
  pipe:read_start(function(_, data)
    while data do
      local at = data:find("\n", 1, true)
      pieces[#pieces + 1] = data:sub(1, (at or 0) - 1)
      if not at then return end
      state.line = json.decode(table.concat(pieces)) or state.line
      pieces, data = {}, data:sub(at + 1)
      changed()
    end
  end)
end

local function start(on_exit)
  local report, out, err = uv.new_pipe(false), uv.new_pipe(false), uv.new_pipe(false)
  local handle, pid = uv.spawn(require("codex.core.host").program, {
    args = table.move(arg, 1, #arg, 3, { "hook", "--worker" }), stdio = { 0, out, err, report },
  }, on_exit)
  local worker = { pid = pid, handle = handle, pipes = { report, out, err } }
  if not handle then return worker, pid end
  pass_on(out)
  pass_on(err)
  return worker
end

--- Kills a process and those that it waits for. They have no group of their own: when Codex ends
--- us, it ends our group, and they must not be left.
local function kill(pid)
  local path = ("/proc/%d/task/%d/children"):format(pid, pid)
  local children = require("codex.files").read(path) or ""
  uv.kill(pid, "sigkill")
  for child in children:gmatch "%d+" do kill(math.tointeger(child)) end
end

--- What a hook has started may outlive it, unless the hook itself did not end.
local function close(worker, is_over)
  if worker.handle and not is_over then kill(worker.pid) end
  for _, pipe in ipairs(worker.pipes) do pipe:close() end
  if worker.handle then worker.handle:close() end
end

local function is_done(state) return state.line ~= nil and state.line.done end

--- Waits for the worker's last word; nil, or why it did not come. What it said before it ended may
--- be heard a moment after its end.
local function wait(state, changed, given)
  local async, started = require "codex.async", uv.hrtime()
  while not is_done(state) do
    local last = state.line and state.line.last or (given.limit or LIMIT) * SAFE
    local left = last - (uv.hrtime() - started) / 1e9
    if left <= 0 then return "its time ran out" end
    if state.ended then
      async.sleep(0.05)
      return not is_done(state) and "the program ended in the middle of it" or nil
    end
    async.timeout(left, function() changed:wait() end)
  end
end

--- Runs the worker, and says what came of it: its last line, and why that is not its last word.
local function supervise(given)
  local state, changed = {}, require("codex.async").signal()
  local worker, problem = start(function()
    state.ended = true
    changed:notify()
  end)
  local guard <close> = setmetatable({}, { __close = function() -- luacheck: ignore 211
    close(worker, state.ended or is_done(state))
  end })
  if problem then return state, "cannot start: " .. problem end
  listen(worker.pipes[1], state, function() changed:notify() end)
  local why = wait(state, changed, given)
  require("codex.async").sleep(0) -- what was printed before the last word is passed on
  return state, why
end

--- What the worker would have said, with the reason in it.
local function fallback(state, why, given)
  local line = state.line
  local what = line and line.what or "hook"
  local outcome = { hook = what, ok = false, why = why }
  require("codex.notify").write_down(line and line.event, { outcome })
  if not line then return { code = given.fail == "open" and 0 or 2, out = "", refusal = why } end
  local mark = require("codex.lifecycle").WHY
  local escaped = json.encode(why, { repair = true }):sub(2, -2)
  local reply = line.reply
  reply.out = reply.out:gsub(mark, function() return escaped end)
  reply.refusal = reply.refusal and reply.refusal:gsub(mark, function() return why end)
  return reply
end

--- Where the answer cannot be written, a refusal still can be said with the exit code.
local function answer(reply)
  local is_written = reply.out == "" or (io.write(reply.out, "\n") and io.flush())
  if reply.refusal and (reply.code == 2 or not is_written) then refuse(reply.refusal) end
  os.exit(is_written and reply.code or 1)
end

local given = parse()
if given.worker then return work(given) end
if uv.guess_handle(0) == "tty" then
  refuse "Codex runs this, with JSON on standard input; see codex-lua help hook"
end
local ok, state, why = pcall(supervise, given)
if not ok then state, why = {}, tostring(state) end
answer(why and fallback(state, why, given) or state.line.reply)
