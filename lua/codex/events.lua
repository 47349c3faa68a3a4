--- The events of `codex exec --json`, and what a failure among them means.
---
--- Fields are passed on exactly as Codex sends them. The types below are those of 0.169.0; unknown
--- event and item types are events like any other and carry their `raw_line`.

local json = require "codex.json"

local M = {}

---@class codex.Usage summed by Codex over the whole thread; every field may be absent
---@field input_tokens? integer
---@field cached_input_tokens? integer
---@field cache_write_input_tokens? integer since 0.153
---@field output_tokens? integer
---@field reasoning_output_tokens? integer since 0.140

---@alias codex.Event
---| codex.ThreadStarted
---| codex.TurnStarted
---| codex.TurnCompleted
---| codex.TurnFailed
---| codex.ItemEvent
---| codex.ErrorEvent
---| codex.Junk
---| codex.Failure

---@class codex.ThreadStarted
---@field type "thread.started" always the first
---@field thread_id string UUID; after a fork the new thread's
---@class codex.TurnStarted
---@field type "turn.started" a warning item may come before it
---@class codex.TurnCompleted
---@field type "turn.completed"
---@field usage codex.Usage
---@class codex.TurnFailed
---@field type "turn.failed"
---@field error { message: string }
---@class codex.ItemEvent
---@field type "item.started"|"item.updated"|"item.completed"
---@field item codex.Item
---@class codex.ErrorEvent
---@field type "error" often a notice that Codex tries again; only turn.failed or the exit ends it
---@field message string
---@class codex.Junk a line that is no event; made here
---@field type "junk"
---@field line string
---@field synthetic true
---@class codex.Failure the last event of a stream that failed; made here
---@field type "failure"
---@field error codex.Error
---@field synthetic true

---@alias codex.Item
---| codex.AgentMessage
---| codex.Reasoning
---| codex.CommandExecution
---| codex.FileChange
---| codex.McpToolCall
---| codex.CollabToolCall
---| codex.WebSearch
---| codex.TodoList
---| codex.ErrorItem

---@class codex.AgentMessage
---@field id string item ids count from 0 in every run, also of a resumed thread
---@field type "agent_message"
---@field text string
---@field phase? string "final_answer" where Codex says so
---@class codex.Reasoning
---@field id string
---@field type "reasoning"
---@field text string
---@class codex.CommandExecution
---@field id string
---@field type "command_execution"
---@field command string
---@field aggregated_output string standard output and error; "" while it runs
---@field exit_code integer|lightuserdata json.null while it runs
---@field status "in_progress"|"completed"|"failed"|"declined"
---@class codex.FileChange
---@field id string
---@field type "file_change"
---@field changes { path: string, kind: "add"|"delete"|"update" }[]
---@field status "in_progress"|"completed"|"failed"
---@class codex.McpToolCall
---@field id string
---@field type "mcp_tool_call"
---@field server string
---@field tool string
---@field arguments any
---@field result table|lightuserdata
---@field error { message: string }|lightuserdata
---@field status "in_progress"|"completed"|"failed"
---@class codex.CollabToolCall since about 0.100
---@field id string
---@field type "collab_tool_call"
---@field tool "spawn_agent"|"send_input"|"wait"|"close_agent"
---@field sender_thread_id string
---@field receiver_thread_ids string[]
---@field prompt string|lightuserdata
---@field agents_states table<string, { status: string, message: any }>
---@field status "in_progress"|"completed"|"failed"
---@class codex.WebSearch
---@field id string the item's; the search's own id is among json.duplicates(item)
---@field type "web_search"
---@field query string
---@field action? table since 0.100
---@class codex.TodoList
---@field id string
---@field type "todo_list"
---@field items { text: string, completed: boolean }[]
---@class codex.ErrorItem a warning; it does not end the turn
---@field id string
---@field type "error"
---@field message string

local event_types = {
  ["thread.started"] = true, ["turn.started"] = true, ["turn.completed"] = true,
  ["turn.failed"] = true, ["item.started"] = true, ["item.updated"] = true,
  ["item.completed"] = true, error = true,
}

local item_types = {
  agent_message = true, reasoning = true, command_execution = true, file_change = true,
  mcp_tool_call = true, collab_tool_call = true, web_search = true, todo_list = true, error = true,
}

