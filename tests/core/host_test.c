/* The public C API: exit codes, modules, events, interrupts, several hosts in one process. Run from
 * the repository's folder. */
#include <lauxlib.h>
#include <lua.h>
#include <signal.h>
#include <sys/time.h>
#include <uv.h>

#include "codex_lua.h"
#include "test.h"

typedef struct {
  char text[4096];
} log_text;

static void keep(void *user, const char *level, const char *line) {
  log_text *log = user;
  size_t n = strlen(log->text);
  snprintf(log->text + n, sizeof log->text - n, "%s: %s\n", level, line);
}

static cx_host *open_host(uv_loop_t *loop, log_text *log) {
  cx_host *host;
  const cx_host_options options = {
      .loop = loop, .data_dir = ".", .on_log = log ? keep : NULL, .user = log};
  if (cx_host_open(&host, &options) != 0) abort();
  return host;
}

static void test_codes(void) {
  static const struct {
    const char *script;
    int code;
    const char *error; /* part of cx_host_error */
  } cases[] = {
      {"return 1", 0, ""},
      {"os.exit(7)", 7, ""},
      {"os.exit(8, false)", 8, ""}, /* which frees all of a host that is no program's */
      {"os.exit(false)", 1, ""},
      {"os.exit(-1)", 255, ""},
      {"os.exit(1 << 40 | 300)", 300 & 255, ""},
      {"pcall(os.exit, 3) os.exit(4)", 4, ""},
      {"error 'oh no'", 1, "oh no"},
      {"x = = 1", CX_ESCRIPT, "unexpected symbol"},
      {"require('codex').await(function() end)", 1, "can never happen"},
      {"require('codex').spawn(error, 'unheard')", 1, "unheard"},
      {"require('codex').sleep(0.01)", 0, ""},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    log_text log = {""};
    cx_host *host = open_host(NULL, &log);
    int code = cx_host_run_string(host, cases[i].script, "=case", 0, NULL);
    CHECK(code == cases[i].code, "%s: %d", cases[i].script, code);
    CHECK(strstr(cx_host_error(host), cases[i].error), "%s: %s", cases[i].script,
          cx_host_error(host));
    CHECK(cx_host_close(host) == 0, "%s", cases[i].script);
  }
}

static void test_arguments_and_log(void) {
  log_text log = {""};
  char one[] = "one", two[] = "t w o", *argv[] = {one, two, NULL};
  cx_host *host = open_host(NULL, &log);
  int code = cx_host_run_string(host,
                                "assert(... == 'one' and arg[2] == 't w o' and arg[0] == '=name')\n"
                                "require('codex.log').warn('key sk-0123456789abcdefgh')",
                                "=name", 2, argv);
  CHECK(code == 0, "%d: %s", code, cx_host_error(host));
  CHECK(strcmp(log.text, "warn: key [redacted]\n") == 0, "%s", log.text);
  CHECK(cx_host_run_file(host, "/nonexistent.lua", 0, NULL) < 0, "a file that is not there");
  CHECK(strstr(cx_host_error(host), "/nonexistent.lua"), "%s", cx_host_error(host));
  CHECK(cx_host_close(host) == 0, "close");
  CHECK(cx_host_close(NULL) == 0, "NULL");
}

static int twice(lua_State *L) {
  lua_pushinteger(L, 2 * luaL_checkinteger(L, 1));
  return 1;
}

static int open_twice(lua_State *L) {
  lua_pushcfunction(L, twice);
  return 1;
}

static void on_done(void *user, int code) { *(int *)user = code; }

