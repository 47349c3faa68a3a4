/* The words of a JSON text (RFC 8259): white space, strings, numbers, true, false and null.
 *
 * Three readers stand on these: the strict one (scan.h), the one that makes Lua values
 * (bindings/parse.h), and the one that looks at the outside of a message (message.h). What a string
 * or a number is, is said here alone, so that no two of them read one text in two ways. Brackets,
 * names and limits are the readers' own. Nothing here takes memory, but for cx_token_unquote(). */
#ifndef CX_TOKEN_H
#define CX_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"

/* A text that is being read. Functions that read return false where they refuse what stands at `s`,
 * and say in `what` why; `s` is then the byte where it shows. */
typedef struct cx_tokens {
  const char *start, *s, *end; /* from `s` on it is not read yet */
  const char *what;            /* a static text in lower case, without a full stop, or NULL */
  bool takes_halves;           /* an escape may be half of a surrogate pair */
} cx_tokens;

typedef struct cx_fault {
  const char *what; /* as above; NULL: nothing is wrong */
  size_t at;        /* the byte where it shows, from 0 */
} cx_fault;

static inline bool cx_token_refuse(cx_tokens *t, const char *what) {
  t->what = what;
  return false;
}

static inline cx_fault cx_token_fault(const cx_tokens *t) {
  return (cx_fault){t->what, t->what ? (size_t)(t->s - t->start) : 0};
}

/* ---- Between words -------------------------------------------------------------------------- */

static inline bool cx_token_is_space(char c) {
  return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static inline void cx_token_skip_space(cx_tokens *t) {
  const char *s = t->s;
  while (s < t->end && cx_token_is_space(*s)) s++;
  t->s = s;
}

static inline bool cx_token_is_at(const cx_tokens *t, char c) {
  return t->s < t->end && *t->s == c;
}

/* Takes this byte if it stands here. */
static inline bool cx_token_take(cx_tokens *t, char c) {
  if (!cx_token_is_at(t, c)) return false;
  t->s++;
  return true;
}

/* Behind a bracket that opens: takes the one that closes, if the container is empty. */
static inline bool cx_token_take_empty(cx_tokens *t, char close) {
  cx_token_skip_space(t);
  return cx_token_take(t, close);
}

/* Behind a value in a container: takes a comma, so that `more` must follow, or the bracket. */
static inline bool cx_token_read_next(cx_tokens *t, char close, bool *more) {
  cx_token_skip_space(t);
  *more = cx_token_take(t, ',');
  if (*more) cx_token_skip_space(t);
  return *more || cx_token_take(t, close) ||
         cx_token_refuse(t, "a comma or a closing bracket is missing");
}

/* Between a name and its value. */
static inline bool cx_token_read_colon(cx_tokens *t) {
  cx_token_skip_space(t);
  if (!cx_token_take(t, ':')) return cx_token_refuse(t, "a colon is missing");
  cx_token_skip_space(t);
  return true;
}

/* Behind the outermost value: nothing but white space is left. */
bool cx_token_read_end(cx_tokens *t);

/* "true", "false" or "null". */
bool cx_token_read_word(cx_tokens *t, const char *word);

/* ---- Strings -------------------------------------------------------------------------------- */

/* The end of what stands in a string for itself: UTF-8 without control characters, quotes and
 * backslashes. */
const char *cx_token_skip_plain(const char *s, const char *end);

/* Length of the UTF-8 sequence of more than one byte at `s`; 0 where there is none (Unicode, table
 * 3-7: no overlong forms, no surrogates, nothing above U+10FFFF). At least a byte is there. */
size_t cx_token_sequence(const char *s, const char *end);

/* Reads a string: `s` stands at its quote. `inside` is what is between the quotes; where it is
 * `escaped`, cx_token_unescape() tells what it means. */
bool cx_token_read_string(cx_tokens *t, cx_span *inside, bool *escaped);

/* Writes what the inside of a string stands for; returns how many bytes, which are no more than
 * those of the inside. Half of a surrogate pair becomes its three-byte form (ED A0 80 ...), as in
 * utf8.char(0xD800). */
size_t cx_token_unescape(cx_span inside, char *out);

/* What a string with its quotes stands for: bytes that lie in it, or where it has escapes, behind
 * what `into` holds already. 0 or CX_EMEMORY. */
int cx_token_unquote(cx_span literal, cx_buf *into, cx_span *text);

/* ---- Numbers -------------------------------------------------------------------------------- */

typedef struct cx_number {
  cx_span text;
  uint64_t digits;  /* all of them as one integer, modulo 2^64 */
  size_t count;     /* how many they are */
  size_t places;    /* how many stand behind the point */
  int64_t exponent; /* what stands behind the e */
  bool negative;
  bool is_whole; /* neither point nor exponent: an integer by its form */
} cx_number;

bool cx_token_read_number(cx_tokens *t, cx_number *number);

/* An integer of 64 bits by its size and sign; false where it is none. */
static inline bool cx_number_fits(uint64_t size, bool negative, int64_t *value) {
  *value = (int64_t)(negative ? 0 - size : size);
  return size <= (uint64_t)INT64_MAX + negative;
}

enum { CX_SURE_DIGITS = 19 }; /* that many always fit 64 bits without a sign */

/* The integer that is_whole says it is; false where it takes more than 64 bits. */
static inline bool cx_number_integer(const cx_number *number, int64_t *value) {
  return number->count <= CX_SURE_DIGITS && cx_number_fits(number->digits, number->negative, value);
}

/* The integer of 64 bits that it is by its value, as 1, 1.0 and 10e-1 are one; false where it is
 * none. */
bool cx_number_value(const cx_number *number, int64_t *value);

/* The double that is nearest, as strtod() has it in the C locale; infinity beyond all doubles. */
double cx_number_real(const cx_number *number);

#endif
