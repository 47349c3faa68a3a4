--- Child processes that one can wait for.
---
--- A child has its own process group, dies with this program, and is ended by a polite signal, a
--- grace period and SIGKILL. Its standard output is read in lines or pieces, with back-pressure: a
--- slow reader stops the child, memory stays bounded. Of standard error the tail is kept.

local async = require "codex.async"
local core = require "codex.core.proc"
local E = require "codex.error"
local options = require "codex.options"

local M = {}

---@class codex.ProcOptions
---@field cwd? string working directory
---@field env? table<string, string|false> variables to set, or with false to take away
---@field clear_env? boolean start from an empty environment instead of ours
---@field input? string written to standard input, which is then closed
---@field stdin? "null"|"pipe"|"inherit" "null" by default; "pipe" is for write and close_stdin
---@field stdout? "pipe"|"null"|"inherit"
---@field stderr? "pipe"|"null"|"inherit" "pipe" keeps the tail
---@field timeout? number seconds for the whole run
---@field idle_timeout? number seconds without output
---@field grace? number seconds between the polite signal and SIGKILL (2)
---@field stop_signal? "int"|"term"|"hup"|"quit"|"kill" the polite signal (term)
---@field line_limit? integer longest line in bytes (64 MiB)
---@field tail_size? integer bytes of standard error kept (64 KiB)
---@field same_group? boolean stay in our process group, as a program on the terminal must

local known = options.set {
  "cwd", "env", "clear_env", "input", "stdin", "stdout", "stderr", "timeout", "idle_timeout",
  "grace", "stop_signal", "line_limit", "tail_size", "same_group",
}

local signals = {
  hup = 1, int = 2, quit = 3, kill = 9, usr1 = 10, usr2 = 12, term = 15, cont = 18, stop = 19,
}

local function signal_number(where, name)
  local number = signals[name] or math.tointeger(name)
  if not number then error(("%s: there is no signal '%s'"):format(where, tostring(name)), 3) end
  return number
end

---@class codex.ProcStatus
---@field pid integer
---@field exited boolean
---@field code integer -1 when a signal ended it
---@field signal integer 0 when none did
---@field unknown? true nobody knows how it ended (code -1, signal 0): this program reaps all
---  children, or ignores SIGCHLD
---@field reason? "ETIMEOUT"|"EIDLE"|"ECANCELLED"|"EMEMORY" why we ended it
---@field max_rss_kib integer of the largest process; at least our own peak, as Linux counts it
---@field cpu_us integer

---@class codex.Proc
---@field pid integer
local Proc = {}
Proc.__index = require("codex.base.class").methods(Proc)
Proc.__name = "codex.proc"

local why = {
  ENOENT = "there is no such program",
  EACCES = "it is not executable",
  ENOEXEC = "it is not a program for this machine",
  EMFILE = "too many open files",
}

--- The PATH that a child will have.
---@param given { env?: table<string, string|false>, clear_env?: boolean }
---@return string
function M.search_path(given)
  local own = given.env and given.env.PATH
  if own == nil and not given.clear_env then own = os.getenv "PATH" end
  return own or "/usr/local/bin:/usr/bin:/bin"
end

--- A path as the child sees it, which is started in its own folder.
local function from_child(path, cwd)
  return cwd and path:sub(1, 1) ~= "/" and cwd .. "/" .. path or path
end

--- The file that would be run: a name without a slash is looked up in the absolute entries of PATH.
--- Where a relative one has it, that entry is the second value.
local function file_of(name, given)
  local uv = require "luv"
  if name:find("/", 1, true) then return from_child(name, given.cwd) end
  local passed_over
  for dir in M.search_path(given):gmatch "[^:]+" do
    local path = dir .. "/" .. name
    local is_there = uv.fs_access(from_child(path, given.cwd), "X")
    if is_there and dir:sub(1, 1) == "/" then return path end
    passed_over = passed_over or is_there and dir or nil
  end
  return nil, passed_over
end

--- What is missing where the file itself is there: what runs it. A script names that in its first
--- line; of others only the system knows.
local function missing_interpreter(path)
  local uv = require "luv"
  local fd = uv.fs_open(path, "r", 0)
  if not fd then return nil end
  local head = uv.fs_read(fd, 256, 0) or ""
  uv.fs_close(fd)
  local interpreter = head:match "^#![ \t]*([^ \t\n]+)"
  if not interpreter then return "the loader that it needs is not there" end
  if interpreter:sub(-1) == "\r" then
    return ("its first line ends with a carriage return, so its interpreter would be '%s\\r'")
      :format(interpreter:sub(1, -2))
  end
  return ("its interpreter '%s' is not there"):format(interpreter)
