/* What a child is started with, read from Lua: shared by everything that starts one.
 *
 * Nothing is copied: vectors are userdata on the stack, and the strings live in the caller's tables
 * or in tables that the vectors' names keep alive, until the core has started the child. */
#include "argv.h"

#include <stdlib.h>
#include <string.h>

#include "bind.h"
#include "err.h"

enum { READ_SIZE = 64 << 10, TAIL_SIZE = 64 << 10 };

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

static cx_stdio stdio(lua_State *L, int options, const char *name, cx_stdio fallback) {
  static const char *const choices[] = {"null", "inherit", "pipe", NULL};
  return (cx_stdio)cx_opt_choice(L, options, name, choices, (int)fallback);
}

void cx_argv_read(lua_State *L, int list, int options, cx_proc_options *o) {
  memset(o, 0, sizeof *o);
  o->argv = arguments(L, list);
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
  o->read_size = cx_opt_size(L, options, "read_size", READ_SIZE);
  o->tail_size = cx_opt_size(L, options, "tail_size", TAIL_SIZE);
  o->env = environment(L, options);
}

static void set_integer(lua_State *L, const char *name, lua_Integer value) {
  lua_pushinteger(L, value);
  lua_setfield(L, -2, name);
}

void cx_argv_push_status(lua_State *L, const cx_proc_status *s) {
  set_integer(L, "pid", s->pid);
  set_integer(L, "code", s->code);
  set_integer(L, "signal", s->signal);
  set_integer(L, "max_rss_kib", s->max_rss_kib);
  set_integer(L, "cpu_us", (lua_Integer)s->cpu_us);
  lua_pushboolean(L, s->exited);
  lua_setfield(L, -2, "exited");
  if (!s->reason) return;
  lua_pushstring(L, cx_err_name(s->reason));
  lua_setfield(L, -2, "reason");
}
