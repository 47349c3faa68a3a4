/* Names that secrets stand behind, and what values say of themselves. */
#ifndef CX_NAMING_H
#define CX_NAMING_H

#include <stdbool.h>

#include "buf.h"

/* Whether what stands behind this name is a secret: apiKey, access_token, X-Api-Key, GITHUB_TOKEN,
 * DB_PASSWD, Set-Cookie. Of a dotted name the last part counts. */
bool cx_naming_is_secret(cx_span name);

/* Whether the value decides it: "auth" stands before a mode, or before user:password in base64;
 * "pass" before the name of a test, or before a password. */
bool cx_naming_may_be_secret(cx_span name);
bool cx_naming_is_telling(cx_span value);

/* Whether a part of a path is the name of a secret: mcp_servers.x.env.GITHUB_TOKEN, or the names
 * of a list in JSON. */
bool cx_naming_is_secret_path(cx_span path);

/* Whether the name ends so, whatever the case. */
bool cx_naming_ends_with(cx_span name, const char *ending);

/* Whether no word of a language or of a program looks like that. */
bool cx_naming_looks_random(cx_span value);

/* Whether it could be a name in a program: words of letters, with '_' or '.' between them. */
bool cx_naming_is_identifier(cx_span value);

/* A value that says of itself that it is none: $TOKEN, true, user.password, "...". */
bool cx_naming_is_reference(cx_span value);

/* A word of sentences about options and schemes: "--token is", "Bearer authentication". */
bool cx_naming_is_prose(cx_span value);

/* What help texts put in place of a value: TOKEN, KEY. */
bool cx_naming_is_placeholder(cx_span value);

#endif
