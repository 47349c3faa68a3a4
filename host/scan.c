/* A strict reader of one JSON text; see scan.h. */
#include "scan.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"

/* A name of an object that is being read. */
typedef struct {
  uint64_t hash;
  cx_span literal; /* with its quotes */
  size_t at, n;    /* where its bytes are in `names`, when the literal has escapes */
  bool escaped;
} key;

typedef struct {
  const char *start, *s, *end;
  const cx_scan_events *events;
  void *user;
  cx_scan_fault *fault;
  int rc, depth;
  size_t values;
  cx_buf names; /* the bytes of names that have escapes, of all open objects */
  cx_buf path;  /* of the place that is being read, when somebody wants to know */
  key *keys;    /* of all open objects, the innermost one's last */
  size_t count, room;
} scanner;

static bool read_value(scanner *r);

static bool refuse(scanner *r, int rc, const char *what) {
  r->rc = rc;
  r->fault->what = what;
  r->fault->at = (size_t)(r->s - r->start);
  return false;
}

static bool refuse_json(scanner *r, const char *what) { return refuse(r, CX_EJSON, what); }
static bool no_memory(scanner *r) { return refuse(r, CX_EMEMORY, "out of memory"); }

static void skip_space(scanner *r) {
  while (r->s < r->end && (*r->s == ' ' || *r->s == '\t' || *r->s == '\n' || *r->s == '\r')) r->s++;
}

static bool at(const scanner *r, char c) { return r->s < r->end && *r->s == c; }

static bool take(scanner *r, char c) {
  if (!at(r, c)) return false;
  r->s++;
  return true;
}

/* ---- Strings -------------------------------------------------------------------------------- */

static bool is_plain(unsigned char c) { return c >= ' ' && c < 0x80 && c != '"' && c != '\\'; }

/* Whether all eight bytes are plain. A byte has its high bit set in one of these sums when it is
 * a quote, a backslash, a control character, or not ASCII. */
static bool are_plain(uint64_t eight) {
  const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;
  uint64_t quote = eight ^ (ones * '"'), backslash = eight ^ (ones * '\\');
  uint64_t odd = (quote - ones) | (backslash - ones) | (eight - ones * ' ') | eight;
  return (odd & high) == 0;
}

static void skip_plain(scanner *r) {
  uint64_t eight;
  while (r->end - r->s >= 8) {
    memcpy(&eight, r->s, 8);
    if (!are_plain(eight)) break;
    r->s += 8;
  }
  while (r->s < r->end && is_plain((unsigned char)*r->s)) r->s++;
}

/* Length of the UTF-8 sequence of more than one byte at s, 0 where there is none (Unicode, table
 * 3-7: neither overlong forms nor surrogates, nothing above U+10FFFF). */
static size_t sequence(const unsigned char *s, size_t left) {
  unsigned char lowest = 0x80, highest = 0xBF;
  if (s[0] < 0xC2 || s[0] > 0xF4) return 0;
  size_t n = s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;
  if (n > left) return 0;
  if (s[0] == 0xE0) lowest = 0xA0;
  if (s[0] == 0xED) highest = 0x9F;
  if (s[0] == 0xF0) lowest = 0x90;
  if (s[0] == 0xF4) highest = 0x8F;
  if (s[1] < lowest || s[1] > highest) return 0;
  for (size_t i = 2; i < n; i++)
    if ((s[i] & 0xC0) != 0x80) return 0;
  return n;
}

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c |= 0x20;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The code unit of the escape \uXXXX at s; -1 where there is none. */
static int code_unit(const char *s, const char *end) {
  int unit = 0;
  if (end - s < 6 || s[0] != '\\' || s[1] != 'u') return -1;
  for (int i = 2; i < 6; i++) {
    int digit = hex_digit(s[i]);
    if (digit < 0) return -1;
    unit = unit << 4 | digit;
  }
  return unit;
}

