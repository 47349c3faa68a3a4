local lines = require "codex.core.lines"

local function all(frame)
  local list = {}
  while true do
    local line, name = frame:next()
    if not line and not name then return list end
    list[#list + 1] = line or name
  end
end

describe("newline frames", function()
  it("are the same wherever the input is split", function()
    local text = 'a\r\nzwei €\n\n\xFF\0x\r\rend\nlast'
    local expected = { "a", "zwei €", "", "\xFF\0x\r\rend", "last" }
    for at = 0, #text do
      local frame = lines.new()
      frame:feed(text:sub(1, at))
      local list = all(frame)
      frame:feed(text:sub(at + 1))
      frame:finish()
      table.move(all(frame), 1, 9, #list + 1, list)
      assert.same(expected, list)
    end
  end)

  it("report a line over the limit once and go on behind it", function()
    local frame = lines.new(4)
    frame:feed "12345678"
    frame:feed "90\nok\n1234\n12345\n"
    assert.same({ "ETOOLONG", "ok", "1234", "ETOOLONG" }, all(frame))
  end)

  it("say the reason in words", function()
    local frame = lines.new(1)
    frame:feed "abc\n"
    local _, name, text = frame:next()
    assert.same({ "ETOOLONG", "a message is longer than the limit" }, { name, text })
  end)

  it("need a positive limit and a string", function()
    assert.error_matches(function() lines.new(0) end, "must be positive")
    assert.error_matches(function() lines.new():feed(nil) end, "string expected")
  end)
end)
