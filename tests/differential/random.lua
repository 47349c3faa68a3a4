--- Random numbers that depend on their seed alone: splitmix64. Lua's own generator would do, but
--- its sequence may change from one Lua to the next, and a seed in a report must stay good.

local Random = {}
Random.__index = Random

local M = {}

---@param ... integer what the sequence depends on
---@return tests.Random
function M.new(...)
  local random = setmetatable({ state = 0 }, Random)
  for _, part in ipairs { ... } do random.state = random:next() ~ part end
  return random
end

function Random:next()
  self.state = self.state + 0x9E3779B97F4A7C15
  local z = self.state
  z = (z ~ (z >> 30)) * 0xBF58476D1CE4E5B9
  z = (z ~ (z >> 27)) * 0x94D049BB133111EB
  return z ~ (z >> 31)
end

--- From 0 to 1, without 1.
function Random:fraction() return (self:next() >> 11) / (1 << 53) end

--- From 1 to `n`. Always one step of the sequence, so that a longer text changes nothing after it.
function Random:below(n) return math.floor(self:fraction() * n) + 1 end

function Random:pick(list) return list[self:below(#list)] end

function Random:chance(probability) return self:fraction() < probability end

function Random:shuffle(list)
  for i = #list, 2, -1 do
    local j = self:below(i)
    list[i], list[j] = list[j], list[i]
  end
  return list
end

---@class tests.Random
---@field next fun(self): integer
---@field fraction fun(self): number
---@field below fun(self, n: integer): integer
---@field pick fun(self, list: any[]): any
---@field chance fun(self, probability: number): boolean
---@field shuffle fun(self, list: any[]): any[]
return M
