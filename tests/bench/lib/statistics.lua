--- What the benchmarks know of statistics: describing samples, and telling a difference from noise.

local M = {}

---@param samples number[]
---@return number[] sorted a copy in ascending order
function M.sorted(samples)
  local copy = table.move(samples, 1, #samples, 1, {})
  table.sort(copy)
  return copy
end

---@param samples number[]
---@return number
function M.mean(samples)
  local sum = 0
  for _, x in ipairs(samples) do sum = sum + x end
  return sum / #samples
end

--- The sample variance (n - 1); 0 for a single sample.
---@param samples number[]
---@return number
function M.variance(samples)
  if #samples < 2 then return 0 end
  local mean, sum = M.mean(samples), 0
  for _, x in ipairs(samples) do sum = sum + (x - mean) ^ 2 end
  return sum / (#samples - 1)
end

--- A percentile with linear interpolation between neighbours, as R does by default (type 7).
---@param sorted number[] in ascending order
---@param percent number 0 to 100
---@return number
function M.percentile(sorted, percent)
  local place = 1 + (#sorted - 1) * percent / 100
  local below = math.floor(place)
  local above = math.min(below + 1, #sorted)
  return sorted[below] + (sorted[above] - sorted[below]) * (place - below)
end

---@param samples number[]
---@return number
function M.median(samples) return M.percentile(M.sorted(samples), 50) end

---@class bench.Summary
---@field n integer
---@field mean number
---@field median number
---@field sd number
---@field min number
---@field p25 number
---@field p75 number
---@field p95 number
---@field max number

---@param samples number[]
---@return bench.Summary
function M.summary(samples)
  local sorted = M.sorted(samples)
  return {
    n = #sorted, mean = M.mean(sorted), median = M.percentile(sorted, 50),
    sd = math.sqrt(M.variance(sorted)), min = sorted[1], p25 = M.percentile(sorted, 25),
    p75 = M.percentile(sorted, 75), p95 = M.percentile(sorted, 95), max = sorted[#sorted],
  }
end

-- ---- Student's t --------------------------------------------------------------------------------

--- ln(gamma(x)) for x > 0, by Stirling's series; small x are moved up to where it is exact.
local function log_gamma(x)
  local shift = 0
  while x < 10 do
    shift = shift + math.log(x)
    x = x + 1
  end
  local y = 1 / (x * x)
  local series = (1 / 12 - y * (1 / 360 - y * (1 / 1260 - y * (1 / 1680 - y / 1188)))) / x
  return (x - 0.5) * math.log(x) - x + 0.5 * math.log(2 * math.pi) + series - shift
end

--- The continued fraction of the incomplete beta function (DLMF 8.17.22), by Lentz's method.
local function beta_fraction(x, a, b)
  local tiny = 1e-300
  local c, d = 1, 1 - (a + b) * x / (a + 1)
  d = 1 / (math.abs(d) < tiny and tiny or d)
  local value = d
  for m = 1, 10000 do
    local even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
    local odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
    local change = 1
    for _, term in ipairs { even, odd } do
      d = 1 + term * d
      c = 1 + term / c
      d = 1 / (math.abs(d) < tiny and tiny or d)
      c = math.abs(c) < tiny and tiny or c
      change = d * c
      value = value * change
    end
    if math.abs(change - 1) < 1e-15 then break end
  end
  return value
end

--- The regularized incomplete beta function I_x(a, b).
---@param x number 0 to 1
---@param a number positive
---@param b number positive
---@return number
function M.incomplete_beta(x, a, b)
  if x <= 0 then return 0 end
  if x >= 1 then return 1 end
  local front = math.exp(
    log_gamma(a + b) - log_gamma(a) - log_gamma(b) + a * math.log(x) + b * math.log(1 - x)
  )
  if x > (a + 1) / (a + b + 2) then return 1 - front * beta_fraction(1 - x, b, a) / b end
  return front * beta_fraction(x, a, b) / a
end

--- The probability that Student's t with df degrees of freedom is at most t.
---@param t number
---@param df number
---@return number
function M.student_cdf(t, df)
  local tail = 0.5 * M.incomplete_beta(df / (df + t * t), df / 2, 0.5)
  return t > 0 and 1 - tail or tail
end

---@class bench.Welch
---@field t number positive when the mean of `a` is the larger
---@field df number
---@field p number two-sided: how likely a difference this large is by chance

--- Welch's t-test: whether two samples have the same mean, whatever their variances.
---@param a number[]
---@param b number[]
---@return bench.Welch
function M.welch(a, b)
  local va, vb = M.variance(a) / #a, M.variance(b) / #b
  local difference = M.mean(a) - M.mean(b)
  if va + vb == 0 then
    local same = difference == 0
    return { t = same and 0 or difference * math.huge, df = #a + #b - 2, p = same and 1 or 0 }
  end
  local t = difference / math.sqrt(va + vb)
  local df = (va + vb) ^ 2 / (va ^ 2 / math.max(#a - 1, 1) + vb ^ 2 / math.max(#b - 1, 1))
  return { t = t, df = df, p = M.incomplete_beta(df / (df + t * t), df / 2, 0.5) }
end

-- ---- Ratios -------------------------------------------------------------------------------------

--- A xorshift generator of its own: the same samples give the same interval.
local function generator()
  local state = 0x9E3779B97F4A7C15
  return function(n)
    state = state ~ (state << 13)
    state = state ~ (state >> 7)
    state = state ~ (state << 17)
    return (state >> 1) % n + 1
  end
end

---@class bench.Ratio
---@field value number the ratio of the medians
---@field low number lower end of its 95 % interval
---@field high number
---@field min number smallest ratio within one round
---@field max number

--- The ratio of the medians of two samples taken in the same rounds. The interval is the 95 %
--- percentile bootstrap over rounds, so that what slows a whole round down cancels out.
---@param a number[]
---@param b number[] as many as `a`
---@return bench.Ratio
function M.ratio(a, b)
  local n, random, ratios = #a, generator(), {}
  local low, high = math.huge, -math.huge
  for i = 1, n do
    low, high = math.min(low, a[i] / b[i]), math.max(high, a[i] / b[i])
  end
  for i = 1, 1000 do
    local pick_a, pick_b = {}, {}
    for k = 1, n do
      local round = random(n)
      pick_a[k], pick_b[k] = a[round], b[round]
    end
    ratios[i] = M.median(pick_a) / M.median(pick_b)
  end
  table.sort(ratios)
  return {
    value = M.median(a) / M.median(b), low = M.percentile(ratios, 2.5),
    high = M.percentile(ratios, 97.5), min = low, max = high,
  }
end

return M
