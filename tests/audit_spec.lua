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

  --- A log whose disk is full, or what else is at `path` by now.
  local function full(given, path)
    local log = assert(audit.open(dir .. "/audit.jsonl", given))
    log.path = path or "/dev/full"
    return log
  end

  --- What stands where the log should be.
  local function places()
    assert(uv.fs_symlink(dir .. "/loop", dir .. "/loop"))
    program.write(dir .. "/file", "")
    assert(proc.run { "mkfifo", dir .. "/fifo" })
    return { "/dev/full", dir, dir .. "/loop", dir .. "/fifo", dir .. "/file/x", "/proc/x/y" }
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

  it("waits for nothing where there is no file, and refuses where it must be written", function()
    local level = codex.log.level "off"
    local guard <close> = setmetatable({}, -- luacheck: ignore 211
      { __close = function() codex.log.level(level) end })
    for _, path in ipairs(places()) do
      if path ~= "/dev/full" then assert.is_nil((audit.open(path)), path) end
      local started = uv.hrtime()
      assert.same({ path, "decline" }, { path, (decide(full({ required = true }, path))) })
      assert.same({ path, "accept" }, { path, (decide(full({}, path))) })
      assert.is_true(uv.hrtime() - started < 5e9, path)
    end
  end)

  it("makes the folder anew, and writes to a pipe that is read", function()
    local log = full({ required = true }, dir .. "/later/on/audit.jsonl")
    assert.equal("accept", (decide(log)))
    assert.equal(1, #all(log.path))
    assert(proc.run { "mkfifo", dir .. "/pipe" })
    local reader = assert(uv.fs_open(dir .. "/pipe", uv.constants.O_RDONLY
      | uv.constants.O_NONBLOCK, 0))
    log.path = dir .. "/pipe"
    assert.equal("accept", (decide(log)))
    assert.equal("accept", json.decode(assert(uv.fs_read(reader, 10000))).decision)
    uv.fs_close(reader)
  end)
end)

