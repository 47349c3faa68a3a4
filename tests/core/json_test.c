/* JSON: everything cJSON would lose, and that every prefix of every text is survived. */
#include "json.h"

#include "err.h"
#include "test.h"

/* Writes a tree in a notation of our own: strings in quotes with \xNN, large integers as #text. */
static void dump(const cx_json *json, const cJSON *item, cx_buf *out);

static void dump_string(const cx_json *json, const char *raw, cx_buf *out) {
  cx_buf scratch = {0};
  const char *bytes;
  size_t n;
  cx_json_kind kind;
  if (cx_json_string(json, raw, &scratch, &bytes, &n, &kind) != 0) abort();
  cx_buf_add_string(out, kind == CX_JSON_NUMERAL ? "#" : "'");
  for (size_t i = 0; i < n; i++) {
    char hex[8];
    unsigned char c = (unsigned char)bytes[i];
    snprintf(hex, sizeof hex, c >= 0x20 && c < 0x7F ? "%c" : "<%02X>", c);
    cx_buf_add_string(out, hex);
  }
  if (kind == CX_JSON_TEXT) cx_buf_add_string(out, "'");
  cx_buf_free(&scratch);
}

static void dump_children(const cx_json *json, const cJSON *item, cx_buf *out) {
  bool object = cJSON_IsObject(item);
  cx_buf_add_string(out, object ? "{" : "[");
  for (const cJSON *child = item->child; child; child = child->next) {
    if (object) dump_string(json, child->string, out);
    if (object) cx_buf_add_string(out, ":");
    dump(json, child, out);
    if (child->next) cx_buf_add_string(out, ",");
  }
  cx_buf_add_string(out, object ? "}" : "]");
}

static void dump(const cx_json *json, const cJSON *item, cx_buf *out) {
  char number[32];
  if (cJSON_IsString(item)) {
    dump_string(json, item->valuestring, out);
  } else if (cJSON_IsNumber(item)) {
    snprintf(number, sizeof number, "%.17g", item->valuedouble);
    cx_buf_add_string(out, number);
  } else if (cJSON_IsBool(item)) {
    cx_buf_add_string(out, cJSON_IsTrue(item) ? "true" : "false");
  } else if (cJSON_IsNull(item)) {
    cx_buf_add_string(out, "null");
  } else {
    dump_children(json, item, out);
  }
}

