--- The WebSocket server on a Unix socket, asked by a client that can break every rule, by our own
--- client, and by the real interface of Codex.

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

  it("takes no message that ends within a character, be its last frame empty", function()
    for _, pieces in ipairs { { "a\xC3", "" }, { "a", "\xE2\x82", "" }, { "\xF0\x9F", "\x98" } } do
      local server <close>, seen = listener() -- luacheck: ignore 211
      local c <close> = connect()
      for i, piece in ipairs(pieces) do
        c:raw(client.frame(i == 1 and 1 or 0, piece, { fin = i == #pieces }))
      end
      local text, code = c:receive()
      assert.same({ nil, 1007 }, { text, code })
      c:close()
      seen.wait()
      assert.equal(0, #seen)
    end
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

  -- In each round all listen at the same moment where an ended program has left its socket, and
  -- who could tells its number, and whether the file was its own to the end. (On a busy machine one
  -- may be so late that it comes after the first, not beside it, and even finds no file at all:
  -- what the first one leaves must not replace that of the late one.)
  local race = [[
    local async, uv, ws = require "codex.async", require "luv", require "codex.ws"
    local path, start, rounds = arg[1], tonumber(arg[2]), tonumber(arg[3])
    local left = path .. ".left" .. uv.os_getpid()
    for round = 1, rounds do
      local at = start + round * 0.05e9
      async.sleep(math.max(0, (at - uv.hrtime()) / 1e9 - 0.002))
      while uv.hrtime() < at do end
      local server = ws.listen(path, function() end)
      if server then
        local own = uv.fs_stat(path).ino
        async.sleep(0.02)
        print(round, uv.fs_stat(path).ino == own)
        assert(uv.fs_rename(path, left))
        server:close()
        uv.fs_link(left, path)
        assert(uv.fs_unlink(left))
      end
    end]]

  it("is one program's of many who take over what was left", function()
    local rounds = 60
    local argv = { "-e", race, path, tostring(uv.hrtime() + 3e8), tostring(rounds) }
    local results = async.map({ 1, 2, 3, 4 }, function()
      return program.run(argv, { timeout = 30 })
    end)
    local winners = {}
    for _, result in ipairs(results) do
      assert.same({ 0, "" }, { result.code, result.stderr })
      for round, is_own in result.stdout:gmatch "(%d+)\t(%a+)" do
        assert.equal("true", is_own, round)
        winners[#winners + 1] = round
      end
    end
    assert.is_true(#winners >= rounds / 2, #winners)
    assert(uv.fs_unlink(path))
  end)

  it("is not kept from listening by what a process of its number has left", function()
    local left = ("%s/.%d-"):format(folder, uv.os_getpid())
    for i = 0, 90 do program.write(left .. i, "") end
    local server <close> = listen() -- luacheck: ignore 211
    local c <close> = connect()
    c:send "hi"
    assert.equal("echo hi", c:receive())
    for i = 0, 90 do assert(uv.fs_unlink(left .. i)) end
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

describe("codex.ws.connect", function()
  setup(function() folder, remove = program.folder() path = folder .. "/socket" end)
  teardown(function() remove() end)

  --- Listens and does with each client's socket what the function says; what they sent is returned.
  local function plain_server(on_client)
    local server, heard, sockets = uv.new_pipe(), {}, {}
    assert(server:bind(path))
    server:listen(8, function()
      local socket = uv.new_pipe()
      sockets[#sockets + 1] = socket
      server:accept(socket)
      on_client(socket, heard)
    end)
    return setmetatable(heard, { __close = function()
      for _, socket in ipairs(sockets) do if not socket:is_closing() then socket:close() end end
      server:close()
      os.remove(path)
    end })
  end

  --- Answers what the client asks with these bytes.
  local function answers(bytes, hang_up)
    return function(socket, heard)
      socket:read_start(function(_, data)
        heard[#heard + 1] = data
        if not data then return socket:close() end
        if bytes then socket:write(bytes) end
        if hang_up then socket:close() end
      end)
    end
  end

  it("takes messages both ways, also such that come with the handshake", function()
    local server <close> = listen(function(connection) -- luacheck: ignore 211
      connection:send "hello"
      echo(connection)
    end)
    local c <close> = assert(ws.connect(path, { url_path = "/rpc" }))
    assert.equal("hello", c:receive())
    c:send ""
    assert.equal("echo ", c:receive())
    local text = ("0123456789abcd\u{e4}\n"):rep(1 << 20) -- 17 MiB, in many frames
    c:send(text)
    assert.is_true(c:receive() == "echo " .. text)
    for i = 1, 1000 do c:send("message " .. i) end
    for i = 1, 1000 do assert.equal("echo message " .. i, (c:receive())) end
  end)

  it("asks for the path, as localhost, and for nothing that is not needed", function()
    local heard <close> = plain_server(answers("HTTP/1.1 403 Forbidden\r\n\r\n"))
    local _, err = ws.connect(path, { url_path = "/rpc" })
    assert.same({ "io", "EPROTO" }, { err.kind, err.code })
    assert.truthy(err.message:find(path, 1, true))
    assert.truthy(err.message:find "not 101")
    local head = table.concat(heard)
    assert.truthy(head:find "^GET /rpc HTTP/1.1\r\n")
    assert.truthy(head:find "\r\nHost: localhost\r\n")
    for _, name in ipairs { "Origin", "Extensions", "Sec%-WebSocket%-Protocol" } do
      assert.is_nil(head:find(name), name)
    end
  end)

  it("does not go to a proxy that the environment names", function()
    local server <close> = listen() -- luacheck: ignore 211
    local script = [[local ws = require "codex.ws"
      local c <close> = assert(ws.connect(arg[1]))
      c:send "x"
      print((c:receive()))]]
    program.write(folder .. "/env.lua", script)
    local result = program.run({ folder .. "/env.lua", path },
      { env = { http_proxy = "http://user:word@127.0.0.1:9", all_proxy = "socks://127.0.0.1:9" } })
    assert.equal("echo x\n", result.stdout, result.stderr)
  end)

  it("says how the connection ended", function()
    local seen
    local server <close> = listen(function(connection) -- luacheck: ignore 211
      local text = connection:receive()
      if text == "close" then return connection:close(4001, "enough") end
      if text then error "fails" end
      seen = { connection:is_closed() }
    end)
    local c <close> = assert(ws.connect(path))
    c:send "close"
    local text, err = c:receive()
    assert.is_nil(text)
    assert.same({ "closed", 4001 }, { err.kind, err.code })
    assert.truthy(err.message:find "enough")
    local _, late = c:send "late"
    assert.equal("closed", late.kind)
    local d <close> = assert(ws.connect(path))
    d:finish()
    assert.is_true(d:is_closed())
    assert.same({}, { d:receive() })
    assert.is_true(program.eventually(function() return seen end))
    d:finish()
  end)

  it("ends with a message over its limit, and when the server vanishes", function()
    local server <close> = listen(function(connection) -- luacheck: ignore 211
      connection:send(("x"):rep(1001))
      connection:receive()
    end)
    local c <close> = assert(ws.connect(path, { message_limit = 1000 }))
    local _, err = c:receive()
    assert.same({ "protocol", 1009 }, { err.kind, err.code })
    program.write(folder .. "/dies.lua", [[local ws = require "codex.ws"
      ws.listen(arg[1], function(c) c:receive() os.execute("kill -9 $PPID") end)
      print "ready"]])
    local other = folder .. "/other"
    local p <close> = program.spawn({ folder .. "/dies.lua", other }, { timeout = 20 })
    assert.equal("ready", p:line())
    local d <close> = assert(ws.connect(other))
    d:send "die"
    _, err = d:receive()
    assert.same({ "closed", 1006 }, { err.kind, err.code })
  end)

  it("waits for a server that does not read, and does not read on for nobody", function()
    local go, sent = async.signal(), 0
    local server <close> = listen(function(connection) -- luacheck: ignore 211
      go:wait()
      for _ = 1, 20 do connection:receive() end
      for _ = 1, 20 do
        connection:send(("y"):rep(1 << 20))
        sent = sent + 1
      end
    end)
    local c <close> = assert(ws.connect(path))
    local count = 0
    local task = async.spawn(function()
      for _ = 1, 20 do
        c:send(("x"):rep(1 << 20))
        count = count + 1
      end
    end)
    async.sleep(0.1)
    assert.is_true(count < 15)
    go:notify()
    task:join()
    async.sleep(0.1)
    assert.is_true(sent < 18)
    for _ = 1, 20 do assert.equal(1 << 20, #c:receive()) end
  end)

  it("says why it cannot connect", function()
    local function failure(...)
      local c, err = ws.connect(...)
      assert.is_nil(c)
      return err.kind .. " " .. tostring(err.code)
    end
    assert.equal("io ENOENT", failure(folder .. "/none"))
    assert.equal("io ENOENT", failure "")
    assert.equal("io ENAMETOOLONG", failure(folder .. ("/x"):rep(60)))
    program.write(folder .. "/file", "x")
    assert.equal("io ENOTSOCK", failure(folder .. "/file"))
    for _, case in ipairs {
      { "io ECONNREFUSED", function(socket) socket:close() end },
      { "io EPROTO", answers("{}\n", true) },
      { "io EPROTO", answers(nil, true) },
      { "timeout nil", answers() },
    } do
      local heard <close> = plain_server(case[2]) -- luacheck: ignore 211
      assert.equal(case[1], failure(path, { timeout = 0.5 }))
    end
    assert.has_error(function() ws.connect() end)
    assert.has_error(function() ws.connect(path, { timeout = -1 }) end)
    assert.has_error(function() ws.connect(path, { url_path = 1 }) end)
  end)

  it("may be given up", function()
    local heard <close> = plain_server(answers())
    local task = async.spawn(ws.connect, path)
    assert.is_true(program.eventually(function() return heard[1] end))
    task:cancel()
    assert.equal("cancelled", select(2, task:join()).kind)
  end)

  it("leaves a server that does not say goodbye", function()
    local function accept(socket)
      socket:read_start(function(_, data)
        local key = data and data:match "Key: (%S+)"
        if not key then return end
        local script = "import base64,hashlib,sys;print(base64.b64encode(hashlib.sha1("
          .. "(sys.argv[1]+'258EAFA5-E914-47DA-95CA-C5AB0DC85B11').encode()).digest()).decode())"
        async.spawn(function()
          local value = assert(proc.run { "python3", "-c", script, key }).stdout:match "%S+"
          socket:write(("HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n"
            .. "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n"):format(value))
        end)
      end)
    end
    local heard <close> = plain_server(accept) -- luacheck: ignore 211
    local c = assert(ws.connect(path))
    local before = uv.hrtime()
    c:finish(0.1)
    assert.is_true(uv.hrtime() - before < 2e9)
    assert.is_true(c:is_closed())
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
