--- What is taken out of what is written down, and what is not: secrets of every shape are planted
--- in messages that real Codex sent, recorded, and looked for in the file; and messages and
--- sentences without any come back byte for byte.

local files = require "codex.files"
local json = require "codex.json"
local log = require "codex.log"
local peers = require "tests.support.peers"
local program = require "tests.support.program"
local recording = require "codex.recording"
local random = require("tests.support.secret").random
local uv = require "luv"

local fixtures = peers.root .. "/tests/fixtures/"

--- The lines of all captures, with the file's name.
local function captured()
  local list, scan = {}, assert(uv.fs_scandir(fixtures))
  for name in function() return uv.fs_scandir_next(scan) end do
    for line in assert(files.read(fixtures .. name)):gmatch "[^\n]+" do
      list[#list + 1] = { name = name, line = line }
    end
  end
  return list
end

-- ---- What stays --------------------------------------------------------------------------------

local sentences = {
  "Missing bearer or basic authentication in header",
  "unexpected status 401 Unauthorized: Missing bearer or basic authentication",
  "Bearer token required", "a bearer token is a bearer of bad news", "Basic authentication failed",
  "token usage: 110 in, 12 out", "the token: is here", "secret santa", "the secret is out",
  "tokenUsage inputTokens outputTokens totalTokens=123 max_tokens=4096", "password reset",
  "Enter your password:", "Authorization: required for this page", "authorization required",
  "use --token to pass a token", "run codex login --api-key or set OPENAI_API_KEY",
  "export OPENAI_API_KEY=$OPENAI_API_KEY", "TOKEN=${TOKEN:-none} make", 'curl -u "$USER:$PASS" x',
  "sk-learn", "risk-assessment-of-everything-we-know", "task-runner-for-the-whole-family",
  "npm_config_cafile and npm_lifecycle_event", "hf_transformers", "ghp_ is a prefix", "AKIA",
  "docker run -u 1000:1000 image", "sort -u list", "git push -u origin main", "key=value",
  "if token == nil then", "local token = get_token()", "self.token=self.token",
  "std::token::stream", "https://example.org:8080/a?page=2&sort=name", "http://[::1]:80/@x",
  "user@example.org", "ssh://git@github.com/a/b", "scp host:path/file user:group", "PWD=/home/dev",
  "code: 7, state: idle", "exit code=1 state=failed", "cookie banner", "Cookie: yes please",
  "-----BEGIN PRIVATE KEY----- is how one begins", "passwords should be long", "PATH=/usr/bin:/bin",
  "eyJ is how a web token begins", "commit 0123456789abcdef0123456789abcdef01234567",
  "id 019c3f0e-8a54-7a10-9a35-3b1f0c3a9a11", "sha256-AbCdEf0123456789+/AbCdEf0123456789=",
  "token.lua:15: attempt to index a nil value (local 'token')", "--password-file /run/x",
  "token limit reached", "password = required", "the password: it is long", 'prompt("Password: ")',
  "token = lexer:next_token()", "const token: string = props.token;", "author: oauth2, auth=basic",
  "password = options.password", "secret = keys[index1]", "  --token   Sets the token to be used",
  "100%25 of %d tokens%3d", "https://host:8080?mail=a@example.org", "rt_mutex_adjust_prio_chain",
  "\27[32mtoken\27[0m is the word", "api_key = None", "TOKEN = os.environ['TOKEN']",
  "token count: 5", "max_tokens: 100", "pass: 12 tests", "author: x", 'auth: "oauth"',
  "docker run -p 8080:80 image", "ssh -p 2222 host", "mysql -u root -p", "password: | none",
}

describe("what is no secret", function()
  it("stays in sentences, also within JSON", function()
    for _, text in ipairs(sentences) do
      assert.equal(text, log.redact(text))
      local message = json.encode { method = "m", params = { text = text,
        nested = json.encode { said = text } } }
      assert.equal(message, recording.redact(message))
    end
  end)

  it("stays in all that real Codex sent, byte for byte", function()
    local changed = {}
    for _, one in ipairs(captured()) do
      local clean = recording.redact(one.line)
      if clean ~= one.line then
        -- A key that the client gave, the state of a login, and bytes of a file or a program.
        local has_bytes = one.line:find '"%l+Base64":"'
        if not has_bytes then changed[#changed + 1] = one.name end
        assert.truthy(has_bytes or one.line:find('"apiKey":"sk-test"', 1, true)
          or one.line:find("&state=", 1, true), one.line)
        assert.is_table(json.decode(clean))
      end
    end
    assert.same({ "appserver-0.169.0-misc.jsonl", "appserver-0.169.0-misc.jsonl" }, changed)
  end)
end)

-- ---- What goes ---------------------------------------------------------------------------------

--- Secrets that are known by how they look.
local shapes = {
  function() return "sk-proj-" .. random(40) end, function() return "sk-" .. random(48) end,
  function() return "ghp_" .. random(36) end, function() return "gho_" .. random(36) end,
  function() return "github_pat_" .. random(22) .. "_" .. random(59) end,
  function() return "glpat-" .. random(20) end, function() return "npm_" .. random(36) end,
  function() return "xoxb-1234567890-" .. random(24) end,
  function() return "AKIA" .. random(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") end,
  function() return "AIza" .. random(35) end, function() return "hf_" .. random(34) end,
  function() return ("eyJ%s.eyJ%s.%s"):format(random(33), random(60), random(43)) end,
}

--- Texts that say what in them is a secret.
local texts = {
  "Authorization: Bearer %s", "authorization: basic %s", "token: Bearer %s", "x-api-key: %s",
  'curl -H "Authorization: Bearer %s" https://x', "curl -H 'Cookie: sid=%s; a=b' x",
  "Set-Cookie: session=%s; Path=/", "tool --token %s run", "tool --password=%s run",
  "tool --api-key '%s' run", "curl -u dev:%s https://example.org", "FOO_TOKEN=%s make test",
  "export DB_PASSWD='%s'", "env GH_PAT=%s sh", 'api_key = "%s"', "codex -c a.b.api_key=%s exec",
  [[codex -c 'mcp_servers.x.env={GITHUB_TOKEN="%s"}' exec]], "git clone https://dev:%s@host/x.git",
  "http://localhost:1455/auth/callback?code=%s&scope=a", "https://x/authorize?a=b&state=%s&c=d",
  '{"access_token":"%s","expires_in":3600}', "refresh_token=%s&grant_type=refresh_token",
  "-----BEGIN OPENSSH PRIVATE KEY-----\n%s\n-----END OPENSSH PRIVATE KEY-----", "id_token=%s",
  "postgres://user:%s@db:5432/name", "client_secret: %s", "github_token: %s",
  "password = %s", "aws_secret_access_key\t=\t%s", "Authorization:  Bearer  %s", "token=Bearer %s",
  "AccountName=a;AccountKey=%s;a=b", "a?next=%%2Fb%%3Fcode%%3D%s", "\27[1mpassword\27[m=%s",
  "https://u:p@ss%s@host/x", "https://hooks.slack.com/services/T0000/B0000/%s",
}

--- Members whose name says it.
local names = {
  "apiKey", "api_key", "access_token", "refreshToken", "id_token", "client_secret", "password",
  "DB_PASSWD", "MY_PASSWORD", "GH_PAT", "github_token", "private_key", "Cookie", "Set-Cookie",
  "Authorization", "X-Api-Key", "OPENAI_API_KEY", "experimental_bearer_token", "userCode",
  "device_code", "webhookSecret", "session-token", "a.b.api_key", 'x."GITHUB_TOKEN"', "passphrase",
}

local paths = {
  "model_providers.x.experimental_bearer_token", "shell_environment_policy.set.GITHUB_PAT",
  'mcp_servers.x.env."DB_PASSWD"', "mcp_servers.x.http_headers.Authorization", "a.api_key.b",
}

local function pick(list) return list[math.random(#list)] end

--- Tables within a message, itself first.
local function tables_of(value, list)
  if type(value) == "table" and value ~= json.null then
    list[#list + 1] = value
    for _, one in pairs(value) do tables_of(one, list) end
  end
  return list
end

local function is_object(value) return #value == 0 and json.encode(value):sub(1, 1) == "{" end

local function object_in(message)
  local list = {}
  for _, one in ipairs(tables_of(message, {})) do
    if is_object(one) then list[#list + 1] = one end
  end
  return pick(list)
end

local function with_text(object, text) object["planted"] = text end

--- Ways of planting a secret in an object of a message; each gives what must not be in the file.
local ways = {
  function(object)
    local secret = pick(shapes)()
    with_text(object, ("so: %s, you see"):format(secret))
    return secret
  end,
  function(object)
    local secret = pick(shapes)()
    object["key " .. secret] = 1
    return secret
  end,
  function(object)
    local secret = random(math.random(12, 40))
    with_text(object, pick(texts):format(secret))
    return secret
  end,
  function(object)
    local secret = random(math.random(12, 40))
    with_text(object, "first\n" .. pick(texts):format(secret) .. "\n\tlast")
    return secret
  end,
  function(object)
    local secret = random(math.random(4, 40))
    object[pick(names)] = pick { secret, { deep = json.array { secret } } }
    return secret
  end,
  function(object)
    local secret = random(math.random(6, 40))
    local inner = json.encode { [pick(names)] = secret, text = "a\nb" }
    with_text(object, pick { inner, json.encode { again = inner }, "result: " .. inner })
    return secret
  end,
  function(object)
    local secret = pick(shapes)()
    with_text(object, json.encode { said = "x\n" .. secret })
    return secret
  end,
  function(object)
    local secret = random(math.random(6, 40))
    object.argv = json.array { "tool", pick { "--token", "--password", "--api-key" }, secret, "z" }
    return secret
  end,
  function(object)
    local secret = random(math.random(6, 40))
    object.argv = json.array { "curl", "-u", "dev:" .. secret, "x" }
    return secret
  end,
  function(object)
    local secret = random(math.random(6, 40))
    local value = pick { secret, { nested = secret }, json.array { "a", secret } }
    object.edits = json.array { { keyPath = pick(paths), value = value }, { keyPath = "model",
      value = "gpt-5.5" } }
    return secret
  end,
  function(object)
    local secret = random(math.random(6, 40))
    object.headers = json.array { { name = pick { "Authorization", "Cookie" }, value = secret } }
    return secret
  end,
  function(object)
    local secret = random(math.random(6, 40))
    object.config = { ["mcp_servers.x.env.SOME_TOKEN"] = secret, ["model.name"] = "plain" }
    return secret
  end,
}

--- What a value looks like when its texts are put aside: what replay needs.
local function skeleton(value)
  if type(value) ~= "table" then
    return type(value) == "string" and "s" or tostring(value)
  end
  if value == json.null then return "null" end
  local list = {}
  for key, one in pairs(value) do
    key = type(key) == "string" and key:find "^key " and "key" or tostring(key)
    list[#list + 1] = key .. "=" .. skeleton(one)
  end
  table.sort(list)
  return "{" .. table.concat(list, ",") .. "}"
end

--- Every message of the app-server's captures.
local function messages()
  local list = {}
  for _, one in ipairs(captured()) do
    local entry = one.name:find "^appserver" and json.decode(one.line)
    local message = type(entry) == "table" and entry.msg
    if type(message) == "table" and is_object(message) then
      list[#list + 1] = { dir = entry.dir, text = json.encode(message) }
    end
  end
  return list
end

describe("secrets planted in what real Codex sent", function()
  it("are not in the recording, wherever they are, and the messages keep their form", function()
    math.randomseed(11)
    local dir, remove = program.folder()
    local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
    local path, planted = dir .. "/recording.jsonl", {}
    do
      local session <close> = assert(recording.open(path))
      for i, each in ipairs(messages()) do
        local message = json.decode(each.text)
        local way = (i - 1) % #ways + 1
        local secret = ways[way](object_in(message))
        local line = json.encode(message)
        planted[i] = { way = way, secret = secret, line = line }
        session:write(each.dir, line)
      end
    end
    local text, session = assert(files.read(path)), assert(recording.read(path))
    assert.is_true(#planted > 1000 and #planted == #session)
    local leaked = {}
    for i, one in ipairs(planted) do
      if text:find(one.secret, 1, true) then leaked[#leaked + 1] = one.way .. " " .. one.line end
      assert.equal(skeleton(json.decode(one.line)), skeleton(session[i].msg), one.line)
    end
    assert.same({}, leaked)
    assert.equal(tonumber("600", 8), uv.fs_stat(path).mode & 511)
  end)

  it("are not in the log either, nor in lines that are no messages", function()
    math.randomseed(12)
    for _ = 1, 20 do
      for _, text in ipairs(texts) do
        local secret = random(math.random(12, 40))
        local line = text:format(secret)
        assert.is_nil(log.redact(line):find(secret, 1, true), line)
        assert.is_nil(recording.redact(line .. " {"):find(secret, 1, true), line)
        local message = json.encode { x = "a\n" .. line, y = { json.encode { line } } }
        local clean = log.redact(message)
        assert.is_nil(clean:find(secret, 1, true), line)
        if not line:find("'", 1, true) then assert(json.decode(clean), clean) end
      end
    end
  end)

  it("leave a message of JSON that the log shows what it is", function()
    math.randomseed(13)
    for i, each in ipairs(messages()) do
      local message = json.decode(each.text)
      ways[(i - 1) % #ways + 1](object_in(message))
      local clean = log.redact(json.encode(message))
      assert(json.decode(clean) ~= nil, clean)
    end
  end)

  it("are found in linear time", function()
    for _, text in ipairs { "a.token = x --token ://u:p ", "-----BEGIN PRIVATE KEY-----\n",
      'token="', "token=$", "token:?", "eyJ-", "token=(", "-u ", "bearer -", "Cookie: ", "sk-",
      "://a:", "token=token.", "--token ", "\\", "?code=" } do
      local function clock(count)
        local started = os.clock()
        log.redact(text:rep(count // #text))
        return os.clock() - started
      end
      clock(1000)
      local short, long = clock(50000), clock(800000)
      assert.is_true(long < 1 or long < 64 * short, ("%s: %g, %g"):format(text, short, long))
    end
  end)

  it("are looked for once however deep they lie", function()
    local function clock(depth)
      local text = ('{"token_a":1,"b":'):rep(depth)
      local started = os.clock()
      recording.redact(text)
      return os.clock() - started
    end
    clock(1000)
    local short, long = clock(5000), clock(20000)
    assert.is_true(long < 8 * short + 0.1, ("%g, %g"):format(short, long))
  end)
end)
