--- Hooks in the configuration: what adding one and taking one out does to those of others, and to
--- the trust that is written down by their places. Layers are made at random.

local hook_table = require "codex.hooks.hook_table"
local json = require "codex.json"

local path = "/home/me/.codex/config.toml"

local function copy(value) return json.decode(json.encode(value)) end

--- What Codex does with edits that replace.
local function apply(layer, edits)
  local config = copy(layer).config
  for _, edit in ipairs(edits) do
    local at, keys = config, {}
    for key in edit[1]:gmatch "[^.]+" do keys[#keys + 1] = key end
    for i = 1, #keys - 1 do
      at[keys[i]] = at[keys[i]] or {}
      at = at[keys[i]]
    end
    at[keys[#keys]] = edit[2] ~= json.null and copy(edit[2]) or nil
  end
  return { config = config }
end

local serial = 0

--- Handlers have commands of their own, but that ours may be there more than once, and states that
--- say whose they are.
local function random_layer()
  local hooks = { state = { ["/another/config.toml:stop:0:0"] = { trusted_hash = "another" },
    ["plugin@x:hooks/hooks.json:stop:0:0"] = { enabled = false } } }
  for _, name in ipairs { "Stop", "PreToolUse" } do
    local groups = {}
    for g = 1, math.random(0, 4) do
      local matcher, handlers = ({ "Bash", nil })[math.random(2)], {}
      for i = 1, math.random(1, 3) do
        serial = serial + 1
        local command = math.random(3) == 1 and "ours" or "theirs " .. serial
        handlers[i] = { type = "command", command = command, id = serial }
        if math.random(4) > 1 then
          local key = ("%s:%s:%d:%d"):format(path, hook_table.snake(name), g - 1, i - 1)
          hooks.state[key] = { trusted_hash = tostring(serial) }
        end
      end
      groups[g] = { matcher = matcher, hooks = handlers }
    end
    if #groups > 0 then hooks[name] = groups end
  end
  return { config = { model = "x", hooks = hooks } }
end

--- Each handler with its state, and the states that belong to none.
local function seen(layer)
  local states, handlers = copy((layer.config.hooks or {}).state or {}), {}
  hook_table.each(layer, function(event, group, handler, g, i)
    local key = ("%s:%s:%d:%d"):format(path, event, g, i)
    handlers[handler.id or "new"] = { event = event, matcher = group.matcher,
      command = handler.command, state = states[key] }
    states[key] = nil
  end)
  return handlers, states
end

describe("taking a hook out", function()
  it("leaves all others where they are, each with its own trust", function()
    math.randomseed(20261121)
    for _ = 1, 2000 do
      local layer = random_layer()
      local before, expected = json.encode(layer), seen(layer)
      local hook = { event = ({ "stop", "pre_tool_use" })[math.random(2)], command = "ours",
        matcher = ({ "Bash", nil })[math.random(2)] }
      local after, left = seen(apply(layer, hook_table.removal(layer, path, hook)))
      assert.equal(before, json.encode(layer))
      for id, each in pairs(expected) do
        local is_it = each.command == "ours" and each.event == hook.event
          and each.matcher == hook.matcher
        if is_it then expected[id] = nil end
      end
      assert.same(expected, after)
      local others = 0
      for key in pairs(left) do
        assert.is_nil(key:find(path, 1, true))
        others = others + 1
      end
      assert.equal(2, others)
    end
  end)

  it("leaves no table that was there for it alone", function()
    local layer = { config = { model = "x", hooks = {
      Stop = { { hooks = { { type = "command", command = "ours" } } } },
      state = { [path .. ":stop:0:0"] = { trusted_hash = "x" } },
    } } }
    local edits = hook_table.removal(layer, path, { event = "stop", command = "ours" })
    assert.same({ config = { model = "x" } }, apply(layer, edits))
  end)
end)

describe("adding a hook", function()
  it("puts it last, and changes no other", function()
    for _ = 1, 200 do
      local layer = random_layer()
      local before, expected = json.encode(layer), seen(layer)
      local edits = hook_table.addition(layer, "pre_tool_use", { command = "new", timeout = 5 })
      local after = seen(apply(layer, edits))
      assert.equal(before, json.encode(layer))
      expected.new = { event = "pre_tool_use", command = "new" }
      assert.same(expected, after)
    end
  end)

  it("gives it the name by which it is found again", function()
    local layer = { config = {} }
    local edits = hook_table.addition(layer, "PreToolUse", { command = "new", matcher = "Bash" })
    assert.same({ [hook_table.name("pre_tool_use", "Bash", "new")] = "new" },
      hook_table.names(apply(layer, edits)))
    assert.same({}, hook_table.names(layer))
  end)
end)
