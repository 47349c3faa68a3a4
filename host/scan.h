/* A strict reader of one JSON text, which takes only what every reader takes alike.
 *
 * RFC 8259 leaves open which of two equal keys counts, and readers differ in more than that: some
 * take half of a surrogate pair, a byte order mark, bytes that are no UTF-8, or any depth. Whoever
 * decides about a text and whoever acts on it may be two readers: what they could read differently
 * is refused here. Nothing is built and nothing is changed: the text stays as it was sent. */
#ifndef CX_SCAN_H
#define CX_SCAN_H

#include <stdbool.h>
#include <stddef.h>

#include "token.h"

/* Containers within containers. Codex's reader (serde_json) refuses the 128th. */
enum { CX_SCAN_DEPTH = 127 };

/* Values in a text, itself included, and names in one of its objects. Who decides about a text has
 * to look at all of it: these are as many as codex.json.decode() reads, and as many names as can be
 * sorted in no time. */
enum { CX_SCAN_VALUES = 1 << 20, CX_SCAN_NAMES = 10000 };

typedef struct cx_scan_events {
  /* A member of the outermost object: its name as it is meant, and the text of its value. It is
   * told before the text was read to its end: where that fails, what was told does not count. May
   * be NULL. */
  void (*on_member)(void *user, cx_span name, cx_span value);
  /* An array begins at this place, whose path is written `params.input[].text`: names as they are
   * meant, joined by dots, and `[]` for the elements of an array. False refuses the text, as an
   * array must not stand there. May be NULL. */
  bool (*on_array)(void *user, cx_span path);
} cx_scan_events;

/* Reads the whole of `text`. Refused are, besides what the grammar does not allow: bytes that are
 * no UTF-8, a lone half of a surrogate pair (also as an escape), an object with a name twice, and
 * more levels, values or names than the limits. 0; CX_EJSON, CX_EDEPTH or CX_ETOOMANY with *fault
 * filled in; CX_EMEMORY. */
int cx_scan(const char *text, size_t n, const cx_scan_events *events, void *user, cx_fault *fault);

#endif
