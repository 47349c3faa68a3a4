/* A client that sends any bytes after its handshake: what comes out are messages of UTF-8 within
 * the limit, and every connection ends. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "err.h"
#include "ws.h"

enum { LIMIT = 1000, TURNS = 100000 };

static uv_loop_t loop;
static cx_ws *ws;
static struct sockaddr_un address = {.sun_family = AF_UNIX};
static int open_peers;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_peer(void *user, cx_ws_peer *peer) {
  (void)user;
  open_peers++;
  cx_ws_peer_start(peer);
}

/* What is no UTF-8 could not be sent back. Some messages make us close, or drop it. */
static void on_message(void *user, cx_ws_peer *peer, const char *text, size_t n) {
  (void)user;
  if (n > LIMIT) abort();
  int rc = cx_ws_peer_send(peer, text, n);
  if (rc != 0 && rc != CX_ECLOSED) abort();
  if (n > 0 && text[0] == 'c') cx_ws_peer_close(peer, CX_WS_NORMAL, "as asked");
  if (n > 0 && text[0] == 'd') cx_ws_peer_drop(peer);
  if (n == 0 || text[0] != 'p') return;
  cx_ws_peer_pause(peer, true);
  cx_ws_peer_pause(peer, false); /* who does not read does not notice that the client is gone */
}

static void on_drain(void *user, cx_ws_peer *peer) { (void)user, (void)peer; }

static void on_gone(void *user, cx_ws_peer *peer, int code, const char *reason, size_t n) {
  (void)user, (void)peer, (void)code;
  if (n > 123 || (n > 0 && !reason)) abort();
  open_peers--;
}

static void on_refused(void *user, const char *why, size_t n) { (void)user, (void)why, (void)n; }
static void on_closed(void *user) { (void)user; }
static void remove_socket(void) { unlink(address.sun_path); }

static void set_up(void) {
  static const cx_ws_events events = {on_peer, on_message, on_drain,
                                      on_gone, on_refused, on_closed};
  if (ws) return;
  snprintf(address.sun_path, sizeof address.sun_path, "/tmp/cx-ws-fuzz-%d", (int)getpid());
  const cx_ws_options options = {.path = address.sun_path, .message_limit = LIMIT};
  if (uv_loop_init(&loop) != 0 || cx_ws_open(&ws, &loop, &options, &events, NULL) != 0) abort();
  atexit(remove_socket);
}

static void turn(int times) {
  while (times-- > 0) uv_run(&loop, UV_RUN_NOWAIT);
}

/* The frames come in two pieces; the first byte says where they are cut. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char hello[] = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                              "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
  char answer[4096];
  if (size < 2 || size > 20000) return 0;
  set_up();
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) abort();
  if (write(fd, hello, sizeof hello - 1) < 0) abort();
  turn(6);
  size_t first = data[0] % size;
  if (send(fd, data + 1, first, MSG_NOSIGNAL) >= 0) turn(3);
  if (send(fd, data + 1 + first, size - 1 - first, MSG_NOSIGNAL) >= 0) turn(3);
  while (read(fd, answer, sizeof answer) > 0) continue;
  close(fd);
  for (int i = 0; open_peers > 0 && i < TURNS; i++) turn(1);
  turn(2);
  if (open_peers > 0) abort();
  return 0;
}
