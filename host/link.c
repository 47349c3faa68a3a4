/* A talking peer; see link.h. */
#include "link.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "lines.h"
#include "pipe.h"

enum { CORKED = 64 * 1024, CORK_NS = 1000 * 1000 }; /* kept back at most, and for how long */
enum { KEPT = 4 << 20 }; /* memory for messages that stays: fresh memory costs more than copying */

struct cx_link {
  cx_proc *proc; /* one of the two, NULL once it has closed */
  cx_pipe *pipe;
  cx_link_events events;
  void *user;
  cx_lines lines;
  cx_rpc *rpc;
  cx_buf corked;         /* what is said while lines are taken */
  uint64_t corked_since; /* time of uv_hrtime() */
  uv_timer_t timer;      /* the next call's deadline */
  uv_idle_t again;       /* takes up lines that were left while paused, sends what had no place */
  uint64_t armed;        /* when the timer fires, or 0 */
  unsigned handles;      /* open: the transport, the timer, the idler */
  cx_proc_status child;  /* as it was at the end */
  cx_tail tail;          /* likewise its standard error */
  bool is_child, relay, paused, taking, told, closing;
};

static void take_lines(cx_link *link);

/* ---- Closing -------------------------------------------------------------------------------- */

static void release(cx_link *link) {
  if (--link->handles > 0) return;
  cx_rpc_end(link->rpc, CX_ECLOSED);
  link->events.on_closed(link->user);
  cx_rpc_free(link->rpc);
  cx_lines_free(&link->lines);
  cx_buf_free(&link->corked);
  cx_buf_free(&link->tail.buf);
  free(link);
}

static void on_link_handle_closed(uv_handle_t *handle) { release(handle->data); }

static void close_own(cx_link *link) {
  if (uv_is_closing((uv_handle_t *)&link->timer)) return;
  uv_close((uv_handle_t *)&link->timer, on_link_handle_closed);
  uv_close((uv_handle_t *)&link->again, on_link_handle_closed);
}

void cx_link_close(cx_link *link) {
  if (link->closing) return;
  cx_link_flush(link);
  link->closing = true;
  if (link->proc) cx_proc_close(link->proc);
  if (link->pipe) cx_pipe_close(link->pipe);
  close_own(link);
}

/* ---- Lines in ------------------------------------------------------------------------------- */

static bool transport_ended(const cx_link *link) {
  if (link->proc) return cx_proc_get_status(link->proc)->output_ended;
  return !link->pipe || cx_pipe_get_status(link->pipe)->input_ended;
}

/* Once the last line was taken: no call will be answered any more. */
static void settle(cx_link *link) {
  if (link->paused || link->closing || link->taking || !transport_ended(link)) return;
  if (!link->told) {
    link->told = true;
    cx_rpc_end(link->rpc, CX_ECLOSED);
  }
  if (!link->proc && !link->pipe) close_own(link);
}

static void take_line(cx_link *link, const char *line, size_t n, int rc) {
  if (rc < 0)
    link->events.on_junk(link->user, "", 0, rc);
  else if (n > 0 || link->relay)
    cx_rpc_feed(link->rpc, line, n);
}

static void take_lines(cx_link *link) {
  const char *line;
  size_t n;
  int rc = 1;
  if (link->taking) return;
  link->taking = true;
  while (!link->paused && !link->closing && rc != 0) {
    rc = cx_lines_next(&link->lines, &line, &n);
    if (rc != 0) take_line(link, line, n, rc);
    if (link->corked.len && uv_hrtime() - link->corked_since > CORK_NS) cx_link_flush(link);
  }
  link->taking = false;
  cx_link_flush(link);
  if (rc == 0) settle(link);
}

static void on_bytes(void *user, const char *data, size_t n) {
  cx_link *link = user;
  if (cx_lines_feed(&link->lines, data, n) != 0) cx_link_stop(link, CX_EMEMORY);
  take_lines(link);
}

static void on_transport_change(void *user) {
  cx_link *link = user;
  if (transport_ended(link)) {
    cx_lines_end(&link->lines);
    take_lines(link);
  }
  if (!link->closing) link->events.on_change(link->user);
}

/* Without its transport a link lives on until its last line was taken. */
static void transport_gone(cx_link *link) {
  cx_lines_end(&link->lines);
  take_lines(link);
  if (!link->closing) link->events.on_change(link->user);
  release(link);
}

