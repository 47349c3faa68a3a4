--- Recordings of what a client and an app-server say to each other: written, and read again.
---
--- A recording is JSONL. Its first line is `{"recording":1,"time":..,"codex":userAgent or null}`,
--- then each line is a message: `t`, the seconds since the start, `dir`, "c2s" or "s2c", and in
--- `msg` the message byte for byte as it was sent, or in `text` a line that was no JSON. The last
--- line has `dir` "exit" and the exit code. Secrets are never written: see `redact`. A file that is
--- recorded into again has several recordings, one after the other.

local E = require "codex.error"
local base64 = require "codex.base64"
local json = require "codex.json"
local log = require "codex.log"
local uv = require "luv"

local M = {}

local VERSION, HIDDEN = 1, '"[redacted]"'

-- ---- Looking into JSON without taking it apart --------------------------------------------------

local function string_end(text, first)
  local at = first + 1
  while true do
    local found = text:find('["\\]', at)
    if not found then return #text end
    if text:byte(found) == 34 then return found end
    at = found + 2
  end
end

local function key_of(text)
  return text:find("\\", 1, true) and json.decode(text) or text:sub(2, -2)
end

--- Calls visit(at, first, last) for each string, number and word of a JSON text, and for each key
--- with a fourth `true`. at.keys[1..at.depth] are the keys on the way to it, false for an array;
--- at.opens has the places where the objects and arrays around it begin, at.previous what stood
--- before it in each of them; what visit puts into at.hidden[at.depth] for a key is there for all
--- that is below it. Of a text that is not quite JSON it finds what can be found.
local function each_scalar(text, visit)
  local from, keys, opens, previous, hidden = 1, {}, {}, {}, {}
  local at = { depth = 0, keys = keys, opens = opens, previous = previous, hidden = hidden }
  while true do
    from = text:find("[^%s:,]", from)
    if not from then return end
    local char, last = text:sub(from, from), from
    if char == "{" or char == "[" then
      at.depth = at.depth + 1
      keys[at.depth], opens[at.depth], previous[at.depth] = false, from, nil
      hidden[at.depth] = hidden[at.depth - 1]
    elseif char == "}" or char == "]" then
      at.depth = math.max(at.depth - 1, 0)
    else
      local is_string = char == '"'
      last = is_string and string_end(text, from) or select(2, text:find("^[%w+.-]+", from)) or from
      local is_key = is_string and text:find("^%s*:", last + 1) ~= nil
      if is_key then keys[at.depth] = key_of(text:sub(from, last)) end
      visit(at, from, last, is_key)
      if not is_key then previous[at.depth] = is_string and text:sub(from, last) or nil end
    end
    from = last + 1
  end
end

--- Where in a message's text its own id stands.
---@param text string a valid message
---@return integer? first
---@return integer? last
function M.id_span(text)
  local from, to
  each_scalar(text, function(at, first, last, is_key)
    if at.depth == 1 and at.keys[1] == "id" and not is_key and not from then
      from, to = first, last
    end
  end)
  return from, to
end

-- ---- Secrets ------------------------------------------------------------------------------------

--- One of these is in any text, in lower case, that has a key, a path or an option that says what
--- is secret; most texts have none and are not looked into.
local hints = {
  "apikey", "_key", "-key", "privatekey", "secretkey", "signingkey", "encryptionkey", "accesskey",
  "keypath", "token", "secret", "passw", "_pass", "_pwd", "passphrase", "authorization", "cookie",
  "credentials", "usercode", "devicecode", "user_code", "device_code", "verifier", "pat\"", '"-u"',
  '-user"', "deviceauth", "device_auth", "pat\\", "accountkey", "auth\"", "auth\\", "base64\"",
}

local function may_have_secret(text)
  local lower = text:lower()
  for _, hint in ipairs(hints) do
    if lower:find(hint, 1, true) then return true end
  end
  -- What a key says may be hidden behind escapes.
  return lower:find("\\u00", 1, true) and lower:find "\\u00[2-7]" ~= nil
end

--- Members that say what the `value` beside them is.
local naming = { keyPath = true, key_path = true, name = true, key = true, header = true }

--- Whether one part of a dotted path is the name of a secret.
local function is_secret_path(path)
  for part in path:gmatch "[^.]+" do
    if log.is_secret(part) then return true end
  end
  return false
end

