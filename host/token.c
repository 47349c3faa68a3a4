/* The words of a JSON text; see token.h. */
#include "token.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"

/* ---- Between words -------------------------------------------------------------------------- */

bool cx_token_read_end(cx_tokens *t) {
  cx_token_skip_space(t);
  return t->s == t->end || cx_token_refuse(t, "something follows the value");
}

bool cx_token_read_word(cx_tokens *t, const char *word) {
  size_t n = strlen(word);
  if ((size_t)(t->end - t->s) < n || memcmp(t->s, word, n) != 0)
    return cx_token_refuse(t, "a word that JSON does not know");
  t->s += n;
  return true;
}

/* ---- UTF-8 ---------------------------------------------------------------------------------- */

/* Eight bytes are looked at as one number, the first of them being the lowest, on any machine. The
 * high bit of each byte holds the answer for it. */
static const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;

static uint64_t load(const char *s) {
  uint64_t eight;
  memcpy(&eight, s, 8);
  return le64toh(eight);
}

static size_t first_of(uint64_t answers) { return (size_t)__builtin_ctzll(answers) / 8; }

/* The quotes, backslashes and control characters. Behind the first of them others may be named
 * wrongly, since a subtraction that falls below zero borrows from the byte that follows. */
static uint64_t find_special(uint64_t eight) {
  uint64_t quote = eight ^ (ones * '"'), backslash = eight ^ (ones * '\\');
  return ((quote - ones) | (backslash - ones) | (eight - ones * ' ')) & ~eight & high;
}

static bool is_special(unsigned char c) { return c < ' ' || c == '"' || c == '\\'; }

/* Sixteen bytes at once, where the processor can; below ' ' is, with a sign, what is no ASCII, too.
 */
typedef signed char wide __attribute__((vector_size(16)));
enum { NEAR = 32, FAR = 4 * (int)sizeof(wide) }; /* bytes */

static wide odd_bytes(const char *s) {
  wide bytes;
  memcpy(&bytes, s, sizeof bytes);
  return (bytes < ' ') | (bytes == '"') | (bytes == '\\');
}

/* A long text goes by in large steps. */
static const char *skip_far(const char *s, const char *end) {
  for (; end - s >= FAR; s += FAR) {
    wide odd = odd_bytes(s) | odd_bytes(s + 16) | odd_bytes(s + 32) | odd_bytes(s + 48);
    uint64_t halves[2];
    memcpy(halves, &odd, sizeof halves);
    if (halves[0] | halves[1]) break;
  }
  return s;
}

/* Skips eight bytes at a time: whether all up to the end, or less than eight before it, is ASCII
 * that stands for itself. */
static bool skip_eights(const char **s, const char *end) {
  for (; end - *s >= 8; *s += 8) {
    uint64_t eight = load(*s), stop = find_special(eight) | (eight & high);
    if (!stop) continue;
    *s += first_of(stop);
    return false;
  }
  return true;
}

/* The end of ASCII that stands for itself. Most texts are short: a first look is at little. */
static const char *skip_ascii(const char *s, const char *end) {
  if (!skip_eights(&s, end - s > NEAR ? s + NEAR : end)) return s;
  s = skip_far(s, end);
  if (!skip_eights(&s, end)) return s;
  while (s < end && (unsigned char)*s < 0x80 && !is_special((unsigned char)*s)) s++;
  return s;
}

static bool is_tail(unsigned char c) { return (c & 0xC0) == 0x80; }

/* Overlong forms begin with E0 and a low byte, surrogates with ED and a high one. */
static bool is_three(const unsigned char *s) {
  return is_tail(s[1]) && is_tail(s[2]) && (s[0] != 0xE0 || s[1] >= 0xA0) &&
         (s[0] != 0xED || s[1] < 0xA0);
}

/* Overlong forms begin with F0 and a low byte, what is above U+10FFFF with F4 and a high one. */
static bool is_four(const unsigned char *s) {
  return is_tail(s[1]) && is_tail(s[2]) && is_tail(s[3]) && (s[0] != 0xF0 || s[1] >= 0x90) &&
         (s[0] != 0xF4 || s[1] < 0x90);
}

