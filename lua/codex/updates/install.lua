--- How the Codex that is run came to be here, and the command that brings a newer one.
---
--- Codex itself goes by what its launcher has put into its environment, and by its path (0.169.0:
--- crate install-context, commands as in its `codex update`). Here the path counts first: the
--- environment is that of whoever started us, which may have been another Codex.

local M = {}

---@alias codex.InstallMethod
---| "npm"
---| "bun"
---| "pnpm"
---| "vite-plus"
---| "homebrew"
---| "standalone" # OpenAI's installer, or a program that was put there by hand
---| "unknown"    # there is no Codex

M.methods = { "npm", "bun", "pnpm", "vite-plus", "homebrew", "standalone", "unknown" }

--- Parts of paths that only one of them makes. npm's own folder may be below Homebrew's, so what
--- is below node_modules is looked at apart.
local module_marks = {
  { "/%.bun/install/global/node_modules/", "bun" },
  { "/node_modules/%.pnpm/", "pnpm" },
  { "/%.vite%-plus/", "vite-plus" },
}
local brew_marks = { "/Caskroom/", "/Cellar/", "^/opt/homebrew/", "^/home/linuxbrew/" }

local managers = {
  { "CODEX_MANAGED_BY_VITE_PLUS", "vite-plus" }, { "CODEX_MANAGED_BY_PNPM", "pnpm" },
  { "CODEX_MANAGED_BY_NPM", "npm" }, { "CODEX_MANAGED_BY_BUN", "bun" },
}

local function by_environment(env)
  for _, pair in ipairs(managers) do
    if env(pair[1]) then return pair[2] end
  end
end

--- How it was installed.
---@param path? string the program that is run; links are followed
---@param env fun(name: string): string?
---@return codex.InstallMethod
function M.method(path, env)
  local real = path and (require("luv").fs_realpath(path) or path)
  if not real then return by_environment(env) or "unknown" end
  if real:find("/node_modules/", 1, true) then
    for _, mark in ipairs(module_marks) do
      if real:find(mark[1]) then return mark[2] end
    end
    return by_environment(env) or "npm"
  end
  for _, mark in ipairs(brew_marks) do
    if real:find(mark) then return "homebrew" end
  end
  return "standalone"
end

local function quoted(word)
  if word:find "^[%w_/.:@%%+=-]+$" then return word end
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

local commands = {}

--- npm's global packages are below lib/node_modules; others belong to a project, or to npx.
function commands.npm(package, real)
  local dir = real and real:match "^(.-)/node_modules/"
  if not dir or dir:find "/lib$" then return "npm install -g " .. package end
  if dir:find "/_npx/%x+$" then return "npx " .. package end
  return ("npm install --prefix %s %s"):format(quoted(dir), package)
end

function commands.bun(package) return "bun install -g " .. package end
function commands.pnpm(package) return "pnpm add -g " .. package end
commands["vite-plus"] = function(package) return "vp install -g " .. package end

function commands.homebrew(_, real)
  return real and real:find("/Cellar/", 1, true) and "brew upgrade codex"
    or "brew upgrade --cask codex"
end

function commands.standalone(_, _, prerelease)
  local release = prerelease and " CODEX_RELEASE=" .. prerelease or ""
  return ("curl -fsSL https://chatgpt.com/codex/install.sh | CODEX_NON_INTERACTIVE=1%s sh")
    :format(release)
end

--- The command for a shell that installs a newer one, and what one should know about it.
---@param method codex.InstallMethod
---@param path? string the program that is run
---@param latest? codex.Version
---@return string? command nil where the method is unknown
---@return string? note
function M.command(method, path, latest)
  if not commands[method] then return nil end
  local real = path and (require("luv").fs_realpath(path) or path)
  local prerelease = latest and latest.prerelease and tostring(latest) or nil
  local package = "@openai/codex@" .. (prerelease and "alpha" or "latest")
  local note
  if method == "standalone" and real and not real:find("/packages/standalone/", 1, true) then
    note = ("'%s' is not from OpenAI's installer, which puts Codex elsewhere"):format(real)
  end
  return commands[method](package, real, prerelease), note
end

return M
