/* The life of a script on a host: it is started, goes on in what it leaves, and is ended; shared
 * with host.c, and with nobody else.
 *
 * A script is one of two kinds. On a loop of its own a host is turned until the script is over. On
 * the caller's loop each turn looks whether it is. */
#ifndef CX_SCRIPT_H
#define CX_SCRIPT_H

#include "state.h"

/* What went wrong, for cx_host_error; returns the code. */
int cx__set_error(cx_host *host, int code, const char *text);

/* Calls `fn` with `arg` as a light userdata on top of the n values that are on the stack. Whatever
 * may run out of memory happens in such functions: pushing a string is enough. 0, CX_EMEMORY or
 * CX_ESCRIPT. */
int cx__protect(cx_host *host, lua_CFunction fn, void *arg, int n, int results);

/* Pushes a function of codex.async, within cx__protect. */
void cx__push_scheduler(lua_State *L, const char *name);

typedef struct cx__chunk {
  const char *path, *code; /* one of the two; neither: standard input */
  const char *name;
  int argc;
  char **argv;
} cx__chunk;

/* Loads and starts it as the main task. 0, or a negative code. */
int cx__script_start(cx_host *host, cx__chunk *chunk);

/* Takes up what `cx_host_post` has queued. */
void cx__script_on_news(uv_idle_t *news);

/* Takes up an interrupt. */
void cx__script_on_wakeup(uv_async_t *wakeup);

/* Begins what is due: true once nothing of the script is left, and its code is known. */
bool cx__script_advance(cx_host *host);

/* Turns the host's own loop until the script is over: its exit code. */
int cx__script_run(cx_host *host);

/* Ends the script, and whatever is open, in bounded time. */
void cx__script_end(cx_host *host);

#endif
