/* Shapes and names of secrets; see redact.h. */
#include "redact.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "naming.h"
#include "platform.h"

/* In bytes.
 *
 * A rule sees WINDOW bytes of a text and no more. It says whether they begin a secret, and what
 * ends it; `measure` then goes on to that end, and the caller goes on behind it. So each rule
 * looks at a byte at most WINDOW times, and once more where the byte is taken: the time grows with
 * the length of a text, whatever is in it. */
enum {
  WINDOW = 1024,
  SHAPE_LENGTH = 128,
  CALL_LENGTH = 256,
  KEY_LENGTH = 16384,
  COLOUR_LENGTH = 24,
  COMMAND_LENGTH = 200,
  SLASHES = 16
};

/* What ends a value. */
typedef struct {
  enum { RUN, UNTIL, QUOTED, LAST_AT, KEY, HEADER, INDENTED, BRACKETS } kind;
  const char *set; /* RUN: letters, digits and these; UNTIL, LAST_AT: all but these */
  char quote;
  size_t slashes; /* before each quote, as in JSON within JSON */
} extent;

/* What a rule finds, all of it counted from where the rule begins. */
typedef struct {
  size_t keep; /* may be shown */
  size_t from; /* where the extent is measured */
  extent extent;
  cx_span quote; /* as in cx_redact_found */
} find;

static const extent bare = {.kind = UNTIL, .set = " \t\r\n\v\f\x1b&;|<>()\"'`,{}[]\\"};

/* ---- Bytes ------------------------------------------------------------------------------------
 */

static cx_span after(cx_span r, size_t n) { return (cx_span){r.at + n, r.n - n}; }

static bool starts(cx_span r, const char *word) {
  size_t length = strlen(word);
  return r.n >= length && strncasecmp(r.at, word, length) == 0;
}

static bool has_char(const char *set, char c) { return c && strchr(set, c); }

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
static bool is_alnum(char c) { return is_letter(c) || is_digit(c); }

static size_t run(cx_span r, const char *extra) {
  size_t i = 0;
  while (i < r.n && (is_alnum(r.at[i]) || has_char(extra, r.at[i]))) i++;
  return i;
}

static size_t until(cx_span r, const char *set) {
  size_t i = 0;
  while (i < r.n && !has_char(set, r.at[i])) i++;
  return i;
}

static size_t slashes(cx_span r) {
  size_t i = 0;
  while (i < r.n && r.at[i] == '\\') i++;
  return i;
}

/* How the escape character is written: as it is, in JSON, in source code, by our own log. */
static const char *const escapes[] = {"\x1b", "\\u001b", "\\x1b", "\\033", "\\e", "^["};
enum { ESCAPES = sizeof escapes / sizeof *escapes };

/* The length of what sets a colour: an escape, '[', and parameters up to a letter. */
static size_t colour(cx_span r) {
  size_t i = 0, which = 0;
  if (r.n == 0 || !has_char("\x1b\\^", *r.at)) return 0;
  while (which < ESCAPES && !starts(r, escapes[which])) which++;
  if (which == ESCAPES) return 0;
  i = strlen(escapes[which]);
  if (i == r.n || r.at[i] != '[') return 0;
  for (i++; i < r.n && i < COLOUR_LENGTH && r.at[i] >= ' ' && r.at[i] <= '?';) i++;
  return i < r.n && r.at[i] >= '@' && r.at[i] <= '~' ? i + 1 : 0;
}

/* One space or tab, or what makes it coloured; in JSON within JSON with more backslashes. */
static size_t blank(cx_span r) {
  if (has_char(" \t", *r.at)) return 1;
  if (!has_char("\x1b\\^", *r.at)) return 0;
  size_t s = slashes(r);
  if (s && s < r.n && r.at[s] == 't') return s + 1;
  size_t before = s ? s - 1 : 0, length = colour(after(r, before));
  return length ? before + length : 0;
}

static size_t blanks(cx_span r) {
  size_t i = 0, length = 1;
  for (; i < r.n && length; i += length) length = blank(after(r, i));
  return i;
}

/* The end of a line, as it is or as JSON writes it; 0: none is here. */
static size_t newline(cx_span r) {
  if (starts(r, "\n")) return 1;
  if (starts(r, "\r\n")) return 2;
  size_t s = slashes(r);
  return s && s < r.n && r.at[s] == 'n' ? s + 1 : 0;
}

/* Blanks and ends of lines. */
static size_t white(cx_span r) {
  size_t i = 0, length = 1;
  for (; i < r.n && length; i += length) {
    length = newline(after(r, i));
    if (length == 0) length = blank(after(r, i));
  }
  return i;
}

/* A quote with its backslashes; 0: none is here. */
static size_t quote_length(cx_span r, const char *quotes) {
  size_t s = slashes(r);
  return s < r.n && has_char(quotes, r.at[s]) ? s + 1 : 0;
}

/* ---- Ends -------------------------------------------------------------------------------------
 */

/* Whether a text of JSON ends here, and something else of it follows. */
static bool ends_text(cx_span r) {
  return r.n == 1 ? *r.at == '"' : *r.at == '"' && has_char(",:}]", r.at[1]);
}

/* Whether a quote behind a mark ends a text of JSON, and another one follows: {"a":"token:","b":1}
 */
static bool is_between(cx_span r) {
  return r.n > 1 && has_char(",:", r.at[0]) && has_char("\"\\", r.at[1]);
}

/* Whether it ends a text at all. Behind an option it hardly does. */
static bool is_closing(cx_span r) {
  if (is_between(r) || r.n == 0 || has_char("}]); \t\r\n", *r.at)) return true;
  return r.n > 1 && has_char(",:", *r.at) && has_char(" '{[0123456789tfn", r.at[1]);
}

