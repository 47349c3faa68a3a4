/* WebSockets on a Unix socket, in the loop: a server, and a client with one connection.
 *
 * Whole text messages come in and go out; fragments are joined, pings are answered. It stands on
 * libwebsockets and belongs to a loadable module, not to the program. */
#ifndef CX_WS_H
#define CX_WS_H

#include <stdbool.h>
#include <stddef.h>

#include <uv.h>

typedef struct cx_ws cx_ws;
typedef struct cx_ws_peer cx_ws_peer;

/* Codes of RFC 6455 that say how a connection ended. The last two are never on the wire. */
enum cx_ws_code {
  CX_WS_NORMAL = 1000,
  CX_WS_GOING_AWAY = 1001,
  CX_WS_UNACCEPTABLE = 1003,
  CX_WS_NOT_UTF8 = 1007,
  CX_WS_TOO_LARGE = 1009,
  CX_WS_INTERNAL = 1011,
  CX_WS_NO_CODE = 1005, /* closed properly, without a code */
  CX_WS_LOST = 1006     /* broken off */
};

/* Called from the loop, never from inside a function below. They may call any of these. */
typedef struct cx_ws_events {
  /* A client has connected, or we have. Nothing is read from it until cx_ws_peer_start. */
  void (*on_peer)(void *user, cx_ws_peer *peer);
  void (*on_message)(void *user, cx_ws_peer *peer, const char *text, size_t n);
  /* After a send that left more than a MiB unsent: it is less again. */
  void (*on_drain)(void *user, cx_ws_peer *peer);
  /* The connection has ended; the peer is gone when this returns. `reason` may be empty. */
  void (*on_gone)(void *user, cx_ws_peer *peer, int code, const char *reason, size_t n);
  /* Of a client: there is no connection, and why, in words. */
  void (*on_refused)(void *user, const char *why, size_t n);
  void (*on_closed)(void *user); /* exactly once, last; the cx_ws is gone when it returns */
} cx_ws_events;

typedef struct cx_ws_options {
  const char *path;     /* of the socket; mode 0600. A stale one there is taken over */
  const char *url_path; /* that a client asks for ("/") */
  unsigned ping_s;      /* a client pings after so many seconds of silence (300) */
  size_t message_limit; /* a longer message ends its connection with 1009 (256 MiB) */
  unsigned peer_limit;  /* clients at once; one more gets HTTP 503 (0: any number) */
} cx_ws_options;

/* 0, CX_EMEMORY, or -errno: -EADDRINUSE (somebody listens there, or it is no socket),
 * -ENAMETOOLONG, -ELIBACC (libwebsockets cannot use libuv here) ... */
int cx_ws_open(cx_ws **out, uv_loop_t *loop, const cx_ws_options *options,
               const cx_ws_events *events, void *user);

/* A client of the server at the path. on_peer or on_refused follows; the end of the connection is
 * also that of the client. 0, CX_EMEMORY, -ENOENT (no path), -ENAMETOOLONG, -ELIBACC ... */
int cx_ws_connect(cx_ws **out, uv_loop_t *loop, const cx_ws_options *options,
                  const cx_ws_events *events, void *user);

/* Removes the socket, says goodbye to every peer, drops those that do not answer in half a
 * second; on_closed follows. Idempotent. */
void cx_ws_close(cx_ws *ws);

/* ---- One connection ------------------------------------------------------------------------- */

void cx_ws_peer_set_user(cx_ws_peer *peer, void *user);
void *cx_ws_peer_user(const cx_ws_peer *peer);

/* From now on messages are read. */
void cx_ws_peer_start(cx_ws_peer *peer);

/* Stops reading and goes on with it. A message that has come in already may follow. While reading
 * is stopped one cannot notice that the other side leaves. */
void cx_ws_peer_pause(cx_ws_peer *peer, bool pause);

/* Copies the message; messages go out in order. 0, CX_ECLOSED, CX_EMEMORY, or -EILSEQ when it is
 * not UTF-8, which a text message must be. */
int cx_ws_peer_send(cx_ws_peer *peer, const char *text, size_t n);

/* Bytes that were given to send and not yet to the system. */
size_t cx_ws_peer_unsent(const cx_ws_peer *peer);

/* Sends what is unsent, closes with this code and up to 123 bytes of reason, and waits for the
 * other side's answer some seconds; on_gone follows. Idempotent. */
void cx_ws_peer_close(cx_ws_peer *peer, int code, const char *reason);

/* Ends the connection of one who does not read: what is unsent is lost, and on_gone follows soon,
 * also where it is being closed. */
void cx_ws_peer_drop(cx_ws_peer *peer);

#endif
