--- Tortures the line that Codex runs for a hook that fails closed: one system call fails, or one
--- signal comes, and the hook, which denies everything, must have denied all the same.
---
--- What counts as denied is Codex's own rule, and for a sample real Codex itself, whose model wants
--- a file made that must not be there afterwards.

local async = require "codex.async"
local files = require "codex.files"
local hook = require "codex.cli.hook"
local json = require "codex.json"
local proc = require "codex.proc"
local program = require "tests.support.program"

local M = {}

local PATIENCE = 20 -- seconds until a run has hung

--- Processes of a run, as they are forked.
M.SUPERVISOR, M.WORKER = 0, 1

---@class tests.Place where a torture takes place
---@field hook string the file that denies
---@field fault string the program that does wrong
local Place = {}
Place.__index = Place

--- Builds what does wrong. nil where processes cannot be traced here, and why.
---@param folder string
---@return tests.Place?
---@return string? why
function M.place(folder)
  local place = setmetatable({ folder = folder, hook = folder .. "/deny.lua",
    fault = folder .. "/fault", count = 0 }, Place)
  program.write(place.hook, [[return { fail = "closed", run = function()
    return { decision = "deny", reason = "DENIED" }
  end }]])
  local built = assert(proc.run { "cc", "-std=c11", "-D_GNU_SOURCE", "-O1", "-o", place.fault,
    program.root .. "/tests/torture/fault.c" })
  if built.code ~= 0 then return nil, built.stderr end
  local trial = place:run { role = 0, at = 1 << 30, errno = 5 }
  if trial.code == 125 then return nil, "processes may not be traced here" end
  return place
end

---@class tests.Fault
---@field role integer whose system call it is
---@field at integer which of them
---@field errno? integer it fails with this
---@field signal? integer or this signal comes
---@field target? integer to this process
---@field limit? number seconds that the hook has

