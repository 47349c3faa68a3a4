--- The audit log: what was asked and what was decided, one JSON object a line, only ever appended.
---
--- A record is one write to a file opened for appending, so that several programs may share a log.
--- Secrets are taken out as in every log here; answers and filled-in forms are not in it at all.

local E = require "codex.error"
local approval = require "codex.approval"
local files = require "codex.files"
local json = require "codex.json"
local log = require "codex.log"
local options = require "codex.options"
local uv = require "luv"

local M = {}

---@class codex.AuditRecord
---@field time string UTC, ISO 8601, milliseconds
---@field thread_id? string
---@field turn_id? string
---@field item_id? string
---@field kind codex.ApprovalKind
---@field method string
---@field summary string what was asked, in words
---@field decision string accept, accept_for_session, decline, cancel, or error for an error reply
---@field policy string who decided: a policy's name, "client", "default" when nobody did
---@field client? string name and version that the client gave itself
---@field why? string
---@field grant? table amendment, network, permissions and scope of the decision
---@field seconds number
---@field pid integer

---@class codex.Audit
---@field path string
---@field required boolean
local Audit = {}
Audit.__index = require("codex.base.class").methods(Audit)
Audit.__name = "codex.audit"

local OWNER_ONLY = tonumber("600", 8)

-- What is asked may be megabytes, and is Codex's and the model's to choose. In bytes, but for the
-- depth and the number of members of tables.
local TEXT_LIMIT, RECORD_LIMIT, DEPTH_LIMIT, MEMBER_LIMIT = 2000, 16000, 8, 100
local LINE_LIMIT = 1 << 20 -- of what is read
local BLOCK = 1 << 16

function M.path() return files.state_dir() .. "/audit.jsonl" end

--- Without a home folder there is no usual place.
local function given_or_usual(path)
  if path then return path end
  local has_place, place = pcall(M.path)
  if has_place then return place end
  return nil, E.new("io", place)
end

local function io_error(what, path, message, name)
  return nil, E.new("io", ("%s '%s': %s"):format(what, path, message), { code = name })
end

-- ---- The file ----------------------------------------------------------------------------------

--- A file is read, too, to see how it ends. What is none (a pipe, a device) is only written to, and
--- nothing of it is waited for: a pipe that nobody reads is an error.
local function open_once(path)
  local c, stat = uv.constants, uv.fs_stat(path)
  local is_file = not stat or stat.type == "file"
  local access = is_file and c.O_RDWR | c.O_CREAT or c.O_WRONLY
  return uv.fs_open(path, access | c.O_APPEND | c.O_NONBLOCK | c.O_NOCTTY, OWNER_ONLY)
end

local function open_file(path)
  local fd, message, name = open_once(path)
  local folder = path:match "^(.+)/[^/]*$"
  if not fd and name == "ENOENT" and folder then
    local made, err = files.make_dir(folder)
    if not made then return nil, err end
    fd, message, name = open_once(path)
  end
  if not fd then return io_error("cannot write", path, message, name) end
  return fd
end

--- What was decided is the user's alone, also in a file that others could read.
local function close_to_others(fd, path)
  local stat = uv.fs_fstat(fd)
  if not stat or stat.type ~= "file" or stat.mode & tonumber("077", 8) == 0 then return true end
  local ok, message, name = uv.fs_fchmod(fd, OWNER_ONLY)
  return ok or io_error("cannot keep others from reading", path, message, name)
end

--- Opens an audit log, and makes it if need be: the file is opened once to see that it can be.
---@param path? string $XDG_STATE_HOME/codex-lua/audit.jsonl by default
---@param given? { required?: boolean } required: what cannot be written down must not happen; the
---  decider then answers safely
---@return codex.Audit?
---@return codex.Error? error of kind `io`
function M.open(path, given)
  given = options.check("codex.audit.open", given, { required = true })
  options.typed("codex.audit.open", given, "required", "boolean")
  local err
  path, err = given_or_usual(path)
  if not path then return nil, err end
  local fd
  fd, err = open_file(path)
  if not fd then return nil, err end
  local ok
  ok, err = close_to_others(fd, path)
  uv.fs_close(fd)
  if not ok then return nil, err end
  return setmetatable({ path = path, required = given.required == true }, Audit)
end

--- Whether the file ends in the middle of a line, as after a full disk. It also looks so while
--- another program writes: then there will be an empty line, which a reader passes over.
local function is_torn(fd)
  local stat = uv.fs_fstat(fd)
  return stat and stat.type == "file" and stat.size > 0
    and uv.fs_read(fd, 1, stat.size - 1) ~= "\n"
end

local function append(path, line)
  local fd, err = open_file(path)
  if not fd then return nil, err end
  if is_torn(fd) then line = "\n" .. line end
  local n, message, name = uv.fs_write(fd, line, -1)
  uv.fs_close(fd)
  if n == #line then return true end
  return io_error("cannot write", path, message or "the disk is full", name or "ENOSPC")
