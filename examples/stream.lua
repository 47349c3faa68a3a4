--- Events as they come. Leaving the loop, also by an error, ends Codex.
local codex = require "codex"

local prompt = arg[1] or "Run the tests and say what fails."

for event in codex.stream(prompt, { sandbox = "workspace-write", skip_git_repo_check = true }) do
  local item = event.item
  if event.type == "item.started" and item.type == "command_execution" then
    print("$ " .. item.command)
  elseif event.type == "item.completed" and item.type == "command_execution" then
    io.write(item.aggregated_output)
  elseif event.type == "item.completed" and item.type == "agent_message" then
    print(item.text)
  elseif event.type == "failure" then -- always the last one
    error(event.error)
  end
end
