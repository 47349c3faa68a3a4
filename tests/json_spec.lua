local json = require "codex.json"
local proc = require "codex.proc"
local program = require "tests.support.program"

local function round_trip(text)
  local value, message = json.decode(text)
  assert.is_nil(message)
  return json.encode(value)
end

describe("writing JSON", function()
  it("believes nothing that a metatable says", function()
    local number = getmetatable(json.decode "123456789012345678901")
    local lies = {
      setmetatable({}, { duplicates = 5 }), setmetatable({}, { duplicates = { 1 } }),
      setmetatable({}, { duplicates = { {} } }), setmetatable({}, { duplicates = { { 1, 2 } } }),
      setmetatable({}, { duplicates = { { "a" } } }), setmetatable({}, number),
      setmetatable({ 7 }, number), setmetatable({ "x" }, number), setmetatable({ "-" }, number),
      setmetatable({ "1}" }, number), setmetatable({ "1\0" }, number),
      setmetatable({ "007" }, number), setmetatable({ "-00" }, number),
      setmetatable({}, { __name = "codex.json.number" }),
    }
    for i, lie in ipairs(lies) do
      local ok, err = pcall(json.encode, lie)
      assert.is_false(ok, i)
      assert.is_truthy(err:find "must be a list" or err:find "has no digits"
        or err:find "begins with 0" or err:find "a nil cannot be written", err)
    end
  end)
end)

