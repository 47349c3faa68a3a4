/* The keeper: a process that does for this one what only some kernels do. It sends signals at their
 * time, also when we are stopped, and to our children when we have ended, however that was.
 *
 * It is none of our children, has a session of its own and nothing of ours but one end of a pipe;
 * the other one is open in no process but ours, so that its end is ours. Each process has one at
 * most. Platforms whose kernels can do this (host/platform.h) have none. */
#ifndef CX_KEEPER_H
#define CX_KEEPER_H

#include <stdint.h>
#include <sys/types.h>

enum {
  CX_KEEPER_NEVER = -1,
  CX_KEEPER_END = 0, /* when we end */
  CX_KEEPER_ROOM = 4096
};

/* Makes it, unless there is one. 0 or a negative errno. */
int cx__keeper_open(void);

/* To `target`, which is as in kill(), this signal at this time, in nanoseconds on CLOCK_MONOTONIC,
 * instead of when was said before. One that is one too many for the keeper gets it now. May be
 * called in a signal handler, and by a child of ours before it execs. 0, or a negative errno:
 * -EAGAIN where the keeper does not listen. */
int cx__keeper_signal(pid_t target, int number, int64_t time);

/* In a child of ours that has said what it had to say, and may go on without exec: lets go of what
 * it has of the pipe. */
void cx__keeper_leave(void);

#endif
