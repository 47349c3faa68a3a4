--- review: several reviewers look at your changes at once; one report, an exit code for CI
---
--- Exit codes: 0 nothing at or above the severity of --fail-on, 1 findings at or above it, 2 wrong
--- usage or nothing to review with, 3 a reviewer failed (what the others found is printed).

local cli = require "codex.cli"
local codex = require "codex"
local uv = require "luv"

local severities = { "critical", "high", "medium", "low" }
local rank = {}
for i, name in ipairs(severities) do rank[name] = i end

-- ---- What a reviewer is told, and what it answers ----------------------------------------------

local reviewers = {
  correctness = "Look for bugs: wrong logic, unhandled cases, races, leaks, broken callers.",
  security = "Look for security problems: injection, unsafe input, leaked secrets, missing checks.",
  tests = "Look for behaviour that changed without a test, and for tests that cannot fail.",
}
local usual = { "correctness", "security", "tests" }

local schema = {
  type = "object",
  additionalProperties = false,
  required = { "findings", "summary" },
  properties = {
    summary = { type = "string" },
    findings = {
      type = "array",
      items = {
        type = "object",
        additionalProperties = false,
        required = { "title", "body", "severity", "file", "line" },
        properties = {
          title = { type = "string" },
          body = { type = "string" },
          severity = { type = "string", enum = severities },
          file = { type = "string", description = "path relative to the repository" },
          line = { type = "integer", description = "line in the new file; 0 for the whole file" },
        },
      },
    },
  },
}

local prompt = [[
You are the %s reviewer of a change. %s

Report only problems that this change introduces, each with the file and line it is at, and how bad
it is: critical, high, medium or low. An empty list is a good answer. Read the repository where you
need to; change nothing.

What is reviewed: %s

%s]]

-- ---- The change --------------------------------------------------------------------------------

local function git(dir, ...)
  local result, err = codex.proc.run({ "git", "-C", dir, ... }, { env = { GIT_PAGER = "cat" } })
  if not result then return nil, err.message end
  if result.code ~= 0 then return nil, (result.stderr:gsub("%s+$", "")) end
  return result.stdout
end

