--- The WebSocket server on a Unix socket, asked by a client that can break every rule, and by the
--- real interface of Codex.

local async = require "codex.async"
local client = require "tests.support.ws_client"
local program = require "tests.support.program"
local proc = require "codex.proc"
local uv = require "luv"
local ws = require "codex.ws"

local folder, remove = program.folder()
local path = folder .. "/socket"

local function echo(connection)
  for text in connection:messages() do assert(connection:send("echo " .. text)) end
end

local function listen(on_connection, opts)
  return assert(ws.listen(path, on_connection or echo, opts))
end

local function connect(headers) return assert(client.connect(path, headers)) end

--- A server that remembers how its only connection ended.
local function listener(opts)
  local seen = { changed = async.signal() }
  local server = listen(function(connection)
    seen.connection = connection
    while true do
      local text, err = connection:receive()
      if not text then
        seen.over, seen.err = true, err
        return seen.changed:notify()
      end
      seen[#seen + 1] = text
    end
  end, opts)
  function seen.wait()
    while not seen.over do seen.changed:wait() end
    return seen.err
  end
  return server, seen
end

describe("codex.ws", function()
  teardown(remove)

  it("answers the handshake and takes messages both ways", function()
    local server <close> = listen()
    local c <close> = connect()
    assert.equal(101, c.status)
    assert.truthy(c.head:find(client.accept, 1, true))
    c:send("päx", { mask = "\1\2\3\4" })
    assert.equal("echo päx", c:receive())
    c:send ""
    assert.equal("echo ", c:receive())
    assert.equal(path, server.path)
  end)

  it("makes the socket for this user alone, and removes it", function()
    local server <close> = listen()
    local stat = uv.fs_stat(path)
    assert.equal("socket", stat.type)
    assert.equal(tonumber("600", 8), stat.mode & tonumber("777", 8))
    server:close()
    assert.is_nil(uv.fs_stat(path))
    server:close()
  end)

  it("finds a place for the socket where none is named, and leaves nothing there", function()
    local server <close> = assert(ws.listen(nil, echo))
    local parent = server.path:match "(.*)/"
    assert.equal(tonumber("700", 8), uv.fs_stat(parent).mode & tonumber("777", 8))
    local c <close> = assert(client.connect(server.path))
    c:send "hi"
    assert.equal("echo hi", c:receive())
    server:close()
    assert.is_nil(uv.fs_stat(parent))
  end)

  it("takes 16 MiB in one message, in both directions", function()
    local server <close> = listen() -- luacheck: ignore 211
    local c <close> = connect()
    local text = ("0123456789abcde\n"):rep(1 << 20)
    c:send(text)
    local reply, frames = c:receive()
    assert.is_true(reply == "echo " .. text)
    assert.is_true(frames > 1)
  end)

  it("takes messages split at every byte, and fragments with a ping between them", function()
    local server <close> = listen() -- luacheck: ignore 211
    local c <close> = connect()
    for byte in client.frame(1, "slöw", { mask = "abcd" }):gmatch "." do
      c:raw(byte)
      async.sleep(0.001)
    end
    assert.equal("echo slöw", c:receive())
    c:send("one \xC3", { fin = false }) -- in the middle of a character
    c:raw(client.frame(9, "are you there"))
    c:raw(client.frame(0, "\xA4 two ", { fin = false }))
    c:raw(client.frame(0, "three"))
    assert.same({ 10, "are you there", true }, { c:receive_frame() })
    assert.equal("echo one ä two three", c:receive())
  end)

  it("takes many messages that come at once, in order", function()
    local server <close> = listen() -- luacheck: ignore 211
    local c <close> = connect()
    local frames = {}
    for i = 1, 5000 do frames[i] = client.frame(1, "message " .. i) end
    c:raw(table.concat(frames))
    for i = 1, 5000 do assert.equal("echo message " .. i, (c:receive())) end
  end)

  it("serves two clients at once", function()
    local count = 0
    local server <close> = listen(function(connection) -- luacheck: ignore 211
      count = count + 1
      local name = count
      for text in connection:messages() do connection:send(name .. text) end
    end)
    local a <close> = connect()
    local b <close> = connect()
    b:send "x"
    a:send "y"
    assert.equal("1y", a:receive())
    assert.equal("2x", b:receive())
    a:close()
    b:send "z"
    assert.equal("2z", b:receive())
  end)

  it("closes when the function returns, with what is unsent before", function()
    local text = ("x"):rep(1 << 20)
    local server <close> = listen(function(connection) connection:send(text) end)
    local c <close> = connect()
    assert.is_true(c:receive() == text)
    local message, code = c:receive()
    assert.is_nil(message)
    assert.equal(1000, code)
    c:raw(client.frame(8, string.pack(">I2", 1000)))
    assert.is_nil(c:take(1))
    assert.is_string(server.path)
  end)

  it("says goodbye after the last byte, however full the socket is", function()
    local size
    local server <close> = listen(function(connection) -- luacheck: ignore 211
      connection:send(("x"):rep(size))
    end)
    for kib = 100, 330, 10 do
      size = kib << 10
      local c <close> = connect()
      c:pause(true)
      async.sleep(0.005)
      c:pause(false)
      assert.equal(size, #c:receive())
      local _, code = c:receive()
      assert.equal(1000, code, size)
    end
  end)

  it("stops reading in the middle of what has come in, and goes on with it", function()
    local core = require "codex.core.ws"
    local raw, seen, over, changed = nil, {}, false, async.signal()
    local server = assert(core.listen(path, {}, function(connection)
      raw, over = connection or raw, connection == nil
      if over then return changed:notify() end
      connection:start(function(kind, text)
        if kind ~= "message" then return end
        seen[#seen + 1] = text
        connection:pause(true)
      end)
    end))
    local c <close> = connect()
    local frames = {}
    for i = 1, 20 do frames[i] = client.frame(1, tostring(i)) end
    c:raw(table.concat(frames))
    for i = 1, 20 do
      assert.is_true(program.eventually(function() return #seen >= i end))
      async.sleep(0.002)
      assert.equal(i, #seen)
      raw:pause(false)
    end
    assert.equal("20", seen[20])
    c:close()
    server:close()
    while not over do changed:wait() end
  end)

  it("says how a connection ended", function()
    local server <close>, seen = listener() -- luacheck: ignore 211
    local c <close> = connect()
    c:send "last words"
    c:raw(client.frame(8, string.pack(">I2", 1000) .. "bye"))
    assert.is_nil(seen.wait())
    assert.same({ "last words" }, { table.unpack(seen) })
    assert.is_true(seen.connection:is_closed())
    local _, err = seen.connection:send "late"
    assert.equal("closed", err.kind)
    assert.same({ 8, "\3\xE8" .. "bye", true }, { c:receive_frame() })
  end)

  it("notices a client that vanishes in the middle of a message", function()
    local server <close>, seen = listener() -- luacheck: ignore 211
    local c <close> = connect()
    c:send "whole"
    c:raw(client.frame(1, ("x"):rep(100000)):sub(1, 50000))
    assert.is_true(program.eventually(function() return #seen == 1 end))
    c:close()
    local err = seen.wait()
    assert.equal("closed", err.kind)
    assert.equal(1006, err.code)
    assert.equal(1, #seen)
  end)

  it("ends a connection whose message is over the limit, is binary, or is not UTF-8", function()
    local limit = 100000
    for _, case in ipairs {
      { 1009, function(c) c:send(("x"):rep(limit + 1)) end },
      { 1009, function(c)
        c:send(("x"):rep(limit), { fin = false })
        c:raw(client.frame(0, "x"))
      end },
      { 1003, function(c) c:raw(client.frame(2, "bytes")) end },
    } do
      local server <close>, seen = listener { message_limit = limit } -- luacheck: ignore 211
      local c <close> = connect()
      c:send(("y"):rep(limit))
      case[2](c)
      local text, code = c:receive()
      assert.is_nil(text)
      assert.equal(case[1], code)
      c:close()
      local err = seen.wait()
      assert.equal("protocol", err.kind)
      assert.equal(case[1], err.code)
      assert.same({ limit }, { #seen[1] })
    end
    local server <close>, seen = listener() -- luacheck: ignore 211
    local c <close> = connect()
    c:send "\xFF"
    local _, code = c:receive()
    assert.equal(1007, code)
    c:close()
    assert.equal("closed", seen.wait().kind)
    assert.equal(0, #seen)
  end)

  it("does not send what is not UTF-8", function()
    local sent = {}
    local server <close> = listen(function(connection) -- luacheck: ignore 211
      local bad = {
        "\xFF", "a\xC3", "\xED\xA0\x80", "\xC0\xAF", "\xF4\x90\x80\x80", "\xE0\x9F\xBF",
      }
      for i, text in ipairs(bad) do
        local _, err = connection:send(text)
        sent[i] = err.kind .. err.code
      end
      connection:send "fine: ä€𝄞\u{10FFFF}\0"
    end)
    local c <close> = connect()
    assert.equal("fine: ä€𝄞\u{10FFFF}\0", c:receive())
    assert.same({ "protocolEILSEQ", 6 }, { sent[1], #sent })
  end)

  it("refuses pages of a browser, HTTP/2 and plain HTTP", function()
    local called = false
    local server <close> = listen(function() called = true end) -- luacheck: ignore 211
    local c <close> = connect "Origin: https://example.org\r\n"
    assert.equal(403, c.status)
    local h2 <close> = assert(client.connect(path, "HTTP2-Settings: AAMAAABk\r\n", "h2c"))
    assert.equal(403, h2.status)
    local plain = uv.new_pipe()
    local reply, changed = "", async.signal()
    plain:connect(path, function()
      plain:write "GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
      plain:read_start(function(_, data)
        reply = reply .. (data or "")
        changed:notify()
      end)
    end)
    while not reply:find "\r\n\r\n" do changed:wait() end
    plain:close()
    assert.truthy(reply:find "^HTTP/1.[01] 404")
    assert.is_false(called)
  end)

  it("waits for a client that does not read", function()
    local text, sent = ("x"):rep(1 << 20), 0
    local server <close> = listen(function(connection) -- luacheck: ignore 211
      for _ = 1, 40 do
        connection:send(text)
        sent = sent + 1
      end
    end)
    local c <close> = connect()
    c:pause(true)
    async.sleep(0.1)
    assert.is_true(sent < 10)
    c:pause(false)
    for _ = 1, 40 do assert.equal(1 << 20, #c:receive()) end
    assert.equal(40, sent)
  end)

  it("does not wait for a client that has left", function()
    local err
    local server <close> = listen(function(connection) -- luacheck: ignore 211
      local _
      _, err = connection:send(("x"):rep(8 << 20))
    end)
    local c <close> = connect()
    c:pause(true)
    async.sleep(0.05)
    assert.is_nil(err)
    c:close()
    assert.is_true(program.eventually(function() return err end))
    assert.equal("closed", err.kind)
  end)

  it("does not read on from a client that is not listened to", function()
    local go, messages = async.signal(), 0
    local server <close> = listen(function(connection) -- luacheck: ignore 211
      go:wait()
      for _ in connection:messages() do messages = messages + 1 end
    end)
    local c <close> = connect()
    local frame = client.frame(1, ("x"):rep(1 << 20))
    for _ = 1, 40 do c:raw(frame) end
    async.sleep(0.2)
    assert.is_true(c.socket:get_write_queue_size() > 20 << 20)
    go:notify()
    assert.is_true(program.eventually(function() return messages == 40 end))
  end)

  it("says goodbye when the server closes, also to a client that does not answer", function()
    local server <close>, seen = listener()
    local polite <close> = connect()
    local deaf <close> = connect()
    deaf:pause(true)
    local task = async.spawn(function()
      local _, code = polite:receive()
      polite:raw(client.frame(8, string.pack(">I2", code)))
      return code
    end)
    local started = uv.hrtime()
    server:close()
    assert.is_true(uv.hrtime() - started < 2e9)
    assert.equal(1001, task:join())
    seen.wait()
    assert.is_nil((client.connect(path)))
  end)

  it("may be closed by one of its own connections", function()
    local server <close> = listen(function(connection, server)
      connection:receive()
      server:close()
    end)
    local c <close> = connect()
    c:send "end it"
    local _, code = c:receive()
    assert.is_truthy(code == 1001 or code == "lost")
    assert.is_string(server.path)
  end)

  it("takes over a socket that nobody listens at, and no other file", function()
    local left = assert(proc.run({ "python3", "-c",
      "import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])", path }))
    assert.equal(0, left.code, left.stderr)
    assert.equal("socket", uv.fs_stat(path).type)
    do
      local server <close> = listen()
      local c <close> = connect()
      c:send "hi"
      assert.equal("echo hi", c:receive())
      local second, err = ws.listen(path, echo)
      assert.is_nil(second)
      assert.equal("EADDRINUSE", err.code)
      c:send "still"
      assert.equal("echo still", c:receive())
      assert.is_string(server.path)
    end
    program.write(path, "precious")
    local server, err = ws.listen(path, echo)
    assert.is_nil(server)
    assert.equal("EADDRINUSE", err.code)
    assert.equal("file", uv.fs_stat(path).type)
    assert(uv.fs_unlink(path))
  end)

  it("leaves a socket that somebody else has put in its place", function()
    local server <close> = listen()
    assert(uv.fs_unlink(path))
    program.write(path, "another's")
    server:close()
    assert.truthy(uv.fs_stat(path))
    assert(uv.fs_unlink(path))
  end)

  it("says why it cannot listen", function()
    local _, err = ws.listen(folder .. ("/x"):rep(60), echo)
    assert.equal("ENAMETOOLONG", err.code)
    assert.truthy(err.message:find("the system takes 107", 1, true))
    _, err = ws.listen(folder .. "/none/socket", echo)
    assert.equal("io", err.kind)
    assert.equal("ENOENT", err.code)
    assert.has_error(function() ws.listen(path) end)
    assert.has_error(function() ws.listen(path, echo, { limit = 1 }) end)
    assert.has_error(function() ws.listen(path, echo, { message_limit = 0 }) end)
  end)

  it("tells the client of a function that fails", function()
    local code = [[
      local ws = require "codex.ws"
      local server <close> = assert(ws.listen(arg[1], function() error "oops" end))
      print "ready"
      codex.sleep(0.5)
    ]]
    local script = folder .. "/fails.lua"
    program.write(script, 'local codex = require "codex"\n' .. code)
    local p <close> = program.spawn({ script, path }, { timeout = 20 })
    assert.equal("ready", p:line())
    local c <close> = connect()
    local _, number = c:receive()
    assert.equal(1011, number)
    p:wait()
    assert.truthy(p:stderr():find "oops")
  end)

  it("lets a program end while clients are connected", function()
    local script = folder .. "/ends.lua"
    program.write(script, [[
      local ws = require "codex.ws"
      local server = assert(ws.listen(arg[1], function(c)
        c:receive()
        os.exit(7)
      end))
      print "ready"
    ]])
    local p <close> = program.spawn({ script, path }, { timeout = 20 })
    assert.equal("ready", p:line())
    local idle <close> = connect() -- luacheck: ignore 211
    local c <close> = connect()
    c:send "end"
    assert.equal(7, p:wait().code)
    assert.is_nil(uv.fs_stat(path))
  end)
end)

describe("codex --remote", function()
  local codex = require "codex"
  local instances = require "codex.instance"
  local peers = require "tests.support.peers"
  local testing = require "codex.testing"
  local tmux = require "tests.support.tmux"

  local model, cx, cwd, clean

  --- A command that needs leave, and then words. The interface also asks for a title.
  local function reply(request)
    if request.prompt ~= "run it" then return "A title" end
    local output = request.outputs[1]
    if output then return output.output:find "from%-the%-command" and "It ran." or "It did not." end
    return { exec = { cmd = "echo from-the-command", sandbox_permissions = "require_escalated" } }
  end

  before_each(function()
    cwd, clean = program.folder()
    model = assert(testing.model { reply = reply })
    cx = assert(testing.codex { model = model, binary = peers.latest, config = {
      projects = { [cwd] = { trust_level = "trusted" } },
      notice = { model_migrations = { ["gpt-5.5"] = "gpt-6-sol" } }, -- what "use existing" leaves
    } })
  end)

  after_each(function()
    cx:close()
    model:close()
    clean()
  end)

  --- An app-server of its own for each client, and what each of both said.
  local function bridge(connections)
    return assert(ws.listen(cwd .. "/socket", function(connection)
      local said = { connection = connection }
      connections[#connections + 1] = said
      local server <close> = assert(proc.spawn({ peers.latest, "app-server" },
        { stdin = "pipe", cwd = cwd, env = instances.environment(cx) }))
      local downward = async.spawn(function()
        for line in server:lines() do assert(connection:send(line)) end
      end)
      for text in connection:messages() do
        said[#said + 1] = codex.json.decode(text)
        assert(server:write(text .. "\n"))
      end
      downward:cancel()
    end))
  end

  local function attach()
    return tmux.open({ peers.latest, "--remote", "unix://" .. cwd .. "/socket" },
      { socket = cwd .. "/tmux", cwd = cwd, env = instances.environment(cx) })
  end

  local function methods(said)
    local list = {}
    for _, message in ipairs(said) do
      list[message.method or "answer"] = message.params or message.result or true
    end
    return list
  end

  it("completes a turn with an approval, and attaches again after a close", function()
    local connections = {}
    local server <close> = bridge(connections) -- luacheck: ignore 211
    local terminal <close> = attach()
    terminal:wait_for("for agents")
    terminal:enter "run it"
    terminal:wait_for "Would you like to run"
    terminal:press "y"
    terminal:wait_for "It ran."
    local first = methods(connections[1])
    assert.equal("codex-tui", first.initialize.clientInfo.name)
    assert.truthy(first["turn/start"])
    assert.same({ decision = "accept" }, first.answer)

    connections[1].connection:close(1001)
    assert.is_true(program.eventually(function()
      return connections[2] and methods(connections[2])["thread/resume"] ~= nil
    end, 20))
    terminal:enter "/quit"
    terminal:wait_for "CODE 0"
    assert.is_true(program.eventually(function() return connections[2].connection:is_closed() end))
    assert.equal(2, #connections)
  end)
end)
