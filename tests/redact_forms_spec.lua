--- Forms in which secrets stand, each with secrets that are random: none of them gets through, in a
--- text, in a message, in JSON within JSON, nor as a key. Forms that are left alone are named, too,
--- with the reason.

local json = require "codex.json"
local log = require "codex.log"
local recording = require "codex.recording"
local random = require("tests.support.secret").random

local forms = {
  "PGPASSWORD=%s psql", "MYSQL_PWD=%s mysql", "OPENAI_KEY=%s", "OPENAI_API_KEY=%s\nPATH=/bin",
  "AWS_SECRET_ACCESS_KEY=%s", "AWS_SESSION_TOKEN=%s", "SECRET_KEY_BASE=%s", "SSH_PASSPHRASE=%s",
  "REDIS_URL=redis://:%s@host:6379", "DATABASE_URL=postgres://u:%s@h/db",
  "SENTRY_DSN=https://%s@o1.ingest.sentry.io/1",
  "DISCORD=https://discord.com/api/webhooks/123456789012345678/%s",
  "https://api.telegram.org/bot123456789:%s/getMe", "DB_PASS=%s", "PASS=%s", "pass: %s",
  "passwd: %s", "pwd=%s;", "Pwd=%s;Server=x", "AUTH=%s", "auth: %s", "_auth=%s",
  "//npm.example.org/:_authToken=%s", "_password=%s", "machine github.com login me password %s",
  "machine github.com\n  login me\n  password %s", "<password>%s</password>",
  "<apiKey>%s</apiKey>", '<add key="ApiKey" value="%s"/>', "'token': '%s'", '"token": "%s"',
  ':token => "%s"', "token => '%s'", 'Token:"%s"', "token:%s", "token = %s", "token=%s",
  'token="%s"', 'password="a %s b"', "password='a %s b'", "password=`%s`", 'password = """%s"""',
  "password: |\n  %s\nnext: 1", "password: >-\n    %s", "password=first%%20%s", "password%3D%s",
  "token%3D%s%26x%3D1", "Authorization%3A%20Bearer%20%s", "%22access_token%22%3A%22%s%22",
  "password\\u003d%s", '{\\"token\\":\\"%s\\"}', '{\\\\\\"token\\\\\\":\\\\\\"%s\\\\\\"}',
  '{\\\\\\\\\\\\\\"token\\\\\\\\\\\\\\":\\\\\\\\\\\\\\"%s\\\\\\\\\\\\\\"}', "X-Auth-Token: %s",
  "X-Amz-Security-Token: %s", "PRIVATE-TOKEN: %s", "Proxy-Authorization: Basic %s",
  'Proxy-Authorization: Digest username="u", response="%s"', "x-goog-api-key: %s",
  "Ocp-Apim-Subscription-Key: %s", "Authorization: token %s", "Authorization: ApiKey %s",
  "Authorization: %s",
  "Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830, Signature=%s",
  "Authorization:\tBearer\t%s", "AUTHORIZATION: BEARER %s", "> authorization: Bearer %s",
  "authorization=[Bearer %s]", '"authorization": ["Bearer %s"]', '("authorization", "Bearer %s")',
  "Cookie: a=b; sid=%s", 'cookie: sid="%s"', "Set-Cookie: sid=%s; HttpOnly",
  "curl -b 'sid=%s' http://x", "curl --cookie sid=%s http://x", "curl --user u:%s http://x",
  "curl -uu:%s http://x", "curl -u 'u:%s' http://x", "curl -su u:%s http://x",
  "curl --proxy-user u:%s http://x", "curl -U u:%s http://x", "curl --oauth2-bearer %s http://x",
  'curl -H "X-Token: %s"', "curl -HAuthorization:Bearer%%20%s", "wget --http-password=%s",
  "wget --password %s", "mysql -p%s -u root", "mysql --password=%s", "sshpass -p %s ssh x",
  "sshpass -p%s ssh x", "openssl rsa -passin pass:%s", "docker login -u me -p %s",
  "docker login --password %s", "az login -p %s",
  "kubectl create secret generic x --from-literal=password=%s",
  "kubectl config set-credentials u --token=%s", "set TOKEN=%s", '$env:TOKEN = "%s"',
  'declare -x GITHUB_TOKEN="%s"', "export GITHUB_TOKEN='%s'", 'GITHUB_TOKEN="%s" make',
  "GITHUB_TOKEN=$'%s'", "-e GITHUB_TOKEN=%s", "--env GITHUB_TOKEN=%s", "--build-arg NPM_TOKEN=%s",
  "-DsecretKey=%s", "--set auth.password=%s", "--from-literal password=%s", "--api_key=%s",
  "--apikey %s", "--access-key %s", "--secret-key %s", "--secret %s", "--auth-token %s",
  "--bearer %s", "--bearer-token %s", "--pat %s", "--credentials %s", "--client-secret=%s",
  "-token %s", "-token=%s", "-password %s", "/p:Password=%s", "https://x/?access_token=%s&a=1",
  "https://x/?api_key=%s&a=1", "https://x/?apikey=%s", "https://x/?sig=%s&se=1",
  "https://x/?X-Amz-Signature=%s&a=1", "https://x/?X-Amz-Credential=AKIA&X-Amz-Security-Token=%s",
  "https://x/?token=%s#frag", "https://x/#access_token=%s&token_type=bearer", "https://x/?auth=%s",
  "https://x/?password=%s", "https://x/?client_secret=%s", "https://x/?code=%s",
  "https://oauth2:%s@gitlab.com/x", "https://%s:x-oauth-basic@github.com/x",
  "https://%s@github.com/x.git", "https://x-access-token:%s@github.com", "https://u:%s@[::1]/x",
  "ftp://u:%s@h", "amqp://u:%s@h", "mongodb+srv://u:%s@h/d",
  "jdbc:mysql://h/db?user=u&password=%s", "Server=x;User Id=u;Password=%s;", "SharedAccessKey=%s",
  "SharedAccessSignature=%s", "DefaultEndpointsProtocol=https;AccountKey=%s;EndpointSuffix=x",
  '"auths":{"https://index.docker.io/v1/":{"auth":"%s"}}', '"identitytoken": "%s"',
  '"client_secret":"%s"', '"refresh_token":"%s"', '"OPENAI_API_KEY":"%s"',
  '"tokens":{"id_token":"%s"}', '"tokens":["%s"]', '"secret":["a","%s"]', '"passwords":{"a":"%s"}',
  '"otp":"%s"', '"code_verifier":"%s"', '"code_challenge":"x","code_verifier":"%s"',
  '"session_key":"%s"', '"encryption_key":"%s"', '"signing_key":"%s"', '"signingSecret":"%s"',
  '"webhook_secret":"%s"', '"bearer":"%s"', '"credential":"%s"', '"credentials":"%s"',
  '"license_key":"%s"', '"accessKeyId":"x","secretAccessKey":"%s"',
  '"connectionString":"Server=x;Password=%s"',
  "-----BEGIN RSA PRIVATE KEY-----\n%s\n-----END RSA PRIVATE KEY-----",
  "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n%s\n-----END PGP PRIVATE KEY BLOCK-----",
  "-----BEGIN PRIVATE KEY-----\\\n%s\\\n-----END PRIVATE KEY-----",
  "-----BEGIN PRIVATE KEY-----\r\n%s\r\n-----END PRIVATE KEY-----",
  "-----BEGIN EC PRIVATE KEY-----\n%s\n", "-----BEGIN PRIVATE KEY-----%s-----END PRIVATE KEY-----",
  " 1\t-----BEGIN PRIVATE KEY-----\n 2\t%s\n 3\t-----END PRIVATE KEY-----",
  "+-----BEGIN PRIVATE KEY-----\n+%s\n+-----END PRIVATE KEY-----", "PrivateKey = %s",
  "PresharedKey = %s", 'psk="%s"', "wpa_passphrase=%s", "spring.datasource.password=%s",
  'db.password: "%s"', "+  password: %s", "-  password: %s", '  password:   "%s"   # comment',
  "Your API key: %s", "API key: %s", "key: sk-%s", "\27[31mtoken\27[0m: \27[32m%s\27[0m",
  'let token = "%s";', "const API_KEY = '%s'", 'String password = "%s";', 'password := "%s"',
  'password <- "%s"', "f(token=%s)", "[token: %s]", "curl --user=u:%s http://x",
  'curl -u "u:%s" x', "sshpass -p '%s' ssh h", "mysqldump -p%s db", '["curl","-u","u:%s"]',
  '["curl","-uu:%s"]', '["curl","--user=u:%s"]', '["tool","--token","%s"]',
  '["tool","--token=%s"]', '["docker","login","-p","%s"]', '["sshpass","-p","%s","ssh"]',
  '[["Authorization","%s"]]', '[["authorization","Bearer %s"],["a","b"]]', '["Cookie","sid=%s"]',
  '[["GITHUB_TOKEN","%s"]]', '{"name":"GITHUB_TOKEN","value":"%s"}',
  '{"value":"%s","name":"GITHUB_TOKEN"}', '{"key": "apiKey", "value": "%s"}',
  '{"keyPath":"a.api_key","value":"%s"}', '{"keyPath":["a","api_key"],"value":"%s"}',
  '{"keyPath":"a.api_key","value":["%s"]}', '{"name":"GITHUB_TOKEN",\n  "value":"%s"}',
  '{"tokens":["%s"]}', '{"passwords":{"a":"%s"}}', '{"secrets":["a","%s"]}', 'GITHUB_TOKEN=$"%s"',
  "password => %s", "<Token>%s</Token>", "secret: |2-\n   %s",
  'Authorization: OAuth realm="x", oauth_signature="%s"', 'Cookie: a="b c"; sid=%s',
  "machine h\n\tlogin u password %s", "[ 'x', '--password', '%s' ]",
}

