--- Whether there is a newer Codex than the one that is installed, and how to get it.
---
---     local advisory = assert(codex.updates.check())
---     if advisory.behind then print(advisory.latest, advisory.command) end
---
--- Nothing is installed. What was found is kept in $XDG_CACHE_HOME/codex-lua/updates.json and asked
--- for again after 20 hours, as Codex does. To be offline is no error: then the answer is what was
--- known last, with its time, or `unknown`.

local files = require "codex.files"
local install = require "codex.updates.install"
local json = require "codex.json"
local log = require "codex.log"
local options = require "codex.options"
local semver = require "codex.semver"
local sources = require "codex.updates.sources"
local uv = require "luv"

local M = {}

local EVERY, TIMEOUT = 20 * 3600, 10 -- seconds; the first is Codex's
local FORMAT = 1 -- of the cache file
local MAX_BYTES = 64 * 1024 * 1024 -- of npm's answer, which has all versions that there ever were
local MAX_FILE = 1024 * 1024 -- of the cache, and of Codex's version.json
local MAX_NOTE = 500
local MAX_REDIRECTS = 3 -- on the same host

---@class codex.UpdateOptions
---@field sources? string[] who is asked, in this order: "npm", "homebrew", "github", "codex" (that
---  is its version.json); the first that answers counts. By default by how Codex was installed
---@field channel? "stable"|"alpha" that of the installed version
---@field urls? { npm?: string, homebrew?: string, github?: string } base URLs of mirrors
---@field cache? boolean|string false: none; or the path of the file
---@field every? number seconds for which an answer is good (20 hours); 0: ask in any case
---@field timeout? number seconds for each source (10)
---@field installed? string the version, in place of asking the program
---@field supported? string a range: ">=0.120 <0.170"
---@field method? codex.InstallMethod how it was installed, in place of guessing

---@class codex.Advisory
---@field status "up_to_date"|"update"|"newer_than_known"|"unknown"
---@field installed string
---@field latest? string nil: not known
---@field behind boolean there is a newer one
---@field channel "stable"|"alpha"
---@field source? string who said so
---@field checked_at? string when, in UTC: "2026-11-21T01:18:06Z"
---@field install_method codex.InstallMethod
---@field command? string for a shell: it installs the newest
---@field untested? boolean where `supported` is given: the installed or the latest is outside of it
---@field notes string[] what else there is to know, and who could not be asked, and why

-- ---- Options -----------------------------------------------------------------------------------

local where = "codex.updates.check"
local known = options.set {
  "sources", "channel", "urls", "cache", "every", "timeout", "installed", "supported", "method",
}
local known_urls = options.set(sources.names)

local function one_of(name, value, list)
  for _, each in ipairs(list) do
    if value == nil or value == each then return value end
  end
  options.raise(("%s: option '%s': '%s' is none of %s"):format(where, name, tostring(value),
    table.concat(list, ", ")))
end

--- Reads a version or range of the caller's.
local function read_option(name, given, read)
  local text = options.typed(where, given, name, "string")
  if not text then return nil end
  local value, err = read(text)
  if not value then options.raise(("%s: option '%s': %s"):format(where, name, err.message)) end
  return value
end

local function check_urls(given)
  local urls = options.check(where .. ": urls", options.typed(where, given, "urls", "table"),
    known_urls)
  for name in pairs(urls) do options.typed(where .. ": urls", urls, name, "string") end
  return urls
end

local function seconds(given, name, default)
  options.milliseconds(where, given, name)
  return given[name] or default
end

local function read_options(given)
  given = options.check(where, given, known)
  local names = { "codex", table.unpack(sources.names) }
  for _, name in ipairs(options.typed(where, given, "sources", "table") or {}) do
    one_of("sources", name, names)
  end
  local cache = options.typed(where, given, "cache", "boolean", "string")
  if cache == nil or cache == true then cache = files.cache_dir() .. "/updates.json" end
  return {
    sources = given.sources, urls = check_urls(given), cache = cache,
    channel = one_of("channel", given.channel, { "stable", "alpha" }),
    method = one_of("method", given.method, install.methods),
    every = seconds(given, "every", EVERY), timeout = seconds(given, "timeout", TIMEOUT),
    installed = read_option("installed", given, semver.parse),
    supported = read_option("supported", given, semver.range),
  }
