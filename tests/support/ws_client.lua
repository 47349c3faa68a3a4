--- A WebSocket client for specs, down to the frames: it can split, vanish and break the rules.

local async = require "codex.async"
local uv = require "luv"

local M = {}

local Client = {}
Client.__index = Client

-- The example of RFC 6455, section 1.3: the key and the answer to it.
M.key, M.accept = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

--- Waits until so many bytes are there, and takes them; nil when the connection ended before.
function Client:take(n)
  local pieces, have = { self.rest }, #self.rest
  while have < n do
    if #self.arrived == 0 then
      if self.ended then return nil end
      self.changed:wait()
    else
      local piece = table.remove(self.arrived, 1)
      pieces[#pieces + 1], have = piece, have + #piece
    end
  end
  local all = table.concat(pieces)
  self.rest = all:sub(n + 1)
  return all:sub(1, n)
end

function Client:raw(bytes) self.socket:write(bytes) end

local function xor(text, mask)
  local key = { mask:byte(1, 4) }
  return (text:gsub("()(.)", function(at, c)
    return string.char(c:byte() ~ key[(at - 1) % 4 + 1])
  end))
end

--- The bytes of a frame. `mask` is four bytes (zeros by default, which leave the text as it is).
function M.frame(opcode, text, more)
  more = more or {}
  local first = opcode | (more.fin == false and 0 or 0x80)
  local n = #text
  local size = n < 126 and string.pack("B", 0x80 | n)
    or n < 65536 and string.pack(">BI2", 0x80 | 126, n) or string.pack(">BI8", 0x80 | 127, n)
  local body = more.mask and xor(text, more.mask) or text
  return string.char(first) .. size .. (more.mask or "\0\0\0\0") .. body
end

function Client:send(text, more) self:raw(M.frame(1, text, more)) end

--- The next frame: opcode, text, whether it is the last of its message.
function Client:receive_frame()
  local head = self:take(2)
  if not head then return nil end
  local first, n = head:byte(1, 2)
  if n == 126 then n = string.unpack(">I2", self:take(2)) end
  if n == 127 then n = string.unpack(">I8", self:take(8)) end
  return first & 0x0F, self:take(n), first & 0x80 ~= 0
end

--- The next text message; nil at the end or at a close frame, whose code follows.
function Client:receive()
  local pieces = {}
  while true do
    local opcode, text, fin = self:receive_frame()
    if opcode == nil then return nil, "lost" end
    if opcode == 8 then return nil, #text > 1 and string.unpack(">I2", text) or nil, text:sub(3) end
    pieces[#pieces + 1] = text
    if fin then return table.concat(pieces), #pieces end
  end
end

--- Stops and starts reading.
function Client:pause(whether)
  if whether then return self.socket:read_stop() end
  self.socket:read_start(function(_, data)
    if data then
      self.arrived[#self.arrived + 1] = data
    else
      self.ended = true
    end
    self.changed:notify()
  end)
end

--- Leaves without a word.
function Client:close()
  if not self.socket:is_closing() then self.socket:close() end
end

Client.__close = Client.close

--- Asks for an upgrade with these further header lines, to something else than WebSocket where that
--- is named. `client.status` is the answer's code, `client.head` all of its header.
---@async
function M.connect(path, headers, upgrade)
  local socket = uv.new_pipe()
  local client = setmetatable({
    socket = socket, arrived = {}, rest = "", changed = async.signal(),
  }, Client)
  local err = async.await(function(resume) socket:connect(path, resume) end)
  if err then
    socket:close()
    return nil, err
  end
  client:pause(false)
  client:raw(("GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: %s\r\n" ..
    "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n%s\r\n")
    :format(upgrade or "websocket", M.key, headers or ""))
  local head = ""
  while not head:find "\r\n\r\n" do
    local byte = client:take(1)
    if not byte then break end
    head = head .. byte
  end
  client.head, client.status = head, math.tointeger(head:match "^HTTP/1.%d (%d+)")
  return client
end

return M
