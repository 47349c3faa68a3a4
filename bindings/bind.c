/* The bridge between core objects and Lua; see bind.h. */
#include "bind.h"

#include <limits.h>
#include <string.h>

#include "err.h"

void cx_bind_open(lua_State *L, cx_env *env) {
  env->L = L;
  env->live.prev = env->live.next = &env->live;
  *(cx_env **)lua_getextraspace(L) = env;
}

/* A new coroutine has what stands there in the main one. */
cx_env *cx_bind_env(lua_State *L) { return *(cx_env **)lua_getextraspace(L); }

void cx_live_add(cx_env *env, cx_live *live) {
  live->next = &env->live;
  live->prev = env->live.prev;
  live->prev->next = live;
  env->live.prev = live;
}

void cx_live_remove(cx_live *live) {
  if (!live->next) return;
  live->prev->next = live->next;
  live->next->prev = live->prev;
  live->prev = live->next = NULL;
}

void cx_bind_type(lua_State *L, const char *type, const luaL_Reg *methods, const luaL_Reg *meta) {
  luaL_newmetatable(L, type);
  luaL_setfuncs(L, meta, 0);
  lua_newtable(L);
  luaL_setfuncs(L, methods, 0);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}

void *cx_bind_new(lua_State *L, const char *type, size_t size) {
  if (cx_bind_env(L)->is_over) luaL_error(L, "the host is closed: there can be no new %s", type);
  void *object = lua_newuserdatauv(L, size, 1);
  memset(object, 0, size);
  luaL_setmetatable(L, type);
  return object;
}

int cx_bind_pin(lua_State *L, int index) {
  lua_pushvalue(L, index);
  return luaL_ref(L, LUA_REGISTRYINDEX);
}

void cx_bind_unpin(cx_env *env, int *ref) {
  luaL_unref(env->L, LUA_REGISTRYINDEX, *ref);
  *ref = LUA_NOREF;
}

typedef struct {
  int ref;
  cx_bind_push push;
  void *arg;
} call;

static int run_call(lua_State *L) {
  const call *c = lua_touserdata(L, 1);
  lua_rawgeti(L, LUA_REGISTRYINDEX, c->ref);
  int n = c->push ? c->push(L, c->arg) : 0;
  lua_call(L, n, 0);
  return 0;
}

static int add_traceback(lua_State *L) {
  luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
  return 1;
}

void cx_bind_call(cx_env *env, int ref, cx_bind_push push, void *arg) {
  lua_State *L = env->L;
  call c = {ref, push, arg};
  int top = lua_gettop(L);
  if (ref == LUA_NOREF || !lua_checkstack(L, 8)) return;
  lua_pushcfunction(L, add_traceback);
  lua_pushcfunction(L, run_call);
  lua_pushlightuserdata(L, &c);
  if (lua_pcall(L, 1, 0, top + 1) != LUA_OK)
    env->on_failure(env, lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "unknown error");
  lua_settop(L, top);
}

static int push_buf(lua_State *L) {
  const cx_buf *buf = lua_touserdata(L, 1);
  lua_pushlstring(L, cx_buf_bytes(buf), buf->len);
  return 1;
}

void cx_bind_push_buf(lua_State *L, cx_buf *buf) {
  lua_pushcfunction(L, push_buf);
  lua_pushlightuserdata(L, buf);
  int status = lua_pcall(L, 1, 1, 0);
  cx_buf_free(buf);
  if (status != LUA_OK) lua_error(L);
}

int cx_bind_fail(lua_State *L, int code) {
  lua_pushnil(L);
  lua_pushstring(L, cx_err_name(code));
  lua_pushstring(L, cx_err_text(code));
  return 3;
}

/* ---- What Lua gives ------------------------------------------------------------------------- */

const char *cx_check_text(lua_State *L, int index) {
  size_t n;
  const char *text = luaL_checklstring(L, index, &n);
  luaL_argcheck(L, strlen(text) == n, index, "it cannot hold a NUL byte");
  return text;
}

int cx_check_fd(lua_State *L, int index) {
  lua_Integer fd = luaL_checkinteger(L, index);
  luaL_argcheck(L, fd >= 0 && fd <= INT_MAX, index, "not a descriptor");
  return (int)fd;
}

