/* codex.core.stat: what a file is, as little as whoever looks at many needs of it: luv's table of
 * 17 members, four of them tables, takes ten times as long, and every folder on the way to every
 * hook is looked at. */
#include <errno.h>
#include <sys/stat.h>

#include "bind.h"
#include "modules.h"

static void set(lua_State *L, const char *name, lua_Integer value) {
  lua_pushinteger(L, value);
  lua_setfield(L, -2, name);
}

static int push(lua_State *L, int rc, const struct stat *found) {
  if (rc != 0) return cx_bind_fail(L, -errno);
  lua_createtable(L, 0, 5);
  set(L, "mode", found->st_mode);
  set(L, "uid", found->st_uid);
  set(L, "dev", (lua_Integer)found->st_dev);
  set(L, "ino", (lua_Integer)found->st_ino);
  set(L, "size", found->st_size);
  return 1;
}

/* at(path) -> { mode, uid, dev, ino, size } of what has this name, be it a link; nil, name, text:
 * an error */
static int stat_at(lua_State *L) {
  struct stat found;
  return push(L, lstat(cx_check_text(L, 1), &found), &found);
}

/* of(fd) -> the same of an open file */
static int stat_of(lua_State *L) {
  struct stat found;
  return push(L, fstat(cx_check_fd(L, 1), &found), &found);
}

static const luaL_Reg functions[] = {{"at", stat_at}, {"of", stat_of}, {NULL, NULL}};

int luaopen_codex_core_stat(lua_State *L) {
  luaL_newlib(L, functions);
  return 1;
}
