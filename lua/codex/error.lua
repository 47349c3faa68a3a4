--- Errors of the world outside: what a function returns after nil.
---
--- The caller's own mistakes are not made of these; they are raised with error().

---@alias codex.ErrorKind
---| "spawn"       # a program could not be started
---| "exit"        # a program ended with a failure; `code` says of what class, where that is known
---| "rpc"         # the other side answered with an error
---| "protocol"    # the other side broke the protocol
---| "timeout"     # the time limit ran out
---| "idle"        # nothing was heard for too long
---| "cancelled"   # the task, or what it waited for, was cancelled
---| "closed"      # the object is closed
---| "io"          # a file or socket failed
---| "auth"        # not logged in, or not allowed
---| "rate_limit"  # too many requests or the quota is used up; `data.retry_after` in seconds
---| "unsupported" # this version of Codex cannot do it
---| "policy"      # a policy said no

---@class codex.Error
---@field kind codex.ErrorKind
---@field message string
---@field code? string|integer a finer class, or the code the other side gave
---@field data? table what else is known; partial results are in here
---@field stderr? string the last lines a program wrote to standard error
local Error = {}
Error.__index = require("codex.base.class").methods(Error)
Error.__name = "codex.error"

function Error:__tostring()
  local text = self.kind .. ": " .. self.message
  if self.code then text = ("%s (%s)"):format(text, self.code) end
  if self.stderr and self.stderr ~= "" then text = text .. "\n" .. self.stderr:gsub("%s+$", "") end
  return text
end

local M = {}

local redact = require("codex.core.log").redact

--- Makes one. What looks like a credential is taken out of its texts.
---@param kind codex.ErrorKind
---@param message string
---@param more? { code?: string|integer, data?: table, stderr?: string }
---@return codex.Error
function M.new(kind, message, more)
  local err = setmetatable({ kind = kind, message = redact(message) }, Error)
  if more then
    err.code, err.data = more.code, more.data
    err.stderr = more.stderr and redact(more.stderr)
  end
  return err
end

---@param value any
---@param kind? codex.ErrorKind
---@return boolean
function M.is(value, kind)
  return getmetatable(value) == Error and (kind == nil or value.kind == kind)
end

--- What an error says, whatever it is made of: its own way to say it may fail, too.
---@param value any
---@return string
function M.text(value)
  local ok, text = pcall(tostring, value)
  if ok and type(text) == "string" then return text end
  return ("a %s that cannot say what it is"):format(type(value))
end

return M
