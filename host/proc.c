/* Child processes on the loop; see proc.h. */
#include "proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "children.h"
#include "err.h"
#include "outgoing.h"
#include "platform.h"
#include "spawn.h"
#include "watch.h"

enum { READ_SIZE = 64 * 1024, TAIL_SIZE = 64 * 1024, GRACE_MS = 2000, DRAIN_MS = 500 };
enum { DRAIN_BYTES = 4 * 1024 * 1024 }; /* read after the exit, at most */

typedef enum { TOTAL, IDLE, GRACE, DRAIN, DEADLINES } deadline;

struct cx_proc {
  cx_proc_options options; /* its numbers; the strings are gone */
  cx_proc_events events;
  void *user;
  cx_proc_status status;
  cx_tail tail;
  uv_poll_t exit_watch;
  uv_timer_t timer;
  uv_pipe_t in, out, err;
  cx_outgoing outgoing;
  int watch_fd;
  unsigned handles;        /* open libuv handles; freed with the last */
  uint64_t due[DEADLINES]; /* loop time in ms, 0 when it does not run */
  uint64_t heard;          /* loop time of the last output */
  size_t drained;          /* bytes read since the exit */
  char *kept;              /* the read buffer, with keep_buffer */
  bool has_in, has_out, has_err, in_ending, paused, stopping, closing;
};

static void settle(cx_proc *proc);

/* ---- Closing ------------------------------------------------------------------------------ */

static void on_proc_handle_closed(uv_handle_t *handle) {
  cx_proc *proc = handle->data;
  if (--proc->handles > 0) return;
  if (proc->events.on_closed) proc->events.on_closed(proc->user);
  cx_buf_free(&proc->tail.buf);
  free(proc->kept);
  free(proc);
}

static void close_handle(uv_handle_t *handle) {
  if (!uv_is_closing(handle)) uv_close(handle, on_proc_handle_closed);
}

static void close_pipe(uv_pipe_t *pipe, bool *has) {
  if (!*has) return;
  *has = false;
  close_handle((uv_handle_t *)pipe);
}

/* ---- Deadlines ---------------------------------------------------------------------------- */

static void on_proc_timer(uv_timer_t *timer);

static void arm(cx_proc *proc) {
  uint64_t first = 0, now = uv_now(proc->timer.loop);
  for (int i = 0; i < DEADLINES; i++)
    if (proc->due[i] && (!first || proc->due[i] < first)) first = proc->due[i];
  if (uv_is_closing((uv_handle_t *)&proc->timer)) return;
  if (first)
    uv_timer_start(&proc->timer, on_proc_timer, first > now ? first - now : 0, 0);
  else
    uv_timer_stop(&proc->timer);
}

/* The loop's clock stands still while a script computes: a period must not begin in the past. */
static void set_due(cx_proc *proc, deadline which, uint64_t ms) {
  if (ms) uv_update_time(proc->timer.loop);
  proc->due[which] = ms ? uv_now(proc->timer.loop) + ms : 0;
  arm(proc);
}

/* Whether its number is still that of our child: somebody else may have reaped it. */
static bool is_running(int pid) {
  siginfo_t info = {0};
  return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0;
}

/* A child may have left its group. */
static int signal_group(const cx_proc *proc, int number) {
  int pid = proc->status.pid;
  int rc = proc->options.same_group || kill(-pid, number) == 0 ? 0 : -errno;
  bool is_meant = proc->options.same_group || rc == -ESRCH || number == SIGKILL;
  if (is_meant && is_running(pid)) rc = kill(pid, number) == 0 ? 0 : -errno;
  return rc;
}

static void give_up_output(cx_proc *proc) {
  close_pipe(&proc->out, &proc->has_out);
  close_pipe(&proc->err, &proc->has_err);
  proc->status.output_ended = true;
  settle(proc);
}

static void on_idle_due(cx_proc *proc) {
  uint64_t due = proc->heard + proc->options.idle_timeout_ms;
  if (due > uv_now(proc->timer.loop))
    proc->due[IDLE] = due;
  else
    cx_proc_stop(proc, CX_EIDLE);
}

static bool is_readable(const uv_pipe_t *pipe, bool has) {
  struct pollfd end = {.events = POLLIN};
  return has && uv_fileno((const uv_handle_t *)pipe, &end.fd) == 0 && poll(&end, 1, 0) > 0 &&
         (end.revents & POLLIN);
}

