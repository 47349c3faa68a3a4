/* An HTTP client in the loop, on libcurl; see http.h.
 *
 * libcurl calls back from inside its own functions, where it must not be called again: there we
 * only take notes, and tell of them when it has returned. */
#include "http.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#include "buf.h"
#include "err.h"

enum { WINDOW = 256 * 1024, HEAD_LIMIT = 256 * 1024, KEPT_CONNECTIONS = 16 };

struct cx_http {
  CURLM *multi;
  cx_http_events events;
  void *user;
  uv_timer_t timer; /* libcurl's next deadline */
  cx_transfer *transfers;
  cx_transfer *changed; /* those to tell of, linked by next_changed */
  int handles;          /* open libuv handles; freed with the last */
  bool closing;
};

/* A descriptor that libcurl wants to be watched. */
typedef struct {
  uv_poll_t poll;
  cx_http *http;
  curl_socket_t fd;
} watch;

struct cx_transfer {
  cx_transfer *prev, *next, *next_changed;
  cx_http *http; /* NULL once it has ended */
  CURL *easy;    /* NULL from when it is ending */
  struct curl_slist *headers;
  cx_transfer_events events;
  void *user;
  uv_timer_t timer; /* our limits */
  cx_buf in, head;  /* the head: names and values, each with its NUL */
  char *url;
  size_t received, head_bytes, max_bytes;
  uint64_t timeout_ms, idle_ms, began, heard; /* in milliseconds of the clock, not of the loop */
  uint64_t began_ns, duration_us;
  curl_off_t sent, retry_after;
  const char *outcome, *text;
  long status;
  bool until_head, headed, paused, is_changed;
  bool idempotent, is_sent, is_answered; /* the last two: of the request that is under way */
  /* A limit has run out; what has arrived is read before it counts. */
  bool is_late;
  char error[CURL_ERROR_SIZE];
};

/* ---- What is told ---------------------------------------------------------------------------- */

static void mark(cx_transfer *t) {
  if (t->is_changed) return;
  t->is_changed = true;
  t->next_changed = t->http->changed;
  t->http->changed = t;
}

static void unmark(cx_transfer *t) {
  cx_transfer **at = &t->http->changed;
  while (*at && *at != t) at = &(*at)->next_changed;
  if (*at) *at = t->next_changed;
  t->is_changed = false;
}

static void tell(cx_http *http) {
  while (http->changed) {
    cx_transfer *t = http->changed;
    unmark(t);
    t->events.on_change(t->user);
  }
}

/* ---- How it ended ---------------------------------------------------------------------------- */

static const char *word_of(CURLcode code) {
  switch (code) {
  case CURLE_OK:
    return "done";
  case CURLE_COULDNT_RESOLVE_HOST:
    return "dns";
  case CURLE_COULDNT_RESOLVE_PROXY:
  case CURLE_PROXY:
    return "proxy";
  case CURLE_COULDNT_CONNECT:
    return "connect";
  case CURLE_OPERATION_TIMEDOUT: /* of its limits only this one is set */
    return "connect_timeout";
  case CURLE_SSL_CONNECT_ERROR:
  case CURLE_PEER_FAILED_VERIFICATION:
  case CURLE_SSL_CACERT_BADFILE:
  case CURLE_SSL_CERTPROBLEM:
  case CURLE_SSL_CIPHER:
  case CURLE_SSL_ISSUER_ERROR:
    return "tls";
  case CURLE_PARTIAL_FILE:
  case CURLE_GOT_NOTHING:
  case CURLE_RECV_ERROR:
  case CURLE_SEND_ERROR:
    return "cut";
  case CURLE_URL_MALFORMAT:
  case CURLE_UNSUPPORTED_PROTOCOL:
    return "url";
  case CURLE_WEIRD_SERVER_REPLY:
  case CURLE_BAD_CONTENT_ENCODING:
  case CURLE_HTTP2:
    return "protocol";
  case CURLE_OUT_OF_MEMORY:
    return "memory";
  default:
    return "other";
  }
}

