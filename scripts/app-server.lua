--- app-server: puts Lua between an IDE and Codex: policies decide approvals, middleware sees all
---
--- It speaks the app-server protocol on its standard input and output and runs the real app-server
--- behind it. What no policy and no middleware touches passes byte for byte. Exit codes: those of
--- Codex; 1 it could not be started, 2 wrong usage; ended with Ctrl-C 130, SIGTERM 143, SIGHUP 129;
--- 124 a policy held it up for longer than it may and could not be interrupted: Codex ends with it.

local async = require "codex.async"
local cli = require "codex.cli"
local files = require "codex.files"
local log = require "codex.log"

-- The text of a large message is garbage as soon as it was passed on. That much of it comes is no
-- reason to look through all that is old: only when there is five times as much as there was.
collectgarbage("generational", 20, 400)

local GRACE, LOST_GRACE = 5, 0.5 -- seconds for the server to end; less when nobody listens

local MOST_SECONDS = 1e9 -- a timer takes no endless time

local function seconds(text)
  local number = tonumber(text)
  if number and number > 0 and number <= MOST_SECONDS then return number end
  return nil, ("'%s' is no number of seconds above 0, and of at most 1e9"):format(text)
end

local function count(text)
  local number = math.tointeger(tonumber(text))
  if number and number > 0 then return number end
  return nil, ("'%s' is not a positive whole number"):format(text)
end

local parser = cli.parser("app-server",
  "Codex's app-server with Lua in between: for IDEs and the TUI (codex --remote unix://PATH).")
parser:option("--policy", "a policy file; the user's policy.d is used where none is named")
  :argname "FILE":count "*"
parser:option("--middleware", "a file that returns a middleware, or a list"):argname "FILE"
  :count "*"
parser:flag("--strict", "what no policy decides is declined; the client is not asked, and what it "
  .. "would do by itself is a question to the policies")
parser:option("--workspace", "with --strict: a folder in which threads may work, besides the one "
  .. "where this runs; others are a question to the policies; may be repeated")
  :argname "DIR":count "*"
parser:option("--policy-timeout", "seconds until the safe answer is given (60)")
  :convert(seconds):argname "N"
parser:option("--record", "write both directions to this file, secrets taken out"):argname "FILE"
parser:mutex(
  parser:flag("--no-audit", "do not write decisions to the audit log"),
  parser:option("--audit", "required: what cannot be written to the audit log is declined")
    :choices { "required" })
parser:option("--listen", "stdio:// (the default), or unix://PATH for WebSocket; may be repeated")
  :argname "URL":count "*"
parser:option("--unread", "seconds that one of several clients may leave 8 MiB unread (10)")
  :convert(seconds):argname "N"
parser:option("--clients", "how many may be connected over sockets at once (32)")
  :convert(count):argname "N"
parser:argument("codex_args", "after --: arguments for Codex; `app-server` is added where missing")
  :args "*"
parser:epilog [[
An IDE that wants the path of Codex gets a file of two lines:

  #!/bin/sh
  exec codex-lua app-server --policy FILE -- "$@"

Other commands of Codex pass through it: `FILE --version` is `codex --version`.]]
local args = parser:parse()

local function fail(err)
  io.stderr:write("codex-lua app-server: ", tostring(err), "\n")
  os.exit(1)
end

local function must(value, err)
  if value == nil or value == false then fail(err) end
  return value
end

-- ---- What is run -------------------------------------------------------------------------------

--- The wrapper of two lines must not be the Codex that it runs.
local function check_loop(path)
  local text = os.getenv "CODEX_LUA_LAUNCHER" == path and files.read(path) or ""
  if text:sub(1, 2) == "#!" then
    fail(("'%s' runs this command again; name the real Codex in CODEX_BINARY"):format(path))
  end
end

local binary = must(require("codex.binary").resolve())
local env = require("codex.binary").launcher_environment(binary.path)
check_loop(binary.path)
env.CODEX_LUA_LAUNCHER = binary.path

local function help_of_codex()
  local result = require("codex.proc").run({ binary.path, "--help" }, { env = env, timeout = 10 })
  return result and result.stdout
end

