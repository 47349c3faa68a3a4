/* JSON strings, written; see json.h. */
#include "json.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "err.h"
#include "token.h"

static const char replacement[] = "\xEF\xBF\xBD"; /* U+FFFD */

static int quote_control(cx_buf *out, unsigned char c) {
  static const char shorts[] = "\"\"\\\\\bb\ff\nn\rr\tt";
  char escape[8];
  for (const char *s = shorts; *s; s += 2)
    if ((unsigned char)s[0] == c) {
      escape[0] = '\\';
      escape[1] = s[1];
      return cx_buf_add(out, escape, 2);
    }
  snprintf(escape, sizeof escape, "\\u%04x", c);
  return cx_buf_add(out, escape, 6);
}

/* Half of a pair in its three-byte form: cx_token_unescape() makes them. */
static bool is_surrogate(const unsigned char *s, size_t n) {
  return n >= 3 && s[0] == 0xED && s[1] >= 0xA0 && s[1] <= 0xBF && (s[2] & 0xC0) == 0x80;
}

static int quote_surrogate(cx_buf *out, const unsigned char *s, cx_json_care care) {
  char escape[8];
  if (care != CX_JSON_KEEP) return cx_buf_add(out, replacement, sizeof replacement - 1);
  snprintf(escape, sizeof escape, "\\u%04x", 0xD000u | (s[1] & 0x3Fu) << 6 | (s[2] & 0x3Fu));
  return cx_buf_add(out, escape, 6);
}

/* Writes what stands at s and is not plain; returns the bytes used, 0 for bytes that are not UTF-8,
 * or a negative code. */
static int quote_special(cx_buf *out, const char *s, size_t n, cx_json_care care) {
  const unsigned char *bytes = (const unsigned char *)s;
  if (bytes[0] < 0x80) {
    int rc = quote_control(out, bytes[0]);
    return rc ? rc : 1;
  }
  if (is_surrogate(bytes, n)) {
    int rc = quote_surrogate(out, bytes, care);
    return rc ? rc : 3;
  }
  size_t length = cx_token_sequence(s, s + n);
  int rc = cx_buf_add(out, s, length);
  return rc ? rc : (int)length;
}

/* Most strings need no more than their quotes. */
static int quote_plain(cx_buf *out, const char *bytes, size_t n) {
  char *room = cx_buf_room(out, n + 2);
  if (!room) return CX_EMEMORY;
  room[0] = room[n + 1] = '"';
  memcpy(room + 1, bytes, n);
  cx_buf_added(out, n + 2);
  return 0;
}

int cx_json_quote(cx_buf *out, const char *bytes, size_t n, cx_json_care care, size_t *bad) {
  const char *s = bytes, *end = bytes + n, *plain = cx_token_skip_plain(bytes, end);
  if (plain == end) return quote_plain(out, bytes, n);
  int rc = cx_buf_add(out, "\"", 1);
  while (rc == 0) {
    rc = cx_buf_add(out, s, (size_t)(plain - s));
    s = plain;
    if (s == end || rc != 0) break;
    int used = quote_special(out, s, (size_t)(end - s), care);
    if (used == 0 && care != CX_JSON_REPAIR) {
      *bad = (size_t)(s - bytes);
      return CX_EJSON;
    }
    if (used == 0) rc = cx_buf_add(out, replacement, sizeof replacement - 1);
    if (used < 0) rc = used;
    s += used > 0 ? used : 1;
    plain = cx_token_skip_plain(s, end);
  }
  return rc ? rc : cx_buf_add(out, "\"", 1);
}
