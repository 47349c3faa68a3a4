/* One connection of a WebSocket, and its messages; see peer.h and ws.h. */
#include "peer.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <libwebsockets.h>

#include "buf.h"
#include "err.h"
#include "token.h"

enum {
  FRAME_SIZE = 64 * 1024, /* longer messages go out in several frames */
  FRAMES_A_TURN = 16,     /* of one client, so that the others have theirs */
  DRAIN_MARK = 1024 * 1024,
  KEPT_SIZE = 1024 * 1024, /* a larger message's buffer is given back */
  REASON_SIZE = 123,       /* what fits into a close frame */
};

/* A message that waits to be sent. libwebsockets writes its header into the LWS_PRE bytes before
 * what it is given, which are room at first and what was sent before later. */
typedef struct outgoing {
  struct outgoing *next;
  size_t n, sent;
  unsigned char data[];
} outgoing;

struct cx_ws_peer {
  cx_ws_peer *prev, *next;
  cx_peers *peers;
  struct lws *wsi;
  void *user;
  cx_buf in;
  outgoing *first, *last;
  size_t unsent;
  int code; /* how it ends, or why we close it */
  unsigned char reason[REASON_SIZE];
  size_t reason_size;
  bool reading, closing, above_mark;
  bool leaving; /* the other side closes, not we */
  bool said;    /* our close frame is on its way */
};

/* ---- Peers ---------------------------------------------------------------------------------- */

static void free_outgoing(cx_ws_peer *peer) {
  for (outgoing *out = peer->first, *next; out; out = next) {
    next = out->next;
    free(out);
  }
  peer->first = peer->last = NULL;
  peer->unsent = 0;
}

cx_ws_peer *cx__peer_new(cx_peers *peers, struct lws *wsi) {
  cx_ws_peer *peer = calloc(1, sizeof *peer);
  if (!peer) return NULL;
  peer->peers = peers;
  peer->wsi = wsi;
  peer->code = CX_WS_LOST;
  peer->next = peers->first;
  if (peer->next) peer->next->prev = peer;
  peers->first = peer;
  peers->count++;
  lws_rx_flow_control(wsi, 0);
  return peer;
}

void cx__peer_forget(cx_ws_peer *peer) {
  cx_peers *peers = peer->peers;
  if (peer->prev)
    peer->prev->next = peer->next;
  else
    peers->first = peer->next;
  if (peer->next) peer->next->prev = peer->prev;
  peers->count--;
  peers->events.on_gone(peers->user, peer, peer->code, (const char *)peer->reason,
                        peer->reason_size);
  cx_buf_free(&peer->in);
  free_outgoing(peer);
  free(peer);
}

static void set_reason(cx_ws_peer *peer, int code, const void *reason, size_t n) {
  peer->code = code;
  peer->reason_size = n < REASON_SIZE ? n : REASON_SIZE;
  if (n > 0) memcpy(peer->reason, reason, peer->reason_size);
}

static void give_reason(const cx_ws_peer *peer) {
  lws_close_reason(peer->wsi, (enum lws_close_status)peer->code, (unsigned char *)peer->reason,
                   peer->reason_size);
}

/* For what is received; the result ends the connection. */
static int refuse(cx_ws_peer *peer, int code, const char *reason) {
  set_reason(peer, code, reason, strlen(reason));
  cx_buf_free(&peer->in);
  peer->closing = true;
  give_reason(peer);
  return -1;
}

/* ---- Text ----------------------------------------------------------------------------------- */

static bool is_utf8(const char *s, size_t n) {
  for (const char *end = s + n; s < end;) {
    size_t length = (unsigned char)*s < 0x80 ? 1 : cx_token_sequence(s, end);
    if (length == 0) return false;
    s += length;
  }
  return true;
}

/* ---- Messages in ---------------------------------------------------------------------------- */

/* libwebsockets looks at the text, too, but not whether it ends where the message does when its
 * last frame is empty. */
int cx__peer_receive(cx_ws_peer *peer, const char *data, size_t n) {
  const cx_peers *peers = peer->peers;
  if (peer->closing) return 0;
  if (lws_frame_is_binary(peer->wsi))
    return refuse(peer, CX_WS_UNACCEPTABLE, "only text messages are taken");
  if (n > peers->message_limit - peer->in.len)
    return refuse(peer, CX_WS_TOO_LARGE, "the message is too long");
  if (cx_buf_add(&peer->in, data, n) != 0) return refuse(peer, CX_WS_INTERNAL, "out of memory");
  if (!lws_is_final_fragment(peer->wsi)) return 0;
  if (!is_utf8(cx_buf_bytes(&peer->in), peer->in.len))
    return refuse(peer, CX_WS_NOT_UTF8, "the message is not UTF-8");
  peers->events.on_message(peers->user, peer, cx_buf_bytes(&peer->in), peer->in.len);
  if (peer->in.cap > KEPT_SIZE)
    cx_buf_free(&peer->in);
  else
    cx_buf_drop(&peer->in, peer->in.len);
  return 0;
}

