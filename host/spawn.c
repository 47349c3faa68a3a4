/* Fork, prepare, exec; see spawn.h.
 *
 * vfork keeps the cost independent of our own size: the child borrows our memory until it execs, so
 * it calls nothing but system calls, with all signals blocked. It reports failure through a pipe
 * that exec closes. */
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "children.h"
#include "platform.h"

/* Everything the child needs, prepared before it exists. */
typedef struct {
  const char *path;
  const cx_proc_options *options;
  const int *fds;
  int report;
  pid_t parent;
} plan;

static int usable(const char *path) {
  struct stat info;
  if (stat(path, &info) != 0) return -errno;
  if (!S_ISREG(info.st_mode)) return -EACCES;
  return access(path, X_OK) == 0 ? 0 : -errno;
}

/* The PATH that the child will have. */
static const char *path_of(const cx_proc_options *options) {
  const char *dirs = options->env ? NULL : getenv("PATH");
  for (char *const *at = options->env; at && *at; at++)
    if (strncmp(*at, "PATH=", 5) == 0) return *at + 5;
  return dirs ? dirs : "/usr/local/bin:/usr/bin:/bin";
}

/* Finds the program in the child's PATH. execvp would do so too, but hands what it cannot execute
 * to a shell. Entries that are relative, or empty, are passed over: they would run programs of
 * whatever repository the child works in. A path is used as it is, by the child, in its own folder.
 */
static int find(const cx_proc_options *options, char *path, size_t size) {
  const char *file = options->file;
  if (strchr(file, '/')) {
    if (snprintf(path, size, "%s", file) >= (int)size) return -ENAMETOOLONG;
    return 0;
  }
  int rc = -ENOENT;
  for (const char *at = path_of(options); *at;) {
    size_t n = strcspn(at, ":");
    int fits = snprintf(path, size, "%.*s/%s", (int)n, at, file);
    int found = *at == '/' && fits < (int)size ? usable(path) : -ENOENT;
    if (found == 0) return 0;
    if (found == -EACCES) rc = -EACCES;
    at += n + (at[n] == ':');
  }
  return rc;
}

static void reset_signals(void) {
  struct sigaction action = {.sa_handler = SIG_DFL};
  for (int i = 1; i < NSIG; i++)
    if (i != SIGKILL && i != SIGSTOP) sigaction(i, &action, NULL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
}

static int prepare(const plan *p) {
  if (!p->options->same_group && setpgid(0, 0) != 0) return errno;
  int rc = cx__bound_to(p->parent, false);
  if (rc != 0) return -rc;
  for (int i = 0; i < 3; i++)
    if (dup2(p->fds[i], i) < 0) return errno;
  if (p->options->cwd && chdir(p->options->cwd) != 0) return errno;
  rc = cx__cloexec_from(3); /* files that a script opened are not the child's */
  if (rc != 0) return -rc;
  reset_signals();
  return 0;
}

static _Noreturn void become(const plan *p) {
  int code = prepare(p);
  if (code == 0) {
    execve(p->path, p->options->argv, p->options->env ? p->options->env : environ);
    code = errno;
  }
  ssize_t written = write(p->report, &code, sizeof code);
  (void)written;
  _exit(127);
}

static int start(const plan *p) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pid_t pid = cx__vfork(); /* NOLINT(clang-analyzer-*): the head of this file says why */
  if (pid == 0) become(p); /* NOLINT(clang-analyzer-*) */
  int rc = pid < 0 ? -errno : pid;
  if (pid > 0) cx_children_add(pid, !p->options->same_group); /* before a signal can come */
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return rc;
}

void cx__bury(int pid) {
  cx__bound_forget(pid, false);
  cx_children_remove(pid);
  while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) continue;
}

/* Whether the child says that it could not exec, and why. */
static bool has_failed(int report, int *code) {
  ssize_t n;
  do n = read(report, code, sizeof *code);
  while (n < 0 && errno == EINTR);
  return n == (ssize_t)sizeof *code;
}

int cx__spawn(const cx_proc_options *options, const int fds[3]) {
  char path[PATH_MAX];
  int report[2], code = 0;
  int rc = find(options, path, sizeof path);
  if (rc == 0) rc = cx__bound_open();
  if (rc == 0) rc = cx__pipe(report);
  if (rc != 0) return rc;
  const plan p = {path, options, fds, report[1], getpid()};
  int pid = start(&p);
  close(report[1]);
  if (pid > 0 && has_failed(report[0], &code)) {
    cx__bury(pid);
    pid = -code;
  }
  close(report[0]);
  return pid;
}
