--- Programs of others that drive an app server: codex-acp with the official ACP library, and what
--- the official Python SDK puts on the wire. What they do on Codex itself is what they must do on
--- whatever else speaks this protocol; such a thing is one more entry of `servers`.

local foreign = require "tests.support.foreign"
local json = require "codex.json"
local peers = require "tests.support.peers"
local program = require "tests.support.program"
local testing = require "codex.testing"
local uv = require "luv"

local codex = peers.latest
local work = peers.root .. "/build/foreign-spec"
os.execute("mkdir -p " .. peers.quote(work))

-- A policy without an opinion: the client is asked as if we were not there.
program.write(work .. "/policy.lua", 'return { name = "none", decide = function() end }', 384)
local servers = {
  { name = "Codex " .. peers.version.latest, binary = codex },
  { name = "the launcher", binary = foreign.wrapper(work .. "/codex", {
    program.path, "app-server", "--no-audit", "--policy", work .. "/policy.lua", "--",
  }) },
}

-- Long enough to be shown: of a command that ends at once app-server may show nothing.
local command = "sleep 0.5; echo from-the-command"
local escalated = { cmd = command, sandbox_permissions = "require_escalated" }

local approval = "item/commandExecution/requestApproval"

--- A review of an approval by a model, which is what the SDK and codex-acp ask for by default.
local function verdict(outcome)
  return { json = {
    outcome = outcome, risk_level = "low", user_authorization = "high", rationale = "asked for",
  } }
end

--- Answers "hi" with a greeting, and "run" with the command and then with what it printed. Others
--- ask too: a reviewer, and codex-acp for a title.
local function reply(review)
  return function(request)
    local properties = request.schema and request.schema.properties or {}
    if properties.outcome then return review end
    if properties.title then return { json = { title = "A title" } } end
    if request.prompt == "hi" then return { text = { "Hel", "lo" } } end
    local output = request.outputs[1]
    if not output then return { exec = escalated } end
    return output.output:find "from%-the%-command" and "It ran." or "It did not run."
  end
end

--- Runs the body with a Codex home on a scripted model; both are closed when it returns.
local function with(review, body)
  local model <close> = assert(testing.model { reply = reply(review) })
  local cx <close> = assert(testing.codex { model = model, binary = codex })
  body(cx, model)
  assert.same({}, model.errors)
end

