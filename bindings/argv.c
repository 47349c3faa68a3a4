/* What a child is started with, read from Lua: shared by everything that starts one.
 *
 * What the core is given points to strings in lists of our own, which vectors on the stack keep
 * until it has started the child. */
#include "argv.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bind.h"
#include "err.h"

enum { READ_SIZE = 64 << 10, TAIL_SIZE = 64 << 10 };

static const char *text_at(lua_State *L, int index, const char *what) {
  size_t n;
  if (lua_type(L, index) != LUA_TSTRING)
    luaL_error(L, "%s must be strings, got %s", what, luaL_typename(L, index));
  const char *text = lua_tolstring(L, index, &n);
  if (strlen(text) != n) luaL_error(L, "%s cannot hold a NUL byte", what);
  return text;
}

/* exec takes char *const [], but writes nothing. */
static char **vector(lua_State *L) { return (char **)(uintptr_t)cx_bind_vector(L); }

static char **arguments(lua_State *L, int list) {
  luaL_checktype(L, list, LUA_TTABLE);
  size_t n = lua_rawlen(L, list);
  luaL_argcheck(L, n > 0, list, "the program's name is missing");
  lua_newtable(L);
  for (size_t i = 1; i <= n; i++) {
    lua_rawgeti(L, list, (lua_Integer)i);
    text_at(L, -1, "arguments");
    lua_rawseti(L, -2, (lua_Integer)i);
  }
  return vector(L);
}

static bool is_set_by(lua_State *L, int env, const char *entry) {
  lua_pushlstring(L, entry, strcspn(entry, "="));
  bool set = lua_rawget(L, env) != LUA_TNIL;
  lua_pop(L, 1);
  return set;
}

/* Ours, but for the variables that `env` sets or takes away, into the list on top of the stack.
 * The environment itself may change meanwhile, as tables may. */
static lua_Integer add_ours(lua_State *L, int env) {
  lua_Integer n = 0;
  for (size_t i = 0; environ && environ[i]; i++) {
    lua_pushstring(L, environ[i]);
    if (is_set_by(L, env, lua_tostring(L, -1)))
      lua_pop(L, 1);
    else
      lua_rawseti(L, -2, ++n);
  }
  return n;
}

/* Stack: the list, name, value. Appends "name=value" to the list. */
static void add_variable(lua_State *L, lua_Integer *n) {
  if (lua_isboolean(L, -1) && !lua_toboolean(L, -1)) return; /* false takes the variable away */
  const char *name = text_at(L, -2, "names of environment variables");
  if (!*name || strchr(name, '=')) luaL_error(L, "'%s' cannot name an environment variable", name);
  lua_pushfstring(L, "%s=%s", name, text_at(L, -1, "values of environment variables"));
  lua_rawseti(L, -4, ++*n);
}

/* The environment that option `env` (NAME = value, or false) makes of ours; NULL: ours as it is. */
static char **environment(lua_State *L, int options) {
  bool clear = cx_opt_bool(L, options, "clear_env", false);
  lua_pushliteral(L, "env");
  if (lua_rawget(L, options) == LUA_TNIL) {
    lua_pop(L, 1);
    if (!clear) return NULL;
    lua_newtable(L);
  }
  luaL_checktype(L, -1, LUA_TTABLE);
  int env = lua_gettop(L);
  lua_newtable(L);
  lua_Integer n = clear ? 0 : add_ours(L, env);
  for (lua_pushnil(L); lua_next(L, env); lua_pop(L, 1)) add_variable(L, &n);
  return vector(L);
}

static cx_stdio stdio(lua_State *L, int options, const char *name, cx_stdio fallback) {
  static const char *const choices[] = {"null", "inherit", "pipe", NULL};
  return (cx_stdio)cx_opt_choice(L, options, name, choices, (int)fallback);
}

void cx_argv_read(lua_State *L, int list, int options, cx_proc_options *o) {
  memset(o, 0, sizeof *o);
  o->argv = arguments(L, list);
  cx_opt_take(L, options);
  o->file = cx_opt_string(L, options, "file", o->argv[0]);
  o->cwd = cx_opt_string(L, options, "cwd", NULL);
  o->in = stdio(L, options, "stdin", CX_STDIO_NULL);
  o->out = stdio(L, options, "stdout", CX_STDIO_PIPE);
  o->err = stdio(L, options, "stderr", CX_STDIO_PIPE);
  o->timeout_ms = cx_opt_ms(L, options, "timeout_ms");
  o->idle_timeout_ms = cx_opt_ms(L, options, "idle_timeout_ms");
  o->grace_ms = cx_opt_ms(L, options, "grace_ms");
  o->drain_ms = cx_opt_ms(L, options, "drain_ms");
  o->stop_signal = (int)cx_opt_between(L, options, "stop_signal", 0, NSIG - 1, 0);
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
  if (s->is_unknown) {
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, "unknown");
  }
  if (!s->reason) return;
  lua_pushstring(L, cx_err_name(s->reason));
  lua_setfield(L, -2, "reason");
}
