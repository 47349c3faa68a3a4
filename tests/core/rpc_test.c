/* JSON-RPC without input and output: messages read from a table and truncated at every byte, and
 * the rules of a peer: windows, late and foreign answers, deadlines, ends, calls within answers. */
#include "rpc.h"

#include <stdarg.h>

#include "err.h"
#include "json.h"
#include "test.h"

/* ---- Reading ------------------------------------------------------------------------------- */

#define REQUEST CX_MESSAGE_REQUEST
#define NOTIFICATION CX_MESSAGE_NOTIFICATION
#define RESULT CX_MESSAGE_RESULT
#define ERROR CX_MESSAGE_ERROR

static const struct {
  const char *line;
  int rc;
  cx_message_kind kind;
  const char *id, *method, *payload; /* "" or NULL: absent */
} cases[] = {
    /* each kind, with and without what may be left out */
    {"{\"id\":1,\"method\":\"m\",\"params\":{\"a\":1}}", 0, REQUEST, "1", "m", "{\"a\":1}"},
    {"{\"id\":1,\"method\":\"m\"}", 0, REQUEST, "1", "m", ""},
    {"{\"method\":\"m\",\"params\":[1,2]}", 0, NOTIFICATION, "", "m", "[1,2]"},
    {"{\"method\":\"m\"}", 0, NOTIFICATION, "", "m", ""},
    {"{\"method\":\"\"}", 0, NOTIFICATION, "", "", ""},
    {"{\"id\":1,\"result\":{}}", 0, RESULT, "1", "", "{}"},
    {"{\"id\":1,\"result\":null}", 0, RESULT, "1", "", "null"},
    {"{\"id\":1,\"result\":0,\"error\":null}", 0, RESULT, "1", "", "0"},
    {"{\"id\":1,\"error\":{\"code\":-1}}", 0, ERROR, "1", "", "{\"code\":-1}"},
    {"{\"id\":1,\"result\":null,\"error\":{}}", 0, ERROR, "1", "", "{}"},
    {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\",\"params\":null,\"x\":[{}]}", 0, REQUEST, "1",
     "m", "null"},
    /* members in any order, space anywhere */
    {" { \"params\" : [ ] , \"method\" :\t\"m\" , \"id\" : 7 } \r\n", 0, REQUEST, "7", "m", "[ ]"},
    {"{\"id\":7\r\n,\"result\":true}", 0, RESULT, "7", "", "true"},
    /* ids keep type and text */
    {"{\"id\":\"x\",\"method\":\"m\"}", 0, REQUEST, "\"x\"", "m", ""},
    {"{\"id\":\"\",\"method\":\"m\"}", 0, REQUEST, "\"\"", "m", ""},
    {"{\"id\":\"a\\\"\\u00e4}\",\"method\":\"m\"}", 0, REQUEST, "\"a\\\"\\u00e4}\"", "m", ""},
    {"{\"id\":0,\"method\":\"m\"}", 0, REQUEST, "0", "m", ""},
    {"{\"id\":-3,\"method\":\"m\"}", 0, REQUEST, "-3", "m", ""},
    {"{\"id\":340282366920938463463374607431768211456,\"method\":\"m\"}", 0, REQUEST,
     "340282366920938463463374607431768211456", "m", ""},
    {"{\"id\":1.50,\"method\":\"m\"}", 0, REQUEST, "1.50", "m", ""},
    {"{\"id\":-0.5E+10,\"method\":\"m\"}", 0, REQUEST, "-0.5E+10", "m", ""},
    {"{\"id\":null,\"method\":\"m\"}", 0, REQUEST, "null", "m", ""},
    {"{\"id\":null,\"error\":{\"code\":-32700}}", 0, ERROR, "null", "", "{\"code\":-32700}"},
    /* the method is a name, however it is written */
    {"{\"method\":\"item\\/started\"}", 0, NOTIFICATION, "", "item/started", ""},
    {"{\"method\":\"\\u0069tem\"}", 0, NOTIFICATION, "", "item", ""},
    {"{\"method\":\"a\\\"b\\\\\"}", 0, NOTIFICATION, "", "a\"b\\", ""},
    {"{\"\\u006dethod\":\"m\",\"i\\u0064\":1}", 0, REQUEST, "1", "m", ""},
    {"{\"meth\\u006fd\":\"\\u006d2\",\"p\\u0061rams\":1}", 0, NOTIFICATION, "", "m2", "1"},
    {"{\"Method\":\"m\",\"id\":1,\"result\":2}", 0, RESULT, "1", "", "2"},
    /* of a member that occurs twice the first counts */
    {"{\"id\":1,\"id\":2,\"method\":\"a\",\"method\":\"b\",\"params\":3,\"params\":4}", 0, REQUEST,
     "1", "a", "3"},
    /* brackets and quotes in strings are no structure */
    {"{\"params\":{\"a\":\"}]\\\"{[\",\"b\":[{\"c\":\"\\\\\"}]},\"method\":\"m\"}", 0, NOTIFICATION,
     "", "m", "{\"a\":\"}]\\\"{[\",\"b\":[{\"c\":\"\\\\\"}]}"},
    {"{\"id\":1,\"result\":\",\\\"id\\\":2}\"}", 0, RESULT, "1", "", "\",\\\"id\\\":2}\""},
    {"{\"x\":{\"method\":\"no\",\"id\":9},\"id\":1,\"result\":[]}", 0, RESULT, "1", "", "[]"},
    /* objects that are no messages */
    {"{}", CX_EPROTOCOL, 0, NULL, NULL, NULL},
    {"{\"id\":1}", CX_EPROTOCOL, 0, NULL, NULL, NULL},
    {"{\"result\":1}", CX_EPROTOCOL, 0, NULL, NULL, NULL},
    {"{\"error\":{}}", CX_EPROTOCOL, 0, NULL, NULL, NULL},
    {"{\"id\":1,\"error\":null}", CX_EPROTOCOL, 0, NULL, NULL, NULL},
    {"{\"id\":1,\"method\":5}", CX_EPROTOCOL, 0, NULL, NULL, NULL},
    {"{\"method\":null}", CX_EPROTOCOL, 0, NULL, NULL, NULL},
    {"{\"id\":{},\"method\":\"m\"}", CX_EPROTOCOL, 0, NULL, NULL, NULL},
    {"{\"id\":[1],\"result\":1}", CX_EPROTOCOL, 0, NULL, NULL, NULL},
    {"{\"id\":true,\"method\":\"m\"}", CX_EPROTOCOL, 0, NULL, NULL, NULL},
    {"{\"msg\":{\"type\":\"hello\"}}", CX_EPROTOCOL, 0, NULL, NULL, NULL},
    /* an id that could not be given back as JSON is none */
    {"{\"id\":01,\"method\":\"m\"}", CX_EPROTOCOL, 0, NULL, NULL, NULL},
    {"{\"id\":1x,\"method\":\"m\"}", CX_EPROTOCOL, 0, NULL, NULL, NULL},
    {"{\"id\":-,\"method\":\"m\"}", CX_EPROTOCOL, 0, NULL, NULL, NULL},
    {"{\"id\":1.,\"method\":\"m\"}", CX_EPROTOCOL, 0, NULL, NULL, NULL},
    {"{\"id\":1e,\"method\":\"m\"}", CX_EPROTOCOL, 0, NULL, NULL, NULL},
    {"{\"id\":nul,\"method\":\"m\"}", CX_EPROTOCOL, 0, NULL, NULL, NULL},
    {"{\"id\":\"\\x\",\"method\":\"m\"}", CX_EPROTOCOL, 0, NULL, NULL, NULL},
    {"{\"id\":\"\t\",\"method\":\"m\"}", CX_EPROTOCOL, 0, NULL, NULL, NULL},
    {"{\"id\":\"\xFF\",\"method\":\"m\"}", CX_EPROTOCOL, 0, NULL, NULL, NULL},
    /* no objects at all */
    {"", CX_EJSON, 0, NULL, NULL, NULL},
    {" ", CX_EJSON, 0, NULL, NULL, NULL},
    {"hello world", CX_EJSON, 0, NULL, NULL, NULL},
    {"[{\"method\":\"m\"}]", CX_EJSON, 0, NULL, NULL, NULL},
    {"\"method\"", CX_EJSON, 0, NULL, NULL, NULL},
    {"null", CX_EJSON, 0, NULL, NULL, NULL},
    {"17", CX_EJSON, 0, NULL, NULL, NULL},
    {"}", CX_EJSON, 0, NULL, NULL, NULL},
    {"{\"method\":\"m\"}}", CX_EJSON, 0, NULL, NULL, NULL},
    {"{\"method\":\"m\"}{\"method\":\"n\"}", CX_EJSON, 0, NULL, NULL, NULL},
    {"{\"method\":\"m\"} x", CX_EJSON, 0, NULL, NULL, NULL},
    {"{\"method\":\"m\",}", CX_EJSON, 0, NULL, NULL, NULL},
    {"{,\"method\":\"m\"}", CX_EJSON, 0, NULL, NULL, NULL},
    {"{\"method\" \"m\"}", CX_EJSON, 0, NULL, NULL, NULL},
    {"{\"method\"}", CX_EJSON, 0, NULL, NULL, NULL},
    {"{\"method\":}", CX_EJSON, 0, NULL, NULL, NULL},
    {"{method:\"m\"}", CX_EJSON, 0, NULL, NULL, NULL},
    {"{\"method\":\"m\" \"id\":1}", CX_EJSON, 0, NULL, NULL, NULL},
    {"{\"\\q\":1,\"method\":\"m\"}", CX_EJSON, 0, NULL, NULL, NULL},
    {"{\"method\":\"\\q\"}", CX_EJSON, 0, NULL, NULL, NULL},
    {"{\"method\":\"\\u12\"}", CX_EJSON, 0, NULL, NULL, NULL},
    {"{\"method\":\"a\tb\"}", CX_EJSON, 0, NULL, NULL, NULL},
    {"{\"method\":\"\xC3(\"}", CX_EJSON, 0, NULL, NULL, NULL},
    {"{\"\xFF\":1,\"method\":\"m\"}", CX_EJSON, 0, NULL, NULL, NULL},
    {"\xEF\xBB\xBF{\"method\":\"m\"}", CX_EJSON, 0, NULL, NULL, NULL},
};