/* libcurl's own words are used where they cannot hold a URL, be it of a proxy. */
static bool is_harmless(CURLcode code, const char *text) {
  static const char *const words[] = {"dns", "tls", "cut", "protocol"};
  static const char reached[] = "Failed to connect to ";
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (strcmp(word_of(code), words[i]) == 0) return *text;
  return strncmp(text, reached, sizeof reached - 1) == 0;
}

static void set_outcome(cx_transfer *t, const char *word, const char *text) {
  if (t->outcome) return;
  t->outcome = word;
  t->text = text;
}

/* A header line that libcurl finds too long is "out of memory" to it, and what is no HTTP an
 * "unsupported protocol", version 0.9. */
static void judge(cx_transfer *t, CURLcode code) {
  long connect_status = 0;
  curl_easy_getinfo(t->easy, CURLINFO_HTTP_CONNECTCODE, &connect_status);
  const char *text = is_harmless(code, t->error) ? t->error : curl_easy_strerror(code);
  if (code == CURLE_OUT_OF_MEMORY && !t->headed)
    set_outcome(t, "head", "the response headers are too long");
  else if (code == CURLE_OK && !t->headed)
    set_outcome(t, "protocol", "there was no response");
  else if (code == CURLE_RECV_ERROR && connect_status >= 300)
    set_outcome(t, "proxy", text);
  else if (code == CURLE_UNSUPPORTED_PROTOCOL && strstr(t->error, "HTTP/0.9"))
    set_outcome(t, "protocol", "what came is not HTTP");
  else
    set_outcome(t, word_of(code), text);
}

static void release(cx_http *http) {
  if (--http->handles > 0) return;
  http->events.on_closed(http->user);
  free(http);
}

static void on_limit_closed(uv_handle_t *handle) {
  cx_transfer *t = handle->data;
  cx_http *http = t->http;
  t->http = NULL;
  t->events.on_end(t->user);
  release(http);
}

static void unlink_transfer(cx_transfer *t) {
  if (t->prev)
    t->prev->next = t->next;
  else
    t->http->transfers = t->next;
  if (t->next) t->next->prev = t->prev;
}

/* Never from inside libcurl. */
static void end(cx_transfer *t, CURLcode code) {
  judge(t, code);
  t->duration_us = (uv_hrtime() - t->began_ns) / 1000;
  unmark(t);
  unlink_transfer(t);
  curl_multi_remove_handle(t->http->multi, t->easy);
  curl_easy_cleanup(t->easy);
  curl_slist_free_all(t->headers);
  t->easy = NULL;
  t->headers = NULL;
  uv_close((uv_handle_t *)&t->timer, on_limit_closed);
}

static void end_all(cx_http *http, const char *word, const char *text, CURLcode code) {
  while (http->transfers) {
    set_outcome(http->transfers, word, text);
    end(http->transfers, code);
  }
}

/* ---- Turning --------------------------------------------------------------------------------- */

static void take_ended(cx_http *http) {
  const CURLMsg *message;
  int left;
  while ((message = curl_multi_info_read(http->multi, &left)))
    if (message->msg == CURLMSG_DONE) {
      CURLcode code = message->data.result;
      cx_transfer *t = NULL;
      curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&t);
      end(t, code);
    }
}

/* It refuses to go on when a descriptor could not be watched. */
static void turn(cx_http *http, curl_socket_t fd, int events) {
  int running;
  if (http->closing) return;
  if (curl_multi_socket_action(http->multi, fd, events, &running) != CURLM_OK)
    end_all(http, "memory", cx_err_text(CX_EMEMORY), CURLE_OUT_OF_MEMORY);
  else
    take_ended(http);
  tell(http);
}

static void on_http_timer(uv_timer_t *timer) { turn(timer->data, CURL_SOCKET_TIMEOUT, 0); }

static int on_want_timer(CURLM *multi, long ms, void *user) {
  cx_http *http = user;
  (void)multi;
  if (http->closing) return 0;
  if (ms < 0)
    uv_timer_stop(&http->timer);
  else
    uv_timer_start(&http->timer, on_http_timer, (uint64_t)ms, 0);
  return 0;
}

static void on_http_poll(uv_poll_t *poll, int status, int events) {
  const watch *w = poll->data;
  int flags = status < 0 ? CURL_CSELECT_ERR : 0;
  if (events & UV_READABLE) flags |= CURL_CSELECT_IN;
  if (events & UV_WRITABLE) flags |= CURL_CSELECT_OUT;
  turn(w->http, w->fd, flags);
}

