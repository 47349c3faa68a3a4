/* A JSON-RPC peer; see rpc.h. */
#include "rpc.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "json.h"
#include "token.h"

enum { WINDOW = 64, FIRST_BUCKETS = 64, KEPT = 64 * 1024, FORGOTTEN = 1024 };

/* ---- Calls --------------------------------------------------------------------------------- */

typedef struct call {
  struct call *next; /* in its bucket, or in the queue */
  uint64_t number, due;
  bool forgotten;
  int code;       /* why it ends without an answer */
  cx_buf message; /* while it waits to be sent */
} call;

struct cx_rpc {
  cx_rpc_options options;
  cx_rpc_events events;
  void *user;
  call **buckets; /* what was sent and not answered, by number */
  size_t bucket_count, pending;
  size_t forgotten;    /* of the pending ones: they take no place in the window */
  call *first, **last; /* what waits to be sent */
  size_t queued;
  call *over; /* what ends without an answer and was not told yet */
  uint64_t numbers, next_due;
  cx_buf out, scratch;
  bool ended;
};

cx_rpc *cx_rpc_new(const cx_rpc_options *options, const cx_rpc_events *events, void *user) {
  cx_rpc *rpc = calloc(1, sizeof *rpc);
  if (!rpc) return NULL;
  rpc->options = *options;
  if (!rpc->options.window) rpc->options.window = WINDOW;
  rpc->events = *events;
  rpc->user = user;
  rpc->last = &rpc->first;
  rpc->bucket_count = FIRST_BUCKETS;
  rpc->buckets = calloc(rpc->bucket_count, sizeof(void *));
  if (rpc->buckets) return rpc;
  free(rpc);
  return NULL;
}

static call **bucket_of(cx_rpc *rpc, uint64_t number) {
  return &rpc->buckets[number & (rpc->bucket_count - 1)];
}

/* Numbers count up, so that the last bits spread them evenly; without memory the chains grow. */
static void grow(cx_rpc *rpc) {
  size_t old = rpc->bucket_count;
  call **buckets = rpc->pending < old ? NULL : calloc(old * 2, sizeof(void *));
  if (!buckets) return;
  call **from = rpc->buckets;
  rpc->buckets = buckets;
  rpc->bucket_count = old * 2;
  for (size_t i = 0; i < old; i++)
    for (call *c = from[i], *next; c; c = next) {
      next = c->next;
      call **bucket = bucket_of(rpc, c->number);
      c->next = *bucket;
      *bucket = c;
    }
  free(from);
}

static void add_pending(cx_rpc *rpc, call *c) {
  grow(rpc);
  call **bucket = bucket_of(rpc, c->number);
  c->next = *bucket;
  *bucket = c;
  rpc->pending++;
}

static call *take_pending(cx_rpc *rpc, uint64_t number) {
  for (call **at = bucket_of(rpc, number); *at; at = &(*at)->next)
    if ((*at)->number == number) {
      call *c = *at;
      *at = c->next;
      rpc->pending--;
      if (c->forgotten) rpc->forgotten--;
      return c;
    }
  return NULL;
}

static bool has_place(const cx_rpc *rpc) {
  return rpc->pending - rpc->forgotten < rpc->options.window;
}

static void add_queued(cx_rpc *rpc, call *c) {
  c->next = NULL;
  *rpc->last = c;
  rpc->last = &c->next;
  rpc->queued++;
}

static call *take_queued(cx_rpc *rpc, call **at) {
  call *c = *at;
  *at = c->next;
  if (rpc->last == &c->next) rpc->last = at;
  rpc->queued--;
  return c;
}

static void free_call(call *c) {
  cx_buf_free(&c->message);
  free(c);
}

static void answer(cx_rpc *rpc, call *c, int code, const cx_message *message) {
  uint64_t number = c->number;
  bool forgotten = c->forgotten;
  free_call(c);
  if (!forgotten) rpc->events.on_answer(rpc->user, number, code, message);
}

