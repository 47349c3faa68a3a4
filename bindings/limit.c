/* Time limits for Lua that hold in whatever the code does, but for C functions that do not come
 * back; see bind.h.
 *
 * The interpreter calls a hook every so many instructions. It belongs to one coroutine, and a new
 * one gets it from the one that creates it: as it is a C function that finds the deadline in the
 * host's environment, it holds in all of them, and code without the debug library cannot take it
 * off. What it raises is the error of memory that ran out, for no message handler of an xpcall is
 * called with that. Finalizers are not interrupted: Lua calls no hook in them. */
#include <string.h>

#include "bind.h"

enum {
  TICK = 1000,  /* instructions between two looks at the clock, some ten microseconds */
  MERCY = 100,  /* such looks after an error, for tidying up, before the next one is raised */
  STRIKES = 10, /* errors that code may catch before no instruction is spared */
};

static bool is_ours(lua_State *L, lua_Debug *ar) {
  const char *at = lua_getinfo(L, "S", ar) ? strstr(ar->source, "lua/codex/") : NULL;
  return at && !strchr(at, '\n') && strcmp(at + strlen(at) - 4, ".lua") == 0;
}

/* An ordinary error would call the message handler of an xpcall from in here, where no hook is
 * called: a handler that loops would never end. The error of an allocation that is refused calls
 * none. */
static void end_it(lua_State *L) {
  lua_newuserdatauv(L, CX_ALLOC_LIMIT, 0);
  luaL_error(L, "the time limit ran out"); /* not reached */
}

static void on_count(lua_State *L, lua_Debug *ar) {
  cx_env *env = cx_bind_env(L);
  cx_limit *limit = &env->limit;
  if (limit->deadline == 0 || (int64_t)uv_hrtime() < limit->deadline) {
    if (lua_gethookcount(L) != TICK) cx_limit_hook(L, false);
    return;
  }
  if (limit->mercy > 0) {
    limit->mercy--;
    return;
  }
  /* A loop that calls us in step with the ticks would be met there every time: from now on each
   * instruction is looked at, and the first that is not ours raises the error. */
  if (limit->spares_us && is_ours(L, ar)) {
    cx_limit_hook(L, true);
    return;
  }
  limit->mercy = ++limit->strikes < STRIKES ? MERCY : 0;
  cx_limit_hook(L, limit->mercy == 0);
  if (limit->mercy == 0 && env->task) cx_limit_hook(env->task, true);
  end_it(L);
}

void cx_limit_hook(lua_State *co, bool each) {
  lua_sethook(co, on_count, LUA_MASKCOUNT, each ? 1 : TICK);
}
