/* What scripts leave, on the caller's loop: when one is over, and that nothing of it reaches the
 * next. Run from the repository's folder. */
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <lua.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include "codex_lua.h"
#include "test.h"

enum { SOON_MS = 100 };

static cx_host *current; /* what functions of the script are about */
static int close_code, start_code, calls_of_done;
static bool is_inside;

static void on_done(void *user, int code) {
  *(int *)user = code;
  calls_of_done++;
}

/* Tries what a function inside of the host must not do. */
static void on_log(void *user, const char *level, const char *line) {
  int code;
  (void)user;
  (void)level;
  (void)line;
  close_code = cx_host_close(current);
  start_code = cx_host_start_string(current, "return", "=log", 0, NULL, on_done, &code);
}

/* post(event [, payload]) -> how many will hear it; heard() says when that is */
static int post(lua_State *L) {
  size_t n = 0;
  const char *event = luaL_checkstring(L, 1), *payload = luaL_optlstring(L, 2, NULL, &n);
  is_inside = true;
  lua_pushinteger(L, cx_host_post(current, event, payload, n));
  is_inside = false;
  return 1;
}

static int interrupt(lua_State *L) {
  cx_host_interrupt(current);
  return L ? 0 : 1;
}

static int open_t(lua_State *L) {
  static const luaL_Reg functions[] = {{"post", post}, {"interrupt", interrupt}, {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}

static uv_loop_t loop;

static void open_host(unsigned close_ms) {
  const cx_host_options options = {.size = sizeof options,
                                   .loop = &loop,
                                   .data_dir = ".",
                                   .on_log = on_log,
                                   .close_ms = close_ms};
  uv_loop_init(&loop);
  if (cx_host_open(&current, &options) != 0 || cx_host_register(current, "t", open_t) != 0) abort();
  calls_of_done = 0;
}

static void close_host(const char *what) {
  int rc = cx_host_close(current);
  CHECK(rc == 0, "%s: close: %s", what, cx_err_name(rc));
  uv_run(&loop, UV_RUN_DEFAULT);
  CHECK(uv_loop_close(&loop) == 0, "%s: something of ours is left", what);
}

#define CODEX "local c, uv, t = require 'codex', require 'luv', require 't' "

/* Starts the script and turns the loop until it is over: its code. */
static int run(const char *script) {
  int code = -1, before = calls_of_done;
  char whole[1000];
  snprintf(whole, sizeof whole, CODEX "%s", script);
  int rc = cx_host_start_string(current, whole, "=s", 0, NULL, on_done, &code);
  CHECK(rc == 0, "%s: %s", script, cx_host_error(current));
  uv_run(&loop, UV_RUN_DEFAULT);
  CHECK(calls_of_done == before + 1, "%s: done came %d times", script, calls_of_done - before);
  return code;
}

/* Each script and its code; what one leaves would show in a later one. */
static const struct {
  const char *script;
  int code;
} scripts[] = {
    /* os.exit and errors where the main chunk has ended */
    {"T = uv.new_timer() T:start(1, 0, function() os.exit(10) end)", 10},
    {"c.spawn(function() c.sleep(0.002) os.exit(11) end)", 11},
    {"c.spawn(function() c.proc.run { 'true' } os.exit(12) end)", 12},
    {"T = uv.new_timer() T:start(1, 0, function() T:close() error 'x' end)", 1},
    {"c.spawn(function() c.sleep(0.002) error 'x' end)", 1},
    {"c.on('e', function() os.exit(13) end) assert(t.post 'e' == 1)", 13},
    /* it is over when what it left is */
    {"c.spawn(function() c.sleep(0.01) ENDED = true end)", 0},
    {"os.exit(ENDED and 14 or 0)", 14},
    {"P = c.proc.spawn { 'sleep', '0.01' }", 0},
    {"os.exit(P:status().closed and 15 or 0)", 15},
    /* handles of luv */
    {"T = uv.new_timer() T:start(1 << 30, 0, print) os.exit(1)", 1},
    {"assert(T:is_closing()) T = uv.new_timer() T:start(1, 1, function() LATE = true end) "
     "T:unref()",
     0},
    {"assert(not LATE and T:is_closing()) c.sleep(0.005) os.exit(LATE and 1 or 16)", 16},
    {"T = uv.new_idle() T:start(function() LATE = true end) error 'x'", 1},
    {"LATE = nil c.sleep(0.005) os.exit(LATE and 1 or 17)", 17},
    {"S = uv.new_tcp() S:bind('127.0.0.1', 0) S:listen(1, print) os.exit(0)", 0},
    {"os.exit(S:is_closing() and 18 or 1)", 18},
    /* tasks and events */
    {"c.on('e', function() os.exit(1) end) c.spawn(c.sleep, 99) t.post 'e' error 'x'", 1},
    {"assert(t.post 'e' == 0) c.sleep(0.005) os.exit(19)", 19},
    {"F = c.spawn(function() local x <close> = setmetatable({}, { __close = error }) c.sleep(99) "
     "end) c.sleep(0) os.exit(20)",
     20},
    {"F = nil collectgarbage() collectgarbage()", 0}, /* its failure was told before */
    /* an interrupt finds who waits for a later event, whatever else is in the loop */
    {"c.on('e', print) t.interrupt() c.signal():wait()", 130},
    {"c.spawn(function() c.sleep(0) t.interrupt() c.sleep(99) end)", 130},
    {"c.sleep(0.001) os.exit(21)", 21},
};

static void test_one_after_the_other(void) {
  open_host(0);
  for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
    int code = run(scripts[i].script);
    CHECK(code == scripts[i].code, "%s: %d, %s", scripts[i].script, code, cx_host_error(current));
    CHECK(!uv_loop_alive(&loop), "%s: left something in the loop", scripts[i].script);
    CHECK(lua_gettop(cx_host_lua(current)) == 0, "%s: left something", scripts[i].script);
  }
  close_host("at the end");
}

/* A handler that posts its own event again and again, and a task that waits for one, which the
 * program posts when it likes. */
static void test_posts_are_queued(void) {
  int code = -1;
  open_host(0);
  cx_host_start_string(current,
                       CODEX "N = 0 c.on('again', function() N = N + 1 t.post 'again' end) "
                             "c.on('end', function(text) os.exit(#text) end) c.spawn(c.await, "
                             "function() end)",
                       "=s", 0, NULL, on_done, &code);
  uv_run(&loop, UV_RUN_DEFAULT); /* there is nothing to do */
  CHECK(calls_of_done == 0, "a task waits, and the script is over");
  CHECK(cx_host_post(current, "again", NULL, 5) == 1, "no payload is an empty one");
  lua_State *L = cx_host_lua(current);
  lua_getglobal(L, "N");
  CHECK(lua_tointeger(L, -1) == 0, "a handler was called within cx_host_post");
  lua_pop(L, 1);
  for (int i = 0; i < 10; i++) uv_run(&loop, UV_RUN_NOWAIT);
  lua_getglobal(L, "N");
  CHECK(lua_tointeger(L, -1) > 2 && lua_tointeger(L, -1) < 50, "%d", (int)lua_tointeger(L, -1));
  lua_pop(L, 1);
  CHECK(cx_host_post(current, "end", "\0\xff\n", 3) == 1, "a binary payload");
  uv_run(&loop, UV_RUN_DEFAULT);
  CHECK(code == 3 && calls_of_done == 1, "%d, %d", code, calls_of_done);
  CHECK(cx_host_post(current, "again", "", 0) == 0, "heard by a script that is over");
  close_host("at the end");
}

static void test_refusals(void) {
  int code = -1;
  open_host(0);
  CHECK(run("require('codex.log').warn 'now'") == 0, "%s", cx_host_error(current));
  CHECK(close_code == CX_EUSAGE, "close from the log: %s", cx_err_name(close_code));
  CHECK(start_code == CX_EUSAGE, "start from the log: %s", cx_err_name(start_code));
  int rc = cx_host_run_string(current, "os.exit(3)", "=s", 0, NULL);
  CHECK(rc == CX_EUSAGE, "run on the caller's loop: %d", rc);
  CHECK(*cx_host_error(current), "no words");
  close_host("at the end");
  cx_host *host;
  const cx_host_options options = {.size = sizeof options, .data_dir = "."};
  if (cx_host_open(&host, &options) != 0) abort();
  rc = cx_host_start_string(host, "return", "=s", 0, NULL, on_done, &code);
  CHECK(rc == CX_EUSAGE && code == -1, "start on a loop of its own: %d", rc);
  CHECK(cx_host_run_string(host, "os.exit(#arg)", NULL, 2, NULL) == 0, "no arguments");
  CHECK(cx_host_close(host) == 0, "close");
}

/* What scripts do about their end: each would take for ever. */
static const char *const stubborn[] = {
    "local x <close> = setmetatable({}, { __close = function() while true do end end }) "
    "c.sleep(99)",
    "local x <close> = setmetatable({}, { __close = function() "
    "coroutine.wrap(function() while true do pcall(error) end end)() end }) c.sleep(99)",
    "W = coroutine.wrap(function() coroutine.yield() while true do pcall(error) end end) W() "
    "local x <close> = setmetatable({}, { __close = W }) c.sleep(99)",
    "local x <close> = setmetatable({}, { __close = function() while true do "
    "coroutine.resume(coroutine.create(function() end)) end end }) c.sleep(99)",
    "local x <close> = setmetatable({}, { __close = function() pcall(debug.sethook) "
    "while true do end end }) c.sleep(99)",
    "local x <close> = setmetatable({}, { __close = function() pcall(debug.sethook, print, '', 1) "
    "while true do pcall(debug.sethook) end end }) c.sleep(99)",
    "while true do pcall(c.sleep, 99) end",
    "local x <close> = setmetatable({}, { __close = function() while true do "
    "pcall(c.proc.run, { 'sleep', '99' }) end end }) c.sleep(99)",
    "uv.new_timer():start(1, 1, function() c.spawn(c.sleep, 99) end) while true do pcall(c.sleep, "
    "99) "
    "end",
    "uv.new_idle():start(function() while STOPPED do end end) "
    "local x <close> = setmetatable({}, { __close = function() STOPPED = true c.sleep(99) end }) "
    "c.sleep(99)",
};

static void test_bounded(void) {
  for (size_t i = 0; i < sizeof stubborn / sizeof *stubborn; i++) {
    int code = -1;
    char script[1000];
    snprintf(script, sizeof script, CODEX "%s", stubborn[i]);
    open_host(SOON_MS);
    cx_host_start_string(current, script, "=s", 0, NULL, on_done, &code);
    uv_run(&loop, UV_RUN_NOWAIT);
    CHECK(code == -1, "%s: %d", stubborn[i], code);
    close_host(stubborn[i]);
    CHECK(code == 1 && calls_of_done == 1, "%s: %d, %d", stubborn[i], code, calls_of_done);
  }
}

/* The same where a script ends itself: the next one finds nothing of it. */
static void test_next_after_stubborn(void) {
  open_host(SOON_MS);
  CHECK(run("c.spawn(function() while true do pcall(c.sleep, 99) end end) os.exit(5)") == 5, "5");
  CHECK(run("return") == 0, "a task of the one before is waited for");
  CHECK(run("assert(#require('codex.core.task').live() == 0) os.exit(6)") == 6, "6");
  close_host("at the end");
}

/* A request in the thread pool cannot be ended: opening a FIFO that nobody writes. */
static void test_leak(void) {
  static cx_host *left; /* what it leaves is not lost */
  char folder[] = "/tmp/codex-lua-fifo-XXXXXX", path[64], script[200];
  int code = -1;
  if (!mkdtemp(folder)) abort();
  snprintf(path, sizeof path, "%s/fifo", folder);
  mkfifo(path, 0600);
  snprintf(script, sizeof script, "F = '%s' require('luv').fs_open(F, 'r', 0, print)", path);
  open_host(SOON_MS);
  left = current;
  cx_host_start_string(current, script, "=s", 0, NULL, on_done, &code);
  uv_run(&loop, UV_RUN_NOWAIT);
  int rc = cx_host_close(left);
  CHECK(rc == CX_ELEAK && code == 1, "%s, %d", cx_err_name(rc), code);
  uv_run(&loop, UV_RUN_DEFAULT);
  CHECK(uv_loop_close(&loop) == 0, "the caller's loop has nothing of ours");
  close(open(path, O_WRONLY)); /* lets the thread go */
  unlink(path);
  rmdir(folder);
}

static bool is_refused; /* every signal */

/* In place of the system's, for a child that has become another user's. */
int kill(pid_t pid, int number) {
  if (!is_refused) return (int)syscall(SYS_kill, pid, number);
  errno = EPERM;
  return -1;
}

static void test_child_of_another_user(void) {
  static cx_host *left;
  int code = -1;
  open_host(SOON_MS);
  left = current;
  cx_host_start_string(current, "P = require('codex').proc.spawn { 'sleep', '99' } P:wait()", "=s",
                       0, NULL, on_done, &code);
  lua_State *L = cx_host_lua(current);
  lua_getglobal(L, "P");
  lua_getfield(L, -1, "pid");
  pid_t pid = (pid_t)lua_tointeger(L, -1);
  lua_pop(L, 2);
  is_refused = true;
  int rc = cx_host_close(left);
  is_refused = false;
  CHECK(rc == CX_ELEAK && code == 1, "%s, %d", cx_err_name(rc), code);
  uv_run(&loop, UV_RUN_DEFAULT);
  CHECK(uv_loop_close(&loop) == 0, "the caller's loop has nothing of ours");
  CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid, "the child was there");
}

