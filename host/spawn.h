/* The moment between fork and exec: shared by nobody but proc.c. */
#ifndef CX_SPAWN_H
#define CX_SPAWN_H

#include "proc.h"

/* Starts the program with these descriptors as its 0, 1 and 2. The pid, or -errno of whatever went
 * wrong in the child before or at exec. */
int cx__spawn(const cx_proc_options *options, const int fds[3]);

/* Reaps a child that ends now, and that nobody will ask for. */
void cx__bury(int pid);

#endif
