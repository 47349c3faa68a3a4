/* Lua values to JSON text; see write.h.
 *
 * A function for each kind of value, which finds it at `index`, a place on the stack that does not
 * move, and leaves the stack as it was. A finalizer may run in between and change what is being
 * written: names and values are taken from a table before anything else runs. */
#include "write.h"

#include <inttypes.h>
#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "parse.h"

/* Pairs of one object, and names of all that are open, that stand on the stacks; what is more is
 * listed in memory of Lua's. */
enum { FEW = 32, NAMES = 256, PRESIZED = 1 << 20 };

typedef struct {
  const char *text;
  size_t n;
  int place; /* of its value: on the stack, or in a list */
} name;

typedef struct {
  lua_State *L;
  cx_buf *out;
  const cx_write *how;
  int depth;
  name *names; /* of the objects that are being written */
  size_t named;
} writer;

static void write_value(writer *w, int index);

/* ---- Text ----------------------------------------------------------------------------------- */

static void add(writer *w, const char *bytes, size_t n) {
  if (cx_buf_add(w->out, bytes, n) != 0) luaL_error(w->L, "out of memory");
}

static void add_byte(writer *w, char c) {
  cx_buf *out = w->out;
  if (out->start + out->len == out->cap)
    add(w, &c, 1);
  else
    out->data[out->start + out->len++] = c;
}

static void add_line(writer *w) {
  if (!w->how->pretty) return;
  add_byte(w, '\n');
  for (int i = 0; i < w->depth; i++) add(w, "  ", 2);
}

static void begin(writer *w, char bracket) {
  add_byte(w, bracket);
  w->depth++;
}

static void separate(writer *w, bool is_first) {
  if (!is_first) add_byte(w, ',');
  add_line(w);
}

static void finish(writer *w, char bracket, bool is_empty) {
  w->depth--;
  if (!is_empty) add_line(w);
  add_byte(w, bracket);
}

static void write_string(writer *w, const char *bytes, size_t n) {
  size_t bad = 0;
  int rc = cx_json_quote(w->out, bytes, n, w->how->care, &bad);
  if (rc == CX_EJSON)
    luaL_error(w->L, "a string is not UTF-8 (at byte %d) and cannot be written as JSON",
               (int)bad + 1);
  if (rc != 0) luaL_error(w->L, "out of memory");
}

/* ---- Numbers -------------------------------------------------------------------------------- */

enum { DIGITS = 32 };

/* Writes digits so that they end at `end`, and returns where they begin. */
static char *put_digits(char *end, uint64_t value) {
  do *--end = (char)('0' + value % 10);
  while (value /= 10);
  return end;
}

static void write_integer(writer *w, lua_Integer value) {
  char text[DIGITS], *end = text + DIGITS;
  char *s = put_digits(end, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
  if (value < 0) *--s = '-';
  add(w, s, (size_t)(end - s));
}

/* A number as digits / 10^places. Fifteen digits come back from a double as they were, and what is
 * divided here is exact, so that the quotient is the double nearest to them. False where it takes
 * more than fifteen. */
static bool find_decimal(double size, uint64_t *digits, int *places) {
  static const double powers[] = {1,    1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8, 1e9,
                                  1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18};
  int n = 0;
  while (n < 18 && size * powers[n + 1] < 1e15) n++;
  double nearest = rint(size * powers[n]);
  if (nearest / powers[n] != size) return false;
  *digits = (uint64_t)nearest;
  for (; n > 0 && *digits % 10 == 0; n--) *digits /= 10;
  *places = n;
  return true;
}

static void write_decimal(writer *w, bool negative, uint64_t digits, int places) {
  char text[DIGITS], *end = text + DIGITS, *s = end;
  for (int i = 0; i < places; i++, digits /= 10) *--s = (char)('0' + digits % 10);
  if (places > 0) *--s = '.';
  s = put_digits(s, digits);
  if (negative) *--s = '-';
  add(w, s, (size_t)(end - s));
}

static void print(writer *w, int precision, double value) {
  char text[48];
  int n = snprintf(text, sizeof text, "%.*g", precision, value);
  char *point = text + strspn(text, "-+0123456789eE");
  if (*point) *point = '.'; /* the locale may have another one */
  add(w, text, (size_t)n);
}

/* Whether fifteen digits are enough. */
static bool is_short(double value) {
  char text[48];
  snprintf(text, sizeof text, "%.15g", value);
  return strtod(text, NULL) == value;
}

/* The shorter of what %.15g and %.17g write that reads as the value; they write it without an
 * exponent in the range that is first. */
static void write_float(writer *w, double value) {
  uint64_t digits;
  int places;
  double size = fabs(value);
  if (!isfinite(value)) luaL_error(w->L, "%f cannot be written as JSON", value);
  bool is_usual = size >= 1e-4 && size < 1e15;
  if (is_usual && find_decimal(size, &digits, &places))
    write_decimal(w, value < 0, digits, places);
  else
    print(w, !is_usual && is_short(value) ? 15 : 17, value);
}

static void write_number(writer *w, int index) {
  if (lua_isinteger(w->L, index))
    write_integer(w, lua_tointeger(w->L, index));
  else
    write_float(w, lua_tonumber(w->L, index));
}

/* An integer beyond 64 bits: its text, which must be one. */
static void write_numeral(writer *w, int index) {
  size_t n = 0;
  bool is_text = lua_rawgeti(w->L, index, 1) == LUA_TSTRING;
  const char *text = is_text ? lua_tolstring(w->L, -1, &n) : "";
  bool negative = *text == '-';
  size_t digits = strspn(text + negative, "0123456789");
  if (digits == 0 || negative + digits != n) luaL_error(w->L, "a number has no digits");
  if (digits > 1 && text[negative] == '0') luaL_error(w->L, "a number begins with 0");
  add(w, text, n);
  lua_pop(w->L, 1);
}

/* ---- Arrays --------------------------------------------------------------------------------- */

/* A key beside 1..n would be dropped silently; it is refused instead. */
static void check_keys(lua_State *L, int index, lua_Integer n) {
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    lua_Integer key = lua_isinteger(L, -2) ? lua_tointeger(L, -2) : 0;
    if (key < 1 || key > n)
      luaL_error(L, "a table with both list items and the key '%s' cannot be written as JSON",
                 luaL_tolstring(L, -2, NULL));
  }
}

