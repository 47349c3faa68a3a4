/* The outside of a JSON-RPC message, read strictly: for messages on which somebody decides, and
 * which somebody else then reads (see scan.h).
 *
 * message.h reads the outside, too, as quickly and as leniently as a peer may that answers for
 * itself. Codex's reader takes a missing or null `id` or `method`, an array in place of an object,
 * and both `result` and `error` for messages of some kind or another: none of that passes here. */
#ifndef CX_ENVELOPE_H
#define CX_ENVELOPE_H

#include "message.h"
#include "scan.h"

typedef struct cx_envelope {
  cx_message_kind kind;
  cx_span id;       /* as it stands in the text; absent in a notification */
  cx_span method;   /* the literal, with its quotes; absent in an answer */
  cx_span payload;  /* of params, result or error; may be absent in requests and notifications */
  bool id_is_plain; /* the canonical form of the id is what stands in the text */
  char problem[96]; /* why it is refused, and where: lower case, without a full stop */
} cx_envelope;

/* Places where an array must not stand: paths as in scan.h, sorted by strcmp, each once. */
typedef struct cx_places {
  const char *const *paths;
  size_t count;
} cx_places;

/* Reads a whole message: one JSON object as cx_scan() takes it, with
 * - `method`, a string, and no `result` and no `error`: a request if there is an `id`, else a
 *   notification; `params` is an object, null, or absent;
 * - or an `id`, no `params`, and either `result` or `error`, which is an object: an answer.
 * The id is a string or a number whose value is an integer of 64 bits. Other members may be there.
 * `structs` may be NULL. 0; CX_EJSON, CX_EDEPTH, CX_ETOOMANY or CX_EPROTOCOL with `problem` filled
 * in, and with `id` where just one was there before the fault; CX_EMEMORY. */
int cx_envelope_read(cx_envelope *e, const char *text, size_t n, const cx_places *structs);

/* Appends the canonical form of an id, in which ids are equal if their values are: -0, 0.0 and 0e9
 * are 0; the strings "a" and "\u0061" are one. `id` is the text of a JSON string or number. 0,
 * CX_EPROTOCOL where it is no id, CX_EMEMORY. */
int cx_envelope_id(cx_span id, cx_buf *out);

#endif
