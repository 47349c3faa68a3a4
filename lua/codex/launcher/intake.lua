--- What a client sends, read strictly and once: what is understood here is what Codex will read.
---
--- Codex's own reader takes more than JSON-RPC allows, and of two ways to read a message it may
--- choose the other one. So a message that could be read in two ways is refused, and what passes is
--- passed on as it came; only an id that is written oddly (`-0`, `"\u0061"`) is written plainly.

local envelope = require "codex.core.envelope"
local json = require "codex.json"
local structs = require "codex.launcher.structs"

local M = {}

local PARSE_ERROR, INVALID_REQUEST = -32700, -32600

-- ---- Where objects are expected ----------------------------------------------------------------

local array_mark = getmetatable(json.array {})

local function is_array(value)
  return type(value) == "table" and getmetatable(value) == array_mark
end

-- Of every message, whatever its method.
local of_all = { "trace", "error" }

local function add_paths(list, prefix, text)
  for path in text:gmatch "%S+" do
    if not path:find("*", 1, true) then list[#list + 1] = prefix .. path end
  end
end

local by_method, everywhere = {}, nil

--- The places for one method's requests.
local function places_of(method)
  if not by_method[method] then
    local list = { table.unpack(of_all) }
    add_paths(list, "params.", structs.params[method])
    by_method[method] = envelope.places(list)
  end
  return by_method[method]
end

--- The places of all requests together. Most messages have no array at any of them, and need not be
--- read again with those of their own method.
local function all_places()
  if everywhere then return everywhere end
  local list, seen = { table.unpack(of_all) }, {}
  for _, text in pairs(structs.params) do add_paths(seen, "params.", text) end
  for _, path in ipairs(seen) do
    if not seen[path] then
      seen[path], list[#list + 1] = true, path
    end
  end
  everywhere = envelope.places(list)
  return everywhere
end

-- The reader in C knows places by their paths; the members of maps have names that nobody knows.

--- An array among the members of a map at this path; the first such path.
local function array_in_map(value, path)
  for name in path:gmatch "[^.*]+" do
    value = type(value) == "table" and value[name] or nil
  end
  if type(value) ~= "table" or is_array(value) then return nil end
  for name, one in pairs(value) do
    if is_array(one) then return (path:gsub("%*$", tostring(name))) end
  end
end

-- A name that a text has may be written with escapes.
local function may_have(line, path)
  return line:find("\\u", 1, true) or line:find(path:match "([^.]+)%.%*$", 1, true)
end

--- The first path that leads to an array, of those to members of maps in this text.
local function problem_in_maps(line, member, text)
  local decoded
  for path in (text or ""):gmatch "%S+%.%*" do
    decoded = decoded or may_have(line, path) and json.decode(line)
    local found = decoded and array_in_map(decoded[member], path)
    if found then
      return ("an array where an object is expected at %s.%s"):format(member, found)
    end
  end
end

-- ---- Messages ----------------------------------------------------------------------------------

---@class codex.Taken
---@field kind codex.MessageKind
---@field method? string
---@field id? string canonical JSON text: what Codex gets, and what ids are compared by
---@field own_id? string as the client wrote it
---@field line string as Codex gets it

---@class codex.Fault
---@field problem string what is wrong, for people
---@field code integer of JSON-RPC
---@field id string JSON text for the error's id

--- The id to answer under is none where the message may have been an answer itself: its id would be
--- the server's.
local function fault_of(line, problem, id, name)
  -- What has too much in it would take long to be looked at.
  local is_json = name == "ETOOMANY" or json.decode(line) ~= nil
  local head = line:sub(1, 4096)
  local asks = id and head:find('"method"', 1, true)
  return {
    problem = problem, id = asks and id or "null",
    code = is_json and INVALID_REQUEST or PARSE_ERROR,
  }
end

local function read_envelope(line)
  local kind, method, id, plain = envelope.read(line, all_places())
  if kind then return kind, method, id, plain end
  -- The array that was refused may stand at the place of another method.
  local name
  kind, method, id, name = envelope.read(line)
  if not kind then return nil, method, id, name end
  local places = method and structs.params[method] and places_of(method)
  if not places then
    -- An unknown method, or an answer: only what is the same in all messages.
    places = by_method[""] or envelope.places(of_all)
    by_method[""] = places
  end
  return envelope.read(line, places)
end

--- Reads one message of a client.
---@param line string
---@return codex.Taken?
---@return codex.Fault?
function M.read(line)
  local kind, method, id, plain = read_envelope(line)
  if not kind then return nil, fault_of(line, method, id, plain) end
  local problem = method and problem_in_maps(line, "params", structs.params[method])
  if problem then return nil, fault_of(line, problem, id) end
  local own = id
  if id and not plain then
    own = select(3, require("codex.core.link").read(line))
    line = envelope.with_id(line, id)
  end
  if line:find("\n", 1, true) or line:find("\r", 1, true) then
    line = line:gsub("[\r\n]", " ") -- it can only be white space
  end
  return { kind = kind, method = method, id = id, own_id = own, line = line }
end

--- What is wrong with an answer to a request of the server's; nil where nothing is. An answer that
--- is known to be an object is none of anything else.
---@param line string that M.read took
---@param method string of the request
---@return string? problem
function M.problem_in_answer(line, method)
  local text = structs.results[method]
  local key = "result " .. method
  if not by_method[key] then
    local list = { table.unpack(of_all) }
    if text then
      list[#list + 1] = "result"
      add_paths(list, "result.", text)
    end
    by_method[key] = envelope.places(list)
  end
  local kind, problem = envelope.read(line, by_method[key])
  if not kind then return problem end
  if text and kind == "result" then return problem_in_maps(line, "result", text) end
end

--- The canonical form of an id that the server wrote; it writes plainly, as a rule.
---@param id string JSON text
---@return string
function M.canonical(id)
  if id:find "^[1-9]%d*$" or id == "0" or id:find '^"[ !#-%[%]-~]*"$' then return id end
  return envelope.id(id) or id
end

M.with_id = envelope.with_id

return M
