/* JSON text to Lua values in one pass; see parse.h.
 *
 * Nearly all that peers send is plain, and building a tree of it only to read it once costs more
 * than the rest of a message together. What is out of the ordinary, errors too, is left to the long
 * way, so that there is one place that decides about it. */
#include "parse.h"

#include <lauxlib.h>
#include <stdbool.h>
#include <string.h>

#include "err.h"

enum { MAX_DEPTH = 100, MAX_DIGITS = 18, EXACT_DIGITS = 15, HELD = 32 };

typedef struct {
  lua_State *L;
  const char *s, *end;
  cx_buf *scratch;
  int array_meta; /* where on the stack it is */
  int depth;
  size_t values_left;
  bool is_vast; /* there were more */
} reader;

static bool read_value(reader *r);

static void skip_space(reader *r) {
  while (r->s < r->end && (*r->s == ' ' || *r->s == '\t' || *r->s == '\n' || *r->s == '\r')) r->s++;
}

/* Takes this byte and white space around it. */
static bool take(reader *r, char c) {
  skip_space(r);
  if (r->s == r->end || *r->s != c) return false;
  r->s++;
  skip_space(r);
  return true;
}

/* ---- Strings ------------------------------------------------------------------------------- */

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c |= 0x20;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* `s` stands behind \u. Neither NUL nor half of a pair, which need more care. */
static bool add_code_unit(reader *r) {
  unsigned c = 0;
  char utf8[3];
  if (r->end - r->s < 4) return false;
  for (int i = 0; i < 4; i++) {
    int digit = hex_digit(*r->s++);
    if (digit < 0) return false;
    c = c << 4 | (unsigned)digit;
  }
  if (c == 0 || (c >= 0xD800 && c < 0xE000)) return false;
  if (c < 0x80) {
    utf8[0] = (char)c;
    return cx_buf_add(r->scratch, utf8, 1) == 0;
  }
  size_t n = c < 0x800 ? 2 : 3;
  utf8[0] = (char)(n == 2 ? 0xC0 | c >> 6 : 0xE0 | c >> 12);
  utf8[1] = (char)(0x80 | (n == 2 ? c & 0x3F : (c >> 6 & 0x3F)));
  utf8[2] = (char)(0x80 | (c & 0x3F));
  return cx_buf_add(r->scratch, utf8, n) == 0;
}

