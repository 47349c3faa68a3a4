/* A Lua state on a loop: opened, run, closed in the one order that works; see codex_lua.h. */
#include "codex_lua.h"

#include <lauxlib.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "err.h"
#include "script.h"
#include "visit.h"

/* A task that reaches a wait within this time is cancelled there; one that does not is stopped. */
enum { PATIENCE_MS = 100, CLOSE_MS = 10000 };

/* ---- Visits ---------------------------------------------------------------------------------- */

/* Between the two our code runs, and whatever that calls is inside of us. */
static void enter(cx_host *host, cx_visit *visit) {
  cx_visit_begin(visit);
  host->depth++;
}

static void leave(cx_host *host, const cx_visit *visit) {
  host->depth--;
  cx_visit_end(visit);
}

/* ---- Errors and log ------------------------------------------------------------------------- */

const char *cx_host_error(const cx_host *host) {
  if (host->error_is_lost) return cx_err_text(CX_EMEMORY);
  return host->error ? host->error : "";
}

static void to_embedder(void *user, cx_log_level level, const char *line) {
  cx_host *host = user;
  host->on_log(host->log_user, cx_log_level_name(level), line);
}

void cx__host_fail(cx_env *env, const char *message) {
  cx_host *host = (cx_host *)env;
  if (host->exiting) return; /* os.exit unwinds as an error */
  host->failed = true;
  cx__set_error(host, CX_ESCRIPT, message);
  cx_log_write(&host->log, CX_LOG_ERROR, "%s", message);
}

/* A callback that no task stands behind raised an error. */
static void on_failure(cx_env *env, const char *message) {
  ((cx_host *)env)->failures++;
  cx__host_fail(env, message);
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
  if (host->env.end_by) cx_limit_hook(L, false);
  if (seen) return;
  host->handled = host->interrupts;
  luaL_error(L, "interrupted");
}

/* Without a task it is a callback of luv that runs, on the main state, if anything. What another
 * thread sees of that may be gone. */
void cx_host_interrupt(cx_host *host) {
  if (host->closed) return;
  if (host->handled >= host->interrupts) host->interrupted_at = now_ms(); /* or one waits already */
  host->interrupts++;
  if (pthread_equal(pthread_self(), host->thread)) {
    lua_State *running = host->env.running;
    lua_sethook(running ? running : host->env.L, on_hook, LUA_MASKCOUNT, 1000);
  }
  uv_async_send(&host->wakeup);
}

/* ---- Opening --------------------------------------------------------------------------------- */

static void turn(void *user);

static int open_loop(cx_host *host, uv_loop_t *outer) {
  int rc = uv_loop_init(&host->loop);
  if (rc != 0) return rc;
  host->env.loop = &host->loop;
  uv_timer_init(&host->loop, &host->deadline);
  uv_idle_init(&host->loop, &host->news);
  rc = uv_async_init(&host->loop, &host->wakeup, cx__script_on_wakeup);
  if (rc != 0) return rc;
  uv_unref((uv_handle_t *)&host->wakeup);
  host->wakeup.data = host->deadline.data = host->news.data = host;
  return outer ? cx_attach_open(&host->attach, outer, &host->loop, turn, host) : 0;
}

static void *allocate(void *user, void *block, size_t old, size_t size) {
  if (size >= CX_ALLOC_LIMIT) return NULL;
  return cx_pool_resize(user, block, block ? old : 0, size);
}

/* warn() of Lua, which is silent until it is told "@on". A message may come in pieces. */
static void on_host_warning(void *user, const char *text, int more) {
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
  lua_setwarnf(L, on_host_warning, host);
  host->env.log = &host->log;
  host->env.on_failure = on_failure;
  cx_bind_open(L, &host->env);
  return cx__protect(host, cx__state_fill, host, 0, 0);
}

const char *cx_version(void) { return CX_VERSION; }

/* The caller may know fewer members than we do, or more. */
static cx_host_options known_options(const cx_host_options *given) {
  cx_host_options known = {0};
  size_t size = given ? given->size : 0;
  if (given && size == 0) size = offsetof(cx_host_options, close_ms);
  if (given) memcpy(&known, given, size < sizeof known ? size : sizeof known);
  return known;
}

