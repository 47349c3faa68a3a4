--- Codex's config.toml, changed through Codex itself, and put back.
---
---     local setup <close> = assert(codex_setup.open(codex.with { home = dir }))
---     assert(setup:set_notify { "/usr/bin/codex-lua", "notify" })
---     local key = assert(setup:add_hook { event = "stop", command = "/usr/bin/codex-lua notify" })
---     assert(setup:trust(key))
---     assert(setup:remove_hook(key))
---     assert(setup:set_notify(nil)) -- the file is what it was, to the byte
---
--- `codex app-server` writes the file: it keeps comments, and refuses what is no configuration.
--- Before a change the bytes of the file are kept, and after it those that Codex left, in the
--- user's state folder. Whoever takes a change back gets the bytes from before where the file is as
--- we left it; otherwise, since somebody else has worked on it, only ours is taken out.

local E = require "codex.error"
local base64 = require "codex.base64"
local files = require "codex.files"
local json = require "codex.json"
local options = require "codex.options"
local uv = require "luv"

local M = {}

local OWNER_WRITE, PERMISSIONS = tonumber("200", 8), tonumber("777", 8)

---@class codex.Setup
---@field path string of config.toml
---@field client codex.Client
local Setup = {}
Setup.__index = Setup
Setup.__name = "codex.setup"

-- ---- Names -------------------------------------------------------------------------------------

--- "PreToolUse" and "preToolUse" are "pre_tool_use" here.
local function snake(name)
  return (name:gsub("^%u", string.lower):gsub("%u", function(c) return "_" .. c:lower() end))
end

--- As config.toml has it.
local function pascal(name)
  return (("_" .. snake(name)):gsub("_(%w)", string.upper))
end

--- A part of a dotted path that may have anything in it.
local function quoted(key)
  return '"' .. key:gsub('[\\"]', "\\%0") .. '"'
end

local function state_path(key) return "hooks.state." .. quoted(key) end

local function same(a, b)
  return json.encode(a == nil and json.null or a) == json.encode(b == nil and json.null or b)
end

local function present(value)
  if value ~= json.null then return value end
end

-- ---- What we did -------------------------------------------------------------------------------

--- The record of one config.toml: what we put in (`entries`, by name), the bytes that we left
--- (`after`), and the bytes from before each change (`snapshots`), with the names of what was in
--- them of ours (`has`).
local function record_path(path)
  local name = path:gsub("[^%w._-]", function(c) return ("%%%02x"):format(c:byte()) end)
  return ("%s/setup/%s.json"):format(files.state_dir(), name:sub(-200))
end

local function load_record(path)
  local text, err = files.read(record_path(path))
  if not text and err.code ~= "ENOENT" then return nil, err end
  local record = text and json.decode(text)
  if type(record) == "table" and record.path == path then return record end
  return { path = path, entries = json.object {}, snapshots = json.array {} }
end

local function save_record(record)
  local path = record_path(record.path)
  if next(record.entries) == nil then
    uv.fs_unlink(path)
    return true
  end
  local ok, err = files.make_dir(path:match "^(.*)/")
  if not ok then return nil, err end
  return files.write(path, json.encode(record))
end

