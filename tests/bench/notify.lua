--- What a notify program costs at every turn: `codex-lua notify` with a hook that appends a line to
--- a log, against the bare start of Lua, and the same hook in Node and in Python as their users
--- write it. Every run is a turn of its own.

local json = require "codex.json"
local kit = require "tests.bench.lib.kit"

local folder = kit.folder "notify"
local config = kit.folder "notify/config"
local hooks = kit.folder "notify/config/codex-lua/notify.d"

local payload = json.decode(kit.read "tests/fixtures/notify-0.169.0-second-turn.json")
local ours, bare, node, python = "codex-lua notify", "lua5.4 -e ''", "node", "python3"
local environment = { LOG = folder .. "/log", XDG_CONFIG_HOME = config,
  XDG_STATE_HOME = folder .. "/state", XDG_RUNTIME_DIR = folder }

local programs = {
  [hooks .. "/log.lua"] = [[
local json = require "codex.json"
return function(event)
  local file <close> = assert(io.open(os.getenv "LOG", "a"))
  file:write(json.encode(event.payload), "\n")
end
]],
  [folder .. "/log.mjs"] = [[
import { appendFileSync } from "node:fs";
const payload = JSON.parse(process.argv.at(-1));
appendFileSync(process.env.LOG, JSON.stringify(payload) + "\n");
]],
  [folder .. "/log.py"] = [[
import json, os, sys
payload = json.loads(sys.argv[-1])
with open(os.environ["LOG"], "a") as file:
    file.write(json.dumps(payload) + "\n")
]],
}

--- The same command with a turn that nobody has told yet; a turn that was told before is faster.
local function command(argv)
  return setmetatable({}, {
    __index = function(_, i)
      if i <= #argv then return argv[i] end
      if i > #argv + 1 then return nil end
      local n = ("%012x"):format(math.random(0, 0xffffffffffff))
      payload["turn-id"] = payload["turn-id"]:gsub("%x+$", n)
      return json.encode(payload)
    end,
    __len = function() return #argv + 1 end,
  })
end

local function side(name, argv)
  return { name = name, argv = command(argv), env = environment, expect = "" }
end

return {
  name = "notify",
  about = "A turn's end, written to a log by a hook: the whole process.",
  prepare = function()
    for path, text in pairs(programs) do kit.write(path, text) end
  end,
  sides = {
    side(ours, { kit.host, "notify" }),
    { name = bare, argv = { "lua5.4", "-e", "" }, expect = "" },
    side(node, { "node", folder .. "/log.mjs" }),
    side(python, { kit.first_program("/usr/bin/python3", "python3"), folder .. "/log.py" }),
  },
  runs = 60,
  warmup = 5,
  limits = {
    { metric = "wall", of = ours, against = bare, at_most = 2 },
    { metric = "wall", of = ours, against = node, at_most = 0.1 },
    -- A tenth of Python's time would be 1.4 ms: bare Lua, which does nothing, takes 1.2.
    { metric = "wall", of = ours, against = python, at_most = 0.2 },
  },
}
