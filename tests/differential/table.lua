--- make matrix: the table of faults and policies, in Markdown. CODEX_VERSION is latest, middle or
--- old. Exits with 1 when a command ran that should not have.

package.path = "./?.lua;" .. package.path -- luacheck: ignore 112

local matrix = require "tests.differential.matrix"
local peers = require "tests.support.peers"

local version = os.getenv "CODEX_VERSION" or "latest"
local list = matrix.run(peers[version])
local failed = false
print(("How many of the commands ran before Codex %s:\n"):format(peers.version[version]))
print(matrix.text(list))
for _, each in ipairs(list) do
  local problem = matrix.problem(each)
  if problem then
    failed = true
    print("WRONG: " .. problem)
  end
end
os.exit(failed and 1 or 0)
