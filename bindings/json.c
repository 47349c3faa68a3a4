/* JSON for Lua: the module, and what writes. parse.c reads.
 *
 * What a Lua table cannot say is kept beside it: arrays carry a metatable, null is a light
 * userdata, integers beyond 64 bits are a codex.json.number with their text, and the later ones of
 * duplicate keys hang on a metatable of their object. */
#include "json.h"

#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bind.h"
#include "err.h"
#include "modules.h"
#include "parse.h"

static const char box_type[] = "codex.json.box";
enum { MAX_DEPTH = CX_PARSE_DEPTH, PRESIZED = 1 << 20, FEW_KEYS = 16, MAX_VALUES = 1 << 20 };

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

/* Owns the text that is being written, so that it does not leak when Lua raises an error. */
typedef struct {
  cx_buf text;
} box;

static const char box_key = 'b'; /* in the registry: the box that nobody uses */

static int box_gc(lua_State *L) {
  cx_buf_free(&((box *)luaL_checkudata(L, 1, box_type))->text);
  return 0;
}

/* Pushes a box for as long as it is used. Code in the middle of writing, a finalizer say, may come
 * here again: it gets another one. One that is left behind by an error is collected. */
static box *take_box(lua_State *L) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &box_key) == LUA_TUSERDATA) {
    lua_pushboolean(L, 0);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &box_key);
    return lua_touserdata(L, -1);
  }
  lua_pop(L, 1);
  return cx_bind_new(L, box_type, sizeof(box));
}

static void give_box(lua_State *L, int index) {
  lua_pushvalue(L, index);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &box_key);
}

typedef struct {
  lua_State *L;
  cx_buf *out;
  bool pretty;
  cx_json_care care;
  int depth;
} writer;

static void add(writer *w, const char *bytes, size_t n) {
  if (cx_buf_add(w->out, bytes, n) != 0) luaL_error(w->L, "out of memory");
}

static void newline(writer *w) {
  if (!w->pretty) return;
  add(w, "\n", 1);
  for (int i = 0; i < w->depth; i++) add(w, "  ", 2);
}

static void write_value(writer *w);

static void write_string(writer *w, int index) {
  size_t n, bad = 0;
  const char *bytes = lua_tolstring(w->L, index, &n);
  int rc = cx_json_quote(w->out, bytes, n, w->care, &bad);
  if (rc == CX_EJSON)
    luaL_error(w->L, "a string is not UTF-8 (at byte %d) and cannot be written as JSON",
               (int)bad + 1);
  if (rc != 0) luaL_error(w->L, "out of memory");
}

static void write_number(writer *w) {
  char text[48];
  int n;
  if (lua_isinteger(w->L, -1)) {
    n = snprintf(text, sizeof text, LUA_INTEGER_FMT, lua_tointeger(w->L, -1));
  } else {
    double value = lua_tonumber(w->L, -1);
    if (!isfinite(value)) luaL_error(w->L, "%f cannot be written as JSON", value);
    n = snprintf(text, sizeof text, "%.15g", value);
    if (strtod(text, NULL) != value) n = snprintf(text, sizeof text, "%.17g", value);
    char *point = text + strspn(text, "-+0123456789eE");
    if (*point) *point = '.'; /* the locale may have another one */
  }
  add(w, text, (size_t)n);
}

/* A key beside 1..n would be dropped silently; it is refused instead. */
static void check_array(lua_State *L, lua_Integer n) {
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
    if (!lua_isinteger(L, -2) || lua_tointeger(L, -2) < 1 || lua_tointeger(L, -2) > n)
      luaL_error(L, "a table with both list items and the key '%s' cannot be written as JSON",
                 luaL_tolstring(L, -2, NULL));
}

static void write_array(writer *w, lua_Integer n) {
  check_array(w->L, n);
  add(w, "[", 1);
  w->depth++;
  for (lua_Integer i = 1; i <= n; i++) {
    if (i > 1) add(w, ",", 1);
    newline(w);
    if (lua_rawgeti(w->L, -1, i) == LUA_TNIL)
      luaL_error(w->L, "an array has a hole at %I; use null", (LUAI_UACINT)i);
    write_value(w);
    lua_pop(w->L, 1);
  }
  w->depth--;
  if (n > 0) newline(w);
  add(w, "]", 1);
}

/* Stack: ..., key, value. */
static void write_pair(writer *w, bool first) {
  if (!first) add(w, ",", 1);
  newline(w);
  write_string(w, -2);
  add(w, ": ", w->pretty ? 2 : 1);
  write_value(w);
}

typedef struct {
  const char *text;
  size_t n;
} key;

static int compare_keys(const void *a, const void *b) {
  const key *x = a, *y = b;
  int order = memcmp(x->text, y->text, x->n < y->n ? x->n : y->n);
  return order ? order : (x->n > y->n) - (x->n < y->n);
}

/* How many keys there are; the first `room` of them are listed. The list of keys at `kept` keeps
 * their texts, also when a finalizer changes the object while it is written. */
static size_t list_keys(lua_State *L, int object, key *keys, size_t room, int kept) {
  size_t n = 0;
  for (lua_pushnil(L); lua_next(L, object); n++) {
    if (lua_type(L, -2) != LUA_TSTRING)
      luaL_error(L, "a table with a %s key cannot be written as JSON (neither array nor object)",
                 luaL_typename(L, -2));
    lua_pop(L, 1);
    if (n >= room) continue;
    keys[n].text = lua_tolstring(L, -1, &keys[n].n);
    lua_pushvalue(L, -1);
    if (kept)
      lua_rawseti(L, kept, (lua_Integer)n + 1);
    else
      lua_insert(L, -2); /* below the key that is last: on the stack */
  }
  return n;
}

