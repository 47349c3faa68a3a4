/* Any text is refused or read; every string of what was read can be quoted and read again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Two surrogates of three bytes each that make a pair: written as JSON they are one character. */
static bool has_pair(const char *bytes, size_t n) {
  const unsigned char *s = (const unsigned char *)bytes;
  for (size_t i = 0; i + 6 <= n; i++)
    if (s[i] == 0xED && s[i + 1] >= 0xA0 && s[i + 1] < 0xB0 && s[i + 3] == 0xED && s[i + 4] >= 0xB0)
      return true;
  return false;
}

static void same_again(const char *bytes, size_t n) {
  cx_buf quoted = {0}, scratch = {0};
  cx_json again;
  const char *back;
  size_t length, bad;
  cx_json_kind kind;
  int rc = cx_json_quote(&quoted, bytes, n, CX_JSON_KEEP, &bad);
  if (rc == 0) {
    if (cx_json_parse(&again, cx_buf_bytes(&quoted), quoted.len) != 0) abort();
    cx_json_string(&again, again.root->valuestring, &scratch, &back, &length, &kind);
    if (kind != CX_JSON_TEXT) abort();
    if (!has_pair(bytes, n) && (length != n || memcmp(back, bytes, n) != 0)) abort();
    cx_json_free(&again);
  } else if (rc != CX_EJSON || bad >= n) {
    abort();
  }
  cx_buf_free(&quoted);
  cx_buf_free(&scratch);
}

static void look_at(const cx_json *json, const char *raw) {
  cx_buf scratch = {0};
  const char *bytes;
  size_t n;
  cx_json_kind kind;
  if (!raw || cx_json_string(json, raw, &scratch, &bytes, &n, &kind) != 0) return;
  same_again(bytes, n);
  cx_buf_free(&scratch);
}

static void walk(const cx_json *json, const cJSON *item) {
  for (; item; item = item->next) {
    look_at(json, item->string);
    if (cJSON_IsString(item)) look_at(json, item->valuestring);
    walk(json, item->child);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  cx_json json;
  if (cx_json_parse(&json, (const char *)data, size) == 0) walk(&json, json.root);
  cx_json_free(&json);
  return 0;
}
