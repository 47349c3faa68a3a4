/* A small HTTP server in the loop, on libmicrohttpd; see httpd.h. */
#include "httpd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <microhttpd.h>

#include "buf.h"
#include "err.h"
#include "platform.h"

enum { BLOCK_SIZE = 16 * 1024, BODY_LIMIT = 64 * 1024 * 1024, HANDLES = 2 };

#ifdef CX_NO_EPOLL
typedef uv_timer_t watch_handle;
#else
typedef uv_poll_t watch_handle; /* of the daemon's epoll descriptor */
#endif

struct cx_httpd {
  struct MHD_Daemon *daemon;
  cx_httpd_events events;
  void *user;
  watch_handle watch;
  uv_timer_t timer; /* the daemon's next deadline, and turns that cannot wait for the watch */
  cx_request *requests;
  size_t body_limit;
  int handles; /* open libuv handles; freed with the last */
  bool turning, resumed, closing;
};

struct cx_request {
  cx_request *prev, *next;
  cx_httpd *httpd;
  struct MHD_Connection *connection;
  struct MHD_Response *response; /* from respond until it is queued */
  void *user;
  char *method, *path;
  cx_buf body, out;
  int status;
  bool announced, suspended, begun, ended, aborted, too_long;
};

/* ---- Turning -------------------------------------------------------------------------------- */

static void shut(cx_httpd *httpd);
static void on_httpd_timer(uv_timer_t *timer);

/* MHD_get_timeout knows nothing of connections that were resumed since the last turn. */
static void arm(cx_httpd *httpd) {
  MHD_UNSIGNED_LONG_LONG ms = 0;
  if (httpd->resumed || MHD_get_timeout(httpd->daemon, &ms) == MHD_YES)
    uv_timer_start(&httpd->timer, on_httpd_timer, ms, 0);
  else
    uv_timer_stop(&httpd->timer);
}

#ifdef CX_NO_EPOLL
static unsigned connections(const cx_httpd *httpd) {
  return MHD_get_daemon_info(httpd->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS)->num_connections;
}

/* One connection is accepted at a time: all of them need not wait for the next look. */
static void run(cx_httpd *httpd) {
  unsigned before;
  do {
    before = connections(httpd);
    MHD_run(httpd->daemon);
  } while (connections(httpd) > before);
}
#else
static void run(cx_httpd *httpd) { MHD_run(httpd->daemon); }
#endif

/* Lets the daemon do what is due. Closing from a callback in there is put off until it returns. */
static void turn(cx_httpd *httpd) {
  httpd->turning = true;
  httpd->resumed = false;
  run(httpd);
  httpd->turning = false;
  if (httpd->closing)
    shut(httpd);
  else
    arm(httpd);
}

static void on_httpd_timer(uv_timer_t *timer) { turn(timer->data); }

#ifdef CX_NO_EPOLL
enum { DAEMON_FLAGS = MHD_ALLOW_SUSPEND_RESUME };

static int start_watch(cx_httpd *httpd, uv_loop_t *loop) {
  uv_timer_init(loop, &httpd->watch);
  httpd->watch.data = httpd;
  return uv_timer_start(&httpd->watch, on_httpd_timer, CX_LOOK_MS, CX_LOOK_MS);
}
#else
enum { DAEMON_FLAGS = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME };

static void on_httpd_poll(uv_poll_t *poll, int status, int events) {
  (void)status;
  (void)events;
  turn(poll->data);
}