end

--- The error for a program that could not be started.
---@param argv string[]
---@param given { cwd?: string, env?: table<string, string|false>, clear_env?: boolean }
---@param name string of the code
---@param text string what the code means
---@return codex.Error
function M.spawn_error(argv, given, name, text)
  local path, passed_over
  if name == "ENOENT" then path, passed_over = file_of(argv[1], given) end
  local reason = path and missing_interpreter(path) or why[name] or text
  if passed_over then
    reason = ("it is only in '%s', a relative entry of PATH, where it is not looked for")
      :format(passed_over)
  end
  local message = ("cannot start '%s': %s"):format(argv[1], reason)
  if given.cwd and (name == "ENOENT" or name == "ENOTDIR") then
    local stat = require("luv").fs_stat(given.cwd)
    if not stat or stat.type ~= "directory" then
      message = ("cannot start '%s': there is no folder '%s'"):format(argv[1], given.cwd)
    end
  end
  return E.new("spawn", message, { code = name })
end

local function raw_options(where, given)
  local ms = function(name) return options.milliseconds(where, given, name) end
  return {
    cwd = given.cwd, env = given.env, clear_env = given.clear_env, stdout = given.stdout,
    stderr = given.stderr, line_limit = given.line_limit, tail_size = given.tail_size,
    same_group = given.same_group, stdin = given.input and "pipe" or given.stdin,
    timeout_ms = ms "timeout", idle_timeout_ms = ms "idle_timeout", grace_ms = ms "grace",
    stop_signal = given.stop_signal and signal_number(where, given.stop_signal),
  }
end

--- A program that was written a moment ago may still be open for writing in a child that is about
--- to exec (ETXTBSY): worth a few tries.
local function spawn_patiently(argv, raw_opts, wake)
  local pause = 0.002
  while true do
    local raw, name, text = core.spawn(argv, raw_opts, wake)
    local again = not raw and name == "ETXTBSY" and pause <= 0.1 and async.running()
    if not again then return raw, name, text end
    async.sleep(pause)
    pause = pause * 2
  end
end

local function new_proc(raw, changed)
  local proc = setmetatable({ pid = raw:status().pid, _raw = raw, _changed = changed }, Proc)
  proc._read_guard = setmetatable({}, { __close = function() proc._reading = false end })
  return proc
end

--- Starts a program. Output that nobody reads stops it in the end: read it, or say stdout = "null".
---@param argv string[] the program and its arguments. Its name is looked up in the absolute entries
---  of the PATH that it will have; a relative path is one from the folder that it will be in
---@param opts? codex.ProcOptions
---@return codex.Proc?
---@return codex.Error? error of kind `spawn`
function M.spawn(argv, opts)
  local given = options.check("codex.proc.spawn", opts, known)
  options.typed("codex.proc.spawn", given, "input", "string")
  local changed = async.signal()
  local raw, name, text = spawn_patiently(argv, raw_options("codex.proc.spawn", given), function()
    changed:notify()
  end)
  if not raw then return nil, M.spawn_error(argv, given, name, text) end
  if given.input then
    raw:write(given.input)
    raw:close_stdin()
  end
  return new_proc(raw, changed)
end

--- Takes the next thing with a method of the raw object, waiting for it if need be.
function Proc:_take(method)
  if self._reading then error("another task is already reading this program's output", 3) end
  local raw = self._raw
  while true do
    local value, name, text = raw[method](raw)
    if value then return value end
    if name == "EOF" then return nil end
    if name then return nil, E.new("protocol", text, { code = name }) end
    self:_wait_to_read()
  end
end

function Proc:_wait_to_read()
  self._reading = true
  local done <close> = self._read_guard -- luacheck: ignore 211
  self._changed:wait()
end

--- The next line of standard output without its newline; nil at the end; nil and an error of kind
--- `protocol` for a line over the limit, after which reading may go on.
---@async
---@return string?
---@return codex.Error?
function Proc:line() return self:_take "line" end

