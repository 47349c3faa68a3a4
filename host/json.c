/* JSON as cJSON reads it, without what cJSON would lose; see json.h. */
#include "json.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"

enum { ESCAPE = 0xFF, SAFE_DIGITS = 15 };

/* ---- Rewriting ---------------------------------------------------------------------------- */

static int hex4(const char *s, const char *end, unsigned *value) {
  if (end - s < 4) return 0;
  *value = 0;
  for (int i = 0; i < 4; i++) {
    static const char digits[] = "0123456789abcdef";
    const char *at = strchr(digits, tolower((unsigned char)s[i]));
    if (!s[i] || !at) return 0;
    *value = *value * 16 + (unsigned)(at - digits);
  }
  return 1;
}

static size_t put_utf8(char *out, unsigned c) {
  out[0] = (char)(0xE0 | (c >> 12));
  out[1] = (char)(0x80 | ((c >> 6) & 0x3F));
  out[2] = (char)(0x80 | (c & 0x3F));
  return 3;
}

/* `s` stands at a backslash. Copies the escape, rewritten where cJSON would lose it; returns how
 * many bytes were read. A \u without four digits is refused here: cJSON takes it for \u0000. */
static size_t rewrite_escape(const char *s, const char *end, cx_buf *out, int *rc) {
  unsigned c, low;
  size_t length = end - s >= 2 ? 2 : 1;
  char put[3];
  if (length == 2 && s[1] == 'u') {
    if (!hex4(s + 2, end, &c)) {
      *rc = CX_EJSON;
      return length;
    }
    length = 6;
    if (c == 0) {
      *rc = cx_buf_add(out,
                       "\xFF"
                       "0",
                       2);
      return length;
    }
    bool pair = c >= 0xD800 && c < 0xDC00 && end - s >= 12 && s[6] == '\\' && s[7] == 'u' &&
                hex4(s + 8, end, &low) && low >= 0xDC00 && low < 0xE000;
    if (pair) {
      length = 12;
    } else if (c >= 0xD800 && c < 0xE000) {
      *rc = cx_buf_add(out, put, put_utf8(put, c));
      return length;
    }
  }
  *rc = cx_buf_add(out, s, length);
  return length;
}

static const char *rewrite_string(const char *s, const char *end, cx_buf *out, int *rc) {
  *rc = cx_buf_add(out, s++, 1);
  while (s < end && *rc == 0) {
    if (*s == '"') {
      *rc = cx_buf_add(out, s++, 1);
      break;
    }
    if (*s == '\\') {
      s += rewrite_escape(s, end, out, rc);
    } else if ((unsigned char)*s == ESCAPE) {
      *rc = cx_buf_add(out,
                       "\xFF"
                       "F",
                       2);
      s++;
    } else {
      *rc = cx_buf_add(out, s++, 1);
    }
  }
  return s;
}

static bool is_number_byte(char c) { return (c >= '0' && c <= '9') || (c && strchr("+-.eE", c)); }

/* The length of a number, and whether it is an integer of more digits than a double keeps. */
static size_t number(const char *s, const char *end, bool *large) {
  size_t n = 0, digits = 0;
  bool whole = true;
  for (; s + n < end && is_number_byte(s[n]); n++) {
    if (s[n] >= '0' && s[n] <= '9')
      digits++;
    else if (s[n] != '-' || n > 0)
      whole = false;
  }
  *large = whole && digits > SAFE_DIGITS && s[*s == '-'] != '0';
  return n;
}

static const char *rewrite_number(const char *s, const char *end, cx_buf *out, int *rc) {
  bool large;
  size_t n = number(s, end, &large);
  if (large) *rc = cx_buf_add(out, "\"\xFFN", 3);
  if (*rc == 0) *rc = cx_buf_add(out, s, n);
  if (large && *rc == 0) *rc = cx_buf_add(out, "\"", 1);
  return s + n;
}

static int rewrite(const char *text, size_t n, cx_buf *out) {
  int rc = 0;
  const char *s = text, *end = text + n;
  while (s < end && rc == 0) {
    if (*s == '"')
      s = rewrite_string(s, end, out, &rc);
    else if ((*s >= '0' && *s <= '9') || *s == '-')
      s = rewrite_number(s, end, out, &rc);
    else
      rc = cx_buf_add(out, s++, 1);
  }
  return rc;
}

