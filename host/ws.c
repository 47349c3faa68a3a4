/* WebSockets on a Unix socket, on libwebsockets; see ws.h.
 *
 * Listening (socket.h) and accepting is ours: libwebsockets would unlink whatever is at the path
 * and make the socket group-writable. It is given the accepted sockets, makes those of clients
 * itself (an address that begins with "+" is a path), and runs them in our loop through its libuv
 * plugin (Debian's build has no external poll, LWS_WITH_EXTERNAL_POLL). With a loop that is not its
 * own, lws_context_destroy only begins to close its handles, does not say when they have closed,
 * and must be called again then; on_lingering finds out. */
#include "ws.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <libwebsockets.h>

#include "err.h"
#include "peer.h"
#include "platform.h"
#include "socket.h"

enum {
  BUFFER_SIZE = 64 * 1024,
  MAX_FDS = 1024,
  GOODBYE_MS = 500,
  RETRY_MS = 100, /* until it accepts again, after the system ran out of descriptors */
  PING_S = 300,
  HANDLES = 2, /* and the listening socket's */
};
static const size_t message_limit = (size_t)256 * 1024 * 1024;
static const char protocol_name[] = "codex-lua"; /* within libwebsockets, not on the wire */

struct cx_ws {
  struct lws_context *context;
  struct lws_vhost *vhost;
  cx_peers peers;
  uv_poll_t poll;   /* the listening socket */
  uv_timer_t timer; /* accepting again, or connecting; then the stages of closing */
  uv_check_t check; /* one of these stages */
  cx_socket socket; /* of a server */
  char *path;       /* as libwebsockets wants it, and */
  char *url_path;   /* of a client, and only then there */
  unsigned peer_limit;
  lws_retry_bo_t patience; /* of a client */
  void *failed;         /* the connection that a client did not get; only its address is of use */
  int handles;          /* open libuv handles of our own; freed with the last */
  bool connecting;      /* inside of libwebsockets */
  bool closing, ending; /* the peers are asked to leave; libwebsockets is being taken down */
};

/* ---- What libwebsockets says ---------------------------------------------------------------- */

/* Browsers name the page a connection comes from: none has any business here. HTTP/2, the other
 * upgrade that libwebsockets knows, would be a way around this. */
static int admit(const cx_ws *ws, struct lws *wsi, const char *upgrade) {
  unsigned status = 0;
  if (ws->peer_limit && ws->peers.count >= ws->peer_limit) status = HTTP_STATUS_SERVICE_UNAVAILABLE;
  bool named = lws_hdr_total_length(wsi, WSI_TOKEN_ORIGIN) > 0;
  if (named || strcasecmp(upgrade, "websocket") != 0) status = HTTP_STATUS_FORBIDDEN;
  if (!status) return 0;
  return lws_return_http_status(wsi, status, NULL) == 0 ? 1 : -1;
}

static int greet(cx_ws *ws, struct lws *wsi, cx_ws_peer **slot) {
  bool full = ws->peer_limit && ws->peers.count >= ws->peer_limit; /* two came at once */
  *slot = ws->closing || full ? NULL : cx__peer_new(&ws->peers, wsi);
  if (!*slot) return -1;
  ws->peers.events.on_peer(ws->peers.user, *slot);
  return 0;
}

static void next_stage(cx_ws *ws);

static void part(cx_ws *ws, cx_ws_peer **slot) {
  if (!*slot) return;
  cx__peer_forget(*slot);
  *slot = NULL;
  if (ws->url_path) cx_ws_close(ws);
  if (ws->closing && !ws->peers.first) next_stage(ws);
}

static void not_connected(cx_ws *ws, struct lws *wsi, const char *why, size_t n) {
  ws->failed = wsi;
  if (ws->connecting || ws->closing) return;
  ws->peers.events.on_refused(ws->peers.user, why, n);
  cx_ws_close(ws);
}