static bool is(cx_span span, const char *text) {
  return span.n == strlen(text) && memcmp(span.n ? span.at : "", text, span.n) == 0;
}

static void test_case(size_t index) {
  cx_message m;
  cx_buf scratch = {0};
  size_t n = strlen(cases[index].line);
  char *line = exactly(cases[index].line, n);
  int rc = cx_message_read(&m, line, n, &scratch);
  CHECK(rc == cases[index].rc, "case %zu: %d", index, rc);
  if (rc == 0 && cases[index].rc == 0) {
    CHECK(m.kind == cases[index].kind, "case %zu: kind %d", index, (int)m.kind);
    CHECK(is(m.id, cases[index].id), "case %zu: id %.*s", index, (int)m.id.n, m.id.at);
    CHECK(is(m.method, cases[index].method), "case %zu: %.*s", index, (int)m.method.n, m.method.at);
    CHECK(is(m.payload, cases[index].payload), "case %zu: %.*s", index, (int)m.payload.n,
          m.payload.at);
    CHECK(m.line.at == line && m.line.n == n, "case %zu: the line", index);
  }
  free(line);
  cx_buf_free(&scratch);
}

/* No beginning of a message is one, and reading it looks at no byte beyond. */
static void test_truncated(size_t index) {
  size_t n = strlen(cases[index].line);
  while (n > 0 && strchr(" \r\n", cases[index].line[n - 1])) n--;
  for (size_t cut = 0; cut < n && cases[index].rc == 0; cut++) {
    cx_message m;
    cx_buf scratch = {0};
    char *line = exactly(cases[index].line, cut);
    int rc = cx_message_read(&m, line, cut, &scratch);
    CHECK(rc == CX_EJSON, "case %zu cut at %zu: %d", index, cut, rc);
    free(line);
    cx_buf_free(&scratch);
  }
}

