/* A Lua state on a loop: opened, run, closed in the one order that works; see codex_lua.h. */
#include "codex_lua.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "err.h"
#include "state.h"

/* A task that reaches a wait within this time is cancelled there; one that does not is stopped. */
enum { PATIENCE_MS = 100, SHUTDOWN_MS = 10000 };

/* ---- Errors and log ------------------------------------------------------------------------- */

static int set_error(cx_host *host, int code, const char *text) {
  free(host->error);
  host->error = strdup(text);
  return code;
}

const char *cx_host_error(const cx_host *host) { return host->error ? host->error : ""; }

static void to_embedder(void *user, cx_log_level level, const char *line) {
  cx_host *host = user;
  host->on_log(host->log_user, cx_log_level_name(level), line);
}

/* A callback that no task stands behind raised an error: it is said, and the script has failed. */
void cx__host_fail(cx_env *env, const char *message) {
  cx_host *host = (cx_host *)env;
  if (host->exiting) return; /* os.exit unwinds as an error */
  host->failed = true;
  set_error(host, CX_ESCRIPT, message);
  cx_log_write(&host->log, CX_LOG_ERROR, "%s", message);
}

/* ---- Calling Lua ---------------------------------------------------------------------------- */

/* Calls the function below n arguments; 0, or CX_ESCRIPT with cx_host_error set. */
static int call(cx_host *host, int n, int results) {
  lua_State *L = host->env.L;
  int base = lua_gettop(L) - n;
  lua_pushcfunction(L, cx__state_traceback);
  lua_insert(L, base);
  int status = lua_pcall(L, n, results, base);
  lua_remove(L, base);
  if (status == LUA_OK) return 0;
  const char *message = lua_tostring(L, -1);
  set_error(host, CX_ESCRIPT, message ? message : "the script exited");
  lua_pop(L, 1);
  return CX_ESCRIPT;
}

/* Calls `fn` with `arg` as a light userdata on top of the n values that are on the stack. Whatever
 * may run out of memory happens in such functions: pushing a string is enough. */
static int protect(cx_host *host, lua_CFunction fn, void *arg, int n, int results) {
  lua_State *L = host->env.L;
  lua_pushcfunction(L, fn);
  lua_insert(L, -n - 1);
  lua_pushlightuserdata(L, arg);
  return call(host, n + 1, results);
}

/* Pushes a function of codex.async. */
static void push_scheduler(lua_State *L, const char *name) {
  lua_getglobal(L, "require");
  lua_pushliteral(L, "codex.async");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, name);
  lua_remove(L, -2);
}

static int call_scheduler(lua_State *L) {
  push_scheduler(L, lua_touserdata(L, 1));
  lua_call(L, 0, 1);
  return 1;
}

/* Calls a function of codex.async, whose result is a number or nothing. */
static int ask_scheduler(cx_host *host, const char *name, int *answer) {
  int rc = protect(host, call_scheduler, (char *)(uintptr_t)name, 0, 1);
  if (rc != 0) return rc;
  *answer = (int)lua_tointeger(host->env.L, -1);
  lua_pop(host->env.L, 1);
  return 0;
}

static int tell_scheduler(cx_host *host, const char *name) {
  int answer;
  return ask_scheduler(host, name, &answer);
}

/* ---- Interrupts ------------------------------------------------------------------------------ */

static int64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Runs every thousand instructions of a coroutine that was running when an interrupt came. */
static void on_hook(lua_State *L, lua_Debug *ar) {
  (void)ar;
  cx_host *host = (cx_host *)cx_bind_env(L);
  bool seen = host->handled >= host->interrupts;
  if (!seen && now_ms() - host->interrupted_at < PATIENCE_MS) return;
  lua_sethook(L, NULL, 0, 0);
  if (seen) return;
  host->handled = host->interrupts;
  luaL_error(L, "interrupted");
}

