/* Bytes to and from somebody who already lives; see pipe.h. */
#include "pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"
#include "outgoing.h"

enum { READ_SIZE = 64 * 1024 };

/* One direction. A pipe or socket is on the loop; a file is read in the thread pool. */
typedef struct {
  uv_pipe_t stream;
  int fd;
  int flags; /* of the open file, which others may share: put back at the end */
  bool open, is_file;
} side;

struct cx_pipe {
  cx_pipe_events events;
  void *user;
  cx_pipe_status status;
  uv_loop_t *loop;
  side in, out;
  cx_outgoing outgoing;
  uv_fs_t file_read;
  char *buffer;
  size_t read_size;
  uv_idle_t last;   /* its closing is the last thing that happens */
  unsigned handles; /* open libuv handles and the request in the thread pool */
  bool ending, paused, reading_file, closing;
};

static void changed(cx_pipe *pipe) {
  if (!pipe->closing && pipe->events.on_change) pipe->events.on_change(pipe->user);
}

/* ---- Closing -------------------------------------------------------------------------------- */

static void release(cx_pipe *pipe) {
  if (--pipe->handles > 0) return;
  if (pipe->events.on_closed) pipe->events.on_closed(pipe->user);
  free(pipe->buffer);
  free(pipe);
}

static void on_pipe_handle_closed(uv_handle_t *handle) { release(handle->data); }

/* Where both sides are one open file (a socket, a terminal), their flags are one as well: the side
 * that goes on must not block after this one has put them back. */
static void put_flags_back(const side *s, const side *other) {
  fcntl(s->fd, F_SETFL, s->flags);
  if (other->open && !other->is_file)
    fcntl(other->fd, F_SETFL, fcntl(other->fd, F_GETFL) | O_NONBLOCK);
}

static void close_side(cx_pipe *pipe, side *s) {
  if (!s->open) return;
  s->open = false;
  if (s->is_file) {
    close(s->fd);
    return;
  }
  put_flags_back(s, s == &pipe->in ? &pipe->out : &pipe->in);
  uv_close((uv_handle_t *)&s->stream, on_pipe_handle_closed);
}

void cx_pipe_close(cx_pipe *pipe) {
  if (pipe->closing) return;
  pipe->closing = true;
  /* A read in the pool may still use the descriptor of a file. */
  if (!pipe->reading_file) close_side(pipe, &pipe->in);
  close_side(pipe, &pipe->out);
  uv_close((uv_handle_t *)&pipe->last, on_pipe_handle_closed);
}

/* ---- Reading -------------------------------------------------------------------------------- */

static void end_input(cx_pipe *pipe, int reason) {
  if (pipe->status.input_ended) return;
  pipe->status.input_ended = true;
  pipe->status.read_error = reason == UV_EOF ? 0 : reason;
  close_side(pipe, &pipe->in);
  changed(pipe);
}

/* One buffer for all reads, made for the first. */
static void on_pipe_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
  (void)suggested;
  cx_pipe *pipe = handle->data;
  if (!pipe->buffer) pipe->buffer = malloc(pipe->read_size);
  *buf = uv_buf_init(pipe->buffer, pipe->buffer ? (unsigned)pipe->read_size : 0);
}

static void on_pipe_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
  cx_pipe *pipe = stream->data;
  if (n > 0) pipe->events.on_input(pipe->user, buf->base, (size_t)n);
  if (n < 0) end_input(pipe, (int)n);
}

static int read_file(cx_pipe *pipe);

static void on_file_read(uv_fs_t *request) {
  cx_pipe *pipe = request->data;
  ssize_t n = request->result;
  uv_fs_req_cleanup(request);
  pipe->reading_file = false;
  if (pipe->closing) {
    close_side(pipe, &pipe->in);
  } else if (n > 0) {
    pipe->events.on_input(pipe->user, pipe->buffer, (size_t)n);
    if (!pipe->closing) read_file(pipe);
  } else {
    end_input(pipe, n == 0 ? UV_EOF : (int)n);
  }
  release(pipe);
}

static int read_file(cx_pipe *pipe) {
  if (pipe->paused || pipe->reading_file) return 0;
  uv_buf_t buf = uv_buf_init(pipe->buffer, (unsigned)pipe->read_size);
  pipe->file_read.data = pipe;
  int rc = uv_fs_read(pipe->loop, &pipe->file_read, pipe->in.fd, &buf, 1, -1, on_file_read);
  if (rc != 0) return rc;
  pipe->reading_file = true;
  pipe->handles++;
  return 0;
}

