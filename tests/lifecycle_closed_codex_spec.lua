--- A lifecycle hook that fails closed, in real Codex, while everything around it goes wrong: the
--- command that it should have judged does not run.
---
--- One Codex for each version, one hook that it trusts. The hook's line runs a script, which makes
--- trouble before it becomes `codex-lua hook`; script and hook are written anew for each case.

local files = require "codex.files"
local hook = require "codex.cli.hook"
local peers = require "tests.support.peers"
local program = require "tests.support.program"
local testing = require "codex.testing"
local uv = require "luv"

local LIMIT = 3 -- seconds that the hook has

local DENY = 'return function() return { decision = "deny", reason = "DENIED" } end'

--- A hook that runs this in a shell, where $WORKER and $SUPERVISOR are the processes, and then has
--- no objection.
local function runs(script)
  return ([==[return { fail = "closed", run = function()
    local stat = assert(io.open "/proc/self/stat"):read "a"
    local worker, supervisor = stat:match "^(%%d+) %%(.*%%) %%a (%%d+)"
    os.execute(("WORKER=%%s SUPERVISOR=%%s; "):format(worker, supervisor) .. [=[%s]=])
  end }]==]):format(script)
end

local function answers(reason)
  return ("return function() return { decision = 'deny', reason = %q } end"):format(reason)
end

