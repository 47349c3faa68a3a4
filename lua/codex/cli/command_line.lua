--- Codex's own command line, read as Codex reads it: is it an app-server, with which options?
---
--- Whoever runs Codex in our place decides with it where Codex listens and what it asks. So nothing
--- is guessed: which options take a value is known from the help of real Codex (0.101.0, 0.153.4,
--- 0.169.0), an option that is not in these tables is looked up in the help of the Codex at hand,
--- and what nobody knows is an error that names it.

local flags = require "codex.flags"

local M = {}

-- ---- What Codex takes --------------------------------------------------------------------------

local shorts = {
  c = "--config", m = "--model", p = "--profile", s = "--sandbox", a = "--ask-for-approval",
  C = "--cd", i = "--image", h = "--help", V = "--version",
}

--- Options of `codex` itself: "value", "boolean", or "values" for one that takes all words up to
--- the next option.
local function root_options()
  local options = { ["--help"] = "boolean", ["--version"] = "boolean" }
  for _, row in ipairs(flags.commands[""]) do
    options[row.flag] = row.kind == "boolean" and "boolean" or "value"
  end
  for _, row in ipairs(flags.hidden) do options[row.flag] = "boolean" end
  options["--image"] = "values"
  return options
end

--- Options of `codex app-server`.
M.app_server = {
  ["--config"] = "value", ["--enable"] = "value", ["--disable"] = "value", ["--help"] = "boolean",
  ["--listen"] = "value", ["--stdio"] = "boolean", ["--strict-config"] = "boolean",
  ["--analytics-default-enabled"] = "boolean", ["--code-mode-host"] = "value",
  ["--cloud-skills-snapshot"] = "value", ["--startup-sign-out"] = "boolean",
  ["--startup-client-info"] = "value", ["--print-startup-config"] = "boolean",
  ["--remote-control"] = "boolean", ["--ws-auth"] = "value", ["--ws-token-file"] = "value",
  ["--ws-token-sha256"] = "value", ["--ws-shared-secret-file"] = "value", ["--ws-issuer"] = "value",
  ["--ws-audience"] = "value", ["--ws-max-clock-skew-seconds"] = "value",
}

local function set(text)
  local words = {}
  for word in text:gmatch "%S+" do words[word] = true end
  return words
end

--- Commands of Codex.
M.commands = set [[agents exec e review login logout mcp plugin mcp-server app-server remote-control
  completion update doctor sandbox debug apply a resume queue archive delete migrate-rollouts
  migrate-nfs-db unarchive fork cloud exec-server features help]]

--- The options in a help text, and whether they take a value.
---@param text string
---@return table<string, "value"|"boolean"|"values">
function M.read_help(text)
  local options = {}
  for line in text:gmatch "[^\n]+" do
    local flag, rest = line:match "^  %-%a, (%-%-[%w-]+)(.*)$"
    if not flag then flag, rest = line:match "^      (%-%-[%w-]+)(.*)$" end
    if flag then
      options[flag] = rest:find "^ <.+>%.%.%.$" and "values" or rest:find "^ <" and "value"
        or "boolean"
    end
  end
  return options
end

-- ---- Reading -----------------------------------------------------------------------------------

---@class codex.CommandLine
---@field is_app_server boolean
---@field options { name: string, value?: string, own: boolean }[] of `codex` and of the app-server
---  (own), in their order
---@field words string[] for Codex, without what we take over
---@field listen string[] where the app-server was to listen, which is ours to do

local Reader = {}
Reader.__index = require("codex.base.class").methods(Reader)

local function fail(format, ...) error({ problem = format:format(...) }, 0) end

function Reader:kind_of(name, table_of)
  local kind = table_of[name]
  if not kind and not self.own then
    self.help = self.help or M.read_help(self.get_help() or "")
    kind = self.help[name]
  end
  return kind or fail("'%s' is no option of %s that is known here", name,
    self.own and "`codex app-server`" or "`codex`")
end

function Reader:peek() return self.words[self.at] end

function Reader:next_value(name)
  local value = self.words[self.at]
  if not value or value:find "^%-." then fail("'%s' needs a value", name) end
  self.at = self.at + 1
  return value
end

function Reader:add(name, value)
  table.insert(self.options, { name = name, value = value, own = self.own, at = self.started,
    to = self.at - 1 })
end

--- A value that was given with its option, or the next word, or with "values" all of them.
function Reader:take_value(name, kind, given)
  self:add(name, given or self:next_value(name))
  while kind == "values" and not given and self:peek() and not self:peek():find "^%-." do
    self:add(name, self:next_value(name))
  end
end

function Reader:take_long(word, table_of)
  local name, value = word:match "^(%-%-[^=]*)=(.*)$"
  name = name or word
  local kind = self:kind_of(name, table_of)
  if kind ~= "boolean" then return self:take_value(name, kind, value) end
  if value then fail("'%s' takes no value", name) end
  self:add(name)
end

function Reader:take_short(word, table_of)
  local rest = word:sub(2)
  while rest ~= "" do
    local letter = rest:sub(1, 1)
    rest = rest:sub(2)
    local name = shorts[letter] or fail("'-%s' is no option that is known here", letter)
    local kind = self:kind_of(name, table_of)
    if kind ~= "boolean" then
      return self:take_value(name, kind, rest ~= "" and rest:gsub("^=", "") or nil)
    end
    self:add(name)
  end
end

