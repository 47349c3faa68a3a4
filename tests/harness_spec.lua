-- The benchmark harness: its statistics against published values, its verdicts on made samples, its
-- measuring on programs whose cost is known.

local harness = require "tests.bench.harness"
local kit = require "tests.bench.lib.kit"
local report = require "tests.bench.lib.report"
local statistics = require "tests.bench.lib.statistics"

local function near(expected, got, tolerance)
  if math.abs(expected - got) > (tolerance or 1e-9) then
    error(("expected %.12g, got %.12g"):format(expected, got), 2)
  end
end

describe("statistics", function()
  it("give mean, deviation and percentiles as R does", function()
    -- R: x <- c(2, 4, 4, 4, 5, 5, 7, 9); sd(x); quantile(x, c(.25, .5, .75, .95))
    local s = statistics.summary { 9, 2, 4, 5, 4, 7, 4, 5 }
    near(5, s.mean)
    near(2.1380899352994, s.sd, 1e-12)
    near(4.5, s.median)
    near(4, s.p25)
    near(5.5, s.p75)
    near(8.3, s.p95, 1e-12)
    assert.same({ 2, 9, 8 }, { s.min, s.max, s.n })
  end)

  it("know the incomplete beta function where it has a closed form", function()
    for _, x in ipairs { 0.01, 0.3, 0.5, 0.77, 0.99 } do
      near(x, statistics.incomplete_beta(x, 1, 1), 1e-13)
      near(1 - (1 - x) ^ 3.5, statistics.incomplete_beta(x, 1, 3.5), 1e-13)
      near(x ^ 2.5, statistics.incomplete_beta(x, 2.5, 1), 1e-13)
      near(2 / math.pi * math.asin(math.sqrt(x)), statistics.incomplete_beta(x, 0.5, 0.5), 1e-13)
    end
    near(0.5, statistics.incomplete_beta(0.5, 40, 40), 1e-12)
    assert.same({ 0, 1 }, {
      statistics.incomplete_beta(0, 2, 3), statistics.incomplete_beta(1, 2, 3),
    })
  end)

  it("know Student's distribution where it has a closed form", function()
    for _, t in ipairs { -31.8, -2, -0.1, 0, 0.5, 1, 4, 63.7 } do
      near(0.5 + math.atan(t) / math.pi, statistics.student_cdf(t, 1), 1e-12)
      near(0.5 + t / (2 * math.sqrt(2 + t * t)), statistics.student_cdf(t, 2), 1e-12)
      near(1, statistics.student_cdf(t, 7.3) + statistics.student_cdf(-t, 7.3), 1e-12)
    end
  end)

  it("agree with the printed table of critical values of t", function()
    local two_sided_5_percent =
      { [1] = 12.706, [2] = 4.303, [5] = 2.571, [10] = 2.228, [30] = 2.042, [120] = 1.980 }
    for df, t in pairs(two_sided_5_percent) do near(0.975, statistics.student_cdf(t, df), 2e-5) end
    near(0.975, statistics.student_cdf(1.959963985, 1e7), 1e-6)
  end)

  it("do Welch's test as R does it on Student's sleep data", function()
    -- R: t.test(extra ~ group, data = sleep)  t = -1.8608, df = 17.776, p-value = 0.07939
    local w = statistics.welch(
      { 0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0 },
      { 1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4 }
    )
    near(-1.8608, w.t, 5e-5)
    near(17.776, w.df, 5e-4)
    near(0.07939, w.p, 5e-6)
  end)

  it("do Welch's test on samples without spread", function()
    near(1, statistics.welch({ 2, 2 }, { 2, 2 }).p)
    near(0, statistics.welch({ 3, 3 }, { 2, 2 }).p)
    assert.is_true(statistics.welch({ 3, 3 }, { 2, 2 }).t > 0)
  end)

  it("enclose the ratio of medians in its interval, the same one every time", function()
    local a, b = {}, {}
    for i = 1, 30 do
      a[i], b[i] = 20 + i % 7, 10 + i % 5
    end
    local r = statistics.ratio(a, b)
    near(23 / 12, r.value)
    assert.is_true(r.min <= r.low and r.low <= r.value and r.value <= r.high and r.high <= r.max)
    assert.is_true(r.low < r.high)
    assert.same(r, statistics.ratio(a, b))
  end)

  it("leave out of a ratio what slows down whole rounds", function()
    local a, b = {}, {}
    for i = 1, 20 do
      local load = i % 2 == 0 and 5 or 1
      a[i], b[i] = 3 * load, 2 * load
    end
    local r = statistics.ratio(a, b)
    assert.same({ 1.5, 1.5, 1.5 }, { r.value, r.min, r.max })
  end)
end)

-- Samples around a centre, the same every time.
local function around(centre, spread, n, seed)
  local list = {}
  for i = 1, n or 20 do list[i] = centre + spread * math.sin(i * 12.9898 + (seed or 0)) end
  return list
end

describe("a limit", function()
  local function verdict(of, against)
    local samples = { a = { wall = of }, b = { wall = against } }
    local limit = { metric = "wall", of = "a", against = "b", at_most = 2 }
    return harness.judge("x", limit, samples).verdict
  end

  it("is met below, missed clearly above, and unclear where noise may be the reason", function()
    assert.equal("met", verdict(around(1.9, 0.1), around(1, 0.05, 20, 1)))
    assert.equal("missed", verdict(around(2.5, 0.1), around(1, 0.05, 20, 1)))
    assert.equal("unclear", verdict(around(2.05, 0.9), around(1, 0.4, 20, 1)))
  end)

  it("may be on one side alone", function()
    local function alone(value)
      local limit = { metric = "memory", of = "a", at_most = 100 }
      return harness.judge("x", limit, { a = { memory = around(value, 1) } }).verdict
    end
    assert.equal("met", alone(98))
    assert.equal("missed", alone(104))
  end)

  it("on something that was not measured is an error", function()
    assert.has_error(function()
      harness.judge("x", { metric = "cpu", of = "a", at_most = 1 }, { a = { wall = { 1, 1 } } })
    end, "x: a limit names metric 'cpu' of side 'a', which there is not")
  end)
end)

