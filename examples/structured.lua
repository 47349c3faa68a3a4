--- An answer with a shape: the schema is a Lua table, the answer is one too.
local codex = require "codex"

local turn = assert(codex.exec("Which languages is this repository written in?", {
  sandbox = "read-only",
  skip_git_repo_check = true,
  output_schema = {
    type = "object",
    additionalProperties = false,
    required = { "languages" },
    properties = {
      languages = {
        type = "array",
        items = {
          type = "object",
          additionalProperties = false,
          required = { "name", "percent" },
          properties = { name = { type = "string" }, percent = { type = "number" } },
        },
      },
    },
  },
}))

for _, language in ipairs(turn.output.languages) do
  print(("%-12s %3d %%"):format(language.name, language.percent))
end