--- Turns one line of the stream into an event; never fails.
---@param line string
---@return codex.Event
function M.decode(line)
  local event = json.decode(line)
  if type(event) ~= "table" or type(event.type) ~= "string" then
    return { type = "junk", line = line, synthetic = true }
  end
  local item = event.item
  local known = event_types[event.type]
    and (type(item) ~= "table" or item_types[item.type])
  if not known and event.raw_line == nil then event.raw_line = line end
  return event
end

--- Whether an event is a notice that Codex waits for the network with no limit of its own. Notices
--- that count ("2/5") end by themselves. 0.169 retries a refused connection for ever.
---@param event codex.Event
---@return boolean
function M.is_unbounded_retry(event)
  return event.type == "error" and type(event.message) == "string"
    and event.message:find "^Reconnecting" ~= nil and not event.message:find "^%D*%d+/%d+"
end

-- ---- Failures ----------------------------------------------------------------------------------

--- Codex gives a failure's class nowhere but in its message, and words its messages anew from
--- version to version, with typographic quotes or without. So this looks for fixed technical terms
--- in a flattened text (lower case, ASCII quotes) and leaves unknown what has none of them.
--- In order: the first that is found counts.
local terms = {
  { kind = "rate_limit", code = "quota", "quota exceeded", "insufficient_quota" },
  { kind = "rate_limit", code = "usage_limit", "usage limit", "usage_limit" },
  { kind = "rate_limit", code = "rate_limit", "429 too many requests", "rate limit",
    "rate_limit_exceeded" },
  { kind = "auth", code = "auth", "401 unauthorized", "403 forbidden", "not logged in",
    "missing environment variable", "invalid_api_key", "incorrect api key", "refresh token" },
  { kind = "exit", code = "context_window", "context window", "context_length_exceeded" },
  { kind = "exit", code = "untrusted", "not inside a trusted directory" },
  { kind = "exit", code = "unknown_session", "no rollout found", "thread not found",
    "no session found", "session not found", "no saved session" },
  { kind = "exit", code = "config", "failed to load configuration", "error loading config",
    "loading configuration", "config.toml", "unknown configuration field", "codex_home points to",
    "required mcp servers failed", "output schema", "unknown feature flag", "unknown variant" },
  { kind = "exit", code = "sandbox", "codex-linux-sandbox", "bwrap:", "bubblewrap", "landlock",
    "sandbox error" },
  { kind = "exit", code = "incomplete", "incomplete response returned" },
  { kind = "exit", code = "server", "high demand", "internal server error", "overloaded",
    "at capacity", "server_error", "the server had an error" },
  { kind = "exit", code = "network", "waiting for network", "stream closed before",
    "idle timeout waiting", "connection failed", "error sending request", "network error",
    "dns error", "connection refused" },
  { kind = "exit", code = "bad_request", "invalid_request_error" },
}

--- What Codex itself says behind "stream disconnected before completion". Anything else there are
--- the server's words, which came over a line that held.
local transport = {
  "^transport error", "^stream closed before", "^idle timeout waiting", "^websocket",
  "^failed to send websocket", "^connection", "^io error", "^broken pipe", "^network error",
}

--- Up to some version before this one a response that is incomplete is told in the words of a
--- stream that was closed.
local TELLS_INCOMPLETE = "0.101.0"

local by_status = {
  ["401"] = { kind = "auth", code = "auth" }, ["403"] = { kind = "auth", code = "auth" },
  ["400"] = { kind = "exit", code = "bad_request" },
}

local function flatten(text)
  text = text:gsub("\u{2018}", "'"):gsub("\u{2019}", "'")
  return (text:gsub("\u{201C}", '"'):gsub("\u{201D}", '"'):lower())
end

local units = {
  ms = 0.001, s = 1, sec = 1, second = 1, seconds = 1, m = 60, min = 60, minute = 60, minutes = 60,
  h = 3600, hour = 3600, hours = 3600, day = 86400, days = 86400,
}

local months = {
  jan = 1, feb = 2, mar = 3, apr = 4, may = 5, jun = 6,
  jul = 7, aug = 8, sep = 9, oct = 10, nov = 11, dec = 12,
}