end

-- ---- Records -----------------------------------------------------------------------------------

local function timestamp()
  local seconds, microseconds = uv.gettimeofday()
  return ("%s.%03dZ"):format(os.date("!%Y-%m-%dT%H:%M:%S", seconds), microseconds // 1000)
end

--- The beginning of a text that is UTF-8 where the text is, and the mark of what is missing.
local function cut(text, limit)
  if #text <= limit then return text end
  while limit > 0 and text:byte(limit + 1) & 0xc0 == 0x80 do limit = limit - 1 end
  return text:sub(1, limit) .. "..."
end

local clean

--- The members that fit; of a list the first.
local function clean_members(value, budget, depth)
  local copy, is_list, count = setmetatable({}, getmetatable(value)), #value > 0, 0
  for key, one in (is_list and ipairs or pairs)(value) do
    count = count + 1
    if count > MEMBER_LIMIT then break end
    copy[clean(key, budget, depth)] = clean(one, budget, depth)
  end
  return copy
end

--- A copy in which every text is without secrets, and which ends somewhere.
function clean(value, budget, depth)
  if type(value) == "string" then
    local text = cut(log.redact(value), math.min(TEXT_LIMIT, budget.left))
    budget.left = math.max(budget.left - #text, 0)
    return text
  end
  if type(value) ~= "table" then return value end
  if depth == DEPTH_LIMIT or budget.left == 0 then return "..." end
  return clean_members(value, budget, depth + 1)
end

local function record_of(request, record)
  local budget = { left = RECORD_LIMIT }
  local function bounded(value) return clean(value, budget, 0) end
  return {
    time = timestamp(), thread_id = bounded(request.thread_id), turn_id = bounded(request.turn_id),
    item_id = bounded(request.item_id), kind = request.kind, method = bounded(request.method),
    decision = record.decision, policy = bounded(record.policy), client = bounded(record.client),
    summary = bounded(approval.describe(request)), why = bounded(record.why),
    grant = bounded(record.grant), pid = uv.os_getpid(),
    seconds = record.seconds and math.floor(record.seconds * 1000 + 0.5) / 1000,
  }
end

--- One line of JSON that shows what it says also to who looks at the file as it is.
---@param record table
---@return string
function M.line(record) return approval.visible_json(json.encode(record, { repair = true })) end

local function write_down(path, request, record)
  return append(path, M.line(record_of(request, record)) .. "\n")
end

--- Appends a decision. What goes wrong is returned and logged, not raised.
---@param request codex.ApprovalRequest
---@param record codex.DecisionRecord
---@return true?
---@return codex.Error?
function Audit:record(request, record)
  local ran, ok, err = pcall(write_down, self.path, request, record)
  if not ran then ok, err = nil, E.new("io", "the record cannot be made: " .. tostring(ok)) end
  if not ok then log.warn("the audit log: %s", err.message) end
  return ok, err
end

-- ---- Reading -----------------------------------------------------------------------------------

--- Gives the lines of a file one by one; behind a line that cannot be used, why. Of one that is too
--- long no more is held than a part.
local function lines_of(file)
  local buffer, at, is_long, is_over = "", 1, false, false
  return function()
    while not is_over do
      local newline = buffer:find("\n", at, true)
      if newline then
        local line, problem = buffer:sub(at, newline - 1), is_long and "is too long" or nil
        at, is_long = newline + 1, false
        return line, problem
      end
      is_long = is_long or #buffer - at >= LINE_LIMIT
      local rest = is_long and "" or buffer:sub(at)
      local block, message = file:read(BLOCK)
      buffer, at, is_over = rest .. (block or ""), 1, not block
      if is_over and (rest ~= "" or is_long or message) then return rest, message or "is torn" end
    end
  end
end

local function open_log(path)
  local file, message, number = io.open(path, "rb")
  if file then
    local _
    _, message, number = file:read(0)
    if not number then return file end
    file:close()
    message = ("%s: %s"):format(path, message)
  end
  local code = number == 2 and "ENOENT" or nil
  return nil, E.new("io", "cannot read " .. message, { code = code })
end

--- Iterates over the records of a log, oldest first. A line that is no record, as a torn one at the
--- end, is skipped and said in the log.
---@param path? string
---@return (fun(): codex.AuditRecord?)? next for a generic for, with what closes the file
---@return codex.Error? error of kind `io`; code ENOENT when there is no log yet
function M.read(path)
  local err
  path, err = given_or_usual(path)
  if not path then return nil, err end
  local file
  file, err = open_log(path)
  if not file then return nil, err end
  local count, next_line = 0, lines_of(file)
  local function next_record()
    for line, problem in next_line do
      count = count + 1
      local record = not problem and json.decode(line)
      if type(record) == "table" and record.time then return record end
      if line ~= "" or problem then
        log.warn("line %d of '%s' %s and is left out", count, path, problem or "is no record")
      end
    end
  end
  return next_record, nil, nil, file
end

return M
