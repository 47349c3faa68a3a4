/* Growable bytes, and a tail that remembers only the last of them. */
#ifndef CX_BUF_H
#define CX_BUF_H

#include <stddef.h>

/* Bytes that belong to somebody else. n = 0: none. */
typedef struct cx_span {
  const char *at;
  size_t n;
} cx_span;

/* All zero is an empty buffer. The bytes in use are data[start .. start + len). */
typedef struct cx_buf {
  char *data;
  size_t start, len, cap;
} cx_buf;

/* Makes room for n more bytes behind the last one and returns the place, or NULL without memory.
 * The place holds until the next call; cx_buf_added() says how many bytes were put there. */
char *cx_buf_room(cx_buf *buf, size_t n);
void cx_buf_added(cx_buf *buf, size_t n);

/* 0 or CX_EMEMORY, in which case nothing was added. */
int cx_buf_add(cx_buf *buf, const char *data, size_t n);
int cx_buf_add_string(cx_buf *buf, const char *text);

/* Drops n bytes from the front (all of them where there are fewer). */
void cx_buf_drop(cx_buf *buf, size_t n);

/* Keeps the first n bytes alone (all of them where there are fewer). */
void cx_buf_keep(cx_buf *buf, size_t n);

/* The first byte in use; never NULL, also when empty. */
const char *cx_buf_bytes(const cx_buf *buf);

/* Gives the memory back; the buffer is empty and usable afterwards. */
void cx_buf_free(cx_buf *buf);

/* The last `limit` bytes of all that was added, at most; memory stays below a few times the
 * limit. */
typedef struct cx_tail {
  cx_buf buf;
  size_t limit;
  size_t lost; /* bytes forgotten so far */
} cx_tail;

int cx_tail_add(cx_tail *tail, const char *data, size_t n);

#endif
