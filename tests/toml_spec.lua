-- What codex.toml writes, and that the real Codex programs read it back as the same values.

local toml = require "codex.toml"
local peers = require "tests.support.peers"
local json = require "dkjson"

-- error() refuses with a plain string; match part of it without patterns.
local function refusal(fn, ...)
  local ok, message = pcall(fn, ...)
  assert.is_false(ok)
  return message
end

describe("toml.value", function()
  it("writes numbers and booleans", function()
    assert.equal("0", toml.value(0))
    assert.equal("-9223372036854775808", toml.value(math.mininteger))
    assert.equal("1.0", toml.value(1.0))
    assert.equal("0.1", toml.value(0.1))
    assert.equal("1e+300", toml.value(1e300))
    assert.equal(1 / 3, tonumber(toml.value(1 / 3)))
    assert.equal("true", toml.value(true))
    assert.equal("false", toml.value(false))
  end)

  it("quotes every string and escapes what TOML forbids in one", function()
    assert.equal('"true"', toml.value "true")
    assert.equal([["a\"b\\c"]], toml.value 'a"b\\c')
    assert.equal([["\b\t\n\f\r\u0000\u001B\u007F"]], toml.value "\b\t\n\f\r\0\27\127")
    assert.equal('"é\u{2028}\u{1F600}"', toml.value "é\u{2028}\u{1F600}")
  end)

  it("writes lists, tables and empty tables on one line", function()
    assert.equal('[1, "b", [true]]', toml.value { 1, "b", { true } })
    assert.equal('{ a-1 = 1, b = { C_2 = "x" }, d = {} }',
      toml.value { d = {}, ["a-1"] = 1, b = { C_2 = "x" } })
    assert.equal("{}", toml.value {})
    assert.equal("[]", toml.value(setmetatable({}, { __name = "codex.json.array" })))
  end)

  it("quotes keys that are not bare, also the empty one", function()
    assert.equal([[{ "" = 0, "a.b" = 1, "q\"" = 2 }]],
      toml.value { ["a.b"] = 1, [""] = 0, ['q"'] = 2 })
  end)

  it("refuses what TOML cannot hold", function()
    local loop = {}
    loop.a = { loop }
    for _, case in ipairs {
      { print, "value: a function cannot be written as TOML" },
      { io.stdout, "value: a userdata cannot be written as TOML" },
      { coroutine.create(print), "value: a thread cannot be written as TOML" },
      { 0 / 0, "value: a number that is not finite cannot be written as TOML" },
      { { x = -math.huge }, "value.x: a number that is not finite cannot be written as TOML" },
      { "\xff", "value: a string that is not valid UTF-8 cannot be written as TOML" },
      { "\u{D800}", "value: a string that is not valid UTF-8 cannot be written as TOML" },
      { { ["\xff"] = 1 }, "value: a string that is not valid UTF-8 cannot be written as TOML" },
      { loop, "value.a[1]: a table that contains itself cannot be written as TOML" },
      { { 1, x = 2 }, "value: a table that is both a list and a map" },
      { { 1, 2, [9] = 3 }, "value: a table that is both a list and a map, or a list with holes" },
      { { [true] = 1 }, "value: a table with a boolean key" },
      { { a = { { b = print } } }, "value.a[1].b: a function" },
    } do
      assert.equal(case[2], refusal(toml.value, case[1]):sub(1, #case[2]))
    end
    assert.equal("value: nil cannot be written as TOML", refusal(toml.value, nil))
  end)

  it("writes a table twice when it is there twice without a cycle", function()
    local shared = { 1 }
    assert.equal("{ a = [1], b = [1] }", toml.value { a = shared, b = shared })
  end)
end)

describe("toml.overrides", function()
  it("flattens nested tables into sorted dotted keys", function()
    assert.same({
      'features.a-b=true', 'features.c={}', 'model="o3"', 'tools.list=["x"]',
    }, toml.overrides {
      model = "o3", tools = { list = { "x" } }, features = { ["a-b"] = true, c = {} },
    })
  end)

  it("takes outer keys as dotted paths as they are", function()
    assert.same({ "a.b=1", "mcp_servers.my server.command=\"c\"" },
      toml.overrides { ["a.b"] = 1, ["mcp_servers.my server"] = { command = "c" } })
  end)

  it("stops at the parent of a nested key that cannot stand in a path", function()
    assert.same({ 'projects={ "/a.b" = { trust_level = "trusted" }, x = 1 }' },
      toml.overrides { projects = { ["/a.b"] = { trust_level = "trusted" }, x = 1 } })
  end)

  it("names the path of what it refuses", function()
    assert.equal("config.model_providers.x.retries: a function cannot be written as TOML",
      refusal(toml.overrides, { model_providers = { x = { retries = print } } }))
    local loop = {}
    loop.deeper = loop
    assert.equal("config.a.deeper: a table that contains itself cannot be written as TOML",
      refusal(toml.overrides, { a = loop }))
    assert.truthy(refusal(toml.overrides, { "model=1" })
      :find("config: a table with a number key", 1, true))
    assert.equal("config: must be a table, got string", refusal(toml.overrides, "a=1"))
  end)

  it("refuses keys that Codex would misread", function()
    for _, key in ipairs { "a=b", " a", "a ", "", "a..b", ".a", "a.", "a\nb", "\xff" } do
      assert.truthy(refusal(toml.overrides, { [key] = 1 }):find("config.", 1, true))
    end
  end)

  it("refuses settings that contradict each other", function()
    assert.equal("config.a.b: this setting is given twice",
      refusal(toml.overrides, { a = { b = 1 }, ["a.b"] = 2 }))
    assert.equal("config.a.b: 'a' is set as well, and is not a table",
      refusal(toml.overrides, { a = 1, ["a.b"] = 2 }))
    assert.same({ 'a={ "x y" = 1 }', "a.b=2" }, toml.overrides { a = { ["x y"] = 1 }, ["a.b"] = 2 })
  end)
end)

-- `codex mcp get NAME --json` prints the merged configuration of one server, in milliseconds and
-- without a network, which makes it a mirror for every kind of value.
for _, name in ipairs { "latest", "middle", "old" } do
  describe("real Codex " .. peers.version[name], function()
    local home = peers.home("toml-" .. name)

    local function server(overrides)
      local argv = { "mcp", "get", "x", "--json" }
      for _, pair in ipairs(overrides) do argv[#argv + 1] = "--config=" .. pair end
      local out, code, err = peers.run(name, argv, home)
      assert.equal(0, code, err)
      return json.decode(out)
    end

    it("reads every byte that UTF-8 text can have back from a string", function()
      local all = {}
      for byte = 0, 127 do all[#all + 1] = string.char(byte) end
      local text = table.concat(all) .. "é\u{85}\u{2028}\u{FEFF}\u{10FFFF}"
      local x = { command = text, args = { text } }
      local got = server(toml.overrides { mcp_servers = { x = x } })
      assert.equal(text, got.transport.command)
      assert.equal(text, got.transport.args[1])
    end)

    it("reads strings that look like other TOML values as strings", function()
      local env = { A = "true", B = "1", C = "{}", D = "[1]", E = "", F = "'q'", G = '"q"',
        H = "a=b", I = " x " }
      assert.same(env, server(toml.overrides { ["mcp_servers.x"] = { command = "c", env = env } })
        .transport.env)
    end)

    it("reads odd keys back as single names", function()
      local env = { ["a.b"] = "1", ['"q"'] = "2", ["sp ace"] = "3", ["e=q"] = "4", [""] = "5",
        ["\n\127é"] = "6", plain = "7" }
      assert.same(env, server(toml.overrides { ["mcp_servers.x"] = { command = "c", env = env } })
        .transport.env)
    end)

    it("reads numbers, booleans and lists back", function()
      local got = server(toml.overrides { mcp_servers = { x = {
        command = "c", args = { "a", "b" }, enabled = false,
        startup_timeout_sec = 12, tool_timeout_sec = 0.125,
      } } })
      assert.same({ "a", "b" }, got.transport.args)
      assert.is_false(got.enabled)
      assert.equal(12, got.startup_timeout_sec)
      assert.equal(0.125, got.tool_timeout_sec)
    end)

    it("splits a dotted path at every dot, without regard to quotes", function()
      local argv = { "mcp", "get", "x", "--json", '--config=mcp_servers.x.command="c"' }
      argv[6] = '--config=mcp_servers.x.env."b"="v"'
      local got = json.decode((peers.run(name, argv, home)))
      assert.same({ ['"b"'] = "v" }, got.transport.env)
      argv[6] = '--config=mcp_servers.x.env."b.c"="v"'
      local _, code, err = peers.run(name, argv, home)
      assert.equal(1, code)
      assert.truthy(err:find('env."b`', 1, true))
    end)

    it("merges an inline table into the one in config.toml", function()
      local file = assert(io.open(home .. "/config.toml", "w"))
      file:write('[mcp_servers.x]\ncommand = "c"\nenv = { K = "file" }\n')
      file:close()
      local got = server(toml.overrides { mcp_servers = { x = { env = { ["a.b"] = "1" } } } })
      os.remove(home .. "/config.toml")
      assert.same({ K = "file", ["a.b"] = "1" }, got.transport.env)
      assert.equal("c", got.transport.command)
    end)
  end)
end
