/* What is a secret in a text, by its shape or by the name it stands behind.
 *
 * One place for all that is written down: the log, errors, the audit, recordings. Plain words must
 * stay readable: "Missing bearer or basic authentication" has no secret in it. */
#ifndef CX_REDACT_H
#define CX_REDACT_H

#include <stdbool.h>
#include <stddef.h>

/* Whether what stands behind this name is a secret: apiKey, access_token, X-Api-Key, GITHUB_TOKEN,
 * DB_PASSWD, Set-Cookie. Of a dotted name the last part counts. */
bool cx_redact_is_name(const char *name, size_t n);

/* How many bytes from text[at] on, of n in all, are a secret with what introduces it; of these the
 * first *keep may be shown. 0: none begins here. */
size_t cx_redact_at(const char *text, size_t n, size_t at, size_t *keep);

#endif