--- The words that stand for the program in the line.
function Place:words(fault)
  self.count = self.count + 1
  local report = ("%s/report%d"):format(self.folder, self.count)
  local words = { self.fault, report, tostring(fault.role), tostring(fault.at) }
  local what = fault.errno and { "error", tostring(fault.errno) }
    or { "signal", tostring(fault.target), tostring(fault.signal) }
  table.move(what, 1, #what, #words + 1, words)
  words[#words + 1] = program.path
  return words, report
end

--- The line that would be installed, and where it is reported whether the fault came about.
function Place:line(fault)
  local words, report = self:words(fault)
  return hook.command_line("closed", fault.limit or 5, self.hook, words), report
end

local function take(report)
  local done, call = (files.read(report) or ""):match "^(%a+) (%-?%d+)"
  os.remove(report)
  return done == "done", math.tointeger(tonumber(call))
end

--- Runs the line as Codex does.
---@async
---@return { code: integer?, stdout: string, stderr: string, is_done: boolean, call: integer? }
function Place:run(fault)
  self.payload = self.payload
    or assert(files.read(program.root .. "/tests/fixtures/hook-0.169.0-pre_tool_use.json"))
  local line, report = self:line(fault)
  local result, err = proc.run({ "/bin/bash", "-c", line }, { input = self.payload,
    timeout = PATIENCE, env = { XDG_STATE_HOME = self.folder, XDG_CONFIG_HOME = self.folder } })
  if not result then return { stdout = "", stderr = tostring(err), is_done = true } end
  result.is_done, result.call = take(report)
  return result
end

local blanks = { "%s", "\u{85}", "\u{A0}", "\u{1680}", "\u{2028}", "\u{2029}", "\u{202F}",
  "\u{205F}", "\u{3000}" }

local function is_blank(text)
  for _, blank in ipairs(blanks) do text = text:gsub(blank, "") end
  return text:gsub("\u{2000}", ""):gsub("\xE2\x80[\x81-\x8A]", "") == ""
end

--- Whether Codex would not run the command.
---@return boolean
function M.is_denied(result)
  if result.code == 2 then return not is_blank(result.stderr) end
  local answer = result.code == 0 and json.decode(result.stdout)
  local output = type(answer) == "table" and answer.hookSpecificOutput
  return type(output) == "table" and output.permissionDecision == "deny"
    and not is_blank(output.permissionDecisionReason or "")
    and not result.stdout:find "\\u[dD][89a-fA-F]"
end

function M.describe(fault)
  local who = ({ [0] = "the supervisor", "the worker", "a process" })[fault.role]
  if fault.errno then
    return ("system call %d of %s fails with %d"):format(fault.at, who, fault.errno)
  end
  return ("signal %d comes to process %d at system call %d of %s"):format(fault.signal,
    fault.target, fault.at, who)
end

--- Runs a campaign, two at a time.
---@async
---@param faults tests.Fault[]
---@return { runs: integer, done: integer, by_shell: integer, wrong: string[] }
function Place:campaign(faults)
  local tally = { runs = 0, done = 0, by_shell = 0, wrong = {} }
  async.map(faults, function(fault)
    local result = self:run(fault)
    tally.runs = tally.runs + 1
    tally.done = tally.done + (result.is_done and 1 or 0)
    if result.stderr:find("cannot be run", 1, true) then tally.by_shell = tally.by_shell + 1 end
    if not M.is_denied(result) then
      table.insert(tally.wrong, ("%s (%s): code %s, said %q %q"):format(M.describe(fault),
        tostring(result.call), tostring(result.code), result.stdout, result.stderr))
    end
  end, { concurrency = 2 })
  return tally
end

--- The system call with which the supervisor has set its alarm: who is stopped before that can
--- neither answer nor be killed in time.
local SET_ALARM = ({ x86_64 = 223, aarch64 = 110 })[require("luv").os_uname().machine]

function Place:first_after_alarm(calls)
  for at = 1, calls do
    local result = self:run { role = 0, at = at, signal = 18, target = 0 }
    if result.call == SET_ALARM then return at + 1 end
  end
  error "the supervisor sets no alarm"
end

--- How many system calls a process makes when nothing goes wrong.
---@async
function Place:calls(role)
  local low, high = 1, 2
  while self:run({ role = role, at = high, signal = 18, target = role }).is_done do
    low, high = high, high * 2
  end
  while high - low > 1 do
    local middle = (low + high) // 2
    if self:run({ role = role, at = middle, signal = 18, target = role }).is_done then
      low = middle
    else
      high = middle
    end
  end
  return low
end

-- ---- Real Codex --------------------------------------------------------------------------------

--- Whether the command was run by real Codex, whose hook this is, and what its model was told.
---@async
---@param binary string
---@param command string the hook's line
---@param timeout? integer seconds that the hook has (5)
---@return boolean is_run
---@return string told
function M.codex(binary, command, timeout)
  local testing, folder, remove = require "codex.testing", program.folder()
  local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
  local model <close> = assert(testing.model { reply = function(request)
    if #request.outputs == 0 and request.prompt == "go" then return { exec = "touch marker" } end
    return "done"
  end })
  local cx <close> = assert(testing.codex { model = model, binary = binary,
    env = { XDG_STATE_HOME = folder, XDG_CONFIG_HOME = folder } })
  do
    local setup <close> = assert(require("codex.setup").open(cx))
    local key = assert(setup:add_hook { event = "pre_tool_use", command = command,
      timeout = timeout or 5 })
    assert(setup:trust(key))
  end
  local turn = assert(cx.exec("go", { cwd = folder, skip_git_repo_check = true, yolo = true }))
  assert(turn.final_message == "done" and #model.requests == 2)
  local outputs = model.requests[2].outputs
  return require("luv").fs_stat(folder .. "/marker") ~= nil, tostring(outputs[#outputs].output)
end

return M
