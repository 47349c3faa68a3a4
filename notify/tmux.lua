--- Says in tmux that a turn is complete: a message on the status line, and if you like, the name of
--- the window that Codex runs in.

local settings = {
  message = true,
  window = os.getenv "CODEX_TMUX_WINDOW", -- a name for the window, as "codex done"
  seconds = 5,
  length = 120,
}

local proc = require "codex.proc"

--- What tmux is given is a format: #(...) in an answer would be run by a shell.
local function escaped(text)
  return (text:gsub("%c", " "):gsub("#", "##"):gsub("%%", "%%%%"))
end

local function tmux(...)
  local result, err = proc.run { "tmux", ... }
  if not result then return nil, err end
  if result.code ~= 0 then return nil, result.stderr end
  return true
end

return {
  name = "tmux", on = "turn_complete",
  when = function() return os.getenv "TMUX_PANE" ~= nil end,
  run = function(event)
    local pane = os.getenv "TMUX_PANE"
    if settings.window then
      local ok, err = tmux("rename-window", "-t", pane, "--", escaped(settings.window))
      if not ok then return nil, err end
    end
    if not settings.message then return end
    local text = require("codex.webhook").shortened(event.last_assistant_message, settings.length)
    return tmux("display-message", "-t", pane, "-d", tostring(settings.seconds * 1000), "--",
      escaped("Codex: " .. text))
  end,
}