static void on_watch_closed(uv_handle_t *handle) {
  watch *w = handle->data;
  cx_http *http = w->http;
  free(w);
  release(http);
}

static watch *new_watch(cx_http *http, curl_socket_t fd) {
  watch *w = calloc(1, sizeof *w);
  if (!w) return NULL;
  if (uv_poll_init(http->timer.loop, &w->poll, fd) != 0) {
    free(w);
    return NULL;
  }
  w->poll.data = w;
  w->http = http;
  w->fd = fd;
  http->handles++;
  curl_multi_assign(http->multi, fd, w);
  return w;
}

static int on_want_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *slot) {
  cx_http *http = user;
  watch *w = slot;
  (void)easy;
  if (what == CURL_POLL_REMOVE) {
    if (!w) return 0;
    curl_multi_assign(http->multi, fd, NULL);
    uv_close((uv_handle_t *)&w->poll, on_watch_closed);
    return 0;
  }
  if (!w && !(w = new_watch(http, fd))) return -1;
  int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
  return uv_poll_start(&w->poll, events, on_http_poll) == 0 ? 0 : -1;
}

/* ---- What comes, told by libcurl ------------------------------------------------------------- */

/* The loop's time stands still while the script computes. */
static uint64_t now_ms(void) { return uv_hrtime() / 1000000; }

static void hear(cx_transfer *t) { t->heard = now_ms(); }

/* The URL that was asked last, without its user and password. */
static char *public_url(const char *url) {
  char *text = NULL, *copy = NULL;
  CURLU *parts = curl_url();
  if (parts && curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK &&
      curl_url_set(parts, CURLUPART_USER, NULL, 0) == CURLUE_OK &&
      curl_url_set(parts, CURLUPART_PASSWORD, NULL, 0) == CURLUE_OK &&
      curl_url_get(parts, CURLUPART_URL, &text, 0) == CURLUE_OK)
    copy = strdup(text);
  curl_free(text);
  curl_url_cleanup(parts);
  return copy;
}

/* Of an empty header libcurl 7.88 gives the CR as its value. */
static bool add_with_nul(cx_buf *to, const char *text) {
  size_t n = strlen(text);
  while (n > 0 && strchr("\r\n\t ", text[n - 1])) n--;
  return cx_buf_add(to, text, n) == 0 && cx_buf_add(to, "", 1) == 0;
}

static bool keep_head(cx_transfer *t) {
  struct curl_header *header = NULL;
  const char *url = NULL;
  while ((header = curl_easy_nextheader(t->easy, CURLH_HEADER, -1, header)))
    if (!add_with_nul(&t->head, header->name) || !add_with_nul(&t->head, header->value))
      return false;
  curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &t->retry_after);
  curl_easy_getinfo(t->easy, CURLINFO_EFFECTIVE_URL, &url);
  t->url = public_url(url ? url : "");
  return t->url != NULL;
}

/* An interim response, which has a status below 200, is libcurl's affair. */
static bool end_head(cx_transfer *t) {
  long status = 0;
  curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
  if (t->headed || status < 200) return true;
  if (!keep_head(t)) {
    set_outcome(t, "memory", cx_err_text(CX_EMEMORY));
    return false;
  }
  t->status = status;
  t->headed = true;
  mark(t);
  return true;
}

/* A request is about to be sent. When a kept connection breaks off without an answer, libcurl asks
 * once more on a fresh one: what the server may have done by then must not be done twice. */
static int on_http_request(void *user, char *ip, char *own_ip, int port, int own_port) {
  cx_transfer *t = user;
  (void)ip, (void)own_ip, (void)port, (void)own_port;
  bool is_second = t->is_sent && !t->is_answered;
  t->is_sent = true;
  t->is_answered = false;
  if (!is_second || t->idempotent) return CURL_PREREQFUNC_OK;
  set_outcome(t, "cut", "the connection broke off before there was an answer");
  return CURL_PREREQFUNC_ABORT;
}

