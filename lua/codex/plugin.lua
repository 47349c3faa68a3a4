--- Lua files of the user's that are run for him: policies, hooks, middleware.
---
--- Whoever can write such a file can approve what he likes, or run what he likes after every turn:
--- it must be the user's own, or root's, and nobody else may be able to write it,
--- or any folder on the way to it.

local E = require "codex.error"
local environment = require "codex.base.environment"
local guard = require "codex.guard"
local stats = require "codex.core.stat"
local uv = require "luv"

local M = {}

local OTHERS_WRITE, STICKY = tonumber("022", 8), tonumber("1000", 8)
local TYPE, DIRECTORY, LINK, FILE =
  tonumber("170000", 8), tonumber("40000", 8), tonumber("120000", 8), tonumber("100000", 8)
local LINKS = 40 -- that a path may lead through, as for the kernel
local SIZE_LIMIT = 16 << 20 -- bytes
local PIECE = 8192 -- bytes read at a time: most hooks are smaller
local LOAD_TIMEOUT = 3 -- seconds for a file, which is only to say what there is

--- A path as a message can show it.
local function shown(path)
  return (path:gsub("%c", function(c) return ("\\x%02X"):format(c:byte()) end))
end

local function problem(kind, format, path, ...)
  return nil, E.new(kind, format:format(shown(path), ...))
end

local function cannot_read(path, message, code)
  return nil, E.new("io", ("cannot read '%s': %s"):format(shown(path), message), { code = code })
end

local function is_own(stat) return stat.uid == uv.getuid() or stat.uid == 0 end

--- Whether nobody else can change what is at this place. In a sticky folder, as /tmp is, nobody can
--- put another thing in the place of what belongs to the user.
local function check_place(path, stat, next_is_own, kind)
  if not is_own(stat) then
    return problem(kind, "'%s' belongs to somebody else (user %d)", path, stat.uid)
  end
  local is_open = stat.mode & OTHERS_WRITE ~= 0 and stat.mode & TYPE ~= LINK
  if not is_open or (stat.mode & STICKY ~= 0 and next_is_own) then return true end
  return problem(kind, "'%s' can be written by others than its owner; chmod go-w it", path)
end

--- The parts of a path, the last one first.
local function parts_of(path)
  local parts = {}
  for part in path:gmatch "[^/]+" do table.insert(parts, 1, part) end
  return parts
end

