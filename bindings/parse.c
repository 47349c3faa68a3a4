/* JSON text to Lua values in one pass; see parse.h.
 *
 * It is a reader by descent, a function for each thing of the grammar; the words are token.h's.
 * Each function finds `s` where its thing begins, leaves it behind the thing, and pushes one value;
 * or it returns false, and whatever is on the stack then is dropped at once.
 *
 * A finalizer may run at any push and may come here again: all that is remembered lies on the
 * stacks of C and Lua. */
#include "parse.h"

#include <lauxlib.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "err.h"

/* Members of one container, and names of all together, that wait for their table. */
enum { HELD = 32, NAMES = 256 };

typedef struct {
  lua_State *L;
  cx_tokens t;
  int rc;
  int array_mark; /* where on the stack it is */
  int depth;
  size_t values_left;
  luaL_Buffer *buffer; /* where a string with escapes is put together */
  cx_span *names;      /* of objects that are open and have no table yet */
  int named;
} reader;

static bool read_value(reader *r);

static bool refuse(reader *r, int rc, const char *what) {
  r->rc = rc;
  return cx_token_refuse(&r->t, what);
}

/* ---- Strings and numbers -------------------------------------------------------------------- */

/* Its bytes are those of the text, where it has no escapes. */
static bool read_string(reader *r, cx_span *bytes) {
  cx_span inside;
  bool escaped;
  if (!cx_token_read_string(&r->t, &inside, &escaped)) return false;
  *bytes = inside;
  if (!escaped) {
    lua_pushlstring(r->L, inside.at, inside.n);
    return true;
  }
  char *room = luaL_buffinitsize(r->L, r->buffer, inside.n);
  luaL_pushresultsize(r->buffer, cx_token_unescape(inside, room));
  bytes->at = lua_tolstring(r->L, -1, &bytes->n);
  return true;
}

/* Whole numbers are integers as long as a double tells each from the next. */
static void push_real(lua_State *L, double value) {
  if (fabs(value) <= 9007199254740992.0 && value == floor(value))
    lua_pushinteger(L, (lua_Integer)value);
  else
    lua_pushnumber(L, value);
}

static void push_numeral(lua_State *L, cx_span text) {
  lua_createtable(L, 1, 0);
  lua_pushlstring(L, text.at, text.n);
  lua_rawseti(L, -2, 1);
  luaL_setmetatable(L, CX_JSON_NUMBER);
}

static bool read_number(reader *r) {
  cx_number number;
  int64_t integer;
  if (!cx_token_read_number(&r->t, &number)) return false;
  if (!number.is_whole)
    push_real(r->L, cx_number_real(&number));
  else if (cx_number_integer(&number, &integer))
    lua_pushinteger(r->L, integer);
  else
    push_numeral(r->L, number.text);
  return true;
}

/* ---- Objects -------------------------------------------------------------------------------- */

/* Most tables are made when their end is seen, in their size, which costs less than growing them.
 * Until then the members stand on the stack, and `base` keeps the table's place. */
typedef struct {
  int base;
  int first_name; /* of its names in the list; they are known to differ */
  bool is_made;
} object;

/* All that stands above the base are pairs. */
static void make_object(reader *r, object *o) {
  int pairs = (lua_gettop(r->L) - o->base) / 2;
  lua_createtable(r->L, 0, pairs);
  lua_replace(r->L, o->base);
  for (; pairs > 0; pairs--) lua_rawset(r->L, o->base);
  r->named = o->first_name;
  o->is_made = true;
}

static bool are_equal(cx_span a, cx_span b) {
  return a.n == b.n && *a.at == *b.at && memcmp(a.at, b.at, a.n) == 0;
}

/* Whether none of the names is this one; cheaper than to ask a table, where they are few. */
static bool is_new(const reader *r, const object *o, cx_span one) {
  for (int i = o->first_name; i < r->named; i++)
    if (are_equal(r->names[i], one)) return false;
  return true;
}

static bool is_full(const reader *r, const object *o) {
  return r->named == NAMES || r->named - o->first_name == HELD;
}

static bool read_name(reader *r, object *o) {
  lua_State *L = r->L;
  cx_span one;
  if (!cx_token_is_at(&r->t, '"')) return cx_token_refuse(&r->t, "a name is missing");
  if (!o->is_made && is_full(r, o)) make_object(r, o);
  if (!read_string(r, &one)) return false;
  if (o->is_made) return true;
  if (is_new(r, o, one)) {
    r->names[r->named++] = one;
    return true;
  }
  lua_insert(L, o->base + 1); /* below the pairs */
  make_object(r, o);
  return true;
}

