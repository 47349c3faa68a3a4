--- Webhooks: JSON that is posted to a URL, signed when there is a secret, and tried again when the
--- other side does not take it. What notify/webhook.lua, slack.lua and discord.lua have in common.

local E = require "codex.error"
local json = require "codex.json"

local M = {}

M.TIMEOUT = 60 -- seconds that all attempts may take together, as a hook's limit

local ATTEMPT_TIMEOUT = 10 -- seconds
local RETRY = { attempts = 4, base = 1, max = 20, always = true }

--- The HMAC-SHA256 of a text, as GitHub writes it: "sha256=" and hexadecimal digits.
---@param secret string
---@param text string
---@return string?
---@return codex.Error? kind `unsupported` where luaossl is not installed
function M.signature(secret, text)
  local is_there, hmac = pcall(require, "openssl.hmac")
  if not is_there then
    return nil, E.new("unsupported", "signing needs luaossl (Debian: lua-luaossl)")
  end
  local digest = hmac.new(secret, "sha256"):final(text)
  return "sha256=" .. digest:gsub(".", function(byte) return ("%02x"):format(byte:byte()) end)
end

--- Posts a value as JSON. The receiver may see it twice, when its first answer was lost: `id` tells
--- it so, in the header X-Delivery-Id.
---@async
---@param url string
---@param value table
---@param opts? { secret?: string, id?: string }
---@return true?
---@return codex.Error? those of codex.http, and kind `io` with the status as code when it refused
function M.post(url, value, opts)
  local secret, body = opts and opts.secret, json.encode(value, { repair = true })
  local headers = { ["Content-Type"] = "application/json", ["X-Delivery-Id"] = opts and opts.id }
  if secret and secret ~= "" then
    local signature, err = M.signature(secret, body)
    if not signature then return nil, err end
    headers["X-Signature-256"] = signature
  end
  local http = require "codex.http" -- not for those who only shorten a text
  local response, err = http.post(url, body,
    { headers = headers, timeout = ATTEMPT_TIMEOUT, retry = RETRY })
  if not response then return nil, err end
  if response.status < 300 then return true end
  return nil, E.new("io", ("the webhook answered with status %d"):format(response.status),
    { code = response.status })
end

--- At most so many characters of a text, which may be no UTF-8.
---@param text? string
---@param limit integer
---@return string
function M.shortened(text, limit)
  text = text or ""
  local at = #text > limit and utf8.len(text) and utf8.offset(text, limit + 1)
  if at then return text:sub(1, at - 1) .. "…" end
  return utf8.len(text) and text or text:sub(1, limit):gsub("[\128-\255]", "?")
end

return M
