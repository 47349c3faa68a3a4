--- Calls the core modules with whatever Lua can hold: `codex-lua tests/fuzz/core.lua FOLDER [CALLS
--- [SEED]]`, from the root of the tree, best under AddressSanitizer.
---
--- Tables say something else each time they are asked, their strings are collected in the middle of
--- a call, finalizers change the arguments of the call that is under way and call back into the
--- modules, `__gc` is called by hand, and objects are closed from their own callbacks. All of this
--- may fail with errors; that the process lives to its end, and says so, is what is tested.

package.path = "./?.lua;" .. package.path

local Random = require "tests.differential.random"
local async = require "codex.async"
local uv = require "luv"

local folder, calls, seed = arg[1], tonumber(arg[2] or 20000), tonumber(arg[3] or 1)
local random = Random.new(seed)
local OBJECTS, CHILDREN, DEPTH = 12, 8, 3 -- of a type; alive at once; callbacks within callbacks
local TURN = 20 -- calls between two turns of the loop

local modules = {}
for _, name in ipairs {
  "envelope", "http", "httpd", "lines", "link", "lock", "log", "pack", "proc", "stat", "task", "ws",
} do
  modules[name] = require("codex.core." .. name)
end

-- What ends the process, or would take its standard streams, on purpose; what is reset below.
modules.task.watchdog, modules.link.take_standard = nil, nil
modules.log.level "off"

local types = {
  "codex.proc", "codex.link", "codex.http", "codex.http.transfer", "codex.httpd",
  "codex.httpd.request", "codex.ws", "codex.ws.connection", "codex.lines", "codex.places",
}
local objects, methods = {}, {}
for _, name in ipairs(types) do objects[name] = {} end

local current = {} -- the tables of the call that is under way
local depth = 0
local port
local any, call_something

-- ---- Values -------------------------------------------------------------------------------------

local count = 0

--- A string that nothing else holds.
local function fresh(text)
  count = count + 1
  return ("%s-%d"):format(text, count)
end

local texts = {
  function() return "" end,
  function() return "GET" end,
  function() return "a\0b" end,
  function() return fresh "GET / HTTP/1.1\r\nX: y\r\n\r\n" end,
  function() return fresh "\xff\xc3" end,
  function() return fresh(("x"):rep(random:below(3) * 3000)) end,
  function() return fresh(folder .. "/socket") end,
  function() return fresh(("http://127.0.0.1:%d/"):format(port or 1)) end,
  function() return ('{"id":%d,"method":"m","params":{"a":[%d]}}'):format(count, count) end,
  function() return "{\"id\":\"a\\u0000\",\"result\":null}" end,
  function() return "warn" end,
}

local function text() return random:pick(texts)() end

local function integer()
  return random:pick { -1, 0, 1, 2, 3, 200, 1000, 1 << 31, 1 << 32, (1 << 32) + 1, math.maxinteger,
    math.mininteger, 1 << 61 }
end

--- Forgets what the tables of the call that is under way hold, or changes it.
local function spoil()
  for _, t in ipairs(current) do
    for key in next, t do
      if random:chance(0.5) then rawset(t, key, random:chance(0.5) and any(2) or nil) end
    end
    if random:chance(0.2) then rawset(t, fresh "key", fresh "value") end
  end
end

local function within(fn, ...)
  if depth >= DEPTH then return end
  depth = depth + 1
  local ok, err = pcall(fn, ...)
  depth = depth - 1
  if not ok then return nil, err end
  return err
end

local function on_collected()
  within(function()
    spoil()
    call_something()
  end)
end

--- Garbage that does something when it is found.
local function litter()
  if random:chance(0.3) then setmetatable({}, { __gc = on_collected }) end
end

--- A callback: does something with what it is given, with others, or fails.
local function callback()
  local kind = random:below(5)
  return function(object)
    if type(object) == "userdata" then
      local list = objects[(debug.getmetatable(object) or {}).__name]
      if list then list[random:below(OBJECTS)] = object end
    end
    litter()
    if kind == 1 then error(any(2), 0) end
    for _ = 1, kind - 1 do within(call_something) end
    return any(2)
  end
end

--- Keeps its strings only for itself, and says something else each time it is asked.
local function liar(like)
  litter()
  return setmetatable({}, {
    __index = function(_, key)
      litter()
      if random:chance(0.3) then return any(2) end
      local value = like and like[key]
      return type(value) == "string" and value .. fresh "" or value
    end,
    __len = function() return integer() end,
    __pairs = function() error "no" end,
    __name = fresh "name",
    __close = function() end,
  })
end

local function table_of(level)
  local t = {}
  for i = 1, random:below(4) - 1 do
    t[random:chance(0.6) and i or fresh "key"] = any(level + 1)
  end
  return t
end

local foreign = { io.stdout, uv.new_timer() }

