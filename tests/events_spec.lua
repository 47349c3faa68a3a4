local events = require "codex.events"
local files = require "codex.files"
local json = require "codex.json"

local function fixture(name)
  local list = {}
  for line in assert(files.read("tests/fixtures/exec-" .. name .. ".jsonl")):gmatch "[^\n]+" do
    list[#list + 1] = events.decode(line)
  end
  return list
end

--- The message of the turn that failed.
local function failure(name)
  for _, event in ipairs(fixture(name)) do
    if event.type == "turn.failed" then return event.error.message end
  end
end

describe("events of real streams", function()
  local request = require("luv").fs_scandir "tests/fixtures"
  for name in function() return require("luv").fs_scandir_next(request) end do
    local stream = name:match "^exec%-(.+)%.jsonl$"
    if stream then
      it("of " .. stream .. " are all known and begin with the thread", function()
        local list = fixture(stream)
        assert.equal("thread.started", list[1].type)
        for _, event in ipairs(list) do
          assert.is_nil(event.raw_line, event.type)
          assert.not_equal("junk", event.type)
        end
      end)
    end
  end

  it("keep the item's own id of a web search, and the other one beside it", function()
    local item = fixture("0.169.0-websearch")[3].item
    assert.equal("item_0", item.id)
    assert.same({ { "id", "ws_1" } }, json.duplicates(item))
  end)

  it("keep null apart from absent", function()
    local started
    for _, event in ipairs(fixture "0.169.0-command") do
      if event.type == "item.started" then started = event.item end
    end
    assert.equal(json.null, started.exit_code)
    assert.equal("in_progress", started.status)
  end)
end)

describe("a line", function()
  it("that is no JSON, no object, or has no type is junk and keeps its text", function()
    for _, line in ipairs { "Warning: x", "[1]", "{}", '{"type":3}', "", "null", "\xff" } do
      assert.same({ type = "junk", line = line, synthetic = true }, events.decode(line))
    end
  end)

  it("of an unknown event or item type passes with all its fields and its raw text", function()
    local line = '{"type":"item.plan.delta","delta":"x","n":1}'
    local expected = { type = "item.plan.delta", delta = "x", n = 1, raw_line = line }
    assert.same(expected, events.decode(line))
    line = '{"type":"item.completed","item":{"id":"item_0","type":"hologram","volume":3}}'
    local event = events.decode(line)
    assert.equal(line, event.raw_line)
    assert.equal(3, event.item.volume)
  end)
end)

describe("the class of a failure", function()
  local expected = {
    ["0.169.0-h401"] = { "auth", "auth" },
    ["0.169.0-h429"] = { "rate_limit", "rate_limit" },
    ["0.169.0-h429ul"] = { "rate_limit", "usage_limit" },
    ["0.169.0-quota"] = { "rate_limit", "quota" },
    ["0.169.0-rlfail"] = { "rate_limit", "rate_limit" },
    ["0.169.0-ctx"] = { "exit", "context_window" },
    ["0.169.0-h400"] = { "exit", "bad_request" },
    ["0.169.0-h500"] = { "exit", "server" },
    ["0.140.0-h500"] = { "exit", "server" },
    ["0.169.0-disconnect"] = { "exit", "network" },
    ["0.169.0-eof"] = { "exit", "network" },
    ["0.169.0-hang"] = { "exit", "network" },
    ["0.169.0-incomplete"] = { "exit", "incomplete" },
  }
  for name, class in pairs(expected) do
    it("in " .. name .. " is " .. table.concat(class, "/"), function()
      local got = assert(events.classify(failure(name)))
      assert.same(class, { got.kind, got.code })
    end)
  end

  it("of a required MCP server that does not start is configuration", function()
    local text = assert(files.read "tests/fixtures/exec-0.169.0-mcp-bad-required.stderr.txt")
    assert.equal("config", events.classify(events.clean_stderr(text)).code)
  end)

  local broken = "stream disconnected before completion: "
  local said = {
    { broken .. "Incomplete response returned, reason: max_output_tokens", "incomplete" },
    { broken .. "The server had an error while processing your request.", "server" },
    { broken .. "Rate limit reached. Please try again in 1.5s.", "rate_limit" },
    { broken .. "Transport error: network error: error decoding response body", "network" },
    { broken .. "idle timeout waiting for SSE", "network" },
    { broken .. "The vector store is on holiday." }, -- the server's words, of which we know nothing
    { "Selected model is at capacity. Please try a different model.", "server" },
    { "unexpected status 504 Gateway Timeout: x, url: http://h/v1/responses", "server" },
    { "unexpected status 401 Unauthorized: no rate limit, no network error", "auth" },
    { "unexpected status 500 Internal: stream disconnected before completion: x", "server" },
  }
  for _, case in ipairs(said) do
    it(("is %s in \"%s\""):format(case[2] or "unknown", case[1]), function()
      assert.equal(case[2], (events.classify(case[1]) or {}).code)
    end)
  end

  it("is unknown of a stream that closed where an incomplete response is told like that", function()
    local closed = broken .. "stream closed before response.completed"
    assert.is_nil(events.classify(closed, "0.87.0"))
    assert.equal("network", events.classify(closed, "0.101.0").code)
    assert.equal("network", events.classify(closed).code)
  end)

  it("is unknown where no term is known", function()
    assert.is_nil(events.classify "something new went wrong")
  end)
end)

describe("the time of the next try", function()
  it("is read from real messages", function()
    assert.equal(1, events.retry_after(failure "0.169.0-rlfail"))
    local now = os.time { year = 2033, month = 5, day = 18, hour = 3, min = 0, sec = 0 }
    assert.equal(33 * 60, events.retry_after(failure "0.169.0-h429ul", now))
  end)

  it("adds units up and is absent where nothing is said", function()
    assert.equal(0.25, events.retry_after "try again in 250ms.")
    assert.equal(2 * 86400 + 3 * 3600, events.retry_after "Try again in 2 days 3 hours.")
    assert.is_nil(events.retry_after(failure "0.169.0-h429"))
  end)

  it("takes what is no time for none, however long its numbers are", function()
    for _, number in ipairs { "0", "99", ("9"):rep(11), ("9"):rep(30), ("9"):rep(400) } do
      for _, text in ipairs { "try again at Jan %sst, 2033 3:33 AM", "try again at %s:30 PM",
        "try again at Jan 1st, %s 3:33 AM", "try again at Jan 1st, 2033 3:%s AM",
        "try again in %s days", "usage limit; try again at %s %sth, %s %s:%s AM" } do
        local said = text:gsub("%%s", number)
        local seconds = events.retry_after(said)
        assert.is_true(seconds == nil or seconds >= 0, said)
        events.classify("usage limit: " .. said)
      end
    end
  end)
end)

describe("a notice that Codex tries again", function()
  it("is unbounded only when it does not count", function()
    for _, event in ipairs(fixture "0.169.0-connrefused") do
      assert.equal(event.type == "error", events.is_unbounded_retry(event))
    end
    for _, event in ipairs(fixture "0.169.0-disconnect") do
      assert.is_false(events.is_unbounded_retry(event))
    end
  end)
end)

describe("standard error", function()
  it("loses what says nothing", function()
    local text = assert(files.read "tests/fixtures/exec-0.169.0-mcp-bad-required.stderr.txt")
    local clean, under_tmpdir = events.clean_stderr(text)
    assert.is_nil(clean:find "unknown>")
    assert.is_nil(clean:find "Reading additional input")
    assert.truthy(clean:find "required MCP servers failed")
    assert.is_false(under_tmpdir)
  end)
end)
