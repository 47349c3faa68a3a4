/* The outside of messages for Lua, read strictly: for a boundary, where one decides about what
 * another reads. See host/envelope.h. */
#include "envelope.h"

#include <stdlib.h>
#include <string.h>

#include "bind.h"
#include "err.h"
#include "modules.h"

static const char type[] = "codex.places";
static const char *const kinds[] = {"request", "notification", "result", "error"};

/* ---- Places --------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The userdata: its paths lie in the strings of the list, which is its user value. */
typedef struct {
  cx_places places;
  const char *paths[];
} held_places;

/* places(list of paths) -> places */
static int envelope_places(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  size_t count = lua_rawlen(L, 1);
  lua_settop(L, 1);
  lua_newtable(L);
  held_places *held = cx_bind_new(L, type, sizeof *held + count * sizeof(char *));
  for (size_t i = 0; i < count; i++) {
    lua_rawgeti(L, 1, (lua_Integer)i + 1);
    held->paths[i] = cx_check_text(L, -1);
    lua_rawseti(L, 2, (lua_Integer)i + 1);
  }
  qsort(held->paths, count, sizeof(char *), compare);
  held->places = (cx_places){held->paths, count};
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, 3, 1);
  return 1;
}

/* ---- Messages ------------------------------------------------------------------------------- */

/* Pushes the canonical form of an id; nil where there is none. */
static void push_id(lua_State *L, cx_span id) {
  cx_buf canonical = {0};
  if (!id.n) {
    lua_pushnil(L);
    return;
  }
  int rc = cx_envelope_id(id, &canonical);
  if (rc != 0) {
    cx_buf_free(&canonical);
    luaL_error(L, "%s", cx_err_text(rc));
  }
  cx_bind_push_buf(L, &canonical);
}

static void push_method(lua_State *L, cx_span literal) {
  cx_buf scratch = {0};
  cx_span text;
  if (!literal.n) {
    lua_pushnil(L);
    return;
  }
  if (cx_token_unquote(literal, &scratch, &text) != 0) {
    cx_buf_free(&scratch);
    luaL_error(L, "%s", cx_err_text(CX_EMEMORY));
  }
  if (scratch.len)
    cx_bind_push_buf(L, &scratch);
  else
    lua_pushlstring(L, text.at, text.n);
}

/* read(line, places | nil) -> kind, method | nil, id | nil, whether the id stands there in its
 * canonical form; or nil, what is wrong, id | nil, the name of the error */
static int envelope_read(lua_State *L) {
  size_t n;
  const char *line = luaL_checklstring(L, 1, &n);
  const held_places *held = lua_isnoneornil(L, 2) ? NULL : luaL_checkudata(L, 2, type);
  cx_envelope e;
  int rc = cx_envelope_read(&e, line, n, held ? &held->places : NULL);
  if (rc == CX_EMEMORY) return luaL_error(L, "%s", cx_err_text(rc));
  if (rc != 0) {
    lua_pushnil(L);
    lua_pushstring(L, e.problem);
    push_id(L, e.id);
    lua_pushstring(L, cx_err_name(rc));
    return 4;
  }
  lua_pushstring(L, kinds[e.kind]);
  push_method(L, e.method);
  push_id(L, e.id);
  lua_pushboolean(L, e.id_is_plain);
  return 4;
}

/* id(text) -> its canonical form | nil where the text is no id */
static int envelope_id(lua_State *L) {
  cx_span text;
  cx_buf canonical = {0};
  cx_fault fault;
  text.at = luaL_checklstring(L, 1, &text.n);
  bool is_id =
      cx_scan(text.at, text.n, NULL, NULL, &fault) == 0 && cx_envelope_id(text, &canonical) == 0;
  if (is_id) {
    cx_bind_push_buf(L, &canonical);
  } else {
    cx_buf_free(&canonical);
    lua_pushnil(L);
  }
  return 1;
}

/* with_id(line, id) -> the message with this JSON text in place of its id; nil where it has none,
 * or is no message. All other bytes stay as they are. */
static int envelope_with_id(lua_State *L) {
  size_t n, id_n;
  const char *line = luaL_checklstring(L, 1, &n), *id = luaL_checklstring(L, 2, &id_n);
  cx_buf scratch = {0};
  cx_message m;
  int rc = cx_message_read(&m, line, n, &scratch);
  cx_buf_free(&scratch);
  if (rc != 0 || !m.id.n) {
    lua_pushnil(L);
    return 1;
  }
  size_t before = (size_t)(m.id.at - line), after = before + m.id.n;
  luaL_Buffer b;
  luaL_buffinitsize(L, &b, n - m.id.n + id_n);
  luaL_addlstring(&b, line, before);
  luaL_addlstring(&b, id, id_n);
  luaL_addlstring(&b, line + after, n - after);
  luaL_pushresult(&b);
  return 1;
}

static const luaL_Reg none[] = {{NULL, NULL}};
static const luaL_Reg functions[] = {{"places", envelope_places},
                                     {"read", envelope_read},
                                     {"id", envelope_id},
                                     {"with_id", envelope_with_id},
                                     {NULL, NULL}};

int luaopen_codex_core_envelope(lua_State *L) {
  cx_bind_type(L, type, none, none);
  luaL_newlib(L, functions);
  return 1;
}
