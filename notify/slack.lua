--- Says in a Slack channel what Codex answered.
---
--- SLACK_WEBHOOK_URL: an "incoming webhook" of the channel; whoever knows it can write there.

local settings = { url = os.getenv "SLACK_WEBHOOK_URL", length = 2000 }

local webhook = require "codex.webhook"

--- As Slack wants it: nothing in an answer is a link, a mention or a call to the whole channel.
local function escaped(text)
  return (text:gsub("[&<>]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" }))
end

local function message(event)
  local where = (event.cwd or "?"):match "[^/]*$"
  if event.git_branch then where = where .. " (" .. event.git_branch .. ")" end
  local text = webhook.shortened(event.last_assistant_message, settings.length)
  return { text = ("*Codex* in %s:\n%s"):format(escaped(where), escaped(text)) }
end

return {
  name = "slack", on = "turn_complete", timeout = webhook.TIMEOUT,
  run = function(event)
    if not settings.url then return nil, "SLACK_WEBHOOK_URL is not set" end
    return webhook.post(settings.url, message(event), { id = event.turn_id })
  end,
}
