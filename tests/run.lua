--- Runs the specs: `build/codex-lua tests/run.lua [BUSTED OPTIONS] [SPEC or FOLDER...]`.
---
--- One spec file runs here: busted is the main task then, so that specs may wait. Several run side
--- by side, each in a process of its own (tests/support/conductor.lua). tests/support/hygiene.lua
--- watches that a test leaves nothing open.
---
--- JOBS says how many at once (as many as there are cores), SPEC_TIMEOUT how many seconds a file
--- may take (900), WRAP a program to run each one with, SPEC_FOLDER where their folders are made
--- (where this program is).

package.path = "./?.lua;" .. package.path

if arg[1] == "--report" then
  require("tests.support.report").path = arg[2]
  table.move(arg, 3, #arg + 2, 1)
  require "busted.runner" { standalone = false }
  return
end

local uv = require "luv"

--- Options come first, with their values; what follows them are files and folders.
local function split(words)
  local options, paths = table.move(words, 1, #words, 1, {}), {}
  while options[1] and uv.fs_stat(options[#options]) do
    table.insert(paths, 1, table.remove(options))
  end
  for _, word in ipairs(options) do
    if word:find "%.lua$" and not uv.fs_stat(word) then
      io.stderr:write(("tests/run.lua: there is no '%s'\n"):format(word))
      os.exit(2)
    end
  end
  return options, paths[1] and paths or { "tests" }
end

local options, paths = split(arg)
local is_one = #paths == 1 and uv.fs_stat(paths[1]).type == "file"
if is_one and (os.getenv "WRAP" or "") == "" then
  require "busted.runner" { standalone = false }
else
  os.exit(require("tests.support.conductor").run(options, paths))
end
