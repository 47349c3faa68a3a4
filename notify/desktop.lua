--- Shows a notification on the desktop: by notify-send (libnotify), else by gdbus (GLib).
---
--- Needs DBUS_SESSION_BUS_ADDRESS in Codex's environment, as a desktop session has it.

local settings = {
  title = "Codex",
  seconds = 10, -- how long it is shown, where the desktop listens to that
  length = 200, -- characters of the answer
}

local proc = require "codex.proc"
local shortened = require("codex.webhook").shortened

--- Notifications know a little HTML.
local function escaped(text)
  return (text:gsub("[&<>]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" }))
end

--- A string as GVariant writes it.
local function quoted(text)
  return '"' .. text:gsub('[\\"]', "\\%0"):gsub("%c", " ") .. '"'
end

local function by_gdbus(title, text)
  local place = "/org/freedesktop/Notifications"
  return { "gdbus", "call", "--session", "--dest", "org.freedesktop.Notifications",
    "--object-path", place, "--method", "org.freedesktop.Notifications.Notify",
    "--timeout", "5", "--", quoted(title), "uint32 0", quoted "", quoted(title), quoted(text),
    "@as []", "@a{sv} {}", ("int32 %d"):format(settings.seconds * 1000) }
end

--- notify-send takes escapes of C in the text for what they stand for.
local function by_notify_send(title, text)
  return { "notify-send", "--app-name=Codex", ("--expire-time=%d"):format(settings.seconds * 1000),
    "--", title, (text:gsub("\\", "\\\\")) }
end

return {
  name = "desktop", on = "turn_complete",
  run = function(event)
    local text = escaped(shortened(event.last_assistant_message, settings.length))
    local result, err = proc.run(by_notify_send(settings.title, text))
    if err and err.code == "ENOENT" then result, err = proc.run(by_gdbus(settings.title, text)) end
    if not result then return nil, err end
    if result.code ~= 0 then return nil, result.stderr end
  end,
}