/* The other side has begun to close; its code and reason as they came. */
void cx__peer_note_close(cx_ws_peer *peer, const unsigned char *data, size_t n) {
  if (peer->closing) return;
  peer->closing = peer->leaving = true;
  if (n < 2)
    set_reason(peer, CX_WS_NO_CODE, NULL, 0);
  else
    set_reason(peer, data[0] << 8 | data[1], data + 2, n - 2);
}

/* ---- Messages out --------------------------------------------------------------------------- */

/* Writes the next frame of the first message. Negative when the connection is lost. */
static int write_frame(cx_ws_peer *peer) {
  outgoing *out = peer->first;
  size_t left = out->n - out->sent, n = left < FRAME_SIZE ? left : FRAME_SIZE;
  int kind = out->sent == 0 ? LWS_WRITE_TEXT : LWS_WRITE_CONTINUATION;
  if (n < left) kind |= LWS_WRITE_NO_FIN;
  int rc = lws_write(peer->wsi, out->data + LWS_PRE + out->sent, n, (enum lws_write_protocol)kind);
  if (rc < 0) return -1;
  out->sent += n;
  peer->unsent -= n;
  if (out->sent < out->n) return 0;
  peer->first = out->next;
  if (!peer->first) peer->last = NULL;
  free(out);
  return 0;
}

/* When everything is sent. A result of -1, which is enough for what is received, would not do:
 * built with _DEBUG, as Debian's is, libwebsockets closes twice then ("uv repeat test"), which
 * drops the connection before the close frame is out. This is the same once. */
static void begin_close(cx_ws_peer *peer) {
  give_reason(peer);
  lws_set_timeout(peer->wsi, PENDING_TIMEOUT_CLOSE_SEND, LWS_TO_KILL_SYNC);
}

int cx__peer_write(cx_ws_peer *peer) {
  if (peer->leaving || peer->said) return 0;
  for (int i = 0; peer->first && i < FRAMES_A_TURN && !lws_send_pipe_choked(peer->wsi); i++)
    if (write_frame(peer) < 0) return -1;
  if (peer->first || (peer->closing && lws_partial_buffered(peer->wsi))) {
    lws_callback_on_writable(peer->wsi);
  } else if (peer->closing) {
    peer->said = true;
    begin_close(peer);
    return 0;
  }
  if (peer->above_mark && peer->unsent <= DRAIN_MARK) {
    peer->above_mark = false;
    peer->peers->events.on_drain(peer->peers->user, peer);
  }
  return 0;
}

int cx_ws_peer_send(cx_ws_peer *peer, const char *text, size_t n) {
  if (peer->closing) return CX_ECLOSED;
  if (!is_utf8(text, n)) return -EILSEQ;
  if (n > SIZE_MAX / 2) return CX_EMEMORY;
  outgoing *out = malloc(sizeof *out + LWS_PRE + n);
  if (!out) return CX_EMEMORY;
  *out = (outgoing){.n = n};
  memcpy(out->data + LWS_PRE, text, n);
  if (peer->last)
    peer->last->next = out;
  else
    peer->first = out;
  peer->last = out;
  peer->unsent += n;
  if (peer->unsent > DRAIN_MARK) peer->above_mark = true;
  lws_callback_on_writable(peer->wsi);
  return 0;
}

size_t cx_ws_peer_unsent(const cx_ws_peer *peer) { return peer->unsent; }

/* ---- One connection ------------------------------------------------------------------------- */

void cx_ws_peer_set_user(cx_ws_peer *peer, void *user) { peer->user = user; }
void *cx_ws_peer_user(const cx_ws_peer *peer) { return peer->user; }

static void set_reading(cx_ws_peer *peer, bool reading) {
  if (peer->reading == reading) return;
  peer->reading = reading;
  lws_rx_flow_control(peer->wsi, reading ? 1 : 0);
}

void cx_ws_peer_start(cx_ws_peer *peer) { set_reading(peer, true); }

void cx_ws_peer_pause(cx_ws_peer *peer, bool pause) {
  if (!peer->closing) set_reading(peer, !pause);
}

/* The answer must be read, too. */
void cx_ws_peer_close(cx_ws_peer *peer, int code, const char *reason) {
  if (peer->closing) return;
  set_reason(peer, code, reason, reason ? strlen(reason) : 0);
  peer->closing = true;
  set_reading(peer, true);
  lws_callback_on_writable(peer->wsi);
}

/* Not within this call, as everything is that events follow from. */
void cx_ws_peer_drop(cx_ws_peer *peer) {
  peer->closing = true;
  free_outgoing(peer);
  lws_set_timeout(peer->wsi, PENDING_TIMEOUT_CLOSE_SEND, LWS_TO_KILL_ASYNC);
}

void cx__peers_close(const cx_peers *peers, int code) {
  for (cx_ws_peer *peer = peers->first; peer; peer = peer->next) cx_ws_peer_close(peer, code, NULL);
}
