--- Base64 (RFC 4648, with padding): how the app-server carries bytes in JSON.

local M = {}

local letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

-- Twelve bits are two letters: one look-up for both, in each direction.
local pair_of, value_of = {}, {}
for high = 0, 63 do
  for low = 0, 63 do
    local pair = letters:sub(high + 1, high + 1) .. letters:sub(low + 1, low + 1)
    pair_of[high << 6 | low], value_of[pair] = pair, high << 6 | low
  end
end

local function encode_three(three)
  local a, b, c = three:byte(1, 3)
  local bits = a << 16 | (b or 0) << 8 | (c or 0)
  local text = pair_of[bits >> 12] .. pair_of[bits & 0xfff]
  if c then return text end
  return text:sub(1, b and 3 or 2) .. (b and "=" or "==")
end

---@param bytes string
---@return string
function M.encode(bytes) return (bytes:gsub("..?.?", encode_three)) end

--- The bytes; nil when the text is not base64.
---@param text string
---@return string?
function M.decode(text)
  local body, padding = text:match "^(.-)(=*)$"
  if #text % 4 ~= 0 or #padding > 2 or body:find "[^%w+/]" then return nil end
  local bytes = (body .. ("A"):rep(#padding)):gsub("(..)(..)", function(high, low)
    local bits = value_of[high] << 12 | value_of[low]
    return string.char(bits >> 16, bits >> 8 & 0xff, bits & 0xff)
  end)
  return bytes:sub(1, #bytes - #padding)
end

return M
