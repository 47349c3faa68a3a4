/* Shapes and names of secrets; see redact.h. */
#include "redact.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

/* In bytes. What is looked at and then left alone must be bounded: the time would be squared. */
enum {
  NAME_MAX_LENGTH = 128,
  RANDOM_WORD = 24,
  CALL_LENGTH = 256,
  KEY_LENGTH = 16384,
  JWT_HEAD = 1024
};

/* What is left of a text. */
typedef struct {
  const char *at;
  size_t n;
} rest;

static rest after(rest r, size_t n) { return (rest){r.at + n, r.n - n}; }

static bool starts(rest r, const char *word) {
  size_t length = strlen(word);
  return r.n >= length && strncasecmp(r.at, word, length) == 0;
}

static bool has_char(const char *set, char c) { return c && strchr(set, c); }

static bool is_alnum(char c) { return isalnum((unsigned char)c) != 0; }

static size_t span_of(rest r, const char *extra) {
  size_t i = 0;
  while (i < r.n && (is_alnum(r.at[i]) || has_char(extra, r.at[i]))) i++;
  return i;
}

static size_t spaces(rest r) {
  size_t i = 0;
  while (i < r.n && r.at[i] == ' ') i++;
  return i;
}

/* Whether one of the words, which end with NULL, is all of it, whatever the case. */
static bool is_one_of(const char *const *words, rest r) {
  for (; *words; words++)
    if (strlen(*words) == r.n && strncasecmp(*words, r.at, r.n) == 0) return true;
  return false;
}

/* ---- Names ------------------------------------------------------------------------------------
 */

static const char *const names[] = {"authorization", "proxyauthorization",
                                    "cookie",        "cookies",
                                    "credentials",   "pat",
                                    "secret",        "secrets",
                                    "token",         NULL};

/* What a name ends with, once '_' and '-' are gone. */
static const char *const endings[] = {
    "apikey",       "apitoken",      "password",      "passwd",
    "passphrase",   "privatekey",    "secretkey",     "signingkey",
    "setcookie",    "usercode",      "devicecode",    "deviceauthid",
    "codeverifier", "sessioncookie", "accesskey",     "idtoken",
    "accesstoken",  "authtoken",     "refreshtoken",  "bearertoken",
    "sessiontoken", "clientsecret",  "encryptionkey", NULL};

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

static bool ends_with(rest r, const char *ending) {
  size_t n = strlen(ending);
  return r.n >= n && strncasecmp(r.at + r.n - n, ending, n) == 0;
}

/* Whether the name's last word is this one: after '_' or '-', or with a capital letter of its own.
 */
static bool has_last_word(rest name, const char *word) {
  size_t n = strlen(word);
  if (name.n <= n || !ends_with(name, word)) return false;
  const char *first = name.at + name.n - n;
  return has_char("_-", first[-1]) || (isupper((unsigned char)first[0]) && islower(first[-1]));
}

/* GITHUB_TOKEN, DB_PASSWD, SOME_KEY */
static bool is_variable(rest name) {
  for (size_t i = 0; i < name.n; i++)
    if (!isupper((unsigned char)name.at[i]) && !isdigit((unsigned char)name.at[i]) &&
        name.at[i] != '_')
      return false;
  return ends_with(name, "_KEY") || ends_with(name, "TOKEN") || ends_with(name, "SECRET") ||
         ends_with(name, "_PASS") || ends_with(name, "_PWD");
}

/* The name without what parts its words; nothing of what is no name, but a sentence. */
static size_t squeeze(rest name, char *plain) {
  size_t length = 0, blanks = 0;
  if (span_of(name, "_- ") != name.n) return 0;
  for (size_t i = 0; i < name.n; i++) blanks += name.at[i] == ' ';
  if (blanks > 2) return 0;
  for (size_t i = 0; i < name.n; i++)
    if (!has_char("_- ", name.at[i])) plain[length++] = name.at[i];
  return length;
}

bool cx_redact_is_name(const char *text, size_t n) {
  const char *dot = memrchr(text, '.', n);
  rest name = dot ? (rest){dot + 1, n - (size_t)(dot + 1 - text)} : (rest){text, n};
  while (name.n && has_char("'\"", name.at[name.n - 1])) name.n--;
  while (name.n && has_char("'\"", *name.at)) name = after(name, 1);
  char plain[NAME_MAX_LENGTH];
  if (name.n == 0 || name.n > sizeof plain) return false;
  rest squeezed = {plain, squeeze(name, plain)};
  if (squeezed.n == 0 || is_one_of(harmless, squeezed)) return false;
  if (is_one_of(names, squeezed) || is_variable(name)) return true;
  for (const char *const *ending = endings; *ending; ending++)
    if (ends_with(squeezed, *ending)) return true;
  for (const char *const *word = last_words; *word; word++)
    if (has_last_word(name, *word)) return true;
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
                                    NULL};

