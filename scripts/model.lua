--- model: a scripted model on this machine, for trying workflows without an account
---
--- SCRIPT.lua returns what codex.testing.model takes: a table with `turns` or `reply`, or just the
--- list of turns, or the reply function. SCRIPT.jsonl is a cassette. Exit codes: 1 the script or
--- the port cannot be used, 2 wrong usage, 130 ended with Ctrl-C, which is the usual end.

local cli = require "codex.cli"
local codex = require "codex"
local home = require "codex.testing.home"

local function port(text)
  local number = math.tointeger(tonumber(text))
  if number and number >= 0 and number <= 65535 then return number end
  return nil, ("'%s' is not a port"):format(text)
end

local parser = cli.parser("model", "A scripted model: prints the URL and a config.toml for Codex.")
parser:argument("script", "a Lua file that returns turns or a reply function, or a .jsonl cassette")
  :args "?"
parser:option("--port", "the port to listen on; 0, the default: any free one")
  :convert(port):argname "N":default "0"
parser:flag("--print-config", "only print the config.toml for --port, and serve nothing")
local args = parser:parse()

local function print_config(url)
  print "# config.toml; the variable MOCK_KEY may hold anything but must be set"
  io.write(home.config(url))
  io.stdout:flush()
end

--- What the file says, as codex.testing.model takes it.
local function load_script(path)
  if path:find "%.jsonl$" then return { cassette = path } end
  local chunk, message = loadfile(path)
  if not chunk then parser:error(message) end
  local script = chunk()
  if type(script) == "function" then return { reply = script } end
  if type(script) == "table" and script[1] ~= nil then return { turns = script } end
  if type(script) == "table" then return script end
  parser:error(("'%s' must return a table or a function, got %s"):format(path, type(script)))
end

local function brief(text)
  local line = text:gsub("%s+", " ")
  return #line > 60 and line:sub(1, (utf8.offset(line, 0, 58) or 58) - 1) .. "..." or line
end

local function log(request)
  io.stderr:write(("%s %s %s"):format(os.date "%H:%M:%S", request.method, request.path))
  if request.index then
    io.stderr:write((" #%d %s, %d outputs: %s"):format(request.index, request.thread_id or "-",
      #request.outputs, brief(request.prompt or "")))
  end
  io.stderr:write "\n"
end

if args.print_config then
  if args.port == 0 then parser:error "--print-config needs --port" end
  print_config(("http://127.0.0.1:%d/v1"):format(args.port))
  os.exit(0)
end
if not args.script then parser:error "missing argument 'script'" end

local script = load_script(args.script)
local tell = script.on_request
script.port = args.port
script.on_request = function(request)
  log(request)
  if tell then tell(request) end
end
script.on_error = function(message) io.stderr:write("codex-lua model: ", message, "\n") end

local model, err = codex.testing.model(script)
if not model then
  io.stderr:write("codex-lua model: ", tostring(err), "\n")
  os.exit(1)
end
local guard <close> = model -- luacheck: ignore 211
print(model.url)
print_config(model.url)
codex.signal():wait() -- until Ctrl-C