size_t cx_token_sequence(const char *text, const char *end) {
  const unsigned char *s = (const unsigned char *)text;
  size_t left = (size_t)(end - text);
  if (s[0] >= 0xE0 && s[0] < 0xF0) return left >= 3 && is_three(s) ? 3 : 0;
  if (s[0] >= 0xC2 && s[0] < 0xE0) return left >= 2 && is_tail(s[1]) ? 2 : 0;
  if (s[0] >= 0xF0 && s[0] < 0xF5) return left >= 4 && is_four(s) ? 4 : 0;
  return 0;
}

/* Skips characters of one to three bytes that stand for themselves, the first of which begins here,
 * and stops at one that needs a closer look, or soon before it. Eight bytes are looked at without a
 * branch for any of them, which is quick where short and long characters take turns. */
static const char *skip_common(const char *s, const char *end) {
  uint64_t owed = 0; /* tails, by characters that began in the eight bytes before */
  for (; end - s >= 8; s += 8) {
    uint64_t eight = load(s), bit6 = eight << 1, bit5 = eight << 2, bit4 = eight << 3;
    uint64_t bit3 = eight << 4, bit2 = eight << 5, bit1 = eight << 6, bit0 = eight << 7;
    uint64_t lead = eight & bit6 & high, tail = eight & ~bit6 & high, three = lead & bit5;
    uint64_t wanted = owed | lead << 8 | three << 16;
    uint64_t c0 = lead & ~(bit5 | bit4 | bit3 | bit2 | bit1); /* C0 and C1 */
    uint64_t e0 = three & ~(bit3 | bit2 | bit1 | bit0);
    uint64_t ed = three & bit3 & bit2 & ~bit1 & bit0;
    uint64_t f0 = three & bit4; /* F0 to FF */
    if (find_special(eight) | (tail ^ wanted) | c0 | e0 | ed | f0) break;
    owed = lead >> 56 | three >> 48;
  }
  if (owed) do
      s--;
    while (is_tail((unsigned char)*s)); /* back to where the character began */
  return s;
}

const char *cx_token_skip_plain(const char *s, const char *end) {
  for (;;) {
    s = skip_ascii(s, end);
    if (s == end || (unsigned char)*s < 0x80) return s;
    s = skip_common(s, end);
    if (s == end || is_special((unsigned char)*s)) return s;
    if ((unsigned char)*s < 0x80) continue;
    size_t n = cx_token_sequence(s, end);
    if (n == 0) return s;
    s += n;
  }
}

/* ---- Escapes -------------------------------------------------------------------------------- */

/* What the escape with this letter stands for; 0 where there is none. */
static const char short_escapes[128] = {
    ['"'] = '"',  ['\\'] = '\\', ['/'] = '/',  ['b'] = '\b',
    ['f'] = '\f', ['n'] = '\n',  ['r'] = '\r', ['t'] = '\t',
};

static char short_escape(char letter) {
  unsigned char c = (unsigned char)letter;
  if (c >= sizeof short_escapes) return 0;
  return short_escapes[c];
}

/* -1 for what is none. */
static int hex_digit(char c) {
  int digit = c - '0', letter = (c | 0x20) - 'a';
  return digit >= 0 && digit < 10 ? digit : letter >= 0 && letter < 6 ? letter + 10 : -1;
}

/* The code unit of the escape \uXXXX at s; -1 where there is none. */
static int code_unit(const char *s, const char *end) {
  if (end - s < 6 || s[0] != '\\' || s[1] != 'u') return -1;
  int a = hex_digit(s[2]), b = hex_digit(s[3]), c = hex_digit(s[4]), d = hex_digit(s[5]);
  return (a | b | c | d) < 0 ? -1 : a << 12 | b << 8 | c << 4 | d;
}

static bool is_high(int unit) { return unit >= 0xD800 && unit < 0xDC00; }
static bool is_low(int unit) { return unit >= 0xDC00 && unit < 0xE000; }

static bool read_escape(cx_tokens *t) {
  if (t->end - t->s >= 2 && short_escape(t->s[1])) {
    t->s += 2;
    return true;
  }
  int unit = code_unit(t->s, t->end);
  if (unit < 0) return cx_token_refuse(t, "an escape that JSON does not know");
  bool is_pair = is_high(unit) && is_low(code_unit(t->s + 6, t->end));
  bool is_half = !is_pair && (is_high(unit) || is_low(unit));
  if (is_half && !t->takes_halves) return cx_token_refuse(t, "half of a surrogate pair");
  t->s += is_pair ? 12 : 6;
  return true;
}

static char *put(char *out, unsigned byte) {
  *out = (char)byte;
  return out + 1;
}