end

-- ---- Time --------------------------------------------------------------------------------------

local function iso(time) return os.date("!%Y-%m-%dT%H:%M:%SZ", time) end

--- Seconds since 1970 of a time in UTC: as above, or as Codex writes it, with fractions. The year
--- begins in March here, so that a leap day is its last.
local function from_iso(text)
  local pattern = "^(%d%d%d%d)-(%d%d)-(%d%d)T(%d%d):(%d%d):(%d%d)%.?%d*Z$"
  local parts = { tostring(text):match(pattern) }
  if not parts[1] then return nil end
  for i, part in ipairs(parts) do parts[i] = math.tointeger(tonumber(part)) end
  local y, month, day, hour, minute, second = table.unpack(parts)
  if month <= 2 then y = y - 1 end
  local before = 365 * y + y // 4 - y // 100 + y // 400 + (153 * ((month + 9) % 12) + 2) // 5
  return ((before + day - 719469) * 24 + hour) * 3600 + minute * 60 + second
end

-- ---- What is known -----------------------------------------------------------------------------

---@class codex.UpdateAnswer
---@field version codex.Version
---@field source string
---@field time integer

local function answer_of(source, text, checked_at)
  local version, time = semver.parse(text), from_iso(checked_at)
  return version and time and { source = source, version = version, time = time } or nil
end

--- A small file, as both that we read are; anything else counts as none.
local function read_json(path)
  local stat = uv.fs_stat(path)
  if not stat or stat.type ~= "file" or stat.size > MAX_FILE then return nil end
  local text = files.read(path)
  local value = text and json.decode(text)
  return type(value) == "table" and value or nil
end

--- What goes into a header: one line of plain characters.
local function header(value)
  return type(value) == "string" and value:find "^[ -~]+$" and value or nil
end

--- What is as we write it stays; whatever else is in a cache that was damaged is thrown away.
local function load_cache(path)
  local found = path and read_json(path)
  local answers = found and found.format == FORMAT and found.answers
  local cache = { format = FORMAT, answers = json.object {} }
  for key, entry in pairs(type(answers) == "table" and answers or {}) do
    if type(key) == "string" and utf8.len(key) and type(entry) == "table"
      and answer_of(key, entry.version, entry.checked_at) then
      cache.answers[key] = { version = entry.version, checked_at = entry.checked_at,
        etag = header(entry.etag), last_modified = header(entry.last_modified) }
    end
  end
  return cache
end

--- Two programs may write it at once: one of them wins, and the other asks once more than needed.
local function store(job, key, entry)
  if not job.cache then return end
  local cache = load_cache(job.cache)
  cache.answers[key] = entry
  uv.fs_rmdir(job.cache) -- a folder would be in the way; one with files in it stays
  local ok, err = files.make_dir(job.cache:match "^(.+)/[^/]*$" or ".")
  if ok then ok, err = files.write(job.cache, json.encode(cache, { pretty = true })) end
  if not ok then log.debug("what is known of updates is not cached: %s", err) end
end

--- Young enough, and not from before what is installed was there.
local function is_fresh(job, answer)
  local age = os.time() - answer.time
  return age >= 0 and age < job.every and not (job.installed and answer.version < job.installed)
end

--- What Codex found last: its terminal interface looks in the background, at most every 20 hours.
local function ask_codex(job)
  if job.channel ~= "stable" then return nil end
  local found = read_json(job.home .. "/version.json")
  if not found then return nil end
  local answer = answer_of("codex", found.latest_version, found.last_checked_at)
  if not answer then return nil, "its version.json is not as expected" end
  if type(found.dismissed_version) == "string" then
    job.dismissed = found.dismissed_version
  end
  if is_fresh(job, answer) then return answer end
  table.insert(job.stale, answer)
end

-- ---- Asking ------------------------------------------------------------------------------------

local function reason_of(err, job)
  if err.kind == "timeout" and err.code ~= "connect" then
    return ("did not answer within %g seconds"):format(job.timeout)
  end
  return err.message
end