static void test_nul_bytes(void) {
  static const char inside[] = "{\"method\":\"a\0b\",\"id\":1}", between[] = "{\"id\":1\0}";
  static const char escaped[] = "{\"method\":\"a\\u0000b\"}";
  cx_message m;
  cx_buf scratch = {0};
  CHECK(cx_message_read(&m, between, sizeof between - 1, &scratch) == CX_EJSON, "between members");
  CHECK(cx_message_read(&m, inside, sizeof inside - 1, &scratch) == CX_EJSON, "in a name");
  CHECK(cx_message_read(&m, escaped, sizeof escaped - 1, &scratch) == 0 && m.method.n == 3 &&
            memcmp(m.method.at, "a\0b", 3) == 0,
        "as an escape");
  cx_buf_free(&scratch);
}

/* Brackets are counted, not climbed: a million of them is no danger to the stack. */
static void test_deep(void) {
  enum { DEPTH = 1000000 };
  static const char head[] = "{\"id\":1,\"result\":";
  cx_message m;
  cx_buf text = {0}, scratch = {0};
  cx_buf_add_string(&text, head);
  memset(cx_buf_room(&text, DEPTH), '[', DEPTH);
  cx_buf_added(&text, DEPTH);
  memset(cx_buf_room(&text, DEPTH), ']', DEPTH);
  cx_buf_added(&text, DEPTH);
  CHECK(cx_message_read(&m, cx_buf_bytes(&text), text.len, &scratch) == CX_EJSON, "not closed");
  cx_buf_add_string(&text, "}");
  CHECK(cx_message_read(&m, cx_buf_bytes(&text), text.len, &scratch) == 0, "closed");
  CHECK(m.payload.n == (size_t)2 * DEPTH, "%zu bytes", m.payload.n);
  cx_buf_free(&text);
  cx_buf_free(&scratch);
}