local function names_of(entries)
  local names = {}
  for name in pairs(entries) do names[#names + 1] = name end
  table.sort(names)
  return json.array(names)
end

--- The file as it is now: its bytes, in base64 as they are kept, and its mode; `missing`.
local function look(path)
  local stat = uv.fs_stat(path)
  local text, err = files.read(path)
  if not text and err.code == "ENOENT" then return { missing = true } end
  if not text then return nil, err end
  return { bytes = base64.encode(text), mode = stat and stat.mode & PERMISSIONS }
end

local function is_left(record, now)
  return record.after ~= nil and (now.bytes or "") == record.after
end

--- Puts bytes back. A link stays a link: what it points to is written.
local function put_back(path, snapshot)
  local target = uv.fs_realpath(path) or path
  if snapshot.missing then
    uv.fs_unlink(target)
    return true
  end
  local ok, err = files.write(target, assert(base64.decode(snapshot.bytes)))
  if not ok then return nil, err end
  uv.fs_chmod(target, snapshot.mode)
  return true
end

-- ---- Asking Codex ------------------------------------------------------------------------------

local function refused(self, err)
  local data = type(err.data) == "table" and err.data or {}
  local name = data.config_write_error_code
  return E.new(err.kind, ("'%s' was not changed: Codex says: %s%s"):format(self.path,
    err.message:gsub("%s+$", ""), name and (" (%s)"):format(name) or ""),
    { code = name or err.code, data = err.data, stderr = err.stderr })
end

--- The user's own layer of the configuration, and its version.
local function user_layer(client)
  local got, err = client:config { include_layers = true }
  if not got then return nil, err end
  for _, layer in ipairs(present(got.layers) or {}) do
    if layer.name.type == "user" and not present(layer.name.profile) then return layer end
  end
  return nil, E.new("protocol", "Codex does not say what the user's own configuration is")
end

--- A file that was made read-only is not to be written: Codex would replace it all the same.
local function may_write(path)
  local stat, _, code = uv.fs_stat(path)
  if not stat and code == "ENOENT" then return true end
  local is_free = stat and stat.mode & OWNER_WRITE ~= 0 and uv.fs_access(path, "W")
  if is_free then return true end
  return nil, E.new("io", ("'%s' is read-only; nothing was changed"):format(path),
    { code = "EACCES" })
end

--- Writes down what is to change, and what the file was before something of ours is added.
local function prepare(record, before, change)
  if not is_left(record, before) then record.snapshots = json.array {} end
  local names = names_of(record.entries)
  change(record.entries)
  if #names < #names_of(record.entries) then
    before.has = names
    table.insert(record.snapshots, before)
  end
  return save_record(record)
end

local function ask_for(self, layer, edits)
  local list = json.array {}
  for i, edit in ipairs(edits) do
    list[i] = { keyPath = edit[1], value = edit[2], mergeStrategy = "replace" }
  end
  local ok, err = self.client:set_configs(list, { expected_version = layer.version })
  if ok then return ok end
  return nil, refused(self, err)
end

--- Has Codex make these edits, all or none. The record is on disk before and after.
---@param edits { [1]: string, [2]: any }[] path and value; json.null takes one out
---@param change fun(entries: table) what this means for the record
local function write(self, layer, edits, change)
  local ok, err = may_write(self.path)
  if not ok then return nil, err end
  local before
  before, err = look(self.path)
  if not before then return nil, err end
  local kept = json.encode(self.record)
  ok, err = prepare(self.record, before, change)
  if ok then ok, err = ask_for(self, layer, edits) end
  if not ok then
    self.record = json.decode(kept)
    save_record(self.record)
    return nil, err
  end
  local after, saved
  after, err = look(self.path)
  if not after then return nil, err end
  self.record.after = after.bytes
  saved, err = save_record(self.record)
  return saved and ok, err
end

--- Takes entries back: by the bytes from before them where nobody else has worked on the file.
--- Whether that was possible.
local function rewind(self, names)
  local now, err = look(self.path)
  if not now then return nil, err end
  local record = self.record
  if not is_left(record, now) then return false end
  local rest = json.decode(json.encode(record.entries))
  for _, name in ipairs(names) do rest[name] = nil end
  for i, snapshot in ipairs(record.snapshots) do
    if same(snapshot.has, names_of(rest)) then
      local ok
      ok, err = may_write(self.path)
      if ok then ok, err = put_back(self.path, snapshot) end
      if not ok then return nil, err end
      for k = #record.snapshots, i, -1 do record.snapshots[k] = nil end
      record.entries, record.after = json.object(rest), snapshot.bytes
      return save_record(record)
    end
  end
  return false
end

local function forget(self, name)
  self.record.entries[name] = nil
  return save_record(self.record)
end

--- What a higher layer of the configuration makes of what we wrote; nil where nothing.
local function overridden(result)
  local data = present(result.overriddenMetadata)
  return data and tostring(data.message) or nil
end

-- ---- The notify program ------------------------------------------------------------------------

--- The notify program that the user's config.toml names.
---@async
---@return string[]? argv nil: there is none, or an error
---@return codex.Error?
function Setup:notify()
  local layer, err = user_layer(self.client)
  if not layer then return nil, err end
  return layer.config.notify
end

--- Names a notify program, or with nil puts back the one that was there before us. One that
--- somebody else has put there since is left alone: that is kind `policy`.
---@async
---@param argv? string[]
---@param previous? string[] to put back where we have no record of it
---@return true? ok
---@return codex.Error|string? error kinds `rpc` (code: Codex's config_write_error_code), `io`,
---`policy`; beside true, a text: what Codex says overrides the value
function Setup:set_notify(argv, previous)
  local entry = self.record.entries.notify
  if not argv and entry then
    local done, err = rewind(self, { "notify" })
    if done ~= false then return done, err end
  end
  local layer, err = user_layer(self.client)
  if not layer then return nil, refused(self, err) end
  local now = layer.config.notify
  if argv and same(argv, now) then return true end
  if not argv and entry and not same(entry.value, now) then
    forget(self, "notify")
    return nil, E.new("policy", "the notify program was changed since; it is left as it is")
  end
  local value = argv
  if not argv then value = entry and present(entry.previous) or previous end
  local result
  result, err = write(self, layer, { { "notify", value or json.null } }, function(entries)
    local old = entry and entry.previous or now
    entries.notify = argv and { value = argv, previous = old } or nil
  end)
  if not result then return nil, err end
  return true, overridden(result)
end

-- ---- Lifecycle hooks ---------------------------------------------------------------------------

---@class codex.SetupHook
---@field key string Codex's: file, event, and its place there; changes when hooks before it go
---@field event string "pre_tool_use", "stop" ...
---@field matcher? string
---@field command? string
---@field timeout number seconds
---@field async boolean
---@field enabled boolean
---@field trust "trusted"|"modified"|"untrusted"|"managed"
---@field hash string what trusting it would write down
---@field path string the file that it is in
---@field ours boolean whether we put it there
---@field raw table as Codex sent it

local function entry_name(event, matcher, command)
  return ("hook:%s:%s:%s"):format(event, matcher or "", command)
end

local function hook_of(self, raw)
  local hook = {
    key = raw.key, event = snake(raw.eventName), matcher = present(raw.matcher),
    command = present(raw.command), timeout = raw.timeoutSec, async = raw.async == true,
    enabled = raw.enabled, trust = raw.trustStatus, hash = raw.currentHash,
    path = raw.sourcePath, raw = raw,
  }
  hook.name = hook.command and entry_name(hook.event, hook.matcher, hook.command)
  hook.ours = hook.name ~= nil and hook.path == self.path and self.record.entries[hook.name] ~= nil
  return hook
end

--- All hooks that Codex knows in a folder.
---@async
---@param cwd? string a project's folder; ours
---@return codex.SetupHook[]?
---@return codex.Error|string[]? error kind `unsupported` before Codex 0.140; beside the list,
---what Codex finds wrong with the files
function Setup:hooks(cwd)
  local data, err = self.client:hooks { cwds = { cwd or uv.cwd() } }
  if not data then return nil, err end
  local list, problems = {}, {}
  for _, place in ipairs(data) do
    for _, raw in ipairs(place.hooks) do list[#list + 1] = hook_of(self, raw) end
    for _, text in ipairs(place.warnings) do problems[#problems + 1] = text end
    for _, each in ipairs(place.errors) do
      problems[#problems + 1] = ("%s: %s"):format(each.path, each.message)
    end
  end
  return list, problems
end

local function find(self, what, value)
  local list, err = self:hooks()
  if not list then return nil, err end
  for _, hook in ipairs(list) do
    if hook[what] == value and hook.path == self.path then return hook, nil, list end
  end
  return nil, E.new("policy", ("there is no hook '%s' in '%s'"):format(value, self.path))
end

local known = options.set { "event", "matcher", "command", "timeout", "async" }

local function check_hook(given)
  local where = "setup:add_hook"
  options.check(where, given, known)
  for _, name in ipairs { "event", "matcher", "command" } do
    options.typed(where, given, name, "string")
  end
  options.typed(where, given, "timeout", "number")
  options.typed(where, given, "async", "boolean")
  if not given.event or not given.command then
    options.raise(where .. ": `event` and `command` are needed")
  end
end

--- Adds a hook that runs a command through the shell, after those that are there. It does not run
--- before it is trusted. The same again changes nothing.
---@async
---@param given { event: string, command: string, matcher?: string, timeout?: integer,
---async?: boolean } timeout in whole seconds
---@return string? key
---@return codex.Error?
function Setup:add_hook(given)
  check_hook(given)
  local event = snake(given.event)
  local name = entry_name(event, given.matcher, given.command)
  local there, err, list = find(self, "name", name)
  if there then return there.key end
  if not list and err.kind ~= "policy" then return nil, err end -- Codex has no hooks
  local layer
  layer, err = user_layer(self.client)
  if not layer then return nil, refused(self, err) end
  local groups = (layer.config.hooks or {})[pascal(event)] or json.array {}
  groups[#groups + 1] = { matcher = given.matcher, hooks = { { type = "command",
    command = given.command, timeout = given.timeout, async = given.async } } }
  local ok
  ok, err = write(self, layer, { { "hooks." .. pascal(event), groups } }, function(entries)
    entries[name] = { event = event, command = given.command }
  end)
  if not ok then return nil, err end
  there, err = find(self, "name", name)
  if there then return there.key end
  rewind(self, { name }) -- this Codex keeps the event in its file and does not know it
  return nil, err
end

--- Writes down that a hook of ours, as it is now, is trusted: Codex runs it from now on.
---@async
---@param key string
---@return true?
---@return codex.Error? error kind `policy`: the hook is not of those that we put there
function Setup:trust(key)
  local hook, err = find(self, "key", key)
  if not hook then return nil, err end
  if not hook.ours then
    return nil, E.new("policy", ("the hook '%s' is not ours to trust"):format(key))
  end
  if hook.trust == "trusted" then return true end
  local layer
  layer, err = user_layer(self.client)
  if not layer then return nil, refused(self, err) end
  local edit = { state_path(key) .. ".trusted_hash", hook.hash }
  local ok
  ok, err = write(self, layer, { edit }, function() end)
  return ok and true, err
end

--- The groups without this command, and where the first group that went was (from 0).
local function without(groups, hook)
  local rest, gone = json.array {}, nil
  for i, group in ipairs(groups) do
    local left = json.array {}
    for _, handler in ipairs(group.hooks or {}) do
      local is_it = handler.command == hook.command and (group.matcher or nil) == hook.matcher
      if not is_it then left[#left + 1] = handler end
    end
    local is_gone = #left == 0 and #(group.hooks or {}) > 0
    if is_gone then gone = gone or i - 1 end
    if not is_gone then
      group.hooks = left
      rest[#rest + 1] = group
    end
  end
  return rest, gone
end

--- Trust is written down by place: it follows the hooks that move up when one before them goes.
local function move_states(edits, states, path, event, gone, count)
  local prefix = ("%s:%s:"):format(path, event)
  for key in pairs(states) do
    local rest = key:sub(1, #prefix) == prefix and key:sub(#prefix + 1) or ""
    local group, index = rest:match "^(%d+):(%d+)$"
    group = math.tointeger(group)
    if group and group >= gone and group < count then
      edits[#edits + 1] = { state_path(key), json.null }
      if group > gone then
        local moved = ("%s%d:%s"):format(prefix, group - 1, index)
        edits[#edits + 1] = { state_path(moved), states[key], last = true }
      end
    end
  end
  -- What is written comes after what is taken out: one's old place is another's new one.
  table.sort(edits, function(a, b) return not a.last and b.last or false end)
end

--- What taking the hook out means for the file; no table is left that was made for us alone.
local function removal(layer, path, hook)
  local hooks = layer.config.hooks or {}
  local event = pascal(hook.event)
  local count = #(hooks[event] or {})
  local rest, gone = without(hooks[event] or {}, hook)
  local edits = { { "hooks." .. event, #rest > 0 and rest or json.null } }
  local states = hooks.state or {}
  if gone then move_states(edits, states, path, hook.event, gone, count) end
  hooks[event] = #rest > 0 and rest or nil
  local others = false
  for name in pairs(hooks) do others = others or name ~= "state" end
  for key in pairs(states) do
    others = others or key:sub(1, #path + #hook.event + 2) ~= ("%s:%s:"):format(path, hook.event)
  end
  if not others and #rest == 0 then edits = { { "hooks", json.null } } end
  return edits
end

--- Takes a hook of ours out again, and that it was trusted.
---@async
---@param key string
---@param any? boolean also one that we have no record of
---@return true?
---@return codex.Error? error kind `policy`: there is no such hook, or it is not ours
function Setup:remove_hook(key, any)
  local hook, err = find(self, "key", key)
  if not hook then return nil, err end
  if not hook.ours and not any then
    return nil, E.new("policy", ("the hook '%s' is not ours to remove"):format(key))
  end
  if hook.ours then
    local done
    done, err = rewind(self, { hook.name })
    if done ~= false then return done, err end
  end
  local layer
  layer, err = user_layer(self.client)
  if not layer then return nil, refused(self, err) end
  local ok
  ok, err = write(self, layer, removal(layer, self.path, hook), function(entries)
    entries[hook.name] = nil
  end)
  return ok and true, err
end

-- ---- All of it ---------------------------------------------------------------------------------

--- Takes out all that we ever put in.
---@async
---@return true?
---@return codex.Error?
function Setup:restore()
  local done, err = rewind(self, names_of(self.record.entries))
  if done ~= false then return done, err end
  if self.record.entries.notify then
    local ok
    ok, err = self:set_notify(nil)
    if not ok and err.kind ~= "policy" then return nil, err end
  end
  while true do
    local hook, problem = find(self, "ours", true)
    if not hook then
      if problem.kind ~= "policy" and problem.kind ~= "unsupported" then return nil, problem end
      break
    end
    local ok
    ok, err = self:remove_hook(hook.key)
    if not ok then return nil, err end
  end
  self.record.entries = json.object {} -- what else was there somebody has taken out himself
  return save_record(self.record)
end

--- Ends the app-server. Idempotent.
function Setup:close() self.client:close() end

Setup.__close = Setup.close

--- Starts an app-server that edits the configuration of this instance's CODEX_HOME.
---@async
---@param instance? table the default one
---@return codex.Setup?
---@return codex.Error? error those of codex.connect
function M.open(instance)
  instance = instance or require("codex.instance").default
  local client, err = require("codex.client").connect(instance, { policies = {}, audit = false })
  if not client then return nil, err end
  local home = client.server.codexHome or instance.home
  local setup = setmetatable({ client = client, path = home .. "/config.toml" }, Setup)
  setup.record, err = load_record(setup.path)
  if setup.record then return setup end
  client:close()
  return nil, err
end

return M
