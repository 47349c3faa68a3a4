/* A strict reader of one JSON text; see scan.h. */
#include "scan.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"

/* A name of an object that is being read. */
typedef struct {
  uint64_t hash;
  cx_span inside; /* what is between its quotes */
  size_t at, n;   /* where its bytes are in `names`, when it is escaped */
  bool escaped;
} key;

typedef struct {
  cx_tokens t;
  const cx_scan_events *events;
  void *user;
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
  return cx_token_refuse(&r->t, what);
}

static bool refuse_json(scanner *r, const char *what) { return refuse(r, CX_EJSON, what); }
static bool no_memory(scanner *r) { return refuse(r, CX_EMEMORY, "out of memory"); }

/* ---- Names ---------------------------------------------------------------------------------- */

static cx_span bytes_of(const scanner *r, const key *k) {
  if (!k->escaped) return k->inside;
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

static bool make_room(scanner *r) {
  if (r->count < r->room) return true;
  size_t room = r->room ? r->room * 2 : 32;
  key *keys = realloc(r->keys, room * sizeof *keys);
  if (!keys) return no_memory(r);
  r->keys = keys;
  r->room = room;
  return true;
}

/* The bytes of an escaped name, behind those of the others. */
static bool unescape(scanner *r, key *k) {
  char *room = cx_buf_room(&r->names, k->inside.n);
  if (!room) return no_memory(r);
  k->at = r->names.len;
  k->n = cx_token_unescape(k->inside, room);
  cx_buf_added(&r->names, k->n);
  return true;
}

static bool read_name(scanner *r, cx_span *name) {
  if (!cx_token_is_at(&r->t, '"')) return refuse_json(r, "a name is missing");
  if (!make_room(r)) return false;
  key *k = &r->keys[r->count++];
  if (!cx_token_read_string(&r->t, &k->inside, &k->escaped)) return false;
  if (k->escaped && !unescape(r, k)) return false;
  *name = bytes_of(r, k);
  k->hash = hash_of(*name);
  return !means_more(*name) || refuse_json(r, "a name that Codex reads as something else");
}

static int compare(const scanner *r, const key *a, const key *b) {
  if (a->hash != b->hash) return a->hash < b->hash ? -1 : 1;
  cx_span x = bytes_of(r, a), y = bytes_of(r, b);
  if (x.n != y.n) return x.n < y.n ? -1 : 1;
  return memcmp(x.at, y.at, x.n);
}

static void swap(key *a, key *b) {
  const key kept = *a;
  *a = *b;
  *b = kept;
}

/* Lets the key at `i` sink to its place in the heap. */
static void sift(const scanner *r, key *keys, size_t i, size_t n) {
  for (size_t child; (child = 2 * i + 1) < n; i = child) {
    if (child + 1 < n && compare(r, &keys[child], &keys[child + 1]) < 0) child++;
    if (compare(r, &keys[i], &keys[child]) >= 0) return;
    swap(&keys[i], &keys[child]);
  }
}

/* A heap sort, which no choice of names makes slow; a system's qsort may be one that is. */
static void sort(const scanner *r, key *keys, size_t n) {
  for (size_t i = n / 2; i-- > 0;) sift(r, keys, i, n);
  while (n-- > 1) {
    swap(&keys[0], &keys[n]);
    sift(r, keys, 0, n);
  }
}

/* Names are ordered first, so that equal ones are neighbours: that stays quick for many names, also
 * for such that were made to have one hash. */
static bool are_unique(scanner *r, size_t first) {
  size_t n = r->count - first;
  if (n < 2) return true;
  key *keys = r->keys + first;
  sort(r, keys, n);
  for (size_t i = 1; i < n; i++)
    if (compare(r, &keys[i - 1], &keys[i]) == 0) return false;
  return true;
}

/* ---- Containers ----------------------------------------------------------------------------- */

/* `s` stands at the bracket that opens; whether a value follows. */
static bool enter(scanner *r, char close, bool *more) {
  if (++r->depth > CX_SCAN_DEPTH) return refuse(r, CX_EDEPTH, "nested too deeply");
  r->t.s++;
  *more = !cx_token_take_empty(&r->t, close);
  return true;
}

static bool add_to_path(scanner *r, const char *separator, cx_span name) {
  if (!r->events->on_array) return true;
  if (r->path.len > 0 && cx_buf_add_string(&r->path, separator) != 0) return no_memory(r);
  return cx_buf_add(&r->path, name.at, name.n) == 0 || no_memory(r);
}

static bool read_member(scanner *r) {
  cx_span name;
  if (!read_name(r, &name) || !cx_token_read_colon(&r->t)) return false;
  if (!add_to_path(r, ".", name)) return false;
  const char *from = r->t.s;
  if (!read_value(r)) return false;
  if (r->depth == 1 && r->events->on_member) {
    name = bytes_of(r, &r->keys[r->count - 1]);
    r->events->on_member(r->user, name, (cx_span){from, (size_t)(r->t.s - from)});
  }
  return true;
}

static bool read_members(scanner *r, size_t first) {
  size_t path = r->path.len;
  bool more;
  if (!enter(r, '}', &more)) return false;
  while (more) {
    if (r->count - first == CX_SCAN_NAMES)
      return refuse(r, CX_ETOOMANY, "an object with more than 10000 names");
    if (!read_member(r) || !cx_token_read_next(&r->t, '}', &more)) return false;
    cx_buf_keep(&r->path, path);
  }
  r->depth--;
  return true;
}

static bool read_object(scanner *r) {
  size_t first = r->count, names = r->names.len;
  const char *from = r->t.s;
  if (!read_members(r, first)) return false;
  if (!are_unique(r, first)) {
    r->t.s = from;
    return refuse_json(r, "an object with a name twice");
  }
  r->count = first;
  cx_buf_keep(&r->names, names);
  return true;
}

static bool read_array(scanner *r) {
  size_t path = r->path.len;
  cx_span here = {cx_buf_bytes(&r->path), path};
  bool more;
  if (r->events->on_array && !r->events->on_array(r->user, here))
    return refuse_json(r, "an array where an object is expected");
  if (!enter(r, ']', &more) || !add_to_path(r, "", (cx_span){"[]", 2})) return false;
  while (more)
    if (!read_value(r) || !cx_token_read_next(&r->t, ']', &more)) return false;
  r->depth--;
  cx_buf_keep(&r->path, path);
  return true;
}

static bool read_value(scanner *r) {
  cx_span inside;
  bool escaped;
  cx_number number;
  if (r->t.s == r->t.end) return refuse_json(r, "the text ends too early");
  if (++r->values > CX_SCAN_VALUES) return refuse(r, CX_ETOOMANY, "more than 1048576 values");
  switch (*r->t.s) {
  case '{':
    return read_object(r);
  case '[':
    return read_array(r);
  case '"':
    return cx_token_read_string(&r->t, &inside, &escaped);
  case 't':
    return cx_token_read_word(&r->t, "true");
  case 'f':
    return cx_token_read_word(&r->t, "false");
  case 'n':
    return cx_token_read_word(&r->t, "null");
  default:
    return cx_token_read_number(&r->t, &number);
  }
}

int cx_scan(const char *text, size_t n, const cx_scan_events *events, void *user, cx_fault *fault) {
  static const cx_scan_events none = {0};
  scanner r = {.t = {.start = text, .s = text, .end = text + n},
               .events = events ? events : &none,
               .user = user,
               .rc = CX_EJSON}; /* what the words refuse is no JSON */
  cx_token_skip_space(&r.t);
  bool ok = read_value(&r) && cx_token_read_end(&r.t);
  *fault = cx_token_fault(&r.t);
  free(r.keys);
  cx_buf_free(&r.names);
  cx_buf_free(&r.path);
  return ok ? 0 : r.rc;
}
