/* Compiled Lua modules inside the program; see boot.h. */
#include "boot.h"

#include <lauxlib.h>

/* The same list as BOOT in the Makefile: symbol, and name below `codex`. */
#define CX_BOOT_MAP(XX)                                                                            \
  XX(async, "async")                                                                               \
  XX(base_class, "base.class")                                                                     \
  XX(base_environment, "base.environment")                                                         \
  XX(base_uuid, "base.uuid")                                                                       \
  XX(binary, "binary")                                                                             \
  XX(capability, "capability")                                                                     \
  XX(command, "command")                                                                           \
  XX(error, "error")                                                                               \
  XX(events, "events")                                                                             \
  XX(exec, "exec")                                                                                 \
  XX(files, "files")                                                                               \
  XX(flags, "flags")                                                                               \
  XX(guard, "guard")                                                                               \
  XX(hook, "hook")                                                                                 \
  XX(hooks_delivery, "hooks.delivery")                                                             \
  XX(instance, "instance")                                                                         \
  XX(json, "json")                                                                                 \
  XX(log, "log")                                                                                   \
  XX(notify, "notify")                                                                             \
  XX(options, "options")                                                                           \
  XX(plugin, "plugin")                                                                             \
  XX(proc, "proc")                                                                                 \
  XX(sessions, "sessions")                                                                         \
  XX(stream, "stream")                                                                             \
  XX(toml, "toml")                                                                                 \
  XX(wakeup, "wakeup")

/* Runs a module as require does: with its name, and giving back what it returns. */
static int run(lua_State *L, const char *start, const char *end) {
  if (luaL_loadbufferx(L, start, (size_t)(end - start), "=boot", "b") != LUA_OK)
    return lua_error(L);
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, 1);
  return 1;
}

/* The linker makes the bytes from build/boot/NAME.luac, and the name with `_` for `/`. */
#define XX(name, module)                                                                           \
  extern const char _binary_##name##_luac_start[], _binary_##name##_luac_end[];                    \
  static int open_##name(lua_State *L) {                                                           \
    return run(L, _binary_##name##_luac_start, _binary_##name##_luac_end);                         \
  }
CX_BOOT_MAP(XX)
#undef XX

const cx_boot_module cx_boot_modules[] = {
#define XX(name, module) {"codex." module, open_##name},
    CX_BOOT_MAP(XX)
#undef XX
        {NULL, NULL}};
