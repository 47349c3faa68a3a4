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
Audit.__index = Audit
Audit.__name = "codex.audit"

local OWNER_ONLY = tonumber("600", 8)
local SUMMARY_LIMIT = 2000 -- bytes; a diff may be megabytes

function M.path() return files.state_dir() .. "/audit.jsonl" end

local function io_error(what, path, message, name)
  return nil, E.new("io", ("%s '%s': %s"):format(what, path, message), { code = name })
end

local function open_file(path)
  local c = uv.constants
  local fd, message, name = uv.fs_open(path, c.O_RDWR | c.O_APPEND | c.O_CREAT, OWNER_ONLY)
  if not fd then return io_error("cannot write", path, message, name) end
  return fd
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
  path = path or M.path()
  local folder = path:match "^(.*)/[^/]*$"
  if folder and folder ~= "" then
    local made, err = files.make_dir(folder)
    if not made then return nil, err end
  end
  local fd, err = open_file(path)
  if not fd then return nil, err end
  uv.fs_close(fd)
  return setmetatable({ path = path, required = given.required == true }, Audit)
end

local function timestamp()
  local seconds, microseconds = uv.gettimeofday()
  return ("%s.%03dZ"):format(os.date("!%Y-%m-%dT%H:%M:%S", seconds), microseconds // 1000)
end

local function cut(text)
  if #text <= SUMMARY_LIMIT then return text end
  return text:sub(1, (utf8.offset(text, 0, SUMMARY_LIMIT) or SUMMARY_LIMIT) - 1) .. "..."
end

--- A copy in which every text is without secrets.
local function clean(value)
  if type(value) == "string" then return log.redact(value) end
  if type(value) ~= "table" then return value end
  local copy = setmetatable({}, getmetatable(value))
  for key, one in pairs(value) do copy[key] = clean(one) end
  return copy
end

local function record_of(request, record)
  return clean {
    time = timestamp(), thread_id = request.thread_id, turn_id = request.turn_id,
    item_id = request.item_id, kind = request.kind, method = request.method,
    summary = cut(approval.describe(request)), decision = record.decision,
    policy = record.policy, client = record.client, why = record.why, grant = record.grant,
    pid = uv.os_getpid(),
    seconds = record.seconds and math.floor(record.seconds * 1000 + 0.5) / 1000,
  }
end

--- Whether the file ends in the middle of a line, as after a full disk. It also looks so while
--- another program writes: then there will be an empty line, which a reader passes over.
local function is_torn(fd)
  local stat = uv.fs_fstat(fd)
  return stat and stat.size > 0 and uv.fs_read(fd, 1, stat.size - 1) ~= "\n"
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

--- Appends a decision. What goes wrong is returned and logged, not raised.
---@param request codex.ApprovalRequest
---@param record codex.DecisionRecord
---@return true?
---@return codex.Error?
function Audit:record(request, record)
  local line = json.encode(record_of(request, record), { repair = true }) .. "\n"
  local ok, err = append(self.path, line)
  if not ok then log.warn("the audit log: %s", err.message) end
  return ok, err
end

--- Iterates over the records of a log, oldest first. A line that is no record, as a torn one at the
--- end, is skipped and said in the log.
---@param path? string
---@return (fun(): codex.AuditRecord?)? next for a generic for, with what closes the file
---@return codex.Error? error of kind `io`; code ENOENT when there is no log yet
function M.read(path)
  path = path or M.path()
  local file, message, number = io.open(path, "rb")
  if not file then
    local code = number == 2 and "ENOENT" or nil
    return nil, E.new("io", "cannot read " .. message, { code = code })
  end
  local count = 0
  local function next_record()
    for line in function() return file:read "L" end do
      count = count + 1
      local whole = line:sub(-1) == "\n"
      local record = whole and json.decode(line)
      if type(record) == "table" and record.time then return record end
      if line ~= "\n" then
        log.warn("line %d of '%s' %s and is left out", count, path,
          whole and "is no record" or "is torn")
      end
    end
  end
  return next_record, nil, nil, file
end

return M
