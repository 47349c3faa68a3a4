--- What is written down about changes of config.toml, without a file and without Codex.

local json = require "codex.json"
local records = require "codex.hooks.record"

local function file(text) return text and { bytes = text, mode = 384 } or { missing = true } end

--- A record into which these were put one after the other; file states are "0", "1", "2" ...
local function with(...)
  local record = records.new "/home/me/.codex/config.toml"
  for i, name in ipairs { ... } do
    record:begin(file(tostring(i - 1)), function(entries) entries[name] = { value = name } end)
    record:finish(file(tostring(i)))
  end
  return record
end

describe("the record", function()
  it("gives back the bytes from before, in the order of the changes and in the other", function()
    local snapshot, rest = with("a", "b", "c"):rewind(file "3", { "c" })
    assert.equal("2", snapshot.bytes)
    snapshot, rest = rest:rewind(file "2", { "a", "b" })
    assert.equal("0", snapshot.bytes)
    assert.is_true(rest:is_empty())
    assert.equal("0", (with("a", "b"):rewind(file "2", { "b", "a" })).bytes)
    assert.is_nil((with("a", "b"):rewind(file "2", { "a" }))) -- there was no file with b alone
  end)

  it("gives no bytes back over what somebody else has written", function()
    assert.is_nil((with("a"):rewind(file "1 edited", { "a" })))
    assert.is_nil((with("a"):rewind(file(), { "a" })))
    assert.is_nil((records.new "/x":rewind(file "", {})))
  end)

  it("gives back that there was no file", function()
    local record = records.new "/x"
    record:begin(file(), function(entries) entries.a = {} end)
    record:finish(file "1")
    assert.is_true((record:rewind(file "1", { "a" })).missing)
  end)

  it("has no use for older bytes once the file was edited", function()
    local record = with "a"
    record:begin(file "1 edited", function(entries) entries.b = {} end)
    record:finish(file "2")
    assert.is_nil((record:rewind(file "2", { "a", "b" })))
    assert.equal("1 edited", (record:rewind(file "2", { "b" })).bytes)
  end)

  it("is what it was when it has been written and read", function()
    for _, record in ipairs { with(), with "a", with("a", "b") } do
      assert.same(json.decode(record:encode()), json.decode(record:copy():encode()))
      assert.same(record:rewind(file "2", { "b" }), record:copy():rewind(file "2", { "b" }))
    end
    for _, text in ipairs { "", "{", "[]", "null", '{"path":"/y"}', '{"path":"/x"}' } do
      assert.is_true(records.decode(text, "/x"):is_empty())
    end
    assert.is_true(records.decode(with("a"):encode(), "/another"):is_empty())
  end)

  it("tells what was there before ours: as noted, as ours says, or what there is", function()
    local user, first, second = { "mine" }, { "ours", "1" }, { "ours", "2" }
    local record = records.new "/x"
    assert.same(user, record:previous("notify", user, nil, false))
    record.entries.notify = { value = first, previous = user }
    assert.same(user, record:previous("notify", first, nil, true))
    record.entries.notify = { value = first, previous = json.null }
    assert.is_nil(record:previous("notify", first, user, true))
    record:prune(function(_, entry) return records.same(entry.value, second) end)
    assert.same(user, record:previous("notify", user, nil, false))
    assert.same(user, record:previous("notify", second, user, true))
    assert.is_nil(record:previous("notify", second, nil, true))
  end)

  -- Any order of doing and undoing, with edits by somebody else in between: what comes back is
  -- either the very bytes from before, or nothing, and never over his work.
  it("holds in any order", function()
    math.randomseed(20261121)
    for _ = 1, 2000 do
      local record, now, history, serial = records.new "/x", "0", {}, 0
      for _ = 1, math.random(1, 12) do
        local step, name = math.random(3), ("abc"):sub(math.random(3)):sub(1, 1)
        serial = serial + 1
        if step == 1 and not record.entries[name] then
          local before = now
          record:begin(file(now), function(entries) entries[name] = { value = name } end)
          now = tostring(serial)
          record:finish(file(now))
          history[now] = before
        elseif step == 2 then
          now = "edited " .. serial
        elseif record.entries[name] then
          local snapshot, rest = record:rewind(file(now), { name })
          assert.is_false(snapshot ~= nil and now:find "edited" ~= nil)
          if snapshot then
            assert.equal(history[now], snapshot.bytes)
            record, now = rest, snapshot.bytes
          end
          assert.is_nil(snapshot and record.entries[name])
        end
      end
    end
  end)
end)

describe("our lines are told from others'", function()
  it("as a notify program", function()
    for _, argv in ipairs {
      { "/opt/codex-lua", "notify", records.MARK }, { "codex-lua", "notify" },
      { "/home/me/renamed", "notify", records.MARK, "--chain", "x" },
      { "/gone/codex-lua", "notify", "/x.lua" },
    } do assert.is_true(records.is_our_notify(argv)) end
    for _, argv in ipairs { {}, { "codex-lua" }, { "/usr/bin/mine", "notify" }, { "notify-send" },
      { "/opt/codex-lua", "hook" }, { "x", records.MARK }, "codex-lua notify" } do
      assert.is_false(records.is_our_notify(argv))
    end
  end)

  it("as the command of a hook", function()
    for command, is_ours in pairs {
      ["/opt/codex-lua notify --hook"] = "notify", ["'/a b/codex-lua' notify --hook"] = "notify",
      ["/opt/renamed notify --hook --by=codex-lua /x.lua"] = "notify",
      ["/opt/renamed notify --hook '--by=codex-lua'"] = "notify",
      ["/opt/codex-lua hook --limit 30 --fail open /x.lua"] = "hook",
      ["'/opt/re named' hook --limit 30 --fail closed /x.lua"] = "hook",
      ["trap '' INT; /opt/cl hook --limit 9 --fail halt /x.lua || { exit 2; }"] = "hook",
      ["/opt/mine notify --hook"] = "none", ["codex-luau hook"] = "none", ["hook"] = "none",
      ["/opt/mine hook --limit 30"] = "none",
    } do
      for _, subcommand in ipairs { "notify", "hook" } do
        assert.equal(is_ours == subcommand, records.is_our_hook(command, subcommand), command)
      end
    end
    assert.is_false(records.is_our_hook(nil, "hook"))
  end)
end)

describe("comments that Codex does not keep", function()
  local text = [==[
# a
model = "x # no" # b
notify = [ # c
  "/usr/bin/mine", # d
  'two # no', ] # e
# f
[hooks] # g
Stop = [ # h
 { hooks = [ # i
 ] } ] # j
# k
[[hooks.PreToolUse]] # l
matcher = "Bash#" # m
# n
[[hooks.PreToolUse.hooks]] # o
command = "x"
[hooks.state."/x:pre_tool_use:0:0"] # p
]==]

  for wanted, expected in pairs {
    notify = "c d e", ["hooks.Stop"] = "h i j", ["hooks.PreToolUse"] = "l m n o",
    ["hooks.PostToolUse"] = "", ["hooks.Pre"] = "",
  } do
    it("are those in " .. wanted, function()
      local list = records.comments(text, wanted)
      assert.equal(expected, (table.concat(list, " "):gsub("# ", "")))
      assert.same(list, records.comments(text:gsub("\n", "\r\n"), wanted))
    end)
  end
end)
