--- Lua files of the user's that are run for him: policies, hooks, middleware.
---
--- Whoever can write such a file can approve what he likes, or run what he likes after every turn:
--- it must be the user's own, or root's, and nobody else may be able to write it or its folder.

local E = require "codex.error"
local uv = require "luv"

local M = {}

local OTHERS_WRITE = tonumber("022", 8)

local function ownership_problem(path, stat, kind)
  if stat.uid ~= uv.getuid() and stat.uid ~= 0 then
    return E.new(kind, ("'%s' belongs to somebody else (user %d)"):format(path, stat.uid))
  end
  if stat.mode & OTHERS_WRITE ~= 0 then
    return E.new(kind, ("'%s' can be written by others than its owner; chmod go-w it"):format(path))
  end
end

local function cannot_read(path, message, code)
  return E.new("io", ("cannot read '%s': %s"):format(path, message), { code = code })
end

--- The text of an open file that nobody else can have written.
local function read_checked(path, fd, kind)
  local err = ownership_problem(path, assert(uv.fs_fstat(fd)), kind)
  if err then return nil, err end
  local pieces = {}
  while true do
    local piece, message, code = uv.fs_read(fd, 65536, -1)
    if not piece then return nil, cannot_read(path, message, code) end
    if piece == "" then return table.concat(pieces) end
    pieces[#pieces + 1] = piece
  end
end

local function read(path, kind)
  local fd, message, code = uv.fs_open(path, "r", 0)
  if not fd then return nil, cannot_read(path, message, code) end
  local text, err = read_checked(path, fd, kind)
  uv.fs_close(fd)
  return text, err
end

--- What a file is called where it gives no name itself.
---@param path string
---@return string
function M.name(path) return (path:match "([^/]+)$":gsub("%.lua$", "")) end

--- Runs the file and gives what it returned, which may be nil.
---@async
---@param path string
---@param kind codex.ErrorKind of the error when it cannot be used
---@param env? table its globals, in place of ours
---@return any value
---@return codex.Error? error of this kind with file and line; kind `io`: it cannot be read
function M.load(path, kind, env)
  local text, err = read(path, kind)
  if not text then return nil, err end
  local chunk, message = load(text, "@" .. path, "t", env or _G)
  if not chunk then return nil, E.new(kind, message) end
  local ok, value = pcall(chunk)
  if not ok then return nil, E.new(kind, ("%s: %s"):format(path, tostring(value))) end
  return value
end

--- The *.lua files of a folder in the order of their names; none where the folder is not there.
---@param dir string
---@param kind codex.ErrorKind of the error when others may write the folder
---@return string[]? paths
---@return codex.Error?
function M.files(dir, kind)
  local stat, message, code = uv.fs_stat(dir)
  if not stat and code == "ENOENT" then return {} end
  if not stat then return nil, cannot_read(dir, message, code) end
  local err = ownership_problem(dir, stat, kind)
  if err then return nil, err end
  local request
  request, message, code = uv.fs_scandir(dir)
  if not request then return nil, cannot_read(dir, message, code) end
  local paths = {}
  for name in function() return uv.fs_scandir_next(request) end do
    if name:find "^[^.].*%.lua$" then paths[#paths + 1] = dir .. "/" .. name end
  end
  table.sort(paths)
  return paths
end

return M
