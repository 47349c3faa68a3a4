--- Logins of the app-server's user: an API key, ChatGPT in the browser or with a code on another
--- device, and ChatGPT tokens that somebody else looks after.
---
--- A login in the browser takes as long as a person takes, so it is a handle: it says where to go,
--- and waits until Codex says that it is complete. The handle listens before Codex is asked, for
--- the end may come before the answer has been looked at. Codex tells of the end first and takes up
--- the new credentials then; the login is over when it tells of the account, too.
---
--- Secrets go through the pipe alone: not into arguments, environments, logs or errors.

local E = require "codex.error"
local async = require "codex.async"
local options = require "codex.options"

local M = {}

local SETTLE, CANCEL_WAIT = 5, 10 -- seconds

---@class codex.Login
---@field login_id string
---@field auth_url? string what the user opens in a browser on this machine (login_chatgpt)
---@field verification_url? string what the user opens anywhere (login_device_code)
---@field user_code? string what the user types in there
local Login = {}
Login.__index = Login
Login.__name = "codex.login"

-- ---- Hearing -----------------------------------------------------------------------------------

--- It is over: with an account where there is no error.
function Login:_end(err)
  if self._over then return end
  self._over, self._error = true, err
  for _, subscription in ipairs(self._subscriptions) do subscription:close() end
  self._changed:notify()
end

local function settle(login)
  async.sleep(SETTLE)
  login:_end()
end

--- What Codex says of its end.
function Login:_complete(params)
  if self._over then return end
  if params.success == true then
    self._succeeded = true
    async.spawn(settle, self) -- for who does not want to hear of the account
    return
  end
  local text = type(params.error) == "string" and params.error or "the login failed"
  self:_end(E.new(self._cancelling and "cancelled" or "auth", text, { data = params }))
end

local function listen(login)
  local client = login._client
  login._subscriptions = {
    client:on("account/login/completed", function(params)
      if not login.login_id then
        table.insert(login._early, params)
      elseif params.loginId == login.login_id then
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

local function await_end(login)
  while not login._over do login._changed:wait() end
  if login._error then return nil, login._error end
  return login._client:account()
end

--- Waits until the user is logged in. That the time ran out does not end the login.
---@async
---@param timeout? number seconds; none, or 0: as long as Codex waits
---@return table? account what client:account() answers
---@return codex.Error? error kinds `timeout`, `cancelled` (by us), `auth` (Codex says why),
---`closed` (the server is gone)
function Login:wait(timeout)
  options.milliseconds("login:wait", { timeout = timeout }, "timeout")
  if (timeout or 0) == 0 then return await_end(self) end
  local account, err = async.timeout(timeout, await_end, self)
  if not self._over and E.is(err, "timeout") then
    err = E.new("timeout", ("nobody logged in within %g seconds"):format(timeout))
  end
  return account, err
end

--- Ends a login that is not complete. Idempotent; whoever waits gets an error of kind `cancelled`.
---@async
---@return true?
---@return codex.Error?
function Login:cancel()
  if self._over then return true end
  self._cancelling = true
  local answer, err = self._client:request("account/login/cancel", { loginId = self.login_id },
    { timeout = CANCEL_WAIT })
  if self._over then return true end
  if not answer then return nil, err end
  if not self._succeeded then self:_end(E.new("cancelled", "the login was cancelled")) end
  return true
end

--- Cancels a login that is not complete, in a task of its own where one cannot wait.
function Login:close()
  if self._over then return end
  if async.running() then return self:cancel() end
  async.spawn(self.cancel, self)
end

function Login:__close() self:close() end

-- ---- Beginning ---------------------------------------------------------------------------------

local function ask(client, params, timeout)
  local answer, err =
    client:request("account/login/start", params, timeout and { timeout = timeout })
  if err then return nil, err end
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
  for _, early in ipairs(login._early) do
    if early.loginId == login.login_id then login:_complete(early) end
  end
  if login._abandoned then login:cancel() end
  return login
end

local function open(client, params, timeout)
  local login = setmetatable({ _client = client, _early = {}, _changed = async.signal() }, Login)
  listen(login)
  local starter = async.spawn(begin, login, params, timeout)
  local guard <close> = setmetatable({}, { __close = function() -- luacheck: ignore 211
    login._abandoned = not starter:is_done()
  end })
  return starter:join()
end

local function check(where, opts, known)
  local given = options.check(where, opts, options.set(known))
  options.milliseconds(where, given, "timeout")
  return given
end

-- ---- The client's functions --------------------------------------------------------------------

local Client = {}

--- Logs in with an API key, which Codex keeps.
---@async
---@param key string
---@return true?
---@return codex.Error?
function Client:login_api_key(key)
  if type(key) ~= "string" or key == "" then
    options.raise "client:login_api_key: argument 'key' must be a text that is not empty"
  end
  local answer, err = ask(self, { type = "apiKey", apiKey = key })
  if not answer then return nil, err end
  return true
end

--- Logs in with ChatGPT in a browser on this machine: the user opens `auth_url`.
---@async
---@param opts? { timeout?: number }
---@return codex.Login?
---@return codex.Error?
function Client:login_chatgpt(opts)
  local given = check("client:login_chatgpt", opts, { "timeout" })
  return open(self, { type = "chatgpt" }, given.timeout)
end

--- Logs in with ChatGPT in any browser: the user opens `verification_url` and types `user_code`.
---@async
---@param opts? { timeout?: number }
---@return codex.Login?
---@return codex.Error?
function Client:login_device_code(opts)
  local given = check("client:login_device_code", opts, { "timeout" })
  return open(self, { type = "chatgptDeviceCode" }, given.timeout)
end

--- Puts the functions on the client's class.
---@param class table
function M.install(class)
  for name, fn in pairs(Client) do class[name] = class[name] or fn end
end

return M
