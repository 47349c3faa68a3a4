--- The launcher as a boundary, before real Codex: the client is the adversary, or another client of
--- the same server. Whether something was done is seen by what it leaves, not by what is said.
--- tests/differential does the same at random; here is what was thought of.

local async = require "codex.async"
local files = require "codex.files"
local json = require "codex.json"
local link = require "codex.link"
local peers = require "tests.support.peers"
local program = require "tests.support.program"
local testing = require "codex.testing"
local uv = require "luv"
local ws_client = require "tests.support.ws_client"

local names = { "latest", "middle", "old" }

local function exists(path) return uv.fs_stat(path) ~= nil end

--- A raw client of a launcher before real Codex, whose model wants to make the file `mark`.
local Client = {}
Client.__index = Client

local function text_of(message)
  return type(message) == "string" and message or json.encode(message)
end

function Client:send(message) assert(self.peer:send(text_of(message))) end

--- The first message, of those not looked at, that the function accepts.
function Client:wait(accepts, seconds)
  local found, err = async.timeout(seconds or 12, function()
    while true do
      for i, message in ipairs(self.came) do
        if accepts(message) then return table.remove(self.came, i) end
      end
      self.changed:wait()
    end
  end)
  local text = "%s\n%s\n%s"
  return assert(found, err and text:format(err, (self.peer:stderr()), json.encode(self.came)))
end

function Client:answer(id)
  return self:wait(function(m) return m.method == nil and m.id == id end)
end

function Client:request(id, method, params)
  self:send { id = id, method = method, params = params }
  return self:answer(id)
end

function Client:notification(method)
  return self:wait(function(m) return m.method == method and m.id == nil end)
end

function Client:question()
  return self:wait(function(m) return m.method ~= nil and m.id ~= nil end)
end

function Client:log() return (self.peer:stderr()) end

local function open_client(argv, env, cwd)
  local client = setmetatable({ came = {}, changed = async.signal() }, Client)
  client.peer = assert(link.spawn(argv, {
    env = env, cwd = cwd, raw = true, tail_size = 1 << 20,
    on_message = function(_, _, _, line)
      table.insert(client.came, (assert(json.decode(line))))
      client.changed:notify()
    end,
    on_closed = function() client.changed:notify() end,
  }))
  return client
end

local function begin(client)
  client:request("hello", "initialize", { clientInfo = { name = "adversary", version = "1" },
    capabilities = { experimentalApi = true } })
  client:send { method = "initialized" }
end

--- A model that wants to leave the mark.
local function touch(mark)
  return function(request)
    if request.outputs[1] then return "over" end
    if request.prompt ~= "go" then return "A title" end
    return { exec = { cmd = "touch " .. mark, sandbox_permissions = "require_escalated" } }
  end
end

