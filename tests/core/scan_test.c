/* The strict reader: what it takes and refuses, each text also cut at every byte; the paths of its
 * arrays; ids by value; the outside of messages. */
#include "scan.h"

#include "envelope.h"
#include "err.h"
#include "test.h"

/* ---- Texts ---------------------------------------------------------------------------------- */

static const struct {
  const char *text;
  size_t size; /* 0: strlen */
  int rc;
} texts[] = {
    {"{}", 0, 0},
    {" [ ] ", 0, 0},
    {"0", 0, 0},
    {"-0.5e+10", 0, 0},
    {"1E5", 0, 0},
    {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\uD83D\\uDE00\"", 0, 0},
    {"\"\xC2\x80\xE2\x82\xAC\xED\x9F\xBF\xEE\x80\x80\xF0\x90\x80\x80\xF4\x8F\xBF\xBF\x7F\"", 0, 0},
    {"{\"a\":1,\"b\":{\"a\":2},\"c\":[{\"a\":3},{\"a\":4}]}", 0, 0},
    {"{\"\":1,\" \":2,\"A\":3,\"a\":4,\"a\\u0000\":5}", 0, 0},
    {"[true,false,null]", 0, 0},
    {"", 0, CX_EJSON},
    {"{} {}", 0, CX_EJSON},
    {"{}x", 0, CX_EJSON},
    {"\xEF\xBB\xBF{}", 0, CX_EJSON},
    {"{\"a\":1,\"a\":1}", 0, CX_EJSON},
    {"{\"a\":1,\"\\u0061\":2}", 0, CX_EJSON},
    {"{\"\\n\":1,\"\\u000a\":2}", 0, CX_EJSON},
    {"{\"\xC3\xA4\":1,\"\\u00E4\":2}", 0, CX_EJSON},
    {"{\"\xF0\x9F\x98\x80\":1,\"\\uD83D\\uDE00\":2}", 0, CX_EJSON},
    {"[{\"x\":{\"a\":1,\"b\":2,\"a\":3}}]", 0, CX_EJSON},
    {"{\"a\":1,}", 0, CX_EJSON},
    {"[1,]", 0, CX_EJSON},
    {"[1 2]", 0, CX_EJSON},
    {"{\"a\" 1}", 0, CX_EJSON},
    {"{a:1}", 0, CX_EJSON},
    {"{'a':1}", 0, CX_EJSON},
    {"[1}", 0, CX_EJSON},
    {"{\"a\":1]", 0, CX_EJSON},
    {"01", 0, CX_EJSON},
    {"+1", 0, CX_EJSON},
    {".5", 0, CX_EJSON},
    {"1.", 0, CX_EJSON},
    {"1e", 0, CX_EJSON},
    {"-", 0, CX_EJSON},
    {"NaN", 0, CX_EJSON},
    {"Infinity", 0, CX_EJSON},
    {"0x10", 0, CX_EJSON},
    {"True", 0, CX_EJSON},
    {"nul", 0, CX_EJSON},
    {"// c\n1", 0, CX_EJSON},
    {"\"a", 0, CX_EJSON},
    {"\"\\x\"", 0, CX_EJSON},
    {"\"\\u12G4\"", 0, CX_EJSON},
    {"\"\\uD800\"", 0, CX_EJSON},
    {"\"\\uD800\\n\"", 0, CX_EJSON},
    {"\"\\uD800\\uD800\"", 0, CX_EJSON},
    {"\"\\uDC00\"", 0, CX_EJSON},
    {"\"a\tb\"", 0, CX_EJSON},
    {"\"a\0b\"", 5, CX_EJSON},
    {"\"12345678\x01\"", 0, CX_EJSON},
    {"1\0", 2, CX_EJSON},
    {"\x0B{}", 0, CX_EJSON},
    {"\"\xFF\"", 0, CX_EJSON},
    {"\"\xC3\"", 0, CX_EJSON},
    {"\"\xC0\x80\"", 0, CX_EJSON},
    {"\"\xE0\x80\x80\"", 0, CX_EJSON},
    {"\"\xED\xA0\x80\"", 0, CX_EJSON},
    {"\"\xF0\x80\x80\x80\"", 0, CX_EJSON},
    {"\"\xF4\x90\x80\x80\"", 0, CX_EJSON},
    {"\"12345678\xC3(\"", 0, CX_EJSON},
};

