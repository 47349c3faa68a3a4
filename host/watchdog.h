/* Ends the process when what it does takes too long and nothing inside of Lua can end it: a C
 * function that does not come back, or a finalizer that loops.
 *
 * It is made of two alarms (host/platform.h). The first says what happened and exits; the second, a
 * second later, is SIGKILL, which nobody can catch, block or hold up. Each process has one. */
#ifndef CX_WATCHDOG_H
#define CX_WATCHDOG_H

#include <stdint.h>

/* Makes it ready: at its time `text` (copied, at most 500 bytes) is written to standard error, and
 * the process ends with `code`. 0 or a negative errno. May be called again, to change these. */
int cx_watchdog_open(int code, const char *text);

/* From now on the process ends at this time, in nanoseconds on CLOCK_MONOTONIC; 0: it goes on. Does
 * nothing before cx_watchdog_open. */
void cx_watchdog_at(int64_t time);

#endif
