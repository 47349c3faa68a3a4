--- Runs a program for every turn, with words that may name fields of the event: {thread_id}, {cwd},
--- {last_assistant_message}, {git_branch} ... No shell sees them: each stays one argument.
---
--- CODEX_NOTIFY_COMMAND: the program and its arguments, a JSON array, as in
--- ["logger", "-t", "codex", "--", "{thread_id}: {last_assistant_message}"]. What Codex answered
--- may begin with a dash: put "--" before it where the program knows that.

local json = require "codex.json"

local settings = { argv = json.decode(os.getenv "CODEX_NOTIFY_COMMAND" or "[]") }

local function expanded(word, event)
  return (word:gsub("{([%a_]+)}", function(name)
    local value = event[name]
    if type(value) == "table" then return json.encode(value, { repair = true }) end
    return value == nil and "" or tostring(value):gsub("\0", "")
  end))
end

return {
  name = "command",
  run = function(event)
    if type(settings.argv) ~= "table" or not settings.argv[1] then
      return nil, "CODEX_NOTIFY_COMMAND is no JSON array with a program"
    end
    local argv = {}
    for i, word in ipairs(settings.argv) do argv[i] = expanded(word, event) end
    local result, err = require("codex.proc").run(argv)
    if not result then return nil, err end
    if result.code ~= 0 then return nil, ("code %d: %s"):format(result.code, result.stderr) end
  end,
}
