/* A process that sees how this one ends: when that is while somebody else's code is under way, by a
 * signal, a crash or a time limit, the program is run once more, to write that down and to do what
 * is left.
 *
 * It is of a session of its own, holds none of our streams and descriptors, and has the environment
 * and the folder that we had when it was made. It ends when we do. */
#ifndef CX_WITNESS_H
#define CX_WITNESS_H

#include <stdbool.h>

/* Makes it; to be called early, while there is little memory to share. `argv`, which ends with NULL
 * and begins with a name, is what this program is run with. 0 or a negative errno. */
int cx_witness_open(char *const argv[]);

/* Whether it does so when we end from now on; not so at first. False: there is no witness. */
bool cx_witness_wanted(bool is_wanted);

#endif