/* Up to the same quote, or the end of the line or of the JSON text that has it. Where quotes have s
 * backslashes before them, one that belongs to the value has 2s + 1 and a backslash has 2s + 2, so
 * the count says which it is. */
static size_t quoted_length(cx_span r, char quote, size_t s) {
  size_t i = 0, escaped = 0;
  for (; i < r.n && r.at[i] != '\n'; i++) {
    if (r.at[i] == quote && escaped % (2 * s + 2) <= s) return i - escaped % (2 * s + 2);
    if (quote == '\'' && ends_text(after(r, i))) return i - escaped;
    escaped = r.at[i] == '\\' ? escaped + 1 : 0;
  }
  return i;
}

/* To behind what stands in quotes here, or to where the text around it ends, which *is_end says. */
static size_t behind_quoted(cx_span r, bool *is_end) {
  size_t unit = quote_length(r, "\"'`");
  *is_end = true;
  if (unit == 0) return 0;
  cx_span inner = after(r, unit);
  size_t n = quoted_length(inner, r.at[unit - 1], unit - 1);
  *is_end = inner.n - n < unit || memcmp(inner.at + n, r.at, unit) != 0;
  return unit + n + (*is_end ? 0 : unit);
}

/* Up to the end of the line or of the text that has it. What a parameter has in quotes is part of
 * it: sid="a b". */
static size_t header_length(cx_span r) {
  bool is_end = false;
  size_t i = 0;
  while (i < r.n && !is_end && !has_char("\r\n", r.at[i])) {
    size_t quote = quote_length(after(r, i), "\"'`");
    bool is_parameter = quote && i && r.at[i - 1] == '=' && !is_closing(after(r, i + quote));
    if (!is_parameter && (quote || r.at[i] == '\\')) return i;
    i += is_parameter ? behind_quoted(after(r, i), &is_end) : 1;
  }
  return i;
}

/* Up to the end of a line; where it is written with s backslashes, the text that has it may end
 * before, with a quote that has fewer. */
static size_t line_length(cx_span r, size_t s) {
  size_t i = 0;
  while (i < r.n && r.at[i] != '\n') {
    size_t n = slashes(after(r, i));
    char next = '\0';
    if (i + n < r.n) next = r.at[i + n];
    if (s && ((next == 'n' && n == s) || (next == '"' && n < s))) return i;
    i += n ? n : 1;
  }
  return i;
}

static size_t indent(cx_span r) {
  size_t i = 0;
  while (i < r.n && has_char(" \t", r.at[i])) i++;
  return i;
}

/* The lines that follow and are indented. */
static size_t indented_length(cx_span r) {
  for (size_t i = 0;;) {
    size_t end = newline(after(r, i)), gap = indent(after(r, i + end));
    if (end == 0 || gap == 0) return i;
    i += end + gap;
    i += line_length(after(r, i), r.at[i - gap - 1] == '\n' ? 0 : end - 1);
  }
}

/* An array or an object of JSON whose quotes have s backslashes, or what there is of it. */
static size_t brackets_length(cx_span r, size_t s) {
  bool is_end = false;
  size_t i = 0, depth = 0;
  while (i < r.n && !is_end) {
    size_t quote = quote_length(after(r, i), "\"");
    if (quote && quote <= s) return i;
    depth += has_char("[{", r.at[i]);
    if (has_char("]}", r.at[i]) && --depth == 0) return i + 1;
    i += quote == s + 1 ? behind_quoted(after(r, i), &is_end) : quote ? quote : 1;
  }
  return i;
}

/* "user:password@": the last '@' counts, since a password may have one. */
static size_t to_last_at(cx_span r, const char *set) {
  const char *last = cx__last(r.at, '@', until(r, set));
  return last ? (size_t)(last - r.at) : 0;
}

/* The body of a private key, up to its end or the text's. */
static size_t key_length(cx_span r) {
  static const char end[] = "-----END";
  if (r.n > KEY_LENGTH) r.n = KEY_LENGTH;
  size_t n = run(r, "+/=\\:,- \t\r\n\v\f");
  const char *found = cx__find(r.at, n, end, sizeof end - 1);
  if (found) n = (size_t)(found - r.at);
  while (n && r.at[n - 1] == '\\') n--; /* of the quote behind it */
  return n;
}

static size_t measure(cx_span r, const extent *e) {
  switch (e->kind) {
  case RUN:
    return run(r, e->set);
  case UNTIL:
    return until(r, e->set);
  case QUOTED:
    return quoted_length(r, e->quote, e->slashes);
  case LAST_AT:
    return to_last_at(r, e->set);
  case HEADER:
    return header_length(r);
  case INDENTED:
    return indented_length(r);
  case BRACKETS:
    return brackets_length(r, e->slashes);
  case KEY:
    break;
  }
  return key_length(r);
}

/* What the window shows of the value. */
static cx_span value_of(cx_span window, const find *f) {
  cx_span r = after(window, f->from);
  return (cx_span){r.at, measure(r, &f->extent)};
}

/* A bare value; none where it is a call in somebody's code. */
static cx_span bare_value(cx_span r) {
  size_t n = until(r, bare.set);
  bool is_call = n < CALL_LENGTH && n < r.n && r.at[n] == '(';
  return (cx_span){r.at, is_call ? 0 : n};
}

/* ---- Values behind names ----------------------------------------------------------------------
 */

/* A name and the mark behind it. */
typedef struct {
  cx_span name;
  bool is_option; /* with dashes before it */
  bool is_sure;   /* not one of those where the value decides */
  char before;    /* what stands before it */
  cx_span quote;  /* what stands behind the name, with its backslashes */
  char mark;      /* '=', ':', ' ' behind an option, ',' in a list, '>' of an element */
  size_t gap;     /* blanks on either side of the mark */
  size_t end;     /* where the value begins */
} subject;