--- Runs body(client, folder, mark) behind the launcher with these arguments, `FOLDER` in them
--- replaced. The model does what `reply` says.
local function behind(version, args, code, body, reply)
  local folder, remove = program.folder()
  local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
  local mark = folder .. "/mark"
  local model <close> = assert(testing.model { reply = reply or touch(mark) })
  local cx <close> = assert(testing.codex { model = model, binary = peers[version],
    env = { XDG_STATE_HOME = folder .. "/state", XDG_CONFIG_HOME = folder .. "/config" } })
  local argv = { program.path, "app-server", table.unpack(args) }
  for i, word in ipairs(argv) do argv[i] = word:gsub("FOLDER", folder) end
  if code then
    program.write(folder .. "/policy.lua", (code:gsub("FOLDER", folder)), 384)
    table.move({ "--policy", folder .. "/policy.lua" }, 1, 2, #argv + 1, argv)
  end
  assert(uv.fs_mkdir(folder .. "/own", 448))
  local client = open_client(argv, cx.environment(), folder .. "/own")
  local at_last <close> = client.peer -- luacheck: ignore 211
  begin(client)
  body(client, folder, mark, cx)
end

local function start_thread(client, params)
  params = params or { approvalPolicy = "on-request", sandbox = "read-only" }
  return client:request("thread", "thread/start", params).result.thread.id
end

local function go(client, thread)
  return client:request("turn", "turn/start",
    { threadId = thread, input = { { type = "text", text = "go" } } })
end

local function audit_of(folder)
  return program.json_lines(folder .. "/state/codex-lua/audit.jsonl")
end

-- ---- What is read ------------------------------------------------------------------------------

--- Each is executed when it is sent to Codex itself, or could be read in two ways.
local function forbidden(mark)
  local exec = '{"command":["touch","%s"],"sandboxPolicy":{"type":"dangerFullAccess"}}'
  exec = exec:format(mark)
  local write = ('"params":{"path":"/nowhere","path":"%s","dataBase64":""}'):format(mark)
  return {
    ('[50,"command/exec",%s]'):format(exec), ('[[50,"command/exec",%s]]'):format(exec),
    ('{"id":51,"method":"fs/writeFile",%s}'):format(write),
    ('{"id":52,"method":"command/exec","params":[["touch","%s"]]}'):format(mark),
    ('{"id":53,"method":"turn/start","method":"command/exec","params":%s}'):format(exec),
    ('{"id":null,"method":"command/exec","params":%s}'):format(exec),
    ('{"id":1.5,"method":"command/exec","params":%s}'):format(exec),
    ('{"id":54,"method":"command/exec","params":%s,"result":{}}'):format(exec),
    ('{"id":55,"method":"command/exec","params":%s} x'):format(exec),
    ('\239\187\191{"id":56,"method":"command/exec","params":%s}'):format(exec),
    ('{"id":57,"method":"command/exec","x":"\\ud800","params":%s}'):format(exec),
    ('{"id":58,"method":"command/exec","x":"\255","params":%s}'):format(exec),
    ('{"id":59,"method":"command/exec","params":%s'):format(exec),
    ('{"id":60,"method":{"command/exec":null},"params":%s}'):format(exec),
    ('{"id":61,"method":"thread/start","params":{"sandbox":["danger-full-access"],"x":%s'):format(
      ("["):rep(200)),
    ('{"id":62,"method":"command/exec","params":{"$serde_json::private::RawValue":%s}}'):format(
      json.encode(exec)),
    ('{"id":63,"method":"command/exec","params":{"\\u0024serde_json::private::RawValue":%s}}')
      :format(json.encode(exec)),
    ('{"id":64,"method":"command/exec","params":%s}'):format(exec:gsub("%[.-%]", function(list)
      return ('{"$serde_json::private::RawValue":%s}'):format(json.encode(list))
    end)),
    ('{"id":65,"method":"command/exec","x":[{"$serde_json::private::Number":"1"}],"params":%s}')
      :format(exec),
    '{"id":0,"method":null,"result":{"decision":"accept"}}',
    '{"id":0,"result":{"decision":"accept"},"error":{"code":1,"message":""}}',
    '[0,{"decision":"accept"}]', "", "nonsense",
  }
end

for _, name in ipairs(names) do
  describe("what cannot be read in one way only, before Codex " .. peers.version[name], function()
    it("gets an error, is in the log, and does nothing; the rest goes on", function()
      behind(name, { "--no-audit", "--record", "FOLDER/recording.jsonl" }, nil,
        function(client, folder, mark)
          local list = forbidden(mark)
          for _, line in ipairs(list) do client:send(line) end
          for i, line in ipairs(list) do
            local answer = client:wait(function(m) return m.error ~= nil and m.method == nil end)
            local code = answer.error.code
            assert.is_true(code == -32600 or code == -32700, ("%d %s"):format(i, line))
          end
          -- Codex still listens, under ids that are written in odd ways, too.
          client:send '{"id":-0.0,"method":"model/list","params":{}}'
          assert.is_table(client:answer(0).result)
          client:send '{"id":"\\u0061","method":"model/list","params":{}}'
          assert.is_table(client:answer("a").result)
          assert.is_false(exists(mark))
          local log = client:log()
          for line in log:gmatch "codex%-lua: [^\n]*" do
            assert.is_nil(line:find "%c", line)
          end
          assert.matches("an object with a name twice", log)
          client.peer:close()
          assert.matches("nonsense", files.read(folder .. "/recording.jsonl"))
        end)
    end)
  end)
end

describe("a middleware", function()
  it("is shown what Codex reads, and what it makes of that is read again", function()
    local folder, remove = program.folder()
    local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
    local code = [[
      local function on(method, handle)
        return { name = method, from = "client", on = method, handle = handle }
      end
      return {
        on("model/list", function(message) message.params.limit = -1 end),
        on("fs/getMetadata", function(message) message:replace { path = "FOLDER" } end),
        on("account/read", function(message) message.line = "{}" end),
        on("hooks/list", function(message) message:replace { 1, 2 } end),
        on("skills/list", function(message) message:replace { x = 0/0 } end),
        on("config/read", function() return "fine" end),
        on("app/list", function(message) message:reply(function() end) end),
        on("collaborationMode/list", function()
          error(setmetatable({}, { __tostring = function() error "no text" end }))
        end),
        on("thread/loaded/list", function(message)
          message:reply { n = message.params.n, x = message.method }
        end),
      }]]
    program.write(folder .. "/m.lua", (code:gsub("FOLDER", folder)), 384)
    behind("latest", { "--no-audit", "--middleware", folder .. "/m.lua" }, nil, function(client)
      assert.is_table(client:request(1, "model/list", {}).result)
      assert.is_true(client:request(2, "fs/getMetadata", { path = "/nowhere" }).result.isDirectory)
      for i, method in ipairs { "account/read", "hooks/list", "skills/list", "config/read",
        "app/list", "collaborationMode/list" } do
        assert.same({ code = -32603, message = "a middleware failed" },
          client:request(10 + i, method, {}).error, method)
      end
      assert.same({ n = 7, x = "thread/loaded/list" },
        client:request(20, "thread/loaded/list", { n = 7 }).result)
      client:send '{"id":21,"method":"thread/loaded/list","params":{"n":1,"n":2}}'
      assert.equal(-32600, client:wait(function(m) return m.error ~= nil end).error.code)
      assert.is_table(client:request(22, "model/list", {}).result)
    end)
  end)
end)

-- What a handler can do to keep everybody else from going on.
local loops = {
  plain = "while true do end",
  caught = "while true do pcall(function() while true do end end) end",
  coroutine = "coroutine.wrap(function() while true do end end)()",
  task = "require('codex').spawn(function() while true do end end)",
  late = "pcall(function() while true do end end) message:reply { late = true }",
}

describe("a middleware that does not wait", function()
  for name, loop in pairs(loops) do
    it("stops the others for no longer than its time: " .. name, function()
      local folder, remove = program.folder()
      local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
      program.write(folder .. "/m.lua", ([[return { name = "loop", from = "client",
        on = "thread/list", handle = function(message) %s end }]]):format(loop), 384)
      local args = { "--no-audit", "--policy-timeout", "0.5", "--middleware", folder .. "/m.lua" }
      behind("latest", args, nil, function(client)
        client:send { id = 1, method = "thread/list", params = {} }
        client:send { id = 2, method = "thread/loaded/list", params = {} }
        assert.is_table(client:answer(2).result)
        local answer = client:answer(1)
        -- A task that the handler left behind is ended alone.
        assert.equal(name ~= "task", answer.error ~= nil)
        if answer.error then assert.equal("a middleware failed", answer.error.message) end
        local pid = client.peer.pid
        assert(uv.kill(pid, "sigterm"))
        assert.is_true(program.eventually(function() return not program.alive(pid) end))
      end)
    end)
  end

  it("may wait for longer than that", function()
    local folder, remove = program.folder()
    local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
    program.write(folder .. "/m.lua", [[return { name = "slow", from = "client",
      on = "thread/list", handle = function(message)
        for _ = 1, 8 do require("codex").sleep(0.1) end
        message:reply { waited = true }
      end }]], 384)
    local args = { "--no-audit", "--policy-timeout", "0.5", "--middleware", folder .. "/m.lua" }
    behind("latest", args, nil, function(client)
      assert.same({ waited = true }, client:request(1, "thread/list", {}).result)
    end)
  end)
end)

describe("refused messages of 32 MiB", function()
  it("do not keep the next one waiting", function()
    behind("latest", { "--strict", "--no-audit" }, nil, function(client)
      local text = ("a"):rep(32 << 20)
      for i = 0, 3 do
        client:send(('{"id":1%d,"method":"thread/start","params":{"x":"%s"}}'):format(i, text))
      end
      client:send { id = 2, method = "thread/loaded/list", params = {} }
      assert.is_table(client:answer(2).result)
      for i = 10, 13 do assert.equal(-32000, client:answer(i).error.code) end
    end)
  end)
end)

for _, name in ipairs(names) do
  describe("a message that is too large to be looked into, before Codex " .. peers.version[name],
    function()
      local function many(what, count) return what:rep(count, ",") end

      it("is refused, whatever it has too many of", function()
        local command
        local function reply(request)
          if request.outputs[1] then return "over" end
          return request.prompt == "go" and { exec = command } or "A title"
        end
        behind(name, { "--strict", "--no-audit" }, nil, function(client, _, mark)
          command = "touch " .. mark
          local number = 0
          local members = ('"n":0'):rep(10001, ","):gsub("n", function()
            number = number + 1
            return "n" .. number
          end)
          for _, one in ipairs {
            { "more than 1048576 values", "[" .. many("0", 1 << 20) .. "]" },
            { "an object with more than 10000 names", "{" .. members .. "}" },
          } do
            local problem, text = table.unpack(one)
            client:send(('{"id":"x","method":"thread/start","params":{"approvalPolicy":"never",'
              .. '"sandbox":"danger-full-access","x":%s}}'):format(text))
            local answer = client:answer "x"
            if answer.result then
              go(client, answer.result.thread.id)
              client:notification "turn/completed"
            end
            assert.is_false(exists(mark), problem)
            assert.equal(-32600, answer.error.code)
            assert.truthy(answer.error.message:find(problem, 1, true), answer.error.message)
            assert.is_true(program.eventually(function()
              return client:log():find(problem, 1, true) ~= nil
            end), client:log())
          end
        end, reply)
      end)
    end)
end

-- ---- Answers -----------------------------------------------------------------------------------

local function forge(client, ids)
  for _, id in ipairs(ids) do
    client:send(('{"id":%s,"result":{"decision":"accept"}}'):format(id))
    client:send(('{"id":%s,"result":["accept"]}'):format(id))
    client:send(('{"result":{"decision":{"accept":null}},"id":%s}'):format(id))
  end
end

local all_ids = { "0", "-0", "0.0", "0e0", "1", '"0"', "2" }

local function turn_over(client) return client:notification("turn/completed") end

for _, name in ipairs(names) do
  describe("an answer before Codex " .. peers.version[name], function()
    it("does not count before the policy has answered", function()
      local slow = [[return { name = "slow", on = "command", decide = function()
        require("codex").sleep(0.8)
        return "decline"
      end }]]
      behind(name, {}, slow, function(client, folder, mark)
        local thread = start_thread(client)
        forge(client, all_ids)
        go(client, thread)
        for _ = 1, 12 do
          forge(client, all_ids)
          async.sleep(0.1)
        end
        turn_over(client)
        assert.is_false(exists(mark))
        local records = audit_of(folder)
        assert.same({ 1, "decline", "slow" }, { #records, records[1].decision, records[1].policy })
        assert.matches("nobody asked", client:log())
      end)
    end)

    it("does not count under --strict", function()
      behind(name, { "--strict" }, nil, function(client, folder, mark)
        local thread = start_thread(client, { sandbox = "read-only" })
        go(client, thread)
        for _ = 1, 5 do
          forge(client, all_ids)
          async.sleep(0.1)
        end
        turn_over(client)
        assert.is_false(exists(mark))
        assert.equal("decline", audit_of(folder)[1].decision)
      end)
    end)

    it("counts from who was asked, under any spelling of the id, once", function()
      behind(name, {}, nil, function(client, folder, mark)
        go(client, start_thread(client))
        local asked = client:question()
        client:send(('{"id":%d.0e0,"result":["accept"]}'):format(asked.id)) -- an array: refused
        client:send(('{"id":%d.0e0,"result":{"decision":"accept"}}'):format(asked.id))
        client:send { id = asked.id, result = { decision = "decline" } }
        turn_over(client)
        assert.is_true(exists(mark))
        local records = audit_of(folder)
        assert.same({ 1, "accept", "client" }, { #records, records[1].decision, records[1].policy })
      end)
    end)
  end)
end

--- Members that Codex passes over in an answer, at places where requests have objects.
local extras = {
  '"params":{"input":[[]]}', '"params":{"settings":[]}', '"params":[]', '"params":null',
  '"input":[[]]', '"trace":null', '"x":[[]]',
}

describe("a middleware for answers", function()
  for _, name in ipairs(names) do
    it("sees each that Codex " .. peers.version[name] .. " would take", function()
      local folder, remove = program.folder()
      local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
      program.write(folder .. "/m.lua", [[return { name = "never", from = "server", results = true,
        on = { "item/commandExecution/requestApproval", "execCommandApproval" },
        handle = function(message)
          if message.kind == "result" then message:replace { decision = "decline" } end
        end }]], 384)
      local args = { "--no-audit", "--middleware", folder .. "/m.lua" }
      behind(name, args, nil, function(client, _, mark)
        go(client, start_thread(client))
        local id = client:question().id
        for _, extra in ipairs(extras) do
          client:send(('{"id":%d,"result":{"decision":"accept"},%s}'):format(id, extra))
        end
        client:send { id = id, result = { decision = "accept" } }
        turn_over(client)
        assert.is_false(exists(mark))
      end)
    end)
  end
end)

-- ---- What is a question under --strict ---------------------------------------------------------

--- Requests that leave the mark when Codex gets them, or that a command would need no approval for.
local function takings(mark, folder)
  local never = { approvalPolicy = "never", sandbox = "danger-full-access" }
  return {
    { "command/exec",
      { command = { "touch", mark }, sandboxPolicy = { type = "dangerFullAccess" } } },
    { "process/spawn", { command = { "touch", mark }, cwd = folder, processHandle = "p" } },
    { "fs/writeFile", { path = mark, dataBase64 = "" } },
    { "config/value/write", { keyPath = "approval_policy", value = "never",
      mergeStrategy = "replace" } },
    { "config/batchWrite", { edits = { { keyPath = "sandbox_mode", value = "danger-full-access",
      mergeStrategy = "replace" } } } },
    { "thread/start", never },
    { "thread/start",
      { config = { approval_policy = "never", sandbox_mode = "danger-full-access" } } },
    { "thread/start",
      { config = { mcp_servers = { m = { command = "touch", args = { mark } } } } } },
    { "execOneOffCommand", { command = { "touch", mark } } }, { "thread/unheardOf", {} },
  }
end

for _, name in ipairs(names) do
  describe("under --strict before Codex " .. peers.version[name], function()
    it("what decides by itself is refused with a reason, and does nothing", function()
      behind(name, { "--strict" }, nil, function(client, folder, mark)
        local thread = start_thread(client, { sandbox = "read-only" })
        local list = takings(mark, folder)
        table.insert(list,
          { "thread/shellCommand", { threadId = thread, command = "touch " .. mark } })
        for _, params in ipairs {
          { approvalPolicy = "never", sandboxPolicy = { type = "dangerFullAccess" } },
          { approvalsReviewer = "auto_review" }, { permissions = ":danger-full-access" },
        } do
          params.threadId, params.input = thread, { { type = "text", text = "go" } }
          table.insert(list, { "turn/start", params })
        end
        for i, one in ipairs(list) do
          local answer = client:request(i, one[1], one[2])
          assert.equal(-32000, answer.error and answer.error.code, one[1])
          assert.matches("^codex%-lua %-%-strict: .+: no policy allows it$", answer.error.message)
          assert.equal(one[1], answer.error.data.method)
        end
        assert.is_false(exists(mark))
        local records = audit_of(folder)
        assert.equal(#list, #records)
        for _, record in ipairs(records) do
          assert.same({ "client_request", "decline" }, { record.kind, record.decision })
        end
      end)
    end)

    it("a policy lets through what it names, and no more", function()
      local code = [[return { name = "mine", on = "client_request", decide = function(request)
        if request.method == "command/exec" and request.params.command[2] == "FOLDER/mark" then
          return "accept"
        end
        error "something else"
      end }]]
      behind(name, { "--strict" }, code, function(client, folder, mark)
        local sandbox = { type = "dangerFullAccess" }
        local other = client:request(1, "command/exec",
          { command = { "touch", mark .. "2" }, sandboxPolicy = sandbox })
        assert.matches("declined by mine", other.error.message)
        local mine = client:request(2, "command/exec",
          { command = { "touch", mark }, sandboxPolicy = sandbox })
        assert.equal(0, mine.result.exitCode)
        assert.same({ true, false }, { exists(mark), exists(mark .. "2") })
        assert.equal("accept", audit_of(folder)[2].decision)
      end)
    end)
  end)
end

-- ---- Folders -----------------------------------------------------------------------------------

local function sh(text, ...) assert(os.execute(text:format(...))) end

--- A folder whose settings have Codex run a program.
local function make_project(folder, mark)
  sh("mkdir -p %s/.codex", folder)
  program.write(folder .. "/.codex/config.toml", ([[
    [mcp_servers.own]
    command = "/bin/sh"
    args = ["-c", "touch %s"]
  ]]):format(mark), 384)
end

local may_write = { sandbox = "workspace-write", approvalPolicy = "on-request" }

local function in_folder(path)
  return { cwd = path, sandbox = may_write.sandbox, approvalPolicy = may_write.approvalPolicy }
end

local function refusal(answer)
  return answer.error and answer.error.message or json.encode(answer)
end

for _, name in ipairs { "latest", "middle" } do
  describe("a folder with settings of its own, before Codex " .. peers.version[name], function()
    it("is neither trusted nor obeyed when nobody named it", function()
      behind(name, { "--strict", "--no-audit" }, nil, function(client, folder, mark, cx)
        make_project(folder .. "/other", mark)
        make_project(folder .. "/own", mark)
        local other = client:request(1, "thread/start", in_folder(folder .. "/other"))
        local own = client:request(2, "thread/start", in_folder(folder .. "/own"))
        async.sleep(0.5)
        assert.is_false(exists(mark))
        assert.is_nil(files.read(cx.home .. "/config.toml"):find("trust_level", 1, true))
        assert.truthy(refusal(other):find(folder .. "/other): --workspace names it", 1, true))
        assert.truthy(refusal(own):find(folder .. "/own/.codex", 1, true), refusal(own))
      end)
    end)

    it("is not obeyed when the user had trusted it before and no folder is said", function()
      behind(name, { "--strict", "--no-audit" }, nil, function(client, folder, mark, cx)
        make_project(folder .. "/own", mark)
        local trusted = '%s\n[projects."%s/own"]\ntrust_level = "trusted"\n'
        local path = cx.home .. "/config.toml"
        program.write(path, trusted:format(files.read(path), folder), 384)
        local answer = client:request(1, "thread/start",
          { sandbox = may_write.sandbox, approvalPolicy = may_write.approvalPolicy })
        async.sleep(0.5)
        assert.truthy(refusal(answer):find(folder .. "/own/.codex", 1, true), refusal(answer))
        assert.is_false(exists(mark))
      end)
    end)

    it("is not obeyed when the settings came after the thread, and it is opened again", function()
      local function reply() return "done" end
      behind(name, { "--strict", "--no-audit" }, nil, function(client, folder, mark)
        local thread = start_thread(client, in_folder(folder .. "/own"))
        go(client, thread)
        turn_over(client)
        make_project(folder .. "/own", mark)
        for _, method in ipairs { "thread/fork", "thread/resume" } do
          local answer = client:request(method, method, { threadId = thread })
          async.sleep(0.5)
          assert.is_false(exists(mark))
          assert.truthy(refusal(answer):find(folder .. "/own/.codex", 1, true), refusal(answer))
        end
        assert.is_table(go(client, thread).result)
        turn_over(client)
        assert.is_false(exists(mark))
      end, reply)
    end)

    it("is a workspace when it was named", function()
      local args = { "--strict", "--no-audit", "--workspace", "FOLDER/own" }
      behind(name, args, nil, function(client, folder, mark)
        make_project(folder .. "/own", mark)
        assert.is_table(client:request(1, "thread/start", in_folder(folder .. "/own")).result)
        assert.is_true(program.eventually(function() return exists(mark) end))
      end)
    end)
  end)
end

for _, name in ipairs(names) do
  describe("a folder that commands put another one in place of, before Codex "
    .. peers.version[name], function()
    --- Starts a thread in this folder, another one puts a link in its place, the first one writes.
    local function exchange(client, path, swapping)
      local answer = client:request(path, "thread/start", in_folder(path))
      for _, thread in ipairs { swapping, answer.result and answer.result.thread.id } do
        go(client, thread)
        client:notification "turn/completed"
      end
      return answer
    end

    it("is no workspace", function()
      local step, commands = 0, nil
      local function reply(request)
        if request.outputs[1] then return "over" end
        if request.prompt ~= "go" then return "A title" end
        step = step + 1
        return { exec = commands[step] }
      end
      behind(name, { "--strict", "--no-audit" }, nil, function(client, folder)
        local target, work = folder .. "/target", folder .. "/own"
        sh("mkdir -p %s %s/sub; ln -s . %s/link", target, work, work)
        local swapping = start_thread(client, may_write)
        for word, why in pairs { sub = "nobody named", link = "may change" } do
          step, commands = 0, { ("rm -r %s; ln -s %s %s"):format(word, target, word), "touch mark" }
          local answer = exchange(client, work .. "/" .. word, swapping)
          assert.equal(target, uv.fs_readlink(work .. "/" .. word))
          assert.is_false(exists(target .. "/mark"), word)
          assert.matches(why, refusal(answer))
        end
      end, reply)
    end)
  end)

  describe("a folder that another one has taken the place of, before Codex " .. peers.version[name],
    function()
      it("is no workspace of the thread that works there", function()
        local function reply(request)
          if request.outputs[1] then return "over" end
          return request.prompt == "go" and { exec = "touch here" } or "A title"
        end
        behind(name, { "--strict", "--no-audit" }, nil, function(client, folder)
          local work, other = folder .. "/own", folder .. "/other"
          local thread = start_thread(client, in_folder(work))
          go(client, thread)
          turn_over(client)
          assert.is_true(exists(work .. "/here"))
          sh("mkdir %s; mv %s %s.old; ln -s %s %s", other, work, work, other, work)
          local answer = go(client, thread)
          if answer.result then turn_over(client) end
          assert.is_false(exists(other .. "/here"))
          assert.matches("nobody named", refusal(answer))
        end, reply)
      end)
    end)

  describe("the home folder, before Codex " .. peers.version[name], function()
    it("is no workspace because the launcher was started there", function()
      local function reply(request)
        if request.outputs[1] then return "over" end
        return request.prompt == "go" and { exec = "touch .bashrc" } or "A title"
      end
      behind(name, { "--no-audit" }, nil, function(_, folder, _, cx)
        local env = cx.environment()
        env.HOME = folder .. "/own"
        local client = open_client({ program.path, "app-server", "--no-audit", "--strict" }, env,
          env.HOME)
        local at_last <close> = client.peer -- luacheck: ignore 211
        begin(client)
        local answer = client:request(1, "thread/start", may_write)
        if answer.result then
          go(client, answer.result.thread.id)
          client:notification "turn/completed"
        end
        assert.is_false(exists(env.HOME .. "/.bashrc"))
        assert.matches("holds the home folder", refusal(answer))
      end, reply)
    end)
  end)

  describe("git before Codex " .. peers.version[name], function()
    --- A repository whose settings have git run a program for what differs from the remote's.
    local function make_repository(folder, mark)
      sh([[exec >/dev/null 2>&1
        git init -q --bare %s.git; git init -q -b main %s && cd %s || exit 1
        echo "* filter=own" > .gitattributes; echo 1 > file; git add .
        git -c user.name=x -c user.email=x@x commit -qm x; git remote add origin %s.git
        git push -q -u origin main; git config filter.own.clean "touch %s; cat"; echo 2 > file]],
        folder, folder, folder, folder, mark)
    end

    it("is not run but where a policy allows it: it does what the folder's settings say", function()
      local policy = [[return { name = "own", on = "client_request", decide = function(request)
        return request.cwd == "FOLDER/own" and "accept" or "decline"
      end }]]
      behind(name, { "--strict", "--no-audit" }, policy, function(client, folder, mark)
        make_repository(folder .. "/other", mark)
        make_repository(folder .. "/own", mark)
        os.remove(mark)
        local answer = client:request(1, "gitDiffToRemote", { cwd = folder .. "/other" })
        assert.is_false(exists(mark))
        assert.matches("git would do what", refusal(answer))
        answer = client:request(2, "gitDiffToRemote", { cwd = folder .. "/own" })
        assert.matches("%+2", answer.result.diff)
        assert.is_true(exists(mark))
      end)
    end)
  end)
end

describe("a client's name", function()
  local code = [[return { name = "trusting", on = "client_request", decide = function(request)
    if request.client == "trusted 9" then return "accept" end
  end }]]
  local trusted = { clientInfo = { name = "trusted", version = "9" } }

  for _, name in ipairs(names) do
    it("is what it said first, before Codex " .. peers.version[name], function()
      behind(name, { "--strict" }, code, function(client, _, mark)
        local sandbox = { type = "dangerFullAccess" }
        local again = client:request(1, "initialize", trusted)
        assert.equal("Already initialized", again.error.message)
        local answer = client:request(2, "command/exec",
          { command = { "touch", mark }, sandboxPolicy = sandbox })
        assert.equal(-32000, answer.error and answer.error.code)
        assert.is_false(exists(mark))
      end)
    end)
  end
end)

describe("a thread that was left without approvals", function()
  it("comes back as it was from Codex itself, and not through --strict", function()
    for _, name in ipairs { "latest", "middle" } do
      behind(name, {}, nil, function(open, folder, _, cx)
        local thread = start_thread(open,
          { approvalPolicy = "never", sandbox = "danger-full-access" })
        go(open, thread)
        turn_over(open)
        local argv = { program.path, "app-server", "--no-audit" }
        open.peer:close()
        local env = cx.environment()
        local again = open_client(argv, env, folder)
        local at_end <close> = again.peer -- luacheck: ignore 211
        begin(again)
        local resumed = again:request(1, "thread/resume", { threadId = thread })
        assert.is_nil(resumed.error, json.encode(resumed))
        assert.equal("never", resumed.result.approvalPolicy)
        again.peer:close()
        local work = folder .. "/own"
        table.move({ "--strict", "--workspace", work }, 1, 3, #argv + 1, argv)
        local strict = open_client(argv, env, folder)
        local at_last <close> = strict.peer -- luacheck: ignore 211
        begin(strict)
        for i, method in ipairs { "thread/resume", "thread/fork" } do
          local answer = strict:request(i, method, { threadId = thread })
          assert.matches("settings it was left with", answer.error.message)
        end
        for i, method in ipairs { "thread/resume", "thread/fork" } do
          local answer = strict:request(10 + i, method, { threadId = thread, sandbox = "read-only",
            approvalPolicy = "on-request", approvalsReviewer = "user", cwd = work })
          assert.same({ "on-request", "user", "readOnly" }, { answer.result.approvalPolicy,
            answer.result.approvalsReviewer, answer.result.sandbox.type })
        end
        local again_plain = strict:request(20, "thread/resume", { threadId = thread })
        assert.matches("settings it was left with", refusal(again_plain))
      end)
    end
  end)
end)

--- A model that runs this command without a question, when it is told to go.
local function running(command)
  return function(request)
    if request.outputs[1] then return "over" end
    return request.prompt == "go" and { exec = command } or "A title"
  end
end

--- Runs body(client) behind another launcher of the same Codex, in the folder `own`.
local function once_more(cx, folder, args, body)
  local argv = { program.path, "app-server", "--no-audit", table.unpack(args) }
  local client = open_client(argv, cx.environment(), folder .. "/own")
  local at_last <close> = client.peer -- luacheck: ignore 211
  begin(client)
  body(client)
  client.peer:close()
end

local function all_said(folder, thread)
  return { threadId = thread, sandbox = "read-only", approvalPolicy = "on-request",
    approvalsReviewer = "user", cwd = folder .. "/own" }
end

--- Leaves a thread that nobody is asked about, which works in the folder `other`.
local function leave_thread(client, folder)
  sh("mkdir %s/other", folder)
  local thread = start_thread(client, { approvalPolicy = "never", sandbox = "danger-full-access",
    cwd = folder .. "/other" })
  client:request("turn", "turn/start",
    { threadId = thread, input = { { type = "text", text = "hello" } } })
  turn_over(client)
  client.peer:close()
  return thread
end

for _, name in ipairs(names) do
  describe("a thread of somebody else, before Codex " .. peers.version[name], function()
    it("is not ours by being resumed with other settings", function()
      behind(name, {}, nil, function(first, folder, _, cx)
        local thread = leave_thread(first, folder)
        once_more(cx, folder, { "--strict" }, function(client)
          local function is_refused(why, method, params)
            params.threadId = thread
            local said = refusal(client:request(method, method, params))
            assert.truthy(said:find(why, 1, true), said)
          end
          local input = { { type = "text", text = "go" } }
          is_refused("was not opened here", "turn/start", { input = input })
          assert.is_table(client:request(1, "thread/resume", all_said(folder, thread)).result)
          assert.is_table(go(client, thread).result)
          turn_over(client)
          is_refused("settings it was left with", "thread/fork", {})
          assert.is_table(client:request(2, "thread/archive", { threadId = thread }).result)
          assert.is_table(client:request(3, "thread/unarchive", { threadId = thread }).result)
          is_refused("settings it was left with", "thread/resume", {})
          is_refused("was not opened here", "turn/start",
            { input = input, sandboxPolicy = { type = "workspaceWrite" } })
        end)
        assert.is_false(exists(folder .. "/other/mark"))
      end, running "touch ../other/mark")
    end)
  end)

  describe("settings in config.toml, before Codex " .. peers.version[name], function()
    local function configure(cx, text)
      local path = cx.home .. "/config.toml"
      program.write(path, text .. "\n" .. files.read(path), 384)
    end

    it("are no way around the policies", function()
      behind(name, {}, nil, function(_, folder, _, cx)
        configure(cx, 'approval_policy = "never"\nsandbox_mode = "danger-full-access"')
        once_more(cx, folder, { "--strict" }, function(client)
          local thread = start_thread(client, {})
          local answer = go(client, thread)
          if answer.result then turn_over(client) end
          assert.is_false(exists(folder .. "/mark"))
          assert.matches("nobody allowed: .*approvalPolicy never", refusal(answer))
          assert.matches("nobody allowed: .*dangerFullAccess", refusal(answer))
          local said = start_thread(client) -- what the client says goes before
          assert.is_table(go(client, said).result)
          turn_over(client)
          assert.is_false(exists(folder .. "/mark"))
        end)
        program.write(folder .. "/yes.lua", [[return { name = "yes", on = "client_request",
          decide = function() return "accept" end }]], 384)
        once_more(cx, folder, { "--strict", "--policy", folder .. "/yes.lua" }, function(client)
          assert.is_table(go(client, start_thread(client, {})).result)
          turn_over(client)
          assert.is_true(exists(folder .. "/mark"))
        end)
      end, running "touch ../mark")
    end)
  end)
end

for _, name in ipairs { "middle", "old" } do
  describe("MCP servers of a trusted folder, before Codex " .. peers.version[name], function()
    it("are not run to be listed, without a thread", function()
      behind(name, {}, nil, function(_, folder, mark, cx)
        make_project(folder .. "/own", mark)
        local path = cx.home .. "/config.toml"
        program.write(path, ('%s\n[projects."%s/own"]\ntrust_level = "trusted"\n'):format(
          files.read(path), folder), 384)
        once_more(cx, folder, { "--strict" }, function(client)
          local answer = client:request(1, "mcpServerStatus/list", {})
          assert.is_false(exists(mark))
          assert.matches("Codex would obey", refusal(answer))
        end)
        once_more(cx, folder, { "--strict", "--workspace", folder .. "/own" }, function(client)
          client:request(1, "mcpServerStatus/list", {})
          assert.is_true(program.eventually(function() return exists(mark) end))
        end)
      end)
    end)
  end)
end

describe("what is kept for a thread of somebody else", function()
  it("is refused, as that one would run it without a question", function()
    behind("latest", {}, nil, function(first, folder, mark, cx)
      local thread = leave_thread(first, folder)
      once_more(cx, folder, { "--strict" }, function(client)
        local input = { { type = "text", text = "go" } }
        local kept = {
          { "thread/queue/add", { threadId = thread, clientUserMessageId = "c", input = input } },
          { "thread/goal/set", { threadId = thread, objective = "go", status = "active" } },
        }
        local why = "was not opened here"
        for _ = 1, 2 do
          for _, one in ipairs(kept) do
            local answer = client:request(one[1], one[1], one[2])
            assert.truthy(refusal(answer):find(why, 1, true), refusal(answer))
          end
          why = "was not begun here"
          client:request(1, "thread/resume", all_said(folder, thread))
        end
      end)
      once_more(cx, folder, {}, function(client)
        assert.is_table(client:request(1, "thread/resume", { threadId = thread }).result)
        async.sleep(1)
        assert.is_false(exists(mark))
      end)
    end, running "touch ../mark")
  end)
end)

describe("what cannot be written to the audit log", function()
  it("is declined where that is required, and not in the policy's name", function()
    local code = [[return { name = "yes", on = "client_request",
      decide = function() return "accept" end }]]
    behind("latest", { "--strict", "--audit", "required" }, code, function(client, folder, mark)
      sh("cd %s/state/codex-lua && rm -f audit.jsonl && mkdir audit.jsonl", folder)
      local answer = client:request(1, "command/exec", { command = { "touch", mark } })
      assert.is_false(exists(mark))
      assert.matches("cannot be written to the audit log$", refusal(answer))
    end)
  end)
end)

-- ---- Notifications that policies need ----------------------------------------------------------

describe("a refusal", function()
  it("is in the recording, as whoever plays it waits for an answer", function()
    local args = { "--strict", "--no-audit", "--record", "FOLDER/record" }
    behind("latest", args, nil, function(client, folder)
      client:request(7, "command/exec", { command = { "true" } })
      assert.is_table(client:request(8, "thread/list", json.array {}).error)
      client.peer:close()
      local errors = {}
      for _, line in ipairs(program.json_lines(folder .. "/record")) do
        if line.dir == "s2c" and line.msg.error then errors[line.msg.id] = line.msg.error.code end
      end
      assert.same({ [7] = "number", [8] = "number" }, { [7] = type(errors[7]),
        [8] = type(errors[8]) })
    end)
  end)
end)

describe("a client that does not want to hear of items", function()
  it("does not keep them from the policies", function()
    local folder, remove = program.folder()
    local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
    local patch = "*** Begin Patch\n*** Add File: new.txt\n+evil\n*** End Patch"
    local model <close> = assert(testing.model { reply = function(request)
      if request.outputs[1] then return "over" end
      return request.prompt == "go" and { apply_patch = patch } or "A title"
    end })
    local cx <close> = assert(testing.codex { model = model, binary = peers.latest,
      env = { XDG_STATE_HOME = folder, XDG_CONFIG_HOME = folder } })
    program.write(folder .. "/policy.lua", [[return { name = "diff", on = "file_change",
      decide = function(request)
        if request.changes and request.changes[1].diff:find "evil" then return "decline" end
        return "accept"
      end }]], 384)
    local client = open_client({ program.path, "app-server", "--policy", folder .. "/policy.lua" },
      cx.environment(), folder)
    local at_last <close> = client.peer -- luacheck: ignore 211
    client:request(0, "initialize", { clientInfo = { name = "x", version = "1" }, capabilities = {
      optOutNotificationMethods = { "item/started", "item/fileChange/patchUpdated" },
    } })
    client:send { method = "initialized" }
    go(client, start_thread(client))
    turn_over(client)
    assert.is_false(exists(folder .. "/new.txt"))
    for _, message in ipairs(client.came) do assert.is_not.equal("item/started", message.method) end
  end)
end)

-- ---- Several clients ---------------------------------------------------------------------------

local Socket = setmetatable({}, { __index = Client })
Socket.__index = Socket

function Socket:send(message)
  self.socket:send(text_of(message))
end

function Socket:wait(accepts, seconds)
  for i, message in ipairs(self.came) do
    if accepts(message) then return table.remove(self.came, i) end
  end
  return assert(async.timeout(seconds or 12, function()
    while true do
      local message = json.decode(assert(self.socket:receive(), "the connection is over"))
      if accepts(message) then return message end
      table.insert(self.came, message)
    end
  end))
end

local function shared(args, body, reply)
  local folder, remove = program.folder()
  local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
  local mark, path = folder .. "/mark", folder .. "/socket"
  local model <close> = assert(testing.model { reply = reply or function(request)
    if request.outputs[1] then return "over" end
    return { exec = { cmd = "touch " .. mark, sandbox_permissions = "require_escalated" } }
  end })
  local cx <close> = assert(testing.codex { model = model, binary = peers.latest,
    env = { XDG_STATE_HOME = folder, XDG_CONFIG_HOME = folder } })
  local launcher <close> = program.spawn({
    "app-server", "--no-audit", "--listen", "unix://" .. path, table.unpack(args),
  }, { cwd = folder, env = cx.environment(), stdin = "null" })
  -- It listens when somebody can connect.
  assert.is_true(program.eventually(function()
    local first = exists(path) and ws_client.connect(path)
    if first then first:close() end
    return first
  end), (launcher:stderr()))
  body(function()
    return setmetatable({ socket = assert(ws_client.connect(path)), came = {} }, Socket)
  end, mark, launcher, path)
end

local hello = { clientInfo = { name = "c", version = "1" } }

describe("clients of one server", function()
  it("are not stopped by one that introduces itself badly, or leaves", function()
    shared({}, function(connect)
      local bad = connect()
      bad:send { id = 1, method = "initialize", params = { clientInfo = 7 } }
      local waiting = connect()
      waiting:send { id = "w", method = "initialize", params = hello }
      assert.is_table(bad:answer(1).error)
      assert.is_table(waiting:answer("w").result)
      local early = connect()
      assert.equal("Not initialized", early:request(1, "model/list", {}).error.message)
      early:send { method = "initialized" }
      assert.is_table(early:request(2, "initialize", hello).result)
      assert.equal("Already initialized", early:request(3, "initialize", hello).error.message)
      early:send { method = "initialized" }
      for _, client in ipairs { waiting, early } do
        assert.is_table(client:request(9, "model/list", {}).result)
      end
      for _, client in ipairs { bad, waiting, early } do client.socket:close() end
    end)
  end)

  it("are not stopped by the first that leaves at once", function()
    shared({}, function(connect)
      local first = connect()
      first:send { id = 1, method = "initialize", params = hello }
      first.socket:close()
      local second = connect()
      assert.is_table(second:request(1, "initialize", hello).result)
      second:send { method = "initialized" }
      assert.is_table(second:request(2, "model/list", {}).result)
      second.socket:close()
    end)
  end)

  it("do not answer for each other", function()
    shared({}, function(connect, mark)
      local a, b = connect(), connect()
      for _, client in ipairs { a, b } do
        client:request("i", "initialize", hello)
        client:send { method = "initialized" }
      end
      go(a, start_thread(a))
      local asked = a:question()
      forge(b, all_ids)
      assert.is_table(b:request("then", "model/list", {}).result)
      async.sleep(0.3)
      assert.is_false(exists(mark))
      a:send { id = asked.id, result = { decision = "decline" } }
      turn_over(a)
      assert.is_false(exists(mark))
      a.socket:close()
      b.socket:close()
    end)
  end)

  it("are no more than allowed, and one more has its turn when one has gone", function()
    shared({ "--clients", "2" }, function(connect, _, _, path)
      local a, b = connect(), connect()
      assert.is_table(a:request("i", "initialize", hello).result)
      local third = ws_client.connect(path)
      assert.equal(503, third.status)
      third:close()
      b.socket:close()
      assert.is_true(program.eventually(function()
        third = ws_client.connect(path)
        third:close()
        return third.status == 101
      end))
      a.socket:close()
    end)
  end)

  it("are not stopped by one that does not read, which is cut off", function()
    local folder, remove = program.folder()
    local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
    -- A server that says 30 MiB to everybody and then what it hears.
    program.write(folder .. "/codex", [[#!/bin/sh
      read -r line; echo '{"id":"i","result":{}}'
      text=$(head -c 1000000 /dev/zero | tr '\0' x)
      read -r line; read -r line
      i=0
      while [ $i -lt 30 ]; do
        echo "{\"method\":\"noise\",\"params\":{\"text\":\"$text\"}}"
        i=$((i + 1))
      done
      exec cat
    ]], 493)
    local path = folder .. "/socket"
    local launcher <close> = program.spawn(
      { "app-server", "--no-audit", "--unread", "4", "--listen", "unix://" .. path },
      { cwd = folder, env = { CODEX_BINARY = folder .. "/codex", CODEX_LUA_LAUNCHER = false,
        XDG_STATE_HOME = folder, XDG_CONFIG_HOME = folder }, stdin = "null" })
    assert.is_true(program.eventually(function() return exists(path) end))
    local function connect()
      local client = setmetatable({ socket = assert(ws_client.connect(path)), came = {} }, Socket)
      client:request("i", "initialize", hello)
      return client
    end
    local deaf, good = connect(), connect()
    deaf.socket:pause(true)
    good:send { method = "initialized" }
    good:send { method = "go" }
    for _ = 1, 30 do good:notification "noise" end
    good:send { id = 7, method = "still/there" }
    assert.equal(7, good:question().id)
    assert.is_truthy(program.eventually(function()
      return launcher:stderr():find("does not read what it is sent; it is cut off", 1, true) ~= nil
    end, 20), (launcher:stderr()))
    good:send { method = "after" }
    good:notification "after"
    good.socket:close()
    deaf.socket:close()
  end)
end)

-- ---- Last resorts ------------------------------------------------------------------------------

describe("a policy that spoils everything", function()
  local bodies = {
    'error(setmetatable({}, { __tostring = function() error "x" end }))',
    'return setmetatable({}, { __index = function() error "x" end, __tostring = error })',
    'return { decision = "accept", amendment = { 0/0 } }',
    'return { decision = "accept", amendment = setmetatable({}, { __len = error }) }',
    "return function() end", "return 0/0", "local t = {}; t[1] = t; return t",
    'return nil, setmetatable({}, { __tostring = function() return 7 end })',
    "request.params = nil; request.kind = nil; error()", "coroutine.yield('accept')",
  }

  it("declines, and the next question is answered as well", function()
    local code = 'local n, bodies = 0, {}\n'
    for _, body in ipairs(bodies) do
      code = code .. ("bodies[#bodies + 1] = function(request) %s end\n"):format(body)
    end
    code = code .. [[return { name = "p", timeout = 0.5, on = { "command", "client_request" },
      decide = function(request)
        n = n % #bodies + 1
        return bodies[n](request)
      end }]]
    behind("latest", { "--strict" }, code, function(client, folder, mark)
      for i = 1, #bodies do
        local answer = client:request(i, "command/exec", { command = { "touch", mark } })
        assert.equal(-32000, answer.error and answer.error.code, bodies[i])
      end
      local thread = start_thread(client, { sandbox = "read-only" })
      for _ = 1, #bodies do
        go(client, thread)
        turn_over(client)
        assert.is_false(exists(mark))
      end
      assert.equal(2 * #bodies, #audit_of(folder))
    end)
  end)

  it("does not keep the program from ending with its client", function()
    for _, body in ipairs { "while true do pcall(require('codex').sleep, 60) end",
      "require('codex').sleep(600)" } do
      local code = ('return { name = "p", timeout = 600, on = "client_request", '
        .. 'decide = function() %s end }'):format(body)
      behind("latest", { "--strict", "--policy-timeout", "600" }, code, function(client, _, mark)
        client:send { id = 1, method = "command/exec", params = { command = { "touch", mark } } }
        async.sleep(0.3)
        local pid = client.peer.pid
        client.peer:close(8)
        assert.is_false(program.alive(pid))
        assert.is_false(exists(mark))
      end)
    end
  end)
end)
