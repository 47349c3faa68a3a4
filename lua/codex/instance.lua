--- Instances: the same functions with settings of their own. `codex` itself is the default one.

local options = require "codex.options"

local M = {}

---@class codex.Settings
---@field binary? string the Codex to run; see codex.binary for what is used otherwise
---@field home? string CODEX_HOME
---@field env? table<string, string|false> variables for Codex; false takes one away
---@field clear_env? boolean start from an empty environment
---@field cwd? string where Codex works
---@field timeout? number seconds for one run
---@field idle_timeout? number seconds without any event
---@field network_wait? number seconds that Codex may wait for a network that is not there (60)
---@field grace? number seconds between asking Codex to end and killing it (5)
---@field retry? codex.Retry|integer how often a run that failed for no fault of its own is repeated
---@field log? fun(level: string, message: string) receives what would go to the log
---@field tee? string a file that receives the raw JSONL as it arrives, appended
---@field rust_log? string RUST_LOG for Codex

local settings = options.set {
  "binary", "home", "env", "clear_env", "cwd", "timeout", "idle_timeout", "network_wait", "grace",
  "retry", "log", "tee", "rust_log",
}
M.settings = settings

--- Which module has which function; the instance is its first argument.
local functions = {
  exec = "exec", stream = "exec", resume = "exec", fork = "exec", review = "exec",
  apply = "command", sandbox = "command", features = "command", version = "command",
  interactive = "command", run = "command", paths = "command", environment = "command",
  capabilities = "capability", connect = "client",
}

--- Modules whose functions are reached by the module's name: codex.updates.check.
local groups = { updates = true }

local Instance = {}

--- A module's functions with the instance as their first argument.
local function bound_group(self, name)
  local group = require("codex." .. name)
  return setmetatable({}, { __index = function(_, key)
    local fn = group[key]
    return fn and function(...) return fn(self, ...) end
  end })
end

function Instance.__index(self, name)
  if name == "home" then return M.home(self) end
  if name == "with" then
    return function(given) return M.new(given, self) end
  end
  if groups[name] then
    local group = bound_group(self, name)
    rawset(self, name, group)
    return group
  end
  local module = functions[name]
  if not module then return nil end
  local fn = require("codex." .. module)[name]
  local bound = function(...) return fn(self, ...) end
  rawset(self, name, bound)
  return bound
end

local function check(given)
  local where = "codex.with"
  options.check(where, given, settings)
  options.typed(where, given, "binary", "string")
  options.typed(where, given, "home", "string")
  options.typed(where, given, "env", "table")
  options.typed(where, given, "clear_env", "boolean")
  options.typed(where, given, "log", "function")
  options.typed(where, given, "tee", "string")
end

--- A new instance. What `given` does not say comes from `base`; `env` tables are merged.
---@param given codex.Settings
---@param base? table an instance
---@return table
function M.new(given, base)
  check(given)
  local merged = {}
  for name in pairs(settings) do
    merged[name] = given[name]
    if merged[name] == nil and base then merged[name] = base._settings[name] end
  end
  if given.env and base and base._settings.env then
    merged.env = {}
    for name, value in pairs(base._settings.env) do merged.env[name] = value end
    for name, value in pairs(given.env) do merged.env[name] = value end
  end
  return setmetatable({ _settings = merged }, Instance)
end

--- The CODEX_HOME that Codex will use.
---@return string
function M.home(instance)
  local s = instance._settings
  local inherited = not s.clear_env and os.getenv "CODEX_HOME"
  local home = s.home or (s.env and s.env.CODEX_HOME) or inherited
  if home and home ~= "" then return home end
  return require("codex.files").home() .. "/.codex"
end

--- The environment for Codex, in the form that codex.proc takes.
---@return table<string, string|false>
function M.environment(instance)
  local s, env = instance._settings, {}
  for name, value in pairs(s.env or {}) do env[name] = value end
  if s.home then env.CODEX_HOME = s.home end
  if s.rust_log then env.RUST_LOG = s.rust_log end
  if env.RUST_BACKTRACE == nil then env.RUST_BACKTRACE = false end -- it only adds "<unknown>" lines
  return env
end

--- Says something through the instance's own sink, or the log.
function M.say(instance, level, format, ...)
  local message = select("#", ...) > 0 and format:format(...) or format
  local log = require "codex.log"
  if instance._settings.log then return instance._settings.log(level, log.redact(message)) end
  log[level]("%s", message)
end

M.default = M.new {}

return M