--- Each: what goes wrong, the hook, how the program is run, what the model must be told.
local run = 'exec "$PROGRAM" "$@"'
local cases = {
  { "nothing", DENY, run, "DENIED" },

  { "the program is not there", DENY, 'exec "$PROGRAM.gone" "$@"', "cannot be run" },
  { "the program cannot be executed", DENY, 'exec "$FOLDER/empty" "$@"', "cannot be run" },
  { "the program is a folder", DENY, 'exec "$FOLDER" "$@"', "cannot be run" },
  { "the program is killed at once", DENY, "kill -9 $$", "cannot be run" },
  { "the program crashes", DENY, "kill -SEGV $$", "cannot be run" },
  { "the program ends with 1", DENY, "echo why >&2; exit 1", "cannot be run" },

  { "SIGTERM", runs "kill -TERM $SUPERVISOR; sleep 5", run, "a signal came" },
  { "SIGINT", runs "kill -INT $SUPERVISOR; sleep 5", run, "a signal came" },
  { "SIGHUP", runs "kill -HUP $SUPERVISOR; sleep 5", run, "a signal came" },
  { "SIGALRM", runs "kill -ALRM $SUPERVISOR; sleep 5", run, "a signal came" },
  { "SIGSEGV", runs "kill -SEGV $SUPERVISOR; sleep 5", run, "a signal came" },
  { "SIGTERM for all of Codex's group", runs "kill -TERM -$(cut -d' ' -f5 /proc/$SUPERVISOR/stat)",
    run, "a signal came" },
  { "kill -9 of the supervisor", runs "kill -9 $SUPERVISOR; sleep 5", run, "cannot be run" },
  { "a supervisor that is stopped", runs "kill -STOP $SUPERVISOR; sleep 5", run, "cannot be run" },
  { "kill -9 of the worker", runs "kill -9 $WORKER", run, "ended in the middle" },
  { "a worker that is stopped", runs "kill -STOP $WORKER", run, "time ran out" },
  { "kill 0", runs "kill 0", run, "ended in the middle" },
  { "trap 'kill 0'", runs "sh -c 'trap \"kill 0\" EXIT; exit'; sleep 5", run,
    "ended in the middle" },
  { "kill -9 0", runs "kill -9 0", run, "ended in the middle" },

  { "junk on descriptors", DENY, 'exec 3</dev/zero 4>/dev/full 5<>"$FOLDER/junk" 6<&0 7>&1 8>&2; '
    .. run, "DENIED" },
  { "a hook that writes to all descriptors", [[return { fail = "closed", run = function()
      for fd = 3, 40 do require("luv").fs_write(fd, ("\0"):rep(200)) end
    end }]], run, "in the program's place" },
  { "another hook that changes the folder and the environment", [[return {
      { fail = "open", run = function()
        require("luv").chdir "/"
      end },
      { fail = "open", run = function() require("luv").os_setenv("XDG_STATE_HOME", "/") end },
      { fail = "closed", run = function()
        if io.open "script" and os.getenv "XDG_STATE_HOME" ~= "/" then return "deny" end
      end } }]], run, "says no" },
  { "a program that is left with Codex's streams",
    [[os.execute 'sleep 20 & echo $! >>"$FOLDER/left"'; ]] .. DENY,
    "exec 6<&0 7>&1 8>&2; " .. run, "DENIED" },
  { "what the shell prints", DENY, 'echo before; "$PROGRAM" "$@"; code=$?; echo after; exit $code',
    "DENIED" },
  { "8 descriptors", DENY, "ulimit -n 8; " .. run, "hook" },
  { "5 descriptors", DENY, "ulimit -n 5; " .. run, "hook" },
  { "little memory", DENY, "ulimit -v 16000; " .. run, "hook" },
  { "hardly any memory", DENY, "ulimit -v 4000; " .. run, "hook" },
  { "files of no bytes", DENY, "ulimit -f 0; " .. run, "DENIED" },
  { "no environment", DENY, 'exec env -i "$PROGRAM" "$@"', "DENIED" },
  { "standard input closed", DENY, run .. " <&-", "sent nothing" },
  { "standard output closed", DENY, run .. " >&-", "DENIED" },
  { "standard error closed", DENY, run .. " 2>&-", "DENIED" },
  { "all signals ignored", DENY, "trap '' HUP INT QUIT TERM USR1 CHLD PIPE; " .. run, "DENIED" },

  { "a log that is a FIFO", DENY, [[export XDG_STATE_HOME="$FOLDER/fifo"
      mkdir -p "$FOLDER/fifo/codex-lua"; mkfifo "$FOLDER/fifo/codex-lua/notify.jsonl"; ]] .. run,
    "DENIED" },
  { "a log on a full device", DENY, [[export XDG_STATE_HOME="$FOLDER/full"
      mkdir -p "$FOLDER/full/codex-lua"; ln -s /dev/full "$FOLDER/full/codex-lua/notify.jsonl"; ]]
    .. run, "DENIED" },
  { "a log nowhere", DENY, "export XDG_STATE_HOME=/proc/none; " .. run, "DENIED" },

  { "a lone surrogate", answers "\xED\xA0\x80", run, "\u{FFFD}" },
  { "a reason of ideographic spaces", answers "\u{3000}\u{A0}", run, "says no" },
  { "a reason of other spaces", answers "\u{85}\u{1680}\u{2003}\u{2028}\u{202F}\u{205F} \t", run,
    "says no" },
  { "an empty reason", answers "", run, "says no" },
  { "no text", answers "\0\1\xFF", run, "\u{FFFD}" },
  { "a very long reason", 'return function() return { decision = "deny", reason = ("x"):rep(3e6) } '
    .. "end", run, "xxx" },
  { "an answer that is too long", [[return function()
      return { decision = "deny", reason = ("x"):rep(5e6) }
    end]], run, "ended in the middle" },

  { "`on` in Codex's words", 'return { on = "PreToolUse", run = print }', run,
    "did you mean 'pre_tool_use'" },
  { "`on` as a map", "return { on = { pre_tool_use = true }, run = print }", run, "is a list" },
  { "a hook for something else", 'return { on = "stop", run = print }', run, "has no hook for" },
  { "a hook file that returns nothing", "local hook = 1", run, "it returned nothing" },
  { "a list with a hole", "return { print, nil, print }", run, "a hole at 2" },
  { "a hook file that is not there", nil, run, "cannot read" },
}

