/* What ws.c and peer.c share, and nobody else: the connections of one server or client, and what
 * libwebsockets says of each. What may be done with a connection is in ws.h. */
#ifndef CX_PEER_H
#define CX_PEER_H

#include <stddef.h>

#include "ws.h"

struct lws;

typedef struct cx_peers {
  cx_ws_peer *first;
  unsigned count;
  cx_ws_events events;
  void *user;
  size_t message_limit; /* bytes */
} cx_peers;

/* A connection has been made. Nothing is read from it yet. NULL without memory. */
cx_ws_peer *cx__peer_new(cx_peers *peers, struct lws *wsi);

/* It has ended: on_gone is called, and the peer is freed. */
void cx__peer_forget(cx_ws_peer *peer);

/* A piece of a message has come in. Negative: libwebsockets is to end the connection. */
int cx__peer_receive(cx_ws_peer *peer, const char *data, size_t n);

/* The other side has begun to close: its code, two bytes, and its reason, as they came. */
void cx__peer_note_close(cx_ws_peer *peer, const unsigned char *data, size_t n);

/* Something may be written. Negative: the connection is lost. */
int cx__peer_write(cx_ws_peer *peer);

/* Closes all of them, as cx_ws_peer_close does. */
void cx__peers_close(const cx_peers *peers, int code);

#endif
