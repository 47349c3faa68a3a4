/* Any line is read or refused, as it would be where the strict reader takes it; it makes exactly
 * one event of a peer; the id of a request goes back as it came. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "rpc.h"
#include "scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool lies_in(cx_span span, const char *bytes, size_t n) {
  return span.n == 0 || (span.at >= bytes && span.at + span.n <= bytes + n);
}

/* ---- The same by way of the strict reader --------------------------------------------------- */

typedef struct {
  cx_span id, method, result, error;
} members;

static bool is(cx_span span, const char *text) {
  return span.n == strlen(text) && memcmp(span.at, text, span.n) == 0;
}

static void on_member(void *user, cx_span name, cx_span value) {
  members *m = user;
  if (is(name, "id")) m->id = value;
  if (is(name, "method")) m->method = value;
  if (is(name, "result")) m->result = value;
  if (is(name, "error")) m->error = value;
}

/* What cx_message_read must say of an object with these members, whose names differ. */
static int judge(const members *m, cx_message_kind *kind) {
  bool is_word = m->id.n && strchr("{[tf", *m->id.at);
  if (is_word) return CX_EPROTOCOL;
  if (m->method.n) {
    *kind = m->id.n ? CX_MESSAGE_REQUEST : CX_MESSAGE_NOTIFICATION;
    return *m->method.at == '"' ? 0 : CX_EPROTOCOL;
  }
  bool failed = m->error.n && !is(m->error, "null");
  *kind = failed ? CX_MESSAGE_ERROR : CX_MESSAGE_RESULT;
  return m->id.n && (failed || m->result.n) ? 0 : CX_EPROTOCOL;
}

static void compare(const char *line, size_t n, int rc, const cx_message *message) {
  static const cx_scan_events events = {on_member, NULL};
  members m = {0};
  cx_fault fault;
  cx_message_kind kind = CX_MESSAGE_REQUEST;
  if (cx_scan(line, n, &events, &m, &fault) != 0) return;
  size_t start = strspn(line, " \t\r\n"); /* something else follows, or it would be refused */
  int wanted = line[start] == '{' ? judge(&m, &kind) : CX_EJSON;
  if (rc != wanted || (rc == 0 && message->kind != kind)) abort();
}

/* ---- Events --------------------------------------------------------------------------------- */

typedef struct {
  cx_buf sent;
  unsigned events;
} world;

static int on_send(void *user, const char *data, size_t n) {
  return cx_buf_add(&((world *)user)->sent, data, n);
}

static void on_message(void *user, const cx_message *m) {
  (void)m;
  ((world *)user)->events++;
}

static void on_answer(void *user, uint64_t call, int code, const cx_message *m) {
  if (call > 2 || code != 0 || !m) abort();
  ((world *)user)->events++;
}

static void on_junk(void *user, const char *text, size_t n, int code) {
  if (!text || (n == 0 && code != CX_EJSON)) abort();
  ((world *)user)->events++;
}

static void feed(const char *line, size_t n, cx_rpc_options options) {
  static const cx_rpc_events events = {on_send, on_message, on_answer, on_junk};
  world w = {0};
  uint64_t call;
  cx_rpc *rpc = cx_rpc_new(&options, &events, &w);
  if (!rpc) abort();
  for (int i = 0; i < 3; i++) cx_rpc_call(rpc, "m", NULL, 0, 0, &call);
  cx_rpc_feed(rpc, line, n);
  if (w.events != 1) abort();
  cx_rpc_free(rpc);
  cx_buf_free(&w.sent);
}

static void reply(cx_span id) {
  static const cx_rpc_events events = {on_send, on_message, on_answer, on_junk};
  world w = {0};
  cx_message m;
  cx_fault fault;
  cx_buf scratch = {0};
  cx_rpc *rpc = cx_rpc_new(&(cx_rpc_options){0}, &events, &w);
  if (!rpc || cx_rpc_reply(rpc, id, (cx_span){"1", 1}) != 0) abort();
  if (cx_message_read(&m, cx_buf_bytes(&w.sent), w.sent.len, &scratch) != 0) abort();
  if (m.kind != CX_MESSAGE_RESULT || m.id.n != id.n || memcmp(m.id.at, id.at, id.n) != 0) abort();
  if (cx_scan(cx_buf_bytes(&w.sent), w.sent.len, NULL, NULL, &fault) != 0 &&
      strcmp(fault.what, "half of a surrogate pair") != 0)
    abort();
  cx_rpc_free(rpc);
  cx_buf_free(&w.sent);
  cx_buf_free(&scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const char *line = (const char *)data;
  cx_buf scratch = {0};
  cx_message m;
  int rc = cx_message_read(&m, line, size, &scratch);
  if (rc != 0 && rc != CX_EJSON && rc != CX_EPROTOCOL) abort();
  if (rc == 0) {
    if (!lies_in(m.id, line, size) || !lies_in(m.payload, line, size)) abort();
    if (!lies_in(m.method, line, size) && !lies_in(m.method, scratch.data, scratch.cap)) abort();
    if (m.kind == CX_MESSAGE_REQUEST) reply(m.id);
  }
  compare(line, size, rc, &m);
  feed(line, size, (cx_rpc_options){0});
  feed(line, size, (cx_rpc_options){.relay = true, .window = 1, .prefix = "p"});
  cx_buf_free(&scratch);
  return 0;
}
