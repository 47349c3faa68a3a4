--- A lock between programs, on a file of its own: the kernel takes it back when its holder ends,
--- however that ends. The file has the holder's number in it, for whoever waits.

local E = require "codex.error"
local async = require "codex.async"
local core = require "codex.core.lock"
local files = require "codex.files"
local uv = require "luv"

local M = {}

local PAUSE = 0.05 -- seconds between attempts
local OWNER_ONLY = tonumber("600", 8)

---@class codex.Lock
local Lock = {}
Lock.__index = require("codex.base.class").methods(Lock)

local function io_error(path, message, code)
  return nil, E.new("io", ("cannot lock '%s': %s"):format(path, message), { code = code })
end

--- Whether the path still leads to this file: who held the lock may have taken the file away before
--- we got it.
local function is_there(fd, path)
  local own, there = uv.fs_fstat(fd), uv.fs_stat(path)
  return own and there and own.ino == there.ino and own.dev == there.dev
end

--- One attempt: the open file, false where somebody holds it, or nil and why that cannot be found
--- out.
local function attempt(path)
  local flag = uv.constants
  local fd, message, code = uv.fs_open(path, flag.O_RDWR | flag.O_CREAT, OWNER_ONLY)
  if not fd then return io_error(path, message, code) end
  local is_ours
  is_ours, code, message = core.take(fd)
  if is_ours and is_there(fd, path) then return fd end
  uv.fs_close(fd)
  if is_ours == nil then return io_error(path, message, code) end
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
  local last = uv.hrtime() + timeout * 1e9
  repeat
    local fd
    fd, err = attempt(path)
    if fd == nil then return nil, err end
    if fd then
      uv.fs_ftruncate(fd, 0)
      uv.fs_write(fd, tostring(uv.os_getpid()), 0)
      return setmetatable({ path = path, fd = fd }, Lock)
    end
    async.sleep(PAUSE)
  until uv.hrtime() > last
  return nil, E.new("timeout", ("another program is at it and holds '%s' (process %s)"):format(path,
    (files.read(path) or ""):match "%d+" or "?"))
end

--- Gives it back, and takes the file away while nobody else can hold it. Idempotent.
function Lock:close()
  if not self.fd then return end
  uv.fs_unlink(self.path)
  uv.fs_close(self.fd)
  self.fd = nil
end

Lock.__close = Lock.close
Lock.__gc = Lock.close

return M