--- Where a response leads on the same host; nil, and why not.
local function follow(url, location)
  local origin_of = require("codex.core.http").origin
  local origin = origin_of(url)
  if type(location) ~= "string" then return nil, "redirects to nowhere" end
  if location:find "^/[^/]" then location = origin .. location end
  if origin_of(location) ~= origin then
    return nil, "redirects to another host, which is not asked"
  end
  return location
end

local function get(job, url, headers)
  local http = require "codex.http"
  for _ = 0, MAX_REDIRECTS do
    local response, err = http.get(url,
      { headers = headers, timeout = job.timeout, max_bytes = MAX_BYTES })
    if not response then return nil, reason_of(err, job) end
    local leads_on = response.status >= 300 and response.status < 400 and response.status ~= 304
    if not leads_on then return response end
    url, err = follow(url, response.headers.location)
    if not url then return nil, err end
  end
  return nil, "redirects again and again"
end

local function refusal(response)
  if response.headers["x-ratelimit-remaining"] == "0" then
    return ("answered %d: too many requests from here"):format(response.status)
  end
  return ("answered %d"):format(response.status)
end

local function read_answer(source, response, channel)
  if response.status ~= 200 then return nil, refusal(response) end
  if response.body:find "^%s*<" then return nil, "answered with a page, not with JSON" end
  local document, name, text = json.decode(response.body)
  if document == nil then
    return nil, ("the answer is not JSON, or only a part of it (%s)"):format(text or name)
  end
  return source.read(document, channel)
end

local function conditions(source, entry)
  local headers = { Accept = source.accept or "application/json" }
  if entry and type(entry.etag) == "string" then headers["If-None-Match"] = entry.etag end
  if entry and type(entry.last_modified) == "string" then
    headers["If-Modified-Since"] = entry.last_modified
  end
  return headers
end

--- The version, and the entry for the cache; or nil and why.
local function fetch(job, source, url, entry)
  local response, reason = get(job, url, conditions(source, entry))
  if not response then return nil, reason end
  if response.status == 304 and entry then
    entry.checked_at = iso()
    return semver.parse(entry.version), entry
  end
  local version
  version, reason = read_answer(source, response, job.channel)
  if not version then return nil, reason end
  return version, {
    version = tostring(version), checked_at = iso(), etag = response.headers.etag,
    last_modified = response.headers["last-modified"],
  }
end

--- What an answer is kept under. A URL may have a password in it. npm's default registry has no
--- name here: to ask npm for it takes longer than all the rest.
local function key_of(job, name, base)
  local place = base and base:gsub("//[^/@]*@", "//") or "its default"
  return ("%s %s %s"):format(name, job.channel, place)
end

local function ask_base(job, source, base)
  local reason
  if not base then base, reason = sources.default_registry(job.env, job.process_env) end
  if not base then return nil, reason end
  return source.url(base:gsub("/+$", ""), job.channel)
end

local function ask_source(job, name)
  local source = sources.by_name[name]
  local base = job.urls[name] or source.base or sources.named_registry(job.env)
  local key = key_of(job, name, base)
  local entry = load_cache(job.cache).answers[key]
  local before = type(entry) == "table" and answer_of(name, entry.version, entry.checked_at)
  if before and is_fresh(job, before) then return before end
  if before then table.insert(job.stale, before) end
  local url, reason = ask_base(job, source, base)
  if not url then return nil, reason end
  local version, new = fetch(job, source, url, before and entry)
  if not version then return nil, new end
  store(job, key, new)
  return { source = name, version = version, time = from_iso(new.checked_at) }
end

local orders = {
  homebrew = { "codex", "homebrew", "github", "npm" },
  standalone = { "codex", "github", "npm", "homebrew" },
}
local default_order = { "codex", "npm", "github", "homebrew" }

--- The first answer; or the youngest of those that are too old, when nobody answers.
local function ask(job)
  for _, name in ipairs(job.sources or orders[job.method] or default_order) do
    local answer, reason
    if name == "codex" then
      answer, reason = ask_codex(job)
    else
      answer, reason = ask_source(job, name)
    end
    if answer then return answer end
    if reason then table.insert(job.notes, name .. ": " .. reason) end
  end
  table.sort(job.stale, function(a, b) return a.time > b.time end)
  local last = job.stale[1]
  if last then
    table.insert(job.notes, "nobody answered; this was known on " .. iso(last.time))
  end
  return last
