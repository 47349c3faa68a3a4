/* What a program that embeds us must not notice; see visit.h. */
#include "visit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STANDARD = 3 };

/* The process has these numbers once, whatever it has of hosts and threads. */
static struct {
  pthread_mutex_t mutex;
  int visits;
  bool is_ours[STANDARD];
} held = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* ---- Descriptors 0 to 2 ---------------------------------------------------------------------- */

/* What is opened takes the lowest number that is free. */
static void take_numbers(void) {
  for (int fd = 0; fd < STANDARD; fd++) {
    if (fcntl(fd, F_GETFD) >= 0) continue;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0 && null < STANDARD) held.is_ours[null] = true;
    if (null >= STANDARD) close(null); /* another thread was faster */
  }
}

/* Somebody may have put a file of his own in the place of ours, as dup2 does. */
static bool is_still_ours(int fd) {
  struct stat is, null;
  return held.is_ours[fd] && fcntl(fd, F_GETFD) == FD_CLOEXEC && fstat(fd, &is) == 0 &&
         stat("/dev/null", &null) == 0 && is.st_rdev == null.st_rdev && S_ISCHR(is.st_mode);
}

static void give_numbers_back(void) {
  for (int fd = 0; fd < STANDARD; fd++) {
    if (is_still_ours(fd)) close(fd);
    held.is_ours[fd] = false;
  }
}

static void hold_numbers(void) {
  pthread_mutex_lock(&held.mutex);
  held.visits++;
  take_numbers();
  pthread_mutex_unlock(&held.mutex);
}

static void let_go_of_numbers(void) {
  pthread_mutex_lock(&held.mutex);
  if (--held.visits == 0) give_numbers_back();
  pthread_mutex_unlock(&held.mutex);
}

/* ---- SIGPIPE --------------------------------------------------------------------------------- */

static bool is_pending(void) {
  sigset_t pending;
  return sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1;
}

/* Where the program ignores it there is nothing to hold back. */
static bool can_harm(void) {
  struct sigaction action;
  return sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler != SIG_IGN;
}

static void hold_signal(cx_visit *visit) {
  sigset_t sigpipe;
  visit->holds = can_harm();
  if (!visit->holds) return;
  visit->was_pending = is_pending();
  sigemptyset(&sigpipe);
  sigaddset(&sigpipe, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &sigpipe, &visit->signals);
}

/* Only SIGPIPE is put back: what else has been blocked meanwhile is the program's own doing. */
static void let_go_of_signal(const cx_visit *visit) {
  int number;
  sigset_t sigpipe;
  if (!visit->holds) return;
  sigemptyset(&sigpipe);
  sigaddset(&sigpipe, SIGPIPE);
  if (!visit->was_pending && is_pending()) sigwait(&sigpipe, &number);
  if (sigismember(&visit->signals, SIGPIPE) == 0) pthread_sigmask(SIG_UNBLOCK, &sigpipe, NULL);
}

void cx_visit_begin(cx_visit *visit) {
  hold_numbers();
  hold_signal(visit);
}

void cx_visit_end(const cx_visit *visit) {
  int error = errno;
  let_go_of_signal(visit);
  let_go_of_numbers();
  errno = error;
}
