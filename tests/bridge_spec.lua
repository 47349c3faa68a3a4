--- Links over a WebSocket, to a server of our own: what real ones do is in daemon_spec.

local async = require "codex.async"
local bridge = require "codex.bridge"
local json = require "codex.json"
local program = require "tests.support.program"
local uv = require "luv"
local ws = require "codex.ws"

local folder, remove = program.folder()
local path = folder .. "/socket"

--- Listens, and runs this with each connection.
local function serve(on_connection) return assert(ws.listen(path, on_connection)) end

--- Answers each request with its method and params, and keeps what it was told.
local function answering(heard)
  return function(connection)
    for text in connection:messages() do
      local message = json.decode(text)
      heard[#heard + 1] = text
      if message.id then
        local result = { message.method, message.params }
        connection:send(json.encode { id = message.id, result = result })
      end
    end
  end
end

--- What only copies bytes between the socket and its standard streams.
local function proxy_argv()
  return { program.path, "-e", [[
    local uv, codex = require "luv", require "codex"
    local socket, input, output = uv.new_pipe(), uv.new_pipe(), uv.new_pipe()
    local over = codex.signal()
    io.stderr:write "copying\n"
    input:open(0) output:open(1)
    local function copy(from, to, done)
      from:read_start(function(_, data)
        from:read_stop()
        if not data then return done() end
        to:write(data, function() copy(from, to, done) end)
      end)
    end
    socket:connect(arg[1], function(err)
      assert(not err, err)
      copy(input, socket, function() socket:shutdown() end)
      copy(socket, output, function() over:notify() end)
    end)
    over:wait()
    os.exit(0)
  ]], path }
end

local ways = {
  ["a socket"] = function(options) return bridge.connect(path, options or {}) end,
  ["a proxy"] = function(options) return bridge.proxy(proxy_argv(), options or {}) end,
}

for way, open in pairs(ways) do
  describe("codex.bridge over " .. way, function()
    teardown(remove)
    setup(function()
      folder, remove = program.folder()
      path = folder .. "/socket"
    end)

    it("asks and is asked", function()
      local answer
      local server <close> = serve(function(connection) -- luacheck: ignore 211
        connection:send '{"id":1,"method":"ask","params":["you"]}'
        connection:send '{"method":"told"}'
        answer = connection:receive()
        answering {} (connection)
      end)
      local told
      local link <close> = assert(open {
        name = "the server", on_notification = function(method) told = method end,
        on_request = function(request) request:reply { request.method, request.params } end,
      })
      assert.is_true(program.eventually(function() return answer end))
      assert.same({ id = 1, result = { "ask", { "you" } } }, json.decode(answer))
      assert.equal("told", told)
      assert.same({ "echo", { x = "päx" } }, link:request("echo", { x = "päx" }))
      assert.is_nil(link:gone())
      assert.equal(way == "a proxy", link.pid ~= nil)
      assert.equal(way == "a proxy" and "copying\n" or "", (link:stderr()))
      assert.equal(link.pid, link:status().pid)
    end)

    it("takes messages of several lines", function()
      local server <close> = serve(function(connection) -- luacheck: ignore 211
        local message = json.decode(connection:receive())
        connection:send(('{\n "id": %d,\r\n "result":\n "a\\nb"\n}\n'):format(message.id))
        connection:receive()
      end)
      local link <close> = assert(open())
      assert.equal("a\nb", link:request "x")
    end)

    it("carries many messages and large ones, in order", function()
      local heard = {}
      local server <close> = serve(answering(heard)) -- luacheck: ignore 211
      local link <close> = assert(open())
      local large = ("0123456789abcdef"):rep(1 << 18)
      assert.is_true(link:request("large", large)[2] == large)
      for i = 1, 3000 do assert(link:notify("n", i)) end
      assert(link:request "last")
      assert.equal(3002, #heard)
      for i = 1, 3000 do assert.equal(i, json.decode(heard[i + 1]).params) end
    end)

    it("sends what it was told before it closes, and says goodbye", function()
      local heard, code, over = {}, nil, false
      local server <close> = serve(function(connection) -- luacheck: ignore 211
        for text in connection:messages() do heard[#heard + 1] = #text end
        local _, err = connection:receive()
        code, over = err and err.code, true
      end)
      local link = assert(open())
      for _ = 1, 8 do assert(link:notify("n", ("x"):rep(1 << 20))) end
      local before = uv.hrtime()
      link:close()
      assert.is_true(uv.hrtime() - before < 1.5e9)
      assert.is_true(program.eventually(function() return over end))
      assert.equal(8, #heard)
      assert.is_nil(code) -- 1000 is no error
      link:close()
      local _, err = link:request "late"
      assert.equal("closed", err.kind)
      assert.is_true(not link.pid or not program.alive(link.pid))
    end)

    it("says why the server is gone, to all who wait", function()
      local server <close> = serve(function(connection) -- luacheck: ignore 211
        connection:receive()
        connection:send '{"method":"last words"}'
        connection:close(4002, "maintenance")
      end)
      local last, why
      local link <close> = assert(open {
        name = "the server", on_closed = function(err) why = err end,
        on_notification = function(method) last = method end,
      })
      local _, err = link:request "x"
      assert.equal("closed", err.kind)
      local text = "the server is gone: the connection was closed: maintenance"
      assert.truthy(err.message:find(text, 1, true))
      assert.equal("last words", last)
      assert.equal(err.message, why.message)
      assert.equal(why, link:gone())
      if way == "a socket" then assert.equal(4002, why.code) end
    end)

    it("waits for a server that does not read, and makes one wait", function()
      local go, sent = async.signal(), 0
      local server <close> = serve(function(connection) -- luacheck: ignore 211
        go:wait()
        for _ = 1, 30 do connection:receive() end
        for i = 1, 30 do
          connection:send(json.encode { method = "n", params = ("y"):rep(1 << 20) })
          sent = i
        end
        connection:receive()
      end)
      local count = 0
      local link <close> = assert(open { on_notification = function() count = count + 1 end })
      for _ = 1, 30 do assert(link:notify("n", ("x"):rep(1 << 20))) end
      async.sleep(0.2)
      assert.is_true(link:unwritten() > 8 << 20)
      link:pause(true)
      go:notify()
      assert(link:drain())
      async.sleep(0.3)
      assert.is_true(sent < 28, sent)
      link:pause(false)
      assert.is_true(program.eventually(function() return count == 30 end))
    end)

    it("ends with a message over the limit", function()
      local server <close> = serve(function(connection) -- luacheck: ignore 211
        connection:send(json.encode { method = "n", params = ("y"):rep(2000) })
        connection:receive()
      end)
      local link <close> = assert(open { line_limit = 1000 })
      assert.is_true(program.eventually(function() return link:gone() end))
      assert.truthy(link:gone().message:find "too long")
    end)

    it("may be given up while it is opened, and left open when a program ends", function()
      local server <close> = serve(function(connection) connection:receive() end)
      local task = async.spawn(open)
      async.sleep(0)
      task:cancel()
      task:join()
      local script = folder .. "/leaves.lua"
      program.write(script, [[
        local bridge = require "codex.bridge"
        local argv = { table.unpack(arg, 2) }
        local link = assert(argv[1] and bridge.proxy(argv, {}) or bridge.connect(arg[1], {}))
        require("codex.async").spawn(link.request, link, "never answered")
        print "ready"
      ]])
      local argv = { script, path }
      if way == "a proxy" then table.move(proxy_argv(), 1, 4, 3, argv) end
      local result = program.run(argv)
      assert.equal("ready\n", result.stdout, result.stderr)
      assert.is_string(server.path)
    end)
  end)
end
