--- What a thread has used of tokens, and what a turn of it: the total after it less the total
--- before it.
---
--- Codex also tells `last`, what one call of the model used. It is of no use for sums, as it is
--- told again: up to 0.130 after each call of a tool and at the beginning of the next turn, in
--- later versions around a compaction.

local semver = require "codex.semver"

local M = {}

--- From here on a thread that is resumed or forked is told of with what it used, before its turns.
local TELLS_AT_ONCE = assert(semver.parse "0.131.0")

local function snake(name) return (name:gsub("%u", function(c) return "_" .. c:lower() end)) end

local function counts_in(params, which)
  local usage = type(params.tokenUsage) == "table" and params.tokenUsage[which]
  if type(usage) ~= "table" then return nil end
  local counts = {}
  for name, count in pairs(usage) do
    if type(name) == "string" and math.type(count) == "integer" then counts[snake(name)] = count end
  end
  return counts
end

--- What the thread has used in all.
---@param params table of thread/tokenUsage/updated
---@return codex.Usage?
function M.total(params) return counts_in(params, "total") end

--- What was used between two totals; nil where that cannot be said.
---@param total? codex.Usage
---@param before? codex.Usage
---@return codex.Usage?
function M.difference(total, before)
  if not total or not before then return nil end
  local own = {}
  for name, count in pairs(total) do
    own[name] = count - (before[name] or 0)
    if own[name] < 0 then return nil end
  end
  return own
end

local function tells_at_once(version)
  local parsed = semver.parse(version)
  return parsed ~= nil and semver.compare(parsed, TELLS_AT_ONCE) >= 0
end

--- The total before the first that is told in a turn of a thread of which nothing was told yet. An
--- old Codex, or one that does not say which it is, may be repeating itself.
---@param params table of thread/tokenUsage/updated
---@param version string
---@return codex.Usage?
function M.before(params, version)
  if not tells_at_once(version) then return nil end
  return M.difference(M.total(params), counts_in(params, "last"))
end

--- The total of a thread that was opened just now, where it is known without being told.
---@param how "start"|"resume"|"fork"
---@param info table the thread as Codex describes it
---@param version string
---@return codex.Usage?
function M.at_first(how, info, version)
  if how == "start" then return {} end
  if tells_at_once(version) or type(info.path) ~= "string" then return nil end
  return require("codex.sessions").usage_in(info.path)
end

return M
