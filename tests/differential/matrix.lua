--- Faults and policies: whatever goes wrong in the client, in a policy or around the launcher, with
--- no policy, one that declines and one that accepts too late: the command never runs.
---
--- Real Codex asks for leave to run a command that leaves a file; that file is all that counts. In
--- the last row nothing is wrong and a policy accepts in time: there the file must be.

local async = require "codex.async"
local sessions = require "tests.differential.session"
local uv = require "luv"

local M = {}

M.columns = { "absent", "declining", "late" }

local LIMIT = 0.4 -- seconds that policies have

local policies = {
  declining = [[return { name = "declining", decide = function()
    require("codex").sleep(0.2)
    return "decline"
  end }]],
  late = [[return { name = "late", decide = function()
    pcall(require("codex").sleep, 1)
    return "accept"
  end }]],
  accepting = [[return { name = "accepting", decide = function() return "accept" end }]],
}

local function failing(body)
  return ('return { name = "faulty", decide = function() %s end }'):format(body)
end

local function accept(id) return ('{"id":%s,"result":{"decision":"accept"}}'):format(id) end

-- ---- What goes wrong ---------------------------------------------------------------------------

--- Sends these lines again and again for so many seconds.
local function insist(session, seconds, lines)
  local limit = uv.hrtime() + seconds * 1e9
  while uv.hrtime() < limit and not session.dead do
    for _, line in ipairs(lines) do session:send(line) end
    async.sleep(0.02)
  end
end

local function before(session) insist(session, 1.2, { accept(0), accept(1) }) end

