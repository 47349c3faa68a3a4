--- Which Codex is run.
---
--- In this order: the option `binary`; CODEX_BINARY; a bundled binary beside the installation,
--- `codex/bundle/<platform>/<version>/codex`; `codex` in PATH. The launcher that npm installs and
--- the shims of other managers are passed over for the native program behind them: the launcher is
--- a Node script that costs some 90 ms and 43 MB more, and who kills a shim may leave Codex behind.

local E = require "codex.error"

local M = {}

local SHIMS = 4 -- in a row, until one is taken for what it is

local PACKAGED = "/node_modules/.*/vendor/" -- in the path of a program that came by npm

local triples = {
  ["linux-x64"] = "x86_64-unknown-linux-musl",
  ["linux-arm64"] = "aarch64-unknown-linux-musl",
}

--- "linux-x64": npm's name for what we run on.
function M.platform()
  local uname = require("luv").os_uname()
  local arch = ({ x86_64 = "x64", aarch64 = "arm64" })[uname.machine] or uname.machine
  return uname.sysname:lower() .. "-" .. arch
end

local function is_program(path)
  local uv = require "luv"
  local stat = uv.fs_stat(path)
  return stat ~= nil and stat.type == "file" and uv.fs_access(path, "X") == true
end

local function parent(path) return path:match "^(.+)/[^/]+$" end

--- A version's sort key: numbers compare as numbers.
local function version_key(name)
  return (name:gsub("%d+", function(digits) return ("%012d"):format(tonumber(digits)) end))
end

local function bundled()
  local uv = require "luv"
  local dir = require("codex.core.host").data_dir .. "/codex/bundle/" .. M.platform()
  local request = uv.fs_scandir(dir)
  local best, best_key
  for name in function() return request and uv.fs_scandir_next(request) end do
    local path, key = dir .. "/" .. name .. "/codex", version_key(name)
    if is_program(path) and (not best or key > best_key) then
      best, best_key = path, key
    end
  end
  return best
end

local function in_path(name, search_path)
  for dir in (search_path or os.getenv "PATH" or ""):gmatch "[^:]+" do
    local path = dir .. "/" .. name
    if dir:sub(1, 1) == "/" and is_program(path) then return path end
  end
end

--- The native program under a vendor folder; its place changed with 0.140.
local function in_vendor(vendor)
  local root = vendor .. "/" .. (triples[M.platform()] or M.platform())
  for _, path in ipairs { root .. "/bin/codex", root .. "/codex/codex" } do
    if is_program(path) then return path end
  end
end

--- The native program behind npm's launcher `.../bin/codex.js`, found as Node would find it: in the
--- package itself, then in node_modules of it and of each folder above.
---@param launcher string its real path
---@return string?
function M.behind_launcher(launcher)
  if not launcher:find "/bin/codex%.js$" then return nil end
  local package = parent(parent(launcher))
  local found = in_vendor(package .. "/vendor")
  local dir = package
  while dir and not found do
    local modules = dir:find "/node_modules$" and dir or dir .. "/node_modules"
    found = in_vendor(modules .. "/@openai/codex-" .. M.platform() .. "/vendor")
    dir = parent(dir)
  end
  return found
end

--- Shims may lead to shims: a version manager's to that of a package manager.
local function native(path, cwd, depth)
  local real = require("luv").fs_realpath(path)
  local found = real and M.behind_launcher(real)
  if found or not real then return found or path end
  local target = (depth or 0) < SHIMS and require("codex.exec.shim").target(path, cwd)
  return target and native(target, cwd, (depth or 0) + 1) or path
end

--- What npm's launcher would have put into the environment of the program behind it: that it was
--- installed by npm, and, up to 0.120, where its `rg` is (newer ones know it themselves).
---@param path string the native program
---@return table<string, string>
function M.launcher_environment(path)
  if not path:find(PACKAGED) then return {} end
  local env = { CODEX_MANAGED_BY_NPM = "1" }
  local tools = (path:match "^(.+)/codex/codex$" or "") .. "/path"
  if is_program(tools .. "/rg") then env.PATH = tools .. ":" .. (os.getenv "PATH" or "") end
  return env
end

--- A path as it is seen from a folder. Where that is not ours, the path is made absolute.
local function from(cwd, path)
  if not cwd or path:sub(1, 1) == "/" then return path end
  local folder = cwd:sub(1, 1) == "/" and cwd or require("luv").cwd() .. "/" .. cwd
  return folder .. "/" .. path
end

---@class codex.Binary
---@field path string
---@field found string the program that was named or is in PATH; it may be a shim
---@field source "option"|"CODEX_BINARY"|"bundle"|"npm"|"PATH"

--- Finds the Codex binary.
---@param wanted? string a path, or a name to be looked up in PATH
---@param cwd? string the folder that Codex will run in: version managers go by it, and a relative
---  path is one from there
---@param search_path? string the PATH that Codex will have, where that is not ours
---@return codex.Binary?
---@return codex.Error? error of kind `spawn` that says where was looked
function M.resolve(wanted, cwd, search_path)
  local source = wanted and "option" or "CODEX_BINARY"
  wanted = wanted or os.getenv "CODEX_BINARY"
  if wanted and wanted ~= "" then
    local path = wanted:find "/" and from(cwd, wanted) or in_path(wanted, search_path)
    if path then return { path = native(path, cwd), found = path, source = source } end
    local message = ("%s: there is no program '%s' in PATH"):format(source, wanted)
    return nil, E.new("spawn", message, { code = "ENOENT" })
  end
  local path = bundled()
  if path then return { path = path, found = path, source = "bundle" } end
  path = in_path("codex", search_path)
  if not path then
    return nil, E.new("spawn", "Codex was not found: option 'binary' and CODEX_BINARY are not set, "
      .. "nothing is bundled, and there is no 'codex' in PATH", { code = "ENOENT" })
  end
  local behind = native(path, cwd)
  return { path = behind, found = path, source = behind:find(PACKAGED) and "npm" or "PATH" }
end

--- The binary of an instance.
---@param instance table
---@return codex.Binary?
---@return codex.Error?
function M.of(instance)
  local s = instance._settings
  local own = s.env and s.env.PATH
  return M.resolve(s.binary, s.cwd, own or nil)
end

return M
