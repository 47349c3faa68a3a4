--- Codex's config.toml, changed through Codex itself, and put back.
---
---     local setup <close> = assert(codex_setup.open(codex.with { home = dir }))
---     assert(setup:set_notify { "/usr/bin/codex-lua", "notify" })
---     local key = assert(setup:add_hook { event = "stop", command = "/usr/bin/codex-lua notify" })
---     assert(setup:trust(key))
---     assert(setup:remove_hook(key))
---     assert(setup:set_notify(nil)) -- the file is what it was, to the byte
---
--- `codex app-server` writes the file: it keeps comments, but not those in a list that it
--- replaces, and refuses what is no configuration. Before a change the bytes of the file are
--- kept, and after it those that Codex left, in the user's state folder (codex.hooks.record).
--- Whoever takes a change back gets the bytes from before where the file is as we left it;
--- otherwise, since somebody else has worked on it, only ours is taken out.

local E = require "codex.error"
local base64 = require "codex.base64"
local files = require "codex.files"
local hook_table = require "codex.hooks.hook_table"
local json = require "codex.json"
local options = require "codex.options"
local records = require "codex.hooks.record"
local uv = require "luv"

local M = {}

local PATIENCE = 10 -- seconds for another program that changes the same file
local OWNER_WRITE, PERMISSIONS = tonumber("200", 8), tonumber("777", 8)

---@class codex.Setup
---@field path string of config.toml
---@field client codex.Client
local Setup = {}
Setup.__index = require("codex.base.class").methods(Setup)
Setup.__name = "codex.setup"

local same, snake = records.same, hook_table.snake

local function present(value)
  if value ~= json.null then return value end
end

-- ---- Files -------------------------------------------------------------------------------------

local function record_path(path)
  local name = path:gsub("[^%w._-]", function(c) return ("%%%02x"):format(c:byte()) end)
  return ("%s/setup/%s.json"):format(files.state_dir(), name:sub(-200))
end

local function load_record(path)
  local text, err = files.read_regular(record_path(path))
  if not text and err.code ~= "ENOENT" then return nil, err end
  return records.decode(text, path)
end

local function save_record(record)
  local path = record_path(record.path)
  if record:is_empty() then
    uv.fs_unlink(path)
    return true
  end
  local ok, err = files.make_dir(path:match "^(.*)/")
  if not ok then return nil, err end
  return files.write(path, record:encode())
end

--- The file as it is now: its bytes, in base64 as they are kept, and its mode; `missing`.
local function look(path)
  local stat = uv.fs_stat(path)
  local text, err = files.read_regular(path)
  if not text and err.code == "ENOENT" then return { missing = true } end
  if not text then return nil, err end
  return { bytes = base64.encode(text), mode = stat and stat.mode & PERMISSIONS }
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

--- A file that was made read-only is not to be written: Codex would replace it all the same.
local function may_write(path)
  local stat, _, code = uv.fs_stat(path)
  if not stat and code == "ENOENT" then return true end
  local is_free = stat and stat.mode & OWNER_WRITE ~= 0 and uv.fs_access(path, "W")
  if is_free then return true end
  return nil, E.new("io", ("'%s' is read-only; nothing was changed"):format(path),
    { code = "EACCES" })
end

-- ---- Asking Codex ------------------------------------------------------------------------------

local function refused(self, err)
  local data = type(err.data) == "table" and err.data or {}
  local name = data.config_write_error_code
  return E.new(err.kind, ("'%s' was not changed: Codex says: %s%s"):format(self.path,
    err.message:gsub("%s+$", ""), name and (" (%s)"):format(name) or ""),
    { code = name or err.code, data = err.data, stderr = err.stderr })
end

--- The user's own layer of the configuration, and its version; and all layers in one.
local function user_layer(self)
  local got, err = self.client:config { include_layers = true }
  if not got then return nil, refused(self, err) end
  for _, layer in ipairs(present(got.layers) or {}) do
    local is_users = layer.name.type == "user" and not present(layer.name.profile)
    if is_users then return layer, got.config end
  end
  return nil, E.new("protocol", "Codex does not say what the user's own configuration is")
end

--- What a higher layer of the configuration makes of what we wrote; nil where nothing.
local function overridden(result)
  local data = present(result.overriddenMetadata)
  return data and tostring(data.message) or nil
end

-- ---- Changing ----------------------------------------------------------------------------------

--- Whether something of ours is in the layer that the record does not know: what the file is now
--- is not what is to be put back then.
local function has_unknown(self, layer)
  local entries = self.record.entries
  if records.is_our_notify(layer.config.notify) and not entries.notify then return true end
  for name, command in pairs(hook_table.names(layer)) do
    local is_ours = records.is_our_hook(command, "hook") or records.is_our_hook(command, "notify")
    if is_ours and not entries[name] then return true end
  end
  return false
