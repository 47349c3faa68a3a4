--- Policies: their order, their files, and that whatever goes wrong in one lets nothing happen.

local approval = require "codex.approval"
local codex = require "codex"
local files = require "codex.files"
local json = require "codex.json"
local peers = require "tests.support.peers"
local policy = require "codex.policy"
local program = require "tests.support.program"
local proc = require "codex.proc"
local uv = require "luv"

local fixtures = peers.root .. "/tests/fixtures/appserver-0.169.0-"

--- The n-th question in a recording of real Codex.
local function recorded(name, n)
  local item, found = nil, 0
  for line in (assert(files.read(fixtures .. name .. ".jsonl")) .. "\n"):gmatch "([^\n]+)\n" do
    local entry = json.decode(line)
    local message = entry.msg or {} -- a recording ends with an exit code
    if message.method == "item/started" then item = message.params.item end
    if entry.dir == "s2c" and message.method and message.id then
      found = found + 1
      if found == (n or 1) then
        return approval.request(message.method, message.params, item)
      end
    end
  end
  error("no such question in " .. name)
end

local function command(text, actions)
  return approval.request("item/commandExecution/requestApproval", { threadId = "t", turnId = "u",
    itemId = "i", startedAtMs = 1, command = text, cwd = "/w", kind = "command",
    commandActions = actions })
end

