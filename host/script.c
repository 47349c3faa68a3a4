/* The life of a script on a host; see script.h. */
#include "script.h"

#include <lauxlib.h>
#include <luv/lhandle.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"

/* ---- Calling Lua ----------------------------------------------------------------------------- */

int cx__set_error(cx_host *host, int code, const char *text) {
  char *copy = strdup(text);
  free(host->error);
  host->error = copy;
  host->error_is_lost = !copy;
  return code;
}

/* Calls the function below n arguments. */
static int call(cx_host *host, int n, int results) {
  lua_State *L = host->env.L;
  int base = lua_gettop(L) - n;
  lua_pushcfunction(L, cx__state_traceback);
  lua_insert(L, base);
  int status = lua_pcall(L, n, results, base);
  lua_remove(L, base);
  if (status == LUA_OK) return 0;
  int code = status == LUA_ERRMEM ? CX_EMEMORY : CX_ESCRIPT;
  bool has_text = lua_type(L, -1) == LUA_TSTRING;
  cx__set_error(host, code, has_text ? lua_tostring(L, -1) : "the script exited");
  lua_pop(L, 1);
  return code;
}

int cx__protect(cx_host *host, lua_CFunction fn, void *arg, int n, int results) {
  lua_State *L = host->env.L;
  lua_pushcfunction(L, fn);
  lua_insert(L, -n - 1);
  lua_pushlightuserdata(L, arg);
  return call(host, n + 1, results);
}

void cx__push_scheduler(lua_State *L, const char *name) {
  lua_getglobal(L, "require");
  lua_pushliteral(L, "codex.async");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, name);
  lua_remove(L, -2);
}

static int call_scheduler(lua_State *L) {
  cx__push_scheduler(L, lua_touserdata(L, 1));
  lua_call(L, 0, 1);
  return 1;
}

/* Calls a function of codex.async: its result as a number, or 0. */
static int ask_scheduler(cx_host *host, const char *name) {
  if (cx__protect(host, call_scheduler, (char *)(uintptr_t)name, 0, 1) != 0) return 0;
  int answer = (int)lua_tointeger(host->env.L, -1);
  lua_pop(host->env.L, 1);
  return answer;
}

static void tell_scheduler(cx_host *host, const char *name) { ask_scheduler(host, name); }

static bool tasks_left(cx_host *host) { return ask_scheduler(host, "count") > 0; }

/* Whether there is a scheduler, which an open that failed may not have come to. */
static int is_scheduled(lua_State *L) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushinteger(L, lua_getfield(L, -1, "codex.async") == LUA_TTABLE);
  return 1;
}

static bool has_scheduler(cx_host *host) {
  if (cx__protect(host, is_scheduled, NULL, 0, 1) != 0) return false;
  bool is_there = lua_tointeger(host->env.L, -1) != 0;
  lua_pop(host->env.L, 1);
  return is_there;
}

/* ---- Starting -------------------------------------------------------------------------------- */

/* done(ok, message): the scheduler says that the main task has ended. In the later phases that is
 * only one of the tasks. */
static int on_main_done(lua_State *L) {
  cx_host *host = (cx_host *)cx_bind_env(L);
  uv_stop(&host->loop);
  if (host->phase != CX_MAIN) return 0;
  host->phase = CX_LEFT;
  if (lua_toboolean(L, 1) || host->exiting) return 0;
  const char *message = luaL_tolstring(L, 2, NULL);
  cx__set_error(host, CX_ESCRIPT, message);
  host->code = 1;
  if (host->interrupts == 0) cx_log_write(&host->log, CX_LOG_ERROR, "%s", message);
  return 0;
}

/* load(chunk) -> function | nil, message */
static int load_chunk(lua_State *L) {
  const cx__chunk *c = lua_touserdata(L, 1);
  int status =
      c->code ? luaL_loadbuffer(L, c->code, strlen(c->code), c->name) : luaL_loadfile(L, c->path);
  if (status == LUA_OK) return 1;
  lua_pushnil(L);
  lua_insert(L, -2);
  return 2;
}