static int scan(const char *text, size_t n, const cx_scan_events *events, void *user) {
  cx_fault fault;
  char *own = exactly(text, n);
  int rc = cx_scan(own, n, events, user, &fault);
  bool told = (rc == 0) == (fault.what == NULL) && fault.at <= n;
  CHECK(told, "'%s' at %zu of %zu", fault.what ? fault.what : "nothing", fault.at, n);
  free(own);
  return rc;
}

static void test_text(size_t index) {
  const char *text = texts[index].text;
  size_t n = texts[index].size ? texts[index].size : strlen(text);
  int rc = scan(text, n, NULL, NULL);
  CHECK(rc == texts[index].rc, "text %zu: %d", index, rc);
  for (size_t cut = 0; cut < n; cut++) scan(text, cut, NULL, NULL); /* sanitizers look on */
}

static void test_depth(void) {
  char text[2 * (CX_SCAN_DEPTH + 1) + 1];
  for (int depth = CX_SCAN_DEPTH; depth <= CX_SCAN_DEPTH + 1; depth++) {
    memset(text, '[', (size_t)depth);
    memset(text + depth, ']', (size_t)depth);
    int rc = scan(text, 2 * (size_t)depth, NULL, NULL);
    CHECK(rc == (depth > CX_SCAN_DEPTH ? CX_EDEPTH : 0), "depth %d: %d", depth, rc);
  }
}

/* An object of so many names, the last of which is one that was there before, or is not. */
static void test_many_names(size_t count, bool twice) {
  cx_buf text = {0};
  char member[32];
  for (size_t i = 0; i < count; i++) {
    size_t number = twice && i == count - 1 ? count / 2 : i;
    snprintf(member, sizeof member, "%c\"k%zu\":0", i ? ',' : '{', number);
    cx_buf_add_string(&text, member);
  }
  cx_buf_add_string(&text, "}");
  int rc = scan(cx_buf_bytes(&text), text.len, NULL, NULL);
  int wanted = count > CX_SCAN_NAMES ? CX_ETOOMANY : twice ? CX_EJSON : 0;
  CHECK(rc == wanted, "%zu names: %d", count, rc);
  cx_buf_free(&text);
}

/* So many values: an array and what is in it. */
static void test_many_values(size_t count, int wanted) {
  cx_buf text = {0};
  cx_buf_add_string(&text, "[0");
  for (size_t i = 2; i < count; i++) cx_buf_add_string(&text, ",0");
  cx_buf_add_string(&text, "]");
  int rc = scan(cx_buf_bytes(&text), text.len, NULL, NULL);
  CHECK(rc == wanted, "%zu values: %d", count, rc);
  cx_buf_free(&text);
}

/* ---- Paths ---------------------------------------------------------------------------------- */

static bool note_array(void *user, cx_span path) {
  cx_buf *seen = user;
  cx_buf_add(seen, path.at, path.n);
  cx_buf_add(seen, "|", 1);
  return !memmem(path.at, path.n, "never", 5);
}

static void note_member(void *user, cx_span name, cx_span value) {
  cx_buf *seen = user;
  cx_buf_add(seen, name.at, name.n);
  cx_buf_add(seen, "=", 1);
  cx_buf_add(seen, value.at, value.n);
  cx_buf_add(seen, ";", 1);
}

static void test_events(const char *text, bool arrays, const char *wanted, int wanted_rc) {
  cx_buf seen = {0};
  const cx_scan_events events = {arrays ? NULL : note_member, arrays ? note_array : NULL};
  int rc = scan(text, strlen(text), &events, &seen);
  bool same = seen.len == strlen(wanted) && memcmp(cx_buf_bytes(&seen), wanted, seen.len) == 0;
  CHECK(rc == wanted_rc && same, "%s: %d, %.*s", text, rc, (int)seen.len, cx_buf_bytes(&seen));
  cx_buf_free(&seen);
}

static void test_paths(void) {
  test_events("[[1],{\"a\":[2]}]", true, "|[]|[].a|", 0);
  test_events("{\"p\":{\"a\":[{\"b\":[]},[]],\"c\\u0061\":[]},\"q\":[]}", true,
              "p.a|p.a[].b|p.a[]|p.ca|q|", 0);
  test_events("{\"a\":[1],\"never\":[2],\"b\":[3]}", true, "a|never|", CX_EJSON);
  test_events("{\"id\": 1 ,\"\\u006d\":{\"id\":[2]},\"x\":\"y\"}", false,
              "id=1;m={\"id\":[2]};x=\"y\";", 0);
}

/* ---- Ids ------------------------------------------------------------------------------------ */

