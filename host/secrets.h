/* Secrets that somebody told us: each kept once, and found in a text however it is spelled. */
#ifndef CX_SECRETS_H
#define CX_SECRETS_H

#include <stdbool.h>
#include <stddef.h>

#include "buf.h"

/* All zero: none yet. */
typedef struct cx_secrets {
  cx_span *list;
  size_t count;
  bool begins[256]; /* the bytes that one may begin with */
} cx_secrets;

/* 0, CX_EMEMORY, or CX_EARGUMENT for one shorter than 8 bytes, which would black out ordinary
 * words. */
int cx_secrets_tell(cx_secrets *secrets, const char *secret);

/* How many bytes the longest secret has that a text begins with: as it is, or with the escapes of
 * JSON and of URLs. 0: none. */
size_t cx_secrets_at(const cx_secrets *secrets, cx_span text);

/* Wipes them. */
void cx_secrets_free(cx_secrets *secrets);

#endif
