--- Whom Codex asks when somebody logs in with ChatGPT: the issuer of tokens and ChatGPT's backend,
--- on the loopback interface. It answers what Codex 0.169.0 needs for a login to be complete, and
--- writes down what it is asked. 0.153.4 goes to the real issuer whatever one says.
---
---     local issuer <close> = issuers.new { device = "pending" }
---     testing.codex { env = issuer:env(), config = issuer:config(), ... }

local base64 = require "codex.base64"
local httpd = require "codex.core.httpd"
local json = require "codex.json"

local M = {}

--- The user that everybody is here.
M.user = { email = "user@example.com", account_id = "account-1", plan = "plus" }

---@class tests.Issuer
---@field url string
---@field asked string[] "METHOD /path", in order
---@field device "approved"|"pending"|integer a status that the user's device is answered with
---@field usercode? integer the status for who wants a code, where it is not 200
---@field hold? boolean who wants a code waits for `release`
---@field routing? boolean false: ChatGPT's backend does not know where the user's workspace is
local Issuer = {}
Issuer.__index = Issuer

local function url64(value)
  return (base64.encode(json.encode(value)):gsub("[+/=]", { ["+"] = "-", ["/"] = "_", ["="] = "" }))
end

--- A token as Codex reads it; nobody looks at its signature.
function M.token()
  local claims = {
    email = M.user.email, exp = os.time() + 3600,
    ["https://api.openai.com/auth"] = {
      chatgpt_account_id = M.user.account_id, chatgpt_plan_type = M.user.plan,
      chatgpt_user_id = "user-1",
    },
  }
  return table.concat({ url64 { alg = "none" }, url64(claims), url64 { none = true } }, ".")
end

local answers = {}

answers["POST /api/accounts/deviceauth/usercode"] = function(issuer)
  if issuer.usercode then return issuer.usercode end
  return 200, { device_auth_id = "device-1", user_code = "ABCD-1234", interval = "1" }
end

answers["POST /api/accounts/deviceauth/token"] = function(issuer)
  if issuer.device == "pending" then return 403 end
  if issuer.device ~= "approved" then return issuer.device end
  return 200, { authorization_code = "code", code_challenge = "challenge", code_verifier = "word" }
end

answers["POST /oauth/token"] = function()
  return 200, { id_token = M.token(), access_token = M.token(), refresh_token = "refresh-1" }
end

answers["GET /backend-api/wham/accounts/check"] = function(issuer)
  if issuer.routing == false then return 404 end
  return 200, { accounts = { {
    id = M.user.account_id, workspace_backend_origin = "https://backend.invalid",
    account_routing_override = "NO_CONSTRAINT",
  } } }
end

local function send(raw, status, body)
  raw:respond(status, { ["content-type"] = "application/json" })
  raw:write(json.encode(body or json.object {}))
  raw:finish()
end

local function serve(issuer, raw)
  local what = raw:method() .. " " .. raw:path()
  table.insert(issuer.asked, what)
  local answer = answers[what] or function() return 404 end
  if issuer.hold and what:find "usercode" then
    table.insert(issuer._held, function() send(raw, answer(issuer)) end)
  else
    send(raw, answer(issuer))
  end
end

---@param given? table fields of the issuer
---@return tests.Issuer
function M.new(given)
  local issuer = setmetatable({ asked = {}, device = "approved", _held = {} }, Issuer)
  for name, value in pairs(given or {}) do issuer[name] = value end
  issuer._server = assert(httpd.listen({}, function(raw) serve(issuer, raw) end))
  issuer.url = ("http://127.0.0.1:%d"):format(issuer._server:port())
  return issuer
end

--- Answers those who wait for a code.
function Issuer:release()
  for _, answer in ipairs(self._held) do answer() end
  self._held = {}
end

--- How often this was asked.
function Issuer:count(what)
  local count = 0
  for _, each in ipairs(self.asked) do
    if each == what then count = count + 1 end
  end
  return count
end

--- The environment that leads Codex here. What it asks elsewhere, about plugins, goes nowhere.
function Issuer:env()
  return {
    CODEX_APP_SERVER_LOGIN_ISSUER = self.url, CODEX_APP_SERVER_LOGIN_CLIENT_ID = "lua-spec",
    CODEX_REVOKE_TOKEN_URL_OVERRIDE = self.url .. "/oauth/revoke",
    HTTPS_PROXY = "http://127.0.0.1:9", NO_PROXY = "127.0.0.1",
  }
end

--- Settings: a file for the credentials, and a provider that wants an account.
function Issuer:config()
  return {
    cli_auth_credentials_store = "file", chatgpt_base_url = self.url .. "/backend-api",
    ["model_providers.mock.requires_openai_auth"] = true,
  }
end

function Issuer:close() self._server:close() end

Issuer.__close = Issuer.close

return M
