--- Logins of the app-server's user: an API key, ChatGPT in the browser or with a code on another
--- device, and ChatGPT tokens that somebody else looks after.
---
--- A login in a browser takes as long as a person takes, so it is a handle: it says where to go,
--- and waits until Codex says that it is complete. The handle listens before Codex is asked, for
--- the end may come before the answer has been looked at. Codex tells of a success first and takes
--- up the new credentials then: the login is over when it has told of the account, too.
---
--- A server has one login at a time: another one, an API key or a logout ends it.
---
--- Secrets go through the pipe alone: not into arguments, environments, logs or errors.

local E = require "codex.error"
local async = require "codex.async"
local json = require "codex.json"
local log = require "codex.log"
local options = require "codex.options"

local M = {}

local SETTLE, CANCEL_WAIT, TOKENS_TIMEOUT = 2, 10, 60 -- seconds

---@class codex.Login
---@field login_id string
---@field auth_url? string what the user opens in a browser on this machine (login_chatgpt)
---@field verification_url? string what the user opens anywhere (login_device_code)
---@field user_code? string what the user types in there
local Login = {}
Login.__index = require("codex.base.class").methods(Login)
Login.__name = "codex.login"

-- ---- Hearing -----------------------------------------------------------------------------------

function Login:_end(err)
  if self._over then return end
  self._over, self._error = true, err
  for _, subscription in ipairs(self._subscriptions) do subscription:close() end
  if self._timer then self._timer:close() end
  self._changed:notify()
end

--- The account is told of right after a success, unless the client does not want to hear of it.
local function settle(login)
  login._succeeded = true
  login._timer = require("luv").new_timer()
  login._timer:start(SETTLE * 1000, 0, function() login:_end() end)
end

--- What Codex says of the end of this login.
function Login:_complete(params)
  if self._over or self._succeeded then return end
  if params.success == true then return settle(self) end
  if self._cancelling then
    return self:_end(E.new("cancelled", "the login was cancelled", { data = params }))
  end
  local text = type(params.error) == "string" and params.error or "the login failed"
  self:_end(E.new("auth", text, { data = params }))
end

local function listen(login)
  local client = login._client
  login._subscriptions = {
    client:on("account/login/completed", function(params)
      if not login.login_id then
        table.insert(login._early, params)
      elseif (params.loginId or json.null) == login.login_id then
        login:_complete(params)
      end
    end),
    client:on("account/updated", function()
      if login._succeeded then login:_end() end
    end),
    client:on("closed", function(params) login:_end(params.error) end),
  }
end

-- ---- Ending ------------------------------------------------------------------------------------

local function await_over(login)
  while not login._over do login._changed:wait() end
end

local function await_account(login)
  await_over(login)
  if login._error then return nil, login._error end
  return login._client:account()
end

--- Waits until the user is logged in. When the time runs out, the login goes on.
---@async
---@param timeout? number seconds; nil or 0: as long as Codex waits, some ten minutes
---@return table? account what client:account() answers
---@return codex.Error? error kinds `timeout`, `cancelled` (by us), `auth` (Codex says why),
---`closed` (the server is gone)
function Login:wait(timeout)
  options.milliseconds("login:wait", { timeout = timeout }, "timeout")
  if (timeout or 0) == 0 then return await_account(self) end
  local account, err = async.timeout(timeout, await_account, self)
  if not self._over and E.is(err, "timeout") then
    err = E.new("timeout", ("nobody logged in within %g seconds"):format(timeout))
  end
  return account, err
end

--- Ends a login that is not complete, and waits until Codex has given it up, port and all; whoever
--- waits for it gets an error of kind `cancelled`. Idempotent.
---@async
---@return true?
---@return codex.Error?
function Login:cancel()
  if self._over then return true end
  self._cancelling = true
  local answer, err = self._client:request("account/login/cancel", { loginId = self.login_id },
    { timeout = CANCEL_WAIT })
  if not answer and not self._over then return nil, err end
  async.timeout(SETTLE, await_over, self)
  self:_end(E.new("cancelled", "the login was cancelled"))
  return true
end

--- Cancels a login that is not complete. Waits where a task may.
function Login:close()
  if self._over then return end
  if not async.running() then return async.spawn(self.cancel, self) end
  self:cancel()
end

function Login:__close() self:close() end

-- ---- Beginning ---------------------------------------------------------------------------------

--- The error for a way to log in that this Codex does not know.
local function explain(client, params, err)
  if not err.message:find(("unknown variant `%s`"):format(params.type), 1, true) then return err end
  return E.new("unsupported", ("Codex %s has no login of type '%s'"):format(client.version,
    params.type), { code = err.code })
end

local function ask(client, params, timeout)
  local answer, err =
    client:request("account/login/start", params, timeout and { timeout = timeout })
  if err then return nil, explain(client, params, err) end
  if type(answer) == "table" and answer.type == params.type then return answer end
  return nil, E.new("protocol", "account/login/start was answered with something else")
end

--- Runs as a task of its own: who wanted the login may be cancelled before it is known which it is.
local function begin(login, params, timeout)
  local answer, err = ask(login._client, params, timeout)
  if answer and type(answer.loginId) ~= "string" then
    answer, err = nil, E.new("protocol", "account/login/start was answered without a login")
  end
  if not answer then
    login:_end(err)
    return nil, err
  end
  login.login_id, login.auth_url = answer.loginId, answer.authUrl
  login.verification_url, login.user_code = answer.verificationUrl, answer.userCode
  for _, params_of_end in ipairs(login._early) do
    if params_of_end.loginId == login.login_id then login:_complete(params_of_end) end
  end
  if login._abandoned then login:cancel() end
  return login
