/* Plain Lua values as bytes: for a copy that shares nothing with the original, also one in another
 * Lua state.
 *
 * Plain are nil, booleans, numbers, strings, light userdata (JSON's null) and tables of them.
 * Tables are read without their metamethods and come out without their metatables, but for the
 * marks of codex.json. A table that is met twice, or holds itself, does so in the copy as well. */
#ifndef CX_PACK_H
#define CX_PACK_H

#include <lua.h>

#include "buf.h"

/* Adds the value at `index`. Raises an error for what is not plain, is nested more than 1000 deep,
 * or beyond memory; `out` is then incomplete, and still its owner's to free. */
void cx_pack_add(lua_State *L, int index, cx_buf *out);

/* Pushes `count` values that cx_pack_add wrote, one after the other, from the front of the bytes.
 * codex.core.json must be open in the state. Raises an error without memory. */
void cx_pack_push(lua_State *L, const cx_buf *in, int count);

#endif