static char *put_tail(char *out, unsigned c) { return put(out, 0x80 | (c & 0x3F)); }

/* Surrogates are written as if they were characters. */
static char *put_utf8(char *out, unsigned c) {
  if (c < 0x80) return put(out, c);
  if (c < 0x800) return put_tail(put(out, 0xC0 | c >> 6), c);
  if (c < 0x10000) return put_tail(put_tail(put(out, 0xE0 | c >> 12), c >> 6), c);
  return put_tail(put_tail(put_tail(put(out, 0xF0 | c >> 18), c >> 12), c >> 6), c);
}

/* Writes what the escape at *s stands for, and goes behind it. */
static char *put_escape(char *out, const char **s, const char *end) {
  *out = short_escape((*s)[1]);
  if (*out) {
    *s += 2;
    return out + 1;
  }
  int unit = code_unit(*s, end), low = is_high(unit) ? code_unit(*s + 6, end) : -1;
  *s += is_low(low) ? 12 : 6;
  if (!is_low(low)) return put_utf8(out, (unsigned)unit);
  return put_utf8(out, 0x10000u + (((unsigned)unit - 0xD800u) << 10) + ((unsigned)low - 0xDC00u));
}

/* ---- Strings -------------------------------------------------------------------------------- */

static bool refuse_byte(cx_tokens *t) {
  bool is_control = (unsigned char)*t->s < ' ';
  return cx_token_refuse(t, is_control ? "a raw control character in a string"
                                       : "bytes that are no UTF-8");
}

bool cx_token_read_string(cx_tokens *t, cx_span *inside, bool *escaped) {
  const char *from = ++t->s;
  *escaped = false;
  for (;;) {
    t->s = cx_token_skip_plain(t->s, t->end);
    if (t->s == t->end) return cx_token_refuse(t, "the text ends within a string");
    if (*t->s == '"') break;
    if (*t->s != '\\') return refuse_byte(t);
    *escaped = true;
    do
      if (!read_escape(t)) return false;
    while (cx_token_is_at(t, '\\'));
  }
  *inside = (cx_span){from, (size_t)(t->s++ - from)};
  return true;
}

/* Copies what stands before the next backslash, and goes there. There is as much room at `out` as
 * there are bytes left, so that eight may be copied of which fewer count. */
static char *copy_plain(char *out, const char **s, const char *end) {
  while (end - *s >= 8) {
    memcpy(out, *s, 8);
    uint64_t other = load(*s) ^ (ones * '\\'); /* a byte is 0 where a backslash is */
    uint64_t found = (other - ones) & ~other & high;
    size_t n = found ? first_of(found) : 8;
    out += n;
    *s += n;
    if (n < 8) return out;
  }
  while (*s < end && **s != '\\') *out++ = *(*s)++;
  return out;
}

size_t cx_token_unescape(cx_span inside, char *out) {
  const char *s = inside.at, *end = s + inside.n;
  char *to = out;
  while (s < end) {
    to = copy_plain(to, &s, end);
    while (s < end && *s == '\\') to = put_escape(to, &s, end);
  }
  return (size_t)(to - out);
}

int cx_token_unquote(cx_span literal, cx_buf *into, cx_span *text) {
  *text = (cx_span){literal.at + 1, literal.n - 2};
  if (!memchr(text->at, '\\', text->n)) return 0;
  char *room = cx_buf_room(into, text->n);
  if (!room) return CX_EMEMORY;
  *text = (cx_span){room, cx_token_unescape(*text, room)};
  cx_buf_added(into, text->n);
  return 0;
}

/* ---- Numbers: their form -------------------------------------------------------------------- */

static const int64_t far = 1000000000000000; /* beyond the digits of any text */

static bool is_digit(const cx_tokens *t) { return t->s < t->end && *t->s >= '0' && *t->s <= '9'; }

/* Reads digits and returns how many there were. */
static size_t read_digits(cx_tokens *t, cx_number *number) {
  const char *first = t->s;
  uint64_t digits = number->digits;
  for (; is_digit(t); t->s++) digits = digits * 10 + (uint64_t)(*t->s - '0');
  number->digits = digits;
  number->count += (size_t)(t->s - first);
  return (size_t)(t->s - first);
}

static bool read_fraction(cx_tokens *t, cx_number *number) {
  t->s++;
  number->places = read_digits(t, number);
  return number->places > 0 || cx_token_refuse(t, "a number needs a digit behind its point");
}

