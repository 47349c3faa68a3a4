--- Sends mutants to real Codex and through a strict launcher, and counts what was executed.
---
--- Directly a mutant has what it needs: a thread of its own, or a question that is open for it.
--- That shows which mutants Codex takes, and that the traces tell. Through the launcher many
--- questions are open at a time, and nothing may happen at all.

local Random = require "tests.differential.random"
local async = require "codex.async"
local mutate = require "tests.differential.mutate"
local second_client = require "tests.differential.second"
local seeds = require "tests.differential.seeds"
local sessions = require "tests.differential.session"

local M = {}

local CHUNK, BATCH, ASKS, CONFIGS, THREADS, OPEN = 500, 40, 12, 4, 8, 12

---@class tests.Mutant
---@field number integer
---@field seed tests.Seed
---@field plan tests.Mutation[]

--- The mutant of a number.
---@param seed integer
---@param number integer
---@return tests.Mutant
function M.mutant(seed, number)
  local random = Random.new(seed, number, 1)
  return {
    number = number, seed = mutate.weighed(random, seeds.list), plan = mutate.plan(seed, number),
    ask = random:next(),
  }
end

local function name_of(mutant) return ("m-%07d"):format(mutant.number) end

--- The line of a mutant. What it is about is in `values`; the rest is the same everywhere.
---@param mutant tests.Mutant
---@param values { marker: string, cwd: string, thread?: string, ask?: integer }
---@return string
function M.line(mutant, values)
  local filled = { id = 100000 + mutant.number, thread = "no-thread", ask = 0 }
  for name, value in pairs(values) do filled[name] = value end
  return mutate.apply(seeds.message(mutant.seed, filled), mutant.plan)
end

--- The mutations' names, the harmless seed's first.
function M.describe(mutant)
  local names = { mutant.seed.name }
  for i, each in ipairs(mutant.plan) do names[i + 1] = each.name end
  return table.concat(names, " + ")
end

local function values_of(session, mutant)
  return { marker = session:marker(name_of(mutant)), cwd = session.cwd }
end

--- A turn that tells what a mutant has made of its thread.
local function start_turn_of(session, mutant, thread)
  if thread then session:start_turn(thread, "touch " .. session:marker(name_of(mutant))) end
end

-- ---- Directly ----------------------------------------------------------------------------------

--- What a mutant is about, made for it alone: then nothing of another one can have executed it.
local function prepare(session, mutant, stock)
  local values = values_of(session, mutant)
  local needs = mutant.seed.needs
  if needs == "thread" then
    stock.shared = stock.shared or session:open_thread()
    values.thread = stock.shared
  elseif needs == "turns" then
    values.thread = session:open_thread()
  elseif needs then
    local thread = table.remove(stock) or session:open_thread()
    if not thread then return values end
    values.used = thread
    session:start_turn(thread, (needs == "patch" and "patch " or "ask touch ") .. values.marker)
  end
  return values
end

--- The id of the question that was raised for a mutant. That of a patch does not name the file, but
--- patches come one at a time.
local function wait_for_question(session, mutant, values)
  local needle = mutant.seed.needs == "patch" and values.used or values.marker
  local asked = values.used and session:question(needle)
  values.ask = asked and asked.id or 0
  values.asked = asked
end

local function is_over(session, values) return session.threads[values.used] == "idle" end

