/* Time limits for Lua that hold in whatever the code does, but for C functions that do not come
 * back; see bind.h.
 *
 * The interpreter calls a hook every so many instructions. It belongs to one coroutine, and a new
 * one gets it from the one that creates it: as it is a C function that finds the deadline in the
 * host's environment, it holds in all of them, and code without the debug library cannot take it
 * off. What it raises is the error of memory that ran out, for no message handler of an xpcall is
 * called with that. Finalizers are not interrupted: Lua calls no hook in them.
 *
 * Code of this library is known by the name of its chunk, which no file of a user's has: a module
 * that is read is below our folder, and the name of one that is compiled in does not begin with the
 * `@` of files. `load`, which takes any name, refuses these. Only bytecode can bear them otherwise:
 * files of a user's cannot have that, and a script that can has the debug library as well. */
#include <lualib.h>
#include <string.h>

#include "bind.h"

enum {
  TICK = 1000,  /* instructions between two looks at the clock, some ten microseconds */
  MERCY = 100,  /* such looks after an error, for tidying up, before the next one is raised */
  STRIKES = 10, /* errors that code may catch before no instruction is spared */
};

static const char compiled_in[] = "=lua/codex/"; /* as the Makefile names it */

static bool begins_with(const lua_Debug *ar, const char *start, size_t n) {
  return ar->srclen >= n && memcmp(ar->source, start, n) == 0;
}

static bool is_ours(const cx_env *env, const lua_Debug *ar) {
  size_t n = strlen(env->modules);
  if (begins_with(ar, compiled_in, sizeof compiled_in - 1)) return true;
  return begins_with(ar, env->modules, n) && !strstr(ar->source + n - 1, "/../");
}

/* As Lua's own, but for the names that are ours. */
static int load(lua_State *L) {
  lua_Debug ar;
  int n = lua_tocfunction(L, lua_upvalueindex(1))(L);
  if (n != 1 || !lua_isfunction(L, -1)) return n;
  lua_pushvalue(L, -1);
  if (lua_getinfo(L, ">S", &ar) == 0 || !is_ours(cx_bind_env(L), &ar)) return n;
  luaL_pushfail(L);
  lua_pushfstring(L, "a chunk cannot be called '%s': that is the program's own", ar.short_src);
  return 2;
}

/* As Lua's own, but that nobody takes off a limit that there is. */
static int set_hook(lua_State *L) {
  const cx_env *env = cx_bind_env(L);
  if (env->end_by || env->limit.deadline)
    return luaL_error(L, "debug.sethook: a time limit needs the hook now");
  return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

static void wrap(lua_State *L, const char *name, lua_CFunction fn) {
  lua_getfield(L, -1, name);
  lua_pushcclosure(L, fn, 1);
  lua_setfield(L, -2, name);
}

void cx_limit_open(lua_State *L, const char *data) {
  cx_env *env = cx_bind_env(L);
  env->modules = lua_pushfstring(L, "@%s/lua/codex/", data);
  lua_rawsetp(L, LUA_REGISTRYINDEX, compiled_in);
  lua_pushglobaltable(L);
  wrap(L, "load", load);
  lua_getfield(L, -1, LUA_DBLIBNAME);
  wrap(L, "sethook", set_hook);
  lua_pop(L, 2);
}

/* An ordinary error would call the message handler of an xpcall from in here, where no hook is
 * called: a handler that loops would never end. The error of an allocation that is refused calls
 * none. */
static void end_it(lua_State *L) {
  lua_newuserdatauv(L, CX_ALLOC_LIMIT, 0);
  luaL_error(L, "the time limit ran out"); /* not reached */
}

/* The earlier of the two deadlines; 0: there is none. */
static int64_t deadline_of(const cx_env *env) {
  int64_t limit = env->limit.deadline, end = env->end_by;
  return limit == 0 || (end && end < limit) ? end : limit;
}

static void on_count(lua_State *L, lua_Debug *ar) {
  cx_env *env = cx_bind_env(L);
  cx_limit *limit = &env->limit;
  int64_t deadline = deadline_of(env);
  if (deadline == 0 || (int64_t)uv_hrtime() < deadline) {
    if (lua_gethookcount(L) != TICK) cx_limit_hook(L, false);
    return;
  }
  if (limit->mercy > 0) {
    limit->mercy--;
    return;
  }
  /* A loop that calls us in step with the ticks would be met there every time: from now on each
   * instruction is looked at, and the first that is not ours raises the error. */
  if ((limit->spares_us || env->end_by) && lua_getinfo(L, "S", ar) && is_ours(env, ar)) {
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

/* To set a hook begins the count of instructions anew: who does so again and again is never met. */
void cx_limit_keep(lua_State *co) {
  if (lua_gethook(co) != on_count) cx_limit_hook(co, false);
}
