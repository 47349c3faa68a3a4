--- The launcher in front of real Codex: policies in Lua decide what a client would be asked, for
--- our own client, for programs that know nothing of us, and for Codex's own interface.

local async = require "codex.async"
local files = require "codex.files"
local json = require "codex.json"
local peers = require "tests.support.peers"
local program = require "tests.support.program"
local testing = require "codex.testing"
local tmux = require "tests.support.tmux"

-- Long enough to be shown: of a command that ends at once app-server may show nothing.
local command = "sleep 0.5; echo from-the-command"
local patch = "*** Begin Patch\n*** Add File: new.txt\n+hello\n*** End Patch"

local function reply(request)
  if request.prompt ~= "run it" and request.prompt ~= "patch it" then return "A title" end
  local output = request.outputs[1]
  if output then return output.output:find "from%-the%-command" and "It ran." or "It did not." end
  if request.prompt == "patch it" then return { apply_patch = patch } end
  return { exec = { cmd = command, sandbox_permissions = "require_escalated" } }
end

--- Runs the body in a folder of its own, with Codex on a scripted model.
local function with_codex(version, body)
  local folder, remove = program.folder()
  local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
  local model <close> = assert(testing.model { reply = reply })
  local cx <close> = assert(testing.codex {
    model = model, binary = peers[version], env = { XDG_STATE_HOME = folder .. "/state" },
    config = {
      projects = { [folder] = { trust_level = "trusted" } },
      notice = { model_migrations = { ["gpt-5.5"] = "gpt-6-sol" } }, -- what "use existing" leaves
    },
  })
  body(folder, cx, model)
end

local function policy_file(folder, code)
  local path = folder .. "/policy.lua"
  program.write(path, code, 384)
  return path
end

