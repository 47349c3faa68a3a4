--- replay: plays a recording of `codex app-server`, to a client in Codex's place or to a server
---
--- Exit codes: 0 (as server: that of the recorded server), 1 the recording cannot be read, or, as
--- client, the server answered otherwise than recorded, 2 wrong usage.

local cli = require "codex.cli"
local recording = require "codex.recording"
local server = require "codex.testing.server"

local function speed(text)
  local number = tonumber(text)
  if number and number >= 0 and number < math.huge then return number end
  return nil, ("'%s' is not a speed"):format(text)
end

local parser = cli.parser("replay",
  "Plays a recording of `codex app-server` over standard input and output, without Codex.")
parser:epilog [[
As server it stands in for `codex app-server`. For an IDE, let its path to Codex be this script:

    #!/bin/sh
    exec codex-lua replay --loop /path/to/recording.jsonl

As client it says to a server what the recorded client said, prints what comes to standard error,
and names at the end what was answered in another way (exit code 1):

    codex-lua replay --as client recording.jsonl -- codex app-server

`codex-lua app-server --record FILE` makes recordings.]]
parser:argument("file", "the recording; of several in one file, the last")
parser:argument("command", "as client: the server to start, after `--`; else standard streams")
  :args "*"
parser:option("--as", "which side to play"):choices { "server", "client" }:default "server"
parser:option("--speed", "0, the default: at once; 1: as recorded; 2: twice as fast")
  :convert(speed):argname "N":default "0"
parser:flag("--loop", "as server: every thread/start begins the recorded thread anew")
local args = parser:parse()

local function say(format, ...) io.stderr:write("codex-lua replay: ", format:format(...), "\n") end

local function fail(err)
  say("%s", tostring(err))
  os.exit(1)
end

if args.as == "server" and #args.command > 0 then parser:error "a command needs --as client" end
if args.as == "client" and args.loop then parser:error "--loop needs --as server" end

local session, err = recording.read(args.file)
if not session then fail(err) end
if session.torn then say("line %d was not written to its end and is left out", session.torn) end

if args.as == "server" then
  local code, problem = server.serve(session, { speed = args.speed, loop = args.loop })
  if not code then fail(problem) end
  os.exit(code)
end

local differences, problem = server.drive(session, {
  speed = args.speed, command = #args.command > 0 and args.command or nil,
  on_line = function(line) io.stderr:write(line, "\n") end,
})
if not differences then fail(problem) end
for _, text in ipairs(differences) do say("%s", text) end
os.exit(#differences == 0 and 0 or 1)