/* expected NULL: not JSON. size 0: strlen. */
static const struct {
  const char *text;
  const char *expected;
  size_t size;
} cases[] = {
    {"null", "null", 0},
    {" [1 , 2.5,-3, true]\r\n\t ", "[1,2.5,-3,true]", 0},
    {"{\"A\":1,\"a\":2}", "{'A':1,'a':2}", 0},
    {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "'\"\\/<08><0C><0A><0D><09>'", 0},
    /* What follows the value */
    {"1 2", NULL, 0},
    {"{}x", NULL, 0},
    {"[]]", NULL, 0},
    {"[] \v", NULL, 0},
    {"{}\0", NULL, 3},
    /* NUL */
    {"\"a\\u0000b\"", "'a<00>b'", 0},
    {"{\"\\u0000\":\"\\u0000\\u0000\"}", "{'<00>':'<00><00>'}", 0},
    {"\"a\0b\"", NULL, 5},
    {"\"\\\\u0000\"", "'\\u0000'", 0},
    /* Surrogates */
    {"\"\\ud83d\\ude00\"", "'<F0><9F><98><80>'", 0},
    {"\"\\uD83D\\uDE00\"", "'<F0><9F><98><80>'", 0},
    {"\"\\ud800\"", "'<ED><A0><80>'", 0},
    {"\"\\udfff\"", "'<ED><BF><BF>'", 0},
    {"\"\\ud800\\u0041\"", "'<ED><A0><80>A'", 0},
    {"\"\\ud800\\ud800\\udc00\"", "'<ED><A0><80><F0><90><80><80>'", 0},
    {"\"\\udc00\\ud800\"", "'<ED><B0><80><ED><A0><80>'", 0},
    {"\"\\ud800\\\\udc00\"", "'<ED><A0><80>\\udc00'", 0},
    {"\"\\ud83d\\ude00\\ud800\\u0000\"", "'<F0><9F><98><80><ED><A0><80><00>'", 0},
    {"\"\\ud80\"", NULL, 0},
    {"\"\\u000\"", NULL, 0},
    {"\"\\u\x10\x10\x10\x10\"", NULL, 0},
    {"\"\\u00g0\"", NULL, 0},
    {"\"\\u0000", NULL, 0},
    {"\"\\ud800", NULL, 0},
    {"\"\\", NULL, 0},
    {"\"\\u00e4\\u20ac\"", "'<C3><A4><E2><82><AC>'", 0},
    /* Bytes that are not UTF-8 pass, also the one our own escapes begin with */
    {"\"\xC3(\"", "'<C3>('", 0},
    {"\"\xFF\"", "'<FF>'", 0},
    {"\"\xFF\x30\"", "'<FF>0'", 0},
    {"\"\xFFN123\"", "'<FF>N123'", 0},
    {"\"\xFF\xFF\xFF\\u0000\xFF\"", "'<FF><FF><FF><00><FF>'", 0},
    {"{\"\xFFN1\":\"\xFF\x46\"}", "{'<FF>N1':'<FF>F'}", 0},
    {"\xFF", NULL, 0},
    {"[1,\xFF]", NULL, 0},
    /* Numbers */
    {"[0,-0,1e3,1E-2,123456789012345]", "[0,-0,1000,0.01,123456789012345]", 0},
    {"9007199254740993", "#9007199254740993", 0},
    {"[-9223372036854775808,18446744073709551616]", "[#-9223372036854775808,#18446744073709551616]",
     0},
    {"{\"id\":123456789012345678901234567890}", "{'id':#123456789012345678901234567890}", 0},
    {"\"12345678901234567890\"", "'12345678901234567890'", 0},
    {"{\"12345678901234567890\":1}", "{'12345678901234567890':1}", 0},
    {"1234567890123456.5", "1234567890123456.5", 0},
    {"0.12345678901234567", "0.12345678901234566", 0},
    {"12345678901234567e3", "1.2345678901234567e+19", 0},
    {"--12345678901234567", NULL, 0},
    {"1-2345678901234567890", NULL, 0},
    {"-", NULL, 0},
    {"{12345678901234567890:1}", NULL, 0},
    /* Duplicate keys are all kept */
    {"{\"a\":1,\"a\":2,\"a\":{\"a\":3}}", "{'a':1,'a':2,'a':{'a':3}}", 0},
    /* Not JSON */
    {"", NULL, 0},
    {"  ", NULL, 0},
    {"nul", NULL, 0},
    {"NaN", NULL, 0},
    {"'a'", NULL, 0},
    {"[1,]", NULL, 0},
    {"{\"a\"}", NULL, 0},
    {"{a:1}", NULL, 0},
    {"\"a", NULL, 0},
    {"[1 2]", NULL, 0},
    {"[{\"a\":[{12345678901234567890:1}]}]", NULL, 0},
    {"\"\\uzzzz\"", NULL, 0},
    {"\"\\\\uzzzz\"", "'\\uzzzz'", 0},
};

static void test_case(size_t index) {
  const char *expected = cases[index].expected;
  size_t size = cases[index].size ? cases[index].size : strlen(cases[index].text);
  char *text = exactly(cases[index].text, size);
  cx_json json;
  cx_buf out = {0};
  int rc = cx_json_parse(&json, text, size);
  CHECK(rc == (expected ? 0 : CX_EJSON), "case %zu %s: %d", index, cases[index].text, rc);
  CHECK(rc == 0 || (json.root == NULL && json.fail_offset <= 2 * size), "case %zu: offset", index);
  if (rc == 0) dump(&json, json.root, &out);
  cx_buf_add(&out, "", 1);
  CHECK(!expected || strcmp(cx_buf_bytes(&out), expected) == 0, "case %zu: %s not %s", index,
        cx_buf_bytes(&out), expected);
  cx_json_free(&json);
  cx_buf_free(&out);
  free(text);
}

static void test_prefixes(size_t index) {
  size_t size = cases[index].size ? cases[index].size : strlen(cases[index].text);
  for (size_t n = 0; n < size; n++) {
    char *text = exactly(cases[index].text, n);
    cx_json json;
    int rc = cx_json_parse(&json, text, n);
    if (rc != 0 && rc != CX_EJSON) CHECK(false, "case %zu cut at %zu: %d", index, n, rc);
    cx_json_free(&json);
    free(text);
  }
}

/* The look for long integers takes steps: it must find one wherever it stands. */
static void test_offsets(void) {
  for (int before = 0; before < 40; before++) {
    char text[64];
    cx_json json;
    int n = snprintf(text, sizeof text, "%*s9007199254740993", before, "");
    int rc = cx_json_parse(&json, text, (size_t)n);
    CHECK(rc == 0 && json.rewritten, "an integer of 16 digits after %d blanks", before);
    cx_json_free(&json);
    rc = cx_json_parse(&json, text, (size_t)n - 1);
    CHECK(rc == 0 && !json.rewritten, "one of 15 digits after %d blanks", before);
    cx_json_free(&json);
  }
}

