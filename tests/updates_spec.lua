--- Whether there is a newer Codex: three sources on this machine, and everything that can be wrong
--- with their answers.
---
--- npm's answer is a capture (of 2026-11-21; most versions and the addresses of the archives are
--- left out). Homebrew and GitHub were not reachable when this was written. The cask is the one
--- that Codex's own tests have (crate tui, updates.rs); the releases have fields of GitHub's REST
--- API, with tags and times that were real on 2026-09-16.

local codex = require "codex"
local files = require "codex.files"
local httpd = require "codex.core.httpd"
local install = require "codex.updates.install"
local json = require "codex.json"
local peers = require "tests.support.peers"
local proc = require "codex.proc"
local program = require "tests.support.program"
local semver = require "codex.semver"
local sources = require "codex.updates.sources"
local uv = require "luv"

local packument = assert(files.read(program.root .. "/tests/fixtures/npm-codex-2026-11-21.json"))
local cask =
  [[{"token":"codex","full_token":"codex","tap":"homebrew/cask","version":"0.96.0"}]]
local release = [[{"tag_name":"rust-v0.154.0","draft":false,"prerelease":false,
  "html_url":"https://github.com/openai/codex/releases/tag/rust-v0.154.0",
  "published_at":"2026-09-09T22:35:38Z","assets":[]}]]
local alpha_release = [[{"tag_name":"rust-v0.155.0-alpha.9","draft":false,"prerelease":true,
  "published_at":"2026-09-16T01:34:34Z","assets":[]}]]

local NPM, BREW = "/@openai/codex", "/api/cask/codex.json"
local GITHUB, RELEASES = "/repos/openai/codex/releases/latest", "/repos/openai/codex/releases"

-- ---- The sources -------------------------------------------------------------------------------

--- A server whose routes are texts, or functions that answer. `asked` has the paths, `headers` what
--- came with them.
local function serve(routes)
  local world = { routes = routes, asked = {}, headers = {} }
  world.server = assert(httpd.listen({}, function(request)
    local path = request:path()
    table.insert(world.asked, path)
    table.insert(world.headers, request:headers())
    local answer = world.routes[path]
    if type(answer) == "function" then return answer(request) end
    request:respond(answer and 200 or 404, { ["content-type"] = "application/json" })
    request:write(answer or [[{"message":"Not Found"}]])
    request:finish()
  end))
  world.url = "http://127.0.0.1:" .. world.server:port()
  return setmetatable(world, { __close = function() world.server:close() end })
end

local function all_three() return { [NPM] = packument, [BREW] = cask, [GITHUB] = release } end

local function answer_with(status, headers, body)
  return function(request)
    request:respond(status, headers)
    if body then request:write(body) end
    request:finish()
  end
end

local function with_tags(tags) return json.encode { ["dist-tags"] = tags } end

--- Checks with all sources on the server, and without a cache where none is named.
local function check(world, more, cx)
  local given = {
    cache = false, timeout = 5, installed = "0.150.0", method = "npm",
    urls = { npm = world.url, homebrew = world.url, github = world.url },
  }
  for name, value in pairs(more or {}) do given[name] = value end
  return assert((cx or codex.with { home = "/nonexistent" }).updates.check(given))
end

local function iso(time) return os.date("!%Y-%m-%dT%H:%M:%SZ", time) end

-- ---- What is said ------------------------------------------------------------------------------

