local log = require "codex.log"
local program = require "tests.support.program"

local function stderr_of(code, env)
  local result = program.eval('local log = require "codex.log"\n' .. code, { env = env })
  assert.equal(0, result.code)
  return result.stderr
end

describe("the log", function()
  it("writes warnings and errors to standard error, and nothing less by default", function()
    local text = stderr_of 'log.debug "d" log.info "i" log.warn "w" log.error("%s %d", "e", 7)'
    assert.equal("codex-lua: warn: w\ncodex-lua: error: e 7\n", text)
  end)

  it("takes its level from CODEX_LUA_LOG or from the script", function()
    local all = 'log.debug "d" log.info "i" log.warn "w" log.error "e"'
    assert.equal(4, select(2, stderr_of(all, { CODEX_LUA_LOG = "debug" }):gsub("\n", "")))
    assert.equal("", stderr_of(all, { CODEX_LUA_LOG = "off" }))
    assert.matches("'loud' is no level", stderr_of('log.warn "x"', { CODEX_LUA_LOG = "loud" }))
    assert.equal("codex-lua: error: e\n", stderr_of('log.level "error" ' .. all))
  end)

  it("returns the level before", function()
    local before = log.level "error"
    assert.equal("error", log.level(before))
    assert.equal(before, log.level())
    assert.error_matches(function() log.level "loud" end, "not a log level")
  end)

  it("does not take a text without arguments for a format", function()
    assert.equal("codex-lua: warn: 100% of %s\n", stderr_of 'log.warn "100% of %s"')
  end)

  it("never writes a secret", function()
    local text = stderr_of [[
      log.secret "my-hidden-word"
      log.warn("key %s, my-%s", "sk-proj-0123456789abcdef", "hidden-word")
      log.error("Authorization: Bearer abc.def")
    ]]
    assert.equal("codex-lua: warn: key [redacted], [redacted]\n"
      .. "codex-lua: error: Authorization: Bearer [redacted]\n", text)
  end)

  it("takes secrets out of texts for others too", function()
    assert.equal("Bearer [redacted]", log.redact "Bearer abc123")
    assert.equal("nothing", log.redact "nothing")
    local value, name = log.secret "short"
    assert.same({ nil, "EARGUMENT" }, { value, name })
  end)
end)

describe("an error message of a script", function()
  it("has secrets taken out as well", function()
    local result = program.eval [[error "refused: sk-proj-0123456789abcdef is wrong"]]
    assert.equal(1, result.code)
    assert.matches("%[redacted%] is wrong", result.stderr)
    assert.is_nil(result.stderr:find("0123456789abcdef", 1, true))
  end)
end)