static int on_lws(struct lws *wsi, enum lws_callback_reasons why, void *slot, void *in, size_t n) {
  cx_ws *ws = lws_context_user(lws_get_context(wsi));
  cx_ws_peer **peer = slot;
  switch ((int)why) {
  case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
    return admit(ws, wsi, in);
  case LWS_CALLBACK_ESTABLISHED:
  case LWS_CALLBACK_CLIENT_ESTABLISHED:
    return greet(ws, wsi, peer);
  case LWS_CALLBACK_RECEIVE:
  case LWS_CALLBACK_CLIENT_RECEIVE:
    return cx__peer_receive(*peer, in, n);
  case LWS_CALLBACK_SERVER_WRITEABLE:
  case LWS_CALLBACK_CLIENT_WRITEABLE:
    return cx__peer_write(*peer);
  case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
    cx__peer_note_close(*peer, in, n);
    return 0;
  case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
    not_connected(ws, wsi, in, in ? n : 0);
    return 0;
  case LWS_CALLBACK_WSI_DESTROY: /* all that is said where the server closes at once */
    if (ws->url_path) not_connected(ws, wsi, "", 0);
    return 0;
  case LWS_CALLBACK_CLOSED:
  case LWS_CALLBACK_CLIENT_CLOSED:
    part(ws, peer);
    return 0;
  default:
    return lws_callback_http_dummy(wsi, why, slot, in, n);
  }
}

/* ---- Accepting ------------------------------------------------------------------------------ */

static void on_acceptable(uv_poll_t *poll, int status, int events);

static void on_retry(uv_timer_t *timer) {
  cx_ws *ws = timer->data;
  uv_poll_start(&ws->poll, UV_READABLE, on_acceptable);
}

/* A socket that is not accepted keeps the listening one readable. */
static void wait_for_descriptors(cx_ws *ws) {
  uv_poll_stop(&ws->poll);
  uv_timer_start(&ws->timer, on_retry, RETRY_MS, 0);
}

static void on_acceptable(uv_poll_t *poll, int status, int events) {
  cx_ws *ws = poll->data;
  (void)status;
  (void)events;
  int fd = cx__accept(ws->socket.fd);
  if (fd >= 0) {
    lws_adopt_socket_vhost(ws->vhost, fd);
    lws_cancel_service(ws->context); /* or the handshake's time limit would not run */
  } else if (fd == -EMFILE || fd == -ENFILE || fd == -ENOBUFS || fd == -ENOMEM) {
    wait_for_descriptors(ws);
  }
}

/* ---- Connecting ----------------------------------------------------------------------------- */

static void on_watcher_closed(uv_handle_t *handle) { free(handle); }

static void close_watcher(uv_handle_t *handle, void *failed) {
  if (handle->type == UV_POLL && handle->data == failed && !uv_is_closing(handle))
    uv_close(handle, on_watcher_closed);
}

/* Not inside of cx_ws_connect, since it may fail at once. Where the system refuses the connection,
 * libwebsockets closes the descriptor and forgets the handle that watches it: it must be closed
 * before the number is used again.
 *
 * libwebsockets has read http_proxy in the environment and would go there; one at port 0 is none.
 */
static void on_connect(uv_timer_t *timer) {
  cx_ws *ws = timer->data;
  const struct lws_client_connect_info info = {
      .context = ws->context,
      .vhost = ws->vhost,
      .address = ws->path,
      .path = ws->url_path,
      .host = "localhost",
      .local_protocol_name = protocol_name,
      .retry_and_idle_policy = &ws->patience,
      .ietf_version_or_minus_one = -1,
  };
  lws_set_proxy(ws->vhost, "none:0");
  ws->connecting = true;
  bool connects = lws_client_connect_via_info(&info) != NULL;
  ws->connecting = false;
  lws_cancel_service(ws->context); /* as above */
  if (connects) return;
  if (ws->failed) uv_walk(timer->loop, close_watcher, ws->failed);
  not_connected(ws, NULL, "", 0);
}

