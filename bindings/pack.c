/* Plain values as bytes, and as copies; see pack.h. */
#include "pack.h"

#include <lauxlib.h>
#include <stdbool.h>
#include <string.h>

#include "bind.h"
#include "modules.h"

enum { MAX_DEPTH = 1000 };

/* What a byte says that follows; of a table, what its metatable is. */
enum { NIL, FALSE, TRUE, INTEGER, FLOAT, STRING, POINTER, AGAIN, PLAIN, MARKED, DUPLICATES, END };

static const char *const marks[] = {"codex.json.array", "codex.json.object", "codex.json.number"};
enum { MARKS = sizeof marks / sizeof *marks };

/* ---- Writing ------------------------------------------------------------------------------ */

typedef struct {
  lua_State *L;
  cx_buf *out;
  int seen; /* the index of a table: the place of each table by its address */
  lua_Integer count;
  int depth;
} packer;

static void add(packer *p, const void *bytes, size_t n) {
  if (cx_buf_add(p->out, bytes, n) != 0) luaL_error(p->L, "out of memory");
}

static void add_tag(packer *p, char tag) { add(p, &tag, 1); }

static void add_value(packer *p, int index);

static void add_string(packer *p, int index) {
  size_t n;
  const char *text = lua_tolstring(p->L, index, &n);
  add(p, &n, sizeof n);
  add(p, text, n);
}

static void add_pairs(packer *p, int index) {
  lua_State *L = p->L;
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    add_value(p, lua_gettop(L) - 1);
    add_value(p, lua_gettop(L));
  }
  add_tag(p, END);
}

/* The metatable is on the stack: says which of codex.json's it is. */
static void add_kind(packer *p) {
  lua_State *L = p->L;
  for (int i = 0; i < MARKS; i++) {
    bool same = luaL_getmetatable(L, marks[i]) != LUA_TNIL && lua_rawequal(L, -1, -2);
    lua_pop(L, 1);
    if (!same) continue;
    add_tag(p, MARKED);
    add_tag(p, (char)i);
    return;
  }
  lua_pushliteral(L, "duplicates");
  if (lua_rawget(L, -2) == LUA_TTABLE) {
    add_tag(p, DUPLICATES);
    add_value(p, lua_gettop(L));
  } else {
    add_tag(p, PLAIN);
  }
  lua_pop(L, 1);
}

static void add_table(packer *p, int index) {
  lua_State *L = p->L;
  if (lua_rawgetp(L, p->seen, lua_topointer(L, index)) != LUA_TNIL) {
    lua_Integer place = lua_tointeger(L, -1);
    add_tag(p, AGAIN);
    add(p, &place, sizeof place);
    lua_pop(L, 1);
    return;
  }
  lua_pushinteger(L, ++p->count);
  lua_rawsetp(L, p->seen, lua_topointer(L, index));
  lua_pop(L, 1);
  if (lua_getmetatable(L, index)) {
    add_kind(p);
    lua_pop(L, 1);
  } else {
    add_tag(p, PLAIN);
  }
  add_pairs(p, index);
}

static void add_number(packer *p, int index) {
  lua_Integer integer = lua_tointeger(p->L, index);
  lua_Number number = lua_tonumber(p->L, index);
  bool is_integer = lua_isinteger(p->L, index);
  add_tag(p, is_integer ? INTEGER : FLOAT);
  if (is_integer)
    add(p, &integer, sizeof integer);
  else
    add(p, &number, sizeof number);
}

static void add_value(packer *p, int index) {
  lua_State *L = p->L;
  const void *pointer;
  if (++p->depth > MAX_DEPTH) luaL_error(L, "a value is nested too deeply");
  luaL_checkstack(L, 8, "a value");
  switch (lua_type(L, index)) {
  case LUA_TNIL:
    add_tag(p, NIL);
    break;
  case LUA_TBOOLEAN:
    add_tag(p, lua_toboolean(L, index) ? TRUE : FALSE);
    break;
  case LUA_TNUMBER:
    add_number(p, index);
    break;
  case LUA_TSTRING:
    add_tag(p, STRING);
    add_string(p, index);
    break;
  case LUA_TLIGHTUSERDATA:
    pointer = lua_touserdata(L, index);
    add_tag(p, POINTER);
    add(p, &pointer, sizeof pointer);
    break;
  case LUA_TTABLE:
    add_table(p, index);
    break;
  default: /* not luaL_typename, which asks the metatable of a value that may be hostile */
    luaL_error(L, "a %s is no plain value", lua_typename(L, lua_type(L, index)));
  }
  p->depth--;
}

