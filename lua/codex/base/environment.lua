--- What a file of the user's sees as its globals and libraries: its own copies. What it sets or
--- takes away there, no other file and nothing of ours notices.
---
--- This is no sandbox: a file may read, write and run what its user may. It keeps files from
--- spoiling each other in Lua: libraries are copied, our modules are seen through tables that
--- cannot be changed, metatables are given only to whom they belong, and there is no debug library.

local M = {}

local debug_getmetatable = debug.getmetatable

local function copy(library)
  local own = {}
  for name, value in next, library do own[name] = value end
  return own
end

--- Of luv, what is the whole program's, and what to do in its place.
local everybodys = {
  chdir = "a child has an option `cwd`", os_setenv = "a child has an option `env`",
  os_unsetenv = "a child has an option `env`", setuid = "a child has an option `uid`",
  setgid = "a child has an option `gid`",
  new_thread = "no time limit reaches a thread", new_work = "no time limit reaches a thread",
}

local function own_luv()
  local own = copy(require "luv")
  own.constants = copy(own.constants)
  for name, advice in next, everybodys do
    own[name] = function()
      error(("uv.%s is not for files that are loaded; %s"):format(name, advice), 2)
    end
  end
  return own
end

-- ---- Libraries ---------------------------------------------------------------------------------

local function own_os()
  local own = copy(os)
  function own.exit() error("a hook cannot end the program with os.exit", 2) end
  function own.setlocale(locale, category)
    if locale == nil then return os.setlocale(nil, category) end
  end
  return own
end

--- The default files are the whole program's.
local function own_io()
  local own = copy(io)
  function own.output(file)
    if file ~= nil then error("io.output is the whole program's; use file:write", 2) end
    return io.output()
  end
  function own.input(file)
    if file ~= nil then error("io.input is the whole program's; use file:read", 2) end
    return io.input()
  end
  return own
end

local collecting = { collect = true, count = true, step = true }

local function own_collectgarbage(what, ...)
  if what == nil or collecting[what] then return collectgarbage(what, ...) end
  return 0
end

--- Where code is, but no function that is not the file's.
local function own_getinfo(where, what)
  if type(where) == "number" then where = where + 1 end
  local info = debug.getinfo(where, what)
  if info then info.func = nil end
  return info
end

--- A metatable is given to the file that set it; of others there is a name to compare.
local function own_metatables(env)
  local mine = setmetatable({}, { __mode = "k" })
  local names = setmetatable({}, { __mode = "k" })
  --- Finalizers would run at any time, in the middle of somebody else's work, where nothing can
  --- interrupt them: a file has none. (Lua calls one only where it was there at this moment.)
  local function set(value, meta)
    local finalizer = type(meta) == "table" and rawget(meta, "__gc")
    if not finalizer then return setmetatable(value, meta) end
    rawset(meta, "__gc", nil)
    setmetatable(value, meta)
    rawset(meta, "__gc", finalizer)
  end
  function env.setmetatable(value, meta)
    local now = debug_getmetatable(value)
    if now and not mine[now] then error("cannot change a protected metatable", 2) end
    set(value, meta)
    if meta then mine[meta] = true end
    return value
  end
  function env.getmetatable(value)
    local meta = debug_getmetatable(value)
    if meta == nil then return nil end
    if mine[meta] then return getmetatable(value) end
    names[meta] = names[meta] or {}
    return names[meta]
  end
end

-- ---- Our modules -------------------------------------------------------------------------------

--- What cannot be had: the machinery that the file itself runs in.
local hidden = { ["codex.guard"] = true, ["codex.plugin"] = true, ["codex.base.environment"] = true,
  ["codex.base.class"] = true }

--- Of codex.async. A task is in the hands of the scheduler: a file gets another table that stands
--- for it.
local waiting = setmetatable({
  spawn = function(...)
    local task = require("codex.async").spawn(...)
    return {
      join = function() return task:join() end,
      cancel = function(_, reason) task:cancel(reason) end,
      is_done = function() return task:is_done() end,
    }
  end,
}, { __index = function(_, name) return require("codex.async")[name] end })
local of_async = { "all", "await", "limit", "map", "on", "race", "signal", "sleep", "spawn",
  "timeout" }