static void write_array(writer *w, int index, lua_Integer n) {
  lua_State *L = w->L;
  int item = lua_gettop(L) + 1;
  check_keys(L, index, n);
  begin(w, '[');
  for (lua_Integer i = 1; i <= n; i++) {
    separate(w, i == 1);
    if (lua_rawgeti(L, index, i) == LUA_TNIL)
      luaL_error(L, "an array has a hole at %I; use null", (LUAI_UACINT)i);
    write_value(w, item);
    lua_settop(L, item - 1);
  }
  finish(w, ']', n == 0);
}

/* ---- Objects -------------------------------------------------------------------------------- */

static int compare(const name *x, const name *y) {
  int order = memcmp(x->text, y->text, x->n < y->n ? x->n : y->n);
  return order ? order : (x->n > y->n) - (x->n < y->n);
}

static int compare_any(const void *a, const void *b) { return compare(a, b); }

/* Few names are in order sooner so than by qsort(). */
static void sort_few(name *names, size_t n) {
  for (size_t i = 1; i < n; i++) {
    name one = names[i];
    size_t at = i;
    for (; at > 0 && compare(&one, &names[at - 1]) < 0; at--) names[at] = names[at - 1];
    names[at] = one;
  }
}

static void check_name(lua_State *L, int index) {
  if (lua_type(L, index) != LUA_TSTRING)
    luaL_error(L, "a table with a %s key cannot be written as JSON (neither array nor object)",
               luaL_typename(L, index));
}

static void write_pair(writer *w, bool is_first, const name *one, int value) {
  separate(w, is_first);
  write_string(w, one->text, one->n);
  add_byte(w, ':');
  if (w->how->pretty) add_byte(w, ' ');
  write_value(w, value);
}

/* Pushes the pairs of an object and lists their names. False where they are too many; then nothing
 * is pushed. */
static bool list_few(writer *w, int object, size_t *n) {
  lua_State *L = w->L;
  int top = lua_gettop(L);
  lua_pushnil(L);
  for (*n = 0; lua_next(L, object); ++*n) {
    check_name(L, -2);
    if (*n == FEW || w->named + *n == NAMES) {
      lua_settop(L, top);
      return false;
    }
    name *one = &w->names[w->named + *n];
    one->text = lua_tolstring(L, -2, &one->n);
    one->place = lua_gettop(L);
    lua_pushvalue(L, -2); /* the name, from which to go on */
  }
  return true;
}

static void write_few(writer *w, size_t n) {
  name *names = w->names + w->named;
  sort_few(names, n);
  w->named += n;
  for (size_t i = 0; i < n; i++) write_pair(w, i == 0, &names[i], names[i].place);
  w->named -= n;
}

static size_t count(lua_State *L, int object) {
  size_t n = 0;
  for (lua_pushnil(L); lua_next(L, object); lua_pop(L, 1)) n++;
  return n;
}

