--- Logins of three versions of Codex, each with a home of its own: API keys, browsers and codes
--- against an issuer on this machine, ports, ends; and that a key is nowhere but in its file.

local E = require "codex.error"
local async = require "codex.async"
local files = require "codex.files"
local issuers = require "tests.support.issuer"
local json = require "codex.json"
local log = require "codex.log"
local login = require "codex.login"
local peers = require "tests.support.peers"
local testing = require "codex.testing"
local uv = require "luv"

--- As no pattern of credentials knows them.
local key = "spec.key.0123456789"

---@class tests.LoginServer
---@field client codex.Client
---@field issuer tests.Issuer
---@field home string
---@field log string[]
---@field heard { method: string, params: table }[] about the account

--- Runs the body with a client of a Codex that nobody is logged in to.
local function run(peer, given, body)
  local issuer <close> = issuers.new(given.issuer)
  local model <close> = assert(testing.model { turns = {} })
  local said, heard = {}, {}
  local cx <close> = assert(testing.codex {
    model = model, binary = peers[peer], env = issuer:env(), config = issuer:config(),
    log = function(level, message) said[#said + 1] = level .. ": " .. message end,
  })
  local client <close> = assert(cx.connect(given.connect))
  client:on("*", function(params, method)
    if method:find "^account/" then heard[#heard + 1] = { method = method, params = params } end
  end)
  body { client = client, issuer = issuer, home = cx.home, log = said, heard = heard }
end

--- Waits for something that no event tells, for some seconds at most.
local function eventually(what, check)
  for _ = 1, 500 do
    local value = check()
    if value then return value end
    async.sleep(0.01)
  end
  error(what .. " did not happen")
end

--- Runs the function at the same time as what follows it.
local function meanwhile(fn)
  local task = async.spawn(fn)
  return setmetatable({ join = function() return task:join() end }, {
    __close = function()
      task:cancel()
      task:join()
    end,
  })
end

local function auth_file(server) return files.read(server.home .. "/auth.json") end

local function no_account(server)
  return assert(server.client:account()).account == json.null
end

--- What a browser gets for this address of the machine's own; nil when nobody listens.
local function browse(url)
  local port, path = url:match "^http://[^:/]+:(%d+)(/.*)$"
  local pieces, tcp = {}, uv.new_tcp()
  local failed = async.await(function(resume)
    tcp:connect("127.0.0.1", tonumber(port), function(problem)
      if problem then return resume(problem) end
      tcp:write(("GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"):format(path))
      tcp:read_start(function(err, data)
        if data then pieces[#pieces + 1] = data else resume(err) end
      end)
    end)
  end)
  tcp:close()
  if failed then return nil end
  return table.concat(pieces)
end

--- Where the issuer sends the user's browser back to, with the state that it was given.
local function callback_of(handle)
  local redirect = handle.auth_url:match "redirect_uri=([^&]+)"
  local url = redirect:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end)
  return url, handle.auth_url:match "[?&]state=([^&]+)"
end

--- Waits until nobody listens there any more. Codex closes a port a moment after it has told of it;
--- 0.101.0 does not come to that while it is asked for pages all the time.
local function assert_free(url)
  eventually("that the port is free", function()
    async.sleep(0.2)
    return browse(url) == nil
  end)
end

for _, peer in ipairs { "latest", "middle", "old" } do
  local version = peers.version[peer]

  describe("a login of Codex " .. version, function()
    it("with an API key is kept in a file for its owner alone, until the logout", function()
      run(peer, {}, function(server)
        local client = server.client
        assert.is_true(no_account(server))
        assert.is_true(client:login_api_key(key .. "\n"))
        assert.equal("apiKey", assert(client:account()).account.type)
        assert.equal(key, json.decode((auth_file(server))).OPENAI_API_KEY)
        assert.equal(tonumber("600", 8), uv.fs_stat(server.home .. "/auth.json").mode & 511)
        assert.is_true(client:logout())
        assert.is_true(no_account(server))
        assert.is_nil((auth_file(server)))
      end)
    end)

    it("in a browser can be waited for, and cancelled, more than once", function()
      run(peer, {}, function(server)
        local handle = assert(server.client:login_chatgpt())
        local url = callback_of(handle)
        assert.matches("/oauth/authorize%?", handle.auth_url)
        assert.matches("404", browse((url:gsub("/auth/callback", "/elsewhere"))))
        local account, err = handle:wait(0.1)
        assert.is_nil(account)
        assert.equal("timeout", err.kind)
        assert.matches("within 0.1 seconds", err.message)
        local waiting <close> = meanwhile(function() return handle:wait(20) end)
        assert.is_true(handle:cancel())
        account, err = waiting.join()
        assert.is_nil(account)
        assert.is_true(E.is(err, "cancelled"))
        assert_free(url)
        assert.is_true(handle:cancel())
        assert.is_true(E.is(select(2, handle:wait(1)), "cancelled"))
        assert.equal(1, #server.heard)
        assert.equal(handle.login_id, server.heard[1].params.loginId)
      end)
    end)

    it("that is left behind is cancelled", function()
      run(peer, {}, function(server)
        local url
        do
          local handle <close> = assert(server.client:login_chatgpt())
          url = callback_of(handle)
          assert.is_string(browse(url))
          -- 0.101.0 does not hear of the end while it is still busy with a page.
          async.sleep(peer == "old" and 1 or 0)
        end
        assert_free(url)
        assert.is_false(server.heard[1].params.success)
      end)
    end)

    it("ends when the server dies", function()
      run(peer, {}, function(server)
        local handle <close> = assert(server.client:login_chatgpt())
        local waiting <close> = meanwhile(function() return handle:wait(20) end)
        uv.kill(server.client.pid, "sigkill")
        local account, err = waiting.join()
        assert.is_nil(account)
        assert.equal("closed", err.kind)
        assert.is_true(handle:cancel())
      end)
    end)
  end)
end

for _, peer in ipairs { "latest", "middle" } do
  describe("a login of Codex " .. peers.version[peer], function()
    it("that the user does not want fails with what Codex says of it", function()
      run(peer, {}, function(server)
        local handle = assert(server.client:login_chatgpt())
        local url, state = callback_of(handle)
        assert(browse(url .. "?error=access_denied&error_description=not+today&state=" .. state))
        local account, err = handle:wait(10)
        assert.is_nil(account)
        assert.equal("auth", err.kind)
        assert.matches("not today", err.message)
        assert.same({ handle.login_id, err.message }, { err.data.loginId, err.data.error })
        assert_free(url)
      end)
    end)

    it("with tokens of the caller's is not written down", function()
      run(peer, {}, function(server)
        local token = issuers.token()
        assert.is_true(server.client:login_tokens {
          access_token = token, chatgpt_account_id = issuers.user.account_id,
          chatgpt_plan_type = issuers.user.plan,
        })
        local account = assert(server.client:account()).account
        assert.same({ "chatgpt", issuers.user.email, "plus" },
          { account.type, account.email, account.planType })
        assert.is_nil((auth_file(server)))
        local ok, err = server.client:login_api_key(key)
        assert.is_nil(ok)
        assert.matches("^External auth is active", err.message)
        assert.is_true(server.client:logout())
        assert.is_true(no_account(server))
      end)
    end)

    it("with tokens needs a client that is for experiments", function()
      run(peer, { connect = { experimental = false } }, function(server)
        local ok, err =
          server.client:login_tokens { access_token = "spec.token.1", chatgpt_account_id = "a" }
        assert.is_nil(ok)
        assert.equal("rpc", err.kind)
        assert.matches("experimentalApi", err.message)
      end)
    end)
  end)
end

describe("a login of Codex " .. peers.version.old, function()
  it("with a code is more than it can do", function()
    run("old", {}, function(server)
      local handle, err = server.client:login_device_code()
      assert.is_nil(handle)
      assert.equal("unsupported", err.kind)
      assert.matches("0.101.0 has no login of type 'chatgptDeviceCode'", err.message)
    end)
  end)
end)

describe("a login of Codex 0.169.0", function()
  local function assert_logged_in(server, account)
    assert.same({ "chatgpt", issuers.user.email, "plus" },
      { account.account.type, account.account.email, account.account.planType })
    local kept = json.decode((auth_file(server)))
    assert.equal(issuers.user.account_id, kept.tokens.account_id)
    assert.equal("refresh-1", kept.tokens.refresh_token)
    assert.equal(tonumber("600", 8), uv.fs_stat(server.home .. "/auth.json").mode & 511)
  end

  it("in a browser is complete when the browser comes back", function()
    run("latest", {}, function(server)
      local handle = assert(server.client:login_chatgpt { use_hosted_login_success_page = false })
      local url, state = callback_of(handle)
      local answer = browse(url .. "?code=code-1&state=" .. state)
      assert.matches("^HTTP/1.1 200", browse(answer:match "Location: (%S+)"))
      assert_logged_in(server, assert(handle:wait(10)))
      assert.is_true(handle:cancel())
      assert_logged_in(server, assert(handle:wait()))
      assert_free(url)
    end)
  end)

  it("with a code is complete when the user has typed it", function()
    run("latest", { issuer = { device = "pending" } }, function(server)
      local handle = assert(server.client:login_device_code())
      assert.equal(server.issuer.url .. "/codex/device", handle.verification_url)
      assert.equal("ABCD-1234", handle.user_code)
      assert.equal("timeout", select(2, handle:wait(0.1)).kind)
      server.issuer.device = "approved"
      assert_logged_in(server, assert(handle:wait(10)))
      assert.is_true(server.client:logout())
      assert.equal(1, server.issuer:count "POST /oauth/revoke")
      assert.is_nil((auth_file(server)))
      assert.is_true(no_account(server))
    end)
  end)

  it("with a code can be cancelled", function()
    run("latest", { issuer = { device = "pending" } }, function(server)
      local handle = assert(server.client:login_device_code())
      assert.is_true(handle:cancel())
      assert.equal("cancelled", select(2, handle:wait()).kind)
      assert.is_nil((auth_file(server)))
    end)
  end)

  it("with a code fails when the issuer has had enough of it", function()
    run("latest", { issuer = { device = 500 } }, function(server)
      local handle = assert(server.client:login_device_code())
      local account, err = handle:wait(10)
      assert.is_nil(account)
      assert.equal("auth", err.kind)
      assert.matches("status 500", err.message)
    end)
  end)

  it("with a code does not begin where the issuer has none", function()
    run("latest", { issuer = { usercode = 404 } }, function(server)
      local handle, err = server.client:login_device_code()
      assert.is_nil(handle)
      assert.equal("rpc", err.kind)
      assert.matches("device code login is not enabled", err.message)
    end)
  end)

  it("that is given up before it has begun is cancelled all the same", function()
    run("latest", { issuer = { device = "pending", hold = true } }, function(server)
      local task = async.spawn(function() return server.client:login_device_code() end)
      eventually("the request", function() return #server.issuer.asked > 0 end)
      task:cancel()
      assert.equal("cancelled", select(2, task:join()).kind)
      server.issuer:release()
      local ended = eventually("the end", function() return server.heard[1] end)
      assert.equal("account/login/completed", ended.method)
      assert.is_false(ended.params.success)
    end)
  end)

  it("ends another one", function()
    run("latest", {}, function(server)
      local first = assert(server.client:login_chatgpt())
      local second = assert(server.client:login_device_code())
      local account, err = first:wait(10)
      assert.is_nil(account)
      assert.equal("auth", err.kind)
      assert_logged_in(server, assert(second:wait(10)))
    end)
  end)

  it("with tokens that its backend does not know fails", function()
    run("latest", { issuer = { routing = false } }, function(server)
      local ok, err = server.client:login_tokens {
        access_token = issuers.token(), chatgpt_account_id = issuers.user.account_id,
      }
      assert.is_nil(ok)
      assert.same({ "auth", "workspace routing discovery failed" }, { err.kind, err.message })
    end)
  end)

  it("in a browser says when its ports are taken", function()
    run("latest", {}, function(server)
      local taken = {}
      for _, port in ipairs { 1455, 1457 } do
        local tcp = uv.new_tcp()
        tcp:bind("127.0.0.1", port) -- somebody else may have it: that is as good
        tcp:listen(8, function()
          local visitor = uv.new_tcp()
          tcp:accept(visitor)
          visitor:close()
        end)
        taken[#taken + 1] = tcp
      end
      local handle, err = server.client:login_chatgpt()
      for _, tcp in ipairs(taken) do tcp:close() end
      assert.is_nil(handle)
      assert.equal("rpc", err.kind)
      assert.matches("Port 127.0.0.1:1457 is already in use", err.message, 1, true)
    end)
  end)
end)

describe("an API key", function()
  --- The arguments and the environment of a process and of all below it.
  local function seen_by_others(pid, texts)
    for _, what in ipairs { "cmdline", "environ" } do
      texts[#texts + 1] = (files.read(("/proc/%d/%s"):format(pid, what)))
    end
    local tasks = ("/proc/%d/task"):format(pid)
    for task in uv.fs_scandir_next, uv.fs_scandir(tasks) do
      local children = files.read(("%s/%s/children"):format(tasks, task)) or ""
      for child in children:gmatch "%d+" do seen_by_others(tonumber(child), texts) end
    end
    return texts
  end

  it("is not among the arguments, environments and logs of anybody", function()
    local before = log.level "debug"
    local restore <close> = -- luacheck: ignore 211
      setmetatable({}, { __close = function() log.level(before) end })
    run("latest", {}, function(server)
      assert.is_true(server.client:login_api_key(key))
      local texts = seen_by_others(uv.os_getpid(), { server.client:stderr() })
      assert.is_true(#texts >= 5, "a program of its own and Codex")
      table.move(server.log, 1, #server.log, #texts + 1, texts)
      for _, heard in ipairs(server.heard) do texts[#texts + 1] = json.encode(heard.params) end
      for _, text in ipairs(texts) do assert.is_nil(text:find(key, 1, true)) end
      assert.equal("[redacted]", log.redact(key))
    end)
  end)

  it("that is none is named, and not shown", function()
    local class = {}
    login.install(class)
    local cases = { [""] = "got none", ["two words.key"] = "got another one", [7] = "got a number" }
    for bad, message in pairs(cases) do
      local ok, err = pcall(class.login_api_key, {}, bad)
      assert.is_false(ok)
      assert.matches(message, err, 1, true)
      assert.is_nil(err:find("two words", 1, true))
    end
  end)
end)

describe("what a server may say", function()
  --- A client of a program that answers account/login/start with what the code says: `tell(method,
  --- params)`, `reply(result)`, `fail(code, message, data)`.
  local function with_server(code, body, connect)
    local program = ([[
      local link = require "codex.link"
      local closed, peer = require("codex.async").signal(), nil
      local function tell(method, params) peer:notify(method, params) end
      peer = link.stdio {
        on_request = function(request)
          local params = request.params
          local function reply(result) request:reply(result) end
          local function fail(...) request:fail(...) end
          if request.method == "initialize" then return reply { userAgent = "x/0.169.0" } end
          if request.method == "account/read" then return reply { account = { type = "spec" } } end
          if request.method == "account/login/cancel" then return reply { status = "notFound" } end
          %s
        end,
        on_closed = function() closed:notify() end,
      }
      closed:wait()
    ]]):format(code)
    local codex = require "codex"
    local options = { command = { peers.root .. "/build/codex-lua", "-e", program } }
    for name, value in pairs(connect or {}) do options[name] = value end
    local client <close> = assert(codex.connect(options))
    body(client)
  end

  it("may be the end of the login before its begin", function()
    with_server([[
      tell("account/login/completed", { loginId = "other", success = false, error = "not ours" })
      tell("account/login/completed", { loginId = "one", success = true })
      tell("account/updated", { authMode = "chatgpt" })
      reply { type = "chatgptDeviceCode", loginId = "one", userCode = "c" }
    ]], function(client)
      local handle = assert(client:login_device_code())
      assert.equal("one", handle.login_id)
      assert.equal("spec", assert(handle:wait(10)).account.type)
    end)
  end)

  it("may be about somebody else's login", function()
    with_server([[
      reply { type = "chatgpt", loginId = "one", authUrl = "u" }
      tell("account/login/completed", { loginId = "other", success = false, error = "not ours" })
      tell("account/login/completed", { success = false, error = "nor this" })
      tell("account/login/completed", { loginId = "one", success = true })
      tell("account/updated", { authMode = "chatgpt" })
    ]], function(client)
      local handle = assert(client:login_chatgpt())
      assert.equal("spec", assert(handle:wait(10)).account.type)
    end)
  end)

  it("may be nothing at all of the account", function()
    with_server([[
      reply { type = "chatgpt", loginId = "one", authUrl = "u" }
      tell("account/login/completed", { loginId = "one", success = true })
    ]], function(client)
      local handle <close> = assert(client:login_chatgpt())
      assert.equal("spec", assert(handle:wait(10)).account.type)
    end)
  end)

  it("may be nothing of a login that is cancelled", function()
    with_server([[reply { type = "chatgpt", loginId = "one", authUrl = "u" }]], function(client)
      local handle <close> = assert(client:login_chatgpt())
      assert.is_true(handle:cancel())
      assert.equal("cancelled", select(2, handle:wait(10)).kind)
    end)
  end)

  it("may be an error with the key in it, which is taken out", function()
    local secret = "spec.key.in.an.error"
    with_server([[fail(-32603, "cannot keep " .. params.apiKey, { key = params.apiKey })]],
      function(client)
        local ok, err = client:login_api_key(secret)
        assert.is_nil(ok)
        assert.equal("cannot keep [redacted]", err.message)
        assert.equal(-32603, err.code)
        assert.is_nil(err.data)
      end)
  end)

  it("may be no answer to the question", function()
    local bad = {
      "{}", '{ type = "apiKey", loginId = "one" }', '{ type = "chatgpt" }', '"text"',
    }
    for _, answer in ipairs(bad) do
      with_server("reply(" .. answer .. ")", function(client)
        local handle, err = client:login_chatgpt()
        assert.is_nil(handle)
        assert.equal("protocol", err.kind, answer)
      end)
    end
  end)

  it("must not be hidden from the login", function()
    local opt_out = { opt_out = { "account/login/completed" } }
    with_server("", function(client)
      for _, name in ipairs { "login_chatgpt", "login_device_code" } do
        assert.error_matches(function() client[name](client) end, "opted out")
      end
    end, opt_out)
  end)
end)