static bool is_high(int unit) { return unit >= 0xD800 && unit < 0xDC00; }
static bool is_low(int unit) { return unit >= 0xDC00 && unit < 0xE000; }

static bool read_escape(scanner *r) {
  if (r->end - r->s >= 2 && r->s[1] && strchr("\"\\/bfnrt", r->s[1])) {
    r->s += 2;
    return true;
  }
  int unit = code_unit(r->s, r->end);
  if (unit < 0) return refuse_json(r, "an escape that JSON does not know");
  bool pair = is_high(unit) && is_low(code_unit(r->s + 6, r->end));
  if (!pair && (is_high(unit) || is_low(unit))) return refuse_json(r, "half of a surrogate pair");
  r->s += pair ? 12 : 6;
  return true;
}

static bool read_string(scanner *r, bool *escaped) {
  *escaped = false;
  for (r->s++;;) {
    skip_plain(r);
    if (r->s == r->end) return refuse_json(r, "the text ends within a string");
    if (take(r, '"')) return true;
    if (*r->s == '\\') {
      *escaped = true;
      if (!read_escape(r)) return false;
      continue;
    }
    if ((unsigned char)*r->s < ' ') return refuse_json(r, "a control character in a string");
    size_t n = sequence((const unsigned char *)r->s, (size_t)(r->end - r->s));
    if (n == 0) return refuse_json(r, "bytes that are no UTF-8");
    r->s += n;
  }
}

static int add_utf8(cx_buf *into, unsigned c) {
  char out[4];
  if (c < 0x80) {
    out[0] = (char)c;
    return cx_buf_add(into, out, 1);
  }
  size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  for (size_t i = n - 1; i > 0; i--, c >>= 6) out[i] = (char)(0x80 | (c & 0x3F));
  out[0] = (char)((n == 2 ? 0xC0 : n == 3 ? 0xE0 : 0xF0) | c);
  return cx_buf_add(into, out, n);
}

/* Adds what the escape at s stands for and returns what is behind it, or NULL without memory. */
static const char *add_escape(const char *s, const char *end, cx_buf *into) {
  static const char escapes[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
  for (const char *e = escapes; *e; e += 2)
    if (*e == s[1]) return cx_buf_add(into, e + 1, 1) == 0 ? s + 2 : NULL;
  int unit = code_unit(s, end);
  if (!is_high(unit)) return add_utf8(into, (unsigned)unit) == 0 ? s + 6 : NULL;
  unsigned low = (unsigned)code_unit(s + 6, end) - 0xDC00;
  return add_utf8(into, 0x10000 + (((unsigned)unit - 0xD800) << 10) + low) == 0 ? s + 12 : NULL;
}

int cx_scan_unquote(cx_span literal, cx_buf *into, cx_span *text) {
  const char *s = literal.at + 1, *end = literal.at + literal.n - 1;
  size_t before = into->len;
  *text = (cx_span){s, (size_t)(end - s)};
  if (!memchr(s, '\\', text->n)) return 0;
  while (s < end) {
    const char *escape = memchr(s, '\\', (size_t)(end - s));
    if (cx_buf_add(into, s, (size_t)((escape ? escape : end) - s)) != 0) return CX_EMEMORY;
    if (!escape) break;
    s = add_escape(escape, end, into);
    if (!s) return CX_EMEMORY;
  }
  *text = (cx_span){cx_buf_bytes(into) + before, into->len - before};
  return 0;
}

/* ---- Numbers and words ---------------------------------------------------------------------- */

static bool skip_digits(scanner *r) {
  const char *first = r->s;
  while (r->s < r->end && *r->s >= '0' && *r->s <= '9') r->s++;
  return r->s > first;
}

static bool read_number(scanner *r) {
  take(r, '-');
  bool ok = take(r, '0') || skip_digits(r);
  if (ok && take(r, '.')) ok = skip_digits(r);
  if (ok && (at(r, 'e') || at(r, 'E'))) {
    r->s++;
    if (!take(r, '+')) take(r, '-');
    ok = skip_digits(r);
  }
  return ok || refuse_json(r, "a number that JSON does not know");
}

static bool read_word(scanner *r, const char *word) {
  size_t n = strlen(word);
  if ((size_t)(r->end - r->s) < n || memcmp(r->s, word, n) != 0)
    return refuse_json(r, "a value is missing");
  r->s += n;
  return true;
}

/* ---- Names ---------------------------------------------------------------------------------- */

static cx_span bytes_of(const scanner *r, const key *k) {
  if (!k->escaped) return (cx_span){k->literal.at + 1, k->literal.n - 2};
  return (cx_span){cx_buf_bytes(&r->names) + k->at, k->n};
}

static uint64_t hash_of(cx_span bytes) {
  uint64_t hash = 14695981039346656037u; /* FNV-1a */
  for (size_t i = 0; i < bytes.n; i++) hash = (hash ^ (unsigned char)bytes.at[i]) * 1099511628211u;
  return hash;
}

/* serde_json, which Codex reads with, takes an object with a single such name for something else:
 * `$serde_json::private::RawValue` for the text in its value, read again and with less care, and
 * `...::Number` for a number. Others of its kind begin with `$__`. */
static bool means_more(cx_span name) {
  static const char *const marks[] = {"$serde_json::private::", "$__"};
  for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
    size_t n = strlen(marks[i]);
    if (name.n >= n && memcmp(name.at, marks[i], n) == 0) return true;
  }
  return false;
}