static bool is_sure(const subject *s, cx_span value) {
  return s->is_sure ? !cx_naming_is_reference(value) : cx_naming_is_telling(value);
}

/* The length of the word that names a scheme, with the blanks behind it. */
static size_t scheme_word(cx_span r) {
  static const char *const schemes[] = {"bearer", "basic", "digest", "token", "apikey"};
  for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
    size_t n = strlen(schemes[i]);
    size_t gap = starts(r, schemes[i]) ? blanks(after(r, n)) : 0;
    if (gap) return n + gap;
  }
  return 0;
}

/* A scheme that is not known, and what it needs: one word that is random, or parameters. */
static size_t unknown_scheme(cx_span r) {
  size_t word = run(r, "-"), gap = blanks(after(r, word));
  cx_span value = after(r, word + gap);
  value.n = run(value, "-._~+/=");
  bool is_value = cx_naming_looks_random(value) || memchr(value.at, '=', value.n);
  return word && gap && is_value ? word + gap : 0;
}

/* Behind "Authorization: ": the scheme may be shown. In a header, all of the line goes. */
static bool authorization(const subject *s, cx_span r, find *f) {
  f->keep = f->from = scheme_word(r);
  cx_span value = after(r, f->keep);
  value.n = run(value, "-._~+/=:");
  bool is_value =
      f->keep ? value.n && !cx_naming_is_prose(value) : cx_naming_looks_random(bare_value(r));
  if (!is_value && f->keep == 0) is_value = (f->keep = f->from = unknown_scheme(r)) > 0;
  if (s->mark == ':')
    f->extent = (extent){.kind = HEADER};
  else
    f->extent = f->keep ? (extent){.kind = RUN, .set = "-._~+/=:"} : bare;
  return is_value;
}

/* A value in quotes. As a member of JSON it cannot be the name of a variable. */
static bool quoted(const subject *s, cx_span r, find *f) {
  bool is_member = s->quote.n && s->mark == ':';
  f->extent = (extent){.kind = QUOTED, .slashes = slashes(r)};
  size_t unit = f->keep = f->from = f->extent.slashes + 1;
  f->extent.quote = r.at[f->extent.slashes];
  bool is_triple = r.n >= 3 * unit && memcmp(r.at, r.at + unit, 2 * unit) == 0;
  if (is_triple && !is_member) f->keep = f->from = 3 * unit; /* of Python and TOML */
  if (is_member && s->quote.n != f->from) return false;      /* of another text */
  bool is_end =
      is_member || s->is_option ? is_between(after(r, f->from)) : is_closing(after(r, f->from));
  if (is_end) return false;
  cx_span value = value_of(r, f);
  if (value.n == 0 || (!(is_member && s->is_sure) && !is_sure(s, value))) return false;
  size_t shown = cx_naming_ends_with(s->name, "authorization") ? scheme_word(value) : 0;
  f->keep += shown;
  return shown < value.n && !starts(after(value, shown), "[redacted]");
}

/* Behind "Cookie: ": all of the line. */
static bool cookie(cx_span r, find *f) {
  size_t name = run(r, "-_.");
  f->extent = (extent){.kind = HEADER};
  return name && name < r.n && r.at[name] == '=';
}

/* A number in JSON gets the quotes that its name has. */
static bool is_number(const subject *s, cx_span value) {
  size_t digits = 0;
  while (digits < value.n && is_digit(value.at[digits])) digits++;
  return s->quote.n && digits == value.n && digits >= 4;
}

/* What stands behind a colon, which also ends clauses. */
static bool behind_colon(const subject *s, cx_span r, find *f) {
  if (cx_naming_ends_with(s->name, "cookie")) return cookie(r, f);
  cx_span value = bare_value(r);
  if (is_number(s, value)) f->quote = s->quote;
  return f->quote.n || (cx_naming_looks_random(value) && is_sure(s, value));
}

/* "name = value": so write configurations, and programs whose values have names. */
static bool behind_wide_mark(const subject *s, cx_span r) {
  cx_span value = bare_value(r);
  if (value.n < r.n && r.at[value.n] == '[') return false;
  return cx_naming_looks_random(value) && !cx_naming_is_identifier(value) && is_sure(s, value);
}

static bool behind_mark(const subject *s, cx_span r, find *f) {
  if (starts(r, "bearer") || starts(r, "basic")) f->keep = f->from = scheme_word(r);
  cx_span value = bare_value(after(r, f->keep));
  if (value.n == 0 || !is_sure(s, value) || cx_naming_is_prose(value)) return false;
  if (s->mark == ' ' && s->gap > 1) return cx_naming_looks_random(value); /* a help text */
  return !s->is_option || !cx_naming_is_placeholder(value);
}

/* `value`, which in a shell would be a command if it had blanks. */
static bool in_backticks(const subject *s, cx_span r, find *f) {
  f->keep = f->from = 1;
  f->extent = (extent){.kind = UNTIL, .set = "` \t\r\n\\\""};
  cx_span value = value_of(r, f);
  if (value.n == 0 || !starts(after(r, 1 + value.n), "`") || !is_sure(s, value)) return false;
  return s->mark == '=' || cx_naming_looks_random(value);
}

/* <password>value</password> */
static bool element(const subject *s, cx_span r, find *f) {
  f->extent = (extent){.kind = UNTIL, .set = "<\r\n"};
  cx_span value = value_of(r, f);
  return s->before == '<' && value.n && is_sure(s, value) && starts(after(r, value.n), "</");
}

