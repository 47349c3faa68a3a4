/* The Lua state of a host: libraries, luv, search paths, os.exit; see state.h. */
#include "state.h"

#include <lauxlib.h>
#include <lualib.h>
#include <luv/luv.h>
#include <stdio.h>
#include <string.h>

#include "boot.h"
#include "modules.h"

static const char exit_key = 'x'; /* as a light userdata: the error value that os.exit raises */

int cx__state_panic(lua_State *L) {
  const char *message = lua_tostring(L, -1);
  fprintf(stderr, "codex-lua: an error outside of any call: %s\n", message ? message : "no text");
  return 0;
}

int cx__state_traceback(lua_State *L) {
  if (lua_touserdata(L, 1) == &exit_key) return 1;
  luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
  return 1;
}

/* ---- luv ------------------------------------------------------------------------------------ */

/* luv calls every callback through this; its own would end the process on an error. */
static int luv_call(lua_State *L, int n, int results, int flags) {
  int base = lua_gettop(L) - n;
  lua_pushcfunction(L, cx__state_traceback);
  lua_insert(L, base);
  int status = lua_pcall(L, n, results < 0 ? LUA_MULTRET : results, base);
  lua_remove(L, base);
  if (status == LUA_OK) return results < 0 ? lua_gettop(L) - base + 1 : results;
  cx_env *env = cx_bind_env(L);
  const char *message = lua_tostring(L, -1);
  env->on_failure(env, message ? message : "unknown error");
  lua_pop(L, 1);
  (void)flags;
  return -1;
}

/* uv.walk too: it takes every handle of the loop for one of luv's own, and the host has others. */
static int refuse_loop_control(lua_State *L) {
  return luaL_error(L, "the host runs the loop; a script waits with codex.sleep, task:join and the "
                       "like");
}

/* luv calls back on the state it was opened on. The first require comes from a task, which must not
 * be that state: it is opened on the main thread and moved over. */
static int open_luv(lua_State *L) {
  static const char *const refused[] = {"run", "stop", "loop_close", "walk"};
  cx_env *env = cx_bind_env(L);
  luaL_checkstack(env->L, LUA_MINSTACK, "luv");
  luv_set_loop(env->L, env->loop);
  luv_set_callback(env->L, luv_call);
  luaopen_luv(env->L);
  lua_xmove(env->L, L, 1);
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    lua_pushcfunction(L, refuse_loop_control);
    lua_setfield(L, -2, refused[i]);
  }
  return 1;
}

/* ---- The state ------------------------------------------------------------------------------ */

/* Says to Lua that everything is to unwind: every wait looks, which is too often for a call. */
static void tell_exiting(lua_State *L, bool exiting) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, -1, "codex.core.host") == LUA_TTABLE) {
    lua_pushboolean(L, exiting);
    lua_setfield(L, -2, "exiting");
  }
  lua_pop(L, 2);
}

void cx__state_begin(lua_State *L) { tell_exiting(L, false); }

void cx__state_limit(cx_host *host) {
  cx_env *env = &host->env;
  env->end_by = (int64_t)(uv_hrtime() + host->patience_ms * 1000000);
  env->limit.strikes = env->limit.mercy = 0;
  cx_limit_hook(env->L, false);
}

/* os.exit([code [, close]]) ends the script from anywhere: remembers the code, stops the loop,
 * unwinds. What is open is always closed; close = false leaves the Lua state, which the program
 * needs no more, as it is: no finalizer runs. */
static int os_exit(lua_State *L) {
  cx_host *host = (cx_host *)cx_bind_env(L);
  host->leaves = host->ends_process && lua_isboolean(L, 2) && !lua_toboolean(L, 2);
  host->code = lua_isboolean(L, 1) ? !lua_toboolean(L, 1) : (int)(luaL_optinteger(L, 1, 0) & 0xFF);
  host->exiting = true;
  tell_exiting(L, true);
  if (!host->env.end_by) cx__state_limit(host);
  cx_limit_hook(L, false);
  uv_stop(&host->loop);
  lua_pushlightuserdata(L, (void *)(uintptr_t)&exit_key);
  return lua_error(L);
}

/* Entries of package.path that are relative would run code of whatever repository we stand in. */
static void set_search_path(lua_State *L, const char *field, const char *own) {
  luaL_Buffer b;
  lua_getglobal(L, LUA_LOADLIBNAME);
  lua_getfield(L, -1, field);
  const char *entry = lua_tostring(L, -1);
  luaL_buffinit(L, &b);
  luaL_addstring(&b, own);
  while (*entry) {
    size_t n = strcspn(entry, ";");
    if (entry[0] == '/') {
      luaL_addchar(&b, ';');
      luaL_addlstring(&b, entry, n);
    }
    entry += n + (entry[n] == ';');
  }
  luaL_pushresult(&b);
  lua_setfield(L, -3, field);
  lua_pop(L, 2);
}

