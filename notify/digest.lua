--- Gathers the turns of some minutes and tells of them at once.
---
--- CODEX_DIGEST_SECONDS: how long (300). CODEX_DIGEST_COMMAND: a program and its arguments, a JSON
--- array, that gets a title and a text as its last two (["notify-send", "--app-name=Codex"]).
---
--- Each turn is a file. The first one starts a process that waits, reads what is there then, and
--- runs the program: `codex-lua digest.lua --send`.

local files = require "codex.files"
local json = require "codex.json"
local notify = require "codex.notify"
local uv = require "luv"

local settings = {
  seconds = tonumber(os.getenv "CODEX_DIGEST_SECONDS") or 300,
  command = json.decode(os.getenv "CODEX_DIGEST_COMMAND" or '["notify-send","--app-name=Codex"]'),
  folder = files.state_dir() .. "/digest",
}
local lock = settings.folder .. "/waiting"
local source = debug.getinfo(1, "S").source:sub(2)

--- Takes all turns that are there, the oldest first.
local function take()
  local turns, names, request = {}, {}, uv.fs_scandir(settings.folder)
  for name in function() return request and uv.fs_scandir_next(request) end do
    if name:find "%.json$" then names[#names + 1] = name end
  end
  table.sort(names)
  for i, name in ipairs(names) do
    turns[i] = json.decode(files.read(settings.folder .. "/" .. name))
    uv.fs_unlink(settings.folder .. "/" .. name)
  end
  return turns
end

--- The process that waits. A turn that comes when it has begun to read starts the next one.
local function send()
  require("codex").sleep(settings.seconds)
  uv.fs_unlink(lock)
  local lines, argv = {}, table.move(settings.command, 1, #settings.command, 1, {})
  for i, turn in ipairs(take()) do lines[i] = ("%s: %s"):format(turn.where, turn.answer) end
  if #lines == 0 then return end
  argv[#argv + 1] = #lines == 1 and "1 turn" or #lines .. " turns"
  argv[#argv + 1] = table.concat(lines, "\n")
  local result, err = require("codex.proc").run(argv, { timeout = 60 })
  local why = err and tostring(err) or result.code ~= 0 and result.stderr or nil
  notify.write_down(nil, { { hook = "digest --send", ok = not why, why = why } })
end

if ... == "--send" then return send() end

--- Whether a process waits already; one that died is not waited for.
local function is_waited_for()
  local stat = uv.fs_stat(lock)
  if stat and os.time() - stat.mtime.sec > settings.seconds + 60 then uv.fs_unlink(lock) end
  local fd = uv.fs_open(lock, "wx", tonumber("600", 8))
  if fd then uv.fs_close(fd) end
  return fd == nil
end

return {
  name = "digest", on = "turn_complete",
  run = function(event)
    local made, err = files.make_dir(settings.folder)
    if not made then return nil, err end
    local answer = require("codex.webhook").shortened(event.last_assistant_message, 100)
    local name = ("%d-%020d-%d.json"):format(os.time(), uv.hrtime(), uv.os_getpid())
    made, err = files.write(settings.folder .. "/" .. name, json.encode({
      where = (event.cwd or "?"):match "[^/]*$", answer = answer:gsub("%s+", " "),
    }, { repair = true }))
    if not made then return nil, err end
    if is_waited_for() then return end
    local started, problem = uv.spawn(require("codex.core.host").program,
      { args = { source, "--send" }, detached = true })
    if not started then return nil, problem end
  end,
}