/* The keys of an object with more of them than the stack should take: listed where they keep. */
static key *list_many(lua_State *L, int object, size_t *n) {
  size_t room = *n;
  lua_settop(L, object);
  key *keys = lua_newuserdatauv(L, room * sizeof *keys, 0);
  lua_createtable(L, room < PRESIZED ? (int)room : PRESIZED, 0);
  *n = list_keys(L, object, keys, room, lua_gettop(L));
  if (*n > room) *n = room;
  return keys;
}

/* A metatable is a script's to make: what it says is looked at. */
static lua_Integer write_duplicates(writer *w, int object, lua_Integer written) {
  lua_State *L = w->L;
  int type = luaL_getmetafield(L, object, "duplicates");
  if (type == LUA_TNIL) return written;
  if (type != LUA_TTABLE) luaL_error(L, "the duplicates of an object must be a list");
  for (lua_Integer i = 1; (type = lua_rawgeti(L, -1, i)) != LUA_TNIL; i++) {
    if (type != LUA_TTABLE || lua_rawgeti(L, -1, 1) != LUA_TSTRING)
      luaL_error(L, "a duplicate of an object must be a list of a string and a value");
    lua_rawgeti(L, -2, 2);
    write_pair(w, written++ == 0);
    lua_pop(L, 3);
  }
  lua_pop(L, 2);
  return written;
}

static void write_object(writer *w) {
  lua_State *L = w->L;
  int object = lua_gettop(L);
  key few[FEW_KEYS], *keys = few;
  luaL_checkstack(L, FEW_KEYS, "JSON");
  size_t n = list_keys(L, object, few, FEW_KEYS, 0);
  if (n > FEW_KEYS) keys = list_many(L, object, &n);
  qsort(keys, n, sizeof *keys, compare_keys); /* the same value gives the same text */
  add(w, "{", 1);
  w->depth++;
  for (size_t i = 0; i < n; i++) {
    lua_pushlstring(L, keys[i].text, keys[i].n);
    lua_pushvalue(L, -1);
    lua_rawget(L, object);
    write_pair(w, i == 0);
    lua_pop(L, 2);
  }
  lua_settop(L, object);
  lua_Integer written = write_duplicates(w, object, (lua_Integer)n);
  w->depth--;
  if (written > 0) newline(w);
  add(w, "}", 1);
}

/* An integer beyond 64 bits: its text, which must be one. */
static void write_numeral(writer *w) {
  size_t n = 0;
  const char *text = lua_rawgeti(w->L, -1, 1) == LUA_TSTRING ? lua_tolstring(w->L, -1, &n) : "";
  bool negative = *text == '-';
  size_t digits = strspn(text + negative, "0123456789");
  if (digits == 0 || negative + digits != n) luaL_error(w->L, "a number has no digits");
  add(w, text, n);
  lua_pop(w->L, 1);
}

static void write_table(writer *w) {
  lua_State *L = w->L;
  if (w->depth >= MAX_DEPTH) luaL_error(L, "nested too deeply for JSON (a cycle?)");
  luaL_checkstack(L, 12, "JSON");
  const char *name = NULL;
  if (luaL_getmetafield(L, -1, "__name") != LUA_TNIL) {
    name = lua_tostring(L, -1);
    lua_pop(L, 1);
  }
  lua_Integer n = (lua_Integer)lua_rawlen(L, -1);
  if (name && strcmp(name, CX_JSON_NUMBER) == 0) {
    write_numeral(w);
  } else if (n > 0 || (name && strcmp(name, CX_JSON_ARRAY) == 0)) {
    write_array(w, n);
  } else {
    write_object(w);
  }
}

static void write_value(writer *w) {
  lua_State *L = w->L;
  switch (lua_type(L, -1)) {
  case LUA_TBOOLEAN:
    add(w, lua_toboolean(L, -1) ? "true" : "false", lua_toboolean(L, -1) ? 4 : 5);
    return;
  case LUA_TNUMBER:
    write_number(w);
    return;
  case LUA_TSTRING:
    write_string(w, -1);
    return;
  case LUA_TTABLE:
    write_table(w);
    return;
  case LUA_TLIGHTUSERDATA:
    if (!lua_touserdata(L, -1)) {
      add(w, "null", 4);
      return;
    }
  }
  luaL_error(L, "a %s cannot be written as JSON", luaL_typename(L, -1));
}

/* encode(value [, { pretty =, unicode =, repair = }]) -> text; keys are sorted */
static int json_encode(lua_State *L) {
  luaL_checkany(L, 1);
  writer w = {L, NULL, false, CX_JSON_KEEP, 0};
  if (lua_istable(L, 2)) {
    w.pretty = cx_opt_bool(L, 2, "pretty", false);
    if (cx_opt_bool(L, 2, "unicode", false)) w.care = CX_JSON_UNICODE;
    if (cx_opt_bool(L, 2, "repair", false)) w.care = CX_JSON_REPAIR;
  }
  lua_settop(L, 1);
  w.out = &take_box(L)->text;
  lua_pushvalue(L, 1);
  write_value(&w);
  lua_pushlstring(L, cx_buf_bytes(w.out), w.out->len);
  cx_buf_free(w.out);
  give_box(L, 2);
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

static const luaL_Reg functions[] = {{"decode", json_decode},         {"encode", json_encode},
                                     {"array", json_array},           {"object", json_object},
                                     {"duplicates", json_duplicates}, {NULL, NULL}};
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
  lua_pushlightuserdata(L, NULL);
  lua_setfield(L, -2, "null");
  return 1;
}
