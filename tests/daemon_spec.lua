--- Clients of app-servers of real Codex that run already: behind a socket of their own, as the
--- daemon, through `codex app-server proxy`, and through what stands in for ssh.

local async = require "codex.async"
local codex = require "codex"
local files = require "codex.files"
local json = require "codex.json"
local peers = require "tests.support.peers"
local proc = require "codex.proc"
local program = require "tests.support.program"
local testing = require "codex.testing"
local uv = require "luv"

local free = { approval_policy = "never", sandbox = "danger-full-access" }

--- What the model is asked, and "!COMMAND" as a command that needs leave.
local function reply(request)
  local command = request.prompt:match "^!(.*)"
  if not command then return "you said " .. request.prompt end
  if request.outputs[1] then return "done" end
  return { exec = { cmd = command, sandbox_permissions = "require_escalated" } }
end

--- Runs the body with an instance that has a model, and an empty folder.
local function with_codex(peer, body)
  local folder, remove = program.folder()
  local removed <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
  local model <close> = assert(testing.model { reply = reply })
  local cx <close> = assert(testing.codex { model = model, binary = peers[peer], cwd = folder })
  body(cx, folder)
  assert.same({}, model.errors)
end

local function listening(path)
  return program.eventually(function()
    local pipe, done, failed = uv.new_pipe(), false, nil
    pipe:connect(path, function(err) done, failed = true, err end)
    while not done do async.sleep(0.01) end
    pipe:close()
    return not failed
  end, 20)
end

--- In 0.169.0 the path becomes a link to a socket in /tmp/codex-daemon-UID, which stays. Gives
--- what removes it.
local function socket_remover(path)
  local target = uv.fs_readlink(path)
  return function()
    if not target then return end
    os.remove(target)
    os.remove(target .. ".lock")
  end
end

--- An app-server that listens at the path.
local function listen(cx, peer, path)
  local argv = { peers[peer], "app-server", "--listen", "unix://" .. path }
  local server = assert(proc.spawn(argv, { env = assert(cx.environment()) }))
  assert(listening(path), "it does not listen: " .. server:stderr())
  local remove_socket = socket_remover(path)
  return setmetatable({ proc = server }, { __close = function()
    server:close()
    os.remove(path)
    remove_socket()
  end })
end

local function with_server(peer, body)
  with_codex(peer, function(cx, folder)
    local path = folder .. "/socket"
    local server <close> = listen(cx, peer, path)
    body(cx, path, server, folder)
  end)
end

--- The ways to a server's socket, as options of codex.connect.
local ways = {
  ["its socket"] = function(path) return { socket = path } end,
  ["the proxy"] = function(path) return { proxy = path } end,
  ["another's proxy"] = function(path, peer)
    local script = 'echo "Welcome" >&2; exec "$@"'
    local argv = { "sh", "-c", script, "ssh", peers[peer], "app-server", "proxy", "--sock", path }
    return { proxy = argv }
  end,
}

local function connect(cx, options, more)
  local given = { audit = false, policies = {} }
  for name, value in pairs(options) do given[name] = value end
  for name, value in pairs(more or {}) do given[name] = value end
  return cx.connect(given)
end