/* Without a task it is a callback of luv that runs, on the main state, if anything. */
void cx_host_interrupt(cx_host *host) {
  if (host->closed) return;
  host->interrupted_at = now_ms();
  host->interrupts++;
  lua_State *running = host->env.running;
  lua_sethook(running ? running : host->env.L, on_hook, LUA_MASKCOUNT, 1000);
  uv_async_send(&host->wakeup);
}

static void close_all_live(cx_env *env) {
  for (cx_live *live = env->live.next, *next; live != &env->live; live = next) {
    next = live->next;
    live->close(live->object);
  }
}

static void on_wakeup(uv_async_t *async) {
  cx_host *host = async->data;
  if (host->interrupts == 0) return;
  host->handled = host->interrupts;
  if (host->interrupts > 1) close_all_live(&host->env);
  if (!host->closing) tell_scheduler(host, "interrupt");
  if (!host->running) uv_stop(async->loop); /* only what the script left keeps the loop alive */
}

/* ---- Ending what a script holds -------------------------------------------------------------- */

static bool tasks_left(cx_host *host) {
  int count;
  return ask_scheduler(host, "count", &count) == 0 && count > 0;
}

static void on_deadline(uv_timer_t *timer) {
  cx_host *host = timer->data;
  host->is_late = true;
  uv_stop(timer->loop);
}

/* From now on the loop is turned for so long at most, whatever is in it. */
static void begin_deadline(cx_host *host) {
  host->is_late = false;
  uv_update_time(&host->loop);
  uv_timer_start(&host->deadline, on_deadline, SHUTDOWN_MS, 0);
}

/* Cancels every task and gives them a bounded time to end what they hold. When the time is over,
 * what they wait for is closed under them. */
static void end_tasks(cx_host *host) {
  begin_deadline(host);
  uv_unref((uv_handle_t *)&host->deadline); /* nobody waits for a task that nothing can wake */
  tell_scheduler(host, "shutdown");
  while (tasks_left(host) && !host->is_late && uv_run(&host->loop, UV_RUN_ONCE) != 0) continue;
}

static bool has_live(const cx_host *host) { return host->env.live.next != &host->env.live; }

/* Whether there is a scheduler, which an open that failed may not have come to. */
static bool is_scheduled(lua_State *L) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  bool is_there = lua_getfield(L, -1, "codex.async") == LUA_TTABLE;
  lua_pop(L, 2);
  return is_there;
}

/* Ends what the script holds: tasks, children, whatever is in the loop. What does not end in time
 * is left: a child, say, that has become another user's. */
static void end_script(cx_host *host) {
  if (is_scheduled(host->env.L)) end_tasks(host);
  close_all_live(&host->env);
  begin_deadline(host);
  uv_ref((uv_handle_t *)&host->deadline);
  while (has_live(host) && !host->is_late) uv_run(&host->loop, UV_RUN_ONCE);
  uv_timer_stop(&host->deadline);
}

/* ---- The end of a script --------------------------------------------------------------------- */

static bool is_over(const cx_host *host) {
  return host->exiting || host->interrupts > 0 || (!host->running && host->code != 0);
}

/* `done` is told when nothing of ours is being called: it may close the host, or start the next
 * script. */
static void tell_done(void *user) {
  cx_host *host = user;
  cx_host_done done = host->done;
  if (host->running || !done) return;
  host->done = NULL;
  done(host->done_user, host->code);
}

static void finish(cx_host *host, int code) {
  if (!host->running) return;
  host->running = false;
  if (!host->exiting) host->code = code;
  if (host->interrupts > 0) host->code = 130;
  if (host->attach && !host->closing) cx_attach_wake(host->attach);
}

/* ---- Opening --------------------------------------------------------------------------------- */

static int open_loop(cx_host *host, uv_loop_t *outer) {
  int rc = uv_loop_init(&host->loop);
  if (rc != 0) return rc;
  uv_async_init(&host->loop, &host->wakeup, on_wakeup);
  uv_timer_init(&host->loop, &host->deadline);
  uv_unref((uv_handle_t *)&host->wakeup);
  host->wakeup.data = host->deadline.data = host;
  host->env.loop = &host->loop;
  return outer ? cx_attach_open(&host->attach, outer, &host->loop, tell_done, host) : 0;
}