/* ---- A peer -------------------------------------------------------------------------------- */

/* Writes down everything that happens, and may do something inside on_answer or on_send. */
typedef struct world world;
struct world {
  cx_rpc *rpc;
  cx_buf sent, told;
  int refuse; /* what on_send says */
  void (*within)(world *w, uint64_t call);
  void (*within_send)(world *w);
  unsigned asked;
};

static void tell(world *w, const char *format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  cx_buf_add_string(&w->told, text);
}

static int on_send(void *user, const char *data, size_t n) {
  world *w = user;
  if (w->within_send) w->within_send(w);
  if (w->refuse) return w->refuse;
  return cx_buf_add(&w->sent, data, n);
}

static void on_message(void *user, const cx_message *m) {
  static const char *const kinds[] = {"request", "notification", "result", "error"};
  tell(user, "%s %.*s %.*s %.*s|", kinds[m->kind], (int)m->id.n, m->id.at, (int)m->method.n,
       m->method.at, (int)m->payload.n, m->payload.at);
}

static void on_answer(void *user, uint64_t call, int code, const cx_message *m) {
  world *w = user;
  if (code)
    tell(w, "%u %s|", (unsigned)call, cx_err_name(code));
  else
    tell(w, "%u%s%.*s|", (unsigned)call, m->kind == ERROR ? "!" : "=", (int)m->payload.n,
         m->payload.at);
  if ((code != 0) != (m == NULL)) tell(w, "a message and a code|");
  if (w->within) w->within(w, call);
}

static void on_junk(void *user, const char *text, size_t n, int code) {
  tell(user, "junk %.*s %s|", (int)n, text, cx_err_name(code));
}

static const cx_rpc_events events = {on_send, on_message, on_answer, on_junk};

static void open_world(world *w, cx_rpc_options options) {
  memset(w, 0, sizeof *w);
  w->rpc = cx_rpc_new(&options, &events, w);
  if (!w->rpc) abort();
}

static void close_world(world *w) {
  cx_rpc_free(w->rpc);
  cx_buf_free(&w->sent);
  cx_buf_free(&w->told);
}

static void feed(world *w, const char *line) {
  char *copy = exactly(line, strlen(line));
  cx_rpc_feed(w->rpc, copy, strlen(line));
  free(copy);
}

static uint64_t call(world *w, uint64_t due) {
  uint64_t number = UINT64_MAX;
  int rc = cx_rpc_call(w->rpc, "m", "1", 1, due, &number);
  if (rc != 0) tell(w, "call %s|", cx_err_name(rc));
  return number;
}

/* What was sent or told since the last look. */
static void expect(cx_buf *buf, const char *wanted, const char *what) {
  CHECK(is((cx_span){cx_buf_bytes(buf), buf->len}, wanted), "%s: %.*s", what, (int)buf->len,
        cx_buf_bytes(buf));
  cx_buf_drop(buf, buf->len);
}

static bool holds(const cx_buf *buf, const char *text) {
  return memmem(cx_buf_bytes(buf), buf->len, text, strlen(text)) != NULL;
}

static void counts(const world *w, size_t pending, size_t queued, const char *what) {
  CHECK(cx_rpc_pending(w->rpc) == pending && cx_rpc_queued(w->rpc) == queued, "%s: %zu and %zu",
        what, cx_rpc_pending(w->rpc), cx_rpc_queued(w->rpc));
}

static void test_texts(bool versioned) {
  world w;
  uint64_t number;
  open_world(&w, (cx_rpc_options){.versioned = versioned});
  const char *v = versioned ? "\"jsonrpc\":\"2.0\"," : "";
  char wanted[512];
  cx_rpc_call(w.rpc, "a/\"b\"", "{\"x\":[1]}", 9, 0, &number);
  cx_rpc_call(w.rpc, "none", NULL, 0, 0, &number);
  snprintf(wanted, sizeof wanted,
           "{%s\"id\":0,\"method\":\"a/\\\"b\\\"\",\"params\":{\"x\":[1]}}\n"
           "{%s\"id\":1,\"method\":\"none\"}\n",
           v, v);
  expect(&w.sent, wanted, "calls");
  cx_rpc_notify(w.rpc, "initialized", NULL, 0);
  cx_rpc_notify(w.rpc, "n", "[]", 2);
  snprintf(wanted, sizeof wanted,
           "{%s\"method\":\"initialized\"}\n{%s\"method\":\"n\",\"params\":[]}\n", v, v);
  expect(&w.sent, wanted, "notifications");
  cx_rpc_reply(w.rpc, (cx_span){"\"x\"", 3}, (cx_span){"{}", 2});
  cx_rpc_refuse(w.rpc, (cx_span){"1.50", 4}, -32601, (cx_span){"no\n\xFF", 4}, (cx_span){0});
  cx_rpc_refuse(w.rpc, (cx_span){"null", 4}, INT64_MIN, (cx_span){"", 0}, (cx_span){"[1]", 3});
  snprintf(wanted, sizeof wanted,
           "{%s\"id\":\"x\",\"result\":{}}\n"
           "{%s\"id\":1.50,\"error\":{\"code\":-32601,\"message\":\"no\\n\xEF\xBF\xBD\"}}\n"
           "{%s\"id\":null,\"error\":{\"code\":-9223372036854775808,\"message\":\"\",\"data\":[1]}}"
           "\n",
           v, v, v);
  expect(&w.sent, wanted, "answers");
  close_world(&w);
}

