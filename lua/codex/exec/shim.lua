--- What is behind a program that only starts another one: the shims that package managers and
--- version managers put into PATH.
---
--- A shim that starts Codex as its child leaves it, and what it runs, behind when one of the two is
--- killed. pnpm and npm write shell scripts that name their target; asdf, nodenv, mise and Volta
--- decide at each start, and are asked which program it would be.

local files = require "codex.files"
local uv = require "luv"

local M = {}

local SCRIPT_LIMIT = 64 * 1024 -- bytes; pnpm's have 6 KiB
local ANSWER_LIMIT = 64 * 1024
local QUERY_TIMEOUT = 5 -- seconds
local REMEMBERED = 60 -- seconds for which a manager's answer is good

local answers = {} ---@type table<string, { path: string, time: integer }>

local function parent(path) return path:match "^(.+)/[^/]+$" or "/" end

local function name_of(path) return path:match "[^/]+$" end

local function is_program(path)
  local stat = uv.fs_stat(path)
  return stat ~= nil and stat.type == "file" and uv.fs_access(path, "X") == true
end

--- The text of a script; nil for a program of another kind.
local function script(path)
  local stat = uv.fs_stat(path)
  if not stat or stat.size > SCRIPT_LIMIT then return nil end
  local text = files.read(path) or ""
  return text:sub(1, 2) == "#!" and text or nil
end

-- ---- Package managers --------------------------------------------------------------------------

--- The places that a script names relative to its own folder. pnpm 12 ends with a line that says
--- what it starts; the older ones and npm have it in the `exec` line.
local function named_in(text)
  local list = {}
  for line in text:gmatch "[^\r\n]+" do
    list[#list + 1] = line:match "^# cmd%-shim%-target=(.+)$"
    if line:find "^%s*exec " then list[#list + 1] = line:match '"$basedir/([^"]+)" "$@"%s*$' end
  end
  return list
end

local function from_script(path, text)
  for _, place in ipairs(named_in(text)) do
    local real = uv.fs_realpath(place:sub(1, 1) == "/" and place or parent(path) .. "/" .. place)
    if real and real ~= path and is_program(real) then return real end
  end
end

-- ---- Version managers --------------------------------------------------------------------------

--- The program to ask `which NAME`, where this is a shim of a version manager.
local function manager_of(real, name, text)
  local own = name_of(real)
  if own == "volta-shim" then return parent(real) .. "/volta" end
  if own == "mise" and name ~= "mise" then return real end
  for _, word in ipairs { "asdf", "nodenv", "mise" } do
    local program = ("\n" .. (text or "")):match('\n%s*exec "?([^%s"]*)"? exec ')
    if program and name_of(program) == word then return program end
  end
end

--- Where Volta keeps what was installed as a default; its own answer also knows of projects.
local function in_volta(real, name)
  if name_of(real) ~= "volta-shim" then return nil end
  local home = os.getenv "VOLTA_HOME" or files.home() .. "/.volta"
  local path = ("%s/tools/image/packages/@openai/codex/bin/%s"):format(home, name)
  return is_program(path) and path or nil
end

--- What a manager prints, up to a limit and for a while.
local function ask(manager, name, cwd)
  local proc = require "codex.proc"
  local p = proc.spawn({ manager, "which", name }, { cwd = cwd, timeout = QUERY_TIMEOUT })
  if not p then return "" end
  local guard <close> = p -- luacheck: ignore 211
  local pieces, size = {}, 0
  while size < ANSWER_LIMIT do
    local piece = p:read()
    if not piece then break end
    pieces[#pieces + 1], size = piece, size + #piece
  end
  return table.concat(pieces)
end

--- The program that a manager names; nil where it names none, or the shim itself.
local function asked(manager, real, name, cwd)
  if not require("codex.async").running() then return nil end
  for line in ask(manager, name, cwd):gmatch "[^\r\n]+" do
    local found = line:sub(1, 1) == "/" and uv.fs_realpath(line)
    if found and found ~= real and is_program(found) then return line end
  end
end

local function from_manager(path, real, text, cwd)
  local name = name_of(path)
  local manager = manager_of(real, name, text)
  if not manager then return nil end
  local key = ("%s\n%s"):format(path, cwd or uv.cwd())
  local known = answers[key]
  local now = uv.hrtime()
  if known and now - known.time < REMEMBERED * 1e9 and is_program(known.path) then
    return known.path
  end
  local found = asked(manager, real, name, cwd) or in_volta(real, name)
  answers[key] = found and { path = found, time = now } or nil
  return found
end

--- The program that this one starts; nil where it is no shim that we know.
---@param path string as it was found in PATH: a manager goes by its name
---@param cwd? string the folder for which a version manager decides; ours
---@return string?
function M.target(path, cwd)
  local real = uv.fs_realpath(path)
  if not real then return nil end
  local text = script(real)
  return text and from_script(real, text) or from_manager(path, real, text, cwd)
end

return M
