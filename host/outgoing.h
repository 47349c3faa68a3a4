/* What is written to a stream of libuv: at once where it takes it, and else when it does. */
#ifndef CX_OUTGOING_H
#define CX_OUTGOING_H

#include <stddef.h>

#include <uv.h>

typedef struct cx_outgoing {
  uv_stream_t *stream;
  size_t *unwritten; /* how many bytes wait: kept up here */
  int *error;        /* the first one, a negative errno: kept up here, too */
  /* What waited has gone (0), or is lost. Called from the loop, and while the stream closes. */
  void (*on_written)(void *user, int status);
  void *user;
} cx_outgoing;

/* Writes what the stream takes now, so that a short input and its end are there before the loop
 * turns, and copies the rest. 0, CX_ETOOLONG, CX_EMEMORY or a negative errno. */
int cx_outgoing_write(cx_outgoing *out, const char *data, size_t n);

#endif