static cx_host *new_host(const cx_host_options *options) {
  cx_host *host = calloc(1, sizeof *host);
  if (!host) return NULL;
  cx_log_init(&host->log);
  host->thread = pthread_self();
  host->patience_ms = options->close_ms ? options->close_ms : CLOSE_MS;
  host->on_log = options->on_log;
  host->log_user = options->user;
  host->ends_process = options->ends_process != 0;
  if (options->on_log) {
    host->log.sink = to_embedder;
    host->log.user = host;
  }
  return host;
}

int cx_host_open(cx_host **out, const cx_host_options *given) {
  const cx_host_options options = known_options(given);
  cx_host *host = new_host(&options);
  cx_visit visit;
  *out = NULL;
  if (!host) return CX_EMEMORY;
  enter(host, &visit);
  int rc = cx_paths_find(&host->paths, options.data_dir, options.module_dir);
  if (rc == 0) rc = open_loop(host, options.loop);
  if (rc == 0) rc = open_state(host);
  leave(host, &visit);
  if (rc == 0)
    *out = host;
  else
    cx_host_close(host);
  return rc;
}

typedef struct {
  const char *name;
  lua_CFunction open;
} module;

static int preload(lua_State *L) {
  const module *m = lua_touserdata(L, 1);
  cx__state_preload(L, m->name, m->open);
  return 0;
}

int cx_host_register(cx_host *host, const char *name, int (*open)(struct lua_State *)) {
  module m = {name, open};
  return cx__protect(host, preload, &m, 0, 0);
}

int cx_host_leaves(const cx_host *host) { return host->leaves; }

struct lua_State *cx_host_lua(cx_host *host) {
  return host->env.L;
}

/* ---- Running --------------------------------------------------------------------------------- */

/* `done` is told when nothing of ours is being called: it may close the host, or start the next
 * script. */
static void tell_done(cx_host *host) {
  cx_host_done done = host->done;
  if (host->phase != CX_NONE || !done) return;
  host->done = NULL;
  done(host->done_user, host->code);
}

/* An interrupt is seen where nothing else is in the loop, too. */
static void turn(void *user) {
  cx_host *host = user;
  cx_visit visit;
  enter(host, &visit);
  if (host->interrupts > host->handled) uv_ref((uv_handle_t *)&host->wakeup);
  uv_run(&host->loop, UV_RUN_NOWAIT);
  uv_unref((uv_handle_t *)&host->wakeup);
  cx__script_advance(host);
  leave(host, &visit);
  tell_done(host);
}

/* Why no script can be started now, or NULL. */
static const char *refusal(const cx_host *host, bool on_callers_loop) {
  if (host->closing) return "the host is being closed";
  if (host->depth > 0) return "a function that the host has called cannot start a script";
  if (host->phase != CX_NONE) return "a script is already running";
  if (on_callers_loop && !host->attach) return "the host has a loop of its own: it runs scripts";
  if (!on_callers_loop && host->attach)
    return "the host is on the caller's loop: it starts scripts";
  return NULL;
}

static int start(cx_host *host, cx__chunk *chunk, cx_host_done done, void *user) {
  cx_visit visit;
  const char *why = refusal(host, true);
  if (why) return cx__set_error(host, CX_EUSAGE, why);
  enter(host, &visit);
  int rc = cx__script_start(host, chunk);
  leave(host, &visit);
  if (rc != 0) return rc;
  host->done = done;
  host->done_user = user;
  cx_attach_wake(host->attach);
  return 0;
}

static int run(cx_host *host, cx__chunk *chunk) {
  cx_visit visit;
  const char *why = refusal(host, false);
  if (why) return cx__set_error(host, CX_EUSAGE, why);
  enter(host, &visit);
  int rc = cx__script_start(host, chunk);
  if (rc == 0) rc = cx__script_run(host);
  leave(host, &visit);
  return rc;
}

static cx__chunk chunk_of(const char *name, int argc, char **argv) {
  return (cx__chunk){.name = name ? name : "-", .argc = argv && argc > 0 ? argc : 0, .argv = argv};
}

