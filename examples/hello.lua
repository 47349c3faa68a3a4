--- The smallest use: one question, one answer.
local codex = require "codex"

local question = arg[1] or "Explain this repository in one sentence."
local turn = assert(codex.exec(question, { sandbox = "read-only", skip_git_repo_check = true }))

print(turn.final_message)
io.stderr:write(turn.usage.output_tokens, " tokens, thread ", turn.thread_id, "\n")