/* The pairs of an object of many, in a list, so that they keep. Stack: names, list. */
static size_t list_many(lua_State *L, int object) {
  size_t room = count(L, object), n = 0;
  name *names = lua_newuserdatauv(L, room * sizeof *names, 0);
  lua_createtable(L, room < PRESIZED ? 2 * (int)room : PRESIZED, 0);
  int list = lua_gettop(L);
  for (lua_pushnil(L); lua_next(L, object); n++) {
    check_name(L, -2);
    if (n == room) luaL_error(L, "an object was changed while it was written");
    names[n].text = lua_tolstring(L, -2, &names[n].n);
    names[n].place = 2 * (int)n + 2;
    lua_pushvalue(L, -2);
    lua_rawseti(L, list, 2 * (lua_Integer)n + 1);
    lua_rawseti(L, list, 2 * (lua_Integer)n + 2);
  }
  return n;
}

static size_t write_many(writer *w, int object) {
  lua_State *L = w->L;
  size_t n = list_many(L, object);
  int list = lua_gettop(L);
  name *names = lua_touserdata(L, list - 1);
  qsort(names, n, sizeof *names, compare_any);
  for (size_t i = 0; i < n; i++) {
    lua_rawgeti(L, list, names[i].place);
    write_pair(w, i == 0, &names[i], list + 1);
    lua_settop(L, list);
  }
  return n;
}

/* A metatable is a script's to make: what it says is looked at. */
static size_t write_duplicates(writer *w, int object, size_t written) {
  lua_State *L = w->L;
  int type = luaL_getmetafield(L, object, "duplicates"), list = lua_gettop(L);
  if (type == LUA_TNIL) return written;
  if (type != LUA_TTABLE) luaL_error(L, "the duplicates of an object must be a list");
  for (lua_Integer i = 1; (type = lua_rawgeti(L, list, i)) != LUA_TNIL; i++) {
    if (type != LUA_TTABLE || lua_rawgeti(L, -1, 1) != LUA_TSTRING)
      luaL_error(L, "a duplicate of an object must be a list of a string and a value");
    name one;
    one.text = lua_tolstring(L, -1, &one.n);
    lua_rawgeti(L, -2, 2);
    write_pair(w, written++ == 0, &one, list + 3);
    lua_settop(L, list);
  }
  return written;
}

static void write_object(writer *w, int index) {
  lua_State *L = w->L;
  int top = lua_gettop(L);
  size_t n;
  begin(w, '{');
  if (list_few(w, index, &n))
    write_few(w, n);
  else
    n = write_many(w, index);
  lua_settop(L, top);
  n = write_duplicates(w, index, n);
  lua_settop(L, top);
  finish(w, '}', n == 0);
}

/* ---- Values --------------------------------------------------------------------------------- */

typedef enum { PLAIN, ARRAY, NUMBER } mark;

/* A metatable that is none of ours says by its name what it stands for. */
static mark mark_of(writer *w, int index) {
  lua_State *L = w->L;
  if (!lua_getmetatable(L, index)) return PLAIN;
  mark found = lua_topointer(L, -1) == w->how->array_mark ? ARRAY : PLAIN;
  if (found == PLAIN && luaL_getmetafield(L, index, "__name") == LUA_TSTRING) {
    const char *said = lua_tostring(L, -1);
    found = strcmp(said, CX_JSON_ARRAY) == 0    ? ARRAY
            : strcmp(said, CX_JSON_NUMBER) == 0 ? NUMBER
                                                : PLAIN;
  }
  return found;
}

static void write_table(writer *w, int index) {
  lua_State *L = w->L;
  int top = lua_gettop(L);
  if (w->depth >= CX_PARSE_DEPTH) luaL_error(L, "nested too deeply for JSON (a cycle?)");
  luaL_checkstack(L, 2 * FEW + 12, "JSON");
  mark found = mark_of(w, index);
  lua_settop(L, top);
  lua_Integer n = (lua_Integer)lua_rawlen(L, index);
  if (found == NUMBER)
    write_numeral(w, index);
  else if (n > 0 || found == ARRAY)
    write_array(w, index, n);
  else
    write_object(w, index);
}

static void write_value(writer *w, int index) {
  lua_State *L = w->L;
  const char *bytes;
  size_t n;
  switch (lua_type(L, index)) {
  case LUA_TBOOLEAN:
    add(w, lua_toboolean(L, index) ? "true" : "false", lua_toboolean(L, index) ? 4 : 5);
    return;
  case LUA_TNUMBER:
    write_number(w, index);
    return;
  case LUA_TSTRING:
    bytes = lua_tolstring(L, index, &n);
    write_string(w, bytes, n);
    return;
  case LUA_TTABLE:
    write_table(w, index);
    return;
  case LUA_TLIGHTUSERDATA:
    if (!lua_touserdata(L, index)) {
      add(w, "null", 4);
      return;
    }
  }
  luaL_error(L, "a %s cannot be written as JSON", luaL_typename(L, index));
}

void cx_write_json(lua_State *L, int index, const cx_write *how, cx_buf *out) {
  name names[NAMES];
  writer w = {.L = L, .out = out, .how = how, .names = names};
  write_value(&w, lua_absindex(L, index));
}
