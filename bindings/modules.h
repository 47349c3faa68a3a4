/* The C modules that every host offers to `require`. */
#ifndef CX_MODULES_H
#define CX_MODULES_H

#include <lua.h>

int luaopen_codex_core_envelope(lua_State *L);
int luaopen_codex_core_json(lua_State *L);
int luaopen_codex_core_link(lua_State *L);
int luaopen_codex_core_lines(lua_State *L);
int luaopen_codex_core_lock(lua_State *L);
int luaopen_codex_core_log(lua_State *L);
int luaopen_codex_core_pack(lua_State *L);
int luaopen_codex_core_proc(lua_State *L);
int luaopen_codex_core_stat(lua_State *L);
int luaopen_codex_core_task(lua_State *L);

#endif
