/* Levels, one sink, redaction; see log.h. */
#include "log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "redact.h"

static const char *const level_names[] = {"debug", "info", "warn", "error", "off"};

const char *cx_log_level_name(cx_log_level level) { return level_names[level]; }

int cx_log_level_of(const char *name) {
  for (int i = 0; i <= CX_LOG_OFF; i++)
    if (strcmp(name, level_names[i]) == 0) return i;
  return -1;
}

static void to_stderr(void *user, cx_log_level level, const char *line) {
  (void)user;
  fprintf(stderr, "codex-lua: %s: %s\n", cx_log_level_name(level), line);
}

void cx_log_init(cx_log *log) {
  memset(log, 0, sizeof *log);
  log->level = CX_LOG_WARN;
  log->sink = to_stderr;
}

void cx_log_free(cx_log *log) {
  cx_secrets_free(&log->secrets);
  memset(log, 0, sizeof *log);
}

int cx_log_secret(cx_log *log, const char *secret) {
  return cx_secrets_tell(&log->secrets, secret);
}

/* ---- Redaction --------------------------------------------------------------------------------
 */

/* A stretch of a text that is not shown. */
typedef struct {
  size_t from, to;
  size_t ruled;  /* the rules took all before it, and are asked again from here on */
  cx_span quote; /* goes around what stands in its place */
} stretch;

/* Takes in what begins at `at`, of either kind. */
static void widen(const cx_log *log, cx_span text, size_t at, stretch *s) {
  cx_redact_found found;
  if (at >= s->ruled && cx_redact_at(text, at, &found)) {
    s->ruled = at + found.length;
    if (s->to == 0) *s = (stretch){at + found.keep, s->ruled, s->ruled, found.quote};
    if (s->to < s->ruled) s->to = s->ruled;
  }
  if (log->secrets.count == 0) return;
  size_t told = cx_secrets_at(&log->secrets, (cx_span){text.at + at, text.n - at});
  if (told == 0) return;
  if (s->to == 0 || s->from > at) s->from = at;
  if (s->to < at + told) s->to = at + told;
  s->quote.n = 0;
}

/* The next stretch at or behind `at`. A secret that was told may begin or end within one that has
 * a shape, and the other way round: what overlaps goes as one. */
static bool next_stretch(const cx_log *log, cx_span text, size_t at, stretch *s) {
  *s = (stretch){0};
  for (; at < text.n && s->to == 0; at++) widen(log, text, at, s);
  if (log->secrets.count)
    for (; at < s->to; at++) widen(log, text, at, s);
  return s->to > 0;
}

/* Adds the stretches of the text to the list. */
static int find_plain(const cx_log *log, cx_span text, cx_buf *list) {
  stretch s;
  int rc = 0;
  for (size_t at = 0; rc == 0 && next_stretch(log, text, at, &s); at = s.to)
    rc = cx_buf_add(list, (const char *)&s, sizeof s);
  return rc;
}

/* Adds those of one piece with its escapes written out, by where they are in the text. */
static int find_in_view(const cx_log *log, cx_span text, const cx_redact_view *view, cx_buf *list) {
  stretch s;
  int rc = 0;
  cx_span bytes = {cx_buf_bytes(&view->bytes), view->bytes.len};
  const size_t *origin = (const size_t *)(const void *)cx_buf_bytes(&view->origin);
  for (size_t at = 0; rc == 0 && next_stretch(log, bytes, at, &s);) {
    at = s.to;
    if (s.quote.n) {
      size_t quote = (size_t)(s.quote.at - bytes.at), first = origin[quote];
      s.quote = (cx_span){text.at + first, origin[quote + s.quote.n] - first};
    }
    s.from = origin[s.from];
    s.to = origin[s.to];
    rc = cx_buf_add(list, (const char *)&s, sizeof s);
  }
  return rc;
}

static int find_escaped(const cx_log *log, cx_span text, cx_buf *list) {
  cx_redact_view view = {0};
  int rc;
  size_t at = 0;
  while ((rc = cx_redact_next_view(text, &at, &view)) == 0 && view.bytes.len)
    if ((rc = find_in_view(log, text, &view, list)) != 0) break;
  cx_redact_view_free(&view);
  return rc;
}