static void *allocate(void *user, void *block, size_t old, size_t size) {
  if (size >= CX_ALLOC_LIMIT) return NULL;
  return cx_pool_resize(user, block, block ? old : 0, size);
}

/* warn() of Lua, which is silent until it is told "@on". A message may come in pieces. */
static void on_warning(void *user, const char *text, int more) {
  cx_host *host = user;
  bool is_control = !more && host->warning.len == 0 && *text == '@';
  if (is_control && strcmp(text, "@on") == 0) host->warns = true;
  if (is_control && strcmp(text, "@off") == 0) host->warns = false;
  if (is_control || !host->warns || cx_buf_add_string(&host->warning, text) != 0 || more) return;
  cx_log_write(&host->log, CX_LOG_WARN, "%.*s", (int)host->warning.len,
               cx_buf_bytes(&host->warning));
  cx_buf_drop(&host->warning, host->warning.len);
}

static int open_state(cx_host *host) {
  lua_State *L = lua_newstate(allocate, &host->pool);
  if (!L) return CX_EMEMORY;
  lua_atpanic(L, cx__state_panic);
  lua_setwarnf(L, on_warning, host);
  host->env.log = &host->log;
  host->env.on_failure = cx__host_fail;
  cx_bind_open(L, &host->env);
  lua_pushcfunction(L, cx__state_fill);
  lua_pushlightuserdata(L, host);
  return call(host, 1, 0);
}

const char *cx_version(void) { return CX_VERSION; }

/* The caller may know fewer members than we do, or more. */
static cx_host_options known_options(const cx_host_options *given) {
  cx_host_options known = {0};
  size_t size = given && given->size ? given->size : sizeof known;
  if (given) memcpy(&known, given, size < sizeof known ? size : sizeof known);
  return known;
}

int cx_host_open(cx_host **out, const cx_host_options *given) {
  const cx_host_options known = known_options(given), *options = &known;
  cx_host *host = calloc(1, sizeof *host);
  if (!host) return CX_EMEMORY;
  cx_log_init(&host->log);
  host->on_log = options->on_log;
  host->log_user = options->user;
  host->ends_process = options->ends_process != 0;
  if (options->on_log) {
    host->log.sink = to_embedder;
    host->log.user = host;
  }
  int rc = cx_paths_find(&host->paths, options->data_dir, options->module_dir);
  if (rc == 0) rc = open_loop(host, options->loop);
  if (rc == 0) rc = open_state(host);
  if (rc == 0)
    *out = host;
  else
    cx_host_close(host);
  return rc;
}

int cx_host_register(cx_host *host, const char *name, int (*open)(struct lua_State *)) {
  cx__state_preload(host->env.L, name, open);
  return 0;
}

struct lua_State *cx_host_lua(cx_host *host) {
  return host->env.L;
}

/* ---- Running --------------------------------------------------------------------------------- */

/* done(ok, message): the scheduler says that the main task has ended */
static int on_main_done(lua_State *L) {
  cx_host *host = (cx_host *)cx_bind_env(L);
  if (lua_toboolean(L, 1) || host->exiting) {
    finish(host, 0);
  } else {
    const char *message = luaL_tolstring(L, 2, NULL);
    set_error(host, CX_ESCRIPT, message);
    finish(host, 1);
    if (host->interrupts == 0 && !host->closing)
      cx_log_write(&host->log, CX_LOG_ERROR, "%s", message);
  }
  uv_stop(&host->loop);
  return 0;
}

typedef struct {
  const char *name;
  int argc;
  char **argv;
} arguments;

