--- What the shipped commands share: arguments, questions, what they print; and `codex-lua --help`.

local files = require "codex.files"

local M = {}

local LAST = 10 -- runs of hooks that are shown

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

--- Ends a command that could not do its work.
---@param name string of the command
---@param err any
function M.fail(name, err)
  io.stderr:write("codex-lua ", name, ": ", tostring(err), "\n")
  os.exit(1)
end

--- For argparse: the absolute path of a hook.
---@param path string
---@return string?
---@return string? problem
function M.hook_file(path)
  local real = require("luv").fs_realpath(path)
  if not real then return nil, ("there is no file '%s'"):format(path) end
  if real:find "%.lua$" then return real end
  return nil, ("'%s' is no Lua file: its name must end with .lua"):format(path)
end

local function quote(word)
  if word:find "^[%w/._+-]+$" then return word end
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

--- Words as a line for the shell.
---@param words string[]
---@return string
function M.shell(words)
  local list = {}
  for i, word in ipairs(words) do list[i] = quote(word) end
  return table.concat(list, " ")
end

--- What is said of comments in config.toml that a change takes away; nil where there are none.
---@param list string[]
---@return string?
function M.comments(list)
  if #list == 0 then return nil end
  return ("Codex writes that part of the file anew, and these comments in it are lost:\n%s"):format(
    table.concat(list, "\n"))
end

--- Prints a line about what others wrote: no control character of theirs reaches the terminal.
---@param format string
---@param ... any
function M.say(format, ...)
  print((require("codex.approval").visible(format:format(...)):gsub("\n", "\n    ")))
end

--- Shows what will be done, and asks whether it shall be; ends the program where not.
---@async
---@param name string of the command
---@param yes? boolean nobody is asked
---@param lines string[]
function M.confirm(name, yes, lines)
  for _, line in ipairs(lines) do M.say("%s", line) end
  if yes then return end
  local terminal <close> = require("codex.terminal").open()
  if not terminal then
    io.stderr:write("codex-lua ", name, ": there is no terminal to ask; --yes does it\n")
    os.exit(2)
  end
  terminal:write "Do it? [y/N] "
  local answer = terminal:line()
  if (answer or ""):lower():sub(1, 1) ~= "y" then M.fail(name, "nothing was changed") end
end

--- Runs of hooks, oldest first, as the log of codex.notify has them.
---@param want fun(record: table): any which of them
---@return table[]
function M.runs(want)
  local json, path = require "codex.json", require("codex.notify").log_path()
  local list = json.array {}
  for _, file in ipairs { path .. ".1", path } do
    for line in (files.read(file) or ""):gmatch "[^\n]+" do
      local record = json.decode(line)
      if type(record) == "table" and want(record) then list[#list + 1] = record end
    end
  end
  return list
end

--- The last ten of them, newest last.
---@param want fun(record: table): any
---@return table[]
function M.last_runs(want)
  local list = M.runs(want)
  return table.move(list, math.max(1, #list - LAST + 1), #list, 1, require("codex.json").array {})
end

--- Prints how a hook went with a sample.
---@param outcome table
function M.say_outcome(outcome)
  local how = "FAILED: " .. tostring(outcome.why)
  if outcome.skipped then
    how = "skipped: its `when` does not want the sample"
  elseif outcome.ok then
    how = ("ok, %.3f s"):format(outcome.seconds or 0)
  end
  M.say("%s: %s", outcome.hook, how)
end

--- Prints how hooks went.
---@param title string
---@param list table[] of the log of codex.notify
function M.say_runs(title, list)
  if #list == 0 then return M.say("%s: none", title) end
  M.say("%s:", title)
  for _, each in ipairs(list) do
    local how = each.note or each.skipped and "skipped" or each.ok and "ok"
      or "FAILED: " .. tostring(each.why)
    M.say("  %s  %s  %s  %s", tostring(each.time), tostring(each.hook), tostring(each.type), how)
  end
end

---@param usage string
function M.help(usage)
  io.stdout:write(usage)
  print_commands("Commands:", require("codex.core.host").data_dir .. "/scripts")
  print_commands("Your own commands:", files.config_dir() .. "/scripts")
end

return M