/* "password: |" of YAML, and the lines below. */
static bool block(const subject *s, cx_span r, find *f) {
  size_t n = 1;
  while (n < r.n && has_char("+-123456789", r.at[n])) n++;
  size_t end = newline(after(r, n)), gap = indent(after(r, n + end));
  f->from = n;
  f->keep = n + end + gap;
  f->extent = (extent){.kind = INDENTED};
  return s->is_sure && end && gap && value_of(r, f).n > end + gap;
}

/* Whether this was taken out before, or is the beginning of what was. */
static bool is_hidden(cx_span r) {
  static const char hidden[] = "[redacted]";
  size_t n = r.n < sizeof hidden - 1 ? r.n : sizeof hidden - 1;
  return memcmp(r.at, hidden, n) == 0;
}

/* Whether one of the texts in a list or an object, which are no keys, is not hidden already. */
static bool has_text(cx_span r, const subject *s) {
  bool is_end = false;
  size_t unit = s->quote.n;
  for (size_t i = 0; i < r.n && !is_end;) {
    size_t quote = quote_length(after(r, i), "\"");
    if (quote == unit) {
      cx_span text = after(r, i + unit);
      i += behind_quoted(after(r, i), &is_end);
      bool is_key = starts(after(r, i + white(after(r, i))), ":");
      text.n = (size_t)(r.at + i - text.at);
      if (!is_key && text.n > unit && !is_hidden(text) &&
          (s->is_sure || is_sure(s, (cx_span){text.at, text.n - unit})))
        return true;
    } else {
      i += quote ? quote : 1;
    }
  }
  return false;
}

/* A list or an object under the name, as a member of JSON, goes as a whole where it has texts. What
 * is under a dotted name tells where a setting comes from. */
static bool container(const subject *s, cx_span r, find *f) {
  f->extent = (extent){.kind = BRACKETS, .slashes = s->quote.n - 1};
  f->quote = s->quote;
  return !memchr(s->name.at, '.', s->name.n) && has_text(value_of(r, f), s);
}

/* The next text of a list: ["Authorization", "value"], ["--token", "value"]. */
static bool listed(const subject *s, cx_span r, find *f) {
  size_t unit = quote_length(r, "\"'");
  if (unit == 0 || unit != s->quote.n || memcmp(r.at, s->quote.at, unit) != 0) return false;
  f->extent = (extent){.kind = QUOTED, .quote = r.at[unit - 1], .slashes = unit - 1};
  f->from = unit;
  cx_span value = value_of(r, f);
  bool is_own = s->is_option && s->before == s->quote.at[unit - 1];
  size_t shown = cx_naming_ends_with(s->name, "authorization") ? scheme_word(value) : 0;
  f->keep = unit + shown;
  if (value.n == shown || starts(after(value, shown), "[redacted]")) return false;
  if (is_own) return is_sure(s, value);
  if (cx_naming_ends_with(s->name, "cookie") && memchr(value.at, '=', value.n)) return true;
  return shown > 0 || cx_naming_is_telling(value);
}

static bool is_secret_value(const subject *s, cx_span r, find *f) {
  if (s->mark == ',') return listed(s, r, f);
  if (s->mark == '>') return element(s, r, f);
  size_t dollar = s->mark == '=' && starts(r, "$"); /* $'of a shell' */
  if (quote_length(after(r, dollar), "\"'")) {
    bool is_value = quoted(s, after(r, dollar), f);
    f->keep += dollar;
    f->from += dollar;
    return is_value;
  }
  if (starts(r, "`")) return in_backticks(s, r, f);
  f->extent = bare;
  if (r.n == 0 || has_char("$-", *r.at)) return false;
  bool is_member = s->mark == ':' && s->quote.n && s->quote.at[s->quote.n - 1] == '"';
  if (is_member && has_char("[{", *r.at)) return container(s, r, f);
  if (s->mark == ':' && has_char("|>", *r.at)) return block(s, r, f);
  if (s->mark != ' ' && cx_naming_ends_with(s->name, "authorization"))
    return authorization(s, r, f);
  if (s->mark == ':') return behind_colon(s, r, f);
  return s->mark == '=' && s->gap ? behind_wide_mark(s, r) : behind_mark(s, r, f);
}

/* The length of a mark and what it is taken for; 0: none is here. Comparisons are none. */
static size_t mark_length(cx_span r, char *mark) {
  *mark = *r.at;
  if (starts(r, ":=") || starts(r, "=>") || starts(r, "<- ")) return (*mark = '=', 2);
  if (*mark != '=' && *mark != ':') return 0;
  return r.n > 1 && has_char("=:~", r.at[1]) ? 0 : 1;
}

/* What stands behind a name: perhaps a quote, then a mark. Most words have another behind them. */
static bool read_mark(cx_span r, subject *s) {
  size_t at = quote_length(r, "\"'");
  s->quote = (cx_span){r.at, at};
  s->gap = blanks(after(r, at));
  at += s->gap;
  if (at == r.n) return false;
  size_t length = mark_length(after(r, at), &s->mark);
  if (length == 0 && ((s->mark == ',' && s->quote.n) || (s->mark == '>' && at == 0))) {
    s->end = at + 1 + (s->mark == ',' ? white(after(r, at + 1)) : 0);
    return true;
  }
  if (length == 0) {
    bool is_blank = !has_char("=:", s->mark);
    s->mark = ' ';
    s->end = at;
    return is_blank && s->is_option && s->quote.n == 0 && s->gap > 0;
  }
  at += length;
  size_t gap = blanks(after(r, at));
  s->gap += gap;
  s->end = at + gap;
  return true;
}

/* ---- Rules ------------------------------------------------------------------------------------
 */