/* Pushes the list of duplicates of an object, which gets a metatable of its own for it. */
static void push_duplicates(lua_State *L, int index) {
  if (!lua_getmetatable(L, index)) {
    lua_createtable(L, 0, 2);
    lua_pushliteral(L, CX_JSON_OBJECT);
    lua_setfield(L, -2, "__name");
    lua_newtable(L);
    lua_setfield(L, -2, "duplicates");
    lua_pushvalue(L, -1);
    lua_setmetatable(L, index);
  }
  lua_getfield(L, -1, "duplicates");
  lua_remove(L, -2);
}

/* Stack: name, value; takes them. */
static void keep_duplicate(lua_State *L, int index) {
  int pair = lua_gettop(L) - 1;
  push_duplicates(L, index);
  lua_createtable(L, 2, 0);
  for (int i = 1; i <= 2; i++) {
    lua_pushvalue(L, pair + i - 1);
    lua_rawseti(L, -2, i);
  }
  lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
  lua_settop(L, pair - 1);
}

/* Stack: name, value; takes them. */
static void store_pair(lua_State *L, int index) {
  lua_pushvalue(L, -2);
  bool is_taken = lua_rawget(L, index) != LUA_TNIL;
  lua_pop(L, 1);
  if (is_taken)
    keep_duplicate(L, index);
  else
    lua_rawset(L, index);
}

static bool read_object(reader *r) {
  object o = {lua_gettop(r->L) + 1, r->named, false};
  lua_pushnil(r->L);
  bool more = !cx_token_take_empty(&r->t, '}');
  while (more) {
    if (!read_name(r, &o) || !cx_token_read_colon(&r->t) || !read_value(r)) return false;
    if (!cx_token_read_next(&r->t, '}', &more)) return false;
    if (o.is_made) store_pair(r->L, o.base);
  }
  if (!o.is_made) make_object(r, &o);
  return true;
}

/* ---- Arrays --------------------------------------------------------------------------------- */

/* All that stands above the base are items. */
static void make_array(reader *r, int base) {
  int items = lua_gettop(r->L) - base;
  lua_createtable(r->L, items, 0);
  lua_pushvalue(r->L, r->array_mark);
  lua_setmetatable(r->L, -2);
  lua_replace(r->L, base);
  for (; items > 0; items--) lua_rawseti(r->L, base, items);
}

static bool read_array(reader *r) {
  int base = lua_gettop(r->L) + 1;
  lua_Integer items = 0;
  lua_pushnil(r->L);
  bool more = !cx_token_take_empty(&r->t, ']');
  while (more) {
    if (!read_value(r) || !cx_token_read_next(&r->t, ']', &more)) return false;
    if (++items == HELD) make_array(r, base);
    if (items > HELD) lua_rawseti(r->L, base, items);
  }
  if (items < HELD) make_array(r, base);
  return true;
}

/* ---- Values --------------------------------------------------------------------------------- */

static bool read_container(reader *r) {
  if (r->depth == CX_PARSE_DEPTH) return refuse(r, CX_EDEPTH, "nested too deeply");
  luaL_checkstack(r->L, 2 * HELD + 16, "JSON");
  r->depth++;
  bool ok = *r->t.s++ == '{' ? read_object(r) : read_array(r);
  r->depth--;
  return ok;
}

static bool read_bool(reader *r, const char *word) {
  lua_pushboolean(r->L, *word == 't');
  return cx_token_read_word(&r->t, word);
}

static bool read_null(reader *r) {
  lua_pushlightuserdata(r->L, NULL);
  return cx_token_read_word(&r->t, "null");
}

static bool read_value(reader *r) {
  cx_span bytes;
  if (r->t.s == r->t.end) return cx_token_refuse(&r->t, "the text ends too early");
  if (r->values_left-- == 0) return refuse(r, CX_ETOOMANY, "more values than the limit");
  switch (*r->t.s) {
  case '"':
    return read_string(r, &bytes);
  case '{':
  case '[':
    return read_container(r);
  case 't':
    return read_bool(r, "true");
  case 'f':
    return read_bool(r, "false");
  case 'n':
    return read_null(r);
  default:
    return read_number(r);
  }
}

int cx_parse_json(lua_State *L, const char *text, size_t n, size_t max_values, cx_fault *fault) {
  int top = lua_gettop(L);
  luaL_Buffer buffer;
  cx_span names[NAMES];
  luaL_checkstack(L, 16, "JSON");
  luaL_getmetatable(L, CX_JSON_ARRAY);
  reader r = {.L = L,
              .t = {.start = text, .s = text, .end = text + n, .takes_halves = true},
              .rc = CX_EJSON, /* what the words refuse is no JSON */
              .array_mark = top + 1,
              .values_left = max_values,
              .buffer = &buffer,
              .names = names};
  cx_token_skip_space(&r.t);
  bool ok = read_value(&r) && cx_token_read_end(&r.t);
  *fault = cx_token_fault(&r.t);
  if (ok)
    lua_remove(L, top + 1);
  else
    lua_settop(L, top);
  return ok ? 0 : r.rc;
}