static int start_watch(cx_httpd *httpd, uv_loop_t *loop) {
  int fd = MHD_get_daemon_info(httpd->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
  int rc = uv_poll_init(loop, &httpd->watch, fd);
  httpd->watch.data = httpd;
  return rc == 0 ? uv_poll_start(&httpd->watch, UV_READABLE, on_httpd_poll) : rc;
}
#endif

/* Only from the two callbacks that libmicrohttpd allows it in. */
static void suspend(cx_request *request) {
  request->suspended = true;
  MHD_suspend_connection(request->connection);
}

static void resume(cx_request *request) {
  if (!request->suspended) return;
  request->suspended = false;
  MHD_resume_connection(request->connection);
  request->httpd->resumed = true;
  if (!request->httpd->turning) arm(request->httpd);
}

/* ---- Requests ------------------------------------------------------------------------------- */

static void free_request(cx_request *request) {
  if (!request) return;
  if (request->response) MHD_destroy_response(request->response);
  cx_buf_free(&request->body);
  cx_buf_free(&request->out);
  free(request->method);
  free(request->path);
  free(request);
}

static cx_request *new_request(cx_httpd *httpd, struct MHD_Connection *connection,
                               const char *method, const char *path) {
  cx_request *request = calloc(1, sizeof *request);
  if (!request) return NULL;
  request->httpd = httpd;
  request->connection = connection;
  request->method = strdup(method);
  request->path = strdup(path);
  if (!request->method || !request->path) {
    free_request(request);
    return NULL;
  }
  request->next = httpd->requests;
  if (request->next) request->next->prev = request;
  httpd->requests = request;
  return request;
}

static void on_completed(void *user, struct MHD_Connection *connection, void **slot,
                         enum MHD_RequestTerminationCode why) {
  cx_httpd *httpd = user;
  cx_request *request = *slot;
  (void)connection;
  (void)why;
  *slot = NULL;
  if (!request) return;
  if (request->prev)
    request->prev->next = request->next;
  else
    httpd->requests = request->next;
  if (request->next) request->next->prev = request->prev;
  if (request->announced) httpd->events.on_gone(httpd->user, request);
  free_request(request);
}

/* One that is too long is read to its end all the same: a client that is still sending would not
 * see the answer. */
static enum MHD_Result take_body(cx_request *request, const char *data, size_t n) {
  if (n > request->httpd->body_limit - request->body.len) request->too_long = true;
  if (request->too_long) return MHD_YES;
  return cx_buf_add(&request->body, data, n) == 0 ? MHD_YES : MHD_NO;
}

static void refuse(cx_request *request) {
  static const char text[] = "the request body is longer than this server takes\n";
  static const char *const headers[] = {"content-type", "text/plain"};
  if (cx_request_respond(request, MHD_HTTP_CONTENT_TOO_LARGE, headers, 1) == 0)
    cx_request_write(request, text, sizeof text - 1);
  cx_request_finish(request);
}

/* Suspended first, so that on_request may answer at once. */
static void announce(cx_request *request) {
  request->announced = true;
  suspend(request);
  request->httpd->events.on_request(request->httpd->user, request);
}

static enum MHD_Result queue(cx_request *request) {
  enum MHD_Result ok =
      MHD_queue_response(request->connection, (unsigned)request->status, request->response);
  MHD_destroy_response(request->response); /* the connection has its own reference */
  request->response = NULL;
  return ok;
}

/* Called when the headers are there, for each piece of the body, at its end, and when resumed. */
static enum MHD_Result on_access(void *user, struct MHD_Connection *connection, const char *path,
                                 const char *method, const char *version, const char *data,
                                 size_t *n, void **slot) {
  cx_request *request = *slot;
  (void)version;
  if (!request) {
    *slot = request = new_request(user, connection, method, path);
    return request ? MHD_YES : MHD_NO;
  }
  if (*n > 0) {
    size_t length = *n;
    *n = 0;
    return take_body(request, data, length);
  }
  if (request->too_long && !request->begun) {
    refuse(request);
  } else if (!request->announced && !request->begun) {
    announce(request);
    return MHD_YES;
  }
  if (request->response) return queue(request);
  if (request->aborted) return MHD_NO;
  if (!request->begun) suspend(request);
  return MHD_YES;
}

/* ---- Answers -------------------------------------------------------------------------------- */

static ssize_t on_httpd_read(void *user, uint64_t position, char *to, size_t max) {
  cx_request *request = user;
  size_t n = request->out.len < max ? request->out.len : max;
  (void)position;
  if (n > 0) {
    memcpy(to, cx_buf_bytes(&request->out), n);
    cx_buf_drop(&request->out, n);
    return (ssize_t)n;
  }
  if (request->aborted) return MHD_CONTENT_READER_END_WITH_ERROR;
  if (request->ended) return MHD_CONTENT_READER_END_OF_STREAM;
  suspend(request);
  return 0;
}

/* libmicrohttpd refuses what would end the line, and takes any other name. */
static bool is_name(const char *text) { return *text && !strpbrk(text, " \t:"); }

/* Such an answer ends with its headers; libmicrohttpd would send the end of a body after them. */
static bool has_body(int status) {
  return status >= 200 && status != MHD_HTTP_NO_CONTENT && status != MHD_HTTP_NOT_MODIFIED;
}

int cx_request_respond(cx_request *request, int status, const char *const *headers, size_t n) {
  if (request->begun || request->ended) return CX_ECLOSED;
  uint64_t size = has_body(status) ? MHD_SIZE_UNKNOWN : 0;
  struct MHD_Response *response =
      MHD_create_response_from_callback(size, BLOCK_SIZE, on_httpd_read, request, NULL);
  if (!response) return CX_EMEMORY;
  for (size_t i = 0; i < 2 * n; i += 2)
    if (!is_name(headers[i]) ||
        MHD_add_response_header(response, headers[i], headers[i + 1]) != MHD_YES) {
      MHD_destroy_response(response);
      return CX_EARGUMENT;
    }
  request->response = response;
  request->status = status;
  request->begun = true;
  resume(request);
  return 0;
}

int cx_request_write(cx_request *request, const char *data, size_t n) {
  if (!request->begun || request->ended) return CX_ECLOSED;
  int rc = cx_buf_add(&request->out, data, n);
  if (rc == 0 && n > 0) resume(request);
  return rc;
}

void cx_request_finish(cx_request *request) {
  if (!request->begun) {
    cx_request_abort(request);
    return;
  }
  request->ended = true;
  resume(request);
}

void cx_request_abort(cx_request *request) {
  if (request->ended) return;
  request->ended = request->aborted = true;
  resume(request);
}

/* ---- What was asked ------------------------------------------------------------------------- */

void cx_request_set_user(cx_request *request, void *user) { request->user = user; }
void *cx_request_user(const cx_request *request) { return request->user; }
const char *cx_request_method(const cx_request *request) { return request->method; }
const char *cx_request_path(const cx_request *request) { return request->path; }

const char *cx_request_body(const cx_request *request, size_t *n) {
  *n = request->body.len;
  return cx_buf_bytes(&request->body);
}

typedef struct {
  cx_request_header each;
  void *arg;
} header_call;

static enum MHD_Result on_httpd_header(void *user, enum MHD_ValueKind kind, const char *name,
                                       const char *value) {
  const header_call *call = user;
  (void)kind;
  call->each(call->arg, name, value ? value : "");
  return MHD_YES;
}

void cx_request_headers(cx_request *request, cx_request_header each, void *arg) {
  header_call call = {each, arg};
  MHD_get_connection_values(request->connection, MHD_HEADER_KIND, on_httpd_header, &call);
}

/* A suspended connection is not watched; a read that takes nothing tells whether it has ended. */
bool cx_request_is_open(const cx_request *request) {
  char byte;
  const union MHD_ConnectionInfo *info =
      MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
  if (!info) return false;
  ssize_t n = recv(info->connect_fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

/* ---- Closing -------------------------------------------------------------------------------- */

static void on_httpd_handle_closed(uv_handle_t *handle) {
  cx_httpd *httpd = handle->data;
  if (--httpd->handles > 0) return;
  httpd->events.on_closed(httpd->user);
  free(httpd);
}

/* libmicrohttpd must not be stopped while a connection is suspended. */
static void shut(cx_httpd *httpd) {
  for (cx_request *request = httpd->requests; request; request = request->next)
    if (request->suspended) {
      request->suspended = false;
      MHD_resume_connection(request->connection);
    }
  uv_close((uv_handle_t *)&httpd->watch, on_httpd_handle_closed);
  uv_close((uv_handle_t *)&httpd->timer, on_httpd_handle_closed);
  MHD_stop_daemon(httpd->daemon);
}

void cx_httpd_close(cx_httpd *httpd) {
  if (httpd->closing) return;
  httpd->closing = true;
  if (!httpd->turning) shut(httpd);
}

/* ---- Opening -------------------------------------------------------------------------------- */

typedef union {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
} address;

static int read_address(const char *host, int port, address *to) {
  if (uv_ip4_addr(host, port, &to->v4) == 0) return 0;
  return uv_ip6_addr(host, port, &to->v6) == 0 ? 0 : CX_EARGUMENT;
}

static int start_daemon(cx_httpd *httpd, const cx_httpd_options *options) {
  address to;
  int rc = read_address(options->host ? options->host : "127.0.0.1", options->port, &to);
  if (rc != 0) return rc;
  unsigned flags = DAEMON_FLAGS;
  if (to.any.sa_family == AF_INET6) flags |= MHD_USE_IPv6;
  errno = 0;
  httpd->daemon =
      MHD_start_daemon(flags, 0, NULL, NULL, on_access, httpd, MHD_OPTION_SOCK_ADDR, &to.any,
                       MHD_OPTION_NOTIFY_COMPLETED, on_completed, httpd, MHD_OPTION_END);
  if (httpd->daemon) return 0;
  return errno ? -errno : -EIO;
}

int cx_httpd_open(cx_httpd **out, uv_loop_t *loop, const cx_httpd_options *options,
                  const cx_httpd_events *events, void *user) {
  cx_httpd *httpd = calloc(1, sizeof *httpd);
  if (!httpd) return CX_EMEMORY;
  httpd->events = *events;
  httpd->user = user;
  httpd->body_limit = options->body_limit ? options->body_limit : BODY_LIMIT;
  int rc = start_daemon(httpd, options);
  if (rc == 0) {
    rc = start_watch(httpd, loop);
    if (rc != 0) MHD_stop_daemon(httpd->daemon);
  }
  if (rc != 0) {
    free(httpd);
    return rc;
  }
  uv_timer_init(loop, &httpd->timer);
  httpd->timer.data = httpd;
  httpd->handles = HANDLES;
  *out = httpd;
  return 0;
}

int cx_httpd_port(const cx_httpd *httpd) {
  return MHD_get_daemon_info(httpd->daemon, MHD_DAEMON_INFO_BIND_PORT)->port;
}
