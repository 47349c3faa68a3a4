-- The HTTP server in C, asked by a plain socket: what it streams, refuses, breaks off and leaves.

local async = require "codex.async"
local httpd = require "codex.core.httpd"
local uv = require "luv"

--- Sends text to a port and returns all that comes until the end, and the pieces as they came.
local function ask(port, text)
  local socket, pieces, ended, done = uv.new_tcp(), {}, false, async.signal()
  socket:connect("127.0.0.1", port, function(err)
    assert(not err, err)
    socket:write(text)
    socket:read_start(function(_, data)
      if data then
        pieces[#pieces + 1] = data
      else
        ended = true
        socket:close()
      end
      done:notify()
    end)
  end)
  while not ended do done:wait() end
  return table.concat(pieces), pieces
end

local function post(port, body, path)
  return ask(port, ("POST %s HTTP/1.1\r\nHost: x\r\nX-Odd: Ü\r\nConnection: close\r\n" ..
    "Content-Length: %d\r\n\r\n%s"):format(path or "/", #body, body))
end

local function serve(on_request, options)
  return assert(httpd.listen(options or {}, on_request))
end

describe("codex.core.httpd", function()
  it("gives a request over whole, with header names in lower case", function()
    local seen
    local server <close> = serve(function(request)
      seen = { request:method(), request:path(), request:body(), request:headers()["x-odd"] }
      request:respond(200, { ["x-more"] = "yes" })
      request:write "fine"
      request:finish()
    end)
    local body = ("päx\0"):rep(50000)
    local reply = post(server:port(), body, "/a%20b?q=1")
    assert.same({ "POST", "/a b", body, "Ü" }, seen)
    assert.truthy(reply:find("^HTTP/1.1 200"))
    assert.truthy(reply:find("x-more: yes", 1, true))
    assert.truthy(reply:find("fine\r\n0\r\n\r\n", 1, true))
  end)

  it("streams what is written as it is written", function()
    local server <close> = serve(function(request)
      async.spawn(function()
        request:respond(200)
        for i = 1, 3 do
          request:write("piece " .. i)
          async.sleep(0.03)
        end
        request:finish()
      end)
    end)
    local _, pieces = post(server:port(), "")
    assert.is_true(#pieces >= 3)
    assert.is_nil(pieces[1]:find "piece 2")
  end)

  it("ends an answer that has no body with its headers", function()
    local server <close> = serve(function(request)
      request:respond(assert(math.tointeger(request:path():sub(2))))
      request:finish()
    end)
    for _, status in ipairs { 204, 304 } do
      local reply = ask(server:port(), ("GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"):format(status)
        .. "GET /200 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
      local first, rest = reply:match "^(.-\r\n\r\n)(.*)$"
      assert.truthy(first:find("HTTP/1.1 " .. status, 1, true))
      assert.matches("^HTTP/1.1 200", rest)
    end
  end)

  it("sends a megabyte whole", function()
    local text = ("0123456789abcdef"):rep(65536)
    local server <close> = serve(function(request)
      request:respond(200)
      request:write(text)
      request:finish()
    end)
    local reply = post(server:port(), "")
    local body = {}
    local at = reply:find("\r\n\r\n", 1, true) + 4
    while true do
      local size, start = reply:match("^(%x+)\r\n()", at)
      if size == "0" then break end
      body[#body + 1] = reply:sub(start, start + tonumber(size, 16) - 1)
      at = start + tonumber(size, 16) + 2
    end
    assert.is_true(table.concat(body) == text)
  end)

  it("breaks off without the end of the stream when it is told to", function()
    local server <close> = serve(function(request)
      request:respond(200)
      request:write "half"
      request:abort()
    end)
    local reply = post(server:port(), "")
    assert.truthy(reply:find "half")
    assert.is_nil(reply:find "\r\n0\r\n\r\n")
    local silent <close> = serve(function(request) request:abort() end)
    assert.equal("", post(silent:port(), ""))
  end)

  it("refuses a request that is too long, and says so", function()
    local called = false
    local server <close> = serve(function() called = true end, { body_limit = 1000 })
    local reply = post(server:port(), ("x"):rep(1001))
    assert.truthy(reply:find "^HTTP/1.1 413")
    assert.truthy(reply:find "longer than this server takes")
    assert.is_false(called)
  end)

  it("takes one answer to a request, and none once it is over", function()
    local request
    local server <close> = serve(function(r)
      request = r
      assert.equal("EARGUMENT", select(2, r:respond(200, { ["a b"] = "x\n" })))
      assert.is_true(r:respond(200))
      assert.equal("ECLOSED", select(2, r:respond(200)))
      r:finish()
      assert.equal("ECLOSED", select(2, r:write "late"))
    end)
    post(server:port(), "")
    assert.is_false(request:is_open())
    assert.equal("ECLOSED", select(2, request:respond(200)))
    assert.has_error(function() request:body() end, "the request is over")
    request:abort()
  end)

  it("notices a client that has left", function()
    local request
    local server <close> = serve(function(r) request = r end)
    local socket = uv.new_tcp()
    socket:connect("127.0.0.1", server:port(), function()
      socket:write "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    end)
    while not request do async.sleep(0.005) end
    assert.is_true(request:is_open())
    socket:close()
    async.sleep(0.02)
    assert.is_false(request:is_open())
  end)

  it("may be closed while requests hang, and from inside a request", function()
    local server = serve(function() end)
    local task = async.spawn(post, server:port(), "")
    async.sleep(0.03)
    server:close()
    server:close()
    assert.equal("", (task:join()))
    assert.is_nil(server:port())
    local other
    other = serve(function(request)
      request:respond(200)
      other:close()
      request:write "too late"
    end)
    assert.equal("", (post(other:port(), "")))
  end)

  it("drops the connection when the function raises, and the script has failed", function()
    local program = require "tests.support.program"
    local result = program.eval [[
      local async, uv = require "codex.async", require "luv"
      local server = require("codex.core.httpd").listen({}, function() error "oh no" end)
      local socket, over = uv.new_tcp(), async.signal()
      socket:connect("127.0.0.1", server:port(), function()
        socket:write "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        socket:read_start(function(_, data)
          print(data)
          over:notify()
        end)
      end)
      over:wait()
      socket:close()
      server:close()]]
    assert.equal("nil\n", result.stdout)
    assert.equal(1, result.code)
    assert.truthy(result.stderr:find("oh no", 1, true))
  end)

  it("says why it cannot listen", function()
    local server <close> = serve(function() end)
    assert.equal("EADDRINUSE", select(2, httpd.listen({ port = server:port() }, print)))
    assert.equal("EARGUMENT", select(2, httpd.listen({ host = "nowhere" }, print)))
    assert.has_error(function() httpd.listen({ port = 70000 }, print) end,
      "option 'port' must be between 0 and 65535")
  end)
end)
