--- The shipped notify hooks, each with the real thing: a desktop's bus, a terminal, tmux, git, and
--- a server for those that post.

local files = require "codex.files"
local host = require "codex.core.host"
local httpd = require "codex.core.httpd"
local json = require "codex.json"
local proc = require "codex.proc"
local program = require "tests.support.program"
local terminals = require "tests.support.tmux"
local uv = require "luv"
local webhook = require "codex.webhook"

local captured = assert(json.decode((files.read(program.root
  .. "/tests/fixtures/notify-0.169.0-second-turn.json"))))
local turns = 0

--- The captured payload with other members, as a turn of its own.
local function payload(members)
  local copy = {}
  for name, value in pairs(captured) do copy[name] = value end
  turns = turns + 1
  copy["turn-id"] = ("01a1fbb8-3af2-7623-84b4-%012d"):format(turns)
  for name, value in pairs(members or {}) do copy[name] = value end
  return json.encode(copy), copy
end

local dir, remove, env

local function hook(name) return program.root .. "/notify/" .. name .. ".lua" end

local function command(name, text) return { host.program, "notify", hook(name), text } end

local function run(name, text, more)
  local variables = {}
  for _, set in ipairs { env, more or {} } do
    for key, value in pairs(set) do variables[key] = value end
  end
  return assert(proc.run(command(name, text), { env = variables, timeout = 30 }))
end

local function works(...)
  local result = run(...)
  assert.same({ 0, "", "" }, { result.code, result.stdout, result.stderr })
end

local function fails(why, ...)
  local result = run(...)
  assert.equal(1, result.code)
  assert.matches(why, result.stderr)
end

--- A program in a folder of its own, which writes its arguments to a file, a line each.
local function recorder(name)
  assert(files.make_dir(dir .. "/bin"))
  program.write(dir .. "/bin/" .. name, ([[#!/bin/sh
    printf '%%s\n' "$@" > %s/args.new && mv %s/args.new %s/args]]):format(dir, dir, dir),
    tonumber("755", 8))
  return dir .. "/bin/" .. name
end

local function recorded() return files.read(dir .. "/args") end

local function before()
  dir, remove = program.folder()
  env = {
    HOME = dir, CODEX_HOME = dir .. "/codex", XDG_RUNTIME_DIR = dir .. "/run",
    XDG_CONFIG_HOME = dir .. "/config", XDG_STATE_HOME = dir .. "/state", TMUX = false,
    TMUX_PANE = false,
  }
end

local function after() remove() end

-- ---- Posting -----------------------------------------------------------------------------------

local Peer = {}
Peer.__index = Peer

--- A server that keeps what it is asked and answers with these statuses in turn, then with 204.
local function start_peer(statuses)
  local peer = setmetatable({ requests = {} }, Peer)
  peer.server = assert(httpd.listen({}, function(request)
    table.insert(peer.requests, { method = request:method(), headers = request:headers(),
      body = request:body() })
    request:respond(statuses and table.remove(statuses, 1) or 204)
    request:finish()
  end))
  peer.root = ("http://127.0.0.1:%d"):format(peer.server:port())
  return peer
end

--- The next request.
function Peer:seen() return assert(table.remove(self.requests, 1), "nothing was asked") end

function Peer:__close() self.server:close() end

