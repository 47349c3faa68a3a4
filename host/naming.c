/* Names and values; see naming.h. Nothing here looks at more than LONGEST bytes. */
#include "naming.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "platform.h"

/* In bytes. */
enum {
  LONGEST = 128,
  RANDOM_WORD = 24,
  RANDOM_NAME = 32,
  SHORTEST_BASIC = 8,
  SHORTEST_SCRAMBLED = 16,
  PIECE = 4
};

static bool has_char(const char *set, char c) { return c && strchr(set, c); }

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
static bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
static bool is_letter(char c) { return is_upper(c) || is_lower(c); }

static cx_span head(cx_span r) { return (cx_span){r.at, r.n < LONGEST ? r.n : LONGEST}; }

static bool is_all(cx_span r, const char *extra) {
  for (size_t i = 0; i < r.n; i++)
    if (!is_letter(r.at[i]) && !is_digit(r.at[i]) && !has_char(extra, r.at[i])) return false;
  return true;
}

/* Whether one of the words, which end with NULL, is all of it, whatever the case. */
static bool is_one_of(const char *const *words, cx_span r) {
  for (; *words; words++)
    if (strlen(*words) == r.n && strncasecmp(*words, r.at, r.n) == 0) return true;
  return false;
}

/* ---- Names ------------------------------------------------------------------------------------
 */

static const char *const names[] = {"authorization", "proxyauthorization",
                                    "cookie",        "cookies",
                                    "credential",    "credentials",
                                    "pat",           "secret",
                                    "secrets",       "token",
                                    "psk",           NULL};

/* What a name ends with, once '_' and '-' are gone. */
static const char *const endings[] = {"apikey",
                                      "apitoken",
                                      "password",
                                      "passwd",
                                      "passphrase",
                                      "privatekey",
                                      "secretkey",
                                      "signingkey",
                                      "setcookie",
                                      "usercode",
                                      "devicecode",
                                      "deviceauthid",
                                      "codeverifier",
                                      "sessioncookie",
                                      "accesskey",
                                      "idtoken",
                                      "accesstoken",
                                      "authtoken",
                                      "refreshtoken",
                                      "bearertoken",
                                      "sessiontoken",
                                      "clientsecret",
                                      "encryptionkey",
                                      "accountkey",
                                      "identitytoken",
                                      "passwords",
                                      "sessionkey",
                                      "subscriptionkey",
                                      "presharedkey",
                                      "secretkeybase",
                                      "licensekey",
                                      "sharedaccesssignature",
                                      NULL};

/* The last word of a name in words: github_token, webhookSecret. */
static const char *const last_words[] = {"token", "secret", "pat", "cookie", NULL};

/* These are places in lists, or the protocol's own. */
static const char *const harmless[] = {"progresstoken",
                                       "pagetoken",
                                       "nextpagetoken",
                                       "nexttoken",
                                       "synctoken",
                                       "issecret",
                                       "deltatoken",
                                       "continuationtoken",
                                       "cancellationtoken",
                                       "pwd",
                                       "maxtoken",
                                       "oldpwd",
                                       NULL};

bool cx_naming_ends_with(cx_span name, const char *ending) {
  size_t n = strlen(ending);
  return name.n >= n && strncasecmp(name.at + name.n - n, ending, n) == 0;
}

/* Whether the name's last word is this one: after '_' or '-', or with a capital letter of its own.
 */
static bool has_last_word(cx_span name, const char *word) {
  size_t n = strlen(word);
  if (name.n <= n || !cx_naming_ends_with(name, word)) return false;
  const char *first = name.at + name.n - n;
  return has_char("_-", first[-1]) || (is_upper(first[0]) && is_lower(first[-1]));
}

/* GITHUB_TOKEN, DB_PASSWD, SOME_KEY */
static bool is_variable(cx_span name) {
  for (size_t i = 0; i < name.n; i++)
    if (!is_upper(name.at[i]) && !is_digit(name.at[i]) && name.at[i] != '_') return false;
  return cx_naming_ends_with(name, "_KEY") || cx_naming_ends_with(name, "TOKEN") ||
         cx_naming_ends_with(name, "SECRET") || cx_naming_ends_with(name, "_PASS") ||
         cx_naming_ends_with(name, "_PWD");
}

