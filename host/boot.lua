--- Compiles a Lua file for host/boot.c: `lua5.4 host/boot.lua FROM TO`.
---
--- The names of local variables and upvalues, which only messages about errors of our own would
--- show, are left out: to read them in takes a tenth of a start. Lines are kept, for tracebacks.
--- What is where in compiled code is told by lundump.c of Lua 5.4.

local from, to = ...

local HEADER = 4 + 1 + 1 + 6 + 3 + 8 + 8 + 1 -- bytes, with the number of the main chunk's upvalues
local INSTRUCTION, UPVALUE = 4, 3 -- bytes of one
local FLOAT, INTEGER, SHORT, LONG = 0x13, 0x03, 0x04, 0x14 -- constants; others are a type only
local NONE = "\x80" -- the number 0: the last byte of a number has the highest bit set

local source = assert(io.open(from, "rb")):read "a"
local code = string.dump(assert(load(source, "=" .. from))) -- a name that no file has
local at, kept = 1, {}

local function keep(n)
  kept[#kept + 1] = code:sub(at, at + n - 1)
  at = at + n
end

local function number()
  local first, n = at, 0
  repeat
    local byte = code:byte(at)
    n, at = n << 7 | byte & 0x7f, at + 1
  until byte >= 0x80
  return n, code:sub(first, at - 1)
end

local function keep_number()
  local n, bytes = number()
  kept[#kept + 1] = bytes
  return n
end

--- The length of a string is told as one more, and that of none as 0.
local function keep_string() keep(math.max(keep_number() - 1, 0)) end

local function skip_string()
  local length = number()
  at = at + math.max(length - 1, 0)
end

local function keep_constant()
  local kind = code:byte(at)
  keep(1)
  if kind == FLOAT or kind == INTEGER then keep(8) end
  if kind == SHORT or kind == LONG then keep_string() end
end

local function keep_lines()
  keep(keep_number())
  for _ = 1, keep_number() do
    keep_number()
    keep_number()
  end
end

local function skip_names()
  for _ = 1, (number()) do
    skip_string()
    number() -- where the variable begins,
    number() -- and ends
  end
  for _ = 1, (number()) do skip_string() end
  kept[#kept + 1] = NONE .. NONE
end

local function keep_function()
  keep_string() -- the source
  keep_number() -- the first line,
  keep_number() -- and the last
  keep(3) -- parameters, whether there may be more, size of the stack
  keep(INSTRUCTION * keep_number())
  for _ = 1, keep_number() do keep_constant() end
  keep(UPVALUE * keep_number())
  for _ = 1, keep_number() do keep_function() end
  keep_lines()
  skip_names()
end

keep(HEADER)
keep_function()
assert(at == #code + 1, from .. ": not all of its compiled code was understood")
local result = table.concat(kept)
assert(load(result, from, "b"))
local file = assert(io.open(to, "wb"))
assert(file:write(result))
assert(file:close())
