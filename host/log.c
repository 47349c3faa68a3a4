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
  for (size_t i = 0; i < log->secret_count; i++) {
    explicit_bzero(log->secrets[i], strlen(log->secrets[i]));
    free(log->secrets[i]);
  }
  free(log->secrets);
  memset(log, 0, sizeof *log);
}

int cx_log_secret(cx_log *log, const char *secret) {
  if (strlen(secret) < 8) return CX_EARGUMENT;
  char **secrets = realloc(log->secrets, (log->secret_count + 1) * sizeof *secrets);
  if (!secrets) return CX_EMEMORY;
  log->secrets = secrets;
  secrets[log->secret_count] = strdup(secret);
  if (!secrets[log->secret_count]) return CX_EMEMORY;
  log->secret_count++;
  return 0;
}

static size_t declared(const cx_log *log, const char *text, size_t n) {
  size_t longest = 0;
  for (size_t i = 0; i < log->secret_count; i++) {
    size_t length = strlen(log->secrets[i]);
    if (length > longest && length <= n && memcmp(text, log->secrets[i], length) == 0)
      longest = length;
  }
  return longest;
}

int cx_log_redact(const cx_log *log, const char *text, size_t n, cx_buf *out) {
  for (size_t i = 0, done = 0; i <= n;) {
    size_t keep = 0, length = i < n ? declared(log, text + i, n - i) : 0;
    if (i < n && length == 0) length = cx_redact_at(text, n, i, &keep);
    if (i < n && length == 0) {
      i++;
      continue;
    }
    int rc = cx_buf_add(out, text + done, i + keep - done);
    if (rc == 0 && length) rc = cx_buf_add_string(out, "[redacted]");
    if (rc != 0) return rc;
    i += length ? length : 1;
    done = i;
  }
  return 0;
}

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