void cx_pack_add(lua_State *L, int index, cx_buf *out) {
  packer p = {L, out, 0, 0, 0};
  index = lua_absindex(L, index);
  lua_newtable(L);
  p.seen = lua_gettop(L);
  add_value(&p, index);
  lua_settop(L, p.seen - 1);
}

/* ---- Reading ------------------------------------------------------------------------------ */

typedef struct {
  lua_State *L;
  const char *at;
  int made; /* the index of a list: the tables by their places */
  lua_Integer count;
} unpacker;

static void take(unpacker *u, void *bytes, size_t n) {
  memcpy(bytes, u->at, n);
  u->at += n;
}

static bool push_value(unpacker *u);

static void push_pairs(unpacker *u, int table) {
  while (push_value(u)) {
    push_value(u);
    lua_rawset(u->L, table);
  }
}

/* The list of duplicate keys is on the stack: it hangs on a metatable, as codex.json makes it. */
static void push_duplicates(unpacker *u) {
  lua_State *L = u->L;
  lua_createtable(L, 0, 2);
  lua_insert(L, -2);
  lua_setfield(L, -2, "duplicates");
  lua_pushstring(L, marks[1]);
  lua_setfield(L, -2, "__name");
}

static void push_table(unpacker *u, char tag) {
  lua_State *L = u->L;
  lua_Integer place = ++u->count;
  lua_newtable(L);
  int table = lua_gettop(L);
  lua_pushvalue(L, table);
  lua_rawseti(L, u->made, place);
  if (tag == MARKED) {
    luaL_setmetatable(L, marks[(int)*u->at++]);
  } else if (tag == DUPLICATES) {
    push_value(u);
    push_duplicates(u);
    lua_setmetatable(L, table);
  }
  push_pairs(u, table);
}

static void push_string(unpacker *u) {
  size_t n;
  take(u, &n, sizeof n);
  lua_pushlstring(u->L, u->at, n);
  u->at += n;
}

static void push_number(unpacker *u, char tag) {
  lua_Integer integer;
  lua_Number number;
  if (tag == INTEGER) {
    take(u, &integer, sizeof integer);
    lua_pushinteger(u->L, integer);
  } else {
    take(u, &number, sizeof number);
    lua_pushnumber(u->L, number);
  }
}

/* False, with nothing pushed, at the end of a table. */
static bool push_value(unpacker *u) {
  lua_State *L = u->L;
  lua_Integer place;
  void *pointer;
  char tag = *u->at++;
  luaL_checkstack(L, 8, "a value");
  switch (tag) {
  case END:
    return false;
  case NIL:
    lua_pushnil(L);
    return true;
  case FALSE:
  case TRUE:
    lua_pushboolean(L, tag == TRUE);
    return true;
  case INTEGER:
  case FLOAT:
    push_number(u, tag);
    return true;
  case STRING:
    push_string(u);
    return true;
  case POINTER:
    take(u, &pointer, sizeof pointer);
    lua_pushlightuserdata(L, pointer);
    return true;
  case AGAIN:
    take(u, &place, sizeof place);
    lua_rawgeti(L, u->made, place);
    return true;
  default:
    push_table(u, tag);
    return true;
  }
}

void cx_pack_push(lua_State *L, const cx_buf *in, int count) {
  unpacker u = {L, cx_buf_bytes(in), 0, 0};
  luaL_checkstack(L, count + 1, "values");
  lua_newtable(L);
  u.made = lua_gettop(L);
  for (int i = 0; i < count; i++) {
    u.count = 0; /* each value counts its own tables */
    push_value(&u);
  }
  lua_remove(L, u.made);
}

/* ---- For Lua ------------------------------------------------------------------------------ */

static const char buffer_type[] = "codex.pack.buffer";

static int free_buffer(lua_State *L) {
  cx_buf_free(luaL_checkudata(L, 1, buffer_type));
  return 0;
}

/* copy(value) -> a copy that shares no table with it; raises an error for what is not plain */
static int pack_copy(lua_State *L) {
  luaL_checkany(L, 1);
  lua_settop(L, 1);
  cx_buf *buf = cx_bind_new(L, buffer_type, sizeof *buf); /* freed in any case */
  cx_pack_add(L, 1, buf);
  cx_pack_push(L, buf, 1);
  cx_buf_free(buf);
  return 1;
}

int luaopen_codex_core_pack(lua_State *L) {
  static const luaL_Reg functions[] = {{"copy", pack_copy}, {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", free_buffer}, {NULL, NULL}};
  static const luaL_Reg none[] = {{NULL, NULL}};
  cx_bind_type(L, buffer_type, none, meta);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "codex.core.json");
  lua_call(L, 1, 0);
  luaL_newlib(L, functions);
  return 1;
}
