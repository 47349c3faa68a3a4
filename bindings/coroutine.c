/* coroutine.resume and coroutine.wrap of Lua, which here say who runs: an interrupt, which comes
 * from a signal handler, must reach the innermost coroutine. */
#include <lualib.h>

#include "bind.h"

/* Resumes with the `args` values on top of L: how many results are there in their place, or -1 and
 * an error. */
static int resume(lua_State *L, lua_State *co, int args) {
  cx_env *env = lua_touserdata(L, lua_upvalueindex(1));
  lua_State *outer = env->running;
  int results = 0;
  if (!lua_checkstack(co, args)) {
    lua_pushliteral(L, "too many arguments to resume");
    return -1;
  }
  lua_xmove(L, co, args);
  env->running = co;
  if (env->end_by) cx_limit_keep(co);
  int status = lua_resume(co, L, args, &results);
  env->running = outer;
  if (env->end_by) cx_limit_keep(L); /* it may have begun in there */
  bool ok = status == LUA_OK || status == LUA_YIELD;
  if (ok && !lua_checkstack(L, results + 1)) {
    lua_pop(co, results);
    lua_pushliteral(L, "too many results to resume");
    return -1;
  }
  lua_xmove(co, L, ok ? results : 1);
  return ok ? results : -1;
}

static lua_State *thread_of(lua_State *L, int index) {
  lua_State *co = lua_tothread(L, index);
  luaL_argexpected(L, co, index, "coroutine");
  return co;
}

static int co_resume(lua_State *L) {
  lua_State *co = thread_of(L, 1);
  int results = resume(L, co, lua_gettop(L) - 1);
  lua_pushboolean(L, results >= 0);
  lua_insert(L, results >= 0 ? -results - 1 : -2);
  return results >= 0 ? results + 1 : 2;
}

/* An error in the coroutine closes its variables, and tells the caller's place as well. */
static int propagate(lua_State *L, lua_State *co) {
  int status = lua_status(co);
  if (status != LUA_OK && status != LUA_YIELD) {
    status = lua_resetthread(co);
    lua_xmove(co, L, 1);
  }
  if (status != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
    luaL_where(L, 1);
    lua_insert(L, -2);
    lua_concat(L, 2);
  }
  return lua_error(L);
}

static int call_wrapped(lua_State *L) {
  lua_State *co = lua_tothread(L, lua_upvalueindex(2));
  int results = resume(L, co, lua_gettop(L));
  return results >= 0 ? results : propagate(L, co);
}

static int co_wrap(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_State *co = lua_newthread(L);
  lua_pushvalue(L, 1);
  lua_xmove(L, co, 1);
  lua_pushcclosure(L, call_wrapped, 2);
  return 1;
}

void cx_bind_coroutine(lua_State *L) {
  static const luaL_Reg functions[] = {{"resume", co_resume}, {"wrap", co_wrap}, {NULL, NULL}};
  lua_getglobal(L, LUA_COLIBNAME);
  lua_pushlightuserdata(L, cx_bind_env(L));
  luaL_setfuncs(L, functions, 1);
  lua_pop(L, 1);
}
