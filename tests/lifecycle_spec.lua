--- What Codex tells lifecycle hooks, and what they may answer. The payloads are what real Codex
--- wrote to a hook (paths and folders made the same everywhere).

local files = require "codex.files"
local json = require "codex.json"
local lifecycle = require "codex.lifecycle"
local proc = require "codex.proc"
local program = require "tests.support.program"
local uv = require "luv"

local function fixture(kind, version)
  local name = ("hook-%s-%s.json"):format(version or "0.169.0", kind)
  return assert(files.read(program.root .. "/tests/fixtures/" .. name))
end

--- A folder with these hook files, for the body.
local function with_files(texts, body)
  local folder, remove = program.folder()
  local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
  local paths = {}
  for i, text in ipairs(texts) do
    paths[i] = ("%s/h%d.lua"):format(folder, i)
    program.write(paths[i], text)
  end
  body(paths, folder)
end

--- What hooks that consist of this Lua answer to the payload of an event: the decoded answer, the
--- reply and the outcomes.
local function answer(kind, texts, opts, change)
  local given = {}
  for name, value in pairs(opts or {}) do given[name] = value end
  local payload = json.decode(fixture(kind))
  if change then change(payload) end
  local out, reply, outcomes
  with_files(type(texts) == "table" and texts or { texts }, function(paths)
    given.files = paths
    reply, outcomes = lifecycle.run(json.encode(payload), given)
    out = reply.out ~= "" and assert(json.decode(reply.out)) or nil
  end)
  return out, reply, outcomes
end

--- A hook that returns this.
local function returns(value, more)
  return ("return { %s run = function(event) return %s end }"):format(more or "", value)
end

local types = {
  "interrupt", "permission_request", "post_compact", "post_model_request", "post_tool_use",
  "pre_compact", "pre_model_request", "pre_tool_use", "session_end", "session_start", "stop",
  "subagent_start", "subagent_stop", "user_prompt_submit",
}

describe("an event", function()
  it("is known for all that Codex has hooks for", function()
    assert.same(types, lifecycle.types())
  end)

  for _, kind in ipairs(types) do
    it("of type " .. kind .. " has what Codex sent", function()
      local payload = assert(lifecycle.decode(fixture(kind)))
      local event = lifecycle.event(payload)
      assert.equal(kind, event.type)
      assert.equal(payload.hook_event_name, lifecycle.name_of(kind))
      assert.equal(payload.session_id, event.thread_id)
      assert.equal(payload, event.payload)
      for name, value in pairs(payload) do
        if value == json.null then value = nil end
        assert.equal(value, event[name])
      end
    end)

    it("of type " .. kind .. " has a sample like what Codex sends", function()
      local sample = json.decode(require("codex.cli.hook_samples")[kind])
      local real = json.decode(fixture(kind))
      for name, value in pairs(real) do
        if not name:find "transcript_path$" then assert.same(value, sample[name]) end
        real[name] = nil
        assert.not_nil(sample[name])
        sample[name] = nil
      end
      assert.same({}, { next(sample) })
    end)
  end

  it("that nobody knows passes", function()
    local out, reply, outcomes = answer("stop", returns "nil", nil, function(payload)
      payload.hook_event_name = "TeaIsReady"
    end)
    assert.is_nil(out)
    assert.equal(0, reply.code)
    assert.same({ true }, { outcomes[1].ok })
    assert.equal("tea_is_ready", lifecycle.type_of "TeaIsReady")
  end)

  it("that nobody knows is refused where a hook refuses or fails closed", function()
    local function rename(payload) payload.hook_event_name = "TeaIsReady" end
    local fails = 'return { fail = %q, run = function() error("broken", 0) end }'
    local none = "return { on = 'pre_tool_use', run = function() end }"
    for _, case in ipairs {
      { fails:format "closed", nil, "broken" }, { none, "closed", "it has no hook for tea" },
      { returns '{ decision = "deny", reason = "no tea" }', nil, "no tea" },
    } do
      local _, reply = answer("stop", case[1], { fail = case[2] }, rename)
      assert.same({ 2, "" }, { reply.code, reply.out })
      assert.truthy(reply.refusal:find(case[3], 1, true))
    end
    local _, reply = answer("stop", fails:format "open", nil, rename)
    assert.equal(0, reply.code)
  end)

  it("is the same in 0.153.4, which has no hooks around model requests", function()
    for _, kind in ipairs(types) do
      local ok, text = pcall(fixture, kind, "0.153.4")
      assert.equal(not kind:find "model_request", ok)
      if ok then
        local old, new = json.decode(text), json.decode(fixture(kind))
        for name, value in pairs(new) do assert.equal(type(value), type(old[name]), name) end
        for name in pairs(old) do assert.not_nil(new[name], name) end
      end
    end
  end)
end)

