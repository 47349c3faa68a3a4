--- hook: Codex's lifecycle hooks, in Lua: may allow, deny or change what Codex does
---
--- Codex runs `codex-lua hook [--limit SECONDS] [--fail open|closed|halt] [--shell PID]
--- [HOOK.lua...]` with what happens as JSON on standard input, and takes the answer from standard
--- output or, when that is a refusal, from standard error. --limit is the hook's `timeout` in
--- Codex's configuration; --fail is for hooks that do not say, and for files that cannot be read in
--- (halt: closed, for an event that Codex lets nobody refuse, but end). --shell is the process that
--- Codex has started, as `$$` in its shell: the time counts from its start, or from our own.
--- --show passes on what hooks print even when they refuse; Codex would take that for the reason.
---
--- Exit codes: 0 the answer is on standard output (nothing: no opinion); 2 Codex shall not go on,
--- the reason is on standard error; also wrong usage; 1 the answer could not be written. Of the
--- other commands: 0 done, 1 it failed.
---
--- host/supervisor.c has read the arguments by now and answers Codex. This is the worker: it tells
--- the supervisor what to answer, and writes down how hooks went. What only the other commands need
--- is not loaded for that.

if arg[1] ~= "--worker" and arg[1] ~= "--record" then return require("codex.cli.hook").main() end

local uv = require "luv"

local REPORT = 3 -- the descriptor on which the supervisor listens
local ROOM = 4 << 20 -- bytes of texts that it takes

-- The supervisor believes who knows it; hooks see `arg`, but not this.
local key = arg[1] == "--worker" and table.remove(arg, 2)

local function parse()
  local given, i = { files = {} }, 2
  while i <= #arg do
    local word = arg[i]
    if word == "--limit" then
      i, given.limit = i + 1, tonumber(arg[i + 1])
    elseif word == "--fail" then
      i, given.fail = i + 1, arg[i + 1]
    elseif word == "--shell" then
      i = i + 1
    elseif word ~= "--show" then
      table.insert(given.files, word)
    end
    i = i + 1
  end
  return given
end

local function write(text)
  while text ~= "" do
    local count, problem = uv.fs_write(REPORT, text)
    if not count then error(problem, 0) end
    text = text:sub(count + 1)
  end
end

--- In host/supervisor.h's words, where the byte 1 stands for the reason that is not known yet.
local function say(line, is_last)
  local why = require("codex.hooks.verdict").WHY
  local function text(of) return ((of or ""):gsub("\1", " "):gsub(why, "\1")) end
  local reply = line.reply
  local out, reason, note = text(reply.out), text(reply.refusal), line.note or ""
  if reply.code == 2 and #out + #reason + #note > ROOM then out = "" end -- the other way to say it
  if #out + #reason + #note > ROOM then error("an answer is longer than 4 MiB", 0) end
  local last_ms = math.floor((line.last or 0) * 1000)
  write(string.pack("=c32I4I4I4I4I4I4", key, is_last and 1 or 0, reply.code, last_ms, #out, #reason,
    #note) .. out .. reason .. note)
end

local function note_of(line)
  return require("codex.json").encode({ hook = line.what, event = line.event }, { repair = true })
end

local function work()
  require("codex.guard").watch "hook"
  local given = parse()
  given.say = function(line)
    line.note = note_of(line)
    say(line)
  end
  local reply, outcomes, event = require("codex.lifecycle").run(io.read "a", given)
  io.flush()
  say({ reply = reply }, true)
  require("codex.notify").write_down(event, outcomes)
  uv.fs_close(REPORT)
  os.exit(0)
end

--- Writes down that hooks did not come to their end.
local function record(why, note)
  local about = require("codex.json").decode(note) or {}
  require("codex.notify").write_down(about.event,
    { { hook = about.hook or "hook", ok = false, why = why } })
end

local roles = { ["--worker"] = work, ["--record"] = function() record(arg[2], arg[3]) end }
roles[arg[1]]()