static size_t on_http_header(char *line, size_t size, size_t n, void *user) {
  cx_transfer *t = user;
  (void)size;
  hear(t);
  t->is_answered = true;
  t->head_bytes += n;
  if (t->head_bytes > HEAD_LIMIT) {
    set_outcome(t, "head", "the response headers are too long");
    return 0;
  }
  bool is_blank = n > 0 && (line[0] == '\r' || line[0] == '\n');
  return is_blank && !end_head(t) ? 0 : n;
}

static size_t on_body(char *data, size_t size, size_t n, void *user) {
  cx_transfer *t = user;
  (void)size;
  hear(t);
  if (t->in.len >= WINDOW) {
    t->paused = true;
    return CURL_WRITEFUNC_PAUSE;
  }
  if (t->max_bytes > 0 && n > t->max_bytes - t->received) {
    set_outcome(t, "too_long", "the response body is longer than the limit");
    return 0;
  }
  if (cx_buf_add(&t->in, data, n) != 0) {
    set_outcome(t, "memory", cx_err_text(CX_EMEMORY));
    return 0;
  }
  t->received += n;
  mark(t);
  return n;
}

/* ---- Our limits ------------------------------------------------------------------------------ */

static bool has_sent_more(cx_transfer *t) {
  curl_off_t sent = 0;
  curl_easy_getinfo(t->easy, CURLINFO_SIZE_UPLOAD_T, &sent);
  bool more = sent > t->sent;
  t->sent = sent;
  return more;
}

static void on_limit(uv_timer_t *timer);

/* When the next limit runs out, were nothing to happen; 0: never. */
static uint64_t deadline(const cx_transfer *t) {
  uint64_t whole =
      t->timeout_ms > 0 && !(t->until_head && t->headed) ? t->began + t->timeout_ms : 0;
  uint64_t idle = t->idle_ms > 0 ? t->heard + t->idle_ms : 0;
  return whole && idle ? (whole < idle ? whole : idle) : whole + idle;
}

static void watch_limits(cx_transfer *t) {
  uint64_t now = now_ms(), at = deadline(t);
  if (at) uv_timer_start(&t->timer, on_limit, at > now ? at - now : 0, 0);
}

/* Timers come first in a turn of the loop: after a script was busy, bytes that came long ago are
 * still to be read. A limit that has run out is looked at again when that was done. */
static void on_limit(uv_timer_t *timer) {
  cx_transfer *t = timer->data;
  uint64_t now = now_ms();
  bool is_idle = t->idle_ms > 0 && now - t->heard >= t->idle_ms;
  if (is_idle && (t->paused || has_sent_more(t))) {
    hear(t);
    is_idle = false;
  }
  bool was_late = t->is_late;
  t->is_late = deadline(t) != 0 && deadline(t) <= now;
  if (!t->is_late) {
    watch_limits(t);
    return;
  }
  if (!was_late) {
    uv_timer_start(timer, on_limit, 1, 0);
    return;
  }
  if (is_idle)
    set_outcome(t, "idle", cx_err_text(CX_EIDLE));
  else
    set_outcome(t, "timeout", cx_err_text(CX_ETIMEOUT));
  end(t, CURLE_OPERATION_TIMEDOUT);
}

/* ---- Setting up ------------------------------------------------------------------------------ */

#define SET(option, value)                                                                         \
  if (rc == CURLE_OK) rc = curl_easy_setopt(t->easy, option, value)

static bool add_line(cx_transfer *t, const char *format, const char *name, const char *value) {
  char *line = NULL;
  if (asprintf(&line, format, name, value) < 0) return false;
  struct curl_slist *list = curl_slist_append(t->headers, line);
  free(line);
  if (list) t->headers = list;
  return list != NULL;
}

/* As libcurl wants it: "name;" is sent as empty, "name:" is not sent. */
static bool add_header(cx_transfer *t, const char *name, const char *value) {
  if (!value) return add_line(t, "%s:%s", name, "");
  if (!*value) return add_line(t, "%s;%s", name, "");
  return add_line(t, "%s: %s", name, value);
}

/* RFC 9110, 5.6.2: what a method, or the name of a header, is made of. libcurl sends both as they
 * are. */
static bool is_token(const char *text) {
  static const char marks[] = "!#$%&'*+-.^_`|~0123456789";
  static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  while (*text && (strchr(marks, *text) || strchr(letters, *text))) text++;
  return !*text;
}

