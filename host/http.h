/* An HTTP client in the loop: transfers that run side by side, with back-pressure.
 *
 * It stands on libcurl's multi interface and belongs to a loadable module, not to the program.
 * HTTP/1.1, http and https only; no cookies are kept, no ~/.netrc is read. The first use in a
 * process initialises libcurl for good, on whatever thread comes first; a cx_http itself belongs to
 * the thread of its loop. */
#ifndef CX_HTTP_H
#define CX_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

typedef struct cx_http cx_http;
typedef struct cx_transfer cx_transfer;

/* ---- What transfers share: connections that are kept ---------------------------------------- */

typedef struct cx_http_events {
  void (*on_closed)(void *user); /* exactly once, last; the cx_http is gone when it returns */
} cx_http_events;

/* 0, CX_EMEMORY. */
int cx_http_open(cx_http **out, uv_loop_t *loop, const cx_http_events *events, void *user);

/* Ends every transfer (ECANCELLED) and drops every connection; on_closed follows. Idempotent. */
void cx_http_close(cx_http *http);

/* The scheme, host and port (where it is not the scheme's own) of an http or https URL, without
 * user, path and query; to be freed. NULL when it is none. */
char *cx_http_origin(const char *url);

/* The http or https URL that a Location leads to, from this URL; to be freed. `stays` says whether
 * it has the same origin: then it has the URL's user and password, too, unless it names others.
 * NULL when it is none. */
char *cx_http_resolve(const char *url, const char *location, bool *stays);

/* ---- One transfer --------------------------------------------------------------------------- */

/* Called from the loop, never from inside a function below. They may call any of these. */
typedef struct cx_transfer_events {
  /* The headers have come, or bytes of the body. */
  void (*on_change)(void *user);
  /* Exactly once: it has ended. What has come can be read until cx_transfer_free, which may be
   * called from here on. */
  void (*on_end)(void *user);
} cx_transfer_events;

typedef struct cx_transfer_options {
  const char *method, *url;
  const char *const *headers; /* names and values in turn; a value NULL: not even libcurl's own */
  size_t header_count;        /* of pairs */
  const char *body;           /* NULL: none, as HEAD has it. Not copied: must stay until on_end */
  size_t body_size;
  const char *user_agent;
  const char *proxy;       /* "": none; NULL: as http_proxy, https_proxy, no_proxy say */
  const char *ca_file;     /* certificates to trust in place of the system's */
  const char *unix_socket; /* connect there, and to no proxy */
  bool compressed;         /* ask for compression; the body is always unpacked then */
  bool until_head;         /* timeout_ms is the time until the headers have come */
  bool idempotent;         /* may be sent again where a kept connection proves to be dead */
  size_t max_bytes;        /* of the unpacked body; 0: no limit */
  /* 0: no limit. idle_ms is the time without a byte in either direction while somebody reads. */
  uint64_t timeout_ms, connect_timeout_ms, idle_ms;
} cx_transfer_options;

/* 0, CX_EMEMORY, CX_ECLOSED, CX_EARGUMENT (a method, a header or a user agent that would be more
 * than that in the request, or an option libcurl refuses). */
int cx_transfer_open(cx_transfer **out, cx_http *http, const cx_transfer_options *options,
                     const cx_transfer_events *events, void *user);

/* The status, or 0 as long as the headers of the final response have not come. The others hold
 * from then on until cx_transfer_free. */
int cx_transfer_status(const cx_transfer *transfer);
const char *cx_transfer_url(const cx_transfer *transfer); /* the last one, without user; not NULL */
uint64_t cx_transfer_retry_after(const cx_transfer *transfer); /* seconds, 0: not said */
/* Names and values of the headers in turn, each with its NUL; `n` is the size of all. */
const char *cx_transfer_head(const cx_transfer *transfer, size_t *n);

/* The bytes of the body that are there. What is not taken stops the transfer at 256 KiB. */
size_t cx_transfer_peek(const cx_transfer *transfer, const char **data);
void cx_transfer_taken(cx_transfer *transfer, size_t n);

/* NULL while it runs. "done", or what went wrong: "dns", "proxy", "connect", "connect_timeout",
 * "tls", "cut" (the connection broke off), "url", "protocol", "too_long", "head"
 * (headers without end), "timeout", "idle", "cancelled", "memory", "other". `text` says it in words
 * that hold nothing of what was sent. */
const char *cx_transfer_outcome(const cx_transfer *transfer, const char **text);
uint64_t cx_transfer_duration_us(const cx_transfer *transfer);

/* Ends it, unless it has ended; on_end follows. */
void cx_transfer_close(cx_transfer *transfer);
void cx_transfer_free(cx_transfer *transfer); /* NULL is allowed */

#endif