--- A decider with its log: { level .. message, ... }.
local function decider(list, given)
  local said = {}
  given = given or {}
  given.log = function(level, message) said[#said + 1] = level .. " " .. message end
  return assert(policy.decider(list, given)), said
end

--- Decides about a recorded command.
local function decide(list, given, request)
  local d, said = decider(list, given)
  local result, record = d:decide(request or recorded "cmd-approval-accept")
  return result and result.decision, record, table.concat(said, "\n")
end

local function answers(word) return function() return word end end

local function seconds_of(fn)
  local start = uv.hrtime()
  fn()
  return (uv.hrtime() - start) / 1e9
end

describe("a policy", function()
  it("decides about its kinds of request", function()
    local other = { name = "files", on = "file_change", decide = answers "decline" }
    local mine = codex.policy { name = "mine", on = { "command", "permissions" },
      decide = function(request) return request.cwd == "/home/dev/project" and "accept" or nil end }
    local word, record, said = decide { other, mine }
    assert.same({ "accept", "accept", "mine" }, { word, record.decision, record.policy })
    assert.is_nil(record.why)
    assert.is_true(record.seconds >= 0 and record.seconds < 5)
    assert.equal("info mine: accept: Run a command $ /bin/bash -lc 'touch /home/dev/project/"
      .. "escaped.txt' could be allowed from now on: touch /home/dev/project/escaped.txt ... in: "
      .. "/home/dev/project because: Allow creating a file?", said)
  end)

  it("is asked only when its condition holds, and may have no opinion", function()
    local word, record = decide {
      { name = "a", when = answers(false), decide = answers "cancel" },
      { name = "b", decide = function() end },
      { name = "c", when = answers(true), decide = answers "accept_for_session" },
    }
    assert.same({ "acceptForSession", "c" }, { word, record.policy })
  end)

  it("may wait, and see all of the request but change it for nobody else", function()
    local seen
    local word = decide {
      { name = "a", decide = function(request) request.kind, request.command = "none", "x" end },
      { name = "b", decide = function(request)
        codex.sleep(0.01)
        seen = request.command
        return { decision = "accept", amendment = request.amendment }
      end },
    }
    assert.equal("/bin/bash -lc 'touch /home/dev/project/escaped.txt'", seen)
    assert.equal("touch",
      word.acceptWithExecpolicyAmendment.execpolicy_amendment[1])
  end)

  it("that spoils what all share does not keep the answer from coming", function()
    local result = program.eval [[
      local approval, policy = require "codex.approval", require "codex.policy"
      local request = approval.request("item/commandExecution/requestApproval",
        { threadId = "t", turnId = "u", itemId = "i", startedAtMs = 1, command = "x", cwd = "/" })
      local decider = assert(policy.decider { { name = "p", decide = function()
        string.format = nil
        error "no"
      end } })
      local answer, record = decider:decide(request)
      print(answer.decision, record.policy)]]
    assert.same({ 0, "decline\tp\n" }, { result.code, result.stdout }, result.stderr)
  end)

  it("that is made wrongly is the caller's mistake", function()
    local function wrong(given, pattern)
      assert.error_matches(function() codex.policy(given) end, pattern)
    end
    wrong({ name = "a" }, "'decide' is missing")
    wrong({ decide = answers() }, "'name' is missing")
    wrong({ name = "a", decide = "accept" }, "'decide' must be a function")
    wrong({ name = "a", decide = answers(), on = "commands" }, "no kind of request 'commands'")
    wrong({ name = "a", decide = answers(), on = {} }, "'on' is an empty list")
    wrong({ name = "a", decide = answers(), befor = "b" }, "did you mean 'before'")
    wrong({ name = "a", decide = answers(), timeout = -1 }, "'timeout'")
    assert.error_matches(function() policy.decider({}, { timeouts = 1 }) end, "'timeout'")
  end)
end)

describe("the safe answer", function()
  local function refused(list, why, given)
    local word, record, said = decide(list, given)
    assert.same({ "decline", "decline" }, { word, record.decision })
    assert.truthy(record.why:find(why), record.why)
    assert.truthy(said:find("warn", 1, true) and said:find("touch", 1, true), said)
    return record
  end
  local yes = { name = "yes", decide = answers "accept" }

  it("is given when nobody decides", function()
    assert.equal("default", refused({}, "^no policy decided$").policy)
    refused({ { name = "a", decide = function() end } }, "^no policy decided$")
  end)

  it("is given at once when a policy raises, answers nonsense or returns an error", function()
    local function bad(decide_function, why)
      local record = refused({ { name = "bad", decide = decide_function }, yes }, why)
      assert.equal("bad", record.policy)
    end
    bad(function() error "broken" end, "^failed: .*policy_spec.*broken$")
    bad(function() error(nil) end, "^failed: nil$")
    bad(function() return nil, codex.error.new("io", "no disk") end, "^failed: io: no disk$")
    bad(answers "yes", "^failed: 'yes' is no decision")
    bad(answers(true), "^failed: .*got boolean")
    bad(answers(false), "^failed: .*got boolean")
    bad(answers { decision = "accept", answers = { q = "x" } }, "^failed: 'answers' makes no sense")
    bad(answers { decision = "accept", amendment = { "\xff", print } }, "^failed")
    local when = { name = "bad", when = function() error "x" end, decide = answers "accept" }
    refused({ when, yes }, "^failed")
  end)

  it("is given when a task of a policy fails that nobody joins", function()
    local function leaves(seconds)
      return { name = "leaves", decide = function()
        codex.spawn(function()
          codex.sleep(seconds)
          error("lost", 0)
        end)
        codex.sleep(0)
      end }
    end
    local slow_yes = { name = "slow yes", decide = function()
      codex.sleep(0.2)
      return "accept"
    end }
    for _, list in ipairs { { leaves(0), yes }, { leaves(0.05), slow_yes } } do
      local record = refused(list, "^failed: a task that it started failed: lost$")
      assert.equal("leaves", record.policy)
    end
  end)

  it("is given when a policy waits too long", function()
    local record
    assert.is_true(seconds_of(function()
      record = refused({ { name = "slow", timeout = 0.1, decide = function() codex.sleep(9) end },
        yes }, "^timed out after 0.1 s$")
    end) < 1)
    assert.equal("slow", record.policy)
    refused({ { name = "slow", decide = function() codex.sleep(9) end }, yes },
      "^timed out after 0.2 s$", { timeout = 0.2 })
  end)

  it("is given when all together take too long", function()
    local function slow(name)
      return { name = name, decide = function() codex.sleep(0.15) end }
    end
    local record = refused({ slow "a", slow "b", slow "c", yes }, "^timed out", { timeout = 0.2 })
    assert.equal("b", record.policy)
  end)

  it("is given when a policy loops without waiting, even one that catches all errors", function()
    local loops = {
      function() while true do end end,
      function() while true do pcall(function() while true do end end) end end,
      function()
        pcall(function() while true do end end)
        return "accept"
      end,
    }
    for _, loop in ipairs(loops) do
      assert.is_true(seconds_of(function()
        refused({ { name = "loop", timeout = 0.1, decide = loop }, yes }, "^timed out")
      end) < 1)
    end
    assert.is_nil((debug.gethook()))
  end)

  it("lets a looping policy tidy up", function()
    local closed = false
    refused({ { name = "loop", timeout = 0.1, decide = function()
      local guard <close> = setmetatable({}, { -- luacheck: ignore 211
        __close = function() closed = true end,
      })
      while true do end
    end } }, "^timed out")
    assert.is_true(closed)
  end)

  it("is given when a policy swallows its cancellation", function()
    local level = codex.log.level "off"
    local ended
    assert.is_true(seconds_of(function()
      refused({ { name = "stubborn", timeout = 0.1, decide = function()
        pcall(codex.sleep, 9)
        codex.sleep(1.5)
        ended = true
        return "accept"
      end }, yes }, "^timed out")
    end) < 1.4)
    codex.sleep(0.6) -- when its wait is over the policy is ended, not let go on
    codex.log.level(level)
    assert.is_nil(ended)
  end)

  it("is an error reply where there is no other", function()
    local request = approval.request("attestation/generate", {})
    for _, list in ipairs { {}, { yes }, { { name = "no", decide = answers "decline" } } } do
      local result, record = decider(list):decide(request)
      assert.is_nil(result)
      assert.equal("error", record.decision)
      assert.equal(list[1] and list[1].name or "default", record.policy)
    end
  end)

  it("is not given to a request whose deciding is cancelled: nothing is", function()
    local d = decider { { name = "slow", decide = function() codex.sleep(9) end } }
    local task = codex.spawn(d.decide, d, command "ls")
    codex.sleep(0.05)
    task:cancel()
    local result, err = task:join()
    assert.is_nil(result)
    assert.equal("cancelled", err.kind)
  end)
end)

describe("a policy that means ill", function()
  local no = { name = "no", decide = answers "decline" }
  local yes = { name = "yes", decide = answers "accept" }

  local function permissions()
    return approval.request("item/permissions/requestApproval", { threadId = "t", turnId = "u",
      itemId = "i", permissions = json.decode [[{ "fileSystem": { "read": ["/a"], "write": null },
        "network": {}, "list": [] }]] })
  end

  it("cannot change what the next one sees, and what is granted", function()
    local seen
    local function spoil(value)
      for key, one in pairs(value) do
        if type(one) == "table" then spoil(one) end
        if key == "fileSystem" then one.write = { "/" } end
      end
    end
    local d = decider {
      { name = "spoils", decide = function(request) spoil(request) end },
      { name = "grants", decide = function(request)
        seen = json.encode(request.permissions)
        spoil(request)
        return "accept"
      end },
    }
    local asked = permissions()
    local before = json.encode(asked.params)
    local result = d:decide(asked)
    local text = '{"fileSystem":{"read":["/a"],"write":null},"list":[],"network":{}}'
    assert.same({ text, text }, { seen, json.encode(result.permissions) })
    assert.equal(before, json.encode(asked.params))
  end)

  it("sees a request that holds itself, and a large one", function()
    local asked = command "ls"
    asked.params.circle, asked.params.large = asked, ("x"):rep(1 << 20)
    local result = decider { { name = "looks", decide = function(request)
      assert(request.params.circle ~= asked and #request.params.large == 1 << 20)
      assert(request.params.circle.params == request.params)
      return "accept"
    end } }:decide(asked)
    assert.equal("accept", result.decision)
  end)

  it("is too late when it was held up in C", function()
    local word, record = decide({ { name = "late", timeout = 0.1, decide = function()
      os.execute "sleep 0.3"
      return "accept"
    end }, yes })
    assert.same({ "decline", "late", "timed out after 0.1 s" }, { word, record.policy, record.why })
  end)

  it("is no when the request cannot be understood", function()
    for _, wrong in ipairs { {}, { kind = "nonsense" }, { kind = "command", params = { print } },
      { kind = 0 / 0 }, { kind = "user_input", questions = 3, method = {} },
      { kind = "command", command = {}, cwd = {}, network = 7, amendment = 3 } } do
      for _, list in ipairs { { yes }, { no }, {} } do
        local result, record = decider(list):decide(wrong)
        if record.decision == "error" then
          assert.is_nil(result)
        elseif list[1] ~= yes or record.decision ~= "accept" then
          assert.equal("decline", record.decision)
        end
      end
    end
  end)

  --- Values of all kinds, the worse ones with metamethods that raise or never end.
  local function nasty(random, depth)
    local function forever() while true do end end
    local bad = { forever, error, function() return nil end, function() error({}) end,
      function() return setmetatable({}, { __tostring = forever }) end, print }
    local makers = {
      function() return 0 / 0 end,
      function() return math.huge end,
      function() return function() end end,
      function() return coroutine.create(forever) end,
      function() return io.stdout end,
      function() return ("\xed\xa0\x80\0"):rep(random(1, 1 << 18)) end,
      function() return json.null end,
      function() return random(2) == 1 end,
      function() return "accept" .. string.char(random(0, 255)) end,
      function()
        local meta = {}
        for _, event in ipairs { "__tostring", "__index", "__pairs", "__len", "__eq", "__close",
          "__name", "__concat", "__call", "__lt", "__newindex", "__mode", "__metatable" } do
          if random(2) == 1 then meta[event] = bad[random(#bad)] end
        end
        if random(3) == 1 then meta.__gc = function() end end
        return setmetatable(depth > 0 and nasty(random, depth - 1) or {}, meta)
      end,
      function()
        local list = { decision = nasty(random, 0), [nasty(random, 0)] = 1 }
        for _ = 1, random(4) do list[random(4)] = depth > 0 and nasty(random, depth - 1) or list end
        return list
      end,
    }
    while true do
      local ok, value = pcall(makers[random(#makers)])
      if ok then return value end
    end
  end

  it("says no, in time, whatever it returns or raises", function()
    local level = codex.log.level "off"
    for seed = 1, 150 do
      math.randomseed(seed)
      local value = nasty(math.random, 3)
      local ways = { function() return value end, function() error(value) end,
        function() return nil, value end, function() return { decision = value } end,
        function() return { decision = "accept", [value] = 1 } end,
        function() return { decision = "accept", amendment = value } end }
      local way, asked = ways[math.random(#ways)], command "ls"
      local started = uv.hrtime()
      local said = 0
      local d = assert(policy.decider({ { name = "nasty", timeout = 0.1, decide = way }, yes }, {
        log = function(_, message) said = said + #message end,
      }))
      local result, record = d:decide(asked)
      local seconds = (uv.hrtime() - started) / 1e9
      local word = ("seed %d: %s"):format(seed, tostring(record.why))
      if value ~= nil or record.policy == "nasty" then
        assert.equal("decline", result.decision, word)
        assert.equal("nasty", record.policy, word)
      end
      assert.is_true(seconds < 2 and said < 1 << 16, word)
      assert(json.encode(record, { repair = true }))
    end
    codex.log.level(level)
  end)

  it("says no when the log and the audit fail as well", function()
    local function broken() error(setmetatable({}, { __tostring = function() error "x" end })) end
    local d = assert(policy.decider({ yes }, {
      log = broken, audit = { required = true, record = broken },
    }))
    local result, record = d:decide(command "ls")
    assert.same({ "decline", "decline" }, { result.decision, record.decision })
  end)
end)

describe("the order of policies", function()
  local function names(list)
    local made = {}
    for i, one in ipairs(list) do
      made[i] = { name = one[1], before = one.before, after = one.after, decide = answers() }
    end
    local ordered, err = policy.order(made)
    if not ordered then return nil, err end
    for i, one in ipairs(ordered) do ordered[i] = one.name end
    return table.concat(ordered, " ")
  end

  it("is as given, but for what before and after say", function()
    assert.equal("a b c", names { { "a" }, { "b" }, { "c" } })
    assert.equal("c a b", names { { "a" }, { "b" }, { "c", before = "a" } })
    assert.equal("b c a", names { { "a", after = { "b", "c" } }, { "b" }, { "c" } })
    assert.equal("d b a c", names { { "a", after = "b" }, { "b", after = "d" }, { "c" },
      { "d", before = { "a", "nobody" } } })
    assert.equal("a", names { { "a", after = "nobody" } })
  end)

  it("that goes round in a circle names who is on it", function()
    local ordered, err = names { { "x" }, { "y", after = "c" }, { "a", before = "b" },
      { "b", before = "c" }, { "c", before = "a" } }
    assert.is_nil(ordered)
    assert.equal("policy", err.kind)
    local on_it = err.message:match "circle: (.*)$"
    assert.truthy(("a before b before c before a before b before c"):find(on_it, 1, true), on_it)
    assert.is_nil(err.message:find("x", 1, true) or err.message:find(" y", 1, true))
    assert.truthy(select(2, names { { "a", before = "a" } }).message:find "a before a")
  end)

  it("knows each name once", function()
    local ordered, err = names { { "a" }, { "a" } }
    assert.is_nil(ordered)
    assert.truthy(err.message:find "two policies 'a'")
    assert.is_nil((policy.decider { { name = "a", decide = answers() },
      { name = "a", decide = answers() } }))
  end)
end)

describe("policy files", function()
  local dir, remove
  before_each(function() dir, remove = program.folder() end)
  after_each(function() remove() end)

  local function write(name, text, mode)
    program.write(dir .. "/" .. name, text, mode)
    if mode then assert(uv.fs_chmod(dir .. "/" .. name, mode)) end
    return dir .. "/" .. name
  end

  local function names_of(list)
    local names = {}
    for i, one in ipairs(list) do names[i] = one.name end
    return names
  end

  it("return a policy, a list, or a function", function()
    local function loaded(text) return names_of(assert(policy.load(write("x.lua", text)))) end
    assert.same({ "a" }, loaded [[return { name = "a", decide = function() end }]])
    assert.same({ "a" }, loaded [[return require("codex").policy {
      name = "a", decide = function() end }]])
    assert.same({ "x" }, loaded [[return function(request) return "accept" end]])
    assert.same({ "x" }, loaded [[return { on = "command", decide = function() end }]])
    assert.same({ "a", "x#2" }, loaded [[return { { name = "a", decide = function() end },
      function() end }]])
  end)

  it("decide", function()
    local path = write("mine.lua", [[return function(request)
      if request.kind == "command" then return "accept" end
    end]])
    local word, record = decide(assert(policy.load(path)))
    assert.same({ "accept", "mine" }, { word, record.policy })
  end)

  it("of a folder are loaded by name, and one that is broken is not left out", function()
    write("20-b.lua", [[return function() end]])
    write("10-a.lua", [[return function() end]])
    write(".hidden.lua", "syntax error")
    write("notes.txt", "syntax error")
    assert.same({ "10-a", "20-b" }, names_of(assert(policy.load_folder(dir))))
    local path = write("15-c.lua", "return {\n  oops oops\n}")
    local list, err = policy.load_folder(dir)
    assert.is_nil(list)
    assert.equal("policy", err.kind)
    assert.truthy(err.message:find(path .. ":2:", 1, true), err.message)
    assert.same({}, policy.load_folder(dir .. "/nothing"))
    assert.is_nil((policy.load_folder(path)))
  end)

  it("that are no policies are errors with their file", function()
    for text, pattern in pairs {
      ["return 3"] = "options must be a table", ["error 'x'"] = "x", ["return {}"] = "must return",
      ["return { name = 'a', decide = 1 }"] = "'decide'", [""] = "got nil",
      ["return { function() end, on = 'command' }"] = "'on' is no part",
      ["return { on = 'command', when = print }"] = "'on' is no part",
      ["return { function() end, nil, function() end }"] = "number 2 is missing",
      ["return { [2] = function() end }"] = "number 1 is missing",
      ["return { [1.5] = function() end }"] = "no part",
      ["return { { on = 'PreToolUse', decide = print } }"] = "no kind of request 'PreToolUse'",
      ["return { on = { command = true }, decide = print }"] = "'on' must be a list of strings",
      ["return { on = { 'command', x = 1 }, decide = print }"] = "'on' must be a list of strings",
      ["return { on = { 'command', nil, 'command' }, decide = print }"] = "'on' must be a list",
      ["return { on = {}, decide = print }"] = "empty list",
      ["return { decide = print, before = { a = 1 } }"] = "'before' must be a list of strings",
      ["return { decide = print, function() end }"] = "unknown",
    } do
      local path = write("x.lua", text)
      local list, err = policy.load(path)
      assert.is_nil(list)
      assert.truthy(err.message:find(path, 1, true) and err.message:find(pattern), err.message)
    end
    local list, err = policy.load(dir .. "/nothing.lua")
    assert.is_nil(list)
    assert.same({ "io", "ENOENT" }, { err.kind, err.code })
  end)

  it("that others may write are refused", function()
    for _, mode in ipairs { tonumber("660", 8), tonumber("606", 8) } do
      local list, err = policy.load(write("x.lua", "return function() end", mode))
      assert.is_nil(list)
      assert.truthy(err.message:find "written by others", err.message)
    end
    assert(uv.fs_unlink(dir .. "/x.lua"))
    assert(uv.fs_chmod(dir, tonumber("777", 8)))
    local list, err = policy.load_folder(dir)
    assert.is_nil(list)
    assert.truthy(err.message:find "written by others", err.message)
  end)

  it("of somebody else are refused", function()
    if uv.getuid() ~= 0 then return pending "only root can give a file away" end
    local path = write("x.lua", "return function() end")
    assert(uv.fs_chown(path, 12345, 12345))
    local list, err = policy.load(path)
    assert.is_nil(list)
    assert.truthy(err.message:find "somebody else %(user 12345%)", err.message)
  end)

  it("of the user are in the configuration folder", function()
    local result = program.eval([[print(require("codex.policy").folder())]],
      { env = { XDG_CONFIG_HOME = "/x" } })
    assert.equal("/x/codex-lua/policy.d\n", result.stdout)
  end)
end)

describe("policy.read_only", function()
  local function opinion(text, types, more)
    local actions = {}
    for i, kind in ipairs(types) do actions[i] = { type = kind, command = "x" } end
    local request = command(text, actions)
    for name, value in pairs(more or {}) do request[name] = value end
    return policy.read_only().decide(request)
  end

  it("accepts what only reads", function()
    assert.equal("accept", opinion("/bin/bash -lc 'cat a.txt'", { "read" }))
    assert.equal("accept", opinion("/bin/bash -lc 'ls -la src'", { "listFiles" }))
    assert.equal("accept", opinion([[/bin/bash -lc "rg -n 'a|b' src | head -n 5"]], { "search" }))
    assert.equal("accept", opinion([[/bin/bash -lc "cd x && sed -n '1,20p' a"]], { "read" }))
    assert.equal("accept", opinion("cat a", { "read" }))
  end)

  it("has no opinion on what Codex does not call reading", function()
    assert.is_nil(opinion("/bin/bash -lc 'cat a'", { "unknown" }))
    assert.is_nil(opinion("/bin/bash -lc 'ls && cat a'", { "listFiles", "unknown" }))
    assert.is_nil(opinion("/bin/bash -lc 'cat a'", {}))
    assert.is_nil(opinion("cat", { "read" }, { command_kind = "writeStdin" }))
    assert.is_nil(opinion("cat a", { "read" }, { network = { host = "x" } }))
    assert.is_nil(opinion("cat a", { "read" }, { additional_permissions = {} }))
    assert.is_nil(policy.read_only().decide(recorded "patch-approval-accept"))
  end)

  -- The first four are what Codex 0.169.0 called search, search, read and listFiles.
  it("has no opinion on what Codex calls reading and is not", function()
    for _, script in ipairs {
      "rg --pre=./evil foo", "rg -l foo | xargs rm", [[cat a | awk "BEGIN{system(1)}"]],
      "find . -delete", "cat a > b", "cat $(touch x)", "cat `touch x`", "cat a & rm b", "ls\nrm b",
      "ls | tee x", "sed -n '1w out' a", "sed -n 1p -i a", "rg -lz foo", "A=1 ls", "./ls",
      "cat <(rm x)", "cat *", "ls # x", "cat \\; rm x", 'cat "$(rm x)"', "find . -execdir rm {} +",
    } do
      local quoted = "'" .. script:gsub("'", "'\\''") .. "'"
      assert.is_nil(opinion("/bin/bash -lc " .. quoted, { "read" }), script)
      assert.is_nil(opinion(script, { "read" }), script)
    end
    assert.is_nil(opinion("./bash -lc 'ls'", { "listFiles" }))
    assert.is_nil(opinion("/bin/bash -lc ls; rm x", { "listFiles" }))
  end)
end)

describe("policy.always", function()
  it("says the same to all", function()
    local word, record = decide { policy.always "cancel" }
    assert.same({ "cancel", "always/cancel" }, { word, record.policy })
    word = decide { policy.always("accept", { on = "file_change" }) }
    assert.equal("decline", word)
  end)
end)

describe("policy.external", function()
  local dir, remove
  before_each(function() dir, remove = program.folder() end)
  after_each(function() remove() end)

  local function external(body, given)
    local path = dir .. "/decide"
    program.write(path, "#!/bin/sh\n" .. body .. "\n", tonumber("755", 8))
    return policy.external(path, given)
  end

  it("gets the request as JSON and prints a decision", function()
    local path = peers.quote(dir .. "/request")
    local body = ([[cat > %s; echo '{"decision": "accept"}']]):format(path)
    local word, record = decide { external(body) }
    assert.same({ "accept", "external/decide" }, { word, record.policy })
    local seen = json.decode(assert(files.read(dir .. "/request")))
    local request = recorded "cmd-approval-accept"
    assert.same({ request.command, request.cwd, request.thread_id, "command", "touch" },
      { seen.command, seen.cwd, seen.thread_id, seen.kind, seen.amendment[1] })
    assert.is_nil(seen.item)
    assert.equal(request.params.itemId, seen.params.itemId)
  end)

  it("gets arguments and environment", function()
    local mine = external([[[ "$1$X" = "a by" ] && echo '{"decision":"cancel"}']],
      { args = { "a b" }, env = { X = "y" }, name = "mine" })
    local word, record = decide { mine }
    assert.same({ "cancel", "mine" }, { word, record.policy })
  end)

  it("that prints nothing and succeeds has no opinion", function()
    local word, record = decide { external "cat >/dev/null; echo", policy.always "accept" }
    assert.same({ "accept", "always/accept" }, { word, record.policy })
  end)

  it("declines when it fails, prints junk or is too slow, and says why", function()
    local function refused(body, why, given)
      local word, record, said = decide { external(body, given), policy.always "accept" }
      assert.equal("decline", word)
      assert.truthy(record.why:find(why), record.why)
      assert.truthy(said:find "^warn policy external/decide: failed")
    end
    refused("echo '{\"decision\":\"accept\"}'; echo oh no >&2; exit 3",
      "exited with code 3: oh no$")
    refused("echo accept", "did not print a decision")
    refused("echo '{\"decision\":\"accept\"}'; echo more", "did not print a decision")
    refused("echo '{\"decision\":\"yes\"}'", "'yes' is no decision")
    refused("echo '\"accept\"'", "did not print a decision")
    refused("sleep 9", "was not done in time", { timeout = 0.2 })
    refused("kill -9 $$", "signal 9")
    refused("exec cat /dev/zero", "printed too much")
    local word, record = decide { policy.external(dir .. "/nothing"), policy.always "accept" }
    assert.equal("decline", word)
    assert.truthy(record.why:find "no such program")
  end)
end)

describe("policy.ask_terminal", function()
  --- Runs code on a terminal. `typed` is a list of { what the screen shows, what is then typed }.
  local function on_terminal(code, typed)
    local words = { program.path, "-e", [[
      local codex, approval = require "codex", require "codex.approval"
      local policy = require "codex.policy"
      local function out(value) print("RESULT " .. codex.json.encode(value)) end
      local function ask(method, params, timeout)
        local d = policy.decider({ policy.ask_terminal() }, { timeout = timeout or 20,
          log = function() end })
        local result, record = d:decide(approval.request(method, params))
        return { result = result, record = record }
      end
    ]] .. code }
    for i, word in ipairs(words) do words[i] = peers.quote(word) end
    local p <close> = assert(proc.spawn({ "script", "-qec", table.concat(words, " "), "/dev/null" },
      { stdin = "pipe", timeout = 30 }))
    local seen, from, step = "", 1, 1
    for piece in function() return p:read() end do
      seen = seen .. piece
      while typed[step] do
        local _, stop = seen:find(typed[step][1], from, true)
        if not stop then break end
        from, step = stop + 1, step + 1
        codex.sleep(0.03) -- a person is not that fast
        p:write(typed[step - 1][2])
      end
    end
    p:wait()
    local results = {}
    for text in seen:gmatch "RESULT ([^\r\n]*)" do results[#results + 1] = json.decode(text) end
    return results, seen
  end

  local ask_command = [[ask("item/commandExecution/requestApproval",
    { threadId = "t", command = "rm \27[31mx", cwd = "/w" })]]

  it("shows what is asked and takes a word", function()
    for typed, decision in pairs { a = "accept", S = "acceptForSession", d = "decline",
      cancel = "cancel" } do
      local results, seen = on_terminal("out(" .. ask_command .. ")",
        { { "ancel? ", typed .. "\n" } })
      assert.equal(decision, results[1].result.decision)
      assert.equal("ask/terminal", results[1].record.policy)
      assert.truthy(seen:find("  $ rm ^[[31mx", 1, true))
      assert.is_nil(seen:find("\27", 1, true))
    end
  end)

  it("asks again after another word, and declines on Ctrl-D", function()
    local results, seen = on_terminal("out(" .. ask_command .. ")",
      { { "ancel? ", "yes\n" }, { "letters", "" }, { "ancel? ", "\4" } })
    assert.equal("decline", results[1].result.decision)
    assert.truthy(seen:find("Type one of the letters", 1, true))
  end)

  it("does not take what was typed before it asked", function()
    local results = on_terminal([[print "READY" codex.sleep(1) out(]] .. ask_command .. ")",
      { { "READY", "a\n" }, { "ancel? ", "d\n" } })
    assert.equal("decline", results[1].result.decision)
  end)

  it("asks one thing at a time and lets everything else go on", function()
    local results, seen = on_terminal([[
      local ticks = 0
      local ticker = codex.spawn(function()
        while true do codex.sleep(0.01) ticks = ticks + 1 end
      end)
      codex.map({ "one", "two" }, function(name)
        local params = { threadId = "t", command = name }
        local answer = ask("item/commandExecution/requestApproval", params)
        out { name = name, decision = answer.result.decision }
        return true
      end)
      ticker:cancel() ticker:join()
      out { ticks = ticks }
    ]], { { "$ one", "" }, { "ancel? ", "a\n" }, { "$ two", "" }, { "ancel? ", "d\n" } })
    assert.same({ "one", "accept", "two", "decline" }, { results[1].name, results[1].decision,
      results[2].name, results[2].decision })
    assert.is_true(results[3].ticks >= 3)
    assert.truthy(seen:match("%$ one(.-)%$ two"):find("ancel? a", 1, true)) -- answered by then
  end)

  it("gives up when the time is over, and says so", function()
    local results, seen = on_terminal([[out(ask("item/fileChange/requestApproval",
      { threadId = "t" }, 0.3))]], {})
    assert.equal("decline", results[1].result.decision)
    assert.equal("timed out after 0.3 s", results[1].record.why)
    assert.truthy(seen:find("(no longer asked)", 1, true))
  end)

  it("asks the questions of the model one by one, and hides what is secret", function()
    local results, seen = on_terminal([[out(ask("item/tool/requestUserInput", {
      threadId = "t", questions = {
        { id = "q1", header = "Pick", question = "Which?", isOther = false, isSecret = false,
          options = {
            { label = "A", description = "1st" }, { label = "B", description = "2nd" } } },
        { id = "q2", header = "Key", question = "Token?", isSecret = true },
        { id = "q3", header = "Else", question = "More?", isOther = true, options = {
          { label = "C", description = "third" } } },
        { id = "q4", header = "None", question = "Skip?" },
      } }).result)]], { { "Which?", "" }, { "> ", "3\n" }, { "> ", "2\n" }, { "Token?", "" },
      { "> ", "hush hush\n" }, { "More?", "" }, { "> ", "my own\n" }, { "Skip?", "" },
      { "> ", "\n" } })
    assert.equal('{"answers":{"q1":{"answers":["B"]},"q2":{"answers":["hush hush"]},'
      .. '"q3":{"answers":["my own"]}}}', json.encode(results[1]))
    assert.is_nil(seen:gsub("RESULT.*", ""):find("hush hush", 1, true))
  end)

  it("fills in the form of an elicitation by its types", function()
    local results = on_terminal([[out(ask("mcpServer/elicitation/request", { threadId = "t",
      serverName = "s", mode = "form", message = "Fill in", requestedSchema = { type = "object",
      required = { "a", "b" }, properties = {
        a = { type = "string", minLength = 2 }, b = { type = "integer", minimum = 1 },
        c = { type = "boolean" }, d = { type = "string", enum = { "x", "y" } },
        e = { type = "number", default = 1.5 },
        f = { type = "array", items = { type = "string", enum = { "k", "l", "m" } } },
        g = { type = "string" },
      } } }).result)]], { { "ancel? ", "a\n" }, { "> ", "n\n" }, { "> ", "nö\n" }, { "> ", "\n" },
      { "needed", "" }, { "> ", "0\n" }, { "> ", "7\n" }, { "> ", "no\n" }, { "> ", "2\n" },
      { "> ", "\n" }, { "> ", "1, 3\n" }, { "> ", "\n" } })
    assert.equal('{"action":"accept","content":{"a":"nö","b":7,"c":false,"d":"y","e":1.5,'
      .. '"f":["k","m"]}}', json.encode(results[1]))
  end)

  it("offers the session for an MCP tool only where Codex does", function()
    local function asked(persist)
      local results, seen = on_terminal(([[out(ask("mcpServer/elicitation/request", {
        threadId = "t", serverName = "s", mode = "form", message = "Allow?", _meta = { persist = %s,
        codex_approval_kind = "mcp_tool_call", tool_name = "shout" },
        requestedSchema = { type = "object", properties = codex.json.object {} } }).result)]])
        :format(persist), { { "ancel? ", "s\n" }, { "ancel? ", "d\n" } })
      return json.encode(results[1]), seen
    end
    local result, seen = asked '{ "session", "always" }'
    assert.equal('{"_meta":{"persist":"session"},"action":"accept","content":{}}', result)
    assert.truthy(seen:find("tool: shout", 1, true))
    assert.equal('{"action":"decline"}', (asked "nil"))
  end)

  it("has no opinion without a terminal", function()
    local mine = policy.ask_terminal { path = "/dev/null" }
    assert.is_nil(mine.decide(command "ls"))
    local code = [[local policy, approval = require "codex.policy", require "codex.approval"
      local request = approval.request("execCommandApproval", { command = {} })
      print(policy.ask_terminal().decide(request))]]
    local result = assert(proc.run({ "setsid", "-w", program.path, "-e", code }, { timeout = 20 }))
    assert.equal("nil\n", result.stdout, result.stderr)
  end)
end)
