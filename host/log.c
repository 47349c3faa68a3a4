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

void cx_log_write_v(cx_log *log, cx_log_level level, const char *format, va_list args) {
  if (level < log->level) return;
  char *text = NULL;
  cx_buf line = {0};
  int n = vasprintf(&text, format, args);
  if (n >= 0 && cx_log_redact(log, text, (size_t)n, &line) == 0 && cx_buf_add(&line, "", 1) == 0)
    log->sink(log->user, level, cx_buf_bytes(&line));
  if (n >= 0) free(text);
  cx_buf_free(&line);
}

void cx_log_write(cx_log *log, cx_log_level level, const char *format, ...) {
  va_list args;
  va_start(args, format);
  cx_log_write_v(log, level, format, args);
  va_end(args);
}