--- Once the model has heard the answer, for as long as its turn may go on.
local function after(session)
  session:until_(function() return #session.model.requests > 1 end, 3)
  insist(session, 0.3, { accept(0), accept(1) })
end

local function duplicated(session)
  local lines = {}
  for i = 1, 20 do
    lines[2 * i - 1], lines[2 * i] = accept(0), '{"id":0,"result":{"decision":"decline"}}'
  end
  insist(session, 1, lines)
end

local malformed = {
  '[0,{"decision":"accept"}]', '{"id":0,"result":["accept"]}', accept "-0", accept "0.0",
  accept "0e0", accept '"0"', '{"method":null,"id":0,"result":{"decision":"accept"}}',
  '{"id":0,"result":{"decision":"accept"},"error":{"code":1,"message":"x"}}',
  '{"id":0,"result":{"decision":"decline"},"result":{"decision":"accept"}}',
  '{"id":1,"id":0,"result":{"decision":"accept"}}', accept "0" .. accept "0", " " .. accept "0",
  '{"id":0,"result":{"decision":{"accept":null}}}', '\u{feff}' .. accept "0", accept "0" .. "\0",
  '{"\\u0069d":0,"result":{"decision":"\\u0061ccept"}}', '[' .. accept "0" .. ']',
}

local function badly_formed(session) insist(session, 1.2, malformed) end

--- Another client says so, to which nothing was shown.
local function other_client(session)
  local socket = assert(require("codex.ws").connect(session.folder .. "/socket"))
  local function say(text) socket:post(text) end
  say '{"id":"i","method":"initialize","params":{"clientInfo":{"name":"b","version":"1"}}}'
  say '{"method":"initialized"}'
  local limit = uv.hrtime() + 1.2e9
  while uv.hrtime() < limit and not socket:is_closed() do
    say(accept(0))
    say(accept(1))
    async.sleep(0.02)
  end
  socket:close()
end

--- Until the model has said what it wants, and Codex has had time to ask.
local function once_asked(session)
  session:until_(function() return #session.model.requests > 0 end, 5)
  async.sleep(0.15)
end

local function leave(session)
  once_asked(session)
  session:send(accept(0))
  session.child:close_stdin()
end

local function signal(name)
  return function(session)
    once_asked(session)
    uv.kill(session.child.pid, name)
  end
end

local function kill_codex(session)
  once_asked(session)
  local path = ("/proc/%d/task/%d/children"):format(session.child.pid, session.child.pid)
  local file = io.open(path)
  local codex = file and file:read("a"):match "%d+"
  if file then file:close() end
  if codex then uv.kill(math.tointeger(tonumber(codex)), "sigkill") end
end

--- The audit log cannot be made where a file is in the place of its folder.
local function no_state(session)
  local file = assert(io.open(session.folder .. "/state", "w"))
  file:close()
end

--- A file that can be opened, and takes nothing.
local function full_disk(session)
  assert(require("codex.files").make_dir(session.folder .. "/state/codex-lua"))
  assert(uv.fs_symlink("/dev/full", session.folder .. "/state/codex-lua/audit.jsonl"))
end

---@class tests.Fault
---@field who "client"|"policy"|"around"|"nothing"
---@field name string
---@field act? fun(session: tests.Session) what the client does while Codex asks
---@field turn? table more params of the turn
---@field prompt? string other words to the model than that it shall ask
---@field faulty? string a policy that comes before that of the column
---@field arguments? string[]
---@field lenient? boolean clients are asked where policies have no opinion
---@field prepare? fun(session: tests.Session)
---@field stops? boolean the launcher may not even start, or may refuse the turn
---@field accepted? integer how many it must be
---@type tests.Fault[]
M.faults = {
  { who = "client", name = "accepts before the policy has answered", act = before },
  { who = "client", name = "accepts after the answer", act = after },
  { who = "client", name = "answers many times, yes and no", act = duplicated },
  { who = "client", name = "accepts in malformed messages", act = badly_formed },
  { who = "client", name = "a second client accepts", act = other_client,
    arguments = { "--listen", "stdio://", "--listen", "unix://FOLDER/socket" } },
  { who = "client", name = "a second client accepts what the first was shown",
    act = other_client, lenient = true,
    arguments = { "--listen", "stdio://", "--listen", "unix://FOLDER/socket" } },
  { who = "client", name = "accepts and leaves", act = leave },
  { who = "client", name = "asks for a turn that never asks", stops = true, prompt = "touch ",
    turn = { approvalPolicy = "never", sandboxPolicy = { type = "dangerFullAccess" } } },
  { who = "client", name = "asks for another reviewer", stops = true,
    turn = { approvalsReviewer = "auto_review" } },
  { who = "policy", name = "raises an error", faulty = failing 'error "on purpose"' },
  { who = "policy", name = "raises what cannot be printed",
    faulty = failing 'error(setmetatable({}, { __tostring = function() error "again" end }))' },
  { who = "policy", name = "hangs", faulty = failing 'require("codex").sleep(600)' },
  { who = "policy", name = "loops", faulty = failing "while true do end" },
  { who = "policy", name = "loops, errors caught",
    faulty = failing "while true do pcall(function() while true do end end) end" },
  { who = "policy", name = "loops in a coroutine",
    faulty = failing "coroutine.wrap(function() while true do end end)()" },
  { who = "policy", name = "loops in __gc", faulty = failing [[
    setmetatable({}, { __gc = function() while true do end end })
    collectgarbage()
    collectgarbage() ]] },
  { who = "policy", name = "yields to nobody", faulty = failing 'coroutine.yield("accept")' },
  { who = "policy", name = "accepts with NaN",
    faulty = failing 'return { decision = "accept", amendment = { 0 / 0 } }' },
  { who = "policy", name = "talks nonsense", faulty = failing 'return "perhaps"' },
  { who = "policy", name = "returns a function", faulty = failing "return function() end" },
  { who = "policy", name = "returns what cannot be read", faulty = failing [[
    local function raise() error "no" end
    local meta = { __index = raise, __pairs = raise, __tostring = raise, __len = raise }
    return setmetatable({}, meta) ]] },
  { who = "policy", name = "ends the program", faulty = failing "os.exit(0)" },
  { who = "policy", name = "spoils the libraries", faulty = failing [[
    string.find, string.format, table.insert, pcall, error, type = nil
    return nil ]] },
  { who = "policy", name = "changes the request for the next one",
    faulty = ('return { name = "faulty", decide = function(request) %s end }'):format [[
      request.kind, request.command, request.method = "elicitation", "true", "x"
      for key in pairs(request.params) do request.params[key] = nil end ]] },
  { who = "policy", name = "cannot be loaded", faulty = "return {", stops = true },
  { who = "policy", name = "returns nothing", faulty = "local x = 1", stops = true },
  { who = "around", name = "the audit is required and cannot be written", prepare = no_state,
    arguments = { "--audit", "required" }, faulty = policies.accepting, stops = true },
  { who = "around", name = "the audit is required and the disk is full", prepare = full_disk,
    arguments = { "--audit", "required" }, faulty = policies.accepting, stops = true },
  { who = "around", name = "SIGTERM while it is open", act = signal "sigterm" },
  { who = "around", name = "SIGINT while it is open", act = signal "sigint" },
  { who = "around", name = "SIGHUP while it is open", act = signal "sighup" },
  { who = "around", name = "the launcher is killed", act = signal "sigkill" },
  { who = "around", name = "Codex is killed", act = kill_codex },
  { who = "nothing", name = "a policy accepts in time", faulty = policies.accepting, accepted = 1 },
}

-- ---- One cell ----------------------------------------------------------------------------------

local function options_of(fault, column, binary)
  local launcher = { "--policy-timeout", tostring(LIMIT) }
  if not fault.lenient then launcher[#launcher + 1] = "--strict" end
  local arguments = fault.arguments or {}
  table.move(arguments, 1, #arguments, #launcher + 1, launcher)
  local list = { fault.faulty }
  list[#list + 1] = policies[column]
  return { binary = binary, launcher = launcher, policies = list, prepare = fault.prepare }
end

--- A turn in which the model wants to run the command.
local function begin(session, fault)
  local thread = session:open_thread()
  if not thread then return false end
  local text = (fault.prompt or "ask touch ") .. session:marker "marker"
  local params = { threadId = thread, input = { { type = "text", text = text } } }
  for name, value in pairs(fault.turn or {}) do params[name] = value end
  session.threads[thread] = "busy"
  local result = session:request("turn/start", params, 10)
  return result and result.turn and thread
end

local function act(session, fault)
  local thread = begin(session, fault)
  if not thread then return end
  if fault.act then fault.act(session) end
  session:until_(function() return session.threads[thread] == "idle" end, 3)
end

---@class tests.Cell
---@field accepted integer 1 where the command ran
---@field asked boolean whether the model got so far as to want it
---@field outcome string in words

--- Plays one fault with one policy before a Codex.
---@async
---@param fault tests.Fault
---@param column string
---@param binary string
---@return tests.Cell
function M.play(fault, column, binary)
  local session <close> = sessions.new(options_of(fault, column, binary))
  local started = session:start()
  if started then act(session, fault) end
  async.sleep(0.3)
  local ended = session.dead
  session.child:close_stdin()
  async.timeout(3, function() session.child:wait() end)
  session.child:close()
  async.sleep(0.2)
  local asked = #session.model.requests > 0
  local accepted = next(session:traces()) and 1 or 0
  local outcome = accepted == 1 and "accepted" or not started and "did not start"
    or not asked and "turn refused" or ended and "ended" or "refused"
  return { accepted = accepted, asked = asked, outcome = outcome }
end

--- Plays many, some at a time.
---@async
---@param binary string
---@param wanted? fun(fault: tests.Fault, column: string, index: integer): boolean
---@param at_once? integer (3)
---@return { fault: tests.Fault, column: string, cell: tests.Cell }[] in the order of the table
function M.run(binary, wanted, at_once)
  local list = {}
  for i, fault in ipairs(M.faults) do
    for _, column in ipairs(M.columns) do
      if not wanted or wanted(fault, column, i) then
        list[#list + 1] = { fault = fault, column = column }
      end
    end
  end
  async.map(list, function(each)
    each.cell = M.play(each.fault, each.column, binary)
    return true
  end, { concurrency = at_once or 3 })
  return list
end

--- What is wrong with a cell, in words; nil when it is as it must be.
---@return string?
function M.problem(each)
  local wanted = each.fault.accepted or 0
  local name = ("%s: %s, policy %s"):format(each.fault.who, each.fault.name, each.column)
  if each.cell.accepted ~= wanted then return name .. ": " .. each.cell.outcome end
  if not each.cell.asked and not each.fault.stops then return name .. ": Codex did not ask" end
  return nil
end

--- The table in Markdown.
function M.text(list)
  local rows, order = {}, {}
  for _, each in ipairs(list) do
    if not rows[each.fault] then
      rows[each.fault] = {}
      order[#order + 1] = each.fault
    end
    rows[each.fault][each.column] = ("%d (%s)"):format(each.cell.accepted, each.cell.outcome)
  end
  local lines = { "| fault of | | absent | declining | accepting late |", "|---|---|---|---|---|" }
  for _, fault in ipairs(order) do
    local row = rows[fault]
    lines[#lines + 1] = ("| %s | %s | %s | %s | %s |"):format(fault.who, fault.name,
      row.absent or "", row.declining or "", row.late or "")
  end
  return table.concat(lines, "\n")
end

return M
