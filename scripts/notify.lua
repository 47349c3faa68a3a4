--- notify: Codex's notify program, in Lua: runs your hooks after every turn
---
--- Codex runs `codex-lua notify [--chain PROGRAM] [HOOK.lua...] PAYLOAD`, without a terminal, and
--- after every turn: what only the other commands need is not loaded for that. Exit codes: 0 all
--- hooks went well, 1 one failed (Codex does not look; `codex-lua notify status` shows it), 2 wrong
--- usage, 124 one held up the program for longer than it may.

collectgarbage "stop" -- until hooks run there is not much to collect

local commands = { install = true, uninstall = true, status = true, test = true }

if arg[1] == nil or commands[arg[1]] or arg[1] == "-h" or arg[1] == "--help" then
  return require("codex.cli.notify").main()
end

return require("codex.hooks.delivery").main()
