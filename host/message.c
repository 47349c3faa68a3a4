/* One message of JSON-RPC, read from the outside; see message.h. */
#include "message.h"

#include <string.h>

#include "err.h"
#include "token.h"

/* ---- Skipping ------------------------------------------------------------------------------- */

/* `s` stands at the quote; behind the closing one, or NULL. What is between them is not looked at.
 */
static const char *skip_string(const char *s, const char *end) {
  for (s++; (s = memchr(s, '"', (size_t)(end - s))); s++) {
    const char *before = s;
    while (before[-1] == '\\') before--; /* there is the opening quote at the latest */
    if ((s - before) % 2 == 0) return s + 1;
  }
  return NULL;
}

/* Behind the bracket that closes the one at `s`, or NULL. Brackets are counted, not matched: what
 * is inside is read by whoever wants it. */
static const char *skip_brackets(const char *s, const char *end) {
  size_t depth = 0;
  while (s < end) {
    char c = *s;
    if (c == '"') {
      s = skip_string(s, end);
      if (!s) return NULL;
      continue;
    }
    s++;
    if (c == '{' || c == '[') depth++;
    if ((c == '}' || c == ']') && --depth == 0) return s;
  }
  return NULL;
}

static const char *skip_value(const char *s, const char *end) {
  if (s == end) return NULL;
  if (*s == '"') return skip_string(s, end);
  if (*s == '{' || *s == '[') return skip_brackets(s, end);
  const char *start = s;
  while (s < end && !cx_token_is_space(*s) && !strchr(",}]:\"", *s)) s++;
  return s > start ? s : NULL;
}

/* ---- The outer object ----------------------------------------------------------------------- */

static cx_tokens tokens_of(cx_span text) {
  return (cx_tokens){.start = text.at, .s = text.at, .end = text.at + text.n, .takes_halves = true};
}

/* Reads a string and what it stands for. That rarely differs from what is between its quotes, but a
 * method may be written with escapes, and must not pass for another one. */
static int read_text(cx_tokens *t, cx_buf *scratch, cx_span *text) {
  const char *from = t->s;
  bool escaped;
  if (!cx_token_read_string(t, text, &escaped)) return CX_EJSON;
  if (!escaped) return 0;
  cx_buf_drop(scratch, scratch->len);
  return cx_token_unquote((cx_span){from, (size_t)(t->s - from)}, scratch, text);
}

static int unquote(cx_span literal, cx_buf *scratch, cx_span *text) {
  cx_tokens t = tokens_of(literal);
  return read_text(&t, scratch, text);
}

typedef struct {
  cx_span id, method, params, result, error;
} envelope;

static bool equals(cx_span span, const char *text) {
  return span.n == strlen(text) && memcmp(span.at, text, span.n) == 0;
}

static cx_span *member(envelope *e, cx_span key) {
  if (equals(key, "id")) return &e->id;
  if (equals(key, "method")) return &e->method;
  if (equals(key, "params")) return &e->params;
  if (equals(key, "result")) return &e->result;
  if (equals(key, "error")) return &e->error;
  return NULL;
}

/* Reads `"key": value`. */
static bool read_member(cx_tokens *t, envelope *e, cx_buf *scratch) {
  cx_span key;
  if (!cx_token_is_at(t, '"') || read_text(t, scratch, &key) != 0) return false;
  cx_span *slot = member(e, key);
  if (!cx_token_read_colon(t)) return false;
  const char *from = t->s, *behind = skip_value(from, t->end);
  if (!behind) return false;
  if (slot && slot->n == 0) *slot = (cx_span){from, (size_t)(behind - from)};
  t->s = behind;
  return true;
}

static int read_envelope(cx_span line, envelope *e, cx_buf *scratch) {
  cx_tokens t = tokens_of(line);
  cx_token_skip_space(&t);
  if (!cx_token_take(&t, '{')) return CX_EJSON;
  bool more = !cx_token_take_empty(&t, '}');
  while (more)
    if (!read_member(&t, e, scratch) || !cx_token_read_next(&t, '}', &more)) return CX_EJSON;
  return cx_token_read_end(&t) ? 0 : CX_EJSON;
}

/* ---- What it is ----------------------------------------------------------------------------- */

static bool is_number(cx_span text) {
  cx_tokens t = tokens_of(text);
  cx_number number;
  return cx_token_read_number(&t, &number) && t.s == t.end;
}

/* An id goes back as it came: what is no JSON would make our answer none. */
static bool is_id(cx_span id, cx_buf *scratch) {
  cx_span text;
  if (id.at[0] == '"') return unquote(id, scratch, &text) == 0;
  return equals(id, "null") || is_number(id);
}

static int classify(cx_message *m, const envelope *e, cx_buf *scratch) {
  if (e->id.n && !is_id(e->id, scratch)) return CX_EPROTOCOL;
  m->id = e->id;
  if (e->method.n) {
    if (e->method.at[0] != '"') return CX_EPROTOCOL;
    m->kind = e->id.n ? CX_MESSAGE_REQUEST : CX_MESSAGE_NOTIFICATION;
    m->payload = e->params;
    return unquote(e->method, scratch, &m->method);
  }
  if (!e->id.n) return CX_EPROTOCOL;
  bool failed = e->error.n && !equals(e->error, "null");
  m->kind = failed ? CX_MESSAGE_ERROR : CX_MESSAGE_RESULT;
  m->payload = failed ? e->error : e->result;
  return m->payload.n ? 0 : CX_EPROTOCOL;
}

int cx_message_read(cx_message *message, const char *line, size_t n, cx_buf *scratch) {
  envelope e = {0};
  memset(message, 0, sizeof *message);
  message->line = (cx_span){line, n};
  int rc = read_envelope(message->line, &e, scratch);
  return rc ? rc : classify(message, &e, scratch);
}