/* After the exit all is read, whatever was paused. */
static bool has_unread(const cx_proc *proc) {
  bool is_read = proc->has_out && (!proc->paused || proc->status.exited);
  return is_readable(&proc->out, is_read) || is_readable(&proc->err, proc->has_err);
}

/* A script that computes keeps the loop from reading: what has arrived meanwhile is read, in this
 * turn of the loop, before a deadline is judged that is about silence. */
static bool is_due(cx_proc *proc, deadline which, uint64_t now) {
  if (!proc->due[which] || proc->due[which] > now) return false;
  bool waits = (which == IDLE || which == DRAIN) && !proc->closing && has_unread(proc);
  proc->due[which] = waits ? now + 1 : 0;
  return !waits;
}

static void on_proc_timer(uv_timer_t *timer) {
  cx_proc *proc = timer->data;
  uint64_t now = uv_now(timer->loop);
  bool fired[DEADLINES];
  for (int i = 0; i < DEADLINES; i++) fired[i] = is_due(proc, (deadline)i, now);
  if (fired[TOTAL]) cx_proc_stop(proc, CX_ETIMEOUT);
  if (fired[IDLE]) on_idle_due(proc);
  if (fired[GRACE]) signal_group(proc, SIGKILL);
  if (fired[DRAIN]) give_up_output(proc);
  arm(proc);
}

/* ---- Reading ------------------------------------------------------------------------------ */

/* A buffer lives only for one read: an idle child holds none. With `keep_buffer` one stays, as
 * taking and giving back so much each time costs more than reading a short message. */
static void on_proc_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
  (void)suggested;
  cx_proc *proc = handle->data;
  buf->base = proc->kept ? proc->kept : malloc(proc->options.read_size);
  buf->len = buf->base ? proc->options.read_size : 0;
  proc->kept = NULL;
}

static void give_back(cx_proc *proc, char *buffer) {
  if (proc->options.keep_buffer && !proc->kept)
    proc->kept = buffer;
  else
    free(buffer);
}

static void on_proc_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
  cx_proc *proc = stream->data;
  bool is_out = stream == (uv_stream_t *)&proc->out;
  if (n > 0) {
    proc->heard = uv_now(stream->loop);
    if (!is_out)
      cx_tail_add(&proc->tail, buf->base, (size_t)n);
    else if (proc->events.on_output)
      proc->events.on_output(proc->user, buf->base, (size_t)n);
  }
  give_back(proc, buf->base);
  if (n > 0 && proc->status.exited) proc->drained += (size_t)n;
  if (n < 0 && is_out)
    close_pipe(&proc->out, &proc->has_out);
  else if (n < 0)
    close_pipe(&proc->err, &proc->has_err);
  if (n < 0) settle(proc);
  if (proc->drained > DRAIN_BYTES) give_up_output(proc);
}

void cx_proc_pause(cx_proc *proc, bool paused) {
  if (proc->paused == paused || !proc->has_out || proc->status.exited) return;
  proc->paused = paused;
  if (paused) {
    uv_read_stop((uv_stream_t *)&proc->out);
    set_due(proc, IDLE, 0);
  } else {
    uv_read_start((uv_stream_t *)&proc->out, on_proc_alloc, on_proc_read);
    proc->heard = uv_now(proc->timer.loop);
    set_due(proc, IDLE, proc->stopping ? 0 : proc->options.idle_timeout_ms);
  }
}

/* ---- Exit --------------------------------------------------------------------------------- */

/* Reports what changed, and closes everything once the child and its pipes have ended. */
static void settle(cx_proc *proc) {
  if (!proc->has_out) proc->status.output_ended = true;
  bool over = proc->status.exited && !proc->has_out && !proc->has_err;
  if (over) {
    if (proc->status.unwritten && !proc->status.write_error) proc->status.write_error = -EPIPE;
    close_pipe(&proc->in, &proc->has_in); /* what waits is lost, as nobody reads it any more */
    close_handle((uv_handle_t *)&proc->timer);
  }
  if (proc->events.on_change) proc->events.on_change(proc->user);
}