static void set_search_paths(lua_State *L, const cx_paths *paths) {
  lua_pushfstring(L, "%s/lua/?.lua;%s/lua/?/init.lua", paths->data, paths->data);
  set_search_path(L, "path", lua_tostring(L, -1));
  lua_pushfstring(L, "%s/?.so", paths->modules);
  set_search_path(L, "cpath", lua_tostring(L, -1));
  lua_pop(L, 2);
}

void cx__state_preload(lua_State *L, const char *name, lua_CFunction open) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushcfunction(L, open);
  lua_setfield(L, -2, name);
  lua_pop(L, 1);
}

static int open_host(lua_State *L);

int cx__state_fill(lua_State *L) {
  const cx_host *host = lua_touserdata(L, 1);
  lua_gc(L, LUA_GCSTOP);
  lua_pushboolean(L, 1); /* LUA_PATH and LUA_CPATH are the user's, not the repository's we run in */
  lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
  luaL_openlibs(L);
  cx_bind_coroutine(L);
  set_search_paths(L, &host->paths);
  cx_limit_open(L, host->paths.data);
  cx__state_preload(L, "luv", open_luv);
  for (const cx_boot_module *m = cx_boot_modules; m->name; m++)
    cx__state_preload(L, m->name, m->open);
  cx__state_preload(L, "codex.core.host", open_host);
  cx__state_preload(L, "codex.core.envelope", luaopen_codex_core_envelope);
  cx__state_preload(L, "codex.core.json", luaopen_codex_core_json);
  cx__state_preload(L, "codex.core.lines", luaopen_codex_core_lines);
  cx__state_preload(L, "codex.core.link", luaopen_codex_core_link);
  cx__state_preload(L, "codex.core.log", luaopen_codex_core_log);
  cx__state_preload(L, "codex.core.pack", luaopen_codex_core_pack);
  cx__state_preload(L, "codex.core.proc", luaopen_codex_core_proc);
  cx__state_preload(L, "codex.core.lock", luaopen_codex_core_lock);
  cx__state_preload(L, "codex.core.stat", luaopen_codex_core_stat);
  cx__state_preload(L, "codex.core.task", luaopen_codex_core_task);
  lua_getglobal(L, LUA_OSLIBNAME);
  lua_pushcfunction(L, os_exit);
  lua_setfield(L, -2, "exit");
  lua_gc(L, LUA_GCRESTART);
  lua_gc(L, LUA_GCGEN, 0, 0);
  return 0;
}

/* ---- What Lua may ask of its host ----------------------------------------------------------- */

/* fail(message): something went wrong that nobody waits for; the exit code will be 1 */
static int host_fail(lua_State *L) {
  cx__host_fail(cx_bind_env(L), luaL_checkstring(L, 1));
  return 0;
}

/* failures() -> how many callbacks have raised an error so far, and the text of what failed last */
static int host_failures(lua_State *L) {
  const cx_host *host = (const cx_host *)cx_bind_env(L);
  lua_pushinteger(L, host->failures);
  lua_pushstring(L, cx_host_error(host));
  return 2;
}

static void add_handle(uv_handle_t *handle, void *arg) {
  lua_State *L = arg;
  const cx_host *host = (const cx_host *)cx_bind_env(L);
  if (uv_is_closing(handle) || handle == (const uv_handle_t *)&host->wakeup) return;
  lua_pushstring(L, uv_handle_type_name(handle->type));
  lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
}

/* handles() -> the types of all open libuv handles, for tests that look for leaks */
static int host_handles(lua_State *L) {
  lua_newtable(L);
  uv_walk(cx_bind_env(L)->loop, add_handle, L);
  return 1;
}

static int open_host(lua_State *L) {
  const cx_host *host = (const cx_host *)cx_bind_env(L);
  static const luaL_Reg functions[] = {
      {"fail", host_fail}, {"failures", host_failures}, {"handles", host_handles}, {NULL, NULL}};
  luaL_newlib(L, functions);
  lua_pushstring(L, host->paths.data);
  lua_setfield(L, -2, "data_dir");
  lua_pushstring(L, host->paths.modules);
  lua_setfield(L, -2, "module_dir");
  lua_pushstring(L, host->paths.program);
  lua_setfield(L, -2, "program");
  lua_pushliteral(L, CX_VERSION);
  lua_setfield(L, -2, "version");
  lua_pushlightuserdata(L, (void *)(uintptr_t)&exit_key);
  lua_setfield(L, -2, "exit");
  return 1;
}
