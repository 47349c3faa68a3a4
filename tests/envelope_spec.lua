--- Messages read strictly, as Lua sees it; tests/core/scan_test.c has the cases.

local envelope = require "codex.core.envelope"
local json = require "codex.json"
local program = require "tests.support.program"

describe("codex.core.envelope", function()
  it("says what a message is", function()
    assert.same({ "request", "turn/start", "1", true },
      { envelope.read '{"id":1,"method":"turn\\/start"}' })
    assert.same({ "notification", "initialized", nil, false },
      { envelope.read '{"method":"initialized"}' })
    assert.same({ "result", nil, '"a"', false }, { envelope.read '{"id":"\\u0061","result":{}}' })
    assert.same({ "error", nil, "0", false }, { envelope.read '{"id":-0.0,"error":{}}' })
  end)

  it("says what is wrong, and with what id", function()
    local kind, problem = envelope.read '{"id":7,"params":{"path":1,"path":2},"method":"m"}'
    assert.is_nil(kind)
    assert.equal("an object with a name twice at byte 18", problem)
    assert.equal("7", (select(3, envelope.read '{"id":7,"method":null}')))
    local vast = ('{"id":7,"method":"m","params":[%s0]}'):format(("0,"):rep(1 << 20))
    assert.same({ "7", "ETOOMANY" }, { select(3, envelope.read(vast)) })
  end)

  it("refuses arrays at places of objects", function()
    local places = envelope.places { "result", "params.sandboxPolicy", "params.input[]" }
    collectgarbage()
    local _, problem = envelope.read('{"id":1,"method":"m","params":{"input":[["text"]]}}', places)
    assert.equal("an array where an object is expected at params.input[]", problem)
    assert.equal("request",
      (envelope.read('{"id":1,"method":"m","params":{"input":[{"x":[]}]}}', places)))
    assert.equal("result", (envelope.read('{"id":1,"result":[]}', envelope.places {})))
    assert.is_nil((envelope.read('{"id":1,"result":[]}', places)))
    assert.has_error(function() envelope.places { {} } end)
  end)

  it("puts another id into a message, and leaves all other bytes", function()
    assert.equal('{ "id" : "x" , "result" : 1e2 }',
      envelope.with_id('{ "id" : -0 , "result" : 1e2 }', '"x"'))
    assert.is_nil(envelope.with_id('{"method":"m"}', "1"))
    assert.is_nil(envelope.with_id("nonsense", "1"))
  end)

  it("knows ids by their value", function()
    assert.equal("0", envelope.id "-0e5")
    assert.equal('"a"', envelope.id '"\\u0061"')
    for _, text in ipairs { "1.5", "null", "[1]", "1 2", "", "x", "1e30" } do
      assert.is_nil(envelope.id(text))
    end
  end)

  it("takes every message of every capture", function()
    local count = 0
    for path in io.popen("ls " .. program.root .. "/tests/fixtures/appserver-*.jsonl"):lines() do
      for line in io.lines(path) do
        local message = json.decode(line).msg
        if message ~= nil and type(message) == "table" and (message.id or message.method) then
          count = count + 1
          assert.is_truthy(envelope.read(json.encode(message)))
        end
      end
    end
    assert.is_true(count > 1000, count)
  end)
end)
