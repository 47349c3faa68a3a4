--- Where it is said which Codex is the newest: npm's registry, Homebrew, GitHub. What to ask there,
--- and what an answer means.
---
--- As Codex 0.169.0 does it in its terminal interface (crate tui, updates.rs). The registry is the
--- one that npm is configured for; it is named nowhere here.

local semver = require "codex.semver"

local M = {}

M.names = { "npm", "homebrew", "github" }

-- ---- npm's configuration -----------------------------------------------------------------------

local function is_url(text) return text ~= nil and text:find "^https?://[^%s]+$" ~= nil end

--- A value of an .npmrc: quotes go, ${NAME} is a variable.
local function npmrc_value(text, env)
  text = text:match "^%s*(.-)%s*$"
  text = text:match "^\"(.*)\"$" or text:match "^'(.*)'$" or text
  return (text:gsub("%${([%w_]+)%??}", function(name) return env(name) or "" end))
end

local function read_npmrc(env)
  local files = require "codex.files"
  local path = env "npm_config_userconfig" or env "NPM_CONFIG_USERCONFIG"
    or (env "HOME" or files.home()) .. "/.npmrc"
  local found = {}
  for line in (files.read(path) or ""):gmatch "[^\r\n]+" do
    local key, value = line:match "^%s*([^%s=]+)%s*=(.*)$"
    if key then found[key] = npmrc_value(value, env) end
  end
  return found
end

--- The registry that the environment or the user's .npmrc names for Codex.
---@param env fun(name: string): string?
---@return string?
function M.named_registry(env)
  local npmrc = read_npmrc(env)
  local candidates = {
    npmrc["@openai:registry"] or false, env "npm_config_registry" or false,
    env "NPM_CONFIG_REGISTRY" or false, npmrc.registry or false,
  }
  for _, url in ipairs(candidates) do
    if url and is_url(url) then return url end
  end
end

--- The one that npm takes otherwise: it knows its own default, and where else it may be configured.
--- It is asked in the user's home: a project that we happen to be in has no say in this.
---@async
---@param env fun(name: string): string?
---@param process_env? table<string, string|false> for npm itself
---@return string?
---@return string? reason
function M.default_registry(env, process_env)
  local options = { cwd = env "HOME", env = process_env, timeout = 20 }
  local result = require("codex.proc").run({ "npm", "config", "get", "registry" }, options)
  local url = result and result.code == 0 and result.stdout:match "^%s*(%S+)%s*$" or nil
  if is_url(url) then return url end
  return nil, "npm is not here, or not configured for a registry"
end

-- ---- Sources -----------------------------------------------------------------------------------

---@class codex.UpdateSource
---@field base? string the public one
---@field url fun(base: string, channel: string): string?, string? or nil and why there is none
---@field read fun(answer: any, channel: string): codex.Version?, string? or nil and what is wrong
---@field accept? string

local function field(value, name)
  local found = type(value) == "table" and value[name]
  return type(found) == "string" and found or nil
end

local function version_of(text)
  local version, err = semver.parse(text)
  return version, err and err.message
end

local npm = {}

--- Where a pre-release is asked for, its tag may have stayed behind a release.
local function newest_tag(tags, channel)
  local latest, problem = version_of(tags.latest)
  if not latest or channel == "stable" then return latest, problem end
  if not field(tags, "alpha") then return nil, "has no version with the tag 'alpha'" end
  local alpha
  alpha, problem = version_of(tags.alpha)
  return alpha and latest > alpha and latest or alpha, problem
end

function npm.url(base) return base .. "/@openai%2fcodex" end

function npm.read(answer, channel)
  local tags = type(answer) == "table" and answer["dist-tags"]
  if not field(tags, "latest") then return nil, "the answer has no tag 'latest'" end
  local version, problem = newest_tag(tags, channel)
  if not version then return nil, problem end
  local versions = answer.versions
  if type(versions) == "table" and versions[tostring(version)] == nil then
    return nil, ("names %s, and does not have it yet"):format(version)
  end
  return version
end

local homebrew = { base = "https://formulae.brew.sh" }

function homebrew.url(base, channel)
  if channel ~= "stable" then return nil, "has no pre-releases" end
  return base .. "/api/cask/codex.json"
end

--- A cask's version may have a second part after a comma.
function homebrew.read(answer)
  local text = field(answer, "version")
  if not text then return nil, "the answer has no version" end
  return version_of(text:match "^[^,]*")
end

local github = { base = "https://api.github.com", accept = "application/vnd.github+json" }

--- `latest` is never a pre-release; those are in the list, newest first.
function github.url(base, channel)
  local last = channel == "stable" and "/latest" or "?per_page=10"
  return base .. "/repos/openai/codex/releases" .. last
end

local function version_of_tag(release)
  local tag = field(release, "tag_name")
  if not tag then return nil, "the answer has no tag" end
  local text = tag:match "^rust%-v(.*)$"
  if not text then return nil, ("the tag '%s' is not one of Codex's"):format(tag:sub(1, 100)) end
  return version_of(text)
end

function github.read(answer, channel)
  if channel == "stable" then return version_of_tag(answer) end
  local newest
  for _, release in ipairs(type(answer) == "table" and answer or {}) do
    local version = version_of_tag(release)
    if version and release.draft ~= true and (not newest or version > newest) then
      newest = version
    end
  end
  return newest, not newest and "the answer has no release of Codex" or nil
end

---@type table<string, codex.UpdateSource>
M.by_name = { npm = npm, homebrew = homebrew, github = github }

return M