static const char *const no_values[] = {"true", "false", "null", "none", "nil", "yes", "no", NULL};

static bool looks_random(rest r) {
  bool digit = false, letter = false, mixed = false;
  for (size_t i = 0; i < r.n; i++) {
    digit = digit || isdigit((unsigned char)r.at[i]);
    letter = letter || isalpha((unsigned char)r.at[i]);
    mixed = mixed || (i > 0 && isupper((unsigned char)r.at[i]) && islower(r.at[i - 1]));
  }
  return letter && ((digit && r.n >= 6) || (mixed && r.n >= 16) || r.n >= RANDOM_WORD);
}

/* Up to the same quote, which may stand behind a backslash, as in JSON within JSON. */
static size_t quoted_value(rest r, size_t *open) {
  size_t slashes = 0;
  while (slashes < r.n && r.at[slashes] == '\\') slashes++;
  if (slashes == r.n || !has_char("\"'", r.at[slashes])) return 0;
  *open = slashes + 1;
  size_t i = *open, escapes = 0;
  for (; i < r.n && r.at[i] != '\n'; i++) {
    if (r.at[i] == r.at[slashes] && escapes <= slashes) break;
    escapes = r.at[i] == '\\' ? escapes + 1 : 0;
  }
  if (i < r.n) i -= escapes; /* those belong to the quote */
  return i > *open ? i - *open : 0;
}

/* What help texts put in place of a value. */
static bool is_placeholder(rest value) {
  for (size_t i = 0; i < value.n; i++)
    if (!isupper((unsigned char)value.at[i]) && value.at[i] != '_') return false;
  return value.n <= 12;
}

static size_t bare_value(rest r) {
  size_t i = 0;
  while (i < r.n && !isspace((unsigned char)r.at[i]) && !has_char("&;|<>()\"'`,{}[]\\", r.at[i]))
    i++;
  if (i < CALL_LENGTH && i < r.n && r.at[i] == '(') return 0; /* a call in somebody's code */
  return i;
}

/* A value that says of itself that it is none: $TOKEN, true, user.password, "...". */
static bool is_reference(rest value) {
  size_t dots = 0;
  while (dots < value.n && has_char(".*xX", value.at[dots])) dots++;
  return dots == value.n || *value.at == '$' || *value.at == '-' || is_one_of(no_values, value) ||
         cx_redact_is_name(value.at, value.n);
}

/* Behind "Authorization: ": the scheme may be shown. */
static size_t authorization(rest r, size_t *keep) {
  static const char *const schemes[] = {"bearer ", "basic ", "digest ", "token ", "apikey "};
  for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
    if (!starts(r, schemes[i])) continue;
    *keep = strlen(schemes[i]);
    rest value = after(r, *keep);
    value.n = span_of(value, "-._~+/=:");
    return value.n && !is_one_of(prose, value) ? *keep + value.n : 0;
  }
  rest value = {r.at, bare_value(r)};
  *keep = 0;
  return looks_random(value) ? value.n : 0;
}

/* Behind "Cookie: ": all of the line. */
static size_t cookie(rest r) {
  size_t name = span_of(r, "-_."), i = name;
  if (name == 0 || name == r.n || r.at[name] != '=') return 0;
  while (i < r.n && !has_char("\r\n\"'`\\", r.at[i])) i++;
  return i;
}

/* What stands behind a colon, which also ends clauses. */
static size_t behind_colon(rest name, rest r, size_t *keep) {
  if (ends_with(name, "authorization")) return authorization(r, keep);
  *keep = 0;
  if (ends_with(name, "cookie")) return cookie(r);
  rest value = {r.at, bare_value(r)};
  return looks_random(value) && !is_reference(value) ? value.n : 0;
}

/* Behind a name: an optional quote, a mark, and a value. */
static size_t assigned(rest name, rest r, bool is_option, size_t *keep) {
  size_t at = 0, open = 0, before_mark;
  while (at < r.n && r.at[at] == '\\') at++;
  at = at < r.n && has_char("\"'", r.at[at]) ? at + 1 : 0;
  bool was_quoted = at > 0;
  before_mark = at;
  at += spaces(after(r, at));
  if (at == r.n) return 0;
  char mark = r.at[at];
  if (mark == '=' || mark == ':') {
    at++;
    if (at < r.n && has_char("=:~", r.at[at])) return 0; /* ==, ::, =~ */
  } else if (!is_option || was_quoted || at == before_mark) {
    return 0;
  }
  size_t gap = spaces(after(r, at));
  rest text = after(r, at + gap);
  size_t quoted = quoted_value(text, &open);
  if (quoted) {
    *keep = at + gap + open;
    rest value = after(text, open);
    value.n = quoted;
    size_t shown = 0;
    if (ends_with(name, "authorization") && authorization(value, &shown)) *keep += shown;
    return is_reference(value) ? 0 : at + gap + open + quoted;
  }
  if (mark == ':') {
    size_t shown = 0, length = behind_colon(name, text, &shown);
    *keep = at + gap + shown;
    return length ? at + gap + length : 0;
  }
  if (mark == '=' && (gap || at != before_mark + 1)) return 0;
  if (text.n == 0 || has_char("$-", *text.at)) return 0;
  rest value = {text.at, bare_value(text)};
  *keep = at + gap;
  if (value.n == 0 || is_reference(value) || is_one_of(prose, value)) return 0;
  if (is_option && (gap > 1 || is_placeholder(value))) return 0;
  return at + gap + value.n;
}

