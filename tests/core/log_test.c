/* Levels and redaction. */
#include "log.h"

#include "err.h"
#include "test.h"

typedef struct {
  int count;
  cx_log_level level;
  char line[256];
} heard;

static void hear(void *user, cx_log_level level, const char *line) {
  heard *h = user;
  h->count++;
  h->level = level;
  snprintf(h->line, sizeof h->line, "%s", line);
}

static void test_levels(void) {
  for (cx_log_level set = CX_LOG_DEBUG; set <= CX_LOG_OFF; set++)
    for (cx_log_level level = CX_LOG_DEBUG; level <= CX_LOG_ERROR; level++) {
      heard h = {0};
      cx_log log;
      cx_log_init(&log);
      log.level = set;
      log.sink = hear;
      log.user = &h;
      cx_log_write(&log, level, "number %d", 7);
      CHECK(h.count == (level >= set), "%d at %d", level, set);
      if (h.count) CHECK(h.level == level && strcmp(h.line, "number 7") == 0, "%s", h.line);
      cx_log_free(&log);
    }
  for (cx_log_level level = CX_LOG_DEBUG; level <= CX_LOG_OFF; level++)
    CHECK(cx_log_level_of(cx_log_level_name(level)) == (int)level, "%d", level);
  CHECK(cx_log_level_of("loud") == -1 && cx_log_level_of("") == -1, "other words");
}

static void test_controls(void) {
  heard h = {0};
  cx_log log;
  cx_log_init(&log);
  log.sink = hear;
  log.user = &h;
  cx_log_write(&log, CX_LOG_WARN, "%s",
               "a\x1b[2J\r\x7f\x01 \xc2\x9b"
               "b\n\tc \xc3\xa4 \xc2\xa0 \xc2");
  CHECK(strcmp(h.line, "a^[[2J^M^?^A <U+009B>b\n\tc \xc3\xa4 \xc2\xa0 \xc2") == 0, "%s", h.line);
  cx_log_free(&log);
}

static const struct {
  const char *text, *expected;
} redactions[] = {
    {"", ""},
    {"nothing to hide", "nothing to hide"},
    {"the hunter2hunter2!", "the [redacted]!"},
    {"hunter2hunter2hunter2hunter2", "[redacted][redacted]"},
    {"xhunter2hunter2x", "x[redacted]x"},
    {"hunter2hunter2 and more", "[redacted]"}, /* the longer of two secrets */
    {"hunter2hunter", "hunter2hunter"},
    {"Authorization: Bearer abc.DEF-1~2+3/4=", "Authorization: Bearer [redacted]"},
    {"authorization: bearer t", "authorization: bearer [redacted]"},
    {"bearer ", "bearer "},
    {"a bearer, and", "a bearer, and"},
    {"forbearer x", "forbearer x"},
    {"sk-proj-0123456789abcdef_XY-z.", "[redacted]."},
    {"key=sk-0123456789abcdef", "key=[redacted]"},
    {"sk-short", "sk-short"},
    {"risk-assessment-of-everything", "risk-assessment-of-everything"},
    {"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl end", "[redacted] end"},
    {"eyJ is not one", "eyJ is not one"},
    {"eyJhbGciOiJIUzI1NiJ9eyJzdWIiOiIxIn0", "eyJhbGciOiJIUzI1NiJ9eyJzdWIiOiIxIn0"},
};

static void test_redaction(void) {
  cx_log log;
  cx_log_init(&log);
  CHECK(cx_log_secret(&log, "short") == CX_EARGUMENT, "too short to be told from a word");
  CHECK(cx_log_secret(&log, "hunter2hunter2") == 0, "a secret");
  CHECK(cx_log_secret(&log, "hunter2hunter2 and more") == 0, "a longer one");
  for (size_t i = 0; i < sizeof redactions / sizeof *redactions; i++) {
    size_t n = strlen(redactions[i].text);
    char *text = exactly(redactions[i].text, n);
    cx_buf out = {0};
    CHECK(cx_log_redact(&log, text, n, &out) == 0, "%s", redactions[i].text);
    CHECK(out.len == strlen(redactions[i].expected) &&
              memcmp(cx_buf_bytes(&out), redactions[i].expected, out.len) == 0,
          "%s became %.*s", redactions[i].text, (int)out.len, cx_buf_bytes(&out));
    cx_buf_free(&out);
    free(text);
  }
  cx_log_free(&log);
}

/* Texts that end anywhere are read to their end and no further. */
static void test_cut_off(void) {
  static const char *const texts[] = {
      "curl -u dev:s3cret --token abc123 --password='x y' -H \"Cookie: a=b; c\" "
      "https://u:pw@h/?code=1",
      "-----BEGIN RSA PRIVATE KEY-----\nMIIEow+/=\n-----END RSA PRIVATE KEY-----",
      "Authorization: Basic dXNlcjpwdw== GH_PAT=x a.b.api_key = \\\"v\\\" "
      "npm_0123456789abcdefghijkl",
      "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl Bearer abcdefgh1 -u 1000:1000 token: "
      "4f4f4f"};
  cx_log log;
  cx_log_init(&log);
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    for (size_t n = 0; n <= strlen(texts[i]); n++) {
      char *text = exactly(texts[i], n);
      cx_buf out = {0};
      CHECK(cx_log_redact(&log, text, n, &out) == 0, "%s", texts[i]);
      cx_buf_free(&out);
      free(text);
    }
  cx_log_free(&log);
}

/* No secret gets past the sink, also where a format puts it together. */
static void test_sink(void) {
  heard h = {0};
  cx_log log;
  cx_log_init(&log);
  log.sink = hear;
  log.user = &h;
  cx_log_secret(&log, "correct horse");
  cx_log_write(&log, CX_LOG_ERROR, "%s%s", "a correct", " horse");
  CHECK(strcmp(h.line, "a [redacted]") == 0, "%s", h.line);
  cx_log_free(&log);
}

int main(void) {
  test_levels();
  test_controls();
  test_redaction();
  test_cut_off();
  test_sink();
  return report("log_test");
}
