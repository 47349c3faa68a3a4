/* What the scheduler in codex.async needs from C: who runs, and what is still live.
 *
 * The environment knows the task that runs, so that a time limit can reach it from within. */
#include "bind.h"
#include "modules.h"
#include "watchdog.h"
#include "witness.h"

static const int64_t GRACE = 2000000000; /* for tidying up */

/* running(thread | nil): said by the scheduler around every resumption. The function, which is
 * pinned, keeps the thread: the environment does not. */
static int task_running(lua_State *L) {
  cx_env *env = lua_touserdata(L, lua_upvalueindex(1));
  lua_settop(L, 1);
  env->task = lua_tothread(L, 1);
  lua_replace(L, lua_upvalueindex(2));
  return 0;
}

/* limit(thread [, each]): it, and what it creates, looks at the deadline; each: all the time */
static int task_limit(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTHREAD);
  cx_limit_hook(lua_tothread(L, 1), lua_toboolean(L, 2));
  return 0;
}

/* deadline(nanoseconds | nil): when what runs next must be over, on the clock of uv.hrtime */
static int task_deadline(lua_State *L) {
  int64_t deadline = luaL_optinteger(L, 1, 0), now = deadline ? (int64_t)uv_hrtime() : 0;
  cx_bind_env(L)->limit = (cx_limit){.deadline = deadline, .spares_us = true};
  int64_t last = deadline > now ? deadline : now;
  cx_watchdog_at(deadline ? (last < INT64_MAX - GRACE ? last : INT64_MAX - GRACE) + GRACE : 0);
  return 0;
}

/* watchdog(code, text): a deadline that is passed by two seconds, in one go, ends the process with
 * this code */
static int task_watchdog(lua_State *L) {
  int code = (int)luaL_checkinteger(L, 1);
  const char *text = luaL_checkstring(L, 2);
  int rc = cx_watchdog_open(code, text);
  if (rc != 0) return cx_bind_fail(L, rc);
  lua_pushboolean(L, 1);
  return 1;
}

/* witness(is_wanted) -> whether there is one: see witness.h */
static int task_witness(lua_State *L) {
  lua_pushboolean(L, cx_witness_wanted(lua_toboolean(L, 1)));
  return 1;
}

/* live() -> the types of all open core objects */
static int task_live(lua_State *L) {
  const cx_env *env = cx_bind_env(L);
  lua_newtable(L);
  lua_Integer n = 0;
  for (const cx_live *live = env->live.next; live != &env->live; live = live->next) {
    lua_pushstring(L, live->type);
    lua_rawseti(L, -2, ++n);
  }
  return 1;
}

static const luaL_Reg functions[] = {{"deadline", task_deadline}, {"limit", task_limit},
                                     {"live", task_live},         {"watchdog", task_watchdog},
                                     {"witness", task_witness},   {NULL, NULL}};

int luaopen_codex_core_task(lua_State *L) {
  luaL_newlib(L, functions);
  lua_pushlightuserdata(L, cx_bind_env(L)); /* looked up once: it is said twice for each step */
  lua_pushnil(L);
  lua_pushcclosure(L, task_running, 2);
  cx_bind_pin(L, -1);
  lua_setfield(L, -2, "running");
  return 1;
}
