/* codex-lua as a library: a Lua 5.4 state on a libuv loop with `require "codex"` in it.
 *
 * Every function returns 0 or a negative code unless it says otherwise; cx_host_error() has the
 * words. Several hosts may live in one process, on several threads, and share nothing.
 *
 * Threads. A host belongs to the thread that opened it: all functions are called there, but for
 * cx_host_interrupt. Children of its scripts die with that thread.
 *
 * Callbacks. on_log and functions of modules are called from within the host: they may post and
 * interrupt, but not start, run or close (CX_EUSAGE). `done` is called from outside of it.
 *
 * Signals. No handler is installed and no disposition changed, but by a script that asks luv for a
 * signal or a process. SIGPIPE is blocked in the host's thread while one of these functions runs,
 * so that a write to a child that has gone is an error of that write; programs that a script starts
 * with io.popen or os.execute inherit that. SIGCHLD is not needed. A program that ignores it, or
 * reaps children that are not its own, takes the exit codes of ours: codex.proc then says
 * `unknown`.
 *
 * Descriptors. 0 to 2 may be closed: they are taken while one of these functions runs, and closed
 * again.
 *
 * Not to be done: forking and using a host in the child, longjmp out of a callback, closing the
 * caller's loop before the host, uv_walk over that loop that closes handles one does not know.
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

/* What functions here, and errors in Lua by the names after CX_, say went wrong. Other negative
 * codes are those of the system and of libuv: -errno. */
enum cx_err {
  CX_EMEMORY = -9001,      /* out of memory */
  CX_EARGUMENT = -9002,    /* invalid argument */
  CX_ECLOSED = -9003,      /* the object is closed */
  CX_ETOOLONG = -9004,     /* a message is longer than the limit */
  CX_ETIMEOUT = -9005,     /* the time limit ran out */
  CX_EIDLE = -9006,        /* nothing was heard for too long */
  CX_ECANCELLED = -9007,   /* cancelled */
  CX_EJSON = -9008,        /* not valid JSON */
  CX_EDEPTH = -9009,       /* nested too deeply */
  CX_ESCRIPT = -9010,      /* the script failed, or could not be loaded */
  CX_EUSAGE = -9011,       /* not now, not from here, or not with this host */
  CX_EINTERRUPTED = -9012, /* interrupted */
  CX_ELEAK = -9013,        /* something does not end, and was left open */
  CX_EPROTOCOL = -9014,    /* not what the protocol allows here */
  CX_ETOOMANY = -9015      /* more values than the limit */
};

/* The version of the library, as in "0.1.0"; which may not be that of this header. */
const char *cx_version(void);

/* Zero is the default for each. Strings are copied. */
typedef struct cx_host_options {
  /* sizeof(cx_host_options) as the caller knows it: members that come later are not read. 0: those
   * of version 0.1. */
  size_t size;
  /* The caller's loop. The host then lives inside it, and scripts are started
   * (cx_host_start_file). NULL: a loop of its own, and scripts are run (cx_host_run_file). */
  struct uv_loop_s *loop;
  /* The folder that holds lua/ and scripts/. NULL: found beside the program, or where `make
   * install` put it. */
  const char *data_dir;
  /* The folder of loadable C modules. NULL: as above. */
  const char *module_dir;
  /* Receives every log line ("debug", "info", "warn", "error"), in the middle of whatever is going
   * on. NULL: standard error. */
  void (*on_log)(void *user, const char *level, const char *line);
  void *user;
  /* The process ends when the host is closed. os.exit(code, false) in a script then leaves the
   * memory of the Lua state to the system: no finalizer runs. */
  int ends_process;
  /* How long the end of a script may take, in milliseconds, in each of its two halves: 0 for ten
   * seconds. See cx_host_close. */
  unsigned close_ms;
} cx_host_options;

/* How a script ended. `code` is the exit code a program would have: 0, 1 (it failed, or the host
 * was closed), what it gave to os.exit (its lowest eight bits), 130 (interrupted). It may start the
 * next script, but not where cx_host_close has called it, or close the host. */
typedef void (*cx_host_done)(void *user, int code);