static bool add_key(scanner *r, cx_span literal, bool escaped, cx_span *name) {
  if (r->count == r->room) {
    size_t room = r->room ? r->room * 2 : 32;
    key *keys = realloc(r->keys, room * sizeof *keys);
    if (!keys) return no_memory(r);
    r->keys = keys;
    r->room = room;
  }
  key *k = &r->keys[r->count++];
  *k = (key){.literal = literal, .escaped = escaped, .at = r->names.len};
  if (cx_scan_unquote(literal, &r->names, name) != 0) return no_memory(r);
  k->n = name->n;
  k->hash = hash_of(*name);
  return !means_more(*name) || refuse_json(r, "a name that Codex reads as something else");
}

static int compare(const scanner *r, const key *a, const key *b) {
  if (a->hash != b->hash) return a->hash < b->hash ? -1 : 1;
  cx_span x = bytes_of(r, a), y = bytes_of(r, b);
  if (x.n != y.n) return x.n < y.n ? -1 : 1;
  return memcmp(x.at, y.at, x.n);
}

static int compare_keys(const void *a, const void *b, void *r) { return compare(r, a, b); }

/* Names are ordered first, so that equal ones are neighbours: that stays quick for many names, also
 * for such that were made to have one hash. */
static bool are_unique(scanner *r, size_t first) {
  size_t n = r->count - first;
  if (n < 2) return true;
  key *keys = r->keys + first;
  qsort_r(keys, n, sizeof *keys, compare_keys, r);
  for (size_t i = 1; i < n; i++)
    if (compare(r, &keys[i - 1], &keys[i]) == 0) return false;
  return true;
}

/* ---- Containers ----------------------------------------------------------------------------- */

static bool enter(scanner *r) {
  if (++r->depth > CX_SCAN_DEPTH) return refuse(r, CX_EDEPTH, "nested too deeply");
  r->s++;
  skip_space(r);
  return true;
}

static void leave(scanner *r) {
  r->depth--;
  r->s++;
}

/* Behind a value: whether another one follows, or the container is at its end. */
static bool read_end(scanner *r, char close, bool *more) {
  skip_space(r);
  *more = take(r, ',');
  if (*more) {
    skip_space(r);
    return true;
  }
  if (!at(r, close)) return refuse_json(r, "a comma or a closing bracket is missing");
  leave(r);
  return true;
}

