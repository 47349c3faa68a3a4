--- Every feature on every release of Codex that tests/versions and tests/peers hold: it works, or
--- the error is `unsupported`, as the table below says. `make versions` runs this file; it is no
--- part of `make test`, for the releases are downloaded.

local async = require "codex.async"
local codex = require "codex"
local files = require "codex.files"
local host = require "codex.core.host"
local json = require "codex.json"
local peers = require "tests.support.peers"
local program = require "tests.support.program"
local testing = require "codex.testing"

local modules = peers.root .. "/tests/versions/node_modules/"
local versions = {
  "0.87.0", "0.101.0", "0.107.0", "0.120.0", "0.144.0", "0.153.4", "0.160.0", "0.169.0",
}

--- What a version lacks, by feature: from the first one on, up to the last one.
local first = {
  ["exec ephemeral"] = "0.101.0", ["exec fork"] = "0.153.4",
  ["thread steer"] = "0.101.0", ["thread compact"] = "0.101.0",
  ["thread tools"] = "0.107.0", ["approval permissions"] = "0.120.0",
  ["hook"] = "0.144.0", ["notify hook"] = "0.144.0",
}
local last = { ["mcp-server"] = "0.153.4" }

--- Where a version never asks: what it does then is asserted by the feature.
local silent = {
  ["approval mcp tool"] = { ["0.87.0"] = true, ["0.101.0"] = true },
  -- The server's question gets no answer, and the turn waits for it.
  elicitation = { ["0.87.0"] = true, ["0.101.0"] = true, ["0.107.0"] = true },
}

local function number(version)
  local major, minor, patch = version:match "(%d+)%.(%d+)%.(%d+)"
  return major * 1e6 + minor * 1e3 + patch
end

local function is_lacking(feature, version)
  return first[feature] ~= nil and number(version) < number(first[feature])
    or last[feature] ~= nil and number(version) > number(last[feature])
end

-- ---- Where the programs are --------------------------------------------------------------------

local function installed()
  local found = {}
  local listed = assert(codex.proc.run({ "find", modules, "-path", "*vendor/*", "-type", "f",
    "-name", "codex" }))
  for path in listed.stdout:gmatch "[^\n]+" do
    local ran = codex.proc.run({ path, "--version" }, { timeout = 20 })
    local version = ran and ran.stdout:match "^codex%-cli (%S+)"
    if version then found[version] = path end
  end
  for _, name in ipairs { "latest", "middle", "old" } do
    found[peers.version[name]] = peers[name]
  end
  return found
end

local binaries = installed()

-- ---- One Codex ---------------------------------------------------------------------------------

---@class tests.Place a Codex on a scripted model, with folders of its own
local Place = {}
Place.__index = Place

local mcp_server = peers.root .. "/tests/support/mcp_server.lua"

--- Runs the body with a Codex whose model says this.
local function with(version, reply, given, body)
  local folder, remove = program.folder()
  local removed <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
  local model <close> = assert(testing.model(
    type(reply) == "function" and { reply = reply } or { turns = reply, otherwise = "more" }))
  local work = folder .. "/work"
  local config = { ["projects"] = { [work] = { trust_level = "trusted" } } }
  for name, value in pairs(given and given.config or {}) do config[name] = value end
  local cx <close> = assert(testing.codex {
    model = model, binary = binaries[version], config = config, timeout = 60,
    env = { XDG_STATE_HOME = folder .. "/state", XDG_CONFIG_HOME = folder .. "/config" },
  })
  assert(files.make_dir(work))
  local place = setmetatable({ model = model, cx = cx, folder = folder, work = work,
    version = version }, Place)
  return body(place)
end

local options = { skip_git_repo_check = true, yolo = true }
local free = { approval_policy = "never", sandbox = "danger-full-access" }
local asking = { approval_policy = "on-request", sandbox = "workspace-write" }

local function opts_of(place, more)
  local opts = { cwd = place.work }
  for _, list in ipairs { options, more or {} } do
    for name, value in pairs(list) do opts[name] = value end
  end
  return opts
end