--- Files that git does not know yet, as a diff against nothing.
local function untracked(dir)
  local list, problem = git(dir, "ls-files", "-z", "--others", "--exclude-standard")
  if not list then return nil, problem end
  local diffs = {}
  for path in list:gmatch "[^\0]+" do
    local argv = { "git", "-C", dir, "diff", "--no-color", "--no-index", "--", "/dev/null", path }
    local result, err = codex.proc.run(argv)
    if not result then return nil, err.message end
    diffs[#diffs + 1] = result.stdout -- exit code 1 says that they differ
  end
  return table.concat(diffs)
end

local function uncommitted(dir)
  local has_head = git(dir, "rev-parse", "--verify", "--quiet", "HEAD")
  local base = has_head and "HEAD" or "4b825dc642cb6eb9a060e54bf8d69288fbee4904" -- the empty tree
  local tracked, problem = git(dir, "diff", "--no-color", "--no-ext-diff", base)
  if not tracked then return nil, problem end
  local new
  new, problem = untracked(dir)
  return new and tracked .. new, problem
end

--- The diff that is asked for, and words for it. In CI a branch's name is somebody else's word: it
--- must not be taken for an option.
local function find_change(args)
  if args.commit then
    local diff, problem = git(args.directory, "show", "--no-color", "--no-ext-diff",
      "--end-of-options", args.commit)
    return diff, problem or ("commit " .. args.commit)
  elseif args.base then
    local diff, problem = git(args.directory, "diff", "--no-color", "--no-ext-diff",
      "--end-of-options", args.base .. "...HEAD")
    return diff, problem or ("everything since " .. args.base)
  end
  local diff, problem = uncommitted(args.directory)
  return diff, problem or "the uncommitted changes"
end

-- ---- Merging -----------------------------------------------------------------------------------

local function words(text)
  local set, n = {}, 0
  for word in text:lower():gmatch "%w%w%w+" do
    if not set[word] then
      set[word], n = true, n + 1
    end
  end
  return set, n
end

--- Two findings are one when they are at the same place and share half of their words.
local function is_same(a, b)
  if a.file ~= b.file or math.abs(a.line - b.line) > 3 then return false end
  local mine, n = words(a.title)
  local theirs, m = words(b.title)
  local shared = 0
  for word in pairs(mine) do
    if theirs[word] then shared = shared + 1 end
  end
  return shared * 2 >= math.min(n, m)
end

--- What does not follow the schema. The model is asked for it, and may answer otherwise.
local function problem_of(output)
  local list = type(output) == "table" and output.findings
  if type(list) ~= "table" then return "the answer has no list of findings" end
  for i, finding in ipairs(list) do
    for _, field in ipairs { "title", "body", "severity", "file" } do
      if type(finding) ~= "table" or type(finding[field]) ~= "string" then
        return ("finding %d has no %s"):format(i, field)
      end
    end
    if math.type(finding.line) ~= "integer" then finding.line = 0 end
    if not rank[finding.severity] then finding.severity = "medium" end
  end
end

local function add(merged, finding, reviewer)
  for _, known in ipairs(merged) do
    if is_same(known, finding) then
      if rank[finding.severity] < rank[known.severity] then -- the worse one speaks for both
        known.severity, known.title, known.body = finding.severity, finding.title, finding.body
      end
      table.insert(known.reviewers, reviewer)
      return
    end
  end
  finding.reviewers = codex.json.array { reviewer }
  table.insert(merged, finding)
end

local function merge(names, turns)
  local merged = codex.json.array()
  for i, name in ipairs(names) do
    for _, finding in ipairs(turns[i] and turns[i].output.findings or {}) do
      add(merged, finding, name)
    end
  end
  table.sort(merged, function(a, b)
    if rank[a.severity] ~= rank[b.severity] then return rank[a.severity] < rank[b.severity] end
    if a.file ~= b.file then return a.file < b.file end
    return a.line < b.line
  end)
  return merged
end

-- ---- The report --------------------------------------------------------------------------------

local function markdown(report)
  local lines = { "# Review of " .. report.subject, "" }
  local function line(format, ...) lines[#lines + 1] = format:format(...) end
  if #report.findings == 0 then line "Nothing was found." end
  for _, finding in ipairs(report.findings) do
    line("## %s: %s", finding.severity, finding.title)
    local place = finding.line > 0 and ("%s:%d"):format(finding.file, finding.line) or finding.file
    line("`%s` (%s)\n\n%s\n", place, table.concat(finding.reviewers, ", "), finding.body)
  end
  for _, failure in ipairs(report.failures) do
    line("**The %s reviewer failed:** %s\n", failure.reviewer, failure.message)
  end
  line("%d findings by %d reviewers, %d tokens, %.1f s", #report.findings, report.reviewers,
    report.tokens, report.duration)
  return table.concat(lines, "\n") .. "\n"
end

local function tokens_of(turns, count)
  local sum = 0
  for i = 1, count do
    local usage = turns[i] and turns[i].usage or {}
    sum = sum + (usage.input_tokens or 0) + (usage.output_tokens or 0)
  end
  return sum
end

local function print_report(report, args)
  local text = args.format == "json" and codex.json.encode(report, { pretty = true }) .. "\n"
    or markdown(report)
  if not args.output then
    io.stdout:write(text)
    return
  end
  local ok, err = require("codex.files").write(args.output, text)
  if not ok then
    io.stderr:write("review: ", err.message, "\n")
    os.exit(2)
  end
end

-- ---- The work ----------------------------------------------------------------------------------

local function positive(text)
  local number = tonumber(text)
  if number and number > 0 then return math.tointeger(number) or number end
  return nil, ("'%s' is not a positive number"):format(text)
end

local function parse_arguments()
  local parser = cli.parser("review", "Several Codex reviewers look at your changes at once.")
  parser:mutex(
    parser:flag("--uncommitted", "staged, unstaged and untracked changes (the default)"),
    parser:option("--base", "everything since this branch"):argname "BRANCH",
    parser:option("--commit", "one commit"):argname "SHA")
  parser:option("--reviewer", "correctness, security, tests, or NAME=INSTRUCTIONS; repeatable")
    :argname("REVIEWER"):count "*"
  parser:option("--fail-on", "exit with 1 from this severity on"):default("high")
    :choices { "critical", "high", "medium", "low", "never" }
  parser:option("--format", "of the report"):choices({ "markdown", "json" }):default "markdown"
  parser:option("--output", "write the report to a file"):argname "FILE"
  parser:option("-C --directory", "the repository"):argname "DIR":default "."
  parser:option("--model", "the model that reviews"):argname "MODEL"
  parser:option("--concurrency", "reviewers at once"):argname "N":convert(positive):default "4"
  parser:option("--timeout", "seconds for each reviewer"):argname "N":convert(positive)
    :default "900"
  return parser:parse()
end

local function choose_reviewers(args)
  local names = {}
  for _, wanted in ipairs(#args.reviewer > 0 and args.reviewer or usual) do
    local name, instructions = wanted:match "^([%w_-]+)=(.+)$"
    if name then reviewers[name] = instructions end
    names[#names + 1] = name or wanted
    if not reviewers[names[#names]] then
      io.stderr:write(("review: there is no reviewer '%s'; say NAME=INSTRUCTIONS\n"):format(wanted))
      os.exit(2)
    end
  end
  return names
end

--- Says who is done, where somebody watches.
local function progress(format, ...)
  if uv.guess_handle(2) == "tty" then io.stderr:write(format:format(...), "\n") end
end

local function main()
  local args = parse_arguments()
  local names = choose_reviewers(args)
  local diff, subject = find_change(args)
  if not diff then
    io.stderr:write("review: ", subject, "\n")
    os.exit(2)
  end
  local clock = uv.hrtime()
  local report = { subject = subject, findings = codex.json.array(), failures = codex.json.array(),
    reviewers = #names, tokens = 0, duration = 0 }
  if diff:find "%S" then
    local turns, errors = codex.map(names, function(name)
      progress("review: %s begins", name)
      local turn, err = codex.exec(prompt:format(name, reviewers[name], subject, diff), {
        cwd = args.directory, sandbox = "read-only", output_schema = schema, model = args.model,
        timeout = args.timeout, retry = 3,
      })
      local problem = turn and problem_of(turn.output)
      if problem then turn, err = nil, codex.error.new("protocol", problem) end
      progress("review: %s %s", name, turn and "is done" or "failed")
      return turn, err
    end, { concurrency = math.ceil(args.concurrency) })
    report.findings = merge(names, turns)
    report.tokens = tokens_of(turns, #names)
    for i, name in ipairs(names) do
      local err = errors and errors[i]
      if err then
        local failure = { reviewer = name, kind = err.kind, message = tostring(err) }
        table.insert(report.failures, failure)
      end
    end
  end
  report.duration = (uv.hrtime() - clock) / 1e9
  print_report(report, args)
  if #report.failures > 0 then os.exit(3) end
  local worst = report.findings[1] and rank[report.findings[1].severity]
  if worst and rank[args.fail_on] and worst <= rank[args.fail_on] then os.exit(1) end
end

main()