static bool add_to_path(scanner *r, const char *separator, cx_span name) {
  if (!r->events->on_array) return true;
  if (r->path.len > 0 && cx_buf_add_string(&r->path, separator) != 0) return no_memory(r);
  return cx_buf_add(&r->path, name.at, name.n) == 0 || no_memory(r);
}

static bool read_member(scanner *r) {
  const char *from = r->s;
  bool escaped;
  cx_span name;
  if (!at(r, '"')) return refuse_json(r, "a name is missing");
  if (!read_string(r, &escaped)) return false;
  if (!add_key(r, (cx_span){from, (size_t)(r->s - from)}, escaped, &name)) return false;
  skip_space(r);
  if (!take(r, ':')) return refuse_json(r, "a colon is missing");
  skip_space(r);
  if (!add_to_path(r, ".", name)) return false;
  from = r->s;
  if (!read_value(r)) return false;
  if (r->depth == 1 && r->events->on_member) {
    name = bytes_of(r, &r->keys[r->count - 1]);
    r->events->on_member(r->user, name, (cx_span){from, (size_t)(r->s - from)});
  }
  return true;
}

static bool read_object(scanner *r) {
  size_t first = r->count, names = r->names.len, path = r->path.len;
  const char *from = r->s;
  if (!enter(r)) return false;
  bool more = !at(r, '}');
  if (!more) leave(r);
  while (more) {
    if (r->count - first == CX_SCAN_NAMES)
      return refuse(r, CX_ETOOMANY, "an object with more than 10000 names");
    if (!read_member(r) || !read_end(r, '}', &more)) return false;
    cx_buf_keep(&r->path, path);
  }
  if (!are_unique(r, first)) {
    r->s = from;
    return refuse_json(r, "an object with a name twice");
  }
  r->count = first;
  cx_buf_keep(&r->names, names);
  return true;
}

static bool read_array(scanner *r) {
  size_t path = r->path.len;
  cx_span here = {cx_buf_bytes(&r->path), path};
  if (r->events->on_array && !r->events->on_array(r->user, here))
    return refuse_json(r, "an array where an object is expected");
  if (!enter(r) || !add_to_path(r, "", (cx_span){"[]", 2})) return false;
  bool more = !at(r, ']');
  if (!more) leave(r);
  while (more)
    if (!read_value(r) || !read_end(r, ']', &more)) return false;
  cx_buf_keep(&r->path, path);
  return true;
}

static bool read_value(scanner *r) {
  bool escaped;
  if (r->s == r->end) return refuse_json(r, "the text ends too early");
  if (++r->values > CX_SCAN_VALUES) return refuse(r, CX_ETOOMANY, "more than 1048576 values");
  switch (*r->s) {
  case '{':
    return read_object(r);
  case '[':
    return read_array(r);
  case '"':
    return read_string(r, &escaped);
  case 't':
    return read_word(r, "true");
  case 'f':
    return read_word(r, "false");
  case 'n':
    return read_word(r, "null");
  default:
    if (*r->s != '-' && (*r->s < '0' || *r->s > '9')) return refuse_json(r, "a value is missing");
    return read_number(r);
  }
}

static void read_text(scanner *r) {
  skip_space(r);
  if (!read_value(r)) return;
  skip_space(r);
  if (r->s < r->end) refuse_json(r, "something follows the value");
}

int cx_scan(const char *text, size_t n, const cx_scan_events *events, void *user,
            cx_scan_fault *fault) {
  scanner r = {.start = text, .s = text, .end = text + n, .user = user, .fault = fault};
  static const cx_scan_events none = {0};
  r.events = events ? events : &none;
  *fault = (cx_scan_fault){0};
  read_text(&r);
  free(r.keys);
  cx_buf_free(&r.names);
  cx_buf_free(&r.path);
  return r.rc;
}
