--- A second client of a launcher, over its socket: what it says of the first one's questions must
--- not count.

local async = require "codex.async"
local json = require "codex.json"
local ws = require "codex.ws"

local Second = {}
Second.__index = Second

local function listen(second, socket)
  for text in socket:messages() do
    local message = json.decode(text)
    local id = type(message) == "table" and message.method == nil and message.id or nil
    if id ~= nil then second.answers[id] = true end
    second.changed:notify()
  end
  second.changed:notify()
end

--- Connects, again where the connection has ended; false where nobody listens.
---@async
function Second:connect()
  self.socket = ws.connect(self.path)
  if not self.socket then return false end
  async.spawn(listen, self, self.socket)
  self:send '{"id":"i","method":"initialize","params":{"clientInfo":{"name":"b","version":"1"}}}'
  self:send '{"method":"initialized"}'
  return true
end

--- Sends a text; false when it cannot be one, or the connection is over.
function Second:send(text) return self.socket ~= nil and self.socket:post(text) == true end

--- Waits until all that was sent has been read, or the connection has ended.
---@async
---@return boolean alive
function Second:barrier()
  self.number = self.number + 1
  local id = "second:" .. self.number
  local sent = self:send(json.encode { id = id, method = "thread/loaded/list",
    params = json.object {} })
  async.timeout(20, function()
    while sent and not self.answers[id] and not self.socket:is_closed() do self.changed:wait() end
  end)
  return self.answers[id] == true
end

function Second:close()
  if self.socket then self.socket:close() end
end

---@param path string of the socket
return function(path)
  return setmetatable({ path = path, number = 0, answers = {}, changed = async.signal() }, Second)
end