/* ---- Shapes -----------------------------------------------------------------------------------
 */

static const struct {
  const char *prefix, *extra; /* exactly so, then letters, digits and these */
  size_t least;               /* behind the prefix */
} shapes[] = {{"sk-", "-_", 13},     {"sk_live_", "", 10},    {"sk_test_", "", 10},
              {"rk_live_", "", 10},  {"rk_test_", "", 10},    {"whsec_", "", 16},
              {"ghp_", "", 10},      {"gho_", "", 10},        {"ghu_", "", 10},
              {"ghs_", "", 10},      {"ghr_", "", 10},        {"github_pat_", "_", 10},
              {"glpat-", "-_.", 10}, {"gldt-", "-_", 10},     {"glrt-", "-_.", 10},
              {"xoxa-", "-", 8},     {"xoxb-", "-", 8},       {"xoxp-", "-", 8},
              {"xoxr-", "-", 8},     {"xoxs-", "-", 8},       {"xapp-", "-", 8},
              {"AKIA", "", 12},      {"ASIA", "", 12},        {"AIza", "-_", 20},
              {"ya29.", "-_", 16},   {"npm_", "", 20},        {"hf_", "", 16},
              {"pypi-", "-_", 24},   {"dop_v1_", "", 20},     {"SG.", "-_.", 30},
              {"shpat_", "", 16},    {"gsk_", "", 20},        {"xai-", "", 20},
              {"r8_", "", 20},       {"dckr_pat_", "-_", 10}, {"hvs.", "-_", 16},
              {"glsa_", "_", 20},    {"sess-", "", 20},       {"tvly-", "-", 16},
              {"lin_api_", "", 16},  {"ATATT3", "-_=", 20},   {"AGE-SECRET-KEY-", "", 20}};

static size_t shape(rest r) {
  if (!has_char("sSgxAynhprwdlta", *r.at)) return 0;
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    size_t prefix = strlen(shapes[i].prefix);
    if (*r.at != *shapes[i].prefix && i != 0) continue;
    if (i == 0 ? !starts(r, "sk-") : r.n < prefix || memcmp(r.at, shapes[i].prefix, prefix) != 0)
      continue;
    size_t length = span_of(after(r, prefix), shapes[i].extra);
    if (length >= shapes[i].least) return prefix + length;
  }
  return 0;
}

static size_t web_token(rest r) {
  if (*r.at != 'e' || r.n < 30 || memcmp(r.at, "eyJ", 3) != 0) return 0;
  size_t head = span_of((rest){r.at, r.n < JWT_HEAD ? r.n : JWT_HEAD}, "-_");
  size_t length = head < r.n && r.at[head] == '.' ? span_of(r, "-_.") : 0;
  return length >= 30 ? length : 0;
}

/* "Bearer" and something that is no word. */
static size_t scheme(rest r, size_t *keep) {
  if (!has_char("bB", *r.at)) return 0;
  *keep = starts(r, "bearer ") ? 7 : starts(r, "basic ") ? 6 : 0;
  if (*keep == 0) return 0;
  rest value = after(r, *keep);
  value.n = span_of(value, "-._~+/=");
  return looks_random(value) ? *keep + value.n : 0;
}

static size_t find_mark(rest r, const char *mark) {
  const char *found = memmem(r.at, r.n, mark, strlen(mark));
  return found ? (size_t)(found - r.at) : r.n;
}

/* The body of a private key, up to its end or the text's. */
static size_t private_key(rest r, size_t *keep) {
  if (!starts(r, "-----BEGIN ")) return 0;
  size_t name = 11 + span_of(after(r, 11), " ");
  if (!starts(after(r, name), "-----") || !memmem(r.at, name, "PRIVATE KEY", 11)) return 0;
  *keep = name + 5;
  rest body = after(r, *keep);
  if (body.n > KEY_LENGTH) body.n = KEY_LENGTH;
  body.n = find_mark(body, "-----END");
  size_t gap = spaces(body), length = gap;
  if (gap == body.n || (!has_char("\r\n\\", body.at[gap]) && span_of(after(body, gap), "+/=") < 16))
    return 0;
  while (length < body.n && (isspace((unsigned char)body.at[length]) || is_alnum(body.at[length]) ||
                             has_char("+/=\\:,-", body.at[length])))
    length++;
  return *keep + length;
}