static void test_answers(void) {
  world w;
  open_world(&w, (cx_rpc_options){0});
  for (int i = 0; i < 4; i++) call(&w, 0);
  feed(&w, "{\"id\":2,\"result\":\"c\"}");
  feed(&w, "{\"id\":0,\"error\":{\"code\":1}}");
  expect(&w.told, "2=\"c\"|0!{\"code\":1}|", "out of order");
  counts(&w, 2, 0, "two are left");
  feed(&w, "{\"id\":2,\"result\":1}");
  expect(&w.told, "junk {\"id\":2,\"result\":1} EPROTOCOL|", "twice");
  feed(&w, "{\"id\":9,\"result\":1}");
  expect(&w.told, "junk {\"id\":9,\"result\":1} EPROTOCOL|", "never asked");
  static const char *const foreign[] = {"\"1\"", "1.0",  "1e0", "-1",
                                        "null",  "\"\"", "01",  "18446744073709551617"};
  for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
    char line[64], wanted[96];
    snprintf(line, sizeof line, "{\"id\":%s,\"result\":1}", foreign[i]);
    snprintf(wanted, sizeof wanted, "junk %s EPROTOCOL|", line);
    feed(&w, line);
    expect(&w.told, wanted, foreign[i]);
  }
  counts(&w, 2, 0, "and nothing was taken for theirs");
  feed(&w, "{\"id\":1,\"method\":\"ours too\",\"params\":{}}");
  feed(&w, "{\"id\":3,\"result\":null}");
  feed(&w, "{\"id\":1,\"result\":[]}");
  expect(&w.told, "request 1 ours too {}|3=null|1=[]|", "the other side counts as we do");
  feed(&w, "what?");
  expect(&w.told, "junk what? EJSON|", "junk");
  counts(&w, 0, 0, "nothing is left");
  close_world(&w);
}

static void test_window(void) {
  world w;
  open_world(&w, (cx_rpc_options){0});
  for (int i = 0; i < 66; i++) call(&w, 0);
  counts(&w, 64, 2, "64 are sent by default");
  CHECK(holds(&w.sent, "\"id\":63,") && !holds(&w.sent, "\"id\":64,"), "in their order");
  cx_buf_drop(&w.sent, w.sent.len);
  feed(&w, "{\"id\":77,\"result\":1}");
  expect(&w.sent, "", "a foreign answer makes no room");
  feed(&w, "{\"id\":5,\"result\":1}");
  expect(&w.sent, "{\"id\":64,\"method\":\"m\",\"params\":1}\n", "the 65th");
  counts(&w, 64, 1, "one waits");
  cx_rpc_notify(w.rpc, "n", NULL, 0);
  expect(&w.sent, "{\"method\":\"n\"}\n", "notifications do not wait");
  close_world(&w);
}

static void test_relay(void) {
  world w;
  open_world(&w, (cx_rpc_options){.relay = true, .prefix = "own-"});
  call(&w, 0);
  call(&w, 0);
  expect(&w.sent,
         "{\"id\":\"own-0\",\"method\":\"m\",\"params\":1}\n"
         "{\"id\":\"own-1\",\"method\":\"m\",\"params\":1}\n",
         "ids with a prefix");
  feed(&w, "{\"id\":0,\"result\":1}");
  feed(&w, "{\"id\":\"own-7\",\"error\":{}}");
  feed(&w, "{\"id\":\"own-\",\"result\":2}");
  feed(&w, "{\"id\":\"own-01\",\"result\":2}");
  feed(&w, "{\"id\":\"own-1x\",\"result\":3}");
  feed(&w, "{\"id\":\"1\",\"result\":4}");
  expect(&w.told,
         "result 0  1|error \"own-7\"  {}|result \"own-\"  2|result \"own-01\"  2|"
         "result \"own-1x\"  3|result \"1\"  4|",
         "answers of others are messages");
  feed(&w, "{\"id\":\"own-1\",\"result\":5}");
  feed(&w, "{\"id\":\"\\u006fwn\\u002d0\",\"result\":6}");
  expect(&w.told, "1=5|0=6|", "ours, however they are written");
  feed(&w, "{\"id\":\"own-1\",\"result\":5}");
  expect(&w.told, "result \"own-1\"  5|", "once");
  feed(&w, "junk");
  expect(&w.told, "junk junk EJSON|", "junk is junk");
  close_world(&w);
  char prefix[32];
  memset(prefix, 'p', sizeof prefix);
  prefix[31] = 0;
  open_world(&w, (cx_rpc_options){.prefix = prefix});
  call(&w, 0);
  feed(&w, "{\"id\":\"ppppppppppppppppppppppppppppppp0\",\"result\":1}");
  expect(&w.told, "0=1|", "a long prefix is not cut");
  close_world(&w);
}

