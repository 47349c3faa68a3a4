--- Writes a line of JSON for every turn: when, where, what was asked last and what was answered.
---
--- CODEX_NOTIFY_LOG names the file; it is turns.jsonl in codex-lua's state folder otherwise.

local files = require "codex.files"
local json = require "codex.json"
local uv = require "luv"

local settings = { file = os.getenv "CODEX_NOTIFY_LOG" }

local function default_file()
  files.make_dir(files.state_dir())
  return files.state_dir() .. "/turns.jsonl"
end

return {
  name = "log",
  run = function(event)
    local said = event.input_messages or {}
    local line = json.encode({
      time = os.date "!%Y-%m-%dT%H:%M:%SZ", type = event.type, thread_id = event.thread_id,
      turn_id = event.turn_id, cwd = event.cwd, git_branch = event.git_branch,
      client = event.client, asked = said[#said], answered = event.last_assistant_message,
    }, { repair = true })
    -- Opened for appending and written at once: lines of two turns do not mix.
    local fd, message = uv.fs_open(settings.file or default_file(), "a", tonumber("600", 8))
    if not fd then return nil, message end
    local written
    written, message = uv.fs_write(fd, line .. "\n")
    uv.fs_close(fd)
    if not written then return nil, message end
  end,
}