--- Whatever has come on standard output; nil at the end.
---@async
---@return string?
function Proc:read() return self:_take "read" end

--- Iterates over lines; leaving the loop early ends the program. A line over the limit is an error.
---@async
function Proc:lines()
  local over = false
  local function next_line()
    local line, err = self:line()
    if err then error(err, 0) end
    over = line == nil
    return line
  end
  local guard = setmetatable({}, { __close = function() if not over then self:close() end end })
  return next_line, nil, nil, guard
end

--- Writes to standard input (stdin = "pipe") and waits until the program has taken it.
---@async
---@param bytes string
---@return true?
---@return codex.Error? error of kind `closed` when its standard input is closed
function Proc:write(bytes)
  local ok, name, text = self._raw:write(bytes)
  while ok do
    local status = self._raw:status()
    name = status.write_error
    if name or status.unwritten == 0 then break end
    self._changed:wait()
  end
  if name then
    return nil, E.new("closed", "the program closed its input" .. (text and ": " .. text or ""),
      { code = name })
  end
  return true
end

function Proc:close_stdin() self._raw:close_stdin() end

---@return codex.ProcStatus
function Proc:status() return self._raw:status() end

--- The tail of standard error, and how many bytes before it were dropped.
---@return string
---@return integer
function Proc:stderr() return self._raw:stderr() end

--- Waits until the program has exited and its output has ended. Output that is not read by then is
--- kept, up to the point where the program stops.
---@async
---@return codex.ProcStatus
function Proc:wait()
  local status = self._raw:status()
  while not status.closed do
    self._changed:wait()
    status = self._raw:status()
  end
  return status
end

--- Asks the program to end, and ends it by force after the grace period. Does not wait.
function Proc:request_stop() self._raw:stop() end

--- Asks the program to end, ends it by force after the grace period, and waits for that. Its
--- remaining output is thrown away.
---@async
---@return codex.ProcStatus
function Proc:stop()
  self:request_stop()
  self._raw:discard()
  return self:wait()
end

--- Sends a signal to the program's group.
---@param signal string|integer
---@return true?
---@return codex.Error?
function Proc:kill(signal)
  local ok, name, text = self._raw:kill(signal_number("kill", signal))
  if not ok then return nil, E.new("closed", text, { code = name }) end
  return true
end

--- Ends the program: politely where a task may wait, at once elsewhere. Idempotent.
function Proc:close()
  if self._raw:status().closed then return end
  if async.running() then
    self:stop()
  else
    self._raw:close()
  end
end

Proc.__close = Proc.close

---@class codex.ProcResult
---@field code integer -1 when a signal ended it
---@field signal integer
---@field unknown? true as of codex.ProcStatus
---@field stdout string
---@field stderr string its tail
---@field duration number seconds

local reasons = { ETIMEOUT = "timeout", EIDLE = "idle", ECANCELLED = "cancelled", EMEMORY = "io" }

--- The error for a program that we ended, or nil when it ended by itself.
---@param status codex.ProcStatus
---@param name string the program, for the message
---@return codex.Error?
function M.ended(status, name)
  local kind = reasons[status.reason]
  if not kind then return nil end
  local text = kind == "timeout" and "was not done in time"
    or kind == "idle" and "said nothing for too long"
    or kind == "io" and "was ended because memory ran out"
    or "was cancelled"
  return E.new(kind, ("%s %s"):format(name, text))
end

--- Runs a program to its end and returns what it printed. A failing exit code is a result, not an
--- error; a time limit is an error with the result in `data`.
---@async
---@param argv string[]
---@param opts? codex.ProcOptions
---@return codex.ProcResult?
---@return codex.Error?
function M.run(argv, opts)
  local started = require("luv").hrtime()
  local p, err = M.spawn(argv, opts)
  if not p then return nil, err end
  local guard <close> = p -- luacheck: ignore 211
  local pieces = {}
  for piece in function() return p:read() end do pieces[#pieces + 1] = piece end
  local status = p:wait()
  local result = {
    code = status.code, signal = status.signal, unknown = status.unknown,
    stdout = table.concat(pieces), stderr = p:stderr(),
    duration = (require("luv").hrtime() - started) / 1e9,
  }
  err = M.ended(status, argv[1])
  if err then
    err.data, err.stderr = result, require("codex.log").redact(result.stderr)
    return nil, err
  end
  return result
end

return M
