/* Child processes for Lua: lines out, bytes in, one wake function.
 *
 * The userdata holds the core object until that says it has closed, and is pinned in the registry
 * as long: collecting it can never end a running child. Lines, status and the tail of standard
 * error outlive the child. Waiting is not done here: `wake` is called when something has changed,
 * and codex.proc looks what. */
#include "proc.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "argv.h"
#include "bind.h"
#include "err.h"
#include "lines.h"
#include "modules.h"

static const char type[] = "codex.proc";
enum { HIGH_WATER = 1 << 20, LINE_LIMIT = 64 << 20 };

typedef struct {
  cx_proc *proc; /* NULL before it opens and after it has closed */
  cx_env *env;
  cx_live live;
  cx_lines lines;
  cx_proc_status status; /* as it was at the end */
  cx_buf tail;           /* likewise */
  size_t tail_lost;
  size_t high_water; /* bytes held beyond which reading pauses */
  int self_ref, wake_ref;
  bool wanted;   /* a reader found nothing and waits */
  bool discard;  /* nobody will read: output is thrown away */
  char name[64]; /* of the program, for people */
} child;

/* ---- Events from the core ------------------------------------------------------------------ */

static void wake(child *c) { cx_bind_call(c->env, c->wake_ref, NULL, NULL); }

static void on_output(void *user, const char *data, size_t n) {
  child *c = user;
  if (c->discard) return;
  /* Without memory a piece would be missing unnoticed: better to end the child. */
  if (cx_lines_feed(&c->lines, data, n) != 0) cx_proc_stop(c->proc, CX_EMEMORY);
  bool wanted = c->wanted;
  c->wanted = false; /* said anew by a reader who wants more; one who gave up must not count */
  if (wanted) wake(c);
  if (c->proc && !c->wanted && cx_lines_held(&c->lines) > c->high_water)
    cx_proc_pause(c->proc, true);
}

static void proc_on_change(void *user) {
  child *c = user;
  if (cx_proc_get_status(c->proc)->output_ended) cx_lines_end(&c->lines);
  wake(c);
}

static void proc_on_closed(void *user) {
  child *c = user;
  const cx_tail *tail = cx_proc_get_stderr(c->proc);
  c->status = *cx_proc_get_status(c->proc);
  c->tail_lost = tail->lost;
  cx_buf_add(&c->tail, cx_buf_bytes(&tail->buf), tail->buf.len);
  cx_lines_end(&c->lines);
  c->proc = NULL;
  cx_live_remove(&c->live);
  wake(c);
  cx_bind_unpin(c->env, &c->wake_ref);
  cx_bind_unpin(c->env, &c->self_ref);
}

static void close_live(void *object) {
  child *c = object;
  if (c->proc) cx_proc_close(c->proc);
}

/* Whether somebody may still read: a child that waits for its reader goes on only then. */
static bool is_heard(const void *object) {
  const child *c = object;
  return c->discard || cx_lines_held(&c->lines) <= c->high_water;
}

static void hold_live(void *object, bool hold) {
  child *c = object;
  if (c->proc) cx_proc_hold(c->proc, hold);
}

static void throw_away(child *c) {
  c->discard = true;
  if (c->proc) cx_proc_pause(c->proc, false);
}

static void stop_live(void *object) {
  child *c = object;
  throw_away(c);
  if (c->proc) cx_proc_stop(c->proc, CX_ECLOSED);
}

/* ---- Functions ------------------------------------------------------------------------------ */

static child *self(lua_State *L) { return luaL_checkudata(L, 1, type); }

static const cx_proc_status *status_of(const child *c) {
  return c->proc ? cx_proc_get_status(c->proc) : &c->status;
}

/* spawn(argv, options, wake) -> proc | nil, name, text */
static int proc_spawn(lua_State *L) {
  cx_proc_options options;
  luaL_checktype(L, 3, LUA_TFUNCTION);
  cx_argv_read(L, 1, 2, &options);
  child *c = cx_bind_new(L, type, sizeof *c);
  c->env = cx_bind_env(L);
  c->self_ref = c->wake_ref = LUA_NOREF;
  c->high_water = cx_opt_size(L, 2, "high_water", HIGH_WATER);
  cx_lines_init(&c->lines, cx_opt_size(L, 2, "line_limit", LINE_LIMIT));
  c->wake_ref = cx_bind_pin(L, 3);
  c->self_ref = cx_bind_pin(L, -1);
  static const cx_proc_events events = {on_output, proc_on_change, proc_on_closed};
  int rc = cx_proc_open(&c->proc, c->env->loop, &options, &events, c);
  if (rc != 0) {
    cx_bind_unpin(c->env, &c->wake_ref);
    cx_bind_unpin(c->env, &c->self_ref);
    return cx_bind_fail(L, rc);
  }
  snprintf(c->name, sizeof c->name, "%s", options.argv[0]);
  c->live = (cx_live){.type = type,
                      .close = close_live,
                      .object = c,
                      .is_heard = is_heard,
                      .hold = hold_live,
                      .stop = stop_live,
                      .name = c->name};
  cx_live_add(c->env, &c->live);
  return 1;
}