describe("the audit log of hostile requests", function()
  local dir, remove, path
  before_each(function()
    dir, remove = program.folder()
    path = dir .. "/audit.jsonl"
  end)
  after_each(function() remove() end)

  local alphabet = { "a", " ", "\n", "\r", "\0", "\27[2J", "\27]0;x\7", "\127", "\u{9b}31m",
    "\u{85}", "\u{202e}", "\u{2028}", "\u{200b}", "\u{feff}", "\u{e0041}", "\u{1f600}", "ä",
    "\xff", "\xc3", "\xed\xa0\x80", '"', "\\", "}", "%s", "\t" }

  local function hostile(length)
    local list = {}
    for i = 1, math.random(0, length) do list[i] = alphabet[math.random(#alphabet)] end
    return table.concat(list)
  end

  --- Neither a control character but for newline, nor one that is not seen, nor bad UTF-8.
  local function is_harmless(text)
    if not utf8.len(text) or text:find "[%z\1-\9\11-\31\127]" then return false end
    for _, code in utf8.codes(text) do
      if code >= 0x80 and code < 0xa0 or code >= 0x200b and code <= 0x200f
        or code >= 0x2028 and code <= 0x202e or code == 0xfeff or code >= 0xe0000 then
        return false
      end
    end
    return true
  end

  local function count_lines(text) return select(2, text:gsub("\n", "")) end

  it("has a line for each, which nothing of theirs breaks, in the file and as shown", function()
    math.randomseed(7)
    local log = assert(audit.open(path))
    for _ = 1, 300 do
      local params = { threadId = hostile(5), turnId = hostile(5), itemId = hostile(5),
        command = hostile(40), reason = hostile(40), cwd = hostile(9) }
      local asked = approval.request("item/commandExecution/requestApproval", params)
      assert(log:record(asked, { decision = "accept", policy = hostile(9), client = hostile(9),
        why = hostile(20), grant = { amendment = { hostile(9), hostile(9) } }, seconds = 1 }))
    end
    local text = assert(files.read(path))
    assert.equal(300, count_lines(text))
    assert.is_true(is_harmless(text))
    assert.equal(300, #all(path))
    for _, option in ipairs { "--json", "--last=1000" } do
      local result = program.run { "audit", "--file", path, option }
      assert.same({ 0, "", 300 }, { result.code, result.stderr, count_lines(result.stdout) })
      assert.is_true(is_harmless(result.stdout), option)
    end
  end)

  it("is bounded, whatever is asked and granted", function()
    local log = assert(audit.open(path))
    local deep, wide = {}, {}
    local at = deep
    for i = 1, 1000 do
      at.deeper, wide[i] = {}, ("w"):rep(1000)
      at = at.deeper
    end
    deep.again = deep
    local huge = ("x"):rep(3000000)
    local grant = { permissions = deep, amendment = wide, network = { [huge] = huge } }
    local asked = approval.request("item/commandExecution/requestApproval",
      { threadId = huge, turnId = { huge }, itemId = huge, command = huge })
    assert(log:record(asked, { decision = "accept", policy = huge, why = huge, grant = grant }))
    assert.is_true(#assert(files.read(path)) < 20000)
    assert.equal("accept", all(path)[1].decision)
  end)

  it("that is damaged anywhere shows what is whole and names the rest by number", function()
    math.randomseed(8)
    local log = assert(audit.open(path))
    for i = 1, 40 do assert(log:record(command("echo " .. i), decided "decline")) end
    local text = assert(files.read(path))
    for round = 1, 12 do
      local at = math.random(#text - 1)
      local bad = round <= 6 and text:sub(1, at) -- torn, or a byte that is another one
        or text:sub(1, at - 1) .. string.char(math.random(0, 255)) .. text:sub(at + 1)
      program.write(path, bad)
      local result = program.run { "audit", "--file", path }
      assert.equal(0, result.code)
      assert.is_true(is_harmless(result.stdout))
      local shown, said = count_lines(result.stdout), count_lines(result.stderr)
      local left = select(2, bad:gsub("[^\n]+", ""))
      assert.equal(left, shown + said, result.stderr)
      for number in result.stderr:gmatch "line (%d+) of" do
        assert.is_true(tonumber(number) <= 41)
      end
      assert.is_true(said <= 2, result.stderr)
    end
  end)

  it("by other programs is shown without harm: types, sizes, NUL", function()
    local long = ("y"):rep(3 << 20)
    local lines = {
      '{"time":"t\\u0000\\u001b[2J","decision":"a\\u0000\\n\\u202e","policy":"p\\n\\np"}',
      '{"time":{"a":["\\u001b"]},"decision":[],"policy":null,"summary":5,"why":{},"grant":"g"}',
      '{"time":1,"summary":"' .. ("z"):rep(100000) .. '"}', '{"time":"' .. long .. '"}', "[1]", "5",
      '{"time":1}',
    }
    program.write(path, table.concat(lines, "\n") .. "\n")
    for _, option in ipairs { "--json", "--last=9", "--since=1970-01-01" } do
      local result = program.run { "audit", "--file", path, option }
      assert.equal(0, result.code, result.stderr)
      assert.is_true(is_harmless(result.stdout))
      assert.is_true(count_lines(result.stdout) >= 1)
      assert.truthy(result.stderr:find("line 4 of '" .. path .. "' is too long", 1, true))
      assert.truthy(result.stderr:find("line 5 of '" .. path .. "' is no record", 1, true))
    end
    assert.equal(4, count_lines(program.run({ "audit", "--file", path }).stdout))
    local result = program.run { "audit", "--file", dir }
    assert.same({ 1, "" }, { result.code, result.stdout })
    assert.truthy(result.stderr:find("cannot read", 1, true))
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

  it("knows a decision by every spelling, also in logs from before there was one", function()
    local path, spellings = dir .. "/old.jsonl", {
      accept = { "accept", "approved", "acceptWithExecpolicyAmendment", "answered",
        "approved_execpolicy_amendment", "applyNetworkPolicyAmendment" },
      accept_for_session = { "accept_for_session", "acceptForSession", "approved_for_session" },
      decline = { "decline", "denied" }, cancel = { "cancel", "abort" }, error = { "error" },
    }
    local text = {}
    for _, list in pairs(spellings) do
      for _, word in ipairs(list) do text[#text + 1] = line("2026-01-02", "t", word, word) end
    end
    program.write(path, table.concat(text))
    for word, list in pairs(spellings) do
      local result = program.run { "audit", "--file", path, "--decision", word }
      assert.equal(#list, select(2, result.stdout:gsub("\n", "")), word)
      for each in result.stdout:gmatch "[^\n]+" do
        assert.equal(word, each:match "^%S+  (%S+)")
      end
    end
  end)

  it("shows who decided, why, and what was granted", function()
    local path = dir .. "/audit.jsonl"
    local log_file = assert(audit.open(path))
    assert(log_file:record(command "ls", decided("accept", { policy = "client", client = "ide 1.0",
      why = "since", grant = { amendment = { "ls" } } })))
    assert.truthy(program.run({ "audit", "--file", path }).stdout:find(
      'accept%s+client ide 1%.0 %(since%), grants {"amendment":%["ls"%]}  Run a command %$ ls'))
  end)

  it("prints records as they are", function()
    local result = show("--json", "--last", "1")
    assert.equal("t1", json.decode(result.stdout).thread_id)
    assert.equal(1, select(2, result.stdout:gsub("\n", "")))
  end)

  it("says that there is no home folder to have a log in", function()
    if uv.getuid() ~= 0 then return pending "only root can be somebody without a home" end
    local argv =
      { "setpriv", "--reuid", "54321", "--clear-groups", "env", "-i", program.path, "audit" }
    local result = assert(proc.run(argv, { cwd = "/", timeout = 20 }))
    assert.same({ 1, "" }, { result.code, result.stdout })
    assert.matches("^audit: there is no home folder: [^\n]*\n$", result.stderr)
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