describe("updates.check", function()
  it("says that there is a newer one, who says so, and how to get it", function()
    local world <close> = serve(all_three())
    local before = iso()
    local advisory = check(world)
    assert.is_true(advisory.checked_at >= before and advisory.checked_at <= iso())
    advisory.checked_at = nil
    assert.same({
      status = "update", behind = true, installed = "0.150.0", latest = "0.169.0",
      channel = "stable", source = "npm", install_method = "npm", notes = {},
      command = "npm install -g @openai/codex@latest",
    }, advisory)
    assert.same({ NPM }, world.asked)
  end)

  it("says that the installed one is the newest, or newer than anybody knows", function()
    local world <close> = serve(all_three())
    local same = check(world, { installed = "0.169.0" })
    local newer = check(world, { installed = "1.0.0" })
    assert.same({ "up_to_date", false }, { same.status, same.behind })
    assert.same({ "newer_than_known", false }, { newer.status, newer.behind })
  end)

  it("reads what each source answers", function()
    local world <close> = serve(all_three())
    for name, expected in pairs { npm = "0.169.0", homebrew = "0.96.0", github = "0.154.0" } do
      local advisory = check(world, { sources = { name } })
      assert.same({ name, expected }, { advisory.source, advisory.latest })
    end
    world.routes[BREW] = [[{"token":"codex","version":"0.154.0,7"}]]
    assert.equal("0.154.0", check(world, { sources = { "homebrew" } }).latest)
  end)

  it("asks first where this Codex came from", function()
    local world <close> = serve(all_three())
    local first = { npm = NPM, bun = NPM, pnpm = NPM, unknown = NPM, homebrew = BREW,
      standalone = GITHUB }
    for method, path in pairs(first) do
      world.asked = {}
      local advisory = check(world, { method = method })
      assert.same({ path }, world.asked, method)
      assert.equal(method, advisory.install_method)
    end
    world.routes[BREW] = nil
    local advisory = check(world, { method = "homebrew" })
    assert.same({ "homebrew: answered 404", "this is from github; Homebrew may not have it yet" },
      advisory.notes)
  end)

  it("looks for pre-releases where one is installed, and for a release that is newer", function()
    local tags = { latest = "0.154.0", alpha = "0.155.0-alpha.14" }
    local world <close> = serve { [NPM] = with_tags(tags) }
    local advisory = check(world, { installed = "0.155.0-alpha.13" })
    assert.same({ "alpha", "0.155.0-alpha.14", "update", "npm install -g @openai/codex@alpha" },
      { advisory.channel, advisory.latest, advisory.status, advisory.command })
    assert.equal("0.154.0",
      check(world, { installed = "0.155.0-alpha.13", channel = "stable" }).latest)
    world.routes[NPM] = with_tags { latest = "0.155.0", alpha = "0.155.0-alpha.14" }
    advisory = check(world, { installed = "0.155.0-alpha.14" })
    assert.same({ "0.155.0", "npm install -g @openai/codex@latest" },
      { advisory.latest, advisory.command })
    assert.equal("CODEX_RELEASE=0.155.0-alpha.14",
      install.command("standalone", nil, semver.parse "0.155.0-alpha.14"):match "CODEX_RELEASE=%S+")
  end)

  it("goes on to GitHub's list where npm has no tag for pre-releases", function()
    local routes = all_three()
    routes[RELEASES] = ("[%s,%s,%s,%s]"):format([[{"tag_name":"desktop-v2.0.0"}]],
      [[{"tag_name":"rust-v0.199.0-alpha.1","draft":true}]], alpha_release, release)
    local world <close> = serve(routes)
    local advisory = check(world, { channel = "alpha", sources = { "npm", "homebrew", "github" } })
    assert.same({ "github", "0.155.0-alpha.9" }, { advisory.source, advisory.latest })
    assert.same({ "npm: has no version with the tag 'alpha'", "homebrew: has no pre-releases" },
      advisory.notes)
    assert.same({ NPM, RELEASES }, world.asked)
  end)

  it("says what was not tested", function()
    local world <close> = serve(all_three())
    assert.is_nil(check(world).untested)
    assert.is_false(check(world, { supported = ">=0.120 <0.170" }).untested)
    local latest = check(world, { supported = ">=0.120 <0.169" })
    assert.is_true(latest.untested)
    assert.same({ "the latest one, 0.169.0, is not in >=0.120 <0.169" }, latest.notes)
    local both = check(world, { supported = "<0.120" })
    assert.same({ "the installed one, 0.150.0, is not in <0.120",
      "the latest one, 0.169.0, is not in <0.120" }, both.notes)
  end)

  it("does not compare with what somebody built", function()
    local world <close> = serve(all_three())
    local advisory = check(world, { installed = "0.0.0" })
    assert.same({ "unknown", false, "0.169.0" },
      { advisory.status, advisory.behind, advisory.latest })
  end)

  it("names the caller's mistakes", function()
    local cases = {
      [{ sources = { "apt" } }] = "option 'sources': 'apt' is none of codex, npm, homebrew, github",
      [{ channel = "beta" }] = "option 'channel': 'beta' is none of stable, alpha",
      [{ method = "apt" }] = "option 'method': 'apt' is none of npm, bun, pnpm, yarn, volta, "
        .. "asdf, mise, vite-plus, homebrew, standalone, unknown",
      [{ installed = "new" }] = "option 'installed': 'new' is no version",
      [{ supported = ">=0.1 <x" }] = "option 'supported': '<x' is no bound of versions",
      [{ every = -1 }] = "option 'every' must be a number of seconds, got -1",
      [{ source = "npm" }] = "option 'source' is unknown; did you mean 'sources'?",
    }
    for given, message in pairs(cases) do
      assert.has_error(function() codex.updates.check(given) end,
        "codex.updates.check: " .. message)
    end
    assert.has_error(function() codex.updates.check { urls = { brew = "x" } } end,
      "codex.updates.check: urls: option 'brew' is unknown")
  end)
end)

-- ---- Faults ------------------------------------------------------------------------------------

local faults = {
  { "answered 403", answer_with(403) },
  { "answered 403: too many requests from here",
    answer_with(403, { ["x-ratelimit-remaining"] = "0" }, "{}") },
  { "answered 404", answer_with(404, {}, "Not Found") },
  { "answered 500", answer_with(500, {}, "<html>") },
  { "answered 304", answer_with(304) },
  { "answered with a page, not with JSON",
    answer_with(200, { ["content-type"] = "text/html" }, "\n<!DOCTYPE html><p>Log in</p>") },
  { "the answer is not JSON, or only a part of it", packument:sub(1, 3000), prefix = true },
  { "the answer is not JSON, or only a part of it", "", prefix = true },
  { "the answer has no tag 'latest'", "[]" },
  { "the answer has no tag 'latest'", "17" },
  { "the answer has no tag 'latest'", [[{"dist-tags":{"latest":170}}]] },
  { "'soon' is no version", with_tags { latest = "soon" } },
  { "names 9.9.9, and does not have it yet",
    (packument:gsub([["latest": "0.169.0"]], [["latest": "9.9.9"]])) },
  { "redirects to nowhere", answer_with(302) },
  { "redirects again and again", answer_with(302, { location = "/@openai%2fcodex" }) },
}

