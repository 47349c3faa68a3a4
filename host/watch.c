/* Exit of a child as a descriptor; see watch.h.
 *
 * That is a pidfd. Where there is none (Linux before 5.3, valgrind, some sandboxes, other systems)
 * a thread waits for the child and then closes its end of a pipe. */
#include "watch.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <uv.h>

#include "platform.h"

typedef struct {
  int pid, fd;
} waiter;

static void wait_for_exit(void *arg) {
  waiter *w = arg;
  siginfo_t info;
  while (waitid(P_PID, (id_t)w->pid, &info, WEXITED | WNOWAIT) != 0 && errno == EINTR) continue;
  close(w->fd);
  free(w);
}

/* uv_thread_create with all signals blocked: they are the main thread's. */
static int start_thread(waiter *w) {
  pthread_t thread;
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int rc = uv_thread_create(&thread, wait_for_exit, w);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (rc == 0) pthread_detach(thread);
  return rc;
}

static int watch_by_thread(int pid) {
  int ends[2];
  int rc = cx__pipe(ends);
  if (rc != 0) return rc;
  waiter *w = malloc(sizeof *w);
  if (!w) rc = -ENOMEM;
  if (w) {
    *w = (waiter){pid, ends[1]};
    rc = start_thread(w);
  }
  if (rc == 0) return ends[0];
  free(w);
  close(ends[0]);
  close(ends[1]);
  return rc;
}

/* A descriptor that is readable at once: the child has ended, and somebody else has reaped it. */
static int watch_nobody(void) {
  int ends[2];
  int rc = cx__pipe(ends);
  if (rc == 0) close(ends[1]);
  return rc == 0 ? ends[0] : rc;
}

int cx__watch(int pid) {
  static _Atomic bool missing; /* a fact of this kernel, found out once */
  if (missing) return watch_by_thread(pid);
  int fd = cx__pidfd(pid);
  if (fd == -ESRCH) return watch_nobody();
  if (fd != -ENOSYS && fd != -EPERM) return fd;
  missing = true;
  return watch_by_thread(pid);
}
