/* The children of this process, for a signal handler that ends it at once: the kernel ends them
 * together with us, but not what they have started. */
#ifndef CX_CHILDREN_H
#define CX_CHILDREN_H

#include <stdbool.h>

/* A child that was started, until it is reaped: its number is somebody else's then. `leads`: it has
 * a process group of its own. Of more than a thousand some are not kept.
 */
void cx_children_add(int pid, bool leads);
void cx_children_remove(int pid);

/* Kills them all, with their groups. Async-signal-safe. */
void cx_children_kill(void);

#endif
