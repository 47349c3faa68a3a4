/* A program with hosts inside, written from codex_lua.h alone: a thousand scripts on one host, a
 * hundred hosts one after the other, closed from within whatever calls it, on several threads. Run
 * from the repository's folder. With CX_SLOW in the environment it does a tenth of that. */
#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include "codex_lua.h"
#include "test.h"

#define CODEX "local c, t = require 'codex', require 't' "
#define TASK "c.spawn(function() local x <close> = t.guard() c.sleep(9999) end) "
#define CHILD "P = assert(c.proc.spawn { 'sleep', '9999' }) "

static __thread cx_host *current; /* what functions of the script are about */
static __thread int guards;       /* how many of `t.guard()` are open */

/* ---- What scripts are given ------------------------------------------------------------------ */

static int t_interrupt(lua_State *L) {
  cx_host_interrupt(current);
  return L ? 0 : 1;
}

static int t_raise(lua_State *L) {
  raise(SIGUSR1);
  return L ? 0 : 1;
}

static int t_unguard(lua_State *L) {
  guards--;
  return L ? 0 : 1;
}

static int t_guard(lua_State *L) {
  lua_newtable(L);
  lua_newtable(L);
  lua_pushcfunction(L, t_unguard);
  lua_setfield(L, -2, "__close");
  lua_setmetatable(L, -2);
  guards++;
  return 1;
}

static int t_post(lua_State *L) {
  size_t n = 0;
  const char *event = luaL_checkstring(L, 1), *payload = luaL_optlstring(L, 2, NULL, &n);
  lua_pushinteger(L, cx_host_post(current, event, payload, n));
  return 1;
}

static int open_t(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"interrupt", t_interrupt}, {"raise", t_raise}, {"guard", t_guard}, {"post", t_post}, {0}};
  luaL_newlib(L, functions);
  return 1;
}

/* ---- Hosts ----------------------------------------------------------------------------------- */

static void ignore(void *user, const char *level, const char *line) {
  (void)user;
  (void)level;
  (void)line;
}

static cx_host *open_host(uv_loop_t *loop) {
  const cx_host_options options = {
      .size = sizeof options, .loop = loop, .data_dir = ".", .on_log = ignore};
  if (cx_host_open(&current, &options) != 0) abort();
  if (cx_host_register(current, "t", open_t) != 0) abort();
  return current;
}

/* Closes the host, and the caller's loop if there is one: 0, or what went wrong. */
static int finish(uv_loop_t *loop, cx_host *host) {
  int rc = cx_host_close(host);
  if (rc != 0 || !loop) return rc;
  if (uv_run(loop, UV_RUN_NOWAIT) != 0) return 1;
  return uv_loop_close(loop);
}

static void on_usr1(int number) {
  if (number && current) cx_host_interrupt(current);
}

/* A script under way. */
typedef struct {
  cx_host *host;
  int i, code, calls, wrong;
  bool closes; /* in `done` */
} run;

static void on_done(void *user, int code) {
  run *r = user;
  r->code = code;
  r->calls++;
  if (r->closes && cx_host_close(r->host) != 0) r->wrong++;
}

static int start(run *r, const char *script) {
  return cx_host_start_string(r->host, script, "=s", 0, NULL, on_done, r);
}

/* ---- One script after the other -------------------------------------------------------------- */

enum { INTERRUPTED = 130, OUTSIDE = 1130, NOT_LOADED = -1 };

static const struct {
  const char *script;
  int code; /* OUTSIDE: 130, where the program interrupts it */
} kinds[] = {
    {"return 7", 0},
    {"error 'x'", 1},
    {CODEX TASK CHILD "os.exit(42)", 42},
    {CODEX CHILD "error(P)", 1},
    {CODEX TASK "t.interrupt() c.sleep(99)", INTERRUPTED},
    {CODEX "t.raise() c.proc.run { 'sleep', '9999' }", INTERRUPTED},
    {"this is no Lua", NOT_LOADED},
    {CODEX "c.sleep(0) t.interrupt() t.interrupt() c.sleep(99)", INTERRUPTED},
    {CODEX "c.spawn(os.exit, 9):join() c.sleep(99)", 9},
    {CODEX TASK CHILD "P:wait()", OUTSIDE},
};