int cx_host_start_file(cx_host *host, const char *path, int argc, char **argv, cx_host_done done,
                       void *user) {
  cx__chunk chunk = chunk_of(path, argc, argv);
  chunk.path = path;
  return start(host, &chunk, done, user);
}

int cx_host_start_string(cx_host *host, const char *code, const char *name, int argc, char **argv,
                         cx_host_done done, void *user) {
  cx__chunk chunk = chunk_of(name, argc, argv);
  chunk.code = code;
  return start(host, &chunk, done, user);
}

int cx_host_run_file(cx_host *host, const char *path, int argc, char **argv) {
  cx__chunk chunk = chunk_of(path, argc, argv);
  chunk.path = path;
  return run(host, &chunk);
}

int cx_host_run_string(cx_host *host, const char *code, const char *name, int argc, char **argv) {
  cx__chunk chunk = chunk_of(name, argc, argv);
  chunk.code = code;
  return run(host, &chunk);
}

/* ---- Events ---------------------------------------------------------------------------------- */

typedef struct {
  const char *event, *payload;
  size_t n;
} news;

static int post(lua_State *L) {
  const news *what = lua_touserdata(L, 1);
  cx__push_scheduler(L, "post");
  lua_pushstring(L, what->event);
  lua_pushlstring(L, what->payload ? what->payload : "", what->payload ? what->n : 0);
  lua_call(L, 2, 1);
  return 1;
}

/* The functions are called in a turn of the loop, which is woken for that. */
int cx_host_post(cx_host *host, const char *event, const char *payload, size_t n) {
  news what = {event, payload, n};
  cx_visit visit;
  enter(host, &visit);
  int heard = cx__protect(host, post, &what, 0, 1);
  if (heard == 0) {
    heard = (int)lua_tointeger(host->env.L, -1);
    lua_pop(host->env.L, 1);
  }
  leave(host, &visit);
  if (heard <= 0) return heard;
  uv_idle_start(&host->news, cx__script_on_news);
  if (host->attach) cx_attach_wake(host->attach);
  return heard;
}

/* ---- Closing --------------------------------------------------------------------------------- */

static void close_handle(uv_handle_t *handle, void *host) {
  if (handle != (uv_handle_t *)&((cx_host *)host)->deadline && !uv_is_closing(handle))
    uv_close(handle, NULL);
}

static void on_host_deadline(uv_timer_t *timer) {
  cx_host *host = timer->data;
  host->is_late = true;
  uv_stop(timer->loop);
}

/* Closes all that is in the loop but the deadline. A stop may be pending from before: then the loop
 * returns at once, and is turned again. False where something does not end. */
static bool close_handles(cx_host *host) {
  uv_walk(&host->loop, close_handle, host);
  uv_update_time(&host->loop);
  uv_timer_start(&host->deadline, on_host_deadline, host->patience_ms, 0);
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

/* What does not end (a request in the thread pool may take for ever) uses the memory of the rest,
 * which is then left as it is. */
static int free_parts(cx_host *host) {
  if (host->env.L) {
    host->env.is_over = true;
    if (host->is_late || !close_handles(host)) return CX_ELEAK;
    lua_close(host->env.L);
  }
  if (host->env.loop && close_loop(host) != 0) return CX_ELEAK;
  cx_pool_free(&host->pool);
  cx_buf_free(&host->warning);
  cx_log_free(&host->log);
  free(host->error);
  host->error = NULL;
  return 0;
}

static int free_host(cx_host *host) {
  cx_visit visit;
  enter(host, &visit);
  int rc = free_parts(host);
  leave(host, &visit);
  if (rc == 0 && !host->ends_process)
    free(host); /* or a signal may still come, and finds it closed */
  return rc;
}

int cx_host_close(cx_host *host) {
  cx_visit visit;
  if (!host) return 0;
  if (host->depth > 0)
    return cx__set_error(host, CX_EUSAGE, "a function that the host has called cannot close it");
  if (host->closing) return 0;
  host->closing = true;
  if (host->attach) cx_attach_close(host->attach);
  enter(host, &visit);
  if (host->env.L) cx__script_end(host);
  leave(host, &visit);
  host->closed = true;
  tell_done(host);
  return host->leaves ? 0 : free_host(host);
}
