local host = require "codex.core.host"
local peers = require "tests.support.peers"
local proc = require "codex.proc"

--- Types into the prompt on a terminal of its own and returns what the terminal showed.
local function type_in(lines)
  local shell = "script -qec " .. peers.quote(peers.quote(host.program)) .. " /dev/null"
  local p = assert(proc.spawn({ "sh", "-c", shell }, {
    stdin = "pipe", timeout = 20, env = { TERM = "dumb", HOME = peers.home "repl" },
  }))
  local guard <close> = p -- luacheck: ignore 211
  local seen = ""
  local function until_shown(text)
    while not seen:find(text, 1, true) do
      local piece = p:read()
      if not piece then return end
      seen = seen .. piece
    end
  end
  until_shown "> "
  for i, line in ipairs(lines) do
    seen = ""
    p:write(line[1])
    until_shown(line[2])
    assert.truthy(seen:find(line[2], 1, true), seen)
    -- What is typed before the next prompt is there meets an ordinary terminal.
    if i < #lines and line[2] ~= ">> " then until_shown "\n> " end
  end
  return p:wait()
end

describe("the prompt", function()
  it("shows values, waits, takes blocks, survives errors, ends at Ctrl-D", function()
    local status = type_in {
      { "20+22\n", "42\r\n" },
      { "codex.sleep(0.05) or 'slept'\n", "\r\nslept" },
      { "for i = 1, 2 do\n", ">> " },
      { "print('n' .. i)\n", ">> " },
      { "end\n", "n1\r\nn2\r\n" },
      { "error 'oh'\n", "stdin:1: oh" },
      { "x = = 1\n", "unexpected symbol" },
      { "\4", "\r\n" },
    }
    assert.equal(0, status.code)
  end)

  it("leaves the terminal as it was, which others use as well", function()
    local flags = "io.open('/proc/self/fdinfo/%d'):read('a'):match('flags:%%s*(%%d+)')\n"
    local none = {}
    for fd = 0, 2 do none[#none + 1] = { flags:format(fd), "\r\n02\r\n" } end
    none[#none + 1] = { "\4", "\r\n" }
    assert.equal(0, type_in(none).code)
  end)
end)