/* What is sent is pending first: the answer may come while on_send still runs, and then the call is
 * no more. */
static int send_call(cx_rpc *rpc, call *c, const cx_buf *message) {
  uint64_t number = c->number;
  add_pending(rpc, c);
  int rc = rpc->events.on_send(rpc->user, cx_buf_bytes(message), message->len);
  return rc != 0 && take_pending(rpc, number) ? rc : 0;
}

/* The text is not kept while the answer is awaited. */
static int send_queued(cx_rpc *rpc, call *c) {
  cx_buf message = c->message;
  c->message = (cx_buf){0};
  int rc = send_call(rpc, c, &message);
  cx_buf_free(&message);
  return rc;
}

void cx_rpc_pump(cx_rpc *rpc) {
  while (rpc->first && has_place(rpc) && !rpc->ended) {
    call *c = take_queued(rpc, &rpc->first);
    int rc = send_queued(rpc, c);
    if (rc != 0) answer(rpc, c, rc, NULL);
  }
}

/* ---- Messages out --------------------------------------------------------------------------- */

static int add_span(cx_buf *out, cx_span span) { return cx_buf_add(out, span.at, span.n); }

static int add_quoted(cx_buf *out, cx_span text) {
  size_t bad;
  return cx_json_quote(out, text.at, text.n, CX_JSON_REPAIR, &bad);
}

static int begin(cx_rpc *rpc) {
  cx_buf_drop(&rpc->out, rpc->out.len);
  return cx_buf_add_string(&rpc->out, rpc->options.versioned ? "{\"jsonrpc\":\"2.0\"," : "{");
}

static int add_method(cx_rpc *rpc, const char *method, cx_span params) {
  cx_buf *out = &rpc->out;
  int rc = cx_buf_add_string(out, "\"method\":");
  if (rc == 0) rc = add_quoted(out, (cx_span){method, strlen(method)});
  if (rc == 0 && params.n) rc = cx_buf_add_string(out, ",\"params\":");
  if (rc == 0 && params.n) rc = add_span(out, params);
  return rc ? rc : cx_buf_add_string(out, "}\n");
}

/* The memory of one message serves the next, unless it was a large one. */
static void give_back(cx_rpc *rpc, cx_buf *message) {
  if (rpc->out.cap || message->cap > KEPT)
    cx_buf_free(message);
  else
    rpc->out = *message;
}

/* Also after the end of the other side's output: it may still wait for what it asked before. */
static int send_out(cx_rpc *rpc, int rc) {
  if (rc == 0) rc = rpc->events.on_send(rpc->user, cx_buf_bytes(&rpc->out), rpc->out.len);
  if (rpc->out.cap > 1 << 20) cx_buf_free(&rpc->out);
  return rc;
}

static int add_id(cx_rpc *rpc, uint64_t number) {
  char text[24], *digits = text + sizeof text;
  const char *prefix = rpc->options.prefix;
  do *--digits = (char)('0' + number % 10);
  while (number /= 10);
  int rc = cx_buf_add_string(&rpc->out, prefix ? "\"id\":\"" : "\"id\":");
  if (rc == 0 && prefix) rc = cx_buf_add_string(&rpc->out, prefix);
  if (rc == 0) rc = cx_buf_add(&rpc->out, digits, (size_t)(text + sizeof text - digits));
  return rc ? rc : cx_buf_add_string(&rpc->out, prefix ? "\"," : ",");
}

int cx_rpc_call(cx_rpc *rpc, const char *method, const char *params, size_t n, uint64_t due,
                uint64_t *number) {
  if (rpc->ended) return CX_ECLOSED;
  *number = rpc->numbers++;
  int rc = begin(rpc);
  if (rc == 0) rc = add_id(rpc, *number);
  if (rc == 0) rc = add_method(rpc, method, (cx_span){params, n});
  call *c = rc == 0 ? malloc(sizeof *c) : NULL;
  if (!c) return CX_EMEMORY;
  *c = (call){.number = *number, .due = due};
  if (due && (!rpc->next_due || due < rpc->next_due)) rpc->next_due = due;
  cx_buf message = rpc->out; /* on_send may call again */
  rpc->out = (cx_buf){0};
  if (!has_place(rpc) || rpc->first) {
    c->message = message;
    add_queued(rpc, c);
    return 0;
  }
  rc = send_call(rpc, c, &message);
  if (rc != 0) free_call(c);
  give_back(rpc, &message);
  return rc;
}

