/* What a program that embeds us must not notice while our code runs in one of its threads.
 *
 * A descriptor below 3 that the program has closed would be given to the next thing we open, which
 * libuv never closes and children take for a standard stream: these numbers are taken meanwhile,
 * and given back. A write to somebody who has gone raises SIGPIPE, which ends programs that never
 * thought of it: it is held back in this thread, and forgotten when it was ours.
 *
 * Visits nest, and several threads may make one at the same time. */
#ifndef CX_VISIT_H
#define CX_VISIT_H

#include <signal.h>
#include <stdbool.h>

/* What was before; of one visit. */
typedef struct cx_visit {
  sigset_t signals;
  bool holds, was_pending; /* SIGPIPE */
} cx_visit;

void cx_visit_begin(cx_visit *visit);

/* Leaves errno as it is. */
void cx_visit_end(const cx_visit *visit);

#endif