static void push_arguments(lua_State *L, const cx__chunk *c) {
  lua_createtable(L, c->argc, 1);
  lua_pushstring(L, c->name);
  lua_rawseti(L, -2, 0);
  for (int i = 0; i < c->argc; i++) {
    lua_pushstring(L, c->argv[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setglobal(L, "arg");
  luaL_checkstack(L, c->argc, "too many arguments");
  for (int i = 0; i < c->argc; i++) lua_pushstring(L, c->argv[i]);
}

/* Stack: function, chunk. */
static int start_main(lua_State *L) {
  const cx__chunk *c = lua_touserdata(L, 2);
  cx__state_begin(L);
  cx__push_scheduler(L, "main");
  lua_pushvalue(L, 1);
  lua_pushcfunction(L, on_main_done);
  push_arguments(L, c);
  ((cx_host *)cx_bind_env(L))->phase = CX_MAIN;
  lua_call(L, c->argc + 2, 0);
  return 0;
}

/* The function is on the stack, if it could be loaded. */
static int loaded(cx_host *host, cx__chunk *chunk) {
  lua_State *L = host->env.L;
  int rc = cx__protect(host, load_chunk, chunk, 0, 2);
  if (rc != 0) return rc;
  bool ok = lua_isfunction(L, -2);
  const char *why = lua_tostring(L, -1);
  if (!ok) cx__set_error(host, CX_ESCRIPT, why ? why : "it cannot be loaded");
  lua_pop(L, ok ? 1 : 2);
  return ok ? 0 : CX_ESCRIPT;
}

int cx__script_start(cx_host *host, cx__chunk *chunk) {
  int rc = loaded(host, chunk);
  if (rc != 0) return rc;
  host->interrupts = host->handled = host->code = 0;
  host->exiting = host->failed = host->leaves = false;
  rc = cx__protect(host, start_main, chunk, 1, 0);
  if (rc != 0 && host->phase != CX_NONE) cx__script_end(host); /* it came half of the way */
  return rc;
}

/* ---- Interrupts and news --------------------------------------------------------------------- */

static void close_all_live(cx_env *env) {
  for (cx_live *live = env->live.next, *next; live != &env->live; live = next) {
    next = live->next;
    live->close(live->object);
  }
}

void cx__script_on_wakeup(uv_async_t *wakeup) {
  cx_host *host = wakeup->data;
  if (host->interrupts == 0) return;
  host->handled = host->interrupts;
  if (host->interrupts > 1) close_all_live(&host->env);
  if (host->phase == CX_MAIN || host->phase == CX_LEFT) tell_scheduler(host, "interrupt");
  if (host->phase != CX_MAIN) uv_stop(wakeup->loop); /* only what is left keeps the loop alive */
}

void cx__script_on_news(uv_idle_t *news) {
  cx_host *host = news->data;
  uv_idle_stop(news);
  tell_scheduler(host, "deliver");
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
  if (!hold_unheard(host, false)) return;
  bool is_alone = !uv_loop_alive(&host->loop);
  hold_unheard(host, true);
  if (is_alone) end_unheard(host);
}

/* ---- The end --------------------------------------------------------------------------------- */

static bool has_live(const cx_host *host) { return host->env.live.next != &host->env.live; }

static void on_script_deadline(uv_timer_t *timer) {
  cx_host *host = timer->data;
  host->is_late = true;
  uv_stop(timer->loop);
}

/* From now on Lua runs, and the loop is turned, for so long at most, whatever is in it. */
static void begin_deadline(cx_host *host, uint64_t ms) {
  host->is_late = false;
  uv_update_time(&host->loop);
  uv_timer_start(&host->deadline, on_script_deadline, ms, 0);
  uv_unref((uv_handle_t *)&host->deadline); /* nobody waits for what nothing can wake */
  cx__state_limit(host);
}

static void end_deadline(cx_host *host) {
  uv_timer_stop(&host->deadline);
  host->env.end_by = 0;
  lua_sethook(host->env.L, NULL, 0, 0);
}

static int final_code(const cx_host *host) {
  if (host->exiting) return host->code;
  if (host->interrupts > 0) return 130;
  return host->code || host->failed || host->closing;
}

/* Cancels every task; they get time to end what they hold. */
static void begin_tasks(cx_host *host) {
  host->phase = CX_TASKS;
  begin_deadline(host, host->patience_ms);
  if (!has_scheduler(host)) return;
  tell_scheduler(host, "report");
  host->code = final_code(host);
  tell_scheduler(host, "shutdown");
}

/* The value that luv has for a handle, by which Lua closes it; nothing where it is somebody else's:
 * a core object's, or one of a module that the program has registered. */
static bool push_luvs(lua_State *L, const uv_handle_t *handle) {
  const luv_handle_t *data = handle->data;
  if (!data) return false;
  lua_rawgeti(L, LUA_REGISTRYINDEX, data->ref);
  const uv_handle_t *const *box = lua_touserdata(L, -1);
  if (lua_type(L, -1) == LUA_TUSERDATA && lua_rawlen(L, -1) >= sizeof(void *) && *box == handle)
    return true;
  lua_pop(L, 1);
  return false;
}

static int close_luvs(lua_State *L) {
  if (!push_luvs(L, lua_touserdata(L, 1))) return 0;
  lua_getfield(L, -1, "close");
  lua_insert(L, -2);
  lua_call(L, 1, 0);
  return 0;
}

static bool is_own(const cx_host *host, const uv_handle_t *handle) {
  return handle == (const uv_handle_t *)&host->deadline ||
         handle == (const uv_handle_t *)&host->wakeup || handle == (const uv_handle_t *)&host->news;
}

static void close_script_handle(uv_handle_t *handle, void *user) {
  cx_host *host = user;
  if (is_own(host, handle) || uv_is_closing(handle)) return;
  cx__protect(host, close_luvs, handle, 0, 0);
}

/* What tasks have not closed by themselves is closed under them. */
static void begin_rest(cx_host *host, cx_phase phase) {
  host->phase = phase;
  begin_deadline(host, host->patience_ms / 2);
  uv_ref((uv_handle_t *)&host->deadline);
  uv_idle_stop(&host->news);
  close_all_live(&host->env);
  uv_walk(&host->loop, close_script_handle, host);
}

static void forget_tasks(cx_host *host) {
  if (has_scheduler(host)) tell_scheduler(host, "forget");
}

/* Tasks that open something new each time are not asked any more. */
static void begin_last(cx_host *host) {
  forget_tasks(host);
  begin_rest(host, CX_LAST);
}

static void begin_none(cx_host *host) {
  forget_tasks(host);
  end_deadline(host);
  host->phase = CX_NONE;
}

/* ---- From phase to phase --------------------------------------------------------------------- */

static void starve(cx_host *host) {
  host->code = 1;
  if (host->interrupts > 0) return;
  cx__set_error(host, CX_ESCRIPT, "the script waits for something that can never happen");
  cx_log_write(&host->log, CX_LOG_ERROR, "%s", host->error ? host->error : "");
}

/* On the caller's loop a task may wait for an event that the program has yet to post. */
static bool is_left_over(cx_host *host) {
  if (host->exiting || host->interrupts > 0 || host->code != 0) return true;
  bool has_tasks = tasks_left(host);
  if (!has_tasks) end_forgotten(host);
  return !uv_loop_alive(&host->loop) && !(host->attach && has_tasks);
}

static bool is_rest_over(cx_host *host) {
  close_all_live(&host->env); /* what was opened meanwhile */
  if (has_live(host)) return false;
  uv_unref((uv_handle_t *)&host->deadline);
  return !uv_loop_alive(&host->loop);
}

static bool is_main_over(cx_host *host) {
  if (host->exiting) return true;
  if (host->attach || uv_loop_alive(&host->loop)) return false;
  starve(host);
  return true;
}

static bool is_over(cx_host *host) {
  switch (host->phase) {
  case CX_MAIN:
    return host->closing || is_main_over(host);
  case CX_LEFT:
    return host->closing || is_left_over(host);
  case CX_TASKS:
    return host->is_late || !uv_loop_alive(&host->loop) || !tasks_left(host);
  case CX_REST:
  case CX_LAST:
    return host->is_late || is_rest_over(host);
  default:
    return false;
  }
}

static void go_on(cx_host *host) {
  switch (host->phase) {
  case CX_MAIN:
  case CX_LEFT:
    begin_tasks(host);
    return;
  case CX_TASKS:
    begin_rest(host, CX_REST);
    return;
  default:
    if (host->phase == CX_REST && host->is_late)
      begin_last(host);
    else
      begin_none(host);
  }
}

bool cx__script_advance(cx_host *host) {
  while (is_over(host)) go_on(host);
  return host->phase == CX_NONE;
}

int cx__script_run(cx_host *host) {
  while (!cx__script_advance(host))
    uv_run(&host->loop, host->phase == CX_MAIN ? UV_RUN_DEFAULT : UV_RUN_ONCE);
  return host->code;
}

void cx__script_end(cx_host *host) {
  if (host->phase == CX_NONE || host->phase == CX_MAIN || host->phase == CX_LEFT) begin_tasks(host);
  cx__script_run(host);
}