/* ---- Closing -------------------------------------------------------------------------------- */

static void free_ws(cx_ws *ws) {
  cx_socket_close(&ws->socket);
  free(ws->path);
  free(ws->url_path);
  free(ws);
}

static void on_ws_handle_closed(uv_handle_t *handle) {
  cx_ws *ws = handle->data;
  if (--ws->handles > 0) return;
  ws->peers.events.on_closed(ws->peers.user);
  free_ws(ws);
}

static void look_for_context(uv_handle_t *handle, void *arg) {
  void **wanted = arg;
  if (handle->data == *wanted) *wanted = NULL;
}

/* The plugin's own handles, which it closes after those of all its sockets, point at the context;
 * handles that have closed are no longer in the loop. */
static void on_lingering(uv_timer_t *timer) {
  cx_ws *ws = timer->data;
  void *wanted = ws->context;
  uv_walk(timer->loop, look_for_context, &wanted);
  if (!wanted) return;
  lws_context_destroy(ws->context);
  uv_close((uv_handle_t *)timer, on_ws_handle_closed);
  uv_close((uv_handle_t *)&ws->check, on_ws_handle_closed);
}

/* libwebsockets closes the descriptor of its wake-up pipe here and once more when libuv calls back
 * that the handle has closed. This is the moment right before that: nothing runs in between that
 * could open a file and be given the same number. */
static void on_turn_over(uv_check_t *check) {
  cx_ws *ws = check->data;
  uv_check_stop(check);
  lws_context_destroy(ws->context);
}

static void on_goodbye_over(uv_timer_t *timer) {
  cx_ws *ws = timer->data;
  ws->ending = true;
  uv_timer_start(timer, on_lingering, 1, 1);
  uv_check_start(&ws->check, on_turn_over);
}

/* Nobody is left. Not at once: this may be inside of libwebsockets. */
static void next_stage(cx_ws *ws) {
  if (!ws->ending) uv_timer_start(&ws->timer, on_goodbye_over, 0, 0);
}

void cx_ws_close(cx_ws *ws) {
  if (ws->closing) return;
  ws->closing = true;
  if (!ws->url_path) {
    cx_socket_remove(&ws->socket);
    uv_close((uv_handle_t *)&ws->poll, on_ws_handle_closed);
  }
  cx__peers_close(&ws->peers, CX_WS_GOING_AWAY);
  uv_timer_start(&ws->timer, on_goodbye_over, ws->peers.first ? GOODBYE_MS : 0, 0);
}

/* ---- Opening -------------------------------------------------------------------------------- */

/* Where only one is left, libwebsockets makes half of its wake-up pipe, and a context that it
 * cannot take down again. */
static int find_descriptors(void) {
  int fds[2];
  int rc = cx__pipe(fds);
  if (rc != 0) return rc;
  close(fds[0]);
  close(fds[1]);
  return 0;
}

/* libwebsockets ignores SIGPIPE from then on, which is not its business in a library. */
static int open_context(cx_ws *ws, uv_loop_t *loop) {
  static const struct lws_protocols protocols[] = {
      {protocol_name, on_lws, sizeof(cx_ws_peer *), BUFFER_SIZE, 0, NULL, 0}, {.name = NULL}};
  void *loops[] = {loop};
  struct lws_context_creation_info info = {
      .port = CONTEXT_PORT_NO_LISTEN_SERVER,
      .protocols = protocols,
      .foreign_loops = loops,
      .options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_VALIDATE_UTF8,
      .fd_limit_per_thread = MAX_FDS,
      .pt_serv_buf_size = BUFFER_SIZE,
      .user = ws,
  };
  struct sigaction before;
  int rc = find_descriptors();
  if (rc != 0) return rc;
  sigaction(SIGPIPE, NULL, &before);
  lws_set_log_level(0, NULL);
  ws->context = lws_create_context(&info);
  sigaction(SIGPIPE, &before, NULL);
  if (!ws->context) return -ELIBACC;
  ws->vhost = lws_get_vhost_by_name(ws->context, "default");
  return 0;
}