/* CX_EMEMORY, CX_ESCRIPT (the Lua files are damaged), or a code of the system. `options` may be
 * NULL. Where it fails *out is NULL. */
int cx_host_open(cx_host **out, const cx_host_options *options);

/* Makes `require(name)` call `open`, a lua_CFunction that leaves the module on the stack. Functions
 * of the module may keep their own data in upvalues. */
int cx_host_register(cx_host *host, const char *name, int (*open)(struct lua_State *));

/* Scripts run one after the other, each as in a fresh program, but that globals and loaded modules
 * stay. One is over when its main chunk and its tasks have ended, and nothing that it left is in
 * the loop: timers, children, sockets. What it gave to codex.on does not count. os.exit, an error
 * in the main chunk, and an interrupt end it at once. Whatever is open then is closed, as by
 * cx_host_close, before the next one begins; handles of luv are, too.
 *
 * Runs a script until it is over. `argv` (may be NULL) becomes `arg` and `...`. The exit code (0 or
 * more), CX_ESCRIPT when it could not be loaded, CX_EUSAGE for a host on the caller's loop. A
 * `path` of NULL is standard input; `name` is what messages call it, after `=`. */
int cx_host_run_file(cx_host *host, const char *path, int argc, char **argv);
int cx_host_run_string(cx_host *host, const char *code, const char *name, int argc, char **argv);

/* Starts a script and returns; the caller runs its loop. `done` (may be NULL) comes when the script
 * is over, from the loop or from cx_host_close, exactly once, unless this failed; never from in
 * here. On the caller's loop a script goes on while it has tasks, also where they wait for an event
 * that may be posted. CX_EUSAGE while another one runs, and for a host with a loop of its own. */
int cx_host_start_file(cx_host *host, const char *path, int argc, char **argv, cx_host_done done,
                       void *user);
int cx_host_start_string(cx_host *host, const char *code, const char *name, int argc, char **argv,
                         cx_host_done done, void *user);

/* Queues `payload` (n bytes; may be NULL) for what the script passed to codex.on(event, fn): these
 * functions are called in a later turn of the loop. Returns how many will hear it, or a negative
 * code. */
int cx_host_post(cx_host *host, const char *event, const char *payload, size_t n);

/* Asks the script to end: the first call cancels it and lets children end, the second kills them.
 * From the host's thread, also in a signal handler, this stops a script that computes, too, by an
 * error, which the script may catch; from another thread it is seen when the script waits. Not once
 * cx_host_close has been called, also not from a signal handler, but for a host that ends its
 * process: that one takes it at any time. */
void cx_host_interrupt(cx_host *host);

/* Whether the script that ended last has said os.exit(code, false), where `ends_process` is set: no
 * exit handler of the process needs to run either. */
int cx_host_leaves(const cx_host *host);

/* What went wrong last, in words; "" when nothing did. Valid until the next call. */
const char *cx_host_error(const cx_host *host);

/* The Lua state, for an embedder that knows Lua. An error that is raised outside of lua_pcall ends
 * the process. */
struct lua_State *cx_host_lua(cx_host *host);

/* Ends what runs and frees everything. The script is cancelled and has ten seconds (close_ms) to
 * tidy up; what is open then is closed under it, and has ten more. Whatever the script and its
 * children do, this returns by then: only a C function that does not return, or a finalizer, holds
 * it up. CX_ELEAK when something does not end even so (a child that has become another user's, a
 * request in the thread pool): the memory of this host is then left as it is, and nothing of it
 * runs any more. CX_EUSAGE from on_log or a function that the script has called: the host is then
 * open as before.
 *
 * A host on the caller's loop is gone when this returns, but for handles that close in the next
 * turn of that loop: run it once more before uv_loop_close, which says UV_EBUSY otherwise. NULL is
 * allowed. */
int cx_host_close(cx_host *host);

/* The symbolic name ("EUSAGE", "ENOENT") and the meaning of a negative code, in lower case without
 * a full stop; never NULL. */
const char *cx_err_name(int code);
const char *cx_err_text(int code);

#ifdef __cplusplus
}
#endif

#endif
