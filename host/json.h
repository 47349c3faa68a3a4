/* JSON strings, written. What reads is in token.h and above it. */
#ifndef CX_JSON_H
#define CX_JSON_H

#include "buf.h"

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