static void on_never_opened(uv_handle_t *handle) { free_ws(handle->data); }

/* Frees it also where it fails. */
static int open_all(cx_ws *ws, uv_loop_t *loop, const char *path) {
  int rc = cx_socket_listen(&ws->socket, path);
  bool made = rc == 0;
  bool polled = made && (rc = uv_poll_init(loop, &ws->poll, ws->socket.fd)) == 0;
  if (polled && (rc = open_context(ws, loop)) == 0) return 0;
  if (made) cx_socket_remove(&ws->socket);
  ws->poll.data = ws;
  if (polled)
    uv_close((uv_handle_t *)&ws->poll, on_never_opened);
  else
    free_ws(ws);
  return rc;
}

static cx_ws *new_ws(const cx_ws_options *options, const cx_ws_events *events, void *user) {
  cx_ws *ws = calloc(1, sizeof *ws);
  if (!ws) return NULL;
  ws->peers =
      (cx_peers){.events = *events,
                 .user = user,
                 .message_limit = options->message_limit ? options->message_limit : message_limit};
  ws->socket.fd = -1;
  ws->peer_limit = options->peer_limit;
  return ws;
}

static void open_handles(cx_ws *ws, uv_loop_t *loop) {
  uv_timer_init(loop, &ws->timer);
  uv_check_init(loop, &ws->check);
  ws->timer.data = ws->check.data = ws;
  ws->handles = HANDLES;
}

int cx_ws_open(cx_ws **out, uv_loop_t *loop, const cx_ws_options *options,
               const cx_ws_events *events, void *user) {
  cx_ws *ws = new_ws(options, events, user);
  if (!ws) return CX_EMEMORY;
  int rc = open_all(ws, loop, options->path);
  if (rc != 0) return rc;
  open_handles(ws, loop);
  ws->poll.data = ws;
  ws->handles++;
  uv_poll_start(&ws->poll, UV_READABLE, on_acceptable);
  *out = ws;
  return 0;
}

/* libwebsockets puts it into the request line as it is. */
static bool is_sendable(const char *url_path) {
  while (*url_path > ' ' && *url_path < 0x7f) url_path++;
  return !*url_path;
}

/* A path that begins with "@" would be a name that is in no folder. */
static int name_server(cx_ws *ws, const cx_ws_options *options) {
  const char *path = options->path, *folder = *path == '@' ? "./" : "";
  if (!*path) return -ENOENT;
  if (options->url_path && !is_sendable(options->url_path)) return CX_EARGUMENT;
  size_t n = strlen(folder) + strlen(path);
  if (n >= sizeof((struct sockaddr_un *)0)->sun_path) return -ENAMETOOLONG;
  unsigned ping_s = options->ping_s ? options->ping_s : PING_S;
  ws->patience.secs_since_valid_ping = (uint16_t)(ping_s < UINT16_MAX ? ping_s : UINT16_MAX - 1);
  ws->patience.secs_since_valid_hangup = UINT16_MAX; /* no pong is seen while reading is paused */
  ws->url_path = strdup(options->url_path ? options->url_path : "/");
  ws->path = malloc(n + 2);
  if (!ws->path || !ws->url_path) return CX_EMEMORY;
  snprintf(ws->path, n + 2, "+%s%s", folder, path);
  return 0;
}

int cx_ws_connect(cx_ws **out, uv_loop_t *loop, const cx_ws_options *options,
                  const cx_ws_events *events, void *user) {
  cx_ws *ws = new_ws(options, events, user);
  if (!ws) return CX_EMEMORY;
  int rc = name_server(ws, options);
  if (rc == 0) rc = open_context(ws, loop);
  if (rc != 0) {
    free_ws(ws);
    return rc;
  }
  open_handles(ws, loop);
  uv_timer_start(&ws->timer, on_connect, 0, 0);
  *out = ws;
  return 0;
}
