/* The Lua modules that most scripts need, compiled when the program is built: reading them as text
 * would double the start-up of a script that runs Codex. The text in lua/ is what they are made
 * from; a change there needs `make`. */
#ifndef CX_BOOT_H
#define CX_BOOT_H

#include <lua.h>

typedef struct cx_boot_module {
  const char *name; /* for require */
  lua_CFunction open;
} cx_boot_module;

/* Ends with a NULL name. */
extern const cx_boot_module cx_boot_modules[];

#endif
