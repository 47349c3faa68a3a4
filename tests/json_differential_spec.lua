--- JSON as others read it: the first thousands of documents of `make json-differential`.

local campaign = require "tests.json.campaign"
local documents = require "tests.json.documents"

local function told(document, python, cjson)
  local report = campaign.report()
  campaign.compare(report, document, python, cjson)
  return report
end

describe("codex.json", function()
  it("reads what Python and cJSON read, and differs only where RFC 8259 says why", function()
    local report = campaign.run(campaign.compile(), 1, 1, 8000)
    local first = report.failures[1] or { case = {} }
    assert.same({}, report.failures, ("%q: %s"):format(first.case.document, first.problem))
    assert.is_true(report.taken > 3000 and report.refused > 3000)
    for kind, rules in pairs(campaign.rules) do
      for _, rule in ipairs(rules) do
        assert.is_true((report.rules[rule[1]] or 0) > 0, kind .. ", " .. rule[1])
      end
    end
  end)
end)

describe("the comparison", function()
  local one = "d" .. (">d"):pack(1)

  it("finds a value that differs, by one of both", function()
    assert.equal(0, #told("[1]", "=[i1;]", "=[" .. one .. "]").failures)
    assert.equal(1, #told("[1]", "=[i2;]", "=[" .. one .. "]").failures)
    assert.equal(1, #told("[1]", "=[i1;]", "=[" .. one .. one .. "]").failures)
    assert.equal(1, #told("18446744073709551616", "=L18446744073709551617;", "!").failures)
    assert.equal(1, #told('{"a":1,"a":2}', "={1:ai2;1:ai1;}", "!").failures)
  end)

  it("finds what only one takes, and nothing explains", function()
    assert.equal(1, #told("[1]", "!", "=[" .. one .. "]").failures)
    assert.equal(1, #told("[1]", "=[i1;]", "!").failures)
    assert.equal(1, #told("[1,]", "=[i1;]", "!").failures)
    assert.equal(1, #told("[1,]", "!", "=[" .. one .. "]").failures)
    assert.equal(0, #told("[01]", "!", "=[" .. one .. "]").failures)
    assert.equal(0, #told("[1,]", "!", "!").failures)
  end)
end)

describe("documents", function()
  it("are the same for the same seed, and others for another", function()
    local same = 0
    for i = 1, 200 do
      assert.equal(documents.make(1, i), documents.make(1, i))
      same = same + (documents.make(1, i) == documents.make(2, i) and 1 or 0)
    end
    assert.is_true(same < 50, same)
  end)
end)
