--- Runs spec files side by side, each in a process of its own that has its own folders and nobody
--- else's. What a file printed is shown when it has ended, and what failed once more at the end.
---
--- Whatever is not known to have gone well has failed: a file passes only when its process says
--- that busted came to its end, counted no failure, exited with 0 and left nothing running.

local async = require "codex.async"
local host = require "codex.core.host"
local json = require "codex.json"
local proc = require "codex.proc"
local report = require "tests.support.report"
local uv = require "luv"

local M = {}

local HEAD, TAIL = 1024 * 1024, 64 * 1024 -- bytes of output that are shown
local LAST_LINES = 20

local function number_of(name, otherwise)
  local text = os.getenv(name) or ""
  local value = text == "" and otherwise or tonumber(text)
  if not value or value <= 0 then error(("%s must be a number above 0"):format(name), 0) end
  return value
end

local function settings()
  local folder = os.getenv "SPEC_FOLDER" or ""
  local wrap = {}
  for word in (os.getenv "WRAP" or ""):gmatch "%S+" do wrap[#wrap + 1] = word end
  return {
    jobs = math.floor(number_of("JOBS", uv.available_parallelism())), wrap = wrap,
    timeout = number_of("SPEC_TIMEOUT", 900),
    folder = folder ~= "" and folder or host.program:match "^(.*)/",
  }
end

-- ---- Which files, and in what order -------------------------------------------------------------

local function add_files(path, list)
  local stat = assert(uv.fs_stat(path))
  if stat.type ~= "directory" then
    list[#list + 1] = { path = path, size = stat.size }
    return
  end
  local names, request = {}, assert(uv.fs_scandir(path))
  for name in function() return uv.fs_scandir_next(request) end do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    local inner = path .. "/" .. name
    local is_folder = assert(uv.fs_lstat(inner)).type == "directory"
    if is_folder and name ~= "node_modules" or name:find "_spec%.lua$" then
      add_files(inner, list)
    end
  end
end

--- The longest first, as they took the last time; of others their size is all that is known.
local function in_order(paths, times)
  local list = {}
  for _, path in ipairs(paths) do add_files(path:gsub("(.)/+$", "%1"), list) end
  for _, file in ipairs(list) do file.expected = times[file.path] or file.size / 2000 end
  table.sort(list, function(a, b)
    if a.expected ~= b.expected then return a.expected > b.expected end
    return a.path < b.path
  end)
  return list
end

local function read_times(path)
  local file = io.open(path)
  if not file then return {} end
  local times = json.decode(file:read "a")
  file:close()
  return type(times) == "table" and times or {}
end

local function write_times(path, times)
  local file <close> = assert(io.open(path, "w"))
  assert(file:write(json.encode(times, { pretty = true }), "\n"))
end

-- ---- One file -----------------------------------------------------------------------------------

--- The environment of a process, all of whose folders are below this one. Names are short: paths of
--- Unix sockets end at 107 bytes.
local function environment(folder)
  return {
    HOME = folder, CODEX_HOME = folder .. "/.codex", TMPDIR = folder .. "/t",
    XDG_CONFIG_HOME = folder .. "/.config", XDG_STATE_HOME = folder .. "/.local/state",
    XDG_DATA_HOME = folder .. "/.local/share", XDG_CACHE_HOME = folder .. "/.cache",
    XDG_RUNTIME_DIR = folder .. "/run", CX_SPEC = folder,
    JOBS = false, WRAP = false, SPEC_FOLDER = false, SPEC_TIMEOUT = false,
  }
end

local function empty(folder)
  local script = 'rm -rf "$1" && mkdir -p -m 700 "$1" "$1/.codex" "$1/run" "$1/t"'
  local result = assert(proc.run { "sh", "-c", script, "sh", folder })
  if result.code ~= 0 then error(("cannot empty %s: %s"):format(folder, result.stderr), 0) end
end

--- The processes that were started with this folder as theirs, and what they are.
local function running_in(folder)
  local list, mark = {}, "\0CX_SPEC=" .. folder .. "\0"
  local request = assert(uv.fs_scandir "/proc")
  for pid in function() return uv.fs_scandir_next(request) end do
    local file = pid:find "^%d+$" and io.open("/proc/" .. pid .. "/environ")
    local text = file and file:read "a" or ""
    if file then file:close() end
    if ("\0" .. text .. "\0"):find(mark, 1, true) then list[#list + 1] = tonumber(pid) end
  end
  return list
end

local function command_line(pid)
  local file = io.open("/proc/" .. pid .. "/cmdline")
  local text = file and file:read "a" or ""
  if file then file:close() end
  return (text:gsub("%z", " "):sub(1, 200))
end

--- Ends what a file left running: it has five seconds to go by itself, as a machine may be busy.
local function end_rest(folder)
  async.sleep(0.03) -- a process that is just being started has no environment yet
  local list = running_in(folder)
  for _ = 1, 50 do
    if #list == 0 then return nil end
    async.sleep(0.1)
    list = running_in(folder)
  end
  local names = {}
  for i, pid in ipairs(list) do
    names[i] = ("%d %s"):format(pid, command_line(pid))
    uv.kill(pid, "sigkill")
  end
  return "it left running:\n" .. table.concat(names, "\n")
end

--- All output of a process; of what is too long the beginning and the end.
local function read_all(child)
  local head, tail, left_out = {}, "", 0
  local size = 0
  for bytes in function() return child:read() end do
    if size < HEAD then
      head[#head + 1] = bytes
      size = size + #bytes
    else
      tail = tail .. bytes
      left_out = left_out + math.max(0, #tail - TAIL)
      tail = tail:sub(-TAIL)
    end
  end
  local cut = left_out > 0 and ("\n... %d bytes are left out ...\n"):format(left_out) or ""
  return table.concat(head) .. cut .. tail
end

--- Runs a program to its end. Late is when it was killed because its time was over.
local function run_process(argv, opts, seconds)
  local child <close> = assert(proc.spawn(argv, opts))
  local is_late = false
  local watch = async.spawn(function()
    async.sleep(seconds)
    is_late = true
    child:kill "kill"
  end)
  local guard <close> = setmetatable({}, { -- luacheck: ignore 211
    __close = function() watch:cancel() end,
  })
  local output = read_all(child)
  return child:wait(), output, is_late
end

local function count(records)
  local result =
    { success = 0, failure = 0, error = 0, pending = 0, problems = {}, skipped = {} }
  for _, record in ipairs(records) do
    if record.start then result.last, result.is_in_test = record.start, true end
    if record.status then
      result.is_in_test = false
      if record.status ~= "error" then result[record.status] = result[record.status] + 1 end
    end
    if record.problem then table.insert(result.problems, record.problem) end
    if record.skipped then table.insert(result.skipped, record.skipped) end
    if record.is_error then result.error = result.error + 1 end
    if record.over then result.is_over = true end
  end
  return result
end

--- What is wrong with how the process ended, beside what busted counted.
local function wrong(result, status, is_late, opts)
  local bad = result.failure + result.error
  if is_late then return ("it was not done after %g seconds"):format(opts.timeout) end
  if status.signal ~= 0 then return ("signal %d ended it"):format(status.signal) end
  if not result.is_over then return ("it exited with %d before its end"):format(status.code) end
  if status.code ~= 0 and bad == 0 then return ("it exited with %d"):format(status.code) end
  local tests = result.success + result.pending + bad
  if tests == 0 and not opts.selective then return "there is no test in it" end
end

local function last_lines(text)
  local lines = {}
  for line in (text:gsub("\n$", "") .. "\n"):gmatch "(.-)\n" do lines[#lines + 1] = line end
  return table.concat(lines, "\n", math.max(1, #lines - LAST_LINES + 1))
end

local function add_problem(result, text)
  result.error = result.error + 1
  table.insert(result.problems, text)
end

local function add_bad_end(result, text, output)
  local test = result.is_in_test and (", in '%s'"):format(result.last) or ""
  add_problem(result, ("%s%s; its last output:\n%s"):format(text, test, last_lines(output)))
end

--- Whether all tests went well and LeakSanitizer crashed when it looked at the process in the end,
--- as it does now and then where threads end at that moment: that tells nothing of the process.
local function is_sanitizers_crash(result, output)
  return result.is_over and result.failure + result.error == 0
    and output:find("Tracer caught signal", 1, true) ~= nil
end

---@param is_again? boolean
---@return table result
local function run_file(path, folder, opts, is_again)
  local began = uv.hrtime()
  empty(folder)
  local argv = table.move(opts.wrap, 1, #opts.wrap, 5, { "sh", "-c", 'exec "$@" 2>&1', "sh" })
  local words = { host.program, "tests/run.lua", "--report", folder .. "/report" }
  table.move(words, 1, #words, #argv + 1, argv)
  table.move(opts.options, 1, #opts.options, #argv + 1, argv)
  argv[#argv + 1] = path
  local status, output, is_late =
    run_process(argv, { env = environment(folder), stdin = "null" }, opts.timeout)
  local result = count(report.read(folder .. "/report"))
  local left = end_rest(folder)
  if not is_again and is_sanitizers_crash(result, output) then
    io.write(("%s: LeakSanitizer itself has crashed; the file is run again\n"):format(path))
    return run_file(path, folder, opts, true)
  end
  local text = wrong(result, status, is_late, opts)
  if text then add_bad_end(result, text, output) end
  if left then add_problem(result, left) end
  result.path, result.output = path, output
  result.seconds = (uv.hrtime() - began) / 1e9
  return result
end

-- ---- All of them --------------------------------------------------------------------------------

local function indented(text) return (text:gsub("[^\n]+", "  %0")) end

local function show(result)
  local text = result.output:gsub("^\n+", ""):gsub("\n+$", "")
  io.write(("%s (%.1f s)\n%s\n"):format(result.path, result.seconds, indented(text)))
  io.flush()
end

--- Only this line stands at the left edge in busted's form; .ci/run counts it.
local function show_end(results, seconds)
  local sum = { success = 0, failure = 0, error = 0, pending = 0 }
  for _, result in ipairs(results) do
    for name, n in pairs(sum) do sum[name] = n + result[name] end
    for _, text in ipairs(result.skipped) do
      io.write(("\nSKIPPED %s\n%s\n"):format(result.path, indented(text)))
    end
    for _, problem in ipairs(result.problems) do
      io.write(("\nFAILED %s\n%s\n"):format(result.path, indented(problem)))
    end
  end
  io.write(("\n%d successes / %d failures / %d errors / %d pending : %.1f seconds, %d files\n")
    :format(sum.success, sum.failure, sum.error, sum.pending, seconds, #results))
  return sum.failure + sum.error
end

--- Whether the options choose among the tests of a file: then it may well be that none is left.
local function is_selective(options)
  local text = " " .. table.concat(options, " ")
  return text:find "filter" ~= nil or text:find "tags" ~= nil or text:find " %-[tlh]" ~= nil
    or text:find " %-%-list" ~= nil
end

--- Runs all spec files at these paths with these options of busted.
---@async
---@param options string[]
---@param paths string[]
---@return integer code for the exit
function M.run(options, paths)
  local began, opts = uv.hrtime(), settings()
  opts.options, opts.selective = options, is_selective(options)
  local memory = opts.folder .. "/spec-times.json"
  local times = read_times(memory)
  local files, next_file, results = in_order(paths, times), 1, {}
  if #files == 0 then error("there is no spec file in " .. table.concat(paths, ", "), 0) end
  local function worker(n)
    while next_file <= #files do
      local path = files[next_file].path
      next_file = next_file + 1
      local result = run_file(path, ("%s/w%d"):format(opts.folder, n), opts)
      results[#results + 1] = result
      if #result.problems == 0 then times[path] = result.seconds end
      show(result)
    end
  end
  local workers = {}
  for n = 1, math.min(opts.jobs, #files) do
    workers[n] = function()
      worker(n)
      return true
    end
  end
  assert(async.all(workers))
  assert(#results == #files, "not every file was run")
  write_times(memory, times)
  return show_end(results, (uv.hrtime() - began) / 1e9) == 0 and 0 or 1
end

return M