static void reap(cx_proc_status *status) {
  struct rusage usage = {0};
  int how = 0;
  status->exited = true;
  status->code = -1;
  cx__bound_forget(status->pid, false);
  status->is_unknown = wait4(status->pid, &how, WNOHANG, &usage) <= 0;
  if (status->is_unknown) return;
  if (WIFEXITED(how)) status->code = WEXITSTATUS(how);
  if (WIFSIGNALED(how)) status->signal = WTERMSIG(how);
  status->max_rss_kib = usage.ru_maxrss / CX_MAXRSS_PER_KIB;
  status->cpu_us = (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
                   (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void on_exit_readable(uv_poll_t *watch, int status, int events) {
  (void)status;
  (void)events;
  cx_proc *proc = watch->data;
  siginfo_t info = {0};
  if (waitid(P_PID, (id_t)proc->status.pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
      info.si_pid == 0)
    return;
  /* The group keeps its number until the leader is reaped: the last moment to end the rest of it.
   * After an exit of its own the rest may live on; Codex leaves notify programs behind. */
  if (proc->stopping) signal_group(proc, SIGKILL);
  cx_children_remove(proc->status.pid);
  reap(&proc->status);
  uv_poll_stop(watch);
  close(proc->watch_fd);
  close_handle((uv_handle_t *)watch);
  memset(proc->due, 0, sizeof proc->due);
  if (proc->has_out && proc->paused)
    uv_read_start((uv_stream_t *)&proc->out, on_proc_alloc, on_proc_read);
  set_due(proc, DRAIN, proc->closing ? 1 : proc->options.drain_ms);
  settle(proc);
}

static void hold_handle(void *handle, bool is_open, bool hold) {
  if (!is_open || uv_is_closing(handle)) return;
  if (hold)
    uv_ref(handle);
  else
    uv_unref(handle);
}

void cx_proc_hold(cx_proc *proc, bool hold) {
  hold_handle(&proc->exit_watch, true, hold);
  hold_handle(&proc->in, proc->has_in, hold);
  hold_handle(&proc->out, proc->has_out, hold);
  hold_handle(&proc->err, proc->has_err, hold);
}

void cx_proc_stop(cx_proc *proc, int reason) {
  if (proc->stopping || proc->status.exited) return;
  proc->stopping = true;
  proc->status.reason = reason;
  proc->due[TOTAL] = proc->due[IDLE] = 0;
  signal_group(proc, proc->options.stop_signal);
  set_due(proc, GRACE, proc->options.grace_ms);
}

int cx_proc_kill(cx_proc *proc, int number) {
  return proc->status.exited ? CX_ECLOSED : signal_group(proc, number);
}

void cx_proc_close(cx_proc *proc) {
  if (proc->closing) return;
  proc->closing = true;
  if (!proc->status.exited) {
    if (!proc->status.reason) proc->status.reason = CX_ECANCELLED;
    proc->stopping = true;
    signal_group(proc, SIGKILL);
  }
  close_pipe(&proc->in, &proc->has_in);
  set_due(proc, DRAIN, 1);
}

/* ---- Writing ------------------------------------------------------------------------------ */

static void on_proc_written(void *user, int status) {
  cx_proc *proc = user;
  if (status < 0 || (proc->in_ending && proc->status.unwritten == 0))
    close_pipe(&proc->in, &proc->has_in);
  if (proc->events.on_change) proc->events.on_change(proc->user);
}

int cx_proc_write(cx_proc *proc, const char *data, size_t n) {
  if (!proc->has_in || proc->in_ending) return CX_ECLOSED;
  return cx_outgoing_write(&proc->outgoing, data, n);
}

void cx_proc_write_end(cx_proc *proc) {
  proc->in_ending = true;
  if (proc->status.unwritten == 0) close_pipe(&proc->in, &proc->has_in);
}

/* ---- Opening ------------------------------------------------------------------------------ */

/* The two ends of the three standard streams: [i][0] the child's, [i][1] ours or -1. */
typedef int stdio_fds[3][2];

static int open_stream(cx_stdio how, int number, int ends[2]) {
  if (how == CX_STDIO_INHERIT) {
    ends[0] = fcntl(number, F_DUPFD_CLOEXEC, 3);
    return ends[0] < 0 ? -errno : 0;
  }
  if (how == CX_STDIO_NULL) {
    ends[0] = open("/dev/null", (number == 0 ? O_RDONLY : O_WRONLY) | O_CLOEXEC);
    return ends[0] < 0 ? -errno : 0;
  }
  int pipe_fds[2];
  int rc = cx__pipe(pipe_fds);
  if (rc != 0) return rc;
  ends[0] = pipe_fds[number == 0 ? 0 : 1];
  ends[1] = pipe_fds[number == 0 ? 1 : 0];
  return 0;
}

static void close_ends(stdio_fds fds, int which) {
  for (int i = 0; i < 3; i++)
    if (fds[i][which] >= 0) {
      close(fds[i][which]);
      fds[i][which] = -1;
    }
}

static int open_streams(const cx_proc_options *options, stdio_fds fds) {
  const cx_stdio how[3] = {options->in, options->out, options->err};
  memset(fds, -1, sizeof(stdio_fds));
  for (int i = 0; i < 3; i++) {
    int rc = open_stream(how[i], i, fds[i]);
    if (rc == 0) continue;
    close_ends(fds, 0);
    close_ends(fds, 1);
    return rc;
  }
  return 0;
}

/* Starts the child and watches for its exit. On failure nothing is left. */
static int launch(cx_proc *proc, const cx_proc_options *options, stdio_fds fds) {
  const int child[3] = {fds[0][0], fds[1][0], fds[2][0]};
  int pid = cx__spawn(options, child);
  close_ends(fds, 0);
  if (pid < 0) return pid;
  proc->status.pid = pid;
  proc->watch_fd = cx__watch(pid);
  if (proc->watch_fd >= 0) return 0;
  signal_group(proc, SIGKILL);
  cx__bury(pid);
  return proc->watch_fd;
}

static bool adopt(cx_proc *proc, uv_loop_t *loop, uv_pipe_t *pipe, int fd) {
  if (fd < 0) return false;
  uv_pipe_init(loop, pipe, 0);
  uv_pipe_open(pipe, fd);
  pipe->data = proc;
  proc->handles++;
  return true;
}

/* None of these fails on descriptors that were just made; without memory for it, libuv aborts. */
static void join_loop(cx_proc *proc, uv_loop_t *loop, stdio_fds fds) {
  uv_update_time(loop);
  uv_timer_init(loop, &proc->timer);
  uv_poll_init(loop, &proc->exit_watch, proc->watch_fd);
  proc->timer.data = proc->exit_watch.data = proc;
  proc->handles = 2;
  proc->has_in = adopt(proc, loop, &proc->in, fds[0][1]);
  proc->outgoing = (cx_outgoing){(uv_stream_t *)&proc->in, &proc->status.unwritten,
                                 &proc->status.write_error, on_proc_written, proc};
  proc->has_out = adopt(proc, loop, &proc->out, fds[1][1]);
  proc->has_err = adopt(proc, loop, &proc->err, fds[2][1]);
  if (proc->has_out) uv_read_start((uv_stream_t *)&proc->out, on_proc_alloc, on_proc_read);
  if (proc->has_err) uv_read_start((uv_stream_t *)&proc->err, on_proc_alloc, on_proc_read);
  uv_poll_start(&proc->exit_watch, UV_READABLE, on_exit_readable);
  proc->heard = uv_now(loop);
  set_due(proc, TOTAL, proc->options.timeout_ms);
  set_due(proc, IDLE, proc->options.idle_timeout_ms);
}

static void take_numbers(cx_proc_options *mine, const cx_proc_options *given) {
  *mine = *given;
  mine->file = mine->cwd = NULL;
  mine->argv = mine->env = NULL;
  if (!mine->read_size) mine->read_size = READ_SIZE;
  if (!mine->tail_size) mine->tail_size = TAIL_SIZE;
  if (!mine->grace_ms) mine->grace_ms = GRACE_MS;
  if (!mine->drain_ms) mine->drain_ms = DRAIN_MS;
  if (!mine->stop_signal) mine->stop_signal = SIGTERM;
}

int cx_proc_open(cx_proc **out, uv_loop_t *loop, const cx_proc_options *options,
                 const cx_proc_events *events, void *user) {
  stdio_fds fds;
  cx_proc *proc = calloc(1, sizeof *proc);
  if (!proc) return CX_EMEMORY;
  take_numbers(&proc->options, options);
  proc->tail.limit = proc->options.tail_size;
  proc->events = *events;
  proc->user = user;
  int rc = open_streams(options, fds);
  if (rc == 0) {
    rc = launch(proc, options, fds);
    if (rc != 0) close_ends(fds, 1);
  }
  if (rc != 0) {
    free(proc);
    return rc;
  }
  join_loop(proc, loop, fds);
  *out = proc;
  return 0;
}

const cx_proc_status *cx_proc_get_status(const cx_proc *proc) { return &proc->status; }
const cx_tail *cx_proc_get_stderr(const cx_proc *proc) { return &proc->tail; }