/* A name and what it is given. */
static bool named(cx_span r, char before, find *f) {
  size_t dashes = 0;
  while (dashes < 2 && dashes < r.n && r.at[dashes] == '-') dashes++;
  subject s = {.name = after(r, dashes), .is_option = dashes > 0, .before = before};
  s.name.n = run(s.name, "_-.");
  if (s.name.n && starts(after(r, dashes + s.name.n), " key")) s.name.n += 4; /* "API key: " */
  cx_span rest = after(r, dashes + s.name.n);
  if (s.name.n == 0 || rest.n == 0 || !has_char("=:\"'\\ \t\x1b^>", *rest.at)) return false;
  if (!read_mark(rest, &s)) return false;
  s.is_sure = cx_naming_is_secret(s.name);
  if (!s.is_sure && !cx_naming_may_be_secret(s.name)) return false;
  if (!is_secret_value(&s, after(rest, s.end), f)) return false;
  f->keep += dashes + s.name.n + s.end;
  f->from += dashes + s.name.n + s.end;
  return true;
}

/* A member of JSON or an attribute: its name, and its value in quotes or brackets. */
typedef struct {
  cx_span name;
  find value; /* counted from the name */
  cx_span text;
  size_t end;
} member;

static bool read_member(cx_span r, member *m) {
  subject s = {.name = {r.at, run(r, "_")}};
  m->name = s.name;
  if (s.name.n == 0 || s.name.n == r.n || !read_mark(after(r, s.name.n), &s)) return false;
  if (s.mark != ':' && s.mark != '=') return false;
  size_t at = s.name.n + s.end, unit = quote_length(after(r, at), "\"'");
  m->value = (find){.keep = at + unit, .from = at + unit};
  if (unit) {
    m->value.extent = (extent){.kind = QUOTED, .quote = r.at[at + unit - 1], .slashes = unit - 1};
  } else if (at < r.n && has_char("[{", r.at[at]) && s.quote.n) {
    m->value.extent = (extent){.kind = BRACKETS, .slashes = s.quote.n - 1};
    m->value.quote = s.quote;
  } else {
    return false;
  }
  m->text = value_of(r, &m->value);
  m->end = at + unit + m->text.n + unit;
  return m->end < r.n;
}

static bool is_word(cx_span name, const char *word) {
  return name.n == strlen(word) && starts(name, word);
}

/* Whether the member says that the value beside it is a secret. */
static bool is_naming(const member *m) {
  static const char *const own[] = {"name", "key", "keyPath", "key_path", "header", NULL};
  const char *const *word = own;
  while (*word && !is_word(m->name, *word)) word++;
  return *word && cx_naming_is_secret_path(m->text);
}

/* "name":"GITHUB_TOKEN","value":"..." in either order, and key="apiKey" value="...". */
static bool pair(cx_span r, find *f) {
  member one, other;
  if (!has_char("nkhvNKHV", *r.at) || !read_member(r, &one)) return false;
  bool is_value = is_word(one.name, "value");
  if (!is_value && !is_naming(&one)) return false;
  size_t at = one.end + white(after(r, one.end));
  at += starts(after(r, at), ",");
  at += white(after(r, at));
  at += quote_length(after(r, at), "\"'");
  if (!read_member(after(r, at), &other)) return false;
  bool is_pair = is_value ? is_naming(&other) : is_word(other.name, "value");
  *f = is_value ? one.value : other.value;
  if (!is_value) {
    f->keep += at;
    f->from += at;
  }
  cx_span value = is_value ? one.text : other.text;
  return is_pair && value.n && !starts(value, "[redacted]");
}

static const struct {
  const char *prefix, *extra;                /* exactly so, then letters, digits and these */
  size_t least;                              /* behind the prefix */
  enum { SECRET, ADDRESS, LIKE_NAMES } kind; /* ADDRESS: the prefix may be shown */
} shapes[] = {{"sk-", "-_", 13, SECRET},
              {"sk_live_", "", 10, SECRET},
              {"sk_test_", "", 10, SECRET},
              {"rk_live_", "", 10, SECRET},
              {"rk_test_", "", 10, SECRET},
              {"whsec_", "", 16, SECRET},
              {"ghp_", "", 10, SECRET},
              {"gho_", "", 10, SECRET},
              {"ghu_", "", 10, SECRET},
              {"ghs_", "", 10, SECRET},
              {"ghr_", "", 10, SECRET},
              {"github_pat_", "_", 10, SECRET},
              {"glpat-", "-_.", 10, SECRET},
              {"gldt-", "-_", 10, SECRET},
              {"glrt-", "-_.", 10, SECRET},
              {"xoxa-", "-", 8, SECRET},
              {"xoxb-", "-", 8, SECRET},
              {"xoxp-", "-", 8, SECRET},
              {"xoxr-", "-", 8, SECRET},
              {"xoxs-", "-", 8, SECRET},
              {"xapp-", "-", 8, SECRET},
              {"AKIA", "", 12, SECRET},
              {"ASIA", "", 12, SECRET},
              {"AIza", "-_", 20, SECRET},
              {"ya29.", "-_", 16, SECRET},
              {"npm_", "", 20, SECRET},
              {"hf_", "", 16, SECRET},
              {"pypi-", "-_", 24, SECRET},
              {"dop_v1_", "", 20, SECRET},
              {"SG.", "-_.", 30, SECRET},
              {"shpat_", "", 16, SECRET},
              {"gsk_", "", 20, SECRET},
              {"xai-", "", 20, SECRET},
              {"r8_", "", 20, SECRET},
              {"dckr_pat_", "-_", 10, SECRET},
              {"hvs.", "-_", 16, SECRET},
              {"glsa_", "_", 20, SECRET},
              {"sess-", "", 20, SECRET},
              {"tvly-", "-", 16, SECRET},
              {"lin_api_", "", 16, SECRET},
              {"sntrys_", "_-=+/", 20, SECRET},
              {"ATATT3", "-_=", 20, SECRET},
              {"AGE-SECRET-KEY-", "", 20, SECRET},
              {"rt_", "-_.", 24, LIKE_NAMES},
              {"rt-", "", 30, LIKE_NAMES},
              {"at-", "", 30, LIKE_NAMES},
              {"fw_", "", 20, LIKE_NAMES},
              {"ntn_", "", 30, LIKE_NAMES},
              {"figd_", "-_", 30, LIKE_NAMES},
              {"secret_", "", 30, LIKE_NAMES},
              {"pplx-", "", 32, LIKE_NAMES},
              {"nvapi-", "-_", 40, LIKE_NAMES},
              {"xoxe.", "-.", 20, LIKE_NAMES},
              {"EAAC", "", 30, LIKE_NAMES},
              {"hooks.slack.com/", "/_-", 20, ADDRESS},
              {"discord.com/api/webhooks/", "/_-", 20, ADDRESS},
              {"discordapp.com/api/webhooks/", "/_-", 20, ADDRESS},
              {"api.telegram.org/bot", ":_-", 20, ADDRESS}};

