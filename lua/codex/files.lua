--- Files and folders: the user's own places, writing that is whole or not at all.

local uv = require "luv"
local E = require "codex.error"

local M = {}

local function absolute(value) return value and value:sub(1, 1) == "/" and value or nil end

--- The user's home: HOME, or what the passwd file says where that is not set, or is no absolute
--- path. Raises an error that says so where there is none.
---@return string
function M.home()
  local home = absolute(os.getenv "HOME")
  local entry = not home and uv.os_get_passwd()
  home = home or entry and absolute(entry.homedir)
  return home or error("there is no home folder: HOME is not set to an absolute path, and this "
    .. "user has none in the passwd file", 0)
end

local function xdg(variable, default)
  return (absolute(os.getenv(variable)) or M.home() .. default) .. "/codex-lua"
end

--- The user's scripts, notify hooks and policies.
function M.config_dir() return xdg("XDG_CONFIG_HOME", "/.config") end
function M.state_dir() return xdg("XDG_STATE_HOME", "/.local/state") end
function M.cache_dir() return xdg("XDG_CACHE_HOME", "/.cache") end

--- For sockets: below XDG_RUNTIME_DIR, or where there is none, a folder of this user's in /tmp.
---@return string
function M.runtime_dir()
  local dir = absolute(os.getenv "XDG_RUNTIME_DIR")
  return dir and dir .. "/codex-lua" or ("/tmp/codex-lua-%d"):format(uv.getuid())
end

local function io_error(what, path, message, name)
  return nil, E.new("io", ("%s '%s': %s"):format(what, path, message), { code = name })
end

local function make_one(path)
  local ok, message, name = uv.fs_mkdir(path, tonumber("700", 8))
  if ok then return true end
  local stat = name == "EEXIST" and uv.fs_stat(path)
  if stat and stat.type == "directory" then return true end
  return io_error("cannot make", path, message, name)
end

--- Makes a folder and those above it, for the user alone.
---@param path string
---@return true?
---@return codex.Error?
function M.make_dir(path)
  local ok, err = make_one(path)
  local parent = path:match "^(.+)/[^/]+$"
  if ok or err.code ~= "ENOENT" or not parent then return ok, err end
  ok, err = M.make_dir(parent)
  if not ok then return nil, err end
  return make_one(path) -- that nothing is there although its parent is: /proc says so
end

local function read_all(path, fd)
  local pieces, offset = {}, 0
  local piece, message, name
  repeat
    piece, message, name = uv.fs_read(fd, 65536, offset)
    if piece then
      pieces[#pieces + 1] = piece
      offset = offset + #piece
    end
  until not piece or piece == ""
  uv.fs_close(fd)
  if not piece then return io_error("cannot read", path, message, name) end
  return table.concat(pieces)
end

---@param path string
---@return string?
---@return codex.Error?
function M.read(path)
  local fd, message, name = uv.fs_open(path, "r", 0)
  if not fd then return io_error("cannot read", path, message, name) end
  return read_all(path, fd)
end

--- Reads what must be a regular file: nobody is waited for, as one who writes to a FIFO would be.
---@param path string
---@return string?
---@return codex.Error?
function M.read_regular(path)
  local flags = uv.constants.O_RDONLY | uv.constants.O_NONBLOCK
  local fd, message, name = uv.fs_open(path, flags, 0)
  if not fd then return io_error("cannot read", path, message, name) end
  local stat = uv.fs_fstat(fd)
  if stat and stat.type == "file" then return read_all(path, fd) end
  uv.fs_close(fd)
  return io_error("cannot read", path, "it is no regular file")
end

local function write_all(fd, data)
  local offset = 0
  while offset < #data do
    local n, message, name = uv.fs_write(fd, data:sub(offset + 1), offset)
    if not n then return nil, message, name end
    offset = offset + n
  end
  return uv.fs_fsync(fd)
end

--- Writes a file under a temporary name in the same folder and renames it: a reader sees the old
--- content or the new, never a part, and of two writers one wins whole. Mode 0600.
---@param path string
---@param data string
---@return true?
---@return codex.Error?
function M.write(path, data)
  local fd, temporary, name = uv.fs_mkstemp(path .. ".XXXXXX")
  if not fd then return io_error("cannot write", path, temporary, name) end
  local ok, message
  ok, message, name = write_all(fd, data)
  uv.fs_close(fd)
  if ok then
    ok, message, name = uv.fs_rename(temporary, path)
  end
  if ok then return true end
  uv.fs_unlink(temporary)
  return io_error("cannot write", path, message, name)
end

--- A private temporary file (mode 0600) that is removed when closed.
---@class codex.TemporaryFile
---@field path string
local Temporary = {}
Temporary.__index = require("codex.base.class").methods(Temporary)

function Temporary:close()
  if self.path then uv.fs_unlink(self.path) end
  self.path = nil
end

Temporary.__close = Temporary.close
Temporary.__gc = Temporary.close

--- Makes one beside nothing else of ours: in TMPDIR, or next to `near`.
---@param data string
---@param near? string a path in the wanted folder
---@return codex.TemporaryFile?
---@return codex.Error?
function M.temporary(data, near)
  local template = near and near .. ".XXXXXX" or uv.os_tmpdir() .. "/codex-lua-XXXXXX"
  local fd, path, name = uv.fs_mkstemp(template)
  if not fd then return io_error("cannot make a temporary file", template, path, name) end
  local ok, message
  ok, message, name = write_all(fd, data)
  uv.fs_close(fd)
  if ok then return setmetatable({ path = path }, Temporary) end
  uv.fs_unlink(path)
  return io_error("cannot write", path, message, name)
end

return M