--- Runs our program as the user would; nil and its error where it fails. A program has words only:
--- that a version lacks what was asked for must be in them.
function Place:ours(...)
  local env = self.cx.environment()
  env.CODEX_BINARY = binaries[self.version]
  local result = program.run({ ... }, { env = env, cwd = self.work, stdin = "null", timeout = 60 })
  if result.code == 0 then return result.stdout end
  local text = result.stderr .. result.stdout
  local is_lack = text:find "unsupported:" or text:find "they are not among its features"
    or text:find "are disabled among the features"
  return nil, { kind = is_lack and "unsupported" or "exit", message = text }
end

--- A turn of a new thread on a client with this policy.
function Place:turn(policy, thread_options, prompt)
  self.seen = {}
  local client <close> = assert(self.cx.connect { cwd = self.work, audit = false, policies = {
    { name = "spec", decide = function(request)
      table.insert(self.seen, request)
      return policy(request)
    end },
  } })
  local thread, err = client:thread(thread_options)
  if not thread then return nil, err end
  if self.settle then async.sleep(self.settle) end
  return thread:ask(prompt or "go", { timeout = self.limit or 30 })
end

local function equal(expected, value) assert.same(expected, value) return true end

local function repository(place)
  assert(codex.proc.run({ "sh", "-c", [[git init -q . && echo a > a.txt && git add . &&
    git -c user.name=t -c user.email=t@example.org commit -q -m one && echo b >> a.txt]] },
    { cwd = place.work }))
end

-- ---- Features ----------------------------------------------------------------------------------

local features = {}

function features.version(version)
  return with(version, {}, nil, function(place)
    local capabilities = assert(place.cx.capabilities())
    equal(version, capabilities.version)
    equal(version, (assert(place.cx.version()):match "%d+%.%d+%.%d+"))
    assert.is_table(assert(place.cx.features()))
    local advisory = assert(place.cx.updates.check { cache = false, sources = {} })
    return equal(version, advisory.installed)
  end)
end

features["login status"] = function(version)
  return with(version, {}, nil, function(place)
    local result, err = place.cx.run { "login", "status" }
    assert.is_nil(result)
    return equal(1, err.data.exit_code)
  end)
end

features["mcp-server"] = function(version)
  return with(version, {}, nil, function(place) return place.cx.run { "mcp-server" } end)
end

features.exec = function(version)
  return with(version, { { exec = "true", usage = { input_tokens = 5 } },
    { text = "done", usage = { input_tokens = 7, output_tokens = 2 } } }, nil, function(place)
    local turn, err = place.cx.exec("go", opts_of(place))
    if not turn then return nil, err end
    equal({ "done", 12, 2 },
      { turn.final_message, turn.usage.input_tokens, turn.usage.output_tokens })
    return equal({}, turn.unfinished)
  end)
end

features.stream = function(version)
  return with(version, { { exec = "true" }, "done" }, nil, function(place)
    local started
    local stream <close> = place.cx.stream("go", opts_of(place))
    for event in stream do
      started = started or event.type == "item.started" and event.item.type
    end
    equal("done", assert(stream:result()).final_message)
    return equal("command_execution", started)
  end)
end

features["exec schema"] = function(version)
  return with(version, { { json = { ok = true } } }, nil, function(place)
    local schema = { type = "object", properties = { ok = { type = "boolean" } },
      required = { "ok" }, additionalProperties = false }
    local turn, err = place.cx.exec("go", opts_of(place, { output_schema = schema }))
    if not turn then return nil, err end
    return equal({ ok = true }, turn.output)
  end)
end

--- The smallest picture there is.
local png = table.concat {
  "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\8\6\0\0\0\x1f\x15\xc4\x89\0\0\0\rIDATx\x9cc",
  "\xf8\xcf\xc0\xf0\x1f\0\5\0\1\xff\x89\x99=\x1d\0\0\0\0IEND\xaeB`\x82",
}

features["exec images"] = function(version)
  return with(version, { "seen" }, nil, function(place)
    local path = place.work .. "/a.png"
    program.write(path, png)
    local turn, err = place.cx.exec("look", opts_of(place, { images = { path } }))
    if not turn then return nil, err end
    local body = json.encode(place.model.requests[1].body)
    return equal(true, body:find('"input_image"', 1, true) ~= nil)
  end)