describe("an answer", function()
  local function specific(name, fields)
    fields.hookEventName = name
    return { hookSpecificOutput = fields }
  end

  local stop = { continue = false, stopReason = "R" }
  local block = { decision = "block", reason = "R" }
  local refuse = '{ decision = "deny", reason = "R" }'
  local halt = '{ continue = false, stop_reason = "R" }'

  --- kind, what the hook returns, what Codex is told. nil: nothing.
  local cases = {
    { "pre_tool_use", "nil" },
    { "pre_tool_use", '"allow"' },
    { "pre_tool_use", refuse, specific("PreToolUse",
      { permissionDecision = "deny", permissionDecisionReason = "R" }) },
    { "pre_tool_use", '{ decision = "block", reason = "R" }', specific("PreToolUse",
      { permissionDecision = "deny", permissionDecisionReason = "R" }) },
    { "pre_tool_use", '"deny"', specific("PreToolUse",
      { permissionDecision = "deny", permissionDecisionReason = "hook 'h1' says no" }) },
    { "pre_tool_use", '{ input = { command = "ls" } }', specific("PreToolUse",
      { permissionDecision = "allow", updatedInput = { command = "ls" } }) },
    { "pre_tool_use", '{ context = "C", system_message = "M" }', {
      hookSpecificOutput = { hookEventName = "PreToolUse", additionalContext = "C" },
      systemMessage = "M" } },
    { "permission_request", '"allow"', specific("PermissionRequest",
      { decision = { behavior = "allow" } }) },
    { "permission_request", refuse, specific("PermissionRequest",
      { decision = { behavior = "deny", message = "R" } }) },
    { "permission_request", '"ask"' },
    { "post_tool_use", refuse, block },
    { "post_tool_use", halt, stop },
    { "post_tool_use", '{ context = "C" }', specific("PostToolUse", { additionalContext = "C" }) },
    { "user_prompt_submit", refuse, block },
    { "user_prompt_submit", halt, stop },
    { "user_prompt_submit", '{ context = "C", suppress_output = true }', {
      hookSpecificOutput = { hookEventName = "UserPromptSubmit", additionalContext = "C" },
      suppressOutput = true } },
    { "stop", refuse, block },
    { "stop", '"allow"' },
    { "stop", halt, stop },
    { "subagent_stop", refuse, block },
    { "session_start", '{ context = "C" }', specific("SessionStart", { additionalContext = "C" }) },
    { "session_start", halt, stop },
    { "subagent_start", '{ context = "C" }',
      specific("SubagentStart", { additionalContext = "C" }) },
    { "pre_compact", halt, stop },
    { "post_compact", halt, stop },
    { "interrupt", '{ system_message = "M" }', { systemMessage = "M" } },
    { "session_end", "nil" },
    { "pre_model_request", "nil" },
    { "post_model_request", "nil" },
  }

  for _, case in ipairs(cases) do
    local kind, code, expected = table.unpack(case, 1, 3)
    it(("to %s: %s"):format(kind, code), function()
      local out, reply, outcomes = answer(kind, returns(code))
      assert.same(expected, out)
      local is_refused = code:find '"deny"' or code:find '"block"'
      assert.equal(is_refused and not kind:find "stop$" and 2 or 0, reply.code)
      assert.is_nil(outcomes[1].why)
      assert.is_true(outcomes[1].ok)
    end)
  end

  --- kind, what the hook returns, what is wrong with it.
  local bad = {
    { "pre_tool_use", '"maybe"', "must be allow, deny, ask or block, got maybe" },
    { "pre_tool_use", '"ask"', "answered ask, which Codex does not take for pre_tool_use" },
    { "pre_tool_use", "42", "returned a number" },
    { "pre_tool_use", "false", "returned a boolean" },
    { "pre_tool_use", '{ desicion = "deny" }', "a field 'desicion'" },
    { "pre_tool_use", '{ reason = "R" }', "a reason without a decision" },
    { "pre_tool_use", "{ continue = false }", "answered continue, which Codex does not take" },
    { "pre_tool_use", "{ suppress_output = true }", "answered suppress_output" },
    { "pre_tool_use", "{ context = 1 }", "context must be a string, got a number" },
    { "pre_tool_use", "{ input = {} }", "a string `command`" },
    { "pre_tool_use", '{ input = "ls" }', "input must be a table, got a string" },
    { "pre_tool_use", '{ input = { "ls" } }', "must be a JSON object" },
    { "pre_tool_use", "{ input = { command = print } }", "a function is no plain value" },
    { "pre_tool_use", '{ decision = "deny", input = { command = "x" } }', "it refused, and gave" },
    { "permission_request", '{ input = { command = "x" } }', "answered input" },
    { "permission_request", '{ context = "C" }', "answered context" },
    { "post_tool_use", '"ask"', "answered ask" },
    { "post_tool_use", "{ suppress_output = true }", "answered suppress_output" },
    { "stop", '{ context = "C" }', "answered context" },
    { "session_start", refuse, "answered deny" },
    { "session_start", '"allow"', "answered allow" },
    { "pre_compact", refuse, "answered deny" },
    { "interrupt", halt, "which Codex does not take for interrupt" },
    { "session_end", '{ system_message = "M" }', "answered system_message" },
    { "pre_model_request", refuse, "answered deny" },
    { "post_model_request", halt, "which Codex does not take for post_model_request" },
  }

  for _, case in ipairs(bad) do
    it(("to %s that is none: %s"):format(case[1], case[2]), function()
      local _, reply, outcomes = answer(case[1], returns(case[2], 'fail = "open",'))
      assert.is_false(outcomes[1].ok)
      assert.truthy(outcomes[1].why:find(case[3], 1, true), outcomes[1].why)
      assert.is_nil(reply.refusal)
    end)
  end
end)

