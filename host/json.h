/* JSON as cJSON reads it, without what cJSON would lose.
 *
 * cJSON ends a string at \u0000, refuses a lone surrogate and turns every number into a double.
 * Texts that hold such things are rare; they are rewritten before parsing with an escape of ours
 * that cannot occur in UTF-8 (a byte 0xFF and a letter), and cx_json_string() takes it out. */
#ifndef CX_JSON_H
#define CX_JSON_H

#include <stdbool.h>

#include <cjson/cJSON.h>

#include "buf.h"

typedef struct cx_json {
  cJSON *root;
  bool rewritten;     /* strings and keys may hold our escapes */
  size_t fail_offset; /* where the text went wrong */
} cx_json;

/* Parses the whole of `text`; what follows the value must be white space. 0, CX_EJSON, CX_EDEPTH
 * (more than 1000 levels, cJSON's limit) or CX_EMEMORY. Of duplicate keys all are kept, in order.
 * Lone surrogates become their three-byte form (ED A0 80 ...), as in utf8.char(0xD800). */
int cx_json_parse(cx_json *json, const char *text, size_t n);
void cx_json_free(cx_json *json);

/* Whether a text holds more values than this, keys not counted: a tree of `[[],[],...]` takes
 * thirty times its bytes. The text need not be JSON. */
bool cx_json_is_vast(const char *text, size_t n, size_t max_values);

typedef enum { CX_JSON_TEXT, CX_JSON_NUMERAL } cx_json_kind;

/* The bytes of a string or key as they were meant, valid until the next call with the same scratch.
 * CX_JSON_NUMERAL: not a string but an integer too large for a double, as it was written. */
int cx_json_string(const cx_json *json, const char *raw, cx_buf *scratch, const char **bytes,
                   size_t *n, cx_json_kind *kind);

/* What becomes of bytes that are no valid Unicode. Surrogates in three-byte form are what we read
 * from a \uD800 escape: written back as that, or, for readers that refuse it as Codex does, as
 * U+FFFD. */
typedef enum {
  CX_JSON_KEEP,    /* surrogates stay, everything else is refused */
  CX_JSON_UNICODE, /* surrogates become U+FFFD, everything else is refused */
  CX_JSON_REPAIR,  /* everything becomes U+FFFD */
} cx_json_care;

/* Appends a JSON string literal. 0, CX_EMEMORY, or CX_EJSON where the bytes are not UTF-8 and are
 * not to be repaired; *bad is then the offset. */
int cx_json_quote(cx_buf *out, const char *bytes, size_t n, cx_json_care care, size_t *bad);

#endif
