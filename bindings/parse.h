/* JSON text to Lua values in one pass, for what is ordinary. */
#ifndef CX_PARSE_H
#define CX_PARSE_H

#include <stdbool.h>

#include <lua.h>

#include "buf.h"

/* Pushes the value and returns true; or pushes nothing, where the text is not JSON or holds what
 * only the long way through cJSON tells (see json.h): special escapes, numbers with an exponent or
 * many digits, duplicate keys, deep nesting. `array_type` names the metatable of arrays. Raises an
 * error only for want of memory; `scratch` then stays the caller's. */
bool cx_parse_json(lua_State *L, const char *text, size_t n, const char *array_type,
                   cx_buf *scratch);

#endif
