/* Newline frames for Lua: feed bytes from anywhere, take lines.
 *
 * The userdata holds the cx_lines itself; there is nothing to close but memory. */
#include "lines.h"

#include "bind.h"
#include "err.h"
#include "modules.h"

static const char type[] = "codex.lines";
enum { DEFAULT_LIMIT = 64 * 1024 * 1024 };

static cx_lines *self(lua_State *L) { return luaL_checkudata(L, 1, type); }

static int lines_new(lua_State *L) {
  lua_Integer limit = luaL_optinteger(L, 1, DEFAULT_LIMIT);
  luaL_argcheck(L, limit > 0, 1, "the limit must be positive");
  cx_lines_init(cx_bind_new(L, type, sizeof(cx_lines)), (size_t)limit);
  return 1;
}

static int lines_feed(lua_State *L) {
  size_t n;
  cx_lines *lines = self(L);
  const char *data = luaL_checklstring(L, 2, &n);
  int rc = cx_lines_feed(lines, data, n);
  return rc ? luaL_error(L, "%s", cx_err_text(rc)) : 0;
}

static int lines_finish(lua_State *L) {
  cx_lines_end(self(L));
  return 0;
}

static int lines_next(lua_State *L) {
  const char *line;
  size_t n;
  int rc = cx_lines_next(self(L), &line, &n);
  if (rc < 0) return cx_bind_fail(L, rc);
  if (rc == 0) return 0;
  lua_pushlstring(L, line, n);
  return 1;
}

static int lines_gc(lua_State *L) {
  cx_lines_free(self(L));
  return 0;
}

static const luaL_Reg methods[] = {
    {"feed", lines_feed}, {"finish", lines_finish}, {"next", lines_next}, {NULL, NULL}};
static const luaL_Reg meta[] = {{"__gc", lines_gc}, {NULL, NULL}};
static const luaL_Reg functions[] = {{"new", lines_new}, {NULL, NULL}};

int luaopen_codex_core_lines(lua_State *L) {
  cx_bind_type(L, type, methods, meta);
  luaL_newlib(L, functions);
  return 1;
}
