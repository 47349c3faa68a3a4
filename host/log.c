/* Levels, one sink, redaction; see log.h. */
#include "log.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "err.h"

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

static size_t span_of(const char *text, size_t n, const char *extra) {
  size_t i = 0;
  while (i < n && (isalnum((unsigned char)text[i]) || (text[i] && strchr(extra, text[i])))) i++;
  return i;
}

static bool starts(const char *text, size_t n, const char *word) {
  size_t length = strlen(word);
  return n >= length && strncasecmp(text, word, length) == 0;
}

/* How many bytes at `text` look like a credential; *keep of them may be shown. */
static size_t credential(const char *text, size_t n, size_t *keep) {
  *keep = 0;
  if (starts(text, n, "bearer ")) {
    *keep = 7;
    size_t token = span_of(text + 7, n - 7, "-._~+/=");
    return token ? 7 + token : 0;
  }
  if (starts(text, n, "sk-")) {
    size_t length = 3 + span_of(text + 3, n - 3, "-_");
    return length >= 16 ? length : 0;
  }
  if (n > 3 && memcmp(text, "eyJ", 3) == 0) {
    size_t length = span_of(text, n, "-_.");
    return length >= 30 && memchr(text, '.', length) ? length : 0;
  }
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
  bool word_before = false; /* a credential begins at a word's edge: "risk-..." holds none */
  for (size_t i = 0; i < n;) {
    size_t keep = 0, length = declared(log, text + i, n - i);
    if (length == 0 && !word_before) length = credential(text + i, n - i, &keep);
    int rc;
    if (length) {
      rc = cx_buf_add(out, text + i, keep);
      if (rc == 0) rc = cx_buf_add_string(out, "[redacted]");
    } else {
      length = 1;
      rc = cx_buf_add(out, text + i, 1);
    }
    if (rc != 0) return rc;
    i += length;
    word_before = isalnum((unsigned char)text[i - 1]) != 0;
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
