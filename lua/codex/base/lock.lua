--- A lock between programs: a file that says which process holds it.
---
--- It is not needed any more when its process is gone, and is then taken by the next one.

local E = require "codex.error"
local async = require "codex.async"
local files = require "codex.files"
local uv = require "luv"

local M = {}

local PAUSE = 0.05 -- seconds between attempts

---@class codex.Lock
local Lock = {}
Lock.__index = require("codex.base.class").methods(Lock)

--- A process by its number and the time it began: numbers are used again.
local function process(pid)
  local stat = files.read(("/proc/%d/stat"):format(pid))
  local began = stat and stat:match "^.*%) (.*)$"
  local fields = {}
  for field in (began or ""):gmatch "%S+" do fields[#fields + 1] = field end
  return fields[20] and ("%d %s"):format(pid, fields[20])
end

local function is_held(text)
  local pid = math.tointeger(tonumber(text:match "^%d+"))
  return pid ~= nil and process(pid) == text
end

--- Takes away the lock of a process that is gone. It is taken aside first: what was there may have
--- been replaced by somebody who did the same.
local function clear(path, stale)
  local aside = ("%s.%d"):format(path, uv.os_getpid())
  if not uv.fs_rename(path, aside) then return end
  if files.read(aside) ~= stale then uv.fs_link(aside, path) end
  uv.fs_unlink(aside)
end

--- One attempt: true, false where somebody holds it, or nil and why that cannot be found out.
local function attempt(path, own)
  local new, err = files.temporary(own, path)
  if not new then return nil, err end
  local guard <close> = new -- luacheck: ignore 211
  local ok, message, code = uv.fs_link(new.path, path)
  if ok then return true end
  if code ~= "EEXIST" then
    return nil, E.new("io", ("cannot lock '%s': %s"):format(path, message), { code = code })
  end
  local holder = files.read(path)
  if holder and not is_held(holder) then clear(path, holder) end
  return false
end

--- Takes the lock, or waits for it.
---@async
---@param path string of the lock's own file; its folder is made
---@param timeout number seconds
---@return codex.Lock? closable
---@return codex.Error? error kind `timeout`: somebody else holds it
function M.take(path, timeout)
  local ok, err = files.make_dir(path:match "^(.*)/")
  if not ok then return nil, err end
  local own, last = assert(process(uv.os_getpid())), uv.hrtime() + timeout * 1e9
  repeat
    ok, err = attempt(path, own)
    if ok then return setmetatable({ path = path }, Lock) end
    if ok == nil then return nil, err end
    async.sleep(PAUSE)
  until uv.hrtime() > last
  return nil, E.new("timeout", ("another program is at it and holds '%s' (process %s)"):format(path,
    (files.read(path) or "?"):match "%S+"))
end

--- Gives it back. Idempotent.
function Lock:close()
  if self.path then uv.fs_unlink(self.path) end
  self.path = nil
end

Lock.__close = Lock.close
Lock.__gc = Lock.close

return M
