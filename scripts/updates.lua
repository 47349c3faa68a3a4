--- updates: whether there is a newer Codex, and how to get it
---
--- Nothing is installed. With --notify, the hooks in updates.d in your configuration folder run:
--- files that return a function or a hook as for `codex-lua notify`. They are called when there is
--- an update, with the advisory; one with `on` names when: "update", "up_to_date",
--- "newer_than_known", "unknown", or "*".
---
--- Exit codes: 0 up to date, 10 there is an update, 1 it is not known, 2 wrong usage, 124 a
--- hook held up the program for longer than it may.

local approval = require "codex.approval"
local cli = require "codex.cli"
local codex = require "codex"
local files = require "codex.files"
local hook = require "codex.hook"
local json = require "codex.json"
local plugin = require "codex.plugin"
local semver = require "codex.semver"

local UPDATE, UNKNOWN = 10, 1

-- ---- Arguments ---------------------------------------------------------------------------------

local function range(text)
  local ok, err = semver.range(text)
  if ok then return text end
  return nil, err.message
end

local function url(text)
  local name, base = text:match "^(%l+)=(https?://%S+)$"
  if name == "npm" or name == "homebrew" or name == "github" then return { name, base } end
  return nil, ("'%s' is not npm=URL, homebrew=URL or github=URL"):format(text)
end

local function parse_arguments()
  local parser = cli.parser("updates", "Whether there is a newer Codex, and how to get it.")
  parser:option("--channel", "by default that of the installed one")
    :choices { "stable", "alpha" }
  parser:option("--source", "who is asked, in this order"):count "*"
    :choices { "npm", "homebrew", "github", "codex" }
  parser:option("--url", "a mirror: npm=URL, homebrew=URL or github=URL"):argname "SOURCE=URL"
    :count "*":convert(url)
  parser:option("--supported", "say when it is outside of this: '>=0.120 <0.170'")
    :convert(range):argname "RANGE"
  parser:flag("--refresh", "ask now, whatever is known")
  parser:flag("--notify", "run the hooks in updates.d")
  parser:flag("--json", "the advisory as one JSON object")
  return parser:parse()
end

-- ---- Telling -----------------------------------------------------------------------------------

--- What was read somewhere else must not reach a terminal as it is.
local function line(format, ...) return (approval.visible(format:format(...)):gsub("\n", " ")) end

local function say(...) io.stderr:write("updates: ", line(...), "\n") end

local sentences = {
  up_to_date = "Codex %s is the newest (%s, %s).",
  update = "Codex %s can be updated to %s (%s, %s).",
  newer_than_known = "Codex %s is newer than %s, the newest there is to know of (%s, %s).",
}

local function show_text(advisory)
  local sentence = sentences[advisory.status]
  local from = { advisory.latest, advisory.source, advisory.checked_at }
  if advisory.status == "up_to_date" then table.remove(from, 1) end
  if sentence then
    print(line(sentence, advisory.installed, table.unpack(from)))
  else
    print(line("Codex %s: whether there is a newer one is not known.", advisory.installed))
  end
  if advisory.behind and advisory.command then print(line("  %s", advisory.command)) end
  for _, note in ipairs(advisory.notes) do say("%s", note) end
end

--- Hooks without `on` are for updates.
local function wanted(hooks, advisory)
  local list = {}
  for _, each in ipairs(hooks) do
    if each.on ~= nil or advisory.behind then list[#list + 1] = each end
  end
  return list
end

local function run_hooks(advisory)
  require("codex.guard").watch "updates"
  local paths, err = plugin.files(files.config_dir() .. "/updates.d", "io")
  if not paths then return say("%s", err.message) end
  local hooks, problems = hook.load_all(paths)
  for _, problem in ipairs(problems) do say("%s", problem.err.message) end
  local event = { type = advisory.status }
  for name, value in pairs(advisory) do event[name] = value end
  for _, outcome in ipairs(hook.run_all(wanted(hooks, advisory), event)) do
    if not outcome.ok then say("the hook '%s': %s", outcome.hook, outcome.why) end
  end
end

local args = parse_arguments()
local urls = {}
for _, pair in ipairs(args.url) do urls[pair[1]] = pair[2] end
local advisory, err = codex.updates.check {
  channel = args.channel, sources = #args.source > 0 and args.source or nil, urls = urls,
  supported = args.supported, every = args.refresh and 0 or nil,
}
if not advisory then
  say("%s", err.message)
  os.exit(UNKNOWN)
end
if args.json then
  print(approval.visible_json(json.encode(advisory, { repair = true })))
else
  show_text(advisory)
end
if args.notify then run_hooks(advisory) end
if advisory.behind then os.exit(UPDATE) end
if advisory.status == "unknown" then os.exit(UNKNOWN) end
