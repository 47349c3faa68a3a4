/* Compiled Lua modules inside the program; see boot.h. */
#include "boot.h"

#include <lauxlib.h>

/* The same list as BOOT in the Makefile. */
#define CX_BOOT_MAP(XX)                                                                            \
  XX(async)                                                                                        \
  XX(binary)                                                                                       \
  XX(capability)                                                                                   \
  XX(class)                                                                                        \
  XX(command)                                                                                      \
  XX(delivery)                                                                                     \
  XX(environment)                                                                                  \
  XX(error)                                                                                        \
  XX(events)                                                                                       \
  XX(exec)                                                                                         \
  XX(files)                                                                                        \
  XX(flags)                                                                                        \
  XX(guard)                                                                                        \
  XX(hook)                                                                                         \
  XX(instance)                                                                                     \
  XX(json)                                                                                         \
  XX(log)                                                                                          \
  XX(notify)                                                                                       \
  XX(options)                                                                                      \
  XX(plugin)                                                                                       \
  XX(proc)                                                                                         \
  XX(sessions)                                                                                     \
  XX(stream)                                                                                       \
  XX(toml)                                                                                         \
  XX(wakeup)

/* Runs a module as require does: with its name, and giving back what it returns. */
static int run(lua_State *L, const char *start, const char *end) {
  if (luaL_loadbufferx(L, start, (size_t)(end - start), "=boot", "b") != LUA_OK)
    return lua_error(L);
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, 1);
  return 1;
}

/* The linker makes the bytes from build/boot/NAME.luac. */
#define XX(name)                                                                                   \
  extern const char _binary_##name##_luac_start[], _binary_##name##_luac_end[];                    \
  static int open_##name(lua_State *L) {                                                           \
    return run(L, _binary_##name##_luac_start, _binary_##name##_luac_end);                         \
  }
CX_BOOT_MAP(XX)
#undef XX

const cx_boot_module cx_boot_modules[] = {
#define XX(name) {"codex." #name, open_##name},
    CX_BOOT_MAP(XX)
#undef XX
        {NULL, NULL}};