/* What libcurl adds to a request with a body: a type that it cannot know, and a wait of a second
 * for servers that do not know "Expect". What the caller says comes later, and is sent. */
static int set_headers(cx_transfer *t, const cx_transfer_options *o) {
  bool has_type = false, has_expect = false;
  for (size_t i = 0; i < o->header_count; i++) {
    const char *name = o->headers[2 * i], *value = o->headers[2 * i + 1];
    if (!*name || !is_token(name) || (value && strpbrk(value, "\r\n"))) return CX_EARGUMENT;
    has_type = has_type || strcasecmp(name, "content-type") == 0;
    has_expect = has_expect || strcasecmp(name, "expect") == 0;
    if (!add_header(t, name, value)) return CX_EMEMORY;
  }
  if (!has_type && !add_header(t, "Content-Type", NULL)) return CX_EMEMORY;
  if (!has_expect && !add_header(t, "Expect", NULL)) return CX_EMEMORY;
  return curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers) == CURLE_OK ? 0 : CX_EMEMORY;
}

static CURLcode set_method(cx_transfer *t, const cx_transfer_options *o) {
  CURLcode rc = CURLE_OK;
  bool is_get = strcmp(o->method, "GET") == 0, is_post = strcmp(o->method, "POST") == 0;
  if (strcmp(o->method, "HEAD") == 0) {
    SET(CURLOPT_NOBODY, 1L);
    SET(CURLOPT_FORBID_REUSE, 1L); /* servers that send a body all the same would spoil it */
    return rc;
  }
  if (o->body || is_post || strcmp(o->method, "PUT") == 0 || strcmp(o->method, "PATCH") == 0) {
    SET(CURLOPT_POSTFIELDS, o->body ? o->body : "");
    SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)o->body_size);
  }
  if (is_post || (is_get && !o->body)) return rc;
  SET(CURLOPT_CUSTOMREQUEST, o->method);
  return rc;
}

static CURLcode set_target(cx_transfer *t, const cx_transfer_options *o) {
  CURLcode rc = CURLE_OK;
  SET(CURLOPT_URL, o->url);
  SET(CURLOPT_PROTOCOLS_STR, "http,https");
  SET(CURLOPT_UNIX_SOCKET_PATH, o->unix_socket);
  SET(CURLOPT_PROXY, o->unix_socket ? "" : o->proxy);
  if (o->ca_file) {
    SET(CURLOPT_CAINFO, o->ca_file);
    SET(CURLOPT_CAPATH, NULL);
  }
  return rc;
}

/* QUICK_EXIT: who gives up does not wait for a name server. Signals stay as they are; libcurl keeps
 * SIGPIPE away while it writes. */
static CURLcode set_manner(cx_transfer *t, const cx_transfer_options *o) {
  CURLcode rc = CURLE_OK;
  SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
  SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  SET(CURLOPT_QUICK_EXIT, 1L);
  SET(CURLOPT_TCP_KEEPALIVE, 1L);
  SET(CURLOPT_USERAGENT, o->user_agent);
  if (o->compressed) SET(CURLOPT_ACCEPT_ENCODING, "");
  if (o->connect_timeout_ms) SET(CURLOPT_CONNECTTIMEOUT_MS, (long)o->connect_timeout_ms);
  return rc;
}

static CURLcode set_callbacks(cx_transfer *t) {
  CURLcode rc = CURLE_OK;
  SET(CURLOPT_PRIVATE, t);
  SET(CURLOPT_ERRORBUFFER, t->error);
  SET(CURLOPT_PREREQFUNCTION, on_http_request);
  SET(CURLOPT_PREREQDATA, t);
  SET(CURLOPT_HEADERFUNCTION, on_http_header);
  SET(CURLOPT_HEADERDATA, t);
  SET(CURLOPT_WRITEFUNCTION, on_body);
  SET(CURLOPT_WRITEDATA, t);
  return rc;
}

/* What would be sent as it is, and end a line of the request. */
static bool is_sendable(const cx_transfer_options *o) {
  bool has_agent_line = !o->user_agent || !strpbrk(o->user_agent, "\r\n");
  return *o->method && is_token(o->method) && has_agent_line;
}

