--- Says in a Discord channel what Codex answered.
---
--- DISCORD_WEBHOOK_URL: a webhook of the channel; whoever knows it can write there.

local settings = { url = os.getenv "DISCORD_WEBHOOK_URL", length = 1500 } -- Discord takes 2000

local webhook = require "codex.webhook"

local function message(event)
  local where = (event.cwd or "?"):match "[^/]*$"
  if event.git_branch then where = where .. " (" .. event.git_branch .. ")" end
  local text = webhook.shortened(event.last_assistant_message, settings.length)
  return {
    username = "Codex", content = ("**%s**\n%s"):format(webhook.shortened(where, 300), text),
    allowed_mentions = { parse = require("codex.json").array {} }, -- nobody is called
  }
end

return {
  name = "discord", on = "turn_complete", timeout = webhook.TIMEOUT,
  run = function(event)
    if not settings.url then return nil, "DISCORD_WEBHOOK_URL is not set" end
    return webhook.post(settings.url, message(event), { id = event.turn_id })
  end,
}