/* Whether more than SAFE_DIGITS digits stand in a row. Such a run covers one byte of every
 * SAFE_DIGITS + 1, so that only these are looked at. */
static bool has_long_number(const char *text, size_t n) {
  for (size_t i = SAFE_DIGITS; i < n; i += SAFE_DIGITS + 1) {
    size_t first = i, end = i;
    while (end < n && text[end] >= '0' && text[end] <= '9') end++;
    if (end == i) continue;
    while (first > 0 && text[first - 1] >= '0' && text[first - 1] <= '9') first--;
    if (end - first > SAFE_DIGITS) return true;
  }
  return false;
}

/* \u0000, surrogates, \u without digits */
static bool has_special_escape(const char *text, size_t n) {
  const char *end = text + n;
  unsigned unit;
  for (const char *s = text; (s = memchr(s, '\\', (size_t)(end - s))); s++)
    if (end - s >= 2 && s[1] == 'u' &&
        (!hex4(s + 2, end, &unit) || unit == 0 || (unit >= 0xD800 && unit < 0xE000)))
      return true;
  return false;
}

/* A quick look that may cry wolf but misses nothing. */
static bool needs_rewriting(const char *text, size_t n) {
  return memchr(text, ESCAPE, n) || has_special_escape(text, n) || has_long_number(text, n);
}

/* ---- Parsing ------------------------------------------------------------------------------ */

/* cJSON reports depth as any other failure; count it where parsing failed. */
static bool too_deep(const char *text, size_t n) {
  size_t depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < n; i++) {
    if (quoted && text[i] == '\\')
      i++;
    else if (text[i] == '"')
      quoted = !quoted;
    else if (!quoted && (text[i] == '[' || text[i] == '{') && ++depth > CJSON_NESTING_LIMIT)
      return true;
    else if (!quoted && (text[i] == ']' || text[i] == '}') && depth > 0)
      depth--;
  }
  return false;
}

/* A numeral that was rewritten as a string would also pass for a key. */
static bool has_numeral_key(const cJSON *item) {
  for (; item; item = item->next) {
    const char *key = item->string;
    if (key && (unsigned char)key[0] == ESCAPE && key[1] == 'N') return true;
    if (item->child && has_numeral_key(item->child)) return true;
  }
  return false;
}

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

/* Each value of a container but the first stands behind a comma, the first behind its bracket. */
bool cx_json_is_vast(const char *text, size_t n, size_t max_values) {
  size_t values = 1;
  bool quoted = false, opened = false;
  for (size_t i = 0; i < n && values <= max_values; i++) {
    char c = text[i];
    if (quoted) {
      if (c == '\\') i++;
      if (c == '"') quoted = false;
      continue;
    }
    if (is_space(c)) continue;
    if (c == ',' || (opened && c != ']' && c != '}')) values++;
    opened = c == '[' || c == '{';
    quoted = c == '"';
  }
  return values > max_values;
}

static int parse(cx_json *json, const char *text, size_t n) {
  const char *end = text;
  json->root = cJSON_ParseWithLengthOpts(text, n, &end, 0);
  json->fail_offset = (size_t)(end - text);
  if (!json->root) return too_deep(text, n) ? CX_EDEPTH : CX_EJSON;
  while (end < text + n && *end && strchr(" \t\r\n", *end)) end++;
  if (end == text + n) return 0;
  json->fail_offset = (size_t)(end - text);
  cx_json_free(json);
  return CX_EJSON;
}

int cx_json_parse(cx_json *json, const char *text, size_t n) {
  memset(json, 0, sizeof *json);
  if (n == 0) return CX_EJSON;
  const char *nul = memchr(text, '\0', n); /* cJSON would take it and end a string there */
  if (nul) {
    json->fail_offset = (size_t)(nul - text);
    return CX_EJSON;
  }
  if (!needs_rewriting(text, n)) return parse(json, text, n);
  cx_buf copy = {0};
  int rc = rewrite(text, n, &copy);
  if (rc == 0) rc = parse(json, cx_buf_bytes(&copy), copy.len);
  json->rewritten = true;
  cx_buf_free(&copy);
  if (rc == 0 && has_numeral_key(json->root)) {
    cx_json_free(json);
    rc = CX_EJSON;
  }
  return rc;
}