local line, problem = require("codex.cli.command_line").read(args.codex_args, help_of_codex)
if not line then parser:error(problem) end

-- Other commands, and questions about Codex itself, are none of ours.
if not line.is_app_server then
  local child = must(require("codex.proc").spawn({ binary.path, table.unpack(line.words) }, {
    stdin = "inherit", stdout = "inherit", stderr = "inherit", same_group = true, env = env,
  }))
  local status = child:wait()
  os.exit(status.signal ~= 0 and 128 + status.signal or status.code)
end
problem = args.strict and require("codex.cli.command_line").strict_problem(line)
if problem then parser:error(problem) end
if #args.workspace > 0 and not args.strict then
  parser:error "--workspace is of no use without --strict: every folder is the client's choice"
end

-- ---- Where clients come from -------------------------------------------------------------------

for _, url in ipairs(line.listen) do args.listen[#args.listen + 1] = url end
local use_stdio, sockets = #args.listen == 0, {}
for _, url in ipairs(args.listen) do
  local path = url:match "^unix://(/.+)$"
  if url == "stdio://" then
    use_stdio = true
  elseif path then
    sockets[#sockets + 1] = path
  else
    parser:error(("--listen: '%s' is not stdio://, nor unix:// and an absolute path"):format(url))
  end
end

-- What files print that decide is not for the client.
local input, output
if use_stdio then
  input, output = require("codex.link").take_standard()
  must(input, output)
end

-- ---- What decides ------------------------------------------------------------------------------

local function load_policies()
  local policy = require "codex.policy"
  if #args.policy == 0 then return must(policy.load_folder(policy.folder())) end
  local all = {}
  for _, path in ipairs(args.policy) do
    local list = must(policy.load(path))
    table.move(list, 1, #list, #all + 1, all)
  end
  return all
end

local layers = {}
for _, path in ipairs(args.middleware) do
  local list, err = require("codex.middleware").load(path)
  if not list then parser:error(tostring(err)) end
  table.move(list, 1, #list, #layers + 1, layers)
end

-- ---- The session -------------------------------------------------------------------------------

require("codex.guard").watch "app-server"
local recording = args.record and must(require("codex.recording").open(args.record))
local audit = not args.no_audit
  and must(require("codex.audit").open(nil, { required = args.audit == "required" })) or nil
local over, ended = async.signal(), nil

--- Files that decide, or that tell what happened.
local function files_apart()
  local list = table.move(args.policy, 1, #args.policy, 1, {})
  if #list == 0 then list[1] = require("codex.policy").folder() end
  table.move(args.middleware, 1, #args.middleware, #list + 1, list)
  list[#list + 1] = args.record
  if not args.no_audit then list[#list + 1] = require("codex.audit").path() end
  return list
end

--- Ends the session: the server gets so many seconds to end by itself.
local function finish(grace)
  ended = ended or grace
  over:notify()
end

local launcher = require "codex.launcher"
local session <close> = must(launcher.open {
  argv = { binary.path, table.unpack(line.words) }, env = env,
  policies = load_policies(), policy_timeout = args.policy_timeout, strict = args.strict,
  workspaces = args.workspace, files_apart = args.strict and files_apart() or nil,
  middleware = layers, recording = recording, audit = audit,
  shared = #sockets > 0, unread_seconds = args.unread,
  on_lost = function() if #sockets == 0 then finish(LOST_GRACE) end end,
})

local servers = {}
for i, path in ipairs(sockets) do
  servers[i] = must(require("codex.ws").listen(path, function(connection)
    session:serve(connection)
  end, { message_limit = launcher.client_line_limit, client_limit = args.clients or 32 }))
  log.info("listening on unix://%s", path)
end
if use_stdio then
  must(session:add_stdio(input, output, function() finish(GRACE) end))
  require("luv").fs_close(input)
  require("luv").fs_close(output)
end

async.spawn(function()
  session:wait()
  finish(GRACE)
end)
while not ended do over:wait() end

for _, server in ipairs(servers) do server:close() end
session:close(ended)
if recording then
  recording:exit(session:exit_code())
  recording:close()
end
os.exit(session:exit_code())