/* The name without what parts its words; nothing of what is no name, but a sentence. */
static size_t squeeze(cx_span name, char *plain) {
  size_t length = 0, blanks = 0;
  if (!is_all(name, "_- ")) return 0;
  for (size_t i = 0; i < name.n; i++) blanks += name.at[i] == ' ';
  if (blanks > 2) return 0;
  for (size_t i = 0; i < name.n; i++)
    if (!has_char("_- ", name.at[i])) plain[length++] = name.at[i];
  return length;
}

/* The last part of a dotted name, without quotes; none where it is too long. */
static cx_span last_part(cx_span name) {
  bool is_long = name.n > LONGEST;
  if (is_long) name = (cx_span){name.at + name.n - LONGEST, LONGEST};
  const char *dot = cx__last(name.at, '.', name.n);
  if (is_long && !dot) return (cx_span){name.at, 0};
  if (dot) name = (cx_span){dot + 1, name.n - (size_t)(dot + 1 - name.at)};
  while (name.n && has_char("'\"", name.at[name.n - 1])) name.n--;
  while (name.n && has_char("'\"", *name.at)) name = (cx_span){name.at + 1, name.n - 1};
  return name;
}

static bool has_secret_ending(cx_span name, cx_span squeezed) {
  for (const char *const *ending = endings; *ending; ending++)
    if (cx_naming_ends_with(squeezed, *ending)) return true;
  for (const char *const *word = last_words; *word; word++)
    if (has_last_word(name, *word)) return true;
  return false;
}

bool cx_naming_is_secret(cx_span whole) {
  char plain[LONGEST];
  cx_span name = last_part(whole);
  cx_span squeezed = {plain, squeeze(name, plain)};
  if (squeezed.n == 0 || is_one_of(harmless, squeezed)) return false;
  return is_one_of(names, squeezed) || is_variable(name) || has_secret_ending(name, squeezed);
}

bool cx_naming_may_be_secret(cx_span whole) {
  static const char *const own[] = {"auth",   "_auth", "pass",   "pwd",
                                    "bearer", "otp",   "tokens", NULL};
  return is_one_of(own, last_part(whole));
}

bool cx_naming_is_secret_path(cx_span path) {
  size_t first = 0;
  for (size_t i = 0; i <= path.n; i++) {
    if (i < path.n && !has_char(".,[]\"'\\ \t\r\n", path.at[i])) continue;
    if (i > first && cx_naming_is_secret((cx_span){path.at + first, i - first})) return true;
    first = i + 1;
  }
  return false;
}

/* ---- Values -----------------------------------------------------------------------------------
 */

/* Words that follow "--token" or "Bearer" in sentences about them. */
static const char *const prose[] = {"a",
                                    "an",
                                    "and",
                                    "are",
                                    "as",
                                    "auth",
                                    "authentication",
                                    "authorization",
                                    "basic",
                                    "but",
                                    "by",
                                    "can",
                                    "cannot",
                                    "flag",
                                    "for",
                                    "from",
                                    "header",
                                    "if",
                                    "in",
                                    "instead",
                                    "is",
                                    "it",
                                    "may",
                                    "must",
                                    "needs",
                                    "not",
                                    "of",
                                    "on",
                                    "option",
                                    "or",
                                    "required",
                                    "requires",
                                    "scheme",
                                    "that",
                                    "the",
                                    "to",
                                    "token",
                                    "tokens",
                                    "via",
                                    "was",
                                    "when",
                                    "with",
                                    "value",
                                    "argument",
                                    "unless",
                                    "will",
                                    "be",
                                    "does",
                                    "expired",
                                    "failed",
                                    "file",
                                    "given",
                                    "has",
                                    "have",
                                    "invalid",
                                    "limit",
                                    "missing",
                                    "only",
                                    "rejected",
                                    "should",
                                    "support",
                                    "usage",
                                    "which",
                                    NULL};

