/* Where our own files are; see paths.h. */
#include "paths.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "platform.h"

__attribute__((format(printf, 2, 3))) static int join(char *out, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int n = vsnprintf(out, PATH_MAX, format, args);
  va_end(args);
  return n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* Takes the last `levels` names off a path. */
static void climb(char *path, int levels) {
  while (levels-- > 0) {
    char *slash = strrchr(path, '/');
    if (slash) *slash = '\0';
  }
}

static bool has_lua(const char *data) {
  char path[PATH_MAX];
  return join(path, "%s/lua/codex/init.lua", data) == 0 && access(path, R_OK) == 0;
}

/* build/codex-lua stands in the source tree, and build/asan/codex-lua one of `levels` deeper. */
static bool in_source_tree(cx_paths *paths, int levels) {
  char folder[PATH_MAX];
  join(folder, "%s", paths->program);
  climb(folder, 1);
  join(paths->data, "%s", folder);
  climb(paths->data, levels - 1);
  const char *name = strrchr(paths->data, '/');
  if (levels > 1 && (!name || strcmp(name, "/build") != 0)) return false;
  climb(paths->data, 1);
  return has_lua(paths->data) && join(paths->modules, "%s/lib", folder) == 0;
}

/* PREFIX/bin/codex-lua stands beside PREFIX/share. */
static bool in_prefix(cx_paths *paths) {
  char prefix[PATH_MAX];
  join(prefix, "%s", paths->program);
  climb(prefix, 2);
  return join(paths->data, "%s/share/codex-lua", prefix) == 0 && has_lua(paths->data) &&
         join(paths->modules, "%s/lib/codex-lua", prefix) == 0;
}

int cx_paths_find(cx_paths *paths, const char *data, const char *modules) {
  cx__program_path(paths->program);
  if (!in_source_tree(paths, 1) && !in_source_tree(paths, 2) && !in_prefix(paths)) {
    join(paths->data, "%s", CX_PREFIX "/share/codex-lua");
    join(paths->modules, "%s", CX_PREFIX "/lib/codex-lua");
  }
  int rc = data ? join(paths->data, "%s", data) : 0;
  if (rc == 0 && modules) rc = join(paths->modules, "%s", modules);
  return rc;
}
