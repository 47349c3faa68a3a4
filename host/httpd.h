/* A small HTTP/1.1 server in the loop, for tests that need the other side of a client.
 *
 * Requests are given over whole; answers may be streamed, and ended in the middle. No thread: the
 * server's own epoll descriptor is watched by the loop, or looked at often where there is none, and
 * a connection with nothing to send is suspended. It belongs to the loadable module, not to the
 * program. */
#ifndef CX_HTTPD_H
#define CX_HTTPD_H

#include <stdbool.h>
#include <stddef.h>

#include <uv.h>

typedef struct cx_httpd cx_httpd;
typedef struct cx_request cx_request;

/* Called from the loop, never from inside a function below, but for on_gone. */
typedef struct cx_httpd_events {
  /* A request has come in whole. It lives until on_gone, which may be never if nobody answers. */
  void (*on_request)(void *user, cx_request *request);
  /* It was answered to the end, or its connection is lost; it may not be touched any more. Also
   * called while the server closes, therefore it may not call back. */
  void (*on_gone)(void *user, cx_request *request);
  void (*on_closed)(void *user); /* exactly once, last; the cx_httpd is gone when it returns */
} cx_httpd_events;

typedef struct cx_httpd_options {
  const char *host;  /* an IPv4 or IPv6 address (127.0.0.1) */
  int port;          /* 0: any free one */
  size_t body_limit; /* a longer request is answered with 413 (64 MiB) */
} cx_httpd_options;

/* 0, CX_EMEMORY, CX_EARGUMENT (not an address), or -errno (-EADDRINUSE ...). */
int cx_httpd_open(cx_httpd **out, uv_loop_t *loop, const cx_httpd_options *options,
                  const cx_httpd_events *events, void *user);
int cx_httpd_port(const cx_httpd *httpd);

/* Drops every connection and stops; on_closed follows. Idempotent. */
void cx_httpd_close(cx_httpd *httpd);

/* ---- One request ---------------------------------------------------------------------------- */

void cx_request_set_user(cx_request *request, void *user);
void *cx_request_user(const cx_request *request);

/* Valid as long as the request. The path is decoded and without the query. */
const char *cx_request_method(const cx_request *request);
const char *cx_request_path(const cx_request *request);
const char *cx_request_body(const cx_request *request, size_t *n);

/* Calls `each` with every header as it was sent. */
typedef void (*cx_request_header)(void *arg, const char *name, const char *value);
void cx_request_headers(cx_request *request, cx_request_header each, void *arg);

/* Begins the answer with `n` names and `n` values in turn. 0, CX_ECLOSED when it was begun before,
 * CX_EARGUMENT for a header that cannot be sent, CX_EMEMORY. */
int cx_request_respond(cx_request *request, int status, const char *const *headers, size_t n);

/* Copies bytes of the body; they go out in order. 0, CX_ECLOSED (not begun, or ended), CX_EMEMORY.
 * What the client does not take is held in memory. */
int cx_request_write(cx_request *request, const char *data, size_t n);

/* Ends the answer properly once everything is written. */
void cx_request_finish(cx_request *request);

/* Drops the connection once everything is written: the client sees its stream break off. */
void cx_request_abort(cx_request *request);

/* Whether the client is still there; asks the socket. */
bool cx_request_is_open(const cx_request *request);

#endif