static void test_forget(void) {
  world w;
  open_world(&w, (cx_rpc_options){.window = 2});
  for (int i = 0; i < 6; i++) call(&w, 0);
  cx_buf_drop(&w.sent, w.sent.len);
  cx_rpc_forget(w.rpc, 5); /* the last, a middle one and the first of the queue */
  cx_rpc_forget(w.rpc, 3);
  cx_rpc_forget(w.rpc, 1);
  cx_rpc_forget(w.rpc, 99);
  counts(&w, 1, 2, "a sent one gives its place back");
  call(&w, 0);
  expect(&w.sent, "", "which is whose turn it is");
  cx_rpc_pump(w.rpc);
  expect(&w.sent, "{\"id\":2,\"method\":\"m\",\"params\":1}\n", "and is sent then");
  feed(&w, "{\"id\":1,\"result\":1}");
  expect(&w.told, "", "its late answer is nobody's, and no junk");
  expect(&w.sent, "", "and gives nothing back");
  feed(&w, "{\"id\":0,\"result\":1}");
  feed(&w, "{\"id\":2,\"result\":1}");
  expect(&w.sent,
         "{\"id\":4,\"method\":\"m\",\"params\":1}\n{\"id\":6,\"method\":\"m\",\"params\":1}\n",
         "what was forgotten in the queue is not sent");
  expect(&w.told, "0=1|2=1|", "the others are told");
  cx_rpc_forget(w.rpc, 4);
  cx_rpc_end(w.rpc, CX_ECLOSED);
  expect(&w.told, "6 ECLOSED|", "nor is the end told to whom nobody waits for");
  close_world(&w);
}

/* The other side never answers what was forgotten: neither places nor memory are lost. */
static void test_forget_many(void) {
  enum { MOST = 1024, CALLS = 3 * MOST };
  world w;
  open_world(&w, (cx_rpc_options){.window = 2});
  for (int i = 0; i < CALLS; i++) {
    call(&w, i % 2 ? 0 : 10);
    cx_rpc_forget(w.rpc, (uint64_t)i);
    cx_rpc_forget(w.rpc, (uint64_t)i);
  }
  counts(&w, 0, 0, "all were sent, and nobody waits");
  feed(&w, "{\"id\":1,\"result\":1}");
  expect(&w.told, "", "an early one is still known");
  feed(&w, "{\"id\":3071,\"result\":1}");
  expect(&w.told, "junk {\"id\":3071,\"result\":1} EPROTOCOL|", "a late one is not");
  cx_rpc_expire(w.rpc, 10);
  expect(&w.told, "", "nobody hears of their time");
  cx_buf_drop(&w.sent, w.sent.len);
  for (int i = 0; i < 3; i++) call(&w, 0);
  counts(&w, 2, 1, "the window is as wide as before");
  close_world(&w);
}

