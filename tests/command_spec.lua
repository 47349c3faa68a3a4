local codex = require "codex"
local host = require "codex.core.host"
local peers = require "tests.support.peers"
local proc = require "codex.proc"
local sessions = require "codex.sessions"

local cx = codex.with { binary = peers.latest, home = peers.home "command" }

--- What a terminal answers to what programs ask of it.
local answers = {
  ["\27[6n"] = "\27[1;1R", ["\27[c"] = "\27[?62c",
  ["]10;?"] = "\27]10;rgb:ffff/ffff/ffff\27\\", ["]11;?"] = "\27]11;rgb:0000/0000/0000\27\\",
}

describe("codex.interactive", function()
  it("puts -- before a prompt, and thread and prompt in their order", function()
    local function last(n, prompt, opts)
      opts.dry_run = true
      local argv = assert(cx.interactive(prompt, opts)).argv
      return { table.unpack(argv, #argv - n + 1) }
    end
    assert.same({ "--", "--help" }, last(2, "--help", {}))
    assert.same({ "resume", "--", "t", "go on" }, last(4, "go on", { resume = "t" }))
    assert.same({ "fork", "--last", "--", "go on" }, last(4, "go on", { fork = true }))
    assert.same({ "resume", "--last" }, last(2, nil, { resume = true }))
    assert.same({ "--model=m" }, last(1, nil, { model = "m" }))
  end)

  it("gives Codex the terminal, and says how to go on afterwards", function()
    local cwd = peers.home "tui"
    local words = { host.program, "tests/support/tui.lua", peers.latest, cwd }
    for i, word in ipairs(words) do words[i] = peers.quote(word) end
    local command = "stty rows 40 cols 100; exec " .. table.concat(words, " ")
    local p = assert(proc.spawn({ "script", "-qec", command, "/dev/null" },
      { stdin = "pipe", timeout = 60, env = { TERM = "xterm-256color" } }))
    local guard <close> = p -- luacheck: ignore 211
    local seen = ""
    --- Presses keys until the screen has shown something, as a person would.
    local typist = codex.spawn(function()
      while not seen:find("hello from the model", 1, true) do
        codex.sleep(1)
        if seen:find("Try new model", 1, true) then p:write "\r" end
      end
      p:write "/quit"
      while true do
        codex.sleep(0.5)
        p:write "\r"
      end
    end)
    for piece in function() return p:read() end do
      seen = seen .. piece
      for question, answer in pairs(answers) do
        if piece:find(question, 1, true) then p:write(answer) end
      end
      if seen:find("PROMPT", 1, true) then break end
    end
    typist:cancel()
    typist:join()
    local result = codex.json.decode(assert(seen:match "RESULT (%b{})", seen))
    assert.equal(0, result.exit_code)
    assert.is_true(sessions.is_id(result.thread_id))
    assert.same({ peers.latest, "resume", result.thread_id }, { table.unpack(result.resume) })
    assert.truthy(seen:find("PROMPT --say hello", 1, true))
  end)
end)

describe("codex.run", function()
  it("runs any subcommand, and one whose flags are known by its options", function()
    assert.truthy(assert(cx.run { "login", "--help" }).stdout:find "Usage")
    local plan = assert(cx.run("review", { uncommitted = true, title = "x", dry_run = true }))
    assert.same({ "review", "--uncommitted", "--title=x" }, { table.unpack(plan.argv, 2) })
  end)

  it("says with what code and words a subcommand failed", function()
    local result, err = cx.run { "login", "status" }
    assert.is_nil(result)
    assert.equal(1, err.data.exit_code)
    assert.truthy(err.stderr:find "Not logged in")
    result, err = cx.run { "exec", "--no-such-flag" }
    assert.is_nil(result)
    assert.same({ "usage", 2 }, { err.code, err.data.exit_code })
  end)

  it("passes standard input on", function()
    local other = codex.with { binary = peers.latest, home = peers.home "command-login" }
    assert(other.run({ "login", "--with-api-key" }, { input = "sk-test-0123456789abcdef\n" }))
    assert(other.run { "login", "status" })
    assert(other.run { "logout" })
  end)

  it("refuses what is no list of words", function()
    assert.error_matches(function() cx.run(3) end, "must be a list of strings")
    assert.error_matches(function() cx.run "no such command" end, "give a list of words")
  end)
end)

describe("codex.sandbox", function()
  it("keeps what a command may write within its folder", function()
    local dir = peers.home "sandbox"
    local result = assert(cx.sandbox({ "sh", "-c", "echo x > " .. peers.quote(dir .. "/file") }))
    assert.not_equal(0, result.code) -- read-only by default
    assert.is_nil(io.open(dir .. "/file"))
  end)
end)