/* Of what begins like names in programs, tokens alone have digits, and capitals or long words. */
static bool is_no_name(cx_span value) {
  bool digit = false, upper = false, lower = false;
  for (size_t i = 0; i < value.n; i++) {
    digit = digit || is_digit(value.at[i]);
    upper = upper || isupper((unsigned char)value.at[i]);
    lower = lower || islower((unsigned char)value.at[i]);
  }
  return digit && ((upper && lower) || run(value, "") >= 16);
}

/* Whether it begins with the prefix; that of OpenAI's keys is known in capitals as well. */
static bool has_prefix(cx_span r, size_t which) {
  const char *prefix = shapes[which].prefix;
  if (which == 0) return starts(r, prefix);
  return *r.at == *prefix && r.n >= strlen(prefix) && memcmp(r.at, prefix, strlen(prefix)) == 0;
}

static bool shape(cx_span r, find *f) {
  if (r.n > SHAPE_LENGTH) r.n = SHAPE_LENGTH;
  if (!has_char("sSgxAynhprwdltafE", *r.at)) return false;
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    if (!has_prefix(r, i)) continue;
    f->from = strlen(shapes[i].prefix);
    f->keep = shapes[i].kind == ADDRESS ? f->from : 0;
    f->extent = (extent){.kind = RUN, .set = shapes[i].extra};
    cx_span value = value_of(r, f);
    if (value.n >= shapes[i].least && (shapes[i].kind != LIKE_NAMES || is_no_name(value)))
      return true;
  }
  return false;
}

static bool web_token(cx_span r, find *f) {
  if (r.n < 30 || memcmp(r.at, "eyJ", 3) != 0) return false;
  size_t head = run(r, "-_");
  f->extent = (extent){.kind = RUN, .set = "-_."};
  return head < r.n && r.at[head] == '.' && value_of(r, f).n >= 30;
}

/* "Bearer" and something that is no word. */
static bool scheme(cx_span r, find *f) {
  if (!has_char("bB", *r.at) || (!starts(r, "bearer") && !starts(r, "basic"))) return false;
  f->keep = f->from = scheme_word(r);
  f->extent = (extent){.kind = RUN, .set = "-._~+/="};
  return f->keep && cx_naming_looks_random(value_of(r, f));
}

static bool private_key(cx_span r, find *f) {
  if (!starts(r, "-----BEGIN ")) return false;
  size_t name = 11 + run(after(r, 11), " ");
  if (!starts(after(r, name), "-----") || !cx__find(r.at, name, "PRIVATE KEY", 11)) return false;
  f->keep = f->from = name + 5;
  f->extent = (extent){.kind = KEY};
  cx_span body = after(r, f->from);
  while (body.n && *body.at == ' ') body = after(body, 1);
  if (body.n == 0 || starts(body, "-----END")) return false;
  return has_char("\r\n\\", *body.at) || run(body, "+/=") >= 16;
}

/* "://user:password@", and "://token@"; what has digits and then a query is a host with its port.
 */
static bool url_password(cx_span r, find *f) {
  size_t colon = 3 + until(after(r, 3), ":/@\"'<>`\\ \t\r\n");
  cx_span user = {r.at + 3, colon - 3};
  if (colon == r.n || !has_char(":@", r.at[colon])) return false;
  f->extent = (extent){.kind = LAST_AT, .set = "/\"'<>`\\ \t\r\n"};
  f->keep = f->from = cx_naming_is_telling(user) ? 3 : colon + 1;
  if (r.at[colon] == '@') return f->from == 3;
  cx_span password = value_of(r, f);
  size_t port = 0;
  while (port < password.n && is_digit(password.at[port])) port++;
  if (port < password.n && has_char("?#", password.at[port])) return false;
  return password.n && *password.at != '$';
}

/* Options of commands that take secrets, where the name of the option does not say so. */
static const struct {
  const char *command; /* which stands before it on the line; "": any */
  const char *option;
  enum { APART = 1, ATTACHED, EITHER } place; /* of the value */
  enum { PAIR, WHOLE, COOKIE } kind;
} options[] = {{"", "--user", APART, PAIR},
               {"", "--proxy-user", APART, PAIR},
               {"", "-u", APART, PAIR},
               {"curl", "-u", EITHER, PAIR},
               {"curl", "-U", EITHER, PAIR},
               {"curl", "-b", EITHER, COOKIE},
               {"sshpass", "-p", EITHER, WHOLE},
               {"login", "-p", APART, WHOLE},
               {"mysql", "-p", ATTACHED, WHOLE},
               {"mysqldump", "-p", ATTACHED, WHOLE},
               {"mysqladmin", "-p", ATTACHED, WHOLE},
               {"mariadb", "-p", ATTACHED, WHOLE},
               {"redis-cli", "-a", APART, WHOLE},
               {"ldapsearch", "-w", EITHER, WHOLE}};