static void push_arguments(lua_State *L, const arguments *a) {
  lua_createtable(L, a->argc, 1);
  lua_pushstring(L, a->name);
  lua_rawseti(L, -2, 0);
  for (int i = 0; i < a->argc; i++) {
    lua_pushstring(L, a->argv[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setglobal(L, "arg");
  luaL_checkstack(L, a->argc, "too many arguments");
  for (int i = 0; i < a->argc; i++) lua_pushstring(L, a->argv[i]);
}

/* Stack: chunk, arguments. */
static int start_main(lua_State *L) {
  const arguments *a = lua_touserdata(L, 2);
  push_scheduler(L, "main");
  lua_pushvalue(L, 1);
  lua_pushcfunction(L, on_main_done);
  push_arguments(L, a);
  ((cx_host *)cx_bind_env(L))->running = true;
  lua_call(L, a->argc + 2, 0);
  return 0;
}

/* Makes the host as it was for the first script. One that ended itself, or was interrupted, has
 * left what it held. */
static void begin(cx_host *host) {
  if (is_over(host)) end_script(host);
  cx__state_begin(host->env.L);
  host->interrupts = host->handled = host->code = 0;
  host->exiting = host->failed = host->leaves = false;
}

/* The loaded chunk is on the stack: starts it as the main task. */
static int start(cx_host *host, const char *name, int argc, char **argv, cx_host_done done,
                 void *user) {
  arguments a = {name, argc, argv};
  begin(host);
  host->done = done;
  host->done_user = user;
  int rc = protect(host, start_main, &a, 1, 0);
  if (rc == 0 && host->attach) cx_attach_wake(host->attach);
  if (rc == 0) return 0;
  host->running = false; /* it did not come far enough for `done` */
  host->done = NULL;
  return rc;
}

static int loaded(cx_host *host, int status) {
  if (status == LUA_OK && !host->running && !host->closing) return 0;
  const char *why = host->closing ? "the host is being closed" : "a script is already running";
  lua_State *L = host->env.L;
  int rc = status == LUA_OK ? set_error(host, CX_EUSAGE, why)
                            : set_error(host, CX_ESCRIPT, lua_tostring(L, -1));
  lua_pop(L, 1);
  return rc;
}

int cx_host_start_file(cx_host *host, const char *path, int argc, char **argv, cx_host_done done,
                       void *user) {
  int rc = loaded(host, luaL_loadfile(host->env.L, path));
  return rc ? rc : start(host, path ? path : "-", argc, argv, done, user);
}

int cx_host_start_string(cx_host *host, const char *code, const char *name, int argc, char **argv,
                         cx_host_done done, void *user) {
  int rc = loaded(host, luaL_loadbuffer(host->env.L, code, strlen(code), name));
  return rc ? rc : start(host, name, argc, argv, done, user);
}

/* ---- What a script leaves -------------------------------------------------------------------- */

/* Has the peers that nobody hears of keep the loop alive, or not; whether there are any. */
static bool hold_unheard(cx_host *host, bool hold) {
  bool any = false;
  for (cx_live *live = host->env.live.next; live != &host->env.live; live = live->next) {
    if (!live->hold || live->is_heard(live->object)) continue;
    live->hold(live->object, hold);
    any = true;
  }
  return any;
}

static void end_unheard(cx_host *host) {
  for (cx_live *live = host->env.live.next; live != &host->env.live; live = live->next) {
    if (!live->hold || live->is_heard(live->object)) continue;
    cx_log_write(&host->log, CX_LOG_WARN,
                 "the script has ended and left %s open, which is ended now; "
                 "`:close()` ends it in the script, or `local name <close>`",
                 live->name);
    live->hold = NULL; /* it is said once */
    live->stop(live->object);
  }
}

/* Peers end with the script when nothing else in the loop goes on that could ever use them. */
static void end_forgotten(cx_host *host) {
  if (tasks_left(host) || !hold_unheard(host, false)) return;
  bool is_alone = !uv_loop_alive(&host->loop);
  hold_unheard(host, true);
  if (is_alone) end_unheard(host);
}

/* Runs what the script left: tasks, timers, children, peers that it still hears of. */
static void run_left(cx_host *host) {
  do end_forgotten(host);
  while (!is_over(host) && uv_run(&host->loop, UV_RUN_ONCE) != 0);
}

/* Runs the loop until the main task has ended and nothing that it left keeps the loop alive. */
static int run(cx_host *host, int started) {
  if (started != 0) return started;
  while (host->running && !host->exiting && uv_run(&host->loop, UV_RUN_DEFAULT) != 0) continue;
  if (host->running && !host->exiting) {
    set_error(host, CX_ESCRIPT, "the script waits for something that can never happen");
    cx_log_write(&host->log, CX_LOG_ERROR, "%s", cx_host_error(host));
    finish(host, 1);
  }
  if (!is_over(host)) run_left(host);
  tell_scheduler(host, "report");
  if (host->interrupts > 0 && !host->exiting) return 130;
  return host->code == 0 && host->failed ? 1 : host->code;
}

int cx_host_run_file(cx_host *host, const char *path, int argc, char **argv) {
  return run(host, cx_host_start_file(host, path, argc, argv, NULL, NULL));
}

int cx_host_run_string(cx_host *host, const char *code, const char *name, int argc, char **argv) {
  return run(host, cx_host_start_string(host, code, name, argc, argv, NULL, NULL));
}

typedef struct {
  const char *event, *payload;
  size_t n;
} news;

static int post(lua_State *L) {
  const news *what = lua_touserdata(L, 1);
  push_scheduler(L, "post");
  lua_pushstring(L, what->event);
  lua_pushlstring(L, what->payload, what->n);
  lua_call(L, 2, 1);
  return 1;
}

int cx_host_post(cx_host *host, const char *event, const char *payload, size_t n) {
  news what = {event, payload, n};
  int rc = protect(host, post, &what, 0, 1);
  if (rc != 0) return rc;
  int heard = (int)lua_tointeger(host->env.L, -1);
  lua_pop(host->env.L, 1);
  return heard;
}

/* ---- Closing --------------------------------------------------------------------------------- */

static void close_handle(uv_handle_t *handle, void *host) {
  (void)host;
  if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

static void close_others(uv_handle_t *handle, void *host) {
  if (handle != (uv_handle_t *)&((cx_host *)host)->deadline) close_handle(handle, host);
}

/* Closes all that is in the loop but the deadline. A stop may be pending from before: then the loop
 * returns at once, and is turned again. False where something does not end: a request in the thread
 * pool may take for ever. */
static bool close_handles(cx_host *host) {
  uv_walk(&host->loop, close_others, host);
  begin_deadline(host);
  uv_unref((uv_handle_t *)&host->deadline);
  while (!host->is_late && uv_run(&host->loop, UV_RUN_ONCE) != 0) continue;
  return !host->is_late;
}

static int close_loop(cx_host *host) {
  if (!close_handles(host)) return CX_ELEAK;
  uv_close((uv_handle_t *)&host->deadline, NULL);
  while (uv_run(&host->loop, UV_RUN_DEFAULT) != 0) continue;
  return uv_loop_close(&host->loop) == 0 ? 0 : CX_ELEAK;
}

/* What does not end uses the memory of the rest, which is then left as it is. */
static int free_host(cx_host *host) {
  if (host->env.L) {
    host->env.is_over = true;
    if (has_live(host) || !close_handles(host)) return CX_ELEAK;
    lua_close(host->env.L);
  }
  if (host->env.loop && close_loop(host) != 0) return CX_ELEAK;
  cx_pool_free(&host->pool);
  cx_buf_free(&host->warning);
  cx_log_free(&host->log);
  free(host->error);
  host->error = NULL;
  if (!host->ends_process) free(host); /* or a signal may still come, and finds it closed */
  return 0;
}

int cx_host_close(cx_host *host) {
  if (!host || host->closing) return 0;
  host->closing = true;
  if (host->attach) cx_attach_close(host->attach);
  if (host->env.L) end_script(host);
  host->closed = true;
  finish(host, host->code);
  tell_done(host);
  return host->leaves ? 0 : free_host(host);
}
