/* Lua values to JSON text. */
#ifndef CX_WRITE_H
#define CX_WRITE_H

#include <stdbool.h>

#include <lua.h>

#include "json.h"

typedef struct cx_write {
  bool pretty; /* a line for each member, for people */
  cx_json_care care;
  const void *array_mark; /* lua_topointer() of the metatable that is CX_JSON_ARRAY (parse.h) */
} cx_write;

/* Appends the text of the value at this place of the stack. Names are sorted, so that one value has
 * one text. What JSON cannot say raises an error, as the end of memory does. The buffer must not
 * leak then. */
void cx_write_json(lua_State *L, int index, const cx_write *how, cx_buf *out);

#endif
