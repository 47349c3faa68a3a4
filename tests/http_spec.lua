-- The HTTP client against our own server, and against one in Python that breaks the rules.

local async = require "codex.async"
local http = require "codex.http"
local httpd = require "codex.core.httpd"
local json = require "codex.json"
local proc = require "codex.proc"
local program = require "tests.support.program"
local sse = require "codex.sse"
local uv = require "luv"

-- ---- The other side -----------------------------------------------------------------------------

local Peer = {}
Peer.__index = Peer

--- tests/support/http_peer.py with these arguments.
local function start_peer(...)
  local argv = { "python3", "-u", program.root .. "/tests/support/http_peer.py", ... }
  local child = assert(proc.spawn(argv))
  local port = tonumber((assert(child:line(), "the peer did not start")))
  return setmetatable({ child = child, port = port, root = "http://127.0.0.1:" .. port }, Peer)
end

--- The next request that the peer has had.
function Peer:seen()
  local request = assert(json.decode(assert(self.child:line())))
  local headers = {}
  for _, pair in ipairs(request.headers or {}) do headers[pair[1]] = pair[2] end
  request.headers = headers
  return request
end

function Peer:__close()
  self.child:kill "kill"
  self.child:close()
end

local function serve(on_request) return assert(httpd.listen({}, on_request)) end

local function url_of(server, path) return ("http://127.0.0.1:%d%s"):format(server:port(), path) end

--- Sets variables of the environment; closing the result puts them back.
local function environment(variables)
  local before = {}
  for name, value in pairs(variables) do
    before[name] = os.getenv(name) or false
    if value then uv.os_setenv(name, value) else uv.os_unsetenv(name) end
  end
  return setmetatable({}, { __close = function()
    for name, value in pairs(before) do
      if value then uv.os_setenv(name, value) else uv.os_unsetenv(name) end
    end
  end })
end

local function self_signed(folder)
  local key, cert = folder .. "/key.pem", folder .. "/cert.pem"
  local made = assert(proc.run { "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
    "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj",
    "/CN=here", "-addext", "subjectAltName=IP:127.0.0.1" })
  assert.equal(0, made.code, made.stderr)
  return cert, key
end

local function failed(kind, code, response, err)
  assert.is_nil(response)
  assert.equal(kind, err.kind, tostring(err))
  assert.equal(code, err.code, tostring(err))
  return err
end

local function encode(text)
  return (text:gsub("[^%w]", function(c) return ("%%%02x"):format(c:byte()) end))
end

