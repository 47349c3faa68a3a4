/* JSON text to Lua values in one pass. */
#ifndef CX_PARSE_H
#define CX_PARSE_H

#include <stddef.h>

#include <lua.h>

#include "token.h"

/* Containers within containers. */
enum { CX_PARSE_DEPTH = 1000 };

/* The marks of what a Lua table cannot say: metatables in the registry, which must be there. */
#define CX_JSON_ARRAY "codex.json.array"
#define CX_JSON_OBJECT "codex.json.object"
#define CX_JSON_NUMBER "codex.json.number"

/* Pushes the value of a whole text, which stays the caller's: null is a light userdata, an array
 * has its mark, an integer beyond 64 bits is a table with its text and the mark of a number. Of
 * equal names the first counts; the later ones are listed in `duplicates` of a metatable of their
 * object's own. Half of a surrogate pair becomes three bytes; see token.h.
 *
 * Returns 0. Or pushes nothing, fills *fault in and returns CX_EJSON, CX_EDEPTH, or CX_ETOOMANY for
 * more than `max_values` values, which is told before they take memory. Where memory or the stack
 * of Lua runs out an error is raised, and nothing leaks: all memory that it takes is Lua's. */
int cx_parse_json(lua_State *L, const char *text, size_t n, size_t max_values, cx_fault *fault);

#endif
