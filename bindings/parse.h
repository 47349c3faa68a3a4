/* JSON text to Lua values in one pass, for what is ordinary. */
#ifndef CX_PARSE_H
#define CX_PARSE_H

#include <stddef.h>

#include <lua.h>

#include "buf.h"

typedef struct cx_parse {
  const char *array_type; /* names the metatable of arrays */
  cx_buf *scratch;        /* stays the caller's, also when an error is raised */
  size_t max_values;
} cx_parse;

/* Pushes the value and returns 0. Or pushes nothing: CX_ETOOMANY, or CX_EJSON where the text is not
 * JSON or holds what only the long way through cJSON tells (see json.h): special escapes, numbers
 * with an exponent or many digits, duplicate keys, deep nesting. Raises an error only for want of
 * memory. */
int cx_parse_json(lua_State *L, const char *text, size_t n, const cx_parse *how);

#endif
