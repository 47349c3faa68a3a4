/* Lua modules that every script needs, compiled when the program is built: reading async.lua as
 * text would take a third of the start-up. */
#ifndef CX_BOOT_H
#define CX_BOOT_H

#include <lua.h>

/* Loaders for package.preload. */
int luaopen_codex_async(lua_State *L);
int luaopen_codex_error(lua_State *L);

#endif