/* It is known for as long as its answer may come, so that this is no junk: but the other side may
 * never answer, and so many are enough. */
static void forget_pending(cx_rpc *rpc, uint64_t number) {
  call *c = *bucket_of(rpc, number);
  while (c && c->number != number) c = c->next;
  if (!c || c->forgotten) return;
  if (rpc->forgotten >= FORGOTTEN) {
    free_call(take_pending(rpc, number));
    return;
  }
  c->forgotten = true;
  rpc->forgotten++;
}

void cx_rpc_forget(cx_rpc *rpc, uint64_t number) {
  forget_pending(rpc, number);
  for (call *c = rpc->over; c; c = c->next)
    if (c->number == number) c->forgotten = true;
  for (call **at = &rpc->first; *at; at = &(*at)->next)
    if ((*at)->number == number) {
      free_call(take_queued(rpc, at));
      return;
    }
}

int cx_rpc_notify(cx_rpc *rpc, const char *method, const char *params, size_t n) {
  int rc = begin(rpc);
  return send_out(rpc, rc ? rc : add_method(rpc, method, (cx_span){params, n}));
}

static int begin_answer(cx_rpc *rpc, cx_span id, const char *key) {
  int rc = begin(rpc);
  if (rc == 0) rc = cx_buf_add_string(&rpc->out, "\"id\":");
  if (rc == 0) rc = add_span(&rpc->out, id);
  return rc ? rc : cx_buf_add_string(&rpc->out, key);
}

int cx_rpc_reply(cx_rpc *rpc, cx_span id, cx_span result) {
  int rc = begin_answer(rpc, id, ",\"result\":");
  if (rc == 0) rc = add_span(&rpc->out, result);
  return send_out(rpc, rc ? rc : cx_buf_add_string(&rpc->out, "}\n"));
}

int cx_rpc_refuse(cx_rpc *rpc, cx_span id, int64_t code, cx_span message, cx_span data) {
  char number[32];
  snprintf(number, sizeof number, "%" PRId64 ",\"message\":", code);
  int rc = begin_answer(rpc, id, ",\"error\":{\"code\":");
  if (rc == 0) rc = cx_buf_add_string(&rpc->out, number);
  if (rc == 0) rc = add_quoted(&rpc->out, message);
  if (rc == 0 && data.n) rc = cx_buf_add_string(&rpc->out, ",\"data\":");
  if (rc == 0 && data.n) rc = add_span(&rpc->out, data);
  return send_out(rpc, rc ? rc : cx_buf_add_string(&rpc->out, "}}\n"));
}

/* ---- Messages in ---------------------------------------------------------------------------- */

/* The number in an id of ours; false for anything else, also for 1.0 and "1". */
static bool own_number(cx_rpc *rpc, cx_span id, uint64_t *number) {
  const char *prefix = rpc->options.prefix;
  if (prefix) {
    size_t skip = strlen(prefix);
    if (id.at[0] != '"' || cx_token_unquote(id, &rpc->scratch, &id) != 0) return false;
    if (id.n <= skip || memcmp(id.at, prefix, skip) != 0) return false;
    id = (cx_span){id.at + skip, id.n - skip};
  }
  if (id.n == 0 || id.n > 19 || (id.n > 1 && id.at[0] == '0')) return false;
  *number = 0;
  for (size_t i = 0; i < id.n; i++) {
    if (id.at[i] < '0' || id.at[i] > '9') return false;
    *number = *number * 10 + (uint64_t)(id.at[i] - '0');
  }
  return true;
}