/* Whether the command stands before, on the same line. */
static bool has_command(cx_span behind, const char *command) {
  size_t n = strlen(command);
  if (n == 0) return true;
  for (size_t end = behind.n; end >= n && !has_char("\n;|", behind.at[end - 1]); end--) {
    const char *word = behind.at + end - n;
    bool is_there = memcmp(word, command, n) == 0 && !is_alnum(word[n]);
    if (is_there && (end == n || !is_alnum(word[-1]))) return true;
  }
  return false;
}

/* The length of the option, which may be the last of several letters: -su. */
static size_t option_length(cx_span r, size_t which) {
  const char *option = options[which].option;
  size_t n = strlen(option), letters = 1;
  if (options[which].command[0] == '\0') return starts(r, option) ? n : 0;
  while (letters < 6 && letters < r.n && is_letter(r.at[letters]) && r.at[letters] != option[1])
    letters++;
  return letters < r.n && r.at[letters] == option[1] ? letters + 1 : 0;
}

/* Finds the value of an option that ends at `at`: behind blanks, behind '=', in its own text of a
 * list, or at once. */
static bool option_value(cx_span r, size_t at, size_t which, find *f) {
  size_t quote = quote_length(after(r, at), "\"'");
  bool is_listed = quote && starts(after(r, at + quote), ",");
  if (quote && !is_listed && is_closing(after(r, at + quote))) return false;
  size_t gap = is_listed ? quote + 1 + white(after(r, at + quote + 1)) : blanks(after(r, at));
  if (gap == 0 && starts(after(r, at), "=")) gap = 1;
  if (!(options[which].place & (gap ? APART : ATTACHED))) return false;
  at += gap;
  size_t unit = quote_length(after(r, at), "\"'");
  if (is_listed ? unit != quote : unit && is_closing(after(r, at + unit))) return false;
  f->extent = bare;
  if (unit) f->extent = (extent){.kind = QUOTED, .quote = r.at[at + unit - 1], .slashes = unit - 1};
  f->keep = f->from = at + unit;
  return true;
}

/* "user:password": the user may be shown. */
static bool is_user(cx_span r, find *f) {
  cx_span both = value_of(r, f);
  const char *colon = memchr(both.at, ':', both.n);
  if (!colon) return false;
  cx_span password = after(both, (size_t)(colon + 1 - both.at));
  f->keep = f->from = (size_t)(password.at - r.at);
  size_t digits = 0; /* numbers are a user and a group */
  while (digits < password.n && is_digit(password.at[digits])) digits++;
  return digits < password.n && *password.at != '$';
}

static bool is_option_secret(cx_span r, size_t which, find *f) {
  if (options[which].kind == PAIR) return is_user(r, f);
  cx_span value = value_of(r, f);
  if (value.n == 0 || has_char("$-", *value.at)) return false;
  if (options[which].kind == COOKIE) return memchr(value.at, '=', value.n) != NULL;
  return !cx_naming_is_prose(value) && !cx_naming_is_placeholder(value);
}

/* "-u user:password", "sshpass -p password" */
static bool option(cx_span behind, cx_span r, find *f) {
  if (r.n < 3 || (!is_letter(r.at[1]) && r.at[1] != '-')) return false;
  for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
    size_t length = option_length(r, i);
    if (length == 0 || !option_value(r, length, i, f) || !is_option_secret(r, i, f)) continue;
    if (has_command(behind, options[i].command)) return true;
  }
  return false;
}

/* One line of .netrc: machine NAME login NAME password ... */
static bool netrc(cx_span r, find *f) {
  static const char *const words[] = {"machine", "login", "password"};
  size_t at = 0;
  for (size_t i = 0; i < 3; i++) {
    if (!starts(after(r, at), words[i])) return false;
    at += strlen(words[i]);
    size_t gap = white(after(r, at));
    if (gap == 0) return false;
    at += gap;
    if (i < 2) at += until(after(r, at), " \t\r\n\\\"");
    if (i < 2) at += white(after(r, at));
  }
  f->keep = f->from = at;
  f->extent = bare;
  return bare_value(after(r, at)).n > 0;
}

/* What an authorization server hands over in a URL. */
static bool query(cx_span r, find *f) {
  static const char *const own[] = {
      "code=", "state=", "sig=", "signature=", "nonce=", "x-amz-signature=", NULL};
  const char *const *name = own;
  while (*name && !starts(r, *name)) name++;
  if (!*name) return false;
  f->keep = f->from = strlen(*name);
  f->extent = bare;
  return bare_value(after(r, f->from)).n > 0;
}

/* ---- All of it --------------------------------------------------------------------------------
 */

/* Whether the text before `at` ends with what sets a colour. */
static bool ends_colour(cx_span text, size_t at) {
  size_t i = at - 1, first = at < COLOUR_LENGTH ? 0 : at - COLOUR_LENGTH;
  while (i > first && text.at[i - 1] >= ' ' && text.at[i - 1] <= '?') i--;
  if (i == 0 || text.at[i - 1] != '[') return false;
  for (size_t which = 0; which < ESCAPES; which++) {
    size_t n = strlen(escapes[which]);
    if (i > n && strncasecmp(text.at + i - 1 - n, escapes[which], n) == 0) return true;
  }
  return false;
}

/* What comes before a word; a letter that belongs to an escape is not part of one. */
static char before_word(cx_span text, size_t at) {
  if (at == 0) return '\0';
  char before = text.at[at - 1];
  if (!is_alnum(before)) return before;
  if (at >= 2 && text.at[at - 2] == '\\' && has_char("bfnrt", before)) return '\n';
  if (at >= 6 && text.at[at - 6] == '\\' && text.at[at - 5] == 'u') return '\n';
  if (is_letter(before) && ends_colour(text, at)) return '\n';
  return before;
}

