--- The interactive prompt: Lua expressions and statements, which may wait.

local async = require "codex.async"
local files = require "codex.files"

local M = {}

local function show(ok, ...)
  if not ok then
    io.stderr:write(tostring((...)), "\n")
    return
  end
  local parts = table.pack(...)
  for i = 1, parts.n do parts[i] = tostring(parts[i]) end
  if parts.n > 0 then print(table.concat(parts, "\t")) end
end

--- Compiles what was typed, as an expression if it is one. The second result says that more lines
--- are needed.
local function compile(text)
  local chunk = load("return " .. text:gsub("^%s*=", ""), "=stdin")
  if chunk then return chunk end
  local problem
  chunk, problem = load(text, "=stdin")
  if not chunk and problem:find "<eof>$" then return nil, true end
  return chunk or function() error(problem, 0) end
end

local function evaluate(text)
  local chunk, more = compile(text)
  if more then return false end
  local task = async.spawn(function() return pcall(chunk) end)
  show(task:join())
  return true
end

--- One line from the terminal; nil at the end of input.
local function read_line(edit, prompt)
  return async.await(function(resume) return assert(edit.read(prompt, resume)) end)
end

function M.run()
  _G.codex = require "codex"
  print(("codex-lua %s, %s; `codex` is loaded, Ctrl-D ends"):format(
    require("codex.core.host").version, _VERSION))
  local history = files.state_dir() .. "/history"
  local edit = require "codex.core.edit"
  edit.load(history)
  local text = ""
  for line in function() return read_line(edit, text == "" and "> " or ">> ") end do
    text = text == "" and line or text .. "\n" .. line
    if evaluate(text) then text = "" end
  end
  print()
  if files.make_dir(files.state_dir()) then edit.save(history) end
end

return M
