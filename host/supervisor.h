/* The supervisor of lifecycle hooks: answers Codex whatever becomes of the hooks.
 *
 * Codex takes silence for a yes: it goes on when a hook exits with anything but 0 and 2, exits with
 * 2 and an empty standard error, is killed, or leaves somebody who holds its standard output. So
 * hooks run in a worker, a process of its own session that has none of Codex's streams but its
 * standard input, and this process, which runs no Lua and allocates nothing, answers: with the
 * worker's last word or, where that does not come, with what it said to answer then.
 *
 * It ends with 0 and an answer on standard output, if only that there is none; with 2 and a reason
 * on standard error; or, when neither could be written, with 1. The command line that `codex-lua
 * hook install` writes refuses then, as it does when this process is killed or cannot be started.
 */
#ifndef CX_SUPERVISOR_H
#define CX_SUPERVISOR_H

#include <stdbool.h>
#include <stdint.h>

enum { CX_VERDICT_KEY = 32 };

/* What the worker says on descriptor 3: this, then so many bytes of each text. A byte 1 in a text
 * stands for the reason why the last word did not come. Hooks can write there as
 * well, but do not know the key: with anything else in its place the worker has failed. */
typedef struct cx_verdict {
  char key[CX_VERDICT_KEY];
  uint32_t is_last; /* the last word; what came before it is what to answer without one */
  uint32_t code;    /* 0 or 2; with 2 the reason is the answer */
  uint32_t last_ms; /* when to answer for the worker, from the beginning */
  uint32_t out;     /* bytes for standard output */
  uint32_t reason;  /* bytes for standard error */
  uint32_t note;    /* bytes that `codex-lua hook --record` is told of a failure */
} cx_verdict;

/* Bytes that the texts of a verdict may have together. */
enum { CX_VERDICT_ROOM = 4 << 20 };

/* Takes the arguments of the program. Where they are those with which Codex runs hooks, this does
 * not come back but in the worker, and then with the arguments of that; otherwise with `argv`. */
char **cx_supervise(int argc, char **argv);

/* Whether this process is a worker, which must not live on after a signal: what was interrupted has
 * judged nothing. */
bool cx_is_supervised(void);

#endif