void cx_rpc_feed(cx_rpc *rpc, const char *line, size_t n) {
  cx_message m;
  uint64_t number;
  if (rpc->ended) return;
  int rc = cx_message_read(&m, line, n, &rpc->scratch);
  if (rc != 0) {
    rpc->events.on_junk(rpc->user, line, n, rc);
    return;
  }
  if (m.kind == CX_MESSAGE_REQUEST || m.kind == CX_MESSAGE_NOTIFICATION) {
    rpc->events.on_message(rpc->user, &m);
    return;
  }
  call *c = own_number(rpc, m.id, &number) ? take_pending(rpc, number) : NULL;
  if (c)
    answer(rpc, c, 0, &m);
  else if (rpc->options.relay)
    rpc->events.on_message(rpc->user, &m);
  else
    rpc->events.on_junk(rpc->user, line, n, CX_EPROTOCOL);
  cx_rpc_pump(rpc);
}

/* ---- Time and end --------------------------------------------------------------------------- */

uint64_t cx_rpc_next_due(const cx_rpc *rpc) { return rpc->next_due; }

static void set_over(cx_rpc *rpc, call *c, int code) {
  c->code = code;
  c->next = rpc->over;
  rpc->over = c;
}

/* One at a time: whoever is told may call, forget others that are over, or end everything. */
static void tell_over(cx_rpc *rpc) {
  for (call *c = rpc->over; c; c = rpc->over) {
    rpc->over = c->next;
    answer(rpc, c, c->code, NULL);
  }
}

/* Takes the calls that are due out of a list and notes when the next of the others is. */
static void take_due(cx_rpc *rpc, uint64_t now, call **at, size_t *count) {
  while (*at) {
    call *c = *at;
    if (c->due == 0 || c->due > now) {
      if (c->due && (!rpc->next_due || c->due < rpc->next_due)) rpc->next_due = c->due;
      at = &c->next;
      continue;
    }
    *at = c->next;
    if (rpc->last == &c->next) rpc->last = at;
    if (c->forgotten) rpc->forgotten--; /* what waits is never that */
    set_over(rpc, c, CX_ETIMEOUT);
    (*count)--;
  }
}

void cx_rpc_expire(cx_rpc *rpc, uint64_t now) {
  rpc->next_due = 0;
  for (size_t i = 0; i < rpc->bucket_count; i++)
    take_due(rpc, now, &rpc->buckets[i], &rpc->pending);
  take_due(rpc, now, &rpc->first, &rpc->queued);
  tell_over(rpc);
  cx_rpc_pump(rpc);
}

static void take_all(cx_rpc *rpc, call **list, int code) {
  for (call *c = *list; c; c = *list) {
    *list = c->next;
    set_over(rpc, c, code);
  }
}

void cx_rpc_end(cx_rpc *rpc, int code) {
  rpc->ended = true;
  for (size_t i = 0; i < rpc->bucket_count; i++) take_all(rpc, &rpc->buckets[i], code);
  take_all(rpc, &rpc->first, code);
  rpc->last = &rpc->first;
  rpc->pending = rpc->queued = rpc->forgotten = 0;
  rpc->next_due = 0;
  tell_over(rpc);
}

size_t cx_rpc_pending(const cx_rpc *rpc) { return rpc->pending - rpc->forgotten; }
size_t cx_rpc_queued(const cx_rpc *rpc) { return rpc->queued; }

static void free_list(call *list) {
  for (call *next; list; list = next) {
    next = list->next;
    free_call(list);
  }
}

void cx_rpc_free(cx_rpc *rpc) {
  for (size_t i = 0; i < rpc->bucket_count; i++) free_list(rpc->buckets[i]);
  free_list(rpc->first);
  free_list(rpc->over);
  free(rpc->buckets);
  cx_buf_free(&rpc->out);
  cx_buf_free(&rpc->scratch);
  free(rpc);
}
