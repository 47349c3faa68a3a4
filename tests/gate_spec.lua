--- What a client of a strict launcher may do by itself, against the methods and parameters that
--- real Codex has. That real Codex does what is feared is shown in launcher_boundary_spec.

local gate = require "codex.launcher.gate"
local json = require "codex.json"
local peers = require "tests.support.peers"
local proc = require "codex.proc"
local program = require "tests.support.program"
local schemas = require "tests.support.schema"
local uv = require "luv"
local workspaces = require "codex.launcher.workspaces"

local loaded = {}
local function schema_of(name)
  loaded[name] = loaded[name] or schemas.load(name, "experimental")
  return loaded[name]
end

local function none() return nil end
local function begun() return "begun" end
local function resumed() return "resumed" end

-- The one folder that the user named.
local root, remove_root = program.folder(true)
assert(uv.fs_mkdir(root .. "/named", 448))
local named = assert(workspaces.open({ root .. "/named" }, root .. "/named"))
teardown(remove_root)

--- The question about a method's params, in words; of threads nothing is known but what `knows`
--- says.
local function what(method, params, folders, knows)
  local question = gate.question("request", method, params, knows or none, folders or named)
  return question and question.what
end

local names = { "latest", "middle", "old" }

describe("the methods", function()
  it("are each either harmless or a question", function()
    for method in pairs(gate.harmless) do assert.is_nil(gate.questions[method], method) end
  end)

  for _, name in ipairs(names) do
    it("of Codex " .. peers.version[name] .. " are all known", function()
      for method in pairs(schema_of(name).methods) do
        assert.is_truthy(gate.harmless[method] or gate.questions[method], method)
      end
    end)
  end

  it("that pass are in a schema, with parameters that are in one", function()
    for method, fields in pairs(gate.harmless) do
      local known, found = {}, false
      for _, name in ipairs(names) do
        if schema_of(name).methods[method] then
          found = true
          for field in pairs((schema_of(name):params_of(method))) do known[field] = true end
        end
      end
      -- Of tables that several methods share not every field is in each.
      assert.is_true(found, method)
      local any = next(fields) == nil or next(known) == nil
      for field in pairs(fields) do any = any or known[field] end
      assert.is_true(any, method)
    end
  end)

  it("that nobody knows are a question", function()
    assert.matches("not known", what("thread/new", {}))
    assert.matches("not known", gate.question("notification", "turn/go", {}, none, named).what)
    assert.is_nil(gate.question("notification", "initialized", nil, none, named))
    local odd = gate.question("notification", "initialized", { a = 1 }, none, named)
    assert.matches("not known", odd.what)
  end)

  it("pass with the least that they need", function()
    local special = { ["thread/resume"] = true, ["thread/fork"] = true, ["feedback/upload"] = true }
    for _, name in ipairs(names) do
      local schema = schema_of(name)
      for method, one in pairs(schema.methods) do
        if gate.harmless[method] and not special[method] then
          local params, needs = {}, select(2, schema:params_of(method))
          local example = one.params and schema:example(one.params) or {}
          for field in pairs(needs) do params[field] = example[field] end
          assert.is_nil(what(method, params, named, begun), method)
        end
      end
    end
  end)
end)

--- One case: a value of a parameter that is a question everywhere where it is taken.
local full = {
  approvalPolicy = { "never", "Never", { never = json.null }, { ["on-request"] = json.null },
    { granular = { sandbox_approval = true, rules = true, mcp_elicitations = true } }, 0, true,
    "on-request ", json.array { "on-request" } },
  approvalsReviewer = { "auto_review", "guardian_subagent", { user = json.null }, "USER", false },
  sandbox = { "danger-full-access", "dangerFullAccess", { ["danger-full-access"] = json.null },
    { ["read-only"] = json.null }, "external-sandbox", {} },
  sandboxPolicy = {
    { type = "dangerFullAccess" }, { type = "externalSandbox", networkAccess = "restricted" },
    { type = { dangerFullAccess = json.null } }, { type = { readOnly = json.null } },
    { type = "readOnly", networkAccess = true }, { type = "workspaceWrite", networkAccess = 1 },
    { type = "workspaceWrite", writableRoots = json.array { "/" } },
    { type = "workspaceWrite", new = true }, {}, "workspaceWrite", json.array { "readOnly" },
  },
  permissions = { ":danger-full-access", "mine", { id = ":workspace" }, "" },
  config = {
    { approval_policy = "never" }, { sandbox_mode = "danger-full-access" },
    { approvals_reviewer = "auto_review" }, { ["features.x"] = true }, { features = { x = true } },
    { mcp_servers = { m = { command = "touch" } } }, { notify = json.array { "touch" } },
    { hooks = {} }, { ["sandbox_workspace_write.network_access"] = true }, { profile = "x" },
    { ["approval_policy.granular"] = {} }, { ['"approval_policy"'] = "on-request" },
    { model = { x = 1 } }, { model_providers = {} }, { projects = {} }, { permissions = {} },
    { shell_environment_policy = {} }, json.array { 1 }, "approval_policy=never",
  },
  cwd = { "/", "/..", 7, "/nowhere/at/all", json.array {}, os.getenv "HOME", "/tmp", root, ".", "",
    root .. "/named\0x" },
  runtimeWorkspaceRoots = { json.array { "/" }, json.array { root .. "/named", "/tmp" }, "/" },
  environments = { json.array { { environmentId = "x", cwd = "/" } }, { a = 1 } },
  new = { true }, approval_policy = { "on-request" },
}