--- What is not looked for, by the reason why.
local left_alone = {
  ["a sentence or a table, where any word may follow"] = {
    "| password | %s |", "password\t%s", "Password for 'https://u@h': %s", "password is %s",
    "my password is %s", "the token is %s", "token was: %s", "Api-Key %s", "t o k e n = %s",
    "(token %s)",
  },
  ["a call or a declaration in somebody's program, as are most that have these names"] = {
    "password.db=%s", 'var apiKey string = "%s"', 'apiKey: string = "%s"', '#define PASSWORD "%s"',
    'setPassword("%s")', '.withToken("%s")', "set_token('%s')", 'token("%s")',
    'Token{value: "%s"}', "token[%s]",
  },
  ["a value on another line, or behind a quote within a bare word"] = {
    'password=a\\"%s', "password:\n  %s", "password=\\\\\n%s", "Authorization: Bearer\n %s",
    'token =\n  "%s"', 'token = (\n "%s"',
    "PuTTY-User-Key-File-3: ssh-ed25519\nPrivate-Lines: 1\n%s\nPrivate-MAC: x",
  },
  ["a word of a command that neither an option nor a name says to be secret"] = {
    "gh auth login --with-token <<< %s", "echo %s | gh auth login --with-token",
    "echo %s | docker login --password-stdin", "htpasswd -b file user %s", "set -gx TOKEN %s",
    "setx TOKEN %s", "requirepass %s",
  },
  ["a name that most often stands before what is no secret"] = {
    "--key %s", "https://x/?key=%s&a=1", '"private_key_id": "%s"', '"pin":"%s"', '"session":"%s"',
    '"sessionId":"%s"', '"ssh_key":"%s"', "token/%s",
  },
  ["an address of a form of its own"] = {
    "jdbc:oracle:thin:u/%s@h", "u:p%%40%s@host",
  },
  ["a name that is spelled so that no program would read it"] = {
    "password&#61;%s", "tok\27[0men=%s", "tokеn=%s", "ｔｏｋｅｎ=%s", "token\\u200b=%s",
  },
}

