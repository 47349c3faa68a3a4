--- The places where Codex expects an object, against the schemas that real Codex writes. Where the
--- table is out of date, build/structs.lua is what it should be.

local intake = require "codex.launcher.intake"
local json = require "codex.json"
local peers = require "tests.support.peers"
local schemas = require "tests.support.schema"
local structs = require "codex.launcher.structs"

local path = peers.root .. "/build/structs.lua"

-- ---- What the schemas say ----------------------------------------------------------------------

--- Notes for every place below a schema what may stand there: found[path][kind].
local walk

local function note(found, at, kind)
  found[at] = found[at] or {}
  found[at][kind] = true
end

local function has_type(schema, name)
  local of = schema.type
  if type(of) ~= "table" then return of == name end
  for _, one in ipairs(of) do
    if one == name then return true end
  end
  return false
end

local function is_free(schema)
  local words = { "type", "properties", "enum", "const", "anyOf", "oneOf", "allOf", "$ref" }
  for _, name in ipairs(words) do
    if schema[name] ~= nil then return false end
  end
  return true
end

local function walk_object(root, schema, at, found)
  note(found, at, schema.properties and "struct" or "map")
  for name, one in pairs(schema.properties or {}) do walk(root, one, at .. "." .. name, found) end
  local values = schema.additionalProperties
  if type(values) == "table" then walk(root, values, at .. ".*", found) end
end

function walk(root, schema, at, found)
  if schema == nil or schema == true then return note(found, at, "any") end
  if type(schema) ~= "table" then return end
  if is_free(schema) then return note(found, at, "any") end
  if schema["$ref"] then walk(root, schemas.find(root, schema["$ref"]), at, found) end
  for _, word in ipairs { "anyOf", "oneOf", "allOf" } do
    for _, one in ipairs(schema[word] or {}) do walk(root, one, at, found) end
  end
  if has_type(schema, "object") or schema.properties then walk_object(root, schema, at, found) end
  if has_type(schema, "array") then
    note(found, at, "array")
    walk(root, schema.items, at .. "[]", found)
  end
end

--- For each method what all versions say of its params, or of the answer to it.
local function collect()
  local params, results = {}, {}
  local function add(all, root, method, schema, at)
    all[method] = all[method] or {}
    if schema ~= nil then walk(root, schema, at, all[method]) end
  end
  for _, name in ipairs { "old", "middle", "latest" } do
    local schema = schemas.load(name, "experimental")
    for method, one in pairs(schema.methods) do
      add(params, schema.root, method, one.params, "params")
    end
    for method, one in pairs(schema.requests) do
      local result = schemas.result_of(schema.root, method, one.params)
      add(results, schema.root, method, result, "result")
    end
  end
  return params, results
end

--- The places of objects that are never arrays, without their first word.
local function places(found)
  local list = {}
  for at, kinds in pairs(found) do
    local short = at:match "^%a+%.(.+)$"
    if short and kinds.struct and not kinds.array and not kinds.any then list[#list + 1] = short end
  end
  table.sort(list)
  return list
end

local function sorted_keys(map)
  local list = {}
  for key in pairs(map) do list[#list + 1] = key end
  table.sort(list)
  return list
end

--- One entry, in lines of at most a hundred columns.
local function entry(method, list)
  local lines, line = {}, ("  [%q] = [=["):format(method)
  for _, word in ipairs(list) do
    local glue = line:find "%[=%[$" and "" or " "
    if #line + #glue + #word > 96 then
      lines[#lines + 1], line, glue = line, "    ", ""
    end
    line = line .. glue .. word
  end
  lines[#lines + 1] = line .. "]=],"
  return table.concat(lines, "\n")
end

local function render(all)
  local lines = {}
  for _, method in ipairs(sorted_keys(all)) do
    local list = places(all[method])
    if #list > 0 then lines[#lines + 1] = entry(method, list) end
  end
  return table.concat(lines, "\n")
end

-- ---- The table ---------------------------------------------------------------------------------

describe("the places of objects", function()
  local params, results = collect()

  it("are those of the schemas of three versions", function()
    local file = assert(io.open(peers.root .. "/lua/codex/launcher/structs.lua"))
    local text = file:read "a"
    file:close()
    local wanted = text:gsub("(M%.params = {\n).-\n}\n", function(head)
      return head .. render(params):gsub("%%", "%%%%") .. "\n}\n"
    end):gsub("(M%.results = {\n).-\n}\n", function(head)
      return head .. render(results):gsub("%%", "%%%%") .. "\n}\n"
    end)
    file = assert(io.open(path, "w"))
    file:write(wanted)
    file:close()
    assert.is_true(wanted == text, "lua/codex/launcher/structs.lua differs from " .. path)
  end)

  it("are in maps only where a path ends, which is where arrays in maps are looked for", function()
    for _, all in ipairs { structs.params, structs.results } do
      for method, text in pairs(all) do
        for place in text:gmatch "%S+" do
          local at = place:find("*", 1, true)
          assert.is_true(not at or place:find "^[%a_.]+%.%*$" ~= nil, method .. " " .. place)
        end
      end
    end
  end)

  it("in maps are those of the table, whatever their names", function()
    for _, place in ipairs { "things.*", "deep.things.*" } do
      local method = "made/up/" .. place
      structs.params[method] = place
      local inner = place == "things.*" and '{"things":%s}' or '{"deep":{"things":%s}}'
      local function read(things)
        local text = inner:format(things)
        return intake.read(('{"id":1,"method":"%s","params":%s}'):format(method, text))
      end
      assert.is_table(read '{"a":{},"b":7}')
      local message, fault = read '{"a":{},"b":[]}'
      assert.is_nil(message, place)
      assert.equal("an array where an object is expected at params." .. place:gsub("%*", "b"),
        fault.problem)
      structs.params[method] = nil
    end
  end)

  it("are known of every method, and none is an array anywhere", function()
    for method, found in pairs(params) do
      for at, kinds in pairs(found) do
        if not at:find "[%*%[]" and kinds.struct and at ~= "params" then
          -- A message with an array at this very place.
          local open, close = "", ""
          for word in at:gmatch "[^.]+" do
            open, close = open .. ('{%s:'):format(json.encode(word)), "}" .. close
          end
          local inner = (open .. "[]" .. close):sub(2)
          local line = ('{"id":1,"method":%s,%s'):format(json.encode(method), inner)
          local message, fault = intake.read(line)
          assert.is_nil(message, line)
          assert.matches("array", fault.problem)
        end
      end
    end
    assert.is_string(structs.params["turn/start"])
  end)
end)
