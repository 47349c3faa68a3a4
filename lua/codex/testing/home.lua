--- A Codex for tests: a private CODEX_HOME whose only model is the scripted one, and an environment
--- without keys and proxies. HOME is an empty folder too: what the user's shell profile prints, or
--- the skills in it, would be in the tests otherwise.
---
--- The home is a temporary folder, not one in the cache: it holds nothing worth keeping, and what a
--- killed test leaves there the system clears away. Codex refuses to put its helpers into a home
--- below TMPDIR, so it is given a TMPDIR beside it.

local E = require "codex.error"
local async = require "codex.async"
local files = require "codex.files"
local instances = require "codex.instance"
local options = require "codex.options"
local toml = require "codex.toml"
local uv = require "luv"

local M = {}

local mark = "# Written by codex.testing; anything else in its place is not overwritten.\n"
local key_name = "MOCK_KEY"

---@class codex.testing.Codex: codex.Settings
---@field model codex.testing.Model
---@field home? string a CODEX_HOME to use and keep; a temporary one by default
---@field config? table<string, any> more for config.toml, keys may be dotted paths

-- ---- config.toml -------------------------------------------------------------------------------

local function defaults(url)
  return {
    model = "gpt-5.5", -- the model that all tested versions give plain function tools
    model_provider = "mock",
    check_for_update_on_startup = false,
    analytics = { enabled = false },
    model_providers = { mock = {
      name = "Mock", base_url = url, wire_api = "responses", env_key = key_name,
      request_max_retries = 0, stream_max_retries = 0, stream_idle_timeout_ms = 10000,
    } },
  }
end

local function is_map(value)
  return type(value) == "table" and toml.value(value):sub(1, 1) == "{"
end

local function merge(into, from)
  for key, value in pairs(from) do
    if is_map(value) and is_map(into[key]) then
      merge(into[key], value)
    else
      into[key] = value
    end
  end
end

--- { ["a.b"] = 1 } as { a = { b = 1 } }.
local function expand(config)
  local root = {}
  for path, value in pairs(config) do
    local names = {}
    for name in path:gmatch "[^.]+" do names[#names + 1] = name end
    for i = #names, 1, -1 do value = { [names[i]] = value } end
    merge(root, value)
  end
  return root
end

local function key_text(key) return toml.value({ [key] = 0 }):match "^{ (.*) = 0 }$" end

local function sorted(map, wanted)
  local keys = {}
  for key, value in pairs(map) do
    if is_map(value) == wanted then keys[#keys + 1] = key end
  end
  table.sort(keys)
  return keys
end

--- Simple settings first, for what follows a [header] belongs to it.
local function emit(out, path, map)
  local plain = sorted(map, false)
  if path and (#plain > 0 or next(map) == nil) then out[#out + 1] = ("\n[%s]\n"):format(path) end
  for _, key in ipairs(plain) do
    out[#out + 1] = ("%s = %s\n"):format(key_text(key), toml.value(map[key]))
  end
  for _, key in ipairs(sorted(map, true)) do
    emit(out, path and path .. "." .. key_text(key) or key_text(key), map[key])
  end
end

--- The text of a config.toml that makes Codex use the model at this URL.
---@param url string
---@param more? table<string, any> settings; keys may be dotted paths
---@return string
function M.config(url, more)
  local config, out = defaults(url), {}
  merge(config, expand(more or {}))
  emit(out, nil, config)
  return table.concat(out)
end

-- ---- Folders -----------------------------------------------------------------------------------

local function remove_tree(path)
  local request = uv.fs_scandir(path)
  if not request then return end
  for name, kind in uv.fs_scandir_next, request do
    local inner = path .. "/" .. name
    if kind == "directory" then
      remove_tree(inner)
    else
      uv.fs_unlink(inner)
    end
  end
  uv.fs_rmdir(path)
end

local function write_config(home, text)
  local path = home .. "/config.toml"
  local there = files.read(path)
  if there and there:sub(1, #mark) ~= mark then
    return nil, E.new("io", ("'%s' is there already and was not written by a test"):format(path))
  end
  return files.write(path, mark .. text)
end

--- Makes the folders; the first result is the one to remove afterwards.
local function make_folders(home, text)
  local base, message, name = uv.fs_mkdtemp(uv.os_tmpdir() .. "/codex-lua-XXXXXX")
  if not base then
    return nil, E.new("io", "cannot make a temporary folder: " .. message, { code = name })
  end
  home = home or base .. "/home"
  local ok, err = files.make_dir(base .. "/tmp")
  if ok then ok, err = files.make_dir(base .. "/user") end
  if ok then ok, err = files.make_dir(home) end
  if ok then ok, err = write_config(home, text) end
  if ok then return base, home end
  remove_tree(base)
  return nil, err
end

--- Calls `clean` when the signal comes or the script ends, whichever is first.
local function at_end(signal, clean)
  async.spawn(function()
    local guard <close> = setmetatable({}, { __close = clean }) -- luacheck: ignore 211
    signal:wait()
  end)
end

-- ---- The instance ------------------------------------------------------------------------------

--- Variables that would lead Codex, or what it starts, out of the test.
local unwanted = {
  "OPENAI_API_KEY", "OPENAI_BASE_URL", "CODEX_API_KEY", "CODEX_ACCESS_TOKEN", "CODEX_SQLITE_HOME",
  "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy",
}

local function environment(base, more)
  local env = { HOME = base .. "/user", TMPDIR = base .. "/tmp", [key_name] = "scripted" }
  for _, name in ipairs(unwanted) do env[name] = false end
  for name, value in pairs(more or {}) do env[name] = value end
  return env
end

--- An instance as from codex.with, wired to the model, with `home` and `:close()`, which removes
--- what was made for it. Close it, or hold it in a `<close>` variable; the end of the script closes
--- it too.
---@param given codex.testing.Codex
---@return table? instance
---@return codex.Error? error of kind `io`
function M.new(given)
  local own = { model = true, config = true }
  for name in pairs(instances.settings) do own[name] = true end
  options.check("codex.testing.codex", given, own)
  options.typed("codex.testing.codex", given, "config", "table")
  if type(given.model) ~= "table" or not given.model.url then
    error("codex.testing.codex: option 'model' must be a model from codex.testing.model", 3)
  end
  local base, home = make_folders(given.home, M.config(given.model.url, given.config))
  if not base then return nil, home end
  local settings = { home = home, env = environment(base, given.env) }
  for name in pairs(instances.settings) do
    if settings[name] == nil then settings[name] = given[name] end
  end
  local instance, closed = instances.new(settings), async.signal()
  local function close() closed:notify() end
  at_end(closed, function() remove_tree(base) end)
  return setmetatable({ close = close }, { __index = instance, __close = close })
end

return M
