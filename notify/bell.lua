--- Rings: the bell of the terminal that Codex runs in, or where there is none, a sound.
---
--- A turn that arrives through a Stop hook has no terminal; there it is the sound.

local settings = {
  terminal = true, -- the bell; false: always the sound
  sounds = { -- the first of these programs that is installed
    { "canberra-gtk-play", "--id=complete" },
    { "paplay", "/usr/share/sounds/freedesktop/stereo/complete.oga" },
  },
}

local proc = require "codex.proc"
local uv = require "luv"

--- Without waiting: a terminal that was stopped (Ctrl-S) takes nothing.
local function ring()
  local c = uv.constants
  local fd = uv.fs_open("/dev/tty", c.O_WRONLY | c.O_NONBLOCK | c.O_NOCTTY, 0)
  if not fd then return false end
  local written = uv.fs_write(fd, "\a")
  uv.fs_close(fd)
  return written ~= nil
end

return {
  name = "bell", on = "turn_complete",
  run = function()
    if settings.terminal and ring() then return end
    for _, argv in ipairs(settings.sounds) do
      local result, err = proc.run(argv)
      if result and result.code ~= 0 then return nil, result.stderr end
      if result or err.code ~= "ENOENT" then return result, err end
    end
    return nil, "there is neither a terminal nor a program that plays sounds"
  end,
}
