local codex = require "codex"
local instances = require "codex.instance"
local uv = require "luv"

describe("an instance", function()
  it("has the same functions as codex itself, called the same way", function()
    local cx = codex.with {}
    for _, name in ipairs {
      "exec", "stream", "resume", "fork", "review", "apply", "sandbox", "features", "version",
      "interactive", "run", "capabilities", "paths", "with", "environment",
    } do
      assert.equal("function", type(cx[name]), name)
      assert.equal("function", type(codex[name]), name)
    end
    assert.is_nil(cx.nonsense)
  end)

  it("takes over what it is not told otherwise", function()
    local base = codex.with { home = "/a", timeout = 5, env = { A = "1", B = "2" } }
    local cx = base.with { timeout = 7, env = { B = "3", C = false } }
    assert.equal("/a", cx.home)
    assert.same({ A = "1", B = "3", C = false, CODEX_HOME = "/a", RUST_BACKTRACE = false },
      instances.environment(cx))
    assert.equal("5 7", base._settings.timeout .. " " .. cx._settings.timeout)
  end)

  it("finds its home in the option, its environment, ours, the user's folder", function()
    local before = os.getenv "CODEX_HOME"
    uv.os_setenv("CODEX_HOME", "/ours")
    assert.equal("/option", codex.with({ home = "/option", env = { CODEX_HOME = "/env" } }).home)
    assert.equal("/env", codex.with({ env = { CODEX_HOME = "/env" } }).home)
    assert.equal("/ours", codex.with({}).home)
    assert.equal(os.getenv "HOME" .. "/.codex", codex.with({ clear_env = true }).home)
    if before then uv.os_setenv("CODEX_HOME", before) else uv.os_unsetenv "CODEX_HOME" end
  end)

  it("sets RUST_LOG and shows where logs are", function()
    local cx = codex.with { home = "/a", rust_log = "codex_core=debug" }
    assert.equal("codex_core=debug", instances.environment(cx).RUST_LOG)
    assert.equal("/a/log", cx.paths().logs)
  end)

  it("sends its messages to its own log, without secrets", function()
    local said
    local cx = codex.with { log = function(level, message) said = level .. ": " .. message end }
    instances.say(cx, "warn", "key %s", "sk-abcdefghijklmnopqrstuv")
    assert.equal("warn: key [redacted]", said)
  end)

  it("refuses settings it does not know and wrong types", function()
    assert.error_matches(function() codex.with { hoem = "/x" } end, "did you mean 'home'")
    assert.error_matches(function() codex.with { home = 3 } end, "option 'home' must be a string")
    assert.error_matches(function() codex.with { log = "debug" } end, "'log' must be a function")
  end)
end)
