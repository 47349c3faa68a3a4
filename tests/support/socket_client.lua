--- A client of an app-server, or of the launcher, over WebSocket.

local async = require "codex.async"
local json = require "codex.json"
local program = require "tests.support.program"
local ws_client = require "tests.support.ws_client"

local M = {}

local Client = {}
Client.__index = Client

function Client:send(message) self.socket:send(json.encode(message)) end

--- The first message from now on, or of those not looked at, that the function accepts.
function Client:wait(accepts, seconds)
  for i, message in ipairs(self.unseen) do
    if accepts(message) then return table.remove(self.unseen, i) end
  end
  local found, err = async.timeout(seconds or 20, function()
    while true do
      local text = self.socket:receive()
      if not text then error("the connection is over", 0) end
      local message = json.decode(text)
      if accepts(message) then return message end
      table.insert(self.unseen, message)
    end
  end)
  return assert(found, err)
end

function Client:notification(method)
  return self:wait(function(m) return m.method == method and m.id == nil end)
end

function Client:answer(id, seconds)
  return self:wait(function(m) return m.method == nil and m.id == id end, seconds)
end

function Client:request(id, method, params)
  self:send { id = id, method = method, params = params }
  return self:answer(id)
end

--- Whether a message of this method has come that nobody looked at.
function Client:has(method)
  for _, message in ipairs(self.unseen) do
    if message.method == method then return true end
  end
  return false
end

function Client:close() self.socket:close() end
Client.__close = Client.close

--- Waits until somebody listens at the socket; its file is there a moment before.
---@async
---@return boolean
function M.is_there(path)
  return program.eventually(function()
    local first = require("luv").fs_stat(path) and ws_client.connect(path)
    if first then first:close() end
    return first and true or false
  end)
end

--- Connects, and introduces itself.
---@async
function M.open(path, name, capabilities)
  local client = setmetatable({ socket = assert(ws_client.connect(path)), unseen = {} }, Client)
  client.hello = client:request(0, "initialize",
    { clientInfo = { name = name, version = "1" }, capabilities = capabilities })
  client:send { method = "initialized" }
  return client
end

return M
