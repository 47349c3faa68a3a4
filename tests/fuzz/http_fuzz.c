/* A server that answers with any bytes: a transfer ends, and its head is names and values. Where
 * the first byte says so, the rest is a Location, which leads to http or https, or nowhere. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "http.h"

enum { COMPRESSED = 1, SHORT = 2, LOCATION = 4, LIMIT = 100, LIMIT_MS = 1000 };

static uv_loop_t loop;
static cx_http *http;
static struct sockaddr_un address = {.sun_family = AF_UNIX};
static int listener;

typedef struct {
  cx_transfer *transfer;
  bool has_ended;
} seen;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_closed(void *user) { (void)user; }
static void remove_socket(void) { unlink(address.sun_path); }

static void on_change(void *user) {
  const seen *s = user;
  const char *bytes;
  size_t n = cx_transfer_peek(s->transfer, &bytes);
  if (n > 0) cx_transfer_taken(s->transfer, n);
}

static void on_end(void *user) { ((seen *)user)->has_ended = true; }

static void set_up(void) {
  static const cx_http_events events = {on_closed};
  if (http) return;
  snprintf(address.sun_path, sizeof address.sun_path, "/tmp/cx-http-fuzz-%d", (int)getpid());
  listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0) abort();
  if (listen(listener, 16) != 0 || uv_loop_init(&loop) != 0) abort();
  if (cx_http_open(&http, &loop, &events, NULL) != 0) abort();
  atexit(remove_socket);
}

static void answer(int fd, const uint8_t *data, size_t size) {
  char request[4096];
  do uv_run(&loop, UV_RUN_NOWAIT);
  while (recv(fd, request, sizeof request, MSG_DONTWAIT) > 0);
  if (send(fd, data, size, MSG_NOSIGNAL) < 0) abort(); /* it fits into the socket */
  close(fd);
}

static void check_head(const cx_transfer *transfer) {
  size_t n, ends = 0;
  const char *head = cx_transfer_head(transfer, &n), *text;
  for (size_t i = 0; i < n; i++) ends += head[i] == '\0';
  if (ends % 2 != 0 || (n > 0 && head[n - 1] != '\0')) abort();
  if (!cx_transfer_outcome(transfer, &text) || !text || !cx_transfer_url(transfer)) abort();
}

static void ask(uint8_t flags, const uint8_t *data, size_t size) {
  static const cx_transfer_events events = {on_change, on_end};
  const cx_transfer_options options = {.method = "GET",
                                       .url = "http://here/",
                                       .unix_socket = address.sun_path,
                                       .compressed = flags & COMPRESSED,
                                       .max_bytes = flags & SHORT ? LIMIT : 0,
                                       .timeout_ms = LIMIT_MS};
  seen s = {0};
  if (cx_transfer_open(&s.transfer, http, &options, &events, &s) != 0) abort();
  while (!s.has_ended) {
    uv_run(&loop, UV_RUN_NOWAIT);
    int fd = accept(listener, NULL, NULL);
    if (fd >= 0) answer(fd, data, size);
  }
  check_head(s.transfer);
  cx_transfer_free(s.transfer);
}

static void resolve(const uint8_t *data, size_t size) {
  bool stays;
  char *location = strndup((const char *)data, size);
  char *url = location ? cx_http_resolve("http://me:pw@host:81/a?b", location, &stays) : NULL;
  bool is_http = url && (strncmp(url, "http://", 7) == 0 || strncmp(url, "https://", 8) == 0);
  if (url && (!is_http || strpbrk(url, "\r\n"))) abort();
  if (url && !stays && strstr(url, "me:pw@")) {
    if (!strstr(location, "me:pw@")) abort(); /* ours went to another host */
  }
  free(location);
  free(url);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 1 || size > 100000) return 0;
  set_up();
  if (data[0] & LOCATION)
    resolve(data + 1, size - 1);
  else
    ask(data[0], data + 1, size - 1);
  return 0;
}