/* Nothing to give: says whether there will be (nothing) or the output is over (nil, "EOF"). */
static int nothing(lua_State *L, child *c) {
  if (!c->proc || status_of(c)->output_ended) {
    lua_pushnil(L);
    lua_pushliteral(L, "EOF");
    return 2;
  }
  c->wanted = true;
  cx_proc_pause(c->proc, false);
  return 0;
}

/* line() -> the next line; nothing where there is none yet; nil, "EOF" at the end; nil, name, text
 */
static int proc_line(lua_State *L) {
  const char *line;
  size_t n;
  child *c = self(L);
  int rc = cx_lines_next(&c->lines, &line, &n);
  if (rc == 0) return nothing(L, c);
  c->wanted = false;
  if (rc < 0) return cx_bind_fail(L, rc);
  lua_pushlstring(L, line, n);
  return 1;
}

/* read() -> whatever has come; otherwise as line() */
static int proc_read(lua_State *L) {
  const char *data;
  child *c = self(L);
  size_t n = cx_lines_take(&c->lines, &data);
  if (n == 0) return nothing(L, c);
  c->wanted = false;
  lua_pushlstring(L, data, n);
  cx_lines_taken(&c->lines, n);
  return 1;
}

/* write(bytes) -> true | nil, name, text */
static int proc_write(lua_State *L) {
  size_t n;
  child *c = self(L);
  const char *data = luaL_checklstring(L, 2, &n);
  int rc = c->proc ? cx_proc_write(c->proc, data, n) : CX_ECLOSED;
  if (rc != 0) return cx_bind_fail(L, rc);
  lua_pushboolean(L, 1);
  return 1;
}

static int proc_close_stdin(lua_State *L) {
  child *c = self(L);
  if (c->proc) cx_proc_write_end(c->proc);
  return 0;
}

/* stop(): ends the child politely, then by force */
static int proc_stop(lua_State *L) {
  child *c = self(L);
  if (c->proc) cx_proc_stop(c->proc, CX_ECANCELLED);
  return 0;
}

/* kill(signal number) -> true | nil, name, text */
static int proc_kill(lua_State *L) {
  child *c = self(L);
  lua_Integer number = luaL_checkinteger(L, 2);
  luaL_argcheck(L, number >= 0 && number < NSIG, 2, "not a signal");
  int rc = c->proc ? cx_proc_kill(c->proc, (int)number) : CX_ECLOSED;
  if (rc != 0) return cx_bind_fail(L, rc);
  lua_pushboolean(L, 1);
  return 1;
}

/* discard(): from now on output is thrown away unread */
static int proc_discard(lua_State *L) {
  throw_away(self(L));
  return 0;
}

static int proc_close(lua_State *L) {
  close_live(self(L));
  return 0;
}

static int proc_gc(lua_State *L) {
  child *c = self(L);
  cx_lines_free(&c->lines);
  cx_buf_free(&c->tail);
  return 0;
}

/* status() -> pid, exited, code, signal, reason, output_ended, closed, unwritten, ... */
static int proc_status(lua_State *L) {
  const child *c = self(L);
  const cx_proc_status *s = status_of(c);
  lua_createtable(L, 0, 12);
  cx_argv_push_status(L, s);
  lua_pushinteger(L, (lua_Integer)s->unwritten);
  lua_setfield(L, -2, "unwritten");
  lua_pushboolean(L, s->output_ended);
  lua_setfield(L, -2, "output_ended");
  lua_pushboolean(L, !c->proc);
  lua_setfield(L, -2, "closed");
  if (s->write_error) {
    lua_pushstring(L, cx_err_name(s->write_error));
    lua_setfield(L, -2, "write_error");
  }
  return 1;
}

/* stderr() -> the tail of standard error, and how many bytes before it were forgotten */
static int proc_stderr(lua_State *L) {
  const child *c = self(L);
  const cx_tail *tail = c->proc ? cx_proc_get_stderr(c->proc) : NULL;
  const cx_buf *buf = tail ? &tail->buf : &c->tail;
  lua_pushlstring(L, cx_buf_bytes(buf), buf->len);
  lua_pushinteger(L, (lua_Integer)(tail ? tail->lost : c->tail_lost));
  return 2;
}

/* held() -> bytes of output that wait to be read */
static int proc_held(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)cx_lines_held(&self(L)->lines));
  return 1;
}

static const luaL_Reg methods[] = {{"line", proc_line},       {"read", proc_read},
                                   {"write", proc_write},     {"close_stdin", proc_close_stdin},
                                   {"stop", proc_stop},       {"kill", proc_kill},
                                   {"discard", proc_discard}, {"close", proc_close},
                                   {"status", proc_status},   {"stderr", proc_stderr},
                                   {"held", proc_held},       {NULL, NULL}};
static const luaL_Reg meta[] = {{"__gc", proc_gc}, {"__close", proc_close}, {NULL, NULL}};
static const luaL_Reg functions[] = {{"spawn", proc_spawn}, {NULL, NULL}};

int luaopen_codex_core_proc(lua_State *L) {
  cx_bind_type(L, type, methods, meta);
  luaL_newlib(L, functions);
  return 1;
}