static const struct {
  const char *id, *canonical; /* NULL: it is none */
} ids[] = {
    {"0", "0"},
    {"-0", "0"},
    {"0.0", "0"},
    {"-0.000e-5", "0"},
    {"0e0", "0"},
    {"0e99999999999999999999", "0"},
    {"1.0", "1"},
    {"1000e-3", "1"},
    {"0.001e3", "1"},
    {"12e1", "120"},
    {"9223372036854775807", "9223372036854775807"},
    {"-9223372036854775808", "-9223372036854775808"},
    {"9223372036854775807.0", "9223372036854775807"},
    {"9223372036854775808", NULL},
    {"-9223372036854775809", NULL},
    {"18446744073709551616", NULL},
    {"1e19", NULL},
    {"1e400", NULL},
    {"1e99999999999999999999", NULL},
    {"1.5", NULL},
    {"1e-1", NULL},
    {"1e-99999999999999999999", NULL},
    {"null", NULL},
    {"true", NULL},
    {"{}", NULL},
    {"[]", NULL},
    {"\"a\"", "\"a\""},
    {"\"\\u0061\\/\"", "\"a/\""},
    {"\"\\u000A\\u0000\\uD83D\\uDE00\"", "\"\\n\\u0000\xF0\x9F\x98\x80\""},
    {"\"0\"", "\"0\""},
};

static void test_id(size_t index) {
  const char *id = ids[index].id, *canonical = ids[index].canonical;
  char *own = exactly(id, strlen(id));
  cx_buf out = {0};
  int rc = cx_envelope_id((cx_span){own, strlen(id)}, &out);
  bool same = canonical && out.len == strlen(canonical) &&
              memcmp(cx_buf_bytes(&out), canonical, out.len) == 0;
  CHECK(canonical ? rc == 0 && same : rc == CX_EPROTOCOL && out.len == 0, "id %s: %d, %.*s", id, rc,
        (int)out.len, cx_buf_bytes(&out));
  cx_buf_free(&out);
  free(own);
}

/* ---- Messages ------------------------------------------------------------------------------- */

enum { REFUSED = -1 };

static const struct {
  const char *text;
  int kind;
} messages[] = {
    {"{\"id\":1,\"method\":\"m\",\"params\":{}}", CX_MESSAGE_REQUEST},
    {" {\"method\":\"m\",\"id\":\"1\",\"jsonrpc\":\"2.0\"} ", CX_MESSAGE_REQUEST},
    {"{\"id\":1,\"method\":\"m\",\"params\":null,\"more\":[1]}", CX_MESSAGE_REQUEST},
    {"{\"method\":\"m\"}", CX_MESSAGE_NOTIFICATION},
    {"{\"id\":1,\"result\":null}", CX_MESSAGE_RESULT},
    {"{\"id\":1,\"result\":{\"result\":1,\"error\":2}}", CX_MESSAGE_RESULT},
    {"{\"id\":1,\"error\":{\"code\":1,\"message\":\"no\"}}", CX_MESSAGE_ERROR},
    {"[{\"id\":1,\"method\":\"m\"}]", REFUSED},
    {"[50,\"m\",{}]", REFUSED},
    {"\"m\"", REFUSED},
    {"{}", REFUSED},
    {"{\"id\":1}", REFUSED},
    {"{\"result\":1}", REFUSED},
    {"{\"id\":null,\"method\":\"m\"}", REFUSED},
    {"{\"id\":null,\"result\":1}", REFUSED},
    {"{\"id\":1.5,\"method\":\"m\"}", REFUSED},
    {"{\"id\":[1],\"method\":\"m\"}", REFUSED},
    {"{\"id\":true,\"result\":1}", REFUSED},
    {"{\"id\":1,\"method\":null,\"result\":1}", REFUSED},
    {"{\"id\":1,\"method\":5}", REFUSED},
    {"{\"id\":1,\"method\":[\"m\"]}", REFUSED},
    {"{\"id\":1,\"method\":\"m\",\"params\":[1]}", REFUSED},
    {"{\"id\":1,\"method\":\"m\",\"params\":\"x\"}", REFUSED},
    {"{\"id\":1,\"method\":\"m\",\"result\":1}", REFUSED},
    {"{\"id\":1,\"method\":\"m\",\"error\":{}}", REFUSED},
    {"{\"id\":1,\"result\":1,\"error\":{}}", REFUSED},
    {"{\"id\":1,\"result\":1,\"error\":null}", REFUSED},
    {"{\"id\":1,\"result\":1,\"params\":{}}", REFUSED},
    {"{\"id\":1,\"result\":1,\"params\":null}", REFUSED},
    {"{\"id\":1,\"result\":{\"$serde_json::private::RawValue\":\"1\"}}", REFUSED},
    {"{\"id\":1,\"result\":[{\"\\u0024serde_json::private::Number\":\"1\"}]}", REFUSED},
    {"{\"id\":1,\"result\":{\"$__toml_private_datetime\":\"1\"}}", REFUSED},
    {"{\"id\":1,\"result\":{\"$schema\":\"\",\"$\":{\"$serde\":1}}}", CX_MESSAGE_RESULT},
    {"{\"id\":1,\"error\":null}", REFUSED},
    {"{\"id\":1,\"error\":[1,\"no\"]}", REFUSED},
    {"{\"id\":1,\"id\":1,\"result\":1}", REFUSED},
    {"{\"id\":1,\"result\":{\"decision\":\"decline\",\"decision\":\"accept\"}}", REFUSED},
    {"{\"id\":1,\"method\":\"m\",\"params\":{\"places\":[{\"struct\":{}}]}}", CX_MESSAGE_REQUEST},
    {"{\"id\":1,\"method\":\"m\",\"params\":{\"places\":[{\"struct\":[]}]}}", REFUSED},
    {"{\"id\":1,\"method\":\"m\",\"params\":{\"places\":[{\"\\u0073truct\":[]}]}}", REFUSED},
    {"{\"id\":1,\"method\":\"m\",\"params\":{\"places\":[[]]}}", REFUSED},
    {"{\"id\":1,\"method\":\"m\",\"params\":{\"place\":[[]]}}", CX_MESSAGE_REQUEST},
};