describe("webhook", function()
  before_each(before)
  after_each(after)

  it("posts what Codex said, signed so that others can check it", function()
    local peer <close> = start_peer()
    local text, value = payload { ["last-assistant-message"] = "ü\n" }
    works("webhook", text,
      { CODEX_WEBHOOK_URL = peer.root, CODEX_WEBHOOK_SECRET = "a secret" })
    local request = peer:seen()
    local headers = request.headers
    assert.equal("POST", request.method)
    assert.same(value, json.decode(request.body))
    assert.same({ "application/json", value["turn-id"] },
      { headers["content-type"], headers["x-delivery-id"] })
    program.write(dir .. "/body", request.body)
    local openssl = assert(proc.run { "openssl", "dgst", "-sha256", "-hmac", "a secret",
      dir .. "/body" })
    assert.equal("sha256=" .. openssl.stdout:match "= (%x+)", headers["x-signature-256"])
  end)

  it("has the signature of RFC 4231, test case 2, and none without a secret", function()
    assert.equal("sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
      webhook.signature("Jefe", "what do ya want for nothing?"))
    local peer <close> = start_peer()
    works("webhook", (payload()), { CODEX_WEBHOOK_URL = peer.root })
    assert.is_nil(peer:seen().headers["x-signature-256"])
  end)

  it("tries again, with the same id, until it is taken", function()
    local peer <close> = start_peer { 503, 500 }
    local text, value = payload()
    works("webhook", text, { CODEX_WEBHOOK_URL = peer.root })
    assert.equal(3, #peer.requests)
    for _ = 1, 3 do assert.equal(value["turn-id"], peer:seen().headers["x-delivery-id"]) end
  end)

  it("that is refused, or not there, is a failure that does not tell its address", function()
    local peer <close> = start_peer { 404 }
    fails("answered with status 404", "webhook", (payload()),
      { CODEX_WEBHOOK_URL = peer.root .. "/hidden" })
    assert.equal(1, #peer.requests)
    fails("CODEX_WEBHOOK_URL is not set", "webhook", (payload()))
    local result = run("webhook", (payload()), { CODEX_WEBHOOK_URL = "http://127.0.0.1:1/hidden" })
    assert.equal(1, result.code)
    assert.is_nil((result.stderr .. files.read(dir .. "/state/codex-lua/notify.jsonl"))
      :find("hidden", 1, true))
  end)
end)

describe("slack and discord", function()
  before_each(before)
  after_each(after)

  local function posted(name, members)
    local peer <close> = start_peer()
    works(name, (payload(members)), { [name:upper() .. "_WEBHOOK_URL"] = peer.root })
    return assert(json.decode(peer:seen().body))
  end

  it("say what was answered, where", function()
    assert.equal("*Codex* in doc:\ntwo", posted("slack").text)
    local message = posted "discord"
    assert.same({ "Codex", "**doc**\ntwo" }, { message.username, message.content })
  end)

  it("call nobody, whatever Codex answered, and say no more than is taken", function()
    local members = { ["last-assistant-message"] = "<!channel> & @everyone " .. ("x"):rep(9000) }
    local text = posted("slack", members).text
    assert.truthy(text:find("&lt;!channel&gt; &amp; @everyone xxx", 1, true))
    local message = posted("discord", members)
    assert.same({ parse = {} }, message.allowed_mentions)
    assert.is_true(#text < 3000 and #message.content < 2000)
  end)

  it("say that no address is set", function()
    fails("SLACK_WEBHOOK_URL is not set", "slack", (payload()))
    fails("DISCORD_WEBHOOK_URL is not set", "discord", (payload()))
  end)
end)

-- ---- Here --------------------------------------------------------------------------------------

describe("log", function()
  before_each(before)
  after_each(after)

  it("appends a line for each turn to a file of the user's alone", function()
    works("log", (payload()), { CODEX_NOTIFY_LOG = dir .. "/turns" })
    works("log", (payload { ["last-assistant-message"] = json.null }),
      { CODEX_NOTIFY_LOG = dir .. "/turns" })
    local first, second = files.read(dir .. "/turns"):match "^([^\n]+)\n([^\n]+)\n$"
    first, second = assert(json.decode(first)), assert(json.decode(second))
    assert.same({ captured["thread-id"], 'And "there"?\nTwo lines, é.', "two", "codex_exec" },
      { first.thread_id, first.asked, first.answered, first.client })
    assert.is_nil(second.answered)
    assert.equal(tonumber("600", 8), uv.fs_stat(dir .. "/turns").mode & tonumber("777", 8))
  end)

  it("has a file of its own, and says when it cannot write", function()
    works("log", (payload { ["turn-id"] = "1" })) -- of an old Codex: no folder of ours is there
    assert.truthy(uv.fs_stat(dir .. "/state/codex-lua/turns.jsonl"))
    fails("ENOENT", "log", (payload()), { CODEX_NOTIFY_LOG = dir .. "/no/folder" })
  end)
end)

describe("command", function()
  before_each(before)
  after_each(after)

  local function named(...)
    return { CODEX_NOTIFY_COMMAND = json.encode(json.array { ... }) }
  end

  it("runs a program with fields of the event, each one argument, without a shell", function()
    works("command", (payload { ["last-assistant-message"] = "$(touch x) `y` ; 'z' \"" }),
      named(recorder "rec", "{thread_id} in {cwd}", "{last_assistant_message}", "{nothing}", "{}"))
    assert.equal(captured["thread-id"] .. " in /usr/share/doc\n$(touch x) `y` ; 'z' \"\n\n{}\n",
      recorded())
  end)

  it("expands once: what Codex answered is no template", function()
    works("command", (payload { ["last-assistant-message"] = "{cwd}" }),
      named(recorder "rec", "{last_assistant_message}"))
    assert.equal("{cwd}\n", recorded())
  end)

  it("says how it failed", function()
    fails("code 3: oops", "command", (payload()), named("sh", "-c", "echo oops >&2; exit 3"))
    fails("no such program", "command", (payload()), named "/no/such/program")
    fails("no JSON array", "command", (payload()))
    fails("no JSON array", "command", (payload()), { CODEX_NOTIFY_COMMAND = "ls -l" })
  end)
end)

describe("bell", function()
  before_each(before)
  after_each(after)

  --- Without a terminal, as in a session of its own.
  local function alone(path)
    local argv = table.move(command("bell", (payload())), 1, 4, 2, { "setsid" })
    local variables = { PATH = path }
    for key, value in pairs(env) do variables[key] = value end
    return assert(proc.run(argv, { env = variables, timeout = 20 }))
  end

  it("rings the terminal that Codex runs in, though nothing is connected to it", function()
    local argv = table.move(command("bell", (payload())), 1, 4, 8, { "python3", "-c",
      "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))",
      "sh", "-c", '"$@" </dev/null >/dev/null 2>&1', "sh" })
    local result = assert(proc.run(argv, { env = env, timeout = 20 }))
    assert.equal(0, result.code)
    assert.equal(1, select(2, result.stdout:gsub("\a", "")))
  end)

  it("plays a sound where there is no terminal, with the program that there is", function()
    recorder "paplay"
    local result = alone(dir .. "/bin:/bin")
    assert.equal(0, result.code, result.stderr)
    assert.matches("complete%.oga\n$", recorded())
    recorder "canberra-gtk-play"
    assert.equal(0, alone(dir .. "/bin:/bin").code)
    assert.equal("--id=complete\n", recorded())
  end)
end)

describe("git", function()
  before_each(before)
  after_each(after)

  local function git(...)
    local result = assert(proc.run({ "git", ... }, { cwd = dir .. "/repo" }))
    assert.equal(0, result.code, result.stderr)
    return result.stdout
  end

  local function repository(mode)
    assert(files.make_dir(dir .. "/repo/sub"))
    git("init", "-q")
    git("config", "user.name", "t")
    git("config", "user.email", "t@example.org")
    git("commit", "-q", "--allow-empty", "-m", "first")
    if mode then git("config", "codex.after-turn", mode) end
    program.write(dir .. "/repo/new", "x")
    return payload { cwd = dir .. "/repo/sub" }
  end

  it("commits what a turn changed, all of the repository, and says which turn it was", function()
    local text, value = repository "commit"
    works("git", text)
    assert.equal("", git("status", "--porcelain"))
    assert.equal(('Codex: And "there"?\n\nCodex-Thread: %s\nCodex-Turn: %s\n\n'):format(
      value["thread-id"], value["turn-id"]), git("log", "-1", "--format=%B"))
    works("git", (payload { cwd = dir .. "/repo" }))
    assert.equal("2\n", git("rev-list", "--count", "HEAD"))
  end)

  it("sets a tag", function()
    local text, value = repository "tag"
    works("git", text)
    assert.equal("codex/" .. value["turn-id"] .. "\n", git "tag")
    assert.equal("?? new\n", git("status", "--porcelain"))
  end)

  it("is off until the repository says otherwise", function()
    works("git", (repository()))
    assert.equal("?? new\n", git("status", "--porcelain"))
    works("git", (payload { cwd = "/" }))
  end)

  it("says what git does not do, and what it does not know", function()
    local text = repository "commit"
    program.write(dir .. "/repo/.git/hooks/pre-commit", "#!/bin/sh\necho refused >&2; exit 1\n",
      tonumber("755", 8))
    fails("git commit: refused", "git", text)
    git("config", "codex.after-turn", "push")
    fails("is commit or tag, not 'push'", "git", (payload { cwd = dir .. "/repo" }))
  end)
end)

describe("digest", function()
  before_each(before)
  after_each(after)

  it("tells of the turns of a while at once, and then of those that follow", function()
    env.CODEX_DIGEST_SECONDS = "0.7"
    env.CODEX_DIGEST_COMMAND = json.encode(json.array { recorder "rec", "word" })
    for _, answer in ipairs { "one", "two\nlines", "three" } do
      works("digest", (payload { ["last-assistant-message"] = answer }))
    end
    assert.is_nil(recorded())
    assert.is_true(program.eventually(recorded))
    assert.equal("word\n3 turns\ndoc: one\ndoc: two lines\ndoc: three\n", recorded())
    os.remove(dir .. "/args")
    works("digest", (payload { ["last-assistant-message"] = "four" }))
    assert.is_true(program.eventually(recorded))
    assert.equal("word\n1 turn\ndoc: four\n", recorded())
  end)

  it("loses none when many end at once", function()
    env.CODEX_DIGEST_SECONDS = "0.3"
    env.CODEX_DIGEST_COMMAND = json.encode(json.array { "sh", "-c",
      'printf "%s\\n" "$2" >> "$0"', dir .. "/all" })
    local list = {}
    for i = 1, 30 do
      list[i] = assert(proc.spawn(command("digest",
        (payload { ["last-assistant-message"] = "n" .. i })), { env = env }))
    end
    for _, child in ipairs(list) do assert.equal(0, child:wait().code) end
    assert.is_true(program.eventually(function()
      local _, count = (files.read(dir .. "/all") or ""):gsub("doc: n%d+\n", "")
      return count == 30
    end))
  end)

  it("writes down that nobody could be told", function()
    env.CODEX_DIGEST_SECONDS = "0"
    env.CODEX_DIGEST_COMMAND = '["/no/such/program"]'
    works("digest", (payload()))
    assert.is_true(program.eventually(function()
      local text = files.read(dir .. "/state/codex-lua/notify.jsonl")
      return text:find("digest --send", 1, true) and text:find("no such program", 1, true)
    end))
  end)
end)

-- ---- The desktop and tmux ----------------------------------------------------------------------

describe("desktop", function()
  before_each(before)
  after_each(after)

  local function has(...)
    local result = proc.run { ... }
    return result and result.code == 0
  end

  --- What a desktop on a bus of its own is told.
  local function shown(text, path)
    if not has("/usr/bin/python3", "-c", "from gi.repository import Gio")
      or not has("dbus-run-session", "--version") then
      return pending "python3-gi and dbus-run-session are not installed"
    end
    local script = ([[/usr/bin/python3 %s/tests/support/notifications.py > %s/shown &
      gdbus wait --session --timeout 10 org.freedesktop.Notifications || exit 9
      PATH="%s" "$@" || exit 8; wait]]):format(program.root, dir, path or os.getenv "PATH")
    local argv = { "dbus-run-session", "--", "sh", "-c", script, "sh",
      table.unpack(command("desktop", text)) }
    local result = assert(proc.run(argv, { env = env, timeout = 30 }))
    assert.equal(0, result.code, result.stderr)
    return assert(json.decode((files.read(dir .. "/shown"))))
  end

  local answer = 'He said "no"\\n & <b>left</b>\n-- $(x) \'é\''
  local escaped = answer:gsub("&", "&amp;"):gsub("<", "&lt;"):gsub(">", "&gt;")

  it("shows what Codex answered, by notify-send", function()
    local told = shown((payload { ["last-assistant-message"] = answer }))
    if not told then return end
    assert.same({ "Codex", "Codex", escaped, 10000 }, { told[1], told[4], told[5], told[8] })
  end)

  it("shows it by gdbus where there is no notify-send", function()
    assert(files.make_dir(dir .. "/bin"))
    assert(uv.fs_symlink("/usr/bin/gdbus", dir .. "/bin/gdbus"))
    local told = shown((payload { ["last-assistant-message"] = answer }), dir .. "/bin")
    if not told then return end
    assert.same({ "Codex", "Codex", (escaped:gsub("\n", " ")), 10000 },
      { told[1], told[4], told[5], told[8] })
  end)

  it("says when there is no desktop", function()
    local result = run("desktop", (payload()), { DBUS_SESSION_BUS_ADDRESS = "unix:path=/none" })
    assert.equal(1, result.code)
    assert.matches("codex%-lua notify: desktop: .*connect", result.stderr)
  end)
end)

describe("tmux", function()
  before_each(before)
  after_each(after)

  it("says it on the status line and names the window; what is said is no format", function()
    local text = payload { ["last-assistant-message"] = "done #(touch " .. dir
      .. "/ran) #{pid} %H #[fg=red]100%" }
    local words = {}
    for i, word in ipairs(command("tmux", text)) do
      words[i] = "'" .. word:gsub("'", "'\\''") .. "'"
    end
    program.write(dir .. "/inside", "sleep 1; " .. table.concat(words, " ") .. "; sleep 60")
    local variables = { CODEX_TMUX_WINDOW = "#(touch " .. dir .. "/ran) ready" }
    for key, value in pairs(env) do variables[key] = value end
    local terminal <close> = terminals.open({ "env", "-u", "TMUX", "-u", "TMUX_PANE", "tmux", "-S",
      dir .. "/inner", "-f", "/dev/null", "new-session", "-x", "100", "-y", "30",
      "sh " .. dir .. "/inside" }, { socket = dir .. "/outer", env = variables })
    local screen = terminal:wait_for "Codex: done"
    assert.truthy(screen:find("/ran) #{pid} %H #[fg=red]100%", 1, true), screen)
    local name = assert(proc.run { "tmux", "-S", dir .. "/inner", "-N", "display-message", "-p",
      "#{window_name}" })
    assert.equal("#(touch " .. dir .. "/ran) ready\n", name.stdout)
    assert(proc.run { "tmux", "-S", dir .. "/inner", "-N", "kill-server" })
    assert.is_nil(uv.fs_stat(dir .. "/ran"))
  end)

  it("does nothing outside tmux", function()
    works("tmux", (payload()))
  end)
end)