static int parse_nested(size_t depth, char open, char close) {
  size_t n = 2 * depth;
  char *text = malloc(n + 1);
  cx_json json;
  if (!text) abort();
  memset(text, open, depth);
  memset(text + depth, close, depth);
  int rc = cx_json_parse(&json, text, n);
  cx_json_free(&json);
  free(text);
  return rc;
}

static void test_depth(void) {
  CHECK(parse_nested(1000, '[', ']') == 0, "1000 levels");
  CHECK(parse_nested(1001, '[', ']') == CX_EDEPTH, "1001 levels");
  CHECK(parse_nested(10000, '[', ']') == CX_EDEPTH, "10000 levels");
  CHECK(parse_nested(1000000, '[', '[') == CX_EDEPTH, "a million that never close");
  CHECK(parse_nested(10, '[', '}') == CX_EJSON, "the wrong bracket is no matter of depth");
}

/* expected NULL: not UTF-8, at `bad`. `repaired`, where it is another text: what it becomes when
 * only valid Unicode may be written. */
static const struct {
  const char *bytes;
  size_t size;
  const char *expected;
  const char *repaired;
  size_t bad;
} quotes[] = {
    {"", 0, "\"\"", NULL, 0},
    {"a\"b\\c/", 6, "\"a\\\"b\\\\c/\"", NULL, 0},
    {"\0\x01\x1F\x7F", 4, "\"\\u0000\\u0001\\u001f\x7F\"", NULL, 0},
    {"\b\f\n\r\t", 5, "\"\\b\\f\\n\\r\\t\"", NULL, 0},
    {"\xC2\x80\xE2\x82\xAC\xF0\x90\x80\x80\xF4\x8F\xBF\xBF", 13,
     "\"\xC2\x80\xE2\x82\xAC\xF0\x90\x80\x80\xF4\x8F\xBF\xBF\"", NULL, 0},
    {"\xED\xA0\x80x\xED\xBF\xBF", 7, "\"\\ud800x\\udfff\"", "\"\xEF\xBF\xBDx\xEF\xBF\xBD\"", 0},
    {"\xED\xA0\xBD\xED\xB8\x80", 6, "\"\\ud83d\\ude00\"", "\"\xEF\xBF\xBD\xEF\xBF\xBD\"", 0},
    {"\xED\x9F\xBF\xEE\x80\x80", 6, "\"\xED\x9F\xBF\xEE\x80\x80\"", NULL, 0},
    {"ab\xFFz", 4, NULL, "\"ab\xEF\xBF\xBDz\"", 2},
    {"\xC3", 1, NULL, "\"\xEF\xBF\xBD\"", 0},
    {"\xC0\x80", 2, NULL, "\"\xEF\xBF\xBD\xEF\xBF\xBD\"", 0},
    {"\xE0\x80\x80", 3, NULL, "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"", 0},
    {"\xF4\x90\x80\x80", 4, NULL, "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"", 0},
    {"\xE2\x82(", 3, NULL, "\"\xEF\xBF\xBD\xEF\xBF\xBD(\"", 0},
};

static void test_quote_as(size_t index, cx_json_care care, const char *expected) {
  char *bytes = exactly(quotes[index].bytes, quotes[index].size);
  size_t bad = 0;
  cx_buf out = {0};
  int rc = cx_json_quote(&out, bytes, quotes[index].size, care, &bad);
  if (!expected)
    CHECK(rc == CX_EJSON && bad == quotes[index].bad, "quote %zu: %d at %zu", index, rc, bad);
  else
    CHECK(rc == 0 && out.len == strlen(expected) &&
              memcmp(cx_buf_bytes(&out), expected, out.len) == 0,
          "quote %zu: %.*s", index, (int)out.len, cx_buf_bytes(&out));
  cx_buf_free(&out);
  free(bytes);
}

static void test_quote(size_t index) {
  const char *expected = quotes[index].expected, *repaired = quotes[index].repaired;
  if (!repaired) repaired = expected;
  test_quote_as(index, CX_JSON_KEEP, expected);
  test_quote_as(index, CX_JSON_UNICODE, expected ? repaired : NULL);
  test_quote_as(index, CX_JSON_REPAIR, repaired);
}

int main(void) {
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    test_case(i);
    test_prefixes(i);
  }
  test_offsets();
  test_depth();
  for (size_t i = 0; i < sizeof quotes / sizeof *quotes; i++) test_quote(i);
  return report("json_test");
}
