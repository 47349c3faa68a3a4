/* What is written to a stream; see outgoing.h. */
#include "outgoing.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"

typedef struct {
  uv_write_t request;
  cx_outgoing *out;
  size_t n;
  char data[];
} piece;

static void on_outgoing_written(uv_write_t *request, int status) {
  piece *p = (piece *)request;
  cx_outgoing *out = p->out;
  *out->unwritten -= p->n;
  if (status < 0 && !*out->error) *out->error = status;
  free(p);
  out->on_written(out->user, status);
}

/* Nothing may pass what waits. An error comes again with a request, and is told there. */
static size_t write_now(cx_outgoing *out, const char *data, size_t n) {
  uv_buf_t buf = uv_buf_init((char *)(uintptr_t)data, (unsigned)n);
  int done = *out->unwritten ? 0 : uv_try_write(out->stream, &buf, 1);
  return done > 0 ? (size_t)done : 0;
}

static int write_later(cx_outgoing *out, const char *data, size_t n) {
  piece *p = malloc(sizeof *p + n);
  if (!p) return CX_EMEMORY;
  p->out = out;
  p->n = n;
  memcpy(p->data, data, n);
  uv_buf_t buf = uv_buf_init(p->data, (unsigned)n);
  int rc = uv_write(&p->request, out->stream, &buf, 1, on_outgoing_written);
  if (rc != 0)
    free(p);
  else
    *out->unwritten += n;
  return rc;
}

int cx_outgoing_write(cx_outgoing *out, const char *data, size_t n) {
  if (n == 0) return 0;
  if (n > INT_MAX) return CX_ETOOLONG;
  size_t done = write_now(out, data, n);
  return done == n ? 0 : write_later(out, data + done, n - done);
}
