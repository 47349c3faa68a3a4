--- Where a response of HTTP leads, and what goes along: to another scheme, host or port none of the
--- caller's headers, since any of them may be a secret of the place that was asked.

local core = require "codex.core.http"

local M = {}

--- Whether it is asked for with GET, or HEAD, and without a body (RFC 9110, 15.4).
local function is_fetched(status, method)
  return status == 303 or method == "POST" and (status == 301 or status == 302)
end

--- Names and values in turn, without those that are about a body, or with no others. What is not to
--- be sent (false) stays away.
local function kept(headers, keeps)
  local list = {}
  for i = 1, #headers, 2 do
    local name, value = headers[i], headers[i + 1]
    if not value or keeps(name:lower()) then
      list[#list + 1] = name
      list[#list + 1] = value
    end
  end
  return list
end

local function is_of_body(name) return name:find "^content%-" ~= nil end
local function is_not_of_body(name) return not is_of_body(name) end
local function is_none() return false end

--- Whether this is a response that leads on.
---@param status integer
---@param location string|string[]|nil
---@return boolean
function M.leads_on(status, location)
  return status >= 300 and status < 400 and type(location) == "string" and location ~= ""
end

--- The request that follows.
---@param o table the one before, as the binding knows it, and `redirect_body`
---@param status integer
---@param location string
---@return table? request nil where it would lead to no URL of http or https, or from https to http
function M.following(o, status, location)
  local url, stays = core.resolve(o.url, location)
  if not url or (o.url:find "^[hH][tT][tT][pP][sS]:" and not url:find "^https:") then return nil end
  local next_one = {}
  for name, value in pairs(o) do next_one[name] = value end
  next_one.url = url
  local is_bodiless = is_fetched(status, o.method)
  if is_bodiless and o.method ~= "HEAD" then next_one.method = "GET" end
  is_bodiless = is_bodiless or not stays and not o.redirect_body
  if is_bodiless then next_one.body = nil end
  if not stays then
    next_one.headers = kept(o.headers, is_bodiless and is_none or is_of_body)
  elseif is_bodiless then
    next_one.headers = kept(o.headers, is_not_of_body)
  end
  return next_one
end

return M
