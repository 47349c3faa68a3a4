--- The audit log, and the command that shows it.

local approval = require "codex.approval"
local audit = require "codex.audit"
local codex = require "codex"
local files = require "codex.files"
local json = require "codex.json"
local policy = require "codex.policy"
local program = require "tests.support.program"
local proc = require "codex.proc"
local uv = require "luv"

local function command(text)
  return approval.request("item/commandExecution/requestApproval", { threadId = "thread",
    turnId = "turn", itemId = "item", startedAtMs = 1, command = text, cwd = "/w" })
end

local function decided(word, more)
  local record = { decision = word, policy = "test", seconds = 0.0123456 }
  for name, value in pairs(more or {}) do record[name] = value end
  return record
end

local function all(path)
  local list = {}
  for record in assert(audit.read(path)) do list[#list + 1] = record end
  return list
end

--- What is logged while `fn` runs in a program of its own.
local function said_by(code)
  local result = program.eval(code)
  assert.equal(0, result.code, result.stderr)
  return result.stderr
end

describe("the audit log", function()
  local dir, remove, path
  before_each(function()
    dir, remove = program.folder()
    path = dir .. "/a/b/audit.jsonl"
  end)
  after_each(function() remove() end)

  it("has one JSON object a line with who decided what, and is for the user alone", function()
    local log = assert(audit.open(path))
    local more = { grant = { amendment = { "touch" } } }
    assert(log:record(command "touch x", decided("accept", more)))
    assert(log:record(command "rm x", decided("decline", { why = "no policy decided" })))
    local text = assert(files.read(path))
    assert.equal(2, select(2, text:gsub("\n", "")))
    assert.equal("\n", text:sub(-1))
    local first, second = table.unpack(all(path))
    assert.truthy(first.time:find "^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ$")
    assert.equal(os.date "!%Y-%m-%d", first.time:sub(1, 10))
    first.time = nil
    assert.same({
      thread_id = "thread", turn_id = "turn", item_id = "item", kind = "command",
      method = "item/commandExecution/requestApproval", decision = "accept", policy = "test",
      summary = "Run a command\n  $ touch x\n  in: /w", seconds = 0.012, pid = uv.os_getpid(),
      grant = { amendment = { "touch" } },
    }, json.decode(json.encode(first)))
    assert.same({ "decline", "no policy decided" }, { second.decision, second.why })
    assert.equal(tonumber("600", 8), uv.fs_stat(path).mode & tonumber("777", 8))
  end)

  it("is appended to, also by several programs at once", function()
    local log = assert(audit.open(path))
    assert(log:record(command "one", decided "accept"))
    local code = ([[
      local audit, approval = require "codex.audit", require "codex.approval"
      local log = assert(audit.open(%q))
      for i = 1, 200 do
        local params = { command = { ("x"):rep(i * 5) } }
        assert(log:record(approval.request("execCommandApproval", params),
          { decision = "decline", policy = "p", seconds = 0 }))
      end
    ]]):format(path)
    codex.map({ 1, 2, 3 }, function()
      assert.equal(0, program.eval(code).code)
      return true
    end)
    local list = all(path)
    assert.equal(601, #list)
    assert.truthy(list[1].summary:find("$ one", 1, true))
    assert.equal("", said_by(([[for _ in require("codex.audit").read(%q) do end]]):format(path)))
  end)

  it("has no secrets and no answers in it, and no bytes that are not UTF-8", function()
    local log = assert(audit.open(path))
    local key = "sk-proj-abcdefghijklmnopqrstuvwx0123456789"
    local request = command("curl -H 'Authorization: Bearer abc.def.ghijklmnop' " .. key .. " \xff")
    assert(log:record(request, decided("accept", { why = key, grant = { amendment = { key } } })))
    local ask = approval.request("item/tool/requestUserInput", { threadId = "t", questions = {
      { id = "q", header = "h", question = "Token?", isSecret = true } } })
    local d = assert(policy.decider({ policy.always { decision = "accept",
      answers = { q = "hush hush hush" } } }, { audit = log, log = function() end }))
    assert.equal("hush hush hush", d:decide(ask).answers.q.answers[1])
    local text = assert(files.read(path))
    assert.is_nil(text:find(key, 1, true))
    assert.is_nil(text:find("ghijklmnop", 1, true))
    assert.is_nil(text:find("hush", 1, true))
    assert.truthy(text:find("[redacted]", 1, true))
    assert.equal(2, #all(path))
  end)

  it("has a summary of a bounded size", function()
    local log = assert(audit.open(path))
    assert(log:record(command(("ä"):rep(100000)), decided "accept"))
    assert.is_true(#assert(files.read(path)) < 3000)
    assert.truthy(all(path)[1].summary:find "ä%.%.%.$")
  end)

  it("leaves out what is torn or no record, and says so", function()
    local log = assert(audit.open(path))
    assert(log:record(command "one", decided "accept"))
    local file <close> = assert(io.open(path, "ab"))
    assert(file:write('no json\n{"time":"2026-')):flush()
    local said = said_by(([[for r in require("codex.audit").read(%q) do print(r.summary) end]])
      :format(path))
    assert.truthy(said:find("line 2 of '.*' is no record"), said)
    assert.truthy(said:find("line 3 of '.*' is torn"), said)
    assert(log:record(command "two", decided "accept")) -- begins on a line of its own
    local level = codex.log.level "off"
    local list = all(path)
    codex.log.level(level)
    assert.equal(2, #list)
    assert.truthy(list[2].summary:find("two", 1, true))
  end)

  it("that cannot be opened or read is an error", function()
    program.write(dir .. "/file", "")
    local log, err = audit.open(dir .. "/file/audit.jsonl")
    assert.is_nil(log)
    assert.equal("io", err.kind)
    assert.is_nil((audit.open(dir)))
    local records
    records, err = audit.read(dir .. "/nothing")
    assert.is_nil(records)
    assert.same({ "io", "ENOENT" }, { err.kind, err.code })
    assert.error_matches(function() audit.open(path, { requird = true }) end, "'required'")
  end)
end)

describe("a decider with an audit log", function()
  local dir, remove
  before_each(function() dir, remove = program.folder() end)
  after_each(function() remove() end)

  local function decide(log, list)
    local said = {}
    local d = assert(policy.decider(list or { policy.always "accept" }, { audit = log,
      log = function(level, message) said[#said + 1] = level .. " " .. message end }))
    local result, record = d:decide(command "touch x")
    return result.decision, record, table.concat(said, "\n")
  end

  it("writes down what it decides", function()
    local log = assert(audit.open(dir .. "/audit.jsonl"))
    assert.equal("accept", (decide(log)))
    assert.equal("decline", (decide(log, {})))
    local first, second = table.unpack(all(log.path))
    assert.same({ "accept", "always/accept" }, { first.decision, first.policy })
    assert.same({ "decline", "default", "no policy decided" },
      { second.decision, second.policy, second.why })
  end)

  --- A log whose disk is full.
  local function full(given)
    local log = assert(audit.open(dir .. "/audit.jsonl", given))
    log.path = "/dev/full"
    return log
  end

  it("that cannot be written goes on, and says so", function()
    local level = codex.log.level "off"
    local word, record, said = decide(full())
    codex.log.level(level)
    assert.same({ "accept", "accept" }, { word, record.decision })
    assert.truthy(said:find("error the decision was not written down", 1, true), said)
  end)

  it("that is required and cannot be written lets nothing happen", function()
    local level = codex.log.level "off"
    local word, record, said = decide(full { required = true })
    codex.log.level(level)
    assert.same({ "decline", "decline", "always/accept" },
      { word, record.decision, record.policy })
    assert.truthy(record.why:find("audit cannot be written", 1, true), record.why)
    assert.truthy(said:find("not written down", 1, true), said)
  end)
end)

describe("codex-lua audit", function()
  local dir, remove
  before_each(function() dir, remove = program.folder() end)
  after_each(function() remove() end)

  local function line(time, thread, decision, summary)
    return json.encode { time = time, thread_id = thread, decision = decision, policy = "p",
      summary = summary, kind = "command" } .. "\n"
  end

  local function log()
    local path = dir .. "/audit.jsonl"
    local hour_ago = os.date("!%Y-%m-%dT%H:%M:%S.000Z", os.time() - 3600)
    program.write(path, line("2026-01-02T03:04:05.678Z", "t1", "accept", "Run\n  $ one")
      .. line("2026-01-03T00:00:00.000Z", "t2", "decline", "Run\n  $ two \27[2J")
      .. line(hour_ago, "t1", "decline", "Run\n  $ three"))
    return path
  end

  local function show(...)
    return program.run { "audit", "--file", log(), ... }
  end

  --- Which of the three are shown.
  local function shown(...)
    local result = show(...)
    assert.equal(0, result.code, result.stderr)
    local found = {}
    for word in result.stdout:gmatch "%$ (%l+)" do found[#found + 1] = word end
    return table.concat(found, " ")
  end

  it("shows each decision in a line that a terminal takes as text", function()
    local result = show()
    local first, second = result.stdout:match "^([^\n]*)\n([^\n]*)\n[^\n]*\n$"
    assert.equal("2026-01-02T03:04:05.678Z  accept             p  Run $ one", first)
    assert.equal("2026-01-03T00:00:00.000Z  decline            p  Run $ two ^[[2J", second)
  end)

  it("shows those that are asked for", function()
    assert.equal("one two three", shown())
    assert.equal("two three", shown("--last", "2"))
    assert.equal("one two three", shown("--last", "9"))
    assert.equal("one three", shown("--thread", "t1"))
    assert.equal("two three", shown("--decision", "decline"))
    assert.equal("three", shown("--since", "2h"))
    assert.equal("", shown("--since", "30m"))
    assert.equal("two three", shown("--since", "2026-01-03"))
    assert.equal("one two three", shown("--since", "2026-01-02T03:04"))
    assert.equal("two three", shown("--since", "2026-01-02T03:05"))
    assert.equal("two", shown("--decision", "decline", "--since", "2026-01-01", "--thread", "t2"))
    assert.equal("three", shown("--decision", "decline", "--last", "1"))
  end)

  it("prints records as they are", function()
    local result = show("--json", "--last", "1")
    assert.equal("t1", json.decode(result.stdout).thread_id)
    assert.equal(1, select(2, result.stdout:gsub("\n", "")))
  end)

  it("says what is wrong: usage with 2, a file with 1; no log yet is fine", function()
    assert.equal(2, show("--last", "0").code)
    local result = show("--since", "yesterday")
    assert.equal(2, result.code)
    assert.truthy(result.stderr:find("'yesterday' is no duration", 1, true))
    assert.equal(2, show("--decision", "yes").code)
    result = program.run { "audit", "--file", dir .. "/nothing" }
    assert.equal(1, result.code)
    assert.truthy(result.stderr:find("nothing", 1, true))
    result = assert(proc.run({ program.path, "audit" }, { env = { XDG_STATE_HOME = dir } }))
    assert.same({ 0, "", "audit: nothing was decided yet\n" },
      { result.code, result.stdout, result.stderr })
  end)
end)
