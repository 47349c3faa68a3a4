--- Requests of the app-server and the answers to them. The requests are those that real Codex sent
--- (tests/fixtures/appserver-*); the methods that no recording has are built field by field from
--- the schema of 0.169.0.

local approval = require "codex.approval"
local files = require "codex.files"
local json = require "codex.json"
local peers = require "tests.support.peers"
local schema = require "tests.support.schema"
local uv = require "luv"

local fixtures = peers.root .. "/tests/fixtures/"

--- Every question in a recording: method, params, what the recorded client answered, the item.
local function questions(name)
  local list, items, by_id = {}, {}, {}
  for line in (assert(files.read(fixtures .. name)) .. "\n"):gmatch "([^\n]+)\n" do
    local entry = assert(json.decode(line))
    local message = entry.msg or {} -- a recording ends with an exit code
    if entry.dir == "s2c" and message.method == "item/started" then
      items[message.params.item.id] = message.params.item
    elseif entry.dir == "s2c" and message.method and message.id then
      by_id[message.id] = { method = message.method, params = message.params,
        item = items[message.params.itemId], name = name }
      list[#list + 1] = by_id[message.id]
    elseif entry.dir == "c2s" and not message.method and by_id[message.id] then
      by_id[message.id].answer = message.result
    end
  end
  return list
end

local function recordings()
  local names, scan = {}, assert(uv.fs_scandir(fixtures))
  for name in function() return uv.fs_scandir_next(scan) end do
    if name:find "^appserver%-.*%.jsonl$" then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

local function first(name)
  local one = questions("appserver-" .. name .. ".jsonl")[1]
  return assert(approval.request(one.method, one.params, one.item)), one
end

local function same_json(expected, value)
  assert.equal(json.encode(json.decode(expected)), json.encode(value))
end

-- What the result of a method may be: the schemas that real Codex writes.
local result_names = {
  ["item/commandExecution/requestApproval"] = "CommandExecutionRequestApprovalResponse",
  ["item/fileChange/requestApproval"] = "FileChangeRequestApprovalResponse",
  ["item/permissions/requestApproval"] = "PermissionsRequestApprovalResponse",
  ["item/tool/requestUserInput"] = "ToolRequestUserInputResponse",
  ["mcpServer/elicitation/request"] = "McpServerElicitationRequestResponse",
  ["account/chatgptAuthTokens/refresh"] = "ChatgptAuthTokensRefreshResponse",
  ["attestation/generate"] = "AttestationGenerateResponse",
  execCommandApproval = "ExecCommandApprovalResponse",
  applyPatchApproval = "ApplyPatchApprovalResponse",
}

local loaded = {}

local function schema_of(version)
  loaded[version] = loaded[version]
    or schema.load(version, version == "latest" and "experimental" or "stable")
  return loaded[version]
end

local function valid(version, method, result)
  local codex_schema = schema_of(version)
  local definitions = codex_schema.root.definitions
  local name = result_names[method]
  local wanted = definitions[name] or definitions.v2[name]
  assert.is_nil(codex_schema:problem(assert(wanted, name), result))
end

--- A request that Codex could have sent.
local function asked(version, method, params)
  local codex_schema = schema_of(version)
  assert.is_nil(codex_schema:problem(codex_schema.requests[method].params, params))
  return assert(approval.request(method, params))
end

-- ---- Requests that no recording has ------------------------------------------------------------

local permissions = { fileSystem = { write = json.array { "/srv" } }, network = { enabled = true } }

local function permission_request()
  return asked("latest", "item/permissions/requestApproval", { threadId = "t", turnId = "u",
    itemId = "i", cwd = "/w", permissions = permissions, reason = "deploys", startedAtMs = 1 })
end

local function network_request()
  return asked("latest", "item/commandExecution/requestApproval", { threadId = "t", turnId = "u",
    itemId = "i", kind = "command", startedAtMs = 1, command = "curl x", cwd = "/w",
    networkApprovalContext = { host = "example.org", protocol = "https" },
    proposedNetworkPolicyAmendments = { { host = "example.org", action = "allow" } } })
end

local function old_command()
  return asked("old", "execCommandApproval", { conversationId = "t", callId = "c", cwd = "/w",
    approvalId = json.null, command = { "bash", "-lc", "ls 'a b'" }, reason = json.null,
    parsedCmd = { { type = "list_files", cmd = "ls 'a b'", path = json.null } } })
end

local function old_patch()
  return asked("old", "applyPatchApproval", { conversationId = "t", callId = "c",
    grantRoot = "/w", fileChanges = {
      ["/w/new"] = { type = "add", content = "one\n" },
      ["/w/gone"] = { type = "delete", content = "two\n" },
      ["/w/moved"] = { type = "update", move_path = "/w/there", unified_diff = "@@ -1 +1 @@\n" },
    } })
end

local function form_request(form)
  return asked("latest", "mcpServer/elicitation/request", { threadId = "t", turnId = json.null,
    serverName = "s", mode = "form", message = "Fill in", requestedSchema = form,
    _meta = json.null })
end

local function refusal(request, decision)
  local result, err = approval.result(request, decision)
  assert.is_nil(result)
  assert.equal("policy", err.kind)
  return err.message
end

describe("every question in the recordings", function()
  it("becomes a request, describes itself, and has a safe answer that Codex takes", function()
    local seen = {}
    for _, name in ipairs(recordings()) do
      for _, one in ipairs(questions(name)) do
        local request = approval.request(one.method, one.params, one.item)
        seen[one.method] = (seen[one.method] or 0) + 1
        if one.method == "item/tool/call" then
          assert.is_nil(request)
        else
          assert.same({ one.params.threadId, one.params.turnId, one.params.itemId },
            { request.thread_id, request.turn_id, request.item_id })
          assert.truthy(approval.describe(request):find "\n")
          valid("latest", one.method, assert(approval.safe(request)))
        end
      end
    end
    for _, method in ipairs { "item/commandExecution/requestApproval",
      "item/fileChange/requestApproval", "item/tool/call", "item/tool/requestUserInput",
      "mcpServer/elicitation/request" } do
      assert.truthy(seen[method], method)
    end
  end)

  it("can be answered as the recorded client did", function()
    local words = { accept = "accept", acceptForSession = "accept_for_session",
      decline = "decline", cancel = "cancel" }
    local compared = 0
    for _, name in ipairs(recordings()) do
      for _, one in ipairs(questions(name)) do
        local request = approval.request(one.method, one.params, one.item)
        local word = one.answer and words[one.answer.decision]
        if request and word then
          assert.same(one.answer, approval.result(request, word))
          compared = compared + 1
        end
      end
    end
    assert.is_true(compared >= 15)
  end)
end)

describe("a command", function()
  it("says what is run, where and why, and what could be allowed for good", function()
    for _, name in ipairs { "0.169.0-cmd-approval-accept", "0.153.4-cmd-approval",
      "0.140.0-cmd-approval", "0.120.0-cmd-approval", "0.100.0-cmd-approval" } do
      local request = first(name)
      assert.equal("command", request.kind)
      assert.equal("/bin/bash -lc 'touch /home/dev/project/escaped.txt'", request.command)
      assert.equal("/home/dev/project", request.cwd)
      assert.equal("Allow creating a file?", request.reason)
      assert.same({ "touch", "/home/dev/project/escaped.txt" }, { table.unpack(request.amendment) })
      assert.equal("unknown", request.actions[1].type)
    end
    local request = first "0.169.0-cmd-approval-accept"
    assert.equal("command", request.command_kind)
    assert.equal("cancel", request.choices[3])
    assert.equal("commandExecution", request.item.type)
  end)

  it("may be allowed with all that begins like it", function()
    local request, one = first "0.169.0-cmd-approval-accept"
    local result = assert(approval.result(request,
      { decision = "accept", amendment = request.amendment }))
    assert.same(one.params.availableDecisions[2], result.decision)
    valid("latest", request.method, result)
    assert.truthy(refusal(request, { decision = "accept", amendment = {} }):find "list of words")
    assert.truthy(refusal(request, { decision = "cancel", amendment = { "x" } }):find "accept")
  end)

  it("may be allowed with a rule for a host, which must say the same as the word", function()
    local request = network_request()
    assert.same({ "example.org", "https" }, { request.network.host, request.network.protocol })
    for word, action in pairs { accept = "allow", decline = "deny" } do
      local result = assert(approval.result(request,
        { decision = word, network = { host = "example.org", action = action } }))
      valid("latest", request.method, result)
    end
    local odd = { decision = "accept", network = { host = "example.org", action = "deny" } }
    assert.truthy(refusal(request, odd):find "decline only")
    odd.network.action = "maybe"
    assert.truthy(refusal(request, odd):find "allow or deny")
  end)

  it("of an old Codex looks the same, and is answered in the old words", function()
    local request = old_command()
    assert.same({ "command", "t", "c", "bash -lc 'ls '\\''a b'\\'''" },
      { request.kind, request.thread_id, request.item_id, request.command })
    assert.same({ { type = "listFiles", command = "ls 'a b'" } }, request.actions)
    assert.is_nil(request.reason)
    local old = { accept = "approved", accept_for_session = "approved_for_session",
      decline = "denied", cancel = "abort" }
    for word, answer in pairs(old) do
      local result = assert(approval.result(request, word))
      assert.same({ decision = answer }, result)
      valid("old", request.method, result)
    end
    valid("old", request.method,
      assert(approval.result(request, { decision = "accept", amendment = { "ls" } })))
  end)
end)

describe("a file change", function()
  it("has the changes of the item before it", function()
    local request = first "0.169.0-patch-approval-accept"
    assert.equal("file_change", request.kind)
    assert.same({ { path = "/home/dev/project/hello.txt", kind = "add", diff = "hello\n" } },
      request.changes)
    assert.is_nil(request.grant_root)
    assert.truthy(approval.describe(request):find("add /home/dev/project/hello.txt\n    | hello", 1,
      true))
    request = approval.request(request.method, request.params)
    assert.is_nil(request.changes)
    assert.truthy(approval.describe(request):find "did not say which")
  end)

  it("of an old Codex has them in the request", function()
    local request = old_patch()
    assert.same({
      { path = "/w/gone", kind = "delete", diff = "two\n" },
      { path = "/w/moved", kind = "update", move_path = "/w/there", diff = "@@ -1 +1 @@\n" },
      { path = "/w/new", kind = "add", diff = "one\n" },
    }, request.changes)
    assert.equal("/w", request.grant_root)
    valid("old", request.method, assert(approval.result(request, "accept_for_session")))
  end)
end)

describe("permissions", function()
  it("are granted as asked, in part, or not at all", function()
    local request = permission_request()
    local function check(expected, decision)
      local result = assert(approval.result(request, decision))
      valid("latest", request.method, result)
      same_json(expected, result)
    end
    local all = '{"fileSystem":{"write":["/srv"]},"network":{"enabled":true}}'
    check('{"permissions":' .. all .. ',"scope":"turn"}', "accept")
    check('{"permissions":' .. all .. ',"scope":"session"}', "accept_for_session")
    check('{"permissions":{"network":{"enabled":true}},"scope":"session"}',
      { decision = "accept", scope = "session", permissions = { network = { enabled = true } } })
    check('{"permissions":{},"scope":"turn"}', "decline")
    check('{"permissions":{},"scope":"turn"}', "cancel")
    same_json('{"permissions":{},"scope":"turn"}', approval.safe(request))
  end)

  it("refuse what contradicts itself", function()
    local request = permission_request()
    refusal(request, { decision = "decline", permissions = permissions })
    refusal(request, { decision = "accept_for_session", scope = "turn" })
    refusal(request, { decision = "accept", scope = "for ever" })
    refusal(request, { decision = "accept", permissions = "all" })
  end)
end)

describe("questions to the user", function()
  it("are answered by id, with one text or several", function()
    local request, one = first "0.169.0-request-user-input-plan"
    assert.same({ "user_input", true, "q1" },
      { request.kind, request.is_blocking, request.questions[1].id })
    local result = assert(approval.result(request, { decision = "accept", answers = { q1 = "A" } }))
    assert.equal(json.encode(one.answer), json.encode(result))
    local two = { decision = "accept", answers = { q1 = { "A", "x" } } }
    result = assert(approval.result(request, two))
    valid("latest", request.method, result)
    same_json('{"answers":{}}', approval.result(request, "decline"))
    same_json('{"answers":{}}', approval.safe(request))
  end)

  it("need answers that fit", function()
    local request = first "0.169.0-request-user-input-plan"
    assert.truthy(refusal(request, "accept"):find "needs answers")
    assert.truthy(refusal(request, { decision = "accept", answers = {} }):find "needs answers")
    assert.truthy(refusal(request, { decision = "accept", answers = { q2 = "A" } })
      :find "no question 'q2'")
    refusal(request, { decision = "accept", answers = { q1 = 3 } })
    refusal(request, { decision = "accept_for_session", answers = { q1 = "A" } })
  end)
end)

describe("a command of Codex 0.87", function()
  local items = require "codex.items"
  local recording = "answers-0.87.0-cmd-approval.jsonl"

  --- The question as it is told, with what was noted of items before it.
  local function asked_with(note)
    local noted = items.new()
    for line in assert(files.read(fixtures .. recording)):gmatch "[^\n]+" do
      local msg = json.decode(line).msg
      if msg.method == "item/commandExecution/requestApproval" then
        return approval.request(msg.method, msg.params, noted:find(msg.params)), msg.params
      elseif note and items.concerns(msg.method) then
        noted:note(msg.method, msg.params)
      end
    end
  end

  it("is what its item says, which the question does not", function()
    local request, params = asked_with(true)
    assert.is_nil(params.command)
    assert.equal("bash -lc 'touch /home/dev/project/escaped.txt'", request.command)
    assert.equal("/home/dev/project", request.cwd)
    assert.same({ { type = "unknown", command = "touch /home/dev/project/escaped.txt" } },
      request.actions)
    assert.is_nil(request.is_unknown)
    assert.truthy(approval.describe(request):find("$ bash -lc 'touch", 1, true))
  end)

  it("is unknown without its item, which is said and no reading", function()
    local request = asked_with(false)
    assert.is_nil(request.command)
    assert.is_true(request.is_unknown)
    assert.truthy(approval.describe(request):find("did not say which", 1, true))
    assert.is_nil(require("codex.policies").read_only().decide(request))
  end)

  it("is never another item's", function()
    local _, params = asked_with(false)
    local patch = { type = "fileChange", command = "true", cwd = "/" }
    assert.is_true(approval.request("item/commandExecution/requestApproval", params, patch)
      .is_unknown)
  end)
end)

describe("an elicitation", function()
  it("that does not name its tool says so, whatever its title and words are", function()
    local one = questions("appserver-0.169.0-mcp-elicitation-accept.jsonl")[1]
    one.params._meta.tool_name = nil -- as up to 0.164
    one.params._meta.tool_title = "read_only_tool"
    local request = approval.request(one.method, one.params)
    assert.is_nil(request.tool.name)
    assert.is_true(request.tool.is_unnamed)
    assert.equal("read_only_tool", request.tool.title)
    assert.truthy(approval.describe(request):find("did not say which", 1, true))
  end)

  it("that asks for a tool call names the tool", function()
    local request = first "0.169.0-mcp-elicitation-accept"
    assert.same({ "elicitation", "mock", "form" }, { request.kind, request.server, request.mode })
    assert.same({ "ask", "asks" }, { request.tool.name, request.tool.description })
    assert.is_nil(request.tool.is_unnamed)
    assert.same({ "session", "always" }, { table.unpack(request.persist) })
    same_json('{"action":"accept","content":{}}', approval.result(request, "accept"))
    same_json('{"action":"accept","content":{},"_meta":{"persist":"session"}}',
      approval.result(request, "accept_for_session"))
    same_json('{"action":"decline"}', approval.result(request, "decline"))
    same_json('{"action":"cancel"}', approval.result(request, "cancel"))
  end)

  it("whose answer cannot be kept is accepted once", function()
    local request = form_request { type = "object", properties = json.object {} }
    same_json('{"action":"accept","content":{}}', approval.result(request, "accept_for_session"))
  end)

  it("with a form needs what the form requires, in its types", function()
    local one = questions("appserver-0.169.0-mcp-elicitation-accept.jsonl")[2]
    local request = approval.request(one.method, one.params)
    assert.is_nil(request.tool)
    assert.truthy(refusal(request, "accept"):find "needs 'ok'")
    assert.truthy(refusal(request, { decision = "accept", content = { ok = json.null } })
      :find "needs 'ok'")
    assert.truthy(refusal(request, { decision = "accept", content = { ok = "yes" } })
      :find "type boolean")
    local yes = { decision = "accept", content = { ok = true } }
    local result = assert(approval.result(request, yes))
    same_json('{"action":"accept","content":{"ok":true}}', result)
    valid("latest", request.method, result)
  end)

  it("with a url is accepted without content; one of an unknown mode is not", function()
    local params = { threadId = "t", serverName = "s", mode = "url", message = "m",
      url = "https://example.org/x", elicitationId = "e" }
    local request = asked("latest", "mcpServer/elicitation/request", params)
    same_json('{"action":"accept"}', approval.result(request, "accept"))
    assert.truthy(approval.describe(request):find("https://example.org/x", 1, true))
    request = asked("latest", "mcpServer/elicitation/request", { threadId = "t", serverName = "s",
      mode = "openai/userVerification", title = "Who?", description = "d", challenge = "c" })
    assert.equal("d", request.message)
    refusal(request, "accept")
  end)
end)

describe("what only an error reply can refuse", function()
  it("has no safe answer, and takes a whole result or none", function()
    local refresh = asked("latest", "account/chatgptAuthTokens/refresh",
      { reason = "unauthorized", previousAccountId = json.null })
    local attestation = asked("latest", "attestation/generate", json.object {})
    assert.same({ "auth_refresh", "attestation" }, { refresh.kind, attestation.kind })
    assert.is_nil(approval.safe(refresh))
    assert.is_nil(approval.safe(attestation))
    refusal(refresh, { decision = "accept", content = { accessToken = "x" } })
    valid("latest", refresh.method, assert(approval.result(refresh,
      { decision = "accept", content = { accessToken = "x", chatgptAccountId = "y" } })))
    valid("latest", attestation.method,
      assert(approval.result(attestation, { decision = "accept", content = { token = "x" } })))
  end)

  it("includes approvals of a newer Codex", function()
    local request = approval.request("item/rocket/requestApproval", { threadId = "t", rocket = 1 })
    assert.same({ "unknown", "t" }, { request.kind, request.thread_id })
    assert.is_nil(approval.safe(request))
    assert.truthy(refusal(request, "accept"):find "item/rocket/requestApproval")
    assert.truthy(approval.describe(request):find("rocket", 1, true))
  end)

  it("is no request at all where no person decides", function()
    assert.is_nil(approval.request("item/tool/call", { callId = "c" }))
    assert.is_nil(approval.request("currentTime/read", { threadId = "t" }))
    assert.is_nil(approval.request("anything/else", {}))
  end)
end)

describe("a decision that makes no sense", function()
  it("is named", function()
    local request = first "0.169.0-cmd-approval-accept"
    assert.truthy(refusal(request, "yes"):find "'yes' is no decision")
    assert.truthy(refusal(request, true):find "got boolean")
    assert.truthy(refusal(request, {}):find "'nil' is no decision")
    assert.truthy(refusal(request, { decision = "accept", answer = 1 }):find "no field 'answer'")
    assert.truthy(refusal(request, { decision = "accept", content = {} }):find "kind command")
  end)
end)

describe("a description", function()
  local function described(command)
    return approval.describe(approval.request("item/commandExecution/requestApproval",
      { threadId = "t", command = command, reason = "\27[2Jno" }))
  end

  it("shows what would act on a terminal or hide", function()
    local text = described "echo \27]0;x\7 \r\127 \u{9b}2J \u{202e}evil\u{200b} \xff\xe2\x28 ä"
    assert.equal("Run a command\n  $ echo ^[]0;x^G ^M^? <U+009B>2J <U+202E>evil<U+200B> "
      .. "\\xFF\\xE2( ä\n  because: ^[[2Jno", text)
  end)

  it("keeps lines of a text behind their mark", function()
    assert.truthy(described("true\n[a]ccept"):find("  $ true\n  $ [a]ccept\n", 1, true))
  end)

  it("leaves out the middle of nothing but the end of a long diff", function()
    local request = approval.request("applyPatchApproval", { conversationId = "t", callId = "c",
      fileChanges = { ["/x"] = { type = "add", content = ("line\n"):rep(1000) } } })
    assert.truthy(approval.describe(request):find("... 800 more lines", 1, true))
  end)
end)

describe("an answer of somebody else's", function()
  local elicitation = { threadId = "t", serverName = "s", mode = "form", message = "m",
    requestedSchema = { type = "object", properties = json.object {} },
    _meta = { persist = { "session", "always" } } }

  --- One request of each method.
  local function requests()
    local question = { id = "q", header = "h", question = "?", isOther = false, isSecret = false }
    return {
      first "0.169.0-cmd-approval-accept", network_request(), old_command(), old_patch(),
      first "0.169.0-patch-approval-accept", permission_request(), form_request(
        { type = "object", properties = json.object {} }),
      approval.request("mcpServer/elicitation/request", elicitation),
      approval.request("item/tool/requestUserInput", { threadId = "t", questions = { question } }),
      approval.request("account/chatgptAuthTokens/refresh", {}),
      approval.request("attestation/generate", {}),
    }
  end

  --- Every way in which a decision may be filled in; most make no sense for most requests.
  local extras = {
    {}, { amendment = { "git", "status" } }, { network = { host = "h", action = "allow" } },
    { network = { host = "h", action = "deny" } }, { scope = "turn" }, { scope = "session" },
    { permissions = { network = { enabled = true } } }, { answers = { q = { "A", "B" } } },
    { permissions = { network = { enabled = true } }, scope = "session" }, { content = {} },
    { content = { token = "x", accessToken = "y", chatgptAccountId = "z" } },
  }

  --- What of a decision reaches Codex: its answers have no word for some differences.
  local function reaching(request, decision)
    local word, grant = decision.decision, nil
    if request.kind == "permissions" then
      if word == "decline" or word == "cancel" then return "decline" end
      local is_long = word == "accept_for_session" or decision.scope == "session"
      return is_long and "accept_for_session" or "accept", {
        permissions = decision.permissions or request.permissions,
        scope = is_long and "session" or "turn",
      }
    end
    if request.kind == "user_input" and word == "cancel" then return "decline" end
    if request.kind == "elicitation" and word == "accept_for_session" then
      if not request.persist then return "accept" end
      return word, { scope = "session" }
    end
    if (request.kind == "auth_refresh" or request.kind == "attestation") then return "accept" end
    if decision.amendment or decision.network then
      grant = { amendment = decision.amendment, network = decision.network }
    end
    return word, grant
  end

  it("reads as the decision that it was made of, whatever that was", function()
    local count, seen = 0, {}
    for _, request in ipairs(requests()) do
      for _, word in ipairs { "accept", "accept_for_session", "decline", "cancel" } do
        for _, extra in ipairs(extras) do
          local decision = { decision = word }
          for name, value in pairs(extra) do decision[name] = value end
          local result = approval.result(request, decision)
          if result then
            local wire = json.decode(json.encode { id = 1, result = result })
            local read = approval.decision(request, wire)
            local expected, grant = reaching(request, decision)
            local text = json.encode(decision) .. request.method .. json.encode(result)
            assert.equal(expected, read.decision, text)
            assert.equal(grant and json.encode(grant), read.grant and json.encode(read.grant), text)
            assert.is_nil(read.why)
            count, seen[request.kind .. " " .. read.decision] = count + 1, true
          end
        end
      end
    end
    assert.is_true(count > 60, count)
    for _, kind in ipairs { "command", "file_change", "elicitation" } do
      for _, word in ipairs { "accept", "accept_for_session", "decline", "cancel" } do
        assert.is_true(seen[kind .. " " .. word], kind .. " " .. word)
      end
    end
  end)

  it("reads as what the recorded clients said", function()
    local read = {}
    for _, name in ipairs(recordings()) do
      for _, one in ipairs(questions(name)) do
        local request = approval.request(one.method, one.params, one.item)
        if request and one.answer then
          local decision = approval.decision(request, { result = one.answer })
          local text = request.kind .. " " .. decision.decision
          read[text] = (read[text] or 0) + 1
        end
      end
    end
    assert.same({
      ["command accept"] = 5, ["command accept_for_session"] = 1, ["command cancel"] = 1,
      ["command decline"] = 1, ["command error"] = 1, ["elicitation accept"] = 2,
      ["elicitation decline"] = 1, ["file_change accept"] = 5, ["file_change cancel"] = 1,
      ["file_change decline"] = 1, ["user_input accept"] = 1,
    }, read)
  end)

  it("may have the word as a name, as Codex reads it", function()
    local request = approval.request("item/commandExecution/requestApproval", { command = "x" })
    for word, read in pairs { accept = "accept", acceptForSession = "accept_for_session",
      decline = "decline", x = "error" } do
      local result = { decision = { [word] = json.null } }
      assert.equal(read, approval.decision(request, { result = result }).decision, word)
    end
    request = approval.request("mcpServer/elicitation/request", { mode = "url" })
    local result = { action = { accept = json.null } }
    assert.equal("accept", approval.decision(request, { result = result }).decision)
  end)

  it("that Codex would not take is an error, and says what it was", function()
    local command, old = first "0.169.0-cmd-approval-accept", old_command()
    for text, request in pairs {
      ['{"decision":"yes"}'] = command, ['{"decision":"approved"}'] = command,
      ['{"decision":"accept"}'] = old, ['{"decision":{"accept":{},"decline":{}}}'] = command,
      ['{"decision":["accept"]}'] = command, ['["accept"]'] = command, ["5"] = command,
      ['{"decision":null}'] = command, ["{}"] = permission_request(),
      ['{"decision":{"acceptWithExecpolicyAmendment":7}}'] = command,
      ['{"decision":{"applyNetworkPolicyAmendment":{}}}'] = command,
      ['{"action":"yes"}'] = approval.request("mcpServer/elicitation/request", {}),
      ['{"answers":1}'] = approval.request("item/tool/requestUserInput", {}),
    } do
      local read = approval.decision(request, { result = json.decode(text) })
      assert.equal("error", read.decision, text)
      assert.truthy(read.why:find "^an answer that Codex does not know: ", text)
    end
    assert.same({ decision = "error", why = "no" },
      approval.decision(command, { error = { code = 1, message = "no" } }))
    assert.same({ decision = "error" }, approval.decision(command, { error = 5 }))
  end)

  it("in the words of newer versions is understood, in doubt as a yes", function()
    local function word(request, text)
      local read = approval.decision(request, { result = json.decode(text) })
      return read.decision, read.why
    end
    assert.same({ "decline", "rude" }, { word(old_command(),
      '{"decision":{"denied":{"rejection":"rude"}}}') })
    assert.equal("decline", (word(old_command(), '{"decision":"timed_out"}')))
    assert.equal("accept", (word(old_command(), '{"decision":"approved_mcp_policy_amendment"}')))
    assert.equal("decline", (word(permission_request(),
      '{"permissions":{"network":{"enabled":false},"fileSystem":null}}')))
    local rocket = approval.request("item/rocket/requestApproval", {})
    assert.equal("decline", (word(rocket, '{"decision":"decline"}')))
    assert.same({ "accept", "what this means is not known" }, { word(rocket, '{"launch":1}') })
  end)
end)
