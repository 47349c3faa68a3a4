--- What a Codex binary can do, asked from itself once and remembered.
---
--- The binary's version, its subcommands, the flags in the help of each, and its features are
--- probed together; the answer is kept under XDG_CACHE_HOME for as long as the file has the same
--- real path, size and time of change. Two programs may write it at once: each writes it whole.

local async = require "codex.async"
local E = require "codex.error"
local files = require "codex.files"
local flags = require "codex.flags"
local json = require "codex.json"
local proc = require "codex.proc"

local M = {}

local FORMAT = 1 -- of the cache file
local PROBE_TIMEOUT = 20

---@class codex.Capabilities
---@field path string
---@field version string "0.169.0"
---@field fingerprint string
---@field subcommands table<string, true> of the root command
---@field commands table<string, table<string, true>> the long flags in the help of each command
---@field features table<string, { stage: string, enabled: boolean }> by default, with no config

local remembered = {} ---@type table<string, codex.Capabilities>
local underway = {} ---@type table<string, codex.Task>

local function fingerprint(path)
  local uv = require "luv"
  local real = uv.fs_realpath(path)
  local stat = real and uv.fs_stat(real)
  if not stat then return nil end
  return ("%s %d %d.%09d"):format(real, stat.size, stat.mtime.sec, stat.mtime.nsec)
end

local function cache_path(print_)
  local real = print_:match "^(.*) %d+ %d+%.%d+$"
  local name = real:gsub("[^%w.-]", "_"):sub(-180)
  return files.cache_dir() .. "/capabilities/" .. name .. ".json"
end

local function load(print_)
  local text = files.read(cache_path(print_))
  local cached = text and json.decode(text)
  local fits = type(cached) == "table" and cached.format == FORMAT and cached.fingerprint == print_
  return fits and cached or nil
end

local function store(capabilities)
  local path = cache_path(capabilities.fingerprint)
  local ok, err = files.make_dir(path:match "^(.+)/")
  if ok then
    ok, err = files.write(path, json.encode(capabilities, { pretty = true }))
  end
  if not ok then require("codex.log").debug("capabilities are not cached: %s", err) end
end

--- Runs the binary with a CODEX_HOME of its own, so that nobody's config.toml colours the answer;
--- with the user's where no folder can be made.
local function ask(path, argv)
  local home = files.cache_dir() .. "/probe-home"
  local env = { RUST_BACKTRACE = false, RUST_LOG = false }
  if files.make_dir(home) then env.CODEX_HOME = home end
  return proc.run({ path, table.unpack(argv) }, { env = env, timeout = PROBE_TIMEOUT })
end

local function probe_version(path)
  local result, err = ask(path, { "--version" })
  if not result then return nil, err end
  local version = result.code == 0 and result.stdout:match "(%d+%.%d+%.%d+%S*)"
  if version then return version end
  return nil, E.new("unsupported", ("'%s' does not answer --version as Codex does"):format(path),
    { stderr = result.stderr, data = { exit_code = result.code } })
end

--- Names under "Commands:" in a clap help text.
local function parse_subcommands(text)
  local names, inside = {}, false
  for line in (text .. "\n"):gmatch "(.-)\n" do
    if line:find "^%S" then inside = line:find "^Commands:" ~= nil end
    local name = inside and line:match "^  (%l[%w-]*)"
    if name then names[name] = true end
    local aliases = inside and line:match "%[aliases?: ([^%]]+)%]"
    for alias in (aliases or ""):gmatch "[%w-]+" do names[alias] = true end
  end
  return names
end

local function parse_features(text)
  local features = {}
  for line in text:gmatch "[^\n]+" do
    local name, stage, enabled = line:match "^(%S+)%s+(.-)%s+(%l+)%s*$"
    if enabled == "true" or enabled == "false" then
      features[name] = { stage = stage, enabled = enabled == "true" }
    end
  end
  return features
end
M.parse_features = parse_features

--- The flags of one command, or nil where this binary has no such command: it then answers with the
--- help of another one.
local function probe_command(path, command, version)
  local argv = flags.argv(command, {}, version)
  if not argv then return nil end
  table.insert(argv, "--help")
  local result = ask(path, argv)
  if not result or result.code ~= 0 then return nil end
  local set, named = flags.parse_help(result.stdout)
  if named ~= nil and named ~= command then return nil end
  return set, result.stdout
end

local function probe(path, print_)
  local version, err = probe_version(path)
  if not version then return nil, err end
  local capabilities = {
    format = FORMAT, path = path, version = version, fingerprint = print_,
    commands = {}, features = {}, subcommands = {},
  }
  local names = {}
  for command in pairs(flags.commands) do names[#names + 1] = command end
  async.map(names, function(command)
    local set, help = probe_command(path, command, version)
    capabilities.commands[command] = set
    if command == "" and help then capabilities.subcommands = parse_subcommands(help) end
  end, { concurrency = 4 })
  local listed = ask(path, { "features", "list" })
  if listed and listed.code == 0 then capabilities.features = parse_features(listed.stdout) end
  store(capabilities)
  return capabilities
end

--- The task that probes this binary: one, however many wait for it.
local function begin_probe(path, print_)
  local real = require("luv").fs_realpath(path)
  underway[print_] = underway[print_] or async.spawn(function()
    local done <close> = setmetatable({}, { -- luacheck: ignore 211
      __close = function() underway[print_] = nil end,
    })
    return probe(real, print_)
  end)
  return underway[print_]
end

--- Probes a binary, or remembers.
---@async
---@param path string
---@return codex.Capabilities?
---@return codex.Error?
function M.of(path)
  local print_ = fingerprint(path)
  if not print_ then
    return nil, E.new("spawn", ("there is no program '%s'"):format(path), { code = "ENOENT" })
  end
  local known = remembered[print_] or load(print_)
  if not known then
    local err
    known, err = begin_probe(path, print_):join()
    if not known then return nil, err end
  end
  remembered[print_] = known
  return known
end

--- codex.capabilities(): what the instance's binary can do.
---@async
---@return codex.Capabilities?
---@return codex.Error?
function M.capabilities(instance)
  local binary, err = require("codex.binary").resolve(instance._settings.binary)
  if not binary then return nil, err end
  return M.of(binary.path)
end

return M