local function object(wanted)
  local name = random:chance(0.9) and wanted or random:pick(types)
  return objects[name][random:below(OBJECTS)]
end

function any(level)
  local kind = random:below(level and level > 3 and 6 or 11)
  if kind <= 2 then return text() end
  if kind == 3 then return integer() end
  if kind == 4 then return random:pick { true, false } end
  if kind == 5 then return nil end
  if kind == 6 then return random:pick { 0 / 0, 1 / 0, -1 / 0, 1.5, 1e300 } end
  if kind == 7 then return callback() end
  if kind == 8 then return random:pick(foreign) end
  if kind == 9 then return object() end
  if kind == 10 then return liar() end
  return table_of(level or 1)
end

-- ---- Arguments ----------------------------------------------------------------------------------

local function milliseconds() return random:pick { 0, 1, 20 } end
local function flag() return random:pick { true, false } end
local function size() return random:pick { 1, 2, 100, 65536 } end

--- The fields of options, and now and then something else in their place.
local function options(fields)
  local t = {}
  for _, field in ipairs(fields) do
    local name, make = field[1], field[2]
    if random:chance(0.3) then
      t[name] = make()
    elseif random:chance(0.05) then
      t[name] = any(2)
    end
  end
  if random:chance(0.2) then return liar(t) end
  current[#current + 1] = t
  return t
end

local function list(make)
  return function()
    local t = {}
    for i = 1, random:below(4) - 1 do t[i] = random:chance(0.95) and make() or any(2) end
    current[#current + 1] = t
    if random:chance(0.1) then return liar(t) end
    return t
  end
end

local function map(make)
  return function()
    local t = {}
    for _ = 1, random:below(4) - 1 do t[fresh "name"] = random:chance(0.95) and make() or any(2) end
    current[#current + 1] = t
    return t
  end
end

local function one_of(...)
  local all = { ... }
  return function() return random:pick(all) end
end

local function socket_path() return ("%s/s%d"):format(folder, random:below(3)) end

local function argv()
  local t = random:pick { { fresh "", "a" }, { "true" }, { "cat" }, { "echo", fresh "a" },
    { "sh", "-c", "echo a; echo b >&2; cat" } }
  current[#current + 1] = t
  return t
end

local stdio = one_of("pipe", "null")
local child = {
  cwd = function() return fresh(folder .. "/no") end, env = map(text), clear_env = flag,
  file = one_of("/bin/cat", "/bin/true", "cat"), stdin = stdio, stdout = stdio, stderr = stdio,
  timeout_ms = milliseconds, idle_timeout_ms = milliseconds, grace_ms = milliseconds,
  drain_ms = milliseconds, stop_signal = one_of(0, 1, 15), read_size = size, tail_size = size,
  high_water = size, line_limit = size,
}
local talk = {
  name = text, prefix = one_of("a:", "b"), raw = flag, heard = flag, jsonrpc = flag, window = size,
  line_limit = size, read_size = size, stderr = stdio,
}
local transfer = {
  method = one_of("GET", "POST", "HEAD", "PUT", "X\r\nY: z"), url = function()
    return ("http://127.0.0.1:%d/%s"):format(port or 1, fresh "")
  end, user_agent = text, proxy = one_of("", "http://127.0.0.1:1", "\r\n"), headers = list(text),
  body = text, redirects = one_of(0, 1, 5), compressed = flag, until_head = flag, idempotent = flag,
  max_bytes = size, timeout_ms = milliseconds, connect_timeout_ms = milliseconds,
  idle_ms = milliseconds,
}
local sockets = {
  url_path = text, ping_s = size, message_limit = size, client_limit = size,
}

--- Options of these fields, in an order that does not change from run to run.
local function given(...)
  local fields = {}
  for _, set in ipairs { ... } do
    for name, make in pairs(set) do fields[#fields + 1] = { name, make } end
  end
  table.sort(fields, function(a, b) return a[1] < b[1] end)
  return function() return options(fields) end
end

-- Two links on one pipe read from it in turn: neither may block.
local no_wait = { nonblock = true }
local pipes = { uv.pipe(no_wait, no_wait), uv.pipe(no_wait, no_wait) }

local function descriptor()
  local ends = random:pick(pipes)
  return random:pick { ends.read, ends.write, -1, 1 << 32 }
end

local function thread() return coroutine.create(callback()) end
local function deadline() return nil end -- a real one would end what is called here

local functions = {
  { modules.proc, "spawn", argv, given(child), callback },
  { modules.link, "spawn", argv, given(child, talk), callback },
  { modules.link, "open", descriptor, descriptor, given(talk), callback },
  { modules.link, "read", text },
  { modules.http, "open" },
  { modules.http, "origin", text },
  { modules.httpd, "listen", given { host = one_of("127.0.0.1", "::1", "x"), port = one_of(0),
    body_limit = size }, callback },
  { modules.ws, "listen", socket_path, given(sockets), callback },
  { modules.ws, "connect", socket_path, given(sockets), callback },
  { modules.lines, "new", size },
  { modules.lock, "take", descriptor },
  { modules.stat, "at", text },
  { modules.stat, "of", descriptor },
  { modules.log, "write", one_of("debug", "info"), text },
  { modules.log, "redact", text },
  { modules.log, "is_secret", text, text },
  { modules.task, "running", thread },
  { modules.task, "limit", thread, flag },
  { modules.task, "deadline", deadline },
  { modules.task, "witness", flag },
  { modules.task, "live" },
  { modules.pack, "copy", any },
  { modules.envelope, "places", list(text) },
  { modules.envelope, "read", text, function() return object "codex.places" end },
  { modules.envelope, "id", text },
  { modules.envelope, "with_id", text, text },
}

--- What a method is called with; none are named for those that take anything, or nothing.
local arguments = {
  ["codex.proc"] = { kill = { one_of(0, 1, 15, 9) }, write = { text } },
  ["codex.link"] = {
    call = { text, text, milliseconds }, forget = { one_of(0, 1, 2, 3) }, notify = { text, text },
    reply = { text, text }, refuse = { text, one_of(1), text, text }, send = { text },
  },
  ["codex.http"] = { start = { given(transfer), callback } },
  ["codex.httpd.request"] = { respond = { one_of(200, 404, 302), map(text) }, write = { text } },
  ["codex.ws.connection"] = {
    start = { callback }, send = { text }, pause = { flag }, close = { one_of(1000, 3000), text },
  },
  ["codex.lines"] = { feed = { text } },
}

-- ---- Calls --------------------------------------------------------------------------------------

local function keep(value)
  if type(value) ~= "userdata" then return end
  local name = debug.getmetatable(value).__name
  if not objects[name] then return end
  local index = random:below(OBJECTS)
  local before = objects[name][index]
  if before and name ~= "codex.httpd" then
    local close = methods[name].close
    if close then pcall(close, before) end
  end
  objects[name][index] = value
  if name == "codex.httpd" then port = value:port() or port end
end

local function fill(makes)
  local values, n = {}, random:chance(0.95) and #makes or random:below(6)
  for i = 1, n do
    local make = makes[i]
    values[i] = make and random:chance(0.93) and make() or any()
  end
  return values, n
end

local function protected(fn, values, n)
  litter()
  local ok, value = pcall(fn, table.unpack(values, 1, n))
  if ok then keep(value) end
end

local function live_children()
  local n = 0
  for _, name in ipairs(modules.task.live()) do
    if name == "codex.proc" or name == "codex.link" then n = n + 1 end
  end
  return n
end

local function call_function()
  local entry = random:pick(functions)
  if entry[2] == "spawn" and live_children() >= CHILDREN then return end
  local values, n = fill(table.move(entry, 3, #entry, 1, {}))
  protected(entry[1][entry[2]], values, n)
end

local function names_of(name)
  local all, meta = {}, debug.getregistry()[name]
  methods[name] = meta.__index
  for key in pairs(meta.__index or {}) do all[#all + 1] = key end
  for _, key in ipairs { "__gc", "__close" } do if meta[key] then all[#all + 1] = key end end
  table.sort(all)
  return all, meta
end

local names, metas = {}, {}
for _, name in ipairs(types) do names[name], metas[name] = names_of(name) end

local function call_method()
  local name = random:pick(types)
  local key = random:pick(names[name])
  if not key then return end
  if key:find "^__" or key == "close" then
    if random:chance(0.8) then return end -- or there would be nothing that is open
  end
  local values, n = fill((arguments[name] or {})[key] or {})
  table.insert(values, 1, false)
  values[1] = object(name)
  protected(metas[name][key] or methods[name][key], values, n + 1)
end

function call_something()
  if depth <= 1 then current = {} end
  if random:chance(0.4) then call_function() else call_method() end
end

-- ---- The run ------------------------------------------------------------------------------------

local function run()
  for i = 1, calls do
    depth = 0
    call_something()
    if i % TURN == 0 then async.sleep(random:chance(0.1) and 0.005 or 0) end
  end
end

local function close_all()
  depth = DEPTH -- from here on callbacks do nothing more
  for _, name in ipairs(types) do
    local close = methods[name].close
    for _, each in pairs(objects[name]) do if close then pcall(close, each) end end
    objects[name] = {}
  end
end

warn "@off"
collectgarbage("incremental", 100, 1000, 6)
local ok, err = xpcall(run, debug.traceback)
close_all()
if not ok then io.stderr:write(err, "\n") end
io.write(ok and "it lives\n" or "")
os.exit(0) -- 1 by then: callbacks have failed
