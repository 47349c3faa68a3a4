--- What a Codex binary can do, asked from itself once and remembered.
---
--- The binary's version, its subcommands, the flags in the help of each, and its features are
--- probed together; the answer is kept under XDG_CACHE_HOME for as long as the file has the same
--- real path, size and time of change; a script that starts Codex is asked for the version all the
--- same, since what it starts may be another one by now. Two programs may write it at once: each
--- writes it whole.

local async = require "codex.async"
local E = require "codex.error"
local files = require "codex.files"
local flags = require "codex.flags"
local json = require "codex.json"
local proc = require "codex.proc"

local M = {}

local FORMAT = 1 -- of the cache file
local PROBE_TIMEOUT = 20 -- seconds
local OUTPUT_LIMIT = 1 << 20 -- bytes of one answer; the longest help has 20 KiB
local SAID_LIMIT = 200 -- bytes of what a program said in an error

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

--- What goes wrong with a program that is no Codex, or one that does not work, in one line.
local function complaint(path, argv, what)
  local command = table.concat(argv, " ")
  return E.new("unsupported", ("'%s %s' %s"):format(path, command, what))
end

--- The output of a program up to a limit; nil where it prints more.
local function read_all(p)
  local pieces, size = {}, 0
  for piece in function() return p:read() end do
    pieces[#pieces + 1], size = piece, size + #piece
    if size > OUTPUT_LIMIT then return nil end
  end
  return table.concat(pieces)
end

--- Runs the binary with a CODEX_HOME of its own, so that nobody's config.toml colours the answer;
--- with the user's where no folder can be made. An error: it did not come to an end by itself.
local function ask(path, argv, timeout)
  local home = files.cache_dir() .. "/probe-home"
  local env = { RUST_BACKTRACE = false, RUST_LOG = false }
  if files.make_dir(home) then env.CODEX_HOME = home end
  local p, err = proc.spawn({ path, table.unpack(argv) }, { env = env, timeout = timeout })
  if not p then return nil, err end
  local guard <close> = p -- luacheck: ignore 211
  local text = read_all(p)
  if not text then return nil, complaint(path, argv, "prints without end") end
  local status = p:wait()
  if status.reason then
    return nil, complaint(path, argv, ("did not end within %g seconds"):format(timeout))
  end
  local code = status.unknown and 0 or status.code -- what it has printed decides
  return { code = code, signal = status.signal, stdout = text, stderr = (p:stderr()) }
end

--- The version in what `codex --version` prints, where others may have printed lines around it:
--- "codex-cli 0.169.0"; the first releases said the bare number.
local function find_version(text)
  local alone
  for line in text:gsub("\27%[[%d;]*m", ""):gmatch "[^\r\n]+" do
    local version = line:match "^%s*codex%-cli v?(%d+%.%d+%.%d+%S*)"
    if version then return version end
    alone = alone or line:match "^%s*v?(%d+%.%d+%.%d+%S*)%s*$"
  end
  return alone
end

--- How a program that is no Codex answered: its code, and the last that it said.
local function answered(result)
  local said = result.stderr:match "%S" and result.stderr or result.stdout
  local last = (said:match "([^\r\n]*%S)%s*$" or ""):sub(-SAID_LIMIT)
  local how = result.signal ~= 0 and ("was ended by signal %d"):format(result.signal)
    or ("ended with code %d"):format(result.code)
  if last == "" then return how end
  last = require("codex.approval").visible(require("codex.log").redact(last))
  return ("%s and said: %s"):format(how, last)
end

local function probe_version(path, timeout)
  local argv = { "--version" }
  local result, err = ask(path, argv, timeout)
  if not result then return nil, err end
  local version = result.code == 0
    and (find_version(result.stdout) or find_version(result.stderr))
  if version then return version end
  err = complaint(path, argv, "does not answer as Codex does: it " .. answered(result))
  err.stderr, err.data = require("codex.log").redact(result.stderr), { exit_code = result.code }
  return nil, err
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

--- Help may be on standard error, where something between us and Codex swaps the two.
local function help_of(result)
  return result.stdout:find("Usage:", 1, true) and result.stdout or result.stderr
end

--- The flags of one command, or nil where this binary has no such command: it then answers with the
--- help of another one. An error where it does not answer at all.
local function probe_command(path, command, version, timeout)
  local argv = flags.argv(command, {}, version)
  if not argv then return nil end
  table.insert(argv, "--help")
  local result, err = ask(path, argv, timeout)
  if not result then return nil, nil, err end
  if result.code ~= 0 then return nil end
  local help = help_of(result)
  local set, named = flags.parse_help(help)
  if named ~= nil and named ~= command then return nil end
  return set, help
end

--- Asks for the help of every command, that of Codex itself first; ends with the first that is not
--- answered.
local function probe_commands(path, capabilities, timeout)
  local names, failed = {}, nil
  for command in pairs(flags.commands) do
    if command ~= "" then names[#names + 1] = command end
  end
  local function ask_one(command)
    if failed then return end
    local set, help, err = probe_command(path, command, capabilities.version, timeout)
    failed = failed or err
    capabilities.commands[command] = set
    return help
  end
  capabilities.subcommands = parse_subcommands(ask_one "" or "")
  async.map(names, ask_one, { concurrency = 4 })
  return not failed, failed
end

local function probe(path, print_, timeout)
  local version, err = probe_version(path, timeout)
  if not version then return nil, err end
  local capabilities = {
    format = FORMAT, path = path, version = version, fingerprint = print_,
    commands = {}, features = {}, subcommands = {},
  }
  local ok
  ok, err = probe_commands(path, capabilities, timeout)
  if not ok then return nil, err end
  local listed = ask(path, { "features", "list" }, timeout)
  if listed and listed.code == 0 then capabilities.features = parse_features(listed.stdout) end
  store(capabilities)
  return capabilities
end

--- What is remembered of a binary, where it is still true.
local function recall(path, print_, timeout)
  local known = load(print_)
  local fd = known and require("luv").fs_open(path, "r", 0)
  if not fd then return known end
  local is_script = require("luv").fs_read(fd, 2, 0) == "#!"
  require("luv").fs_close(fd)
  if is_script and probe_version(path, timeout) ~= known.version then return nil end
  return known
end

--- The task that probes this binary: one, however many wait for it.
local function begin_probe(path, print_, timeout)
  local real = require("luv").fs_realpath(path)
  underway[print_] = underway[print_] or async.spawn(function()
    local done <close> = setmetatable({}, { -- luacheck: ignore 211
      __close = function() underway[print_] = nil end,
    })
    local known = recall(real, print_, timeout)
    if known then return known end
    return probe(real, print_, timeout)
  end)
  return underway[print_]
end

--- Probes a binary, or remembers.
---@async
---@param path string
---@param opts? { timeout?: number } seconds for each question (20)
---@return codex.Capabilities?
---@return codex.Error? error kind `spawn`: it cannot be started; `unsupported`: it is no Codex, or
---does not answer
function M.of(path, opts)
  local print_ = fingerprint(path)
  if not print_ then
    return nil, E.new("spawn", ("there is no program '%s'"):format(path), { code = "ENOENT" })
  end
  local known = remembered[print_]
  if not known then
    local err
    known, err = begin_probe(path, print_, opts and opts.timeout or PROBE_TIMEOUT):join()
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
  local binary, err = require("codex.binary").of(instance)
  if not binary then return nil, err end
  return M.of(binary.path)
end

return M