end

features["exec ephemeral"] = function(version)
  return with(version, { "done" }, nil, function(place)
    return place.cx.exec("go", opts_of(place, { ephemeral = true }))
  end)
end

local function gone_on(how, more)
  return function(version)
    return with(version, { { text = "one", usage = { input_tokens = 5 } },
      { json = { ok = true }, usage = { input_tokens = 7 } } }, nil, function(place)
      local turn = assert(place.cx.exec("go", { skip_git_repo_check = true, cwd = place.work }))
      local given = { skip_git_repo_check = true }
      for name, value in pairs(more and more(place) or {}) do given[name] = value end
      local next_turn, err = place.cx[how](turn, "on", given)
      if not next_turn then return nil, err end
      equal(how == "resume", turn.thread_id == next_turn.thread_id)
      equal(given.output_schema ~= nil, place.model.requests[2].schema ~= nil)
      equal(given.output_last_message and '{"ok":true}', files.read(place.work .. "/answer"))
      return equal(7, next_turn.usage.input_tokens)
    end)
  end
end

features["exec resume"] = gone_on "resume"
features["exec fork"] = gone_on "fork"
features["exec resume to a file"] = gone_on("resume",
  function(place) return { output_last_message = place.work .. "/answer" } end)
features["exec resume schema"] = gone_on("resume",
  function() return { output_schema = { type = "object" } } end)

local findings = { json = { findings = json.array {}, overall_correctness = "patch is correct",
  overall_explanation = "Fine.", overall_confidence_score = 1 } }

features["exec review"] = function(version)
  return with(version, { findings }, nil, function(place)
    repository(place)
    local turn, err = place.cx.with({ cwd = place.work }).review { uncommitted = true }
    if not turn then return nil, err end
    return equal("string", type(turn.final_message))
  end)
end