enum { KINDS = sizeof kinds / sizeof *kinds };

static int scripts; /* how many a host runs */

static void on_chain(void *user, int code);

/* Starts the next script that can be loaded. */
static void start_next(run *r) {
  for (; r->i < scripts; r->i++) {
    int kind = r->i % KINDS;
    int rc = cx_host_start_string(r->host, kinds[kind].script, "=s", 0, NULL, on_chain, r);
    if (rc == 0 && kinds[kind].code == OUTSIDE) cx_host_interrupt(r->host);
    if (rc == 0) return;
    r->wrong += kinds[kind].code != NOT_LOADED;
  }
}

/* `done` of each starts the next. */
static void on_chain(void *user, int code) {
  run *r = user;
  int want = kinds[r->i++ % KINDS].code;
  r->wrong += code != (want == OUTSIDE ? INTERRUPTED : want);
  start_next(r);
}

static int run_next(run *r) {
  int kind = r->i++ % KINDS;
  if (kinds[kind].code == OUTSIDE) return 0;
  int code = cx_host_run_string(r->host, kinds[kind].script, "=s", 0, NULL);
  return kinds[kind].code == NOT_LOADED ? code >= 0 : code != kinds[kind].code;
}

/* How many things went wrong. */
static int many_scripts(uv_loop_t *loop) {
  run r = {.host = open_host(loop)};
  lua_State *L = cx_host_lua(r.host);
  if (loop) {
    start_next(&r);
    uv_run(loop, UV_RUN_DEFAULT);
  }
  while (r.i < scripts && !loop) r.wrong += run_next(&r);
  lua_gc(L, LUA_GCCOLLECT);
  r.wrong += r.i != scripts || lua_gettop(L) != 0 || lua_gc(L, LUA_GCCOUNT) > 1024;
  return r.wrong + (finish(loop, r.host) != 0) + guards;
}

static void test_many_scripts(void) {
  uv_loop_t loop;
  uv_loop_init(&loop);
  int wrong = many_scripts(&loop);
  CHECK(wrong == 0, "%d on the caller's loop", wrong);
  wrong = many_scripts(NULL);
  CHECK(wrong == 0, "%d on a loop of its own", wrong);
  CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD, "a child is left");
}

static void *on_thread(void *wrong) {
  uv_loop_t loop;
  uv_loop_init(&loop);
  *(int *)wrong = many_scripts(&loop) + many_scripts(NULL);
  return NULL;
}

static void test_threads(void) {
  enum { THREADS = 3 };
  pthread_t threads[THREADS];
  int wrong[THREADS];
  scripts = KINDS * 4;
  for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, on_thread, &wrong[i]);
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
    CHECK(wrong[i] == 0, "%d on thread %d", wrong[i], i);
  }
}

static void *interrupt_host(void *host) {
  cx_host_interrupt(host);
  return NULL;
}

/* The script waits; the thread that tells it to end is not that of its host. */
static void test_interrupt_from_a_thread(void) {
  uv_loop_t loop;
  uv_loop_init(&loop);
  run r = {.host = open_host(&loop)};
  CHECK(start(&r, CODEX TASK CHILD "P:wait()") == 0, "%s", cx_host_error(r.host));
  uv_run(&loop, UV_RUN_NOWAIT);
  pthread_t thread;
  pthread_create(&thread, NULL, interrupt_host, r.host);
  uv_run(&loop, UV_RUN_DEFAULT);
  pthread_join(thread, NULL);
  CHECK(r.calls == 1 && r.code == INTERRUPTED, "%d, %d", r.calls, r.code);
  CHECK(finish(&loop, r.host) == 0 && guards == 0, "%d guards", guards);
}

/* ---- Closing --------------------------------------------------------------------------------- */

