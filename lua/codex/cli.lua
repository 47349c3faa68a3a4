--- What `codex-lua --help` prints: how to call it, and the commands there are.

local files = require "codex.files"

local M = {}

--- Commands in a folder: name and the one line that each file begins with.
local function commands_in(dir)
  local uv = require "luv"
  local list = {}
  local request = uv.fs_scandir(dir)
  for name in function() return request and uv.fs_scandir_next(request) end do
    local command = name:match "^(.+)%.lua$"
    local first = command and (files.read(dir .. "/" .. name) or ""):match "^%-%-%-? ?([^\n]*)"
    if command then list[#list + 1] = { command, (first or ""):gsub("^[%w-]+: ", "") } end
  end
  table.sort(list, function(a, b) return a[1] < b[1] end)
  return list
end

local function print_commands(title, dir)
  local list = commands_in(dir)
  if #list == 0 then return end
  print("\n" .. title)
  for _, entry in ipairs(list) do print(("  %-12s %s"):format(entry[1], entry[2])) end
end

--- A command-line parser whose mistakes end the program with code 2, as everywhere here.
---@param name string
---@param description string
---@return table an argparse parser
function M.parser(name, description)
  local parser = require "argparse"("codex-lua " .. name, description)
  function parser:error(message)
    io.stderr:write(self:get_usage(), "\n\ncodex-lua ", name, ": ", message, "\n")
    os.exit(2)
  end
  return parser
end

---@param usage string
function M.help(usage)
  io.stdout:write(usage)
  print_commands("Commands:", require("codex.core.host").data_dir .. "/scripts")
  print_commands("Your own commands:", files.config_dir() .. "/scripts")
end

return M