--- Where a case cannot be: the command that it needs.
local needs = {
  { "a user whom nobody knows", DENY, 'unset HOME; exec setpriv --reuid=54321 --clear-groups '
    .. '"$PROGRAM" "$@"', "hook", "setpriv --reuid=54321 --clear-groups true" },
  { "a disk that is full", DENY, [[mkdir -p "$FOLDER/disk"; exec unshare -m sh -c '
      mount -t tmpfs -o size=4k none "$FOLDER/disk"; head -c 9999 /dev/zero >"$FOLDER/disk/full"
      export XDG_STATE_HOME="$FOLDER/disk"; exec "$PROGRAM" "$@"' sh "$@"]], "DENIED",
    "unshare -m mount -t tmpfs none /mnt" },
}

---@class tests.Closed one Codex with the hook
local Closed = {}
Closed.__index = Closed

local function open(binary)
  local folder, remove = program.folder()
  local self = setmetatable({ folder = folder, script = folder .. "/script", turns = 0,
    file = folder .. "/hook.lua", remove = remove }, Closed)
  self.model = assert(testing.model { reply = function(request)
    local name = request.prompt:match "^go (%d+)$"
    if #request.outputs == 0 and name then return { exec = "touch ran" .. name } end
    return "done"
  end })
  program.write(folder .. "/empty", "")
  program.write(folder .. "/junk", ("junk\n"):rep(1000))
  self.cx = assert(testing.codex { model = self.model, binary = binary, env = {
    XDG_STATE_HOME = folder, XDG_CONFIG_HOME = folder, PROGRAM = program.path, FOLDER = folder } })
  do
    local setup <close> = assert(require("codex.setup").open(self.cx))
    local line = hook.command_line("closed", LIMIT, self.file, { "/bin/bash", self.script })
    local key = assert(setup:add_hook { event = "pre_tool_use", command = line, timeout = LIMIT })
    assert(setup:trust(key))
  end
  self.client = assert(self.cx.connect { cwd = folder, audit = false, policies = {} })
  self.thread = assert(self.client:thread { approval_policy = "never",
    sandbox = "danger-full-access" })
  return self
end

--- What a hook has started may outlive it, but not these tests.
local function end_left(folder)
  for pid in (files.read(folder .. "/left") or ""):gmatch "%d+" do
    uv.kill(math.tointeger(tonumber(pid)), "sigkill")
  end
end

function Closed:close()
  self.client:close()
  end_left(self.folder)
  self.cx.close()
  self.model:close()
  self.remove()
end

--- Whether the command was run, and what the model was told.
function Closed:judge(text, script)
  self.turns = self.turns + 1
  program.write(self.script, script)
  if text then program.write(self.file, text) else os.remove(self.file) end
  local turn = assert(self.thread:ask("go " .. self.turns))
  assert.equal("done", turn.final_message)
  local outputs = self.model.requests[#self.model.requests].outputs
  return uv.fs_stat(("%s/ran%d"):format(self.folder, self.turns)) ~= nil,
    tostring(outputs[#outputs].output)
end

local binaries = { latest = peers.latest, middle = peers.middle, other = os.getenv "HOOK_CODEX" }

for version, binary in pairs(binaries) do
  describe("a hook that fails closed, in Codex " .. (peers.version[version] or binary), function()
    local closed
    setup(function() closed = open(binary) end)
    teardown(function() closed:close() end)

    local function refuses(case)
      local is_run, told = closed:judge(case[2], case[3])
      assert.is_false(is_run, told)
      assert.truthy(told:find(case[4], 1, true), told)
    end

    for _, case in ipairs(cases) do
      it("refuses with " .. case[1], function()
        if version == "other" and case[1]:find "group" then
          return pending "old Codex has hooks in its own group"
        end
        refuses(case)
      end)
    end

    for _, case in ipairs(needs) do
      it("refuses with " .. case[1], function()
        if not os.execute(case[5] .. " 2>/dev/null") then
          return pending("this machine does not allow: " .. case[5])
        end
        refuses(case)
      end)
    end

    it("lets the command run when the hook has nothing against it", function()
      assert.is_true((closed:judge("return function() end", run)))
      assert.is_true((closed:judge('return { fail = "open", run = error }', run)))
    end)
  end)
end