/* `s` stands at a backslash. */
static bool add_escape(reader *r) {
  static const char escapes[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
  if (r->end - r->s < 2) return false;
  char c = r->s[1];
  r->s += 2;
  if (c == 'u') return add_code_unit(r);
  for (const char *e = escapes; *e; e += 2)
    if (*e == c) return cx_buf_add(r->scratch, e + 1, 1) == 0;
  return false;
}

static const char *skip_plain(const char *s, const char *end) {
  while (s < end && *s != '"' && *s != '\\' && (unsigned char)*s >= ' ') s++;
  return s;
}

static bool read_escaped(reader *r, const char *from) {
  cx_buf_drop(r->scratch, r->scratch->len);
  while (r->s < r->end && *r->s == '\\') {
    if (cx_buf_add(r->scratch, from, (size_t)(r->s - from)) != 0 || !add_escape(r)) return false;
    from = r->s;
    r->s = skip_plain(from, r->end);
  }
  if (r->s == r->end || *r->s != '"') return false;
  if (cx_buf_add(r->scratch, from, (size_t)(r->s - from)) != 0) return false;
  lua_pushlstring(r->L, cx_buf_bytes(r->scratch), r->scratch->len);
  r->s++;
  return true;
}

/* `s` stands at the quote. */
static bool read_string(reader *r) {
  const char *from = ++r->s;
  r->s = skip_plain(from, r->end);
  if (r->s < r->end && *r->s == '\\') return read_escaped(r, from);
  if (r->s == r->end || *r->s != '"') return false;
  lua_pushlstring(r->L, from, (size_t)(r->s - from));
  r->s++;
  return true;
}

/* ---- Numbers ------------------------------------------------------------------------------- */

static bool at_digit(const reader *r) { return r->s < r->end && *r->s >= '0' && *r->s <= '9'; }

/* Digits, added to the value: how many there were, 0 also where there are more than `most`. */
static int read_digits(reader *r, lua_Integer *value, int most) {
  int n = 0;
  for (; n < most && at_digit(r); r->s++, n++) *value = *value * 10 + (*r->s - '0');
  return at_digit(r) ? 0 : n;
}

/* Both numbers are exact, so that their quotient is rounded once, as it should be. */
static bool read_fraction(reader *r, lua_Integer value, int digits, bool negative) {
  static const double powers[] = {1,   1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                  1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
  r->s++;
  int more = read_digits(r, &value, EXACT_DIGITS - digits);
  if (more == 0) return false;
  if (r->s < r->end && (*r->s == 'e' || *r->s == 'E')) return false;
  double number = (double)value / powers[more];
  lua_Integer whole = (lua_Integer)number;
  if ((double)whole == number)
    lua_pushinteger(r->L, negative ? -whole : whole);
  else
    lua_pushnumber(r->L, negative ? -number : number);
  return true;
}

static bool read_number(reader *r) {
  lua_Integer value = 0;
  bool negative = *r->s == '-';
  if (negative) r->s++;
  const char *first = r->s;
  int digits = read_digits(r, &value, MAX_DIGITS);
  if (digits == 0 || (*first == '0' && digits > 1)) return false;
  if (r->s < r->end && *r->s == '.') return read_fraction(r, value, digits, negative);
  if (r->s < r->end && (*r->s == 'e' || *r->s == 'E')) return false;
  lua_pushinteger(r->L, negative ? -value : value);
  return true;
}

/* ---- Containers ---------------------------------------------------------------------------- */

/* Members are held on the stack until there are enough of them or the container ends: most tables
 * are made in their size, which costs less than growing them. Stack: [table,] members. */
static void hold_table(reader *r, int base, bool made, int arrays, int fields) {
  if (made) return;
  lua_createtable(r->L, arrays, fields);
  lua_insert(r->L, base);
}

typedef struct {
  const char *text;
  size_t n;
} name;

/* Whether none of these has the name; cheaper than to ask the table, where they are few. */
static bool is_new(const name *names, int count, const name *one) {
  for (int i = 0; i < count; i++)
    if (names[i].n == one->n && memcmp(names[i].text, one->text, one->n) == 0) return false;
  return true;
}

/* Without a table the names are known to differ. */
static bool store_pairs(reader *r, int base, bool made) {
  lua_State *L = r->L;
  int pairs = (lua_gettop(L) - base + (made ? 0 : 1)) / 2;
  hold_table(r, base, made, 0, pairs);
  for (; pairs > 0; pairs--) {
    if (made) {
      lua_pushvalue(L, -2);
      bool taken = lua_rawget(L, base) != LUA_TNIL;
      lua_pop(L, 1);
      if (taken) return false; /* a name that occurs twice */
    }
    lua_rawset(L, base);
  }
  return true;
}

static bool read_pair(reader *r, name *key) {
  if (r->s == r->end || *r->s != '"' || !read_string(r)) return false;
  key->text = lua_tolstring(r->L, -1, &key->n);
  return take(r, ':') && read_value(r);
}

static bool read_object(reader *r) {
  name names[HELD];
  int base = lua_gettop(r->L) + 1, held = 0;
  bool made = false, more = !take(r, '}');
  if (!more) lua_newtable(r->L);
  while (more) {
    if (!read_pair(r, &names[held])) return false;
    if (!made && !is_new(names, held, &names[held])) return false;
    held++;
    more = take(r, ',');
    if (!more && !take(r, '}')) return false;
    if (more && held < HELD) continue;
    if (!store_pairs(r, base, made)) return false;
    made = true;
    held = 0;
  }
  return true;
}

static void store_items(reader *r, int base, lua_Integer *stored) {
  lua_State *L = r->L;
  bool made = *stored > 0;
  int items = lua_gettop(L) - base + (made ? 0 : 1);
  hold_table(r, base, made, items, 0);
  for (int i = items; i > 0; i--) lua_rawseti(L, base, *stored + i);
  *stored += items;
}

static bool read_array(reader *r) {
  int base = lua_gettop(r->L) + 1;
  lua_Integer stored = 0;
  bool more = !take(r, ']');
  if (!more) lua_newtable(r->L);
  while (more) {
    if (!read_value(r)) return false;
    more = take(r, ',');
    if (!more && !take(r, ']')) return false;
    if (!more || lua_gettop(r->L) - base >= HELD) store_items(r, base, &stored);
  }
  lua_pushvalue(r->L, r->array_meta);
  lua_setmetatable(r->L, base);
  return true;
}

/* `s` stands at the bracket. */
static bool read_container(reader *r) {
  if (r->depth == MAX_DEPTH || !lua_checkstack(r->L, HELD * 2 + 8)) return false;
  r->depth++;
  bool ok = *r->s++ == '{' ? read_object(r) : read_array(r);
  r->depth--;
  return ok;
}

static bool read_word(reader *r, const char *word, size_t n) {
  if ((size_t)(r->end - r->s) < n || memcmp(r->s, word, n) != 0) return false;
  r->s += n;
  if (*word == 'n')
    lua_pushlightuserdata(r->L, NULL);
  else
    lua_pushboolean(r->L, *word == 't');
  return true;
}

static bool read_value(reader *r) {
  r->is_vast = r->values_left == 0;
  if (r->s == r->end || r->is_vast) return false;
  r->values_left--;
  switch (*r->s) {
  case '"':
    return read_string(r);
  case '{':
  case '[':
    return read_container(r);
  case 't':
    return read_word(r, "true", 4);
  case 'f':
    return read_word(r, "false", 5);
  case 'n':
    return read_word(r, "null", 4);
  default:
    return read_number(r);
  }
}

int cx_parse_json(lua_State *L, const char *text, size_t n, const cx_parse *how) {
  if (!lua_checkstack(L, 8)) return CX_EJSON;
  int top = lua_gettop(L);
  luaL_getmetatable(L, how->array_type);
  reader r = {L, text, text + n, how->scratch, top + 1, 0, how->max_values, false};
  skip_space(&r);
  bool ok = read_value(&r);
  skip_space(&r);
  if (ok && r.s == r.end) {
    lua_remove(L, top + 1);
    return 0;
  }
  lua_settop(L, top);
  return r.is_vast ? CX_ETOOMANY : CX_EJSON;
}