local takers = { "thread/start", "thread/resume", "thread/fork", "turn/start",
  "thread/settings/update", "turn/settings/update" }

describe("parameters", function()
  it("that take decisions away are a question, in every method that takes them", function()
    local count = 0
    for _, method in ipairs(takers) do
      for field, values in pairs(full) do
        for _, value in ipairs(values) do
          local found = gate.question("request", method, { threadId = "t", [field] = value }, begun,
            named)
          assert.is_truthy(found, ("%s %s=%s"):format(method, field, json.encode(value)))
          assert.is_string(found.what)
          assert.same("client_request", found.kind)
          count = count + 1
        end
      end
    end
    assert.is_true(count > 300)
  end)

  it("that ask as Codex asks by default are none", function()
    local settings = { approvalPolicy = "on-request", approvalsReviewer = "user",
      cwd = root .. "/named", permissions = ":workspace", model = "m",
      runtimeWorkspaceRoots = json.array { root .. "/named" } }
    for _, method in ipairs(takers) do
      local params = { threadId = gate.harmless[method].threadId and "t" }
      for field, value in pairs(settings) do
        if gate.harmless[method][field] then params[field] = value end
      end
      if gate.harmless[method].sandbox then params.sandbox = "workspace-write" end
      assert.is_nil(gate.question("request", method, params, resumed, named), method)
      for field in pairs(full) do params[field] = json.null end
      assert.is_nil(gate.question("request", method, params, begun, named), method)
    end
    assert.is_nil(what("turn/start", { sandboxPolicy = {
      type = "workspaceWrite", networkAccess = false, writableRoots = json.array {},
      excludeSlashTmp = true, readOnlyAccess = { type = "fullAccess" } } }, named, begun))
    assert.is_nil(what("thread/start",
      { config = { model = "m", approval_policy = "on-request" } }))
  end)

  it("are all told, so that a policy can say yes to all that there is", function()
    local question = gate.question("request", "thread/start", {
      approvalsReviewer = "auto_review", sandbox = "read-only", model = "m", new = 1,
      config = { model = "x", features = { a = true }, approval_policy = "never" },
    }, none, named)
    assert.same({ "approvalsReviewer", "config.approval_policy", "config.features", "new" },
      question.fields)
    local many = {}
    for i = 1, 1000 do many["x" .. i] = true end
    question = gate.question("request", "thread/start", many, none, named)
    assert.same({ 20, "..." }, { #question.fields, question.fields[20] })
    assert.is_true(#question.what < 2000)
    assert.is_nil(gate.question("request", "command/exec", {}, none, named).fields)
  end)

  it("of a thread that is not known must be said", function()
    assert.matches("settings it was left with", what("thread/resume", { threadId = "t" }))
    assert.matches("settings it was left with", what("thread/fork", { threadId = "t",
      approvalPolicy = "on-request", approvalsReviewer = "user", sandbox = json.null }))
    assert.matches("settings it was left with", what("thread/fork", { threadId = "t",
      approvalPolicy = "on-request", approvalsReviewer = "user", sandbox = "read-only" }))
    for _, method in ipairs { "thread/resume", "thread/fork" } do
      assert.matches("settings it was left with", what(method, { threadId = "t" }, named, resumed))
      assert.is_nil(what(method, { threadId = "t" }, named, begun))
    end
  end)

  it("of a thread must be of one whose settings were looked at, where it runs", function()
    for _, method in ipairs { "turn/start", "turn/steer", "review/start", "thread/compact/start",
      "thread/settings/update", "turn/settings/update", "thread/revert", "thread/rollback" } do
      assert.equal("the thread was not opened here", what(method, { threadId = "t" }), method)
      local function unsafe() return nil, "never asked" end
      assert.matches("nobody allowed: never asked", what(method, {}, named, unsafe))
      assert.is_nil(what(method, { threadId = "t" }, named, resumed), method)
    end
    assert.is_nil(what("turn/interrupt", { threadId = "t", turnId = "u" }))
  end)

  it("of a thread must be of one that was begun here, where it keeps something", function()
    for _, method in ipairs { "thread/queue/add", "thread/queue/update", "thread/queue/start",
      "thread/queue/delete", "thread/queue/reorder", "thread/goal/set" } do
      assert.equal("the thread was not opened here", what(method, { threadId = "t" }), method)
      assert.matches("not begun here", what(method, { threadId = "t" }, named, resumed), method)
      assert.is_nil(what(method, { threadId = "t" }, named, begun), method)
    end
  end)

  it("of reports and logins that give things away are a question", function()
    assert.is_truthy(what("feedback/upload", { classification = "x", includeLogs = true }))
    assert.is_truthy(what("feedback/upload",
      { classification = "x", extraLogFiles = json.array { "/etc/passwd" } }))
    assert.is_nil(what("feedback/upload", { classification = "x", includeLogs = false }))
    assert.is_truthy(what("getAuthStatus", { includeToken = true }))
    assert.is_truthy(what("initialize", { clientInfo = {}, capabilities = { new = true } }))
  end)
end)

describe("a folder", function()
  local own

  before_each(function()
    own = root .. "/own"
    for _, path in ipairs { own, own .. "/sub" } do assert(uv.fs_mkdir(path, 448)) end
  end)

  after_each(function() assert(os.execute(("rm -r '%s'"):format(own))) end)

  local function of(folders, path)
    return what("turn/start", { threadId = "t", cwd = path }, folders, begun)
  end

  it("is harmless that the launcher is in, or that was named, and no other", function()
    local folders = assert(workspaces.open({ root .. "/named" }, own))
    for _, path in ipairs { own, own .. "/", root .. "/named" } do
      assert.is_nil(of(folders, path), path)
    end
    for _, path in ipairs { root, own .. "/sub", "/tmp" } do
      local problem = of(folders, path)
      assert.matches("nobody named", problem)
      assert.truthy(problem:find(path .. "): --workspace", 1, true), problem)
    end
  end)

  it("is a question by any path but its real one, as that may lead elsewhere later", function()
    local folders = assert(workspaces.open({ root .. "/named" }, own))
    assert(uv.fs_symlink(root .. "/named", own .. "/link"))
    assert(uv.fs_symlink(root .. "/named", root .. "/link"))
    assert(uv.fs_symlink(root .. "/link", root .. "/second"))
    local shell <close> = assert(proc.spawn({ "sleep", "60" }, { cwd = root .. "/named" }))
    for _, path in ipairs {
      own .. "/link", own .. "/sub/../../named", root .. "/./named", root .. "/link",
      root .. "/second", ("/proc/%d/cwd"):format(shell.pid),
      ("/proc/%d/root%s/named"):format(shell.pid, root),
    } do
      local problem = of(folders, path)
      assert.matches("may change", problem)
      assert.truthy(problem:find("its real path is " .. root .. "/named", 1, true), problem)
    end
    assert(os.remove(root .. "/link") and os.remove(root .. "/second"))
  end)

  it("that nobody named is a question with settings in it, or above it", function()
    local folders = assert(workspaces.open({}, own .. "/sub"))
    local allowed = assert(workspaces.open({ own .. "/sub" }, own .. "/sub"))
    for _, path in ipairs { own .. "/sub/.codex", own .. "/.codex" } do
      assert(uv.fs_mkdir(path, 448))
      assert.is_nil(of(folders, own .. "/sub"), "Codex itself leaves empty folders")
      program.write(path .. "/config.toml", "")
      local problem = of(folders, own .. "/sub")
      assert.truthy(problem:find(("obey %s in"):format(path), 1, true), problem)
      assert.truthy(problem:find("--workspace " .. own .. "/sub", 1, true), problem)
      assert.equal(problem, what("thread/start", {}, folders))
      assert.equal(problem, what("mcpServerStatus/list", {}, folders))
      assert.is_nil(of(allowed, own .. "/sub"))
      assert.is_nil(what("thread/start", {}, allowed))
      assert.is_nil(what("mcpServerStatus/list", {}, allowed))
      assert(os.remove(path .. "/config.toml") and uv.fs_rmdir(path))
      assert.is_nil(of(folders, own .. "/sub"))
    end
    assert(uv.fs_symlink(root, own .. "/.codex"))
    assert.matches("Codex would obey", of(folders, own .. "/sub"))
  end)

  it("must be there to be named, and may not hold the user's home", function()
    for path, why in pairs {
      [root .. "/nowhere"] = "no such file", ["/"] = "holds the home folder",
      [os.getenv "HOME"] = "holds the home folder", ["/dev/null"] = "no folder",
    } do
      local folders, err = workspaces.open({ path }, own)
      assert.is_nil(folders)
      assert.truthy(err.message:find("--workspace '" .. path, 1, true), err.message)
      assert.matches(why, err.message)
    end
  end)

  it("may not be one in which commands of other threads write", function()
    local is_ours = os.getenv("HOME"):find "^/tmp/" -- then /tmp is refused for another reason
    local sets = { { own .. "/sub" }, { root }, { root .. "/named", root }, { "/tmp" } }
    for i = 1, is_ours and 3 or 4 do
      local paths = sets[i]
      local folders, err = workspaces.open(paths, own)
      assert.is_nil(folders)
      assert.matches("commands in another folder could write settings", err.message)
    end
    assert.is_table(workspaces.open({ own .. "/sub" }, own .. "/sub"))
    assert(is_ours or workspaces.open({ "/tmp" }, os.getenv "HOME"))
  end)

  it("may not have files in it that decide about its commands, nor links to such files", function()
    program.write(own .. "/sub/policy.lua", "")
    assert(uv.fs_symlink(own .. "/sub/policy.lua", root .. "/link.lua"))
    assert(uv.fs_symlink(root .. "/elsewhere.lua", own .. "/sub/link.lua"))
    for _, path in ipairs { "/own/sub/policy.lua", "/link.lua", "/own/sub/link.lua", "/own/new" } do
      local folders, err = workspaces.open({}, own, { root .. "/apart.lua", root .. path })
      assert.is_nil(folders)
      local what_it_says = ("could write '%s'"):format(root .. path)
      assert.truthy(err.message:find(what_it_says, 1, true), err.message)
    end
    assert.is_table(workspaces.open({}, own, { root .. "/apart.lua", root .. "/ownother" }))
  end)

  it("is none for a file that decides and has another name, which may be there", function()
    program.write(root .. "/first.lua", "return nil")
    assert(uv.fs_link(root .. "/first.lua", own .. "/second.lua"))
    local folders, err = workspaces.open({}, own, { root .. "/first.lua" })
    assert.is_nil(folders)
    assert.matches("first.lua' has another name", err.message)
    assert(uv.fs_unlink(own .. "/second.lua"))
    assert.is_table(workspaces.open({}, own, { root .. "/first.lua" }))
    assert(os.remove(root .. "/link.lua"))
  end)

  it("is the launcher's own where none is said, and then none of settings", function()
    local home = os.getenv "HOME"
    for _, folder in ipairs { home, "/", home .. "/.config" } do
      local folders = assert(workspaces.open({ root .. "/named" }, folder))
      local question = gate.question("request", "thread/start", { cwd = json.null }, none, folders)
      assert.same({ "cwd" }, question.fields)
      assert.matches("the working folder", question.what)
      assert.is_truthy(what("thread/start", nil, folders))
      assert.is_nil(what("turn/start", { threadId = "t" }, folders, begun))
    end
    assert.is_nil(what("thread/start", {}, assert(workspaces.open({}, own))))
  end)

  it("is looked at for a hundred at most", function()
    local list = json.array {}
    for i = 1, 101 do list[i] = root .. "/named" end
    assert.matches("too many", what("turn/start", { runtimeWorkspaceRoots = list }, named, begun))
    list[101] = nil
    assert.is_nil(what("turn/start", { runtimeWorkspaceRoots = list }, named, begun))
  end)
end)

--- What the server says of a thread that asks as Codex asks by default.
local function thread_result(changes)
  local result = {
    thread = { id = "t" }, approvalPolicy = "on-request", approvalsReviewer = "user",
    sandbox = { type = "workspaceWrite", writableRoots = json.array {}, networkAccess = false },
    cwd = root .. "/named", activePermissionProfile = json.null,
    runtimeWorkspaceRoots = json.array { root .. "/named" },
  }
  for name, value in pairs(changes or {}) do result[name] = value end
  return result
end

local function problem_of(changes, accepted)
  return gate.problem_of_thread(thread_result(changes), accepted, named)
end

describe("a thread that the server has opened", function()
  local unsafe = {
    approvalPolicy = { "never", json.null, { granular = {} } },
    approvalsReviewer = { "auto_review" },
    sandbox = { { type = "dangerFullAccess" }, json.null,
      { type = "workspaceWrite", writableRoots = json.array { "/srv" } },
      { type = "readOnly", networkAccess = true } },
    cwd = { "/", json.null },
    activePermissionProfile = { { id = "mine" } },
    runtimeWorkspaceRoots = { json.array { root .. "/named", "/srv" } },
  }

  it("is harmless with settings that are, all of which old versions do not say", function()
    assert.is_nil(problem_of())
    assert.is_nil(problem_of { approvalsReviewer = json.null, runtimeWorkspaceRoots = json.null,
      sandbox = { type = "readOnly", access = { type = "fullAccess" } } })
    assert.is_nil(problem_of {
      activePermissionProfile = { id = ":workspace", extends = json.null } })
  end)

  it("may write in Codex's own folder of memories, as 0.120.0 has it, but not beside it", function()
    local home = os.getenv "CODEX_HOME"
    local function writes(...)
      return problem_of { sandbox = { type = "workspaceWrite", networkAccess = false,
        writableRoots = json.array { ... } } }
    end
    assert.is_nil(writes(home .. "/memories"))
    assert.matches("more folders", writes(home .. "/memories", "/srv"))
    assert.matches("more folders", writes(home))
    assert.matches("more folders", writes(home .. "/memories/../sessions"))
    assert.matches("more folders", writes {})
    assert(uv.fs_symlink("/srv", home .. "/memories"))
    local ok, problem = pcall(writes, home .. "/memories")
    assert(uv.fs_unlink(home .. "/memories"))
    assert.is_true(ok)
    assert.matches("more folders", problem)
  end)

  it("is not with any one that is not, but where a policy has accepted that one", function()
    for name, values in pairs(unsafe) do
      for _, value in ipairs(values) do
        assert.is_string(problem_of { [name] = value }, name)
        assert.is_string(problem_of({ [name] = value }, { "model", "..." }), name)
        assert.is_nil(problem_of({ [name] = value }, { "threadId" }), name)
      end
    end
    assert.is_nil(problem_of({ approvalPolicy = "never" }, { "config.approval_policy" }))
    assert.is_nil(problem_of({ sandbox = unsafe.sandbox[3] },
      { "config.sandbox_workspace_write.writable_roots" }))
    assert.is_nil(problem_of({ cwd = "/srv", runtimeWorkspaceRoots = json.array { "/srv" } },
      { "cwd" }))
    assert.is_string(problem_of({ approvalPolicy = "never" }, { "sandbox", "cwd" }))
  end)
end)

describe("the standing of a thread", function()
  local standings = require "codex.launcher.standing"
  local all

  before_each(function() all = standings.new(named) end)

  local function open(method, params, changes)
    all:opened(all:passed(method, params), thread_result(changes), nil)
    return all:of "t"
  end

  it("is that of one begun here, or of one resumed with harmless settings", function()
    assert.is_nil(all:of(nil))
    assert.is_nil(all:of "t")
    assert.equal("begun", open("thread/start", {}))
    assert.equal("begun", open("thread/resume", { threadId = "t" }))
    assert.equal("begun", open("thread/fork", { threadId = "t" }))
    assert.equal("resumed", open("thread/fork", { threadId = "other" }))
    assert.equal("resumed", open("thread/resume", { threadId = "t" }))
  end)

  it("is none when its settings are not harmless, whatever it was before", function()
    open("thread/start", {})
    local standing, problem = open("thread/resume", { threadId = "t" },
      { approvalPolicy = "never" })
    assert.is_nil(standing)
    assert.matches("approvalPolicy never", problem)
    assert.equal("resumed", open("thread/resume", { threadId = "t" }))
  end)

  it("is over when it is let go, as others can use it then", function()
    for _, method in ipairs { "thread/archive", "thread/unarchive", "thread/delete",
      "thread/closed", "thread/archived" } do
      assert.is_true(standings.concerns(method))
      open("thread/start", {})
      all:passed(method, { threadId = "t" })
      assert.is_nil(all:of "t")
    end
    assert.is_false(standings.concerns "turn/steer")
  end)

  it("is none while something else is where it works, and comes back with its folder", function()
    local place = root .. "/named"
    open("thread/start", {})
    assert(uv.fs_rename(place, place .. ".old"))
    assert.matches("cannot be looked at", select(2, all:of "t"))
    assert(uv.fs_symlink("/srv", place))
    local standing, problem = all:of "t"
    assert(uv.fs_unlink(place))
    assert(uv.fs_rename(place .. ".old", place))
    assert.is_nil(standing)
    assert.matches("nobody named", problem)
    assert.equal("begun", all:of "t")
  end)

  it("moves with the thread, and is not looked at where a policy has allowed another folder",
    function()
      open("thread/start", {})
      all:passed("turn/start", { threadId = "t", cwd = root .. "/gone" })
      assert.equal("begun", all:of "t")
      all:passed("turn/start", { threadId = "t", cwd = root .. "/named" })
      assert(uv.fs_rename(root .. "/named", root .. "/moved"))
      local standing = all:of "t"
      assert(uv.fs_rename(root .. "/moved", root .. "/named"))
      assert.is_nil(standing)
    end)

  it("sees settings that came later where the thread would be opened again, only then", function()
    local own = root .. "/later"
    assert(uv.fs_mkdir(own, 448))
    all = standings.new(assert(workspaces.open({}, own)))
    open("thread/start", {}, { cwd = own, runtimeWorkspaceRoots = json.null })
    assert.equal("begun", all:of("t", true))
    program.write(own .. "/.codex", "")
    assert.equal("begun", all:of "t")
    assert.matches("Codex would obey", select(2, all:of("t", true)))
    local function knows(...) return all:of(...) end
    for _, method in ipairs { "thread/fork", "thread/resume" } do
      assert.matches("Codex would obey", what(method, { threadId = "t" }, named, knows), method)
    end
    assert.is_nil(what("turn/start", { threadId = "t" }, named, knows))
  end)
end)

describe("a thread of somebody else", function()
  it("is deleted by nobody who has not opened it", function()
    assert.matches("not opened here", what("thread/delete", { threadId = "t" }))
    assert.is_nil(what("thread/delete", { threadId = "t" }, named, resumed))
    assert.is_nil(what("thread/archive", { threadId = "t" }))
  end)
end)

describe("a question", function()
  it("has what a policy needs", function()
    local params = { threadId = "t", turnId = 7, cwd = "/tmp", command = "x" }
    assert.same({
      kind = "client_request", method = "thread/shellCommand", params = params, thread_id = "t",
      cwd = "/tmp", what = "a command would run without being asked about",
    }, gate.question("request", "thread/shellCommand", params, none, named))
  end)

  it("is accepted once or declined, and can be told", function()
    local approval = require "codex.approval"
    local question = gate.question("request", "thread/shellCommand", { command = "rm\27[2J" }, none,
      named)
    assert.same({ allowed = true }, approval.result(question, "accept"))
    assert.same({ allowed = false }, approval.safe(question))
    assert.is_nil(approval.result(question, "accept_for_session"))
    local text = approval.describe(question)
    assert.matches("without being asked about", text)
    assert.is_nil(text:find("\27", 1, true))
    assert.equal("accept", approval.decision(question, { result = { allowed = true } }).decision)
    assert.equal("decline", approval.decision(question, { result = { allowed = 1 } }).decision)
  end)

  it("is told without secrets", function()
    local approval = require "codex.approval"
    for _, params in ipairs {
      { type = "apiKey", apiKey = "a-secret-of-ours" },
      { type = "chatgptAuthTokens", accessToken = "a-secret-of-ours", chatgptAccountId = "x" },
    } do
      local text = approval.describe(gate.question("request", "account/login/start", params, none,
        named))
      assert.is_nil(text:find("a-secret-of-ours", 1, true), text)
      assert.truthy(text:find("account/login/start", 1, true))
    end
  end)

  it("goes only to policies that name its kind", function()
    local policy = require "codex.policy"
    local question = gate.question("request", "thread/shellCommand", { command = "x" }, none, named)
    local function decide(on)
      local yes = { name = "p", on = on, decide = function() return "accept" end }
      local decider = policy.decider({ yes }, { log = function() end })
      return decider:decide(question)
    end
    assert.same({ allowed = false }, (decide(nil)))
    assert.same({ allowed = false }, (decide "*"))
    assert.same({ allowed = false }, (decide "command"))
    assert.same({ allowed = true }, (decide "client_request"))
    assert.same({ allowed = true }, (decide { "command", "client_request" }))
  end)
end)
