/* A talking peer: a child process, a socket or our own standard streams, in lines of JSON-RPC.
 *
 * It answers for the life of what it talks over: lines are read with back-pressure, calls have
 * their deadlines, at the end of the other side's output every call fails with CX_ECLOSED, and
 * on_closed comes once everything has been told. */
#ifndef CX_LINK_H
#define CX_LINK_H

#include <stdbool.h>

#include <uv.h>

#include "proc.h"
#include "rpc.h"

typedef struct cx_link cx_link;

typedef struct cx_link_options {
  cx_rpc_options rpc;
  size_t line_limit; /* longest message in bytes; a longer one is junk (CX_ETOOLONG) */
  size_t read_size;  /* bytes read at once; 0: 64 KiB */
} cx_link_options;

/* Called from the loop, never from inside a cx_link_ or cx_rpc_ function. As in rpc.h, and: */
typedef struct cx_link_events {
  void (*on_message)(void *user, const cx_message *message);
  void (*on_answer)(void *user, uint64_t call, int code, const cx_message *message);
  void (*on_junk)(void *user, const char *text, size_t n, int code);
  void (*on_change)(
      void *user); /* output was taken or refused, the input ended, the child exited */
  void (*on_closed)(void *user); /* exactly once, last; the cx_link is gone when it returns */
} cx_link_events;

/* Starts a child whose standard input and output are the link's. The string options.rpc.prefix is
 * kept, nothing else is. 0, or why there is no child. */
int cx_link_spawn(cx_link **link, uv_loop_t *loop, const cx_proc_options *child,
                  const cx_link_options *options, const cx_link_events *events, void *user);

/* Talks over two descriptors, which are duplicated. */
int cx_link_open(cx_link **link, uv_loop_t *loop, int in, int out, const cx_link_options *options,
                 const cx_link_events *events, void *user);

/* For calls, notifications and answers. Deadlines are times of uv_now(). */
cx_rpc *cx_link_rpc(cx_link *link);

/* Notes a new call's deadline: to be called after cx_rpc_call. */
void cx_link_arm(cx_link *link);

/* Sends what had no place in the window, from the loop: to be called after cx_rpc_forget. */
void cx_link_pump(cx_link *link);

/* Sends bytes as they are: whole messages with their newlines. 0, CX_ECLOSED, or a uv code. */
int cx_link_send(cx_link *link, const char *data, size_t n);

/* Likewise one message, which comes without its newline. */
int cx_link_send_line(cx_link *link, const char *line, size_t n);

/* What is sent while messages are taken in is kept until all that came with them were taken, for a
 * millisecond or 64 KiB at most, and leaves in one piece; this sends it now. */
int cx_link_flush(cx_link *link);

/* Stops taking messages in; the other side blocks when its pipe is full. */
void cx_link_pause(cx_link *link, bool paused);

/* Whether a child keeps the loop running; what is no child always does. */
void cx_link_hold(cx_link *link, bool hold);

/* Says that no more comes from us. */
void cx_link_finish(cx_link *link);

/* Ends a child politely, then by force; closes anything else. */
void cx_link_stop(cx_link *link, int reason);

/* Gives everything up at once. Idempotent. */
void cx_link_close(cx_link *link);

typedef struct cx_link_status {
  bool ended;       /* nothing more comes in */
  size_t unwritten; /* bytes that the other side has not taken */
  int write_error;  /* why writing failed, or 0 */
} cx_link_status;

cx_link_status cx_link_get_status(const cx_link *link);

/* The child as it is or was; NULL where the link has none. */
const cx_proc_status *cx_link_child(const cx_link *link);
const cx_tail *cx_link_stderr(const cx_link *link);

#endif
