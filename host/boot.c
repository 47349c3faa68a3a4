/* Compiled Lua modules inside the program; see boot.h. */
#include "boot.h"

#include <lauxlib.h>

/* The linker makes these from build/boot/NAME.luac. */
extern const char _binary_async_luac_start[], _binary_async_luac_end[];
extern const char _binary_error_luac_start[], _binary_error_luac_end[];

static int run(lua_State *L, const char *start, const char *end) {
  if (luaL_loadbufferx(L, start, (size_t)(end - start), "=boot", "b") != LUA_OK)
    return lua_error(L);
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, 1);
  return 1;
}

int luaopen_codex_async(lua_State *L) {
  return run(L, _binary_async_luac_start, _binary_async_luac_end);
}

int luaopen_codex_error(lua_State *L) {
  return run(L, _binary_error_luac_start, _binary_error_luac_end);
}
