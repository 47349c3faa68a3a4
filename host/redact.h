/* What is a secret in a text, by its shape or by the name it stands behind.
 *
 * One place for all that is written down: the log, errors, the audit, recordings. Plain words must
 * stay readable: "Missing bearer or basic authentication" has no secret in it. */
#ifndef CX_REDACT_H
#define CX_REDACT_H

#include <stdbool.h>
#include <stddef.h>

#include "buf.h"

typedef struct {
  size_t keep;   /* so many bytes introduce the secret and may be shown */
  size_t length; /* to the end of the secret, these included */
  cx_span quote; /* goes around what stands in its place, so that JSON stays JSON */
} cx_redact_found;

/* Whether a secret, or what introduces one, begins at text.at[at]. */
bool cx_redact_at(cx_span text, size_t at, cx_redact_found *found);

/* A piece of a text with the escapes of URLs and of JSON written out, %3D and \u0073. */
typedef struct {
  cx_buf bytes;
  cx_buf origin; /* where each of them begins in the text, and where the last one ends: a size_t */
} cx_redact_view;

/* The next piece that has escapes, at or behind *at, which then is where the piece ends. No bytes:
 * there is none. 0 or CX_EMEMORY. */
int cx_redact_next_view(cx_span text, size_t *at, cx_redact_view *view);
void cx_redact_view_free(cx_redact_view *view);

#endif