--- Our client behind the launcher; its own policies are what the person at an IDE would say.
local function connect(folder, cx, args, policies)
  local argv = table.move(args, 1, #args, 3, { program.path, "app-server" })
  return assert(cx.connect {
    command = argv, cwd = folder, policies = policies or {}, audit = false,
    env = cx.environment(),
  })
end

--- One turn: what the model was told, and the items' last states by type.
local function turn(client, prompt)
  local thread = assert(client:thread { sandbox = "read-only", approval_policy = "on-request" })
  local states = {}
  local stream <close> = thread:run(prompt)
  for event in function() return stream:next() end do
    if event.type == "item/completed" then states[event.item.type] = event.item.status end
  end
  local result = assert(stream:result())
  return result.final_message, states
end

local function audit_records(folder)
  return program.json_lines(folder .. "/state/codex-lua/audit.jsonl")
end

--- A decider that must not be asked.
local function nobody()
  return { name = "person", decide = function() error "the client was asked" end }
end

for _, version in ipairs { "latest", "middle" } do
  describe("the launcher before Codex " .. peers.version[version], function()
    it("has a policy accept, and the client is not asked", function()
      with_codex(version, function(folder, cx)
        local path = policy_file(folder, [[return { name = "yes", on = "command",
          decide = function(request)
            if request.command:find "from%-the%-command" then return "accept" end
          end }]])
        local client <close> = connect(folder, cx, { "--policy", path }, { nobody() })
        local message, states = turn(client, "run it")
        assert.equal("It ran.", message)
        assert.equal("completed", states.commandExecution)
        local records = audit_records(folder)
        assert.equal(1, #records)
        assert.equal("accept", records[1].decision)
        assert.equal("yes", records[1].policy)
      end)
    end)

    it("fails closed: a policy that declines, throws, hangs or talks nonsense", function()
      with_codex(version, function(folder, cx)
        for _, body in ipairs {
          'return "decline"', 'error "on purpose"', 'require("codex").sleep(60)',
          'return "perhaps"',
        } do
          local path = policy_file(folder,
            ('return { name = "p", decide = function() %s end }'):format(body))
          local client <close> = connect(folder, cx,
            { "--policy", path, "--policy-timeout", "0.3" }, { nobody() })
          local message, states = turn(client, "run it")
          assert.equal("It did not.", message, body)
          assert.equal("declined", states.commandExecution, body)
        end
        assert.equal(4, #audit_records(folder))
      end)
    end)

    it("shows a policy the diff of a file change", function()
      with_codex(version, function(folder, cx)
        local path = policy_file(folder, ([[return { name = "diff", on = "file_change",
          decide = function(request)
            local change = request.changes[1]
            local file = io.open("%s/seen", "w")
            file:write(change.path, "|", change.diff)
            file:close()
            return "accept"
          end }]]):format(folder))
        local client <close> = connect(folder, cx, { "--policy", path }, { nobody() })
        local _, states = turn(client, "patch it")
        assert.equal("completed", states.fileChange)
        assert.equal(folder .. "/new.txt|hello\n", files.read(folder .. "/seen"))
        assert.equal("hello\n", files.read(folder .. "/new.txt"))
      end)
    end)

    it("asks the client where no policy has an opinion, and writes down what it said", function()
      with_codex(version, function(folder, cx)
        local path = policy_file(folder, 'return { name = "none", decide = function() end }')
        local asked = {}
        local person = { name = "person", decide = function(request)
          asked[#asked + 1] = request
          local amendment = request.amendment
          return amendment and { decision = "accept", amendment = amendment } or "accept"
        end }
        local client <close> = connect(folder, cx, { "--policy", path }, { person })
        assert.equal("It ran.", (turn(client, "run it")))
        assert.equal(1, #asked)
        assert.equal("command", asked[1].kind)
        local records = audit_records(folder)
        assert.equal(1, #records)
        assert.same({ "accept", "client", "codex-lua " .. require("codex.core.host").version },
          { records[1].decision, records[1].policy, records[1].client })
        assert.same(asked[1].amendment, (records[1].grant or {}).amendment)
        assert.is_true(records[1].seconds < 60)
      end)
    end)

    it("declines what the client said where that must be written down and cannot be", function()
      with_codex(version, function(folder, cx)
        local yes = { name = "person", decide = function() return "accept" end }
        local client <close> = connect(folder, cx, { "--audit", "required" }, { yes })
        local log = folder .. "/state/codex-lua/audit.jsonl"
        assert.equal("It ran.", (turn(client, "run it")))
        assert.equal("accept", audit_records(folder)[1].decision)
        assert(os.remove(log))
        assert(require("luv").fs_mkdir(log, 448))
        assert.equal("It did not.", (turn(client, "run it")))
      end)
    end)

    it("does not ask the client when it is strict", function()
      with_codex(version, function(folder, cx)
        local client <close> = connect(folder, cx, { "--strict", "--no-audit" }, { nobody() })
        local message = turn(client, "run it")
        assert.equal("It did not.", message)
      end)
    end)
  end)
end

describe("the launcher before Codex", function()
  it("takes a question back when the turn is interrupted while a policy thinks", function()
    with_codex("latest", function(folder, cx)
      local path = policy_file(folder, ([[return { name = "slow", decide = function()
        io.open("%s/asked", "w"):close()
        require("codex").sleep(60)
      end }]]):format(folder))
      local client <close> = connect(folder, cx, { "--policy", path }, { nobody() })
      local thread = assert(client:thread { approval_policy = "on-request" })
      local stream <close> = thread:run "run it"
      assert.is_true(program.eventually(function() return files.read(folder .. "/asked") end))
      assert(thread:interrupt())
      local _, err = stream:result()
      assert.equal("interrupted", err.code)
      assert.equal(0, #audit_records(folder))
      assert.is_number(client:ping())
    end)
  end)

  it("records both directions without secrets", function()
    with_codex("latest", function(folder, cx)
      local file = folder .. "/session.jsonl"
      local client <close> = connect(folder, cx, { "--record", file, "--no-audit" })
      local login = { type = "apiKey", apiKey = "sk-secret-of-ours" }
      assert(client:request("account/login/start", login))
      assert.is_string((turn(client, "hello")))
      client:close()
      local text = assert(files.read(file))
      assert.is_nil(text:find("sk-secret-of-ours", 1, true))
      local seen = {}
      for line in text:gmatch "[^\n]+" do
        local record = assert(json.decode(line))
        local message = type(record.msg) == "table" and record.msg or {}
        seen[("%s %s"):format(record.dir or "-", message.method or "-")] = true
      end
      for _, what in ipairs { "c2s initialize", "c2s turn/start", "s2c turn/completed",
        "c2s account/login/start", "exit -" } do assert.is_true(seen[what], what) end
    end)
  end)

  it("ends Codex when the client is killed in the middle of a turn", function()
    with_codex("latest", function(folder, cx)
      local path = policy_file(folder, 'return { name = "none", decide = function() end }')
      local client <close> = connect(folder, cx, { "--policy", path },
        { { name = "slow", decide = function() async.sleep(60) end } })
      local thread = assert(client:thread { approval_policy = "on-request" })
      local stream <close> = thread:run "run it" -- luacheck: ignore 211
      local launcher = client.pid
      local children = ("/proc/%d/task/%d/children"):format(launcher, launcher)
      local server = tonumber(assert(io.open(children)):read("a"):match "%d+")
      assert.is_true(program.alive(server))
      assert(require("luv").kill(launcher, "sigkill"))
      assert.is_true(program.eventually(function() return not program.alive(server) end))
      local _, err = stream:result()
      assert.equal("closed", err.kind)
    end)
  end)
end)

describe("Codex's own interface through the launcher", function()
  it("has a command declined by a policy, visibly", function()
    with_codex("latest", function(folder, cx)
      local path = policy_file(folder, [[return { name = "no", on = "command",
        decide = function() return "decline" end }]])
      local socket = folder .. "/socket"
      local launcher <close> = program.spawn({
        "app-server", "--policy", path, "--listen", "unix://" .. socket,
      }, { cwd = folder, env = cx.environment(), stdin = "null" })
      assert.is_true(program.eventually(function() return require("luv").fs_stat(socket) end),
        launcher:stderr())
      local terminal <close> = tmux.open({ peers.latest, "--remote", "unix://" .. socket },
        { socket = folder .. "/tmux", cwd = folder, env = cx.environment() })
      terminal:wait_for "for agents"
      terminal:enter "run it"
      local screen = terminal:wait_for "It did not."
      assert.is_nil(screen:find("Would you like to run", 1, true))
      terminal:enter "/quit"
      terminal:wait_for "CODE 0"
      local records = audit_records(folder)
      assert.equal("decline", records[1].decision)
      assert.equal("no", records[1].policy)
    end)
  end)
end)