--- Secrets that are known by how they begin: the prefix, how many letters and digits follow, and
--- which.
local prefixes = {
  { "sk_live_", 24 }, { "rk_live_", 24 }, { "sk-ant-api03-", 60 }, { "sk-or-v1-", 60 },
  { "sk-svcacct-", 40 }, { "sk-admin-", 40 }, { "sess-", 40 }, { "pypi-AgEIcHlwaS5vcmc", 60 },
  { "dop_v1_", 64 }, { "shpat_", 32 }, { "xapp-1-A1-", 40 }, { "xoxp-", 40 },
  { "xoxe.xoxp-1-", 60 }, { "ya29.", 60 }, { "glpat-", 20 }, { "gldt-", 20 },
  { "ATATT3xFfGF0", 60 }, { "gsk_", 52 }, { "r8_", 37 }, { "dckr_pat_", 27 },
  { "ASIA", 16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567" }, { "hvs.", 90 },
  { "AGE-SECRET-KEY-1", 58, "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L" }, { "whsec_", 32 },
  { "lin_api_", 40 }, { "sntrys_", 60 }, { "ghs_", 36 }, { "ghu_", 36 }, { "ghr_", 36 },
  { "npm_", 36 }, { "SG.", 66 }, { "AIza", 35 }, { "hf_", 34 }, { "fw_", 24 }, { "pplx-", 48 },
  { "xai-", 70 }, { "nvapi-", 64 }, { "tvly-", 32 }, { "secret_", 43 }, { "ntn_", 46 },
  { "figd_", 40 }, { "EAAC", 60 }, { "at-", 40 }, { "rt-", 40 }, { "rt_", 40 },
}

local function planted(form, secret)
  local at = assert(form:find("%s", 1, true), form)
  return form:sub(1, at - 1) .. secret .. form:sub(at + 2)
end

local function message(params) return json.encode { method = "item/x", params = params } end

--- What is written down of a text, in each way in which it may come.
local ways = {
  text = function(text) return log.redact(text) end,
  ["text of a message"] = function(text) return log.redact(message { delta = text }) end,
  message = function(text) return recording.redact(message { delta = text }) end,
  inner = function(text)
    return recording.redact(message { delta = json.encode { t = text } })
  end,
  innermost = function(text)
    return recording.redact(message { delta = json.encode { t = json.encode { text } } })
  end,
  key = function(text) return recording.redact(message { [text] = 1 }) end,
  ["what is no message"] = function(text) return recording.redact(text .. " {") end,
}

--- Whether the secret, or one of its ends, is still to be seen.
local function is_shown(clean, secret)
  return clean:find(secret, 1, true) or clean:find(secret:sub(-8), 1, true)
end

--- The ways in which a form shows one of so many secrets.
local function leaks(form, make, count)
  local list = {}
  for _ = 1, count do
    local secret = make()
    for name, way in pairs(ways) do
      local clean = way(planted(form, secret))
      if is_shown(clean, secret) then
        list[#list + 1] = ("%s, as %s: %s"):format(form, name, clean)
      end
    end
  end
  return list
end

describe("a secret of any form", function()
  for _, length in ipairs { 20, 40 } do
    it(("is hidden, with %d characters"):format(length), function()
      math.randomseed(length)
      for _, form in ipairs(forms) do
        assert.same({}, leaks(form, function() return random(length) end, 3))
      end
    end)
  end

  it("is hidden where its prefix is known", function()
    math.randomseed(3)
    for _, one in ipairs(prefixes) do
      local function make() return one[1] .. random(one[2], one[3]) end
      assert.same({}, leaks("here: %s.", make, 3))
    end
  end)

  it("is seen in the forms that are left alone, or they are no longer", function()
    math.randomseed(4)
    for why, list in pairs(left_alone) do
      for _, form in ipairs(list) do
        local shown = leaks(form, function() return random(20) end, 1)
        assert.is_true(#shown > 0, ("%s is hidden now (%s)"):format(form, why))
      end
    end
  end)
end)

describe("a message of JSON", function()
  it("that the log hides secrets of is JSON still", function()
    math.randomseed(5)
    for _, form in ipairs(forms) do
      -- A single quote may end beyond the text that it is in.
      if not form:find("'", 1, true) then
        local clean = log.redact(message { delta = planted(form, random(20)), more = { "x" } })
        assert(json.decode(clean) ~= nil, clean)
      end
    end
  end)
end)
