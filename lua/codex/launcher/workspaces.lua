--- The folders in which threads of a strict launcher may work without a question: the launcher's
--- own, and those that the user named.
---
--- In a workspace commands write without being asked about, and Codex runs git there. Codex
--- (0.153.4, 0.169.0) also marks a folder as trusted when a thread that may write starts there, and
--- from then on obeys the settings in it. So the client does not choose the folder; and as Codex
--- goes to a folder by its path at each command, only the real path counts.

local E = require "codex.error"
local files = require "codex.files"
local uv = require "luv"

local M = {}

---@class codex.Workspaces
---@field own string the real path of the launcher's own folder
---@field named table<string, boolean> the real paths of those that the user named
---@field _places table<string, boolean> of all in which threads may work
---@field _temporary table<string, boolean> where commands of all threads may write
local Workspaces = {}
Workspaces.__index = require("codex.base.class").methods(Workspaces)

local function is_within(path, folder)
  return folder == "/" or path == folder or path:sub(1, #folder + 1) == folder .. "/"
end

--- Where a path leads, also when its last parts are not there yet.
local function real(path)
  local found = uv.fs_realpath(path)
  local parent, name = path:match "^(.*)/([^/]+)/*$"
  if found or not name then return found or "/" end
  return real(parent) .. "/" .. name
end

local function short(text)
  return #text > 200 and text:sub(1, utf8.offset(text, 0, 200) - 1) .. "..." or text
end

-- ---- What the client says ----------------------------------------------------------------------

--- Whether this is the real path of a folder. Where a link leads may change, by a command or, as
--- that of /proc/PID/cwd, by a process that goes elsewhere; Codex would follow the link then.
local function is_real(path, found) return path == found or path:match "^(.-)/*$" == found end

--- Codex leaves an empty folder where it has hidden a project's settings from a command that was
--- interrupted.
local function is_empty_folder(path)
  local stat = uv.fs_lstat(path)
  local request = stat and stat.type == "directory" and uv.fs_scandir(path)
  local count = 0
  while request and uv.fs_scandir_next(request) do count = count + 1 end -- to the end, or it leaks
  return request and count == 0 or false
end

--- Settings of a project that Codex would obey in the launcher's own folder.
function Workspaces:_settings()
  local folder = self.own
  while folder do
    local path = (folder == "/" and "" or folder) .. "/.codex"
    local is_there = uv.fs_lstat(path) and real(path) ~= self._codex_home
    if is_there and not is_empty_folder(path) then return path end
    folder = folder ~= "/" and (folder:match "^(.+)/[^/]+$" or "/") or nil
  end
end

--- Why the launcher's own folder is no workspace whatever is in it: what is written there decides
--- what happens next time, as it holds the user's own, Codex's settings, or the policies.
function Workspaces:_problem_of_own()
  local own, home = self.own, self._home
  if is_within(home, own) then
    return ("the working folder holds the home folder (%s)"):format(own)
  end
  for _, folder in ipairs { self._codex_home, self._config } do
    if is_within(folder, own) or is_within(own, folder) then
      return ("the working folder has settings of Codex, or policies (%s)"):format(own)
    end
  end
  if own:sub(1, #home + 2) == home .. "/." then
    return ("the working folder is one of settings (%s)"):format(own)
  end
end

--- Why no working folder at all, which is the launcher's own, is not harmless; nil where it is.
--- Codex trusts no folder that was not said, but this one may have been trusted before.
---@return string? problem
function Workspaces:problem_of_none()
  if self.named[self.own] then return nil end
  local settings = self:_settings()
  return self:_problem_of_own() or settings
    and ("Codex would obey %s in the working folder: --workspace %s allows it"):format(settings,
      self.own) or nil
end

--- Why a folder is none in which threads may work, whatever is in it; nil where it is one.
---@param path string as the client or the server says it
---@return string? problem
function Workspaces:problem_of_place(path)
  local found = path:find "^/" and not path:find "%z" and uv.fs_realpath(path)
  if not found then
    return ("the working folder cannot be looked at (%s)"):format(short(path))
  end
  if found ~= self.own and not self.named[found] then
    return ("commands would run in a folder that nobody named (%s): --workspace names it"):format(
      short(found))
  end
  if not is_real(path, found) then
    return ("where the working folder leads may change (%s): its real path is %s"):format(
      short(path), short(found))
  end
end

--- Why a thread may not begin in a folder, where Codex reads settings; nil where it may.
---@param path string
---@return string? problem
function Workspaces:problem(path)
  local problem = self:problem_of_place(path)
  if problem or self.named[uv.fs_realpath(path)] then return problem end
  return self:problem_of_none()
end

--- Whether this is the folder where Codex keeps what it remembers.
---@param path any
---@return boolean
function Workspaces:is_memory(path)
  return type(path) == "string" and real(path) == self._codex_home .. "/memories"
end

-- ---- What the user says ------------------------------------------------------------------------

local function refuse(path, why, ...)
  return nil, E.new("io", ("--workspace '%s': %s"):format(path, why:format(...)))
end

function Workspaces:_add(path)
  local found, why = uv.fs_realpath(path)
  if not found then return refuse(path, "%s", (why:gsub("^%u+: ", ""))) end
  if (uv.fs_stat(found) or {}).type ~= "directory" then return refuse(path, "it is no folder") end
  if is_within(self._home, found) then return refuse(path, "it holds the home folder") end
  if is_within(self._codex_home, found) then return refuse(path, "it holds CODEX_HOME") end
  self.named[found] = true
  return true
end

--- Where threads may work, and with that, where commands may write.
function Workspaces:_note_places()
  for path in pairs(self.named) do self._places[path] = true end
  if not self:_problem_of_own() then self._places[self.own] = true end
end

--- Where commands of threads in other folders may write in this one; nil where they may not.
function Workspaces:_open_to_others(place)
  for folder in pairs(self._temporary) do
    if is_within(place, folder) then return folder end
  end
  for folder in pairs(self._places) do
    if folder ~= place and is_within(place, folder) then return folder end
  end
end

--- Settings that commands in one folder write in another one would be obeyed when a thread starts
--- in that one.
function Workspaces:_check_apart()
  if not next(self._places, next(self._places)) then return true end -- there is only one
  for place in pairs(self._places) do
    local folder = self:_open_to_others(place)
    if folder then
      return nil, E.new("io", ("--workspace: commands in another folder could write settings in "
        .. "'%s', as it is in '%s'"):format(place, folder))
    end
  end
  return true
end

--- Whether a file that we can write has another name, which may be anywhere.
local function has_other_name(path)
  local stat = uv.fs_stat(path)
  return stat and stat.type == "file" and stat.nlink > 1 and uv.fs_access(path, "W") or false
end

--- Who can write what decides about him, or tells what he did, is free the next time.
function Workspaces:_check_files(files_apart)
  for _, path in ipairs(files_apart) do
    local folder, name = path:match "^(.*/)([^/]+)/*$"
    local link = real(folder or ".") .. "/" .. (name or path)
    if next(self._places) and has_other_name(path) then
      return nil, E.new("io", ("'%s' has another name (a hard link), by which commands could write "
        .. "it: it decides about them or tells of them, so under --strict it must have one"):format(
        path))
    end
    for place in pairs(self._places) do
      if is_within(real(path), place) or is_within(link, place) then
        return nil, E.new("io", ("commands in '%s' could write '%s', which decides about them or "
          .. "tells of them: under --strict it must lie elsewhere"):format(place, path))
      end
    end
  end
  return true
end

--- Looks at the folders once: what they lead to later is another folder.
---@param named? string[] folders that the user named
---@param own? string the launcher's own folder, where it is not the one of the process
---@param files_apart? string[] what must not lie in any of them
---@return codex.Workspaces?
---@return codex.Error?
function M.open(named, own, files_apart)
  local has_home, home = pcall(files.home)
  if not has_home then return nil, E.new("io", E.text(home)) end
  local codex_home, temporary = os.getenv "CODEX_HOME" or "", os.getenv "TMPDIR" or ""
  local self = setmetatable({
    own = real(own or uv.cwd() or "/"), named = {}, _places = {},
    _home = real(home), _config = real(files.config_dir()),
    _codex_home = real(codex_home ~= "" and codex_home or home .. "/.codex"),
    _temporary = { [real "/tmp"] = true },
  }, Workspaces)
  if temporary:find "^/" then self._temporary[real(temporary)] = true end
  for _, path in ipairs(named or {}) do
    local ok, err = self:_add(path)
    if not ok then return nil, err end
  end
  self:_note_places()
  local ok, err = self:_check_apart()
  if ok then
    ok, err = self:_check_files(files_apart or {})
  end
  if not ok then return nil, err end
  return self
end

return M
