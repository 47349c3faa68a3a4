/* JSON strings, written: what is quoted how, and what is done about bytes that are no text. */
#include "json.h"

#include "err.h"
#include "test.h"

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
    {"\xED\xA0", 2, NULL, "\"\xEF\xBF\xBD\xEF\xBF\xBD\"", 0},
    {"\xED\xC0\x80", 3, NULL, "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"", 0},
    {"12345678\n12345678\xFF", 18, NULL, "\"12345678\\n12345678\xEF\xBF\xBD\"", 17},
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
  for (size_t i = 0; i < sizeof quotes / sizeof *quotes; i++) test_quote(i);
  return report("json_test");
}
