--- What Codex's notify program does: reads what Codex says of a turn, and has it delivered to the
--- hooks (codex.notify). `codex-lua notify` runs it after every turn, so it is compiled in.

local json = require "codex.json"
local notify = require "codex.notify"

local M = {}

local UNCOLLECTED = 4096 -- KiB that hooks may make before what they left is looked for

--- The program before us, as a list or as a bare name.
local function program_of(word)
  local list = json.decode(word or "")
  if type(list) == "table" and type(list[1]) == "string" then return list end
  return { word }
end

--- How Codex calls: options, hook files, and last the payload, or "-" where that is on standard
--- input. It is there with --hook and --stop, too: --hook is what a Stop hook runs, --stop does the
--- work for it.
local function parse()
  local given, files = {}, {}
  local i = 1
  while i <= #arg do
    local word = arg[i]
    if word == "--chain" then
      i = i + 1
      given.chain = program_of(arg[i])
    elseif word == "--hook" or word == "--stop" or word == "--unfinished" then
      given[word:sub(3)] = true
    elseif word:find "^%-%-by=" then -- whose line this is, for `uninstall`
      given.by = word
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

--- What cannot be read is a failure to be found in the log, like a hook's. The program before us
--- may know what it is.
local function fail(err, given)
  local outcomes = { { hook = "notify", ok = false, why = tostring(err) } }
  if given and given.chain and given.text then
    outcomes[2] = notify.chain(given.chain, { raw = given.text })
  end
  notify.write_down(nil, outcomes)
  io.stderr:write("codex-lua notify: ", tostring(err), "\n")
  os.exit(1)
end

--- Codex waits for a Stop hook: the work is left to a process that Codex does not wait for.
local function hand_over(given, text)
  local uv, async = require "luv", require "codex.async"
  local pipe = uv.new_pipe(false)
  local argv = { "notify", "--stop" }
  if given.chain then
    table.move({ "--chain", json.encode(given.chain) }, 1, 2, 3, argv)
  end
  table.move(given.files, 1, #given.files, #argv + 1, argv)
  local handle, problem = uv.spawn(require("codex.core.host").program,
    { args = argv, detached = true, stdio = { pipe } })
  if handle then
    problem = async.await(function(resume) pipe:write(text, resume) end)
    handle:close()
  end
  pipe:close()
  if problem then fail("cannot leave the work to another process: " .. problem) end
end

--- Its terminal may be closed as soon as Codex is done; the hooks are not done then.
local function outlive_terminal()
  local signal = require("luv").new_signal()
  signal:start("sighup", function() end)
  signal:unref()
end

--- What is left to do when hooks have ended us, and not we them: it is written down, and the
--- program before us is called.
local function finish(given)
  local outcomes = { { hook = "notify", ok = false,
    why = "the program ended before all hooks were done" } }
  local text = given.text ~= "-" and given.text or nil
  local payload = notify.decode(text)
  if given.chain and text then
    outcomes[2] = notify.chain(given.chain, { raw = text })
  end
  notify.write_down(payload and notify.event(payload) or nil, outcomes)
end

--- Lets the loop take in what has come, a signal to end above all.
---@async
local function let_loop_turn()
  local uv = require "luv"
  require("codex.async").await(function(resume)
    local idle, check = uv.new_idle(), uv.new_check()
    idle:start(function() end) -- or the loop would wait for something to come
    check:start(function()
      idle:close()
      check:close()
      resume()
    end)
  end)
end

--- Delivers it, and has us ended when a hook lets not even the time limits end it. Whenever we end
--- in the middle of hooks, which may also crash us or kill us, the rest is done (host/witness.h).
--- The program before us is called once: a signal that came while hooks ran ends us before it is
--- started, one that comes later ends it together with us.
---@async
local function deliver(event, given)
  local witness = require("codex.core.task").witness
  local told = false
  require("codex.guard").watch "notify"
  witness(true)
  given.told = function()
    if given.chain then let_loop_turn() end
    told = true
    witness(false)
  end
  local ok, outcomes = pcall(notify.deliver, event, given)
  if ok then return outcomes end
  if told and given.chain then
    notify.write_down(event,
      { { hook = "chain: " .. given.chain[1], ok = false, why = tostring(outcomes) } })
  end
  error(outcomes, 0)
end

--- Does what Codex calls for: takes the turn in, and has it delivered.
---@async
function M.main()
  local given = parse()
  if given.unfinished then return finish(given) end
  local from_stop = given.hook or given.stop
  local text = (from_stop or given.text == "-") and io.read "a" or given.text
  local payload, err = notify.decode(text)
  if given.hook and payload then return hand_over(given, text) end
  outlive_terminal()
  if not payload then fail(err, given) end

  local event = from_stop and notify.stop_event(payload) or notify.event(payload, text)
  collectgarbage "restart"
  collectgarbage("step", -UNCOLLECTED) -- most hooks are done before there is so much
  local code = 0
  for _, outcome in ipairs(deliver(event, given)) do
    if not outcome.ok then
      local why = require("codex.log").redact(tostring(outcome.why))
      io.stderr:write(("codex-lua notify: %s: %s\n"):format(outcome.hook, why))
      code = 1
    end
  end
  os.exit(code, false) -- all is written: nothing is left for a finalizer to do
end

return M
