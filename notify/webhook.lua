--- Posts every event to a URL, as Codex gave it: signed, and again when it is not taken.
---
--- CODEX_WEBHOOK_URL: where to. CODEX_WEBHOOK_SECRET: what to sign with; the header X-Signature-256
--- is then "sha256=" and the HMAC-SHA256 of the body in hexadecimal (needs lua-luaossl). A turn
--- that comes twice has the same X-Delivery-Id.

local settings = {
  url = os.getenv "CODEX_WEBHOOK_URL",
  secret = os.getenv "CODEX_WEBHOOK_SECRET",
}

return {
  name = "webhook", timeout = 60,
  run = function(event)
    if not settings.url then return nil, "CODEX_WEBHOOK_URL is not set" end
    return require("codex.webhook").post(settings.url, event.payload,
      { secret = settings.secret, id = event.turn_id })
  end,
}