describe("updates.check, where npm", function()
  for _, fault in ipairs(faults) do
    it(fault[1] .. (fault.prefix and #fault[2] or ""), function()
      local routes = all_three()
      routes[NPM] = fault[2]
      local world <close> = serve(routes)
      local advisory = check(world)
      assert.same({ "github", "0.154.0", "update" },
        { advisory.source, advisory.latest, advisory.status })
      assert.equal(1, #advisory.notes)
      local said = fault.prefix and advisory.notes[1]:sub(1, #fault[1] + 5) or advisory.notes[1]
      assert.equal("npm: " .. fault[1], said)
    end)
  end

  it("breaks off in the middle, asks somebody else", function()
    local routes = all_three()
    routes[NPM] = function(request)
      request:respond(200)
      request:write(packument:sub(1, 3000))
      request:abort()
    end
    local world <close> = serve(routes)
    local advisory = check(world)
    assert.equal("github", advisory.source)
    assert.truthy(advisory.notes[1]:find("^npm: GET http://127.0.0.1:%d+: "))
  end)

  it("never answers, goes on when its time is over", function()
    local routes = all_three()
    routes[NPM] = function() end
    local world <close> = serve(routes)
    local started = uv.hrtime()
    local advisory = check(world, { timeout = 0.3 })
    assert.is_true((uv.hrtime() - started) / 1e9 < 2)
    assert.same({ "github", { "npm: did not answer within 0.3 seconds" } },
      { advisory.source, advisory.notes })
  end)

  it("leads to another host, does not go there", function()
    local other <close> = serve(all_three())
    for _, location in ipairs { other.url .. NPM, "//127.0.0.1:" .. other.server:port() .. NPM,
      "file:///etc/passwd" } do
      local routes = all_three()
      routes[NPM] = answer_with(301, { location = location })
      local world <close> = serve(routes)
      assert.same({ "npm: redirects to another host, which is not asked" }, check(world).notes)
    end
    assert.same({}, other.asked)
  end)

  it("leads on on the same host, goes there", function()
    local world <close> = serve { ["/moved"] = packument }
    world.routes[NPM] = answer_with(307, { location = "/moved" })
    assert.equal("npm", check(world).source)
    world.routes[NPM] = answer_with(308, { location = world.url .. "/moved" })
    assert.equal("npm", check(world).source)
  end)
end)

describe("updates.check, offline,", function()
  it("does not know, which is no error", function()
    local world = serve {}
    world.server:close()
    local advisory = check(world)
    assert.same({ "unknown", false }, { advisory.status, advisory.behind })
    assert.is_nil(advisory.latest)
    assert.is_nil(advisory.checked_at)
    assert.equal(3, #advisory.notes)
    assert.truthy(advisory.notes[2]:find("^github: GET http://127.0.0.1"))
  end)
end)

describe("what servers and files say of updates", function()
  it("reaches a terminal as text, in one line", function()
    local dir, remove = program.folder()
    local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
    local evil = "\27[2J\7\u{9b}31m\u{202e}\n\127"
    local world <close> = serve {
      [NPM] = json.encode { ["dist-tags"] = { latest = "9.9.9" .. evil } },
      [GITHUB] = json.encode { tag_name = "rust-v" .. evil, draft = false, prerelease = false },
      [BREW] = json.encode { version = evil },
    }
    program.write(dir .. "/version.json", json.encode { latest_version = "0.150.0",
      last_checked_at = iso(os.time()), dismissed_version = "0.150.0" .. evil })
    local notes = check(world, {}, codex.with { home = dir }).notes
    notes = table.move(check(world).notes, 1, 9, #notes + 1, notes)
    assert.is_true(#notes >= 3)
    for _, note in ipairs(notes) do
      assert.is_nil(note:find "[%c]")
      assert.is_nil(note:find "\u{9b}")
      assert.is_nil(note:find "\u{202e}")
    end
    program.write(dir .. "/codex", "#!/bin/sh\nprintf 'codex-cli 0.1.0-a\\033[2J\\n'\n", 493)
    for _, more in ipairs { "--refresh", "--json" } do
      local result = program.run({ "updates", more, "--source", "npm", "--source", "github",
        "--url", "npm=" .. world.url, "--url", "github=" .. world.url }, { env = {
        CODEX_BINARY = dir .. "/codex", XDG_CACHE_HOME = dir, CODEX_HOME = dir .. "/home" } })
      local said = result.stdout .. result.stderr
      assert.truthy(said:find "npm", said)
      assert.is_nil(said:gsub("\n", ""):find "%c", said)
      assert.is_nil(said:find "\u{9b}")
    end
  end)
end)

-- ---- What is kept ------------------------------------------------------------------------------

describe("what is known of updates", function()
  local dir, remove, path
  before_each(function()
    dir, remove = program.folder()
    path = dir .. "/a/updates.json"
  end)
  after_each(function() remove() end)

  local function entries() return json.decode(assert(files.read(path))).answers end

  --- Changes the only entry of the cache.
  local function change(fields)
    local cache = json.decode(assert(files.read(path)))
    local _, entry = next(cache.answers)
    for name, value in pairs(fields) do entry[name] = value end
    assert(files.write(path, json.encode(cache)))
  end

  it("is good for 20 hours, or as long as one says", function()
    local world <close> = serve(all_three())
    local first = check(world, { cache = path })
    assert.same(first, check(world, { cache = path }))
    assert.equal(1, #world.asked)
    local hours = iso(os.time() - 19 * 3600)
    change { checked_at = hours }
    assert.equal(hours, check(world, { cache = path }).checked_at)
    assert.equal(1, #world.asked)
    check(world, { cache = path, every = 18 * 3600 })
    change { checked_at = iso(os.time() - 21 * 3600) }
    check(world, { cache = path })
    change { checked_at = iso(os.time() + 3600) } -- the clock was wrong
    check(world, { cache = path })
    assert.equal(4, #world.asked)
    check(world, { cache = path, every = 0 })
    assert.equal(5, #world.asked)
    assert.equal(tonumber("600", 8), uv.fs_stat(path).mode & tonumber("777", 8))
  end)

  it("is asked for again with what the server gave it, and 304 is an answer", function()
    local world <close> = serve(all_three())
    local modified = "Fri, 20 Nov 2026 22:00:00 GMT"
    world.routes[NPM] = answer_with(200, { etag = '"a1"', ["last-modified"] = modified }, packument)
    check(world, { cache = path })
    assert.is_nil(world.headers[1]["if-none-match"])
    world.routes[NPM] = answer_with(304)
    local old = iso(os.time() - 30 * 3600)
    change { checked_at = old }
    local advisory = check(world, { cache = path })
    assert.same({ '"a1"', modified },
      { world.headers[2]["if-none-match"], world.headers[2]["if-modified-since"] })
    assert.same({ "0.169.0", "npm", {} }, { advisory.latest, advisory.source, advisory.notes })
    assert.is_true(advisory.checked_at > old)
    check(world, { cache = path })
    assert.equal(2, #world.asked)
  end)

  it("stands in when nobody answers, with the time when it was known", function()
    local world <close> = serve(all_three())
    check(world, { cache = path })
    world.routes = {}
    local old = iso(os.time() - 100 * 3600)
    change { checked_at = old }
    local advisory = check(world, { cache = path })
    assert.same({ "update", "0.169.0", old, "npm" },
      { advisory.status, advisory.latest, advisory.checked_at, advisory.source })
    assert.same({ "npm: answered 404", "github: answered 404", "homebrew: answered 404",
      "nobody answered; this was known on " .. old }, advisory.notes)
    for _, time in ipairs { "2000-03-01T00:00:00Z", "2024-02-29T23:59:59Z", "2025-01-01T00:00:00Z",
      "2025-12-31T12:30:01Z", "2026-02-28T01:02:03Z" } do
      change { checked_at = time }
      assert.equal(time, check(world, { cache = path }).checked_at)
    end
    change { checked_at = iso(os.time() - 200 * 3600) }
    world.routes[GITHUB] = release
    check(world, { cache = path, sources = { "github" }, every = 0 })
    world.routes = {}
    assert.equal("github", check(world, { cache = path, every = 0 }).source) -- the youngest
  end)

  it("is asked for again when what is installed is newer", function()
    local world <close> = serve(all_three())
    check(world, { cache = path })
    world.routes[NPM] = with_tags { latest = "0.170.0" }
    local advisory = check(world, { cache = path, installed = "0.169.1" })
    assert.same({ "0.170.0", "update" }, { advisory.latest, advisory.status })
  end)

  it("is kept for each source, mirror and channel, and may be no cache of ours", function()
    local world <close> = serve(all_three())
    world.routes[NPM] = with_tags { latest = "0.169.0", alpha = "0.170.0-alpha.1" }
    check(world, { cache = path })
    assert.equal("0.170.0-alpha.1", check(world, { cache = path, channel = "alpha" }).latest)
    assert.equal("0.154.0", check(world, { cache = path, sources = { "github" } }).latest)
    assert.equal("0.169.0", check(world, { cache = path }).latest)
    assert.equal(3, #world.asked)
    world.routes["/mirror" .. NPM] = with_tags { latest = "0.168.0" }
    local mirror = { npm = world.url .. "/mirror/" }
    assert.equal("0.168.0", check(world, { cache = path, urls = mirror }).latest)
    for _, text in ipairs { "", "{", "[]", [[{"format":1,"answers":7}]], [[{"format":99}]] } do
      assert(files.write(path, text))
      assert.equal("0.169.0", check(world, { cache = path }).latest)
      assert.is_truthy(next(entries()))
    end
    change { version = "rm -rf" }
    assert.equal("0.169.0", check(world, { cache = path }).latest)
  end)

  it("is thrown away where it is damaged, and asked for anew, whatever is there", function()
    local world <close> = serve(all_three())
    local function entry(more)
      local one = { version = "0.160.0", checked_at = iso(os.time() - 100000) }
      for name, value in pairs(more) do one[name] = value end
      return json.encode { format = 1, answers = { ["npm stable " .. world.url] = one } }
    end
    check(world, { cache = path })
    local good = assert(files.read(path))
    local texts = { '{"format":1,"answers":[]}', '{"format":1,"answers":[1,{"version":5}]}',
      entry { etag = "a\r\nX-Evil: 1" }, entry { etag = { 1 }, last_modified = 5 },
      entry { checked_at = {} }, entry { version = "0.160.0-\27[2J" },
      '{"format":1,"answers":null}',
      '{"format":1,"answers":{"a\\ud800b":{"version":"\\ud800"},"k":7}}', ("["):rep(5000),
      entry { more = ("x"):rep(3 << 20) }, "\0\255\254", "null", '"text"' }
    for n = 1, #good, 7 do texts[#texts + 1] = good:sub(1, n) end
    for _, text in ipairs(texts) do
      assert(files.write(path, text))
      assert.equal("0.169.0", check(world, { cache = path }).latest, text)
      local asked = #world.asked
      assert.equal("0.169.0", check(world, { cache = path }).latest) -- now it is known
      assert.equal(asked, #world.asked, text:sub(1, 200))
    end
    for _, place in ipairs { "folder", "fifo", "loop" } do
      os.remove(path)
      assert(require("codex.proc").run { "sh", "-c", ({ folder = 'mkdir "$1"',
        fifo = 'mkfifo "$1"', loop = 'ln -s "$1" "$1"' })[place], "sh", path })
      assert.equal("0.169.0", check(world, { cache = path }).latest, place)
      assert.truthy(next(entries()), place)
    end
  end)

  it("has no password of a mirror's URL in it", function()
    local world <close> = serve(all_three())
    local base = world.url:gsub("//", "//me:hunter2@")
    check(world, { cache = path, urls = { npm = base }, sources = { "npm" } })
    assert.equal("Basic bWU6aHVudGVyMg==", world.headers[1].authorization)
    assert.is_nil(files.read(path):find("hunter2", 1, true))
    world.routes = {}
    local advisory = check(world, { urls = { npm = base }, sources = { "npm" } })
    assert.is_nil(json.encode(advisory):find("hunter2", 1, true))
  end)

  it("is in the user's cache by default, and nowhere where it is not wanted", function()
    local world <close> = serve(all_three())
    local code = [[
      local codex = require "codex"
      local given = { installed = "0.1.0", sources = { "npm" }, urls = { npm = %q } }
      given.cache = %s
      print(assert(codex.updates.check(given)).latest)]]
    local env = { XDG_CACHE_HOME = dir .. "/cache" }
    local file = dir .. "/cache/codex-lua/updates.json"
    assert.equal("0.169.0\n", program.eval(code:format(world.url, "false"), { env = env }).stdout)
    assert.is_nil((files.read(file)))
    assert.equal("0.169.0\n", program.eval(code:format(world.url, "nil"), { env = env }).stdout)
    assert.truthy(files.read(file):find("0.169.0", 1, true))
  end)

  it("is not needed: a cache that cannot be written stops nothing", function()
    local world <close> = serve(all_three())
    assert.equal("0.169.0", check(world, { cache = "/proc/updates.json" }).latest)
  end)
end)

-- ---- Codex's own version.json ------------------------------------------------------------------

describe("Codex's own version.json", function()
  local dir, remove, cx
  before_each(function()
    dir, remove = program.folder()
    cx = codex.with { home = dir }
  end)
  after_each(function() remove() end)

  --- As Codex writes it: one line, and nine digits of a second.
  local function write(latest, age, dismissed)
    local time = os.date("!%Y-%m-%dT%H:%M:%S.123456789Z", os.time() - age)
    local text = ('{"latest_version":"%s","last_checked_at":"%s","dismissed_version":%s}\n')
    program.write(dir .. "/version.json", text:format(latest, time, dismissed or "null"))
  end

  it("is believed while it is fresh, and nobody is asked", function()
    local world <close> = serve(all_three())
    write("0.168.0", 3600)
    local advisory = check(world, {}, cx)
    assert.same({ "0.168.0", "codex", "update" },
      { advisory.latest, advisory.source, advisory.status })
    assert.equal(iso(os.time() - 3600):sub(1, 16), advisory.checked_at:sub(1, 16))
    assert.same({}, world.asked)
    assert.same({}, check(world, { method = "homebrew" }, cx).notes)
    write("0.168.0", 3600, '"0.168.0"')
    assert.same({ "0.168.0 was dismissed in Codex's own reminder" }, check(world, {}, cx).notes)
  end)

  it("is not believed when it is old, of another channel, or from before an update", function()
    local world <close> = serve(all_three())
    write("0.168.0", 21 * 3600)
    assert.equal("npm", check(world, {}, cx).source)
    write("0.168.0", 3600)
    assert.equal("npm", check(world, { every = 60 }, cx).source)
    assert.equal("npm", check(world, { installed = "0.168.1" }, cx).source)
    assert.equal("npm", check(world, { sources = { "npm" } }, cx).source)
    world.routes[NPM] = with_tags { latest = "0.1.0", alpha = "0.200.0-alpha.1" }
    assert.equal("npm", check(world, { channel = "alpha" }, cx).source)
  end)

  it("is better than nothing when nobody answers", function()
    local world <close> = serve {}
    write("0.168.0", 90 * 3600)
    local advisory = check(world, {}, cx)
    assert.same({ "0.168.0", "codex" }, { advisory.latest, advisory.source })
    assert.truthy(advisory.notes[4]:find "^nobody answered; this was known on ")
  end)

  it("may be something else", function()
    local world <close> = serve(all_three())
    for _, text in ipairs { [[{"latest_version":"x","last_checked_at":"2026-11-21T00:00:00Z"}]],
      [[{"latest_version":"1.0.0","last_checked_at":"yesterday"}]], "{}" } do
      program.write(dir .. "/version.json", text)
      local advisory = check(world, {}, cx)
      assert.same({ "npm", { "codex: its version.json is not as expected" } },
        { advisory.source, advisory.notes })
    end
    program.write(dir .. "/version.json", "{")
    assert.same({}, check(world, {}, cx).notes)
  end)
end)

-- ---- How it was installed ----------------------------------------------------------------------

describe("how Codex was installed", function()
  local function env_of(variables) return function(name) return variables[name] end end
  local native = "/node_modules/@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex"
  local global = "npm install -g @openai/codex@latest"
  local installer = "curl -fsSL https://chatgpt.com/codex/install.sh | CODEX_NON_INTERACTIVE=1 sh"

  it("is seen by its path, and each way has its command", function()
    local cases = {
      { "/usr/lib" .. native, "npm", global },
      { "/usr/local/lib" .. native, "npm", global },
      { "/opt/homebrew/lib" .. native, "npm", global },
      { "/home/me/my app" .. native, "npm",
        "npm install --prefix '/home/me/my app' @openai/codex@latest" },
      { "/home/me/.npm-global/lib" .. native, "npm",
        "npm install -g --prefix /home/me/.npm-global @openai/codex@latest" },
      { "/home/me/.nvm/versions/node/v20.20.2/lib" .. native, "npm",
        "npm install -g --prefix /home/me/.nvm/versions/node/v20.20.2 @openai/codex@latest" },
      { "/home/me/.asdf/installs/nodejs/20.20.2/lib" .. native, "npm",
        "npm install -g --prefix /home/me/.asdf/installs/nodejs/20.20.2 @openai/codex@latest"
          .. " && asdf reshim nodejs" },
      { "/home/me/.local/share/mise/installs/node/20.20.2/lib" .. native, "npm",
        "npm install -g --prefix /home/me/.local/share/mise/installs/node/20.20.2 "
          .. "@openai/codex@latest && mise reshim" },
      { "/home/me/.npm/_npx/0123abcd" .. native, "npm", "npx @openai/codex@latest" },
      { "/home/me/.bun/install/global" .. native, "bun", "bun install -g @openai/codex@latest" },
      { "/home/me/.local/share/pnpm/global/5/node_modules/.pnpm/@openai+codex@0.169.0" .. native,
        "pnpm", "pnpm add -g @openai/codex@latest" },
      { "/home/me/.local/share/pnpm/store/v11/links/@openai/codex/0.169.0-linux-x64/26849f8b" -- 12
        .. native, "pnpm", "pnpm add -g @openai/codex@latest" },
      { "/home/me/app/node_modules/.pnpm/@openai+codex@0.169.0-linux-x64" .. native, "pnpm",
        "pnpm add --dir /home/me/app @openai/codex@latest" },
      { "/opt/bun/install/global" .. native, "bun",
        "BUN_INSTALL=/opt/bun bun install -g @openai/codex@latest" },
      { "/home/me/.config/yarn/global" .. native, "yarn", "yarn global add @openai/codex@latest" },
      { "/usr/local/share/.config/yarn/global" .. native, "yarn",
        "yarn global add @openai/codex@latest" },
      { "/home/me/.volta/tools/image/packages/@openai/codex/lib" .. native, "volta",
        "volta install @openai/codex@latest" },
      { "/home/me/.local/share/mise/installs/npm-openai-codex/0.169.0/lib" .. native, "mise",
        "mise upgrade npm:@openai/codex" },
      { "/home/me/.local/share/mise/installs/codex/0.169.0/codex", "mise", "mise upgrade codex" },
      { "/home/me/.asdf/installs/codex/0.169.0/bin/codex", "asdf", "asdf install codex latest" },
      { "/opt/homebrew/Caskroom/codex/0.154.0/bin/codex", "homebrew", "brew upgrade --cask codex" },
      { "/home/linuxbrew/.linuxbrew/Cellar/codex/0.154.0/bin/codex", "homebrew",
        "brew upgrade codex" },
      { "/home/me/.codex/packages/standalone/releases/0.169.0-x86_64-unknown-linux-musl/bin/codex",
        "standalone", installer },
      { "/usr/local/bin/codex", "standalone", installer },
    }
    for _, case in ipairs(cases) do
      local path, method, command = table.unpack(case)
      assert.equal(method, install.method(path, env_of {}), path)
      assert.equal(command, (install.command(method, path)), path)
    end
    assert.is_nil((install.command("unknown", nil)))
    local _, note = install.command("standalone", "/usr/local/bin/codex")
    assert.truthy(note:find("'/usr/local/bin/codex'", 1, true))
    assert.is_nil(select(2, install.command("standalone", cases[#cases - 1][1])))
  end)

  it("is seen by what a manager leaves in a project", function()
    local dir, remove = program.folder()
    local path = dir .. "/my app" .. native
    local package = "@openai/codex@latest"
    local quoted = ("'%s/my app'"):format(dir)
    assert(files.make_dir(dir .. "/my app/node_modules"))
    local seen = {}
    for i, mark in ipairs { "node_modules/.modules.yaml", "yarn.lock", "bun.lock", "none" } do
      program.write(("%s/my app/%s"):format(dir, mark), "")
      local method = install.method(path, env_of {})
      seen[i] = method .. ": " .. install.command(method, path)
      uv.fs_unlink(("%s/my app/%s"):format(dir, mark))
    end
    remove()
    assert.same({
      ("pnpm: pnpm add --dir %s %s"):format(quoted, package),
      ("yarn: yarn --cwd %s add %s"):format(quoted, package),
      ("bun: bun add --cwd %s %s"):format(quoted, package),
      ("npm: npm install --prefix %s %s"):format(quoted, package),
    }, seen)
  end)

  it("is seen by the shim where a project's packages are in the user's store", function()
    local store = "/home/me/.local/share/pnpm/store/v11/links/@openai/codex/0.169.0-linux-x64/2684"
    assert.equal("pnpm add --dir /home/me/app @openai/codex@latest", (install.command("pnpm",
      store .. native, nil, "/home/me/app/node_modules/.bin/codex")))
    assert.equal("pnpm add -g @openai/codex@latest", (install.command("pnpm", store .. native,
      nil, "/home/me/.local/share/pnpm/bin/codex")))
  end)

  it("is what its launcher says, where the path leaves it open", function()
    local odd = "/srv/tools" .. native
    local managers = { NPM = "npm", BUN = "bun", PNPM = "pnpm", VITE_PLUS = "vite-plus" }
    for name, method in pairs(managers) do
      local env = env_of { ["CODEX_MANAGED_BY_" .. name] = "1" }
      assert.equal(method, install.method(odd, env))
      assert.equal(method, install.method(nil, env))
      assert.equal("standalone", install.method("/usr/local/bin/codex", env))
      assert.equal("bun", install.method("/home/me/.bun/install/global" .. native, env))
    end
    assert.equal("unknown", install.method(nil, env_of {}))
  end)

  it("is seen through links", function()
    local dir, remove = program.folder()
    assert(files.make_dir(dir .. "/Caskroom/codex"))
    program.write(dir .. "/Caskroom/codex/codex", "#!/bin/sh\necho codex-cli 0.1.0\n", 493)
    assert(uv.fs_symlink(dir .. "/Caskroom/codex/codex", dir .. "/codex"))
    local world <close> = serve(all_three())
    local advisory = check(world, { sources = { "npm" } },
      codex.with { binary = dir .. "/codex", home = dir })
    local unset = assert(codex.with({ binary = dir .. "/codex", home = dir }).updates.check {
      cache = false, sources = { "github" }, urls = { github = world.url } })
    remove()
    assert.equal("0.150.0", advisory.installed)
    assert.same({ "homebrew", "0.1.0", "brew upgrade --cask codex" },
      { unset.install_method, unset.installed, unset.command })
  end)

  it("is what the instance's environment says, where there is no program", function()
    local world <close> = serve(all_three())
    local given = { cache = false, installed = "0.1.0", sources = { "npm" },
      urls = { npm = world.url } }
    local seen = {}
    uv.os_setenv("CODEX_MANAGED_BY_PNPM", "1")
    for i, settings in ipairs { {}, { env = { CODEX_MANAGED_BY_PNPM = false } },
      { clear_env = true }, { clear_env = true, env = { CODEX_MANAGED_BY_BUN = "1" } } } do
      settings.binary = "/nonexistent/codex"
      seen[i] = assert(codex.with(settings).updates.check(given)).install_method
    end
    uv.os_unsetenv "CODEX_MANAGED_BY_PNPM"
    assert.same({ "pnpm", "unknown", "unknown", "bun" }, seen)
  end)

  it("is npm for a real one, below the project that it belongs to", function()
    local world <close> = serve(all_three())
    local advisory = assert(codex.with({ binary = peers.latest, home = "/nonexistent" })
      .updates.check { cache = false, sources = { "npm" }, urls = { npm = world.url } })
    assert.same({ "0.169.0", "up_to_date", "npm" },
      { advisory.installed, advisory.status, advisory.install_method })
    assert.equal(("npm install --prefix %s @openai/codex@latest"):format(
      program.root .. "/tests/peers"), advisory.command)
  end)

  it("does not matter where the program calls itself something that is no version", function()
    local dir, remove = program.folder()
    program.write(dir .. "/codex", "#!/bin/sh\necho codex-cli 0.1.2.3\n", 493)
    local world <close> = serve(all_three())
    local advisory = assert(codex.with({ binary = dir .. "/codex", home = dir }).updates.check {
      cache = false, sources = { "npm" }, urls = { npm = world.url } })
    remove()
    assert.same({ "unknown", "0.1.2.3", "0.169.0" },
      { advisory.status, advisory.installed, advisory.latest })
    assert.same({ "what is installed: '0.1.2.3' is no version" }, advisory.notes)
  end)

  it("is an error where there is none, unless one names a version", function()
    local cx = codex.with { binary = "/nonexistent/codex", home = "/nonexistent" }
    local world <close> = serve(all_three())
    local given = { cache = false, sources = { "npm" }, urls = { npm = world.url } }
    local advisory, err = cx.updates.check(given)
    assert.is_nil(advisory)
    assert.equal("spawn", err.kind)
    given.installed = "0.100.0"
    assert.equal("update", assert(cx.updates.check(given)).status)
  end)
end)

-- ---- npm's configuration -----------------------------------------------------------------------

describe("the registry of npm", function()
  local dir, remove
  before_each(function() dir, remove = program.folder() end)
  after_each(function() remove() end)

  local function registry(variables, npmrc)
    variables.HOME = variables.HOME or dir
    if npmrc then program.write(dir .. "/.npmrc", npmrc) end
    local cx = codex.with { env = variables, clear_env = true }
    local env = function(name) return variables[name] end
    local named = sources.named_registry(env)
    if named then return named end
    return sources.default_registry(env, require("codex.instance").environment(cx))
  end

  it("is what the environment and the user's .npmrc say, the scope's own first", function()
    assert(files.make_dir(dir .. "/bin"))
    program.write(dir .. "/bin/npm", "#!/bin/sh\necho http://asked.example\n", 493)
    local path = uv.os_getenv "PATH"
    uv.os_setenv("PATH", dir .. "/bin:" .. path)
    local restored <close> = setmetatable({}, { -- luacheck: ignore 211
      __close = function() uv.os_setenv("PATH", path) end,
    })
    local plain = "; a comment\n;registry=http://no.example\n"
      .. "//r.example/:_authToken=x\nregistry = \"http://rc.example/\"\n"
    assert.equal("http://rc.example/", registry({}, plain))
    assert.equal("http://env.example/", registry({ npm_config_registry = "http://env.example/" }))
    assert.equal("http://env.example/", registry({ NPM_CONFIG_REGISTRY = "http://env.example/" }))
    local scoped = plain .. "@openai:registry=https://${WHERE}.example/npm\r\n"
    assert.equal("https://in.example/npm",
      registry({ npm_config_registry = "http://env.example/", WHERE = "in" }, scoped))
    program.write(dir .. "/other", "registry=http://other.example\n")
    assert.equal("http://other.example", registry({ npm_config_userconfig = dir .. "/other" }))
  end)

  it("is asked of npm itself otherwise, in the user's home", function()
    assert(files.make_dir(dir .. "/bin"))
    program.write(dir .. "/bin/npm", ("#!/bin/sh\n[ \"$PWD $*\" = '%s config get registry' ] "
      .. "&& echo http://npm.example/\n"):format(dir), 493)
    local path = uv.os_getenv "PATH"
    local restored <close> = setmetatable({}, { -- luacheck: ignore 211
      __close = function() uv.os_setenv("PATH", path) end,
    })
    uv.os_setenv("PATH", dir .. "/bin:" .. path)
    local found = registry { PATH = dir .. "/bin:" .. path }
    program.write(dir .. "/bin/npm", "#!/bin/sh\necho undefined\n", 493)
    local none, reason = registry { PATH = dir .. "/bin:" .. path }
    assert.equal("http://npm.example/", found)
    assert.is_nil(none)
    assert.equal("npm is not here, or not configured for a registry", reason)
  end)

  it("is not asked for again as long as the answer is good", function()
    assert(files.make_dir(dir .. "/bin"))
    local world <close> = serve(all_three())
    program.write(dir .. "/bin/npm", ("#!/bin/sh\necho >> %s/asked\necho %s\n"):format(dir,
      world.url), 493)
    local path = uv.os_getenv "PATH"
    local restored <close> = setmetatable({}, { -- luacheck: ignore 211
      __close = function() uv.os_setenv("PATH", path) end,
    })
    uv.os_setenv("PATH", dir .. "/bin:" .. path)
    local cx = codex.with { home = dir, env = { HOME = dir, npm_config_registry = false } }
    local given = { cache = dir .. "/cache", installed = "0.1.0", sources = { "npm" } }
    for _ = 1, 3 do assert.equal("0.169.0", assert(cx.updates.check(given)).latest) end
    assert.same({ "\n", { NPM } }, { files.read(dir .. "/asked"), world.asked })
  end)

  it("is where the version is asked for", function()
    local world <close> = serve { ["/mirror/@openai/codex"] = packument }
    local cx = codex.with { home = dir, env = { npm_config_registry = world.url .. "/mirror/" } }
    local advisory = assert(cx.updates.check {
      cache = false, installed = "0.1.0", sources = { "npm" } })
    assert.same({ "0.169.0", {} }, { advisory.latest, advisory.notes })
  end)

  it("has Codex, as npm says itself", function()
    local advisory = assert(codex.updates.check {
      cache = false, installed = "0.1.0", sources = { "npm" }, timeout = 20 })
    if not advisory.latest then return pending("not reachable: " .. advisory.notes[1]) end
    local view = assert(proc.run({ "npm", "view", "@openai/codex", "dist-tags.latest" },
      { timeout = 60 }))
    assert.equal(view.stdout:match "%S+", advisory.latest)
  end)
end)

-- ---- The command -------------------------------------------------------------------------------

describe("codex-lua updates", function()
  local dir, remove
  before_each(function()
    dir, remove = program.folder()
    program.write(dir .. "/codex", "#!/bin/sh\necho codex-cli 0.150.0\n", 493)
  end)
  after_each(function() remove() end)

  local function run(world, args, installed)
    if installed then
      program.write(dir .. "/codex", "#!/bin/sh\necho codex-cli " .. installed .. "\n", 493)
    end
    return program.run({ "updates", "--source", "npm", table.unpack(args or {}) }, { env = {
      CODEX_BINARY = dir .. "/codex", CODEX_HOME = dir, XDG_CACHE_HOME = dir .. "/cache",
      XDG_CONFIG_HOME = dir .. "/config", npm_config_registry = world.url,
    } })
  end

  local function hook(name, text)
    local folder = dir .. "/config/codex-lua/updates.d"
    assert(files.make_dir(folder))
    program.write(folder .. "/" .. name .. ".lua", text)
  end

  local function log() return files.read(dir .. "/log") or "" end
  local function logging(what)
    return ("local f = io.open(%q, 'a') f:write(%s, '\\n') f:close()"):format(dir .. "/log", what)
  end

  it("says in text and code whether there is one", function()
    local world <close> = serve(all_three())
    local result = run(world)
    assert.equal(10, result.code, result.stderr)
    assert.truthy(result.stdout:find(
      "^Codex 0.150.0 can be updated to 0.169.0 %(npm, 20%d%d%-.-Z%)%.\n  curl [^\n]+\n$"))
    assert.truthy(result.stderr:find("^updates: '.-/codex' is not from OpenAI's installer"))
    result = run(world, nil, "0.169.0")
    assert.same({ 0, "" }, { result.code, result.stderr })
    assert.truthy(result.stdout:find "^Codex 0.169.0 is the newest %(npm, ")
    result = run(world, nil, "0.200.0")
    assert.equal(0, result.code)
    assert.truthy(result.stdout:find "^Codex 0.200.0 is newer than 0.169.0, the newest ")
  end)

  it("does not know when nobody answers, and when there is no Codex", function()
    local world <close> = serve {}
    local result = run(world)
    assert.same({ 1, "Codex 0.150.0: whether there is a newer one is not known.\n",
      "updates: npm: answered 404\n" }, { result.code, result.stdout, result.stderr })
    uv.fs_unlink(dir .. "/codex")
    result = run(world)
    assert.same({ 1, "" }, { result.code, result.stdout })
    assert.truthy(result.stderr:find "^updates: ")
  end)

  it("gives the advisory as JSON, and keeps what it knows until --refresh", function()
    local world <close> = serve(all_three())
    local advisory = json.decode(run(world, { "--json", "--supported", "<0.160" }).stdout)
    assert.same({ "update", true, true, "0.169.0" },
      { advisory.status, advisory.behind, advisory.untested, advisory.latest })
    run(world, { "--json" })
    assert.equal(1, #world.asked)
    run(world, { "--refresh" })
    assert.equal(2, #world.asked)
    local other = run(world, { "--source", "github", "--refresh", "--channel", "stable", "--json",
      "--url", "github=" .. world.url })
    assert.equal("npm", json.decode(other.stdout).source)
    world.routes[NPM] = nil
    other = run(world, { "--source", "github", "--refresh", "--url", "github=" .. world.url,
      "--json" })
    assert.equal("github", json.decode(other.stdout).source)
  end)

  it("refuses what it does not know with code 2", function()
    local world <close> = serve {}
    for _, args in ipairs { { "--channel", "beta" }, { "--source", "apt" }, { "--url", "npm=x" },
      { "--supported", ">=x" }, { "more" } } do
      local result = run(world, args)
      assert.same({ 2, "" }, { result.code, result.stdout })
      assert.truthy(result.stderr:find("codex-lua updates: ", 1, true))
    end
    assert.same({}, world.asked)
  end)

  it("runs the user's hooks when there is an update and one asks for it", function()
    local world <close> = serve(all_three())
    hook("a", ("return function(advisory) %s end"):format(
      logging "advisory.installed .. ' ' .. advisory.latest .. ' ' .. advisory.command:sub(1, 4)"))
    hook("b", ("return { on = 'up_to_date', run = function(a) %s end }"):format(
      logging "'b ' .. a.status"))
    assert.equal(10, run(world).code)
    assert.equal("", log())
    assert.equal(10, run(world, { "--notify" }).code)
    assert.equal("0.150.0 0.169.0 curl\n", log())
    assert.equal(0, run(world, { "--notify" }, "0.169.0").code)
    assert.equal("0.150.0 0.169.0 curl\nb up_to_date\n", log())
  end)

  it("says which hook failed, and goes on", function()
    local world <close> = serve(all_three())
    hook("a", "return function() error 'no bell' end")
    hook("b", "return function() os.exit(0) end")
    hook("c", "this is no Lua")
    hook("d", ("return function() %s end"):format(logging "'d'"))
    local result = run(world, { "--notify" })
    assert.equal(10, result.code)
    assert.equal("d\n", log())
    assert.truthy(result.stderr:find("updates: the hook 'a': .-no bell"))
    assert.truthy(result.stderr:find "updates: the hook 'b': .-os.exit")
    assert.truthy(result.stderr:find "updates: [^\n]-/c.lua")
  end)

  it("runs no hooks from a folder that others can write", function()
    local world <close> = serve(all_three())
    hook("a", ("return function() %s end"):format(logging "'a'"))
    assert(uv.fs_chmod(dir .. "/config/codex-lua/updates.d", tonumber("777", 8)))
    local result = run(world, { "--notify" })
    assert.same({ 10, "" }, { result.code, log() })
    assert.truthy(result.stderr:find("can be written by others", 1, true))
  end)
end)