end

local Held = {
  __close = function(own)
    if own.setup then own.setup.held = own.setup.held:close() end
  end,
}

--- Nobody else changes the file through us until what this returns is closed.
local function hold(self)
  if self.held then return setmetatable({}, Held) end
  local held, err = require("codex.base.lock").take(record_path(self.path) .. ".lock", PATIENCE)
  if not held then return nil, err end
  local record
  record, err = load_record(self.path)
  if not record then
    held:close()
    return nil, err
  end
  self.record, self.held = record, held
  return setmetatable({ setup = self }, Held)
end

--- The user's layer, and the record knows what is there: what somebody has changed is not ours any
--- more.
local function begin(self)
  local layer, all = user_layer(self)
  if not layer then return nil, all end
  local names = hook_table.names(layer)
  self.record:prune(function(name, entry)
    if name == "notify" then return same(entry.value, layer.config.notify) end
    return names[name] ~= nil
  end)
  return layer, all
end

local function ask_for(self, layer, edits)
  local list = json.array {}
  for i, edit in ipairs(edits) do
    list[i] = { keyPath = edit[1], value = edit[2], mergeStrategy = edit[3] or "replace" }
  end
  local ok, err = self.client:set_configs(list, { expected_version = layer.version })
  if ok then return ok end
  return nil, refused(self, err)
end

--- Has Codex make these edits, all or none. The record is on disk before and after.
---@param edits { [1]: string, [2]: any, [3]: string? }[] path, value (json.null takes one out), and
---how it is merged
---@param change fun(entries: table) what this means for the record
local function write(self, layer, edits, change)
  local ok, err = may_write(self.path)
  if not ok then return nil, err end
  local before
  before, err = look(self.path)
  if not before then return nil, err end
  local kept, is_unclean = self.record:copy(), has_unknown(self, layer)
  self.record:begin(before, change)
  if is_unclean then self.record.snapshots = json.array {} end
  ok, err = save_record(self.record)
  if ok then ok, err = ask_for(self, layer, edits) end
  if not ok then
    self.record = kept
    save_record(self.record)
    return nil, err
  end
  local after, saved
  after, err = look(self.path)
  if not after then return nil, err end
  self.record:finish(after)
  saved, err = save_record(self.record)
  return saved and ok, err
end

--- Takes entries back: by the bytes from before them where nobody else has worked on the file.
--- Whether that was possible.
local function rewind(self, names)
  local now, err = look(self.path)
  if not now then return nil, err end
  local snapshot, rest = self.record:rewind(now, names)
  if not snapshot then return false end
  local ok
  ok, err = may_write(self.path)
  if ok then ok, err = put_back(self.path, snapshot) end
  if not ok then return nil, err end
  self.record = rest
  return save_record(rest)
end

--- What Codex had under way for us when we were stopped: our lines are in, and were not before.
local function is_ours_alone(before, now)
  local function has(state)
    local text = state.bytes and base64.decode(state.bytes) or ""
    return text:find("codex-lua", 1, true) ~= nil or text:find(" hook --limit ", 1, true) ~= nil
  end
  return has(now) and not has(before)
end

---@class codex.SetupAttempt
local Attempt = {}
Attempt.__index = require("codex.base.class").methods(Attempt)

--- Everything was done: it stays.
function Attempt:keep() self.is_kept = true end

--- Puts the file back where that was left by an error, a signal or os.exit.
function Attempt:__close()
  local setup, held <close> = self.setup, self.held -- luacheck: ignore 211
  if self.is_kept then return end
  setup.client:close() -- what it has under way is done then, or is not done at all
  local now = look(setup.path)
  if not now or now.bytes == self.before.bytes then return save_record(self.record) end
  if setup.record:is_left(now) or is_ours_alone(self.before, now) then
    put_back(setup.path, self.before)
    save_record(self.record)
  end
end

--- Begins changes of which either all are made, or none: unless `keep` is called, closing what this
--- returns puts the file back as it is now, and nothing more can be done with the setup.
---@async
---@return codex.SetupAttempt?
---@return codex.Error?
function Setup:attempt()
  local held, err = hold(self)
  if not held then return nil, err end
  local before
  before, err = look(self.path)
  if not before then
    getmetatable(held).__close(held)
    return nil, err
  end
  return setmetatable({ setup = self, held = held, before = before, record = self.record:copy() },
    Attempt)
end

