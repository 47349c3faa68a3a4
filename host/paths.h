/* Where the program's own Lua files and loadable modules are: beside it in the build tree, under
 * the prefix when installed, never in the working directory. */
#ifndef CX_PATHS_H
#define CX_PATHS_H

#include <limits.h>

typedef struct cx_paths {
  char program[PATH_MAX]; /* the running executable; "" when it cannot be known */
  char data[PATH_MAX];    /* holds lua/, scripts/, notify/ */
  char modules[PATH_MAX]; /* holds codex/core/NAME.so */
} cx_paths;

/* Fills the struct; a folder that is given wins. 0, or -ENAMETOOLONG. */
int cx_paths_find(cx_paths *paths, const char *data, const char *modules);

#endif
