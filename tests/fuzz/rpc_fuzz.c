/* Any line is read or refused, as a JSON parser that builds a tree would; it makes exactly one
 * event of a peer; the id of a request goes back as it came. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "json.h"
#include "rpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool lies_in(cx_span span, const char *bytes, size_t n) {
  return span.n == 0 || (span.at >= bytes && span.at + span.n <= bytes + n);
}

/* ---- The same by way of a tree -------------------------------------------------------------- */

static bool has_text(const cx_json *json, const char *raw, cx_span text) {
  cx_buf scratch = {0};
  const char *bytes;
  size_t n;
  cx_json_kind kind;
  if (cx_json_string(json, raw, &scratch, &bytes, &n, &kind) != 0) abort();
  bool same = kind == CX_JSON_TEXT && n == text.n && memcmp(bytes, text.n ? text.at : "", n) == 0;
  cx_buf_free(&scratch);
  return same;
}

static const cJSON *first(const cx_json *json, const char *name) {
  for (const cJSON *item = json->root->child; item; item = item->next)
    if (has_text(json, item->string, (cx_span){name, strlen(name)})) return item;
  return NULL;
}

/* What cx_rpc_read must say of a line that is this object. */
static int judge(const cx_json *json, cx_rpc_kind *kind) {
  const cJSON *id = first(json, "id"), *method = first(json, "method");
  const cJSON *result = first(json, "result"), *error = first(json, "error");
  if (id && !cJSON_IsNumber(id) && !cJSON_IsString(id) && !cJSON_IsNull(id)) return CX_EPROTOCOL;
  if (method) {
    *kind = id ? CX_RPC_REQUEST : CX_RPC_NOTIFICATION;
    bool numeral = json->rewritten && cJSON_IsString(method) &&
                   strncmp(method->valuestring, "\xFFN", 2) == 0; /* a large number; see json.h */
    return cJSON_IsString(method) && !numeral ? 0 : CX_EPROTOCOL;
  }
  bool failed = error && !cJSON_IsNull(error);
  *kind = failed ? CX_RPC_ERROR : CX_RPC_RESULT;
  return id && (failed || result) ? 0 : CX_EPROTOCOL;
}

/* Numbers that cJSON takes and JSON does not allow (01) may be refused as ids. */
static bool may_refuse(const cx_json *json) {
  const cJSON *id = first(json, "id");
  return id && (cJSON_IsNumber(id) || (json->rewritten && cJSON_IsString(id) &&
                                       strncmp(id->valuestring, "\xFFN", 2) == 0));
}

/* cJSON takes any control character for white space, and skips a byte order mark. */
static bool is_lenient(const char *line, size_t n) {
  for (size_t i = 0; i < n; i++)
    if ((unsigned char)line[i] < ' ' && !strchr("\t\r\n", line[i])) return true;
  return n >= 3 && memcmp(line, "\xEF\xBB\xBF", 3) == 0;
}

static void compare(const char *line, size_t n, int rc, const cx_rpc_message *m) {
  cx_json json;
  cx_rpc_kind kind = CX_RPC_REQUEST;
  if (is_lenient(line, n)) return;
  int parsed = cx_json_parse(&json, line, n);
  if (parsed == 0 && cJSON_IsObject(json.root)) {
    int wanted = judge(&json, &kind);
    if (rc != wanted && !(rc == CX_EPROTOCOL && may_refuse(&json))) abort();
    if (rc == 0 && m->kind != kind) abort();
    if (rc == 0 && kind <= CX_RPC_NOTIFICATION &&
        !has_text(&json, first(&json, "method")->valuestring, m->method))
      abort();
  } else if (parsed == 0 && rc != CX_EJSON) {
    abort();
  }
  cx_json_free(&json);
}

/* ---- Events --------------------------------------------------------------------------------- */

typedef struct {
  cx_buf sent;
  unsigned events;
} world;

static int on_send(void *user, const char *data, size_t n) {
  return cx_buf_add(&((world *)user)->sent, data, n);
}

static void on_message(void *user, const cx_rpc_message *m) {
  (void)m;
  ((world *)user)->events++;
}

static void on_answer(void *user, uint64_t call, int code, const cx_rpc_message *m) {
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
  cx_rpc_message m;
  cx_json json;
  cx_buf scratch = {0};
  cx_rpc *rpc = cx_rpc_new(&(cx_rpc_options){0}, &events, &w);
  if (!rpc || cx_rpc_reply(rpc, id, (cx_span){"1", 1}) != 0) abort();
  if (cx_rpc_read(&m, cx_buf_bytes(&w.sent), w.sent.len, &scratch) != 0) abort();
  if (m.kind != CX_RPC_RESULT || m.id.n != id.n || memcmp(m.id.at, id.at, id.n) != 0) abort();
  if (cx_json_parse(&json, cx_buf_bytes(&w.sent), w.sent.len) != 0 && !memchr(id.at, 0, id.n))
    abort();
  cx_json_free(&json);
  cx_rpc_free(rpc);
  cx_buf_free(&w.sent);
  cx_buf_free(&scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const char *line = (const char *)data;
  cx_buf scratch = {0};
  cx_rpc_message m;
  int rc = cx_rpc_read(&m, line, size, &scratch);
  if (rc != 0 && rc != CX_EJSON && rc != CX_EPROTOCOL) abort();
  if (rc == 0) {
    if (!lies_in(m.id, line, size) || !lies_in(m.payload, line, size)) abort();
    if (!lies_in(m.method, line, size) && !lies_in(m.method, scratch.data, scratch.cap)) abort();
    if (m.kind == CX_RPC_REQUEST) reply(m.id);
  }
  compare(line, size, rc, &m);
  feed(line, size, (cx_rpc_options){0});
  feed(line, size, (cx_rpc_options){.relay = true, .window = 1, .prefix = "p"});
  cx_buf_free(&scratch);
  return 0;
}