describe("several hooks", function()
  it("run in order, and all of them; a refusal is the answer", function()
    local out, _, outcomes = answer("pre_tool_use", {
      returns '{ decision = "deny", reason = "first" }',
      returns '{ decision = "allow", input = { command = "x" }, context = "A" }',
      returns '{ decision = "deny", reason = "third", context = "B" }',
    })
    assert.same({
      hookEventName = "PreToolUse", permissionDecision = "deny",
      permissionDecisionReason = "first\nthird", additionalContext = "A\n\nB",
    }, out.hookSpecificOutput)
    assert.same({ "h1", "h2", "h3" }, { outcomes[1].hook, outcomes[2].hook, outcomes[3].hook })
  end)

  it("see what those before them made of the input, and nothing else of them", function()
    local out = answer("pre_tool_use", {
      [[return function(event)
        event.tool_input.command = "spoilt"
        event.payload.cwd = "spoilt"
        return { input = { command = "one" } }
      end]],
      [[return function(event)
        assert(event.payload.cwd ~= "spoilt" and event.payload.tool_input.command == "echo hi")
        return { input = { command = event.tool_input.command .. " two" } }
      end]],
      [[return function(event) assert(event.tool_input.command == "one two") end]],
    })
    assert.same({ command = "one two" }, out.hookSpecificOutput.updatedInput)
  end)

  it("ask rather than allow", function()
    assert.is_nil(answer("permission_request", { returns '"allow"', returns '"ask"' }))
    assert.is_nil(answer("permission_request", { returns '"ask"', returns '"allow"' }))
    local out = answer("permission_request", { returns '"ask"', returns '"deny"' })
    assert.equal("deny", out.hookSpecificOutput.decision.behavior)
  end)

  it("run only for what they are for", function()
    local out, _, outcomes = answer("pre_tool_use", {
      returns('"deny"', 'on = "permission_request",'),
      returns('"deny"', 'on = { "stop", "post_tool_use" },'),
      returns('"deny"', 'when = function(event) return event.tool_name == "apply_patch" end,'),
    })
    assert.is_nil(out)
    assert.equal(1, #outcomes)
    assert.is_true(outcomes[1].skipped)
  end)
end)

describe("a hook that fails", function()
  local ways = {
    { "throws", 'return function() error("broken", 0) end', "broken" },
    { "says what failed", 'return function() return nil, "no disk" end', "no disk" },
    { "waits for ever", [[return { timeout = 0.05, run = function()
        require("codex.async").sleep(100)
      end }]], "timed out after 0.05 seconds" },
    { "loops for ever", "return { timeout = 0.05, run = function() while true do end end }",
      "timed out after 0.05 seconds" },
    { "ends the program", "return function() os.exit(0) end", "os.exit" },
    { "returns nonsense", "return function() return 42 end", "returned a number" },
    { "has a `when` that throws", [[return { when = function() error("w", 0) end,
        run = function() end }]], "w" },
    { "leaves a task that fails", [[return function()
        require("codex").spawn(function() error("lost", 0) end)
      end]], "lost" },
    { "leaves a task that leaves one that fails", [[local spawn = require("codex").spawn
        local function leave(n)
          if n == 0 then error("lost", 0) end
          spawn(leave, n - 1)
        end
        return function() leave(9) end]], "lost" },
    { "does not look how its task has ended", [[return function()
        require("codex").spawn(error, "lost")
        require("codex").sleep(0.01)
      end]], "lost" },
    { "starts a task that fails as it is read in", [[require("codex").spawn(error, "lost")
        return function() end]], "lost" },
    { "is no Lua", "return {", "expected" },
    { "is no hook", "return 42", "it must return a hook" },
    { "has an unknown member", "return { rum = 1, run = function() end }", "rum" },
  }

  for _, way in ipairs(ways) do
    local what, code, why = table.unpack(way)

    it(("and %s denies the use of a tool"):format(what), function()
      local out, reply, outcomes = answer("pre_tool_use", code)
      assert.equal("deny", out.hookSpecificOutput.permissionDecision)
      assert.truthy(reply.refusal:find(why, 1, true), reply.refusal)
      assert.truthy(reply.refusal:find("hook 'h1' failed", 1, true))
      assert.is_false(outcomes[1].ok)
    end)

    it(("and %s declines an approval"):format(what), function()
      local out = answer("permission_request", code)
      local decision = out.hookSpecificOutput.decision
      assert.equal("deny", decision.behavior)
      assert.truthy(decision.message:find(why, 1, true))
    end)

    it(("and %s does not stop the end of a turn, but the user is told"):format(what), function()
      local out, reply = answer("stop", code)
      assert.is_nil(reply.refusal)
      assert.is_nil(out.decision)
      assert.truthy(out.systemMessage:find(why, 1, true))
    end)

    it(("and %s lets a tool be used where the command line says so"):format(what), function()
      local out, reply = answer("pre_tool_use", code, { fail = "open" })
      assert.is_nil(reply.refusal)
      assert.is_nil(out.hookSpecificOutput)
    end)
  end

  it("fails as it says itself, whatever the command line says", function()
    local open = 'return { fail = "open", run = function() error "x" end }'
    local closed = 'return { fail = "closed", run = function() error "x" end }'
    assert.is_nil(select(2, answer("pre_tool_use", open, { fail = "closed" })).refusal)
    assert.truthy(select(2, answer("pre_tool_use", closed, { fail = "open" })).refusal)
  end)

  local closed = 'return { fail = "closed", run = function() error("x", 0) end }'
  local refusals = {
    post_tool_use = "block", user_prompt_submit = "block", stop = "block",
    subagent_stop = "block", session_start = "stop", subagent_start = "stop",
    pre_compact = "stop", post_compact = "stop",
    interrupt = "message", session_end = "none", pre_model_request = "none",
    post_model_request = "none",
  }
  for kind, how in pairs(refusals) do
    it(("closed is, for %s, a %s"):format(kind, how), function()
      local out, reply = answer(kind, closed)
      if how == "none" then return assert.is_nil(out) end
      if how == "block" then assert.equal("block", out.decision) end
      if how == "stop" then assert.is_false(out.continue) end
      assert.equal(how ~= "message", reply.refusal ~= nil)
      local said = out.reason or out.stopReason or out.systemMessage
      assert.truthy(said:find("hook 'h1' failed: x", 1, true))
    end)
  end

  it("closed keeps a turn from ending once, not for ever", function()
    local out = answer("stop", closed, nil, function(payload) payload.stop_hook_active = true end)
    assert.is_nil(out.decision)
    assert.is_false(out.continue)
  end)

  it("with what it has left refuses as well, while there is no answer yet", function()
    local leaves = [[return { fail = %q, run = function()
      require("codex").spawn(function()
        require("codex").sleep(0.01)
        error("lost", 0)
      end)
    end }]]
    local waits = [[return function() require("codex").sleep(0.2) return "allow" end]]
    local _, reply, outcomes = answer("pre_tool_use", { leaves:format "closed", waits })
    assert.truthy(reply.refusal:find("hook 'h1' failed: a task that it started failed: lost", 1,
      true))
    assert.same({ false, true }, { outcomes[1].ok, outcomes[2].ok })
    _, reply, outcomes = answer("pre_tool_use", { leaves:format "open", waits })
    assert.is_nil(reply.refusal)
    assert.is_false(outcomes[1].ok)
  end)

  it("does not when it knows itself that a task of its has failed", function()
    local _, reply, outcomes = answer("pre_tool_use", [[return function()
      local codex = require "codex"
      local task = codex.spawn(error, "lost")
      codex.spawn(function() pcall(task.join, task) end)
      local late = codex.spawn(error, "lost")
      codex.sleep(0.01)
      pcall(late.join, late)
    end]])
    assert.is_nil(reply.refusal)
    assert.is_true(outcomes[1].ok)
  end)

  it("has not the answers of the others undone", function()
    local out = answer("pre_tool_use", {
      'return { fail = "open", run = function() error("x", 0) end }',
      returns '{ context = "C" }',
    })
    assert.equal("C", out.hookSpecificOutput.additionalContext)
    assert.equal("hook 'h1' failed: x", out.systemMessage)
  end)

  it("and leaves no time for the next one has that fail as well", function()
    local slow = [[return { fail = "open", run = function()
      require("codex.async").sleep(100)
    end }]]
    local out, _, outcomes = answer("pre_tool_use", { slow, returns "nil" }, { limit = 0.2 })
    assert.equal("deny", out.hookSpecificOutput.permissionDecision)
    assert.equal("no time was left for it", outcomes[2].why)
  end)
end)

describe("what Codex sends", function()
  local bad = { nothing = "", ["no JSON"] = "{", ["no object"] = "[1]", ["no event"] = "{}",
    ["a name that is none"] = '{"hook_event_name":1}' }
  for what, text in pairs(bad) do
    it("that is " .. what .. " is refused where a hook fails closed", function()
      with_files({ returns "nil" }, function(paths)
        local reply, outcomes = lifecycle.run(text, { files = paths })
        assert.same({ 2, "" }, { reply.code, reply.out })
        assert.truthy(reply.refusal)
        assert.is_false(outcomes[1].ok)
      end)
    end)
  end

  it("that is nothing is let pass where no hook fails closed", function()
    for _, more in ipairs { 'fail = "open",', 'on = "stop",' } do
      with_files({ returns("nil", more) }, function(paths)
        local reply, outcomes = lifecycle.run("", { files = paths })
        assert.same({ 0, "" }, { reply.code, reply.out })
        assert.is_false(outcomes[1].ok)
      end)
    end
  end)

  it("may be large", function()
    local out = answer("post_tool_use", [[return function(event)
      return { context = tostring(#event.tool_response) }
    end]], nil, function(payload) payload.tool_response = ("x"):rep(10000000) end)
    assert.equal("10000000", out.hookSpecificOutput.additionalContext)
  end)
end)

describe("the time", function()
  it("is what Codex gives, and no more than it gives to any hook of the event", function()
    assert.same({ 600, 30, 1, 3, 3, 3, 2 }, {
      lifecycle.limit "stop", lifecycle.limit("stop", 30), lifecycle.limit "session_end",
      lifecycle.limit("session_end", 30), lifecycle.limit "interrupt",
      lifecycle.limit("interrupt", 30), lifecycle.limit("interrupt", 2),
    })
  end)

  it("is over for hooks before it is for the supervisor, and for that before it is for Codex",
    function()
      for _, limit in ipairs { 0.5, 1, 3, 10, 30, 600 } do
        local hooks, last = lifecycle.margins(limit)
        assert.is_true(hooks > limit * 0.4 and hooks < last and last < limit)
      end
    end)
end)

-- ---- The program -------------------------------------------------------------------------------

--- What was written down, which a program that did not come to its end has done after it.
local function log_of(folder)
  local list
  local function is_there()
    list = program.json_lines(folder .. "/codex-lua/notify.jsonl")
    return #list > 0
  end
  program.eventually(is_there, 2)
  return list
end

--- Runs `codex-lua hook` on a payload as Codex does.
local function run(texts, payload, args, opts)
  local result
  with_files(texts, function(paths, folder)
    local argv = { "hook" }
    table.move(args or {}, 1, #(args or {}), 2, argv)
    table.move(paths, 1, #paths, #argv + 1, argv)
    local given = { input = payload, env = { XDG_STATE_HOME = folder, XDG_CONFIG_HOME = folder } }
    for name, value in pairs(opts or {}) do given[name] = value end
    result = program.run(argv, given)
    result.answer = json.decode(result.stdout)
    result.log = #paths > 0 and log_of(folder) or {}
  end)
  return result
end

local function is_denied(result, why)
  assert.same({ 2, "" }, { result.code, result.stdout })
  assert.truthy(result.stderr:find(why, 1, true), result.stderr)
end

describe("codex-lua hook", function()
  local payload = fixture "pre_tool_use"

  it("answers, whatever hooks print, and writes down how they went", function()
    local result = run({ [[
      print "one"
      return function(event)
        print "two"
        io.write "three\n"
        os.execute "echo four"
        return { context = "yes" }
      end]] }, payload)
    assert.equal("yes", result.answer.hookSpecificOutput.additionalContext)
    for _, word in ipairs { "one", "two", "three", "four" } do
      assert.truthy(result.stderr:find(word, 1, true))
    end
    assert.equal(1, #result.log)
    assert.same({ "h1", true, "lifecycle", "pre_tool_use" },
      { result.log[1].hook, result.log[1].ok, result.log[1].route, result.log[1].type })
  end)

  it("refuses what it does not know by an exit code where it fails closed", function()
    local renamed = payload:gsub("PreToolUse", "TeaIsReady")
    local hook = "return { on = 'pre_tool_use', run = function() end }"
    is_denied(run({ hook }, renamed, { "--fail", "closed" }), "it has no hook for tea_is_ready")
  end)

  it("refuses when a callback of a hook fails", function()
    local result = run({ [[return function()
      local timer = require("luv").new_timer()
      timer:start(1, 0, function()
        timer:close()
        error "lost"
      end)
      require("codex").sleep(0.2)
    end]] }, payload)
    is_denied(result, "hook 'h1' failed: a callback failed while it ran: ")
    assert.truthy(result.stderr:find("lost", 1, true))
    assert.is_false(result.log[1].ok)
  end)

  it("gives a reason and nothing else, whatever hooks print; --show has that follow", function()
    local hook = [[return function()
      print "printed"
      return { decision = "deny", reason = "no" }
    end]]
    local result = run({ hook }, payload)
    assert.same({ 2, "", "no\n" }, { result.code, result.stdout, result.stderr })
    assert.equal("no\nprinted\n", run({ hook }, payload, { "--show" }).stderr)
  end)

  it("says nothing where there are no hooks", function()
    local result = run({}, payload)
    assert.same({ 0, "", "" }, { result.code, result.stdout, result.stderr })
  end)

  it("refuses where there are no hooks and it was told to fail closed", function()
    is_denied(run({}, payload, { "--fail", "closed" }), "there is no hook in ")
    local folder, remove = program.folder()
    local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
    assert(files.make_dir(folder .. "/codex-lua/hook.d"))
    local env = { XDG_STATE_HOME = folder, XDG_CONFIG_HOME = folder }
    local words = { "hook", "--fail", "closed" }
    is_denied(program.run(words, { input = payload, env = env }), folder .. "/codex-lua/hook.d")
    program.write(folder .. "/codex-lua/hook.d/a.lua",
      "return { on = 'stop', run = function() end }")
    assert.equal(0, program.run(words, { input = payload, env = env }).code)
  end)

  it("refuses where there is no home to look for hooks in, and says so", function()
    if uv.getuid() ~= 0 then return pending "only root can be somebody without a home" end
    local argv =
      { "setpriv", "--reuid", "54321", "--clear-groups", "env", "-i", program.path, "hook" }
    local result = assert(proc.run(argv, { cwd = "/", input = payload, timeout = 20 }))
    is_denied(result, "hook 'hook.d' failed: there is no home folder")
  end)

  it("runs the hooks of the user's folder", function()
    local folder, remove = program.folder()
    local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
    assert(files.make_dir(folder .. "/codex-lua/hook.d"))
    program.write(folder .. "/codex-lua/hook.d/a.lua", returns '"deny"')
    local env = { XDG_STATE_HOME = folder, XDG_CONFIG_HOME = folder }
    local result = program.run({ "hook" }, { input = payload, env = env })
    assert.same({ 2, "hook 'a' says no\n" }, { result.code, result.stderr })
  end)

  local hangs = {
    ["in a program that it runs"] = 'return function() os.execute "sleep 30" end',
    ["while it is read in"] = 'os.execute "sleep 30"',
    ["in a way that catches all errors"] =
      "return function() while true do pcall(function() while true do end end) end end",
  }
  for what, code in pairs(hangs) do
    it("answers in time for a hook that hangs " .. what, function()
      local result = run({ code }, payload, { "--limit", "2" })
      is_denied(result, "failed: ")
      assert.is_true(result.duration < 1.95, "it took " .. result.duration)
      assert.is_false(result.log[1].ok)
    end)
  end

  --- Runs this line in a shell: with a hook that ends after so many seconds and denies.
  local function in_shell(line, seconds)
    local result
    with_files({ ([[return function()
      os.execute "sleep %g"
      return { decision = "deny", reason = "no" }
    end]]):format(seconds) }, function(paths, folder)
      local words = ("'%s' hook --limit 2 '%s'"):format(program.path, paths[1])
      result = assert(proc.run({ "/bin/bash", "-c", (line:gsub("HOOK", words)) },
        { input = payload, env = { XDG_STATE_HOME = folder } }))
    end)
    return result
  end

  it("has its time counted from the start of what Codex has started", function()
    if program.is_portable() then return pending "nothing says when a process was started" end
    for _, line in ipairs { "sleep 0.9; HOOK --shell $$; exit $?", "sleep 0.9; exec HOOK" } do
      local result = in_shell(line, 30)
      is_denied(result, "failed: ")
      assert.is_true(result.duration < 1.95, "it took " .. result.duration)
    end
  end)

  it("does not have the time counted that who runs it is there already", function()
    is_denied(in_shell("sleep 1.9; HOOK --limit 4; exit $?", 1.4), "no\n")
  end)

  it("reads what Codex has to say when it has answered already", function()
    local line = "head -c 3000000 /dev/zero | HOOK --limit 0.01; echo ${PIPESTATUS[@]}"
    assert.equal("0 2\n", in_shell(line, 0).stdout)
  end)

  it("answers for a hook that kills the program", function()
    is_denied(run({ [[return function()
      os.execute("kill -9 $PPID")
    end]] }, payload), "the program ended in the middle of it")
  end)

  it("keeps the refusal of a hook when a later one kills the program", function()
    local result = run({
      returns '{ decision = "deny", reason = "no" }',
      [[return { fail = "open", run = function() os.execute("kill -9 $PPID") end }]],
    }, payload)
    is_denied(result, "no\n")
    assert.truthy(result.stderr:find("hook 'h2' failed", 1, true))
  end)

  local go_on = '{"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"allow"}}'
  local forged = {
    ("\0"):rep(4), ("\0"):rep(23), ("\0"):rep(200), ("\1\0\0\0"):rep(20), "\n", go_on,
    ("\0"):rep(32) .. string.pack("=I4I4I4I4I4I4", 1, 0, 0, #go_on, 0, 0) .. go_on,
    ("f"):rep(32) .. string.pack("=I4I4I4I4I4I4", 1, 0, 0, 0, 0, 0),
  }

  it("is not answered for by a hook that writes to its descriptors", function()
    for _, text in ipairs(forged) do
      local writes = ([[return { fail = "open", run = function()
        for fd = 3, 20 do require("luv").fs_write(fd, %q) end
        require("codex").sleep(0.1)
      end }]]):format(text)
      local denies = returns '{ decision = "deny", reason = "no" }'
      for _, texts in ipairs { { writes, denies }, { denies, writes } } do
        is_denied(run(texts, payload, { "--limit", "3" }), "")
      end
    end
  end)

  it("lets Codex go on when a hook that fails open kills the program", function()
    local result = run({ [[return { fail = "open", run = function()
      os.execute("kill -9 $PPID")
    end }]] }, payload)
    assert.is_nil(result.answer.hookSpecificOutput)
    assert.equal(0, result.code)
  end)

  it("does not wait for what a hook has started, and leaves it be", function()
    local folder, remove = program.folder()
    local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
    local result = run({ ([[return function()
      os.execute "(sleep 1; echo done > %s/done) &"
    end]]):format(folder) }, payload)
    assert.equal(0, result.code)
    assert.is_true(result.duration < 0.9, "it took " .. result.duration)
    assert.is_true(program.eventually(function() return files.read(folder .. "/done") end))
  end)

  --- Starts it with a hook that hangs in a program; the body gets that program's number.
  local function with_hanging(args, body)
    with_files({ [[return function(event)
      os.execute("echo $$ >" .. event.cwd .. "/pid; exec sleep 30")
    end]] }, function(paths, folder)
      local changed = json.decode(payload)
      changed.cwd = folder
      local child <close> = program.spawn({ "hook", paths[1], table.unpack(args) },
        { input = json.encode(changed), env = { XDG_STATE_HOME = folder } })
      local pid
      assert.is_true(program.eventually(function()
        pid = tonumber((files.read(folder .. "/pid") or ""):match "^(%d+)\n")
        return pid
      end))
      assert.is_true(program.alive(pid))
      body(child)
      assert.is_true(program.eventually(function() return not program.alive(pid) end))
    end)
  end

  it("ends its hooks when it is ended itself", function()
    with_hanging({}, function(child)
      assert(uv.kill(child.pid, "sigterm"))
      child:wait()
    end)
  end)

  it("leaves nothing of a hook that hangs", function()
    with_hanging({ "--limit", "1" }, function(child)
      assert.equal(2, child:wait().code)
    end)
  end)

  it("gives long answers whole", function()
    local result = run({ 'return function() return { context = ("x"):rep(1000000) } end' }, payload)
    assert.equal(1000000, #result.answer.hookSpecificOutput.additionalContext)
  end)

  it("refuses what is no payload with an exit code", function()
    local result = run({ returns "nil" }, "not JSON")
    assert.equal(2, result.code)
    assert.equal("", result.stdout)
    assert.truthy(result.stderr:find("not the JSON of a hook", 1, true))
    assert.equal(0, run({ returns("nil", 'on = "stop",') }, "not JSON").code)
  end)

  it("refuses with an exit code where it cannot write the answer", function()
    with_files({ returns '{ continue = false, stop_reason = "no" }' }, function(paths, folder)
      local command = ("'%s' hook '%s' >/dev/full"):format(program.path, paths[1])
      local full = assert(require("codex.proc").run({ "sh", "-c", command },
        { input = fixture "post_tool_use", env = { XDG_STATE_HOME = folder } }))
      assert.equal(2, full.code)
      assert.truthy(full.stderr:find("no", 1, true))
    end)
  end)

  --- Where streams are closed: the exit code, standard output and error.
  local closed = {
    ["standard input"] = { "<&-", 2, "", "sent nothing" },
    ["standard output"] = { ">&-", 2, "", "no" },
    ["standard error"] = { "2>&-", 0, '"permissionDecision":"deny"', "" },
    ["all streams"] = { "<&- >&- 2>&-", 1, "", "" }, -- there is nobody to be told
  }
  for what, case in pairs(closed) do
    it("refuses with " .. what .. " closed", function()
      with_files({ returns '{ decision = "deny", reason = "no" }' }, function(paths, folder)
        local command = ("'%s' hook '%s' %s"):format(program.path, paths[1], case[1])
        local result = assert(require("codex.proc").run({ "sh", "-c", command },
          { input = payload, env = { XDG_STATE_HOME = folder } }))
        assert.equal(case[2], result.code)
        for i, text in ipairs { result.stdout, result.stderr } do
          assert.truthy(text:find(case[i + 2], 1, true), text)
          if case[i + 2] == "" then assert.equal("", text) end
        end
      end)
    end)
  end

  it("refuses wrong usage", function()
    for _, args in ipairs { { "--bogus" }, { "--limit" }, { "--limit", "x" }, { "--fail", "x" },
      { "--shell" }, { "--shell", "0" }, { "--shell", "1x" } } do
      assert.equal(2, run({}, payload, args).code)
    end
  end)
end)

describe("the documentation", function()
  --- What this hook says of a command.
  local function said_of(text, command)
    local out = answer("pre_tool_use", text, nil, function(payload)
      payload.tool_input = { command = command }
    end)
    return out and out.hookSpecificOutput or {}
  end

  it("has a hook that works, in the README and in `codex-lua help hook`", function()
    local readme = assert(files.read(program.root .. "/README.md"))
    local help = program.run({ "help", "hook" }).stdout
    for _, text in ipairs {
      assert(readme:match '```lua\n(return {\n  name = "no force".-)```'),
      assert(help:match "\n(  return {\n.-\n  }\n)"),
    } do
      assert.equal("deny", said_of(text, "git push --force").permissionDecision)
      assert.is_nil(said_of(text, "git push").permissionDecision)
    end
  end)
end)

describe("codex-lua hook test", function()
  it("shows the answer to a sample, and how each hook went", function()
    with_files({ returns '{ decision = "deny", reason = "no" }' }, function(paths, folder)
      local env = { XDG_STATE_HOME = folder, XDG_CONFIG_HOME = folder }
      local result = program.run({ "hook", "test", "PreToolUse", paths[1] }, { env = env })
      assert.equal(0, result.code)
      assert.truthy(result.stdout:find("h1: ok", 1, true))
      assert.truthy(result.stdout:find("exit code 2, refused", 1, true))
      assert.truthy(result.stdout:find("printed: no", 1, true))
    end)
  end)

  it("fails when a hook does, or none is for the event", function()
    with_files({ 'return { on = "stop", run = function() error "x" end }' }, function(paths, folder)
      local opts = { env = { XDG_STATE_HOME = folder, XDG_CONFIG_HOME = folder } }
      assert.equal(1, program.run({ "hook", "test", "stop", paths[1] }, opts).code)
      local other = program.run({ "hook", "test", "interrupt", paths[1] }, opts)
      assert.equal(1, other.code)
      assert.truthy(other.stdout:find("no hook is for interrupt", 1, true))
      assert.equal(2, program.run({ "hook", "test", "tea_is_ready" }, opts).code)
    end)
  end)
end)
