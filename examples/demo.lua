--- The whole of it in one run, offline: a git repository with a bad change, three reviewers (real
--- Codex against a scripted model), one report, and a notify hook that Codex runs after each turn.
local codex = require "codex"
local host = require "codex.core.host"
local testing = require "codex.testing"

local root = host.program:match "^(.*)/build/"
local place = arg[1] or root .. "/build/demo"
local codex_binary = arg[2] -- the one in PATH, or CODEX_BINARY, by default

local function run(argv, opts)
  local result, err = codex.proc.run(argv, opts)
  if not result then error(err, 0) end
  return result
end

-- A repository with something to find.
run { "rm", "-rf", place }
run({ "sh", "-c", [[
  set -e
  mkdir -p "$0" && cd "$0" && git init -q .
  printf '%s\n' 'local M = {}' '' 'function M.check(user, password)' \
    '  return hash(password) == user.hash' 'end' '' 'return M' > login.lua
  git add . && git -c user.name=demo -c user.email=demo@example.org commit -q -m "Login"
  sed -i 's/return hash.*/return password == "letmein" or hash(password) == user.hash/' login.lua
]], place .. "/repo" })

-- What the model will say to each reviewer; everything around it is real.
local function finding(severity, title, body)
  return { title = title, body = body, severity = severity, file = "login.lua", line = 4 }
end
local answers = {
  security = finding("critical", "A master password opens every account",
    "Anybody who knows `letmein` is logged in as any user."),
  correctness = finding("high", "A password opens every account without its hash",
    "The comparison with a constant comes first and always wins."),
  tests = finding("medium", "No test covers the new branch", "Nothing fails when it is removed."),
}
local model <close> = assert(testing.model {
  reply = function(request)
    local reviewer = request.prompt:match "You are the (%w+) reviewer"
    return {
      exec = #request.outputs == 0 and "git diff --stat" or nil,
      json = #request.outputs > 0 and { summary = "", findings = { answers[reviewer] } } or nil,
      usage = { input_tokens = 100, output_tokens = 10 },
    }
  end,
})

local hook_log = place .. "/turns.log"
local cx <close> = assert(testing.codex {
  model = model, binary = codex_binary,
  config = { notify = { host.program, root .. "/examples/notify.lua", hook_log } },
})

print(("Codex %s reviews the change in %s/repo:\n"):format(assert(cx.version()), place))
local review = run({ host.program, "review", "-C", place .. "/repo", "--fail-on", "high" },
  { env = assert(cx.environment()) })
io.stdout:write(review.stdout)
io.stderr:write(review.stderr)
print("\nThe review's exit code is " .. review.code .. ": something is at least high.")

-- Codex does not wait for notify programs; they may come a moment after it has exited.
local lines
for _ = 1, 100 do
  lines = {}
  local log = io.open(hook_log)
  for line in log and log:lines() or function() end do lines[#lines + 1] = line end
  if log then log:close() end
  if #lines >= 3 then break end
  codex.sleep(0.05)
end
print(("\nThe notify hook (examples/notify.lua) ran %d times:"):format(#lines))
for _, line in ipairs(lines) do print("  " .. line:sub(1, 90)) end
os.exit(review.code == 1 and #lines == 3 and 0 or 1)