static void test_deadlines(void) {
  world w;
  open_world(&w, (cx_rpc_options){.window = 3});
  CHECK(cx_rpc_next_due(w.rpc) == 0, "never");
  call(&w, 0);
  call(&w, 50);
  call(&w, 30);
  call(&w, 20); /* these wait in the queue */
  call(&w, 60);
  call(&w, 25);
  CHECK(cx_rpc_next_due(w.rpc) == 20, "%u", (unsigned)cx_rpc_next_due(w.rpc));
  cx_buf_drop(&w.sent, w.sent.len);
  cx_rpc_expire(w.rpc, 19);
  expect(&w.told, "", "too early");
  CHECK(cx_rpc_next_due(w.rpc) == 20, "%u", (unsigned)cx_rpc_next_due(w.rpc));
  cx_rpc_expire(w.rpc, 20);
  expect(&w.told, "3 ETIMEOUT|", "waiting for one's turn counts");
  counts(&w, 3, 2, "queue");
  CHECK(cx_rpc_next_due(w.rpc) == 25, "%u", (unsigned)cx_rpc_next_due(w.rpc));
  cx_rpc_expire(w.rpc, 26);
  expect(&w.told, "5 ETIMEOUT|", "the last of the queue");
  call(&w, 0);
  counts(&w, 3, 2, "and one more behind it");
  cx_rpc_expire(w.rpc, 30);
  expect(&w.told, "2 ETIMEOUT|", "one that was sent");
  expect(&w.sent, "{\"id\":4,\"method\":\"m\",\"params\":1}\n", "makes room");
  feed(&w, "{\"id\":2,\"result\":1}");
  expect(&w.told, "junk {\"id\":2,\"result\":1} EPROTOCOL|", "its answer is too late");
  cx_rpc_forget(w.rpc, 1);
  cx_rpc_expire(w.rpc, 55);
  expect(&w.told, "", "a forgotten one is due without a word");
  expect(&w.sent, "{\"id\":6,\"method\":\"m\",\"params\":1}\n", "and makes room as well");
  cx_rpc_expire(w.rpc, 1000);
  expect(&w.told, "4 ETIMEOUT|", "the last one with a deadline");
  CHECK(cx_rpc_next_due(w.rpc) == 0, "never again");
  counts(&w, 2, 0, "those without wait on");
  close_world(&w);
}

static void test_end(void) {
  world w;
  open_world(&w, (cx_rpc_options){.window = 1});
  call(&w, 5);
  call(&w, 5);
  cx_buf_drop(&w.sent, w.sent.len);
  cx_rpc_end(w.rpc, CX_ECANCELLED);
  CHECK(w.told.len == strlen("0 ECANCELLED|1 ECANCELLED|"), "%.*s", (int)w.told.len,
        cx_buf_bytes(&w.told));
  cx_buf_drop(&w.told, w.told.len);
  counts(&w, 0, 0, "nothing waits");
  CHECK(cx_rpc_next_due(w.rpc) == 0, "nothing is due");
  cx_rpc_end(w.rpc, CX_ECANCELLED);
  cx_rpc_expire(w.rpc, 100);
  feed(&w, "{\"id\":0,\"result\":1}");
  feed(&w, "{\"method\":\"m\"}");
  expect(&w.told, "", "once, and nothing comes in");
  call(&w, 0);
  expect(&w.told, "call ECLOSED|", "a later call");
  expect(&w.sent, "", "is not sent");
  CHECK(cx_rpc_reply(w.rpc, (cx_span){"1", 1}, (cx_span){"2", 1}) == 0, "what was asked before");
  expect(&w.sent, "{\"id\":1,\"result\":2}\n", "is still answered");
  close_world(&w);
}

static void test_send_fails(void) {
  world w;
  open_world(&w, (cx_rpc_options){.window = 1});
  w.refuse = CX_ECLOSED;
  call(&w, 0);
  expect(&w.told, "call ECLOSED|", "at once: the caller is told, and nobody else");
  counts(&w, 0, 0, "nothing waits");
  CHECK(cx_rpc_notify(w.rpc, "n", NULL, 0) == CX_ECLOSED, "notify");
  CHECK(cx_rpc_reply(w.rpc, (cx_span){"1", 1}, (cx_span){"2", 1}) == CX_ECLOSED, "reply");
  w.refuse = 0;
  call(&w, 0);
  call(&w, 0);
  call(&w, 0);
  cx_rpc_forget(w.rpc, 99);
  w.refuse = CX_EMEMORY;
  feed(&w, "{\"id\":1,\"result\":1}");
  expect(&w.told, "1=1|2 EMEMORY|3 EMEMORY|", "later: each that had its turn");
  counts(&w, 0, 0, "nothing waits");
  close_world(&w);
}

/* ---- Calls within answers ------------------------------------------------------------------- */

static void call_again(world *w, uint64_t number) {
  (void)number;
  if (w->asked++ < 3) call(w, 0);
}

static void forget_others(world *w, uint64_t number) {
  for (uint64_t i = 0; i < 40; i++)
    if (i != number) cx_rpc_forget(w->rpc, i);
}

static void end_all(world *w, uint64_t number) {
  (void)number;
  if (w->asked++ == 0) cx_rpc_end(w->rpc, CX_ECLOSED);
}

static void expire_all(world *w, uint64_t number) {
  (void)number;
  cx_rpc_expire(w->rpc, 1000);
}

static size_t told_count(const world *w) {
  size_t n = 0;
  for (size_t i = 0; i < w->told.len; i++) n += cx_buf_bytes(&w->told)[i] == '|';
  return n;
}

