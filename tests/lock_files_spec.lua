--- What npm's lock files hold. `npm ci` refuses one that does not name what is wanted for other
--- platforms than that where it was written, as some releases of npm write it.

local files = require "codex.files"
local json = require "codex.json"
local program = require "tests.support.program"

local function read(path) return assert(json.decode(assert(files.read(program.root .. path)))) end

--- Where npm looks for a package: beside whoever wants it, then further out.
local function find(packages, from, name)
  while true do
    local found = packages[(from == "" and "" or from .. "/") .. "node_modules/" .. name]
    if found or from == "" then return found end
    from = from:match "^(.*)/node_modules/" or ""
  end
end

--- The packages that are wanted for some platform and not named, or of another version; how many
--- are wanted. One that npm does not have is named without a version.
local function missing(packages)
  local list, count = {}, 0
  for path, package in pairs(packages) do
    for name, wanted in pairs(package.optionalDependencies or {}) do
      count = count + 1
      local found = find(packages, path, name)
      local version = wanted:match "@([^@]+)$" or wanted
      if not found or (found.version or version) ~= version then
        list[#list + 1] = ("%s: %s"):format(path, wanted)
      end
    end
  end
  table.sort(list)
  return list, count
end

describe("the lock file of", function()
  for _, folder in ipairs { "peers", "versions" } do
    it(folder .. " names each release of Codex for every platform", function()
      local lock = read("/tests/" .. folder .. "/package-lock.json")
      local list, count = missing(lock.packages)
      assert.same({}, list)
      assert.is_true(count >= 12)
    end)

    it(folder .. " names no place to download from", function()
      for _, package in pairs(read("/tests/" .. folder .. "/package-lock.json").packages) do
        assert.is_nil(package.resolved)
      end
    end)
  end
end)