static const char *const paths[] = {"params.places[]", "params.places[].struct", "result"};

static void test_message(size_t index) {
  static const cx_places places = {paths, sizeof paths / sizeof *paths};
  const char *text = messages[index].text;
  char *own = exactly(text, strlen(text));
  cx_envelope e;
  int rc = cx_envelope_read(&e, own, strlen(text), &places);
  if (messages[index].kind == REFUSED)
    CHECK((rc == CX_EJSON || rc == CX_EPROTOCOL) && e.problem[0], "%s: %d %s", text, rc, e.problem);
  else
    CHECK(rc == 0 && (int)e.kind == messages[index].kind, "%s: %d %s", text, rc, e.problem);
  free(own);
}

/* The id is told with the refusal, so that the sender learns what is refused; not if it is in
 * doubt. */
static void test_refused_id(const char *text, const char *id) {
  cx_envelope e;
  int rc = cx_envelope_read(&e, text, strlen(text), NULL);
  bool same = e.id.n == strlen(id) && (e.id.n == 0 || memcmp(e.id.at, id, e.id.n) == 0);
  CHECK(rc != 0 && same, "%s: %d, %.*s", text, rc, (int)e.id.n, e.id.n ? e.id.at : "");
}

/* 0.001, written so that its exponent is out of reach: no integer. */
static void test_far_id(void) {
  enum { ZEROS = 100002 };
  char *text = malloc(ZEROS + 64);
  if (!text) abort();
  char *end = stpcpy(text, "{\"method\":\"m\",\"id\":0.");
  memset(end, '0', ZEROS);
  stpcpy(end + ZEROS, "1e100000}");
  cx_envelope e;
  int rc = cx_envelope_read(&e, text, strlen(text), NULL);
  CHECK(rc == CX_EPROTOCOL, "a far id: %d %.*s", rc, (int)(e.id.n < 20 ? e.id.n : 20), e.id.at);
  free(text);
}

int main(void) {
  test_far_id();
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) test_text(i);
  for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) test_id(i);
  for (size_t i = 0; i < sizeof messages / sizeof *messages; i++) test_message(i);
  test_depth();
  for (size_t n = 3; n < 100; n += 7) {
    test_many_names(n, false);
    test_many_names(n, true);
  }
  for (size_t n = CX_SCAN_NAMES - 1; n <= CX_SCAN_NAMES + 2; n++) {
    test_many_names(n, false);
    test_many_names(n, true);
  }
  test_many_values(CX_SCAN_VALUES, 0);
  test_many_values(CX_SCAN_VALUES + 1, CX_ETOOMANY);
  test_paths();
  test_refused_id("{\"id\":7,\"method\":5}", "7");
  test_refused_id("{\"id\":7,\"params\":{\"a\":1,\"a\":2}}", "7");
  test_refused_id("{\"id\":7,\"id\":8,\"method\":5}", "");
  test_refused_id("{\"params\":\"\xFF\",\"id\":7}", "");
  return report("scan_test");
}