void cx_json_free(cx_json *json) {
  cJSON_Delete(json->root);
  json->root = NULL;
}

int cx_json_string(const cx_json *json, const char *raw, cx_buf *scratch, const char **bytes,
                   size_t *n, cx_json_kind *kind) {
  *kind = CX_JSON_TEXT;
  *bytes = raw;
  *n = strlen(raw);
  if (!json->rewritten || !memchr(raw, ESCAPE, *n)) return 0;
  if (raw[1] == 'N' && (unsigned char)raw[0] == ESCAPE) {
    *kind = CX_JSON_NUMERAL;
    *bytes = raw + 2;
    *n -= 2;
    return 0;
  }
  cx_buf_drop(scratch, scratch->len);
  for (const char *s = raw; *s; s++) {
    char c = *s;
    if ((unsigned char)c == ESCAPE) c = *++s == '0' ? '\0' : (char)ESCAPE;
    if (cx_buf_add(scratch, &c, 1) != 0) return CX_EMEMORY;
  }
  *bytes = cx_buf_bytes(scratch);
  *n = scratch->len;
  return 0;
}

/* ---- Writing ------------------------------------------------------------------------------ */

static const char replacement[] = "\xEF\xBF\xBD"; /* U+FFFD */

/* Length of the UTF-8 sequence at s, 0 where there is none. Surrogates pass: they are ours. */
static size_t sequence(const unsigned char *s, size_t n) {
  if (s[0] < 0x80) return 1;
  size_t length = s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;
  if (s[0] < 0xC2 || s[0] > 0xF4 || length > n) return 0;
  for (size_t i = 1; i < length; i++)
    if ((s[i] & 0xC0) != 0x80) return 0;
  if ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xF0 && s[1] < 0x90) ||
      (s[0] == 0xF4 && s[1] > 0x8F))
    return 0;
  return length;
}

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

static bool is_plain(unsigned char c) { return c >= 0x20 && c < 0x7F && c != '"' && c != '\\'; }

static int quote_surrogate(cx_buf *out, const unsigned char *s, cx_json_care care) {
  char escape[8];
  if (care != CX_JSON_KEEP) return cx_buf_add(out, replacement, sizeof replacement - 1);
  snprintf(escape, sizeof escape, "\\u%04x", 0xD000u | (s[1] & 0x3Fu) << 6 | (s[2] & 0x3Fu));
  return cx_buf_add(out, escape, 6);
}

/* Writes what stands at s and is not plain; returns the bytes used, 0 for bytes that are not UTF-8,
 * or a negative code. */
static int quote_special(cx_buf *out, const unsigned char *s, size_t n, cx_json_care care) {
  if (s[0] < 0x20 || s[0] == '"' || s[0] == '\\') {
    int rc = quote_control(out, s[0]);
    return rc ? rc : 1;
  }
  size_t length = sequence(s, n);
  if (length == 3 && s[0] == 0xED && s[1] >= 0xA0) {
    int rc = quote_surrogate(out, s, care);
    return rc ? rc : 3;
  }
  int rc = cx_buf_add(out, (const char *)s, length);
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
  const unsigned char *s = (const unsigned char *)bytes;
  size_t first = 0;
  while (first < n && is_plain(s[first])) first++;
  if (first == n) return quote_plain(out, bytes, n);
  int rc = cx_buf_add(out, "\"", 1);
  for (size_t i = 0; i < n && rc == 0;) {
    size_t plain = i;
    while (plain < n && is_plain(s[plain])) plain++;
    rc = cx_buf_add(out, bytes + i, plain - i);
    i = plain;
    if (i == n || rc != 0) break;
    int used = quote_special(out, s + i, n - i, care);
    if (used == 0 && care != CX_JSON_REPAIR) {
      *bad = i;
      return CX_EJSON;
    }
    if (used == 0) rc = cx_buf_add(out, replacement, sizeof replacement - 1);
    if (used < 0) rc = used;
    i += used > 0 ? (size_t)used : 1;
  }
  return rc ? rc : cx_buf_add(out, "\"", 1);
}
