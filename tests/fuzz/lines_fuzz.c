/* Any bytes, split anywhere, give the same lines as in one piece; the limit holds. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "lines.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void take(cx_lines *lines, cx_buf *out) {
  const char *line;
  size_t n;
  int rc;
  while ((rc = cx_lines_next(lines, &line, &n)) != 0) {
    if (rc > 0 && n > lines->limit) abort();
    if (rc > 0) cx_buf_add(out, line, n);
    cx_buf_add(out, rc > 0 ? "\n" : "!\n", rc > 0 ? 1 : 2);
  }
}

static void cut(const char *text, size_t n, size_t limit, size_t step, cx_buf *out) {
  cx_lines lines;
  cx_lines_init(&lines, limit);
  for (size_t at = 0; at < n; at += step) {
    cx_lines_feed(&lines, text + at, step < n - at ? step : n - at);
    take(&lines, out);
  }
  cx_lines_end(&lines);
  take(&lines, out);
  cx_lines_free(&lines);
}

/* The first two bytes choose the limit and the size of the pieces. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 3) return 0;
  const char *text = (const char *)data + 2;
  cx_buf whole = {0}, pieces = {0};
  cut(text, size - 2, data[0] + 1u, size, &whole);
  cut(text, size - 2, data[0] + 1u, data[1] + 1u, &pieces);
  if (whole.len != pieces.len ||
      memcmp(cx_buf_bytes(&whole), cx_buf_bytes(&pieces), whole.len) != 0)
    abort();
  cx_buf_free(&whole);
  cx_buf_free(&pieces);
  return 0;
}