static bool read_exponent(cx_tokens *t, cx_number *number) {
  t->s++;
  bool negative = cx_token_take(t, '-');
  if (!negative) cx_token_take(t, '+');
  if (!is_digit(t)) return cx_token_refuse(t, "a number needs a digit in its exponent");
  for (; is_digit(t); t->s++)
    if (number->exponent < far) number->exponent = number->exponent * 10 + (*t->s - '0');
  if (negative) number->exponent = -number->exponent;
  return true;
}

bool cx_token_read_number(cx_tokens *t, cx_number *number) {
  const char *from = t->s;
  *number = (cx_number){.is_whole = true};
  number->negative = cx_token_take(t, '-');
  const char *first = t->s;
  if (read_digits(t, number) == 0)
    return cx_token_refuse(t, number->negative ? "a number without digits" : "a value is missing");
  if (*first == '0' && number->count > 1) {
    t->s = first;
    return cx_token_refuse(t, "a number that begins with a zero");
  }
  const char *behind = t->s;
  if (cx_token_is_at(t, '.') && !read_fraction(t, number)) return false;
  if ((cx_token_is_at(t, 'e') || cx_token_is_at(t, 'E')) && !read_exponent(t, number)) return false;
  number->is_whole = t->s == behind;
  number->text = (cx_span){from, (size_t)(t->s - from)};
  return true;
}

/* ---- Numbers: their value ------------------------------------------------------------------- */

/* 767 digits tell any double from its neighbours' middle (IEEE 754, binary64). Of those behind,
 * only whether one is not zero matters. */
enum { KEPT = 800 };

/* A number as digits * 10^exponent, without zeros at either end of the digits. */
typedef struct {
  size_t count;
  int64_t exponent;
  char digits[KEPT + 8]; /* with room for an exponent behind them */
} decimal;

static void make_decimal(const cx_number *number, decimal *d) {
  size_t left = number->count;
  int64_t exponent = number->exponent - (int64_t)number->places;
  bool is_more = false;
  d->count = 0;
  for (const char *s = number->text.at; left > 0; s++) {
    if (*s < '0' || *s > '9') continue;
    left--;
    if (d->count < KEPT && (*s != '0' || d->count > 0)) {
      d->digits[d->count++] = *s;
      d->exponent = exponent + (int64_t)left;
    } else if (*s != '0') {
      is_more = true;
    }
  }
  if (is_more) {
    d->digits[d->count++] = '1';
    d->exponent--;
  }
  for (; d->count > 0 && d->digits[d->count - 1] == '0'; d->count--) d->exponent++;
  if (d->count == 0) d->exponent = 0;
}

bool cx_number_value(const cx_number *number, int64_t *value) {
  decimal d;
  uint64_t digits = 0;
  make_decimal(number, &d);
  if (d.exponent < 0 || (int64_t)d.count + d.exponent > CX_SURE_DIGITS) return false;
  for (size_t i = 0; i < d.count; i++) digits = digits * 10 + (uint64_t)(d.digits[i] - '0');
  for (int64_t i = 0; i < d.exponent; i++) digits *= 10;
  return cx_number_fits(digits, number->negative, value);
}

/* A whole number and an exponent, so that no locale's point is needed. */
static double slow_real(const cx_number *number) {
  decimal d;
  make_decimal(number, &d);
  int64_t exponent = d.exponent > 9999 ? 9999 : d.exponent < -9999 ? -9999 : d.exponent;
  char *s = d.digits + d.count, *digits = s + 6;
  *s++ = 'e';
  *s = exponent < 0 ? '-' : '+';
  if (exponent < 0) exponent = -exponent;
  *digits = '\0';
  for (; digits > s + 1; exponent /= 10) *--digits = (char)('0' + exponent % 10);
  double value = d.count > 0 ? strtod(d.digits, NULL) : 0;
  return number->negative ? -value : value;
}

double cx_number_real(const cx_number *number) {
  static const double powers[] = {1,    1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                  1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                  1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
  int64_t exponent = number->exponent - (int64_t)number->places;
  bool is_exact = number->count <= CX_SURE_DIGITS && number->digits <= UINT64_C(1) << 53;
  if (!is_exact || exponent < -22 || exponent > 22) return slow_real(number);
  /* Both are exact, so that the result is rounded once, as it should be. */
  double value = (double)number->digits;
  value = exponent < 0 ? value / powers[-exponent] : value * powers[exponent];
  return number->negative ? -value : value;
}
