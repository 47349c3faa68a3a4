--- The time from exec to exit of an empty script: what a notify hook pays at every turn.

local kit = require "tests.bench.lib.kit"

local folder = kit.folder "startup"

local function side(name, program, extension)
  return { name = name, argv = { program, folder .. "/empty." .. extension }, expect = "" }
end

return {
  name = "startup",
  about = "Starting with an empty script and ending again.",
  prepare = function()
    for _, extension in ipairs { "lua", "js", "py" } do
      kit.write(folder .. "/empty." .. extension, "")
    end
  end,
  sides = {
    side("codex-lua", kit.host, "lua"),
    side("lua5.4", "lua5.4", "lua"),
    side("node", "node", "js"),
    side("python3", kit.first_program("/usr/bin/python3", "python3"), "py"),
  },
  runs = 60,
  warmup = 5,
  limits = {
    { metric = "wall", of = "codex-lua", against = "lua5.4", at_most = 1.5 },
    { metric = "cpu", of = "codex-lua", against = "lua5.4", at_most = 1.5 },
  },
}