describe("JSON in the middle of JSON", function()
  --- Calls fn while finalizers run as often as they can; each does `work`, and makes the next one.
  local function among_finalizers(work, fn)
    local count, is_over = 0, false
    local function arm()
      setmetatable({}, { __gc = function()
        if is_over then return end
        count = count + 1
        work()
        arm()
      end })
    end
    collectgarbage("incremental", 1, 1000, 4)
    arm()
    local ok, err = pcall(fn)
    is_over = true
    collectgarbage "generational"
    assert(ok, err)
    return count
  end

  it("changes nothing of what is being read or written", function()
    local value, text = {}, {}
    for i = 1, 40 do
      value["key " .. i] = { ("v"):rep(i), { x = i } }
      text[i] = ('"k%d":["\\u00e9",1e2,%d,{"a":1,"a":2}]'):format(i, i)
    end
    local whole = "{" .. table.concat(text, ",") .. "}"
    local written, again = json.encode(value), json.encode(json.decode(whole))
    local count = among_finalizers(function()
      assert(#json.encode(value) == #written)
      assert(json.encode(json.decode(whole)) == again)
      pcall(json.encode, { print })
    end, function()
      for _ = 1, 50 do
        assert.equal(written, json.encode(value))
        assert.equal(again, json.encode(json.decode(whole)))
      end
    end)
    assert.is_true(count > 10, count)
  end)

  it("may take keys away that are still to be written", function()
    local value
    local function fill()
      value = {}
      for i = 1, 200 do value[("key %d %s"):format(i, ("x"):rep(50))] = ("v"):rep(i) end
    end
    fill()
    among_finalizers(function()
      for name in pairs(value) do value[name] = nil end
    end, function()
      for _ = 1, 100 do
        fill()
        pcall(json.encode, value)
      end
    end)
  end)

  it("has points in its numbers, whatever the locale", function()
    local folder, remove = program.folder()
    local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
    local made = assert(proc.run {
      "localedef", "-i", "de_DE", "-f", "UTF-8", folder .. "/de_DE.UTF-8" })
    assert.equal(0, made.code, made.stderr)
    local result = program.eval([[
      local json = require "codex.json"
      assert(os.setlocale("de_DE.UTF-8", "numeric"))
      local value = json.decode "[2.25,1e-5,123456789.5]"
      assert(value[1] == 9 / 4 and value[2] == 1 / 100000 and value[3] == 246913579 / 2)
      print(("%.1f"):format(3 / 2), json.encode { 3 / 2, 1 / 100000, 1e300 })]],
      { env = { LOCPATH = folder } })
    assert.same({ 0, "1,5\t[1.5,1e-05,1e+300]\n" }, { result.code, result.stdout }, result.stderr)
  end)
end)

describe("reading JSON", function()
  it("gives Lua's own values", function()
    assert.same({ a = { 1, 2.5, "x", true, false } }, json.decode '{"a":[1,2.5,"x",true,false]}')
    assert.equal("integer", math.type(json.decode "1"))
    assert.equal("integer", math.type(json.decode "1e3"))
    assert.equal("integer", math.type(json.decode "-9007199254740992"))
    assert.equal("float", math.type(json.decode "1.5"))
    assert.equal("float", math.type(json.decode "1e300"))
  end)

  it("tells null from nothing", function()
    local value = json.decode '{"a":null,"b":[null]}'
    assert.equal(json.null, value.a)
    assert.equal(json.null, value.b[1])
    assert.is_nil(value.c)
    assert.equal(json.null, json.decode "null")
    assert.is_truthy(json.null)
  end)

  it("keeps integers of 64 bits, and larger ones as they were written", function()
    assert.equal(math.maxinteger, json.decode "9223372036854775807")
    assert.equal(math.mininteger, json.decode "-9223372036854775808")
    assert.equal(9007199254740993, json.decode "9007199254740993")
    local large = json.decode "18446744073709551616"
    assert.equal("18446744073709551616", tostring(large))
    assert.equal(large, json.decode "18446744073709551616")
    assert.not_equal(large, json.decode "18446744073709551617")
  end)

  it("keeps NUL and lone surrogates, in keys too", function()
    assert.equal("a\0b", json.decode [["a\u0000b"]])
    assert.equal(utf8.char(0xD800), json.decode [["\ud800"]])
    assert.equal(1, json.decode [[{"k\u0000":1}]]["k\0"])
    assert.equal("😀", json.decode [["\ud83d\ude00"]])
  end)

  it("keeps later ones of duplicate keys aside", function()
    local value = json.decode '{"a":1,"b":2,"a":3,"a":null}'
    assert.equal(1, value.a)
    assert.same({ { "a", 3 }, { "a", json.null } }, json.duplicates(value))
    assert.is_nil(json.duplicates(json.decode '{"a":1}'))
  end)

  it("says what is wrong, and where, and takes no half", function()
    for text, expected in pairs {
      [""] = "the text ends too early (near byte 1)",
      [" "] = "the text ends too early (near byte 2)",
      ["{"] = "a name is missing (near byte 2)",
      ["[1,]"] = "a value is missing (near byte 4)",
      ['{"a":1} x'] = "something follows the value (near byte 9)",
      ["1 2"] = "something follows the value (near byte 3)",
      ["[1]\0"] = "something follows the value (near byte 4)",
      ["nul"] = "a word that JSON does not know (near byte 1)",
      ['"a'] = "the text ends within a string (near byte 3)",
      ['"a\0b"'] = "a raw control character in a string (near byte 3)",
      ['["tab\t"]'] = "a raw control character in a string (near byte 6)",
      ['"\\ud80"'] = "an escape that JSON does not know (near byte 2)",
      ["{12345678901234567890:1}"] = "a name is missing (near byte 2)",
      ["[01]"] = "a number that begins with a zero (near byte 2)",
      ["1."] = "a number needs a digit behind its point (near byte 3)",
      [".5"] = "a value is missing (near byte 1)",
      ["+1"] = "a value is missing (near byte 1)",
      ["\xEF\xBB\xBF{}"] = "a value is missing (near byte 1)",
      ["[1,\v2]"] = "a value is missing (near byte 4)",
      ['{"a":"\xC3("}'] = "bytes that are no UTF-8 (near byte 7)",
      ['"\xED\xA0\x80"'] = "bytes that are no UTF-8 (near byte 2)",
    } do
      assert.same({ nil, "not valid JSON: " .. expected, "EJSON" }, { json.decode(text) })
    end
  end)

  it("refuses what is nested more than 1000 levels deep", function()
    assert.is_table(json.decode(("["):rep(1000) .. ("]"):rep(1000)))
    for _, depth in ipairs { 1001, 10000, 1000000 } do
      local value, _, name = json.decode(("["):rep(depth) .. ("]"):rep(depth))
      assert.same({ nil, "EDEPTH" }, { value, name })
    end
    assert.equal("nested too deeply (near byte 1001)", select(2, json.decode(("["):rep(1001))))
  end)

  it("takes little of the stack for them", function()
    local code = [[
      local json = require "codex.json"
      local text = ('[{"a":1,"b":'):rep(500) .. "[]" .. (',"a":2}]'):rep(500)
      assert(not json.decode("[" .. text .. "]"), "that is one level more")
      text = text:gsub("%[%]", "0")
      assert(json.encode(json.decode(text)) == text)]]
    local limit = os.getenv "ASAN_OPTIONS" and 4096 or 384
    local result = assert(proc.run({ "sh", "-c", 'ulimit -s "$0" && exec "$@"', tostring(limit),
      program.path, "-e", code }))
    assert.same({ 0, "" }, { result.code, result.stderr })
  end)

  it("takes text only", function()
    assert.error_matches(function() json.decode({}) end, "string expected")
    assert.error_matches(function() json.decode() end, "string expected")
  end)
end)

describe("writing JSON", function()
  it("sorts keys, so that the same value is the same text", function()
    assert.equal('{"a":1,"b":[1,2],"c":{"d":true}}',
      json.encode { c = { d = true }, b = { 1, 2 }, a = 1 })
  end)

  it("can be made for people", function()
    assert.equal('{\n  "a": [\n    1,\n    2\n  ],\n  "b": {}\n}',
      json.encode({ a = { 1, 2 }, b = {} }, { pretty = true }))
    assert.equal("[]", json.encode(json.array {}, { pretty = true }))
  end)

  it("tells empty arrays from empty objects", function()
    assert.equal("{}", json.encode {})
    assert.equal("[]", json.encode(json.array()))
    assert.equal("{}", json.encode(json.object {}))
    assert.equal('{"a":[],"b":{}}', json.encode { a = json.array {}, b = json.object() })
  end)

  it("writes numbers so that they come back", function()
    for _, number in ipairs {
      0, -1, 0.1, 1 / 3, 1e300, 5e-324, 2 ^ 53, math.maxinteger, math.mininteger, 123456789.125,
    } do
      assert.equal(number, json.decode(json.encode(number)))
    end
    assert.equal("0.1", json.encode(0.1))
  end)

  it("refuses what JSON cannot say, naming it", function()
    local cycle = {}
    cycle.again = cycle
    local cases = {
      { 0 / 0, "nan cannot be written" }, { math.huge, "inf cannot be written" },
      { print, "a function cannot" }, { coroutine.create(print), "a thread cannot" },
      { io.stdout, "userdata cannot" }, { { 1, 2, x = 3 }, "list items and the key 'x'" },
      { { [1] = 1, [3] = 3 }, "" }, { { [1.5] = 1 }, "number key" },
      { { [true] = 1 }, "boolean key" },
      { "\xFF", "not UTF%-8 %(at byte 1%)" }, { cycle, "nested too deeply" },
      { json.array { 1, nil, 3 }, "" },
    }
    for _, case in ipairs(cases) do
      local ok, message = pcall(json.encode, case[1])
      assert.is_false(ok)
      assert.matches(case[2], message)
    end
    assert.error_matches(function() json.encode() end, "value expected")
    assert.equal('{"after":"a failure"}', json.encode { after = "a failure" })
  end)

  it("repairs strings where that is asked for", function()
    assert.equal('"a\u{FFFD}b"', json.encode("a\xFFb", { repair = true }))
  end)

  it("writes no lone surrogates where those are not wanted", function()
    local bad = utf8.char(0xD800) .. "x"
    assert.equal('"\\ud800x"', json.encode(bad))
    for _, option in ipairs { "unicode", "repair" } do
      assert.equal('{"\u{FFFD}x":"\u{FFFD}x"}', json.encode({ [bad] = bad }, { [option] = true }))
    end
    assert.is_false(pcall(json.encode, "a\xFFb", { unicode = true }))
  end)
end)

describe("a round trip", function()
  it("loses nothing", function()
    for _, text in ipairs {
      "null", "[]", "{}", "[[],{}]", '{"a":null}', "18446744073709551616", "[-9223372036854775809]",
      [["\u0000\udfff\ud800\u001f"]], '"\u{10FFFF}"', '{"a":1,"a":2}', "1.5", "-0.25",
      '{"":{"":[]}}', [["\"\\/"]], '{"a":{"b":{"c":[1,[2,[3,[{}]]]]}}}', "true", "[false]",
    } do
      assert.equal(text, round_trip(text))
    end
  end)

  it("is the same for a thousand random values", function()
    math.randomseed(7)
    local function value(depth)
      local kind = math.random(depth > 0 and 7 or 5)
      if kind == 1 then return json.null end
      if kind == 2 then return math.random(0) end
      if kind == 3 then return math.random() * 10 ^ math.random(-300, 300) end
      if kind == 4 then return math.random() < 0.5 end
      if kind == 5 then
        local codes = {}
        for i = 1, math.random(0, 9) do codes[i] = utf8.char(math.random(0, 0xD7FF)) end
        return table.concat(codes)
      end
      local result = kind == 6 and json.array() or json.object()
      for i = 1, math.random(0, 4) do
        result[kind == 6 and i or ("k" .. math.random(99))] = value(depth - 1)
      end
      return result
    end
    for _ = 1, 1000 do
      local text = json.encode(value(4))
      assert.equal(text, round_trip(text))
    end
  end)

  it("does not depend on the collector", function()
    local text = '{"a":[1,2,{"b":"\\u0000"}],"a":12345678901234567890}'
    local pause = collectgarbage("incremental", 10, 1000)
    for _ = 1, 50 do
      assert.equal(text, round_trip(text))
      collectgarbage()
    end
    collectgarbage(pause)
  end)
end)

describe("JSON of many values", function()
  --- Reads it in a process of its own: what was said of it, and how many MiB that process took at
  --- most beside the text.
  local function read_elsewhere(code)
    local result = program.eval(([[
      local text = %s
      local value, message, name = require("codex.json").decode(text)
      local peak = io.open("/proc/self/status"):read("a"):match "VmHWM:%%s*(%%d+)"
      print(value ~= nil and "read" or name, peak // 1024 - #text // (1 << 20))]]):format(code),
      { timeout = 120 })
    local said, mib = result.stdout:match "^(%S+)\t(%-?%d+)\n$"
    assert(said, result.stderr)
    return said, tonumber(mib)
  end

  local hostile = {
    ["empty arrays"] = [=["[" .. ("[],"):rep(7e6) .. "[]]"]=],
    ["empty objects"] = [["[" .. ("{},"):rep(7e6) .. "{}]"]],
    ["small objects"] = [["[" .. ('{"a":1},'):rep(2.5e6) .. "0]"]],
    ["nests"] = [["[" .. (("["):rep(90) .. ("]"):rep(90) .. ","):rep(11e4) .. "0]"]],
    ["deep nests"] = [["[" .. (("["):rep(900) .. ("]"):rep(900) .. ","):rep(11e3) .. "0]"]],
    ["numbers"] = [["[" .. ("0,"):rep(1e7) .. "0]"]],
    ["numbers with an exponent"] = [["[" .. ("0e0,"):rep(5e6) .. "0]"]],
    ["what is odd at its end"] = [["[" .. ("[],"):rep(7e6) .. "0e0]"]],
    ["what is no JSON at its end"] = [["[" .. ("[],"):rep(7e6) .. "x"]],
    ["one name"] = [["{" .. ('"a":0,'):rep(3.5e6) .. '"a":0}']],
    ["strings that are rewritten"] = [['["\\u0000"' .. (',""'):rep(7e6) .. "]"]],
  }
  for name, code in pairs(hostile) do
    it("is refused before it takes much memory: " .. name, function()
      local said, mib = read_elsewhere(code)
      assert.equal("ETOOMANY", said)
      assert.is_true(mib < (os.getenv "ASAN_OPTIONS" and 700 or 160), mib .. " MiB")
    end)
  end

  it("is read where it is within the limit, and costs what can be borne", function()
    for _, code in ipairs {
      [=["[" .. ("[],"):rep((1 << 20) - 2) .. "[]]"]=],
      [["[" .. ("[],"):rep((1 << 20) - 2) .. "0e0]"]],
      [["{" .. ('"a":0,'):rep((1 << 20) - 2) .. '"a":0}']],
    } do
      local said, mib = read_elsewhere(code)
      assert.equal("read", said)
      assert.is_true(mib < (os.getenv "ASAN_OPTIONS" and 1500 or 320), mib .. " MiB")
    end
  end)

  it("is what it is said to be: max_values of values, keys not counted", function()
    local texts = {
      ["1"] = 1, ['"[1,2]"'] = 1, ["[]"] = 1, ["{ }"] = 1, ["[ 1 ]"] = 2, ["[[],{},[ ]]"] = 4,
      ['{"a":{"b":[1,2,{"c":null}]}}'] = 7, ['["a\\",[[[",{"[":"]"}]'] = 4, ["[[[[]]]]"] = 4,
    }
    for text, n in pairs(texts) do
      for _, form in ipairs { text, ("[0e0,%s]"):format(text) } do
        local most = form == text and n or n + 2
        assert.not_nil((json.decode(form, { max_values = most })))
        if most > 1 then
          local value, message, name = json.decode(form, { max_values = most - 1 })
          assert.same({ nil, "more values than the limit", "ETOOMANY" }, { value, message, name })
        end
      end
    end
    assert.equal(1 << 21, #json.decode("[" .. ("0,"):rep((1 << 21) - 1) .. "0]",
      { max_values = 1 << 22 }))
    assert.has_error(function() json.decode("1", { max_values = 0 }) end,
      "option 'max_values' must be 1 or more")
  end)
end)
