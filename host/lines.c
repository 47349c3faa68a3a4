/* Newline frames; see lines.h. */
#include "lines.h"

#include <string.h>

#include "err.h"

enum { KEPT = 4096 };

void cx_lines_init(cx_lines *lines, size_t limit) {
  memset(lines, 0, sizeof *lines);
  lines->limit = limit;
  lines->kept = KEPT;
}

int cx_lines_feed(cx_lines *lines, const char *data, size_t n) {
  if (lines->skipping) {
    const char *newline = memchr(data, '\n', n);
    if (!newline) return 0;
    lines->skipping = false;
    n -= (size_t)(newline + 1 - data);
    data = newline + 1;
  }
  return cx_buf_add(&lines->buf, data, n);
}

void cx_lines_end(cx_lines *lines) { lines->ended = true; }

/* Gives back a large buffer that is empty: many children that say nothing hold no memory. */
static void shrink(cx_lines *lines) {
  if (lines->buf.len == 0 && lines->buf.cap > lines->kept) cx_buf_free(&lines->buf);
}

/* Forgets the first n bytes and what was known of them. */
static void advance(cx_lines *lines, size_t n) {
  cx_buf_drop(&lines->buf, n);
  lines->scanned = 0;
}

/* The line is data[0 .. length); `used` bytes of the buffer belong to it. */
static int give(cx_lines *lines, const char *data, size_t length, size_t used, const char **line,
                size_t *n) {
  if (length > 0 && data[length - 1] == '\r' && used > length && !lines->keep_cr) length--;
  advance(lines, used);
  if (length > lines->limit) return CX_ETOOLONG;
  *line = data;
  *n = length;
  return 1;
}

int cx_lines_next(cx_lines *lines, const char **line, size_t *n) {
  const char *data = cx_buf_bytes(&lines->buf);
  size_t held = lines->buf.len;
  const char *newline =
      held > lines->scanned ? memchr(data + lines->scanned, '\n', held - lines->scanned) : NULL;
  if (newline) {
    size_t length = (size_t)(newline - data);
    return give(lines, data, length, length + 1, line, n);
  }
  lines->scanned = held;
  if (held > lines->limit + 1) { /* one more byte may still be the \r of a line that just fits */
    lines->skipping = !lines->ended;
    advance(lines, held);
    return CX_ETOOLONG;
  }
  if (lines->ended && held > 0) return give(lines, data, held, held, line, n);
  shrink(lines);
  return 0;
}

size_t cx_lines_take(cx_lines *lines, const char **data) {
  *data = cx_buf_bytes(&lines->buf);
  return lines->buf.len;
}

void cx_lines_taken(cx_lines *lines, size_t n) {
  advance(lines, n);
  shrink(lines);
}

size_t cx_lines_held(const cx_lines *lines) { return lines->buf.len; }

void cx_lines_free(cx_lines *lines) {
  cx_buf_free(&lines->buf);
  lines->scanned = 0;
}