--- Waits until the turns of these are over, and gives those that are not.
local function unsettled(session, prepared, seconds)
  local rest = {}
  session:until_(function()
    rest = {}
    for _, values in ipairs(prepared) do
      if values.used and not is_over(session, values) then rest[#rest + 1] = values end
    end
    return #rest == 0
  end, seconds)
  return rest
end

--- Questions that no mutant answered are answered now, so that their threads can be used again.
local function settle(session, stock, prepared)
  for _, values in ipairs(unsettled(session, prepared, 0.4)) do
    if values.asked then
      session:send(('{"id":%d,"result":{"decision":"decline"}}'):format(values.ask))
    end
  end
  unsettled(session, prepared, 3)
  for _, values in ipairs(prepared) do
    if values.used and is_over(session, values) then stock[#stock + 1] = values.used end
  end
  session.asked = {}
end

local function is_config(mutant) return mutant.seed.name:find "^config/" ~= nil end

--- Sends some mutants; false when the server read no further.
local function direct_batch(session, list, stock)
  local prepared = {}
  session:restore()
  for i, mutant in ipairs(list) do prepared[i] = prepare(session, mutant, stock) end
  for i, mutant in ipairs(list) do
    if prepared[i].used then wait_for_question(session, mutant, prepared[i]) end
  end
  for i, mutant in ipairs(list) do session:send(M.line(mutant, prepared[i])) end
  local alive = session:barrier()
  for i, mutant in ipairs(list) do
    if mutant.seed.then_turn then start_turn_of(session, mutant, prepared[i].thread) end
  end
  if alive then settle(session, stock, prepared) end
  if alive and list[1].seed.slow then
    async.sleep(0.1)
    session:quiet(3)
  elseif alive and is_config(list[1]) then
    async.sleep(0.1)
  end
  session:traces()
  return alive and not session.dead
end

local function restart(session)
  session.child:close()
  session:start()
  return {}
end

--- Sends the mutants; those that end the reader are found by sending each alone.
local function direct_list(session, list, size, ended)
  local stock, at = {}, 1
  while at <= #list do
    local batch = table.move(list, at, math.min(at + size - 1, #list), 1, {})
    at = at + #batch
    if not direct_batch(session, batch, stock) then
      stock = restart(session)
      if #batch == 1 then
        ended[batch[1]] = true
      else
        direct_list(session, batch, 1, ended)
        stock = {}
      end
    end
  end
end

--- A raw line that is no UTF-8 ends Codex's reader, and its restart takes long.
local function is_fatal(mutant)
  return not utf8.len(M.line(mutant, { marker = "/m", cwd = "/w" }))
end

local function grouped(list)
  local groups = { simple = {}, asking = {}, patch = {}, config = {}, slow = {},
    fatal = {} }
  for _, mutant in ipairs(list) do
    local needs = mutant.seed.needs
    local group = groups.simple
    if is_fatal(mutant) then
      group = groups.fatal
    elseif needs == "command" then
      group = groups.asking
    elseif is_config(mutant) then
      group = groups.config
    elseif needs == "patch" then
      group = groups.patch
    elseif mutant.seed.slow then
      group = groups.slow
    end
    group[#group + 1] = mutant
  end
  return groups
end

--- Sends mutants to Codex itself.
---@async
---@param given { binary: string }
---@param list tests.Mutant[]
---@return table<tests.Mutant, "executed"|"not executed"|"ended"|"not sent"> outcome of each
function M.direct(given, list)
  local session <close> = sessions.open { binary = given.binary }
  local groups, ended, outcome = grouped(list), {}, {}
  direct_list(session, groups.simple, BATCH, ended)
  direct_list(session, groups.config, CONFIGS, ended)
  direct_list(session, groups.slow, ASKS, ended)
  direct_list(session, groups.asking, ASKS, ended)
  direct_list(session, groups.patch, ASKS // 2, ended)
  for i, mutant in ipairs(groups.fatal) do
    if i == 1 then direct_list(session, { mutant }, 1, ended) else outcome[mutant] = "not sent" end
  end
  local traces = session:last_traces()
  for _, mutant in ipairs(list) do
    local executed = traces[name_of(mutant)]
    outcome[mutant] = executed and "executed" or ended[mutant] and "ended" or outcome[mutant]
      or "not executed"
  end
  return outcome
end

-- ---- Through the launcher ----------------------------------------------------------------------

--- What stands behind `--strict`. The first leaves what the model wants to do open for as long as
--- forged answers come. The last is there to show that messages do get through.
M.policies = {
  declining = { arguments = { "--policy-timeout", "86400" }, decide = [[
    local model = request.kind ~= "client_request"
    while model do codex.sleep(3600) end
    return "decline" ]] },
  absent = { arguments = {} },
  shared = { arguments = { "--listen", "stdio://", "--listen", "unix://FOLDER/socket" },
    shared = true },
  late = { arguments = { "--policy-timeout", "0.02" }, decide = [[
    pcall(codex.sleep, 0.05)
    return "accept" ]] },
  accepting = { arguments = {}, decide = [[
    if request.kind == "client_request" then return "accept" end ]] },
}

local policy_text = [[
local codex = require "codex"
return {
  name = "%s", on = { "command", "file_change", "permissions", "elicitation", "client_request" },
  decide = function(request) %s end,
}
]]

--- Raises questions that stay open, or, where they do not, new ones all the time.
local function raise_questions(session, count)
  local threads = {}
  for id, state in pairs(session.threads) do
    if state == "idle" and id ~= session.shared then threads[#threads + 1] = id end
  end
  table.sort(threads)
  for i = 1, math.min(count, #threads) do
    session.raised[threads[i]] = true
    local name = session:marker(("q-%d"):format(session.questions))
    local what = session.questions % 4 == 3 and "patch " or "ask touch "
    session.questions = session.questions + 1
    session:start_turn(threads[i], what .. name)
  end
end

local function policy_session(given)
  local policy = M.policies[given.policy]
  local arguments = { "--strict", "--no-audit", table.unpack(policy.arguments) }
  local session = sessions.open {
    binary = given.binary, launcher = arguments,
    policies = { policy.decide and policy_text:format(given.policy, policy.decide) },
  }
  session.own_threads = given.policy == "accepting"
  session.stays_open, session.asked_before = given.policy == "declining", 0
  if policy.shared then session.second = second_client(session.folder .. "/socket") end
  return session
end

local function ready(session)
  session.raised = {}
  session.shared = assert(session:open_thread())
  for _ = 2, session.stays_open and OPEN or THREADS do assert(session:open_thread()) end
  if session.second then assert(session.second:connect(), "nobody listens on the socket") end
  if not session.stays_open then return end
  raise_questions(session, OPEN - 1)
  local wanted = session.asked_before + OPEN - 1
  local all = session:until_(function() return #session.model.requests >= wanted end)
  assert(all or session.dead, "no questions were raised")
  session.asked_before = wanted
  async.sleep(0.3)
end

--- The ids of Codex's questions count from 0. Where they do not stay open, one that may be open.
local function guess(session, mutant)
  local random = Random.new(mutant.ask)
  if session.stays_open then return random:below(session.questions) - 1 end
  return math.max(session.questions + random:below(8) - 6, 0)
end

local function launcher_batch(session, list)
  if not session.stays_open then raise_questions(session, 3) end
  for _, mutant in ipairs(list) do
    local values = values_of(session, mutant)
    values.thread, values.ask = session.shared, guess(session, mutant)
    if session.own_threads and mutant.seed.needs == "turns" then
      session.shared = session:open_thread()
      values.thread = session.shared
    end
    local line = M.line(mutant, values)
    local sent = session.second and mutant.number % 2 == 0 and session.second:send(line)
    if not sent then session:send(line) end
  end
  local alive = session:barrier() and not session.dead
  if alive and session.second and not session.second:barrier() then
    session.second:close()
    alive = session.second:connect()
  end
  for _, mutant in ipairs(list) do
    if mutant.seed.then_turn then start_turn_of(session, mutant, session.shared) end
  end
  session:traces()
  return alive
end

local function launcher_list(session, list, size, ended)
  local at = 1
  while at <= #list do
    local batch = table.move(list, at, math.min(at + size - 1, #list), 1, {})
    at = at + #batch
    if not launcher_batch(session, batch) then
      restart(session)
      ready(session)
      if #batch == 1 then
        ended[#ended + 1] = batch[1]
      else
        launcher_list(session, batch, 1, ended)
      end
    end
  end
end

--- Sends mutants through the launcher.
---@async
---@param given { binary: string, policy: string } policy: a name of M.policies
---@param list tests.Mutant[]
---@return table<string, true> traces all that should not be there
---@return tests.Mutant[] ended those after which it answered no more
function M.through(given, list)
  local session <close> = policy_session(given)
  local ended = {}
  ready(session)
  launcher_list(session, list, BATCH, ended)
  session:quiet(5, session.stays_open and session.raised)
  local traces = session:last_traces()
  if session.second then session.second:close() end
  return traces, ended
end

-- ---- The smallest mutant -----------------------------------------------------------------------

local function without(list, from, count)
  local rest = {}
  for i, each in ipairs(list) do
    if i < from or i >= from + count then rest[#rest + 1] = each end
  end
  return rest
end

--- The fewest mutants, found by halves, that still make it happen.
local function narrow(list, happens)
  local step = #list // 2
  while step >= 1 do
    local from = 1
    while from <= #list and #list > 1 do
      local rest = without(list, from, step)
      if happens(rest) then list = rest else from = from + step end
    end
    step = step // 2
  end
  return list
end

--- Leaves out mutations as long as it still happens.
local function shrink(mutant, happens)
  local i = 1
  while i <= #mutant.plan do
    local less = { number = mutant.number, seed = mutant.seed, ask = mutant.ask,
      plan = without(mutant.plan, i, 1) }
    if happens { less } then mutant = less else i = i + 1 end
  end
  return mutant
end

---@class tests.Failure
---@field what "executed"|"ended"
---@field policy string
---@field mutants tests.Mutant[] the fewest that make it happen
---@field lines string[]

--- The smallest mutants behind a trace, or behind an end.
local function explain(given, list, what)
  local function happens(some)
    local traces, ended = M.through(given, some)
    return what == "ended" and #ended > 0 or what == "executed" and next(traces) ~= nil
  end
  list = narrow(list, happens)
  if #list == 1 then list = { shrink(list[1], happens) } end
  local lines = {}
  for i, mutant in ipairs(list) do
    lines[i] = M.line(mutant, { marker = "MARKER", cwd = "CWD", thread = "THREAD", ask = 0 })
  end
  return { what = what, policy = given.policy, mutants = list, lines = lines }
end

--- Which of the mutants may have left these traces.
local function suspects(list, traces)
  local some, answers = {}, next(traces) == nil
  for name in pairs(traces) do answers = answers or not name:find "^m%-" end
  for _, mutant in ipairs(list) do
    local suspect = traces[name_of(mutant)] or answers and not mutant.seed.method
    if suspect then some[#some + 1] = mutant end
  end
  return #some > 0 and some or list
end

--- Explains the failures of a chunk, each kind of seed once.
local function failures_of(given, list, traces, ended, limit)
  local found, groups, order = {}, {}, {}
  local function add(mutant, what)
    local key = what .. mutant.seed.name
    if not groups[key] then
      groups[key] = { what = what }
      order[#order + 1] = groups[key]
    end
    table.insert(groups[key], mutant)
  end
  if next(traces) then
    for _, mutant in ipairs(suspects(list, traces)) do add(mutant, "executed") end
  end
  for _, mutant in ipairs(ended) do add(mutant, "ended") end
  for _, group in ipairs(order) do
    if #found >= limit then break end
    found[#found + 1] = explain(given, group, group.what)
  end
  return found
end

-- ---- All of it ---------------------------------------------------------------------------------

---@class tests.Report
---@field mutants integer
---@field direct table<string, integer> how many had which outcome, sent to Codex itself
---@field through table<string, integer> how many went through the launcher under which policy
---@field executed integer through the launcher: what should be 0
---@field ended integer
---@field kinds table<string, { mutants: integer, executed: integer }> by mutation, directly
---@field seeds table<string, { mutants: integer, executed: integer }> by seed, directly
---@field failures tests.Failure[]

local function count(map, key, field)
  map[key] = map[key] or { mutants = 0, executed = 0 }
  map[key][field] = map[key][field] + 1
end

local function note_direct(report, mutant, outcome)
  report.direct[outcome] = (report.direct[outcome] or 0) + 1
  local kinds = { [#mutant.plan == 0 and "(none)" or false] = true }
  for _, each in ipairs(mutant.plan) do kinds[each.name] = true end
  kinds[false] = nil
  for name in pairs(kinds) do
    count(report.kinds, name, "mutants")
    if outcome == "executed" then count(report.kinds, name, "executed") end
  end
  count(report.seeds, mutant.seed.name, "mutants")
  if outcome == "executed" then count(report.seeds, mutant.seed.name, "executed") end
end

--- Which policy a chunk meets: most of them the one that leaves questions open.
local turns = { "declining", "absent", "declining", "shared", "late", "declining", "absent",
  "declining", "shared", "declining" }

---@class tests.CampaignOptions
---@field binary string Codex
---@field seed integer
---@field mutants integer
---@field first? integer number of the first mutant (1)
---@field chunk? integer mutants of one session (500)
---@field policies? string[] in turn
---@field lacks? table<string, true> seeds whose method this Codex does not have
---@field limit? integer stop after so many failures (8)
---@field direct_every? integer only one of so many is sent directly (1)
---@field progress? fun(report: tests.Report, done: integer)

local function chunk_of(given, from, size)
  local list = {}
  for number = from, from + size - 1 do
    local mutant = M.mutant(given.seed, number)
    if not (given.lacks or {})[mutant.seed.name] then list[#list + 1] = mutant end
  end
  return list
end

local function run_chunk(given, policy, list, report)
  local setting = { binary = given.binary, policy = policy }
  local directly = {}
  for _, mutant in ipairs(list) do
    if mutant.number % (given.direct_every or 1) == 0 then directly[#directly + 1] = mutant end
  end
  local outcome, result = async.all {
    function() return M.direct(given, directly) end,
    function() return { M.through(setting, list) } end,
  }
  for _, mutant in ipairs(directly) do note_direct(report, mutant, outcome[mutant]) end
  local traces, ended = result[1], result[2]
  report.mutants = report.mutants + #list
  report.through[policy] = (report.through[policy] or 0) + #list
  report.ended = report.ended + #ended
  for _ in pairs(traces) do report.executed = report.executed + 1 end
  local limit = (given.limit or 8) - #report.failures
  for _, failure in ipairs(failures_of(setting, list, traces, ended, limit)) do
    report.failures[#report.failures + 1] = failure
  end
end

--- Runs a campaign.
---@async
---@param given tests.CampaignOptions
---@return tests.Report
function M.run(given)
  local report = { mutants = 0, direct = {}, through = {}, executed = 0, ended = 0, kinds = {},
    seeds = {}, failures = {} }
  local policies, size = given.policies or turns, given.chunk or CHUNK
  local first, done, round = given.first or 1, 0, 0
  while done < given.mutants and #report.failures < (given.limit or 8) do
    round = round + 1
    local list = chunk_of(given, first + done, math.min(size, given.mutants - done))
    run_chunk(given, policies[(round - 1) % #policies + 1], list, report)
    done = done + size
    if given.progress then given.progress(report, math.min(done, given.mutants)) end
  end
  return report
end

return M