--- The objects, by where they begin, whose `value` is a secret by what stands beside it.
local function find_marked(text)
  local marked = {}
  if not text:find('"value"', 1, true) then return marked end
  each_scalar(text, function(at, first, last, is_key)
    local depth = at.keys[at.depth] and at.depth or at.depth - 1 -- a path may be a list
    if is_key or not naming[at.keys[depth]] or text:byte(first) ~= 34 then return end
    if is_secret_path(key_of(text:sub(first, last))) then marked[at.opens[depth]] = true end
  end)
  return marked
end

--- Whether a key says that what is below it is secret. What is below `origins` tells of dotted keys
--- where they are set, and nothing of their values.
local function hides(at, own, marked)
  local key, before = at.keys[at.depth], at.keys[at.depth - 1]
  return key and (own and own[key] or log.is_secret(key) and before ~= "origins"
    or key == "value" and marked[at.opens[at.depth]])
end

--- The word before this one in a list of arguments, where it is an option.
local function option_before(at)
  local previous = at.keys[at.depth] == false and at.previous[at.depth]
  return previous and key_of(previous):match "^%-%-?([%w_.-]+)$"
end

local user_options = { u = true, user = true, ["proxy-user"] = true }

--- Whether two values are the same but for their texts: a recording is played, too.
local function has_form(one, other)
  if type(one) ~= type(other) then return false end
  if type(one) ~= "table" then return type(one) == "string" or one == other end
  for key, value in pairs(one) do
    if not has_form(value, other[key]) then return false end
  end
  for key in pairs(other) do
    if one[key] == nil then return false end
  end
  return true
end

local redact

--- A JSON text without its secrets, those included that stand side by side, as in a list of
--- arguments: the log sees them.
local function redact_json(text, own, depth)
  local clean = redact(text, own, depth)
  local more = log.redact(clean)
  return (more == clean or has_form(json.decode(clean), json.decode(more))) and more or clean
end