end

local function check(where, client, given)
  options.milliseconds(where, given, "timeout")
  for _, method in ipairs(client._given.opt_out or {}) do
    if method == "account/login/completed" then
      options.raise(where .. ": the client opted out of account/login/completed")
    end
  end
end

local function new_login(client, login_id)
  local login = setmetatable({
    _client = client, _early = {}, _changed = async.signal(), login_id = login_id,
  }, Login)
  listen(login)
  return login
end

local function open(client, params, timeout)
  local login = new_login(client)
  local starter = async.spawn(begin, login, params, timeout)
  local guard <close> = setmetatable({}, { __close = function() -- luacheck: ignore 211
    login._abandoned = not starter:is_done()
  end })
  return starter:join()
end

--- Asks with a secret in the params. It is in no log and no error from here on; what Codex adds to
--- an error might have it in pieces, and is dropped.
local function confide(client, secret, params)
  if log.redact(secret) ~= "[redacted]" then log.secret(secret) end
  local answer, err = ask(client, params)
  if answer then return true end
  return nil, E.new(err.kind, err.message, { code = err.code, stderr = err.stderr })
end

-- ---- The client's functions --------------------------------------------------------------------

local Client = {}

local bad_key = "client:login_api_key: argument 'key' must be a text without spaces, got "

--- Logs in with an API key. Codex keeps it, in auth.json or wherever it is configured to.
---@async
---@param key string space around it, as a line's end, does not matter
---@return true?
---@return codex.Error?
function Client:login_api_key(key)
  if type(key) ~= "string" then options.raise(bad_key .. "a " .. type(key)) end
  key = key:match "^%s*(.-)%s*$"
  if key == "" then options.raise(bad_key .. "none") end
  if key:find "[%s%c]" then options.raise(bad_key .. "another one") end
  return confide(self, key, { type = "apiKey", apiKey = key })
end

local known_chatgpt = options.set {
  "timeout", "app_brand", "codex_streamlined_login", "use_hosted_login_success_page",
}

---@class codex.LoginChatgpt
---@field timeout? number seconds for the answer
---@field app_brand? "codex"|"chatgpt" 0.153.4: whose page the user sees in the end
---@field codex_streamlined_login? boolean 0.153.4
---@field use_hosted_login_success_page? boolean 0.153.4

--- Logs in with ChatGPT in a browser on this machine: the user opens `auth_url`, and is sent back
--- to port 1455 here (1457 where that is taken), where Codex listens until the login is over.
---@async
---@param opts? codex.LoginChatgpt
---@return codex.Login?
---@return codex.Error?
function Client:login_chatgpt(opts)
  local where = "client:login_chatgpt"
  local given = options.check(where, opts, known_chatgpt)
  check(where, self, given)
  return open(self, {
    type = "chatgpt",
    appBrand = options.typed(where, given, "app_brand", "string"),
    codexStreamlinedLogin = options.typed(where, given, "codex_streamlined_login", "boolean"),
    useHostedLoginSuccessPage =
      options.typed(where, given, "use_hosted_login_success_page", "boolean"),
  }, given.timeout)
end

local known_device_code = options.set { "timeout" }

--- Logs in with ChatGPT in any browser: the user opens `verification_url` and types `user_code`.
---@async
---@param opts? { timeout?: number } seconds for the answer
---@return codex.Login?
---@return codex.Error? error kinds `rpc`, also where the issuer does not want to;
---`unsupported` where Codex is too old
function Client:login_device_code(opts)
  local where = "client:login_device_code"
  local given = options.check(where, opts, known_device_code)
  check(where, self, given)
  return open(self, { type = "chatgptDeviceCode" }, given.timeout)
end

local known_tokens =
  options.set { "access_token", "chatgpt_account_id", "chatgpt_plan_type", "timeout" }

---@class codex.LoginTokens
---@field access_token string
---@field chatgpt_account_id string
---@field chatgpt_plan_type? string
---@field timeout? number seconds (60)

local function tokens_params(given)
  return {
    type = "chatgptAuthTokens", accessToken = given.access_token,
    chatgptAccountId = given.chatgpt_account_id, chatgptPlanType = given.chatgpt_plan_type,
  }
end

--- Logs in with ChatGPT tokens of the caller's. Codex keeps them in memory alone; when they are too
--- old it asks for new ones (`auth_refresh` of codex.connect). It is one of Codex's experimental
--- methods. Codex takes the tokens first and tries them then (0.169.0): after an error of kind
--- `auth` it still has them, until client:logout().
---@async
---@param tokens codex.LoginTokens
---@return true?
---@return codex.Error? error of kind `auth` where Codex has tried them in vain
function Client:login_tokens(tokens)
  local where = "client:login_tokens"
  local given = options.check(where, tokens, known_tokens)
  check(where, self, given)
  for _, name in ipairs { "access_token", "chatgpt_account_id", "chatgpt_plan_type" } do
    options.typed(where, given, name, "string")
    if not given[name] and name ~= "chatgpt_plan_type" then
      options.raise(("%s: option '%s' is needed"):format(where, name))
    end
  end
  local login = new_login(self, json.null)
  local guard <close> = setmetatable({}, { __close = function() -- luacheck: ignore 211
    login:_end()
  end })
  local ok, err = confide(self, given.access_token, tokens_params(given))
  if ok then ok, err = login:wait(given.timeout or TOKENS_TIMEOUT) end
  if not ok then return nil, err end
  return true
end

--- Puts the functions on the client's class.
---@param class table
function M.install(class)
  for name, fn in pairs(Client) do class[name] = class[name] or fn end
end

return M
