--- A stand-in for Codex that plays a recorded stream, for what the real one cannot be made to do:
--- dying in the middle of an event, printing junk, answering with another thread. For everything
--- but `exec` it is the real Codex.

local peers = require "tests.support.peers"

local replay = {}

local count = 0

--- Makes the program. `body` is shell text that runs in place of `codex exec`; $dir is the
--- stand-in's own folder, where `input` is what came on standard input and `argv` the arguments.
---@param body string
---@return { path: string, dir: string, read: fun(name: string): string? }
function replay.program(body)
  count = count + 1
  local dir = ("%s/build/doubles/%d-%d"):format(peers.root, require("luv").os_getpid(), count)
  os.execute("mkdir -p " .. peers.quote(dir))
  local path = dir .. "/codex"
  local file = assert(io.open(path, "w"))
  file:write("#!/bin/sh\ndir=", peers.quote(dir), "\ncodex=", peers.quote(peers.latest), "\n", [[
case "$1" in exec) ;; *) exec "$codex" "$@" ;; esac
for word in "$@"; do [ "$word" = --help ] && exec "$codex" "$@"; done
printf '%s\n' "$@" > "$dir/argv"
cat > "$dir/input"
]], body, "\n")
  file:close()
  os.execute("chmod +x " .. peers.quote(path))
  local function read(name)
    local f = io.open(dir .. "/" .. name, "rb")
    if not f then return nil end
    local text = f:read "a"
    f:close()
    return text
  end
  return { path = path, dir = dir, read = read }
end

--- One that prints a fixture and exits with this code.
---@param fixture string "0.169.0-plain"
---@param code? integer
function replay.fixture(fixture, code)
  local path = ("%s/tests/fixtures/exec-%s.jsonl"):format(peers.root, fixture)
  return replay.program(("cat %s; exit %d"):format(peers.quote(path), code or 0))
end

return replay
