--- Semantic versions, by the examples of semver.org.

local E = require "codex.error"
local semver = require "codex.semver"

-- Those that semver.org's own regular expression is tested with (2.0.0, FAQ), but for the one with
-- numbers of more than 15 digits in the core, which are not read here.
local valid = {
  "0.0.4", "1.2.3", "10.20.30", "1.1.2-prerelease+meta", "1.1.2+meta", "1.1.2+meta-valid",
  "1.0.0-alpha", "1.0.0-beta", "1.0.0-alpha.beta", "1.0.0-alpha.beta.1", "1.0.0-alpha.1",
  "1.0.0-alpha0.valid", "1.0.0-alpha.0valid", "1.0.0-rc.1+build.1", "2.0.0-rc.1+build.123",
  "1.2.3-beta", "10.2.3-DEV-SNAPSHOT", "1.2.3-SNAPSHOT-123", "1.0.0", "2.0.0", "1.1.7",
  "1.0.0-alpha-a.b-c-somethinglong+build.1-aef.1-its-okay", "2.0.0+build.1848",
  "2.0.1-alpha.1227",
  "1.0.0-alpha+beta", "1.2.3----RC-SNAPSHOT.12.9.1--.12+788",
  "1.2.3----R-S.12.9.1--.12+meta",
  "1.2.3----RC-SNAPSHOT.12.9.1--.12", "1.0.0+0.build.1-rc.10000aaa-kk-0.1", "1.0.0-0A.is.legal",
}
local invalid = {
  "1", "1.2", "1.2.3-0123", "1.2.3-0123.0123", "1.1.2+.123", "+invalid", "-invalid",
  "-invalid+invalid", "-invalid.01", "alpha", "alpha.beta", "alpha.beta.1", "alpha.1", "alpha+beta",
  "alpha_beta", "alpha.", "alpha..", "beta", "1.0.0-alpha_beta", "-alpha.", "1.0.0-alpha..",
  "1.0.0-alpha..1", "1.0.0-alpha...1", "1.0.0-alpha....1", "01.1.1", "1.01.1", "1.1.01",
  "1.2.3.DEV",
  "1.2-SNAPSHOT", "1.2.31.2.3----RC-SNAPSHOT.12.09.1--..12+788", "1.2-RC-SNAPSHOT",
  "-1.0.3-gamma+b7718", "+justmeta", "9.8.7+meta+meta", "9.8.7-whatever+meta+meta", "1.2.3-",
  "1.2.3+", " 1.2.3", "1.2.3 ", "v1.2.3", "rust-v1.2.3", "1.2.3\n", "", "1.2.3-ä", "1..2", "...",
}

describe("codex.semver", function()
  it("reads what semver.org calls valid, and says it again", function()
    for _, text in ipairs(valid) do
      local version = assert(semver.parse(text))
      assert.equal(text, tostring(version))
    end
    local version = semver.parse "0.155.0-alpha.14+b.7"
    assert.same({ 0, 155, 0, "alpha.14", "b.7" },
      { version.major, version.minor, version.patch, version.prerelease, version.build })
    assert.is_nil(semver.parse("1.2.3").prerelease)
  end)

  it("names what is no version", function()
    for _, text in ipairs(invalid) do
      local version, err = semver.parse(text)
      assert.is_nil(version, text)
      assert.is_true(E.is(err, "protocol"))
      assert.equal(("'%s' is no version"):format(text), err.message)
    end
    assert.equal("a table is no version", select(2, semver.parse {}).message)
    assert.equal("a nil is no version", select(2, semver.parse(nil)).message)
    assert.has_error(function() semver.compare("1.2.3", "nightly") end,
      "semver.compare: 'nightly' is no version")
  end)

  it("orders as semver.org 11 says", function()
    local rising = { -- 11.2, 11.4, and numbers that are longer than any integer
      "0.9.9", "1.0.0-0", "1.0.0-2", "1.0.0-11", "1.0.0-99999999999999999998",
      "1.0.0-99999999999999999999", "1.0.0--", "1.0.0-ALPHA", "1.0.0-alpha", "1.0.0-alpha.1",
      "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0",
      "2.0.0", "2.1.0", "2.1.1", "2.1.10", "2.10.1", "10.0.0",
    }
    for i, a in ipairs(rising) do
      for j, b in ipairs(rising) do
        local expected = i < j and -1 or i > j and 1 or 0
        assert.equal(expected, semver.compare(a, b), a .. " and " .. b)
        local x, y = semver.parse(a), semver.parse(b)
        assert.same({ i < j, i <= j, i == j }, { x < y, x <= y, x == y })
      end
    end
  end)

  it("does not look at what was built", function()
    assert.equal(0, semver.compare("1.0.0+a", "1.0.0+b"))
    assert.equal(0, semver.compare("1.0.0-rc.1+a", "1.0.0-rc.1"))
  end)

  it("knows what a range has in it", function()
    local range = assert(semver.range ">=0.120 <0.170")
    local inside = {
      ["0.119.9"] = false, ["0.120.0-alpha.1"] = false, ["0.120.0"] = true, ["0.169.12"] = true,
      ["0.169.0-alpha.3"] = true, ["0.170.0"] = false, ["1.0.0"] = false,
      ["0.170.0-alpha.1"] = false, -- older than 0.170.0, but not what was meant
    }
    for version, expected in pairs(inside) do
      assert.equal(expected, range:contains(version), version)
    end
    assert.equal(">=0.120 <0.170", tostring(range))
    assert.is_true(range:contains(semver.parse "0.150.1"))
    assert.has_error(function() range:contains "newest" end,
      "range:contains: 'newest' is no version")
  end)

  it("knows all operators, with space or a comma between bounds", function()
    local cases = {
      { "=0.169", "0.169.0", true }, { "0.169", "0.169.1", false }, { "0", "0.0.0", true },
      { ">1", "1.0.0", false }, { ">1", "1.0.1", true }, { "<=1.2", "1.2.0", true },
      { "<=1.2", "1.2.1", false }, { "> 1.0.0,< 2", "1.5.0", true }, { ">1,<2", "2.0.0", false },
      { "<0.170.0-beta", "0.170.0-alpha", true }, { "<0.170.0-beta", "0.170.0-rc", false },
      { "  >=1.0.0-alpha  ", "1.0.0-beta", true },
    }
    for _, case in ipairs(cases) do
      local range = assert(semver.range(case[1]))
      assert.equal(case[3], range:contains(case[2]), case[1] .. " and " .. case[2])
    end
  end)

  it("names what is no bound", function()
    for text, word in pairs { [">=0.120 <zero"] = "<zero", ["=>1"] = "=>1", ["^1.2"] = "^1.2",
      ["1.2.x"] = "1.2.x", [">="] = ">=", ["<1.2.3.4"] = "<1.2.3.4" } do
      local range, err = semver.range(text)
      assert.is_nil(range, text)
      assert.equal(("'%s' is no bound of versions"):format(word), err.message)
    end
    assert.equal("the range is empty", select(2, semver.range " ").message)
  end)
end)
