--- The generator of mutated messages, and a first thousand of its mutants: `make differential`
--- sends as many as one likes.

local Random = require "tests.differential.random"
local campaign = require "tests.differential.campaign"
local json = require "codex.json"
local mutate = require "tests.differential.mutate"
local peers = require "tests.support.peers"
local seeds = require "tests.differential.seeds"
local tree = require "tests.differential.tree"
local versions = require "tests.differential.versions"

local values = { marker = "/traces/m-1", cwd = "/work", thread = "T", ask = 3, id = 7 }

local function lines(seed, count)
  local list = {}
  for number = 1, count do list[number] = campaign.line(campaign.mutant(seed, number), values) end
  return list
end

describe("mutants", function()
  it("are the same for the same seed, and others for another", function()
    assert.same(lines(1, 300), lines(1, 300))
    local same = 0
    local one, two = lines(1, 300), lines(2, 300)
    for i, line in ipairs(one) do same = same + (line == two[i] and 1 or 0) end
    assert.is_true(same < 30, same)
  end)

  it("do not depend on the length of what they carry", function()
    local long = { marker = ("/long"):rep(20), cwd = "/work", thread = "T", ask = 3 }
    for number = 1, 300 do
      local mutant = campaign.mutant(1, number)
      local one, two = campaign.mutant(1, number), campaign.line(mutant, long)
      assert.same(mutant.plan, one.plan)
      assert.equal(two, campaign.line(one, long))
    end
  end)

  it("come from all seeds and have all mutations, several at a time", function()
    local seen, most = {}, 0
    for number = 1, 3000 do
      local mutant = campaign.mutant(1, number)
      seen[mutant.seed.name] = true
      for _, each in ipairs(mutant.plan) do seen[each.name] = true end
      most = math.max(most, #mutant.plan)
    end
    for _, name in ipairs(mutate.names) do assert.is_true(seen[name], name) end
    for _, seed in ipairs(seeds.list) do assert.is_true(seen[seed.name], seed.name) end
    assert.equal(5, most)
  end)

  it("differ from their message, each mutation for itself, most of the time", function()
    for _, name in ipairs(mutate.names) do
      local changed = 0
      for i = 1, 200 do
        local seed = seeds.list[i % #seeds.list + 1]
        local message = seeds.message(seed, values)
        local line = mutate.apply(message, { { name = name, seed = i } })
        if line ~= tree.write(seeds.message(seed, values)) then changed = changed + 1 end
      end
      assert.is_true(changed > 50, ("%s changed %d of 200"):format(name, changed))
    end
  end)

  it("are valid messages without a mutation", function()
    for _, seed in ipairs(seeds.list) do
      local message = assert(json.decode(tree.write(seeds.message(seed, values))))
      assert.equal(seed.method and 7 or 3, message.id)
      assert.equal(seed.method ~= nil, message.method ~= nil)
    end
  end)
end)

describe("the tree of a text", function()
  it("is written as it was", function()
    for _, text in ipairs {
      '{"a":1.0,"a":"\\u00e9\\"]","":[-0,{},[],null,[true]]}', "[]", '"x"', "1e400",
    } do
      assert.equal(text, tree.write(tree.parse(text)))
      assert.equal(text, tree.write(tree.copy(tree.parse(text))))
    end
    assert.equal('{"a":[1,{"b":2}]}', tree.write(tree.parse ' { "a" : [ 1 , {"b":2 } ] } '))
  end)
end)

describe("random numbers", function()
  it("are those of splitmix64, in range", function()
    local random = Random.new()
    assert.equal(-2152535657050944081, random:next()) -- 0xe220a8397b1dcdaf
    local seen = {}
    for _ = 1, 400 do seen[random:below(4)] = true end
    assert.same({ true, true, true, true }, seen)
  end)
end)

--- All seeds as they are, directly: each is executed, or the version lacks it.
local function assert_seeds(version)
  local list = {}
  for i, seed in ipairs(seeds.list) do
    list[i] = { number = i, seed = seed, plan = {}, ask = i }
  end
  local outcome = campaign.direct({ binary = peers[version] }, list)
  for _, mutant in ipairs(list) do
    local name = mutant.seed.name
    local expected = versions.lacks[version][name] and "not executed" or "executed"
    assert.equal(expected, outcome[mutant], name)
  end
end

for _, version in ipairs { "latest", "middle", "old" } do
  describe("Codex " .. peers.version[version], function()
    it("executes what is not mutated, and it shows", function() assert_seeds(version) end)
  end)
end

--- A campaign in which nothing may be executed, and directly enough was.
local function assert_safe(given, floor)
  local report = campaign.run(given)
  local said = {}
  for i, failure in ipairs(report.failures) do
    said[i] = ("%s, policy %s, mutant %d: %s"):format(failure.what, failure.policy,
      failure.mutants[1].number, failure.lines[1]:sub(1, 500))
  end
  assert.equal("", table.concat(said, "\n"))
  assert.equal(0, report.executed + report.ended)
  local directly = report.direct.executed or 0
  assert.is_true(directly >= floor, ("%d executed directly"):format(directly))
end

describe("through the strict launcher", function()
  it("what a policy accepts is executed, and no answer of a client", function()
    local list = {}
    for i, seed in ipairs(seeds.list) do
      list[i] = { number = i, seed = seed, plan = {}, ask = i }
    end
    local traces, ended = campaign.through({ binary = peers.latest, policy = "accepting" }, list)
    assert.same({}, ended)
    for i, seed in ipairs(seeds.list) do
      local executed = traces[("m-%07d"):format(i)] == true
      assert.equal(seed.method ~= nil, executed, seed.name)
    end
    for name in pairs(traces) do assert.is_truthy(name:find "^m%-", name) end
  end)

  it("none of a thousand mutants is executed, of which Codex would execute many", function()
    assert_safe({ binary = peers.latest, seed = 169, mutants = 1000, chunk = 250, limit = 3,
      direct_every = 5, policies = { "declining", "absent", "shared", "late" } }, 30)
  end)

  for _, version in ipairs { "middle", "old" } do
    it("none is executed before " .. peers.version[version], function()
      assert_safe({ binary = peers[version], seed = 101, mutants = 80, chunk = 80, limit = 3,
        direct_every = 2, lacks = versions.lacks[version], policies = { "declining" } }, 4)
    end)
  end
end)