const char **cx_bind_vector(lua_State *L) {
  size_t n = lua_rawlen(L, -1);
  const char **vector = lua_newuserdatauv(L, (n + 1) * sizeof *vector, 1);
  lua_insert(L, -2);
  for (size_t i = 0; i < n; i++) {
    bool is_string = lua_rawgeti(L, -1, (lua_Integer)i + 1) == LUA_TSTRING;
    vector[i] = is_string ? lua_tostring(L, -1) : NULL;
    lua_pop(L, 1);
  }
  vector[n] = NULL;
  lua_setiuservalue(L, -2, 1);
  return vector;
}

void cx_opt_take(lua_State *L, int index) {
  luaL_checktype(L, index, LUA_TTABLE);
  lua_newtable(L);
  for (lua_pushnil(L); lua_next(L, index);) {
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_rawset(L, -4);
  }
  lua_replace(L, index);
}

static int wrong_type(lua_State *L, const char *name, const char *wanted) {
  return luaL_error(L, "option '%s' must be %s, got %s", name, wanted, luaL_typename(L, -1));
}

/* Pushes the field; false, with nothing pushed, where it is absent. */
static bool field(lua_State *L, int index, const char *name) {
  lua_pushstring(L, name);
  if (lua_rawget(L, index) != LUA_TNIL) return true;
  lua_pop(L, 1);
  return false;
}

const char *cx_opt_bytes(lua_State *L, int index, const char *name, size_t *n) {
  *n = 0;
  if (!field(L, index, name)) return NULL;
  if (lua_type(L, -1) != LUA_TSTRING) wrong_type(L, name, "a string");
  const char *value = lua_tolstring(L, -1, n);
  lua_pop(L, 1);
  return value;
}

const char *cx_opt_string(lua_State *L, int index, const char *name, const char *fallback) {
  size_t n;
  const char *value = cx_opt_bytes(L, index, name, &n);
  if (!value) return fallback;
  if (strlen(value) != n) luaL_error(L, "option '%s' cannot hold a NUL byte", name);
  return value;
}

lua_Integer cx_opt_integer(lua_State *L, int index, const char *name, lua_Integer fallback) {
  if (!field(L, index, name)) return fallback;
  int ok;
  lua_Integer value = lua_tointegerx(L, -1, &ok);
  if (!ok || lua_type(L, -1) != LUA_TNUMBER) wrong_type(L, name, "an integer");
  lua_pop(L, 1);
  return value;
}

lua_Integer cx_opt_between(lua_State *L, int index, const char *name, lua_Integer low,
                           lua_Integer high, lua_Integer fallback) {
  lua_Integer n = cx_opt_integer(L, index, name, fallback);
  if (n < low && low == 1) luaL_error(L, "option '%s' must be positive", name);
  if (n < low && low == 0) luaL_error(L, "option '%s' must not be negative", name);
  if (n < low || n > high) luaL_error(L, "option '%s' must be between %I and %I", name, low, high);
  return n;
}

size_t cx_opt_size(lua_State *L, int index, const char *name, size_t fallback) {
  return (size_t)cx_opt_between(L, index, name, 1, LUA_MAXINTEGER, (lua_Integer)fallback);
}

uint64_t cx_opt_ms(lua_State *L, int index, const char *name) {
  return (uint64_t)cx_opt_between(L, index, name, 0, LUA_MAXINTEGER, 0);
}

bool cx_opt_bool(lua_State *L, int index, const char *name, bool fallback) {
  if (!field(L, index, name)) return fallback;
  if (!lua_isboolean(L, -1)) wrong_type(L, name, "a boolean");
  bool value = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return value;
}

int cx_opt_choice(lua_State *L, int index, const char *name, const char *const choices[],
                  int fallback) {
  const char *value = cx_opt_string(L, index, name, NULL);
  if (!value) return fallback;
  for (int i = 0; choices[i]; i++)
    if (strcmp(value, choices[i]) == 0) return i;
  return luaL_error(L, "option '%s': there is no choice '%s'", name, value);
}