static void on_proc_closed(void *user) {
  cx_link *link = user;
  const cx_tail *tail = cx_proc_get_stderr(link->proc);
  link->child = *cx_proc_get_status(link->proc);
  link->tail.lost = tail->lost;
  cx_buf_add(&link->tail.buf, cx_buf_bytes(&tail->buf), tail->buf.len);
  link->proc = NULL;
  transport_gone(link);
}

static void on_pipe_closed(void *user) {
  cx_link *link = user;
  link->pipe = NULL;
  transport_gone(link);
}

static void on_again(uv_idle_t *again) {
  cx_link *link = again->data;
  uv_idle_stop(again);
  cx_rpc_pump(link->rpc);
  take_lines(link);
}

static void turn_again(cx_link *link) {
  if (!uv_is_closing((uv_handle_t *)&link->again)) uv_idle_start(&link->again, on_again);
}

void cx_link_pump(cx_link *link) {
  if (cx_rpc_queued(link->rpc) > 0) turn_again(link);
}

void cx_link_pause(cx_link *link, bool paused) {
  if (link->paused == paused) return;
  link->paused = paused;
  if (link->proc) cx_proc_pause(link->proc, paused);
  if (link->pipe) cx_pipe_pause(link->pipe, paused);
  if (!paused) turn_again(link);
}

/* ---- Deadlines ------------------------------------------------------------------------------ */

static void on_link_timer(uv_timer_t *timer) {
  cx_link *link = timer->data;
  link->armed = 0;
  cx_rpc_expire(link->rpc, uv_now(timer->loop));
  cx_link_arm(link);
}

void cx_link_arm(cx_link *link) {
  uint64_t due = cx_rpc_next_due(link->rpc), now = uv_now(link->timer.loop);
  if (due == 0 || (link->armed && link->armed <= due)) return;
  if (link->closing || uv_is_closing((uv_handle_t *)&link->timer)) return;
  link->armed = due;
  uv_timer_start(&link->timer, on_link_timer, due > now ? due - now : 0, 0);
}

/* ---- Lines out ------------------------------------------------------------------------------ */

static int transmit(cx_link *link, const char *data, size_t n) {
  if (link->proc) return cx_proc_write(link->proc, data, n);
  return link->pipe ? cx_pipe_write(link->pipe, data, n) : CX_ECLOSED;
}

int cx_link_flush(cx_link *link) {
  if (link->corked.len == 0) return 0;
  int rc = transmit(link, cx_buf_bytes(&link->corked), link->corked.len);
  cx_buf_drop(&link->corked, link->corked.len);
  return rc;
}

/* Where many answers came in at once, what is said to them goes out at once: one system call, and
 * one awakening of the other side, in place of many. */
static int cork(cx_link *link, const char *data, size_t n) {
  int rc = transmit(link, data, 0);
  if (link->corked.len == 0) link->corked_since = uv_hrtime();
  if (rc == 0) rc = cx_buf_add(&link->corked, data, n);
  return rc == 0 && link->corked.len >= CORKED ? cx_link_flush(link) : rc;
}

int cx_link_send(cx_link *link, const char *data, size_t n) {
  if (link->closing) return CX_ECLOSED;
  if (link->taking && n < CORKED) return cork(link, data, n);
  int rc = cx_link_flush(link);
  return rc ? rc : transmit(link, data, n);
}

int cx_link_send_line(cx_link *link, const char *line, size_t n) {
  if (link->closing) return CX_ECLOSED;
  if (n >= CORKED) {
    int rc = cx_link_send(link, line, n);
    return rc ? rc : cx_link_send(link, "\n", 1);
  }
  int rc = cork(link, line, n);
  if (rc == 0) rc = cx_buf_add(&link->corked, "\n", 1);
  return rc || link->taking ? rc : cx_link_flush(link);
}

static int on_send(void *user, const char *data, size_t n) { return cx_link_send(user, data, n); }

void cx_link_finish(cx_link *link) {
  cx_link_flush(link);
  if (link->proc) cx_proc_write_end(link->proc);
  if (link->pipe) cx_pipe_write_end(link->pipe);
}

void cx_link_hold(cx_link *link, bool hold) {
  uv_handle_t *timer = (uv_handle_t *)&link->timer; /* goes on after the answer */
  if (!link->proc || uv_is_closing(timer)) return;
  cx_proc_hold(link->proc, hold);
  if (hold)
    uv_ref(timer);
  else
    uv_unref(timer);
}

