--- What benchmarks are made of: a folder below build/, small C programs, files of real events, and
--- a program that answers as Codex does but has its events ready.

local json = require "codex.json"
local proc = require "codex.proc"
local uv = require "luv"

local M = {}

local root = assert(uv.fs_realpath "build") .. "/bench"
local sources = assert(uv.fs_realpath "tests/bench/programs")
local peers = assert(uv.fs_realpath "tests/peers") .. "/node_modules/@openai"

--- The Codex that the fixtures were captured from, and that answers what the stand-in does not.
M.codex = peers .. "/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex"
M.host = assert(uv.fs_realpath "build/codex-lua")
local fixtures = "tests/fixtures/exec-0.169.0-%s.jsonl"

--- A folder below build/bench, made if it is not there.
---@param name string
---@return string path absolute
function M.folder(name)
  local path = root
  uv.fs_mkdir(path, 493)
  for part in name:gmatch "[^/]+" do
    if part ~= "." then
      path = path .. "/" .. part
      uv.fs_mkdir(path, 493)
    end
  end
  return path
end

--- Variables that keep what is measured away from the user's own files.
---@return table<string, string>
function M.environment()
  local home = M.folder "home"
  return {
    HOME = home, CODEX_HOME = M.folder "home/codex", XDG_CACHE_HOME = home .. "/cache",
    XDG_CONFIG_HOME = home .. "/config", XDG_STATE_HOME = home .. "/state",
  }
end

---@param name string below tests/bench/programs
---@return string path absolute
function M.source(name) return sources .. "/" .. name end

---@param path string
---@return string
function M.read(path)
  local file <close> = assert(io.open(path, "rb"))
  return assert(file:read "a")
end

---@param path string
---@param text string
function M.write(path, text)
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(text))
end

--- Compiles tests/bench/programs/NAME.c to build/bench/OUTPUT (the name by default).
---@async
---@param name string
---@param flags? string[]
---@param output? string
---@return string path
function M.compile(name, flags, output)
  local path = M.folder "." .. "/" .. (output or name)
  local argv = { os.getenv "CC" or "gcc", "-O2", "-std=c11", "-D_GNU_SOURCE", "-o", path }
  table.move(flags or {}, 1, #(flags or {}), #argv + 1, argv)
  argv[#argv + 1] = M.source(name .. ".c")
  local result = assert(proc.run(argv))
  if result.code ~= 0 then error(result.stderr, 0) end
  return path
end

local measure

--- The program that measures others.
---@async
---@return string path
function M.measure()
  measure = measure or M.compile("measure", { "-static" })
  return measure
end

--- The first of these programs that there is: a wrapper in PATH is not what should be measured.
---@param ... string
---@return string
function M.first_program(...)
  for _, path in ipairs { ... } do
    if not path:find "/" or uv.fs_access(path, "X") then return path end
  end
  error("none of the programs is installed: " .. table.concat({ ... }, ", "), 0)
end

--- Starts programs with as few system calls as can be; compile "spawn_loop" makes it.
M.spawn_loop = root .. "/spawn_loop"

--- The benchmark of starting many programs.
---@param name string
---@param at_once integer
---@return table
function M.spawning(name, at_once)
  local many, limit = "1000", tostring(at_once)
  return {
    name = name,
    about = ("Starting /bin/true 1000 times and waiting for it, %d at a time."):format(at_once),
    prepare = function() M.compile "spawn_loop" end,
    sides = {
      { name = "codex.proc", argv = { M.host, M.source "spawn.lua", many, limit }, expect = "" },
      { name = "posix_spawn", argv = { M.spawn_loop, many, limit, "/bin/true" }, expect = "" },
    },
    limits = {
      { metric = "wall", of = "codex.proc", against = "posix_spawn", at_most = 2 },
      { metric = "cpu", of = "codex.proc", against = "posix_spawn", at_most = 2 },
    },
  }
end

-- ---- The app-server ----------------------------------------------------------------------------

--- Files with what the real app-server answered to these methods, by method: the result's text.
---@param fixture string a file below tests/fixtures
---@param methods string[]
---@return string[] paths in the order of the methods
function M.answers(fixture, methods)
  local asked, results, paths = {}, {}, {}
  for line in io.lines("tests/fixtures/" .. fixture) do
    local message = json.decode(line).msg
    if type(message) == "table" and message.id ~= nil then
      if message.method then asked[message.id] = message.method end
      local method = message.result and asked[message.id]
      if method then results[method] = results[method] or json.encode(message.result) end
    end
  end
  for i, method in ipairs(methods) do
    paths[i] = M.folder "answers" .. "/" .. method:gsub("/", "-") .. ".json"
    M.write(paths[i], assert(results[method], method))
  end
  return paths
end

-- ---- Events -------------------------------------------------------------------------------------

local function lines_of(fixture)
  local lines = {}
  for line in io.lines(fixtures:format(fixture)) do lines[#lines + 1] = line end
  return lines
end

--- Lines of a fixture that say something of items, in their order.
local function items_of(fixture)
  local items = {}
  for _, line in ipairs(lines_of(fixture)) do
    if line:find('"item"', 1, true) and not line:find("Model metadata", 1, true) then
      items[#items + 1] = line
    end
  end
  return items
end

--- One long turn: the opening lines of a captured one, its items and those of others again and
--- again under new ids, its end. Nothing but the ids is made up.
---@param count integer lines
---@return string
local function long_turn(count)
  local plain = lines_of "plain"
  local cycle = {}
  for _, name in ipairs {
    "command", "reasoning", "plain", "reasoning", "plain", "reasoning", "mcp", "plain", "reasoning",
    "plain", "filechange", "reasoning", "plain", "reasoning",
  } do
    for _, line in ipairs(items_of(name)) do cycle[#cycle + 1] = line end
  end
  local turn, id = { plain[1], plain[3] }, 0
  for i = 1, count - 3 do
    local line = cycle[(i - 1) % #cycle + 1]
    local is_update = line:find "item%.completed" and turn[#turn]:find "item%.started"
    if not is_update then id = id + 1 end
    turn[#turn + 1] = line:gsub('"item_%d+"', ('"item_%d"'):format(id), 1)
  end
  turn[#turn + 1] = plain[#plain]
  return table.concat(turn, "\n") .. "\n"
end

--- A program that prints so many events when it is called as `codex exec`, and is Codex otherwise.
---@async
---@param count integer
---@return string path
function M.codex_with_events(count)
  local name = ("events-%d"):format(count)
  local events = M.folder(name) .. "/events.jsonl"
  M.write(events, long_turn(count))
  return M.compile("codex", {
    "-static", ('-DEVENTS="%s"'):format(events), ('-DREAL="%s"'):format(M.codex),
  }, name .. "/codex")
end

return M
