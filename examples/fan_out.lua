--- Many questions at once, at most four of them at a time. A failure costs one answer, not all.
local codex = require "codex"

local questions = { "What does main.c do?", "What does the Makefile do?", "Is there a license?" }
if #arg > 0 then questions = arg end

local turns, errors = codex.map(questions, function(question)
  return codex.exec(question, { sandbox = "read-only", skip_git_repo_check = true, retry = 3 })
end, { concurrency = 4 })

for i, question in ipairs(questions) do
  print("# " .. question)
  print(turns[i] and turns[i].final_message or "failed: " .. tostring(errors[i]))
end
os.exit(errors and 1 or 0)
