/* Child processes for Lua: lines out, bytes in, one wake function.
 *
 * The userdata holds the core object until that says it has closed, and is pinned in the registry
 * as long: collecting it can never end a running child. Lines, status and the tail of standard
 * error outlive the child. Waiting is not done here: `wake` is called when something has changed,
 * and codex.proc looks what. */
#include "proc.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "bind.h"
#include "err.h"
#include "lines.h"
#include "modules.h"

static const char type[] = "codex.proc";
enum { HIGH_WATER = 1 << 20, LINE_LIMIT = 64 << 20, READ_SIZE = 64 << 10, TAIL_SIZE = 64 << 10 };

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
  bool wanted;  /* a reader found nothing and waits */
  bool discard; /* nobody will read: output is thrown away */
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

static void on_change(void *user) {
  child *c = user;
  if (cx_proc_get_status(c->proc)->output_ended) cx_lines_end(&c->lines);
  wake(c);
}

static void on_closed(void *user) {
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

/* ---- Arguments ----------------------------------------------------------------------------- */

/* A vector of n + 1 pointers in a userdata on the stack; the strings live in the table it is
 * anchored to. */
static char **new_vector(lua_State *L, size_t n) {
  char **vector = lua_newuserdatauv(L, (n + 1) * sizeof *vector, 1);
  vector[n] = NULL;
  return vector;
}

static char *string_at(lua_State *L, int index, const char *what) {
  size_t n;
  if (lua_type(L, index) != LUA_TSTRING)
    luaL_error(L, "%s must be strings, got %s", what, luaL_typename(L, index));
  const char *text = lua_tolstring(L, index, &n);
  if (strlen(text) != n) luaL_error(L, "%s cannot hold a NUL byte", what);
  return (char *)(uintptr_t)text; /* exec takes char *const [] but writes nothing */
}

static char **arguments(lua_State *L, int list) {
  luaL_checktype(L, list, LUA_TTABLE);
  size_t n = lua_rawlen(L, list);
  luaL_argcheck(L, n > 0, list, "the program's name is missing");
  char **argv = new_vector(L, n);
  for (size_t i = 0; i < n; i++) {
    lua_rawgeti(L, list, (lua_Integer)i + 1);
    argv[i] = string_at(L, -1, "arguments");
    lua_pop(L, 1);
  }
  return argv;
}

static bool is_set_by(lua_State *L, int env, const char *entry) {
  lua_pushlstring(L, entry, strcspn(entry, "="));
  bool set = lua_rawget(L, env) != LUA_TNIL;
  lua_pop(L, 1);
  return set;
}

static size_t count_environment(void) {
  size_t n = 0;
  while (environ[n]) n++;
  return n;
}

/* Stack: name, value. Appends "name=value" to the vector, kept alive by the table `anchor`. */
static void add_variable(lua_State *L, int anchor, char **vector, size_t *n) {
  if (lua_isboolean(L, -1) && !lua_toboolean(L, -1)) return; /* false takes the variable away */
  const char *name = string_at(L, -2, "names of environment variables");
  if (!*name || strchr(name, '=')) luaL_error(L, "'%s' cannot name an environment variable", name);
  lua_pushfstring(L, "%s=%s", name, string_at(L, -1, "values of environment variables"));
  vector[(*n)++] = string_at(L, -1, "environment variables");
  lua_rawseti(L, anchor, (lua_Integer)*n);
}

/* The environment that option `env` (NAME = value, or false) makes of ours; NULL: ours as it is. */
static char **environment(lua_State *L, int options) {
  bool clear = cx_opt_bool(L, options, "clear_env", false);
  if (lua_getfield(L, options, "env") == LUA_TNIL) {
    lua_pop(L, 1);
    if (!clear) return NULL;
    lua_newtable(L);
  }
  luaL_checktype(L, -1, LUA_TTABLE);
  int env = lua_gettop(L);
  size_t n = 0, given = 0, ours = clear ? 0 : count_environment();
  for (lua_pushnil(L); lua_next(L, env); lua_pop(L, 1)) given++;
  char **vector = new_vector(L, ours + given);
  lua_newtable(L);
  int anchor = lua_gettop(L);
  for (size_t i = 0; i < ours; i++)
    if (!is_set_by(L, env, environ[i])) vector[n++] = environ[i];
  for (lua_pushnil(L); lua_next(L, env); lua_pop(L, 1)) add_variable(L, anchor, vector, &n);
  vector[n] = NULL;
  return vector;
}

static uint64_t milliseconds(lua_State *L, int options, const char *name) {
  lua_Integer ms = cx_opt_integer(L, options, name, 0);
  if (ms < 0) luaL_error(L, "option '%s' must not be negative", name);
  return (uint64_t)ms;
}

static size_t bytes(lua_State *L, int options, const char *name, size_t fallback) {
  lua_Integer n = cx_opt_integer(L, options, name, (lua_Integer)fallback);
  if (n <= 0) luaL_error(L, "option '%s' must be positive", name);
  return (size_t)n;
}

static cx_stdio stdio(lua_State *L, int options, const char *name, cx_stdio fallback) {
  static const char *const choices[] = {"null", "inherit", "pipe", NULL};
  return (cx_stdio)cx_opt_choice(L, options, name, choices, (int)fallback);
}

static void read_options(lua_State *L, int options, cx_proc_options *o) {
  luaL_checktype(L, options, LUA_TTABLE);
  o->file = cx_opt_string(L, options, "file", o->argv[0]);
  o->cwd = cx_opt_string(L, options, "cwd", NULL);
  o->in = stdio(L, options, "stdin", CX_STDIO_NULL);
  o->out = stdio(L, options, "stdout", CX_STDIO_PIPE);
  o->err = stdio(L, options, "stderr", CX_STDIO_PIPE);
  o->timeout_ms = milliseconds(L, options, "timeout_ms");
  o->idle_timeout_ms = milliseconds(L, options, "idle_timeout_ms");
  o->grace_ms = milliseconds(L, options, "grace_ms");
  o->drain_ms = milliseconds(L, options, "drain_ms");
  o->stop_signal = (int)cx_opt_integer(L, options, "stop_signal", 0);
  o->same_group = cx_opt_bool(L, options, "same_group", false);
  o->read_size = bytes(L, options, "read_size", READ_SIZE);
  o->tail_size = bytes(L, options, "tail_size", TAIL_SIZE);
  o->env = environment(L, options);
}

/* ---- Functions ------------------------------------------------------------------------------ */

static child *self(lua_State *L) { return luaL_checkudata(L, 1, type); }

static const cx_proc_status *status_of(const child *c) {
  return c->proc ? cx_proc_get_status(c->proc) : &c->status;
}

/* spawn(argv, options, wake) -> proc | nil, name, text */
static int proc_spawn(lua_State *L) {
  cx_proc_options options = {.argv = arguments(L, 1)};
  read_options(L, 2, &options);
  luaL_checktype(L, 3, LUA_TFUNCTION);
  child *c = cx_bind_new(L, type, sizeof *c);
  c->env = cx_bind_env(L);
  c->self_ref = c->wake_ref = LUA_NOREF;
  c->high_water = bytes(L, 2, "high_water", HIGH_WATER);
  cx_lines_init(&c->lines, bytes(L, 2, "line_limit", LINE_LIMIT));
  c->wake_ref = cx_bind_pin(L, 3);
  c->self_ref = cx_bind_pin(L, -1);
  static const cx_proc_events events = {on_output, on_change, on_closed};
  int rc = cx_proc_open(&c->proc, c->env->loop, &options, &events, c);
  if (rc != 0) {
    cx_bind_unpin(c->env, &c->wake_ref);
    cx_bind_unpin(c->env, &c->self_ref);
    return cx_bind_fail(L, rc);
  }
  c->live = (cx_live){.type = type, .close = close_live, .object = c};
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
  int rc = c->proc ? cx_proc_kill(c->proc, (int)luaL_checkinteger(L, 2)) : CX_ECLOSED;
  if (rc != 0) return cx_bind_fail(L, rc);
  lua_pushboolean(L, 1);
  return 1;
}

/* discard(): from now on output is thrown away unread */
static int proc_discard(lua_State *L) {
  child *c = self(L);
  c->discard = true;
  if (c->proc) cx_proc_pause(c->proc, false);
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

static void set_integer(lua_State *L, const char *name, lua_Integer value) {
  lua_pushinteger(L, value);
  lua_setfield(L, -2, name);
}

/* status() -> pid, exited, code, signal, reason, output_ended, closed, unwritten, ... */
static int proc_status(lua_State *L) {
  const child *c = self(L);
  const cx_proc_status *s = status_of(c);
  lua_createtable(L, 0, 12);
  set_integer(L, "pid", s->pid);
  set_integer(L, "code", s->code);
  set_integer(L, "signal", s->signal);
  set_integer(L, "unwritten", (lua_Integer)s->unwritten);
  set_integer(L, "max_rss_kib", s->max_rss_kib);
  set_integer(L, "cpu_us", (lua_Integer)s->cpu_us);
  lua_pushboolean(L, s->exited);
  lua_setfield(L, -2, "exited");
  lua_pushboolean(L, s->output_ended);
  lua_setfield(L, -2, "output_ended");
  lua_pushboolean(L, !c->proc);
  lua_setfield(L, -2, "closed");
  if (s->reason) {
    lua_pushstring(L, cx_err_name(s->reason));
    lua_setfield(L, -2, "reason");
  }
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