end

-- ---- The advisory ------------------------------------------------------------------------------

local function note(job, text, ...) table.insert(job.notes, text:format(...)) end

local function status_of(job, answer)
  if not job.installed then return "unknown" end
  if semver.compare(job.installed, "0.0.0") == 0 then
    note(job, "0.0.0 is a Codex that somebody built, not a release")
    return "unknown"
  end
  if not answer then return "unknown" end
  local order = semver.compare(job.installed, answer.version)
  return order < 0 and "update" or order == 0 and "up_to_date" or "newer_than_known"
end

local function is_untested(job, answer)
  if not job.supported then return nil end
  local untested = false
  local versions = { installed = job.installed, latest = answer and answer.version }
  for _, what in ipairs { "installed", "latest" } do
    if versions[what] and not job.supported:contains(versions[what]) then
      untested = true
      note(job, "the %s one, %s, is not in %s", what, versions[what], job.supported)
    end
  end
  return untested
end

local function add_notes(job, answer)
  if not answer then return end
  if job.method == "homebrew" and answer.source ~= "homebrew" and answer.source ~= "codex" then
    note(job, "this is from %s; Homebrew may not have it yet", answer.source)
  end
  if job.dismissed == tostring(answer.version) then
    note(job, "%s was dismissed in Codex's own reminder", job.dismissed)
  end
end

--- Notes have words of servers and of files in them: each becomes one line that a terminal takes
--- as text.
local function visible(notes)
  local approval = require "codex.approval"
  for i, text in ipairs(notes) do
    if #text > MAX_NOTE then text = text:sub(1, MAX_NOTE) .. "..." end
    notes[i] = approval.visible(text):gsub("%s*[\n\t]%s*", " ")
  end
  return notes
end

local function advise(job, answer)
  local status = status_of(job, answer)
  local command, about = install.command(job.method, job.path, answer and answer.version,
    job.shim)
  add_notes(job, answer)
  if about and status == "update" then note(job, "%s", about) end
  local untested = is_untested(job, answer)
  return {
    status = status, behind = status == "update", channel = job.channel,
    installed = job.installed_text, latest = answer and tostring(answer.version),
    source = answer and answer.source, checked_at = answer and iso(answer.time),
    install_method = job.method, command = command, untested = untested,
    notes = visible(job.notes),
  }
end

-- ---- Checking ----------------------------------------------------------------------------------

--- Variables as the instance's Codex would see them.
local function environment_of(instance)
  local s = instance._settings
  return function(name)
    local value = s.env and s.env[name]
    if value == nil and not s.clear_env then value = os.getenv(name) end
    return value ~= "" and value or nil
  end
end

--- The program and its version. Without a program there must be a version.
local function find_installed(job, instance)
  local binary, err = require("codex.binary").of(instance)
  job.path = binary and require("luv").fs_realpath(binary.path) or nil
  job.shim = binary and binary.found
  if job.installed then
    job.installed_text = tostring(job.installed)
    return true
  end
  if not binary then return nil, err end
  local capabilities
  capabilities, err = require("codex.capability").of(binary.path)
  if not capabilities then return nil, err end
  job.installed_text = capabilities.version
  job.installed, err = semver.parse(capabilities.version)
  if err then note(job, "what is installed: %s", err.message) end
  return true
end

--- Whether there is a newer Codex. It is an answer, too, that nobody could be asked.
---@async
---@param instance table
---@param given? codex.UpdateOptions
---@return codex.Advisory?
---@return codex.Error? error of kind `spawn` or `unsupported`: there is no option `installed`, and
---  no Codex, or it is something else
function M.check(instance, given)
  local job = read_options(given)
  job.notes, job.stale = json.array {}, {}
  local ok, err = find_installed(job, instance)
  if not ok then return nil, err end
  local instances = require "codex.instance"
  job.env, job.process_env = environment_of(instance), instances.environment(instance)
  job.home = instances.home(instance)
  job.channel = job.channel or job.installed and job.installed.prerelease and "alpha" or "stable"
  job.method = job.method or install.method(job.path, job.env)
  return advise(job, ask(job))
end

return M
