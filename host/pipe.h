/* Bytes to and from somebody who already lives: our own standard input and output, or a socket.
 *
 * Descriptors that cannot be waited for (files, /dev/null) work too: they are read through the
 * thread pool and written at once. */
#ifndef CX_PIPE_H
#define CX_PIPE_H

#include <stdbool.h>
#include <stddef.h>

#include <uv.h>

typedef struct cx_pipe cx_pipe;

/* Called from the loop, never from inside a cx_pipe_ function. */
typedef struct cx_pipe_events {
  void (*on_input)(void *user, const char *data, size_t n);
  void (*on_change)(void *user); /* the input ended, or output was taken or refused */
  void (*on_closed)(void *user); /* exactly once, last; the cx_pipe is gone when it returns */
} cx_pipe_events;

typedef struct cx_pipe_status {
  bool input_ended;
  int read_error;   /* why the input ended, or 0 for its regular end */
  size_t unwritten; /* bytes that the other side has not taken */
  int write_error;  /* why writing failed, or 0 */
} cx_pipe_status;

/* Takes our standard input and output away, for a cx_pipe alone: they come as descriptors that are
 * the caller's. What others read and print from now on is the end, and standard error. 0 or a
 * negative errno; then nothing has changed. */
int cx_pipe_take_standard(int *in, int *out);

/* Reads from `in` and writes to `out`, which may be the same. Both are duplicated: the caller keeps
 * and closes its own. 0, or the reason. `read_size` 0 means 64 KiB. */
int cx_pipe_open(cx_pipe **pipe, uv_loop_t *loop, int in, int out, size_t read_size,
                 const cx_pipe_events *events, void *user);

/* Copies the bytes and writes them as they are taken. 0, CX_ECLOSED, CX_ETOOLONG (2 GiB at once),
 * or a uv code. */
int cx_pipe_write(cx_pipe *pipe, const char *data, size_t n);

/* Says that no more comes, once everything is written. Idempotent. */
void cx_pipe_write_end(cx_pipe *pipe);

void cx_pipe_pause(cx_pipe *pipe, bool paused);

/* Gives up what is unwritten; on_closed follows. Idempotent. */
void cx_pipe_close(cx_pipe *pipe);

const cx_pipe_status *cx_pipe_get_status(const cx_pipe *pipe);

#endif
