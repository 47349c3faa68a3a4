/* JSON for Lua: the module. parse.c reads, write.c writes.
 *
 * What a Lua table cannot say is kept beside it: arrays carry a metatable, null is a light
 * userdata, integers beyond 64 bits are a codex.json.number with their text, and the later ones of
 * duplicate keys hang on a metatable of their object. */
#include <lauxlib.h>

#include "bind.h"
#include "err.h"
#include "modules.h"
#include "parse.h"
#include "write.h"

static const char box_type[] = "codex.json.box";
enum { MAX_VALUES = 1 << 20 };

/* ---- Reading ------------------------------------------------------------------------------ */

static size_t opt_max_values(lua_State *L) {
  if (!lua_istable(L, 2)) return MAX_VALUES;
  lua_Integer most = cx_opt_integer(L, 2, "max_values", MAX_VALUES);
  if (most < 1) luaL_error(L, "option 'max_values' must be 1 or more");
  return (size_t)most;
}

static void push_message(lua_State *L, int rc, const cx_fault *fault) {
  lua_Integer at = (lua_Integer)fault->at + 1;
  const char *text = cx_err_text(rc);
  if (rc == CX_EJSON)
    lua_pushfstring(L, "%s: %s (near byte %I)", text, fault->what, at);
  else if (rc == CX_EDEPTH)
    lua_pushfstring(L, "%s (near byte %I)", text, at);
  else
    lua_pushstring(L, text);
}

/* decode(text [, { max_values = }]) -> value | nil, message, name */
static int json_decode(lua_State *L) {
  size_t n;
  cx_fault fault;
  const char *text = luaL_checklstring(L, 1, &n);
  size_t max_values = opt_max_values(L);
  lua_settop(L, 1);
  int rc = cx_parse_json(L, text, n, max_values, &fault);
  if (rc == 0) return 1;
  lua_pushnil(L);
  push_message(L, rc, &fault);
  lua_pushstring(L, cx_err_name(rc));
  return 3;
}

int cx_bind_push_json(lua_State *L, const char *text, size_t n) {
  cx_fault fault;
  return cx_parse_json(L, text, n, MAX_VALUES, &fault);
}

/* ---- Writing ------------------------------------------------------------------------------ */

enum { KEPT = 64 * 1024 }; /* bytes of memory that serve the next text, too */

/* Owns the text that is being written, so that it does not leak when Lua raises an error. */
typedef struct {
  cx_buf text;
} box;

static int box_gc(lua_State *L) {
  cx_buf_free(&((box *)luaL_checkudata(L, 1, box_type))->text);
  return 0;
}

/* The upvalues of encode(): a box that nobody uses, or nil, and the mark of arrays. */
#define SPARE_BOX lua_upvalueindex(1)
#define ARRAY_MARK lua_upvalueindex(2)

/* Pushes a box for as long as it is used. Code in the middle of writing, a finalizer say, may come
 * here again: it gets another one. One that is left behind by an error is collected. */
static box *take_box(lua_State *L) {
  if (lua_isnil(L, SPARE_BOX)) {
    box *b = lua_newuserdatauv(L, sizeof *b, 0);
    *b = (box){0};
    luaL_setmetatable(L, box_type);
    return b;
  }
  lua_pushvalue(L, SPARE_BOX);
  lua_pushnil(L);
  lua_replace(L, SPARE_BOX);
  return lua_touserdata(L, -1);
}

static void give_box(lua_State *L, int index, box *b) {
  if (b->text.cap > KEPT)
    cx_buf_free(&b->text);
  else
    cx_buf_drop(&b->text, b->text.len);
  lua_copy(L, index, SPARE_BOX);
}

/* encode(value [, { pretty =, unicode =, repair = }]) -> text; keys are sorted */
static int json_encode(lua_State *L) {
  cx_write how = {.care = CX_JSON_KEEP, .array_mark = lua_topointer(L, ARRAY_MARK)};
  luaL_checkany(L, 1);
  if (lua_istable(L, 2)) {
    how.pretty = cx_opt_bool(L, 2, "pretty", false);
    if (cx_opt_bool(L, 2, "unicode", false)) how.care = CX_JSON_UNICODE;
    if (cx_opt_bool(L, 2, "repair", false)) how.care = CX_JSON_REPAIR;
  }
  lua_settop(L, 1);
  box *b = take_box(L);
  cx_write_json(L, 1, &how, &b->text);
  lua_pushlstring(L, cx_buf_bytes(&b->text), b->text.len);
  give_box(L, 2, b);
  return 1;
}

/* ---- Marks -------------------------------------------------------------------------------- */

static int json_array(lua_State *L) {
  lua_settop(L, 1);
  if (lua_isnil(L, 1)) lua_newtable(L);
  luaL_checktype(L, -1, LUA_TTABLE);
  luaL_setmetatable(L, CX_JSON_ARRAY);
  return 1;
}

static int json_object(lua_State *L) {
  lua_settop(L, 1);
  if (lua_isnil(L, 1)) lua_newtable(L);
  luaL_checktype(L, -1, LUA_TTABLE);
  luaL_setmetatable(L, CX_JSON_OBJECT);
  return 1;
}

/* duplicates(object) -> list of {key, value} that came after the first of their key, or nil */
static int json_duplicates(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  return luaL_getmetafield(L, 1, "duplicates") == LUA_TNIL ? 0 : 1;
}

static int number_tostring(lua_State *L) {
  lua_rawgeti(L, 1, 1);
  return 1;
}

static int number_eq(lua_State *L) {
  lua_rawgeti(L, 1, 1);
  lua_rawgeti(L, 2, 1);
  lua_pushboolean(L, lua_rawequal(L, -1, -2));
  return 1;
}

static const luaL_Reg functions[] = {{"decode", json_decode},
                                     {"array", json_array},
                                     {"object", json_object},
                                     {"duplicates", json_duplicates},
                                     {NULL, NULL}};
static const luaL_Reg plain_meta[] = {{NULL, NULL}};
static const luaL_Reg box_meta[] = {{"__gc", box_gc}, {NULL, NULL}};
static const luaL_Reg number_meta[] = {
    {"__tostring", number_tostring}, {"__eq", number_eq}, {NULL, NULL}};

static void add_mark(lua_State *L, const char *name, const luaL_Reg *meta) {
  luaL_newmetatable(L, name);
  luaL_setfuncs(L, meta, 0);
  lua_pop(L, 1);
}

int luaopen_codex_core_json(lua_State *L) {
  add_mark(L, CX_JSON_ARRAY, plain_meta);
  add_mark(L, CX_JSON_OBJECT, plain_meta);
  add_mark(L, CX_JSON_NUMBER, number_meta);
  add_mark(L, box_type, box_meta);
  luaL_newlib(L, functions);
  lua_pushnil(L);
  luaL_getmetatable(L, CX_JSON_ARRAY);
  lua_pushcclosure(L, json_encode, 2);
  lua_setfield(L, -2, "encode");
  lua_pushlightuserdata(L, NULL);
  lua_setfield(L, -2, "null");
  return 1;
}