void cx_link_stop(cx_link *link, int reason) {
  cx_link_flush(link);
  if (link->proc)
    cx_proc_stop(link->proc, reason);
  else
    cx_link_close(link);
}

/* ---- What the peer says --------------------------------------------------------------------- */

static void on_link_message(void *user, const cx_message *message) {
  cx_link *link = user;
  link->events.on_message(link->user, message);
}

static void on_link_answer(void *user, uint64_t call, int code, const cx_message *message) {
  cx_link *link = user;
  link->events.on_answer(link->user, call, code, message);
}

static void on_link_junk(void *user, const char *text, size_t n, int code) {
  cx_link *link = user;
  link->events.on_junk(link->user, text, n, code);
}

/* ---- Opening -------------------------------------------------------------------------------- */

static cx_link *new_link(uv_loop_t *loop, const cx_link_options *options,
                         const cx_link_events *events, void *user) {
  static const cx_rpc_events rpc_events = {on_send, on_link_message, on_link_answer, on_link_junk};
  cx_link *link = calloc(1, sizeof *link);
  if (!link) return NULL;
  link->rpc = cx_rpc_new(&options->rpc, &rpc_events, link);
  if (!link->rpc) {
    free(link);
    return NULL;
  }
  link->events = *events;
  link->user = user;
  link->relay = options->rpc.relay;
  cx_lines_init(&link->lines, options->line_limit);
  link->lines.keep_cr = link->relay;
  link->lines.kept = KEPT;
  uv_timer_init(loop, &link->timer);
  uv_idle_init(loop, &link->again);
  link->timer.data = link->again.data = link;
  return link;
}

static void ignore_closed(void *user) { (void)user; }

/* There is no transport: what was made goes away unheard. */
static int give_up(cx_link *link, int rc) {
  link->events.on_closed = ignore_closed;
  link->handles = 2;
  link->closing = true;
  close_own(link);
  return rc;
}

int cx_link_spawn(cx_link **opened, uv_loop_t *loop, const cx_proc_options *child,
                  const cx_link_options *options, const cx_link_events *events, void *user) {
  static const cx_proc_events proc_events = {on_bytes, on_transport_change, on_proc_closed};
  cx_link *link = new_link(loop, options, events, user);
  if (!link) return CX_EMEMORY;
  cx_proc_options own = *child;
  own.in = own.out = CX_STDIO_PIPE;
  own.read_size = options->read_size;
  own.keep_buffer = true;
  link->is_child = true;
  int rc = cx_proc_open(&link->proc, loop, &own, &proc_events, link);
  if (rc != 0) return give_up(link, rc);
  link->handles = 3;
  *opened = link;
  return 0;
}

int cx_link_open(cx_link **opened, uv_loop_t *loop, int in, int out, const cx_link_options *options,
                 const cx_link_events *events, void *user) {
  static const cx_pipe_events pipe_events = {on_bytes, on_transport_change, on_pipe_closed};
  cx_link *link = new_link(loop, options, events, user);
  if (!link) return CX_EMEMORY;
  int rc = cx_pipe_open(&link->pipe, loop, in, out, options->read_size, &pipe_events, link);
  if (rc != 0) return give_up(link, rc);
  link->handles = 3;
  *opened = link;
  return 0;
}

/* ---- Looking -------------------------------------------------------------------------------- */

cx_rpc *cx_link_rpc(cx_link *link) { return link->rpc; }

cx_link_status cx_link_get_status(const cx_link *link) {
  cx_link_status status = {.ended = link->told || link->closing};
  if (link->proc) {
    status.unwritten = link->corked.len + cx_proc_get_status(link->proc)->unwritten;
    status.write_error = cx_proc_get_status(link->proc)->write_error;
  } else if (link->pipe) {
    status.unwritten = link->corked.len + cx_pipe_get_status(link->pipe)->unwritten;
    status.write_error = cx_pipe_get_status(link->pipe)->write_error;
  }
  return status;
}

const cx_proc_status *cx_link_child(const cx_link *link) {
  if (link->proc) return cx_proc_get_status(link->proc);
  return link->is_child ? &link->child : NULL;
}

const cx_tail *cx_link_stderr(const cx_link *link) {
  return link->proc ? cx_proc_get_stderr(link->proc) : &link->tail;
}
