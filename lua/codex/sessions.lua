--- What Codex keeps of a thread on disk, read only: its name, its rollout, its tokens so far.

local files = require "codex.files"
local json = require "codex.json"
local uuid = require "codex.base.uuid"

local M = {}

local HISTORY_LIMIT = 1 << 20 -- bytes of the history that are looked at

--- Whether a text is the id of a thread, and not a name.
M.is_id = uuid.is

--- The id of the thread that was given this name last.
---@param home string CODEX_HOME
---@param name string
---@return string?
function M.id_of(home, name)
  local id
  for line in (files.read(home .. "/session_index.jsonl") or ""):gmatch "[^\n]+" do
    local entry = json.decode(line)
    if type(entry) == "table" and entry.thread_name == name then id = entry.id end
  end
  return id
end

--- The day a thread began, in local time, as its folder has it: the id is a UUIDv7, which begins
--- with the time in milliseconds.
local function days_of(id)
  local ms = tonumber((id:gsub("%-", ""):sub(1, 12)), 16)
  local days = {}
  for _, shift in ipairs { 0, -86400, 86400 } do
    days[#days + 1] = os.date("%Y/%m/%d", ms // 1000 + shift)
  end
  return days
end

-- The scan goes on to its end: one that is left at the last name leaks it (libuv 1.44).
local function find_in(dir, id)
  local uv = require "luv"
  local found
  local request = uv.fs_scandir(dir)
  for name in function() return request and uv.fs_scandir_next(request) end do
    if name:sub(-#id - 6) == id .. ".jsonl" then found = dir .. "/" .. name end
  end
  return found
end

--- The rollout file of a thread.
---@param home string CODEX_HOME
---@param id string
---@return string?
function M.rollout(home, id)
  for _, day in ipairs(days_of(id)) do
    local path = find_in(home .. "/sessions/" .. day, id)
    if path then return path end
  end
  return find_in(home .. "/archived_sessions", id)
end

--- The tokens a thread has used so far: an empty table where none are recorded, nil where the file
--- cannot be read.
---@param path string its rollout file
---@return codex.Usage?
function M.usage_in(path)
  local text = files.read(path)
  if not text then return nil end
  local total = {}
  for line in text:gmatch "[^\n]+" do
    if line:find('"token_count"', 1, true) then
      local entry = json.decode(line)
      local info = type(entry) == "table" and type(entry.payload) == "table" and entry.payload.info
      local sum = type(info) == "table" and info.total_token_usage
      if type(sum) == "table" then total = sum end
    end
  end
  return total
end

--- The tokens a thread has used so far, or nil where nothing is recorded.
---@param home string CODEX_HOME
---@param id string
---@return codex.Usage?
function M.usage(home, id)
  local path = M.rollout(home, id)
  local total = path and M.usage_in(path)
  return total and next(total) and total or nil
end

--- Which program began a thread: "codex_exec", "codex-tui", the name of an IDE ...
---@param path string its rollout file
---@return string?
function M.originator(path)
  local file <close> = io.open(path)
  local first = file and json.decode(file:read "l" or "")
  local payload = type(first) == "table" and first.payload
  return type(payload) == "table" and payload.originator or nil
end

--- The texts of a message, as Codex puts them together for its notify program.
local function text_of(content)
  local texts = {}
  for _, part in ipairs(type(content) == "table" and content or {}) do
    if type(part) == "table" and type(part.text) == "string" then texts[#texts + 1] = part.text end
  end
  return table.concat(texts)
end

--- The user's message in an event of a rollout, and in which form: 0.101 has `user_message`, 0.153
--- completed items.
local function said(payload)
  if payload.type == "user_message" then return payload.message, "event" end
  local item = payload.type == "item_completed" and payload.item
  if type(item) == "table" and item.type == "UserMessage" then
    return text_of(item.content), "item"
  end
end

--- What the user said in a thread, a text for each of his messages. One that is there in both forms
--- counts once.
---@param path string its rollout file
---@return string[]
function M.user_messages(path)
  local list, last_form = {}, nil
  for line in (files.read(path) or ""):gmatch "[^\n]+" do
    local may_be = line:find('"user_message"', 1, true) or line:find('"UserMessage"', 1, true)
    local entry = may_be and json.decode(line)
    local payload = type(entry) == "table" and entry.type == "event_msg" and entry.payload
    if type(payload) == "table" then
      local text, form = said(payload)
      local is_again = form ~= last_form and text == list[#list]
      if type(text) == "string" and not is_again then list[#list + 1], last_form = text, form end
    end
  end
  return list
end

--- What the user has typed into Codex's own interface in a thread, as far as it is still among the
--- last entries of its history. Threads that it keeps for itself are not there, and those without a
--- rollout, as of `/side`, are.
---@param home string CODEX_HOME
---@param id string
---@return string[]? nil: nothing
function M.typed(home, id)
  local file <close> = io.open(home .. "/history.jsonl")
  if not file then return nil end
  local size = file:seek "end"
  file:seek("set", math.max(0, size - HISTORY_LIMIT))
  local list = {}
  for line in file:read "a":gmatch "[^\n]+" do
    local entry = line:find(id, 1, true) and json.decode(line)
    if type(entry) == "table" and entry.session_id == id and type(entry.text) == "string" then
      list[#list + 1] = entry.text
    end
  end
  return #list > 0 and list or nil
end

--- The newest thread that was written to since a moment, and its folder.
---@param home string CODEX_HOME
---@param since integer seconds since the epoch
---@return string? id
function M.newest(home, since)
  local uv = require "luv"
  local newest, newest_time
  for _, shift in ipairs { 0, -86400 } do
    local dir = home .. "/sessions/" .. os.date("%Y/%m/%d", os.time() + shift)
    local request = uv.fs_scandir(dir)
    for name in function() return request and uv.fs_scandir_next(request) end do
      local stat = uv.fs_stat(dir .. "/" .. name)
      local id = name:match "(%x+%-%x+%-%x+%-%x+%-%x+)%.jsonl$"
      if id and stat and stat.mtime.sec >= since and stat.mtime.sec >= (newest_time or 0) then
        newest, newest_time = id, stat.mtime.sec
      end
    end
  end
  return newest
end

return M
