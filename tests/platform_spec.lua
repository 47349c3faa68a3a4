--- What the C code asks of the system: with all switches of host/platform.h set nothing is called
--- but POSIX.1-2008 and what glibc, musl, macOS and the BSDs have besides; and what only Linux
--- knows stands in one file.

local files = require "codex.files"
local host = require "codex.core.host"
local proc = require "codex.proc"
local program = require "tests.support.program"

local build = host.program:match "^(.*)/"

local function words(text)
  local set = {}
  for word in text:gmatch "%S+" do set[word] = true end
  return set
end

-- A call that is missing here may be added where it is in POSIX.1-2008, or with those that are not
-- but are found in all four.
local posix = words [[
  accept access bind bsearch calloc chdir chmod clock_gettime close connect dup2 environ execl
  execv execve _exit fcntl ferror fflush floor fork fprintf free fstat getenv getpid getppid
  isatty kill link listen lstat malloc memchr memcmp memcpy memmove memset mmap munmap nanosleep
  open pipe poll pthread_detach pthread_equal pthread_mutex_lock pthread_mutex_unlock pthread_once
  pthread_self pthread_sigmask puts qsort read realloc realpath recv rename rint setpgid setsid
  shutdown sigaction sigaddset sigemptyset sigfillset sigismember signal sigpending sigprocmask
  sigwait snprintf socket stat stderr stdout strcasecmp strchr strcmp strcspn strdup strerror
  strlen strncasecmp strncmp strndup strpbrk strrchr strspn strstr strtod strtoll sysconf tolower
  ttyname unlink vsnprintf waitid waitpid write
]]
local everywhere = words "asprintf flock vasprintf wait4"

local libraries = words "lua luaL luaopen luv uv cJSON MHD curl lws rl cx _binary"
local editline = words "add_history read_history stifle_history using_history write_history"
-- How glibc spells errno, isdigit and the like, and what the compiler adds.
local toolchain = words [[
  __errno_location __ctype_b_loc __ctype_tolower_loc __ctype_toupper_loc __stack_chk_fail
  __stack_chk_guard _GLOBAL_OFFSET_TABLE_
]]

local function is_fine(name)
  return posix[name] or everywhere[name] or editline[name] or toolchain[name]
    or libraries[name:match "^(_?%a+)_" or ""] or name:find "^__.*san_"
end

--- What these object files call that is nowhere else.
local function foreign(objects)
  local result = assert(proc.run { "sh", "-c", "nm -u " .. objects })
  assert.equal(0, result.code, result.stderr)
  local found, count = {}, 0
  for name in result.stdout:gmatch " U ([%w_]+)" do
    count = count + 1
    if not is_fine(name) then found[name] = true end
  end
  assert.is_true(count > 10)
  local list = {}
  for name in pairs(found) do list[#list + 1] = name end
  table.sort(list)
  return list
end

-- Constants and paths, which no object file shows.
local linux = { "/proc/", "linux/", "O_PATH", "O_TMPFILE", "SIGRTM", "CLOCK_BOOT", "SOCK_NONBLOCK",
  "SOCK_CLOEXEC", "EFD_", "MFD_", "EPOLL_", "PR_SET", "SYS_", "CLONE_", "GRND_", "MAP_POPULATE",
  "MAP_STACK", "F_GETPIPE_SZ", "F_SETPIPE_SZ", "F_ADD_SEALS", "SO_PEERCRED", "MSG_NOSIGNAL",
  "CLOSE_RANGE_" }

local function only_linux(text)
  text = text:gsub("/%*.-%*/", "")
  local found = {}
  for _, name in ipairs(linux) do
    local from = text:find(name, 1, true)
    -- A part of another name is none of it: MHD_USE_EPOLL_...
    if from and not text:sub(from - 1, from - 1):find "[%w_]" then found[#found + 1] = name end
  end
  return found
end

describe("where the system has nothing but POSIX", function()
  it("the program is built of what is there", function()
    local folder, remove = program.folder()
    local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
    local result = assert(proc.run({ "sh", "-c", [[
      ls host/*.c bindings/*.c | xargs -P 2 -I {} sh -c '$(cat "$0/flags") -O0 -DCX_PORTABLE \
        -UCX_VERSION -UCX_PREFIX -DCX_VERSION=\"0\" -DCX_PREFIX=\"/\" -U_FORTIFY_SOURCE \
        -fno-sanitize=all -c -o "$1/$(echo {} | tr / _).o" {}' "$0" "$1"]],
      build, folder }, { cwd = program.root }))
    assert.equal(0, result.code, result.stderr)
    assert.same({}, foreign(folder .. "/*.o"))
  end)

  it("what is not there would be found", function()
    local folder, remove = program.folder()
    local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
    program.write(folder .. "/x.c", [[
      int main(void) {
        write(), close(), fork(), kill(), setsid(), pipe(), open(), poll(), dup2();
        return pipe2() + eventfd();
      }]])
    local result = assert(proc.run { "cc", "-w", "-std=gnu89", "-c", "-o", folder .. "/x.o",
      folder .. "/x.c" })
    assert.equal(0, result.code, result.stderr)
    assert.same({ "eventfd", "pipe2" }, foreign(folder .. "/x.o"))
  end)
end)

describe("what only Linux knows", function()
  it("stands in host/platform.c", function()
    local wrong, count = {}, 0
    local list = assert(proc.run({ "sh", "-c", "ls host/*.[ch] bindings/*.[ch]" },
      { cwd = program.root })).stdout
    for path in list:gmatch "[^\n]+" do
      count = count + 1
      local found = only_linux(assert(files.read(program.root .. "/" .. path)))
      if path ~= "host/platform.c" then
        for _, name in ipairs(found) do wrong[#wrong + 1] = path .. ": " .. name end
      else
        assert.is_true(#found > 5)
      end
    end
    assert.same({}, wrong)
    assert.is_true(count > 60)
  end)
end)
