--- The command `codex-lua review`, with real Codex and a scripted model.

local codex = require "codex"
local files = require "codex.files"
local host = require "codex.core.host"
local peers = require "tests.support.peers"
local testing = require "codex.testing"

local work = peers.root .. "/build/review-spec"

local function shell(text)
  local where = "cd " .. peers.quote(work) .. " && "
  local result = assert(codex.proc.run { "sh", "-c", where .. text })
  assert.equal(0, result.code, result.stderr)
end

local function repository()
  os.execute("rm -rf " .. peers.quote(work) .. " && mkdir -p " .. peers.quote(work))
  shell [[git init -q -b main . && git config user.name t && git config user.email t@example.org
    echo one > a.txt; git add . ; git commit -q -m one; git checkout -q -b topic
    echo two >> a.txt; git commit -q -a -m two; echo three >> a.txt; echo new > "b c.txt"]]
end

local function finding(severity, title, line)
  local body = "Because " .. title
  return { title = title, body = body, severity = severity, file = "a.txt", line = line }
end

local function only(severity)
  return function() return { findings = { finding(severity, "x", 1) }, summary = "" } end
end

--- Runs the command; `answer(reviewer, request)` is what the model says.
local function review(answer, ...)
  repository()
  local model <close> = assert(testing.model { reply = function(request)
    local reviewer = request.prompt:match "You are the ([%w_-]+) reviewer"
    local reply = answer(reviewer, request)
    if reply.findings then return { json = reply } end
    return reply
  end })
  local cx <close> = assert(testing.codex { model = model, binary = peers.latest })
  local argv = { host.program, "review", "-C", work, ... }
  local opts = { env = assert(cx.environment()), timeout = 60 }
  return assert(codex.proc.run(argv, opts)), model.requests
end

local function nothing() return { findings = codex.json.array(), summary = "" } end

describe("codex-lua review", function()
  it("has three reviewers look at tracked and new files, and merges what they say", function()
    local result, requests = review(function(reviewer)
      local list = {
        correctness = { finding("high", "Line three is wrong", 3) },
        security = { finding("critical", "Line three is a wrong line", 2) },
        tests = { finding("low", "No test for b", 0) },
      }
      return { findings = list[reviewer], summary = "" }
    end)
    assert.equal(3, #requests)
    assert.truthy(requests[1].prompt:find("+three", 1, true))
    assert.truthy(requests[1].prompt:find("b c.txt", 1, true))
    assert.truthy(result.stdout:find("# Review of the uncommitted changes", 1, true))
    assert.truthy(result.stdout:find("## critical: Line three is a wrong line", 1, true))
    assert.truthy(result.stdout:find("## low: No test for b", 1, true))
    assert.is_nil(result.stdout:find("## high", 1, true))
    assert.equal(1, result.code)
    assert.equal("", result.stderr) -- progress is for terminals
  end)

  it("exits with 0 below the severity that counts", function()
    assert.equal(0, review(only "medium", "--reviewer", "tests").code)
    assert.equal(1, review(only "medium", "--reviewer", "tests", "--fail-on", "medium").code)
    assert.equal(0, review(only "critical", "--reviewer", "tests", "--fail-on", "never").code)
  end)

  it("writes JSON, to a file if wanted", function()
    local path = peers.home "review" .. "/report.json"
    local result = review(only "low", "--reviewer", "tests", "--format", "json", "--output", path)
    assert.equal("", result.stdout)
    local report = assert(codex.json.decode(files.read(path)))
    assert.equal("x", report.findings[1].title)
    assert.same(codex.json.array { "tests" }, report.findings[1].reviewers)
    assert.same(codex.json.array {}, report.failures)
  end)

  it("looks at everything since a branch, or at a commit", function()
    local _, requests = review(nothing, "--base", "main", "--reviewer", "tests")
    assert.truthy(requests[1].prompt:find("+two", 1, true))
    assert.is_nil(requests[1].prompt:find("+three", 1, true))
    _, requests = review(nothing, "--commit", "main", "--reviewer", "tests")
    assert.truthy(requests[1].prompt:find("+one", 1, true))
    assert.is_nil(requests[1].prompt:find("+two", 1, true))
  end)

  it("takes reviewers of one's own", function()
    local _, requests = review(nothing, "--reviewer", "style=Look for long words.")
    assert.equal(1, #requests)
    local wanted = "You are the style reviewer of a change. Look for long words."
    assert.truthy(requests[1].prompt:find(wanted, 1, true))
  end)

  it("prints what the others found when a reviewer fails, and exits with 3", function()
    local result = review(function(reviewer)
      if reviewer == "security" then return { status = 400, body = "no" } end
      return { findings = { finding("low", "seen by " .. reviewer, 1) }, summary = "" }
    end)
    assert.equal(3, result.code)
    assert.truthy(result.stdout:find("seen by correctness", 1, true))
    assert.truthy(result.stdout:find("**The security reviewer failed:** exit: no", 1, true))
  end)

  it("takes an answer that does not follow the schema for a failure", function()
    for _, answer in ipairs {
      { json = { 1, 2 } }, { json = { findings = "none" } }, { json = { findings = { 7 } } },
      { json = { findings = { { title = "x" } } } },
    } do
      local result = review(function() return answer end, "--reviewer", "tests")
      assert.equal(3, result.code, result.stderr)
      assert.truthy(result.stdout:find("**The tests reviewer failed:** protocol: ", 1, true))
    end
  end)

  it("does not take a revision for an option of git", function()
    local path = peers.home "review" .. "/written"
    for _, option in ipairs { "--base=", "--commit=" } do
      local result = review(nothing, option .. "--output=" .. path)
      assert.equal(2, result.code)
    end
    assert.is_nil(files.read(path))
    assert.is_nil(files.read(path .. "...HEAD"))
  end)

  it("has nothing to do where nothing changed", function()
    local result, requests = review(nothing, "--base", "topic")
    assert.equal(0, #requests)
    assert.equal(0, result.code)
    assert.truthy(result.stdout:find("Nothing was found.", 1, true))
  end)

  it("exits with 2 on wrong usage", function()
    for _, words in ipairs {
      { "--bogus" }, { "--base", "main", "--commit", "HEAD" }, { "--reviewer", "nobody" },
      { "--base", "no-such-branch" }, { "-C", "/" }, { "--fail-on", "terrible" },
      { "--concurrency", "0" }, { "--timeout", "soon" },
    } do
      local result = review(nothing, table.unpack(words))
      assert.equal(2, result.code, table.concat(words, " "))
      assert.equal("", result.stdout)
      assert.not_equal("", result.stderr)
    end
  end)
end)