local function only(list)
  assert.equal(1, #list)
  return list[1]
end

--- How many turns of the conversation itself the model saw; others may still come when it is over.
local function prompts(model, prompt)
  local count = 0
  for _, request in ipairs(model.requests) do
    if request.prompt == prompt then count = count + 1 end
  end
  return count
end

local function position(events, event)
  for i, other in ipairs(events) do
    if other == event then return i end
  end
end

for _, server in ipairs(servers) do
  local binary = server.binary

  describe("codex-acp on " .. server.name, function()
    --- The text of the answer, the only stop and the end of the process.
    local function outcome(events)
      local text = {}
      for _, event in ipairs(foreign.select(events, { kind = "agent_message_chunk" })) do
        text[#text + 1] = event.text
      end
      local exit = only(foreign.select(events, { event = "exit" }))
      assert.equal(0, exit.code, events.stderr)
      return table.concat(text), only(foreign.select(events, { event = "stop" })).reason
    end

    local function changes(events, status)
      return foreign.select(events, { kind = "tool_call_update", status = status })
    end

    local function acp(cx, prompt, how)
      how.cwd = work
      return foreign.acp(binary, cx, prompt, how)
    end

    it("completes a turn without a permission", function()
      with(nil, function(cx, model)
        local events = acp(cx, "hi", {})
        assert.equal(0, events.code, events.stderr)
        local text, reason = outcome(events)
        assert.same({ "Hello", "end_turn" }, { text, reason })
        local hello = only(foreign.select(events, { event = "initialized" }))
        assert.same({ 1, "2.6.0" }, { hello.protocol, hello.agent.version })
        assert.equal("agent", only(foreign.select(events, { event = "session" })).mode)
        assert.equal(2, #foreign.select(events, { kind = "agent_message_chunk" }))
        assert.equal(1, #foreign.select(events, { kind = "usage_update" }))
        assert.equal(1, prompts(model, "hi"))
      end)
    end)

    it("asks for a command, and shows it run when that is allowed", function()
      with(nil, function(cx, model)
        local events = acp(cx, "run", { answer = "allow", mode = "workspace-write" })
        assert.equal(0, events.code, events.stderr)
        local text, reason = outcome(events)
        assert.same({ "It ran.", "end_turn" }, { text, reason })
        local asked = only(foreign.select(events, { event = "permission" }))
        assert.same({ command, "execute", "allow_once" }, { asked.title, asked.tool, asked.chosen })
        local kinds = {}
        for i, option in ipairs(asked.offered) do kinds[i] = option.kind end
        assert.same({ "allow_once", "allow_always", "reject_once" }, kinds)
        local call = only(foreign.select(events, { kind = "tool_call" }))
        local done = only(changes(events, "completed"))
        assert.same({ asked.toolCallId, 0 }, { done.toolCallId, done.exit_code })
        assert.equal(call.toolCallId, asked.toolCallId)
        assert.is_true(position(events, asked) < position(events, done))
        assert.equal(2, prompts(model, "run"))
      end)
    end)

    it("ends the turn when the command is rejected", function()
      with(nil, function(cx, model)
        local events = acp(cx, "run", { answer = "reject", mode = "workspace-write" })
        assert.equal(0, events.code, events.stderr)
        local text, reason = outcome(events)
        assert.same({ "", "cancelled" }, { text, reason })
        assert.equal("cancel", only(foreign.select(events, { event = "permission" })).chosen)
        local failed = only(changes(events, "failed"))
        assert.is_true(failed.exit_code == nil or failed.exit_code == json.null)
        assert.equal(1, prompts(model, "run"))
      end)
    end)

    it("has a model review the command in its default mode, and asks nobody", function()
      with(verdict "allow", function(cx)
        local events = acp(cx, "run", { answer = "fail" })
        assert.equal(0, events.code, events.stderr)
        local text, reason = outcome(events)
        assert.same({ "It ran.", "end_turn" }, { text, reason })
        assert.same({}, foreign.select(events, { event = "permission" }))
        only(foreign.select(events, { kind = "tool_call", title = "Guardian Review" }))
      end)
    end)
  end)

  describe("The Python SDK on " .. server.name, function()
    local user = { approvalPolicy = "on-request", approvalsReviewer = "user",
      sandbox = "workspace-write" }

    --- What a run that went well ends with. Every notification it looks into was well formed.
    local function result(events)
      assert.equal(0, events.code, events.stderr)
      assert.same({}, foreign.select(events, { event = "unmatched" }))
      for _, event in ipairs(events) do assert.is_nil(event.malformed, event.method) end
      local found = only(foreign.select(events, { event = "result" }))
      assert.is_true(position(events, found) == #events - 1)
      local closed = events[#events]
      assert.same({ "closed", false }, { closed.event, closed.killed })
      return found
    end

    local function sdk(cx, prompt, how)
      how.cwd = work
      return foreign.sdk(binary, cx, prompt, how)
    end

    it("completes a turn", function()
      with(nil, function(cx, model)
        local events = sdk(cx, "hi", {})
        local done = result(events)
        assert.same({ "completed", "Hello" }, { done.status, done.final })
        assert.same({ { type = "userMessage" }, { type = "agentMessage" } }, done.items)
        assert.matches("^codex_python_sdk/0%.169%.0 ", events[2].user_agent)
        assert.equal(2, #foreign.select(events, { method = "item/agentMessage/delta" }))
        assert.same({}, foreign.select(events, { event = "request" }))
        assert.equal(1, prompts(model, "hi"))
      end)
    end)

    it("is asked for a command when its user is the reviewer, and accepts", function()
      with(nil, function(cx)
        local events = sdk(cx, "run", { thread = user })
        local done = result(events)
        assert.same({ "completed", "It ran." }, { done.status, done.final })
        local asked = only(foreign.select(events, { event = "request" }))
        assert.same({ approval, { decision = "accept" } }, { asked.method, asked.answer })
        only(foreign.select(events, { method = "serverRequest/resolved" }))
        assert.same({
          { type = "userMessage" },
          { type = "commandExecution", status = "completed", exitCode = 0 },
          { type = "agentMessage" },
        }, done.items)
      end)
    end)

    it("has a model review the command by default, which may allow or deny it", function()
      for outcome, text in pairs { allow = "It ran.", deny = "It did not run." } do
        with(verdict(outcome), function(cx)
          local events = sdk(cx, "run", {})
          assert.equal(text, result(events).final)
          assert.same({}, foreign.select(events, { event = "request" }))
        end)
      end
    end)

    it("hands its configuration to the program", function()
      with(nil, function(cx, model)
        result(sdk(cx, "hi", { config = { 'model="gpt-5.4"', 'model_reasoning_effort="low"' } }))
        assert.equal("gpt-5.4", model.requests[1].body.model)
        assert.equal("low", model.requests[1].body.reasoning.effort)
      end)
    end)
  end)
end

describe("codex-acp on the strict launcher", function()
  local project = work .. "/project"
  os.execute("mkdir -p " .. peers.quote(project))

  --- A wrapper as in the README, with this policy.
  local function strict(name, code)
    program.write(work .. "/" .. name .. ".lua", code, 384)
    return foreign.wrapper(work .. "/" .. name, {
      program.path, "app-server", "--no-audit", "--strict", "--workspace", project, "--policy",
      work .. "/" .. name .. ".lua", "--",
    })
  end

  it("is told why its default mode is refused", function()
    with(verdict "allow", function(cx)
      local binary = strict("closed", 'return { name = "none", decide = function() end }')
      local events = foreign.acp(binary, cx, "run", { answer = "fail", cwd = project })
      assert.equal(1, events.code)
      local refused = only(foreign.select(events, { event = "refused" }))
      local said = refused.message .. json.encode(refused.data or {})
      assert.matches("a setting would be changed %('projects'%)", said)
      assert.matches("no policy allows it", said)
    end)
  end)

  it("has it where a policy lets it through", function()
    with(verdict "allow", function(cx)
      local binary = strict("open", [[return { name = "reviewed", on = "client_request",
        decide = function(request)
          local fine = { approvalsReviewer = true, ["config.features"] = true,
            ["config.skills"] = true, ["config.projects"] = true }
          for _, field in ipairs(request.fields or { "" }) do
            if not fine[field] then return end
          end
          return "accept"
        end }]])
      local events = foreign.acp(binary, cx, "run", { answer = "fail", cwd = project })
      assert.equal(0, events.code, events.stderr)
      only(foreign.select(events, { kind = "tool_call", title = "Guardian Review" }))
    end)
  end)
end)

describe("The clients on a program that does it wrong", function()
  it("fail when it writes a line that is not JSON, or forgive it", function()
    with(nil, function(cx)
      local noisy = foreign.wrapper(work .. "/noisy", { codex }, "echo starting")
      local events = foreign.sdk(noisy, cx, "hi", { cwd = work })
      assert.equal(1, events.code)
      assert.equal("line", only(foreign.select(events, { event = "error" })).kind)
      assert.is_false(events[#events].killed)
      assert.equal(0, foreign.acp(noisy, cx, "hi", { cwd = work }).code)
    end)
  end)

  it("fail when it ends at once", function()
    with(nil, function(cx)
      local gone = foreign.wrapper(work .. "/gone", { "false" },
        "echo no luck >&2; read -r line; sleep 0.1; exit 3")
      local events = foreign.sdk(gone, cx, "hi", { cwd = work })
      local failure = only(foreign.select(events, { event = "error" }))
      assert.same({ 1, "closed" }, { events.code, failure.kind })
      assert.matches("no luck", failure.message)
      local seen = foreign.acp(gone, cx, "hi", { cwd = work })
      assert.equal(1, seen.code)
      assert.matches("code 3$", only(foreign.select(seen, { event = "refused" })).message)
    end)
  end)

  it("fail when an answer lacks what it must have", function()
    local script = [[while read -r line; do id=${line#*\"id\": \"}; id=${id%%\"*}
      printf '{"id":"%s","result":{"userAgent":"x/1"}}\n' "$id"; done; exit 0]]
    with(nil, function(cx)
      local wrong = foreign.wrapper(work .. "/wrong", { "false" }, script)
      local events = foreign.sdk(wrong, cx, "hi", { cwd = work })
      local failure = only(foreign.select(events, { event = "error" }))
      assert.same({ 1, "result", "thread/start: the result lacks approvalPolicy" },
        { events.code, failure.kind, failure.message })
    end)
  end)

  it("fail when a permission comes that nobody expects", function()
    with(nil, function(cx)
      local events = foreign.acp(codex, cx, "run", { cwd = work, mode = "workspace-write" })
      assert.equal(1, events.code)
      assert.equal("a permission was asked for", events[#events].message)
    end)
  end)

  it("leave nothing of it behind that does not end when told", function()
    local deaf = foreign.wrapper(work .. "/deaf", { "sh", "-c", "exec sleep 300" },
      "echo $$ > deaf.pid; trap '' TERM; echo junk")
    with(nil, function(cx)
      local events = foreign.sdk(deaf, cx, "hi", { cwd = work })
      assert.same({ 1, true, -9 }, { events.code, events[#events].killed, events[#events].code })
      local file = assert(io.open(work .. "/deaf.pid"))
      local pid = file:read "n"
      file:close()
      assert.equal("ESRCH", select(3, uv.kill(pid, 0)))
    end)
  end)
end)