static void test_several_on_one_loop(void) {
  static const char script[] =
      "local codex, twice = require 'codex', require 'twice'\n"
      "local heard = 0\n"
      "codex.on('number', function(text) heard = twice(tonumber(text)) end)\n"
      "while heard == 0 do codex.sleep(0.005) end\n"
      "local r = codex.proc.run { 'sh', '-c', 'exit ' .. heard }\n"
      "os.exit(r.code)\n";
  enum { HOSTS = 3 };
  uv_loop_t loop;
  cx_host *hosts[HOSTS];
  int codes[HOSTS];
  uv_loop_init(&loop);
  for (int i = 0; i < HOSTS; i++) {
    codes[i] = -1;
    hosts[i] = open_host(&loop, NULL);
    cx_host_register(hosts[i], "twice", open_twice);
    int rc = cx_host_start_string(hosts[i], script, "=script", 0, NULL, on_done, &codes[i]);
    CHECK(rc == 0, "host %d: %s", i, cx_host_error(hosts[i]));
    rc = cx_host_start_string(hosts[i], script, "=again", 0, NULL, on_done, &codes[i]);
    CHECK(rc < 0 && strcmp(cx_err_name(rc), "EUSAGE") == 0, "a second script: %d", rc);
    CHECK(cx_host_post(hosts[i], "nothing", "", 0) == 0, "an event that nobody waits for");
  }
  for (int i = 0; i < HOSTS; i++) {
    char payload[] = {(char)('1' + i)};
    CHECK(cx_host_post(hosts[i], "number", payload, 1) == 1, "host %d", i);
  }
  uv_run(&loop, UV_RUN_DEFAULT);
  for (int i = 0; i < HOSTS; i++) {
    CHECK(codes[i] == 2 * (i + 1), "host %d: %d", i, codes[i]);
    CHECK(cx_host_close(hosts[i]) == 0, "host %d", i);
  }
  uv_run(&loop, UV_RUN_DEFAULT);
  CHECK(uv_loop_close(&loop) == 0, "the caller's loop has nothing of ours");
}

static void test_close_while_it_runs(void) {
  uv_loop_t loop;
  int code = -1;
  uv_loop_init(&loop);
  cx_host *host = open_host(&loop, NULL);
  cx_host_start_string(host,
                       "local p <close> = require('codex').proc.spawn { 'sleep', '60' }\n"
                       "p:wait()",
                       "=script", 0, NULL, on_done, &code);
  uv_run(&loop, UV_RUN_NOWAIT);
  CHECK(code == -1, "it waits: %d", code);
  CHECK(cx_host_close(host) == 0, "close");
  CHECK(code == 1, "done is told: %d", code);
  uv_run(&loop, UV_RUN_DEFAULT);
  CHECK(uv_loop_close(&loop) == 0, "nothing is left");
}

/* What a program does in `done`, as the user of a started script. */
typedef struct {
  cx_host *host;
  int count, close_code;
  bool inside; /* of cx_host_start_string */
} runs;

static void start_next(runs *r, const char *script);

static const char *const scripts[] = {
    "return 1",
    "os.exit(5)",
    "local codex = require 'codex'; codex.spawn(function() codex.sleep(60) end); os.exit(6)",
    "leaked = require('codex').proc.spawn { 'sleep', '60' }; os.exit(7)",
    "require('luv').new_timer():start(1, 1, function() error 'too late' end) os.exit(8)",
    "error 'no'",
    "require('codex').sleep(0.001)",
    "assert(#require('codex.core.task').live() == 0) require('codex').sleep(0.005) return 2",
};

enum { SCRIPTS = sizeof scripts / sizeof *scripts };

static const int codes_of[SCRIPTS] = {0, 5, 6, 7, 8, 1, 0, 0};

static void on_run_done(void *user, int code) {
  runs *r = user;
  CHECK(!r->inside, "done within start, script %d", r->count);
  CHECK(code == codes_of[r->count], "script %d: %d", r->count, code);
  r->count++;
  if (r->count < SCRIPTS)
    start_next(r, scripts[r->count]);
  else
    r->close_code = cx_host_close(r->host);
}

static void start_next(runs *r, const char *script) {
  r->inside = true;
  int rc = cx_host_start_string(r->host, script, "=next", 0, NULL, on_run_done, r);
  r->inside = false;
  CHECK(rc == 0, "%s: %d", script, rc);
}

static void test_one_after_the_other(void) {
  uv_loop_t loop;
  uv_loop_init(&loop);
  log_text log = {""};
  runs r = {.host = open_host(&loop, &log), .close_code = -1};
  start_next(&r, scripts[0]);
  uv_run(&loop, UV_RUN_DEFAULT);
  CHECK(r.count == SCRIPTS, "%d scripts", r.count);
  CHECK(r.close_code == 0, "closed in done: %d", r.close_code);
  CHECK(uv_loop_close(&loop) == 0, "nothing is left");
}

static void on_closed_start(void *user, int code) {
  runs *r = user;
  r->count++;
  int rc = cx_host_start_string(r->host, "return", "=late", 0, NULL, on_closed_start, r);
  CHECK(code == 1 && rc < 0, "a start while the host is closed: %d, %d", code, rc);
}

