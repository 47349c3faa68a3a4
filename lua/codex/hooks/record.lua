--- What we put into Codex's config.toml, and what is to be put back: the record, without the file.
--- codex.setup does what it says.
---
--- `entries` are ours, by name, as we wrote them, with what was there before us (`previous`).
--- `after` are the bytes that we left; `snapshots` those from before each change, with the names of
--- what was in them of ours (`has`). Bytes are put back only over bytes that we left: otherwise
--- somebody has worked on the file since, and only ours is taken out. What he changed or took out
--- himself is not ours any more.

local json = require "codex.json"

local M = {}

--- The word in our command lines that says whose they are, wherever the program is and whatever it
--- is called by then.
M.MARK = "--by=codex-lua"

-- ---- Who is ours -------------------------------------------------------------------------------

local function has(words, wanted)
  for _, word in ipairs(words) do
    if word == wanted then return true end
  end
  return false
end

--- Whether a notify program is ours: it has our mark, or, from before there was one, our name.
---@param argv any
---@return boolean
function M.is_our_notify(argv)
  if type(argv) ~= "table" or argv[2] ~= "notify" then return false end
  return has(argv, M.MARK) or tostring(argv[1]):match "[^/]+$" == "codex-lua"
end

--- Whether a hook's command line is that of `codex-lua notify` or `codex-lua hook`. The latter has
--- no mark and needs none: its options are nobody else's.
---@param command any
---@param subcommand "notify"|"hook"
---@return boolean
function M.is_our_hook(command, subcommand)
  if type(command) ~= "string" then return false end
  if subcommand == "hook" then
    return command:find " hook %-%-limit %d+ %-%-fail %l+ " ~= nil
      or command:find "codex%-lua'? hook%f[%s\0]" ~= nil
  end
  return command:find " notify %-%-hook '?%-%-by=codex%-lua%f[ '\0]" ~= nil
    or command:find "codex%-lua'? notify %-%-hook%f[%s\0]" ~= nil
end

--- The program that our notify program calls after it.
---@param argv any
---@return string[]?
function M.chain_of(argv)
  for i, word in ipairs(type(argv) == "table" and argv or {}) do
    if word == "--chain" then
      local chain = json.decode(argv[i + 1] or "")
      return type(chain) == "table" and chain or { argv[i + 1] }
    end
  end
end

-- ---- Values ------------------------------------------------------------------------------------

--- Whether two values are the same, as JSON has them.
function M.same(a, b)
  return json.encode(a == nil and json.null or a) == json.encode(b == nil and json.null or b)
end

local function present(value)
  if value ~= json.null then return value end
end

local function names_of(entries)
  local names = {}
  for name in pairs(entries) do names[#names + 1] = name end
  table.sort(names)
  return json.array(names)
end

local function copy(value) return json.decode(json.encode(value)) end

-- ---- Comments ----------------------------------------------------------------------------------

--- A line of TOML with nothing in its strings that could be taken for something else.
local function bare(line)
  local function blank(text) return ("x"):rep(#text) end
  return (line:gsub("\\.", blank):gsub('"[^"]*"', blank):gsub("'[^']*'", blank))
end

local function count(text, set) return select(2, text:gsub(set, "")) end

--- Follows a config.toml line by line: which table a line is in, which key's value it is part of.
local function follow(at, plain)
  if at.depth == 0 then
    local section = plain:match "^%s*%[%[?%s*([%w_.-]+)"
    at.section, at.key = section or at.section, plain:match "^%s*([%w_.-]+)%s*="
    if section then return end
  end
  local code = plain:gsub("#.*", "")
  at.depth = at.depth + count(code, "[%[{]") - count(code, "[%]}]")
end

--- The comments in the part of a config.toml that is replaced as a whole: the notify program, or
--- all hooks of an event. Codex keeps all others.
---@param text string
---@param wanted string "notify", or "hooks.Stop"
---@return string[]
function M.comments(text, wanted)
  local list, at = {}, { section = "", depth = 0 }
  for line in (text .. "\n"):gmatch "(.-)\r?\n" do
    local plain = bare(line)
    follow(at, plain)
    local name = at.section
    if at.key then name = name == "" and at.key or name .. "." .. at.key end
    local is_part = (name .. "."):sub(1, #wanted + 1) == wanted .. "."
    local from = is_part and plain:find("#", 1, true)
    if from then list[#list + 1] = line:sub(from) end
  end
  return list
end

-- ---- The record --------------------------------------------------------------------------------

---@class codex.FileState
---@field bytes? string as they are kept
---@field mode? integer
---@field missing? boolean there is no file

---@class codex.Record
---@field path string of the file
---@field entries table<string, table>
---@field snapshots table[]
---@field after? string
local Record = {}
Record.__index = require("codex.base.class").methods(Record)

--- One of a file that nothing of ours is in.
---@param path string
---@return codex.Record
function M.new(path)
  return setmetatable({ path = path, entries = json.object {}, snapshots = json.array {} }, Record)
end

--- One that was written down; a new one where that is something else.
---@param text? string
---@param path string
---@return codex.Record
function M.decode(text, path)
  local given = text and json.decode(text)
  local is_whole = type(given) == "table" and given.path == path
    and type(given.entries) == "table" and type(given.snapshots) == "table"
  return is_whole and setmetatable(given, Record) or M.new(path)
end

function Record:encode() return json.encode(self) end

function Record:is_empty() return next(self.entries) == nil end

---@return codex.Record
function Record:copy() return M.decode(self:encode(), self.path) end

--- Whether the file is as we left it.
---@param now codex.FileState
function Record:is_left(now)
  return self.after ~= nil and (now.bytes or "") == self.after
end

--- Forgets what is not there any more as we wrote it.
---@param is_there fun(name: string, entry: table): boolean
function Record:prune(is_there)
  for _, name in ipairs(names_of(self.entries)) do
    if not is_there(name, self.entries[name]) then self.entries[name] = nil end
  end
end

--- What was there before ours; where that is not known, what our own line says.
---@param name string
---@param now any what is there
---@param told? any what ours, if it is ours that is there now, calls in its turn
---@param is_ours boolean whether what is there is ours
---@return any? nil: nothing
function Record:previous(name, now, told, is_ours)
  local entry = self.entries[name]
  if entry then return present(entry.previous) end
  if is_ours then return told end
  return now
end

--- A change begins: what is to be, and, where something of ours is added, what the file was.
---@param before codex.FileState
---@param change fun(entries: table)
function Record:begin(before, change)
  if not self:is_left(before) then self.snapshots = json.array {} end
  local names = names_of(self.entries)
  change(self.entries)
  if #names < #names_of(self.entries) then
    local snapshot = copy(before)
    snapshot.has = names
    table.insert(self.snapshots, snapshot)
  end
end

--- The change is made.
---@param after codex.FileState
function Record:finish(after) self.after = after.bytes end

--- Takes entries out by the bytes from before them; nil where that would undo somebody else's work.
---@param now codex.FileState
---@param names string[]
---@return codex.FileState? snapshot to be put back
---@return codex.Record? rest the record that is true then
function Record:rewind(now, names)
  if not self:is_left(now) then return nil end
  local rest = self:copy()
  for _, name in ipairs(names) do rest.entries[name] = nil end
  local wanted = names_of(rest.entries)
  for i, snapshot in ipairs(self.snapshots) do
    if M.same(snapshot.has, wanted) then
      for k = #rest.snapshots, i, -1 do rest.snapshots[k] = nil end
      rest.after = snapshot.bytes
      return snapshot, rest
    end
  end
end

return M
