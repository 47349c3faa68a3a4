--- Semantic versions: reading, comparing, ranges. As semver.org 2.0.0 says.

local E = require "codex.error"
local options = require "codex.options"

local M = {}

---@class codex.Version
---@field major integer 0.169.0 has 0, 169, 0
---@field minor integer
---@field patch integer
---@field prerelease? string "alpha.14" of 0.155.0-alpha.14
---@field build? string what follows "+"; it does not count in comparisons
local Version = {}
Version.__index = require("codex.base.class").methods(Version)
Version.__name = "codex.version"

-- ---- Reading -----------------------------------------------------------------------------------

--- Digits without a leading zero; at most 15, so that they are an integer and a number alike.
local function number(text)
  if not text:find "^%d+$" or text:find "^0." or #text > 15 then return nil end
  return math.tointeger(tonumber(text))
end

--- The identifiers between dots; nil where one is empty or has other characters than these.
local function identifiers(text)
  local list = {}
  for part in (text .. "."):gmatch "(.-)%." do
    if not part:find "^[%w-]+$" then return nil end
    list[#list + 1] = part
  end
  return list
end

local function read_prerelease(version, text)
  local list = identifiers(text)
  for _, part in ipairs(list or {}) do
    if part:find "^0%d+$" then return nil end -- numbers have no leading zero
  end
  version.prerelease, version._identifiers = text, list
  return list
end

local function read(text)
  local core, rest = text:match "^([%d.]+)(.*)$"
  if not core then return nil end
  local major, minor, patch = core:match "^(%d+)%.(%d+)%.(%d+)$"
  if not major then return nil end
  local version = { major = number(major), minor = number(minor), patch = number(patch) }
  if not (version.major and version.minor and version.patch) then return nil end
  local prerelease, build = rest:match "^%-?([^+]*)%+?(.*)$"
  if rest:sub(1, 1) == "-" and not read_prerelease(version, prerelease) then return nil end
  if rest:sub(1, 1) ~= "-" and prerelease ~= "" then return nil end
  if rest:find("+", 1, true) then
    if not identifiers(build) then return nil end
    version.build = build
  end
  return setmetatable(version, Version)
end

--- Reads a version: "0.169.0", "0.155.0-alpha.14".
---@param text string
---@return codex.Version?
---@return codex.Error? error of kind `protocol` that names the text
function M.parse(text)
  local version = type(text) == "string" and read(text)
  if version then return version end
  local shown = type(text) == "string" and ("'%s'"):format(text:sub(1, 100)) or "a " .. type(text)
  return nil, E.new("protocol", shown .. " is no version", { code = "version" })
end

local function the_version(where, value)
  if getmetatable(value) == Version then return value end
  local version, err = M.parse(value)
  if not version then options.raise(("%s: %s"):format(where, err.message)) end
  return version
end

-- ---- Comparing ---------------------------------------------------------------------------------

local function sign(a, b) return a < b and -1 or a > b and 1 or 0 end

--- Numbers compare as such, however long, and are lower than words (semver.org 11.4).
local function compare_identifiers(a, b)
  local a_number, b_number = a:find "^%d+$", b:find "^%d+$"
  if a_number and b_number then
    return #a ~= #b and sign(#a, #b) or sign(a, b)
  end
  if a_number or b_number then return a_number and -1 or 1 end
  return sign(a, b)
end

local function compare_prereleases(a, b)
  if not (a and b) then return sign(a and 0 or 1, b and 0 or 1) end
  for i = 1, math.max(#a, #b) do
    if not (a[i] and b[i]) then return a[i] and 1 or -1 end
    local order = compare_identifiers(a[i], b[i])
    if order ~= 0 then return order end
  end
  return 0
end

local function compare_cores(a, b)
  for _, part in ipairs { "major", "minor", "patch" } do
    if a[part] ~= b[part] then return sign(a[part], b[part]) end
  end
  return 0
end

local function compare(a, b)
  local order = compare_cores(a, b)
  return order ~= 0 and order or compare_prereleases(a._identifiers, b._identifiers)
end

--- -1, 0 or 1: whether `a` is older than `b`, as old, or newer. Raises an error that names what is
--- no version.
---@param a string|codex.Version
---@param b string|codex.Version
---@return integer
function M.compare(a, b)
  return compare(the_version("semver.compare", a), the_version("semver.compare", b))
end

function Version.__eq(a, b) return compare(a, b) == 0 end
function Version.__lt(a, b) return compare(a, b) < 0 end
function Version.__le(a, b) return compare(a, b) <= 0 end

function Version:__tostring()
  return ("%d.%d.%d%s%s"):format(self.major, self.minor, self.patch,
    self.prerelease and "-" .. self.prerelease or "", self.build and "+" .. self.build or "")
end

-- ---- Ranges ------------------------------------------------------------------------------------

---@class codex.VersionRange
local Range = {}
Range.__index = require("codex.base.class").methods(Range)
Range.__name = "codex.version.range"

--- `<0.170` means that 0.170 is not there yet: its own pre-releases are not below it here, although
--- they are older.
local function is_below(version, bound)
  if compare(version, bound) >= 0 then return false end
  return not version.prerelease or bound.prerelease ~= nil or compare_cores(version, bound) ~= 0
end

local operators = {
  ["<"] = is_below,
  ["<="] = function(version, bound) return compare(version, bound) <= 0 end,
  [">"] = function(version, bound) return compare(version, bound) > 0 end,
  [">="] = function(version, bound) return compare(version, bound) >= 0 end,
  ["="] = function(version, bound) return compare(version, bound) == 0 end,
}

--- A bound may lack its last parts, which are 0 then: 0.120 is 0.120.0.
local function read_bound(text)
  if text:find "^%d+$" then text = text .. ".0" end
  if text:find "^%d+%.%d+$" then text = text .. ".0" end
  return M.parse(text)
end

--- Reads a range: bounds with <, <=, >, >= or = (or nothing, which is =) that all must hold, with
--- space or a comma between them.
---@param text string ">=0.120 <0.170"
---@return codex.VersionRange? range `:contains(version)`
---@return codex.Error? error of kind `protocol` that names what is no bound
function M.range(text)
  local range = setmetatable({ _text = text }, Range)
  local joined = text:gsub("([<>=])%s+", "%1")
  for word in joined:gmatch "[^%s,]+" do
    local operator, rest = word:match "^([<>=]*)(.*)$"
    local bound = read_bound(rest)
    local holds = operators[operator == "" and "=" or operator]
    if not (bound and holds) then
      return nil, E.new("protocol", ("'%s' is no bound of versions"):format(word:sub(1, 100)),
        { code = "version" })
    end
    range[#range + 1] = { holds = holds, bound = bound }
  end
  if #range == 0 then return nil, E.new("protocol", "the range is empty", { code = "version" }) end
  return range
end

--- Whether a version is in the range. Raises an error that names what is no version.
---@param version string|codex.Version
---@return boolean
function Range:contains(version)
  version = the_version("range:contains", version)
  for _, one in ipairs(self) do
    if not one.holds(version, one.bound) then return false end
  end
  return true
end

function Range:__tostring() return self._text end

return M