/* Sockets with much that nobody takes, and nobody can accept. */
static const char sockets[] = "S = uv.new_tcp() assert(S:bind('127.0.0.1', 0) == 0)\n"
                              "S:listen(8, function() S:accept(uv.new_tcp()) end)\n"
                              "for _ = 1, 4 do\n"
                              "  local s = uv.new_tcp()\n"
                              "  s:connect('127.0.0.1', S:getsockname().port, function()\n"
                              "    s:write(('x'):rep(1 << 23)) s:shutdown() CONNECTED = true\n"
                              "  end)\n"
                              "end\n"
                              "c.sleep(99)\n";

static void test_without_descriptors(void) {
  enum { MOST = 1024 };
  int fds[MOST], n = 0, code = -1;
  char script[1000];
  snprintf(script, sizeof script, CODEX "%s", sockets);
  open_host(SOON_MS);
  cx_host_start_string(current, script, "=s", 0, NULL, on_done, &code);
  while (n < MOST && (fds[n] = dup(2)) >= 0) n++;
  for (int i = 0; i < 20; i++) uv_run(&loop, UV_RUN_NOWAIT);
  cx_host *other = current;
  int rc = n < MOST ? cx_host_open(&other, NULL) : -EMFILE;
  CHECK(rc == -EMFILE && (n == MOST || !other), "open: %s", cx_err_name(rc));
  close_host("without descriptors");
  CHECK(code == 1, "%d", code);
  while (n > 0) close(fds[--n]);
}

int main(void) {
  const struct rlimit few = {100, 100};
  setrlimit(RLIMIT_NOFILE, &few);
  test_one_after_the_other();
  test_posts_are_queued();
  test_refusals();
  test_bounded();
  test_next_after_stubborn();
  if (!getenv("CX_SLOW")) { /* valgrind does not find what is left of these in the pool of Lua */
    test_leak();
    test_child_of_another_user();
  }
  test_without_descriptors();
  return report("script_test");
}
