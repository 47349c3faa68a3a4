/* Any bytes can be quoted, or are refused at a place of theirs; what is quoted reads as what it
 * was. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "json.h"
#include "token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Two surrogates of three bytes each that make a pair: written as JSON they are one character. */
static bool has_pair(const char *bytes, size_t n) {
  const unsigned char *s = (const unsigned char *)bytes;
  for (size_t i = 0; i + 6 <= n; i++)
    if (s[i] == 0xED && s[i + 1] >= 0xA0 && s[i + 1] < 0xB0 && s[i + 3] == 0xED && s[i + 4] >= 0xB0)
      return true;
  return false;
}

/* The text that the literal stands for; it must be a whole literal, as the care has them. */
static cx_span read_back(const cx_buf *quoted, cx_json_care care, cx_buf *scratch) {
  const char *text = cx_buf_bytes(quoted);
  cx_tokens t = {.start = text, .s = text, .end = text + quoted->len};
  cx_span back;
  bool escaped;
  t.takes_halves = care == CX_JSON_KEEP;
  if (!cx_token_read_string(&t, &back, &escaped) || t.s != t.end) abort();
  if (cx_token_unquote((cx_span){text, quoted->len}, scratch, &back) != 0) abort();
  return back;
}

static void check(const char *bytes, size_t n, cx_json_care care) {
  cx_buf quoted = {0}, scratch = {0};
  size_t bad;
  int rc = cx_json_quote(&quoted, bytes, n, care, &bad);
  if (rc == 0) {
    cx_span back = read_back(&quoted, care, &scratch);
    bool same = back.n == n && memcmp(back.at, bytes, n) == 0;
    if (care == CX_JSON_KEEP && !same && !has_pair(bytes, n)) abort();
  } else if (rc != CX_EJSON || bad >= n || care == CX_JSON_REPAIR) {
    abort();
  }
  cx_buf_free(&quoted);
  cx_buf_free(&scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  check((const char *)data, size, CX_JSON_KEEP);
  check((const char *)data, size, CX_JSON_UNICODE);
  check((const char *)data, size, CX_JSON_REPAIR);
  return 0;
}
