/* codex-lua as a library: a Lua 5.4 state on a libuv loop with `require "codex"` in it.
 *
 * Every function returns 0 or a negative code unless it says otherwise; cx_host_error() has the
 * words. A host belongs to the thread that opened it (its children die with that thread); several
 * hosts may live in one process. Nothing here is global.
 *
 * Compile with `pkg-config --cflags codex-lua`, or -I of this file's folder. */
#ifndef CODEX_LUA_H
#define CODEX_LUA_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct lua_State;
struct uv_loop_s;

typedef struct cx_host cx_host;

/* The version of the library, as in "0.1.0"; which may not be that of this header. */
const char *cx_version(void);

/* Zero is the default for each. Strings are copied. */
typedef struct cx_host_options {
  /* sizeof(cx_host_options) as the caller knows it: members that come later are not read. 0: those
   * of version 0.1. */
  size_t size;
  /* The caller's loop. The host then lives inside it, and cx_host_start_file() and its like are
   * the way to run a script. NULL: a loop of its own. */
  struct uv_loop_s *loop;
  /* The folder that holds lua/ and scripts/. NULL: found beside the program, or where `make
   * install` put it. */
  const char *data_dir;
  /* The folder of loadable C modules. NULL: as above. */
  const char *module_dir;
  /* Receives every log line ("debug", "info", "warn", "error"), in the middle of whatever is going
   * on: it calls nothing of the host. NULL: standard error. */
  void (*on_log)(void *user, const char *level, const char *line);
  void *user;
  /* The process ends when the host is closed. os.exit(code, false) in a script then leaves the
   * memory of the Lua state to the system: no finalizer runs. */
  int ends_process;
} cx_host_options;

/* How a script ended. `code` is the exit code a program would have: 0, 1 (it failed, or the host
 * was closed), what it gave to os.exit (its lowest eight bits), 130 (interrupted). It may start the
 * next script, but not where cx_host_close has called it, or close the host. */
typedef void (*cx_host_done)(void *user, int code);

/* CX_EMEMORY, or a libuv code. `options` may be NULL. */
int cx_host_open(cx_host **out, const cx_host_options *options);

/* Makes `require(name)` call `open`, a lua_CFunction that leaves the module on the stack. Functions
 * of the module may keep their own data in upvalues. */
int cx_host_register(cx_host *host, const char *name, int (*open)(struct lua_State *));

/* Runs a script to its end, and the loop as long as the script left something to do. `argv` (may be
 * NULL) becomes `arg` and `...`. The exit code (0 or more), or CX_ESCRIPT when it could not be
 * loaded. Not for a host on the caller's loop. */
int cx_host_run_file(cx_host *host, const char *path, int argc, char **argv);
int cx_host_run_string(cx_host *host, const char *code, const char *name, int argc, char **argv);

/* Starts a script and returns; the caller runs its loop. `done` comes from the loop, or from
 * cx_host_close, exactly once, unless this failed; never from in here. One script at a time; the
 * next one finds the host as the first did, whether this one ended, was interrupted, or left
 * through os.exit: what that left open is ended first. */
int cx_host_start_file(cx_host *host, const char *path, int argc, char **argv, cx_host_done done,
                       void *user);
int cx_host_start_string(cx_host *host, const char *code, const char *name, int argc, char **argv,
                         cx_host_done done, void *user);

/* Gives `payload` (n bytes) to what the script passed to codex.on(event, fn). Called on the host's
 * thread. Returns how many functions heard it, or a negative code. */
int cx_host_post(cx_host *host, const char *event, const char *payload, size_t n);

/* Asks the script to end: the first call cancels it and lets children end, the second kills them.
 * May be called from a signal handler, until cx_host_close returns; a host that ends its process
 * takes it after that, too, and does nothing. */
void cx_host_interrupt(cx_host *host);

/* What went wrong last, in words; "" when nothing did. Valid until the next call. */
const char *cx_host_error(const cx_host *host);

/* The Lua state, for an embedder that knows Lua. */
struct lua_State *cx_host_lua(cx_host *host);

/* Cancels what runs, waits for it, for ten seconds at most, and closes it then; frees everything.
 * CX_ELEAK when something does not end even so, in another ten (a child that has become another
 * user's, a request in the thread pool): the memory of this host is then left as it is. A host on
 * the caller's loop needs a turn of that loop afterwards. Not from a function that the script has
 * called. NULL is allowed. */
int cx_host_close(cx_host *host);

/* The symbolic name and the meaning of a negative code; never NULL. */
const char *cx_err_name(int code);
const char *cx_err_text(int code);

#ifdef __cplusplus
}
#endif

#endif
