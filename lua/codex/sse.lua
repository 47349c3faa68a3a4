--- Server-sent events as the WHATWG's HTML standard has them (9.2.6): bytes in, events out. They
--- may be split anywhere; lines end with CR, LF or CRLF; without a blank line after it it is none.

local M = {}

---@class codex.ServerEvent
---@field event string the type ("message")
---@field data string its lines, with LF between them
---@field id string the last that was given, by this event or one before ("")
---@field retry? number seconds to wait before one connects anew, the last that was given

---@class codex.SseParser
local Parser = {}
Parser.__index = require("codex.base.class").methods(Parser)

--- Reads one stream.
---@param limit? integer longest event in bytes (16 MiB)
---@return codex.SseParser
function M.parser(limit)
  return setmetatable({
    _limit = limit or 16 * 1024 * 1024, _bom = "", _line = {}, _held = 0, _data = {}, _id = "",
  }, Parser)
end

local fields = {
  event = function(parser, value) parser._event = value end,
  data = function(parser, value) parser._data[#parser._data + 1] = value end,
  id = function(parser, value)
    if not value:find("\0", 1, true) then parser._id = value end
  end,
  retry = function(parser, value)
    if value:find "^%d+$" then parser._retry = tonumber(value) / 1000 end
  end,
}

local function end_event(parser, events)
  local data, kind = parser._data, parser._event
  parser._data, parser._event, parser._held = {}, nil, 0
  if #data == 0 then return end
  events[#events + 1] = {
    event = kind ~= "" and kind or "message", data = table.concat(data, "\n"),
    id = parser._id, retry = parser._retry,
  }
end

local function end_line(parser, events)
  local line = #parser._line == 1 and parser._line[1] or table.concat(parser._line)
  parser._line = {}
  if line == "" then return end_event(parser, events) end
  local name, value = line:match "^([^:]*): ?(.*)$"
  local set = fields[name or line]
  if set then set(parser, value or "") else parser._held = parser._held - #line end
end

local function hold(parser, piece)
  if piece == "" then return end
  parser._line[#parser._line + 1] = piece
  parser._held = parser._held + #piece
end

--- A mark at the very beginning says that it is UTF-8, and is no part of it.
local BOM = "\xEF\xBB\xBF"

local function without_bom(parser, bytes)
  bytes = parser._bom .. bytes
  if #bytes < #BOM and bytes == BOM:sub(1, #bytes) then
    parser._bom = bytes
    return ""
  end
  parser._bom = nil
  return bytes:sub(1, #BOM) == BOM and bytes:sub(#BOM + 1) or bytes
end

--- Takes the next bytes and returns the events that they end. nil when an event is longer than the
--- limit; the parser is of no use then.
---@param bytes string
---@return codex.ServerEvent[]?
function Parser:feed(bytes)
  local events, at = {}, 1
  if self._bom then bytes = without_bom(self, bytes) end
  if self._after_cr and bytes ~= "" then
    if bytes:byte() == 10 then at = 2 end
    self._after_cr = false
  end
  while true do
    local ending = bytes:find("[\r\n]", at)
    hold(self, bytes:sub(at, (ending or 0) - 1))
    if self._held > self._limit then return nil end
    if not ending then return events end
    end_line(self, events)
    at = ending + 1
    if bytes:byte(ending) == 13 then
      if at > #bytes then self._after_cr = true end
      if bytes:byte(at) == 10 then at = at + 1 end
    end
  end
end

return M