local function own_async()
  local own = {}
  for _, name in ipairs(of_async) do own[name] = waiting[name] end
  return own
end

--- A table of ours, as it may be looked at. What is a table in it is seen in the same way.
local function view(value)
  if type(value) ~= "table" then return value end
  local seen = {}
  local function look(name)
    local one = value[name]
    if type(one) ~= "table" then return one end
    seen[name] = seen[name] or view(one)
    return seen[name]
  end
  return setmetatable({}, {
    __index = function(_, name) return look(name) end,
    __newindex = function() error("this table cannot be changed", 2) end,
    __call = function(_, ...) return value(...) end,
    __len = function() return #value end,
    __pairs = function()
      return function(_, name)
        name = next(value, name)
        if name ~= nil then return name, look(name) end
      end
    end,
    __metatable = false,
  })
end

--- require "codex", with what can be waited for in it.
local function facade()
  local codex = require "codex"
  local own = own_async()
  own.async = own_async()
  return setmetatable(own, {
    __index = function(_, name) return view(codex[name]) end,
    __metatable = false,
  })
end

local function ours(name)
  if name == "codex.core.host" then
    local host = require(name)
    return { program = host.program, data_dir = host.data_dir, version = host.version }
  end
  if hidden[name] or name:find "^codex%.core%." then
    error(("module '%s' is not for files that are loaded"):format(name), 3)
  end
  if name == "codex.async" then return own_async() end
  if name == "codex" then return facade() end
  return view(require(name))
end

-- ---- Loading -----------------------------------------------------------------------------------

local function own_load(env)
  function env.load(chunk, name, _, ...)
    if select("#", ...) > 0 then return load(chunk, name, "t", (...)) end
    return load(chunk, name, "t", env)
  end
  function env.loadfile(path, _, ...)
    if select("#", ...) > 0 then return loadfile(path, "t", (...)) end
    return loadfile(path, "t", env)
  end
  function env.dofile(path)
    local chunk, message = loadfile(path, "t", env)
    if not chunk then error(message, 0) end
    return chunk()
  end
end

local function find(env, package_table, name)
  if name == "codex" or name:find "^codex%." then return ours(name) end
  if name == "luv" then return own_luv() end
  local preload = package_table.preload[name]
  if preload then return preload(name) end
  local path = package.searchpath(name, tostring(package_table.path))
  if not path then return view(require(name)) end
  local chunk, message = loadfile(path, "t", env)
  if not chunk then error(message, 3) end
  return chunk(name, path)
end

local function own_require(env)
  local loaded = { _G = env }
  local package_table = { loaded = loaded, preload = {}, path = package.path, cpath = "",
    config = package.config, searchpath = package.searchpath }
  for _, name in ipairs { "string", "table", "math", "utf8", "coroutine", "io", "os", "debug" } do
    loaded[name] = env[name]
  end
  loaded.package, env.package = package_table, package_table
  function env.require(name)
    if type(name) ~= "string" then error("the name of a module must be a string", 2) end
    local value = loaded[name]
    if value ~= nil then return value end
    value = find(env, package_table, name)
    if loaded[name] == nil then loaded[name] = value == nil and true or value end
    return loaded[name]
  end
end

--- What policies and middleware get of the session that they are in.
---@param session? codex.Session
---@return { request: fun(self: table, ...: any), notify: fun(self: table, ...: any) }?
function M.session(session)
  return session and {
    request = function(_, ...) return session:request(...) end,
    notify = function(_, ...) return session:notify(...) end,
  }
end

--- Globals for one file.
---@return table
function M.new()
  local env = copy(_G)
  for _, name in ipairs { "string", "table", "math", "utf8", "coroutine" } do
    env[name] = copy(_G[name])
  end
  env._G, env.os, env.io = env, own_os(), own_io()
  env.debug = { traceback = debug.traceback, getinfo = own_getinfo }
  env.arg = type(arg) == "table" and copy(arg) or nil
  env.collectgarbage = own_collectgarbage
  own_metatables(env)
  own_load(env)
  own_require(env)
  return env
end

return M
