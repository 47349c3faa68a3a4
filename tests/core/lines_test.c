/* Newline frames: each case as one piece, split at every byte, and byte by byte, with lines taken
 * after every piece or only at the end. */
#include "lines.h"

#include "err.h"
#include "test.h"

/* Expected: every line followed by '|'; '!' for one that is too long. */
static const struct {
  const char *input;
  size_t size; /* 0: strlen */
  size_t limit;
  const char *expected;
} cases[] = {
    {"", 0, 9, ""},
    {"a\n", 0, 9, "a|"},
    {"a", 0, 9, "a|"},
    {"a\nb", 0, 9, "a|b|"},
    {"a\r\nb\r\n", 0, 9, "a|b|"},
    {"\n\n", 0, 9, "||"},
    {"\r\n\r\n", 0, 9, "||"},
    {"a\rb\n", 0, 9, "a\rb|"},
    {"a\r\r\n", 0, 9, "a\r|"},
    {"a\r", 0, 9, "a\r|"},
    {"\r", 0, 9, "\r|"},
    {"a\0b\n\0\n", 6, 9, "a\0b|\0|"},
    {"\xC3\xA4\xE2\x82\xAC\n\xF0\x9F\x98\x80\n", 0, 9, "\xC3\xA4\xE2\x82\xAC|\xF0\x9F\x98\x80|"},
    {"\xFF\xFE\n\xC3\n", 0, 9, "\xFF\xFE|\xC3|"},
    {"abc\nx\n", 0, 3, "abc|x|"},
    {"abc\r\nx\n", 0, 3, "abc|x|"},
    {"abc", 0, 3, "abc|"},
    {"abcd\nx\n", 0, 3, "!x|"},
    {"abcd\r\nx\n", 0, 3, "!x|"},
    {"abc\r", 0, 3, "!"},
    {"abcd", 0, 3, "!"},
    {"abcde", 0, 3, "!"},
    {"abcdefghijkl", 0, 3, "!"},
    {"abcdefgh\nok\nabcdefgh\n", 0, 3, "!ok|!"},
    {"abcdefgh\n\nabcdefgh\n\n", 0, 3, "!|!|"},
    {"ok\nabcdefgh", 0, 3, "ok|!"},
    {"abcdefgh\r\n\r\nx", 0, 3, "!|x|"},
    {"abcd\nefgh\n", 0, 3, "!!"},
    {"{\"a\":\"\\n\"}\n[1]\n", 0, 99, "{\"a\":\"\\n\"}|[1]|"},
};

static void take(cx_lines *lines, cx_buf *out) {
  const char *line;
  size_t n;
  int rc;
  while ((rc = cx_lines_next(lines, &line, &n)) != 0) {
    if (rc < 0) {
      cx_buf_add_string(out, rc == CX_ETOOLONG ? "!" : "?");
    } else {
      cx_buf_add(out, line, n);
      cx_buf_add(out, "|", 1);
    }
  }
}

static void feed(cx_lines *lines, const char *bytes, size_t n) {
  char *piece = exactly(bytes, n);
  if (cx_lines_feed(lines, piece, n) != 0) abort();
  free(piece);
}

/* Pieces of `step` bytes, the first one of `first`. */
static void test_split(size_t index, size_t first, size_t step, bool eager) {
  const char *input = cases[index].input, *expected = cases[index].expected;
  size_t size = cases[index].size ? cases[index].size : strlen(input);
  size_t wanted = cases[index].size ? size : strlen(expected);
  cx_lines lines;
  cx_buf out = {0};
  cx_lines_init(&lines, cases[index].limit);
  for (size_t at = 0, n = first; at < size; at += n, n = step) {
    if (n > size - at) n = size - at;
    feed(&lines, input + at, n);
    if (eager) take(&lines, &out);
  }
  cx_lines_end(&lines);
  take(&lines, &out);
  CHECK(out.len == wanted && memcmp(cx_buf_bytes(&out), expected, wanted) == 0,
        "case %zu split at %zu by %zu%s: %.*s", index, first, step, eager ? " eagerly" : "",
        (int)out.len, cx_buf_bytes(&out));
  CHECK(cx_lines_held(&lines) == 0, "case %zu holds nothing in the end", index);
  cx_buf_free(&out);
  cx_lines_free(&lines);
}

static void test_case(size_t index) {
  size_t size = cases[index].size ? cases[index].size : strlen(cases[index].input);
  for (size_t first = 0; first <= size; first++) {
    test_split(index, first, size, true);
    test_split(index, first, size, false);
  }
  test_split(index, 1, 1, true);
  test_split(index, 1, 1, false);
}

/* A newline that never comes costs no memory, and is said once. */
static void test_endless(void) {
  cx_lines lines;
  cx_buf out = {0};
  char piece[4096];
  memset(piece, 'x', sizeof piece);
  cx_lines_init(&lines, 10000);
  for (int i = 0; i < 16384; i++) {
    feed(&lines, piece, sizeof piece);
    take(&lines, &out);
  }
  CHECK(lines.buf.cap <= 65536, "64 MiB without a newline: %zu bytes", lines.buf.cap);
  feed(&lines, "\nnext\n", 6);
  take(&lines, &out);
  CHECK(out.len == 6 && memcmp(cx_buf_bytes(&out), "!next|", 6) == 0, "said once, then on");
  cx_buf_free(&out);
  cx_lines_free(&lines);
}

/* Each byte is looked at once: 32 MiB in pieces of 64 bytes would otherwise take an hour. */
static void test_long_line(void) {
  enum { SIZE = 32 << 20, PIECE = 64 };
  cx_lines lines;
  const char *line = "";
  size_t n = 0, early = 0;
  char piece[PIECE];
  memset(piece, 'y', sizeof piece);
  cx_lines_init(&lines, SIZE);
  for (int i = 0; i < SIZE / PIECE; i++) {
    feed(&lines, piece, PIECE);
    early += cx_lines_next(&lines, &line, &n) != 0;
  }
  feed(&lines, "\n", 1);
  CHECK(early == 0 && cx_lines_next(&lines, &line, &n) == 1 && n == SIZE, "%zu bytes", n);
  CHECK(line[0] == 'y' && line[SIZE - 1] == 'y', "its ends");
  cx_lines_free(&lines);
}

/* Raw reading takes what is there, lines go on behind it. */
static void test_take(void) {
  cx_lines lines;
  const char *data;
  size_t n;
  cx_lines_init(&lines, 100);
  feed(&lines, "raw\nbytes", 9);
  n = cx_lines_take(&lines, &data);
  CHECK(n == 9 && memcmp(data, "raw\nbytes", 9) == 0, "everything, newlines too");
  cx_lines_taken(&lines, 4);
  feed(&lines, "\n", 1);
  CHECK(cx_lines_next(&lines, &data, &n) == 1 && n == 5, "the rest is a line");
  cx_lines_free(&lines);
}

int main(void) {
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) test_case(i);
  test_endless();
  test_long_line();
  test_take();
  return report("lines_test");
}
