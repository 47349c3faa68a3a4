--- Random mutations of a client's message. Nothing here knows what a launcher does about them: they
--- are what JSON readers are known to differ in, and what a client could get wrong or forge.
---
--- A mutation of the tree gets the tree and gives it back changed; one of the text gets bytes and
--- gives bytes. Each mutation of a mutant has a sequence of random numbers of its own, so that
--- leaving one out changes nothing in the others.

local Random = require "tests.differential.random"
local json = require "codex.json"
local tree = require "tests.differential.tree"

local M = {}

-- ---- Where -------------------------------------------------------------------------------------

local function nodes_of(root, wanted)
  local list = {}
  tree.walk(root, function(node, member, parent, index)
    if wanted(node, member) then
      list[#list + 1] = { node = node, member = member, parent = parent, index = index }
    end
  end)
  return list
end

--- Any place that fits; those further up are likelier, as readers differ there as well.
local function place(random, root, wanted)
  local list = nodes_of(root, wanted)
  if #list == 0 then return nil end
  local at = math.floor(random:fraction() ^ 1.5 * #list) + 1
  return list[at]
end

local function is_object(node) return node.type == "object" end
local function is_filled(node) return node.type == "object" and #node > 0 end
local function has_key(_, member) return member ~= nil end
local function is_string(node) return node.type == "text" and node.text:sub(1, 1) == '"' end
local function is_number(node) return node.type == "text" and node.text:find "^%-?%d" ~= nil end
local function anything() return true end

--- Puts a node in the place of another, which may be the root.
local function replace(root, at, node)
  if not at.parent then return node end
  if at.parent.type == "object" then at.member.value = node else at.parent[at.index] = node end
  return root
end

local function text(value) return { type = "text", text = value } end
local function member(key, value) return { key = key, value = value } end
local function unquoted(value) return value:sub(2, -2) end

--- One character of a string token, by its place among the simple ones; nil where there are none.
local function character(random, token)
  local places = {}
  for at in token:gmatch "()[%w/_]" do places[#places + 1] = at end
  local share = random:fraction()
  if #places == 0 then return nil end
  return places[math.floor(share * #places) + 1]
end

local function splice(token, at, length, with)
  return token:sub(1, at - 1) .. with .. token:sub(at + length)
end

-- ---- Structure ---------------------------------------------------------------------------------

local structure = {}

function structure.array_for_object(random, root)
  local at = place(random, root, is_filled)
  local list, how = { type = "array" }, random:fraction()
  if not at then return root end
  for i, each in ipairs(at.node) do list[i] = each.value end
  if how < 0.15 then random:shuffle(list) end
  if how > 0.9 then list[#list] = nil end
  if how > 0.8 and how < 0.9 then list[#list + 1] = text "null" end
  return replace(root, at, list)
end

function structure.object_for_array(random, root)
  local at = place(random, root, function(node) return node.type == "array" end)
  if not at then return root end
  local object = { type = "object" }
  for i, each in ipairs(at.node) do object[i] = member(('"%d"'):format(i - 1), each) end
  return replace(root, at, object)
end

function structure.wrapped(random, root)
  local at = place(random, root, anything)
  local key = random:pick { '"value"', '"0"', '"params"', '"message"', '"result"', '"$value"' }
  if random:chance(0.5) then return replace(root, at, { type = "array", at.node }) end
  return replace(root, at, { type = "object", member(key, at.node) })
end

--- What serde_json reads as the JSON in the text, or as a number.
function structure.raw_value(random, root)
  local at = place(random, root, anything)
  local written = tree.write(at.node)
  local key = '"$serde_json::private::RawValue"'
  if is_number(at.node) and random:chance(0.3) then key = '"$serde_json::private::Number"' end
  if random:chance(0.1) then key = key:gsub("%$", "\\u0024") end
  return replace(root, at, { type = "object", member(key, text(json.encode(written))) })
end

function structure.unwrapped(random, root)
  local at = place(random, root, function(node) return node.type ~= "text" and #node > 0 end)
  if not at then return root end
  local each = random:pick(at.node)
  return replace(root, at, each.value or each)
end

function structure.reordered(random, root)
  local at = place(random, root, function(node) return node.type ~= "text" and #node > 1 end)
  if at then random:shuffle(at.node) end
  return root
end

function structure.dropped(random, root)
  local at = place(random, root, is_filled)
  local index = random:fraction()
  if at then table.remove(at.node, math.floor(index * #at.node) + 1) end
  return root
end

--- Members move up or down: what was beside `params` is in it, or the other way round.
function structure.moved(random, root)
  local from, to = place(random, root, is_filled), place(random, root, is_object)
  local share = random:fraction()
  if not from or from.node == to.node then return root end
  local each = table.remove(from.node, math.floor(share * #from.node) + 1)
  local inside = false
  tree.walk(each.value, function(node) inside = inside or node == to.node end)
  table.insert(inside and from.node or to.node, each)
  return root
end

--- What a reader that takes the other one of two equal keys may see.
local others = {
  method = { '"initialized"', '"model/list"', '"thread/list"', "null", '""' },
  id = { "0", "1", "null", '"x"', "-1", "7.5" },
  decision = { '"decline"', '"cancel"', "null", "0" },
  path = { '"/nonexistent/x"', "null" },
  approvalPolicy = { '"on-request"', "null" },
  sandbox = { '"read-only"', "null" },
  sandboxPolicy = { '{"type":"readOnly"}', "null" },
  type = { '"readOnly"', '"text"' },
  config = { "{}", "null" },
  approvalsReviewer = { '"user"', "null" },
  result = { '{"decision":"decline"}', "null", "{}", "[]" },
}

local function other_value(random, name, value)
  local kind = random:fraction()
  local known, simple = others[name], { "null", "{}", "[]", "0", '""', "true", '"x"' }
  if kind < 0.6 and known then return text(random:pick(known)) end
  if kind < 0.7 then return tree.copy(value) end
  if kind < 0.85 and value.type == "object" then
    local less = tree.copy(value)
    if #less > 0 then less[random:below(#less)].value = text "null" end
    return less
  end
  return text(random:pick(simple))
end

function structure.duplicate_key(random, root)
  local at = place(random, root, is_filled)
  if not at then return root end
  local index = random:below(#at.node)
  local each = at.node[index]
  local twin = member(each.key, other_value(random, unquoted(each.key), each.value))
  table.insert(at.node, random:below(#at.node + 1), twin)
  return root
end

local names = {
  "method", "id", "params", "result", "error", "jsonrpc", "trace", "decision", "path", "command",
  "threadId", "x", "", "__proto__",
}

function structure.null_member(random, root)
  local at = place(random, root, is_object)
  local name, where = random:pick(names), random:fraction()
  if random:chance(0.3) then
    at = place(random, root, has_key)
    if at then at.member.value = text "null" end
    return root
  end
  if not at then return root end
  local index = math.floor(where * (#at.node + 1)) + 1
  table.insert(at.node, index, member(('"%s"'):format(name), text "null"))
  return root
end

local extras = {
  { "method", '"initialized"' }, { "method", '"model/list"' }, { "id", "1" }, { "id", "null" },
  { "params", "{}" }, { "params", "[]" }, { "result", '{"decision":"accept"}' },
  { "result", '{"decision":"decline"}' }, { "error", '{"code":-32000,"message":"no"}' },
  { "error", "null" }, { "jsonrpc", '"2.0"' }, { "jsonrpc", "2" }, { "x", "1" },
  { "trace", '{"traceparent":"0"}' }, { "emittedAtMs", "1" }, { "decision", '"accept"' },
  { "approvalPolicy", '"never"' }, { "sandboxPolicy", '{"type":"dangerFullAccess"}' },
  { "_meta", "{}" }, { "tty", "false" }, { "timeoutMs", "9000" }, { "env", "{}" },
  { "expectedVersion", "null" }, { "content", "[]" }, { "scope", '"session"' },
}

function structure.extra_member(random, root)
  local at = place(random, root, is_object)
  local extra, where = random:pick(extras), random:fraction()
  if not at then return root end
  local index = math.floor(where * (#at.node + 1)) + 1
  table.insert(at.node, index, member(('"%s"'):format(extra[1]), tree.parse(extra[2])))
  return root
end

--- serde reads `{"accept":null}` where an enum's word is meant.
function structure.word_as_object(random, root)
  local at = place(random, root, is_string)
  local value = random:pick { "null", "{}", "[]", "true" }
  if not at then return root end
  return replace(root, at, { type = "object", member(at.node.text, text(value)) })
end

function structure.deep(random, root)
  local at = place(random, root, is_object)
  local depth = random:pick { 20, 100, 126, 127, 128, 129, 500, 3000, 20000 }
  local open, close = table.unpack(random:pick {
    { "[", "]" }, { '{"a":', "}" }, { '[{"a":', "}]" },
  })
  if not at then return root end
  local deep = open:rep(depth) .. "1" .. close:rep(depth)
  table.insert(at.node, random:below(#at.node + 1), member('"deep"', text(deep)))
  return root
end

function structure.long(random, root)
  local at = place(random, root, is_object)
  local size = random:pick { 1000, 10000, 70000, 300000 }
  local key = random:chance(0.3)
  if not at then return root end
  local filler = '"' .. ("y"):rep(size) .. '"'
  local each = key and member(filler, text "1") or member('"long"', text(filler))
  table.insert(at.node, 1, each)
  return root
end

--- The method, id or params of another message inside this one.
function structure.nested(random, root)
  local key = random:pick { '"params"', '"request"', '"message"', '"method"', '"result"', '"id"' }
  local outer = { type = "object", member(key, root) }
  if random:chance(0.5) then table.insert(outer, 1, member('"method"', text '"model/list"')) end
  if random:chance(0.5) then table.insert(outer, 1, member('"id"', text '"nested"')) end
  return outer
end

-- ---- Keys --------------------------------------------------------------------------------------

local keys = {}

--- Changes the key of some member.
local function on_key(change, wanted)
  return function(random, root)
    local at = place(random, root, wanted or has_key)
    if at then at.member.key = change(random, at.member.key) or at.member.key end
    return root
  end
end

local function escape(char, form) return ("\\u" .. form):format(char:byte()) end

keys.key_escaped = on_key(function(random, key)
  local at, form = character(random, key), random:pick { "%04x", "%04X" }
  if random:chance(0.3) then
    return (key:gsub("%w", function(char) return escape(char, form) end))
  end
  return at and splice(key, at, 1, escape(key:sub(at, at), form))
end)

keys.key_case = on_key(function(random, key)
  local how = random:fraction()
  if how < 0.25 then return key:upper() end
  if how < 0.5 then return key:lower() end
  local at = character(random, key)
  local char = at and key:sub(at, at)
  return at and splice(key, at, 1, char == char:upper() and char:lower() or char:upper())
end)

keys.key_alias = on_key(function(random, key)
  if random:chance(0.3) then return (key:gsub("%u", function(c) return "_" .. c end)) end
  if random:chance(0.3) then return (key:gsub("%u", function(c) return "-" .. c:lower() end)) end
  return (key:gsub("%u", function(c) return "_" .. c:lower() end))
end, function(_, at) return at and at.key:find "%u" end)

local blanks = {
  " ", "\\t", "\\u0000", "\\n", "\u{200b}", "\u{a0}", "\u{feff}", "\\u0020", "\u{301}",
}

keys.key_blank = on_key(function(random, key)
  local blank = random:pick(blanks)
  if random:chance(0.3) then return '"' .. blank .. key:sub(2) end
  return key:sub(1, -2) .. blank .. '"'
end)

local looks_like = {
  a = "\u{430}", c = "\u{441}", d = "\u{501}", e = "\u{435}", h = "\u{4bb}", i = "\u{456}",
  j = "\u{458}", o = "\u{43e}", p = "\u{440}", s = "\u{455}", x = "\u{445}", y = "\u{443}",
  m = "\u{ff4d}", t = "\u{ff54}", r = "\u{ff52}", u = "\u{ff55}", k = "\u{212a}", l = "\u{406}",
}

keys.key_lookalike = on_key(function(random, key)
  local at = character(random, key)
  local like = at and looks_like[key:sub(at, at)]
  return like and splice(key, at, 1, like)
end)

-- ---- Values ------------------------------------------------------------------------------------

local values = {}

local function on_value(wanted, change)
  return function(random, root)
    local at = place(random, root, wanted)
    if not at then return root end
    return replace(root, at, text(change(random, at.node.text) or at.node.text))
  end
end

values.string_escaped = on_value(is_string, function(random, token)
  local at = character(random, token)
  local how = random:fraction()
  if how < 0.3 then return (token:gsub("/", "\\/")) end
  if how < 0.5 then return (token:gsub("%w", function(c) return escape(c, "%04x") end)) end
  return at and splice(token, at, 1, escape(token:sub(at, at), "%04X"))
end)

values.string_changed = on_value(is_string, function(random, token)
  local at, how = character(random, token), random:fraction()
  local blank = random:pick(blanks)
  if how < 0.25 then return token:sub(1, -2) .. blank .. '"' end
  if how < 0.4 then return '"' .. blank .. token:sub(2) end
  if how < 0.55 then return token:upper() end
  if how < 0.7 then return (token:gsub("%u", function(c) return "_" .. c:lower() end)) end
  if not at then return nil end
  local char = token:sub(at, at)
  if how < 0.85 then return splice(token, at, 1, looks_like[char] or char:upper()) end
  return splice(token, at, 1, random:pick { "", char .. char, "\\\\" .. char, "//" })
end)

values.other_type = on_value(function(node) return node.type == "text" end, function(random, token)
  if token:sub(1, 1) == '"' and random:chance(0.3) then return unquoted(token):match "^%-?%d+$" end
  if random:chance(0.4) then return '"' .. token:gsub('"', '\\"') .. '"' end
  return random:pick { "true", "false", "null", "0", "1", '""', "[]", "{}", "-1", "1.5" }
end)

--- A number in another spelling, or one nearby.
local function respell(random, token)
  local form = random:pick {
    "%s.0", "%se0", "%sE0", "%se+0", "%se-0", "%s.00e0", "%s0e-1", "-%s", "-%s.0", '"%s"', '"%s "',
    '" %s"', "0%s", "+%s", "%s.", "%s.0000000000000000000001", "%s.5", "[%s]", '{"id":%s}',
    '"\\u0030%s"', "%se1", "%s ", "0x%s", "%sn", "%se0000000000",
  }
  return (form:gsub("%%s", function() return token end))
end

values.number_spelled = on_value(is_number, respell)

local strange_ids = {
  "-0", "-0.0", "0.0", "0e0", "0E+5", "0e-99", "00", "1e400", "-1e400", "9223372036854775807",
  "9223372036854775808", "18446744073709551616", "123456789012345678901234567890", "null", "true",
  "false", '""', '"0"', '"null"', "[]", "[0]", "{}", '{"0":0}', '"codex-lua:1"', "1.0", "2", "3",
  '"codex-lua-route:1"', "0.1", "1e-400", "4294967296", "-1", "NaN", "Infinity", '"barrier:1"',
}

--- The id: spelled otherwise, of another kind, somebody else's.
function values.id(random, root)
  local how, strange = random:fraction(), random:pick(strange_ids)
  local places = nodes_of(root, function(_, at) return at and unquoted(at.key) == "id" end)
  local at = places[1]
  if not at then return root end
  if how < 0.5 and is_number(at.node) then
    at.member.value = text(respell(random, at.node.text))
  elseif how < 0.65 and is_number(at.node) then
    local number = math.tointeger(tonumber(at.node.text)) or 0
    at.member.value = text(("%d"):format(number + random:below(9) - 5))
  else
    at.member.value = text(strange)
  end
  return root
end

-- ---- Text --------------------------------------------------------------------------------------

local bytes = {}

--- Where there is no string: before and after structural characters.
local function gaps(line)
  local list, at = { 1 }, 1
  while at <= #line do
    local mark = line:find('[{}%[%],:"]', at)
    if not mark then break end
    if line:sub(mark, mark) == '"' then
      local stop = mark + 1
      while stop <= #line and line:sub(stop, stop) ~= '"' do
        stop = stop + (line:sub(stop, stop) == "\\" and 2 or 1)
      end
      list[#list + 1] = mark
      at = stop + 1
    else
      list[#list + 1], at = mark + 1, mark + 1
    end
  end
  list[#list + 1] = #line + 1
  return list
end

local function insert(line, at, what) return line:sub(1, at - 1) .. what .. line:sub(at) end

function bytes.white_space(random, line)
  local at = random:pick(gaps(line))
  return insert(line, at, random:pick { " ", "\t", "\r", "  \t ", "\n", "\r\n", (" "):rep(3000) })
end

function bytes.odd_space(random, line)
  local at = random:pick(gaps(line))
  local odd = { "\f", "\v", "\0", "\u{a0}", "\u{2028}", "\u{feff}", "\u{85}", "\27", "\127",
    "//x\r", "/**/", "#x\r", ",", "\30" }
  return insert(line, at, random:pick(odd))
end

local bystanders = {
  '{"method":"initialized"}', '{"id":"by","method":"model/list","params":{}}', "1", "null", "[]",
  "{}", '"x"', "x", '{"id":0,"result":{"decision":"decline"}}', '{"id":"a","result":{}}',
}

--- Several values in a line, before or after.
function bytes.two_values(random, line)
  local other = random:pick(bystanders)
  local between = random:pick { "", " ", ",", "\r", "\t", ";", "\0" }
  if random:chance(0.5) then return other .. between .. line end
  if random:chance(0.15) then return "[" .. line .. "," .. other .. "]" end
  return line .. between .. other
end

function bytes.framed(random, line)
  local before, after = table.unpack(random:pick {
    { "\u{feff}", "" }, { "\30", "" }, { "", "\r" }, { "\r", "" }, { "", "\0" }, { "data: ", "" },
    { ")]}'", "" }, { "", "}" }, { "", "," }, { "[", "]" }, { "(", ")" }, { "\r\n", "\r\n" },
    { "Content-Length: 9\r\n\r\n", "" }, { "\n\n", "" }, { "", ";" }, { "\254\255", "" },
    { '"', '"' },
  })
  return before .. line .. after
end

function bytes.truncated(random, line)
  local at = random:fraction()
  if random:chance(0.3) then return line:sub(-math.floor(at * #line)) end
  return line:sub(1, math.floor(at * #line))
end

--- Anywhere inside a string; the place is nil where there is none.
local function inside(random, line)
  local share, places = random:fraction(), {}
  for at in line:gmatch '()%w"' do places[#places + 1] = at end
  return places[math.floor(share * #places) + 1]
end

local function in_string(list)
  return function(random, line)
    local at, what = inside(random, line), random:pick(list)
    return at and insert(line, at + 1, what) or line .. what
  end
end

bytes.bad_utf8 = in_string { "\255", "\192\128", "\237\160\128", "\244\144\128\128", "\128",
  "\195", "\226\130", "\240\159\152", "\193\129", "\237\160\189\237\184\128" }
bytes.surrogate = in_string { "\\ud800", "\\udc00", "\\uD83D", "\\ude00\\ud83d", "\\ud83d\\ude00",
  "\\ud800x", "\\uDFFF" }
bytes.control = in_string { "\1", "\0", "\9", "\13", "\27[2J", "\\u0000", "\\b", "\\x41", "\\'",
  "\\u12", "\127", "\\u001b", "\n" }

function bytes.flipped(random, line)
  local at = math.floor(random:fraction() * #line) + 1
  local how, byte = random:fraction(), string.char(random:below(127))
  if how < 0.4 then return splice(line, at, 1, byte) end
  if how < 0.7 then return splice(line, at, 1, "") end
  return insert(line, at, byte)
end

function bytes.loose_syntax(random, line)
  local how = random:below(6)
  if how == 1 then return (line:gsub('"', "'")) end
  if how == 2 then return (line:gsub('"(%w+)":', "%1:", random:below(3))) end
  if how == 3 then return (line:gsub("([%]}])", ",%1", random:below(2))) end
  if how == 4 then return (line:gsub(":", "=", random:below(2))) end
  if how == 5 then return (line:gsub(",", ",,", 1)) end
  return (line:gsub("null", "None"))
end

function bytes.utf16(random, line)
  local big = random:chance(0.5)
  local wide = line:gsub(".", big and "\0%0" or "%0\0")
  return random:chance(0.5) and (big and "\254\255" or "\255\254") .. wide or wide
end

-- ---- Mutants -----------------------------------------------------------------------------------

local likely = { -- how often, where not once
  array_for_object = 4, duplicate_key = 6, extra_member = 4, id = 4, null_member = 3,
  key_escaped = 2, word_as_object = 2, number_spelled = 2, wrapped = 2, white_space = 3,
  two_values = 2, framed = 2, string_escaped = 2, moved = 2, reordered = 2,
}
local rarely = { bad_utf8 = 0.4, utf16 = 0.2, long = 0.3, deep = 0.5 }

--- All mutations by name; `stage` says what they change.
---@type table<string, { name: string, stage: "tree"|"text", run: function, weight: number }>
M.kinds = {}
---@type string[]
M.names = {}

for stage, sets in pairs { tree = { structure, keys, values }, text = { bytes } } do
  for _, set in ipairs(sets) do
    for name, run in pairs(set) do
      M.kinds[name] = { name = name, stage = stage, run = run,
        weight = likely[name] or rarely[name] or 1 }
      M.names[#M.names + 1] = name
    end
  end
end
table.sort(M.names)

--- One of a list by its weight.
function M.weighed(random, list)
  local total = 0
  for _, each in ipairs(list) do total = total + each.weight end
  local left = random:fraction() * total
  for _, each in ipairs(list) do
    left = left - each.weight
    if left < 0 then return each end
  end
  return list[#list]
end

local by_name = {}
for i, name in ipairs(M.names) do by_name[i] = M.kinds[name] end

local counts = { 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 4, 5 }

---@class tests.Mutation
---@field name string
---@field seed integer of its random numbers

--- Which mutations the mutant of this number has.
---@param seed integer
---@param number integer
---@return tests.Mutation[]
function M.plan(seed, number)
  local random, plan = Random.new(seed, number), {}
  for i = 1, random:pick(counts) do
    plan[i] = { name = M.weighed(random, by_name).name, seed = random:next() }
  end
  return plan
end

--- Carries them out: those of the tree first, then those of its text.
---@param message table node; it is used up
---@param plan tests.Mutation[]
---@return string bytes without a newline at the end
function M.apply(message, plan)
  for _, each in ipairs(plan) do
    local kind = M.kinds[each.name]
    if kind.stage == "tree" then message = kind.run(Random.new(each.seed), message) end
  end
  local line = tree.write(message)
  for _, each in ipairs(plan) do
    local kind = M.kinds[each.name]
    if kind.stage == "text" then line = kind.run(Random.new(each.seed), line) end
  end
  return line
end

return M