static void test_within(void) {
  world w;
  open_world(&w, (cx_rpc_options){.window = 1});
  w.within = call_again;
  call(&w, 10);
  call(&w, 10);
  cx_buf_drop(&w.sent, w.sent.len);
  feed(&w, "{\"id\":0,\"result\":1}");
  expect(&w.sent, "{\"id\":1,\"method\":\"m\",\"params\":1}\n", "a call from an answer waits");
  counts(&w, 1, 1, "behind the one that waited before");
  cx_rpc_expire(w.rpc, 10);
  expect(&w.told, "0=1|1 ETIMEOUT|", "from a time-out");
  expect(&w.sent, "{\"id\":2,\"method\":\"m\",\"params\":1}\n", "the next");
  cx_rpc_end(w.rpc, CX_ECLOSED);
  CHECK(told_count(&w) == 3 && holds(&w.told, "call ECLOSED|"), "from the end it is refused: %.*s",
        (int)w.told.len, cx_buf_bytes(&w.told));
  close_world(&w);
}

/* The first to be told forgets the others, ends everything, or lets time run: each call is told at
 * most once, and a forgotten one never. */
static void test_within_many(void (*within)(world *, uint64_t), bool end, size_t wanted) {
  world w;
  open_world(&w, (cx_rpc_options){.window = 20});
  for (int i = 0; i < 40; i++) call(&w, 10);
  w.within = within;
  if (end)
    cx_rpc_end(w.rpc, CX_ECLOSED);
  else
    cx_rpc_expire(w.rpc, 10);
  CHECK(told_count(&w) == wanted, "%zu: %.*s", told_count(&w), (int)w.told.len,
        cx_buf_bytes(&w.told));
  counts(&w, 0, 0, "nothing waits");
  close_world(&w);
}

static void answer_itself(world *w) {
  w->within_send = NULL;
  feed(w, "{\"id\":0,\"result\":1}");
}

static void end_itself(world *w) {
  w->within_send = NULL;
  cx_rpc_end(w->rpc, CX_ECLOSED);
}

/* The answer comes, or everything ends, while on_send runs, whatever that then says. */
static void test_within_send(int refuse) {
  world w;
  open_world(&w, (cx_rpc_options){0});
  w.refuse = refuse;
  w.within_send = answer_itself;
  call(&w, 0);
  expect(&w.told, "0=1|", "answered at once");
  counts(&w, 0, 0, "answered at once");
  w.within_send = end_itself;
  call(&w, 0);
  expect(&w.told, "1 ECLOSED|", "ended at once");
  close_world(&w);
}

/* ---- Many ------------------------------------------------------------------------------------ */

static void count_answer(void *user, uint64_t number, int code, const cx_message *m) {
  (void)number;
  (void)m;
  *(size_t *)user += code == 0;
}

static int send_nothing(void *user, const char *data, size_t n) {
  (void)user;
  (void)data;
  (void)n;
  return 0;
}

/* A hundred thousand wait at once and are answered in an order far from that of sending. */
static void test_many(void) {
  enum { MANY = 100003, STEP = 7919 }; /* primes: every number comes once */
  static const cx_rpc_events quiet = {send_nothing, on_message, count_answer, on_junk};
  size_t answered = 0;
  uint64_t number;
  cx_rpc *rpc = cx_rpc_new(&(cx_rpc_options){.window = MANY}, &quiet, &answered);
  for (int i = 0; i < MANY; i++) cx_rpc_call(rpc, "m", NULL, 0, 0, &number);
  CHECK(cx_rpc_pending(rpc) == MANY && cx_rpc_queued(rpc) == 0, "%zu", cx_rpc_pending(rpc));
  for (size_t i = 0, at = 0; i < MANY; i++, at = (at + STEP) % MANY) {
    char line[64];
    int n = snprintf(line, sizeof line, "{\"id\":%zu,\"result\":0}", at);
    cx_rpc_feed(rpc, line, (size_t)n);
  }
  CHECK(answered == MANY && cx_rpc_pending(rpc) == 0, "%zu answered", answered);
  cx_rpc_free(rpc);
}

int main(void) {
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    test_case(i);
    test_truncated(i);
  }
  test_nul_bytes();
  test_deep();
  test_texts(false);
  test_texts(true);
  test_answers();
  test_window();
  test_relay();
  test_forget();
  test_forget_many();
  test_deadlines();
  test_end();
  test_send_fails();
  test_within();
  test_within_many(forget_others, false, 1);
  test_within_many(forget_others, true, 1);
  test_within_many(end_all, false, 40);
  test_within_many(end_all, true, 40);
  test_within_many(expire_all, false, 40);
  test_within_many(expire_all, true, 40);
  test_within_send(0);
  test_within_send(CX_ECLOSED);
  test_many();
  return report("rpc_test");
}
