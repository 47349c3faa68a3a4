--- Makes texts that are JSON, in all its spellings, and texts that nearly are.

local Random = require "tests.differential.random"

local M = {}

local spaces = { " ", "\t", "\n", "\r", "  ", "\r\n", " \t\n\r " }
local numbers = {
  "0", "-0", "0.0", "-0.0", "1", "-1", "1.0", "1e0", "10E-1", "0e5", "9007199254740991",
  "9007199254740992", "9007199254740993", "-9007199254740993", "9007199254740993.0", "1e15", "1e16",
  "9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809",
  "18446744073709551615", "18446744073709551616", "1e22", "1e23", "5e-324", "2.5e-324", "1e308",
  "1.7976931348623157e308", "1.7976931348623159e308", "1e309", "-1e999", "1e-999",
  "2.2250738585072011e-308", "0.1", "0.30000000000000004", "123456789012345678e-10",
  "0.000000000000000000000000000001", "1" .. ("0"):rep(70), "0." .. ("3"):rep(80), "1e+0000000001",
}
local escapes = {
  '\\"', "\\\\", "\\/", "\\b", "\\f", "\\n", "\\r", "\\t", "\\u0000", "\\u0041", "\\u00e4",
  "\\u20AC", "\\uFFFF", "\\ud83d\\ude00", "\\u001f", "\\u2028", "\\uDBFF\\uDFFF", "\\ud800\\udc00",
}
local halves = {
  "\\uD800", "\\udfff", "\\ud800\\ud800\\udc00", "\\udc00\\ud800", "\\ud800\\u0041",
  "\\udbff\\n",
}
local plain = {
  "a", "b", "word", "two words", "12345678", "\127", "ä", "€", "日本語", "😀", "\u{80}", "\u{7FF}",
  "\u{800}", "\u{D7FF}", "\u{E000}", "\u{FFFD}", "\u{10000}", "\u{10FFFF}", "'", "/", "{", "]", ":",
  "The quick brown fox jumps over the lazy dog",
}
local names = {
  "a", "a", "b", "\\u0061", "id", "method", "", "a\\u0000", "ä", "\\u00e4", "key",
  "a rather long name of more than forty bytes",
}
local odd = {
  "01", "00", "1.", ".5", "+1", "-", "--1", "-.5", "1e", "1e+", "1.e5", "0x10", "1_0", "NaN",
  "nan", "Infinity", "-Infinity", "tru", "True", "nul", "undefined", "\\x41", "\\u12", "\\u12g4",
  "\\U0041", "\\", "\\'", "\0", "\1", "\n", "\t", "\11", "\12", "\31", "\127", "\xC0\x80",
  "\xE0\x80\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xF5", "\xFF", "\x80", "\xC3", "\xE2\x82",
  "\xEF\xBB\xBF", "\xC2\xA0", "\u{2028}", "\u{FEFF}", ",", ",,", "]", "}", "{", "[", ":", '"',
  "'", "//", "/**/", "#", " ", "e5", "-0", "1e999", "null", "true", '"a":1,', "[]", "{}", "0",
  "9", "\\ud800", "\\u0000",
}
local words = { "true", "false", "null" }
local constants = { "NaN", "Infinity", "-Infinity" }

local function space(random) return random:chance(0.1) and random:pick(spaces) or "" end

local function digits(random, most)
  local list = {}
  for i = 1, random:below(most) do list[i] = random:below(10) - 1 end
  return table.concat(list)
end

local function fraction(random) return "." .. digits(random, random:chance(0.2) and 40 or 4) end

local function number(random)
  if random:chance(0.4) then return random:pick(numbers) end
  local text = tostring(random:below(10) - 1)
  if text ~= "0" then text = text .. digits(random, random:chance(0.2) and 30 or 5) end
  if random:chance(0.4) then text = text .. fraction(random) end
  if random:chance(0.2) then
    text = text .. random:pick { "e", "E" } .. random:pick { "", "+", "-" } .. digits(random, 3)
  end
  return (random:chance(0.3) and "-" or "") .. text
end

local function text(random)
  local list = { '"' }
  for _ = 1, random:below(6) - 1 do
    local kind = random:chance(0.02) and halves or random:chance(0.4) and escapes or plain
    list[#list + 1] = random:pick(kind)
  end
  list[#list + 1] = '"'
  return table.concat(list)
end

local value

local function container(random, depth, open, close, item)
  local list = { open, space(random) }
  local n = random:chance(0.03) and random:below(80) or random:below(5) - 1
  for i = 1, n do
    list[#list + 1] = (i > 1 and "," or "") .. space(random)
    item(list, n > 5 and 0 or depth - 1)
    list[#list + 1] = space(random)
  end
  list[#list + 1] = close
  return table.concat(list)
end

function value(random, depth)
  local kind = random:below(depth > 0 and 10 or 6)
  if kind <= 2 then return number(random) end
  if kind <= 5 then return text(random) end
  if kind == 6 then return random:pick(random:chance(0.01) and constants or words) end
  if kind <= 8 then
    return container(random, depth, "[", "]", function(list, left)
      list[#list + 1] = value(random, left)
    end)
  end
  return container(random, depth, "{", "}", function(list, left)
    local name = random:chance(0.8) and '"' .. random:pick(names) .. '"' or text(random)
    list[#list + 1] = name .. space(random) .. ":" .. space(random) .. value(random, left)
  end)
end

--- Around the limit of 1000 levels.
local function deep(random)
  local n = 990 + random:below(20)
  local open, close = "[", "]"
  if random:chance(0.5) then open, close = '{"a":', "}" end
  return open:rep(n) .. "0" .. close:rep(n)
end

local mutations = {
  function(random, document, at)
    return document:sub(1, at - 1) .. random:pick(odd) .. document:sub(at + 1)
  end,
  function(random, document, at)
    return document:sub(1, at - 1) .. random:pick(odd) .. document:sub(at)
  end,
  function(random, document, at)
    return document:sub(1, at - 1) .. string.char(random:below(256) - 1) .. document:sub(at + 1)
  end,
  function(random, document, at)
    return document:sub(1, at - 1) .. document:sub(at + random:below(4))
  end,
  function(random, document, at)
    return document:sub(1, at) .. document:sub(at - random:below(8) + 1)
  end,
  function(random, document, at)
    return random:chance(0.3) and document:sub(1, at) or document .. random:pick(odd)
  end,
}

--- The document with this number in the sequence of a seed: JSON, or a mutant of it.
---@param seed integer
---@param index integer
---@return string
function M.make(seed, index)
  local random = Random.new(seed, index)
  local document = random:chance(0.001) and deep(random)
    or space(random) .. value(random, 3) .. space(random)
  if random:chance(0.002) then return "\u{FEFF}" .. document end
  if random:chance(0.4) then return document end
  for _ = 1, random:below(2) do
    document = random:pick(mutations)(random, document, random:below(math.max(#document, 1)))
  end
  return document
end

return M