static int by_place(const void *a, const void *b) {
  const stretch *one = a, *other = b;
  return (one->from > other->from) - (one->from < other->from);
}

static int add_span(cx_buf *out, cx_span span) { return cx_buf_add(out, span.at, span.n); }

/* Shows a piece of the text, and then what stands in place of a secret. */
static int add_hidden(cx_buf *out, cx_span shown, cx_span quote) {
  int rc = add_span(out, shown);
  if (rc == 0) rc = add_span(out, quote);
  if (rc == 0) rc = cx_buf_add_string(out, "[redacted]");
  return rc == 0 ? add_span(out, quote) : rc;
}

/* The stretches are in order, and those that overlap go as one. */
static int replace(cx_span text, const stretch *list, size_t count, cx_buf *out) {
  size_t done = 0;
  for (size_t i = 0; i < count;) {
    stretch s = list[i];
    for (i++; i < count && list[i].from < s.to; i++) {
      if (list[i].to <= s.to) continue;
      s.to = list[i].to;
      s.quote.n = 0;
    }
    int rc = add_hidden(out, (cx_span){text.at + done, s.from - done}, s.quote);
    if (rc != 0) return rc;
    done = s.to;
  }
  return add_span(out, (cx_span){text.at + done, text.n - done});
}

int cx_log_redact(const cx_log *log, const char *bytes, size_t n, cx_buf *out) {
  cx_buf list = {0};
  cx_span text = {bytes, n};
  int rc = find_plain(log, text, &list);
  if (rc == 0) rc = find_escaped(log, text, &list);
  stretch *found = (stretch *)(void *)cx_buf_bytes(&list);
  size_t count = list.len / sizeof *found;
  if (rc == 0 && count > 1) qsort(found, count, sizeof *found, by_place);
  if (rc == 0) rc = replace(text, found, count, out);
  cx_buf_free(&list);
  return rc;
}

/* ---- Writing ----------------------------------------------------------------------------------
 */

/* How many bytes begin `text` that a terminal would obey: one of ASCII, two of U+0080 to U+009F.
 * Newlines and tabs, of tracebacks, are none. */
static size_t control_at(const unsigned char *text, size_t n) {
  if (n > 1 && text[0] == 0xc2 && text[1] >= 0x80 && text[1] < 0xa0) return 2;
  return text[0] == 0x7f || (text[0] < ' ' && text[0] != '\n' && text[0] != '\t');
}

/* Escape becomes ^[. */
static int add_shown(cx_buf *out, const unsigned char *text, size_t length) {
  char shown[12];
  if (length == 2)
    snprintf(shown, sizeof shown, "<U+%04X>", text[1]);
  else
    snprintf(shown, sizeof shown, "^%c", text[0] ^ 64);
  return cx_buf_add_string(out, shown);
}

/* Appends the line with its control characters shown, and the zero at its end. */
static int make_visible(const cx_buf *line, cx_buf *out) {
  const char *text = cx_buf_bytes(line);
  size_t done = 0;
  for (size_t i = 0; i < line->len;) {
    const unsigned char *at = (const unsigned char *)text + i;
    size_t length = control_at(at, line->len - i);
    if (length) {
      int rc = cx_buf_add(out, text + done, i - done);
      if (rc == 0) rc = add_shown(out, at, length);
      if (rc != 0) return rc;
      done = i + length;
    }
    i += length ? length : 1;
  }
  int rc = cx_buf_add(out, text + done, line->len - done);
  return rc == 0 ? cx_buf_add(out, "", 1) : rc;
}

void cx_log_write_v(cx_log *log, cx_log_level level, const char *format, va_list args) {
  if (level < log->level) return;
  char *text = NULL;
  cx_buf line = {0}, visible = {0};
  int n = vasprintf(&text, format, args);
  if (n >= 0 && cx_log_redact(log, text, (size_t)n, &line) == 0 &&
      make_visible(&line, &visible) == 0)
    log->sink(log->user, level, cx_buf_bytes(&visible));
  if (n >= 0) free(text);
  cx_buf_free(&line);
  cx_buf_free(&visible);
}

void cx_log_write(cx_log *log, cx_log_level level, const char *format, ...) {
  va_list args;
  va_start(args, format);
  cx_log_write_v(log, level, format, args);
  va_end(args);
}