features["exec unfinished"] = function(version)
  local slow = { exec = { cmd = "sleep 20", yield_time_ms = 250, timeout_ms = 1000 } }
  return with(version, { slow, "done" }, nil, function(place)
    local turn, err = place.cx.exec("go", opts_of(place))
    if not turn then return nil, err end
    -- 0.87 has no commands that are left running.
    return equal(version == "0.87.0" and 0 or 1, #turn.unfinished)
  end)
end

local faults = {
  ["is refused"] = { { status = 401, body = "bad key" }, "auth", "auth", "auth" },
  ["is overloaded"] = { { status = 503, body = "x" }, "exit", "server", "rpc" },
  ["fails"] = { { failed = { code = "server_error", message = "The server had an error" } },
    "exit", "server", "rpc" },
  ["is cut off"] = { { text = "half", incomplete = "max_output_tokens" },
    "exit", "incomplete", "rpc" },
  ["drops the line"] = { { text = { "a", "b" }, disconnect = true }, "exit", "network", "rpc" },
}
for what, case in pairs(faults) do
  features["model that " .. what] = function(version)
    return with(version, function() return case[1] end, nil, function(place)
      local _, err = place.cx.exec("go", opts_of(place))
      -- 0.87 says of an answer that was cut off what it says of a closed stream.
      local code = version == "0.87.0" and what == "is cut off" and "turn_failed" or case[3]
      equal({ case[2], code }, { err.kind, err.code })
      local _, failure = place:turn(function() end, free)
      return equal(case[4], failure.kind)
    end)
  end
end

--- The n-th answer costs 100n + 1.
local function counting()
  local count, from = 0, 0
  return function(request)
    count = count + 1
    local usage = { input_tokens = 100 * count + 1, output_tokens = count }
    if request.prompt:find "tool" and not request.outputs[1] then
      return { exec = "true", usage = usage }
    end
    return { text = "done", usage = usage }
  end, function()
    local input = 0
    for n = from + 1, count do input = input + 100 * n + 1 end
    from = count
    return input
  end
end

features["thread usage"] = function(version)
  local reply, served = counting()
  return with(version, reply, nil, function(place)
    local function ask(thread, prompt)
      local turn = assert(thread:ask(prompt, { timeout = 30 }))
      equal(served(), turn.usage.input_tokens)
    end
    local client <close> = assert(place.cx.connect { cwd = place.work, policies = {} })
    local thread = assert(client:thread(free))
    ask(thread, "use a tool")
    ask(thread, "plain")
    local fork = assert(client:fork(thread.id, free))
    ask(fork, "use a tool")
    client:close()
    local other <close> = assert(place.cx.connect { cwd = place.work, policies = {} })
    local again = assert(other:resume(thread.id, free))
    ask(again, "use a tool")
    ask(again, "plain")
    return true
  end)
end

features["thread compact"] = function(version)
  local reply, served = counting()
  return with(version, reply, nil, function(place)
    local client <close> = assert(place.cx.connect { cwd = place.work, policies = {} })
    local thread = assert(client:thread(free))
    assert(thread:ask("use a tool", { timeout = 30 }))
    local over = 0
    client:on("turn/completed", function() over = over + 1 end)
    local ok, err = thread:compact()
    if not ok then return nil, err end
    assert(program.eventually(function() return over > 0 end, 20))
    served()
    return equal(served() * 0 + 401, assert(thread:ask("plain")).usage.input_tokens)
  end)
end

features["thread steer"] = function(version)
  local place_of
  return with(version, function(request)
    if request.prompt == "go" and not request.outputs[1] then return { exec = "sleep 2" } end
    return "done"
  end, nil, function(place)
    place_of = place
    local client <close> = assert(place.cx.connect { cwd = place.work, policies = {} })
    local thread = assert(client:thread(free))
    local asked = async.spawn(function() return thread:ask("go", { timeout = 30 }) end)
    assert(program.eventually(function() return #place_of.model.requests > 0 end, 20))
    local ok, err = thread:steer "and this"
    local turn = assert(asked:join())
    equal("done", turn.final_message)
    return ok, err
  end)
end

features["thread interrupt"] = function(version)
  return with(version, { { hang = true }, "done" }, nil, function(place)
    local client <close> = assert(place.cx.connect { cwd = place.work, policies = {} })
    local thread = assert(client:thread(free))
    local asked = async.spawn(function() return thread:ask("go", { timeout = 30 }) end)
    assert(program.eventually(function() return #place.model.requests > 0 end, 20))
    local ok, err = thread:interrupt()
    if not ok then return nil, err end
    local _, failure = asked:join()
    equal({ "cancelled", "interrupted" }, { failure.kind, failure.code })
    return equal("done", assert(thread:ask("more", { timeout = 30 })).final_message)
  end)
end

features["thread review"] = function(version)
  return with(version, { findings }, nil, function(place)
    repository(place)
    local client <close> = assert(place.cx.connect { cwd = place.work, policies = {} })
    local thread = assert(client:thread { sandbox = "read-only" })
    local stream <close> = thread:review("uncommitted", { timeout = 30 })
    local turn, err = stream:result()
    if not turn then return nil, err end
    return equal("string", type(turn.review))
  end)
end

features["thread tools"] = function(version)
  return with(version, { { call = { name = "clock", arguments = { zone = "utc" } } }, "done" }, nil,
    function(place)
      local tool = { name = "clock", description = "Tells the time.",
        run = function(args) return "noon in " .. args.zone end }
      local opts = { tools = { tool }, approval_policy = "never", sandbox = "read-only" }
      local turn, err = place:turn(function() end, opts)
      if not turn then return nil, err end
      local told = place.model.requests[2].outputs[1].output
      return equal(true, told:find("noon in utc", 1, true) ~= nil)
    end)
end

local function escalated(place)
  return { exec = { cmd = "touch " .. place.folder .. "/out",
    sandbox_permissions = "require_escalated", justification = "Why not?" } }
end

features["approval command"] = function(version)
  local reply = function(place)
    return function(request) return request.outputs[1] and "done" or escalated(place) end
  end
  local place_of
  return with(version, function(request) return reply(place_of)(request) end, nil, function(place)
    place_of = place
    for _, decision in ipairs { "decline", "accept" } do
      local turn = assert(place:turn(function() return decision end, asking))
      equal("done", turn.final_message)
      local request = place.seen[1]
      equal({ 1, "command", place.work }, { #place.seen, request.kind, request.cwd })
      assert.truthy(request.command:find("touch " .. place.folder, 1, true))
      equal("unknown", request.actions[1].type)
      equal(decision == "accept", files.read(place.folder .. "/out") ~= nil)
    end
    return true
  end)
end

features["approval file change"] = function(version)
  local patch = { apply_patch = "*** Begin Patch\n*** Add File: new.txt\n+one\n*** End Patch\n" }
  return with(version, { patch, "done" }, nil, function(place)
    local turn, err = place:turn(function() return "accept" end,
      { approval_policy = "on-request", sandbox = "read-only" })
    if not turn then return nil, err end
    equal({ "file_change", place.work .. "/new.txt" },
      { place.seen[1].kind, place.seen[1].changes[1].path })
    return equal("one\n", files.read(place.work .. "/new.txt"))
  end)
end

features["approval mcp tool"] = function(version)
  return with(version, { { mcp = { server = "loud", tool = "shout", arguments = { text = "x" } } },
    "done" }, nil, function(place)
    local text = assert(files.read(mcp_server))
    program.write(place.folder .. "/server.lua",
      (text:gsub("readOnlyHint = true", "destructiveHint = true")))
    local config = { mcp_servers = { loud = { command = host.program,
      args = { place.folder .. "/server.lua" } } } }
    place.settle = 1.5 -- a server that still starts has no tools
    local thread = { config = config, approval_policy = "on-request", sandbox = "read-only" }
    local turn = assert(place:turn(function(request)
      if request.kind == "user_input" then -- as 0.107 asks
        return { decision = "accept", answers = { [request.questions[1].id] = "Approve Once" } }
      end
      return "accept"
    end, thread))
    equal("done", turn.final_message)
    equal(true, place.model.requests[2].outputs[1].output:find "X" ~= nil)
    local request = place.seen[1]
    if silent["approval mcp tool"][version] then return equal(nil, request) end
    if request.kind == "user_input" then return equal("0.107.0", version) end
    local is_named = number(version) > number "0.164.0"
    equal(is_named and "shout" or nil, request.tool.name)
    equal(not is_named or nil, request.tool.is_unnamed)
    return equal({ "elicitation", "loud" }, { request.kind, request.server })
  end)
end

features["elicitation"] = function(version)
  local server = { command = host.program,
    args = { peers.root .. "/tests/support/asking_server.lua" } }
  return with(version, { { mcp = { server = "mock", tool = "ask", arguments = json.object {} } },
    "done" }, { config = { mcp_servers = { mock = server } } }, function(place)
    place.settle = 1.5 -- a server that still starts has no tools
    place.limit = silent.elicitation[version] and 5
    local form
    local turn, err = place:turn(function(request)
      if request.kind == "user_input" then -- as 0.107 asks for leave to call the tool
        return { decision = "accept", answers = { [request.questions[1].id] = "Approve Once" } }
      end
      if not request.schema.properties.ok then return "accept" end
      form = request
      return { decision = "accept", content = { ok = true } }
    end, { approval_policy = "on-request", sandbox = "read-only" })
    if silent.elicitation[version] then
      return equal({ "timeout", nil }, { err.kind, form })
    end
    if not turn then return nil, err end
    local told = place.model.requests[2].outputs[1].output
    equal({ "mock", "Proceed?" }, { form.server, form.message })
    return equal(true, told:find("accept", 1, true) ~= nil)
  end)
end

features["approval permissions"] = function(version)
  local config = { ["features.request_permissions_tool"] = true }
  local place_of
  return with(version, function(request)
    if request.outputs[1] then return "done" end
    return { call = { name = "request_permissions", arguments = { reason = "to write",
      permissions = { file_system = { write = { place_of.folder } } } } } }
  end, { config = config }, function(place)
    place_of = place
    local turn, err = place:turn(function() return "accept" end,
      { approval_policy = "on-request", sandbox = "read-only" })
    if not turn then return nil, err end
    if not place.seen[1] then -- Codex has no such tool, and the model is told so
      return nil, { kind = "unsupported", message = place.model.requests[2].outputs[1].output }
    end
    return equal("permissions", place.seen[1].kind)
  end)
end

--- The launcher in front, with a policy file that answers so, or none.
local function launched(version, policy, strict)
  local place_of
  return with(version, function(request)
    return request.outputs[1] and "done" or escalated(place_of)
  end, nil, function(place)
    place_of = place
    local argv = { program.path, "app-server" }
    if strict then argv[#argv + 1] = "--strict" end
    if policy then
      local path = place.folder .. "/policy.lua"
      program.write(path, policy, 384)
      table.move({ "--policy", path }, 1, 2, #argv + 1, argv)
    end
    local env = place.cx.environment()
    env.CODEX_BINARY = binaries[version]
    local asked = 0
    local client <close> = assert(place.cx.connect { command = argv, cwd = place.work, env = env,
      audit = false, policies = { { name = "person", decide = function()
        asked = asked + 1
        return "accept"
      end } } })
    local thread = assert(client:thread(asking))
    equal("done", assert(thread:ask("go", { timeout = 30 })).final_message)
    return { asked, files.read(place.folder .. "/out") ~= nil }
  end)
end

features["launcher"] = function(version)
  local matching = [[return { name = "p", on = "command", decide = function(request)
    return request.command:find "touch" and request.cwd and "%s" or "cancel"
  end }]]
  equal({ 0, true }, launched(version, matching:format "accept"))
  equal({ 0, false }, launched(version, matching:format "decline"))
  equal({ 1, true }, launched(version))
  return equal({ 0, false }, launched(version, nil, true))
end

features["notify"] = function(version)
  return with(version, { "done", "done" }, nil, function(place)
    local dir = place.folder .. "/config/codex-lua/notify.d"
    assert(files.make_dir(dir))
    program.write(dir .. "/spec.lua", ([[return function()
      local file <close> = assert(io.open("%s/told", "a"))
      file:write "x"
    end]]):format(place.folder))
    assert(place:ours("notify", "install", "--yes"))
    assert(place.cx.exec("go", opts_of(place)))
    assert(program.eventually(function() return files.read(place.folder .. "/told") end, 10))
    assert(place:ours("notify", "uninstall", "--yes"))
    assert(place.cx.exec("go", opts_of(place)))
    async.sleep(0.5)
    return equal("x", files.read(place.folder .. "/told"))
  end)
end

features["notify hook"] = function(version)
  return with(version, { "done", "done" }, nil, function(place)
    local ok, err = place:ours("notify", "install", "--yes", "--via", "hook")
    if not ok then return nil, err end
    return place:ours("notify", "uninstall", "--yes")
  end)
end

features["hook"] = function(version)
  return with(version, function(request)
    return request.outputs[1] and "done" or { exec = "touch made" }
  end, nil, function(place)
    local path = place.folder .. "/no.lua"
    program.write(path, 'return function() return { decision = "deny", reason = "no" } end')
    local before = files.read(place.cx.home .. "/config.toml")
    local ok, err = place:ours("hook", "install", "pre_tool_use", path, "--yes")
    if not ok then
      equal(before, files.read(place.cx.home .. "/config.toml"))
      return nil, err
    end
    assert(place.cx.exec("go", opts_of(place)))
    equal(nil, (files.read(place.work .. "/made")))
    assert(place:ours("hook", "uninstall", "--yes"))
    assert(place.cx.exec("go", opts_of(place)))
    return equal("", (files.read(place.work .. "/made")))
  end)
end

-- ---- The table ---------------------------------------------------------------------------------

local names = {}
for name in pairs(features) do names[#names + 1] = name end
table.sort(names)

for _, version in ipairs(versions) do
  describe("Codex " .. version, function()
    it("is here", function()
      assert.is_string(binaries[version], "run make versions, which downloads it")
    end)

    for _, name in ipairs(names) do
      local lacks = is_lacking(name, version)
      it((lacks and "lacks " or "has ") .. name, function()
        local result, err = codex.timeout(120, features[name], version)
        if not lacks then return assert(result, err and tostring(err.message)) end
        assert.is_nil(result)
        assert.equal("unsupported", err.kind, tostring(err.message))
      end)
    end
  end)
end