--- The comments in the file that writing this anew takes away.
---@param keys string[] "notify", "hooks.Stop" ...
---@return string[]
function Setup:comments(keys)
  local text, list = files.read_regular(self.path) or "", {}
  for _, key in ipairs(keys) do
    local found = records.comments(text, key)
    table.move(found, 1, #found, #list + 1, list)
  end
  return list
end

--- Whether taking out all that is ours puts the file back to the byte.
---@return boolean
function Setup:is_reversible()
  local now, names = look(self.path), {}
  for name in pairs(self.record.entries) do names[#names + 1] = name end
  return now ~= nil and self.record:rewind(now, names) ~= nil
end

-- ---- The notify program ------------------------------------------------------------------------

--- The notify program that the user's config.toml names.
---@async
---@return string[]? argv nil: there is none, or an error
---@return codex.Error?
function Setup:notify()
  local layer, err = user_layer(self)
  if not layer then return nil, err end
  return layer.config.notify
end

--- Names a notify program, or with nil puts back the one that was there before us. One that
--- somebody else has put there since is left alone: that is kind `policy`.
---@async
---@param argv? string[]
---@return true? ok
---@return codex.Error|string? error kinds `rpc` (code: Codex's config_write_error_code), `io`,
---`policy`; beside true, a text: what Codex says overrides the value
function Setup:set_notify(argv)
  local held <close>, no_lock = hold(self)
  if not held then return nil, no_lock end
  local layer, err = begin(self)
  if not layer then return nil, err end
  local now = layer.config.notify
  if same(argv, now) then return true end
  local entry, is_ours = self.record.entries.notify, records.is_our_notify(now)
  if not argv and entry then
    local done
    done, err = rewind(self, { "notify" })
    if done ~= false then return done, err end
  end
  if not argv and not entry and not is_ours then
    save_record(self.record)
    return nil, E.new("policy", "the notify program was changed since; it is left as it is")
  end
  local previous = self.record:previous("notify", now, records.chain_of(now), is_ours)
  local value = argv
  if not argv then value = previous end
  local result
  result, err = write(self, layer, { { "notify", value or json.null } }, function(entries)
    entries.notify = argv and { value = argv, previous = previous } or nil
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
---@field trust "trusted"|"modified"|"untrusted"|"managed"|"unseen" the last where this Codex has no
---hooks, and only its file does
---@field hash? string what trusting it would write down; 0.128 runs hooks without
---@field path string the file that it is in
---@field ours boolean whether we put it there
---@field raw table as Codex sent it

local function named(self, hook)
  hook.name = hook.command and hook_table.name(hook.event, hook.matcher, hook.command)
  hook.ours = hook.name ~= nil and hook.path == self.path and self.record.entries[hook.name] ~= nil
  return hook
end

local function hook_of(self, raw)
  return named(self, {
    key = raw.key, event = snake(raw.eventName), matcher = present(raw.matcher),
    command = present(raw.command), timeout = raw.timeoutSec, async = raw.async == true,
    enabled = raw.enabled, trust = raw.trustStatus or "trusted", hash = raw.currentHash,
    path = raw.sourcePath, raw = raw,
  })
end

--- All hooks that Codex knows in a folder.
---@async
---@param cwd? string a project's folder; ours
---@return codex.SetupHook[]?
---@return codex.Error|string[]? error kind `unsupported` before Codex 0.128; beside the list,
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

--- The hooks in config.toml as a Codex has them that does not know what they are.
local function unseen(self)
  local layer, err = user_layer(self)
  if not layer then return nil, err end
  local list = {}
  hook_table.each(layer, function(event, group, handler, g, i)
    list[#list + 1] = named(self, {
      key = ("%s:%s:%d:%d"):format(self.path, event, g, i), event = event, path = self.path,
      matcher = present(group.matcher), command = present(handler.command),
      timeout = handler.timeout or 600, async = handler.async == true, enabled = true,
      trust = "unseen", raw = handler,
    })
  end)
  table.sort(list, function(a, b) return a.key < b.key end)
  return list, { ("Codex %s has no hooks: these are lines in '%s', which a newer one runs"):format(
    self.client.version, self.path) }
end

--- All hooks that Codex knows; where it has none, those in config.toml, which a newer one runs.
---@async
---@return codex.SetupHook[]?
---@return codex.Error|string[]?
function Setup:all_hooks()
  local list, err = self:hooks()
  if list or err.kind ~= "unsupported" then return list, err end
  return unseen(self)
end

--- Whether this Codex runs hooks, as it says itself under the user's configuration.
---@async
---@return boolean
---@return string? why not
function Setup:runs_hooks()
  local list, err = require("codex.command").features(self.instance)
  if not list then return false, tostring(err) end
  local feature = list.hooks or list.codex_hooks -- its name until 0.128
  if not feature then
    return false, ("Codex %s has no hooks: they are not among its features"):format(
      self.client.version)
  end
  if feature.enabled then return true end
  return false, ("hooks are disabled among the features of Codex %s"):format(self.client.version)
end

--- The events that this Codex has hooks for, where it says so: only with hooks in its files.
---@async
---@return table<string, true>?
function Setup:events()
  local layer, all = user_layer(self)
  local hooks = layer and next(layer.config.hooks or {}) and present(all.hooks)
  if not hooks then return nil end
  local set = {}
  for name in pairs(hooks) do set[snake(name)] = true end
  return set
end

local function find(self, what, value, lister)
  local list, err = lister(self)
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

--- Codex keeps the event in its file and does not know it.
local function take_back(self, name, event)
  local done, err = rewind(self, { name })
  if done == nil then return nil, err end
  return nil, E.new("policy", ("Codex %s has no hooks for %s; nothing was changed"):format(
    self.client.version, event))
end

--- Adds a hook that runs a command through the shell, after those that are there. It does not run
--- before it is trusted. The same again changes nothing.
---@async
---@param given { event: string, command: string, matcher?: string, timeout?: integer,
---async?: boolean } timeout in whole seconds
---@return string? key
---@return codex.Error? error kind `policy`: this Codex does not know the event
function Setup:add_hook(given)
  check_hook(given)
  local event = snake(given.event)
  local name = hook_table.name(event, given.matcher, given.command)
  local held <close>, no_lock = hold(self)
  if not held then return nil, no_lock end
  local layer, err = begin(self)
  if not layer then return nil, err end
  local there, problem = find(self, "name", name, self.hooks)
  if there then return there.key end
  if problem.kind ~= "policy" then return nil, problem end -- Codex has no hooks
  local ok
  ok, err = write(self, layer, hook_table.addition(layer, event, given), function(entries)
    entries[name] = { event = event, command = given.command }
  end)
  if not ok then return nil, err end
  there = find(self, "name", name, self.hooks)
  if there then return there.key end
  return take_back(self, name, event)
end

--- Writes down that a hook of ours, as it is now, is trusted: Codex runs it from now on.
---@async
---@param key string
---@return true?
---@return codex.Error? error kind `policy`: the hook is not of those that we put there
function Setup:trust(key)
  local held <close>, no_lock = hold(self)
  if not held then return nil, no_lock end
  local layer, err = begin(self)
  if not layer then return nil, err end
  local hook
  hook, err = find(self, "key", key, self.hooks)
  if not hook then return nil, err end
  if not hook.ours then
    return nil, E.new("policy", ("the hook '%s' is not ours to trust"):format(key))
  end
  if hook.trust == "trusted" then return true end
  -- The key has dots in it, which 0.129 takes for its own even in quotes: so it is not in the path.
  local states = { [key] = { trusted_hash = hook.hash } }
  local ok
  ok, err = write(self, layer, { { "hooks.state", states, "upsert" } }, function() end)
  return ok and true, err
end

--- Takes a hook of ours out again, and that it was trusted.
---@async
---@param key string
---@param any? boolean also one that we have no record of
---@return true?
---@return codex.Error? error kind `policy`: there is no such hook, or it is not ours
function Setup:remove_hook(key, any)
  local held <close>, no_lock = hold(self)
  if not held then return nil, no_lock end
  local layer, err = begin(self)
  if not layer then return nil, err end
  local hook
  hook, err = find(self, "key", key, self.all_hooks)
  if not hook then return nil, err end
  if not hook.ours and not any then
    return nil, E.new("policy", ("the hook '%s' is not ours to remove"):format(key))
  end
  if hook.ours then
    local done
    done, err = rewind(self, { hook.name })
    if done ~= false then return done, err end
  end
  local ok
  ok, err = write(self, layer, hook_table.removal(layer, self.path, hook), function(entries)
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
  local held <close>, no_lock = hold(self)
  if not held then return nil, no_lock end
  local layer, err = begin(self)
  if not layer then return nil, err end
  local names = {}
  for name in pairs(self.record.entries) do names[#names + 1] = name end
  local done
  done, err = rewind(self, names)
  if done ~= false then return done, err end
  if self.record.entries.notify then
    local ok
    ok, err = self:set_notify(nil)
    if not ok then return nil, err end
  end
  while true do
    local hook, problem = find(self, "ours", true, self.all_hooks)
    if not hook then
      if problem.kind ~= "policy" then return nil, problem end
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
  local setup = setmetatable({ client = client, instance = instance,
    path = home .. "/config.toml" }, Setup)
  setup.record, err = load_record(setup.path)
  if setup.record then return setup end
  client:close()
  return nil, err
end

return M
