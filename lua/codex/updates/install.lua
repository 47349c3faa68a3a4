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
---| "yarn"
---| "volta"
---| "asdf"       # a plugin of its own; npm's packages of a Node that asdf manages are "npm"
---| "mise"       # likewise
---| "vite-plus"
---| "homebrew"
---| "standalone" # OpenAI's installer, or a program that was put there by hand
---| "unknown"    # there is no Codex

M.methods = { "npm", "bun", "pnpm", "yarn", "volta", "asdf", "mise", "vite-plus", "homebrew",
  "standalone", "unknown" }

--- Parts of paths that only one of them makes. npm's own folder may be below Homebrew's, or in the
--- Node of a version manager, so what is below node_modules is looked at apart.
local module_marks = {
  { "/install/global/node_modules/", "bun" },
  { "/node_modules/%.pnpm/", "pnpm" },
  { "/store/v%d+/links/@openai/codex/", "pnpm" },
  { "/yarn/global/node_modules/", "yarn" },
  { "/tools/image/packages/@openai/codex/", "volta" },
  { "/mise/installs/npm%-openai%-codex/", "mise" },
  { "/%.vite%-plus/", "vite-plus" },
}
--- Files that a manager leaves in a project, or in its node_modules.
local project_marks = {
  { "/node_modules/.modules.yaml", "pnpm" }, { "/pnpm-lock.yaml", "pnpm" },
  { "/yarn.lock", "yarn" }, { "/bun.lock", "bun" }, { "/bun.lockb", "bun" },
}
local other_marks = {
  { "/Caskroom/", "homebrew" }, { "/Cellar/", "homebrew" }, { "^/opt/homebrew/", "homebrew" },
  { "^/home/linuxbrew/", "homebrew" }, { "/mise/installs/", "mise" },
  { "/installs/codex/[^/]+/bin/", "asdf" },
}

local managers = {
  { "CODEX_MANAGED_BY_VITE_PLUS", "vite-plus" }, { "CODEX_MANAGED_BY_PNPM", "pnpm" },
  { "CODEX_MANAGED_BY_NPM", "npm" }, { "CODEX_MANAGED_BY_BUN", "bun" },
}

local function by_environment(env)
  for _, pair in ipairs(managers) do
    if env(pair[1]) then return pair[2] end
  end
end

local function by_mark(path, marks)
  for _, mark in ipairs(marks) do
    if path:find(mark[1]) then return mark[2] end
  end
end

--- The folder that has the node_modules, which is a project or a place for all of the user's.
local function root_of(path) return path:match "^(.-)/node_modules/" end

local function by_project(path)
  local root = root_of(path)
  for _, mark in ipairs(project_marks) do
    if require("luv").fs_stat(root .. mark[1]) then return mark[2] end
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
    return by_mark(real, module_marks) or by_project(real) or by_environment(env) or "npm"
  end
  return by_mark(real, other_marks) or "standalone"
end

local function quoted(word)
  if word:find "^[%w_/.:@%%+=-]+$" then return word end
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

--- Below a project of the user's, whose manager gets the folder by this option.
local function in_project(where, start, option, package)
  local root = where.project or root_of(where.real)
  return ("%s %s %s %s"):format(start, option, quoted(root), package)
end

local commands = {}

--- Where npm puts what is for all of the user's by default; a prefix of one's own has to be named.
local npm_prefixes = {
  ["/usr"] = true, ["/usr/local"] = true, ["/opt/homebrew"] = true,
  ["/home/linuxbrew/.linuxbrew"] = true,
}

--- npm's global packages are below lib/node_modules; others belong to a project, or to npx. The
--- version managers' own shims are made anew when they are told.
function commands.npm(package, where)
  local root = where.real and root_of(where.real)
  if not root then return "npm install -g " .. package end
  if root:find "/_npx/%x+$" then return "npx " .. package end
  local prefix = root:match "^(.*)/lib$"
  if not prefix then return in_project(where, "npm install", "--prefix", package) end
  if npm_prefixes[prefix] then return "npm install -g " .. package end
  local command = ("npm install -g --prefix %s %s"):format(quoted(prefix), package)
  if prefix:find "/mise/installs/node/" then return command .. " && mise reshim" end
  if prefix:find "/installs/nodejs/[^/]+$" then return command .. " && asdf reshim nodejs" end
  return command
end

function commands.bun(package, where)
  local home = where.real and where.real:match "^(.-)/install/global/node_modules/"
  if where.real and not home then return in_project(where, "bun add", "--cwd", package) end
  local command = "bun install -g " .. package
  if not home or home:find "/%.bun$" then return command end
  return ("BUN_INSTALL=%s %s"):format(quoted(home), command)
end

--- A project's store may be the user's, too: then only the path of the shim tells them apart.
function commands.pnpm(package, where)
  local real = where.real
  local is_shared = not real or real:find "/store/v%d+/links/" or real:find "/pnpm/global/"
  if is_shared and not where.project then return "pnpm add -g " .. package end
  return in_project(where, "pnpm add", "--dir", package)
end

function commands.yarn(package, where)
  if not where.real or where.real:find "/yarn/global/node_modules/" then
    return "yarn global add " .. package
  end
  return in_project(where, "yarn", "--cwd", "add " .. package)
end

function commands.volta(package) return "volta install " .. package end

function commands.asdf()
  return "asdf install codex latest", "`asdf set -u codex latest` makes it the one that is run"
end

function commands.mise(_, where)
  local tool = where.real and where.real:match "/mise/installs/([^/]+)/" or "codex"
  if tool == "npm-openai-codex" then tool = "npm:@openai/codex" end
  return "mise upgrade " .. tool
end

commands["vite-plus"] = function(package) return "vp install -g " .. package end

function commands.homebrew(_, where)
  return where.real and where.real:find("/Cellar/", 1, true) and "brew upgrade codex"
    or "brew upgrade --cask codex"
end

function commands.standalone(_, where)
  local release = where.prerelease and " CODEX_RELEASE=" .. where.prerelease or ""
  local note
  if where.real and not where.real:find("/packages/standalone/", 1, true) then
    note = ("'%s' is not from OpenAI's installer, which puts Codex elsewhere"):format(where.real)
  end
  return ("curl -fsSL https://chatgpt.com/codex/install.sh | CODEX_NON_INTERACTIVE=1%s sh")
    :format(release), note
end

--- The command for a shell that installs a newer one, and what one should know about it.
---@param method codex.InstallMethod
---@param path? string the program that is run
---@param latest? codex.Version
---@param shim? string the program that was found first, which leads to it
---@return string? command nil where the method is unknown
---@return string? note
function M.command(method, path, latest, shim)
  if not commands[method] then return nil end
  local prerelease = latest and latest.prerelease and tostring(latest) or nil
  return commands[method]("@openai/codex@" .. (prerelease and "alpha" or "latest"), {
    real = path and (require("luv").fs_realpath(path) or path), prerelease = prerelease,
    project = shim and shim:match "^(.*)/node_modules/%.bin/[^/]+$",
  })
end

return M