describe("a baseline", function()
  local function result(wall, reference)
    local sides = { { name = "ours", samples = { wall = wall } } }
    if reference then sides[2] = { name = "theirs", samples = { wall = reference } } end
    return { name = "x", sides = sides }
  end

  it("shows what became slower, faster or neither", function()
    local was = result(around(1, 0.05))
    assert.equal("slower", harness.compare(result(around(1.3, 0.05, 20, 2)), was)[1].verdict)
    assert.equal("faster", harness.compare(result(around(0.8, 0.05, 20, 2)), was)[1].verdict)
    assert.equal("same", harness.compare(result(around(1.01, 0.05, 20, 2)), was)[1].verdict)
    near(1.3, harness.compare(result(around(1.3, 0)), result(around(1, 0)))[1].factor, 1e-9)
  end)

  it("does not take a slower machine for a slower program", function()
    local was = result(around(1, 0.05), around(4, 0.2, 20, 1))
    local now = result(around(2, 0.1), around(8, 0.4, 20, 1))
    local change = harness.compare(now, was)[1]
    assert.same({ "same", "theirs" }, { change.verdict, change.relative_to })
  end)

  it("survives being written and read", function()
    local path = os.tmpname()
    finally(function() os.remove(path) end)
    local first = result(around(1, 0.1), around(2, 0.1))
    report.save(path, { first })
    report.save(path, { { name = "y", sides = {} } }, report.load(path))
    local back = assert(report.load(path))
    assert.equal("same", harness.compare(first, back.x)[1].verdict)
    assert.equal("y", back.y.name)
  end)

  it("that is no file of results is refused", function()
    local path = os.tmpname()
    finally(function() os.remove(path) end)
    kit.write(path, "[]")
    local loaded, message = report.load(path)
    assert.is_nil(loaded)
    assert.equal(path .. ": not a file of results", message)
  end)
end)

describe("measuring", function()
  setup(kit.measure)

  it("counts CPU time and memory of descendants, also of those nobody waited for", function()
    local burn = [[local t = os.clock() while os.clock() - t < 0.2 do end]]
    local script = ([[lua5.4 -e '%s' & lua5.4 -e '%s'; lua5.4 -e 'X = {} for i = 1, 32 do
      X[i] = ("x"):rep(1024 * 1024 - 64) end']]):format(burn, burn)
    local figures = harness.measure { name = "tree", argv = { "sh", "-c", script }, expect = "" }
    assert.is_true(figures.cpu >= 0.4 and figures.cpu < 2, "CPU " .. figures.cpu)
    assert.is_true(figures.wall >= 0.2, "wall " .. figures.wall)
    assert.is_true(figures.memory > 32 * 1024 and figures.memory < 44 * 1024, figures.memory)
  end)

  it("does not charge the harness's memory to the program", function()
    local ballast = ("x"):rep(64 * 1024 * 1024)
    local figures = harness.measure { name = "true", argv = { "true" }, expect = "" }
    assert.is_true(figures.memory < 8 * 1024, figures.memory .. " KiB")
    assert.equal(64 * 1024 * 1024, #ballast)
  end)

  it("refuses a side that fails or says something else", function()
    local function message(argv, expect)
      local _, err = pcall(harness.measure, { name = "s", argv = argv, expect = expect })
      return err
    end
    assert.equal("s ended with code 3:\nbad\n", message { "sh", "-c", "echo bad >&2; exit 3" })
    assert.equal('s printed "1\\\n", not "2\\\n"', message({ "echo", "1" }, "2\n"))
    assert.truthy(message({ "/nonexistent" }):find "127")
  end)

  it("takes further figures from what a program prints", function()
    local function figures(text) return { lines = select(2, text:gsub("\n", "")), wall = 99 } end
    local got = harness.measure { name = "s", argv = { "printf", "a\\nb\\n" }, figures = figures }
    assert.equal(2, got.lines)
    assert.is_true(got.wall < 99)
  end)

  it("leaves sides to a benchmark that measures them together", function()
    local rounds = 0
    local function together()
      rounds = rounds + 1
      return { a = { us = rounds }, b = { us = 2 * rounds } }
    end
    local limits = { { metric = "us", of = "a", against = "b", at_most = 0.6 } }
    local result = harness.run({
      name = "x", about = "", sides = { { name = "a" }, { name = "b" } }, together = together,
      warmup = 2, limits = limits,
    }, { runs = 3 })
    assert.same({ 3, 4, 5 }, result.sides[1].samples.us)
    assert.same({ 6, 8, 10 }, result.sides[2].samples.us)
    assert.equal("met", result.limits[1].verdict)
    assert.equal(0.5, result.limits[1].ratio.value)
  end)

  it("takes turns, and keeps what a function reports of itself", function()
    local order = {}
    local function side(name)
      return {
        name = name,
        run = function()
          order[#order + 1] = name
          return { events = 7 }
        end,
      }
    end
    local benchmark = { name = "x", about = "", sides = { side "a", side "b", side "c" } }
    benchmark.warmup = 0
    local result = harness.run(benchmark, { runs = 3 })
    assert.equal("abcbcacab", table.concat(order))
    assert.same({ 7, 7, 7 }, result.sides[2].samples.events)
    assert.equal(3, #result.sides[3].samples.wall)
    assert.truthy(report.markdown(result):find("| c | events | 7 |", 1, true))
  end)
end)
