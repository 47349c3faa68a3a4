/* The outside of a JSON-RPC message, read strictly; see envelope.h. */
#include "envelope.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "json.h"

/* ---- Ids ------------------------------------------------------------------------------------ */

static int add_string_id(cx_span id, cx_buf *out) {
  cx_buf scratch = {0};
  cx_span text;
  size_t bad;
  int rc = cx_token_unquote(id, &scratch, &text);
  if (rc == 0) rc = cx_json_quote(out, text.at, text.n, true, &bad);
  cx_buf_free(&scratch);
  return rc;
}

int cx_envelope_id(cx_span id, cx_buf *out) {
  cx_tokens t = {.start = id.at, .s = id.at, .end = id.at + id.n};
  cx_number number;
  char digits[24];
  int64_t value;
  if (id.n == 0) return CX_EPROTOCOL;
  if (*id.at == '"') return add_string_id(id, out);
  if (!cx_token_read_number(&t, &number) || t.s < t.end) return CX_EPROTOCOL;
  if (!cx_number_value(&number, &value)) return CX_EPROTOCOL;
  snprintf(digits, sizeof digits, "%" PRId64, value);
  return cx_buf_add_string(out, digits);
}

/* ---- The message ---------------------------------------------------------------------------- */

typedef struct {
  cx_span id, method, params, result, error;
} members;

typedef struct {
  members members;
  const cx_places *structs;
  bool id_twice;
  char place[64]; /* of the array that was refused */
} reader;

static bool equals(cx_span span, const char *text) {
  return span.n == strlen(text) && memcmp(span.at, text, span.n) == 0;
}

static void on_member(void *user, cx_span name, cx_span value) {
  reader *r = user;
  members *m = &r->members;
  if (equals(name, "id")) {
    r->id_twice = m->id.n > 0;
    m->id = value;
  }
  if (equals(name, "method")) m->method = value;
  if (equals(name, "params")) m->params = value;
  if (equals(name, "result")) m->result = value;
  if (equals(name, "error")) m->error = value;
}

static int compare(const void *path, const void *place) {
  const cx_span *span = path;
  const char *other = *(const char *const *)place;
  size_t n = strlen(other);
  int order = memcmp(span->at, other, span->n < n ? span->n : n);
  return order ? order : (span->n > n) - (span->n < n);
}

static bool on_array(void *user, cx_span path) {
  reader *r = user;
  const cx_places *structs = r->structs;
  bool is_struct =
      structs->count && bsearch(&path, structs->paths, structs->count, sizeof(char *), compare);
  if (is_struct) snprintf(r->place, sizeof r->place, "%.*s", (int)path.n, path.at);
  return !is_struct;
}

static int refuse(cx_envelope *e, const char *what) {
  snprintf(e->problem, sizeof e->problem, "%s", what);
  return CX_EPROTOCOL;
}

static bool is_object(cx_span value) { return value.n && *value.at == '{'; }

static int check_call(cx_envelope *e, const members *m) {
  if (*m->method.at != '"') return refuse(e, "'method' must be a string");
  if (m->result.n || m->error.n) return refuse(e, "a message with a method is no answer");
  if (m->params.n && !is_object(m->params) && !equals(m->params, "null"))
    return refuse(e, "'params' must be an object");
  e->kind = m->id.n ? CX_MESSAGE_REQUEST : CX_MESSAGE_NOTIFICATION;
  e->method = m->method;
  e->payload = m->params;
  return 0;
}

static int check_answer(cx_envelope *e, const members *m) {
  if (!m->id.n) return refuse(e, "neither 'method' nor 'id' is there");
  if (m->result.n && m->error.n) return refuse(e, "an answer has 'result' or 'error', not both");
  if (!m->result.n && !m->error.n) return refuse(e, "neither 'method', 'result' nor 'error'");
  if (m->params.n) return refuse(e, "an answer has no 'params'");
  if (m->error.n && !is_object(m->error)) return refuse(e, "'error' must be an object");
  e->kind = m->error.n ? CX_MESSAGE_ERROR : CX_MESSAGE_RESULT;
  e->payload = m->error.n ? m->error : m->result;
  return 0;
}

static int check_id(cx_envelope *e, cx_span id) {
  cx_buf canonical = {0};
  if (!id.n) return 0;
  int rc = cx_envelope_id(id, &canonical);
  if (rc == CX_EPROTOCOL) return refuse(e, "'id' must be a string or an integer of 64 bits");
  e->id = id;
  e->id_is_plain = canonical.len == id.n && memcmp(cx_buf_bytes(&canonical), id.at, id.n) == 0;
  cx_buf_free(&canonical);
  return rc;
}

static int explain(cx_envelope *e, int rc, const cx_fault *fault, const char *place) {
  if (*place)
    snprintf(e->problem, sizeof e->problem, "%s at %s", fault->what, place);
  else
    snprintf(e->problem, sizeof e->problem, "%s at byte %zu", fault->what, fault->at + 1);
  return rc;
}

int cx_envelope_read(cx_envelope *e, const char *text, size_t n, const cx_places *structs) {
  reader r = {.structs = structs};
  const cx_scan_events events = {on_member, structs ? on_array : NULL};
  cx_fault fault;
  memset(e, 0, sizeof *e);
  int rc = cx_scan(text, n, &events, &r, &fault);
  int problem = r.id_twice ? 0 : check_id(e, r.members.id);
  if (rc != 0) return explain(e, rc, &fault, r.place);
  if (problem != 0) return problem;
  size_t start = 0;
  while (strchr(" \t\r\n", text[start])) start++;
  if (text[start] != '{') return refuse(e, "a message is one JSON object");
  return r.members.method.n ? check_call(e, &r.members) : check_answer(e, &r.members);
}
