--- Keeps what every turn changed: commits it, or sets a tag on the commit that is there.
---
--- Off, until a repository says otherwise, in its own configuration (which is not cloned):
---
---     git config codex.after-turn commit        or: tag

local proc = require "codex.proc"
local shortened = require("codex.webhook").shortened

local function git(event, args, input)
  local argv = table.move(args, 1, #args, 4, { "git", "-C", event.cwd })
  local result, err = proc.run(argv, { input = input })
  if not result then return nil, err end
  if result.code ~= 0 then return nil, ("git %s: %s"):format(args[1], result.stderr) end
  return (result.stdout:gsub("\n$", ""))
end

--- What was asked in one line, and which turn it was.
local function message(event)
  local said = event.input_messages or {}
  local asked = shortened((said[#said] or "a turn"):match "[^\n]*", 60)
  return ("Codex: %s\n\nCodex-Thread: %s\nCodex-Turn: %s\n"):format(asked,
    event.thread_id or "", event.turn_id or "")
end

local function commit(event)
  local changed, err = git(event, { "status", "--porcelain" })
  if not changed then return nil, err end
  if changed == "" then return "unchanged" end
  local added
  added, err = git(event, { "add", "--all", ":/" })
  if not added then return nil, err end
  return git(event, { "commit", "--quiet", "--file=-" }, message(event))
end

local actions = {
  commit = commit,
  tag = function(event)
    return git(event, { "tag", "--", "codex/" .. tostring(event.turn_id):gsub("[^%w-]", "_") })
  end,
}

return {
  name = "git", on = "turn_complete", timeout = 60,
  when = function(event) return type(event.cwd) == "string" end,
  run = function(event)
    local wanted = git(event, { "config", "--local", "codex.after-turn" })
    if not wanted then return "off" end -- no repository, or nothing is set
    local action = actions[wanted]
    if action then return action(event) end
    return nil, ("codex.after-turn is commit or tag, not '%s'"):format(wanted)
  end,
}