/* A secret begins at a word's edge: "risk-..." holds no key. */
static bool at_word(cx_span r, char before, find *f) {
  if (shape(r, f) || (*r.at == 'e' && web_token(r, f))) return true;
  *f = (find){0};
  if (scheme(r, f) || netrc(r, f)) return true;
  if (has_char("?&#", before) && query(r, f)) return true;
  *f = (find){0};
  if (has_char("_-.", before)) return false;
  if (pair(r, f)) return true;
  *f = (find){0};
  return named(r, before, f);
}

static bool any_rule(cx_span behind, cx_span r, char before, find *f) {
  if (*r.at == ':' && starts(r, "://") && url_password(r, f)) return true;
  if (*r.at == '-' && private_key(r, f)) return true;
  if (is_alnum(before)) return false;
  if (*r.at == '-' && option(behind, r, f)) return true;
  *f = (find){0};
  return at_word(r, before, f);
}

/* Most bytes are within a word, or begin nothing: they need no closer look. */
static bool may_begin(cx_span text, size_t at) {
  char c = text.at[at];
  if (c == ':' || c == '-') return true;
  if (!is_alnum(c) && c != '_' && c != '.') return false;
  if (at < 2 || !is_letter(text.at[at - 1]) || !is_letter(text.at[at - 2])) return true;
  return at >= 6 && text.at[at - 6] == '\\'; /* \u00ab ends with letters, too */
}

bool cx_redact_at(cx_span text, size_t at, cx_redact_found *found) {
  if (!may_begin(text, at)) return false;
  find f = {0};
  cx_span r = after(text, at);
  cx_span window = {r.at, r.n < WINDOW ? r.n : WINDOW};
  size_t line = at < COMMAND_LENGTH ? at : COMMAND_LENGTH;
  cx_span behind = {r.at - line, line};
  if (!any_rule(behind, window, before_word(text, at), &f)) return false;
  found->keep = f.keep;
  found->quote = f.quote;
  found->length = f.from + measure(after(r, f.from), &f.extent);
  return found->length > f.keep;
}

/* ---- What is spelled otherwise ----------------------------------------------------------------
 */

static int hex(cx_span r) {
  static const char digits[] = "0123456789abcdef";
  if (r.n < 2 || !isxdigit((unsigned char)r.at[0]) || !isxdigit((unsigned char)r.at[1])) return -1;
  const char *high = strchr(digits, tolower((unsigned char)r.at[0]));
  const char *low = strchr(digits, tolower((unsigned char)r.at[1]));
  return (int)(16 * (high - digits) + (low - digits));
}

/* The length of an escape that stands for one byte, in JSON within JSON with more backslashes.
 * Quotes and backslashes of JSON stay what they are, or JSON would end elsewhere. */
static size_t spelled(cx_span r, char *byte) {
  if (starts(r, "\\/")) return (*byte = '/', 2);
  if (starts(r, "%")) {
    int value = hex(after(r, 1));
    if (value < 0 || value == '\\' || value == '\'') return 0;
    return (*byte = (char)value, 3);
  }
  size_t s = slashes((cx_span){r.at, r.n < SLASHES ? r.n : SLASHES});
  if (s == 0 || r.n < s + 5 || memcmp(r.at + s, "u00", 3) != 0) return 0;
  int value = hex(after(r, s + 3));
  if (value < ' ' || value > '~' || has_char("\\'\"", (char)value)) return 0;
  return (*byte = (char)value, s + 5);
}

/* How far the next escape is, or the text's end. */
static size_t to_escape(cx_span r) {
  char byte;
  size_t i = 0;
  while (i < r.n && !((r.at[i] == '%' || r.at[i] == '\\') && spelled(after(r, i), &byte))) i++;
  return i;
}

/* What stands before an escape and may be one word with it. */
static size_t piece_start(cx_span text, size_t first, size_t escape) {
  size_t least = escape - first > WINDOW ? escape - WINDOW : first;
  while (escape > least && !has_char(" \t\r\n,{}", text.at[escape - 1])) escape--;
  return escape;
}

/* Behind the last of several escapes: as far as a rule may look, and to the word's end. */
static size_t piece_end(cx_span text, size_t at) {
  size_t gap = 0;
  while (gap < WINDOW && at < text.n) {
    cx_span behind = after(text, at + 1);
    gap = to_escape((cx_span){behind.at, behind.n < WINDOW ? behind.n : WINDOW});
    at += 1 + gap;
  }
  return at + until(after(text, at), " \t\r\n\"");
}

static int add_byte(char byte, size_t from, cx_redact_view *view) {
  int rc = cx_buf_add(&view->bytes, &byte, 1);
  return rc == 0 ? cx_buf_add(&view->origin, (const char *)&from, sizeof from) : rc;
}

int cx_redact_next_view(cx_span text, size_t *first, cx_redact_view *view) {
  cx_buf_keep(&view->bytes, 0);
  cx_buf_keep(&view->origin, 0);
  size_t escape = *first + to_escape(after(text, *first));
  if (escape == text.n) return 0;
  size_t at = piece_start(text, *first, escape);
  *first = piece_end(text, escape);
  while (at < *first) {
    char byte = text.at[at];
    size_t length = byte == '%' || byte == '\\' ? spelled(after(text, at), &byte) : 0;
    int rc = add_byte(byte, at, view);
    if (rc != 0) return rc;
    at += length ? length : 1;
  }
  return cx_buf_add(&view->origin, (const char *)&at, sizeof at);
}

void cx_redact_view_free(cx_redact_view *view) {
  cx_buf_free(&view->bytes);
  cx_buf_free(&view->origin);
}