for _, peer in ipairs { "latest", "middle" } do
  local version = peers.version[peer]

  describe("an app-server of Codex " .. version .. " that runs already", function()
    for way, options in pairs(ways) do
      it("is reached through " .. way .. ", and runs on", function()
        with_server(peer, function(cx, path, server)
          for i = 1, 2 do
            local client <close> = assert(connect(cx, options(path, peer)))
            assert.equal(version, client.version)
            assert.equal(cx.home, client.server.codexHome or cx.home)
            assert.equal(way ~= "its socket", client.pid ~= nil)
            local thread = assert(client:thread(free))
            assert.equal("you said hi " .. i, assert(thread:ask("hi " .. i)).final_message)
            if way == "another's proxy" then assert.equal("Welcome\n", client:stderr()) end
            local before = uv.hrtime()
            client:close()
            assert.is_true(uv.hrtime() - before < 2e9)
            assert.is_true(not client.pid or not program.alive(client.pid))
          end
          assert.is_false(server.proc:status().exited)
        end)
      end)

      it("asks for leave through " .. way, function()
        with_server(peer, function(cx, path, _, folder)
          local seen = {}
          local client <close> = assert(connect(cx, options(path, peer), { policies = { {
            name = "spec", decide = function(request)
              seen[#seen + 1] = request.kind
              return "accept"
            end,
          } } }))
          local thread = assert(client:thread {
            cwd = folder, approval_policy = "on-request", sandbox = "read-only",
          })
          assert.equal("done", assert(thread:ask("!echo yes > file")).final_message)
          assert.same({ "command" }, seen)
          assert.equal("yes\n", files.read(folder .. "/file"))
        end)
      end)

      it("tells large messages whole through " .. way, function()
        with_server(peer, function(cx, path, _, folder)
          local client <close> = assert(connect(cx, options(path, peer)))
          local thread = assert(client:thread(free))
          local text = ("päx \n"):rep(120000) .. "end" -- 720 kB: Codex takes a Mi of characters
          assert.equal("you said " .. text, assert(thread:ask(text)).final_message)
          if peer ~= "latest" then return end
          local bytes = ("0123456789abcdef"):rep(1 << 19)
          program.write(folder .. "/large", bytes)
          local answer = assert(client:request("fs/readFile", { path = folder .. "/large" }))
          assert.is_true(require("codex.base64").decode(answer.dataBase64) == bytes)
        end)
      end)

      if way ~= "another's proxy" then it("is noticed to be gone through " .. way, function()
        with_server(peer, function(cx, path, server)
          local client <close> = assert(connect(cx, options(path, peer)))
          local why
          client:on("closed", function(params) why = params.error end)
          local thread = assert(client:thread(free))
          assert(thread:ask "hi")
          local asked = async.spawn(client.request, client, "command/exec",
            { command = { "sleep", "30" }, timeoutMs = 30000 }, { timeout = 0 })
          async.sleep(0.1)
          server.proc:kill "kill"
          assert.is_true(program.eventually(function() return why end, 15))
          assert.equal("closed", why.kind)
          assert.truthy(why.message:find "is gone")
          local _, err = asked:join()
          assert.same({ "closed", why.message }, { err.kind, err.message })
          _, err = client:ping()
          assert.equal(why, err)
          assert.equal(why, client:gone())
        end)
      end) end
    end

    it("has two clients at once, each with its own threads", function()
      with_server(peer, function(cx, path)
        local a <close> = assert(connect(cx, { socket = path }))
        local b <close> = assert(connect(cx, { proxy = path }))
        local heard = {}
        a:on("turn/completed", function(params) heard[#heard + 1] = params.threadId end)
        local threads = { assert(a:thread(free)), assert(b:thread(free)) }
        local results = { async.all {
          function() return threads[1]:ask "one" end, function() return threads[2]:ask "two" end,
        } }
        assert.equal("you said one", results[1].final_message)
        assert.equal("you said two", results[2].final_message)
        b:close()
        assert.equal("you said three", assert(threads[1]:ask "three").final_message)
        assert.same({ threads[1].id, threads[1].id }, heard)
      end)
    end)

    it("keeps its threads for a client whose proxy has died", function()
      with_server(peer, function(cx, path, server)
        local client <close> = assert(connect(cx, { proxy = path }, { restart = 1 }))
        local thread = assert(client:thread(free))
        assert.equal("you said one", assert(thread:ask "one").final_message)
        local pid = client.pid
        uv.kill(pid, "sigkill")
        assert.is_true(program.eventually(function() return client:gone() end))
        assert.truthy(client:gone().message:find "signal 9 of the proxy")
        assert.equal("you said two", assert(thread:ask "two").final_message)
        assert.is_true(client.pid ~= pid)
        assert.is_false(server.proc:status().exited)
      end)
    end)

    it("is connected to again when it was started anew, with its threads", function()
      with_codex(peer, function(cx, folder)
        local path = folder .. "/socket"
        local first <close> = listen(cx, peer, path)
        local client <close> = assert(connect(cx, { socket = path }, { restart = 1 }))
        local thread = assert(client:thread(free))
        assert.equal("you said one", assert(thread:ask "one").final_message)
        first.proc:kill "kill"
        assert.is_true(program.eventually(function() return client:gone() end))
        os.remove(path)
        local second <close> = listen(cx, peer, path) -- luacheck: ignore 211
        assert.equal("you said two", assert(thread:ask "two").final_message)
        assert.is_nil(client:gone())
      end)
    end)
  end)
end

describe("codex.connect", function()
  it("takes any program that carries plain lines", function()
    with_codex("latest", function(cx)
      local client <close> = assert(connect(cx, {
        command = { "sh", "-c", 'exec "$@"', "ssh", peers.latest, "app-server" },
      }))
      local thread = assert(client:thread(free))
      assert.equal("you said hi", assert(thread:ask "hi").final_message)
    end)
  end)

  it("says why there is no server that runs already", function()
    with_codex("latest", function(cx, folder)
      local function failure(options)
        local client, err = connect(cx, options)
        assert.is_nil(client)
        return err
      end
      local path = folder .. "/none"
      local err = failure { socket = path }
      assert.same({ "io", "ENOENT" }, { err.kind, err.code })
      assert.truthy(err.message:find(path, 1, true))
      err = failure { proxy = path }
      assert.same({ "closed", 1 }, { err.kind, err.code })
      assert.truthy(err.stderr:find(path, 1, true), err.stderr)
      err = failure { proxy = true } -- no daemon
      assert.equal("closed", err.kind)
      assert.truthy(err.stderr:find("app-server-control.sock", 1, true), err.stderr)
      assert.equal("spawn", failure { proxy = { folder .. "/nothing" } }.kind)
      err = failure { proxy = { "sh", "-c", "echo welcome; exit 3" } }
      assert.same({ "closed", 3 }, { err.kind, err.code })
      for _, script in ipairs { "sleep 30", "echo welcome; exec sleep 30" } do
        err = failure { proxy = { "sh", "-c", script }, startup_timeout = 0.3 }
        assert.equal("timeout", err.kind)
        assert.truthy(err.message:find "'sh' did not lead to an app%-server")
      end
      err = failure { proxy = { "sh", "-c", [[
        printf 'HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n'; sleep 30]] } }
      assert.equal("closed", err.kind)
      assert.truthy(err.message:find "no WebSocket")
    end)
  end)

  it("takes one way at a time, and settings of the server only where it starts one", function()
    local function refuses(options, text)
      assert.error_matches(function() codex.connect(options) end, text)
    end
    refuses({ socket = "/s", proxy = true }, "'socket' excludes 'proxy'")
    refuses({ command = { "x" }, socket = "/s" }, "'command' excludes 'socket'")
    refuses({ proxy = {} }, "'proxy' must name a program")
    refuses({ socket = 1 }, "'socket'")
    refuses({ socket = "/s", config = {} }, "'config' is for a server")
    refuses({ command = { "x" }, args = {} }, "'args' is for a server")
  end)
end)

describe("Codex " .. peers.version.old, function()
  it("has neither a socket nor a proxy", function()
    with_codex("old", function(cx, folder)
      local argv = { peers.old, "app-server", "--listen", "unix://" .. folder .. "/socket" }
      local listener = assert(proc.run(argv, { env = assert(cx.environment()), timeout = 20 }))
      assert.equal(2, listener.code)
      assert.truthy(listener.stderr:find "unsupported %-%-listen URL")
      local _, err = connect(cx, { proxy = true })
      assert.same({ "closed", 2 }, { err.kind, err.code })
      assert.truthy(err.stderr:find "unrecognized subcommand 'proxy'")
    end)
  end)
end)

-- ---- The daemon --------------------------------------------------------------------------------

--- Processes whose CODEX_HOME is this one; the children of ours, too.
local function processes(home)
  local found = {}
  local request = uv.fs_scandir "/proc"
  for name in function() return uv.fs_scandir_next(request) end do
    local file = name:find "^%d+$" and io.open(("/proc/%s/environ"):format(name), "rb")
    local text = file and file:read "a" or ""
    if file then file:close() end
    if ("\0" .. text):find("\0CODEX_HOME=" .. home .. "\0", 1, true) then
      found[#found + 1] = math.tointeger(name)
    end
  end
  return found
end

local function daemon(cx, what)
  return assert(proc.run({ peers.latest, "app-server", "daemon", what },
    { env = assert(cx.environment()), timeout = 60 }))
end

--- Ends the daemon and its updater, which `daemon stop` leaves.
local function end_daemon(cx)
  daemon(cx, "stop")
  local function end_all(signal)
    return program.eventually(function()
      local left = processes(cx.home)
      for _, pid in ipairs(left) do uv.kill(pid, signal) end
      return #left == 0
    end, 3)
  end
  assert(end_all "sigterm" or end_all "sigkill", "the daemon was left behind")
end

describe("the daemon", function()
  it("of Codex " .. peers.version.latest .. " is reached with proxy = true, and runs on", function()
    with_codex("latest", function(cx)
      local ended <close> = setmetatable({}, { -- luacheck: ignore 211
        __close = function() end_daemon(cx) end,
      })
      local started = daemon(cx, "start")
      assert.equal(0, started.code, started.stderr)
      local about = assert(json.decode(started.stdout))
      assert.equal("started", about.status)
      assert.equal(cx.home .. "/app-server-control/app-server-control.sock", about.socketPath)
      local removed <close> = setmetatable({}, { -- luacheck: ignore 211
        __close = socket_remover(about.socketPath),
      })
      for _, options in ipairs { { proxy = true }, { socket = about.socketPath } } do
        local client <close> = assert(connect(cx, options))
        local thread = assert(client:thread(free))
        assert.equal("you said hi", assert(thread:ask "hi").final_message)
      end
      local running = assert(json.decode(daemon(cx, "version").stdout))
      assert.equal("running", running.status)
      local client <close> = assert(connect(cx, { proxy = true }))
      assert.equal("stopped", json.decode(daemon(cx, "stop").stdout).status)
      assert.is_true(program.eventually(function() return client:gone() end, 15))
      assert.equal("closed", client:gone().kind)
      assert.is_true(program.eventually(function() return not program.alive(about.pid) end))
    end)
  end)

  it("of Codex " .. peers.version.middle .. " wants to be installed in its own way", function()
    with_codex("middle", function(cx)
      local result = assert(proc.run({ peers.middle, "app-server", "daemon", "start" },
        { env = assert(cx.environment()), timeout = 60 }))
      assert.equal(1, result.code)
      assert.truthy(result.stderr:find "standalone Codex install not found")
      assert.same({}, processes(cx.home))
    end)
  end)
end)