static const char *const no_values[] = {"true", "false", "null", "none", "nil", "yes", "no", NULL};

bool cx_naming_is_prose(cx_span value) { return is_one_of(prose, value); }

bool cx_naming_looks_random(cx_span value) {
  bool digit = false, letter = false, mixed = false;
  cx_span r = head(value);
  for (size_t i = 0; i < r.n; i++) {
    digit = digit || is_digit(r.at[i]);
    letter = letter || is_letter(r.at[i]);
    mixed = mixed || (i > 0 && is_upper(r.at[i]) && is_lower(r.at[i - 1]));
  }
  return letter && ((digit && r.n >= 6) || (mixed && r.n >= 16) || r.n >= RANDOM_WORD);
}

bool cx_naming_is_identifier(cx_span value) {
  bool parted = false;
  for (size_t i = 0; i < head(value).n; i++) {
    if (!is_letter(value.at[i]) && !has_char("_.", value.at[i])) return false;
    parted = parted || !is_letter(value.at[i]);
  }
  return parted || value.n < RANDOM_NAME;
}

/* A longer one is not worth the look: it is taken for a value. */
bool cx_naming_is_reference(cx_span value) {
  if (value.n == 0 || has_char("$-", *value.at)) return true;
  if (value.n > LONGEST) return false;
  size_t dots = 0;
  while (dots < value.n && has_char(".*xX", value.at[dots])) dots++;
  return dots == value.n || is_one_of(no_values, value) || cx_naming_is_secret(value);
}

bool cx_naming_is_placeholder(cx_span value) {
  for (size_t i = 0; i < head(value).n; i++)
    if (!is_upper(value.at[i]) && value.at[i] != '_') return false;
  return value.n <= 12;
}

static int digit_of_base64(char c) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const char *found = c ? strchr(digits, c) : NULL;
  return found ? (int)(found - digits) : -1;
}

static bool is_basic(cx_span value) {
  bool colon = false;
  unsigned bits = 0;
  cx_span r = head(value);
  while (r.n && r.at[r.n - 1] == '=') r.n--;
  for (size_t i = 0; i < r.n; i++) {
    int digit = digit_of_base64(r.at[i]);
    if (digit < 0) return false;
    bits = (bits << 6 | (unsigned)digit) & 0xffff;
    unsigned byte = bits >> (6 - 2 * (i % 4)) & 0xff; /* whole at all but the first of four */
    if (i % 4 == 0) continue;
    if (byte < ' ' || byte == 0x7f) return false;
    colon = colon || byte == ':';
  }
  return colon && r.n >= SHORTEST_BASIC;
}

/* What a letter or digit is, and 0 for all else. */
static char class_of(char c) {
  if (is_digit(c)) return '0';
  if (is_upper(c)) return 'A';
  return is_lower(c) ? 'a' : '\0';
}

/* Whether letters and digits alternate as in no word, and in no name that is put together from
 * words: "chatgptAuthTokens0" has four pieces, and as long a random text has eight or nine. */
static bool is_scrambled(cx_span value) {
  size_t pieces = 0;
  bool digit = false, letter = false;
  cx_span r = head(value);
  for (size_t i = 0; i < r.n; i++) {
    char class = class_of(r.at[i]), before = '\0';
    if (i) before = class_of(r.at[i - 1]);
    digit = digit || class == '0';
    letter = letter || class > '0';
    pieces += class && class != before && !(class == 'a' && before == 'A');
  }
  return digit && letter && r.n >= SHORTEST_SCRAMBLED && pieces * PIECE >= r.n;
}

/* Neither is a path or a URL, of which some have as many digits. */
bool cx_naming_is_telling(cx_span value) {
  if (value.n == 0 || has_char("/~.$", *value.at)) return false;
  return is_basic(value) || (is_scrambled(value) && !cx__find(value.at, value.n, "/", 1));
}
