/* Secrets that were told; see secrets.h. */
#include "secrets.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "platform.h"

enum { SHORTEST = 8 };

static bool is_known(const cx_secrets *secrets, cx_span secret) {
  for (size_t i = 0; i < secrets->count; i++)
    if (secrets->list[i].n == secret.n && memcmp(secrets->list[i].at, secret.at, secret.n) == 0)
      return true;
  return false;
}

int cx_secrets_tell(cx_secrets *secrets, const char *text) {
  cx_span secret = {text, strlen(text)};
  if (secret.n < SHORTEST) return CX_EARGUMENT;
  if (is_known(secrets, secret)) return 0;
  cx_span *list = realloc(secrets->list, (secrets->count + 1) * sizeof *list);
  if (!list) return CX_EMEMORY;
  secrets->list = list;
  secret.at = strdup(text);
  if (!secret.at) return CX_EMEMORY;
  list[secrets->count++] = secret;
  secrets->begins[(unsigned char)*text] = true;
  for (const char *mark = "\\%+"; *mark; mark++) secrets->begins[(unsigned char)*mark] = true;
  return 0;
}

void cx_secrets_free(cx_secrets *secrets) {
  for (size_t i = 0; i < secrets->count; i++) {
    char *secret = (char *)secrets->list[i].at;
    cx__wipe(secret, secrets->list[i].n);
    free(secret);
  }
  free(secrets->list);
  memset(secrets, 0, sizeof *secrets);
}

/* ---- Spellings --------------------------------------------------------------------------------
 */

/* The value of n hexadecimal digits; -1 where there are none. */
static long hex(cx_span r, size_t n) {
  long value = 0;
  if (r.n < n) return -1;
  for (size_t i = 0; i < n; i++) {
    int c = tolower((unsigned char)r.at[i]);
    if (!isxdigit(c)) return -1;
    value = value * 16 + (isdigit(c) ? c - '0' : c - 'a' + 10);
  }
  return value;
}

static long hex_behind(cx_span r, const char *mark, size_t n) {
  size_t length = strlen(mark);
  if (r.n < length || memcmp(r.at, mark, length) != 0) return -1;
  return hex((cx_span){r.at + length, r.n - length}, n);
}

static size_t utf8(unsigned code, char *bytes) {
  size_t n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  for (size_t i = n - 1; i > 0; i--, code >>= 6) bytes[i] = (char)(0x80 | (code & 0x3f));
  static const unsigned char first[] = {0, 0, 0xc0, 0xe0, 0xf0};
  bytes[0] = (char)(first[n] | code);
  return n;
}

/* What an escape stands for. */
typedef struct {
  size_t length; /* of the escape; 0: none begins here */
  char bytes[4];
  size_t n;
} escape;

/* \u00e9, and two of them for what lies beyond U+FFFF */
static escape unicode(cx_span r) {
  escape e = {.length = 6};
  long code = hex_behind(r, "\\u", 4);
  if (code < 0) return (escape){0};
  if (code >= 0xd800 && code < 0xdc00 && r.n >= 12) {
    long low = hex_behind((cx_span){r.at + 6, r.n - 6}, "\\u", 4);
    if (low >= 0xdc00 && low < 0xe000) {
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
      e.length = 12;
    }
  }
  e.n = utf8((unsigned)code, e.bytes);
  return e;
}

static escape escape_at(cx_span r) {
  static const char letters[] = "ntrbf\"\\/", bytes[] = "\n\t\r\b\f\"\\/";
  if (*r.at == '+') return (escape){.length = 1, .bytes = " ", .n = 1};
  if (*r.at == '%') {
    long value = hex_behind(r, "%", 2);
    return value < 0 ? (escape){0} : (escape){.length = 3, .bytes = {(char)value}, .n = 1};
  }
  if (*r.at != '\\' || r.n < 2) return (escape){0};
  const char *letter = r.at[1] ? strchr(letters, r.at[1]) : NULL;
  if (letter) return (escape){.length = 2, .bytes = {bytes[letter - letters]}, .n = 1};
  return unicode(r);
}

/* The length of the secret in the text, each byte as it is or escaped. */
static size_t spelled(cx_span secret, cx_span text) {
  size_t at = 0;
  for (size_t i = 0; i < secret.n;) {
    if (at == text.n) return 0;
    cx_span rest = {text.at + at, text.n - at};
    escape e = escape_at(rest);
    if (e.length && e.n <= secret.n - i && memcmp(e.bytes, secret.at + i, e.n) == 0) {
      i += e.n;
      at += e.length;
    } else if (*rest.at == secret.at[i]) {
      i++;
      at++;
    } else {
      return 0;
    }
  }
  return at;
}

static size_t length_at(cx_span secret, cx_span text) {
  if (secret.n <= text.n && memcmp(text.at, secret.at, secret.n) == 0) return secret.n;
  return spelled(secret, text);
}

size_t cx_secrets_at(const cx_secrets *secrets, cx_span text) {
  size_t longest = 0;
  if (text.n == 0 || !secrets->begins[(unsigned char)*text.at]) return 0;
  for (size_t i = 0; i < secrets->count; i++) {
    size_t length = length_at(secrets->list[i], text);
    if (length > longest) longest = length;
  }
  return longest;
}
