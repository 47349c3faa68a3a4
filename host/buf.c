/* Growable bytes; see buf.h. */
#include "buf.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"

static void slide(cx_buf *buf) {
  if (buf->start == 0) return;
  if (buf->len) memmove(buf->data, buf->data + buf->start, buf->len);
  buf->start = 0;
}

static int grow(cx_buf *buf, size_t need) {
  size_t cap = buf->cap ? buf->cap : 256;
  while (cap < need) cap = cap > SIZE_MAX / 2 ? need : cap * 2;
  char *data = realloc(buf->data, cap);
  if (!data) return CX_EMEMORY;
  buf->data = data;
  buf->cap = cap;
  return 0;
}

char *cx_buf_room(cx_buf *buf, size_t n) {
  size_t end = buf->start + buf->len;
  if (n <= buf->cap - end) return buf->data + end;
  /* Sliding copies what is in use: it has paid for itself once as much was dropped before it. */
  if (buf->start >= buf->len) slide(buf);
  end = buf->start + buf->len;
  if (n > PTRDIFF_MAX - end || (n > buf->cap - end && grow(buf, end + n) != 0)) return NULL;
  return buf->data + end;
}

void cx_buf_added(cx_buf *buf, size_t n) { buf->len += n; }

int cx_buf_add(cx_buf *buf, const char *data, size_t n) {
  if (n == 0) return 0;
  char *room = cx_buf_room(buf, n);
  if (!room) return CX_EMEMORY;
  memcpy(room, data, n);
  cx_buf_added(buf, n);
  return 0;
}

int cx_buf_add_string(cx_buf *buf, const char *text) { return cx_buf_add(buf, text, strlen(text)); }

void cx_buf_drop(cx_buf *buf, size_t n) {
  if (n >= buf->len) {
    buf->start = buf->len = 0;
    return;
  }
  buf->start += n;
  buf->len -= n;
}

void cx_buf_keep(cx_buf *buf, size_t n) {
  if (n < buf->len) buf->len = n;
}

const char *cx_buf_bytes(const cx_buf *buf) { return buf->data ? buf->data + buf->start : ""; }

void cx_buf_free(cx_buf *buf) {
  free(buf->data);
  memset(buf, 0, sizeof *buf);
}

int cx_tail_add(cx_tail *tail, const char *data, size_t n) {
  if (n > tail->limit) {
    tail->lost += n - tail->limit;
    data += n - tail->limit;
    n = tail->limit;
  }
  int rc = cx_buf_add(&tail->buf, data, n);
  if (rc == 0 && tail->buf.len > tail->limit) {
    tail->lost += tail->buf.len - tail->limit;
    cx_buf_drop(&tail->buf, tail->buf.len - tail->limit);
  }
  return rc;
}
