-- Finds the real Codex programs that npm installed under tests/peers, and runs them for specs.
--
-- Specs that need a running child use codex.proc; this is for short questions ("--help") and needs
-- nothing but io.popen, so that the pure Lua modules can be tested without the host.

local peers = {
  version = { latest = "0.169.0", middle = "0.153.4", old = "0.101.0" },
}

local folders = {
  latest = "",
  middle = "codex-middle/node_modules/",
  old = "codex-old/node_modules/",
}

--- Quotes one word for /bin/sh.
---@param word string
---@return string
function peers.quote(word)
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

local function shell(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "a"
  local _, _, code = pipe:close()
  return text, code
end

-- The first folder upwards from the current one that has tests/peers/package.json.
local function find_root()
  local path = shell("pwd -P"):gsub("\n$", "")
  while true do
    local file = io.open(path .. "/tests/peers/package.json")
    if file then
      file:close()
      return path
    end
    if path == "" then
      error("tests/peers/package.json is not in this folder or one above it", 0)
    end
    path = path:gsub("/[^/]*$", "")
  end
end

-- npm names the platform folder (codex-linux-x64, codex-darwin-arm64, ...) and installs only one
-- of them. The program was vendor/*/codex/codex until 0.120 and is vendor/*/bin/codex since 0.140.
local function find_binary(root, name)
  local scope = root .. "/tests/peers/node_modules/" .. folders[name] .. "@openai/"
  local base = peers.quote(scope .. "codex-")
  local list = shell(("ls -d %s*/vendor/*/bin/codex %s*/vendor/*/codex/codex 2>/dev/null")
    :format(base, base))
  local found = list:match "[^\n]+"
  if not found then
    error(("Codex %s is not installed; run `npm ci` in %s/tests/peers"):format(
      peers.version[name], root), 0)
  end
  return found
end

peers.root = find_root()
for name in pairs(folders) do peers[name] = find_binary(peers.root, name) end

--- Makes an empty private folder for one spec to use as CODEX_HOME: below build/, in the folder of
--- the process that runs the spec, as another one may use the same name at the same time.
---@param name string
---@return string path
function peers.home(name)
  local path = (os.getenv "CX_SPEC" or peers.root .. "/build") .. "/spec-homes/" .. name
  local quoted = peers.quote(path)
  local _, code = shell(("rm -rf %s && mkdir -p %s && chmod 700 %s"):format(quoted, quoted, quoted))
  assert(code == 0, "cannot make " .. path)
  return path
end

--- Runs one of the programs with an argument list and no input, and waits for it (30 s at most).
---@param name "latest"|"middle"|"old"
---@param argv string[]
---@param home string CODEX_HOME
---@return string stdout, integer code, string stderr
function peers.run(name, argv, home)
  local words = {}
  for i, word in ipairs(argv) do words[i] = peers.quote(word) end
  local stderr = home .. "/stderr"
  local out, code = shell(("env CODEX_HOME=%s TMPDIR=%s timeout 30 %s %s </dev/null 2>%s"):format(
    peers.quote(home), peers.quote(home), peers.quote(peers[name]), table.concat(words, " "),
    peers.quote(stderr)))
  local file = assert(io.open(stderr))
  local err = file:read "a"
  file:close()
  return out, code, err
end

return peers