static void test_no_start_while_closing(void) {
  uv_loop_t loop;
  uv_loop_init(&loop);
  runs r = {.host = open_host(&loop, NULL)};
  int rc = cx_host_start_string(r.host, "require('codex').sleep(60)", "=first", 0, NULL,
                                on_closed_start, &r);
  CHECK(rc == 0 && cx_host_close(r.host) == 0 && r.count == 1, "%d calls", r.count);
  uv_run(&loop, UV_RUN_DEFAULT);
  CHECK(uv_loop_close(&loop) == 0, "nothing is left");
}

static cx_host *interrupted;

/* As the handler of a signal would that comes right now. */
static int interrupt_now(lua_State *L) {
  (void)L;
  cx_host_interrupt(interrupted);
  return 0;
}

static int open_interrupt(lua_State *L) {
  lua_pushcfunction(L, interrupt_now);
  return 1;
}

/* Where an interrupt finds a script. */
static const char *const places[] = {
    "stop() require('codex').sleep(60)",
    "stop() while true do end",
    "coroutine.wrap(function() stop() while true do end end)()",
    "local function deep(n) if n == 0 then stop() while true do end end "
    "coroutine.wrap(deep)(n - 1) end deep(20)",
    "local co = coroutine.create(function() stop() while true do end end) "
    "coroutine.resume(co) require('codex').sleep(60)",
    "require('luv').new_timer():start(1, 0, function() stop() while true do end end) "
    "require('codex').sleep(60)",
    "require('luv').new_timer():start(1, 0, coroutine.wrap(function() stop() while true do end "
    "end)) require('codex').sleep(60)",
    "local n = 0 while n < 5 do stop() if not pcall(function() while true do end end) then "
    "n = n + 1 end end require('codex').sleep(60)",
    "for _ = 1, 5 do pcall(coroutine.wrap(function() stop() while true do end end)) end "
    "require('codex').sleep(60)",
};

static void test_interrupted_anywhere(void) {
  log_text log = {""};
  interrupted = open_host(NULL, &log);
  cx_host_register(interrupted, "stop", open_interrupt);
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    char script[400];
    snprintf(script, sizeof script, "local stop = require 'stop' %s", places[i]);
    int code = cx_host_run_string(interrupted, script, "=script", 0, NULL);
    CHECK(code == 130, "%s: %d", places[i], code);
    code =
        cx_host_run_string(interrupted, "return require('codex').sleep(0.001)", "=next", 0, NULL);
    CHECK(code == 0, "after %s: %d %s", places[i], code, cx_host_error(interrupted));
  }
  CHECK(cx_host_close(interrupted) == 0, "close");
}

static void on_alarm(int number) {
  (void)number;
  cx_host_interrupt(interrupted);
}

/* The time until a script that computes is stopped counts from the first one. */
static void test_interrupted_often(void) {
  static const struct itimerval often = {{0, 5000}, {0, 5000}}, never;
  const struct sigaction action = {.sa_handler = on_alarm};
  log_text log = {""};
  interrupted = open_host(NULL, &log);
  sigaction(SIGALRM, &action, NULL);
  setitimer(ITIMER_REAL, &often, NULL);
  int code = cx_host_run_string(interrupted,
                                "local by = os.time() + 20 while os.time() < by do end os.exit(3)",
                                "=script", 0, NULL);
  setitimer(ITIMER_REAL, &never, NULL);
  CHECK(code == 130, "%d", code);
  CHECK(cx_host_close(interrupted) == 0, "close");
}

static void interrupt(uv_timer_t *timer) {
  cx_host_interrupt(timer->data);
  uv_close((uv_handle_t *)timer, NULL);
}

static void test_interrupt(void) {
  uv_loop_t loop;
  uv_timer_t timer;
  int code = -1;
  uv_loop_init(&loop);
  cx_host *host = open_host(&loop, NULL);
  uv_timer_init(&loop, &timer);
  timer.data = host;
  uv_timer_start(&timer, interrupt, 20, 0);
  cx_host_start_string(host, "require('codex').sleep(60)", "=script", 0, NULL, on_done, &code);
  uv_run(&loop, UV_RUN_DEFAULT);
  CHECK(code == 130, "%d", code);
  CHECK(cx_host_close(host) == 0, "close");
  uv_run(&loop, UV_RUN_DEFAULT);
  CHECK(uv_loop_close(&loop) == 0, "nothing is left");
}

int main(void) {
  test_codes();
  test_arguments_and_log();
  test_several_on_one_loop();
  test_close_while_it_runs();
  test_interrupt();
  test_one_after_the_other();
  test_no_start_while_closing();
  test_interrupted_anywhere();
  test_interrupted_often();
  return report("host_test");
}
