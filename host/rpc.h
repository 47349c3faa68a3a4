/* A JSON-RPC peer without input or output of its own: lines go in, lines come out.
 *
 * Both sides count their requests from where they like: ids of the other side keep type and exact
 * text. */
#ifndef CX_RPC_H
#define CX_RPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message.h"

typedef struct cx_rpc cx_rpc;

typedef struct cx_rpc_options {
  unsigned window;    /* our requests that may be unanswered; more wait their turn (64) */
  bool versioned;     /* send "jsonrpc":"2.0", which MCP and ACP want and the app-server does not */
  bool relay;         /* answers to ids that are not ours are messages, not junk */
  const char *prefix; /* our ids are strings that begin so, not numbers: plain ASCII without quotes
                       * or backslashes; kept, not copied */
} cx_rpc_options;

typedef struct cx_rpc_events {
  /* One message with its newline. 0, or why it cannot be sent. */
  int (*on_send)(void *user, const char *data, size_t n);
  /* A request or a notification, or with `relay` any answer that is not ours. */
  void (*on_message)(void *user, const cx_message *message);
  /* Exactly once for each call that was not forgotten: 0 and its result or error; or no message and
   * CX_ETIMEOUT, CX_ECLOSED, or what on_send said when its turn came. */
  void (*on_answer)(void *user, uint64_t call, int code, const cx_message *message);
  /* What is no message, or an answer that nobody waits for (CX_EPROTOCOL). */
  void (*on_junk)(void *user, const char *text, size_t n, int code);
} cx_rpc_events;

/* NULL without memory. */
cx_rpc *cx_rpc_new(const cx_rpc_options *options, const cx_rpc_events *events, void *user);

/* One line came in. */
void cx_rpc_feed(cx_rpc *rpc, const char *line, size_t n);

/* Sends a request, or keeps it until an earlier one is answered. `params` is JSON text, n = 0:
 * none. It fails with CX_ETIMEOUT at `due` (ms, a clock of the caller's choice; 0: never), however
 * long it waited for its turn. 0 and *call, CX_ECLOSED, CX_EMEMORY, or what on_send said. */
int cx_rpc_call(cx_rpc *rpc, const char *method, const char *params, size_t n, uint64_t due,
                uint64_t *call);

/* Nobody wants the answer any more: its place is free. What waits for one is sent by cx_rpc_pump,
 * which tells of what cannot be sent, and when the next answer comes. */
void cx_rpc_forget(cx_rpc *rpc, uint64_t call);
void cx_rpc_pump(cx_rpc *rpc);

int cx_rpc_notify(cx_rpc *rpc, const char *method, const char *params, size_t n);

/* Answers a request of the other side with JSON text. */
int cx_rpc_reply(cx_rpc *rpc, cx_span id, cx_span result);
int cx_rpc_refuse(cx_rpc *rpc, cx_span id, int64_t code, cx_span message, cx_span data);

/* When the next call is due, 0 for never; and what to do when it is. */
uint64_t cx_rpc_next_due(const cx_rpc *rpc);
void cx_rpc_expire(cx_rpc *rpc, uint64_t now);

/* The other side says no more: every call fails with this code, later ones with CX_ECLOSED. What is
 * fed is dropped. Notifications and answers are still sent: it may be listening. */
void cx_rpc_end(cx_rpc *rpc, int code);

/* Calls whose answer somebody waits for, and calls that wait to be sent. */
size_t cx_rpc_pending(const cx_rpc *rpc);
size_t cx_rpc_queued(const cx_rpc *rpc);

/* Drops what is left without a word. */
void cx_rpc_free(cx_rpc *rpc);

#endif
