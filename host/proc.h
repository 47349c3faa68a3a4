/* Child processes: started, fed, read, and ended so that nothing of them is left.
 *
 * A child has its own process group and dies with the thread that started it. It is ended politely
 * (a signal to the group, a grace period, SIGKILL), reaped, and what is still in its pipes is read
 * for a bounded time, because a grandchild may hold them open for ever. It waits on a pidfd, or
 * in a thread, so neither SIGCHLD nor another thread's children are touched. */
#ifndef CX_PROC_H
#define CX_PROC_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "buf.h"

typedef struct cx_proc cx_proc;

typedef enum {
  CX_STDIO_NULL,    /* /dev/null */
  CX_STDIO_INHERIT, /* ours */
  CX_STDIO_PIPE,    /* written or read by us; of standard error the tail is kept */
} cx_stdio;

/* Zero means the default everywhere. Nothing is kept: strings may go once cx_proc_open returns. */
typedef struct cx_proc_options {
  const char *file;  /* path; without a slash it is looked up in the absolute entries of its PATH */
  char *const *argv; /* with argv[0], NULL at the end */
  char *const *env;  /* "NAME=value", NULL at the end; NULL: our own */
  const char *cwd;   /* NULL: our own */
  cx_stdio in, out, err;
  size_t read_size;         /* bytes read at once (64 KiB) */
  size_t tail_size;         /* bytes of standard error kept (64 KiB) */
  uint64_t timeout_ms;      /* whole life (none) */
  uint64_t idle_timeout_ms; /* without output while we are reading (none) */
  uint64_t grace_ms;        /* between the polite signal and SIGKILL (2000) */
  uint64_t drain_ms;        /* for reading on after the exit (500) */
  int stop_signal;          /* the polite one (SIGTERM) */
  bool keep_buffer;         /* hold the read buffer while the child lives */
  bool same_group;          /* stay in our process group, as a program on the terminal must */
} cx_proc_options;

/* Called from the loop, never from inside a cx_proc_ function. Each may be NULL. */
typedef struct cx_proc_events {
  void (*on_output)(void *user, const char *data, size_t n); /* standard output */
  void (*on_change)(void *user); /* output ended, input was written, or the child exited */
  void (*on_closed)(void *user); /* exactly once, last; the cx_proc is gone when it returns */
} cx_proc_events;

typedef struct cx_proc_status {
  int pid;
  bool exited;
  int code;        /* exit code, -1 when a signal ended it */
  int signal;      /* the signal that ended it, or 0 */
  bool is_unknown; /* how it ended: somebody else reaped it, or SIGCHLD is ignored; code is -1 */
  int reason;      /* why we ended it: CX_ETIMEOUT, CX_EIDLE, CX_ECANCELLED, or 0 */
  bool output_ended;
  size_t unwritten; /* bytes of input that the child has not taken */
  int write_error;  /* why the child's input failed (-EPIPE when it closed it), or 0 */
  long max_rss_kib;
  uint64_t cpu_us; /* user and system time */
} cx_proc_status;

/* 0, or the reason: -ENOENT, -EACCES, -ENOEXEC (wrong architecture), -EMFILE, -ENOTDIR ... */
int cx_proc_open(cx_proc **out, uv_loop_t *loop, const cx_proc_options *options,
                 const cx_proc_events *events, void *user);

/* Copies the bytes and writes them as the child takes them. 0, CX_ECLOSED, CX_ETOOLONG (2 GiB at
 * once), or a uv code. */
int cx_proc_write(cx_proc *proc, const char *data, size_t n);

/* Closes the child's standard input once everything is written. Idempotent. */
void cx_proc_write_end(cx_proc *proc);

/* Stops or resumes reading standard output; the child then blocks when its pipe is full. The idle
 * limit does not run meanwhile. */
void cx_proc_pause(cx_proc *proc, bool paused);

/* Whether the child keeps the loop running; it does at first. */
void cx_proc_hold(cx_proc *proc, bool hold);

/* Ends the child politely, then by force. `reason` is kept in the status. */
void cx_proc_stop(cx_proc *proc, int reason);

/* Sends one signal to the child's group. 0, CX_ECLOSED when it is gone, or -errno. */
int cx_proc_kill(cx_proc *proc, int signal);

/* Kills what still runs and gives up its output; on_closed follows. Idempotent. */
void cx_proc_close(cx_proc *proc);

const cx_proc_status *cx_proc_get_status(const cx_proc *proc);
const cx_tail *cx_proc_get_stderr(const cx_proc *proc);

#endif