static void close_in(uv_handle_t *handle) {
  run *r = handle->data;
  if (!uv_is_closing(handle)) uv_close(handle, NULL);
  if (cx_host_post(r->host, "news", "\0", 1) != 1 || cx_host_close(r->host) != 0) r->wrong++;
}

static void in_timer(uv_timer_t *h) { close_in((uv_handle_t *)h); }
static void in_idle(uv_idle_t *h) { close_in((uv_handle_t *)h); }
static void in_prepare(uv_prepare_t *h) { close_in((uv_handle_t *)h); }
static void in_check(uv_check_t *h) { close_in((uv_handle_t *)h); }
static void in_async(uv_async_t *h) { close_in((uv_handle_t *)h); }

/* Hosts on one loop, each closed in another kind of callback; the last ones in `done`. */
static void test_close_everywhere(void) {
  enum { HOSTS = 10, IN_DONE = 6 };
  static run runs[HOSTS];
  union uv_any_handle handles[HOSTS];
  uv_loop_t loop;
  uv_loop_init(&loop);
  for (int i = 0; i < HOSTS; i++) {
    handles[i].handle.data = &runs[i];
    runs[i] = (run){.host = open_host(&loop), .closes = i >= IN_DONE};
    int rc =
        start(&runs[i], i >= IN_DONE ? CODEX CHILD TASK "c.sleep(0) error()"
                                     : CODEX "c.on('news', c.sleep) " CHILD TASK "c.sleep(9999)");
    CHECK(rc == 0, "host %d: %s", i, cx_host_error(runs[i].host));
  }
  uv_timer_init(&loop, &handles[0].timer);
  uv_timer_start(&handles[0].timer, in_timer, 0, 0);
  uv_idle_init(&loop, &handles[1].idle);
  uv_idle_start(&handles[1].idle, in_idle);
  uv_prepare_init(&loop, &handles[2].prepare);
  uv_prepare_start(&handles[2].prepare, in_prepare);
  uv_check_init(&loop, &handles[3].check);
  uv_check_start(&handles[3].check, in_check);
  uv_async_init(&loop, &handles[4].async, in_async);
  uv_async_send(&handles[4].async);
  uv_idle_init(&loop, &handles[5].idle);
  uv_close(&handles[5].handle, close_in);
  uv_run(&loop, UV_RUN_DEFAULT);
  for (int i = 0; i < HOSTS; i++)
    CHECK(runs[i].wrong == 0 && runs[i].calls == 1 && runs[i].code == 1, "host %d: %d, %d, %d", i,
          runs[i].wrong, runs[i].calls, runs[i].code);
  CHECK(uv_loop_close(&loop) == 0 && guards == 0, "%d guards", guards);
}

/* The n-th host is closed early in one of five ways. */
static bool open_and_close(int n) {
  enum { UNUSED, STARTED, TURNED, IN_DONE, INTERRUPT };
  int how = n % 5;
  uv_loop_t loop;
  uv_loop_init(&loop);
  run r = {.host = open_host(&loop), .closes = how == IN_DONE};
  if (how != UNUSED && start(&r, CODEX TASK CHILD "P:wait()") != 0) return false;
  if (how == INTERRUPT) cx_host_interrupt(r.host);
  if (how >= TURNED && how != IN_DONE) uv_run(&loop, UV_RUN_NOWAIT);
  bool ok = finish(&loop, r.host) == 0 && r.wrong == 0 && guards == 0;
  return ok && r.calls == (how != UNUSED);
}

static void test_many_hosts(int hosts) {
  for (int i = 0; i < hosts; i++) CHECK(open_and_close(i), "host %d", i);
}

int main(void) {
  bool slow = getenv("CX_SLOW") != NULL;
  const struct sigaction action = {.sa_handler = on_usr1};
  sigaction(SIGUSR1, &action, NULL);
  scripts = slow ? 100 : 1000;
  test_many_scripts();
  test_close_everywhere();
  test_many_hosts(slow ? 10 : 100);
  test_threads();
  test_interrupt_from_a_thread();
  return report("embedder_test");
}