--- "may 18th, 2033 3:33 am" or, for today, "3:33 am", both in local time.
local function clock_time(text, now)
  local hour, minute, half = text:match "try again at .-(%d%d?):(%d%d) ([ap])m"
  if not hour then return nil end
  local date = os.date("*t", now)
  local month, day, year = text:match "try again at (%l%l%l)%l* (%d%d?)%l%l, (%d%d%d%d)"
  if month and months[month] then
    date.month, date.day, date.year = months[month], tonumber(day), tonumber(year)
  end
  date.hour = tonumber(hour) % 12 + (half == "p" and 12 or 0)
  date.min, date.sec, date.isdst = tonumber(minute), 0, nil
  return os.time(date)
end

--- Seconds until one may try again, where the text says so: "try again in 1.5s", "in 2 days 3
--- hours", "at May 18th, 2033 3:33 AM".
---@param text string
---@param now? integer seconds since the epoch
---@return number?
function M.retry_after(text, now)
  text, now = flatten(text), now or os.time()
  local span = text:match "try again in ([%d.]+%s*%l[%d.%s%l]*)"
    or text:match "retry after ([%d.]+%s*%l+)"
  if span then
    local seconds = 0
    for amount, unit in span:gmatch "([%d.]+)%s*(%l+)" do
      seconds = seconds + (tonumber(amount) or 0) * (units[unit] or 0)
    end
    return seconds
  end
  local at = clock_time(text, now)
  return at and math.max(0, at - now)
end

--- A body of HTTP 400 is passed on whole: `{"error":{...}}`.
local function is_error_body(text)
  local body = text:sub(1, 1) == "{" and json.decode(text)
  return type(body) == "table" and type(body.error) == "table"
end

--- The class of an answer over HTTP that Codex names by its status. What the answer says of itself
--- can be anything.
local function class_of_status(flat)
  local status = flat:match "unexpected status (%d%d%d)"
  if not status then return nil end
  return by_status[status] or status:sub(1, 1) == "5" and { kind = "exit", code = "server" } or nil
end

local function class_of_terms(flat)
  for _, class in ipairs(terms) do
    for _, term in ipairs(class) do
      if flat:find(term, 1, true) then return { kind = class.kind, code = class.code } end
    end
  end
end

local function is_older(version, than)
  local semver = require "codex.semver"
  local parsed = semver.parse(version)
  return parsed ~= nil and semver.compare(parsed, than) < 0
end

--- The class of a stream that ended before its time: the line, or what the server said.
local function class_of_stream(reason, version)
  for _, pattern in ipairs(transport) do
    if reason:find(pattern) then
      local may_be_incomplete = reason:find "^stream closed before" and version
        and is_older(version, TELLS_INCOMPLETE)
      return not may_be_incomplete and { kind = "exit", code = "network" } or nil
    end
  end
  return class_of_terms(reason)
end

--- What kind of failure a message tells of; nil where that cannot be said.
---@param text string
---@param version? string of the Codex that said it, where that is known
---@return { kind: codex.ErrorKind, code: string, retry_after?: number }?
function M.classify(text, version)
  local flat = flatten(text)
  local reason = flat:match "stream disconnected before completion: (.*)"
  local class = class_of_status(flat)
  if not class then
    class = reason and class_of_stream(reason, version) or not reason and class_of_terms(flat)
  end
  if not class then return is_error_body(text) and by_status["400"] or nil end
  if class.kind ~= "rate_limit" then return class end
  return { kind = class.kind, code = class.code, retry_after = M.retry_after(text) }
end

--- Standard error without what says nothing: the backtrace of a stripped binary, the notice of
--- where the prompt comes from, the warning on every run when CODEX_HOME is under TMPDIR.
---@param text string
---@return string
---@return boolean under_tmpdir the last of these was there
function M.clean_stderr(text)
  local kept, under_tmpdir = {}, false
  for line in text:gmatch "[^\n]+" do
    local noise = line:find "^Reading .* stdin%.%.%.$" or line:find "^Stack backtrace:"
      or line:find "^%s*%d+: <unknown>$"
    if line:find("^WARNING: proceeding, even though we could not create PATH aliases") then
      under_tmpdir, noise = true, true
    end
    if not noise then kept[#kept + 1] = line end
  end
  return table.concat(kept, "\n"), under_tmpdir
end

return M