local function push_target(parts, path)
  local target, message, code = uv.fs_readlink(path)
  if not target then return cannot_read(path, message, code) end
  local more = parts_of(target)
  table.move(more, 1, #more, #parts + 1, parts)
  return target
end

--- The folders of files that M.files has just found: the way there was looked at. Nobody else can
--- have changed it since, for that would take a folder on it that others can write.
local walked = {}

--- Goes down a path, through its links, and looks at every place on it.
---@param path string absolute
---@param from? { real: string, stat: table } its folder, where the way to that was looked at
---@return table? stat of what it leads to, which is not looked at itself
---@return string|codex.Error path of that, without links
local function walk(path, kind, from)
  local parts, links = parts_of(from and path:match "[^/]*$" or path), 0
  local at = from and from.real or ""
  local folder = from and from.stat or assert(stats.at "/")
  while #parts > 0 do
    local name = table.remove(parts)
    local here = at .. "/" .. name
    if name == "." then here = at elseif name == ".." then here = at:match "^(.*)/" or "" end
    local stat, code, message = stats.at(here == "" and "/" or here)
    if not stat then return cannot_read(path, code .. ": " .. message, code) end
    local ok, err = check_place(at == "" and "/" or at, folder, is_own(stat), kind)
    if not ok then return nil, err end
    if stat.mode & TYPE == LINK then
      links = links + 1
      if links > LINKS then return cannot_read(path, "too many links", "ELOOP") end
      ok, err = check_place(here, stat, true, kind)
      local target = ok
      if ok then target, err = push_target(parts, here) end
      if not target then return nil, err end
      if target:sub(1, 1) == "/" then at, folder = "", assert(stats.at "/") end
    else
      at, folder = here, stat
    end
  end
  return folder, at == "" and "/" or at
end

local function absolute(path) return path:sub(1, 1) == "/" and path or uv.cwd() .. "/" .. path end

--- The text of an open file, which must be the one that was looked at.
local function read_open(path, fd, seen, kind)
  local stat = assert(stats.of(fd))
  if stat.dev ~= seen.dev or stat.ino ~= seen.ino or stat.mode ~= seen.mode
    or stat.uid ~= seen.uid then
    return problem(kind, "'%s' was changed while it was read in", path)
  end
  local pieces, size = {}, 0
  while true do
    local piece, message, code = uv.fs_read(fd, PIECE, -1)
    if not piece then return cannot_read(path, message, code) end
    if piece == "" then return table.concat(pieces) end
    pieces[#pieces + 1], size = piece, size + #piece
    if size > SIZE_LIMIT then return problem(kind, "'%s' is larger than 16 MiB", path) end
  end
end

--- The text of a file that nobody else can have written. A pipe is never waited for.
local function read(path, kind)
  if path:find "%c" then
    return problem(kind, "'%s' has a control character in its name", path)
  end
  local from = walked[path]
  walked[path] = nil
  local seen, real = walk(absolute(path), kind, from)
  if not seen then return nil, real end
  if seen.mode & TYPE ~= FILE then return problem(kind, "'%s' is no regular file", path) end
  local ok, err = check_place(real, seen, false, kind)
  if not ok then return nil, err end
  local flags = uv.constants.O_RDONLY | uv.constants.O_NONBLOCK
  local fd, message, code = uv.fs_open(path, flags, 0)
  if not fd then return cannot_read(path, message, code) end
  local text
  text, err = read_open(path, fd, seen, kind)
  uv.fs_close(fd)
  return text, err
end

--- What a file is called where it gives no name itself.
---@param path string
---@return string
function M.name(path) return (path:match "([^/]+)$":gsub("%.lua$", "")) end

--- Runs the file with globals of its own, and makes something of what it returned. Both are the
--- file's own doing: they have a time limit, and what they raise is its error.
---@async
---@param path string
---@param kind codex.ErrorKind of the error when it cannot be used
---@param make fun(value: any, name: string): any
---@return any value what `make` returned
---@return codex.Error? error of this kind with file and line; kind `io`: it cannot be read
function M.load(path, kind, make)
  local text, err = read(path, kind)
  if not text then return nil, err end
  local chunk, message = load(text, "@" .. path, "t", environment.new())
  if not chunk then return nil, E.new(kind, message) end
  local name = M.name(path)
  local outcome = guard.run(path, LOAD_TIMEOUT, guard.safely, function()
    return make(chunk(), name)
  end)
  if outcome.timed_out then
    return nil, E.new(kind, ("%s: was not read in within %g seconds"):format(path, LOAD_TIMEOUT))
  end
  if outcome[1] then return outcome[2] end
  return nil, E.new(kind, ("%s: %s"):format(path, outcome.err or outcome[2]))
end

--- What a file returned as a list, where that is what it is: nothing missing in it, and nothing
--- else. Raises what is wrong.
---@param value table
---@param what string for the message: "a policy"
---@return any[]
function M.list(value, what)
  local count, odd = 0, nil
  for key in next, value do
    count = count + 1
    local name = type(key) == "string" and shown(key) or type(key)
    if math.type(key) ~= "integer" and (not odd or name < odd) then odd = name end
  end
  if odd then
    error(("it returned a list of which '%s' is no part: %s, or a list, is wanted"):format(odd,
      what), 0)
  end
  for i = 1, count do
    if rawget(value, i) == nil then
      error(("it returned a list in which number %d is missing"):format(i), 0)
    end
  end
  if count == 0 then error(("it must return %s, a list of them, or a function"):format(what), 0) end
  return value
end

--- The *.lua files of a folder in the order of their names; none where the folder is not there.
---@param dir string
---@param kind codex.ErrorKind of the error when others may write the folder
---@return string[]? paths
---@return codex.Error?
function M.files(dir, kind)
  local _, code = stats.at(dir)
  if code == "ENOENT" then return {} end
  local stat, real = walk(absolute(dir), kind)
  if not stat then return nil, real end
  if stat.mode & TYPE ~= DIRECTORY then return problem(kind, "'%s' is no folder", dir) end
  local ok, err = check_place(real, stat, false, kind)
  if not ok then return nil, err end
  local request, message
  request, message, code = uv.fs_scandir(dir)
  if not request then return cannot_read(dir, message, code) end
  local paths = {}
  for name in function() return uv.fs_scandir_next(request) end do
    if name:find "^[^.].*%.lua$" then paths[#paths + 1] = dir .. "/" .. name end
  end
  for _, path in ipairs(paths) do walked[path] = { real = real, stat = stat } end
  table.sort(paths)
  return paths
end

return M