static int set_up(cx_transfer *t, const cx_transfer_options *o) {
  if (!is_sendable(o)) return CX_EARGUMENT;
  CURLcode rc = set_callbacks(t);
  if (rc == CURLE_OK) rc = set_method(t, o);
  if (rc == CURLE_OK) rc = set_target(t, o);
  if (rc == CURLE_OK) rc = set_manner(t, o);
  if (rc != CURLE_OK) return rc == CURLE_OUT_OF_MEMORY ? CX_EMEMORY : CX_EARGUMENT;
  return set_headers(t, o);
}

static void link_transfer(cx_http *http, cx_transfer *t) {
  t->next = http->transfers;
  if (t->next) t->next->prev = t;
  http->transfers = t;
}

static void start(cx_transfer *t, cx_http *http) {
  uv_timer_init(http->timer.loop, &t->timer);
  t->timer.data = t;
  t->began = t->heard = now_ms();
  t->began_ns = uv_hrtime();
  t->http = http;
  http->handles++;
  link_transfer(http, t);
  watch_limits(t);
}

int cx_transfer_open(cx_transfer **out, cx_http *http, const cx_transfer_options *options,
                     const cx_transfer_events *events, void *user) {
  if (http->closing) return CX_ECLOSED;
  cx_transfer *t = calloc(1, sizeof *t);
  if (!t) return CX_EMEMORY;
  t->events = *events;
  t->user = user;
  t->max_bytes = options->max_bytes;
  t->timeout_ms = options->timeout_ms;
  t->idle_ms = options->idle_ms;
  t->until_head = options->until_head;
  t->idempotent = options->idempotent;
  t->easy = curl_easy_init();
  int rc = t->easy ? set_up(t, options) : CX_EMEMORY;
  if (strcmp(options->method, "HEAD") == 0 && options->body) rc = CX_EARGUMENT;
  if (rc == 0 && curl_multi_add_handle(http->multi, t->easy) != CURLM_OK) rc = CX_EMEMORY;
  if (rc != 0) {
    cx_transfer_free(t);
    return rc;
  }
  start(t, http);
  *out = t;
  return 0;
}

/* ---- One transfer ---------------------------------------------------------------------------- */

int cx_transfer_status(const cx_transfer *t) { return (int)t->status; }
const char *cx_transfer_url(const cx_transfer *t) { return t->url ? t->url : ""; }

uint64_t cx_transfer_retry_after(const cx_transfer *t) {
  return t->retry_after > 0 ? (uint64_t)t->retry_after : 0;
}

const char *cx_transfer_head(const cx_transfer *t, size_t *n) {
  *n = t->head.len;
  return cx_buf_bytes(&t->head);
}

size_t cx_transfer_peek(const cx_transfer *t, const char **data) {
  *data = cx_buf_bytes(&t->in);
  return t->in.len;
}

/* Going on may bring bytes at once: they are in the buffer when this returns. */
void cx_transfer_taken(cx_transfer *t, size_t n) {
  cx_buf_drop(&t->in, n);
  if (!t->easy || !t->paused || t->in.len > 0) return;
  t->paused = false;
  hear(t);
  CURLcode code = curl_easy_pause(t->easy, CURLPAUSE_CONT);
  if (code != CURLE_OK) end(t, code);
}

const char *cx_transfer_outcome(const cx_transfer *t, const char **text) {
  if (t->http) return NULL;
  *text = t->text;
  return t->outcome;
}

uint64_t cx_transfer_duration_us(const cx_transfer *t) { return t->duration_us; }

void cx_transfer_close(cx_transfer *t) {
  if (!t->easy) return;
  set_outcome(t, "cancelled", cx_err_text(CX_ECANCELLED));
  end(t, CURLE_ABORTED_BY_CALLBACK);
}

void cx_transfer_free(cx_transfer *t) {
  if (!t) return;
  curl_easy_cleanup(t->easy);
  curl_slist_free_all(t->headers);
  cx_buf_free(&t->in);
  cx_buf_free(&t->head);
  free(t->url);
  free(t);
}

/* ---- What transfers share -------------------------------------------------------------------- */

static void init_libcurl(void) { curl_global_init(CURL_GLOBAL_DEFAULT); }

