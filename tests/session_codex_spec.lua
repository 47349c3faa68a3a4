--- Whole sessions with real Codex on two versions, against what was captured: introductions,
--- requests of many kinds and their refusals, hooks, a configuration that is wrong, an MCP server
--- that is slow.

local app = require "tests.support.app_server"
local async = require "codex.async"
local files = require "codex.files"
local json = require "codex.json"
local peers = require "tests.support.peers"
local proc = require "codex.proc"

--- The error of a request that must fail.
local function refused(client, method, params)
  local result, err = client:request(method, params)
  assert.is_nil(result)
  assert.equal("rpc", err.kind)
  return err
end

-- ---- Playing a capture -------------------------------------------------------------------------

--- What is not asked again: it would reach for a network, or for a port that others may use.
local function is_left_out(method, params)
  return method == "feedback/upload" or method == "initialize"
    or (method == "account/login/start" and params.type:find "^chatgpt")
end

--- What a reply has and the captured one has not (+), and the other way round (-): names in the
--- result, or the error with its code.
local function difference(captured, result, err)
  local was = captured.result or { ["error " .. captured.error.code] = true }
  local is = result or { ["error " .. err.code] = true }
  local list = {}
  for name in pairs(was) do list[#list + 1] = is[name] == nil and "-" .. name or nil end
  for name in pairs(is) do list[#list + 1] = was[name] == nil and "+" .. name or nil end
  table.sort(list)
  return table.concat(list, " ")
end

--- The params as captured, about the folder and the threads of now.
local function translated(params, names)
  local text = json.encode(params)
  for old, new in pairs(names) do text = text:gsub(old:gsub("%p", "%%%0"), new) end
  return json.decode(text)
end

--- Sends what the client sent in a capture, each request as soon as everything has come that had
--- come in the capture, but for one method. Gives the replies that differ.
local function play(server, name, missing)
  local calls, came, names, differences = {}, {}, { ["/home/dev/project"] = app.work }, {}
  local function send(msg)
    local call = { method = msg.method }
    call.task = async.spawn(function()
      return server.client:request(msg.method, translated(msg.params or {}, names))
    end)
    calls[msg.id] = call
  end
  local function receive(msg)
    local call = calls[msg.id]
    if not call then return end
    local result, err = call.task:join()
    local found = difference(msg, result, err)
    if found ~= "" then table.insert(differences, ("%s: %s"):format(call.method, found)) end
    local old = msg.result and msg.result.thread
    if old and result then names[old.id] = result.thread.id end
  end
  --- What a program prints comes in as many pieces as the moment wants: the first one counts.
  local streams = {}
  local function is_more(msg)
    if msg.method ~= "command/exec/outputDelta" then return false end
    local stream = msg.params.processId .. " " .. msg.params.stream
    local before = streams[stream]
    streams[stream] = true
    return before or false
  end
  for _, record in ipairs(app.records(name)) do
    local msg = record.msg
    if record.dir == "c2s" and msg.id and not is_left_out(msg.method, msg.params) then
      send(msg)
    elseif record.dir == "s2c" and not msg.method then
      receive(msg)
    elseif record.dir == "s2c" and not app.is_ignored[msg.method]
      and msg.method ~= missing and not is_more(msg) then
      came[msg.method] = (came[msg.method] or 0) + 1
      server:wait_count(msg.method, came[msg.method])
    end
  end
  return differences
end

for _, peer in ipairs { "latest", "middle" } do
  local version, is_latest = peers.version[peer], peer == "latest"

  describe("a session with Codex " .. version, function()
    it("is what was captured", function()
      app.run({ turns = { { text = { "Hello", " world" } } }, peer = peer,
        connect = { experimental = false } }, function(server)
        local client = server.client
        assert.equal(version, client.version)
        assert.equal(server.cx.home, client.server.codexHome)
        local again = refused(client, "initialize", { clientInfo = { name = "x", version = "1" } })
        assert.equal("Already initialized", again.message)
        local thread = assert(client:thread())
        local deltas, types = {}, {}
        local stream = thread:run "hello"
        for event in stream do
          deltas[#deltas + 1] = event.delta
          types[#types + 1] = event.type
        end
        assert.same({ "Hello", " world" }, deltas)
        assert.same({ "turn/started", "turn/completed" }, { types[1], types[#types] })
        assert.equal("Hello world", assert(stream:result()).final_message)

        assert.truthy(refused(client, "nope/method").message:find "unknown variant")
        assert.equal(-32600, refused(client, "turn/start", { threadId = 5 }).code)
        for _, experimental in ipairs {
          refused(client, "collaborationMode/list", {}),
          refused(client, "thread/start", { dynamicTools = json.array {} }),
        } do
          assert.truthy(experimental.message:find "requires experimentalApi capability$")
        end
        assert.is_table(assert(client:request("model/list", {})).data[1])
        assert.equal(thread.id, assert(client:request("thread/list", {})).data[1].id)
        assert.same({ thread.id }, assert(client:request("thread/loaded/list", {})).data)
        local read = assert(client:request("thread/read",
          { threadId = thread.id, includeTurns = true }))
        assert.equal("completed", read.thread.turns[1].status)
        assert.equal(json.null, assert(client:request("account/read", {})).account)
        assert.equal("gpt-5.5", assert(client:request("config/read", {})).config.model)
        assert.same({}, assert(client:request("mcpServerStatus/list", {})).data)
        refused(client, "account/rateLimits/read")
        server:assert_like "0.169.0-plain"
      end)
    end)

    it("is what was captured in another one, request by request", function()
      local reply = function() return { text = { "Hello", " world" } } end
      app.run({ reply = reply, peer = peer, connect = { opt_out = { "thread/status/changed" } } },
        function(server)
          -- Without a remote, as the captured one was; ours may have one.
          assert(proc.run { "git", "init", "-q", app.work })
          if is_latest then
            assert.same({}, play(server, "0.169.0-misc"))
            return server:assert_like "0.169.0-misc"
          end
          local missing = "thread/readState/changed"
          assert.same({
            "thread/start: -disabledPluginIds",
            "thread/list: -readStates",
            "thread/resume: -collaborationMode -disabledPluginIds",
            "thread/fork: -disabledPluginIds",
            "modelProvider/list: +error -32600 -canChangeDefault -data -defaultProviderId",
            "account/read: -userId -workspaceRouting",
            "account/read: -userId -workspaceRouting",
            "thread/read: -readState",
          }, play(server, "0.169.0-misc", missing))
          server:assert_like("0.169.0-misc", "read")
        end)
    end)

    it("lists hooks as they were captured", function()
      app.run({ peer = peer, turns = {} }, function(server)
        local records = app.records "0.169.0-hooks-list"
        local captured = records[#records - 1].msg.result.data[1]
        local config, expected = {}, {}
        for _, hook in ipairs(captured.hooks) do
          local event = hook.command:match "%S+$"
          config[event] = { { hooks = { { type = "command", command = hook.command,
            timeout = 10 } } } }
          -- 0.153.4 does not know those about requests of the model, and says nothing.
          if is_latest or not event:find "ModelRequest$" then
            table.insert(expected,
              { hook.eventName, hook.timeoutSec, hook.trustStatus, hook.source })
          end
        end
        assert(files.write(server.cx.home .. "/hooks.json", json.encode { hooks = config }))
        local listed = assert(server.client:request("hooks/list", { cwds = { app.work } })).data[1]
        local found = {}
        for i, hook in ipairs(listed.hooks) do
          found[i] = { hook.eventName, hook.timeoutSec, hook.trustStatus, hook.source }
        end
        assert.same({ #captured.warnings, #captured.errors }, { #listed.warnings, #listed.errors })
        assert.same(expected, found)
      end)
    end)

    it("cannot start a thread when its configuration is wrong", function()
      app.run({ peer = peer, turns = {} }, function(server)
        assert(files.write(server.cx.home .. "/config.toml", "model = [\n"))
        local client <close> = server:connect()
        server:wait("configWarning", function(p) return p.summary:find "^Invalid configuration" end)
        local thread, err = client:thread()
        assert.is_nil(thread)
        assert.same({ "rpc", -32600 }, { err.kind, err.code })
        assert.truthy(err.message:find "^failed to load configuration: ")
      end)
    end)

    it("goes on without an MCP server that does not start", function()
      app.run({ peer = peer, turns = { "hello" }, connect = { experimental = false }, config = {
        ["mcp_servers.slow"] = { command = "/bin/sleep", args = { "60" }, startup_timeout_sec = 1 },
      } }, function(server)
        local thread = assert(server.client:thread())
        local failed = server:wait("mcpServer/startupStatus/updated",
          function(params) return params.status == "failed" end)
        assert.same({ "slow", thread.id }, { failed.name, failed.threadId })
        server:assert_like "0.169.0-mcp-startup-timeout"
        assert.equal("hello", assert(thread:ask "hi").final_message)
      end)
    end)
  end)
end