--- Reads options up to the next other word, which is returned.
function Reader:take_options(table_of)
  while true do
    local word = self:peek()
    if not word or not word:find "^%-." or word == "--" then return word end
    self.started = self.at
    self.at = self.at + 1
    if word:find "^%-%-" then
      self:take_long(word, table_of)
    else
      self:take_short(word, table_of)
    end
    local last = self.options[#self.options].name
    if last == "--help" or last == "--version" then return nil, true end
  end
end

local function has(list, word, from)
  for i = from or 1, #list do
    if list[i] == word then return true end
  end
  return false
end

--- Without a command: whether all options are such as the app-server has. With others it is Codex's
--- own interface.
function Reader:is_for_app_server()
  for _, option in ipairs(self.options) do
    if not M.app_server[option.name] then return false end
  end
  return true
end

--- Up to the command: whether it is the app-server.
function Reader:find_command()
  local options = root_options()
  local word, asks = self:take_options(options)
  if asks then return false end
  if not word then return self:is_for_app_server() end
  if word == "app-server" then
    self.at = self.at + 1
    return true
  end
  if M.commands[word] then
    if word == "remote-control" then
      fail "`codex remote-control` would serve others beside us; run it without us"
    end
    return false
  end
  -- A prompt; Codex looks for its command behind it.
  if has(self.words, "app-server", self.at) then
    fail("'%s' stands before app-server, and it is not known what that means", word)
  end
  return false
end

-- Commands of the app-server that serve nobody.
local tools = set "generate-ts generate-json-schema help"
local harmless_daemon = set "stop version help"

--- Behind `app-server`: false where it is one of its tools.
function Reader:read_app_server()
  self.own = true
  local word, asks = self:take_options(M.app_server)
  if asks or tools[word or ""] then return false end
  if not word then return true end
  local command = self.words[self.at + 1]
  if word == "daemon" and harmless_daemon[command or ""] then return false end
  if word == "daemon" or word == "proxy" then
    fail("`codex app-server %s` would serve clients beside us; run it without us", word)
  end
  fail("'%s' is no command of `codex app-server` that is known here", word)
end

-- ---- What we take over -------------------------------------------------------------------------

--- Takes one of the app-server's options; true where Codex is not to see it.
local function take_over(line, option)
  local name, value = option.name, option.value
  if name == "--listen" then
    if value == "stdio://" then return false end
    if not value:find "^unix:///." then
      fail("--listen %s: Codex would serve clients beside us; we listen at stdio:// and "
        .. "unix:///PATH", value)
    end
    table.insert(line.listen, value)
    return true
  end
  if name == "--remote-control" or name:find "^%-%-ws%-" then
    fail("%s: Codex would serve clients beside us", name)
  end
  return name == "--stdio" and #line.listen > 0
end

local function check_feature(option)
  local text = (option.name == "--enable" or option.name == "--config") and option.value or ""
  if text:find("remote_control", 1, true) then
    fail("%s %s: Codex would serve clients beside us", option.name, text)
  end
end

local function without(words, hidden)
  local list = {}
  for i, word in ipairs(words) do
    if not hidden[i] then list[#list + 1] = word end
  end
  return list
end

local function line_of(reader)
  local line = { is_app_server = true, options = reader.options, listen = {} }
  local hidden = {}
  for _, option in ipairs(reader.options) do
    check_feature(option)
    if option.own and take_over(line, option) then
      for i = option.at, option.to do hidden[i] = true end
    end
    if option.name == "--print-startup-config" then return { is_app_server = false } end
  end
  line.words = without(reader.words, hidden)
  if not reader.named then table.insert(line.words, 1, "app-server") end
  return line
end

--- Reads the words that are for Codex.
---@param words string[]
---@param get_help fun(): string? the text of `codex --help`, asked for where it is needed
---@return codex.CommandLine? line
---@return string? problem what is wrong, or not known, with its name
function M.read(words, get_help)
  local reader = setmetatable({ words = words, at = 1, options = {}, own = false,
    get_help = get_help }, Reader)
  local ok, result = pcall(function()
    if not reader:find_command() then return { is_app_server = false, words = words } end
    reader.named = words[reader.at - 1] == "app-server" and reader.at > 1
    if reader.named and not reader:read_app_server() then
      return { is_app_server = false, words = words }
    end
    return line_of(reader)
  end)
  if ok then
    result.words = result.words or words
    return result
  end
  if type(result) == "table" and result.problem then return nil, result.problem end
  error(result, 0)
end

-- ---- Under --strict ----------------------------------------------------------------------------

local strict_any = set [[--model --strict-config --oss --local-provider --search --image
  --no-alt-screen --no-daemon --analytics-default-enabled --listen --stdio --startup-client-info]]

local strict_values = {
  ["--sandbox"] = set "read-only workspace-write",
  ["--ask-for-approval"] = set "untrusted on-request on-failure",
}

--- What takes decisions away from policies.
---@param line codex.CommandLine
---@return string? problem
function M.strict_problem(line)
  for _, option in ipairs(line.options) do
    local name, value = option.name, option.value
    local is_fine = strict_any[name] or strict_values[name] and strict_values[name][value]
    if name == "--config" then
      local problem = require("codex.launcher.gate").setting(value)
      if problem then return ("--config %s under --strict: %s"):format(value, problem) end
    elseif not is_fine then
      return ("%s under --strict: it could take decisions away from the policies"):format(
        value and name .. " " .. value or name)
    end
  end
end

return M