int cx_http_open(cx_http **out, uv_loop_t *loop, const cx_http_events *events, void *user) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, init_libcurl);
  cx_http *http = calloc(1, sizeof *http);
  if (!http) return CX_EMEMORY;
  http->multi = curl_multi_init();
  if (!http->multi) {
    free(http);
    return CX_EMEMORY;
  }
  http->events = *events;
  http->user = user;
  uv_timer_init(loop, &http->timer);
  http->timer.data = http;
  http->handles = 1;
  curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, (long)KEPT_CONNECTIONS);
  curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, on_want_socket);
  curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http);
  curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, on_want_timer);
  curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
  *out = http;
  return 0;
}

static void on_timer_closed(uv_handle_t *handle) { release(handle->data); }

void cx_http_close(cx_http *http) {
  if (http->closing) return;
  http->closing = true;
  end_all(http, "cancelled", cx_err_text(CX_ECANCELLED), CURLE_ABORTED_BY_CALLBACK);
  curl_multi_cleanup(http->multi);
  uv_close((uv_handle_t *)&http->timer, on_timer_closed);
}

/* ---- URLs ------------------------------------------------------------------------------------ */

static char *origin_of(CURLU *parts) {
  char *scheme = NULL, *host = NULL, *port = NULL, *origin = NULL;
  if (curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
      (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0) &&
      curl_url_get(parts, CURLUPART_HOST, &host, 0) == CURLUE_OK) {
    bool has_port = curl_url_get(parts, CURLUPART_PORT, &port, CURLU_NO_DEFAULT_PORT) == CURLUE_OK;
    if (asprintf(&origin, "%s://%s%s%s", scheme, host, has_port ? ":" : "", has_port ? port : "") <
        0)
      origin = NULL;
  }
  curl_free(scheme);
  curl_free(host);
  curl_free(port);
  return origin;
}

char *cx_http_origin(const char *url) {
  CURLU *parts = curl_url();
  bool is_url = parts && curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK;
  char *origin = is_url ? origin_of(parts) : NULL;
  curl_url_cleanup(parts);
  return origin;
}

/* A part that is not there is no failure. */
static bool copy_part(CURLU *to, CURLU *from, CURLUPart part) {
  char *text = NULL;
  bool copied = curl_url_get(from, part, &text, 0) != CURLUE_OK ||
                curl_url_set(to, part, text, 0) == CURLUE_OK;
  curl_free(text);
  return copied;
}

/* Names of hosts are told apart without regard to case. */
static bool is_same_origin(CURLU *a, CURLU *b) {
  char *one = origin_of(a), *other = origin_of(b);
  bool same = one && other && strcasecmp(one, other) == 0;
  free(one);
  free(other);
  return same;
}

/* `to` is where `from` is, and becomes where the location leads. */
static char *resolve(CURLU *from, CURLU *to, const char *location, bool *stays) {
  char *text = NULL, *copy = NULL, *origin = NULL;
  if (curl_url_set(to, CURLUPART_URL, location, CURLU_URLENCODE | CURLU_ALLOW_SPACE) != CURLUE_OK)
    return NULL;
  *stays = is_same_origin(from, to);
  bool names_user = curl_url_get(to, CURLUPART_USER, &text, 0) == CURLUE_OK;
  curl_free(text);
  text = NULL;
  if (*stays && !names_user &&
      (!copy_part(to, from, CURLUPART_USER) || !copy_part(to, from, CURLUPART_PASSWORD)))
    return NULL;
  if ((origin = origin_of(to)) && curl_url_get(to, CURLUPART_URL, &text, 0) == CURLUE_OK)
    copy = strdup(text);
  curl_free(text);
  free(origin);
  return copy;
}

char *cx_http_resolve(const char *url, const char *location, bool *stays) {
  CURLU *from = curl_url(), *to = curl_url();
  bool is_url = from && to && curl_url_set(from, CURLUPART_URL, url, 0) == CURLUE_OK &&
                curl_url_set(to, CURLUPART_URL, url, 0) == CURLUE_OK;
  char *found = is_url ? resolve(from, to, location, stays) : NULL;
  curl_url_cleanup(from);
  curl_url_cleanup(to);
  return found;
}
