/* A descriptor that becomes readable once a child has exited, and before it is reaped. */
#ifndef CX_WATCH_H
#define CX_WATCH_H

/* The descriptor, close-on-exec, or -errno. */
int cx__watch(int pid);

#endif
