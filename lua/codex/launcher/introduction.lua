--- How several clients introduce themselves to one server, which takes one introduction only: the
--- first that succeeds is for all, and the others are told what it was told.

local M = {}

local INVALID_REQUEST = -32600

---@class codex.Introduction
---@field result? any what the server said of itself
---@field first? codex.Front whose introduction is on its way
---@field waiting table[] those who introduced themselves meanwhile: { front, id, line }
local Introduction = {}
Introduction.__index = require("codex.base.class").methods(Introduction)

function M.new() return setmetatable({ waiting = {} }, Introduction) end

local function refuse(front, id, why)
  front:answer(id, { error = { code = INVALID_REQUEST, message = why } })
end

--- Whether a client introduces itself for the first time, or again where the server did not like
--- what it said; where it has done so it is told.
---@param front codex.Front
---@param id string
---@return boolean
function M.is_first(front, id)
  if front.introduced == nil then return true end
  refuse(front, id, "Already initialized")
  return false
end

--- Takes one of several clients' `initialize`. True when it has to be sent to the server.
---@param front codex.Front
---@param id string
---@param line string
---@return boolean
function Introduction:take(front, id, line)
  front.introduced = "asked"
  if self.result ~= nil then
    front.introduced = "done"
    front:answer(id, { result = self.result })
    return false
  end
  if self.first then
    table.insert(self.waiting, { front = front, id = id, line = line })
    return false
  end
  self.first = front
  return true
end

--- The next one that still waits, for its introduction to be sent in place of one that failed.
local function next_one(waiting)
  while waiting[1] do
    local each = table.remove(waiting, 1)
    if not each.front.gone then return each end
  end
end

--- The server has answered the introduction. Where it did not like it, the next client's is to be
--- sent, which is returned.
---@param result any? nil: it was an error
---@return { front: codex.Front, id: string, line: string }?
function Introduction:answered(result)
  local first = self.first
  self.first = nil
  if result == nil then
    if first then first.introduced = nil end
    local each = next_one(self.waiting)
    self.first = each and each.front
    return each
  end
  self.result = result
  if first then first.introduced = "done" end
  local waiting = self.waiting
  self.waiting = {}
  for _, each in ipairs(waiting) do
    each.front.introduced = "done"
    if not each.front.gone then each.front:answer(each.id, { result = result }) end
  end
end

--- Whether a client may ask; where it has not introduced itself it is told so.
---@param front codex.Front
---@param id string
---@return boolean
function M.admits(front, id)
  if front.introduced == "done" then return true end
  refuse(front, id, "Not initialized")
  return false
end

--- Whether a client's `initialized` is the first, which the server is to hear.
---@param front codex.Front
---@return boolean
function Introduction:confirmed(front)
  if front.introduced ~= "done" or self.is_confirmed then return false end
  self.is_confirmed = true
  return true
end

return M