--- What stands in place of a file's contents: base64 as they are, since who plays the recording
--- reads it.
local function contents_marker(text)
  local bytes = base64.decode(text)
  if bytes == "" or bytes and bytes:find "^%[redacted: %d+ bytes%]$" then return nil end
  return base64.encode(("[redacted: %d bytes]"):format(#(bytes or text)))
end

--- What stands in place of a text; nil where it may stay. A text may be JSON itself.
local function replacement(text, key, option, depth)
  if key and key:find "Base64$" then return contents_marker(text) end
  if key and log.is_secret(key, text) and not log.is_secret(key) then return "[redacted]" end
  if option and log.is_secret(option) and not text:find "^[-$]" then return "[redacted]" end
  if option and user_options[option] then
    local user, password = text:match "^([^:]*:)(.+)$"
    if user and password:find "%D" then return user .. "[redacted]" end
  end
  local is_json = depth > 0 and text:find "^%s*[{%[]" and json.decode(text) ~= nil
  local clean = is_json and redact_json(text, nil, depth - 1) or log.redact(text)
  return clean ~= text and clean or nil
end

local function redact_string(piece, key, option, depth)
  local text = piece:sub(2, -2)
  if text:find("\\", 1, true) then text = json.decode(piece) end
  if type(text) ~= "string" then return nil end
  local instead = replacement(text, key, option, depth)
  return instead and json.encode(instead, { repair = true })
end

--- A JSON text without its secrets: true, false and null tell nothing and stay.
function redact(text, own, depth)
  local pieces, done, marked = {}, 1, find_marked(text)
  local function replace(first, last, instead)
    pieces[#pieces + 1] = text:sub(done, first - 1)
    pieces[#pieces + 1] = instead
    done = last + 1
  end
  each_scalar(text, function(at, first, last, is_key)
    local piece, hidden, instead = text:sub(first, last), at.hidden, nil
    if is_key then hidden[at.depth] = hidden[at.depth - 1] or hides(at, own, marked) end
    if not is_key and not piece:find "^[tfn]" and hidden[at.depth] then
      local value = own and json.decode(piece)
      if type(value) == "string" then log.secret(value) end -- it may come again anywhere
      instead = HIDDEN
    elseif piece:byte() == 34 then
      local key = not is_key and (at.keys[at.depth] or at.keys[at.depth - 1])
      local option = not is_key and option_before(at)
      instead = redact_string(piece, key, option, depth)
    end
    if instead then replace(first, last, instead) end
  end)
  replace(#text + 1, #text, "")
  return table.concat(pieces)
end

local DEPTH = 4 -- JSON in texts of JSON in texts

--- Returns the text of a message without its secrets: values under names that say so, at any depth,
--- values of options and paths that do, and what looks like a credential anywhere. Every other byte
--- stays as it is.
---@param text string JSON; in other text what stands under keys is taken out too
---@param own? table<string, boolean> more keys that are secret
---@return string
function M.redact(text, own)
  local is_suspect = own or may_have_secret(text)
  if not is_suspect and log.redact(text) == text then return text end
  if json.decode(text) == nil then return log.redact(redact(text, own, DEPTH)) end
  return redact_json(text, own, DEPTH)
end

-- ---- Writing ------------------------------------------------------------------------------------

---@class codex.Recording
local Recording = {}
Recording.__index = require("codex.base.class").methods(Recording)
Recording.__name = "codex.recording"

local function write_all(fd, data)
  local offset = 0
  while offset < #data do
    local n, message = uv.fs_write(fd, offset == 0 and data or data:sub(offset + 1))
    if not n then return nil, message end
    offset = offset + n
  end
  return true
end

--- Writes one line. Recording must never be what breaks a session: the first failure is said, and
--- nothing is written after it.
function Recording:_put(line)
  if not self._fd then return end
  local ok, message = write_all(self._fd, line .. "\n")
  if ok then return end
  log.error("cannot record into '%s', so it ends here: %s", self._path, message)
  self:close()
end

function Recording:_stamp()
  return ('{"t":%.6f,"dir":'):format((uv.hrtime() - self._start) / 1e9)
end

--- The ids of the questions of a request that are secret; nil where none is.
local function secrets_of(text, message)
  if not text:find '"isSecret"%s*:%s*true' then return nil end
  local own, params = {}, type(message.params) == "table" and message.params or {}
  for _, question in ipairs(type(params.questions) == "table" and params.questions or {}) do
    if question.isSecret == true and question.id then own[question.id] = true end
  end
  return next(own) and own or nil
end

--- The answers to secret questions are secrets: which those are is in the request, until its id is
--- given to another one. There may be several answers, of which one counts.
function Recording:_own_secrets(dir, text, message)
  if type(message) ~= "table" or message.id == nil then return nil end
  local key = json.encode(math.tointeger(message.id) or message.id)
  if dir == "c2s" and not message.method then return self._secret[key] end
  if dir == "s2c" and message.method then self._secret[key] = secrets_of(text, message) end
end

--- Writes down one line of either side. Never fails.
---@param dir "c2s"|"s2c"
---@param line string without its newline
function Recording:write(dir, line)
  if not self._fd then return end
  local message = not line:find("\n", 1, true) and json.decode(line) or nil
  if message ~= nil then
    local text = M.redact(line, self:_own_secrets(dir, line, message))
    if text == line or json.decode(text) ~= nil then
      return self:_put(('%s"%s","msg":%s}'):format(self:_stamp(), dir, text))
    end
    line = text
  end
  -- What cannot be read may be an answer all the same.
  local may_answer = dir == "c2s" and next(self._secret)
  line = may_answer and ("[redacted: %d bytes]"):format(#line) or M.redact(line)
  local text = json.encode(line, { repair = true })
  self:_put(('%s"%s","text":%s}'):format(self:_stamp(), dir, text))
end

--- Writes down how the server ended. Never fails.
---@param code? integer
---@param signal? integer
function Recording:exit(code, signal)
  code, signal = math.tointeger(code), math.tointeger(signal)
  local more = signal and signal ~= 0 and (',"signal":%d'):format(signal) or ""
  self:_put(('%s"exit","code":%s%s}'):format(self:_stamp(), code and ("%d"):format(code) or "null",
    more))
end

function Recording:close()
  if self._fd then uv.fs_close(self._fd) end
  self._fd = nil
end

Recording.__close = Recording.close
Recording.__gc = Recording.close

--- The file is the user's alone. The result is what parts us from a line that has no end.
local function prepare(fd)
  local stat, message = uv.fs_fstat(fd)
  if not stat then return nil, message end
  if stat.type ~= "file" then return "" end
  local ok
  ok, message = uv.fs_fchmod(fd, tonumber("600", 8))
  if not ok then return nil, message end
  local last = stat.size > 0 and uv.fs_read(fd, 1, stat.size - 1)
  return last and last ~= "\n" and "\n" or ""
end

--- Begins a recording, after what the file has already. Two that write at a time get mixed.
---@param path string
---@param opts? { codex?: string } the server's userAgent, where that is known
---@return codex.Recording? recording close it, or hold it in a `<close>` variable
---@return codex.Error? error of kind `io`
function M.open(path, opts)
  local fd, message, name = uv.fs_open(path, "a+", tonumber("600", 8))
  local before
  if fd then
    before, message, name = prepare(fd)
    if not before then uv.fs_close(fd) end
  end
  if not before then
    return nil, E.new("io", ("cannot record into '%s': %s"):format(path, message), { code = name })
  end
  local recording = setmetatable({
    _fd = fd, _path = path, _start = uv.hrtime(), _secret = {},
  }, Recording)
  local codex = opts and opts.codex and json.encode(opts.codex, { repair = true }) or "null"
  recording:_put(('%s{"recording":%d,"time":"%s","codex":%s}'):format(before, VERSION,
    os.date "!%Y-%m-%dT%H:%M:%SZ", codex))
  return recording
end

-- ---- Reading ------------------------------------------------------------------------------------

---@class codex.RecordedLine
---@field dir "c2s"|"s2c"|"exit"
---@field t? number seconds since the start
---@field msg? any the message; nil for what was no JSON
---@field text? string the line as it was sent
---@field code? integer at the exit
---@field signal? integer likewise

---@class codex.RecordedSession
---@field [integer] codex.RecordedLine
---@field header? table the first line
---@field codex? string the server's userAgent
---@field torn? integer number of a last line that was not written to its end
---@field runs integer how many recordings the file has

local directions = { c2s = true, s2c = true, exit = true }

--- The message's own bytes: all between the members that we write before it and the last brace.
local function verbatim(line)
  local t, dir, text = line:match '^{"t":([%d.]+),"dir":"(%w+)","msg":(.*)}%s*$'
  if not t then
    dir, text = line:match '^{"dir":"(%w+)","msg":(.*)}%s*$'
  end
  local msg = text and json.decode(text)
  if msg ~= nil then return { t = tonumber(t), dir = dir, msg = msg, text = text } end
end

local function present(value) return value ~= json.null and value or nil end

local function parse(line)
  local entry = verbatim(line)
  if not entry then
    local whole, message = json.decode(line)
    if type(whole) ~= "table" then return nil, message or "it is no object" end
    local text = whole.text or whole.raw
    entry = {
      t = whole.t, dir = whole.dir, code = present(whole.code), signal = present(whole.signal),
      text = text or whole.msg ~= nil and json.encode(whole.msg) or nil,
      msg = whole.msg,
    }
    if type(text) == "string" then entry.msg = json.decode(text) end
  end
  if not directions[entry.dir] or entry.dir ~= "exit" and type(entry.text) ~= "string" then
    return nil, "it is no recorded message"
  end
  return entry
end

--- The lines of a file by recording: each begins with its header, but for the first.
local function split(data)
  local runs, number = { {} }, 0
  for line, newline in data:gmatch "([^\n]*)(\n?)" do
    number = number + 1
    if line:find '^{"recording":' then
      runs[#runs + 1] = { header = { text = line, number = number } }
    elseif line:find "%S" then
      table.insert(runs[#runs], { text = line, number = number, whole = newline ~= "" })
    end
  end
  if #runs[1] == 0 and #runs > 1 then table.remove(runs, 1) end
  return runs
end

local function bad_line(path, number, message)
  return nil, E.new("protocol", ("line %d of '%s' is bad: %s"):format(number, path, message),
    { data = { line = number } })
end

local function user_agent(list)
  for _, entry in ipairs(list) do
    local result = entry.dir == "s2c" and type(entry.msg) == "table" and entry.msg.result
    if type(result) == "table" and result.userAgent then return result.userAgent end
  end
end

--- Reads a recording: the last one in the file, or the `run`-th. What was being written when the
--- machine or the recorder died is left out, and `torn` is that line's number. Lines without times
--- are taken too.
---@param path string
---@param opts? { run?: integer }
---@return codex.RecordedSession?
---@return codex.Error? error of kind `io`, or `protocol` with the bad line's number in `data.line`
function M.read(path, opts)
  local data, err = require("codex.files").read(path)
  if not data then return nil, err or E.new("io", ("there is no file '%s'"):format(path)) end
  local runs = split(data)
  local run = runs[opts and opts.run or #runs]
  if not run then return nil, E.new("io", ("'%s' has %d recordings"):format(path, #runs)) end
  local list, header = { runs = #runs }, run.header
  if header then
    list.header = json.decode(header.text)
    if not list.header then return bad_line(path, header.number, "it is not JSON") end
    if list.header.recording ~= VERSION then
      return bad_line(path, header.number, "a recording of a form that is not known here")
    end
  end
  for _, line in ipairs(run) do
    local entry, message = parse(line.text)
    if entry then
      list[#list + 1] = entry
    elseif line.whole then
      return bad_line(path, line.number, message)
    else
      list.torn = line.number
    end
  end
  list.codex = list.header and present(list.header.codex) or user_agent(list)
  return list
end

return M
