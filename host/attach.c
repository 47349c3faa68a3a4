/* One loop inside another; see attach.h. */
#include "attach.h"

#include <stdbool.h>
#include <stdlib.h>

#include "err.h"
#include "platform.h"

enum { HANDLES = 4 };

struct cx_attach {
  uv_loop_t *inner;
  uv_poll_t poll;       /* the inner loop's own epoll descriptor */
  uv_timer_t timer;     /* its next timer */
  uv_prepare_t prepare; /* looks anew before the outer loop blocks, and keeps that alive */
  uv_idle_t soon;       /* keeps the outer loop from blocking, once */
  void (*turn)(void *user);
  void *user;
  int closed;
};

static bool is_closing(const cx_attach *attach) {
  return uv_is_closing((const uv_handle_t *)&attach->prepare) != 0;
}

/* Whether there is still an inner loop afterwards. */
static bool turn(cx_attach *attach) {
  attach->turn(attach->user);
  return !is_closing(attach);
}

#ifndef CX_NO_EPOLL
static void on_attach_poll(uv_poll_t *poll, int status, int events) {
  (void)status;
  (void)events;
  turn(poll->data);
}
#endif

static void on_attach_timer(uv_timer_t *timer) { turn(timer->data); }

static void keep_alive(uv_handle_t *handle, int alive) {
  if (alive)
    uv_ref(handle);
  else
    uv_unref(handle);
}

/* Milliseconds until the inner loop must be turned, or -1. Where nothing says that something came
 * for it, that is soon. */
static int time_left(const uv_loop_t *inner, bool is_alive) {
  int timeout = uv_backend_timeout(inner);
#ifdef CX_NO_EPOLL
  if (is_alive && (timeout < 0 || timeout > CX_LOOK_MS)) timeout = CX_LOOK_MS;
#else
  (void)is_alive;
#endif
  return timeout;
}

/* A descriptor or a timer that was added since the last turn is not in epoll yet: turn once, then
 * ask how long the outer loop may sleep. */
static void on_prepare(uv_prepare_t *prepare) {
  cx_attach *attach = prepare->data;
  if (!turn(attach)) return;
  bool is_alive = uv_loop_alive(attach->inner);
  keep_alive((uv_handle_t *)prepare, is_alive);
  int timeout = time_left(attach->inner, is_alive);
  if (timeout >= 0)
    uv_timer_start(&attach->timer, on_attach_timer, (uint64_t)timeout, 0);
  else
    uv_timer_stop(&attach->timer);
}

int cx_attach_open(cx_attach **out, uv_loop_t *outer, uv_loop_t *inner,
                   void (*turn_inner)(void *user), void *user) {
  cx_attach *attach = calloc(1, sizeof *attach);
  if (!attach) return CX_EMEMORY;
  int rc = uv_poll_init(outer, &attach->poll, uv_backend_fd(inner));
  if (rc != 0) {
    free(attach);
    return rc;
  }
  uv_timer_init(outer, &attach->timer);
  uv_prepare_init(outer, &attach->prepare);
  uv_idle_init(outer, &attach->soon);
  attach->inner = inner;
  attach->turn = turn_inner;
  attach->user = user;
  attach->poll.data = attach->timer.data = attach->prepare.data = attach->soon.data = attach;
  uv_unref((uv_handle_t *)&attach->timer);
  uv_unref((uv_handle_t *)&attach->poll);
#ifndef CX_NO_EPOLL
  uv_poll_start(&attach->poll, UV_READABLE, on_attach_poll);
#endif
  uv_prepare_start(&attach->prepare, on_prepare);
  *out = attach;
  return 0;
}

/* The turn itself comes from on_prepare, in the same round. */
static void on_soon(uv_idle_t *soon) { uv_idle_stop(soon); }

void cx_attach_wake(cx_attach *attach) {
  if (!is_closing(attach)) uv_idle_start(&attach->soon, on_soon);
}

static void on_attach_closed(uv_handle_t *handle) {
  cx_attach *attach = handle->data;
  if (++attach->closed == HANDLES) free(attach);
}

void cx_attach_close(cx_attach *attach) {
  uv_close((uv_handle_t *)&attach->poll, on_attach_closed);
  uv_close((uv_handle_t *)&attach->timer, on_attach_closed);
  uv_close((uv_handle_t *)&attach->prepare, on_attach_closed);
  uv_close((uv_handle_t *)&attach->soon, on_attach_closed);
}
