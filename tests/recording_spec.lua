--- Recordings: what is written comes back byte for byte, and secrets are not written.

local files = require "codex.files"
local json = require "codex.json"
local peers = require "tests.support.peers"
local program = require "tests.support.program"
local recording = require "codex.recording"
local uv = require "luv"

local fixtures = peers.root .. "/tests/fixtures/"

--- Calls body(path) with a path for a recording in an empty folder.
local function with_path(body)
  local dir, remove = program.folder()
  local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
  body(dir .. "/session.jsonl")
end

--- Records lines, given as { dir, line }: the file's text, and what is read from it.
local function record(path, lines, opts)
  do
    local session <close> = assert(recording.open(path, opts))
    for _, each in ipairs(lines) do session:write(each[1], each[2]) end
    session:exit(0)
  end
  return assert(files.read(path)), assert(recording.read(path))
end

--- One message of the client as it is written down.
local function written(line)
  local text
  with_path(function(path)
    local _, session = record(path, { { "c2s", line } })
    text = session[1].text
  end)
  return text
end

describe("a recording", function()
  it("has a header, the messages as they were sent, and the exit", function()
    with_path(function(path)
      local lines = {
        { "c2s", '{ "id" : 1e0,"method":"initialize", "params":{"b":[],"a":{}}}' },
        { "s2c", '{"id":1e0,"result":{"userAgent":"x/0.169.0","big":12345678901234567890}}' },
        { "s2c", '{"method":"m","params":{"text":"\\u00e9 \\ud83d\\ude00 é \\"}]"},"method":"n"}' },
        { "s2c", '"a string"' },
        { "s2c", "null" },
      }
      local text, session = record(path, lines)
      for i, each in ipairs(lines) do
        assert.equal(each[1], session[i].dir)
        assert.equal(each[2], session[i].text)
        assert.is_truthy(text:find(',"msg":' .. each[2] .. "}\n", 1, true))
        assert.same(json.decode(each[2]), session[i].msg)
        assert.is_true(session[i].t >= (session[i - 1] or { t = 0 }).t and session[i].t < 10)
      end
      assert.equal("exit", session[#lines + 1].dir)
      assert.equal(0, session[#lines + 1].code)
      assert.is_truthy(text:find(
        '^{"recording":1,"time":"%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%dZ","codex":null}\n'))
      assert.equal("x/0.169.0", session.codex)
      assert.equal(1, session.runs)
      for line in text:gmatch "[^\n]+" do assert(json.decode(line)) end
    end)
  end)

  it("is readable by nobody else, also when the file was", function()
    with_path(function(path)
      program.write(path, "", 420)
      recording.open(path):close()
      assert.equal(tonumber("600", 8), uv.fs_stat(path).mode & 511)
    end)
  end)

  it("says in its header which Codex it is where that is known", function()
    with_path(function(path)
      local text, session = record(path, {}, { codex = "x/1.2.3" })
      assert.is_truthy(text:find '"codex":"x/1.2.3"}\n')
      assert.equal("x/1.2.3", session.codex)
    end)
  end)

  it("keeps what is no message of JSON", function()
    with_path(function(path)
      local lines =
        { "this is not json", '{"id":1', "", "[1,", "{} {}", "a\nb", 'tab\tquote"\\' }
      local given = {}
      for i, line in ipairs(lines) do given[i] = { "s2c", line } end
      given[#given + 1] = { "s2c", "\xff\xfe broken" }
      local text, session = record(path, given)
      for i, line in ipairs(lines) do
        assert.equal(line, session[i].text)
        assert.is_nil(session[i].msg)
      end
      assert.equal("\u{FFFD}\u{FFFD} broken", session[#given].text)
      assert.equal(#given + 2, select(2, text:gsub("\n", "")))
    end)
  end)

  it("keeps exit code and signal", function()
    with_path(function(path)
      local session = assert(recording.open(path))
      session:exit(nil, 9)
      session:close()
      session:close()
      session:write("c2s", "{}") -- no more, and no failure
      local read = assert(recording.read(path))
      assert.equal(1, #read)
      assert.equal(9, read[1].signal)
      assert.is_nil(read[1].code)
    end)
  end)

  it("does not fail who records when the file cannot be written", function()
    local result = program.eval [[
      local session <close> = assert(require "codex.recording".open "/dev/full")
      for i = 1, 3 do session:write("c2s", '{"id":1}') end
      session:exit(0)
      print "done"]]
    assert.equal("done\n", result.stdout)
    assert.equal(0, result.code)
    assert.equal(1, select(2, result.stderr:gsub("cannot record into '/dev/full'", "")))
  end)

  it("is refused in words where there can be none", function()
    local session, err = recording.open(peers.root .. "/no/such/folder/x.jsonl")
    assert.is_nil(session)
    assert.equal("io", err.kind)
    assert.is_truthy(err.message:find "^cannot record into '.*x.jsonl': ")
  end)
end)

describe("secrets in a recording", function()
  local hidden = '"[redacted]"'

  for given, expected in pairs {
    ['{"method":"account/login/start","id":1,"params":{"type":"apiKey","apiKey":"short"}}'] =
      '{"method":"account/login/start","id":1,"params":{"type":"apiKey","apiKey":'
        .. hidden .. "}}",
    ['{"id":0,"result":{"accessToken":"a b","chatgptAccountId":"acc"}}'] =
      '{"id":0,"result":{"accessToken":' .. hidden .. ',"chatgptAccountId":"acc"}}',
    ['{"refreshToken":"x","idToken":"y","token":"z", "secretAccessKey": "v","sessionToken":""}'] =
      '{"refreshToken":' .. hidden .. ',"idToken":' .. hidden .. ',"token":' .. hidden
        .. ', "secretAccessKey": ' .. hidden .. ',"sessionToken":' .. hidden .. "}",
    ['{"a":[{"authBearerToken":"x"},{"Authorization":["y","z"]}],"client_secret":"q"}'] =
      '{"a":[{"authBearerToken":' .. hidden .. '},{"Authorization":[' .. hidden .. "," .. hidden
        .. ']}],"client_secret":' .. hidden .. "}",
    ['{"password":12345678,"api_key":{"env":"NAME","n":[1,true,null]}}'] =
      '{"password":' .. hidden .. ',"api_key":{"env":' .. hidden .. ',"n":[' .. hidden
        .. ",true,null]}}",
    ['{"env":{"GITHUB_TOKEN":"ghp","PATH":"/bin"},"headers":{"X-Api-Key":"k"}}'] =
      '{"env":{"GITHUB_TOKEN":' .. hidden .. ',"PATH":"/bin"},"headers":{"X-Api-Key":' .. hidden
        .. "}}",
    ['{"api\\u004bey":"x","\\u0074oken":"y"}'] =
      '{"api\\u004bey":' .. hidden .. ',"\\u0074oken":' .. hidden .. "}",
    ['{"token":"quote \\" and \\\\","x":"}"}'] = '{"token":' .. hidden .. ',"x":"}"}',
    -- Credentials anywhere; the letter of an escape is no part of a word.
    ['{"out":"key:\\nsk-aaaaaaaaaaaaa\\u000ask-bbbbbbbbbbbbb\\n","x":"risk-aaaaaaaaaaaaaaa"}'] =
      '{"out":"key:\\n[redacted]\\n[redacted]\\n","x":"risk-aaaaaaaaaaaaaaa"}',
    ['{"auths":{"r.io":{"auth":"dXNlcjpwYXNzd29yZA=="}},"auth":"basic"}'] =
      '{"auths":{"r.io":{"auth":' .. hidden .. '}},"auth":"basic"}',
    ['{"out":"\\u001b[01;31m\\u001b[Kghp_0123456789abcdefghij\\u001b[m"}'] =
      '{"out":"\\u001b[01;31m\\u001b[K[redacted]\\u001b[m"}',
    -- What a file has is told by its length alone: "[redacted: 5 bytes]".
    ['{"id":3,"result":{"dataBase64":"aGVsbG8="},"text":"aGVsbG8="}'] =
      '{"id":3,"result":{"dataBase64":"W3JlZGFjdGVkOiA1IGJ5dGVzXQ=="},"text":"aGVsbG8="}',
    ['{"method":"fs/writeFile","params":{"dataBase64":"no base64!","path":"x"}}'] =
      '{"method":"fs/writeFile","params":{"dataBase64":"W3JlZGFjdGVkOiAxMCBieXRlc10="'
        .. ',"path":"x"}}',
    ['{"out":"Authorization: Bearer abc.def"}'] = '{"out":"Authorization: Bearer [redacted]"}',
  } do
    it("are taken out of " .. given:sub(1, 48), function()
      assert.equal(expected, written(given))
    end)
  end

  for _, given in ipairs {
    '{"id":12,"method":"account/read","params":{"refreshToken":false}}',
    '{"tokenUsage":{"totalTokens":110,"inputTokens":100},"tokens":5,"hasPassword":true}',
    '{"type":"apiKey","text":"the token: is here","key":"v","credentialId":null,"token":null}',
    '{"result":{"dataBase64":""}}', '{"result":{"dataBase64":"W3JlZGFjdGVkOiA1IGJ5dGVzXQ=="}}',
    '{"text":"a \\"apiKey\\": in a text","monkey":"x","authorizationUrl":"http://x"}',
  } do
    it("are not seen in " .. given:sub(1, 48), function() assert.equal(given, written(given)) end)
  end

  it("are taken out of lines that are no JSON", function()
    assert.equal("oops [redacted]", written "oops sk-aaaaaaaaaaaaaaaaaaaa")
    assert.equal('{"apiKey":"[redacted]","x":', written '{"apiKey":"abc","x":')
    assert.equal('}]} {"token":"[redacted]"', written '}]} {"token":"torn \\')
    assert.equal('set "token": "[redacted]" now', written 'set "token": "abc" now')
    local deep = ('{"token":'):rep(1001) .. '"abc"'
    assert.equal((deep:gsub('"abc"', hidden)), written(deep))
  end)

  it("are the answers to secret questions, and those alone, wherever they come again", function()
    with_path(function(path)
      local text, session = record(path, {
        { "s2c", '{"method":"item/tool/requestUserInput","id":0,"params":{"questions":['
          .. '{"id":"pin","isSecret":true},{"id":"name","isSecret":false}]}}' },
        { "c2s", '{"id":0,"method":"m","params":{"pin":"not an answer"}}' },
        { "c2s", '{"id":1,"result":{"answers":{"pin":{"answers":["another request"]}}}}' },
        { "c2s", '{"id":0,"result":{"answers":{"pin":{"answers":["hush-hush-9"]},"name":'
          .. '{"answers":["Ann"]}}}}' },
        { "s2c", '{"method":"item/completed","params":{"text":"it is hush-hush-9"}}' },
        { "c2s", '{"id":0.0,"result":{"answers":{"pin":{"answers":["hush again"]}}}}' },
        { "c2s", '{"id":0,"id":1,"result":{"answers":{"pin":{"answers":["hush unread' },
        { "s2c", '{"method":"item/tool/requestUserInput","id":0,"params":{"questions":['
          .. '{"id":"pin","isSecret":false}]}}' },
        { "c2s", '{"id":0,"result":{"answers":{"pin":{"answers":["later"]}}}}' },
      })
      assert.is_nil(text:find("hush", 1, true))
      assert.is_truthy(session[2].text:find("not an answer", 1, true))
      assert.is_truthy(session[3].text:find("another request", 1, true))
      assert.equal('{"id":0,"result":{"answers":{"pin":{"answers":["[redacted]"]},"name":'
        .. '{"answers":["Ann"]}}}}', session[4].text)
      assert.is_truthy(session[9].text:find("later", 1, true))
    end)
  end)
end)

describe("reading a recording", function()
  it("takes captures without times and header", function()
    local request = uv.fs_scandir(fixtures)
    local count = 0
    for name in function() return uv.fs_scandir_next(request) end do
      if name:find "^appserver%-.*%.jsonl$" then
        count = count + 1
        local session = assert(recording.read(fixtures .. name))
        local text = assert(files.read(fixtures .. name))
        local _, lines = text:gsub("\n", "")
        assert.equal(lines, #session + (session.header and 1 or 0), name)
        for _, entry in ipairs(session) do
          local is_there = not entry.text or text:find(entry.text, 1, true)
            or text:find(json.encode(entry.text), 1, true)
          assert.is_truthy(is_there, entry.text)
        end
        assert.is_truthy(session.codex, name)
      end
    end
    assert.is_true(count > 15)
  end)

  local good = '{"t":0.5,"dir":"s2c","msg":{"id":1}}\n'

  for what, bad in pairs {
    ["no JSON"] = "oops", ["no object"] = "5", ["a list"] = "[1]", ["another direction"] =
      '{"dir":"up","msg":{}}', ["no message"] = '{"t":1,"dir":"s2c"}', ["no direction"] = "{}",
    ["a text that is none"] = '{"dir":"s2c","text":5}', ["half a line"] = good:sub(1, 20),
  } do
    it("names the line that is bad: " .. what, function()
      with_path(function(path)
        program.write(path, good .. good .. bad .. "\n" .. good)
        local session, err = recording.read(path)
        assert.is_nil(session)
        assert.equal("protocol", err.kind)
        assert.equal(3, err.data.line)
        assert.is_truthy(err.message:find("line 3 of '" .. path .. "' is bad", 1, true))
      end)
    end)
  end

  it("leaves out what was torn at the end, and says so", function()
    with_path(function(path)
      for _, torn in ipairs { good:sub(1, 20), good:sub(1, -3), "{" } do
        program.write(path, good .. good .. torn)
        local session = assert(recording.read(path))
        assert.equal(2, #session)
        assert.equal(3, session.torn)
      end
      program.write(path, good .. good:sub(1, -2)) -- only the newline is missing
      local session = assert(recording.read(path))
      assert.equal(2, #session)
      assert.is_nil(session.torn)
    end)
  end)

  it("takes the last of several, also after a torn one, or the one that is asked for", function()
    with_path(function(path)
      record(path, { { "c2s", "1" } })
      local file <close> = assert(io.open(path, "a"))
      file:write '{"t":1,"dir":"c2'
      file:close()
      local _, session = record(path, { { "c2s", "2" } })
      assert.equal(2, session[1].msg)
      assert.equal(2, #session)
      assert.equal(2, session.runs)
      local first, err = recording.read(path, { run = 1 })
      assert.is_nil(first)
      assert.equal(4, err.data.line)
      assert.equal("io", select(2, recording.read(path, { run = 3 })).kind)
    end)
  end)

  it("refuses forms of later versions, and files that are not there", function()
    with_path(function(path)
      program.write(path, '{"recording":2}\n')
      assert.is_truthy(select(2, recording.read(path)).message:find "line 1 .* not known here")
      assert.equal("io", select(2, recording.read(path .. ".no")).kind)
    end)
  end)
end)
