/* What host.c and state.c share, and nobody else: the host itself, and how its Lua state is made.
 */
#ifndef CX_STATE_H
#define CX_STATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <lua.h>
#include <uv.h>

#include "attach.h"
#include "bind.h"
#include "buf.h"
#include "codex_lua.h"
#include "log.h"
#include "paths.h"
#include "pool.h"

/* Where a script is in its life. */
typedef enum {
  CX_NONE,  /* there is none */
  CX_MAIN,  /* its main chunk runs */
  CX_LEFT,  /* what the chunk has left goes on: tasks, timers, children */
  CX_TASKS, /* its tasks are cancelled, and end what they hold */
  CX_REST,  /* what is still open is closed under them */
  CX_LAST,  /* they never go on, and it is closed once more */
} cx_phase;

struct cx_host {
  cx_env env; /* first: bindings' on_failure finds its host through it */
  uv_loop_t loop;
  uv_async_t wakeup;
  uv_timer_t deadline; /* of ending what a script holds */
  uv_idle_t news;      /* is started when events wait to be heard */
  cx_pool pool;
  cx_buf warning; /* what warn() has said of a message so far */
  bool warns;
  cx_attach *attach; /* to the caller's loop, or NULL */
  cx_log log;
  cx_paths paths;
  cx_host_done done;
  void *done_user;
  void (*on_log)(void *user, const char *level, const char *line);
  void *log_user;
  char *error;
  bool error_is_lost;     /* there was no memory for it */
  _Atomic int interrupts; /* how often cx_host_interrupt was called */
  int handled;            /* of these, how many the loop has seen */
  _Atomic int64_t interrupted_at;
  pthread_t thread; /* that opened it */
  cx_phase phase;
  bool exiting, failed, closing;
  unsigned failures;    /* how many callbacks have raised an error */
  int depth;            /* how many of our functions are being called */
  uint64_t patience_ms; /* for each half of the end */
  bool is_late;         /* the deadline has passed */
  atomic_bool closed;   /* too late for an interrupt */
  bool ends_process;    /* cx_host_options */
  bool leaves;          /* its memory to the system: the script said os.exit(code, false) */
  int code;
};

/* A lua_CFunction that fills an empty state: libraries, search paths, our modules, os.exit. Its
 * argument is the host as a light userdata. */
int cx__state_fill(lua_State *L);

/* Takes back what os.exit said to Lua. */
void cx__state_begin(lua_State *L);

/* What runs from now on is to end in time: errors are raised in it when it does not. */
void cx__state_limit(cx_host *host);

void cx__state_preload(lua_State *L, const char *name, lua_CFunction open);

/* A message handler: adds a traceback, but leaves the error of os.exit alone. */
int cx__state_traceback(lua_State *L);

/* Says what was raised where nothing catches it; Lua then ends the program. */
int cx__state_panic(lua_State *L);

/* Something went wrong that nobody waits for: it is said, and the script has failed. */
void cx__host_fail(cx_env *env, const char *message);

#endif