static int resume(cx_pipe *pipe) {
  if (pipe->in.is_file) return read_file(pipe);
  return uv_read_start((uv_stream_t *)&pipe->in.stream, on_pipe_alloc, on_pipe_read);
}

void cx_pipe_pause(cx_pipe *pipe, bool paused) {
  if (pipe->paused == paused || !pipe->in.open) return;
  pipe->paused = paused;
  if (!paused)
    resume(pipe);
  else if (!pipe->in.is_file)
    uv_read_stop((uv_stream_t *)&pipe->in.stream);
}

/* ---- Writing -------------------------------------------------------------------------------- */

/* The other end of a socket reads to its end only when this half is shut down. */
static void end_output(cx_pipe *pipe) {
  if (!pipe->out.open) return;
  shutdown(pipe->out.fd, SHUT_WR);
  close_side(pipe, &pipe->out);
}

static void on_pipe_written(void *user, int status) {
  cx_pipe *pipe = user;
  if (pipe->closing) return;
  if (status < 0 || (pipe->ending && pipe->status.unwritten == 0)) end_output(pipe);
  changed(pipe);
}

static int write_file(cx_pipe *pipe, const char *data, size_t n) {
  while (n > 0) {
    ssize_t done = write(pipe->out.fd, data, n);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return pipe->status.write_error = -errno;
    data += done;
    n -= (size_t)done;
  }
  return 0;
}

int cx_pipe_write(cx_pipe *pipe, const char *data, size_t n) {
  if (!pipe->out.open || pipe->ending) return CX_ECLOSED;
  if (pipe->status.write_error) return pipe->status.write_error;
  if (pipe->out.is_file) return write_file(pipe, data, n);
  return cx_outgoing_write(&pipe->outgoing, data, n);
}

void cx_pipe_write_end(cx_pipe *pipe) {
  pipe->ending = true;
  if (pipe->status.unwritten == 0) end_output(pipe);
}

/* ---- Opening -------------------------------------------------------------------------------- */

/* What the loop cannot wait for: files, folders, devices. */
static bool is_file(int fd) {
  struct stat st;
  return fstat(fd, &st) == 0 && !S_ISFIFO(st.st_mode) && !S_ISSOCK(st.st_mode) && !isatty(fd);
}

static int open_side(cx_pipe *pipe, side *s, int fd) {
  s->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (s->fd < 0) return -errno;
  s->is_file = is_file(s->fd);
  s->open = true;
  if (s->is_file) return 0;
  uv_pipe_init(pipe->loop, &s->stream, 0);
  s->stream.data = pipe;
  pipe->handles++;
  int rc = uv_pipe_open(&s->stream, s->fd);
  if (rc != 0) {
    close(s->fd);
    s->fd = -1;
  }
  return rc;
}

int cx_pipe_take_standard(int *in, int *out) {
  *in = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
  *out = *in < 0 ? -1 : fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
  int null = *out < 0 ? -1 : open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (null >= 0) {
    dup2(null, STDIN_FILENO);
    dup2(STDERR_FILENO, STDOUT_FILENO);
    close(null);
    return 0;
  }
  int rc = -errno;
  if (*in >= 0) close(*in);
  if (*out >= 0) close(*out);
  return rc;
}

int cx_pipe_open(cx_pipe **opened, uv_loop_t *loop, int in, int out, size_t read_size,
                 const cx_pipe_events *events, void *user) {
  cx_pipe *pipe = calloc(1, sizeof *pipe);
  if (!pipe) return CX_EMEMORY;
  pipe->read_size = read_size ? read_size : READ_SIZE;
  pipe->events = *events;
  pipe->user = user;
  pipe->loop = loop;
  pipe->outgoing = (cx_outgoing){(uv_stream_t *)&pipe->out.stream, &pipe->status.unwritten,
                                 &pipe->status.write_error, on_pipe_written, pipe};
  uv_idle_init(loop, &pipe->last);
  pipe->last.data = pipe;
  pipe->handles = 1;
  pipe->in.flags = fcntl(in, F_GETFL);
  pipe->out.flags = fcntl(out, F_GETFL);
  int rc = open_side(pipe, &pipe->in, in);
  if (rc == 0) rc = open_side(pipe, &pipe->out, out);
  if (rc == 0 && pipe->in.is_file && !(pipe->buffer = malloc(pipe->read_size))) rc = CX_EMEMORY;
  if (rc == 0) rc = resume(pipe);
  if (rc != 0) {
    memset(&pipe->events, 0, sizeof pipe->events);
    cx_pipe_close(pipe);
    return rc;
  }
  *opened = pipe;
  return 0;
}

const cx_pipe_status *cx_pipe_get_status(const cx_pipe *pipe) { return &pipe->status; }