describe("codex.http", function()
  local clean
  lazy_setup(function()
    clean = environment {
      http_proxy = false, https_proxy = false, HTTPS_PROXY = false, all_proxy = false,
      ALL_PROXY = false, no_proxy = false, NO_PROXY = false, CURL_CA_BUNDLE = false,
      SSL_CERT_FILE = false,
    }
  end)
  lazy_teardown(function() getmetatable(clean).__close() end)

  describe("a request", function()
    it("has its method, headers and body, and no more than a client must say", function()
      local peer <close> = start_peer()
      local body = ("päx\0"):rep(1000)
      local response = assert(http.request {
        url = peer.root .. "/echo?a=1", method = "PUT", body = body,
        headers = { ["X-One"] = "1", ["X-Two"] = 2, ["X-Empty"] = "", Accept = false },
      })
      local seen = response:json()
      assert.same({ 200, "PUT", "/echo?a=1" }, { response.status, seen.method, seen.target })
      assert.equal(body, (seen.body:gsub("[\xC2\xC3].", function(two)
        return string.char((two:byte(1) & 3) << 6 | two:byte(2) & 63)
      end)))
      local names = {}
      for _, pair in ipairs(seen.headers) do names[#names + 1] = pair[1] end
      table.sort(names)
      assert.same({ "accept-encoding", "content-length", "host", "user-agent", "x-empty", "x-one",
        "x-two" }, names)
      local version = require("codex.core.host").version
      assert.equal("codex-lua/" .. version, peer:seen().headers["user-agent"])
    end)

    it("gives status, headers, body, the URL and how long it took", function()
      local server <close> = serve(function(request)
        async.spawn(function()
          async.sleep(0.05)
          request:respond(404, { ["X-Why"] = "no such thing" })
          request:write "not here"
          request:finish()
        end)
      end)
      local response = assert(http.get(url_of(server, "/x?y=1")))
      assert.same({ 404, "not here", "no such thing", url_of(server, "/x?y=1") },
        { response.status, response.body, response.headers["x-why"], response.url })
      assert.is_true(response.duration >= 0.045 and response.duration < 5, response.duration)
    end)

    it("sends a table as JSON", function()
      local peer <close> = start_peer()
      local seen = assert(http.post(peer.root .. "/echo", { a = { 1 } })):json()
      assert.same({ "POST", '{"a":[1]}' }, { seen.method, seen.body })
      assert.equal("application/json", peer:seen().headers["content-type"])
      assert(http.post(peer.root .. "/echo", { a = 1 }, { headers = { ["content-type"] = "x/y" } }))
      assert.equal("x/y", peer:seen().headers["content-type"])
    end)

    it("does not wait for leave to send a long body", function()
      local peer <close> = start_peer()
      local response = assert(http.post(peer.root .. "/status?code=200", ("x"):rep(2 << 20)))
      assert.equal(200, response.status)
      assert.is_nil(peer:seen().headers.expect)
    end)

    it("knows every method, with and without a body", function()
      local peer <close> = start_peer()
      for method in ("GET HEAD POST PUT PATCH DELETE OPTIONS REPORT"):gmatch "%u+" do
        local response = assert(http.request { url = peer.root .. "/echo", method = method })
        local seen = peer:seen()
        assert.same({ 200, method, "" }, { response.status, seen.method, seen.body })
        assert.equal(method == "HEAD", response.body == "")
        local sends = method:find "^P" and "0" or nil
        assert.equal(sends, seen.headers["content-length"])
      end
      for _, method in ipairs { "GET", "PATCH", "DELETE" } do
        assert(http.request { url = peer.root .. "/echo", method = method, body = "b" })
        local seen = peer:seen()
        assert.same({ method, "b" }, { seen.method, seen.body })
      end
      for _, method in ipairs { "head", "Put", "report" } do
        assert(http.request { url = peer.root .. "/echo", method = method })
        local seen = peer:seen().method
        assert.equal(method == "report" and method or method:upper(), seen)
      end
    end)

    it("joins repeated headers, and keeps cookies apart", function()
      local peer <close> = start_peer()
      local headers = assert(http.get(peer.root .. "/repeated")).headers
      assert.same({ "a=1, b", "c=2" }, headers["set-cookie"])
      assert.same({ "one, two", "" }, { headers["x-list"], headers["x-none"] })
    end)

    it("passes over what comes before the response, and trailers", function()
      local peer <close> = start_peer()
      local response = assert(http.get(peer.root .. "/interim"))
      assert.same({ 200, "final", "yes" },
        { response.status, response.body, response.headers["x-final"] })
      assert.is_nil(response.headers.link)
      response = assert(http.get(peer.root .. "/chunked"))
      assert.equal("abc" .. ("def"):rep(1000), response.body)
      assert.is_nil(response.headers["x-sum"])
    end)

    it("may be conditional", function()
      local peer <close> = start_peer()
      local first = assert(http.get(peer.root .. "/etag"))
      local headers = { ["If-None-Match"] = first.headers.etag }
      local second = assert(http.get(peer.root .. "/etag", { headers = headers }))
      assert.same({ 200, "new", 304, "" }, { first.status, first.body, second.status, second.body })
    end)

    it("asks for compression and unpacks it, unless told not to", function()
      local peer <close> = start_peer()
      local url = peer.root .. "/gzip?size=100000"
      assert.equal(("x"):rep(100000), assert(http.get(url)).body)
      assert.equal("plain", assert(http.get(url, { compressed = false })).body)
      failed("protocol", nil, http.get(peer.root .. "/bad-gzip"))
    end)

    it("goes over a Unix socket", function()
      local folder, remove = program.folder()
      local peer <close> = start_peer("--unix", folder .. "/s")
      local with_proxy <close> = environment { http_proxy = "http://127.0.0.1:1" } -- luacheck: ignore
      local response = assert(http.get("http://here/echo", { unix_socket = folder .. "/s" }))
      local seen = peer:seen()
      assert.same({ "/echo", "here", 200 }, { seen.target, seen.headers.host, response.status })
      remove()
    end)

    it("runs beside two hundred others", function()
      local open, most = 0, 0
      local server <close> = serve(function(request)
        open = open + 1
        most = math.max(most, open)
        async.spawn(function()
          async.sleep(0.3)
          request:respond(200)
          request:write(request:path())
          request:finish()
          open = open - 1
        end)
      end)
      local list = {}
      for i = 1, 200 do list[i] = i end
      local bodies = async.map(list, function(i)
        return assert(http.get(url_of(server, "/" .. i))).body
      end)
      for i = 1, 200 do assert.equal("/" .. i, bodies[i]) end
      assert.is_true(most > 100, most)
    end)

    it("is told what is wrong with it", function()
      local url = "http://127.0.0.1/"
      local cases = {
        { {}, "option 'url' is needed" },
        { { url = url, metod = "X" }, "did you mean 'method'?" },
        { { url = url, method = "A B" }, "option 'method' must be one of HTTP" },
        { { url = url, method = "CONNECT" }, "option 'method' must be one of HTTP" },
        { { url = url, method = "HEAD", body = "b" }, "option 'body': HEAD has none" },
        { { url = url, headers = { a = "x\r\nb: c" } }, "'a' must be a name with a text" },
        { { url = url, headers = { a = "x\0" } }, "'a' must be a name with a text" },
        { { url = url, headers = { ["a:b"] = "x" } }, "'a:b' must be a name" },
        { { url = url, headers = { [1] = "x" } }, "must be a name" },
        { { url = url, redirects = -1 }, "'redirects' must be an integer from 0 on" },
        { { url = url, max_bytes = 0 }, "'max_bytes' must be an integer from 1 on" },
        { { url = url, proxy = 1 }, "option 'proxy' must be a string" },
        { { url = url, retry = { attemps = 1 } }, "did you mean 'attempts'?" },
      }
      for _, case in ipairs(cases) do
        local ok, message = pcall(http.request, case[1])
        assert.is_false(ok)
        assert.truthy(tostring(message):find(case[2], 1, true), message)
      end
      local bad = { "", "here", "ftp://127.0.0.1/", "file:///etc/passwd", "http://", "http://a b/",
        "http://127.0.0.1/\0x" }
      for _, text in ipairs(bad) do failed("protocol", "url", http.get(text)) end
    end)
  end)

  describe("connections", function()
    --- The numbers of the connections that so many requests came on.
    local function numbers(peer, n)
      local list = {}
      for i = 1, n do list[i] = peer:seen().connection end
      return list
    end

    it("stay open between requests, also for other methods and after a while", function()
      local peer <close> = start_peer()
      for _ = 1, 10 do assert(http.get(peer.root .. "/echo")) end
      async.sleep(0.5)
      assert(http.post(peer.root .. "/echo", "b"))
      assert.equal(404, http.request({ method = "DELETE",
        url = peer.root .. "/status?code=404" }).status)
      assert.equal(200, http.get(peer.root .. "/redirect?to=%2Fecho", { redirects = 1 }).status)
      local stream <close> = assert(http.stream { url = peer.root .. "/big?mb=1" })
      assert(stream:rest())
      for _, number in ipairs(numbers(peer, 15)) do assert.equal(1, number) end
    end)

    it("stay open to a server of ours", function()
      local accepted, listener = 0, uv.new_tcp()
      local server <close> = serve(function(request)
        request:respond(200)
        request:finish()
      end)
      assert(listener:bind("127.0.0.1", 0))
      local sockets = { listener }
      listener:listen(8, function() -- counts, and passes on
        accepted = accepted + 1
        local one, other = uv.new_tcp(), uv.new_tcp()
        table.insert(sockets, one)
        table.insert(sockets, other)
        listener:accept(one)
        other:connect("127.0.0.1", server:port(), function()
          one:read_start(function(_, bytes) if bytes then other:write(bytes) end end)
          other:read_start(function(_, bytes) if bytes then one:write(bytes) end end)
        end)
      end)
      local url = ("http://127.0.0.1:%d/"):format(listener:getsockname().port)
      for i = 1, 10 do
        assert.equal(200, assert(http.post(url, { i = i })).status)
        async.sleep(0.02)
      end
      assert.equal(1, accepted)
      for _, socket in ipairs(sockets) do socket:close() end
    end)

    it("are closed when they were told to, or nothing was asked for a while", function()
      local peer <close> = start_peer()
      assert(http.get(peer.root .. "/echo"))
      http.close_idle()
      http.close_idle()
      assert(http.get(peer.root .. "/echo"))
      finally(function() http.keep_alive = 30 end)
      http.keep_alive = 0.05
      assert(http.get(peer.root .. "/echo"))
      async.sleep(0.3)
      assert(http.get(peer.root .. "/echo"))
      assert.same({ 1, 2, 2, 3 }, numbers(peer, 4))
      local function is_open()
        return table.concat(require("codex.core.task").live(), "\n"):find "codex.http" ~= nil
      end
      assert.is_true(is_open())
      assert(program.eventually(function() return not is_open() end))
    end)

    it("are not closed under a request that runs", function()
      local peer <close> = start_peer()
      local stream <close> = assert(http.stream { url = peer.root .. "/drip" })
      assert(http.get(peer.root .. "/echo"))
      http.close_idle()
      assert.equal(("x"):rep(10), stream:rest())
    end)

    it("that the server closed meanwhile are opened anew", function()
      local peer <close> = start_peer()
      for _, method in ipairs { "GET", "POST" } do
        assert(http.get(peer.root .. "/last"))
        async.sleep(0.2)
        assert(http.request { url = peer.root .. "/echo", method = method })
      end
      assert.same({ 1, 2, 2, 3 }, numbers(peer, 4))
    end)

    it("that break off without an answer: what may not be done twice is not sent twice", function()
      local peer <close> = start_peer()
      local function ask(method)
        assert(http.get(peer.root .. "/echo"))
        peer:seen()
        return http.request { method = method,
          url = peer.root .. "/flaky?times=1&how=hang-up&method=" .. method }
      end
      for _, method in ipairs { "POST", "PATCH" } do
        failed("io", "cut", ask(method))
        assert.equal(method, peer:seen().method)
      end
      for _, method in ipairs { "GET", "PUT", "DELETE" } do
        assert.equal(200, assert(ask(method)).status)
        assert.same({ method, method }, { peer:seen().method, peer:seen().method })
      end
    end)

    it("are not shared with what a server sends behind the answer to HEAD", function()
      local peer <close> = start_peer()
      for _ = 1, 5 do
        assert.equal("", assert(http.request { method = "HEAD", url = peer.root .. "/echo" }).body)
        assert.equal("so it is", assert(http.get(peer.root .. "/status?code=200")).body)
      end
    end)

    it("keep no script from ending", function()
      local peer <close> = start_peer()
      local started = uv.hrtime()
      local result = program.eval(([[
        print(require("codex.http").get("%s/status?code=200").body)]]):format(peer.root))
      assert.same({ 0, "so it is\n", "" }, { result.code, result.stdout, result.stderr })
      assert.is_true((uv.hrtime() - started) / 1e9 < 10)
    end)
  end)

  describe("a failure", function()
    it("says what failed", function()
      local peer <close> = start_peer()
      failed("io", "connect", http.get "http://127.0.0.1:1/")
      failed("io", "connect", http.get("http://x/", { unix_socket = "/nowhere/socket" }))
      failed("io", "dns", http.get "http://no-such-host.invalid/")
      failed("io", "cut", http.get(peer.root .. "/short"))
      failed("io", "cut", http.get(peer.root .. "/cut-chunk"))
      failed("io", "cut", http.get(peer.root .. "/nothing"))
      failed("protocol", nil, http.get(peer.root .. "/garbage"))
      failed("io", "tls", http.get((peer.root:gsub("^http", "https") .. "/echo")))
    end)

    it("comes when the time is over, and ends the transfer", function()
      local peer <close> = start_peer()
      failed("timeout", nil, http.get(peer.root .. "/silent", { timeout = 0.2 }))
      assert.equal("/silent", peer:seen().target)
      assert.is_true(peer:seen().gone)
      failed("timeout", nil, http.get(peer.root .. "/drip", { timeout = 0.4 }))
      failed("idle", nil, http.get(peer.root .. "/stall", { idle_timeout = 0.2 }))
      assert.equal(200, assert(http.get(peer.root .. "/drip", { idle_timeout = 0.6 })).status)
    end)

    it("does not come because the script was busy while the server spoke", function()
      local peer <close> = start_peer()
      local function be_busy()
        local started = uv.hrtime()
        while uv.hrtime() - started < 0.8e9 do end -- luacheck: ignore 542
      end
      local stream <close> = assert(http.stream { url = peer.root .. "/drip", idle_timeout = 0.5 })
      be_busy()
      assert.equal(("x"):rep(10), stream:rest())
      peer:seen()
      local task
      for _ = 1, 3 do
        task = async.spawn(http.get, peer.root .. "/drip", { idle_timeout = 0.5 })
        peer:seen()
        be_busy()
        assert.equal(("x"):rep(10), assert(task:join()).body)
      end
      task = async.spawn(http.get, peer.root .. "/echo", { timeout = 0.6 })
      peer:seen()
      be_busy()
      assert.equal(200, assert(task:join()).status)
    end)

    it("comes when nobody takes the connection", function()
      local listener = uv.new_tcp()
      listener:bind("127.0.0.1", 0)
      listener:listen(1, function() end)
      local port, waiting = listener:getsockname().port, {}
      for i = 1, 4 do -- fills the queue: the system leaves others without an answer
        waiting[i] = uv.new_tcp()
        waiting[i]:connect("127.0.0.1", port, function() end)
      end
      uv.sleep(20)
      local url = ("https://127.0.0.1:%d/"):format(port)
      local err = failed("timeout", "connect", http.get(url, { connect_timeout = 0.3 }))
      assert.truthy(err.message:find "no connection in time")
      for _, socket in ipairs(waiting) do socket:close() end
      listener:close()
    end)

    it("comes when the body is longer than it may be, also packed", function()
      local peer <close> = start_peer()
      local url = peer.root .. "/big?mb=3"
      failed("protocol", "too_long", http.get(url, { max_bytes = 2999999 }))
      assert.equal(3000000, #assert(http.get(url, { max_bytes = 3000000 })).body)
      failed("protocol", "too_long", http.get(peer.root .. "/gzip?size=100000000"))
    end)

    it("comes when the headers do not end", function()
      local peer <close> = start_peer()
      failed("protocol", "head", http.get(peer.root .. "/header-bomb"))
      failed("protocol", "head", http.get(peer.root .. "/long-header"))
    end)

    it("holds no secret", function()
      local peer <close> = start_peer()
      local lines = {}
      for _, path in ipairs { "/short", "/garbage", "/silent", "/nothing", "/header-bomb",
        "/redirect?to=ftp%3A%2F%2Fsesame%40x" } do
        local url = ("http://me:sesame@127.0.0.1:%d%s%ssesame"):format(peer.port, path,
          path:find "?" and "&a=" or "?")
        local _, err = http.request { url = url, method = "POST", body = "sesame", redirects = 1,
          headers = { ["X-Sesame"] = "sesame" }, timeout = 0.2 }
        lines[#lines + 1] = tostring(err)
        for _, value in pairs(err) do lines[#lines + 1] = tostring(value) end
      end
      local _, err = http.get("http://127.0.0.1/", { proxy = "odd://me:sesame@127.0.0.1:1/" })
      lines[#lines + 1] = tostring(err)
      _, err = http.get "http://me:sesame@[::1/"
      lines[#lines + 1] = tostring(err)
      local all = table.concat(lines, "\n")
      assert.is_nil(all:lower():find "sesame", all)
      assert.truthy(all:find("http://127.0.0.1:" .. peer.port, 1, true))
    end)

    it("is the task's own when it is cancelled", function()
      local peer <close> = start_peer()
      local task = async.spawn(http.get, peer.root .. "/silent")
      assert.equal("/silent", peer:seen().target)
      task:cancel()
      local _, err = task:join()
      assert.equal("cancelled", err.kind)
      assert.is_true(peer:seen().gone)
      local tasks = {}
      for i = 1, 20 do -- while names are looked up, and while it connects
        tasks[i] = async.spawn(http.get, ("http://no-such-host-%d.invalid/"):format(i))
        tasks[20 + i] = async.spawn(http.get, peer.root .. "/echo")
      end
      for _, one in ipairs(tasks) do one:cancel() end
      for _, one in ipairs(tasks) do assert.equal("cancelled", select(2, one:join()).kind) end
    end)
  end)

  describe("redirects", function()
    it("are not followed unless asked for, and no more than that", function()
      local peer <close> = start_peer()
      local twice = "/redirect?to=" .. encode("/redirect?to=" .. encode "/echo")
      local response = assert(http.get(peer.root .. twice))
      assert.same({ 302, "look there" }, { response.status, response.body })
      failed("protocol", "redirects", http.get(peer.root .. twice, { redirects = 1 }))
      response = assert(http.get(peer.root .. twice, { redirects = 2 }))
      assert.same({ 200, peer.root .. "/echo" }, { response.status, response.url })
      assert.is_nil(response.headers.location)
    end)

    it("change the method as RFC 9110 says", function()
      local peer <close> = start_peer()
      local function answer(status, method)
        local response = assert(http.request { method = method, body = "b", redirects = 1,
          url = ("%s/redirect?status=%d&to=%%2Fecho"):format(peer.root, status) })
        local seen = response.status == 200 and response:json() or {}
        return { response.status, seen.method, seen.body }
      end
      for _, status in ipairs { 301, 302, 303 } do
        assert.same({ 200, "GET", "" }, answer(status, "POST"))
      end
      for _, method in ipairs { "GET", "PUT", "PATCH", "DELETE", "OPTIONS", "REPORT" } do
        assert.same({ 200, "GET", "" }, answer(303, method))
        for _, status in ipairs { 301, 302, 307, 308 } do
          assert.same({ 200, method, "b" }, answer(status, method))
        end
      end
      assert.same({ 200, "POST", "b" }, answer(307, "POST"))
      assert.same({ 200, "POST", "b" }, answer(308, "POST"))
    end)

    it("never make a GET of HEAD", function()
      local peer <close> = start_peer()
      for _, status in ipairs { 301, 302, 303, 307, 308 } do
        local target = ("/redirect?status=%d&to=%%2Fflaky%%3Ftimes=1%%26how=503"):format(status)
        local response = assert(http.request { method = "HEAD", url = peer.root .. target,
          redirects = 1, retry = { base = 0.01 } })
        assert.same({ 200, "" }, { response.status, response.body })
        for _ = 1, status == 301 and 4 or 2 do assert.equal("HEAD", peer:seen().method) end
      end
    end)

    it("take no credentials to another host", function()
      local peer <close> = start_peer()
      local other <close> = start_peer()
      local headers = { Authorization = "Bearer secret", Cookie = "a=secret", ["X-Other"] = "1" }
      assert(http.get(peer.root .. "/redirect?to=" .. encode(other.root .. "/echo"),
        { redirects = 1, headers = headers }))
      assert.equal("Bearer secret", peer:seen().headers.authorization)
      local seen = other:seen().headers
      assert.same({ nil, nil, nil }, { seen.authorization, seen.cookie, seen["x-other"] })
      assert(http.get(peer.root .. "/redirect?to=%2Fecho", { redirects = 1, headers = headers }))
      peer:seen()
      assert.equal("a=secret", peer:seen().headers.cookie)
      local url = ("http://me:pass@127.0.0.1:%d/redirect?to="):format(peer.port)
      local response = assert(http.get(url .. encode(other.root .. "/echo"), { redirects = 1 }))
      assert.equal("Basic bWU6cGFzcw==", peer:seen().headers.authorization)
      assert.is_nil(other:seen().headers.authorization)
      assert.equal(other.root .. "/echo", response.url)
      assert.equal(peer.root .. "/echo",
        assert(http.get(("http://me:pass@127.0.0.1:%d/echo"):format(peer.port))).url)
    end)

    it("take nothing of the caller's to another host", function()
      local here <close> = start_peer()
      local there <close> = start_peer()
      local function went(status, given)
        for name, value in pairs {
          url = ("%s/redirect?status=%d&to=%s"):format(here.root, status,
            encode(there.root .. "/redirect?to=" .. encode(there.root .. "/echo"))),
          redirects = 2, method = "POST", body = { a = 1 },
          headers = { ["X-Key"] = "secret", ["X-Goog-Api-Key"] = "secret", Host = "elsewhere" },
        } do
          if given[name] == nil then given[name] = value end
        end
        assert.equal(200, assert(http.request(given)).status)
        assert.equal("secret", here:seen().headers["x-key"])
        local first, names = there:seen(), {}
        there:seen()
        for name in pairs(first.headers) do names[#names + 1] = name end
        table.sort(names)
        return { first.method, first.body, first.headers.host == there.root:match "//(.*)",
          table.concat(names, " ") }
      end
      assert.same({ "GET", "", true, "accept accept-encoding host user-agent" }, went(303, {}))
      assert.same({ "POST", "", true, "accept accept-encoding content-length host user-agent" },
        went(307, {}))
      assert.same({ "PUT", "", true, "accept accept-encoding content-length host user-agent" },
        went(302, { method = "PUT" }))
      assert.same({ "POST", '{"a":1}', true,
        "accept accept-encoding content-length content-type host user-agent" },
        went(308, { redirect_body = true }))
    end)

    it("keep all that the caller has set where scheme, host and port stay", function()
      local peer <close> = start_peer()
      local url = ("http://me:pass@127.0.0.1:%d/redirect?status=307&to="):format(peer.port)
      local seen = assert(http.request { url = url .. encode "/echo", redirects = 1,
        method = "POST", body = "b", headers = { ["X-Key"] = "secret" } }):json()
      peer:seen()
      local second = peer:seen().headers
      assert.same({ "POST", "b", "secret", "Basic bWU6cGFzcw==" },
        { seen.method, seen.body, second["x-key"], second.authorization })
      assert(http.request { url = url .. encode(peer.root:upper() .. "/echo"), redirects = 1,
        headers = { ["X-Key"] = "secret" } })
      peer:seen()
      assert.equal("secret", peer:seen().headers["x-key"])
    end)

    it("share the time of the request", function()
      local peer <close> = start_peer()
      local url = peer.root .. "/redirect?to=" .. encode "/silent"
      local began = uv.hrtime()
      failed("timeout", nil, http.get(url, { redirects = 1, timeout = 1 }))
      assert.is_true(uv.hrtime() - began >= 0.95e9)
    end)

    it("resolve as RFC 3986 says", function()
      local core = require "codex.core.http"
      local base = "http://me:pw@Host:80/a/b?c"
      for location, wanted in pairs {
        ["x"] = "http://me:pw@Host:80/a/x", ["/x?y"] = "http://me:pw@Host:80/x?y",
        ["http://host/"] = "http://me:pw@host/", ["http://host:80/"] = "http://me:pw@host:80/",
        ["http://you@host/"] = "http://you@host/",
      } do
        local url, stays = core.resolve(base, location)
        assert.same({ location, true }, { location, stays })
        assert.equal(wanted, url)
      end
      for _, location in ipairs { "http://host:81/", "https://host/", "//other/", "//host./" } do
        assert.same({ location, false }, { location, select(2, core.resolve(base, location)) })
      end
      assert.is_nil(core.resolve(base, "ftp://host/"))
      assert.is_nil(core.resolve(base, "http://a b/"))
    end)

    it("lead to no other scheme, nor from https to http", function()
      local folder, remove = program.folder()
      local cert, key = self_signed(folder)
      local peer <close> = start_peer()
      local safe <close> = start_peer("--tls", cert, key)
      for _, to in ipairs { "ftp://127.0.0.1/", "file:///etc/passwd", "gopher://127.0.0.1:1/" } do
        failed("protocol", "redirects",
          http.get(peer.root .. "/redirect?to=" .. encode(to), { redirects = 5 }))
      end
      failed("protocol", "redirects", http.get(
        safe.root:gsub("^http", "https") .. "/redirect?to=" .. encode(peer.root .. "/echo"),
        { redirects = 5, ca_file = cert }))
      remove()
    end)
  end)

  describe("TLS", function()
    it("refuses a certificate that nobody vouches for, and takes one it was given", function()
      local folder, remove = program.folder()
      local cert, key = self_signed(folder)
      local peer <close> = start_peer("--tls", cert, key)
      local url = "https://127.0.0.1:" .. peer.port .. "/echo"
      local err = failed("io", "tls", http.get(url))
      assert.truthy(err.message:find "certificate", err.message)
      assert.equal(200, assert(http.get(url, { ca_file = cert })).status)
      failed("io", "tls", http.get(url:gsub("127.0.0.1", "localhost"), { ca_file = cert }))
      failed("io", "tls", http.get(url, { ca_file = folder .. "/none.pem" }))
      for _, name in ipairs { "SSL_CERT_FILE", "CURL_CA_BUNDLE" } do
        local env <close> = environment { [name] = cert } -- luacheck: ignore 211
        assert.equal(200, assert(http.get(url)).status)
      end
      failed("io", "tls", http.get(url))
      remove()
    end)
  end)

  describe("a proxy", function()
    it("is that of the environment, of the option, or none", function()
      local proxy <close> = start_peer "--proxy"
      local peer <close> = start_peer()
      local url = peer.root .. "/echo"
      local env <close> = environment { http_proxy = proxy.root } -- luacheck: ignore 211
      assert.equal("by the proxy", assert(http.get(url)).body)
      assert.equal(url, proxy:seen().target)
      assert.truthy(assert(http.get(url, { proxy = false })):json().target)
      do
        local no <close> = environment { no_proxy = "127.0.0.1" } -- luacheck: ignore 211
        assert.truthy(assert(http.get(url)):json().target)
      end
      failed("io", "connect", http.get(url, { proxy = "http://127.0.0.1:1" }))
      failed("io", "proxy", http.get(url, { proxy = "http://no-such-host.invalid" }))
    end)

    it("is asked for a tunnel by https, and may refuse it", function()
      local folder, remove = program.folder()
      local cert, key = self_signed(folder)
      local peer <close> = start_peer("--tls", cert, key)
      local proxy <close> = start_peer "--proxy"
      local closed <close> = start_peer("--proxy", "--refuse")
      local url = "https://127.0.0.1:" .. peer.port .. "/echo"
      local response = assert(http.get(url, { proxy = proxy.root, ca_file = cert,
        headers = { Authorization = "Bearer secret" } }))
      assert.is_nil(response.headers["x-tunnel"])
      assert.equal("Bearer secret", peer:seen().headers.authorization)
      assert.is_nil(proxy:seen().headers.authorization)
      failed("io", "proxy", http.get(url, { proxy = closed.root, ca_file = cert }))
      remove()
    end)
  end)

  describe("retrying", function()
    it("repeats what is idempotent, and other methods when asked to", function()
      local peer <close> = start_peer()
      local n = 0
      local function try(method, how, retry)
        n = n + 1
        retry.base = retry.base or 0.01
        local response, err = http.request { method = method, retry = retry,
          url = ("%s/flaky?times=2&how=%s&n=%d"):format(peer.root, how, n) }
        return response and response.status or err.code
      end
      assert.equal(200, try("GET", "503", { attempts = 3 }))
      assert.equal(503, try("GET", "503", { attempts = 2 }))
      assert.equal(404, try("GET", "404", {}))
      assert.equal(200, try("GET", "404", { on = { 404 } }))
      assert.equal(503, try("POST", "503", {}))
      assert.equal(200, try("POST", "503", { always = true }))
      assert.equal(200, try("PUT", "hang-up", {}))
      assert.equal("cut", try("POST", "hang-up", {}))
      assert.equal(200, try("POST", "hang-up", { always = true }))
    end)

    it("repeats any method that was not sent", function()
      local reserve = serve(function() end)
      local port = reserve:port()
      reserve:close()
      async.sleep(0.02)
      local server
      local task = async.spawn(http.post, ("http://127.0.0.1:%d/"):format(port), "x",
        { retry = { attempts = 20, base = 0.05, max = 0.05 } })
      async.sleep(0.1)
      server = assert(httpd.listen({ port = port }, function(request)
        request:respond(200)
        request:finish()
      end))
      assert.equal(200, assert(task:join()).status)
      server:close()
    end)

    it("waits longer each time, and as long as the server says, up to a limit", function()
      local peer <close> = start_peer()
      local function try(query, retry)
        local began = uv.hrtime()
        local response = assert(http.get(peer.root .. "/flaky?" .. query, { retry = retry }))
        return response, (uv.hrtime() - began) / 1e9
      end
      local response, seconds = try("times=3&how=503", { base = 0.1, attempts = 4 })
      assert.equal(200, response.status)
      assert.is_true(seconds > 0.34 and seconds < 3, seconds) -- 0.3 at most, did it not double
      response, seconds = try("times=1&how=429&after=1", { base = 0.01 })
      assert.equal(200, response.status)
      assert.is_true(seconds > 0.95 and seconds < 4, seconds)
      local date = os.date("!%a, %d %b %Y %H:%M:%S GMT", os.time() + 3600):gsub(" ", "%%20")
      response, seconds = try("times=1&how=429&after=" .. date, { base = 0.01 })
      assert.equal(429, response.status)
      assert.is_true(response.retry_after > 3500 and response.retry_after <= 3600)
      assert.is_true(seconds < 2, seconds)
    end)

    it("ends with the task", function()
      local task = async.spawn(http.get, "http://127.0.0.1:1/", { retry = { base = 50 } })
      async.sleep(0.1)
      task:cancel()
      assert.equal("cancelled", select(2, task:join()).kind)
    end)
  end)

  describe("a stream", function()
    it("is there with its headers, and gives what comes as it comes", function()
      local go = async.signal()
      local server <close> = serve(function(request)
        async.spawn(function()
          request:respond(200, { ["x-a"] = "b" })
          for i = 1, 3 do
            go:wait()
            request:write("piece " .. i)
          end
          request:finish()
        end)
      end)
      local stream <close> = assert(http.stream { url = url_of(server, "/") })
      assert.same({ 200, "b" }, { stream.status, stream.headers["x-a"] })
      for i = 1, 3 do
        go:notify()
        assert.equal("piece " .. i, stream:read())
      end
      assert.is_nil(stream:read())
      assert.is_nil(stream.error)
      assert.is_nil(stream:read())
    end)

    it("has lines, the last one too", function()
      local server <close> = serve(function(request)
        request:respond(200)
        request:write "one\ntwo\r\n\nlast"
        request:finish()
      end)
      local stream, list = assert(http.stream { url = url_of(server, "/") }), {}
      for line in stream:lines() do list[#list + 1] = line end
      assert.same({ "one", "two", "", "last" }, list)
    end)

    it("says when it broke off, after all that came", function()
      local peer <close> = start_peer()
      local stream = assert(http.stream { url = peer.root .. "/short" })
      assert.equal("ten bytes.", stream:read())
      failed("io", "cut", stream:read())
      stream = assert(http.stream { url = peer.root .. "/short" })
      failed("io", "cut", stream:json())
      stream = assert(http.stream { url = peer.root .. "/cut-chunk" })
      for line in stream:lines() do assert.equal("hello", line) end
      assert.equal("cut", stream.error.code)
    end)

    it("may take long, but for its headers", function()
      local peer <close> = start_peer()
      local stream = assert(http.stream { url = peer.root .. "/drip", timeout = 0.3 })
      assert.equal("xxxxxxxxxx", stream:rest())
      failed("timeout", nil, http.stream { url = peer.root .. "/silent", timeout = 0.2 })
      local stalled = assert(http.stream { url = peer.root .. "/stall", idle_timeout = 0.2 })
      assert.equal("ten bytes.", stalled:read())
      failed("idle", nil, stalled:read())
    end)

    it("holds back a server that is faster than its reader", function()
      local peer <close> = start_peer()
      local stream <close> = assert(http.stream { url = peer.root .. "/big?mb=100",
        idle_timeout = 0.2 })
      local total, rounds = 0, 0
      local function ahead() -- MB that are on their way or held by us
        return tonumber(assert(http.get(peer.root .. "/sent")).body) - total / 1e6
      end
      async.sleep(0.5) -- longer than the idle time: who does not read hears nothing
      local most = ahead()
      for bytes in function() return stream:read() end do
        total, rounds = total + #bytes, rounds + 1
        if rounds % 100 == 0 then most = math.max(most, ahead()) end
      end
      assert.is_nil(stream.error)
      assert.equal(100 * 1000000, total)
      assert.is_true(most > 0 and most < 30, most) -- the kernels' buffers take some
    end)

    it("takes no more than its limit where it has to hold everything", function()
      local peer <close> = start_peer()
      local stream <close> = assert(http.stream { url = peer.root .. "/big?mb=20" })
      failed("protocol", "too_long", stream:rest())
      local other <close> = assert(http.stream { url = peer.root .. "/big?mb=2", max_bytes = 1000 })
      for _ in other:lines() do assert.truthy "a short line" end
      assert.equal("too_long", other.error.code)
    end)

    it("ends the transfer when it is closed, left or forgotten", function()
      local peer <close> = start_peer()
      local function open()
        local stream = assert(http.stream { url = peer.root .. "/stall" })
        peer:seen()
        return stream
      end
      local stream = open()
      stream:close()
      stream:close()
      assert.is_true(peer:seen().gone)
      assert.equal("closed", select(2, stream:read()).kind)
      async.spawn(function()
        local left <close> = open()
        assert(left:read())
      end):join()
      assert.is_true(peer:seen().gone)
      open():read()
      collectgarbage()
      collectgarbage()
      assert.is_true(peer:seen().gone)
    end)

    it("wakes its reader when another task closes it", function()
      local peer <close> = start_peer()
      local stream = assert(http.stream { url = peer.root .. "/stall" })
      assert.equal("ten bytes.", stream:read())
      local task = async.spawn(function() return stream:read() end)
      async.sleep(0.02)
      stream:close()
      failed("closed", nil, task:join())
    end)

    it("is ended with the script", function()
      local peer <close> = start_peer()
      local result = program.eval(([[
        local http, async = require "codex.http", require "codex.async"
        local stream = assert(http.stream { url = "%s/stall" })
        async.spawn(function() stream:read() stream:read() end)
        async.spawn(http.get, "%s/silent")
        async.sleep(0.1)
        print(stream.status)
        os.exit(0)]]):format(peer.root, peer.root))
      assert.same({ "200\n", 0, "" }, { result.stdout, result.code, result.stderr })
    end)
  end)

  describe("server-sent events", function()
    -- Text, and what it means: type, data, id, retry.
    local cases = {
      { "data: a\n\n", "message a" },
      { "data:a\r\ndata: b\r\n\r\n", "message a|b" },
      { "data: a\r\rdata\r\r", "message a", "message " },
      { "event: e\ndata:  two\n\ndata: x\n\n", "e  two", "message x" },
      { "\xEF\xBB\xBFdata: a\n\n\xEF\xBB\xBFdata: no\n\n", "message a" },
      { ": note\n\n:\ndata: a\n: in between\ndata: b\n\n", "message a|b" },
      { "id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\n", "message a #1", "message b #1",
        "message c" },
      { "id: 1\0\ndata: a\n\n", "message a" },
      { "id: 7\n\ndata: a\n\n", "message a #7" },
      { "retry: 1500\ndata: a\n\nretry: 1x\ndata: b\n\n", "message a 1.5s", "message b 1.5s" },
      { "event: e\n\ndata: a\n\n", "message a" },
      { "event\ndata: a: b\nfoo: bar\nfoo\n\n", "message a: b" },
      { "data: a\n\ndata: lost\n", "message a" },
      { "data: a\n\ndata: lost", "message a" },
      { "data: ü\n\n\n\n\r\n", "message ü" },
      { "\xEF\xBBdata: no\n\n" },
      { "" },
    }

    local function texts(events)
      local list = {}
      for i, e in ipairs(events) do
        list[i] = ("%s %s%s%s"):format(e.event, e.data:gsub("\n", "|"),
          e.id ~= "" and " #" .. e.id or "", e.retry and (" %gs"):format(e.retry) or "")
      end
      return list
    end

    local function parse(...)
      local parser, all = sse.parser(), {}
      for _, piece in ipairs { ... } do
        for _, event in ipairs(parser:feed(piece)) do all[#all + 1] = event end
      end
      return texts(all)
    end

    it("are those of the standard, however they are split", function()
      for _, case in ipairs(cases) do
        local text, wanted = case[1], { table.unpack(case, 2) }
        assert.same(wanted, parse(text))
        local bytes = {}
        for i = 1, #text do bytes[i] = text:sub(i, i) end
        assert.same(wanted, parse(table.unpack(bytes)))
        for i = 1, #text do assert.same(wanted, parse(text:sub(1, i), "", text:sub(i + 1))) end
      end
    end)

    it("end with the CR already", function()
      assert.equal(1, #sse.parser():feed "data: a\r\r")
    end)

    it("have a limit", function()
      local parser = sse.parser(100)
      for _ = 1, 50 do assert.equal(0, #parser:feed(": " .. ("x"):rep(50) .. "\n")) end
      assert.equal(1, #parser:feed("data: " .. ("x"):rep(90) .. "\n\n"))
      assert.is_nil(parser:feed("data: " .. ("x"):rep(95)))
      parser = sse.parser(100)
      assert.is_nil(parser:feed(("data: xxxxxxxxx\n"):rep(10)))
    end)

    it("come as they come, and are an iterator that ends the transfer", function()
      local peer <close> = start_peer()
      local text, list = "data: a\r\n\r\nevent: b\rdata: c\r\r", {}
      local url = peer.root .. "/events?stay=1&text=" .. encode(text)
      for event in assert(http.stream { url = url }):events() do
        list[#list + 1] = event
        if #list == 2 then break end
      end
      assert.same({ "message a", "b c" }, texts(list))
      assert.equal("GET", peer:seen().method)
      assert.is_true(peer:seen().gone)
    end)

    it("of a stream that ends are no more than were ended by a blank line", function()
      local peer <close> = start_peer()
      local url = peer.root .. "/events?text=" .. encode "data: a\n\ndata: lost\n"
      local stream, list = assert(http.stream { url = url }), {}
      for event in stream:events() do list[#list + 1] = event end
      assert.same({ "message a" }, texts(list))
      assert.is_nil(stream.error)
    end)
  end)

  describe("a body of JSON", function()
    it("is read, or said to be none", function()
      local server <close> = serve(function(request)
        request:respond(200)
        request:write(request:path() == "/good" and '{"a":[]}' or "{not json")
        request:finish()
      end)
      assert.same({}, assert(http.get(url_of(server, "/good"))):json().a)
      assert.same({}, assert(http.stream { url = url_of(server, "/good") }):json().a)
      failed("protocol", "EJSON", assert(http.get(url_of(server, "/bad"))):json())
    end)
  end)
end)
