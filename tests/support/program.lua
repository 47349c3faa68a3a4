--- Runs the program that runs this suite as a child, for specs that test the host itself.

local files = require "codex.files"
local host = require "codex.core.host"
local proc = require "codex.proc"

local program = { path = host.program, root = host.data_dir }

--- Whether it was built with POSIX alone (`make portable`), which leaves some things out.
function program.is_portable()
  local flags = assert(files.read(program.path:match "^.*/" .. "flags"))
  return flags:find("CX_PORTABLE", 1, true) ~= nil
end

local function argv(args)
  return table.move(args, 1, #args, 2, { program.path })
end

--- Runs it with these arguments to its end (20 s at most).
---@async
---@param args string[]
---@param opts? codex.ProcOptions
---@return codex.ProcResult
function program.run(args, opts)
  opts = opts or {}
  opts.timeout = opts.timeout or 20
  return assert(proc.run(argv(args), opts))
end

--- Runs Lua code in it.
---@async
function program.eval(code, opts) return program.run({ "-e", code }, opts) end

--- Starts it.
---@return codex.Proc
function program.spawn(args, opts) return assert(proc.spawn(argv(args), opts)) end

--- An empty folder for one test below build/; the function removes it again. Commands of Codex may
--- write anywhere in /tmp: where a test is about who may write, its folder is `apart` from that,
--- also when all of this is in /tmp.
---@param apart? boolean
---@return string path
---@return fun()
function program.folder(apart)
  local place = apart and program.root:find "^/tmp/" and "/var/tmp/codex-lua-XXXXXX"
    or program.root .. "/build/spec-XXXXXX"
  local path = assert(require("luv").fs_mkdtemp(place))
  return path, function() assert(proc.run { "rm", "-rf", path }) end
end

---@param path string
---@param text string
---@param mode? integer
function program.write(path, text, mode)
  local uv = require "luv"
  local fd = assert(uv.fs_open(path, "w", mode or 420))
  assert(uv.fs_write(fd, text))
  assert(uv.fs_close(fd))
end

--- What a file of JSON lines holds; nothing where there is none.
---@param path string
---@return table[]
function program.json_lines(path)
  local list, json = {}, require "codex.json"
  for line in (require("codex.files").read(path) or ""):gmatch "[^\n]+" do
    list[#list + 1] = assert(json.decode(line))
  end
  return list
end

--- Whether a process of this number is there and no zombie.
---@param pid integer
---@return boolean
function program.alive(pid)
  local file = io.open(("/proc/%d/stat"):format(pid))
  if not file then return false end
  local state = file:read("a"):match "%) (%a)"
  file:close()
  return state ~= nil and state ~= "Z" and state ~= "X"
end

--- Bytes of memory that a process has.
---@param pid integer
---@return integer
function program.resident(pid)
  local file = assert(io.open(("/proc/%d/statm"):format(pid)))
  local pages = file:read("a"):match "^%d+ (%d+)"
  file:close()
  return math.tointeger(pages) * 4096
end

--- Waits until `condition` holds, at most so many seconds (5).
---@async
---@return boolean
function program.eventually(condition, seconds)
  local async = require "codex.async"
  local uv = require "luv"
  local limit = uv.hrtime() + (seconds or 5) * 1e9
  repeat
    if condition() then return true end
    async.sleep(0.01)
  until uv.hrtime() > limit
  return false
end

return program