/* "://user:password@" */
static size_t url_password(rest r, size_t *keep) {
  static const char ends[] = "/@\"'<>`\\ \t\r\n";
  size_t i = 3, colon = 0;
  for (; i < r.n && !has_char(ends, r.at[i]); i++)
    if (r.at[i] == ':' && !colon) colon = i;
  if (!colon || i == r.n || r.at[i] != '@' || i == colon + 1 || r.at[colon + 1] == '$') return 0;
  *keep = colon + 1;
  return i;
}

/* "-u user:password" */
static size_t user_option(rest r, size_t *keep) {
  size_t option = starts(r, "-u ") ? 3 : starts(r, "--user ") ? 7 : 0;
  if (starts(r, "--proxy-user ")) option = 13;
  if (option == 0) return 0;
  rest value = after(r, option);
  size_t quote = value.n && has_char("\"'", *value.at);
  size_t length = bare_value(after(value, quote));
  const char *colon = memchr(value.at + quote, ':', length);
  if (!colon) return 0;
  *keep = (size_t)(colon + 1 - r.at);
  rest password = after(r, *keep);
  password.n = option + quote + length - *keep;
  size_t digits = 0; /* numbers are a user and a group */
  while (digits < password.n && isdigit((unsigned char)password.at[digits])) digits++;
  if (digits == password.n || *password.at == '$') return 0;
  return *keep + password.n;
}

/* What an authorization server hands over in a URL. */
static size_t query(rest r, size_t *keep) {
  static const char *const own[] = {"code", "state", "sig", "signature", "nonce", NULL};
  rest name = {r.at, span_of(r, "_-")};
  if (name.n == 0 || name.n == r.n || r.at[name.n] != '=' || !is_one_of(own, name)) return 0;
  *keep = name.n + 1;
  size_t value = bare_value(after(r, *keep));
  return value ? *keep + value : 0;
}

/* ---- All of it --------------------------------------------------------------------------------
 */

/* Whether a value may follow: most words are followed by another one. */
static bool has_mark(rest r, bool is_option) {
  if (r.n == 0 || !has_char("=:\"'\\ ", *r.at)) return false;
  size_t gap = spaces(r);
  return gap == 0 || is_option || (gap < r.n && has_char("=:", r.at[gap]));
}

/* A name and what it is given. Dashes before it make it an option. */
static size_t named(rest r, size_t *keep) {
  size_t dashes = 0;
  while (dashes < 2 && dashes < r.n && r.at[dashes] == '-') dashes++;
  rest name = after(r, dashes);
  name.n = span_of(name, "_-.");
  rest value = after(r, dashes + name.n);
  if (name.n == 0 || name.n > NAME_MAX_LENGTH || !has_mark(value, dashes > 0)) return 0;
  if (!cx_redact_is_name(name.at, name.n)) return 0;
  size_t length = assigned(name, value, dashes > 0, keep);
  *keep += dashes + name.n;
  return length ? dashes + name.n + length : 0;
}

static size_t at_word(rest r, char before, size_t *keep) {
  *keep = 0;
  size_t length = shape(r);
  if (length == 0) length = web_token(r);
  if (length) return length;
  if ((length = scheme(r, keep)) != 0) return length;
  if (has_char("?&#", before) && (length = query(r, keep)) != 0) return length;
  return has_char("_-.", before) ? 0 : named(r, keep);
}

/* What comes before a word; a letter that belongs to an escape of JSON is not part of one. */
static char before_word(const char *text, size_t at) {
  if (at == 0) return '\0';
  if (at >= 2 && text[at - 2] == '\\' && has_char("bfnrt", text[at - 1])) return '\n';
  if (at >= 6 && text[at - 6] == '\\' && text[at - 5] == 'u') return '\n';
  return text[at - 1];
}

size_t cx_redact_at(const char *text, size_t n, size_t at, size_t *keep) {
  rest r = {text + at, n - at};
  char before = before_word(text, at);
  size_t length = 0;
  *keep = 0;
  if (*r.at == ':' && starts(r, "://")) length = url_password(r, keep);
  if (*r.at == '-') length = private_key(r, keep);
  if (length == 0 && *r.at == '-' && !is_alnum(before)) length = user_option(r, keep);
  /* A secret begins at a word's edge: "risk-..." holds no key. */
  if (length == 0 && !is_alnum(before)) length = at_word(r, before, keep);
  if (length == 0) *keep = 0;
  return length;
}
